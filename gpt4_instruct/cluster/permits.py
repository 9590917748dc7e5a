"""One actor that all workers of a cluster ask for leave: it keeps their requests within the limits and the budget.

It is on the node of the process that runs the build, and has what a run on one machine has: a `Lane` for each model
(requests and tokens a minute, ``Retry-After``, how many at once) and the `Spending`. Messages go in batches, one for
each turn of a worker's event loop; who waits for leave hears of it by a call that lasts until there is something to
say. What a worker held that died flows back as soon as Ray says that it did.

It also looks up for the workers what the ledger has, so that only this node opens that, and hands them the environment
of the run. Keys travel in that call only: they stand in no runtime environment, task or stored object of Ray's, which
its dashboard would show or its disks keep.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt4_instruct.generation.engine import Engine
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.generation.limiter import Lane, Permit
from gpt4_instruct.generation.pricing import Prices, Spending

__all__ = ["Permits", "State", "Work"]


@dataclass
class Work:
    """What a worker needs to know of a run.

    Attributes:
        job: pickled by cloudpickle.
        directory: where that process is, which relative paths are meant from.
        prices: what things cost.
        most_usd: whether there is a cap, and which.
        concurrency: requests in flight for each model, if it is given.
    """

    job: bytes
    directory: str
    prices: Prices
    most_usd: float | None
    concurrency: int | None


@dataclass
class State:
    """How far the workers are.

    Attributes:
        rows: that are done.
        asked: requests sent and settled.
        reused: requests that were answered already.
        in_flight: requests under way.
        spent_usd: by the price list.
        unpriced: models whose price is not known.
        quota_used: share of the tightest limit that is taken.
        error: what ends the run, if something does.
    """

    rows: int = 0
    asked: int = 0
    reused: int = 0
    in_flight: int = 0
    spent_usd: float = 0.0
    unpriced: set[str] = field(default_factory=set)
    quota_used: float | None = None
    error: Exception | None = None


@dataclass
class _Worker:
    """A worker at a part: what it holds, and what it is to be told."""

    part: str
    held: dict[int, tuple[Lane, Permit]] = field(default_factory=dict)
    reserved: list[float] = field(default_factory=list)
    ready: list[tuple[int, Exception | None]] = field(default_factory=list)
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    gone: bool = False
    rows: int = 0

    def tell(self, number: int, error: Exception | None) -> None:
        self.ready.append((number, error))
        self.woken.set()


class Permits:
    """Gives leave to ask; made an actor by `engine.ClusterEngine`. Used from one event loop.

    Args:
        ledger: of the run.
        workers: how many there are at most.
        concurrency: requests in flight for each model; by default the teacher's own number for each worker.
        prices: what things cost.
        most_usd: what the run may spend; none for no cap.
        requests_per_minute: most requests sent to each model; by default what the endpoint allows.
        tokens_per_minute: likewise, prompt and answer.
    """

    def __init__(
        self,
        ledger: Path,
        workers: int,
        concurrency: int | None,
        prices: Prices,
        most_usd: float | None,
        requests_per_minute: float | None,
        tokens_per_minute: float | None,
    ) -> None:
        self._ledger = Ledger(ledger)
        self._ledger.begun = self._commit_soon
        self._spending = Spending(prices, most_usd)
        self._engine = Engine(
            self._ledger,
            spending=self._spending,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
        )
        self._crew, self._concurrency = workers, concurrency
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._workers: dict[int, _Worker] = {}
        self._at: dict[str, int] = {}  # who is at a part
        self._state = State()
        self._stopping = False
        self._begun = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._work: Work | None = None
        self._environment: dict[str, str] = {}
        self._given_up: dict[str, Exception] = {}

    def _commit_soon(self) -> None:
        asyncio.get_running_loop().call_soon(self._ledger.commit)

    # --- for the run ------------------------------------------------------------------------------------------------

    async def equip(self, environment: dict[str, str]) -> None:
        """Says which variables of the run's process its teachers read."""
        self._environment = environment

    async def prepare(self, work: Work) -> None:
        """Says what is to be done from now on."""
        self._work = work
        self._workers.clear()
        self._at.clear()
        self._state.rows = 0

    async def state(self) -> State:
        """How far the workers are."""
        known = [used for lane in self._lanes.values() if (used := lane.quota_used()) is not None]
        self._state.quota_used = max(known) if known else None
        self._state.in_flight = sum(lane.in_flight for lane in self._lanes.values())
        self._state.spent_usd = self._spending.spent_usd
        return self._state

    async def stop(self, error: Exception | None = None) -> None:
        """Ends the run: what is in flight is finished, and nothing more is sent. The first error is the run's."""
        self._stopping = True
        self._state.error = self._state.error or error
        for worker in self._workers.values():
            worker.woken.set()

    async def lost(self, part: str) -> None:
        """Whoever was at a part is lost: what it held is free again."""
        number = self._at.pop(part, None)
        if number is not None:
            self._free(self._workers.pop(number), billed=True)

    async def begun(self) -> set[str]:
        """The parts that somebody is at."""
        return set(self._at)

    async def close(self) -> None:
        """Closes the ledger, so that all of it is in one file."""
        self._ledger.close()

    # --- for the workers --------------------------------------------------------------------------------------------

    async def work(self) -> Work:
        """What is to be done."""
        assert self._work is not None
        return self._work

    async def environment(self) -> dict[str, str]:
        """The variables that teachers read. So small an answer goes from process to process, and is stored nowhere."""
        return self._environment

    async def begin(self, part: str) -> int | None:
        """Puts a worker at a part, instead of one that was lost there; its number, or none where the run is ending."""
        await self.lost(part)
        if self._stopping:
            return None
        self._begun += 1
        self._workers[self._begun] = _Worker(part)
        self._at[part] = self._begun
        return self._begun

    async def end(self, number: int, rows: int, reused: int, unpriced: set[str]) -> None:
        """A worker is through with its part."""
        worker = self._workers.pop(number, None)
        if worker is None:  # it was taken for lost
            return
        del self._at[worker.part]
        self._state.rows += rows - worker.rows
        self._state.reused += reused
        self._state.unpriced |= unpriced
        self._free(worker, billed=False)

    async def post(self, number: int, operations: Sequence[tuple[Any, ...]]) -> None:
        """What a worker wants and what has become of what it had, in order."""
        worker = self._workers.get(number)
        if worker is None:
            return
        for name, *values in operations:
            getattr(self, f"_{name}")(worker, *values)

    async def granted(self, number: int) -> tuple[list[tuple[int, Exception | None]], bool]:
        """Waits for something to say: whose leave was given, or refused by an error, and whether to stop."""
        worker = self._workers.get(number)
        if worker is None:
            return [], True
        if not self._stopping:
            await worker.woken.wait()
        worker.woken.clear()
        ready, worker.ready = worker.ready, []
        return ready, self._stopping or worker.gone

    async def known(self, keys: Sequence[str]) -> list[dict[str, Any] | Exception | None]:
        """What the ledger has of settled requests, or why this run has given them up."""
        return [self._given_up.get(key) or self._ledger.row(key) for key in keys]

    # --- what a message may be --------------------------------------------------------------------------------------

    def _admit(self, worker: _Worker, number: int, endpoint: str, model: str, most: int, tokens: int) -> None:
        name = (endpoint, model)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = self._engine.make_lane(*name, self._concurrency or most * self._crew)

        async def give() -> None:
            try:
                permit = await lane.admit(tokens)
            except Exception as error:
                worker.tell(number, error)
                return
            if worker.gone:
                lane.done(permit, sent=False)
                return
            worker.held[number] = (lane, permit)
            worker.tell(number, None)

        self._do(give())

    def _done(self, worker: _Worker, number: int, how: dict[str, Any]) -> None:
        held = worker.held.pop(number, None)
        if held is not None:
            held[0].done(held[1], **how)
            self._state.asked += how["sent"] and how["used_tokens"] is not None

    def _reserve(self, worker: _Worker, number: int, worst_usd: float) -> None:
        async def give() -> None:
            try:
                await self._spending.reserve(worst_usd)
            except Exception as error:
                worker.tell(number, error)
                return
            if worker.gone:
                self._spending.settle(worst_usd, 0.0)
                return
            worker.reserved.append(worst_usd)
            worker.tell(number, None)

        self._do(give())

    def _settle(self, worker: _Worker, worst_usd: float, cost_usd: float) -> None:
        worker.reserved.remove(worst_usd)
        self._spending.settle(worst_usd, cost_usd)

    def _spend(self, worker: _Worker, cost_usd: float) -> None:
        self._spending.spent_usd += cost_usd

    def _give_up(self, worker: _Worker, key: str, error: Exception) -> None:
        self._given_up[key] = error

    def _rows(self, worker: _Worker, rows: int) -> None:
        worker.rows += rows
        self._state.rows += rows

    # --- the rest ---------------------------------------------------------------------------------------------------

    def _do(self, coroutine: Any) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _free(self, worker: _Worker, *, billed: bool) -> None:
        """Takes back what a worker holds; of one that was lost, what it had sent may be billed."""
        worker.gone = True
        for lane, permit in worker.held.values():
            lane.done(permit, sent=False)
        for worst_usd in worker.reserved:
            self._spending.settle(worst_usd, worst_usd if billed else 0.0)
        worker.held.clear()
        worker.reserved.clear()
        if billed:
            self._state.rows -= worker.rows
        worker.woken.set()
