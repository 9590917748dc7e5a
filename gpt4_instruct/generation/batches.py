"""Gets answers by the batch: packs the requests that wait into files, submits them, and settles what comes back.

    defer ──▶ intent ──▶ packed ──▶ submitting ──▶ open ──▶ ended      what has no answer then waits for the next batch

Each step is in the ledger before it is taken, so that whoever is killed between two of them goes on where it was: a
batch that was perhaps submitted is looked for under its name at the endpoint before it is submitted again. A batch
whose run has died is taken over by the next run, which may ask the rest of its requests at once instead.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from gpt4_instruct.errors import OutputError, RequestRefusedError, RunStoppedError, TeacherError, TransientError
from gpt4_instruct.generation.delays import PATIENT_ATTEMPTS, delay_s
from gpt4_instruct.generation.ledger import Batch, Ledger
from gpt4_instruct.generation.pricing import Spending
from gpt4_instruct.records import Request
from gpt4_instruct.teachers.base import BatchStatus, BatchTeacher, read

__all__ = ["Batches", "number"]

_ATTEMPTS = 6  # batches that a request may be in without an answer
_FIRST_POLL_S = 2.0
_LONGEST_POLL_S = 60.0
_FULL_S = 60.0  # until an endpoint on which too much is waiting is tried again
_WORTHWHILE = 0.25  # share of a budget's first round that a later one must reach
_FULL_TRIES = 1440  # a day's: that long, a batch of somebody else's may take
_LINES_A_COMMIT = 200
_OTHERS_S = 1.0


T = TypeVar("T")


class _Engine(Protocol):
    """What batches need of the engine that they belong to."""

    ledger: Ledger
    spending: Spending
    asked: int
    fresh: set[int]

    async def commit(self) -> None: ...
    async def pause(self, delay_s: float) -> None: ...
    async def retry(self, call: Callable[[], Awaitable[T]]) -> T: ...
    def check_running(self) -> None: ...


class Batches:
    """The batches of one run.

    Args:
        engine: whose ledger, budget and event loop they use.
    """

    def __init__(self, engine: _Engine) -> None:
        self.engine = engine
        self.ledger = engine.ledger
        self.spending = engine.spending
        self.teachers: dict[tuple[str, str], BatchTeacher] = {}
        self.report: Callable[[int, int], None] = lambda done, total: None
        self._refused: dict[str, RequestRefusedError] = {}
        self._failures: Counter[str] = Counter()
        self._deferred: set[int] = set()  # `number` of the keys that rows of this run wait for
        self._run_error: RunStoppedError | None = None
        self._reserved: dict[str, float] = {}
        self._progress: dict[str, tuple[int, int]] = {}
        self._idle = 0  # rounds in a row in which there was nothing to do
        self._collecting: dict[str, asyncio.Task[None]] = {}

    # --- collecting requests ----------------------------------------------------------------------------------------

    def defer(self, teacher: BatchTeacher, request: Request, key: str, content: str) -> None:
        """Records that a request waits for a batch.

        Raises:
            RequestRefusedError: a batch of this run brought its refusal.
            TransientError: several batches of this run brought no answer to it.
        """
        if key in self._refused:
            raise self._refused[key]
        if self._failures[key] >= _ATTEMPTS:
            raise TransientError(f"{_ATTEMPTS} batches at {teacher.endpoint} brought no answer")
        self.teachers[teacher.endpoint, teacher.model] = teacher
        self._deferred.add(number(key))
        self.spending.worst_usd(request, batch=True)  # says at once that a budget has no price to go by
        # What is another run's, or in a batch already, is not claimed: it is waited for like the rest.
        self.ledger.claim(key, request, content, teacher.spec, intent=True)

    # --- from requests to answers -----------------------------------------------------------------------------------

    async def run(self, teacher: BatchTeacher) -> None:
        """Sees all batches of a teacher through: those that were there, and as many new ones as the requests take."""
        most = teacher.most_requests
        at_once: int | None = None  # batches; none for as many as there are
        first = full = 0  # requests of the first round; rounds in a row in which too much was waiting at the endpoint
        while True:
            batches = self.ledger.adopt(teacher.endpoint, teacher.model)
            for batch in batches:
                self._reserve(batch)
            packed, unaffordable = self._pack(teacher, most, at_once)
            requests = sum(batch.requests for batch in packed)
            first = first or requests
            if unaffordable is not None and not batches and (not packed or requests < first * _WORTHWHILE):
                # What flowed back from one round pays for a smaller one, and so on: days for the last few requests.
                for batch in packed:
                    self._give_back(batch)
                    self.ledger.unpack(batch)
                raise self.spending.exhausted(unaffordable)
            await self.engine.commit()
            if not packed and not batches:
                if not first:
                    await self._wait_for_another_run(teacher)
                return
            first = first or 1
            ended = await _all(self._see_through(teacher, batch) for batch in [*batches, *packed])
            if self._run_error is not None:
                raise self._run_error
            if not all(ended):
                at_once = max(1, sum(ended))
            elif at_once is not None:
                at_once += 1
            if not any(ended):  # every one was too much
                full += 1
                if full == _FULL_TRIES:
                    raise RunStoppedError(f"{teacher.endpoint} takes no batch: too much is waiting there for a day now")
                # It may be this batch that is too large, or those of others: smaller ones, and one at a time.
                most = max(1, max(batch.requests for batch in [*batches, *packed]) // 2)
                await self.engine.pause(_FULL_S)
                self.engine.check_running()
            elif full:
                full, most = 0, min(teacher.most_requests, 2 * most)

    async def _wait_for_another_run(self, teacher: BatchTeacher) -> None:
        """What was deferred, but is neither ours nor in a batch of ours, another run sees to, perhaps for hours."""
        self._idle += 1
        if self._idle == 3:
            print(f"waiting for another run that asks {teacher.model} the same by the batch", file=sys.stderr)
        await self.engine.pause(min(_LONGEST_POLL_S, _OTHERS_S * 2 ** (self._idle - 1)))
        self.engine.check_running()

    def _pack(self, teacher: BatchTeacher, most: int, at_once: int | None) -> tuple[list[Batch], float | None]:
        """Batches of all waiting requests that the budget allows, and what the first it does not allow may cost.

        No more than `at_once` batches.
        """
        packed: list[Batch] = []
        while True:
            keys: list[str] = []
            size = 0
            unaffordable = None
            for key, content in self.ledger.intents(teacher.endpoint, teacher.model):
                request = Request.from_json(content)
                length = len(teacher.line(request, key).encode("utf-8", "surrogatepass")) + 1
                if len(keys) == most or (keys and size + length > teacher.most_bytes):
                    break
                worst_usd = self.spending.worst_usd(request, batch=True)
                if not self.spending.try_reserve(worst_usd):
                    unaffordable = worst_usd
                    break
                self._reserved[key] = worst_usd
                keys.append(key)
                size += length
            if keys:
                packed.append(self.ledger.pack(keys, teacher.spec, teacher.endpoint, teacher.model))
            if not keys or len(packed) == at_once or unaffordable is not None:
                return packed, unaffordable

    def _reserve(self, batch: Batch) -> None:
        """Counts a batch that another run has submitted against this one's budget, as far as it has no answers yet."""
        for key, content in self.ledger.waiting_in(batch):
            if key not in self._reserved:
                worst_usd = self.spending.worst_usd(Request.from_json(content), batch=True)
                self.spending.try_reserve(worst_usd, anyway=True)
                self._reserved[key] = worst_usd

    async def _see_through(self, teacher: BatchTeacher, batch: Batch) -> bool:
        """Takes a batch to its end from wherever it is; false where too much is waiting at the endpoint already."""
        batch = await self._submit(teacher, batch)
        assert batch.remote is not None
        remote, delay_s = batch.remote, _FIRST_POLL_S
        while True:
            status = await self.engine.retry(lambda: teacher.poll(remote))
            self._tell(batch, status)
            if status.state != "running":
                break
            await self.engine.pause(delay_s)
            self.engine.check_running()
            delay_s = min(_LONGEST_POLL_S, delay_s * 1.5)
        if status.state == "failed" and not status.full:
            self._give_back(batch)
            self.ledger.move(batch, "ended")
            await self.engine.commit()
            raise RunStoppedError(f"{teacher.endpoint} refuses the batch {batch.remote}: {status.detail}")
        if status.full:
            self._progress.pop(batch.id, None)
            self._give_back(batch)
            self.ledger.unpack(batch)
            await self.engine.commit()
            return False
        await self._settle(teacher, batch, status)
        return True

    async def _submit(self, teacher: BatchTeacher, batch: Batch) -> Batch:
        """A batch that is surely submitted, and only once."""
        is_new = batch.state == "packed"
        if is_new:
            file = await self._upload(teacher, batch)
            batch = self.ledger.move(batch, "submitting", file=file)
            await self.engine.commit()
        if batch.state == "submitting":
            # It may have been submitted: by a run that was killed, or by a call whose reply was lost.
            remote = None if is_new else await self.engine.retry(lambda: teacher.find(batch.id))
            for attempt in range(1, PATIENT_ATTEMPTS + 1):
                if remote is not None:
                    break
                try:
                    remote = await teacher.submit(batch.file or "", batch.id)
                except TransientError as error:
                    if attempt == PATIENT_ATTEMPTS:
                        raise RunStoppedError(f"{error}; run the same command again to go on") from None
                    await self.engine.pause(delay_s(attempt, error.retry_after_s))
                    remote = await self.engine.retry(lambda: teacher.find(batch.id))
            batch = self.ledger.move(batch, "open", remote=remote)
            await self.engine.commit()
        return batch

    async def _upload(self, teacher: BatchTeacher, batch: Batch) -> str:
        with tempfile.TemporaryDirectory(prefix="gpt4-instruct-") as folder:
            path = Path(folder) / f"{batch.id}.jsonl"
            try:
                with path.open("w", encoding="utf-8", errors="surrogatepass") as file:
                    for key, content in self.ledger.waiting_in(batch):
                        file.write(teacher.line(Request.from_json(content), key) + "\n")
            except OSError as error:
                raise OutputError(f"cannot write {path}: {error.strerror or error}. TMPDIR names another folder")
            return await self.engine.retry(lambda: teacher.upload(path))

    async def _settle(self, teacher: BatchTeacher, batch: Batch, status: BatchStatus) -> None:
        """Records every result of a batch that has ended, and ends it; what has none waits for another batch."""

        async def fetch() -> None:
            # What is settled already is left out: results come twice, and a download may break off and begin again.
            waiting = {key for key, _ in self.ledger.waiting_in(batch)}
            lines = 0
            async for key, result in teacher.results(status):
                if key not in waiting:
                    continue
                waiting.remove(key)
                self._take(teacher, key, Request.from_json(self.ledger.content(key)), result)
                lines += 1
                if lines % _LINES_A_COMMIT == 0:
                    await self.engine.commit()

        await self.engine.retry(fetch)
        for key, _ in self.ledger.waiting_in(batch):
            self._failures[key] += 1
        self._give_back(batch)
        self.ledger.move(batch, "ended")
        await self.engine.commit()

    def _take(self, teacher: BatchTeacher, key: str, request: Request, result: str | Exception) -> None:
        cost_usd = 0.0
        try:
            if isinstance(result, TeacherError) and teacher.amend(result, request):
                raise TransientError(str(result))
            if isinstance(result, Exception):
                raise result
            answer = read(teacher, request, key, result)
            self.ledger.settle(key, result, answer.prompt_tokens, answer.completion_tokens)
            # A run that asks at once finds what a batch brings in the ledger, and counts it as reused.
            if number(key) in self._deferred:
                self.engine.fresh.add(number(key))
                self.engine.asked += 1
            cost_usd = self.spending.cost_usd(request, (answer.prompt_tokens, answer.completion_tokens), batch=True)
        except RequestRefusedError as error:
            self._refused[key] = error
            self.ledger.fail(key, str(error), unknown=False)
        except RunStoppedError as error:  # no quota left, in the middle of a batch: what it has answered is taken first
            self._run_error = error
            self.ledger.fail(key, str(error), unknown=False)
        except TransientError as error:
            self._failures[key] += 1
            self.ledger.fail(key, str(error), unknown=error.billable)
            cost_usd = self._reserved.get(key, 0.0) if error.billable else 0.0
        self._settle_money(key, cost_usd)

    def _give_back(self, batch: Batch) -> None:
        """Frees the money for what a batch has not answered."""
        for key, _ in self.ledger.waiting_in(batch):
            self._settle_money(key, 0.0)

    def _settle_money(self, key: str, cost_usd: float) -> None:
        if key in self._reserved:
            self.spending.settle(self._reserved.pop(key), cost_usd)
        else:
            self.spending.spent_usd += cost_usd

    def _tell(self, batch: Batch, status: BatchStatus) -> None:
        self._progress[batch.id] = (status.done, status.total or batch.requests)
        done, total = (sum(numbers) for numbers in zip(*self._progress.values(), strict=True))
        self.report(done, total)

    # --- by a run that asks at once ---------------------------------------------------------------------------------

    async def collect(self, teacher: BatchTeacher, batch: Batch) -> None:
        """Ends a batch that no run sees to: takes the answers it has, and frees the rest to be asked at once."""
        task = self._collecting.get(batch.id)
        if task is None:
            task = self._collecting[batch.id] = asyncio.create_task(self._collect(teacher, batch))
        await asyncio.shield(task)

    async def _collect(self, teacher: BatchTeacher, batch: Batch) -> None:
        try:
            remote = batch.remote
            if batch.state == "submitting":
                remote = await self.engine.retry(lambda: teacher.find(batch.id))
            if remote is None:  # it was never submitted
                self.ledger.move(batch, "ended")
                await self.engine.commit()
                return
            batch = self.ledger.move(batch, "open", remote=remote)
            await self.engine.commit()
            self._reserve(batch)
            await self._end(teacher, batch, remote)
        finally:
            if (teacher.endpoint, teacher.model) not in self.teachers:
                await teacher.close()

    async def _end(self, teacher: BatchTeacher, batch: Batch, remote: str) -> None:
        status = await self.engine.retry(lambda: teacher.poll(remote))
        if status.state == "running":
            print(
                f"cancelling the batch {remote} ({status.done:,} of {batch.requests:,} answered)",
                file=sys.stderr,
            )
            await self.engine.retry(lambda: teacher.cancel(remote))
            while status.state == "running":
                await self.engine.pause(_FIRST_POLL_S)
                self.engine.check_running()
                status = await self.engine.retry(lambda: teacher.poll(remote))
        await self._settle(teacher, batch, status)

    async def cancel(self, teacher: BatchTeacher) -> int:
        """Cancels every batch of a teacher's model and takes the answers they have; how many there were."""
        found = self.ledger.adopt(teacher.endpoint, teacher.model)
        await self.engine.commit()
        await _all(self.collect(teacher, batch) for batch in found)
        if self._run_error is not None:
            raise self._run_error
        return len(found)


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """What all of them return; one that fails does so when the others have ended."""
    found = await asyncio.gather(*work, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return [each for each in found if not isinstance(each, BaseException)]


def number(key: str) -> int:
    """A key as a number that stands for it in sets of millions: 60 of its bits."""
    return int(key[:15], 16)
