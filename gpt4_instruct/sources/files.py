"""A source in a file: JSON, JSON Lines, CSV or Parquet, of any shape in `shapes`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import SourceError
from gpt4_instruct.formats import read_rows
from gpt4_instruct.records import Instruction, Reject
from gpt4_instruct.sources.base import Source
from gpt4_instruct.sources.shapes import adapt
from gpt4_instruct.storage import sha256

__all__ = ["FileSource"]


class FileSource(Source):
    """The instructions in a file.

    Args:
        path: a ``.json``, ``.jsonl``, ``.csv`` or ``.parquet`` file, or a ``.zip`` of one.
        name: how it is called in rows and on cards; by default the file's name, so that no folder of yours is told.
        fingerprint: what its content is known by; by default its SHA-256.

    Attributes:
        stem: what rows without an id are called by.
        lines: whether a row's place is its line, rather than its number.

    Raises:
        SourceError: it cannot be opened.
    """

    lines = True

    def __init__(self, path: Path, name: str | None = None, fingerprint: str = "") -> None:
        self.path = path.absolute()  # a worker of a cluster may read it, who may be in another folder
        self.name = name or path.name
        self.stem = Path(self.name).stem.removeprefix("released:")
        try:
            self.fingerprint = fingerprint or sha256(path)
        except OSError as error:
            raise SourceError(f"cannot read {path}: {error.strerror}") from error

    def __iter__(self) -> Iterator[Instruction | Reject]:
        for line, row in self.raw():
            yield from adapt(row, f"{self.stem}-{line}", f"{self.name}:{line}")

    def raw(self) -> Iterator[tuple[int, Any]]:
        """Each row as it is, with its line. Raises `SourceError` where it cannot be read on."""
        try:
            yield from read_rows(self.path, lines=self.lines)
        except OSError as error:
            raise SourceError(f"cannot read {self.path}: {error.strerror or error}") from error
        except ValueError as error:
            raise SourceError(f"cannot read {self.path}: {error}") from error
