"""The answer declines the task instead of doing it.

The phrases are those that open a refusal in the released GPT-4 data and their Chinese counterparts; only the first
sentences are read, since an answer may well quote such a phrase later on.
"""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample

__all__ = ["refusal"]

_OPENING_CHARACTERS = 160
_REFUSAL = re.compile(
    r"\bas an? (?:ai|artificial intelligence)(?: language)?(?: (?:model|assistant|system))?,? (?:i|it)\b"
    r"|\bi(?:'m| am) (?:just |only )?an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    r"|\bi(?:'m| am) (?:so |very |really )?sorry[,.]? (?:but )?(?:as an ai|i (?:can(?:'|no)t|am (?:not able|unable)|"
    r"do(?: not|n't) have))"
    r"|^\W*(?:unfortunately,? |i apologi[sz]e,? but )?i (?:can(?:'|no)t|am (?:not able|unable) to|am not programmed to)"
    r" (?:assist|help|provide|fulfil|comply|generate|create|access|do that|complete|answer|view|see|browse)"
    r"|作为(?:一个|一名|一款)?\s*(?:AI|人工智能|语言模型|大型语言模型|大语言模型)[^。\n]{0,12}，?\s*我"
    r"|我(?:只)?是(?:一?个|一名|一款)\s*(?:AI|人工智能|语言模型|大型语言模型|大语言模型|文本机器人|聊天机器人)"
    r"|(?:很|非常|十分)?(?:抱歉|对不起|遗憾)[，,。！!]?\s*(?:但是?|作为[^。\n]{0,16})?[，,]?\s*我(?:无法|不能|没有办法|没办法|不可以)"
    r"|^\W*我(?:无法|不能)(?:提供|协助|帮助|完成|回答|执行|访问|查看|生成|满足)",
    re.IGNORECASE,
)


def refusal(sample: Sample) -> str | None:
    """Fails an answer that opens by declining, in English or Chinese, or that the endpoint's filter withheld.

    >>> refusal(Sample("Draw a cat.", "", "I'm sorry, but I cannot draw."))
    "declines: I'm sorry, but I cannot"
    >>> refusal(Sample("画一只猫。", "", "很抱歉，我无法画画。", language="zh"))
    'declines: 很抱歉，我无法'
    >>> refusal(Sample("Apologise to a friend.", "", "I'm sorry I was late.")) is None
    True
    """
    if sample.finish_reason == "content_filter":
        return "withheld by the endpoint's content filter"
    opening = sample.output[:_OPENING_CHARACTERS].replace("’", "'")
    found = _REFUSAL.search(opening)
    return f"declines: {found[0].strip()}" if found else None
