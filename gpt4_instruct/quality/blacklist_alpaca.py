"""The task names what no text is or does, by Alpaca's words: Self-Instruct's, and video, audio, music and diagrams."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.blacklist_self_instruct import CHINESE, ENGLISH, english_words

__all__ = ["blacklist_alpaca"]

# What generate_instruction.py of tatsu-lab/stanford_alpaca at 761dc5bf has more than Self-Instruct; and in Chinese,
# where a musician (音乐家), a concert (音乐会) and a musical (音乐剧) begin with the word for music.
_ENGLISH = ("video", "audio", "music", "flowchart", "diagram")
_CHINESE = r"视频|录像|音频|录音|音乐(?![家会剧])|图[解示]|(?:流程|示意|结构|电路|树状|韦恩|文氏|框)图"

_LISTED = {"en": english_words(ENGLISH + _ENGLISH), "zh": re.compile(f"{CHINESE}|{_CHINESE}")}


@check("info", Sample("Suggest music for a quiet evening.", "", "Try Satie."), of="task", optional=True)
def blacklist_alpaca(sample: Sample) -> str | None:
    """Fails an instruction with a word of Alpaca's list, or with its counterpart in Chinese.

    >>> blacklist_alpaca(Sample("Explain the steps with a flowchart.", "", ""))
    "names 'flowchart'"
    >>> blacklist_alpaca(Sample("为一段短视频写三个标题。", "", "", language="zh"))
    "names '视频'"
    >>> blacklist_alpaca(Sample("介绍一位你喜欢的音乐家。", "", "", language="zh")) is None
    True
    """
    found = _LISTED[sample.language].search(sample.instruction.strip())
    return None if found is None else f"names {found[0]!r}"
