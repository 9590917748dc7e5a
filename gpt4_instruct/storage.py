"""Files that are whole or not there: content hashes, atomic writes, and where what must outlive a run is kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonlines

from gpt4_instruct.errors import OutputError

__all__ = ["home", "read_json", "replace_text", "sha256", "write_json", "write_jsonl"]


def home() -> Path:
    """Where ledger, locks and converted models are kept: ``$GPT4_INSTRUCT_HOME``, by default ``~/.gpt4_instruct``."""
    return Path(os.environ.get("GPT4_INSTRUCT_HOME") or Path.home() / ".gpt4_instruct")


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hex digits, read a block at a time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the place of `path` when the block ends well, and is gone when not.

    Raises:
        OutputError: the disk is full, the folder is read-only, or the like.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}. The old content, if any, is untouched")
    finally:
        temporary.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Writes `text` (UTF-8) to `path`, whole or not at all.

    Raises:
        OutputError: it could not be written; what was there before still is.
    """
    with _replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as indented JSON to `path`, whole or not at all. Raises what `replace_text` raises."""
    replace_text(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def write_jsonl(path: Path, rows: Iterable[Any]) -> int:
    """Writes a JSON line for each row, whole or not at all; returns how many. Raises what `replace_text` raises."""
    count = 0
    with _replacing(path) as temporary, jsonlines.open(temporary, "w") as writer:
        for row in rows:
            writer.write(row)
            count += 1
    return count


def read_json(path: Path) -> Any:
    """The content of a JSON file of ours.

    Raises:
        OutputError: it is not there, or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}")
    except ValueError as error:
        raise OutputError(f"{path} is not JSON: {error}")
