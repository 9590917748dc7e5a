"""Nearly the same task stands at an earlier row, by Alpaca's rule: token ROUGE-L F1 over 0.7 with one that was kept."""

from __future__ import annotations

from collections.abc import Iterator

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.novelty import NoveltyIndex
from gpt4_instruct.records import Language

__all__ = ["NearDuplicate"]

# More are not kept, since the cost of a row grows with them: later rows are compared with these. `similar_task` is for
# any number.
_MOST_KEPT = 200_000
_LONGEST = 4_000  # characters of a task that are compared; what follows is material


@check(
    "info",
    Sample("Write a short poem about the sea.", "", "…"),
    Sample("Write a short poem about the sky.", "", "…"),
    of="task",
)
class NearDuplicate:
    """Fails a row whose instruction and input are nearly those of an earlier row that did not fail itself.

    >>> looks = NearDuplicate()
    >>> tasks = ["Write a short poem about the sea.", "Name a fish.", "Write a long poem about the sea."]
    >>> [looks(Sample(task, "", ""), row) for row, task in enumerate(tasks)]
    [None, None, 'nearly the task of row 0 (ROUGE-L 0.86)']
    """

    def __init__(self) -> None:
        self._indexes: dict[Language, tuple[NoveltyIndex, list[int]]] = {}

    def __call__(self, sample: Sample, row: int) -> str | None:
        index, rows = self._indexes.setdefault(sample.language, (NoveltyIndex(language=sample.language), []))
        task = f"{sample.instruction} {sample.input}"[:_LONGEST]
        near = index.nearest(task)
        if near is not None and rows[near[0]] != row:
            return f"nearly the task of row {rows[near[0]]} (ROUGE-L {near[1]:.2f})"
        if near is None and len(rows) < _MOST_KEPT:
            index.add(task)
            rows.append(row)
        return None

    def finish(self) -> Iterator[tuple[int | None, str]]:
        """Nothing more."""
        return iter(())
