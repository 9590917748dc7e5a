"""What a worker does: a part of the items, by an engine like any other, on a ledger of its own.

Its ledger is one file for each part, beside the run's ledger: a worker that takes a part over from a lost one opens the
same file, and asks only what that had not. Leave to ask, and what the run's ledger knows, come from `Permits`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt4_instruct.cluster.connect import address
from gpt4_instruct.cluster.packing import unpack
from gpt4_instruct.cluster.partitions import Part, write_results
from gpt4_instruct.cluster.permits import Work
from gpt4_instruct.errors import Gpt4InstructError, OutputError, RequestRefusedError, RunStoppedError, TransientError
from gpt4_instruct.generation.engine import Engine
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.generation.limiter import Lane, Permit
from gpt4_instruct.generation.pricing import Prices, Spending
from gpt4_instruct.records import Answer, Request
from gpt4_instruct.teachers.base import Teacher

__all__ = ["Desk", "WorkersEngine", "do_part"]

_TELL_S = 0.25  # between messages on how many rows are done
_UNCONFIRMED = 1_000  # messages that are looked after at once


class Desk:
    """A worker's end of the way to `Permits`. Used from one event loop at a time.

    Args:
        permits: the actor.
        number: what `Permits.begin` said.
        halt: called when the run is to end.
    """

    def __init__(self, permits: Any, number: int, halt: Callable[[], None]) -> None:
        self._permits = permits
        self._number = number
        self._halt = halt
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: asyncio.Task[None] | None = None
        self._out: list[tuple[Any, ...]] = []
        self._sent: list[Any] = []  # messages that may not have arrived
        self._wanted: list[str] = []
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._looked_up: dict[str, asyncio.Future[dict[str, Any] | Exception | None]] = {}
        self._looking: set[asyncio.Task[None]] = set()
        self._last = 0

    def send(self, *operation: Any) -> None:
        """Tells something; all that is told in one turn of the loop goes together."""
        self._open()
        if not self._out:
            asyncio.get_running_loop().call_soon(self.flush)
        self._out.append(operation)

    async def wait(self, name: str, *values: Any) -> int:
        """Asks for something, and waits until it is granted; its number."""
        self._open()
        self._last += 1
        number, future = self._last, asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        self.send(name, number, *values)
        try:
            await future
        finally:
            self._waiting.pop(number, None)
        return number

    async def known(self, key: str) -> dict[str, Any] | Exception | None:
        """What the run's ledger has of a settled request, or why the run has given it up."""
        loop = asyncio.get_running_loop()
        self._open()
        future = self._looked_up.setdefault(key, loop.create_future())
        if not self._wanted:
            loop.call_soon(self._look_up)
        self._wanted.append(key)
        return await future

    def flush(self) -> None:
        """Sends what is to be told."""
        import ray

        out, self._out = self._out, []
        if out:
            self._sent.append(self._permits.post.remote(self._number, out))
        if len(self._sent) > _UNCONFIRMED:
            _, self._sent = ray.wait(self._sent, num_returns=len(self._sent), timeout=0)

    def finish(self) -> None:
        """Sends what is to be told, and returns when it has arrived: an async actor may do calls out of order."""
        import ray

        self.flush()
        ray.get(self._sent)

    def stop(self, error: Exception) -> None:
        """Sends those who wait away with an exception."""
        waiting: list[asyncio.Future[Any]] = [*self._waiting.values(), *self._looked_up.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(error)

    def _look_up(self) -> None:
        keys, self._wanted = self._wanted, []

        async def look() -> None:
            try:
                rows = await self._permits.known.remote(keys)
            except Exception as error:
                self._lost(error)
                return
            for key, row in zip(keys, rows, strict=True):
                future = self._looked_up.pop(key)
                if not future.done():
                    future.set_result(row)

        task = asyncio.get_running_loop().create_task(look())
        self._looking.add(task)
        task.add_done_callback(self._looking.discard)

    def _open(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop = loop
            self._waiting, self._looked_up, self._wanted, self._out = {}, {}, [], []
            self._listening = loop.create_task(self._listen())

    async def _listen(self) -> None:
        stopping = False
        while not stopping:
            try:
                granted, stopping = await self._permits.granted.remote(self._number)
            except Exception as error:
                self._lost(error)
                return
            for number, refusal in granted:
                future = self._waiting.get(number)
                if future is not None and not future.done():
                    future.set_exception(refusal) if refusal else future.set_result(None)
        self._halt()

    def _lost(self, error: Exception) -> None:
        self.stop(RunStoppedError(f"the run that this worker belongs to is gone ({type(error).__name__})"))
        self._halt()


@dataclass
class _Given(Permit):
    number: int = 0


class _DistantLane(Lane):
    """A way to a model on which `Permits` give leave."""

    def __init__(self, desk: Desk, endpoint: str, model: str, most: int) -> None:
        super().__init__(most, lambda: None, lambda quota: None)
        self._desk = desk
        self._name = (endpoint, model)

    async def admit(self, tokens: int) -> Permit:
        return _Given(tokens, number=await self._desk.wait("admit", *self._name, self.most, tokens))

    def done(self, permit: Permit, **how: Any) -> None:
        assert isinstance(permit, _Given)
        self._desk.send("done", permit.number, how)

    def stop(self, error: Exception) -> None:
        self._desk.stop(error)


class _DistantSpending(Spending):
    """What the whole cluster spends: `Permits` add it up, and set aside what requests may cost where there is a cap."""

    def __init__(self, desk: Desk, prices: Prices, most_usd: float | None) -> None:
        super().__init__(prices, most_usd)
        self._desk = desk

    async def reserve(self, worst_usd: float) -> None:
        if self.most_usd is not None:
            await self._desk.wait("reserve", worst_usd)

    def settle(self, worst_usd: float, cost_usd: float) -> None:
        if self.most_usd is not None:
            self._desk.send("settle", worst_usd, cost_usd)
        elif cost_usd:
            self._desk.send("spend", cost_usd)

    def stop(self, error: Exception) -> None:
        self._desk.stop(error)


class WorkersEngine(Engine):
    """Asks on behalf of a run's part.

    Args:
        ledger: the part's.
        desk: the way to `Permits`.
        work: what is to be done.
    """

    def __init__(self, ledger: Ledger, permits: Any, number: int, work: Work) -> None:
        self.halted = False
        self._desk = desk = Desk(permits, number, self._halt)
        super().__init__(ledger, work.concurrency, spending=_DistantSpending(desk, work.prices, work.most_usd))

    def _halt(self) -> None:
        self.halted = True
        self._stopping.set()

    def make_lane(self, endpoint: str, model: str, most: int) -> Lane:
        """The way to a model, on which `Permits` give leave."""
        return _DistantLane(self._desk, endpoint, model, most)

    async def _finally_answer(self, teacher: Teacher, request: Request, key: str, content: str) -> Answer:
        row = await self._desk.known(key)
        if isinstance(row, Exception):
            raise row
        if row is not None:
            self.ledger.take(row)
            await self.commit()
            answer = self._known(teacher, request, key)
            if answer is not None:
                self.reused += 1
                return answer
        try:
            return await super()._finally_answer(teacher, request, key, content)
        except (RequestRefusedError, TransientError) as error:
            self._desk.send("give_up", key, error)  # another part may come by it
            raise

    def close(self) -> None:
        """Closes the ledger, and sends what is still to be told."""
        super().close()
        self._desk.finish()


def do_part(name: str, folder: str, part: str, count: int) -> None:
    """Does a part of a run's work, in a process of the cluster; unless the run is ending, its results are there then.

    What goes wrong for the run as a whole is told to `Permits`, which stop all workers.

    Args:
        name: of the actor of `Permits`.
        folder: of the run's parts.
        part: which one.
        count: how many items it has.
    """
    import ray

    permits = ray.get_actor(name)
    try:
        _do_part(permits, name, Path(folder), part, count)
    except Gpt4InstructError as error:
        ray.get(permits.stop.remote(error))
    except OSError as error:
        why = f"the worker on {address()} cannot write {folder}: {error.strerror or error}. Free the disk"
        ray.get(permits.stop.remote(OutputError(f"{why}; answers are kept in the ledger")))


def _do_part(permits: Any, name: str, folder: Path, part: str, count: int) -> None:
    import ray

    work: Work
    environment: dict[str, str]
    work, environment = ray.get([permits.work.remote(), permits.environment.remote()])
    with suppress(OSError):
        os.chdir(work.directory)
    items = Part(folder, part, count)
    if not items.path.is_file():
        raise OutputError(
            f"the worker on {address()} does not see {folder}: all machines of the cluster must "
            "share the ledger's folder, name another with --ledger"
        )
    job: Callable[[Engine, Sequence[Any]], Iterable[Any]] = unpack(name, work.job, environment)
    number: int | None = ray.get(permits.begin.remote(part))
    if number is None:
        return
    engine = WorkersEngine(Ledger(folder / f"{part}.sqlite3"), permits, number, work)
    rows = 0
    told, at = 0, time.monotonic()

    def done() -> None:
        nonlocal rows, told, at
        rows += 1
        if time.monotonic() - at >= _TELL_S:
            permits.post.remote(number, [("rows", rows - told)])
            told, at = rows, time.monotonic()

    try:
        whole = write_results(items, job(engine, items), done)
        if not whole and not engine.halted:
            raise RunStoppedError(f"part {part} gave fewer results than it has items: this is a fault of the package")
    finally:
        engine.close()
        ray.get(permits.end.remote(number, rows, engine.reused, engine.spending.unpriced))
