"""The English task begins with a character that is not ASCII, so it is likely to be in another language."""

from __future__ import annotations

from gpt4_instruct.quality.base import Sample, check

__all__ = ["begins_not_ascii"]


@check("info", Sample("¿Cuál es la capital de Francia?", "", "París."), of="task", optional=True)
def begins_not_ascii(sample: Sample) -> str | None:
    """Fails an English instruction whose first character is not ASCII; says nothing of Chinese.

    As in `self_instruct/bootstrap_instructions.py` of yizhongw/self-instruct at 0b26ccaa, which Alpaca took over.

    >>> begins_not_ascii(Sample("“Carpe diem” means what?", "", ""))
    "begins with '“'"
    >>> begins_not_ascii(Sample("法国的首都是哪里？", "", "", language="zh")) is None
    True
    """
    first = sample.instruction.strip()[:1]
    return None if sample.language == "zh" or first.isascii() else f"begins with {first!r}"
