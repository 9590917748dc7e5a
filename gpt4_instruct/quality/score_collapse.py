"""One model's answers nearly all have the same score, so that the scores hardly tell anything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from gpt4_instruct.quality.base import OverFacts, Sample, check
from gpt4_instruct.records import Scored

__all__ = ["ScoreCollapse"]

# The paper's judge gave 89.5 % of GPT-4's own answers a 9.
_MOST, _FEWEST = 0.8, 20


@check("warning", *[Sample("Hi", "", "", scored=(Scored("a", "gpt-4", 9.0),)) for _ in range(_FEWEST)], of="comparison")
class ScoreCollapse(OverFacts[list[tuple[str, float]]]):
    """Finds a source with one score in over 80 % of its 20 answers or more. The finding is of the whole, not of a row.

    >>> looks = ScoreCollapse()
    >>> for row, score in enumerate([9.0] * 18 + [4.0, 10.0]):
    ...     _ = looks(Sample("", "", "", scored=(Scored("a", "gpt-4", score),)), row)
    >>> list(looks.finish())
    [(None, '90 % of the 20 answers of gpt-4 are scored 9')]
    """

    def __init__(self) -> None:
        self._scores: dict[str, Counter[float]] = {}

    def facts(self, sample: Sample) -> list[tuple[str, float]]:
        """Each answer's source and score."""
        return [(each.source, each.score) for each in sample.scored if each.score is not None]

    def judge(self, facts: list[tuple[str, float]], row: int) -> None:
        """Counts them."""
        for source, score in facts:
            self._scores.setdefault(source, Counter())[score] += 1

    def finish(self) -> Iterator[tuple[int | None, str]]:
        for source, scores in self._scores.items():
            score, count = scores.most_common(1)[0]
            share = count / scores.total()
            if scores.total() >= _FEWEST and share > _MOST:
                yield (
                    None,
                    f"{share:.0%} of the {scores.total():,} answers of {source} are scored {score:g}".replace(
                        "%", " %"
                    ),
                )
