"""Rows in many files: a folder or a pattern of them, or a URL (``s3://``, ``hf://``, any that fsspec knows).

    data/                      every .parquet, .json, .jsonl, ... below it, in the order of their names
    data/train-*.parquet       those that match
    hf://datasets/ORG/NAME/data/*.parquet

Names that begin with a dot or an underscore are none of the data, as everywhere where data is written in parts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gpt4_instruct.errors import SourceError
from gpt4_instruct.formats import FORMATS, read_content

__all__ = ["Shard", "find_shards", "is_pattern", "is_url", "read_shards", "read_url"]


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of rows, or some of its rows.

    Attributes:
        url: a path, or a URL that fsspec knows.
        start: the first row, from 0; other than 0 in a Parquet file only.
        stop: the row behind the last one; none for all.
    """

    url: str
    start: int = 0
    stop: int | None = None

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return _name(self.url)

    @property
    def is_parquet(self) -> bool:
        """Whether rows can be counted and passed over without reading them."""
        return self.name.lower().endswith(".parquet")

    def rows(self) -> Iterator[tuple[int, Any]]:
        """Each row as it is, with where it stands in the file, as `formats.read_rows` has it.

        Raises:
            SourceError: the file cannot be read, or read on.
        """
        try:
            with _open(self.url) as file:
                yield from self._part(file) if self.is_parquet else read_content(self.name, file)
        except (OSError, ValueError, ImportError) as error:
            raise SourceError(f"cannot read {self.url}: {_said(error)}") from error

    def count(self) -> int:
        """How many rows the file has; only of Parquet is that known without reading it.

        Raises:
            SourceError: the file cannot be read.
        """
        if not self.is_parquet:
            return sum(1 for _ in self.rows())
        try:
            from pyarrow.parquet import ParquetFile

            with _open(self.url) as file:
                return int(ParquetFile(file).metadata.num_rows)
        except (OSError, ValueError, ImportError) as error:
            raise SourceError(f"cannot read {self.url}: {_said(error)}") from error

    def _part(self, file: Any) -> Iterator[tuple[int, Any]]:
        from pyarrow.parquet import ParquetFile

        parquet = ParquetFile(file)
        groups, at, first = [], 0, None
        for group in range(parquet.num_row_groups):
            behind = at + parquet.metadata.row_group(group).num_rows
            if behind > self.start and (self.stop is None or at < self.stop):
                first = at if first is None else first
                groups.append(group)
            at = behind
        at = first or 0
        for batch in parquet.iter_batches(batch_size=1000, row_groups=groups):
            skipped = max(0, self.start - at)
            wanted = batch.num_rows if self.stop is None else min(batch.num_rows, self.stop - at)
            if wanted > skipped:
                rows = batch.slice(skipped, wanted - skipped).to_pylist()
                yield from enumerate(rows, start=at + skipped + 1)
            at += batch.num_rows


def read_url(url: str) -> bytes | None:
    """What a file at a URL holds; none where there is none that may be seen.

    Raises:
        SourceError: it cannot be read.
    """
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(url)
        content: bytes = system.cat_file(path)
        return content
    except (FileNotFoundError, PermissionError):  # of a bucket that may not be listed, what is not there is forbidden
        return None
    except Exception as error:  # each file system has errors of its own
        raise SourceError(f"cannot read {url}: {_said(error)}") from error


def is_url(text: str) -> bool:
    """Whether a text is a URL of data, and no path."""
    return "://" in text


def is_pattern(text: str) -> bool:
    """Whether a text has wildcards."""
    return any(letter in text for letter in "*?[")


def find_shards(text: str) -> list[Shard]:
    """The files that a folder, a pattern or a URL names, in the order of their names.

    Raises:
        SourceError: there are none, or they cannot be listed.
    """
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(text)
        if is_pattern(path):
            found = sorted(system.glob(path))
        elif system.isdir(path):
            found = sorted(system.find(path))
        else:
            found = [path] if system.exists(path) else []
    except Exception as error:  # each file system has errors of its own
        raise SourceError(f"cannot list {text}: {_said(error)}") from error
    kept = [each for each in found if _is_data(each, path)]
    if not kept:
        raise SourceError(f"{text} names no {', '.join(FORMATS)} file")
    outer, _, inner = text.partition("::")  # zip://a.jsonl::s3://bucket/b.zip: a file in another one
    behind = f"::{inner}" if inner and is_url(outer) else ""
    return [Shard(system.unstrip_protocol(each) + behind if is_url(text) else each) for each in kept]


def read_shards(shards: Sequence[Shard]) -> Iterator[tuple[int, Any]]:
    """The rows of all of them, numbered on from 1.

    Raises:
        SourceError: one cannot be read.
    """
    return enumerate((row for shard in shards for _, row in shard.rows()), start=1)


def _is_data(path: str, root: str) -> bool:
    """Whether a file that was found is data; of what users name themselves, that is all that has rows."""
    below = _name(path) if is_pattern(root) else path.removeprefix(root).lstrip("/")
    hidden = any(part[:1] in ("_", ".") for part in PurePosixPath(below).parts)
    return not hidden and PurePosixPath(_name(path)).suffix.lower() in FORMATS


def _name(url: str) -> str:
    """The name of a file, of which a URL of the web may be followed by a query: ``rows.jsonl?download=true``."""
    outer = url.partition("::")[0] if is_url(url) else url
    return PurePosixPath(outer.partition("?")[0] if outer.startswith(("http://", "https://")) else outer).name


def _open(url: str) -> Any:
    if not is_url(url):
        return Path(url).open("rb")
    import fsspec

    return fsspec.open(url, "rb")  # which keeps the file system, as one in a zip must be, until it is closed


def _said(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:300] or type(error).__name__
