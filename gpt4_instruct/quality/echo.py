"""The answer repeats the prompt instead of answering it, as small models do."""

from __future__ import annotations

from gpt4_instruct.prompts.tasks import MARKERS
from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import essence

__all__ = ["echo"]


@check("error", Sample("Say hi.", "", "### Instruction:\nSay hi."))
def echo(sample: Sample) -> str | None:
    """Fails an answer that holds a heading of the prompt, or is the instruction again.

    >>> echo(Sample("Say hi.", "", "### Instruction:\\nSay hi."))
    "repeats the prompt: '### Instruction:'"
    >>> echo(Sample("Say hi.", "", "Say hi."))
    'is the instruction again'
    """
    said = essence(sample.output)
    if said and said == essence(sample.instruction):
        return "is the instruction again"
    marker = next((each for each in MARKERS if each in sample.output and each not in sample.input), None)
    return f"repeats the prompt: {marker!r}" if marker else None
