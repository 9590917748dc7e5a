"""The task begins with "Write a program", of which a model told to invent tasks writes too many."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import excerpt

__all__ = ["program_asked"]

# In this case only, and at the beginning, as in generate_instruction.py of tatsu-lab/stanford_alpaca at 761dc5bf.
# Self-Instruct has the same words, but reads a task after it gave it one capital letter, the first.
_ENGLISH = "Write a program"
# In Chinese what it does, and in which language it is written, stand before the word: 用Python编写一个计算平方的程序.
# A program of a feast (一份程序), a programmer (程序员) and procedural law (程序性) are none.
_CHINESE = re.compile(
    r"请?(?:帮我|为我)?(?:使?用\s*[\w+#.]{1,12}\s*(?:编程)?(?:语言)?\s*)?(?:编写|撰写|写出?|编)一?[个段]"
    r"(?:[^，。；：？！\n]{0,40}的)?(?:计算机|电脑)?程序(?![员性])"
)


@check("info", Sample("Write a program that adds two numbers.", "", "print(1 + 2)"), of="task", optional=True)
def program_asked(sample: Sample) -> str | None:
    """Fails an instruction that begins with "Write a program", in English or in Chinese.

    >>> program_asked(Sample("Write a program that adds two numbers.", "", ""))
    "begins with 'Write a program'"
    >>> program_asked(Sample("请编写一个计算两数之和的程序。", "", "", language="zh"))
    "begins with '请编写一个计算两数之和的程序'"
    >>> program_asked(Sample("Write a Python program that adds two numbers.", "", "")) is None
    True
    """
    text = sample.instruction.strip()
    if sample.language == "zh":
        asked = _CHINESE.match(text)
        return None if asked is None else f"begins with {excerpt(asked[0])!r}"
    return f"begins with {_ENGLISH!r}" if text.startswith(_ENGLISH) else None
