"""The output is the input, character for character: nothing was done with it."""

from __future__ import annotations

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import excerpt

__all__ = ["input_is_output"]


@check("info", Sample("Correct the sentence.", "He goes home.", "He goes home."), optional=True)
def input_is_output(sample: Sample) -> str | None:
    """Fails an output that equals its input but for space around it; `copied` forgives tasks where that may be right.

    As in `self_instruct/prepare_for_finetuning.py` of yizhongw/self-instruct at 0b26ccaa, but where both are empty:
    that is `empty`.

    >>> input_is_output(Sample("Correct the sentence.", "He goes home.", "He goes home. "))
    "is the input: 'He goes home.'"
    >>> input_is_output(Sample("Correct the sentence.", "He go home.", "He goes home.")) is None
    True
    """
    text = sample.output.strip()
    return f"is the input: {excerpt(text)!r}" if text and text == sample.input.strip() else None
