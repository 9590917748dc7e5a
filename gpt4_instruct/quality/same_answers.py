"""Two answers of a comparison are the same text, and yet one is said to be better."""

from __future__ import annotations

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.records import Scored

__all__ = ["same_answers"]


@check(
    "warning",
    Sample("Say hi.", "", "", scored=(Scored("Hi!", "gpt-4", 9.0), Scored("Hi!", "gpt-3.5", 7.0))),
    of="comparison",
)
def same_answers(sample: Sample) -> str | None:
    """Fails a comparison with one text at two scores, or as the better and the worse one.

    >>> same_answers(Sample("", "", "", scored=(Scored("a", "completion_a", None), Scored("a ", "completion_b", None))))
    'completion_a and completion_b are the same text'
    """
    first: dict[str, Scored] = {}
    for each in sample.scored:
        text = each.response.strip()
        other = first.setdefault(text, each)
        if other is each or not text:
            continue
        if other.score is None or each.score is None:
            return f"{other.source} and {each.source} are the same text"
        if other.score != each.score:
            return f"{other.source} and {each.source} are the same text, scored {other.score:g} and {each.score:g}"
    return None
