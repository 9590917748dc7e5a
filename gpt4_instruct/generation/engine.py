"""Gets answers: each distinct request is sent once, recorded before it is read, retried where that helps.

The caller writes what happens to one item as a coroutine that asks; `Engine.stream` runs it for very many items at
once on an event loop in a thread of its own (so it works in a notebook, too) and gives the results back in order.
A request for a batch is only recorded, and its item comes back later: see `Deferred`.
"""

from __future__ import annotations

import asyncio
import queue
import signal
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from gpt4_instruct.errors import (
    InterruptedRunError,
    RequestRefusedError,
    RunStoppedError,
    TeacherError,
    TransientError,
    UsageError,
)
from gpt4_instruct.generation.batches import Batches, number
from gpt4_instruct.generation.delays import PATIENT_ATTEMPTS, delay_s
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.generation.limiter import Lane
from gpt4_instruct.generation.pricing import Spending, answer_tokens, load_prices, prompt_tokens
from gpt4_instruct.generation.shards import take_over
from gpt4_instruct.records import Answer, Request, content_key
from gpt4_instruct.registry import find
from gpt4_instruct.teachers.base import BatchTeacher, Response, Teacher, read

__all__ = ["Deferred", "Engine", "check_engine", "open_engine"]

T = TypeVar("T")
R = TypeVar("R")

_ATTEMPTS = 6
_OVERLOADED_ATTEMPTS = (
    PATIENT_ATTEMPTS  # "too many requests" is no fault of the request: the lane slows down, and it waits longer
)
_UNREACHABLE_ATTEMPTS = 3  # when nothing has been answered yet: most likely a wrong address
_HOPELESS = 20  # requests that failed all their attempts, with no answer in between: the endpoint is gone
_OTHERS_S = 0.25  # between looks at whether another run has an answer
_TICKS_TO_TELL = 40  # such looks, until the user is told what is waited for
# Items that wait for an answer at once, and items altogether: finished ones wait for the oldest, which comes out first.
_WINDOW = 2048
_MOST_ITEMS = 16_384
_CHUNK = 64
_POLL_S = 0.005
_WAKE_S = 0.5


class Deferred(Exception):
    """The request waits for its batch: `Engine.run_batches` gets its answer, and then the item is asked again."""


class _Stop(Exception):
    """The run is ending: what has not been sent yet is not sent any more."""


def open_engine(engine: str, ledger: Path, concurrency: int | None = None, **options: Any) -> Engine:
    """The engine that a text names, on a ledger.

    Args:
        engine: ``"local"``, ``"ray"``, ``"ray:ADDRESS"``, or another one of the registry's.
        ledger: the file.
        concurrency: as `Engine`, and so are the options.

    Raises:
        UsageError: it cannot be had as written, or is not reached.
        UnknownNameError: there is no such engine.
        LedgerError: the ledger cannot be used.
    """
    name, _, address = engine.partition(":")
    found: Engine = find("engines", name)(address).open(ledger, concurrency, **options)
    return found


def check_engine(engine: str, teachers: Iterable[Teacher]) -> None:
    """Finds what cannot work before anything is opened.

    Raises:
        UsageError: a teacher answers by the batch, which only the local engine collects.
        UnknownNameError: there is no such engine.
    """
    name = engine.partition(":")[0]
    find("engines", name)
    batched = next((each.spec for each in teachers if isinstance(each, BatchTeacher)), None)
    if name != "local" and batched is not None:
        raise UsageError(f"{batched} answers by the batch, which needs the local engine: leave engine (--engine) out")


class Engine:
    """Asks teachers on behalf of one run.

    Args:
        ledger: what was ever answered; used from the engine's thread only while `stream` runs.
        concurrency: requests in flight per model; by default each teacher's own number.
        spending: what the run may spend, and counts what it does.
        requests_per_minute: most requests sent to each model; by default what the endpoint allows.
        tokens_per_minute: likewise, prompt and answer.

    Attributes:
        spreads: `spread` has others do the work.
    """

    spreads = False

    def __init__(
        self,
        ledger: Ledger,
        concurrency: int | None = None,
        *,
        spending: Spending | None = None,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
    ) -> None:
        self.ledger = ledger
        self.spending = spending or Spending(load_prices())
        self.asked = 0  # requests sent and settled by this run
        self.reused = 0  # requests answered from the ledger
        self.several_passes = False  # requests are asked for again and again, until those by the batch are answered
        self.fresh: set[int] = set()  # then: `number` of the keys that this run had answered
        self.abandoned = False  # after a second Ctrl-C, the thread may use the ledger for longer than its caller
        self._ending = threading.Lock()
        self._alive = False
        self.batches = Batches(self)
        self._concurrency = concurrency
        self._per_minute = (requests_per_minute, tokens_per_minute)
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._teachers: dict[int, Teacher] = {}
        self._flying: dict[str, asyncio.Task[Answer]] = {}
        self._given_up: dict[str, RequestRefusedError | TransientError] = {}
        self._sending = 0
        self._reached = False  # something remote has answered `retry`
        self._failed_in_a_row = 0
        self._committing: asyncio.Future[None] | None = None
        self._ticking: asyncio.Task[None] | None = None
        self._ticks = 0
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._streaming = False
        self._interrupted = False

    # --- one request ------------------------------------------------------------------------------------------------

    async def ask(self, teacher: Teacher, request: Request) -> Answer:
        """The answer to a request, from the ledger if it is there, else from the teacher.

        Raises:
            RequestRefusedError: the teacher refuses this request.
            TransientError: it could not be answered after several attempts.
            RunStoppedError: no request can be answered.
            BudgetError: there is no money for it.
            Deferred: the teacher answers by the batch.
        """
        content = request.to_json()
        key = content_key(content)
        answer = self._known(teacher, request, key)
        if answer is not None:
            self.reused += not (self.fresh and number(key) in self.fresh)
            return answer
        if key in self._given_up:  # not asked twice in a run, which may come by here several times
            raise self._given_up[key]
        if isinstance(teacher, BatchTeacher):
            self._teachers[id(teacher)] = teacher
            self.batches.defer(teacher, request, key, content)
            raise Deferred
        task = self._flying.get(key)
        if task is None:  # two rows may ask the same at the same time
            task = asyncio.create_task(self._finally_answer(teacher, request, key, content))
            self._flying[key] = task
            task.add_done_callback(lambda _: self._flying.pop(key, None))
        else:
            self.reused += 1
        return await task

    def _known(self, teacher: Teacher, request: Request, key: str) -> Answer | None:
        raw = self.ledger.settled(key)
        if raw is None:
            return None
        try:
            return read(teacher, request, key, raw)
        except TransientError as error:  # settled by a version that read it otherwise
            self.ledger.fail(key, str(error), unknown=True, settled=True)
            return None

    async def _finally_answer(self, teacher: Teacher, request: Request, key: str, content: str) -> Answer:
        try:
            return await self._answer(teacher, request, key, content)
        except (RequestRefusedError, TransientError) as error:
            self._given_up[key] = error
            raise

    async def _answer(self, teacher: Teacher, request: Request, key: str, content: str) -> Answer:
        lane = self._use(teacher)
        while True:
            # A request keeps its slot until it is answered or given up, between attempts, too: an endpoint that fails
            # is not asked all that there is to ask.
            async with lane.slots:
                answer = await self._attempts(lane, teacher, request, key, content)
            if answer is None:
                answer = await self._from_others(teacher, request, key)
            if answer is not None:
                return answer

    async def _attempts(self, lane: Lane, teacher: Teacher, request: Request, key: str, content: str) -> Answer | None:
        """The answer, after as many attempts as it takes; none where another run has the request."""
        tokens = prompt_tokens(request) + answer_tokens(request)
        worst_usd = self.spending.worst_usd(request)
        failures = overloads = 0
        while True:
            self.check_running()
            await self.spending.reserve(worst_usd)
            try:
                self.check_running()  # it may have waited long
                permit = await lane.admit(tokens)
            except BaseException:
                self.spending.settle(worst_usd, 0.0)
                raise
            cost_usd, used_tokens, limits = 0.0, None, None
            error: TransientError | None = None
            sent = True
            self._sending += 1
            try:
                self.check_running()
                if not self.ledger.claim(key, request, content, teacher.spec):
                    sent = False
                    return None
                await self.commit()
                cost_usd = worst_usd  # until it is known better
                answer, limits = await self._send(teacher, request, key)
                used_tokens = answer.prompt_tokens + answer.completion_tokens
                cost_usd = self.spending.cost_usd(request, (answer.prompt_tokens, answer.completion_tokens))
                return answer
            except TransientError as caught:
                error, limits = caught, caught.limits
                cost_usd = worst_usd if error.billable else 0.0
                self.ledger.fail(key, str(error), unknown=error.billable)
            except TeacherError as caught:
                cost_usd = 0.0
                self.ledger.fail(key, str(caught), unknown=False)
                raise
            finally:
                self._sending -= 1
                lane.done(
                    permit,
                    sent=sent,
                    used_tokens=used_tokens,
                    limits=limits,
                    overloaded=error is not None and error.overloaded,
                    retry_after_s=error.retry_after_s if error is not None else None,
                )
                self.spending.settle(worst_usd, cost_usd)
                await self.commit()
            failures, overloads = failures + (not error.overloaded), overloads + error.overloaded
            self._give_up(error, failures, overloads)
            await self.pause(delay_s(overloads if error.overloaded else failures, error.retry_after_s))

    async def _send(self, teacher: Teacher, request: Request, key: str) -> tuple[Answer, Any]:
        """Sends a request that is recorded as sent; its answer, recorded as settled, and what came about limits."""
        got = await teacher.ask(request)
        response = Response(got) if isinstance(got, str) else got
        try:
            answer = read(teacher, request, key, response.text)
        except TransientError as error:
            error.limits = response.limits
            raise
        except BaseException:
            self.ledger.settle(key, response.text)  # what was paid for is never lost to a parser
            raise
        self.ledger.settle(key, response.text, answer.prompt_tokens, answer.completion_tokens)
        self.asked += 1
        if self.several_passes:
            self.fresh.add(number(key))
        self._failed_in_a_row = 0
        return answer, response.limits

    def _give_up(self, error: TransientError, failures: int, overloads: int) -> None:
        """Raises when asking again is of no use."""
        if error.unreachable and failures >= _UNREACHABLE_ATTEMPTS and not self.asked:
            raise RunStoppedError(f"{error}. Check the address and the network") from None
        if failures < _ATTEMPTS and overloads < _OVERLOADED_ATTEMPTS:
            return
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= _HOPELESS:
            raise RunStoppedError(
                f"{_HOPELESS} requests in a row failed {failures + overloads} times each (last: {error}); "
                f"every answer so far is in {self.ledger.path}: run the same command again to go on"
            ) from None
        raise error

    async def _from_others(self, teacher: Teacher, request: Request, key: str) -> Answer | None:
        """The answer that another run has asked for, or none when this one may ask."""
        while not self._stopping.is_set():
            answer = self._known(teacher, request, key)
            if answer is not None:
                self.reused += 1
                return answer
            if self.ledger.is_free(key):
                return None
            batch = self.ledger.orphan(key)
            if batch is None:
                await self._tick()
                continue
            batch_teacher = teacher.for_batches()
            if batch_teacher is None:
                raise RunStoppedError(
                    f"{teacher.spec} is to be asked what a batch of {batch.teacher} is answering, and cannot fetch it: "
                    f"'gpt4-instruct ledger cancel {batch.teacher}' ends that"
                )
            await self.batches.collect(batch_teacher, batch)
        raise _Stop

    async def _tick(self) -> None:
        """Waits a little, together with everybody else who waits for other runs, and looks which of them have died."""
        if self._ticking is None:

            async def tick() -> None:
                await self.pause(_OTHERS_S)
                self._ticking = None
                self._ticks += 1
                if self._ticks == _TICKS_TO_TELL:
                    print(f"waiting for another run on {self.ledger.path}, which asks the same", file=sys.stderr)
                self.ledger.bury()
                await self.commit()

            self._ticking = asyncio.create_task(tick())
        await asyncio.shield(self._ticking)

    def _use(self, teacher: Teacher) -> Lane:
        self._teachers[id(teacher)] = teacher
        name = (teacher.endpoint, teacher.model)
        lane = self._lanes.get(name)
        if lane is None:
            most = max(1, self._concurrency or teacher.concurrency)
            lane = self._lanes[name] = self.make_lane(*name, most)
        return lane

    def make_lane(self, endpoint: str, model: str, most: int) -> Lane:
        """The way to a model, with at most so many requests in flight."""
        shared = f"{endpoint} {model}"
        return Lane(
            most,
            lambda: self.ledger.quota(shared),
            lambda quota: self.ledger.save_quota(shared, quota),
            *self._per_minute,
            remote=endpoint.startswith("http"),
            alone=not self.ledger.living(),
        )

    def quota_used(self) -> float | None:
        """Share of the tightest known limit that is taken, 0 to 1."""
        known = [used for lane in list(self._lanes.values()) if (used := lane.quota_used()) is not None]
        return max(known) if known else None

    # --- for `batches`, too -----------------------------------------------------------------------------------------

    async def commit(self) -> None:
        """Returns when what was recorded is on disk; everything recorded in one turn of the loop shares a commit."""
        if self._committing is not None:
            await self._committing

    def _commit_soon(self) -> None:
        """Called by the ledger when it begins a transaction."""
        if self._committing is None:
            loop = asyncio.get_running_loop()
            self._committing = loop.create_future()
            loop.call_soon(self._commit_now)

    def _commit_now(self) -> None:
        done, self._committing = self._committing, None
        assert done is not None
        try:
            self.ledger.commit()
        except Exception as error:
            if self._failure is None:  # perhaps nobody waits for it
                self._failure = error
            done.set_exception(error)
            done.exception()  # it has been seen
        else:
            done.set_result(None)

    async def pause(self, delay_s: float) -> None:
        """Waits, but not longer than the run lasts."""
        loop = asyncio.get_running_loop()
        end = loop.time() + delay_s
        while not self._stopping.is_set() and (left := end - loop.time()) > 0:
            await asyncio.sleep(min(left, 0.1))

    async def retry(self, call: Callable[[], Awaitable[R]]) -> R:
        """Calls something remote until the moment's faults are over.

        Raises:
            RunStoppedError: they do not end.
        """
        for attempt in range(1, PATIENT_ATTEMPTS + 1):
            self.check_running()
            try:
                found = await call()
            except TransientError as error:
                if error.unreachable and attempt >= _UNREACHABLE_ATTEMPTS and not self._reached:
                    raise RunStoppedError(f"{error}. Check the address and the network") from None
                last, delay = error, delay_s(attempt, error.retry_after_s)
            else:
                self._reached = True
                return found
            await self.pause(delay)
        raise RunStoppedError(f"{last}; run the same command again to go on")

    def check_running(self) -> None:
        """Ends the caller when the run is ending."""
        if self._stopping.is_set():
            raise _Stop

    # --- very many items --------------------------------------------------------------------------------------------

    def stream(self, work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> Iterator[R]:
        """Runs ``work(item)`` for every item, many at once, and yields the results in the order of the items.

        The first exception that `work` lets through ends the run: what is in flight is finished and recorded, then the
        exception is raised here. So does Ctrl-C, and a caller that stops asking for results. A run may be several
        streams, one after another.

        Args:
            work: a coroutine function that calls `ask`.
            items: read lazily, in another thread; at most 2,048 wait for answers at a time.

        Raises:
            InterruptedRunError: Ctrl-C was pressed.
        """
        if self._streaming or self._failure or self._interrupted:
            raise RuntimeError("an Engine serves one stream at a time, and none after one that failed: make another")
        take_over(self.ledger)
        self.ledger.join()
        self._streaming = True
        self._stopping.clear()
        self._ticking = None
        results: queue.SimpleQueue[list[R] | BaseException | None] = queue.SimpleQueue()
        iterator = iter(items)
        patient = True

        def serve() -> None:
            try:
                asyncio.run(self._run(work, iterator, results))
            finally:
                with self._ending:
                    self._alive = False
                    if self.abandoned:
                        self.ledger.close()

        self._alive = True
        thread = threading.Thread(target=serve, name="gpt4-instruct-engine", daemon=True)
        with self._interruptible():
            thread.start()
            try:
                while True:
                    try:
                        # Woken now and then: a signal that comes just before a wait begins would be heard at its end.
                        chunk = results.get(timeout=_WAKE_S)
                    except queue.Empty:
                        continue
                    if chunk is None:
                        break
                    if isinstance(chunk, BaseException):
                        raise chunk
                    yield from chunk
            except KeyboardInterrupt:  # the second one: whoever presses it does not want to wait
                patient = False
                raise
            except GeneratorExit:  # it came while the caller was busy with a result
                patient = not self._interrupted
                raise
            finally:
                self._stopping.set()
                if patient:
                    thread.join()
                    self._streaming = False
        if self._interrupted:
            raise self._interruption()

    async def _run(self, work: Callable[[T], Awaitable[R]], items: Iterator[T], results: Any) -> None:
        under_way: deque[asyncio.Task[R]] = deque()
        unfinished = 0
        self.ledger.begun = self._commit_soon
        for lane in self._lanes.values():
            lane.slots = asyncio.Semaphore(lane.most)

        async def run(item: T) -> R:
            nonlocal unfinished
            try:
                return await work(item)
            except Exception as error:
                if self._failure is None and not isinstance(error, _Stop):
                    self._failure = error
                raise
            finally:
                unfinished -= 1

        try:
            more = True
            while (more or under_way) and not self._stopping.is_set():
                while (
                    more
                    and unfinished < _WINDOW
                    and len(under_way) < _MOST_ITEMS
                    and not (under_way and under_way[0].done())
                ):
                    chunk = await asyncio.to_thread(lambda: list(islice(items, _CHUNK)))
                    unfinished += len(chunk)
                    under_way.extend(asyncio.create_task(run(item)) for item in chunk)
                    more = len(chunk) == _CHUNK
                    await asyncio.sleep(0)
                done: list[R] = []
                while under_way and under_way[0].done() and len(done) < _WINDOW:
                    done.append(under_way.popleft().result())
                if done:
                    results.put(done)
                    while results.qsize() > 2 and not self._stopping.is_set():  # the caller writes slower than we ask
                        await asyncio.sleep(_POLL_S)
                elif under_way:
                    await asyncio.wait([under_way[0]], timeout=0.1)
                if self._failure is not None:  # a run that has failed does not wait for its oldest item
                    raise self._failure
        except _Stop:
            pass
        except BaseException as error:
            results.put(error)
        finally:
            self._stopping.set()
            # Nothing is cancelled: what was sent is worth waiting for, and what waits for its turn ends with _Stop.
            for lane in self._lanes.values():
                lane.stop(_Stop())
            self.spending.stop(_Stop())
            await asyncio.gather(*under_way, *self._flying.values(), return_exceptions=True)
            try:
                await self.commit()
                self.ledger.begun = None
                for teacher in self._teachers.values():
                    await teacher.close()
            except Exception as error:
                results.put(error)
            finally:
                results.put(None)

    def spread(
        self,
        job: Callable[[Engine, Sequence[T]], Iterable[R]],
        items: Iterable[T],
        key: Callable[[T], str],
        what: str,
        total: Callable[[], int | None] = lambda: None,
    ) -> Iterator[R]:
        """Has a job done for all items, by parts where an engine has several workers; here all at once.

        Args:
            job: gives a result for each item, in order, and asks by the engine that it is given.
            items: what it is about.
            key: items whose requests may be equal have the same one, and come to the same worker.
            what: for a progress bar.
            total: how many items there are, where that is known.

        Yields:
            the results, in the order of the items.
        """
        yield from job(self, list(items))

    def close(self) -> None:
        """Closes the ledger; one that an abandoned thread still uses is closed by that, at its end."""
        with self._ending:
            if self._alive:
                self.abandoned = True
                return
        self.ledger.close()

    def run_batches(self, report: Callable[[int, int], None] = lambda done, total: None) -> None:
        """Gets the answers to all requests that were deferred, by as many batches as they take.

        Args:
            report: called with how many requests of the batches are answered, and how many there are.

        Raises:
            RunStoppedError: the endpoint takes no batch.
            BudgetError: there is no money for what is left.
            InterruptedRunError: Ctrl-C was pressed; batches go on at the endpoint, and the next run finds them there.
        """
        self.batches.report = report
        for _ in self.stream(self.batches.run, list(self.batches.teachers.values())):
            pass

    def cancel_batches(self, teacher: BatchTeacher) -> int:
        """Cancels the batches of a teacher's model that have not ended, and keeps what they have answered.

        Returns:
            how many there were.
        """
        self._teachers[id(teacher)] = teacher
        return sum(self.stream(self.batches.cancel, [teacher]))

    def forget_batches(self, teacher: BatchTeacher) -> int:
        """Gives up the batches of a teacher's model without a word to the endpoint, which may not have them any more.

        Returns:
            how many there were. Their requests are unknown, and are asked again.
        """
        self.ledger.join()
        found = self.ledger.adopt(teacher.endpoint, teacher.model)
        for batch in found:
            self.ledger.forget(batch)
        self.ledger.commit()
        return len(found)

    def _interruption(self) -> InterruptedRunError:
        return InterruptedRunError(
            f"stopped by Ctrl-C; every answer so far is in {self.ledger.path}: run the same command again to go on"
        )

    @contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Turns the first Ctrl-C into a clean end; the second one is Python's own."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def interrupt(number: int, frame: Any) -> None:
            signal.signal(signal.SIGINT, before)
            self._interrupted = True
            self._stopping.set()
            message = f"\nCtrl-C: finishing {self._sending} requests in flight; press it again to stop at once"
            print(message, file=sys.stderr, flush=True)

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
