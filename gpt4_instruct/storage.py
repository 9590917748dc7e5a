"""Files that are whole or not there: content hashes, atomic writes, and where what must outlive a run is kept."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from gpt4_instruct.errors import OutputError

__all__ = ["home", "lock", "read_json", "replace_text", "replacing", "sha256", "write_json"]


def home() -> Path:
    """Where ledger, locks and converted models are kept: ``$GPT4_INSTRUCT_HOME``, by default ``~/.gpt4_instruct``."""
    return Path(os.environ.get("GPT4_INSTRUCT_HOME") or "~/.gpt4_instruct").expanduser()


def lock(path: Path, *, blocking: bool = True) -> FileLock:
    """A lock between processes on a path, as a file of ours elsewhere: one beside it could never be removed safely.

    Args:
        path: what is locked.
        blocking: wait for it; else entering it raises `filelock.Timeout` when another process has it.

    Raises:
        OutputError: `home()` cannot be written.
    """
    locks = home() / "locks"
    try:
        locks.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {locks}: {error.strerror}. GPT4_INSTRUCT_HOME names another folder") from error
    name = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return FileLock(locks / f"{name}.lock", blocking=blocking)


def sha256(path: Path) -> str:
    """SHA-256 of a file's content, as 64 hex digits, read a block at a time."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
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
        with suppress(OSError):  # there may be no folder for it; what went wrong then is told already
            temporary.unlink()


def replace_text(path: Path, text: str) -> None:
    """Writes `text` (UTF-8) to `path`, whole or not at all.

    Raises:
        OutputError: it could not be written; what was there before still is.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Writes `content` as indented JSON to `path`, whole or not at all. Raises what `replace_text` raises."""
    replace_text(path, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


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
