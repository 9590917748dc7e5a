"""The tables of a study, a new database of them, whole or not there, and one that is there, opened."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import astuple
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import OutputError
from gpt4_instruct.evaluation.rating_pairs import Pair
from gpt4_instruct.storage import replacing

__all__ = ["APPLICATION_ID", "VERSION", "make", "opened"]

APPLICATION_ID = 0x67344831  # "g4H1", so that another program's database is not mistaken for a study
VERSION = 1
_TABLES = (
    "CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    "CREATE TABLE pairs (number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, question TEXT NOT NULL, "
    "instruction TEXT NOT NULL, input TEXT NOT NULL, ours TEXT NOT NULL, baseline TEXT NOT NULL, expected TEXT)",
    "CREATE TABLE raters (name TEXT PRIMARY KEY, joined REAL NOT NULL)",
    "CREATE TABLE shown (rater TEXT NOT NULL, place INTEGER NOT NULL, pair INTEGER NOT NULL, left TEXT NOT NULL, "
    "at REAL NOT NULL, done INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (rater, place), UNIQUE (rater, pair))",
    "CREATE TABLE votes (rater TEXT NOT NULL, pair INTEGER NOT NULL, criterion TEXT NOT NULL, choice TEXT NOT NULL, "
    "source TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (rater, pair, criterion))",
    "CREATE TABLE history (number INTEGER PRIMARY KEY, rater TEXT NOT NULL, pair INTEGER NOT NULL, "
    "criterion TEXT NOT NULL, choice TEXT NOT NULL, source TEXT NOT NULL, at REAL NOT NULL)",
)


def make(file: Path, pairs: Sequence[Pair], settings: Mapping[str, Any]) -> None:
    """Writes a new database with pairs, numbered from 1, and settings. Raises OutputError if it cannot."""
    settings_rows = [(name, json.dumps(value)) for name, value in settings.items()]
    pair_rows = [(number, *astuple(pair)) for number, pair in enumerate(pairs, start=1)]
    try:
        with replacing(file) as temporary, closing(sqlite3.connect(temporary, isolation_level=None)) as db:
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {VERSION}")
            with db:
                db.execute("BEGIN")
                for statement in _TABLES:
                    db.execute(statement)
                db.executemany("INSERT INTO settings VALUES (?, ?)", settings_rows)
                db.executemany("INSERT INTO pairs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", pair_rows)
    except sqlite3.Error as error:
        raise OutputError(f"cannot write {file}: {error}. Free the disk, or name another folder with --out") from error


def opened(file: Path) -> tuple[sqlite3.Connection, bool]:
    """A database of `make`, for all threads; and whether it can be written. Where not, nothing is written beside it.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    if os.access(file, os.W_OK) and os.access(file.parent, os.W_OK):
        db = sqlite3.connect(file, timeout=60.0, isolation_level=None, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        return db, True
    # Without "immutable", sqlite would make files beside it; with it, it does not see votes that are still in the log.
    log = file.with_name(f"{file.name}-wal")
    how = "mode=ro" if log.is_file() and log.stat().st_size else "immutable=1"
    db = sqlite3.connect(f"{file.absolute().as_uri()}?{how}", uri=True, isolation_level=None, check_same_thread=False)
    return db, False
