"""One run of a split: its rows on their way through the stages, as many of them and as often as it takes.

    rows ──▶ gate (no more than may still be accepted) ──▶ stage by stage: ask, extend, accept ──▶ Row or Reject

Where a teacher answers by the batch, the rows are gone through several times: what is asked is collected until nothing
more can be, batches get the answers, and so on; the last time, every answer is in the ledger.

Where the engine has workers, they get the rows in parts; rows of the same task are in the same one, so that what they
ask is asked once. Then windows are the gate: no more rows at a time than may still be accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any

from gpt4_instruct.errors import RequestRefusedError, TransientError
from gpt4_instruct.generation.engine import Deferred, Engine
from gpt4_instruct.progress import progress
from gpt4_instruct.records import Answer, Reject, Request, Row
from gpt4_instruct.splits.stages import Stage, rejected, teachers_of
from gpt4_instruct.teachers.base import BatchTeacher, Teacher

__all__ = ["EXTENSION", "Outcome", "Run"]

EXTENSION = 4  # times the room that a cut off answer is given when it is asked for again

Outcome = Row | Reject | TransientError


class _Gate:
    """Lets rows in, first come first served, as long as they might still be wanted.

    The rows that are accepted are the same whatever the order in which answers come: those of the shortest beginning of
    the source that holds enough of them.
    """

    def __init__(self, wanted: int | None) -> None:
        self._wanted = wanted
        self._kept = 0
        self._closed = False
        self._places = asyncio.Semaphore(wanted or 1)

    async def enter(self) -> bool:
        """Waits until a row may start; false when no more are wanted."""
        if self._wanted is None:
            return True
        await self._places.acquire()
        if self._closed:
            self._places.release()
        return not self._closed

    def leave(self, *, kept: bool) -> None:
        """A row that came in has been accepted, or is out and leaves its place to another."""
        if self._wanted is None:
            return
        self._kept += kept
        if not kept:
            self._places.release()
        elif self._kept == self._wanted:
            self.close()

    def close(self) -> None:
        """Sends those who wait away."""
        self._closed = True
        self._places.release()


def _nobody(teacher: Teacher, request: Request, answer: Answer) -> None:
    """Nobody wants to be told."""


def _task(outcome: Outcome) -> str:
    """What all that may be asked about a row depends on."""
    if not isinstance(outcome, Row):
        return getattr(outcome, "id", "")
    task = outcome.instruction
    return f"{task.instruction}\n\n{task.input}"


def _do(
    stages: Sequence[Stage], extend: bool, tells: bool, engine: Engine, rows: Sequence[Outcome]
) -> Iterator[tuple[Outcome, int, list[tuple[Request, Answer]]]]:
    """What a worker does: what became of each row, the answers that were extended, and those that are to be told."""
    told: list[tuple[Request, Answer]] = []

    def tell(teacher: Teacher, request: Request, answer: Answer) -> None:
        told.append((request, answer))

    def under_way() -> Iterator[Row | Reject]:
        return (row for row in rows if not isinstance(row, TransientError))

    run = Run(stages, engine, under_way, lambda: len(rows), extend=extend, told=tell if tells else _nobody)
    outcomes = run.outcomes("", lambda outcome: None)
    extended = 0
    for row in rows:
        outcome = row if isinstance(row, TransientError) else next(outcomes, None)
        if outcome is None:  # the run is ending
            return
        found, told[:] = told[:], []
        yield outcome, run.extended - extended, found
        extended = run.extended


class Run:
    """Takes rows through stages.

    Args:
        stages: in order.
        engine: who asks.
        rows: gives the rows from the beginning each time it is called.
        total: how many there are, where that is known.
        accept: how many are wanted; none for all.
        extend: ask again, with more room, for answers that are cut off.
        told: called with each answer, in the engine's thread; with the same one again where rows are gone through
            several times.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        engine: Engine,
        rows: Callable[[], Iterable[Row | Reject]],
        total: Callable[[], int | None],
        *,
        accept: int | None = None,
        extend: bool = False,
        told: Callable[[Teacher, Request, Answer], None] = _nobody,
    ) -> None:
        self.stages = stages
        self.engine = engine
        self.rows = rows
        self.total = total
        self.accept = accept
        self.extend = extend
        self.told = told
        self.extended = 0

    def outcomes(self, name: str, done: Callable[[Outcome], None]) -> Iterator[Outcome]:
        """What became of each row, in their order; ends after the last one that is wanted.

        Args:
            name: for the progress bars.
            done: called when a row is done, which may be long before its turn to come out.
        """
        if any(isinstance(teacher, BatchTeacher) for stage in self.stages for teacher in teachers_of(stage)):
            self.engine.several_passes = True
            reused = self.engine.reused  # by runs before this one, on the same engine
            self._collect(name)
            self.engine.reused = reused
        self.extended = 0
        if self.engine.spreads:
            for found in self._windows(name):
                done(found)
                yield found
            return
        accepted = 0
        for outcome in self._pass(done):
            # All answers are here by now. If one is not, its row is not lost: it has no answer.
            yield outcome or TransientError("an answer by the batch was not collected")
            accepted += isinstance(outcome, Row)
            if accepted == self.accept:
                return

    def _windows(self, name: str) -> Iterator[Outcome]:
        """What became of each row, by the engine's workers."""
        rows = iter(self.rows())
        wanted = self.accept
        while wanted is None or wanted > 0:
            window = rows if wanted is None else list(islice(rows, wanted))
            if not window:
                return
            for outcome in self._through(window, name):
                if wanted is not None:
                    wanted -= not isinstance(outcome, Reject)
                yield outcome
            if wanted is None:
                return

    def _through(self, rows: Iterable[Outcome], name: str) -> Iterable[Outcome]:
        """Takes rows through all stages, with a new division into parts wherever a stage has changed their tasks."""
        stages: list[Stage] = []
        for number, stage in enumerate(self.stages, start=1):
            stages.append(stage)
            if stage.changes_task or number == len(self.stages):
                rows = self._group(stages, rows, name)
                stages = []
        return rows

    def _group(self, stages: list[Stage], rows: Iterable[Outcome], name: str) -> Iterator[Outcome]:
        tells = self.told is not _nobody
        teachers = {(each.endpoint, each.model): each for stage in stages for each in teachers_of(stage)}
        job = partial(_do, stages, self.extend, tells)
        for outcome, extended, told in self.engine.spread(job, rows, _task, name, self.total):
            self.extended += extended
            for request, answer in told:
                self.told(teachers[request.endpoint, request.model], request, answer)
            yield outcome

    def _collect(self, name: str) -> None:
        """Gets every answer that is given by the batch into the ledger."""
        while True:
            with progress(self.total, f"{name}: collecting", "row") as bar:
                deferred = sum(outcome is None for outcome in self._pass(lambda outcome: bar.update()))
            if not deferred:
                return
            with progress(lambda: None, f"{name}: batches", "request") as bar:

                def report(done: int, total: int, bar: Any = bar) -> None:
                    bar.total, bar.n = total, done
                    bar.refresh()

                self.engine.run_batches(report)

    def _pass(self, done: Callable[[Outcome], None]) -> Iterator[Outcome | None]:
        """One way through all rows that are wanted; none stands for a row that waits for a batch."""
        gate = _Gate(self.accept)

        async def work(row: Row | Reject) -> tuple[Outcome | None, bool]:
            if isinstance(row, Reject):
                done(row)
                return row, True
            if not await gate.enter():
                return None, False
            try:
                outcome = await self._advance(row)
            except Deferred:
                gate.leave(kept=True)
                return None, True
            except BaseException:
                gate.close()
                raise
            gate.leave(kept=not isinstance(outcome, Reject))
            done(outcome)
            return outcome, True

        for outcome, wanted in self.engine.stream(work, self.rows()):
            if wanted:
                yield outcome

    async def _advance(self, row: Row) -> Outcome:
        """Takes a row through all stages."""
        for stage in self.stages:
            try:
                answers = await self._answers(stage.requests(row))
            except RequestRefusedError as error:
                return rejected(row, stage.name, error.reason, error.detail)
            except TransientError as error:
                return error
            outcome = stage.accept(row, answers)
            if isinstance(outcome, Reject):
                return outcome
            row = outcome
        return row

    async def _answers(self, asked: Sequence[tuple[Teacher, Request]]) -> list[Answer]:
        if len(asked) == 1:
            return [await self._answer(*asked[0])]
        # All are waited for, so that all are asked, or collected for a batch, though one may be refused.
        found = await asyncio.gather(*(self._answer(*each) for each in asked), return_exceptions=True)
        errors = [each for each in found if isinstance(each, BaseException)]
        for error in sorted(errors, key=lambda error: isinstance(error, TransientError | Deferred)):
            raise error
        return [each for each in found if isinstance(each, Answer)]

    async def _answer(self, teacher: Teacher, request: Request) -> Answer:
        answer = await self.engine.ask(teacher, request)
        self.told(teacher, request, answer)
        if not self.extend or answer.finish_reason != "length" or request.choices:
            return answer
        most = {"max_tokens": EXTENSION * request.parameters["max_tokens"]}
        try:
            request = replace(request, parameters={**request.parameters, **most})
            longer = await self.engine.ask(teacher, request)
        except RequestRefusedError:  # more room than the model has
            return answer
        self.extended += 1
        self.told(teacher, request, longer)
        return replace(longer, cut_output=answer.text)
