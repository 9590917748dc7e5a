"""What a check is: it looks at a finished row and says in one line what is wrong with it, or none.

A check is a file of this folder (or an entry point in the group `gpt4_instruct.quality`); its name is the reason that
its findings and rejects are counted under. Most are functions::

    @check("error", Sample("Say hi.", "", " "))
    def empty(sample: Sample) -> str | None: ...

One that must remember earlier rows is a class: an object is made for each audit, called with each row in order and its
number, and its `finish` says what only all rows together can tell. Where it needs but some facts of each row, it is an
`OverFacts`: then many workers can find these, and one place, or several, judges them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar

from gpt4_instruct.records import Sample
from gpt4_instruct.registry import find

__all__ = [
    "SEVERITIES",
    "Check",
    "CheckOverRows",
    "OverFacts",
    "Sample",
    "Severity",
    "Spread",
    "Subject",
    "check",
    "first_failure",
]

# What each means to a user: the row is wrong and is dropped by a cleaning; it may be wrong; it is worth knowing.
Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")

# What a check looks at: the answer (of a comparison, each one), the task alone, or a comparison's scored answers.
Subject = Literal["answer", "task", "comparison"]

# Where the facts of all rows can be judged: those with one key together, and the keys apart; as texts that are compared
# with those kept before, in rounds; as MinHash signatures, band by band; or in one place, in the order of the rows.
Spread = Literal["key", "novelty", "minhash", "order"]

_C = TypeVar("_C", bound=Callable[..., Any])
_F = TypeVar("_F")


class Check(Protocol):
    """Says in one line what is wrong with a sample, or none."""

    def __call__(self, sample: Sample) -> str | None: ...


class CheckOverRows(Protocol):
    """A check that remembers: made anew for each audit, called with each row in order and its number, from 0."""

    def __call__(self, sample: Sample, row: int) -> str | None: ...

    def finish(self) -> Iterator[tuple[int | None, str]]:
        """What all rows together show: a row's number, or none where it is of the whole, and a reason."""


class OverFacts(ABC, Generic[_F]):
    """A check over rows that needs only some facts of each, which are found without a look at the others.

    Attributes:
        spread: where these facts can be judged. With ``"key"`` they are a tuple whose first part is bytes, and what
            `judge` says depends only on earlier ones with the same bytes; `finish` has nothing to say then.
    """

    spread: ClassVar[Spread] = "order"

    @abstractmethod
    def facts(self, sample: Sample) -> _F | None:
        """What has to be remembered of a sample; none where it does not concern the check."""

    @abstractmethod
    def judge(self, facts: _F, row: int) -> str | None:
        """What is wrong, by these facts and those of the rows before."""

    def __call__(self, sample: Sample, row: int) -> str | None:
        facts = self.facts(sample)
        return None if facts is None else self.judge(facts, row)

    def finish(self) -> Iterator[tuple[int | None, str]]:
        """What all rows together show: nothing, mostly."""
        return iter(())


def check(severity: Severity, *example: Sample, of: Subject = "answer", optional: bool = False) -> Callable[[_C], _C]:
    """Says of a check what an audit needs to know. A check without it is a warning on an answer.

    Args:
        severity: of its findings.
        *example: rows that it finds something in, in order; shown to users and held by a test.
        of: what it looks at.
        optional: only run when it is asked for.
    """

    def mark(found: _C) -> _C:
        found.severity = severity  # type: ignore[attr-defined]
        found.example = example  # type: ignore[attr-defined]
        found.subject = of  # type: ignore[attr-defined]
        found.optional = optional  # type: ignore[attr-defined]
        return found

    return mark


def first_failure(checks: Sequence[str], sample: Sample) -> tuple[str, str] | None:
    """The first of the named checks that a sample fails, as (name, detail); none when it passes them all.

    >>> first_failure(["empty", "truncated"], Sample("Count.", "", "one, two", finish_reason="length"))
    ('truncated', 'cut off at the token limit after 8 characters')
    """
    for name in checks:
        looks: Check = find("quality", name)
        detail = looks(sample)
        if detail is not None:
            return name, detail
    return None
