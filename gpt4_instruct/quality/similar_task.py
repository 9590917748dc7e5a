"""Nearly the same task stands at an earlier row, by MinHash: for data too large for the exact `near_duplicate`."""

from __future__ import annotations

from collections.abc import Iterator

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.minhash import Similar

__all__ = ["SimilarTask"]

_FEWEST_WORDS = 5


@check(
    "info",
    Sample("Write a short poem about the sea at night and its many sounds.", "", "…"),
    Sample("Write a short poem about the sea at night and its many sounds, please.", "", "…"),
    of="task",
    optional=True,
)
class SimilarTask:
    """Fails a row whose instruction and input share about 80 % of their word triples with an earlier row's.

    Raises:
        MissingExtraError: datasketch is not installed.
    """

    def __init__(self) -> None:
        self._similar = Similar("the check similar_task", _FEWEST_WORDS)

    def __call__(self, sample: Sample, row: int) -> str | None:
        near = self._similar.find(f"{sample.instruction} {sample.input}", sample.language, row)
        return None if near is None else f"nearly the task of row {near[0]} (Jaccard about {near[1]:.2f})"

    def finish(self) -> Iterator[tuple[int | None, str]]:
        """Nothing more."""
        return iter(())
