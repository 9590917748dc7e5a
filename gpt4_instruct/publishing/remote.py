"""A folder of datasets at a URL: ``s3://``, ``hf://``, ``file://``, any that fsspec knows.

A build there is made on this computer, in a scratch folder that begins with the manifest and the card that the URL has,
and then sent: the rows first, the manifest last, and what it does not name any more is removed after that. So whoever
reads the URL meanwhile finds the folder as it was, or as it is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.publishing.folder import MANIFEST, check_free, read_manifest

__all__ = ["is_url", "mirrored"]

_CARD = "README.md"
_DATA = ".parquet"


def is_url(out: str | Path) -> bool:
    """Whether a text is a URL, and no path.

    >>> is_url("s3://bucket/data"), is_url("data")
    (True, False)
    """
    return "://" in str(out)


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
            there = {name: f"{root}/{name}" for name in (MANIFEST, _CARD) if system.exists(f"{root}/{name}")}
            if MANIFEST not in there and system.exists(root) and any(map(_is_shown, system.find(root))):
                raise OutputError(f"{url} is not empty and holds no {MANIFEST} of ours: name another with --out")
            if there:
                folder.mkdir()
            for name, path in there.items():
                (folder / name).write_bytes(system.cat_file(path))
        try:
            check_free(folder, config, overwrite=overwrite)
        except OutputError as error:  # which names the scratch folder
            raise type(error)(str(error).replace(str(folder), url)) from None
        before = _files(folder)
        yield folder
        with _told(url):
            _send(system, root, folder)
            for path in before - _files(folder):
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


def _send(system: Any, root: str, folder: Path) -> None:
    """Sends all that is in a folder: rows, what is beside them, the card, the manifest."""
    order = {_CARD: 2, MANIFEST: 3}
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in sorted(files, key=lambda path: (order.get(path.name, path.suffix != _DATA), path)):
        target = f"{root}/{path.relative_to(folder).as_posix()}"
        system.makedirs(target.rpartition("/")[0], exist_ok=True)
        system.put_file(str(path), target)


def _is_shown(path: str) -> bool:
    """Whether a file is of interest to users: a new repository on the Hub has a .gitattributes."""
    return not PurePosixPath(path).name.startswith(".")


def _files(folder: Path) -> set[str]:
    """The files of rows that the manifest names."""
    if not (folder / MANIFEST).is_file():
        return set()
    return {file["path"] for config in read_manifest(folder)["configs"].values() for file in config["files"]}


def _line(error: Exception) -> str:
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:300].rstrip(".") or type(error).__name__
