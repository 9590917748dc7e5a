"""Answering under a quota in simulated time: the package's own limiter against the tests' own endpoint limits, in seconds.

    python tests/benchmarks/simulated.py [--validate]

The `Lane` that every run waits in is the real one, and so is what the endpoint enforces (`tests.faults.Limits`); only
their clock is not: an event loop leaps to the next moment at which something happens, so that an hour of a thousand
requests a second takes a minute. What is modelled: an endpoint's latency (lognormal), a process that spends processor
time on each request, a ledger that commits all that waits for it at once, the actor that hands out a cluster's permits,
and workers that are lost and come again. `--validate` asks a loopback endpoint the same in real time.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import os
import random
import selectors
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from gpt4_instruct.generation import limiter
from gpt4_instruct.generation.delays import delay_s
from gpt4_instruct.generation.limiter import Lane
from tests import faults

EPOCH_S = 1_800_000_000.0


@dataclass(frozen=True)
class Setting:
    """What is simulated. Tokens are means; a request sets aside its prompt and `max_tokens`.

    Attributes:
        requests: how many there are.
        workers: processes, each with a ledger of its own.
        concurrency: requests in flight of each worker.
        requests_per_minute, tokens_per_minute: the quota, which the run is told.
        style: how the endpoint counts: ``bucket`` or ``window``.
        median_s, spread: of the lognormal latency; 0 of spread for a latency that is always the same.
        cpu_s: of a worker, for each request: 1/480 on httpx, 1/920 on aiohttp (tests/benchmarks/engine.py).
        commit_s: of a ledger's commit, however many it covers (`scale.py` measures it).
        permit_s: of the actor's time for a request and its end; 0 in one process.
        lost: a worker is lost after so many seconds, again and again; none for never.
        back_s: until it is back, and asks again what it had in flight.
    """

    requests: int = 6_000
    workers: int = 1
    concurrency: int = 128
    requests_per_minute: float = 6_000
    tokens_per_minute: float = 4_000_000
    style: str = "window"
    median_s: float = 4.0
    spread: float = 0.6
    cpu_s: float = 1 / 920
    commit_s: float = 0.000_02
    permit_s: float = 0.0
    prompt_tokens: int = 70
    answer_tokens: int = 160
    max_tokens: int = 512
    lost: float | None = None
    back_s: float = 15.0


@dataclass(frozen=True)
class Found:
    """What came of it.

    Attributes:
        seconds: of the whole run.
        rate: requests a second, in the middle half of it.
        quota: share of the tighter limit that was used then.
        refused: share of what was sent.
        wait_p99_s: for leave, 99 % of requests waited less.
        twice: what a lost worker had in flight, and was asked, and billed, again.
    """

    seconds: float
    rate: float
    quota: float
    refused: float
    wait_p99_s: float
    twice: int


class _Leaping(selectors.SelectSelector):
    """Nothing ever comes from outside, so waiting is over at once."""

    loop: SimulatedLoop

    def select(self, timeout: float | None = None) -> Any:
        if timeout:
            self.loop.now += timeout
        return super().select(0)


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is that of its timers."""

    def __init__(self) -> None:
        selector = _Leaping()
        selector.loop = self
        self.now = 0.0
        super().__init__(selector)
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.now


@contextmanager
def simulated_time() -> Iterator[SimulatedLoop]:
    """A loop whose time the limiter and the endpoint's limits take for the clock's."""
    loop = SimulatedLoop()
    clock = SimpleNamespace(time=lambda: EPOCH_S + loop.now, monotonic=lambda: loop.now)
    before = limiter.time, faults.time
    limiter.time = faults.time = clock  # type: ignore[attr-defined]
    try:
        yield loop
    finally:
        limiter.time, faults.time = before  # type: ignore[attr-defined]
        loop.close()


class _Server:
    """Something that does one thing at a time."""

    def __init__(self) -> None:
        self.free_at = 0.0

    async def work(self, seconds: float) -> None:
        if not seconds:
            return
        loop = asyncio.get_running_loop()
        self.free_at = max(self.free_at, loop.time()) + seconds
        await asyncio.sleep(self.free_at - loop.time())


class _Ledger(_Server):
    """Commits all that has come since the last commit at once."""

    next: asyncio.Future[None] | None = None

    async def commit(self, seconds: float) -> None:
        if self.next is None:
            self.next = asyncio.get_running_loop().create_future()
            start = max(0.0, self.free_at - asyncio.get_running_loop().time())
            asyncio.get_running_loop().call_later(start, self._begin, seconds)
        await asyncio.shield(self.next)  # it is the others' too

    def _begin(self, seconds: float) -> None:
        done, self.next = self.next, None
        loop = asyncio.get_running_loop()
        self.free_at = loop.time() + seconds
        assert done is not None
        loop.call_later(seconds, done.set_result, None)


def simulate(setting: Setting, seed: int = 0) -> Found:
    """Runs a setting."""
    with simulated_time() as loop:
        return loop.run_until_complete(_run(setting, random.Random(seed)))


async def _run(setting: Setting, rng: random.Random) -> Found:
    loop = asyncio.get_running_loop()
    kept: list[Any] = [None]
    total = setting.workers * setting.concurrency
    lane = Lane(
        total,
        lambda: kept[0],
        lambda quota: kept.__setitem__(0, quota),
        setting.requests_per_minute,
        setting.tokens_per_minute,
    )
    limits = faults.Limits(int(setting.requests_per_minute), int(setting.tokens_per_minute), style=setting.style)
    actor, left = _Server(), deque(range(setting.requests))
    charge = setting.prompt_tokens + setting.max_tokens
    used = setting.prompt_tokens + setting.answer_tokens
    waits: list[float] = []
    ends: list[float] = []
    counts = {"refused": 0, "sent": 0, "twice": 0}

    async def ask(process: _Server, ledger: _Ledger) -> None:
        """A request, until it is answered."""
        overloads = 0
        while True:
            began = loop.time()
            await actor.work(setting.permit_s)
            permit = await lane.admit(charge)
            waits.append(loop.time() - began)
            ticket: Any = None
            answered = False
            try:
                await ledger.commit(setting.commit_s)
                await process.work(setting.cpu_s)
                counts["sent"] += 1
                ticket = limits.admit(charge, used)
                answered = not isinstance(ticket, str)
                if answered:
                    await asyncio.sleep(setting.median_s * math.exp(rng.gauss(0, setting.spread)))
                    limits.settle(ticket, used)
                    await ledger.commit(setting.commit_s)
            except asyncio.CancelledError:
                counts["twice"] += not isinstance(ticket, str | None)
                lane.done(permit, used_tokens=None)
                raise
            lane.done(permit, used_tokens=used if answered else None, overloaded=not answered)
            if answered:
                ends.append(loop.time())
                return
            counts["refused"] += 1
            overloads += 1
            await asyncio.sleep(delay_s(overloads, None))

    async def slot(process: _Server, ledger: _Ledger) -> None:
        while left:
            number = left.popleft()
            try:
                await ask(process, ledger)
            except asyncio.CancelledError:
                left.append(number)
                raise

    async def worker() -> None:
        while left:
            process, ledger = _Server(), _Ledger()
            slots = [asyncio.ensure_future(slot(process, ledger)) for _ in range(setting.concurrency)]
            life = None if setting.lost is None else rng.expovariate(1 / setting.lost)
            _, lost = await asyncio.wait(slots, timeout=life)
            for each in lost:
                each.cancel()
            if lost:
                await asyncio.wait(lost)
                await asyncio.sleep(setting.back_s)

    await asyncio.gather(*(worker() for _ in range(setting.workers)))
    seconds = loop.time()
    rate = _middle_rate(ends)
    quota = 60 * max(rate / setting.requests_per_minute, rate * used / setting.tokens_per_minute)
    waits.sort()
    return Found(
        seconds,
        rate,
        quota,
        counts["refused"] / counts["sent"],
        waits[int(len(waits) * 0.99)],
        counts["twice"],
    )


def _middle_rate(ends: list[float]) -> float:
    """Requests a second while the run was under way: neither its beginning, nor its last answers."""
    first, last = len(ends) // 4, len(ends) * 3 // 4
    return (last - first) / (ends[last] - ends[first])


# --- beside real time -------------------------------------------------------------------------------------------------

VALIDATED = {
    "by its concurrency: 8 in flight, 1 s each": Setting(
        requests=120, concurrency=8, median_s=1.0, spread=0.0, requests_per_minute=60_000
    ),
    "by its quota: 3,000 requests a minute": Setting(
        requests=600, concurrency=64, median_s=0.25, spread=0.0, requests_per_minute=3_000
    ),
}


def validate(setting: Setting) -> tuple[float, float]:
    """Seconds of a setting with a constant latency: simulated, and by the real engine at a loopback endpoint."""
    return simulate(setting).seconds, measure(setting)


def measure(setting: Setting) -> float:
    """Seconds that the real engine, client and ledger take, once they are warm."""
    from gpt4_instruct.generation.engine import Engine
    from gpt4_instruct.generation.ledger import Ledger
    from gpt4_instruct.records import Message, Request
    from gpt4_instruct.teachers.base import connect

    limits = faults.Limits(int(setting.requests_per_minute), int(setting.tokens_per_minute), style=setting.style)
    with (
        tempfile.TemporaryDirectory(prefix="gpt4-instruct-bench-") as folder,
        faults.FaultyEndpoint(limits=limits, latency_s=setting.median_s, refused_share=0.0, length_share=0.0) as server,
    ):
        os.environ.update(OPENAI_BASE_URL=server.url, OPENAI_API_KEY=server.key, GPT4_INSTRUCT_HOME=folder)

        def run(count: int, begin: int, **flags: Any) -> float:
            teacher = connect("openai:m")
            engine = Engine(Ledger(Path(folder, f"{begin}.sqlite3")), setting.concurrency, **flags)

            async def work(number: int) -> int:
                prompt = f"Say something about the number {number}."
                request = Request(teacher.endpoint, teacher.model, (Message("user", prompt),), {"max_tokens": 512})
                return (await engine.ask(teacher, request)).completion_tokens

            began = time.monotonic()
            done = sum(1 for _ in engine.stream(work, range(begin, begin + count)))
            assert done == count
            engine.close()
            return time.monotonic() - began

        run(4, 1_000_000)  # what is imported when it is first needed
        quota = {
            "requests_per_minute": setting.requests_per_minute,
            "tokens_per_minute": setting.tokens_per_minute,
        }
        return run(setting.requests, 0, **quota)


# --- what is asked of it ----------------------------------------------------------------------------------------------

# A high tier's quota (OpenAI's fifth for its small model: 30,000 requests and 150 million tokens a minute).
TIER_5 = Setting(requests=30_000, requests_per_minute=30_000, tokens_per_minute=150_000_000, concurrency=256)


def settings() -> dict[str, Setting]:
    """By what each shows."""
    small = Setting(requests_per_minute=500, tokens_per_minute=200_000, requests=1_500)
    found = {
        "1 process, 500 a minute": small,
        "1 process, 6,000 a minute": Setting(requests=24_000, concurrency=640),
        "1 process of httpx, 30,000 a minute": replace(TIER_5, concurrency=4_096, cpu_s=1 / 480),
        "1 process of aiohttp, 30,000 a minute": replace(TIER_5, concurrency=4_096),
    }
    for workers in (4, 16, 64):
        found[f"{workers} workers x {4_096 // workers}, 30,000 a minute"] = replace(
            TIER_5, workers=workers, concurrency=4_096 // workers, cpu_s=1 / 480
        )
    many = replace(TIER_5, workers=16, concurrency=768, requests_per_minute=120_000, tokens_per_minute=600_000_000)
    many = replace(many, requests=60_000, cpu_s=1 / 480)
    found |= {
        "16 workers x 768, 120,000 a minute": many,
        "  the same, 0.2 ms of the actor's for each": replace(many, permit_s=0.0002),
        "  the same, 1 ms of the actor's for each": replace(many, permit_s=0.001),
        "  the same, 20 ms a commit": replace(many, commit_s=0.02),
        "  the same, each worker lost every 2 min, and back in 15 s": replace(many, lost=120.0),
    }
    return found


def table(found: Iterator[tuple[str, Found]]) -> list[tuple[str, ...]]:
    """Rows for a table, the first of them its head."""
    head = ("setting", "requests/s", "of the quota", "429s", "99 % wait less than", "asked twice")
    return [
        head,
        *(
            (
                name,
                f"{each.rate:,.0f}",
                f"{each.quota:.1%}",
                f"{each.refused:.2%}",
                f"{each.wait_p99_s:,.1f} s",
                f"{each.twice:,}",
            )
            for name, each in found
        ),
    ]


def main() -> None:
    """Prints what was simulated."""
    from tests.benchmarks.scale import show_table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--validate", action="store_true", help="only beside a loopback endpoint, in real time")
    options = parser.parse_args()
    if options.validate:
        lines = [("bounded", "simulated", "measured", "difference")]
        for name, setting in VALIDATED.items():
            simulated_s, measured_s = validate(setting)
            difference = f"{simulated_s / measured_s - 1:+.1%}"
            lines.append((name, f"{simulated_s:.2f} s", f"{measured_s:.2f} s", difference))
        show_table(lines)
        return
    show_table(table((name, simulate(each)) for name, each in settings().items()))


if __name__ == "__main__":
    main()
