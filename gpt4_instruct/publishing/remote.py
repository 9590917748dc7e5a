"""A folder of datasets at a URL: ``s3://``, ``hf://``, ``file://``, any that fsspec knows.

A build there is made on this computer, in a scratch folder that begins with the manifest and the card that the URL has,
and then sent: the rows first, the manifest last, and what it does not name any more is removed after that. So whoever
reads the URL meanwhile finds the folder as it was, or as it is. What others have built there meanwhile stays: between
the rows and the manifest, both are read once more. (No file system at a URL has locks, so there is an instant left in
which two may write.)
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.publishing.folder import CARD, MANIFEST, check_free, enter, read_manifest

__all__ = ["mirrored"]

_DATA = ".parquet"


@contextmanager
def mirrored(url: str, config: str, *, overwrite: bool) -> Iterator[Path]:
    """A folder on this computer that takes the place of one at a URL, to which it is sent when the block ends well.

    Args:
        url: of the folder.
        config: which is to be built in it; checked as `folder.check_free` does, before anything is asked.
        overwrite: replace it if it is there.

    Raises:
        UsageError: no file system is known for such a URL.
        OutputError: it cannot be read or written, or is not a folder of ours; `OutputExistsError` when it holds the
            config already.
    """
    system, root = _open(url)
    with tempfile.TemporaryDirectory(prefix="gpt4-instruct-") as scratch:
        folder = Path(scratch, "data")
        with _told(url):
            there = _read(system, root)
            if MANIFEST not in there and system.exists(root) and any(map(_is_shown, system.find(root))):
                raise OutputError(f"{url} is not empty and holds no {MANIFEST} of ours: name another with --out")
            _write(folder, there)
        try:
            check_free(folder, config, overwrite=overwrite)
        except OutputError as error:  # which names the scratch folder
            raise type(error)(str(error).replace(str(folder), url)) from None
        yield folder
        with _told(url):
            entry = read_manifest(folder)["configs"][config]
            _send(system, root, folder, [path for path in _paths(folder) if path not in (CARD, MANIFEST)])
            system.invalidate_cache()
            now = _read(system, root)
            if now != there:  # by another build
                _write(folder, now)
                enter(folder, config, entry)
            _send(system, root, folder, [CARD, MANIFEST])
            for path in _files(now) - _files({MANIFEST: (folder / MANIFEST).read_bytes()}):
                system.rm_file(f"{root}/{path}")


def _open(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    try:
        system, root = url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise UsageError(f"no file system is known for {url}: {_line(error)}") from None
    except Exception as error:  # each has errors of its own
        raise OutputError(f"{url} cannot be used: {_line(error)}") from None
    return system, root.rstrip("/")


@contextmanager
def _told(url: str) -> Iterator[None]:
    try:
        yield
    except OutputError:
        raise
    except Exception as error:  # each file system has errors of its own
        raise OutputError(f"{url} cannot be read or written: {_line(error)}. Answers are kept in the ledger") from error


def _read(system: Any, root: str) -> dict[str, bytes]:
    """The manifest and the card at a URL, where they are there."""
    return {name: system.cat_file(f"{root}/{name}") for name in (MANIFEST, CARD) if system.exists(f"{root}/{name}")}


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


def _paths(folder: Path) -> list[str]:
    """All that is in a folder: rows, then what is beside them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    files.sort(key=lambda path: (path.suffix != _DATA, path))
    return [path.relative_to(folder).as_posix() for path in files]


def _send(system: Any, root: str, folder: Path, paths: Sequence[str]) -> None:
    for path in paths:
        target = f"{root}/{path}"
        system.makedirs(target.rpartition("/")[0], exist_ok=True)
        system.put_file(str(folder / path), target)


def _is_shown(path: str) -> bool:
    """Whether a file is of interest to users: a new repository on the Hub has a .gitattributes."""
    return not PurePosixPath(path).name.startswith(".")


def _files(contents: dict[str, bytes]) -> set[str]:
    """The files of rows that a manifest names, if it is there."""
    configs = json.loads(contents.get(MANIFEST, b'{"configs": {}}'))["configs"]
    return {file["path"] for config in configs.values() for file in config["files"]}


def _line(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:300].rstrip(".") or type(error).__name__
