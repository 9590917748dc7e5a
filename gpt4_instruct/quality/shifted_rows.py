"""The answer belongs to a neighbouring row: it fits that row's reference answer or task, and not its own.

In the released Unnatural file answers stand at wrong rows, as when one request fails and the list is out of step.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from rapidfuzz.distance import LCSseq

from gpt4_instruct.languages import words
from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import excerpt

__all__ = ["ShiftedRows"]

_REACH = 3  # rows on each side that are looked at
_FITS, _FEWEST_WORDS = 0.7, 3


@check(
    "error",
    Sample("Reverse the words.", "red green blue", "Paris is the capital of France.", label="blue green red"),
    Sample("What is the capital of France?", "", "Berlin, most likely.", label="Paris is the capital of France."),
)
class ShiftedRows:
    """Fails a row whose answer is nothing like its own label and task, but like the label of a row near it.

    >>> looks = ShiftedRows()
    >>> one = Sample("Reverse.", "a b", "the cat sat down", label="b a")
    >>> other = Sample("Who sat down?", "", "a dog", label="The cat sat down.")
    >>> looks(one, 0), looks(other, 1), list(looks.finish())
    (None, None, [(0, "the answer 'the cat sat down' is the label of row 1, not its own ('b a')")])
    """

    def __init__(self) -> None:
        self._near: deque[tuple[int, Sample, list[str], list[str]]] = deque(maxlen=2 * _REACH + 1)
        self._found: list[tuple[int | None, str]] = []

    def __call__(self, sample: Sample, row: int) -> str | None:
        if sample.label is None:
            return None
        output, label = (words(text[:2000], sample.language) for text in (sample.output, sample.label))
        self._near.append((row, sample, output, label))
        if len(self._near) == self._near.maxlen:
            self._judge(self._near[_REACH])
        elif len(self._near) > _REACH:  # the first rows have neighbours behind them only
            self._judge(self._near[len(self._near) - 1 - _REACH])
        return None

    def finish(self) -> Iterator[tuple[int | None, str]]:
        for entry in list(self._near)[-_REACH:]:
            self._judge(entry)
        seen = set()
        for row, reason in self._found:
            if row not in seen:
                seen.add(row)
                yield row, reason

    def _judge(self, entry: tuple[int, Sample, list[str], list[str]]) -> None:
        row, sample, output, label = entry
        if len(output) < _FEWEST_WORDS or _alike(output, label) >= _FITS / 2:
            return
        task = set(words(f"{sample.instruction} {sample.input}"[:4000], sample.language))
        if sum(word in task for word in output) > len(output) / 2:  # it may be right, and the label wrong
            return
        for other, neighbour, _, its in self._near:
            if other != row and neighbour.label is not None and _alike(output, its) >= _FITS:
                reason = (
                    f"the answer {excerpt(sample.output, 40)!r} is the label of row {other}, not its own"
                    f" ({excerpt(sample.label or '', 40)!r})"
                )
                self._found.append((row, reason))
                return


def _alike(one: list[str], other: list[str]) -> float:
    """Token ROUGE-L F1 (Lin, 2004): the longest common subsequence against the mean length."""
    if not one or not other:
        return 0.0
    return float(2 * LCSseq.similarity(one, other) / (len(one) + len(other)))
