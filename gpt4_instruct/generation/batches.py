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
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol, TypeVar

from gpt4_instruct.errors import OutputError, RequestRefusedError, RunStoppedError, TeacherError, TransientError
from gpt4_instruct.generation.delays import PATIENT_ATTEMPTS, delay_s
from gpt4_instruct.generation.ledger import Batch, Ledger
from gpt4_instruct.generation.pricing import Spending
from gpt4_instruct.records import Request
from gpt4_instruct.teachers.base import BatchStatus, BatchTeacher, read

__all__ = ["Batches"]

_ATTEMPTS = 6  # batches that a request may be in without an answer
_FIRST_POLL_S = 2.0
_LONGEST_POLL_S = 60.0
_FULL_S = 60.0  # until an endpoint on which too much is waiting is tried again
_FEWEST = 50  # requests in a batch that is made smaller because too much is waiting
_FULL_TRIES = 1440  # a day's: that long, a batch of somebody else's may take
_LINES_A_COMMIT = 200
_OTHERS_S = 1.0


T = TypeVar("T")


class _Engine(Protocol):
    """What batches need of the engine that they belong to."""

    ledger: Ledger
    spending: Spending
    asked: int

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
        self.spending.worst_usd(request, batch=True)  # says at once that a budget has no price to go by
        # What is another run's, or in a batch already, is not claimed: it is waited for like the rest.
        self.ledger.claim(key, request, content, teacher.spec, intent=True)

    # --- from requests to answers -----------------------------------------------------------------------------------

    async def run(self, teacher: BatchTeacher) -> None:
        """Sees all batches of a teacher through: those that were there, and as many new ones as the requests take."""
        most = teacher.most_requests
        worked = False
        full = 0  # rounds in a row in which too much was waiting at the endpoint
        while True:
            batches = self.ledger.adopt(teacher.endpoint, teacher.model)
            for batch in batches:
                self._reserve(batch)
            packed, unaffordable = self._pack(teacher, most, one=full > 0)
            await self.engine.commit()
            if unaffordable is not None and not packed and not batches:
                raise self.spending.exhausted(unaffordable)
            if not packed and not batches:
                # What was deferred, but is neither ours nor in a batch of ours, another run sees to, perhaps for hours.
                self._idle = 0 if worked else self._idle + 1
                if self._idle:
                    await self.engine.pause(min(_LONGEST_POLL_S, _OTHERS_S * 2 ** (self._idle - 1)))
                    self.engine.check_running()
                return
            worked = True
            ended = await asyncio.gather(*(self._see_through(teacher, batch) for batch in [*batches, *packed]))
            if not any(ended):  # every one was too much
                full += 1
                if full == _FULL_TRIES:
                    raise RunStoppedError(f"{teacher.endpoint} takes no batch: too much is waiting there for a day now")
                # It may be this batch that is too large, or those of others: smaller ones, and one at a time.
                most = max(_FEWEST, max(batch.requests for batch in [*batches, *packed]) // 2)
                await self.engine.pause(_FULL_S)
                self.engine.check_running()
            else:
                full = 0

    def _pack(self, teacher: BatchTeacher, most: int, *, one: bool) -> tuple[list[Batch], float | None]:
        """Batches of all waiting requests that the budget allows, and what the first it does not allow may cost.

        With `one`, no more than one batch.
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
            if not keys or one or unaffordable is not None:
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
            self.ledger.move(batch, "ended")
            await self.engine.commit()
            raise RunStoppedError(f"{teacher.endpoint} refuses the batch {batch.remote}: {status.detail}")
        if status.full:
            for key, _ in self.ledger.waiting_in(batch):
                self._settle_money(key, 0.0)
            self.ledger.unpack(batch)
            await self.engine.commit()
            return False
        await self._settle(teacher, batch, status)
        return True

    async def _submit(self, teacher: BatchTeacher, batch: Batch) -> Batch:
        """A batch that is surely submitted, and only once."""
        if batch.state == "packed":
            file = await self._upload(teacher, batch)
            batch = self.ledger.move(batch, "submitting", file=file)
            await self.engine.commit()
        if batch.state == "submitting":
            # It may have been: by a run that was killed, or by a call whose reply was lost.
            remote = await self.engine.retry(lambda: teacher.find(batch.id))
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
            self._settle_money(key, 0.0)
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
            self.engine.asked += (teacher.endpoint, teacher.model) in self.teachers
            cost_usd = self.spending.cost_usd(request, (answer.prompt_tokens, answer.completion_tokens), batch=True)
        except RequestRefusedError as error:
            self._refused[key] = error
            self.ledger.fail(key, str(error), unknown=False)
        except TransientError as error:
            self._failures[key] += 1
            self.ledger.fail(key, str(error), unknown=error.billable)
            cost_usd = self._reserved.get(key, 0.0) if error.billable else 0.0
        self._settle_money(key, cost_usd)

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
            await teacher.close()

    async def _end(self, teacher: BatchTeacher, batch: Batch, remote: str) -> None:
        status = await self.engine.retry(lambda: teacher.poll(remote))
        if status.state == "running":
            print(
                f"cancelling the batch {remote} ({status.done:,} of {status.total:,} answered) to ask the rest at once",
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
        await asyncio.gather(*(self.collect(teacher, batch) for batch in found))
        return len(found)
