"""A comparison has scores that are no whole numbers, which the judge was asked for."""

from __future__ import annotations

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.records import Scored

__all__ = ["fractional_scores"]


@check(
    "info",
    Sample("Say hi.", "", "", scored=(Scored("Hi!", "gpt-4", 9.5), Scored("Yo", "opt-iml", 4.0))),
    of="comparison",
)
def fractional_scores(sample: Sample) -> str | None:
    """Fails a comparison with a score that has decimals.

    >>> fractional_scores(Sample("", "", "", scored=(Scored("a", "x", 8.5),)))
    'the score of x is 8.5'
    """
    for each in sample.scored:
        if each.score is not None and each.score != int(each.score if abs(each.score) < float("inf") else 0):
            return f"the score of {each.source} is {each.score:g}"
    return None
