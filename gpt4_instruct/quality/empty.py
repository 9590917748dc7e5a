"""The answer says nothing."""

from __future__ import annotations

from gpt4_instruct.quality.base import Sample, check

__all__ = ["empty"]


@check("error", Sample("Say hi.", "", " \n"))
def empty(sample: Sample) -> str | None:
    """Fails an answer of white space only.

    >>> empty(Sample("Say hi.", "", " \\n"))
    'the answer is empty'
    """
    return None if sample.output.strip() else "the answer is empty"
