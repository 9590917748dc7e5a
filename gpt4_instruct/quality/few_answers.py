"""A comparison has fewer answers than the others of its file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gpt4_instruct.quality.base import OverFacts, Sample, check
from gpt4_instruct.records import Scored

__all__ = ["FewAnswers"]

_TWO = (Scored("a", "x", 9.0), Scored("b", "y", 5.0))


@check(
    "warning",
    Sample("Say hi.", "", "", scored=_TWO),
    Sample("Say ho.", "", "", scored=_TWO),
    Sample("Say hu.", "", "", scored=_TWO[:1]),
    of="comparison",
)
class FewAnswers(OverFacts[int]):
    """Fails rows with fewer answers than most rows have, or with fewer than two.

    >>> looks = FewAnswers()
    >>> scored = (Scored("a", "x", 9.0), Scored("b", "y", 5.0))
    >>> for row, number in enumerate([2, 2, 1]):
    ...     _ = looks(Sample("", "", "", scored=scored[:number]), row)
    >>> list(looks.finish())
    [(2, '1 answer; most rows have 2')]
    """

    def __init__(self) -> None:
        self._counts: list[tuple[int, int]] = []

    def facts(self, sample: Sample) -> int:
        """How many answers there are."""
        return len(sample.scored)

    def judge(self, facts: int, row: int) -> None:
        """Remembers it."""
        self._counts.append((row, facts))

    def finish(self) -> Iterator[tuple[int | None, str]]:
        if not self._counts:
            return
        usual = max(2, Counter(count for _, count in self._counts).most_common(1)[0][0])
        for row, count in self._counts:
            if count < usual:
                yield row, f"{count} answer{'' if count == 1 else 's'}; most rows have {usual}"
