"""The engine of a run on a cluster: its items go to workers in parts, and come back in order.

    items ──▶ parts, by what may be asked equally ──▶ a task of Ray's for each: an engine, a ledger of the part
          ──▶ results, merged in the items' order; the ledgers of the parts, taken over by the run's

A part whose worker or machine is lost is begun anew elsewhere, on what its ledger has. Each part is an ordinary run:
stages, checks, retries and the recording of answers are those of one machine.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TypeVar

from gpt4_instruct.cluster.ask import do_part
from gpt4_instruct.cluster.connect import join, leave, needs_of, node_of_driver, told, workers_of
from gpt4_instruct.cluster.packing import environment, pack
from gpt4_instruct.cluster.partitions import merged, scatter
from gpt4_instruct.cluster.permits import Permits, State, Work
from gpt4_instruct.errors import LedgerError, OutputError
from gpt4_instruct.generation.engine import Engine
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.generation.shards import absorb_all, alone_on, shards_of
from gpt4_instruct.progress import progress

__all__ = ["ClusterEngine"]

T = TypeVar("T")
R = TypeVar("R")

_PARTS_A_WORKER = 2  # so that a worker with short rows is not idle for long at the end
_MOST_PARTS = 512  # files that are open at once
_TRIES = 100  # of a part whose worker is lost: there are machines that may be taken away at any time
_LOOK_S = 0.2
_LEAVE_S = 10.0


class ClusterEngine(Engine):
    """Has work done by the workers of a Ray cluster.

    Args:
        address: see `connect.join`.
        ledger: the file; all machines must see its folder.
        concurrency: requests in flight for each model, in the whole cluster; by default the teacher's own number for
            each worker.
        **options: as `Engine`.

    Raises:
        MissingExtraError, UsageError: there is no Ray, or no cluster.
        LedgerError: the ledger cannot be used, or another run is using it.
    """

    spreads = True

    def __init__(self, address: str, ledger: Path, concurrency: int | None = None, **options: Any) -> None:
        self._quota_used: float | None = None
        self._spreads = 0
        self._hurry = False  # whoever presses Ctrl-C twice does not want to wait: the next run takes the parts over
        self._tasks: dict[Any, str] = {}  # the part of each
        with ExitStack() as stack:
            stack.callback(leave, join(address))
            import ray

            stack.enter_context(alone_on(ledger))
            opened = Ledger(ledger)
            stack.callback(opened.close)
            if opened.living():
                raise LedgerError(f"another run uses the ledger {ledger}: wait for it, or name another with --ledger")
            super().__init__(opened, concurrency, **options)
            absorb_all(opened, shards_of(ledger))
            shards_of(ledger).mkdir(mode=0o700)  # a run that begins now sees that it is not alone
            stack.callback(self._absorb, shards_of(ledger))
            self._workers = workers_of()
            self._name = f"gpt4-instruct-{uuid.uuid4().hex[:12]}"
            place = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node_of_driver(), soft=False)
            hire = ray.remote(Permits).options(
                name=self._name, num_cpus=0, scheduling_strategy=place, max_concurrency=10_000
            )
            self._permits: Any = hire.remote(
                ledger.resolve(),
                self._workers,
                concurrency,
                self.spending.prices,
                self.spending.most_usd,
                *self._per_minute,
            )
            stack.callback(self._dismiss)
            stack.callback(self._end)
            self._closing = stack.pop_all()

    def spread(
        self,
        job: Callable[[Engine, Sequence[T]], Iterable[R]],
        items: Iterable[T],
        key: Callable[[T], str],
        what: str,
        total: Callable[[], int | None] = lambda: None,
    ) -> Iterator[R]:
        """Has a job done for all items by the workers. See `Engine.spread`.

        The job must be such as `packing.pack` takes, items and results such as `pickle` does.

        Raises:
            Gpt4InstructError: what a worker met; every answer is in the ledger.
            InterruptedRunError: Ctrl-C was pressed.
        """
        import ray

        self._spreads += 1  # the items of one may be the results of another, which are read meanwhile
        folder = shards_of(self.ledger.path) / str(self._spreads)
        parts = min(_MOST_PARTS, _PARTS_A_WORKER * self._workers)
        try:
            counts = scatter(items, key, folder, parts)
            self._run_parts(job, folder, counts, what)
            yield from merged(folder, counts)
        except KeyboardInterrupt:
            self._hurry = True
            raise
        except ray.exceptions.RayError as error:  # not of a part: the cluster itself is gone
            raise told(error) from None
        except OSError as error:
            raise OutputError(f"cannot write {folder}: {error.strerror or error}. Answers are kept") from error
        finally:
            self._end()
            self._absorb(folder)

    def _run_parts(self, job: Any, folder: Path, counts: dict[str, int], what: str) -> None:
        import ray

        packed, model = pack(job)
        work = Work(
            packed,
            str(Path.cwd()),
            self.spending.prices,
            self.spending.most_usd,
            self._concurrency,
        )
        ray.get([self._permits.equip.remote(environment()), self._permits.prepare.remote(work)])
        # Ray's own retries would come behind the parts that have not begun, with what the lost one held in its hands.
        task = ray.remote(do_part).options(max_retries=0, scheduling_strategy="SPREAD", **needs_of(model))
        faults = (
            ray.exceptions.RayTaskError,
            ray.exceptions.RuntimeEnvSetupError,
            ray.exceptions.TaskUnschedulableError,
        )
        tries: Counter[str] = Counter()
        failure: Exception | None = None
        stopping = False

        def begin(part: str) -> None:
            tries[part] += 1
            self._tasks[task.remote(self._name, str(folder), part, counts[part])] = part

        for part in sorted(counts, key=lambda part: -counts[part]):  # the largest first
            begin(part)
        with (
            self._interruptible(),
            progress(lambda: sum(counts.values()), f"{what}: on the cluster", "row", leave=False) as bar,
        ):
            state = self._look()
            while self._tasks:
                done, _ = ray.wait(list(self._tasks), num_returns=1, timeout=_LOOK_S)
                state = self._look()
                for each in done:
                    part = self._tasks.pop(each)
                    try:
                        ray.get(each)
                    except faults as error:
                        failure = failure or told(error)
                    except ray.exceptions.RayError as error:  # its worker or its machine is lost
                        ray.get(self._permits.lost.remote(part))
                        if tries[part] > _TRIES:
                            failure = failure or told(error)
                        elif not stopping and state.error is None:
                            begin(part)
                if (self._stopping.is_set() or failure or state.error) and not stopping:
                    stopping = True
                    ray.get(self._permits.stop.remote())
                    begun = ray.get(self._permits.begun.remote())
                    self._end({each for each, part in self._tasks.items() if part not in begun})
                bar.n = state.rows
                bar.refresh()
            state = self._look()
        if state.error or failure:
            raise state.error or failure  # type: ignore[misc]
        if self._interrupted:
            raise self._interruption()

    def _look(self) -> State:
        import ray

        state: State = ray.get(self._permits.state.remote())
        self.asked, self.reused, self._sending = state.asked, state.reused, state.in_flight
        self.spending.spent_usd, self.spending.unpriced = state.spent_usd, state.unpriced
        self._quota_used = state.quota_used
        return state

    def quota_used(self) -> float | None:
        """Share of the tightest known limit that is taken by the whole cluster, 0 to 1."""
        return self._quota_used

    def _end(self, tasks: Iterable[Any] | None = None) -> None:
        """Ends tasks, by default all that are under way: their caller does not wait for them any more."""
        import ray

        for each in list(self._tasks) if tasks is None else tasks:
            del self._tasks[each]
            if ray.is_initialized():  # else Ray would start a cluster for it
                with suppress(ray.exceptions.RayError, ValueError):
                    ray.cancel(each, force=True)

    def _dismiss(self) -> None:
        """Ends the actor that gives permits."""
        import ray

        if ray.is_initialized():  # else Ray would start a cluster for it
            with suppress(ray.exceptions.RayError):
                ray.get(self._permits.close.remote(), timeout=_LEAVE_S)
            ray.kill(self._permits)

    def _absorb(self, folder: Path) -> None:
        """Takes over what the workers' ledgers in a folder have."""
        if not self._hurry:
            absorb_all(self.ledger, folder)

    def close(self) -> None:
        """Ends what is under way, takes over what the workers' ledgers have, and leaves the cluster."""
        self._closing.close()
