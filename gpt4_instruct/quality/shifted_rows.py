"""The answer belongs to a neighbouring row: it fits that row's reference answer or task, and not its own.

In the released Unnatural file answers stand at wrong rows, as when one request fails and the list is out of step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import NamedTuple

from rapidfuzz.distance import LCSseq

from gpt4_instruct.languages import words
from gpt4_instruct.quality.base import OverFacts, Sample, check
from gpt4_instruct.quality.texts import excerpt

__all__ = ["ShiftedRows"]

_REACH = 3  # rows on each side that are looked at
_FITS, _FEWEST_WORDS = 0.7, 3


class Entry(NamedTuple):
    """A row with a label, as its neighbours and itself are judged.

    Attributes:
        output: the answer's words, where it may belong to another row; else none.
        label: the label's words.
        said: the answer in short, for the reason.
        meant: the label in short.
    """

    output: list[str] | None
    label: list[str]
    said: str
    meant: str


@check(
    "error",
    Sample("Reverse the words.", "red green blue", "Paris is the capital of France.", label="blue green red"),
    Sample("What is the capital of France?", "", "Berlin, most likely.", label="Paris is the capital of France."),
)
class ShiftedRows(OverFacts[Entry]):
    """Fails a row whose answer is nothing like its own label and task, but like the label of a row near it.

    >>> looks = ShiftedRows()
    >>> one = Sample("Reverse.", "a b", "the cat sat down", label="b a")
    >>> other = Sample("Who sat down?", "", "a dog", label="The cat sat down.")
    >>> looks(one, 0), looks(other, 1), list(looks.finish())
    (None, None, [(0, "the answer 'the cat sat down' is the label of row 1, not its own ('b a')")])
    """

    def __init__(self) -> None:
        self._near: deque[tuple[int, Entry]] = deque(maxlen=2 * _REACH + 1)
        self._found: list[tuple[int | None, str]] = []

    def facts(self, sample: Sample) -> Entry | None:
        """The words that are compared; none without a label."""
        if sample.label is None:
            return None
        output, label = (words(text[:2000], sample.language) for text in (sample.output, sample.label))
        lost = len(output) >= _FEWEST_WORDS and _alike(output, label) < _FITS / 2
        if lost:  # it may be right all the same, and the label wrong
            task = set(words(f"{sample.instruction} {sample.input}"[:4000], sample.language))
            lost = sum(word in task for word in output) <= len(output) / 2
        return Entry(output if lost else None, label, excerpt(sample.output, 40), excerpt(sample.label, 40))

    def judge(self, facts: Entry, row: int) -> None:
        """Looks at a row as soon as those behind it are known."""
        self._near.append((row, facts))
        if len(self._near) == self._near.maxlen:
            self._compare(*self._near[_REACH])
        elif len(self._near) > _REACH:  # the first rows have neighbours behind them only
            self._compare(*self._near[len(self._near) - 1 - _REACH])

    def finish(self) -> Iterator[tuple[int | None, str]]:
        for row, entry in list(self._near)[-_REACH:]:
            self._compare(row, entry)
        seen = set()
        for number, reason in self._found:
            if number not in seen:
                seen.add(number)
                yield number, reason

    def _compare(self, row: int, entry: Entry) -> None:
        if entry.output is None:
            return
        for other, neighbour in self._near:
            if other != row and _alike(entry.output, neighbour.label) >= _FITS:
                self._found.append(
                    (row, f"the answer {entry.said!r} is the label of row {other}, not its own ({entry.meant!r})")
                )
                return


def _alike(one: list[str], other: list[str]) -> float:
    """Token ROUGE-L F1 (Lin, 2004): the longest common subsequence against the mean length."""
    if not one or not other:
        return 0.0
    return float(2 * LCSseq.similarity(one, other) / (len(one) + len(other)))
