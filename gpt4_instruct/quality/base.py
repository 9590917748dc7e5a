"""What a check is: a function from a `Sample` to what is wrong with it, or none.

A check is a file of this folder (or an entry point in the group `gpt4_instruct.quality`); its name is the reason that
its rejects are counted under.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gpt4_instruct.records import Sample
from gpt4_instruct.registry import find

__all__ = ["Check", "Sample", "first_failure"]


class Check(Protocol):
    """Says in one line what is wrong with a sample, or none."""

    def __call__(self, sample: Sample) -> str | None: ...


def first_failure(checks: Sequence[str], sample: Sample) -> tuple[str, str] | None:
    """The first of the named checks that a sample fails, as (name, detail); none when it passes them all.

    >>> first_failure(["empty", "truncated"], Sample("Count.", "", "one, two", finish_reason="length"))
    ('truncated', 'cut off at the token limit after 8 characters')
    """
    for name in checks:
        check: Check = find("quality", name)
        detail = check(sample)
        if detail is not None:
            return name, detail
    return None
