"""A comparison says nothing: the best answers have the same score."""

from __future__ import annotations

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.records import Scored

__all__ = ["tied_scores"]


@check(
    "info",
    Sample("Say hi.", "", "", scored=(Scored("Hi!", "gpt-4", 9.0), Scored("Hello.", "gpt-3.5", 9.0))),
    of="comparison",
)
def tied_scores(sample: Sample) -> str | None:
    """Fails a comparison in which all answers, or the best two, have one score.

    >>> scored = (Scored("a", "x", 9.0), Scored("b", "y", 9.0), Scored("c", "z", 2.0))
    >>> tied_scores(Sample("", "", "", scored=scored))
    'x and y are both scored 9'
    """
    scores = sorted((each for each in sample.scored if each.score is not None), key=lambda each: -(each.score or 0))
    if len(scores) < 2 or scores[0].score != scores[1].score:
        return None
    if len(scores) > 2 and scores[-1].score == scores[0].score:
        return f"all {len(scores)} answers are scored {scores[0].score:g}"
    return f"{scores[0].source} and {scores[1].source} are both scored {scores[0].score:g}"
