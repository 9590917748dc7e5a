"""The same long answer stands at an earlier row, to another task."""

from __future__ import annotations

from gpt4_instruct.languages import words
from gpt4_instruct.quality.base import OverFacts, Sample, check
from gpt4_instruct.quality.texts import digest, essence

__all__ = ["RepeatedAnswer"]

_FEWEST_WORDS = 12  # shorter answers ("Yes, it is.") rightly come again
_LONG_ENOUGH = 1_000  # characters of which nobody need count the words


@check(
    "warning",
    Sample("Praise the sea.", "", "It is wide and blue, and it never sleeps, not even on a winter night."),
    Sample("Praise rivers.", "", "It is wide and blue, and it never sleeps, not even on a winter night."),
)
class RepeatedAnswer(OverFacts[tuple[bytes, bytes]]):
    """Fails a row whose answer, of 12 words or more, is word for word that of an earlier row with another task.

    >>> looks = RepeatedAnswer()
    >>> answer = "It is wide and blue, and it never sleeps, not even on a winter night."
    >>> [looks(Sample(task, "", answer), row) for row, task in enumerate(["Praise the sea.", "Praise rivers."])]
    [None, 'the answer of row 0 again, to another task']
    """

    spread = "key"

    def __init__(self) -> None:
        self._seen: dict[bytes, tuple[int, bytes]] = {}

    def facts(self, sample: Sample) -> tuple[bytes, bytes] | None:
        """Digests of the answer, where it is long, and of its task."""
        answer = sample.output
        if len(answer) < _LONG_ENOUGH and len(words(answer, sample.language)) < _FEWEST_WORDS:
            return None
        return digest(essence(answer)), digest(essence(sample.instruction), essence(sample.input))

    def judge(self, facts: tuple[bytes, bytes], row: int) -> str | None:
        """Which earlier row has the answer, for another task."""
        answer, task = facts
        first = self._seen.setdefault(answer, (row, task))
        if first[0] == row or first[1] == task:  # the same task again is `duplicate`'s
            return None
        return f"the answer of row {first[0]} again, to another task"
