"""Every error the package raises on purpose. Each message is one line: what happened, to what, what to do next.

Gpt4InstructError
├── UsageError            an argument that cannot work, found before anything is asked or written
│   ├── UnknownNameError  no split, teacher, ... of that name (says the nearest ones)
│   ├── MissingExtraError a library that an optional feature needs is not installed
│   └── TermsError        something would be public whose terms nobody has accepted
├── SourceError           the instructions cannot be read (or, with strict=True, one row of them)
├── OutputError           the output folder cannot be used
│   └── OutputExistsError it already holds what would be written
├── HubError              the Hub cannot be reached, does not know us, or refused
├── LedgerError           the ledger file is not one of ours, or cannot be written
├── TeacherError          a teacher did not answer
│   ├── RequestRefusedError  this row's fault: asking again would not help, the row is rejected
│   ├── TransientError       the moment's fault: the engine asks again
│   └── RunStoppedError      the run's fault: no row can succeed, the run stops at once
├── TrainingError         a training run cannot go on; its last good checkpoint is kept
└── IncompleteError       some rows have no answer yet; what was answered is in the ledger
    ├── BudgetError          because the money set aside for the run is spent
    └── InterruptedRunError  because the user pressed Ctrl-C
"""

from __future__ import annotations

import copyreg
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpt4_instruct.records import RateLimits

__all__ = [
    "BudgetError",
    "Gpt4InstructError",
    "HubError",
    "IncompleteError",
    "InterruptedRunError",
    "LedgerError",
    "MissingExtraError",
    "OutputError",
    "OutputExistsError",
    "RequestRefusedError",
    "RunStoppedError",
    "SourceError",
    "TeacherError",
    "TermsError",
    "TrainingError",
    "TransientError",
    "UnknownNameError",
    "UsageError",
]


class Gpt4InstructError(Exception):
    """Base of every error this package raises on purpose. It is the same again after `pickle`."""

    def __reduce__(self) -> tuple[Any, ...]:
        """As it is, whatever its constructor takes."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class UsageError(Gpt4InstructError):
    """An argument that cannot work; nothing was asked and nothing was written."""


class UnknownNameError(UsageError):
    """No such split, teacher, check or metric.

    Args:
        kind: what was looked for, such as ``"split"``.
        name: the name as given.
        known: every name that would have worked.

    >>> str(UnknownNameError("split", "englsh", ["chinese", "english"]))
    "unknown split 'englsh': did you mean 'english'? Known: chinese, english"
    """

    def __init__(self, kind: str, name: str, known: Sequence[str]) -> None:
        import difflib

        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f": did you mean {' or '.join(repr(each) for each in near)}?" if near else "."
        super().__init__(f"unknown {kind} {name!r}{hint} Known: {', '.join(sorted(known))}")


class MissingExtraError(UsageError):
    """A library of an optional feature is not installed; the message ends with the command that installs it.

    >>> str(MissingExtraError("the local teacher", "torch", "local"))
    "the local teacher needs torch, which is not installed: pip install 'gpt4-instruct[local]'"
    """

    def __init__(self, feature: str, library: str, extra: str) -> None:
        super().__init__(f"{feature} needs {library}, which is not installed: pip install 'gpt4-instruct[{extra}]'")


class TermsError(UsageError):
    """Something would be public, and ``accept_terms=True`` was not given; nothing was sent.

    Args:
        message: what would be public.
        notice: the terms that come with it, a line each.
    """

    def __init__(self, message: str, notice: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.notice = tuple(notice)


class SourceError(Gpt4InstructError):
    """The instructions cannot be read, or one row of them cannot and ``strict=True`` was asked for."""


class OutputError(Gpt4InstructError):
    """The output folder cannot be used or written."""


class OutputExistsError(OutputError):
    """The output folder already holds what would be written, and ``overwrite=True`` was not asked for."""


class HubError(Gpt4InstructError):
    """The Hub cannot be reached, does not know us, or refused. What it has of a push is whole, or nothing."""


class LedgerError(Gpt4InstructError):
    """The ledger is not a file of ours, is from a newer version, or cannot be written."""


class TeacherError(Gpt4InstructError):
    """A teacher did not answer."""


class RequestRefusedError(TeacherError):
    """The fault lies in this request (too long, against a policy, malformed): the row is rejected.

    Args:
        reason: a short snake_case word for the counts, such as ``"request_refused"``.
        detail: what the teacher said.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class TransientError(TeacherError):
    """The fault lies in the moment (overload, timeout, a broken body): worth asking again.

    Args:
        message: what happened.
        retry_after_s: seconds the endpoint asked to wait, if it did.
        unreachable: no connection was made at all, so nothing was sent.
        billable: the request may have been answered, and billed, without the answer reaching us.
        overloaded: too many requests for the endpoint: all of them slow down, not only this one.
        limits: what the endpoint said about its limits, if it did.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        unreachable: bool = False,
        billable: bool = False,
        overloaded: bool = False,
        limits: RateLimits | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.unreachable = unreachable
        self.billable = billable
        self.overloaded = overloaded
        self.limits = limits


class RunStoppedError(TeacherError):
    """The fault lies in the run (wrong key, no such model, no quota, unreachable): no row can succeed."""


class TrainingError(Gpt4InstructError):
    """A training run cannot go on (out of memory, a loss that is no number). Its last good checkpoint is kept."""


class IncompleteError(Gpt4InstructError):
    """Some rows have no answer yet. Every answer that came is in the ledger; the same call goes on from there."""


class BudgetError(IncompleteError):
    """The next request could cost more than is left of ``budget_usd``. What was answered is in the ledger."""


class InterruptedRunError(IncompleteError):
    """The user pressed Ctrl-C. Every answer that came is in the ledger; the same call goes on from there."""
