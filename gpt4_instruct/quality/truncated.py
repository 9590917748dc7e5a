"""The answer was cut off at the token limit."""

from __future__ import annotations

from gpt4_instruct.quality.base import Sample

__all__ = ["truncated"]


def truncated(sample: Sample) -> str | None:
    """Fails an answer whose ``finish_reason`` is ``"length"``.

    >>> truncated(Sample("Count.", "", "one, two, thr", finish_reason="length"))
    'cut off at the token limit after 13 characters'
    """
    if sample.finish_reason != "length":
        return None
    return f"cut off at the token limit after {len(sample.output)} characters"
