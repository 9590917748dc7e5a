"""The files by which a run and its workers give each other items and results: pickles, one after another, in parts.

Items whose requests may be equal have the same key, and one key's items are in one part, so that no two workers ask the
same. A part is read item by item, however long it is, and its results are written so, too; they come back in the order
of the items by a merge of all parts. The files stand in the folder of the ledger's shards, which all machines see.
"""

from __future__ import annotations

import hashlib
import heapq
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, overload

__all__ = ["Part", "merged", "part_of", "scatter", "write_results"]

T = TypeVar("T")
_ITEMS = ".items"
_RESULTS = ".results"


def part_of(key: str, parts: int) -> int:
    """Which of so many parts a key is in; texts that differ in their spaces only are in the same one.

    >>> part_of("Name a fish. ", 8) == part_of("Name  a fish.", 8)
    True
    """
    digest = hashlib.sha256("".join(key.split()).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8]) % parts


def scatter(items: Iterable[T], key: Callable[[T], str], folder: Path, parts: int) -> dict[str, int]:
    """Writes items into parts by their keys.

    Args:
        items: any that `pickle` takes.
        key: see the file's top.
        folder: of the files; made if it is not there.
        parts: how many there are at most.

    Returns:
        how many items there are in each part, by its name.
    """
    counts: dict[str, int] = {}
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # prompts may be private
    with ExitStack() as files:
        opened: dict[str, BinaryIO] = {}
        for number, item in enumerate(items):
            name = f"{part_of(key(item), parts):05d}"
            if name not in opened:
                opened[name] = files.enter_context((folder / f"{name}{_ITEMS}").open("wb"))
            pickle.dump((number, item), opened[name], pickle.HIGHEST_PROTOCOL)
            counts[name] = counts.get(name, 0) + 1
    return counts


class Part(Sequence[Any]):
    """The items of a part, read from its file each time anew.

    Args:
        folder: of the files.
        name: of the part.
        count: how many items it has.
    """

    def __init__(self, folder: Path, name: str, count: int) -> None:
        self.path = folder / f"{name}{_ITEMS}"
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Any]:
        return (item for _, item in _read(self.path))

    def numbers(self) -> Iterator[int]:
        """The place of each item among those of all parts."""
        return (number for number, _ in _read(self.path))

    @overload
    def __getitem__(self, place: int) -> Any: ...
    @overload
    def __getitem__(self, place: slice) -> list[Any]: ...
    def __getitem__(self, place: int | slice) -> Any:
        return list(self)[place]


def write_results(part: Part, results: Iterable[Any], done: Callable[[], None]) -> bool:
    """Writes the result for each item of a part; false where they end too soon, as they do when a run is stopped.

    Args:
        part: whose.
        results: in the order of the items.
        done: called after each.
    """
    written = 0
    with part.path.with_suffix(_RESULTS).open("wb") as file:
        for number, result in zip(part.numbers(), results, strict=False):
            pickle.dump((number, result), file, pickle.HIGHEST_PROTOCOL)
            written += 1
            done()
    return written == len(part)


def merged(folder: Path, names: Iterable[str]) -> Iterator[Any]:
    """The results of all parts, in the order of the items."""
    parts = [_read(folder / f"{name}{_RESULTS}") for name in names]
    return (result for _, result in heapq.merge(*parts, key=lambda each: each[0]))


def _read(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open("rb") as file:
        while True:
            try:
                number, item = pickle.load(file)
            except EOFError:
                return
            yield number, item
