"""The record of every request ever sent and its raw response: a settled request is never sent again.

One sqlite file, one row a request, its key the hash of the request's content::

    intent ──▶ sent ──▶ settled      the response is here, as it came
                 ├────▶ failed       it was refused, or never arrived at the endpoint
                 └────▶ unknown      it may have been answered, and billed, but nothing reached us

``intent`` is a request that waits for its batch. A request that is ``sent`` belongs to a run, and no other run sends it
as long as that one lives; each run holds a lock that the system lets go of when its process ends, however it ends.
What a dead run had sent is ``unknown``, and is asked again; ``unknown_attempts`` counts how often that was so, which
bounds what may have been paid twice. A request that is in a batch belongs to the batch, which outlives runs.

Write-ahead logging with ``synchronous=NORMAL``: a killed process loses nothing, a power cut at most the last moments.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from gpt4_instruct.errors import LedgerError
from gpt4_instruct.records import Request
from gpt4_instruct.storage import home, lock

__all__ = ["Batch", "Ledger", "default_path"]

_APPLICATION_ID = 0x67344C31  # "g4L1", so that another program's database is not mistaken for a ledger
_VERSION = 2
_REQUESTS = """
CREATE TABLE requests (
    key TEXT PRIMARY KEY,
    teacher TEXT NOT NULL,
    endpoint TEXT NOT NULL,
    model TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intent', 'sent', 'settled', 'failed', 'unknown')),
    attempts INTEGER NOT NULL,
    request TEXT NOT NULL,
    response TEXT,
    error TEXT,
    updated REAL NOT NULL
)"""
# Version 1 had the table above; every later version is a step from the one before, so that old ledgers open.
_STEPS = {
    2: (
        "ALTER TABLE requests ADD COLUMN unknown_attempts INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE requests ADD COLUMN prompt_tokens INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE requests ADD COLUMN completion_tokens INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE requests ADD COLUMN run INTEGER",
        "ALTER TABLE requests ADD COLUMN batch TEXT",
        "ALTER TABLE requests ADD COLUMN by_batch INTEGER NOT NULL DEFAULT 0",
        "UPDATE requests SET state = 'unknown' WHERE state = 'sent'",
        "UPDATE requests SET unknown_attempts = 1 WHERE state = 'unknown'",
        "UPDATE requests SET prompt_tokens = ifnull(json_extract(response, '$.usage.prompt_tokens'), 0), "
        "completion_tokens = ifnull(json_extract(response, '$.usage.completion_tokens'), 0) "
        "WHERE state = 'settled' AND json_valid(response)",
        "CREATE INDEX open_requests ON requests (run) WHERE state IN ('intent', 'sent')",
        "CREATE INDEX batched_requests ON requests (batch) WHERE batch IS NOT NULL",
        "CREATE TABLE runs (id INTEGER PRIMARY KEY AUTOINCREMENT, lock TEXT NOT NULL, pid INTEGER, started REAL)",
        "CREATE TABLE batches (id TEXT PRIMARY KEY, teacher TEXT NOT NULL, endpoint TEXT NOT NULL, "
        "model TEXT NOT NULL, file TEXT, remote TEXT, state TEXT NOT NULL "
        "CHECK (state IN ('packed', 'submitting', 'open', 'ended')), requests INTEGER NOT NULL, run INTEGER, "
        "created REAL NOT NULL, updated REAL NOT NULL)",
        "CREATE TABLE limits (lane TEXT PRIMARY KEY, quota TEXT NOT NULL)",
    ),
}

_KNOWN = (
    "key, teacher, endpoint, model, state, attempts, request, response, error, updated, unknown_attempts, "
    "prompt_tokens, completion_tokens, by_batch"
)
# A response that was taken from here, to be at hand there, is as old as the one here, and changes nothing.
_ABSORB = f"""
INSERT INTO requests ({_KNOWN}) SELECT {_KNOWN} FROM part.requests WHERE true ON CONFLICT (key) DO UPDATE SET
    state = excluded.state, response = excluded.response, error = excluded.error, updated = excluded.updated,
    attempts = attempts + excluded.attempts, unknown_attempts = unknown_attempts + excluded.unknown_attempts,
    prompt_tokens = excluded.prompt_tokens, completion_tokens = excluded.completion_tokens, by_batch = excluded.by_batch
WHERE state != 'settled' OR (excluded.state = 'settled' AND excluded.updated > updated)"""


def default_path() -> Path:
    """``$GPT4_INSTRUCT_HOME/ledger.sqlite3``, by default under ``~/.gpt4_instruct``: one ledger for all builds."""
    return home() / "ledger.sqlite3"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the ledger knows it.

    Attributes:
        id: ours.
        teacher: as the user wrote it.
        endpoint: where it is.
        model: who answers it.
        file: the endpoint's name of the file with its requests, once uploaded.
        remote: the endpoint's name of the batch, once submitted.
        state: ``"packed"`` (not submitted), ``"submitting"`` (perhaps submitted), ``"open"`` or ``"ended"``.
        requests: how many it was packed with.
        created: seconds since the epoch.
    """

    id: str
    teacher: str
    endpoint: str
    model: str
    file: str | None
    remote: str | None
    state: Literal["packed", "submitting", "open", "ended"]
    requests: int
    created: float


_BATCH = "id, teacher, endpoint, model, file, remote, state, requests, created"


class Ledger:
    """Opens a ledger, and makes it when it is not there. Used from one thread at a time.

    Several processes may share the file: what one has settled, the others find, and what one has sent, the others
    wait for. Changes are on disk after `commit`.

    Args:
        path: the file.

    Raises:
        LedgerError: it is not a ledger, is from a newer version, or cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        # Beside the file, so that all who share the one share the other.
        self._runs = path.resolve().with_name(f"{path.resolve().name}.runs")
        self.begun: Callable[[], None] | None = None  # told when a transaction begins, so that somebody commits it
        self._broken: LedgerError | None = None  # what went wrong: nothing is recorded any more
        self._run: int | None = None
        self._run_lock: FileLock | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with lock(path):  # two processes may open a new one at the same moment
                is_new = not path.exists()
                # autocommit: transactions are begun below, as immediate ones, so that two processes queue up.
                self._db = sqlite3.connect(path, timeout=60.0, isolation_level=None, check_same_thread=False)
                self._db.execute("PRAGMA synchronous = NORMAL")
                self._prepare()
                if is_new:
                    path.chmod(0o600)  # prompts may be private
        except (sqlite3.Error, OSError) as error:
            raise self._failure(error) from error

    def _prepare(self) -> None:
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        is_empty = application == 0 and tables == 0
        if not is_empty and application != _APPLICATION_ID:
            raise LedgerError(f"{self.path} is a database, but not a ledger: name another file with --ledger")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise LedgerError(f"{self.path} was written by a newer version: pip install --upgrade gpt4-instruct")
        if version == _VERSION:
            return
        if is_empty:
            self._db.execute("PRAGMA journal_mode = WAL")
        with self._transaction():
            if is_empty:
                self._db.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
                self._db.execute(_REQUESTS)
            for number in range(max(version, 1) + 1, _VERSION + 1):
                for statement in _STEPS[number]:
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _failure(self, error: Exception) -> LedgerError:
        why = getattr(error, "strerror", None) or error
        return LedgerError(f"the ledger {self.path} cannot be used: {why}. Free the disk or name another")

    # --- runs -------------------------------------------------------------------------------------------------------

    def join(self) -> None:
        """Becomes a run, which may send requests; whatever belonged to dead runs is free again."""
        if self._run is not None:
            return
        self.commit()
        try:
            self._runs.mkdir(exist_ok=True)
            name = f"{uuid.uuid4().hex}.lock"
            # Closed by another thread than the one that opens it.
            self._run_lock = FileLock(self._runs / name, thread_local=False)
            self._run_lock.acquire()
            with self._transaction():
                self._bury_the_dead()
                values = (name, os.getpid(), time.time())
                self._run = self._db.execute("INSERT INTO runs (lock, pid, started) VALUES (?, ?, ?)", values).lastrowid
        except (sqlite3.Error, OSError) as error:
            raise self._failure(error) from error

    def _bury_the_dead(self) -> None:
        """Inside a transaction: what dead runs had sent may have been answered, and is nobody's any more."""
        for run, name in self._db.execute("SELECT id, lock FROM runs").fetchall():
            if run == self._run or _is_held(self._runs / name):
                continue
            self._forget(run)
            with suppress(OSError):
                (self._runs / name).unlink(missing_ok=True)

    def _forget(self, run: int) -> None:
        self._db.execute(
            "UPDATE requests SET unknown_attempts = unknown_attempts + (state = 'sent'), run = NULL, "
            "state = CASE state WHEN 'sent' THEN 'unknown' ELSE 'failed' END "
            "WHERE run = ? AND state IN ('intent', 'sent') AND batch IS NULL",
            (run,),
        )
        self._db.execute("UPDATE batches SET run = NULL WHERE run = ?", (run,))
        self._db.execute("DELETE FROM runs WHERE id = ?", (run,))

    def living(self) -> int:
        """How many other runs use this ledger now."""
        with self._errors():
            runs = self._db.execute("SELECT id, lock FROM runs").fetchall()
        return sum(run != self._run and _is_held(self._runs / name) for run, name in runs)

    # --- requests ---------------------------------------------------------------------------------------------------

    def settled(self, key: str) -> str | None:
        """The raw response to the request of this key, or none."""
        query = "SELECT response FROM requests WHERE key = ? AND state = 'settled'"
        with self._errors():
            found = self._db.execute(query, (key,)).fetchone()
        return None if found is None else str(found[0])

    def row(self, key: str) -> dict[str, Any] | None:
        """What is known of a settled request, as another ledger's `take` wants it; none where it is not settled."""
        found = next(self.query(f"SELECT {_KNOWN} FROM requests WHERE key = ? AND state = 'settled'", (key,)), None)
        return None if found is None else dict(zip(_KNOWN.split(", "), found, strict=True))

    def claim(self, key: str, request: Request, content: str, teacher: str, *, intent: bool = False) -> bool:
        """Makes a request this run's, to be sent at once; false where it is settled, or another's.

        Args:
            key: `request.key`.
            request: what is asked.
            content: `request.to_json()`.
            teacher: whom, as the user wrote it.
            intent: it is not sent yet, but waits for its batch.
        """
        state = "intent" if intent else "sent"
        return bool(
            self._write(
                "INSERT INTO requests (key, teacher, endpoint, model, state, attempts, request, updated, run) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET state = excluded.state, "
                "attempts = attempts + excluded.attempts, teacher = excluded.teacher, error = NULL, "
                "updated = excluded.updated, run = excluded.run, by_batch = 0 WHERE (state IN ('failed', 'unknown') "
                "OR (state IN ('intent', 'sent') AND run IS excluded.run)) AND batch IS NULL",
                (
                    *(key, teacher, request.endpoint, request.model, state, not intent),
                    *(content, time.time(), self._run),
                ),
            )
        )

    def bury(self) -> None:
        """Frees what belonged to runs whose process has ended."""
        with self._errors():
            self._begin()
            self._bury_the_dead()

    def is_free(self, key: str) -> bool:
        """Whether a request that could not be claimed might be now: it is not settled, nor a run's, nor a batch's."""
        query = "SELECT 1 FROM requests WHERE key = ? AND state IN ('failed', 'unknown') AND batch IS NULL"
        with self._errors():
            return self._db.execute(query, (key,)).fetchone() is not None

    def orphan(self, key: str) -> Batch | None:
        """The batch that a request is in, if no other living run sees to it; it is ours now."""
        mine = (
            "id = (SELECT batch FROM requests WHERE key = ? AND state IN ('intent', 'sent')) "
            "AND (run IS NULL OR run = ?)"
        )
        found = self._batches(mine, (key, self._run))
        if not found:
            return None
        self._write("UPDATE batches SET run = ? WHERE id = ?", (self._run, found[0].id))
        return found[0]

    def settle(self, key: str, response: str, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Records a raw response, before anything is made of it, and what the endpoint says that it used."""
        self._write(
            "UPDATE requests SET state = 'settled', response = ?, error = NULL, updated = ?, run = NULL, "
            "prompt_tokens = ?, completion_tokens = ? WHERE key = ? AND state != 'settled'",
            (response, time.time(), prompt_tokens, completion_tokens, key),
        )

    def fail(self, key: str, error: str, *, unknown: bool, settled: bool = False) -> None:
        """Records that a request has no response.

        Args:
            key: of the request.
            error: why.
            unknown: it may have been billed all the same.
            settled: it has a response, but one that cannot be read. Without this, what is settled stays as it is.
        """
        self._write(
            "UPDATE requests SET state = ?, unknown_attempts = unknown_attempts + ?, error = ?, updated = ?, "
            "run = NULL, batch = NULL, by_batch = 0, response = NULL WHERE key = ? AND (state != 'settled' OR ?)",
            ("unknown" if unknown else "failed", unknown, error, time.time(), key, settled),
        )

    def take(self, row: dict[str, Any]) -> bool:
        """Takes over a request that another ledger knows; false where this one knows as much.

        Args:
            row: its columns. One that is under way elsewhere is nobody's here, and may have been billed there.
        """
        state = {"intent": "failed", "sent": "unknown"}.get(row["state"], row["state"])
        unsure = (row.get("unknown_attempts") or 0) + (row["state"] == "sent")
        return bool(
            self._write(
                "INSERT INTO requests (key, teacher, endpoint, model, state, attempts, request, response, error, "
                "updated, unknown_attempts, prompt_tokens, completion_tokens, by_batch) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
                "state = excluded.state, attempts = attempts + excluded.attempts, response = excluded.response, "
                "error = NULL, updated = excluded.updated, prompt_tokens = excluded.prompt_tokens, "
                "unknown_attempts = unknown_attempts + excluded.unknown_attempts, "
                "completion_tokens = excluded.completion_tokens, by_batch = excluded.by_batch "
                "WHERE excluded.state = 'settled' AND state IN ('failed', 'unknown')",
                (
                    *(row["key"], row["teacher"], row["endpoint"], row["model"], state, row.get("attempts") or 0),
                    *(row["request"], row.get("response"), row.get("error"), row.get("updated") or time.time(), unsure),
                    *(row.get("prompt_tokens") or 0, row.get("completion_tokens") or 0),
                    bool(row.get("by_batch")) and state == "settled",
                ),
            )
        )

    def absorb(self, path: Path) -> None:
        """Takes over all that a part of this ledger knows, one that a worker of this run kept and nobody uses any more.

        What was sent and lost is added to what is known to be lost here; of two responses, the later one stays.

        Args:
            path: of the part, a ledger that was closed, or whose dead runs were buried.
        """
        self.commit()
        with self._errors():
            self._db.execute("ATTACH DATABASE ? AS part", (str(path),))
            try:
                with self._transaction():
                    self._db.execute(_ABSORB)
            finally:
                self._db.execute("DETACH DATABASE part")

    # --- batches ----------------------------------------------------------------------------------------------------

    def intents(self, endpoint: str, model: str) -> Iterator[tuple[str, str]]:
        """Key and content of this run's requests that wait for a batch, in the order in which they came."""
        query = (
            "SELECT key, request FROM requests WHERE run = ? AND state = 'intent' AND batch IS NULL "
            "AND endpoint = ? AND model = ? ORDER BY rowid"
        )
        with self._errors():
            yield from self._db.execute(query, (self._run, endpoint, model))

    def pack(self, keys: list[str], teacher: str, endpoint: str, model: str) -> Batch:
        """Makes a batch of requests that wait for one."""
        batch = Batch(uuid.uuid4().hex, teacher, endpoint, model, None, None, "packed", len(keys), time.time())
        self._write(
            f"INSERT INTO batches ({_BATCH}, run, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*(getattr(batch, name.strip()) for name in _BATCH.split(",")), self._run, time.time()),
        )
        with self._errors():
            self._db.executemany(
                "UPDATE requests SET batch = ?, by_batch = 1 WHERE key = ?", ((batch.id, key) for key in keys)
            )
        return batch

    def move(self, batch: Batch, state: str, *, file: str | None = None, remote: str | None = None) -> Batch:
        """Records a batch's next state; the batch as it is then. `submitting` counts as an attempt of its requests."""
        if state == "submitting" and batch.state == "packed":
            self._write(
                "UPDATE requests SET state = 'sent', attempts = attempts + 1 WHERE batch = ? AND state = 'intent'",
                (batch.id,),
            )
        if state == "ended":  # what has no result by now was not answered
            self._write(
                "UPDATE requests SET state = 'failed', run = NULL, batch = NULL, by_batch = 0 "
                "WHERE batch = ? AND state IN ('intent', 'sent')",
                (batch.id,),
            )
        self._write(
            "UPDATE batches SET state = ?, file = ifnull(?, file), remote = ifnull(?, remote), updated = ? "
            "WHERE id = ?",
            (state, file, remote, time.time(), batch.id),
        )
        return self._batches("id = ?", (batch.id,))[0]

    def unpack(self, batch: Batch) -> None:
        """Ends a batch that was not accepted: its requests wait for another one."""
        self._write(
            "UPDATE requests SET state = 'intent', run = ?, batch = NULL, by_batch = 0 "
            "WHERE batch = ? AND state IN ('intent', 'sent')",
            (self._run, batch.id),
        )
        self.move(batch, "ended")

    def forget(self, batch: Batch) -> None:
        """Ends a batch of which nothing can be learnt any more: its requests may have been answered, and billed."""
        self._write(
            "UPDATE requests SET state = 'unknown', unknown_attempts = unknown_attempts + 1, run = NULL, batch = NULL, "
            "by_batch = 0 WHERE batch = ? AND state IN ('intent', 'sent')",
            (batch.id,),
        )
        self.move(batch, "ended")

    def adopt(self, endpoint: str, model: str | None = None) -> list[Batch]:
        """The batches at an endpoint that have not ended and that no other living run sees to; they are ours now."""
        self.bury()
        mine = "state != 'ended' AND endpoint = ? AND model = ifnull(?, model) AND (run IS NULL OR run = ?)"
        values = (endpoint, model, self._run)
        self._write(f"UPDATE batches SET run = ? WHERE {mine}", (self._run, *values))
        return self._batches(mine, values)

    def batches(self) -> list[Batch]:
        """Every batch, oldest first."""
        return self._batches("1", ())

    def _batches(self, condition: str, values: tuple[object, ...]) -> list[Batch]:
        with self._errors():
            query = f"SELECT {_BATCH} FROM batches WHERE {condition} ORDER BY created"
            return [Batch(*found) for found in self._db.execute(query, values)]

    def waiting_in(self, batch: Batch) -> Iterator[tuple[str, str]]:
        """Key and content of the requests of a batch that have no result yet."""
        query = "SELECT key, request FROM requests WHERE batch = ? AND state IN ('intent', 'sent') ORDER BY rowid"
        return self.query(query, (batch.id,))

    def content(self, key: str) -> str:
        """The content of a request that is here."""
        return str(next(self.query("SELECT request FROM requests WHERE key = ?", (key,)))[0])

    # --- limits -----------------------------------------------------------------------------------------------------

    def quota(self, lane: str) -> dict[str, Any] | None:
        """What the runs share about the limits of a lane; nobody else changes it before `commit`."""
        with self._errors():
            self._begin()
            found = self._db.execute("SELECT quota FROM limits WHERE lane = ?", (lane,)).fetchone()
        return None if found is None else json.loads(found[0])

    def save_quota(self, lane: str, quota: dict[str, Any]) -> None:
        """Records what the runs share about the limits of a lane."""
        self._write("INSERT OR REPLACE INTO limits VALUES (?, ?)", (lane, json.dumps(quota)))

    # --- the file ---------------------------------------------------------------------------------------------------

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            # A transaction that fails is lost as a whole, with what was recorded in it before: nothing may rely on it.
            with suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            self._broken = self._failure(error)
            raise self._broken from error

    def _write(self, statement: str, values: tuple[object, ...]) -> int:
        """Runs a statement in the open transaction, or begins one; how many rows it changed."""
        with self._errors():
            self._begin()
            return self._db.execute(statement, values).rowcount

    def _begin(self) -> None:
        if self._broken is not None:
            raise self._broken
        if not self._db.in_transaction:
            self._db.execute("BEGIN IMMEDIATE")
            if self.begun is not None:
                self.begun()

    def query(self, statement: str, values: tuple[object, ...] = ()) -> Iterator[tuple[Any, ...]]:
        """Rows of a SELECT, for those who keep the books."""
        with self._errors():
            yield from self._db.execute(statement, values)

    def commit(self) -> None:
        """Puts what was recorded since the last commit on disk."""
        if self._broken is not None:
            raise self._broken
        if self._db.in_transaction:
            with self._errors():
                self._db.execute("COMMIT")

    def counts(self) -> dict[str, int]:
        """How many requests are in each state that occurs."""
        with self._errors():
            return dict(self._db.execute("SELECT state, count(*) FROM requests GROUP BY state ORDER BY state"))

    def close(self) -> None:
        """Commits, ends the run and closes the file."""
        try:
            if self._broken is None:
                self.commit()
                if self._run is not None:
                    with self._errors(), self._transaction():
                        self._forget(self._run)
        finally:
            self._run = None
            if self._run_lock is not None:
                self._run_lock.release()
                with suppress(OSError):
                    Path(self._run_lock.lock_file).unlink(missing_ok=True)
                    self._runs.rmdir()  # the last one does
            with suppress(sqlite3.Error):
                self._db.close()


def _is_held(path: Path) -> bool:
    """Whether a living process holds the lock at this path."""
    try:
        if not path.exists():
            return False
        with FileLock(path, blocking=False, thread_local=False):
            return False
    except (Timeout, OSError):  # not ours to open: somebody else's, so leave it be
        return True
