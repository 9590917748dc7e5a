"""A source in many files: a folder, a pattern or a URL of them, each of any shape in `shapes`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from gpt4_instruct.errors import SourceError
from gpt4_instruct.formats import FORMATS
from gpt4_instruct.records import Instruction, Reject
from gpt4_instruct.sources.base import Source
from gpt4_instruct.sources.built import find_built
from gpt4_instruct.sources.shapes import adapt
from gpt4_instruct.sources.shards import find_shards, is_pattern, is_url
from gpt4_instruct.storage import sha256

__all__ = ["ManyFiles"]


class ManyFiles(Source):
    """The instructions in many files, one after another in the order of their names.

    Args:
        text: a folder of Parquet files, a pattern such as ``data/*/train-*.jsonl``, or a URL of either, or of a folder
            that `build` wrote, that fsspec knows.

    Attributes:
        name: how it is called in rows and on cards: the last part of what was given, so that no folder is told.
        stem: what rows without an id are called by.

    Raises:
        SourceError: there are no such files, or they cannot be listed.
    """

    def __init__(self, text: str) -> None:
        self.name = PurePosixPath(text.rstrip("/")).name
        self.stem = PurePosixPath(self.name).stem.strip("-_*?[]") or "row"
        is_folder = not is_pattern(text) and PurePosixPath(self.name).suffix.lower() not in FORMATS
        built = find_built(text)
        if built is not None:
            self.shards = built[2].files
        else:
            self.shards = find_shards(f"{text.rstrip('/')}/*.parquet" if is_folder else text)
        digest = hashlib.sha256()
        for shard in self.shards:
            try:
                known = _checksum(shard.url) if is_url(shard.url) else sha256(Path(shard.url))
            except OSError as error:
                raise SourceError(f"cannot read {shard.url}: {error.strerror or error}") from error
            digest.update(f"{shard.name}\0{known}\0".encode())
        self.fingerprint = digest.hexdigest()

    def raw(self) -> Iterator[tuple[int, Any]]:
        """Each row as it is, with its number from 1. Raises `SourceError` where it cannot be read on."""
        return enumerate((row for shard in self.shards for _, row in shard.rows()), start=1)

    def __iter__(self) -> Iterator[Instruction | Reject]:
        number = 0
        for shard in self.shards:
            for line, row in shard.rows():
                number += 1
                yield from adapt(row, f"{self.stem}-{number}", f"{shard.name}:{line}")

    def count(self) -> int | None:
        """How many rows there are, where that is known without reading them."""
        return sum(shard.count() for shard in self.shards) if all(each.is_parquet for each in self.shards) else None


def _checksum(url: str) -> str:
    """What a file system says of a file that changes with it: its size, and when it was written or what it is."""
    from fsspec.core import url_to_fs

    system, path = url_to_fs(url)
    return str(system.checksum(path))
