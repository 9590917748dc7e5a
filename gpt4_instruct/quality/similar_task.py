"""Nearly the same task stands at an earlier row, by MinHash: for data too large for the exact `near_duplicate`."""

from __future__ import annotations

from gpt4_instruct.quality.base import OverFacts, Sample, check
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
class SimilarTask(OverFacts[bytes]):
    """Fails a row whose instruction and input share about 80 % of their word triples with an earlier row's.

    Raises:
        MissingExtraError: datasketch is not installed.
    """

    spread = "minhash"

    def __init__(self) -> None:
        self._similar = Similar("the check similar_task", _FEWEST_WORDS)
        self.bands = self._similar.bands

    def facts(self, sample: Sample) -> bytes | None:
        """The task's signature."""
        return self._similar.signature(f"{sample.instruction} {sample.input}", sample.language)

    def judge(self, facts: bytes, row: int) -> str | None:
        """Which earlier row is too similar; where none is, this one is kept."""
        near = self._similar.find(facts, row)
        return None if near is None else self.reason(*near)

    @staticmethod
    def reason(row: int, similarity: float) -> str:
        """What a finding says: which row is too similar, and how similar."""
        return f"nearly the task of row {row} (Jaccard about {similarity:.2f})"
