"""The rows of any data as a Ray dataset of blocks, and what is common to all that is found out about them.

A block is one row of Ray's: ``{"first": 2000, "rows": b"..."}``, the number of its first row and, pickled, either the
rows as they were read or the part of a file that holds them. Whoever looks at a block yields answers of the same form,
so that a row may be of any shape, and no block is larger than some thousand rows.

Workers read Parquet for themselves, a part of a file each, and other files, where there are several, a file each: so
all machines must see them, as they do a shared folder or a URL. All else (one JSON file, the Hub's streams, lists) is
read by one task on the machine of the caller, and streams from there.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from gpt4_instruct.cluster.connect import join, leave, told, workers_of
from gpt4_instruct.errors import Gpt4InstructError
from gpt4_instruct.sources.rows import Rows
from gpt4_instruct.sources.shards import Shard, is_url

__all__ = ["TABLE_ROWS", "Block", "Tables", "by_key", "cluster", "in_blocks", "look_at", "on_cluster"]

BLOCK_ROWS = 1_000
TABLE_ROWS = 50_000  # of a table of what is to be brought together by key
_MOST_PART_ROWS = 20_000
_PARTS_EACH = 8  # for each worker, so that none waits long for the last one
_KEYS_AT_ONCE = 500_000  # that one worker has in memory, about

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that stand one behind the other.

    Attributes:
        first: the number of the first one, from 0.
        rows: each with where it stands in its file.
    """

    first: int
    rows: list[tuple[int, Any]]


@contextmanager
def cluster(address: str) -> Iterator[int]:
    """Work on a Ray cluster: joined or started, and left as it was; what Ray raises is told in a line.

    Args:
        address: as of `connect.join`.

    Yields:
        how many workers it has room for.

    Raises:
        MissingExtraError: Ray is not installed.
        UsageError: the cluster is not reached.
        RunStoppedError: a worker failed.
    """
    with _level_of_log("fatal"):  # else each pool of workers is a warning, for no reason
        started = join(address)
    try:
        with _calm():
            yield workers_of()
    except Exception as error:
        import ray

        if not isinstance(error, ray.exceptions.RayError):
            raise
        raise _ours(error) from None
    finally:
        leave(started)


@contextmanager
def _level_of_log(level: str) -> Iterator[None]:
    """What Ray, when it starts, takes as the level of its own log, where users have set none."""
    name = "RAY_BACKEND_LOG_LEVEL"
    is_set = name in os.environ
    os.environ.setdefault(name, level)
    try:
        yield
    finally:
        if not is_set:
            del os.environ[name]


@contextmanager
def _calm() -> Iterator[None]:
    """Keeps order, and Ray Data's own bars and messages away."""
    import logging

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="ray")  # of its own old names, and of fewer blocks than workers
        from ray.data import DataContext
        from ray.data.context import ShuffleStrategy

        context = DataContext.get_current()
        calm = {
            "enable_progress_bars": False,
            "print_on_execution_start": False,
            # By hash, Ray starts actors for each shuffle, which takes longer than most of ours themselves.
            "shuffle_strategy": ShuffleStrategy.SORT_SHUFFLE_PULL_BASED,
        }
        before = {name: getattr(context, name) for name in calm}
        in_order = context.execution_options.preserve_order
        logger = logging.getLogger("ray.data")
        level = logger.level
        try:
            for name, value in calm.items():
                setattr(context, name, value)
            context.execution_options.preserve_order = True
            logger.setLevel(logging.CRITICAL)
            yield
        finally:
            logger.setLevel(level)
            context.execution_options.preserve_order = in_order
            for name, value in before.items():
                setattr(context, name, value)


def _ours(error: Any) -> Exception:
    """The error of ours that a worker raised, if it did; else what `connect.told` makes of Ray's."""
    seen = error
    while seen is not None:
        # Ray's errors are of the worker's class, too, and hold what was raised; Ray Data adds lines of its own.
        if isinstance(seen, Gpt4InstructError) and not hasattr(seen, "cause"):
            seen.args = (str(seen).splitlines()[0],)
            return seen
        seen = getattr(seen, "cause", None) or seen.__cause__
    return told(error)


def on_cluster(rows: Rows, workers: int) -> Any:
    """A Ray dataset of the blocks of some rows, in order.

    Raises:
        SourceError: the data cannot be read.
    """
    import ray

    if rows.shards and (len(rows.shards) > 1 or rows.shards[0].is_parquet):
        # A worker may be in another folder.
        shards = [
            each if is_url(each.url) else replace(each, url=str(Path(each.url).absolute())) for each in rows.shards
        ]
        parts = list(_parts(shards, workers))
        items = [{"first": first, "rows": pickle.dumps(shard)} for first, shard in parts]
        return ray.data.from_items(items, override_num_blocks=max(1, len(items)))
    read = rows.raw

    def stream(batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        first = 0
        numbered = iter(read())
        while block := list(islice(numbered, BLOCK_ROWS)):
            yield {"first": [first], "rows": [pickle.dumps(block)]}
            first += len(block)

    # On the caller's machine, and in no worker's place.
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    return ray.data.from_items([{"id": 0}]).map_batches(stream, batch_size=1, num_cpus=0, label_selector=here)


def _parts(shards: Sequence[Shard], workers: int) -> Iterator[tuple[int, Shard]]:
    """Parts of files, each with the number of its first row."""
    import ray

    count = ray.remote(Shard.count).options(num_cpus=0)
    counts = [each.count() for each in shards] if all(each.is_parquet for each in shards) else None
    counts = counts or ray.get([count.remote(each) for each in shards])
    size = min(_MOST_PART_ROWS, max(BLOCK_ROWS, sum(counts) // (workers * _PARTS_EACH) + 1))
    first = 0
    for shard, rows in zip(shards, counts, strict=True):
        step = size if shard.is_parquet else max(1, rows)
        for start in range(0, rows, step):
            yield first + start, Shard(shard.url, start, min(rows, start + step)) if shard.is_parquet else shard
        first += rows


def _blocks(batch: dict[str, Any]) -> Iterator[Block]:
    """The blocks that a batch of a dataset stands for."""
    for first, content in zip(batch["first"], batch["rows"], strict=True):
        found = pickle.loads(content)
        first = int(first)
        if isinstance(found, list):
            yield Block(first, found)
            continue
        numbered = found.rows()
        while block := [(first + place + 1, raw) for place, (_, raw) in enumerate(islice(numbered, BLOCK_ROWS))]:
            yield Block(first, block)
            first += len(block)


class _Looker:
    """A worker: made once, then given block after block."""

    def __init__(self, make: Callable[[], Callable[[Block], Any]]) -> None:
        # Ray tells what is raised here by its text alone, and what is raised in a call as it is.
        self._look = cache(make)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        look = self._look()
        for block in _blocks(batch):
            yield {"first": [block.first], "found": [pickle.dumps(look(block))]}


def look_at(rows: Rows, make: Callable[[], Callable[[Block], Any]], workers: int) -> Iterator[Any]:
    """What workers find in each block of some rows, in order, while they go on.

    Args:
        rows: the data.
        make: called once in each worker; makes what is called with each `Block`. It and its results are pickled.
        workers: how many there are.

    Raises:
        SourceError: the data cannot be read.
    """
    import ray

    found = on_cluster(rows, workers).map_batches(
        _Looker,
        fn_constructor_args=(make,),
        batch_size=1,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )
    found.context.target_max_block_size = 1  # byte: what is found of a block is handed on at once, as rows are read
    for row in found.iter_rows():
        yield pickle.loads(row["found"])


class Tables:
    """Arrow tables in Ray's object store, gathered until they are large: each one is a task for whoever reads them.

    Args:
        size: of how many rows one is, at least, but the last.
    """

    def __init__(self, size: int) -> None:
        self.count = 0  # of all rows
        self._size = size
        self._gathered: list[Any] = []
        self._gathered_rows = 0
        self._references: list[Any] = []

    def add(self, table: Any) -> None:
        """Adds a table; all of them have the same columns."""
        self._gathered.append(table)
        self._gathered_rows += table.num_rows
        self.count += table.num_rows
        if self._gathered_rows >= self._size:
            self._put()

    def references(self) -> list[Any]:
        """References to the large ones."""
        if self._gathered_rows:
            self._put()
        return self._references

    def _put(self) -> None:
        import pyarrow
        import ray

        self._references.append(ray.put(pyarrow.concat_tables(self._gathered).combine_chunks()))
        self._gathered, self._gathered_rows = [], 0


def by_key(
    tables: Sequence[Any],
    count: int,
    judge: Callable[[Any], Any],
    workers: int,
    prepare: Callable[[Any], Any] = lambda table: table,
) -> Iterator[dict[str, Any]]:
    """Brings together, by Ray's shuffle, what has one key, and judges it in the workers.

    Args:
        tables: references to Arrow tables.
        count: how many rows they have together, when they are prepared.
        judge: from an Arrow table of all rows of some keys, in no order, to another table.
        workers: how many there are.
        prepare: from one of the tables to one that has, among others, a column ``key`` of integers.

    Yields:
        the rows of the tables that `judge` gave, in no order.
    """
    import ray

    if not count:
        return
    parts = max(workers, -(-count // _KEYS_AT_ONCE))

    def numbered(table: Any) -> Any:
        import numpy as np

        keyed = prepare(table)
        return keyed.append_column("part", [np.mod(keyed.column("key").to_numpy(), parts)])

    dataset = ray.data.from_arrow_refs(list(tables)).map_batches(numbered, batch_format="pyarrow", batch_size=None)
    yield from dataset.groupby("part", num_partitions=parts).map_groups(judge, batch_format="pyarrow").iter_rows()


def in_blocks(items: Iterable[_T], size: int = BLOCK_ROWS) -> Iterator[list[_T]]:
    """The items in lists of so many.

    >>> list(in_blocks("abc", 2))
    [['a', 'b'], ['c']]
    """
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block
