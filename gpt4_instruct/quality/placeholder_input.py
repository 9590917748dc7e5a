"""The input says in words that there is none: "No input.", "N/A"."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import excerpt

__all__ = ["placeholder_input"]

_NOTHING = re.compile(
    r"[<\[(【（「\"“']?\s*(?:"
    r"(?:there (?:is|are) )?no[ _-]?(?:(?:additional|further|specific|other|extra|particular) )?"
    r"(?:inputs?|information|context|data|text|content|details?)"
    r"(?: (?:is |was )?(?:required|needed|provided|necessary|given|available|specified))?"
    r"|inputs? (?:is )?not (?:required|needed|provided|applicable|necessary)"
    r"|none|n/?a|n\.a\.|not (?:applicable|required|needed|provided|available|specified)|null|nil|nothing|empty|blank"
    r"|(?:输入[:：]?\s*)?(?:无|没有|空|暂无|不适用|不需要|无需|未提供|未指定)(?:任何|具体|额外|特定|其他)?(?:输入|内容|信息|数据)?"
    r"|(?:输入|内容)(?:为|是)?(?:无|空)|(?:不需要|无需|没有|无)(?:提供)?(?:任何)?输入(?:内容|信息)?|\(?无\)?"
    r"|[-_.…/\\]+"
    r")\s*[>\])】）」\"”']?\s*[.。!！]?",
    re.IGNORECASE,
)


# Words that may well be the input of a task about a word, a sign or a value.
_A_WORD = re.compile(
    r"\b(?:words?|keywords?|terms?|values?|phrases?|abbreviations?|literals?|characters?|antonyms?|synonyms?|message)\b"
    r"|字|词|部首|值|符号",
    re.IGNORECASE | re.ASCII,
)


@check("warning", Sample("Name a fruit.", "No input.", "An apple."), of="task")
def placeholder_input(sample: Sample) -> str | None:
    """Fails an input that is, as a whole, a word for no input.

    >>> placeholder_input(Sample("写一首诗。", "无输入", "……"))
    "says that there is none: '无输入'"
    >>> placeholder_input(Sample("Translate into French.", "Nothing compares to you.", "...")) is None
    True
    """
    text = sample.input.strip()
    if not text or len(text) > 80:
        return None
    if _NOTHING.fullmatch(text) is None or _A_WORD.search(sample.instruction):
        return None
    return f"says that there is none: {excerpt(text)!r}"
