"""The parts of a ledger that the workers of a run on several machines keep, and how they come back into it.

Beside ``ledger.sqlite3`` stands ``ledger.sqlite3.shards`` as long as such a run lasts: a folder with a ledger for each
part of its rows. What it holds when the run ends, or was killed, is taken over by the run itself or by the next one,
whichever engine that has, before anything is asked.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from gpt4_instruct.errors import LedgerError
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.storage import lock

__all__ = ["absorb_all", "alone_on", "look_into", "shards_of", "take_over"]

_SUFFIX = ".sqlite3"
_LEAVING_S = 60.0  # until the workers of a run that was killed have noticed
_POLL_S = 0.1


def shards_of(ledger: Path) -> Path:
    """The folder of a ledger's parts; all machines of a run must see it.

    >>> shards_of(Path("/data/ledger.sqlite3")).name
    'ledger.sqlite3.shards'
    """
    ledger = ledger.resolve()
    return ledger.with_name(f"{ledger.name}.shards")


@contextmanager
def alone_on(ledger: Path) -> Iterator[None]:
    """Keeps other runs off a ledger that is in parts: what the parts have, nobody else would find.

    Raises:
        LedgerError: another run has it in parts.
    """
    own = lock(shards_of(ledger), blocking=False)
    try:
        own.acquire()
    except Timeout:
        raise LedgerError(
            f"a run on a cluster is using the ledger {ledger}: wait for it, or name another with --ledger"
        ) from None
    try:
        yield
    finally:
        own.release()


def look_into(path: Path) -> Ledger | None:
    """A ledger to read, with what a run on several machines left behind; none where there is no file.

    While such a run goes on, what its workers have is not in it: the folder of the parts is still there then.

    Raises:
        LedgerError: it, or a part of it, cannot be read.
    """
    if not path.exists():
        return None
    ledger = Ledger(path)
    if shards_of(path).is_dir():
        try:
            with lock(shards_of(path), blocking=False):
                absorb_all(ledger, shards_of(path))
        except Timeout:
            pass
        except BaseException:
            ledger.close()
            raise
    return ledger


def take_over(ledger: Ledger) -> None:
    """Brings back what a run on several machines left behind, if one did.

    Raises:
        LedgerError: such a run is going on, its workers do not end, or a part cannot be read.
    """
    if shards_of(ledger.path).is_dir():
        with alone_on(ledger.path):
            absorb_all(ledger, shards_of(ledger.path))


def absorb_all(ledger: Ledger, folder: Path) -> None:
    """Takes over every part of a ledger in a folder and removes that; the caller is `alone_on` the ledger.

    Raises:
        LedgerError: a worker does not let go of a part, or a part cannot be read.
    """
    for path in sorted(folder.rglob(f"*{_SUFFIX}")):
        shard = Ledger(path)
        try:
            end = time.monotonic() + _LEAVING_S
            while shard.living():
                if time.monotonic() > end:
                    raise LedgerError(f"a worker of a run that has ended still uses {path}: end it, and try again")
                time.sleep(_POLL_S)
            shard.bury()
        finally:
            shard.close()
        ledger.absorb(path)
        for ending in ("", "-wal", "-shm"):
            path.with_name(path.name + ending).unlink(missing_ok=True)
    with suppress(OSError):  # a worker may be writing its last; the next run removes the folder
        shutil.rmtree(folder)
