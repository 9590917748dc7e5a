"""Nearly the same answer stands at an earlier row, by MinHash."""

from __future__ import annotations

from collections.abc import Iterator

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.minhash import Similar

__all__ = ["SimilarOutput"]

_FEWEST_WORDS = 8


@check(
    "info",
    Sample("Praise the sea.", "", "The sea is wide and blue and it never sleeps, not even at night."),
    Sample("Praise water.", "", "The sea is wide and blue and it never sleeps, not even at night!"),
    optional=True,
)
class SimilarOutput:
    """Fails a row whose answer shares about 80 % of its word triples with an earlier row's.

    Raises:
        MissingExtraError: datasketch is not installed.
    """

    def __init__(self) -> None:
        self._similar = Similar("the check similar_output", _FEWEST_WORDS)

    def __call__(self, sample: Sample, row: int) -> str | None:
        near = self._similar.find(sample.output, sample.language, row)
        return None if near is None else f"nearly the answer of row {near[0]} (Jaccard about {near[1]:.2f})"

    def finish(self) -> Iterator[tuple[int | None, str]]:
        """Nothing more."""
        return iter(())
