"""Asks the Hub with patience, and says in one line what it answers where it will not.

`huggingface_hub` itself tries again while it sends files (`http_backoff`: 408, 429, 5xx, a cut connection; hf_xet
does so for minutes), and not elsewhere; `patiently` does so for the steps around that. Its `HTTPError` is that of
httpx2, and of httpx before 2.0.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from gpt4_instruct.errors import HubError
from gpt4_instruct.progress import without_bars
from gpt4_instruct.publishing.secret_scan import without_secrets

if TYPE_CHECKING:
    import httpx2

__all__ = ["client_without_bars", "hub_errors", "interruptible", "patiently", "status_of"]

_T = TypeVar("_T")
_TRIES = 5
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0
_LONGEST_RETRY_AFTER_S = 600.0  # what the Hub asks for is waited for; its limits are for windows of five minutes
_MOMENT = {408, 429, 500, 502, 503, 504}
_NOT_DONE = {429, 503}  # refused before anything was done
_XET_STATUS = re.compile(r"HTTP status (?:client|server) error \((\d{3})\b")  # of an error of hf_xet


def patiently(step: Callable[[], _T], *, once: bool = False) -> _T:
    """Runs a request, and again after a while where the fault lies in the moment.

    Args:
        step: one request.
        once: it must not be done twice, so it is only tried again where it was surely not done.

    Raises:
        what the last try raised.
    """
    from huggingface_hub.errors import HTTPError, LocalEntryNotFoundError  # type: ignore[attr-defined]

    wait = _FIRST_WAIT_S
    for left in reversed(range(_TRIES)):
        try:
            return step()
        except (HTTPError, LocalEntryNotFoundError) as error:
            status = status_of(error)
            worth_it = status in _NOT_DONE if once else status is None or status in _MOMENT
            if not left or not worth_it:
                raise
            time.sleep(_retry_after(error) or wait)
            wait = min(2 * wait, _LONGEST_WAIT_S)
    raise AssertionError("the last try returns or raises")


def interruptible(step: Callable[[], _T]) -> _T:
    """Runs a step that does not hear Ctrl-C, as hf_xet while it tries again, so that it is not waited for then.

    Args:
        step: what it has begun when it is left may go on behind, until this process ends.

    Raises:
        what the step raised; KeyboardInterrupt: at once.
    """
    done: Future[_T] = Future()

    def run() -> None:
        try:
            done.set_result(step())
        except BaseException as error:
            done.set_exception(error)

    threading.Thread(target=run, name="upload", daemon=True).start()
    return done.result()


def status_of(error: BaseException) -> int | None:
    """The status that the Hub answered with; none where there was no answer."""
    response = _response(error)
    if response is not None:
        return int(response.status_code)
    told = _XET_STATUS.search(str(error)) if isinstance(error, OSError) else None
    return int(told[1]) if told else None


def _retry_after(error: BaseException) -> float | None:
    """Seconds that the Hub asks to wait."""
    response = _response(error)
    try:
        return min(float((response.headers if response is not None else {})["retry-after"]), _LONGEST_RETRY_AFTER_S)
    except (KeyError, ValueError):
        return None


def _response(error: BaseException) -> httpx2.Response | None:
    response: httpx2.Response | None = getattr(_bare(error), "response", None)
    return response


def _bare(error: BaseException) -> BaseException:
    """What the client wraps into "no such file here", where a file cannot be had, or "cannot send that file"."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    wrapped = isinstance(error, LocalEntryNotFoundError | RuntimeError) and error.__cause__ is not None
    return error.__cause__ if wrapped and error.__cause__ is not None else error


@contextmanager
def hub_errors(repo_id: str) -> Iterator[None]:
    """Turns whatever the client raises into a `HubError` of one line.

    Args:
        repo_id: that was asked for.

    Raises:
        HubError: instead of the client's own errors, and of what the network and the disk raise.
    """
    from huggingface_hub.errors import HTTPError, LocalTokenNotFoundError  # type: ignore[attr-defined]

    try:
        yield
    except LocalTokenNotFoundError:
        raise HubError("nobody is logged in to the Hub: run hf auth login, or set HF_TOKEN") from None
    except (HTTPError, OSError, RuntimeError, ValueError) as error:
        which = f"{_plain(error)} " if isinstance(error, RuntimeError) and _bare(error) is not error else ""
        raise HubError(which + _told(_bare(error), repo_id)) from error


def _told(error: BaseException, repo_id: str) -> str:
    """What happened, and what to do next."""
    from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled  # type: ignore[attr-defined]

    status, said = status_of(error), _said(error)
    if isinstance(error, OfflineModeIsEnabled):
        return "the Hub is not asked while HF_HUB_OFFLINE is set: unset it"
    if status == 401:
        return f"the Hub does not know the token (401): run hf auth login, or set HF_TOKEN{said}"
    if status == 403:
        return (
            f"the Hub does not let this token write to {repo_id} (403): it needs the right to write there, see "
            f"https://huggingface.co/settings/tokens{said}"
        )
    if status == 404:
        return f"the Hub has no {repo_id} that this token can see (404): check its name and the token's rights{said}"
    if status == 413:
        return f"a file is too large for the Hub (413): build the split with smaller shards{said}"
    if status == 429:
        return f"the Hub has had too many requests (429): wait, then the same command goes on{said}"
    if status is not None and status >= 500:
        return f"the Hub has a fault of its own ({status}): try again later, the same command goes on{said}"
    if status is not None:
        return f"the Hub refused {repo_id} ({status}){said}"
    if isinstance(error, HTTPError):
        return f"the Hub cannot be reached ({type(error).__name__}: {_plain(error)}): the same command goes on"
    return f"{_plain(error)}: the same command goes on when that is mended"


def _said(error: BaseException) -> str:
    """The server's own words, where it has some."""
    said = getattr(error, "server_message", None)
    return f"; it says: {without_secrets(' '.join(str(said).split()))[:300]}" if said else ""


def _plain(error: BaseException) -> str:
    return without_secrets(" ".join(str(error).split()))[:300] or type(error).__name__


def client_without_bars() -> AbstractContextManager[None]:
    """Keeps the client's progress bars out of logs and pipes, and of files that take no time."""
    from huggingface_hub import utils

    return without_bars(utils)
