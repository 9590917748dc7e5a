"""The answer is the task's input again, word for word."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import essence, excerpt

__all__ = ["copied"]

# Tasks whose right answer may be their input: a sentence that needs no correction, a word that is the one looked for.
_MAY_COPY = re.compile(
    r"\b(?:copy|repeat|quote|echo|reproduce|type|output|print|extract|identify|find|select|choose|pick|correct"
    r"|proofread|check|edit|fix"
    r"|punctuat\w*|commas?|capitali[sz]\w*|spell\w*|grammar|sort|arrange|order|alphabetical\w*|remove|delete"
    r"|unscramble|which"
    r"|what|who|name|format|round|convert|if necessary|if needed|divide|split|segment|paragraphs?|sentences from)\b"
    r"|复制|重复|引用|提取|识别|找|选|挑|改正|纠正|更正|修改|校对|检查|标点|逗号|抄写|原样|大小写|拼写|语法|排序|排列|删除|去掉|格式|分段|划分|拆分|哪|什么|谁|输出",
    re.IGNORECASE | re.ASCII,
)
_FEWEST_WORDS = 3  # a name or a number that is asked for may well be the input


@check(
    "warning",
    Sample("Rewrite this in a friendlier tone.", "Close the door when you leave.", "Close the door when you leave."),
)
def copied(sample: Sample) -> str | None:
    """Fails an answer that equals the input but for case, space and punctuation; `echo` looks for the instruction.

    >>> copied(Sample("Translate into French.", "Where is the station?", "where is the station"))
    "is the input again: 'where is the station'"
    >>> copied(Sample("Correct the sentence.", "He goes home.", "He goes home.")) is None
    True
    """
    text = sample.input
    # Lengths first: nearly all rows end here.
    if not text or abs(len(text) - len(sample.output)) > 20 + len(text) // 4:
        return None
    same = essence(text)
    if len(same) < 2 * _FEWEST_WORDS or same != essence(sample.output):
        return None
    han = any("\u4e00" <= letter <= "\u9fff" for letter in same)
    if len(same if han else same.split()) < _FEWEST_WORDS or _MAY_COPY.search(sample.instruction):
        return None
    return f"is the input again: {excerpt(sample.output)!r}"
