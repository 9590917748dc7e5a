"""A dataset that is read in place, a shard at a time: on the Hub, in a bucket, in a folder of many files.

shards = open_shards("s3://bucket/english/*.parquet")      or hub:ID, hf://..., https://..., a folder, a file
shards.count, shards.rows                                  40, 52_000_000
for row in shards.read(7, start=1_200): ...                the 8th shard's rows, from its 1,201st
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import SourceError, UsageError
from gpt4_instruct.progress import quiet_datasets
from gpt4_instruct.sources.built import find_built
from gpt4_instruct.sources.hub import HubSource
from gpt4_instruct.sources.shards import Shard, find_shards, is_pattern, is_url

__all__ = ["Shards", "open_shards"]

_AT_ONCE = 16  # files whose version, or number of rows, is asked for


@dataclass(frozen=True, slots=True)
class Shards:
    """Rows by shard; `open_shards` makes it.

    Attributes:
        name: no folder of yours.
        identity: SHA-256 of the files' names and of what tells their versions apart: the commit on the Hub, the ETag of
            a bucket, the time of a file's last change here. No row is read for it.
        rows: in all, as the footers of Parquet files tell; none where a file is of another kind.
        files: a shard each.
    """

    name: str
    identity: str
    rows: int | None
    files: Sequence[Shard]

    @property
    def count(self) -> int:
        """How many shards there are."""
        return len(self.files)

    def read(self, shard: int, start: int = 0) -> Iterator[Any]:
        """The rows of a shard as they are, from one on; in a Parquet file those before it are not read.

        Raises:
            SourceError: it cannot be read on.
        """
        file, number = self.files[shard], start
        try:
            rows = replace(file, start=start).rows() if file.is_parquet else islice(file.rows(), start, None)
            for _, row in rows:
                yield row
                number += 1
        except SourceError as error:
            raise SourceError(
                f"shard {shard + 1} of {self.count} of {self.name} cannot be read past row {number}: {_line(error)}"
            ) from error


def open_shards(data: str | Path) -> Shards:
    """Finds the shards of a dataset, and reads none.

    Args:
        data: ``"hub:ID[@REVISION][:CONFIG]"``, whose revision is pinned to a commit; a folder, one that `build` wrote
            among others, as ``"FOLDER:CONFIG"`` where it holds several; or a file, a pattern of files, or a URL, as
            `sources.shards.find_shards` takes them.

    Raises:
        SourceError: there is no such data.
        UsageError: it is not named by a text.
    """
    if not isinstance(data, str | Path):
        raise UsageError(
            f"a {type(data).__name__} is in memory already: leave out stream, or name a folder, hub:ID or URL"
        )
    name, files = _find(str(data))
    with ThreadPoolExecutor(_AT_ONCE) as several:
        versions = list(several.map(_version, files))
        counts = list(several.map(Shard.count, files)) if all(each.is_parquet for each in files) else [None]
    common = posixpath.commonpath([posixpath.dirname(each.url) for each in files])
    told = [[each.url.removeprefix(common), version] for each, version in zip(files, versions, strict=True)]
    identity = hashlib.sha256(json.dumps([name, told]).encode()).hexdigest()
    known = [each for each in counts if each is not None]
    return Shards(name, identity, sum(known) if len(known) == len(files) else None, files)


def _find(text: str) -> tuple[str, list[Shard]]:
    """What data is called, and its files."""
    if is_url(text) and not text.startswith("hub:"):
        found = find_built(text)
        return text, find_shards(text) if found is None else found[2].files
    if text.startswith("hub:"):
        id, _, config = text.removeprefix("hub:").partition(":")
        source = HubSource(text.removeprefix("hub:"))
        path, _, _ = id.partition("@")
        if Path(path).expanduser().is_dir():
            return _of_dataset(Path(path).expanduser().resolve().name, path, config)
        return _of_dataset(text, path, config, revision=source.fingerprint.rpartition("@")[2])
    place = Path(text).expanduser()
    if place.is_dir():
        return _of_dataset(place.resolve().name, str(place.resolve()), "")
    folder, _, config = text.rpartition(":")
    if folder and Path(folder).expanduser().is_dir():
        place = Path(folder).expanduser().resolve()
        return _of_dataset(f"{place.name}:{config}", str(place), config)
    if not place.is_file() and not is_pattern(text):
        raise SourceError(
            f"the data {text!r} cannot be streamed: give a file, a pattern or a folder of them, FOLDER:SPLIT, hub:ID "
            "or a URL; or leave out --stream"
        )
    return place.name, find_shards(str(place))


def _of_dataset(name: str, path: str, config: str, **options: Any) -> tuple[str, list[Shard]]:
    """The files of a dataset's train split, on the Hub or in a folder, as its card or their names tell."""
    from datasets import load_dataset_builder

    try:
        with quiet_datasets():
            found: Any = load_dataset_builder(path, config or None, **options).config.data_files or {}
            files = found["train" if "train" in found else next(iter(found))]
    except Exception as error:  # every library below raises its own
        raise SourceError(f"the data {name} cannot be read as a stream: {_line(error)}") from error
    return name, [Shard(each) for each in files]


def _version(file: Shard) -> str:
    """What changes with a file's content; on the Hub, the commit is in its URL already."""
    from fsspec.core import url_to_fs

    try:
        system, path = url_to_fs(file.url)
        found = system.info(path)
    except Exception as error:  # each file system has errors of its own
        raise SourceError(f"cannot find {file.url}: {_line(error)}") from error
    named = (found.get(name) for name in ("ETag", "etag", "blob_id", "mtime", "created"))
    return f"{found.get('size')} {next((each for each in named if each is not None), '')}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
