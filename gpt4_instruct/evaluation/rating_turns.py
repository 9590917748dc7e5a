"""Who rates which question, which model is on the left, and where attention checks come: all drawn from the seed.

With named raters, the questions are shared out in turn: each gets its number of raters, and all raters have as many
questions, but for one. Where anyone may rate, the next question is always one that the fewest have.
"""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Collection, Mapping, Sequence

from gpt4_instruct.errors import UsageError
from gpt4_instruct.evaluation.rating_pairs import draw

__all__ = ["Turns", "name_of", "side_of"]

_LONGEST_NAME = 60


def name_of(typed: str) -> str:
    """A rater's name as it is kept, however its letters and spaces were typed.

    Raises:
        UsageError: it is no name.

    >>> name_of(" Jose\\u0301  Lee ") == "Jos\\u00e9 Lee"
    True
    """
    name = " ".join(unicodedata.normalize("NFC", typed).split())
    if not name or len(name) > _LONGEST_NAME or not name.isprintable():
        raise UsageError(f"a name has 1 to {_LONGEST_NAME} characters that can be seen: take another")
    return name


def side_of(seed: int, key: str, rater: str) -> str:
    """Which model is on the left of a pair: ``"ours"`` or ``"baseline"``, each half of the time.

    >>> [side_of(0, "1", rater) for rater in ("Ann", "Bo", "Cy", "Di")]
    ['ours', 'ours', 'baseline', 'baseline']
    """
    return ("ours", "baseline")[draw(seed, "left", key, rater) % 2]


class Turns:
    """The plan of a study.

    Args:
        questions: numbers of the pairs that are rated.
        checks: numbers of the attention checks.
        seed: another one gives other orders.
        per_question: raters of each question.
        attention: after so many questions comes a check.
        raters: their names; none where anyone may rate.

    >>> turns = Turns([1, 2, 3, 4, 5, 6], [7], seed=0, per_question=2, attention=3, raters=["Ann", "Bo", "Cy"])
    >>> [len(turns.share(rater)) for rater in ("Ann", "Bo", "Cy")]
    [4, 4, 4]
    """

    def __init__(
        self,
        questions: Sequence[int],
        checks: Sequence[int],
        *,
        seed: int,
        per_question: int,
        attention: int,
        raters: Sequence[str] | None,
    ) -> None:
        self.checks = checks
        self.seed = seed
        self.per_question = per_question
        self.attention = attention
        self.raters = raters
        self._questions = random.Random(seed).sample(questions, len(questions))
        self._shares: dict[str, list[int]] = {}
        self._places: dict[str, dict[int, int]] = {}

    def share(self, rater: str) -> list[int]:
        """The questions that a rater may get, in an order of the rater's own: all, unless the raters are named."""
        if rater not in self._shares:
            found = self._questions
            if self.raters is not None and rater in self.raters:
                count, own = self.per_question, self.raters.index(rater)
                turns = enumerate(self._questions)
                found = [each for turn, each in turns if (own - turn * count) % len(self.raters) < count]
            self._shares[rater] = random.Random(draw(self.seed, "order", rater)).sample(found, len(found))
        return self._shares[rater]

    def next(self, rater: str, had: Collection[int], taken: Mapping[int, int]) -> int | None:
        """The number of the pair that a rater gets now; none when nothing is left.

        Args:
            rater: the name.
            had: the pairs that this rater was shown before.
            taken: how many raters have each pair.
        """
        free = self._free(rater, had, taken)
        check = self._checks_of(rater).get(len(had))
        if check is not None and check not in had and (free or had):
            return check
        return min(free, key=lambda each: taken.get(each, 0), default=None)

    def total(self, rater: str, had: Collection[int], taken: Mapping[int, int]) -> int:
        """How many pairs a rater is shown in all, unless others take some of them; arguments as for `next`."""
        checks = self._checks_of(rater)
        places, left = len(had), len(self._free(rater, had, taken))
        while left or (places and places in checks):
            left -= places not in checks
            places += 1
        return places

    def _free(self, rater: str, had: Collection[int], taken: Mapping[int, int]) -> list[int]:
        share = self.share(rater)
        if self.raters is not None:
            return [each for each in share if each not in had]
        return [each for each in share if each not in had and taken.get(each, 0) < self.per_question]

    def _checks_of(self, rater: str) -> dict[int, int]:
        """A rater's attention checks by place: one in each `attention` + 1 places, where in them is drawn."""
        if rater not in self._places:
            size = 1 + min(self.attention, len(self.share(rater)))
            first = draw(self.seed, "check", rater)
            self._places[rater] = {
                block * size + draw(self.seed, "place", rater, block) % size: self.checks[
                    (first + block) % len(self.checks)
                ]
                for block in range(len(self.checks))
            }
        return self._places[rater]
