"""What a check is: a function from a `Sample` to what is wrong with it, or none.

A check is a file of this folder (or an entry point in the group `gpt4_instruct.quality`); its name is the reason that
its rejects are counted under.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from gpt4_instruct.records import Language
from gpt4_instruct.registry import find

__all__ = ["Check", "Sample", "chinese_share", "first_failure"]


@dataclass(frozen=True, slots=True)
class Sample:
    """What a check looks at.

    Attributes:
        instruction: the task.
        input: what the task is about; may be empty.
        output: the answer.
        finish_reason: how the answer ended, where that is known, else empty.
        language: the language the answer should be in.
    """

    instruction: str
    input: str
    output: str
    finish_reason: str = ""
    language: Language = "en"


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


# Han ideographs with extension A and the compatibility block (Unicode 17, chapter 18). Kana and Hangul are written
# without spaces, too, so each of them counts as a word of another language.
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_OTHER_WORD = re.compile(
    r"[\u3040-\u30ff\uac00-\ud7af]|[^\W\d_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+"
)


def chinese_share(text: str) -> float | None:
    """Han characters as a share of Han characters and other words; none for a text of neither (numbers, symbols).

    >>> chinese_share("深度学习 deep learning"), chinese_share("hello"), chinese_share("42")
    (0.6666666666666666, 0.0, None)
    """
    if text.isascii():  # most of English, and much faster
        return 0.0 if _OTHER_WORD.search(text) else None
    han = len(_HAN.findall(text))
    words = len(_OTHER_WORD.findall(text))
    return han / (han + words) if han + words else None
