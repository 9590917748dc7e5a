"""The task begins with punctuation: what is left of a list, a heading or a sentence rather than a task."""

from __future__ import annotations

import string
import unicodedata

from gpt4_instruct.quality.base import Sample, check

__all__ = ["begins_with_punctuation"]

# A Chinese sentence often puts what it is about first, so that its title or quotation marks begin it, as in
# “早上好”用西班牙语怎么说？ Its English begins with a word.
_MAY_BEGIN = frozenset("《〈“‘「『")


@check("info", Sample("- Name the largest planet.", "", "Jupiter."), of="task", optional=True)
def begins_with_punctuation(sample: Sample) -> str | None:
    """Fails an instruction whose first character is one of ASCII's 32 signs; in Chinese, of any punctuation or sign.

    English is as in `self_instruct/bootstrap_instructions.py` of yizhongw/self-instruct at 0b26ccaa, which Alpaca took
    over. Chinese title and quotation marks may begin a task.

    >>> begins_with_punctuation(Sample("(b) Name a planet.", "", ""))
    "begins with '('"
    >>> begins_with_punctuation(Sample("，并说明理由。", "", "", language="zh"))
    "begins with '，'"
    >>> begins_with_punctuation(Sample("《红楼梦》的作者是谁？", "", "", language="zh")) is None
    True
    """
    first = sample.instruction.strip()[:1]
    if not first or first in _MAY_BEGIN:
        return None
    wrong = first in string.punctuation
    if sample.language == "zh":
        wrong = unicodedata.category(first)[0] in "PS"
    return f"begins with {first!r}" if wrong else None
