"""The input or the output ends with a colon: what it announces is missing."""

from __future__ import annotations

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import excerpt

__all__ = ["ends_with_colon"]

_TAIL = 40  # characters that are shown


@check("info", Sample("Name three fish.", "", "Here are three fish:"), optional=True)
def ends_with_colon(sample: Sample) -> str | None:
    """Fails an input or an output that ends with a colon; in Chinese, with a full-width one, too.

    As in `self_instruct/prepare_for_finetuning.py` of yizhongw/self-instruct at 0b26ccaa.

    >>> ends_with_colon(Sample("Name three fish.", "", "Here are three fish:"))
    "output ends with 'Here are three fish:'"
    >>> ends_with_colon(Sample("说出三种鱼。", "例如：", "鲤鱼、鲫鱼和草鱼。", language="zh"))
    "input ends with '例如：'"
    """
    colons = (":", "：") if sample.language == "zh" else (":",)
    for name, text in (("input", sample.input.strip()), ("output", sample.output.strip())):
        if text.endswith(colons):
            return f"{name} ends with {excerpt(text[-_TAIL:])!r}"
    return None
