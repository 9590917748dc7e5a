"""Folders that `build` wrote, here or at a URL, as data: their splits, by the manifest that stands among them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gpt4_instruct.errors import SourceError
from gpt4_instruct.formats import FORMATS
from gpt4_instruct.records import Language
from gpt4_instruct.sources.shards import Shard, is_pattern, is_url, read_url

__all__ = ["BuiltSplit", "configs_of", "find_built", "is_built", "splits_of"]

_MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class BuiltSplit:
    """A split of such a folder.

    Attributes:
        files: with its rows.
        rows: how many they are.
        language: of the answers; none where they are of both, and tell their own.
    """

    files: list[Shard]
    rows: int
    language: Language | None


def configs_of(folder: str | Path) -> list[str]:
    """The splits of a folder that `build` wrote, as `find_built` takes them behind the colon: those that have rows.

    Raises:
        SourceError: it has no manifest, or one of another kind; or every row was rejected when it was built.
    """
    return _with_rows(str(folder), splits_of(folder))


def find_built(text: str) -> tuple[str, str, BuiltSplit] | None:
    """The folder, the name of a split of it, and the split, that a text names; none where it names no such folder.

    Args:
        text: ``"FOLDER:SPLIT"``, or ``"FOLDER"`` where it holds one; a path or a URL.

    Raises:
        SourceError: there is no such split, the folder holds several and the text names none, the manifest is of
            another kind, or the URL cannot be read.
    """
    readings: list[tuple[str, str]] = [(text, ""), text.rpartition(":")[::2]]
    if is_url(text):
        readings.reverse()  # for there are file systems to which a name with a colon is an error
    for folder, name in readings:
        if "/" in name or not _may_be_built(folder) or (content := _manifest(folder)) is None:
            continue
        splits = _splits(folder, content)
        names = _with_rows(folder, splits)
        name = name or (names[0] if len(names) == 1 else "")
        if name not in splits:
            what = f"holds no {name}" if name else "holds several splits"
            raise SourceError(f"{folder} {what}: name one of {', '.join(f'{folder}:{each}' for each in names)}")
        return folder, name, splits[name]
    return None


def is_built(folder: str | Path) -> bool:
    """Whether a path or a URL is that of a folder with a manifest; a URL that may name a split, ``URL:SPLIT``, is not.

    Raises:
        SourceError: it cannot be read.
    """
    text = str(folder)
    names_split = is_url(text) and ":" in text.rstrip("/").rpartition("/")[2]
    return not names_split and _may_be_built(text) and _manifest(text) is not None


def splits_of(folder: str | Path) -> dict[str, BuiltSplit]:
    """The splits of a folder by their names, with those that have no rows.

    Raises:
        SourceError: it has no manifest, or one of another kind, or it cannot be read.
    """
    content = _manifest(folder)
    if content is None:
        raise SourceError(f"{folder} holds no {_MANIFEST} of a build: name a file in it, or hub:{folder}")
    return _splits(str(folder), content)


def _may_be_built(text: str) -> bool:
    """Whether there may be a manifest: at the URL of a file there is none, and none need be asked for."""
    is_file = is_url(text) and PurePosixPath(text).suffix.lower() in FORMATS
    return bool(text) and not is_file and not is_pattern(text)


def _with_rows(folder: str, splits: Mapping[str, BuiltSplit]) -> list[str]:
    found = [name for name, split in splits.items() if split.files]
    if not found:
        raise SourceError(f"{folder} holds no rows: every one was rejected when it was built")
    return found


def _splits(folder: str, content: bytes) -> dict[str, BuiltSplit]:
    """What a manifest tells."""
    place = folder.rstrip("/") if is_url(folder) else str(Path(folder).expanduser())
    try:
        return {
            name: BuiltSplit(
                [Shard(f"{place}/{each['path']}") for each in entry["files"]],
                int(entry["rows"]),
                language if (language := entry.get("language")) in ("en", "zh") else None,
            )
            for name, entry in json.loads(content)["configs"].items()
        }
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{folder}/{_MANIFEST} is not a manifest of this package: {error}") from error


def _manifest(folder: str | Path) -> bytes | None:
    text = str(folder)
    if is_url(text):
        return read_url(f"{text.rstrip('/')}/{_MANIFEST}")
    path = Path(text).expanduser() / _MANIFEST
    try:
        return path.read_bytes() if path.is_file() else None
    except (OSError, ValueError) as error:  # a name that no file system takes is a ValueError
        raise SourceError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
