"""The answer stands in for one: "N/A", "<nooutput>", "[Insert answer here]"."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import excerpt

__all__ = ["placeholder_output"]

# Self-Instruct's data writes <noinput> and <nooutput>; the others are what people and models write instead of nothing.
_NOTHING = re.compile(
    r"[<\[(【（]?\s*(?:no[ _-]?(?:output|answer|response)|n/?a|not applicable|todo|tbd|to be (?:added|determined|done)"
    r"|lorem ipsum.*|placeholder|没有?输出|无输出|暂无|待补充|待定|待续|略|此处(?:省略|插入|填写).*|不适用)"
    r"\s*[>\])】）]?[.。]?"
    r"|[<\[【](?:insert|your|the|enter|add|write|put|put your|please|输入|插入|填写|请)[^<>\[\]]*[>\]】]"
    r"|(?:output|answer|response|result|输出|答案|回答|结果)\s*[:：]?|[.…。\-_*]+",
    re.IGNORECASE | re.DOTALL,
)
# Tasks whose answer may be a sign, or a form's empty field.
_ABOUT_SIGNS = re.compile(r"punctuation|ellips|dots|fields?\b|标点|省略号|符号|横线", re.IGNORECASE)
# Words that are an answer to a question after them: "Which of these are prime? None."
_PERHAPS = re.compile(r"none|null|nil|nan|nothing|undefined|无|没有|空", re.IGNORECASE | re.ASCII)
_ASKS = re.compile(
    r"\?|？|\b(?:which|what|whether|if|any|find|identify|list|classify|determine|count|select|extract|detect|name|output"
    r"|return|print|value|how many|correct|error|check|predict|state|indicate)\b"
    r"|哪|什么|是否|找|识别|列|分类|判断|选|提取|检|多少|几|值"
    r"|有无|输出",
    re.IGNORECASE | re.ASCII,
)


@check("error", Sample("Write a haiku about rain.", "", "<nooutput>"))
def placeholder_output(sample: Sample) -> str | None:
    """Fails an answer that is, as a whole, a word for no answer.

    >>> placeholder_output(Sample("Write a haiku about rain.", "", "[Insert haiku here]"))
    "stands in for an answer: '[Insert haiku here]'"
    >>> placeholder_output(Sample("Which of these are prime?", "4, 6", "None")) is None
    True
    """
    text = sample.output.strip()
    if not text or len(text) > 200 or _ABOUT_SIGNS.search(sample.instruction):
        return None
    perhaps = _PERHAPS.fullmatch(text.rstrip(".。")) and not _ASKS.search(f"{sample.instruction} {sample.input}")
    return f"stands in for an answer: {excerpt(text)!r}" if perhaps or _NOTHING.fullmatch(text) else None
