"""The task is too short or too long to be one: the first filter of Self-Instruct and Alpaca."""

from __future__ import annotations

from gpt4_instruct.languages import words
from gpt4_instruct.quality.base import Sample, check

__all__ = ["task_length"]

# Fewest and most words of a task. English, by spaces: self_instruct/bootstrap_instructions.py of yizhongw/self-instruct
# at 0b26ccaa, and generate_instruction.py of tatsu-lab/stanford_alpaca at 761dc5bf. Chinese, where each character is a
# word: the packaged seeds have 1.6 of them for an English word, so four words are 6 and 150 are 240; but "描述水循环"
# is a task of 5, while of the tasks of 4 and fewer in the first 500 released rows nearly all are an input that slipped.
_BOUNDS = {"en": (4, 150), "zh": (5, 240)}


@check("info", Sample("Name a colour.", "", "Blue."), of="task", optional=True)
def task_length(sample: Sample) -> str | None:
    """Fails an instruction of fewer than 4 or more than 150 words; of fewer than 5 or more than 240 in Chinese.

    >>> task_length(Sample("Name a colour.", "", ""))
    'has 3 words, not 4 to 150'
    >>> task_length(Sample("温室效应", "", "", language="zh"))
    'has 4 words, not 5 to 240'
    >>> task_length(Sample("描述水循环。", "", "", language="zh")) is None
    True
    """
    text = sample.instruction
    count = len(words(text, "zh") if sample.language == "zh" else text.split())
    fewest, most = _BOUNDS[sample.language]
    return None if fewest <= count <= most else f"has {count:,} words, not {fewest} to {most}"
