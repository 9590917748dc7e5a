"""Nearly the same task stands at an earlier row, by Alpaca's rule: token ROUGE-L F1 over 0.7 with one that was kept."""

from __future__ import annotations

from typing import ClassVar

from gpt4_instruct.quality.base import OverFacts, Sample, check
from gpt4_instruct.quality.novelty import NoveltyIndex
from gpt4_instruct.records import Language

__all__ = ["NearDuplicate"]

_LONGEST = 4_000  # characters of a task that are compared; what follows is material


@check(
    "info",
    Sample("Write a short poem about the sea.", "", "…"),
    Sample("Write a short poem about the sky.", "", "…"),
    of="task",
)
class NearDuplicate(OverFacts[tuple[Language, str]]):
    """Fails a row whose instruction and input are nearly those of an earlier row that did not fail itself.

    >>> looks = NearDuplicate()
    >>> tasks = ["Write a short poem about the sea.", "Name a fish.", "Write a long poem about the sea."]
    >>> [looks(Sample(task, "", ""), row) for row, task in enumerate(tasks)]
    [None, None, 'nearly the task of row 0 (ROUGE-L 0.86)']
    """

    spread = "novelty"
    # More are not kept, since the cost of a row grows with them: later rows are compared with these. `similar_task` is
    # for any number.
    most_kept: ClassVar[int] = 200_000

    def __init__(self) -> None:
        self._indexes: dict[Language, tuple[NoveltyIndex, list[int]]] = {}

    def facts(self, sample: Sample) -> tuple[Language, str]:
        """The task and its language."""
        return sample.language, f"{sample.instruction} {sample.input}"[:_LONGEST]

    def judge(self, facts: tuple[Language, str], row: int) -> str | None:
        """Which earlier row is too similar; where none is, this one is kept."""
        language, task = facts
        if language not in self._indexes:
            self._indexes[language] = (NoveltyIndex(language=language), [])
        index, rows = self._indexes[language]
        near = index.nearest(task)
        if near is not None and rows[near[0]] != row:
            return self.reason(rows[near[0]], near[1])
        if near is None and len(rows) < self.most_kept:
            index.add(task)
            rows.append(row)
        return None

    @staticmethod
    def reason(row: int, f1: float) -> str:
        """What a finding says: which row is too similar, and how similar."""
        return f"nearly the task of row {row} (ROUGE-L {f1:.2f})"
