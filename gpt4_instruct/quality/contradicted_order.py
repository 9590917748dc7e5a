"""A comparison names one answer as the better one, and its scores, or the answers themselves, say otherwise."""

from __future__ import annotations

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.refusal import refusal
from gpt4_instruct.records import Scored

__all__ = ["contradicted_order"]

# The first of these is the better one (comparison v1; the preference format of today's trainers).
_ORDERED = (("completion_a", "completion_b"), ("chosen", "rejected"))


@check(
    "error",
    Sample("Say hi.", "", "", scored=(Scored("", "completion_a", None), Scored("Hi!", "completion_b", None))),
    of="comparison",
)
def contradicted_order(sample: Sample) -> str | None:
    """Fails a pair whose better answer is scored lower, is empty, or declines where the other one answers.

    >>> contradicted_order(Sample("", "", "", scored=(Scored("a", "chosen", 3.0), Scored("b", "rejected", 8.0))))
    'chosen is named first and scored 3, rejected 8'
    """
    if tuple(each.source for each in sample.scored) not in _ORDERED:
        return None
    better, worse = sample.scored
    if better.score is not None and worse.score is not None and better.score < worse.score:
        return f"{better.source} is named first and scored {better.score:g}, {worse.source} {worse.score:g}"
    if worse.response.strip() and not better.response.strip():
        return f"{better.source} is named better and is empty"
    declines = [refusal(Sample(sample.instruction, sample.input, each.response)) for each in (better, worse)]
    if declines[0] is not None and declines[1] is None and len(worse.response) > 40:
        return f"{better.source} is named better and {declines[0]}"
    return None
