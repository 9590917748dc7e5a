"""The same task stands at an earlier row, word for word."""

from __future__ import annotations

from gpt4_instruct.quality.base import OverFacts, Sample, check
from gpt4_instruct.quality.texts import digest, essence

__all__ = ["Duplicate"]


@check("error", Sample("Name a fish.", "", "Cod."), Sample("Name a fish", "", "Hake."), of="task")
class Duplicate(OverFacts[tuple[bytes, bytes]]):
    """Fails every row but the first of those with one instruction and input, but for case, space and punctuation.

    Symbols count where the task is nothing else but them: "2 + 2" is not "2 - 2".

    >>> looks = Duplicate()
    >>> [looks(Sample(task, "", "x"), row) for row, task in enumerate(["Name a fish.", "A bird.", "name a  fish"])]
    [None, None, 'the task of row 0 again, with the same answer']
    """

    spread = "key"

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[int, bytes]] = {}  # 16 bytes a row, whatever its length

    def facts(self, sample: Sample) -> tuple[bytes, bytes]:
        """Digests of the task and of its answers."""
        key = digest(_task_essence(sample.instruction), _task_essence(sample.input))
        return key, digest(sample.output, *(each.response for each in sample.scored))

    def judge(self, facts: tuple[bytes, bytes], row: int) -> str | None:
        """Which earlier row has the task."""
        key, answer = facts
        first = self._seen.setdefault(key, (row, answer))
        if first[0] == row:
            return None
        return f"the task of row {first[0]} again, with {'the same' if first[1] == answer else 'another'} answer"


def _task_essence(text: str) -> str:
    # Signs between digits or letters make another task: 2 + 2, C++, x < y.
    signs = "".join(letter for letter in text if letter in "+-*/=<>^%#$&|~")
    return f"{essence(text)}\0{signs}"
