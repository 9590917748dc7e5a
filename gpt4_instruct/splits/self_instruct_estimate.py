"""What a Self-Instruct build would ask: what of it the ledger holds, then a range, since nobody knows what is invented.

The rounds are gone through as in a build, as far as the ledger has every reply. For what comes after, tasks are kept at
the rate of all those rounds and at that of the last few, whichever range that gives; without any, at every rate between
all of them and so few that the run would end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from gpt4_instruct.prompts.self_instruct import Example
from gpt4_instruct.records import Answer, Reject, Request, Row
from gpt4_instruct.splits.rounds import Rounds, Task
from gpt4_instruct.splits.self_instruct import SelfInstruct
from gpt4_instruct.splits.self_instruct_recipes import DRY_ROUNDS, DRY_SHARE
from gpt4_instruct.splits.self_instruct_seeds import Seeds
from gpt4_instruct.splits.self_instruct_stages import AnswerInBoth, GiveInput
from gpt4_instruct.splits.stages import Stage
from gpt4_instruct.teachers.base import Teacher

__all__ = ["Projected", "project"]

_TASK = "Explain in two or three sentences how this came about."  # as long as most
Known = Callable[[Teacher, Request], Answer | None]


@dataclass(slots=True)
class Projected:
    """What a stage would ask of one teacher.

    Attributes:
        stage: the stage.
        teacher: whom.
        in_ledger: requests that are answered already.
        fewest: requests that would be sent at least.
        most: requests that would be sent at most.
        example: one of them.
    """

    stage: Stage
    teacher: Teacher
    in_ledger: int = 0
    fewest: int = 0
    most: int = 0
    example: Request | None = None


def project(builder: SelfInstruct, known: Known) -> list[Projected]:
    """What each stage would ask, in order.

    Args:
        builder: the split.
        known: the answer to a request, or none where it would be sent.

    Raises:
        SourceError: no seed can be used.
    """
    return _Walk(builder, known).project()


class _Walk:
    def __init__(self, builder: SelfInstruct, known: Known) -> None:
        self.builder = builder
        self.known = known
        self.found: dict[int, Projected] = {}
        self.begun = 0  # replies that are there of a round that is not finished

    def project(self) -> list[Projected]:
        builder = self.builder
        assert builder.settings.accept is not None
        wanted = builder.settings.accept // len(builder.languages)
        seeds = Seeds(builder.languages)
        begun = self._through(builder.of_seeds, seeds.begun(builder.begun()))
        for _ in seeds.take(outcome for outcome in begun if outcome is not None):
            pass
        if None not in begun:
            seeds.check(builder.source.name)
        kept: list[Row] = []
        examples = seeds.examples or [dict.fromkeys(builder.languages, Example(_TASK))]
        rounds = Rounds(builder.recipe, builder.languages, examples, builder.settings.seed or 0)
        if None not in begun:  # else no prompt is known yet
            self._rounds(rounds, kept, wanted)
        accepted = unknown = rejected = 0
        for row in kept:
            if accepted + unknown == wanted:
                break
            (outcome,) = self._through(builder.of_rows, [row])
            accepted += isinstance(outcome, Row)
            unknown += outcome is None
            rejected += isinstance(outcome, Reject)
        missing = wanted - accepted - unknown
        if missing and not rounds.stopped:
            share = accepted / (accepted + rejected) if accepted else 1.0
            self._beyond(rounds, missing, math.ceil((missing + unknown) / share) - unknown)
        return sorted(self.found.values(), key=lambda each: builder.stages.index(each.stage))

    def _rounds(self, rounds: Rounds, kept: list[Row], wanted: int) -> None:
        """Goes through the rounds of which the ledger holds every reply."""
        builder = self.builder
        while not rounds.stopped:
            asked = rounds.compose()
            replies = [each for each in self._through([builder.invent], asked, ahead=True) if each is not None]
            if len(replies) < len(asked):
                self.begun = len(replies)
                return
            found: Iterable[Row | Reject | None] = rounds.read(asked, replies)
            if builder.before_keeping:
                found = self._through(builder.before_keeping, list(rounds.prepare(iter(rounds.read(asked, replies)))))
            for outcome in found:
                if outcome is None:
                    self.begun = len(asked)
                    return
                if isinstance(outcome, Row) and isinstance(row := rounds.keep(outcome), Row):
                    kept.append(row)
            rounds.finish(0, 0, None)
            if len(kept) >= wanted:
                return

    def _through(
        self, stages: Sequence[Stage], rows: Iterable[Row | Reject], *, ahead: bool = False
    ) -> list[Row | Reject | None]:
        """What becomes of rows by the ledger's answers; none for one that lacks an answer."""
        outcomes: list[Row | Reject | None] = []
        for row in rows:
            outcome: Row | Reject | None = row
            for stage in stages:
                if not isinstance(outcome, Row):
                    break
                answers = [self._ask(stage, *each, count=not ahead) for each in stage.requests(outcome)]
                whole = [answer for answer in answers if answer is not None]
                outcome = stage.accept(outcome, whole) if len(whole) == len(answers) else None
            outcomes.append(outcome)
        return outcomes

    def _ask(self, stage: Stage, teacher: Teacher, request: Request, *, count: bool) -> Answer | None:
        """The ledger's answer. What it lacks counts as to be sent, unless that is reckoned otherwise."""
        answer = self.known(teacher, request)
        projected = self._of(stage, teacher, request)
        projected.in_ledger += answer is not None
        if count and answer is None:
            projected.fewest += 1
            projected.most += 1
        return answer

    def _of(self, stage: Stage, teacher: Teacher, request: Request) -> Projected:
        projected = self.found.setdefault(id(stage), Projected(stage, teacher))
        projected.example = projected.example or request
        return projected

    def _beyond(self, rounds: Rounds, fewest: int, most: int) -> None:
        """Adds what more tasks take: at least `fewest`, perhaps `most`."""
        builder, tasks = self.builder, self.builder.recipe.tasks
        rates = [tasks * DRY_SHARE, float(tasks)]
        if rounds.facts:
            parts = (rounds.facts, rounds.facts[-DRY_ROUNDS:])
            measured = [sum(each["accepted"] for each in part) / sum(each["asked"] for each in part) for part in parts]
            rates = sorted(max(rate, rates[0]) for rate in measured)
        (teacher, request), *_ = builder.invent.requests(rounds.compose()[0])
        projected = self._of(builder.invent, teacher, request)
        for name, number in (("fewest", fewest / rates[1]), ("most", most / rates[0])):
            more = _whole_rounds(rounds, math.ceil(number)) - self.begun
            setattr(projected, name, getattr(projected, name) + max(0, more))
        task = Task("", _TASK, chinese=None, language=builder.languages[0], needs_input=True)
        for stage in [*builder.before_keeping, *builder.of_rows]:
            paired = isinstance(stage, AnswerInBoth)
            for teacher, request in stage.requests(Row(replace(task, chinese=(_TASK, "")) if paired else task)):
                projected = self._of(stage, teacher, request)
                projected.fewest += 0 if isinstance(stage, GiveInput) else fewest
                projected.most += most


def _whole_rounds(rounds: Rounds, number: int) -> int:
    """The requests of as many more rounds as have so many."""
    requests, round = 0, rounds.round
    while requests < number:
        requests, round = requests + rounds.recipe.requests_of(round), round + 1
    return requests
