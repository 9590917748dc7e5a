"""Gets answers: each distinct request is sent once, recorded before it is read, retried where that helps.

The caller writes what happens to one item as a coroutine that asks; `Engine.stream` runs it for very many items at
once on an event loop in a thread of its own (so it works in a notebook, too) and gives the results back in order.
"""

from __future__ import annotations

import asyncio
import queue
import random
import signal
import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from gpt4_instruct.errors import (
    InterruptedRunError,
    RequestRefusedError,
    RunStoppedError,
    TransientError,
)
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.records import Answer, Request, content_key
from gpt4_instruct.teachers.base import Teacher, read

__all__ = ["Engine"]

T = TypeVar("T")
R = TypeVar("R")

_ATTEMPTS = 6
_UNREACHABLE_ATTEMPTS = 3  # when nothing has been answered yet: most likely a wrong address
_HOPELESS = 20  # requests that failed all their attempts, with no answer in between: the endpoint is gone
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 60.0
# Items under way at once. The oldest must come out first, so this is how far a slow answer can be overtaken.
_WINDOW = 2048
_CHUNK = 64
_POLL_S = 0.005
_WAKE_S = 0.5


class _Stop(Exception):
    """The run is ending: what has not been sent yet is not sent any more."""


class Engine:
    """Asks teachers on behalf of one run, which is one call of `stream`.

    Args:
        ledger: what was ever answered; used from the engine's thread only while `stream` runs.
        concurrency: requests in flight per teacher; by default each teacher's own number.
    """

    def __init__(self, ledger: Ledger, concurrency: int | None = None) -> None:
        self.ledger = ledger
        self.asked = 0  # requests sent and settled by this run
        self.reused = 0  # requests answered from the ledger
        self.abandoned = False  # by a second Ctrl-C: the thread may still use the ledger, which must not be closed
        self._concurrency = concurrency
        self._lanes: dict[int, asyncio.Semaphore] = {}
        self._teachers: dict[int, Teacher] = {}
        self._flying: dict[str, asyncio.Task[Answer]] = {}
        self._sending = 0
        self._failed_in_a_row = 0
        self._committing: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._stopping = threading.Event()
        self._interrupted = False

    # --- one request ------------------------------------------------------------------------------------------------

    async def ask(self, teacher: Teacher, request: Request) -> Answer:
        """The answer to a request, from the ledger if it is there, else from the teacher.

        Raises:
            RequestRefusedError: the teacher refuses this request.
            TransientError: it could not be answered after several attempts.
            RunStoppedError: no request can be answered.
        """
        content = request.to_json()
        key = content_key(content)
        raw = self.ledger.settled(key)
        if raw is not None:
            try:
                answer = read(teacher, request, key, raw)
            except TransientError as error:  # a run was killed before it could tell that this is half a response
                self.ledger.fail(key, str(error), unknown=True)
            else:
                self.reused += 1
                return answer
        task = self._flying.get(key)
        if task is None:  # two rows may ask the same at the same time
            task = asyncio.create_task(self._answer(teacher, request, key, content))
            self._flying[key] = task
            task.add_done_callback(lambda _: self._flying.pop(key, None))
        else:
            self.reused += 1
        return await task

    async def _answer(self, teacher: Teacher, request: Request, key: str, content: str) -> Answer:
        async with self._lane(teacher):
            for attempt in range(1, _ATTEMPTS + 1):
                if self._stopping.is_set():
                    raise _Stop
                self.ledger.sent(key, request, content, teacher.spec)
                await self._commit()
                self._sending += 1
                try:
                    return await self._send(teacher, request, key)
                except (RequestRefusedError, RunStoppedError) as error:
                    self.ledger.fail(key, str(error), unknown=False)
                    await self._commit()
                    raise
                except TransientError as error:
                    self.ledger.fail(key, str(error), unknown=error.billable)
                    await self._commit()
                    if error.unreachable and attempt >= _UNREACHABLE_ATTEMPTS and not self.asked:
                        raise RunStoppedError(f"{error}. Check the address and the network") from None
                    if attempt == _ATTEMPTS:
                        self._failed_in_a_row += 1
                        if self._failed_in_a_row >= _HOPELESS:
                            raise RunStoppedError(
                                f"{_HOPELESS} requests in a row failed {_ATTEMPTS} times each (last: {error}); "
                                f"every answer so far is in {self.ledger.path}: run the same command again to go on"
                            ) from None
                        raise
                    delay = _delay_s(attempt, error.retry_after_s)
                finally:
                    self._sending -= 1
                await self._pause(delay)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _send(self, teacher: Teacher, request: Request, key: str) -> Answer:
        raw = await teacher.ask(request)
        self.ledger.settle(key, raw)  # before anything reads it: what was paid for is never lost to a parser
        await self._commit()
        answer = read(teacher, request, key, raw)
        self.asked += 1
        self._failed_in_a_row = 0
        return answer

    def _lane(self, teacher: Teacher) -> asyncio.Semaphore:
        lane = self._lanes.get(id(teacher))
        if lane is None:
            lane = self._lanes[id(teacher)] = asyncio.Semaphore(self._concurrency or teacher.concurrency)
            self._teachers[id(teacher)] = teacher
        return lane

    async def _commit(self) -> None:
        """Returns when what was recorded is on disk; everything recorded in one turn of the loop shares a commit."""
        if self._committing is None:
            loop = asyncio.get_running_loop()
            self._committing = loop.create_future()
            loop.call_soon(self._commit_now)
        await self._committing

    def _commit_now(self) -> None:
        done, self._committing = self._committing, None
        assert done is not None
        try:
            self.ledger.commit()
        except Exception as error:
            done.set_exception(error)
        else:
            done.set_result(None)

    async def _pause(self, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + delay_s
        while not self._stopping.is_set() and (left := end - loop.time()) > 0:
            await asyncio.sleep(min(left, 0.1))

    # --- very many items --------------------------------------------------------------------------------------------

    def stream(self, work: Callable[[T], Awaitable[R]], items: Iterable[T]) -> Iterator[R]:
        """Runs ``work(item)`` for every item, many at once, and yields the results in the order of the items.

        The first exception that `work` lets through ends the run: what is in flight is finished and recorded, then the
        exception is raised here. So does Ctrl-C, and a caller that stops asking for results.

        Args:
            work: a coroutine function that calls `ask`.
            items: read lazily, in another thread; at most 2,048 are under way at a time.

        Raises:
            InterruptedRunError: Ctrl-C was pressed.
        """
        if self._stopping.is_set():
            raise RuntimeError("an Engine serves one stream: make another")
        results: queue.SimpleQueue[list[R] | BaseException | None] = queue.SimpleQueue()
        iterator = iter(items)
        thread = threading.Thread(
            target=lambda: asyncio.run(self._run(work, iterator, results)), name="gpt4-instruct-engine", daemon=True
        )
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
                self.abandoned = True
                raise
            except GeneratorExit:  # it came while the caller was busy with a result
                self.abandoned = self._interrupted
                raise
            finally:
                self._stopping.set()
                if not self.abandoned:
                    thread.join()
        if self._interrupted:
            raise InterruptedRunError(
                f"stopped by Ctrl-C; every answer so far is in {self.ledger.path}: run the same command again to go on"
            )

    async def _run(self, work: Callable[[T], Awaitable[R]], items: Iterator[T], results: Any) -> None:
        under_way: deque[asyncio.Task[R]] = deque()

        async def run(item: T) -> R:
            try:
                return await work(item)
            except Exception as error:
                if self._failure is None and not isinstance(error, _Stop):
                    self._failure = error
                raise

        try:
            more = True
            while (more or under_way) and not self._stopping.is_set():
                while more and len(under_way) < _WINDOW and not (under_way and under_way[0].done()):
                    chunk = await asyncio.to_thread(lambda: list(islice(items, _CHUNK)))
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
            await asyncio.gather(*under_way, *self._flying.values(), return_exceptions=True)
            try:
                for teacher in self._teachers.values():
                    await teacher.close()
            except Exception as error:
                results.put(error)
            finally:
                results.put(None)

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


def _delay_s(attempt: int, retry_after_s: float | None) -> float:
    """Seconds before the next attempt: what the endpoint asks for, else exponential with jitter.

    Source: Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015.
    """
    if retry_after_s is not None:
        return min(retry_after_s, _LONGEST_DELAY_S) + random.uniform(0, 0.1)
    return random.uniform(0.5, 1.0) * min(_LONGEST_DELAY_S, _FIRST_DELAY_S * 2.0 ** (attempt - 1))
