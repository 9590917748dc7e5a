"""Asks a teacher what must be read to be of use, and asks again where the reply cannot be read.

A further attempt is the same question with the next `Request.sample`, so that every reply is in the ledger beside the
others, and none is asked for twice. It is drawn with a temperature: a greedy reply would only come again.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Generic, TypeVar

from gpt4_instruct.errors import IncompleteError, OutputError, RequestRefusedError, TransientError, UsageError
from gpt4_instruct.generation.engine import Deferred, Engine, check_engine, open_engine
from gpt4_instruct.generation.ledger import default_path
from gpt4_instruct.generation.pricing import Spending, load_prices
from gpt4_instruct.progress import progress
from gpt4_instruct.records import Answer, Message, Request, Sampling
from gpt4_instruct.teachers.base import BatchTeacher, Teacher

__all__ = [
    "REFUSED",
    "Ask",
    "Attempt",
    "Outcome",
    "ask_all",
    "check_counts",
    "check_writable",
    "make_request",
    "opened",
]

REFUSED = "request_refused"  # the endpoint refuses the request itself; asking again in this run would not help
_AGAIN = 0.7  # temperature of a further attempt

T = TypeVar("T")  # an item
V = TypeVar("V")  # what is read in a reply


@dataclass(frozen=True, slots=True)
class Attempt:
    """One reply, and whether it could be read.

    Attributes:
        sample: of its request, from 0.
        answer: the reply; none where the endpoint refused the request.
        failure: why it is of no use, in a word; none where it is.
        detail: what the endpoint said when it refused.
    """

    sample: int
    answer: Answer | None
    failure: str | None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Ask(Generic[V]):
    """A question to the teacher.

    Attributes:
        prompt: what is sent.
        read: what is in a reply: a value, or a failure in a word.
        most: attempts at most; those that the ledger holds already count, and are never cut off by it.
        schema: of the reply, or none.
    """

    prompt: str
    read: Callable[[Answer], tuple[V | None, str | None]]
    most: int = 2
    schema: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Outcome(Generic[V]):
    """What became of a question.

    Attributes:
        value: what was read; none where nothing could be.
        attempts: in order; only the last one may be without a failure.
    """

    value: V | None
    attempts: tuple[Attempt, ...]

    @property
    def failure(self) -> str | None:
        """Why there is no value, or none."""
        return self.attempts[-1].failure


def make_request(teacher: Teacher, ask: Ask[Any], sampling: Sampling, sample: int) -> Request:
    """The request of an attempt: the first one as `sampling` says, the others drawn with a temperature."""
    drawn = sampling if sample == 0 else replace(sampling, temperature=max(sampling.temperature, _AGAIN))
    messages = (Message("user", ask.prompt),)
    return Request(teacher.endpoint, teacher.model, messages, drawn.parameters(), sample, schema=ask.schema)


def ask_all(
    engine: Engine,
    teacher: Teacher,
    items: Sequence[T],
    asks: Callable[[T], Sequence[Ask[V]]],
    sampling: Sampling,
    what: str,
    key: Callable[[T], str],
) -> list[list[Outcome[V]]]:
    """Asks all that there is to ask about all items.

    Args:
        engine: of this run.
        teacher: who is asked.
        items: what it is about.
        asks: the questions about an item; may be none.
        sampling: of the first attempts.
        what: stands before the progress bar.
        key: of an item: two that may have a question in common have the same one.

    Returns:
        for each item, in order, what became of each of its questions.

    Raises:
        IncompleteError: some replies have not come; the others are in the ledger.
        RunStoppedError, BudgetError, InterruptedRunError: as `Engine.ask` and `Engine.stream`.
    """
    job = partial(_ask_here, teacher, asks, sampling, what)
    done: list[list[Outcome[V] | TransientError]] = list(engine.spread(job, items, key, what, lambda: len(items)))
    late = {
        ask.prompt: each
        for item, found in zip(items, done, strict=True)
        for ask, each in zip(asks(item), found, strict=True)
        if isinstance(each, TransientError)
    }
    if late:
        raise IncompleteError(
            f"{len(late)} replies have not come (last: {list(late.values())[-1]}); the others are in "
            f"{engine.ledger.path}: run the same command again to go on"
        )
    return [[each for each in found if isinstance(each, Outcome)] for found in done]


def _ask_here(
    teacher: Teacher,
    asks: Callable[[T], Sequence[Ask[V]]],
    sampling: Sampling,
    what: str,
    engine: Engine,
    items: Sequence[T],
) -> Iterator[list[Outcome[V] | TransientError]]:
    """What became of the questions about each item, asked by this process."""

    async def one(ask: Ask[V]) -> Outcome[V] | TransientError:
        attempts: list[Attempt] = []
        value: V | None = None
        for sample in count():
            request = make_request(teacher, ask, sampling, sample)
            if sample >= ask.most and engine.ledger.settled(request.key) is None:
                break
            try:
                answer = await engine.ask(teacher, request)
            except RequestRefusedError as error:
                attempts.append(Attempt(sample, None, REFUSED, f"{error.reason}: {error.detail}"))
                break
            except TransientError as error:
                return error
            value, failure = ask.read(answer)
            attempts.append(Attempt(sample, answer, failure))
            if failure is None:
                break
        return Outcome(value, tuple(attempts))

    async def work(item: T) -> list[Outcome[V] | TransientError] | None:
        # All are waited for, so that all are asked, or collected for a batch.
        found = await asyncio.gather(*(one(ask) for ask in asks(item)), return_exceptions=True)
        for each in found:
            if isinstance(each, BaseException) and not isinstance(each, Deferred | TransientError):
                raise each
        bar.update()
        outcomes = [each for each in found if isinstance(each, Outcome | TransientError)]
        return outcomes if len(outcomes) == len(found) else None

    if isinstance(teacher, BatchTeacher):
        engine.several_passes = True
        with progress(lambda: None, f"{what}: collecting", "item") as bar:
            while None in list(engine.stream(work, items)):
                engine.run_batches()
        engine.reused = 0
    with progress(lambda: len(items), what, "item") as bar:
        for item, found in zip(items, engine.stream(work, items), strict=True):
            # All answers of batches are here by now; one that is not makes the run incomplete, not wrong.
            missing = TransientError("a reply by the batch was not collected")
            yield [missing for _ in asks(item)] if found is None else found


@contextmanager
def opened(
    ledger: str | Path | None,
    concurrency: int | None,
    requests_per_minute: float | None,
    tokens_per_minute: float | None,
    budget_usd: float | None,
    prices: str | Path | None,
    engine: str = "local",
    teacher: Teacher | None = None,
) -> Iterator[Engine]:
    """An engine on the user's ledger, closed at the end; arguments as `answers.answer`. `teacher` is to be asked."""
    check_engine(engine, filter(None, [teacher]))
    spending = Spending(load_prices(prices), budget_usd)
    found = open_engine(
        engine,
        Path(ledger).expanduser() if ledger else default_path(),
        concurrency,
        spending=spending,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
    )
    try:
        yield found
    finally:
        found.close()


def check_counts(**counts: int | None) -> None:
    """Raises UsageError where one of these numbers is given and is below 1."""
    for name, value in counts.items():
        if value is not None and value < 1:
            raise UsageError(f"{name} is {value}, but must be 1 or more")


def check_writable(*files: Path) -> None:
    """Raises OutputError where a file could not be written later, when all is asked and paid; makes its folder."""
    for file in files:
        probe = file.with_name(f".{file.name}.{os.getpid()}")  # as `storage.replacing` names it
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise OutputError(
                f"cannot write {file}: {error.strerror or error}. Nothing was asked: name another with --out"
            ) from error
