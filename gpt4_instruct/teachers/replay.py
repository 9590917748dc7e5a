"""The teacher that answers from a record, with no model and no network: ``replay:PATH``.

The record is a ledger, a file of rows, or a list of rows; a row is a question with its answer::

    {"instruction": "Name the largest planet.", "input": "", "output": "Jupiter."}
    {"prompt": "Is 7 prime?", "output": "Yes.", "finish_reason": "stop"}

so the released files answer the English and the Chinese split as they are. A question that stands there more than once
has its answers in that order: the first is sample 0. It is what tests and examples use.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import RequestRefusedError, UsageError
from gpt4_instruct.formats import read_rows
from gpt4_instruct.prompts.tasks import render_alpaca, render_chinese
from gpt4_instruct.records import Message, Request
from gpt4_instruct.teachers.base import Teacher, completion

__all__ = ["Replay"]

_SQLITE_MAGIC = b"SQLite format 3\x00"


class Replay(Teacher):
    """Answers from recorded answers; a question that is not recorded rejects its row as ``not_recorded``.

    The record is poured into a temporary database on disk, so memory does not grow with it. Where a ledger holds
    answers of several models to one question, they are its samples in the order they were asked.

    Args:
        record: the path of a ledger or of a .json, .jsonl, .csv or .parquet file, or rows as above.

    Raises:
        UsageError: the record cannot be read, or holds no answer.

    >>> teacher = Replay([{"prompt": "Is 7 prime?", "output": "Yes."}])
    >>> import asyncio
    >>> request = Request("replay", teacher.model, (Message("user", "Is 7 prime?"),))
    >>> json.loads(asyncio.run(teacher.ask(request)))["choices"][0]["message"]["content"]
    'Yes.'
    """

    concurrency = 256

    def __init__(self, record: str | Path | Sequence[Mapping[str, Any]]) -> None:
        self.endpoint = "replay"
        if isinstance(record, str | Path):
            if not str(record):
                raise UsageError("the replay teacher needs a record: write replay:PATH, the path of a ledger or a file")
            self.spec = f"replay:{Path(record).name}"  # no folder of yours stands in rows and cards
            answers = _from_path(Path(record).expanduser())
        else:
            self.spec = "replay"
            answers = _from_rows(enumerate(record, start=1), "the list")
        try:
            digest = self._pour(answers)
        except sqlite3.Error as error:
            raise UsageError(f"{self.spec} cannot be read into a temporary file: {error}") from error
        # What is recorded is part of every request's identity: another record is another model.
        self.model = f"record-{digest[:16]}"

    def _pour(self, answers: Iterable[tuple[bytes, str]]) -> str:
        """Puts the answers into a temporary database; their hash."""
        # An empty name is a file that sqlite removes by itself; the engine's thread is not the one that opens it.
        self._answers = sqlite3.connect("", check_same_thread=False)
        self._answers.execute("CREATE TABLE answers (question BLOB, raw TEXT)")
        digest = hashlib.sha256()

        def digested() -> Iterator[tuple[bytes, str]]:
            for question, raw in answers:
                digest.update(question + raw.encode("utf-8", "surrogatepass"))
                yield question, raw

        poured = self._answers.executemany("INSERT INTO answers VALUES (?, ?)", digested())
        self._answers.execute("CREATE INDEX by_question ON answers (question)")
        self._answers.commit()
        if poured.rowcount < 1:
            raise UsageError(f"{self.spec} holds no answer")
        return digest.hexdigest()

    async def ask(self, request: Request) -> str:
        """The recorded response.

        Raises:
            RequestRefusedError: nothing is recorded for this question and sample.
        """
        question = _question(request.messages)
        found = self._answers.execute(
            "SELECT raw FROM answers WHERE question = ? ORDER BY rowid LIMIT 1 OFFSET ?", (question, request.sample)
        ).fetchone()
        if found is None:
            asked = " ".join(request.messages[-1].content.split())[-80:]
            raise RequestRefusedError("not_recorded", f"{self.spec} has no answer {request.sample} to …{asked}")
        return str(found[0])


def _question(messages: Iterable[Message]) -> bytes:
    text = "\0".join(part for message in messages for part in message)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _from_path(path: Path) -> Iterator[tuple[bytes, str]]:
    try:
        with path.open("rb") as file:
            is_ledger = file.read(len(_SQLITE_MAGIC)) == _SQLITE_MAGIC
        yield from _from_ledger(path) if is_ledger else _from_rows(read_rows(path), str(path))
    except (OSError, ValueError, sqlite3.Error) as error:
        raise UsageError(f"cannot replay {path}: {getattr(error, 'strerror', None) or error}") from None


def _from_ledger(path: Path) -> Iterator[tuple[bytes, str]]:
    ledger = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        settled = "SELECT request, response FROM requests WHERE state = 'settled' ORDER BY rowid"
        for request, response in ledger.execute(settled):
            yield _question(Message(*message) for message in json.loads(request)["messages"]), response
    finally:
        ledger.close()


def _from_rows(rows: Iterable[tuple[int, Any]], name: str) -> Iterator[tuple[bytes, str]]:
    for line, row in rows:
        output = row.get("output") if isinstance(row, Mapping) else None
        if not isinstance(output, str):
            raise UsageError(f"cannot replay {name}: row {line} has no text in 'output'")
        if isinstance(row.get("prompt"), str):
            prompts = [row["prompt"]]
        elif isinstance(row.get("instruction"), str):
            task = (row["instruction"].strip(), str(row.get("input") or "").strip())
            prompts = [render_alpaca(*task), render_chinese(*task)]
        else:
            raise UsageError(f"cannot replay {name}: row {line} has neither 'prompt' nor 'instruction'")
        raw = completion(output, model=row.get("model") or "recorded", finish_reason=row.get("finish_reason") or "stop")
        for prompt in prompts:
            yield _question([Message("user", prompt)]), raw
