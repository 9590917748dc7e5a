"""A comparison has a score that is not from 1 to 10, which the judge was asked for."""

from __future__ import annotations

import math

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.records import Scored

__all__ = ["scores_out_of_range"]

_LOWEST, _HIGHEST = 1, 10  # the paper, section 2


@check(
    "warning",
    Sample("Say hi.", "", "", scored=(Scored("Hi!", "gpt-4", 9.0), Scored("", "opt-iml", 0.0))),
    of="comparison",
)
def scores_out_of_range(sample: Sample) -> str | None:
    """Fails a comparison with a score under 1 or over 10.

    >>> scores_out_of_range(Sample("", "", "", scored=(Scored("a", "x", 11.0), Scored("b", "y", 9.0))))
    'the score of x is 11, outside 1 to 10'
    """
    for each in sample.scored:
        if each.score is not None and not math.isnan(each.score) and not _LOWEST <= each.score <= _HIGHEST:
            return f"the score of {each.source} is {each.score:g}, outside {_LOWEST} to {_HIGHEST}"
    return None
