"""Nearly the same answer stands at an earlier row, by MinHash."""

from __future__ import annotations

from gpt4_instruct.quality.base import OverFacts, Sample, check
from gpt4_instruct.quality.minhash import Similar

__all__ = ["SimilarOutput"]

_FEWEST_WORDS = 8


@check(
    "info",
    Sample("Praise the sea.", "", "The sea is wide and blue and it never sleeps, not even at night."),
    Sample("Praise water.", "", "The sea is wide and blue and it never sleeps, not even at night!"),
    optional=True,
)
class SimilarOutput(OverFacts[bytes]):
    """Fails a row whose answer shares about 80 % of its word triples with an earlier row's.

    Raises:
        MissingExtraError: datasketch is not installed.
    """

    spread = "minhash"

    def __init__(self) -> None:
        self._similar = Similar("the check similar_output", _FEWEST_WORDS)
        self.bands = self._similar.bands

    def facts(self, sample: Sample) -> bytes | None:
        """The answer's signature."""
        return self._similar.signature(sample.output, sample.language)

    def judge(self, facts: bytes, row: int) -> str | None:
        """Which earlier row is too similar; where none is, this one is kept."""
        near = self._similar.find(facts, row)
        return None if near is None else self.reason(*near)

    @staticmethod
    def reason(row: int, similarity: float) -> str:
        """What a finding says: which row is too similar, and how similar."""
        return f"nearly the answer of row {row} (Jaccard about {similarity:.2f})"
