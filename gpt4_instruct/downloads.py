"""One file from the web, whole and exactly the one that is meant, or not there: resumed, verified, moved into place.

A file is known by its git blob id, which names its content and can be computed without git: the SHA-1 of
``blob SIZE\\0`` and the content (git-scm.com/book/en/v2/Git-Internals-Git-Objects).
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt4_instruct.errors import OutputError, SourceError
from gpt4_instruct.progress import progress
from gpt4_instruct.storage import lock

if TYPE_CHECKING:
    from httpx2 import Response

__all__ = ["blob_id", "download"]

_TRIES = 5
_DELAY_S = 1.0
_TIMEOUT_S = 30.0
_BLOCK_BYTES = 1 << 20
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_START = re.compile(r"bytes (\d+)-")


class _Cut(Exception):
    """The moment's fault: asking again may help."""


def blob_id(path: Path) -> str:
    """The git blob id of a file's content, as 40 hex digits."""
    digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def download(url: str, path: Path, blob: str) -> Path:
    """The file `path`, downloaded if it is not there with this content; of several processes, one downloads.

    What a connection that was cut has brought stays beside it, as ``BLOB.incomplete``, and the next call goes on from
    there. A file of other content that stands at `path` is set aside as ``NAME.altered``.

    Args:
        url: where it is.
        path: where it goes; folders are made.
        blob: the git blob id of its content.

    Raises:
        SourceError: it cannot be had (no network, offline mode, 404, cut off again and again), or has other content.
        OutputError: it cannot be written.
    """
    try:
        if path.is_file() and blob_id(path) == blob:
            return path
        with lock(path):
            if not path.is_file() or blob_id(path) != blob:  # else another process downloaded it meanwhile
                _download(url, path, blob)
    except OSError as error:
        where = error.filename or path
        raise OutputError(f"cannot write {where}: {error.strerror or error}. GPT4_INSTRUCT_HOME names another folder")
    return path


def _download(url: str, path: Path, blob: str) -> None:
    from huggingface_hub.constants import is_offline_mode

    if is_offline_mode():
        what = f"the content of {path} was altered" if path.is_file() else f"{path.name} was not downloaded yet"
        raise SourceError(f"{what}, and HF_HUB_OFFLINE forbids to download it from {url}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{blob}.incomplete")
    resumed = partial.is_file() and partial.stat().st_size > 0
    _fetch(url, partial)
    found = blob_id(partial)
    if found != blob and resumed:  # what was there before may have been of something else
        partial.unlink()
        _fetch(url, partial)
        found = blob_id(partial)
    if found != blob:
        partial.unlink()
        raise SourceError(f"{url} is not the file it was: its git blob id is {found}, not {blob}; it was removed")
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    if path.exists():
        os.replace(path, path.with_name(f"{path.name}.altered"))
    os.replace(partial, path)


def _fetch(url: str, partial: Path) -> None:
    """Gets what is missing of a file, in several tries if need be."""
    with progress(lambda: None, url.rpartition("/")[2], "B") as bar:
        bar.unit_scale = True
        for tries in range(1, _TRIES + 1):
            try:
                _ask(url, partial, bar)
                return
            except _Cut as error:
                if tries == _TRIES:
                    kept = partial.stat().st_size if partial.exists() else 0
                    rest = f"; {kept:,} bytes are kept: run it again to go on from there" if kept else ""
                    raise SourceError(f"cannot download {url}, tried {tries} times: {error}{rest}") from error
                time.sleep(_DELAY_S * 2 ** (tries - 1))


def _ask(url: str, partial: Path, bar: Any) -> None:
    import httpx2

    have = partial.stat().st_size if partial.exists() else 0
    # As it is: a compressed body could not be gone on with.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with httpx2.stream("GET", url, headers=headers, timeout=_TIMEOUT_S, follow_redirects=True) as response:
            status = response.status_code
            if status in _BUSY:
                raise _Cut(f"the server answers {status}")
            if status not in {200, 206, 416}:
                raise SourceError(f"cannot download {url}: the server answers {status}")
            if status != 416:  # else all of it is there already, or something else is
                _write(response, partial, have, bar)
    except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.UnsupportedProtocol, httpx2.InvalidURL) as error:
        raise SourceError(f"cannot reach {url}: {_line(error)}") from error
    except httpx2.HTTPError as error:
        raise _Cut(_line(error)) from error


def _write(response: Response, partial: Path, have: int, bar: Any) -> None:
    start = _START.match(response.headers.get("Content-Range", "")) if response.status_code == 206 else None
    goes_on = start is not None and int(start[1]) == have
    if response.status_code == 206 and not goes_on:
        partial.unlink()
        raise _Cut("the server answers with another part than was asked for")
    begin = have if goes_on else 0  # a server may not know how to send a part
    length = response.headers.get("Content-Length", "")
    bar.total, bar.n = begin + int(length) if length.isdecimal() else None, begin
    with partial.open("ab" if goes_on else "wb") as file:
        for block in response.iter_bytes():
            file.write(block)
            bar.update(len(block))


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
