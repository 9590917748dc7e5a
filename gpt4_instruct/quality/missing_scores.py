"""A comparison lacks a score."""

from __future__ import annotations

import math

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.records import Scored

__all__ = ["missing_scores"]


@check(
    "error",
    Sample("Say hi.", "", "", scored=(Scored("Hi!", "gpt-4", 9.0), Scored("Yo.", "opt-iml", None))),
    of="comparison",
)
def missing_scores(sample: Sample) -> str | None:
    """Fails a comparison with an answer that has no score, or none that is a number.

    Pairs without any scores, whose order is all they say, are not meant.

    >>> missing_scores(Sample("", "", "", scored=(Scored("a", "x", None), Scored("b", "y", 9.0))))
    'the answer of x has no score'
    """
    scores = [each.score for each in sample.scored]
    if not scores or all(score is None for score in scores):
        return None
    for each in sample.scored:
        if each.score is None or math.isnan(each.score):
            return f"the answer of {each.source} has no score"
    return None
