"""A dataset that is read in place, a shard at a time: on the Hub, in a bucket, in a folder of many files.

shards = open_shards("s3://bucket/english/*.parquet")      or hub:ID, hf://..., https://..., a folder, a file
shards.count, shards.rows                                  40, 52_000_000
for row in shards.read(7, start=1_200): ...                the 8th shard's rows, from its 1,201st
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import SourceError, UsageError
from gpt4_instruct.progress import quiet_datasets
from gpt4_instruct.sources.hub import HubSource

__all__ = ["Shards", "is_remote", "open_shards"]

_BUILDERS = {".parquet": "parquet", ".jsonl": "json", ".json": "json", ".csv": "csv"}
_BATCH = 1_000  # rows that are made Python's own at once
_AT_ONCE = 16  # files whose number of rows is asked for


@dataclass(frozen=True, slots=True)
class Shards:
    """Rows by shard; `open_shards` makes it.

    Attributes:
        name: no folder of yours.
        identity: SHA-256 of the files' names and of what tells their versions apart: the commit on the Hub, the ETag of
            a bucket, the time of a file's last change here. Nothing is read for it.
        rows: in all, where the dataset's card or the files' footers tell; else none.
        count: of shards: a file each.
    """

    name: str
    identity: str
    rows: int | None
    count: int
    _stream: Any

    def read(self, shard: int, start: int = 0) -> Iterator[dict[str, Any]]:
        """The rows of a shard, from one on, which is reached without reading them one by one.

        Raises:
            SourceError: it cannot be read on.
        """
        number = start
        try:
            rows = self._stream.shard(self.count, shard)
            for batch in (rows.skip(start) if start else rows).iter(_BATCH):
                names = list(batch)
                for values in zip(*batch.values(), strict=True):
                    number += 1
                    yield dict(zip(names, values, strict=True))
        except Exception as error:  # a network that fails, a file that is not what it says: each library has its own
            raise SourceError(
                f"shard {shard + 1} of {self.count} of {self.name} cannot be read past row {number}: {_line(error)}"
            ) from error


def is_remote(data: Any) -> bool:
    """Whether data is named by a URL, so that it can only be read in place.

    >>> is_remote("s3://bucket/english/*.parquet"), is_remote("rows.parquet"), is_remote([])
    (True, False, False)
    """
    return isinstance(data, str) and "://" in data


def open_shards(data: str | Path) -> Shards:
    """Finds the shards of a dataset, and reads none.

    Args:
        data: ``"hub:ID[@REVISION][:CONFIG]"``, whose revision is pinned to a commit; a folder, one that `build` wrote
            among others, as ``"FOLDER:CONFIG"`` where it holds several; a parquet, jsonl, json or csv file; or a URL
            that fsspec knows, ``hf://``, ``s3://``, ``https://``: of a file, of several as a pattern with ``*``, or of
            a folder of Parquet files.

    Raises:
        SourceError: there is no such data.
        UsageError: it is not named by a text.
    """
    if not isinstance(data, str | Path):
        raise UsageError(
            f"a {type(data).__name__} is in memory already: leave out stream, or name a folder, hub:ID or URL"
        )
    text = str(data)
    name, arguments = _arguments(text)
    from datasets import load_dataset_builder

    try:
        with quiet_datasets():
            builder = load_dataset_builder(**arguments)
            files: Any = builder.config.data_files or {}
            split = "train" if "train" in files else next(iter(files))
            stream = builder.as_streaming_dataset(split=split)
    except Exception as error:  # every library below raises its own, and an extra of fsspec that is missing is told of
        raise SourceError(f"the data {name} cannot be read as a stream: {_line(error)}") from error
    found = files[split]
    common = posixpath.commonpath([posixpath.dirname(each) for each in found])
    versions = [
        [each.removeprefix(common), *map(str, origin)]
        for each, origin in zip(found, found.origin_metadata, strict=True)
    ]
    identity = hashlib.sha256(json.dumps([name, versions]).encode()).hexdigest()
    stated = (builder.info.splits or {}).get(split)
    rows = stated.num_examples if stated is not None and stated.num_examples else _rows_of(found)
    return Shards(name, identity, rows, stream.num_shards, stream)


def _arguments(text: str) -> tuple[str, dict[str, Any]]:
    """What data is called, and what `datasets.load_dataset_builder` takes."""
    if text.startswith("hub:"):
        source = HubSource(text.removeprefix("hub:"))
        path, _, config = text.removeprefix("hub:").partition(":")
        id, _, _ = path.partition("@")
        _, _, commit = source.fingerprint.rpartition("@")  # a folder's has none
        if commit == source.fingerprint:
            return Path(id).expanduser().resolve().name, {"path": id, "name": config or None}
        return text, {"path": id, "name": config or None, "revision": commit}
    if not is_remote(text):
        path = Path(text).expanduser()
        folder, _, config = text.rpartition(":")
        if path.is_dir():
            return path.resolve().name, {"path": str(path.resolve())}
        if folder and Path(folder).expanduser().is_dir():
            place = Path(folder).expanduser().resolve()
            return f"{place.name}:{config}", {"path": str(place), "name": config}
        if not path.is_file():
            raise SourceError(
                f"the data {text!r} cannot be streamed: give a parquet, jsonl, json or csv file, a folder of them, "
                "FOLDER:SPLIT, hub:ID or a URL; or leave out --stream"
            )
        text = str(path.resolve())
    ending = posixpath.splitext(text)[1].lower()
    files = text if ending in _BUILDERS else f"{text.rstrip('/')}/**/*.parquet"
    name = text if is_remote(text) else Path(text).name
    return name, {"path": _BUILDERS.get(ending, "parquet"), "data_files": [files]}


def _rows_of(files: list[str]) -> int | None:
    """How many rows Parquet files have, by their footers; none where a file is of another kind."""
    if not all(each.endswith(".parquet") for each in files):
        return None
    import fsspec
    from pyarrow.parquet import read_metadata

    def count(file: str) -> int:
        with fsspec.open(file, "rb") as opened:
            return int(read_metadata(opened).num_rows)

    try:
        with ThreadPoolExecutor(_AT_ONCE) as several:
            return sum(several.map(count, files))
    except Exception as error:  # as in `open_shards`
        raise SourceError(f"the footer of a Parquet file cannot be read: {_line(error)}") from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
