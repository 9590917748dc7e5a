"""The record of every request ever sent and its raw response: a settled request is never sent again.

One sqlite file, one row a request, its key the hash of the request's content::

    key | teacher | endpoint | model | state | attempts | request (JSON) | response (raw) | error | updated

    intent ──▶ sent ──▶ settled      the response is here, as it came
                 ├────▶ failed       it was refused, or never arrived at the endpoint
                 └────▶ unknown      it may have been answered, and billed, but nothing reached us

A row found as ``sent`` by a later run belonged to one that was killed; it is asked again, as ``unknown`` ones are.
Write-ahead logging with ``synchronous=NORMAL``: a killed process loses nothing, a power cut at most the last moments.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from gpt4_instruct.errors import LedgerError
from gpt4_instruct.records import Request
from gpt4_instruct.storage import home, lock

__all__ = ["Ledger", "default_path"]

_APPLICATION_ID = 0x67344C31  # "g4L1", so that another program's database is not mistaken for a ledger
_VERSION = 1
_SCHEMA = f"""
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
);
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
"""


def default_path() -> Path:
    """``$GPT4_INSTRUCT_HOME/ledger.sqlite3``, by default under ``~/.gpt4_instruct``: one ledger for all builds."""
    return home() / "ledger.sqlite3"


class Ledger:
    """Opens a ledger, and makes it when it is not there. Used from one thread.

    Several processes may share the file; what one has settled, the others find. Two that ask the same question at the
    same moment both send it.

    Changes are on disk after `commit`.

    Args:
        path: the file.

    Raises:
        LedgerError: it is not a ledger, is from a newer version, or cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
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
        if application == 0 and tables == 0:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("BEGIN IMMEDIATE")
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute("COMMIT")
        elif application != _APPLICATION_ID:
            raise LedgerError(f"{self.path} is a database, but not a ledger: name another file with --ledger")
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise LedgerError(f"{self.path} was written by a newer version: pip install --upgrade gpt4-instruct")

    def _failure(self, error: Exception) -> LedgerError:
        why = getattr(error, "strerror", None) or error
        return LedgerError(f"the ledger {self.path} cannot be used: {why}. Free the disk or name another")

    def settled(self, key: str) -> str | None:
        """The raw response to the request of this key, or none."""
        query = "SELECT response FROM requests WHERE key = ? AND state = 'settled'"
        try:
            found = self._db.execute(query, (key,)).fetchone()
        except sqlite3.Error as error:
            raise self._failure(error) from error
        return None if found is None else str(found[0])

    def sent(self, key: str, request: Request, content: str, teacher: str) -> None:
        """Records that a request is about to be sent, once more if it was sent before.

        Args:
            key: `request.key`.
            request: what is asked.
            content: `request.to_json()`.
            teacher: whom, as the user wrote it.
        """
        self._write(
            "INSERT INTO requests VALUES (?, ?, ?, ?, 'sent', 1, ?, NULL, NULL, ?) ON CONFLICT (key) DO UPDATE "
            "SET state = 'sent', attempts = attempts + 1, error = NULL, updated = excluded.updated "
            "WHERE state != 'settled'",
            (key, teacher, request.endpoint, request.model, content, time.time()),
        )

    def settle(self, key: str, response: str) -> None:
        """Records a raw response, before anything reads it."""
        self._write(
            "UPDATE requests SET state = 'settled', response = ?, error = NULL, updated = ? WHERE key = ?",
            (response, time.time(), key),
        )

    def fail(self, key: str, error: str, *, unknown: bool) -> None:
        """Records that a request has no response; `unknown` when it may have been billed all the same."""
        self._write(
            "UPDATE requests SET state = ?, error = ?, updated = ? WHERE key = ?",
            ("unknown" if unknown else "failed", error, time.time(), key),
        )

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        try:
            if not self._db.in_transaction:
                self._db.execute("BEGIN IMMEDIATE")
            self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def commit(self) -> None:
        """Puts what was recorded since the last commit on disk."""
        try:
            if self._db.in_transaction:
                self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def counts(self) -> dict[str, int]:
        """How many requests are in each state that occurs."""
        try:
            return dict(self._db.execute("SELECT state, count(*) FROM requests GROUP BY state ORDER BY state"))
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Commits and closes the file."""
        self.commit()
        self._db.close()
