"""How a judge's reply is read: the scores in it, or why there are none. A score is never guessed.

Scores count where a line holds them and nothing else: "8 9", "8/10 and 9/10", "Assistant 1: 8", "八分，九分半"; in
whatever digits, with labels, units and markup. That line is the first one, as it was asked for, or the only such one
behind an introduction. A line that begins with a label may go on behind a score that names its scale: "Assistant 1:
8/10, clear and right", but not with another such score. Numbers in the midst of sentences are no scores.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from gpt4_instruct.quality.base import Sample
from gpt4_instruct.quality.refusal import refusal

__all__ = ["HIGHEST", "LOWEST", "REASONS", "Reading", "read_scores"]

LOWEST, HIGHEST = 1.0, 10.0

# Why a reply holds no scores; those of requests that the judge's endpoint refused come on top.
REASONS = {
    "empty": "the reply is empty",
    "truncated": "the reply was cut off before its scores were whole",
    "withheld": "the endpoint's content filter withheld the reply",
    "refusal": "the judge declines",
    "no_score": "no line of the reply holds the scores alone",
    "one_score": "there is one score for two answers",
    "too_many_scores": "there are more scores than answers",
    "contradiction": "the reply holds different scores for the same answer",
    "not_a_number": "a score is NaN or infinite",
    "out_of_range": "a score is below 1 or above 10",
    "fraction": "a score is neither whole nor a half point",
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read in a reply.

    Attributes:
        scores: one for each answer, in the order in which they were shown; empty where they cannot be read.
        failure: then, why: a key of `REASONS`.
    """

    scores: tuple[float, ...] = ()
    failure: str | None = None


def read_scores(reply: str, answers: int, finish_reason: str = "stop") -> Reading:
    """The scores of 1 to 10 in a judge's reply, half points among them.

    Args:
        reply: the reply as it came. What stands before ``</think>`` is left out, and so is what stands behind a
            ``<think>`` that does not end.
        answers: how many were shown: 1 or 2.
        finish_reason: as the endpoint says it. A reply that was cut off has its scores nevertheless, where something
            comes after them: "8 1" may have become "8 10".

    >>> [read_scores(reply, 2).scores for reply in ("8 9", "8, 9.5", "8/10 and 9/10", "８　９", "八分，九分半")]
    [(8.0, 9.0), (8.0, 9.5), (8.0, 9.0), (8.0, 9.0), (8.0, 9.5)]
    >>> read_scores("Assistant 2: 9\\nAssistant 1: 8\\nThe second one is clearer.", 2).scores
    (8.0, 9.0)
    >>> read_scores("**Score: 7/10**\\nRight, but short.", 1).scores
    (7.0,)
    >>> for reply in ("8\\nFine.", "8 9 7", "8 11", "nan 8", "8-9", "Both are fine.", "I'm sorry, I cannot help."):
    ...     print(reply.split("\\n")[0], "->", read_scores(reply, 2).failure)
    8 -> one_score
    8 9 7 -> too_many_scores
    8 11 -> out_of_range
    nan 8 -> not_a_number
    8-9 -> no_score
    Both are fine. -> no_score
    I'm sorry, I cannot help. -> refusal
    """
    if finish_reason == "content_filter":
        return Reading(failure="withheld")
    said = unicodedata.normalize("NFKC", reply).rpartition("</think>")[2]
    text, thinks, _ = said.partition("<think>")
    cut_off = finish_reason == "length"
    if not text.strip():
        found = Reading(failure="no_score" if thinks else "empty")
    else:
        found = _read_lines(_score_lines(text, cut_off=cut_off and not thinks), text, reply, answers)
    ended_early = cut_off and reply.strip() and found.failure in ("empty", "no_score", "one_score")
    return Reading(failure="truncated") if ended_early else found


def _read_lines(lines: Sequence[list[_Score]], text: str, reply: str, answers: int) -> Reading:
    """The reading of a reply by its lines."""
    first = lines[0]
    if first and len(first) >= answers and not _one_label(first):
        if answers == 2 and len(lines) > 1 and len(lines[1]) == 2 and _checked(lines[1], 2) != _checked(first, 2):
            return Reading(failure="contradiction")  # "1 8" above "2 9"
        return _checked(first, answers)
    single = [found for found in lines if found and len(found) == 1]
    if answers == 2 and (labelled := [found[0] for found in single if found[0].side]):
        return _of_labels(labelled, len(labelled) < len([found for found in lines if found]))
    if first and answers == 2:  # "8", then "9" on the next line, and no third
        run = _leading(lines)
        return _checked(run, answers) if len(run) > 1 else Reading(failure="one_score")
    whole = [found for found in lines if found and len(found) >= answers]
    if not whole:
        declines = _DECLINES.search(text) or refusal(Sample("", "", reply))
        return Reading(failure="refusal" if declines else "one_score" if single else "no_score")
    readings = {_checked(found, answers) for found in whole}
    return readings.pop() if len(readings) == 1 else Reading(failure="contradiction")


# What a judge says it does not do; `refusal` knows what a model that answers says.
_DECLINES = re.compile(
    r"\b(?:can(?:['’]|no)t|can not|(?:un|not )able to|will not|won['’]t|decline to|refuse to)\s+(?:\w+ly\s+)?"
    r"(?:judge|score|rate|grade|evaluate|compare|assess)\b"
    r"|(?:无法|不能|不便|不会)\S{0,6}?(?:评分|打分|评判|评价|比较|判断)",
    re.IGNORECASE,
)


# --- one line -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Score:
    value: float
    side: int = 0  # of the label before it: 1 or 2; 0 for none


_DIGITS = dict(zip("零一二三四五六七八九", range(10), strict=True)) | {"两": 2}
_WHO = r"(?:assistant|answer|response|reply|model|candidate|助手|助理|回答|答案|回复|模型)"
_SIDE = r"(?P<{name}>[12]|[ab一二甲乙](?![a-z])|one\b|two\b|first\b|second\b|第[一二12][个位名份]?)"
_SCORE_WORD = (
    r"(?:(?:overall|final|total|the|my|综合|最终|总体|我的)\s*)*"
    r"(?:scores?|ratings?|grades?|judge?ments?|评分|得分|分数|打分|评价)"
)
# "/10", "out of 10", "points", and 分, which is no minute (分钟) and no part (十分之一).
_UNIT = r"\s*(?:/\s*10(?:\.0+)?|out\s+of\s+(?:10|ten)|points?|分(?![钟之]))"
_TOKENS = re.compile(
    rf"(?P<label>(?:the\s+)?(?:{_WHO}[\s_#-]*{_SIDE.format(name='after')}|{_SIDE.format(name='before')}\s*{_WHO})"
    rf"(?:'s)?[*_\"'\]\s]*(?:的?\s*{_SCORE_WORD})?[*_\"'\]\s]*(?:(?:is|gets|得|为|是)\b)?[\s:=*_\"'\[]*)"
    rf"|(?P<title>(?:{_SCORE_WORD}\s*(?:is|are|of|for|为|是)?|(?:final|overall|最终|综合)\s*(?=:))[\s:=*_\"'\[]*)"
    rf"|(?P<number>[-+]?\d+(?:\.\d+)?|[-+]?(?:nan|inf(?:inity)?)\b)(?P<unit>(?:[*_]*{_UNIT})?)(?P<half>半?)"
    # No fraction, no share, no range; but "-1 -1" are two numbers.
    r"(?![\d%½¼¾]|[./:~–—-]\d|\s*(?:to|or|或|到|至)\s*\d|\s+[-~–—]\s+\d)"
    rf"|(?P<chinese>[{''.join(_DIGITS)}十]+)(?:点(?P<decimal>[{''.join(_DIGITS)}]))?(?P<zh_unit>(?:{_UNIT})?)(?P<zh_half>半?)"
    r"|out\s+of\s+(?:10|ten)|,|;|、|\||&|\band\b|\bvs\b\.?|和|与|[\s*_#>`\"'\[\](){}.。!]+",
    re.IGNORECASE,
)
_ITEM = re.compile(r"\s*(?:[-*•]\s+|\d{1,2}[.)]\s+(?=\D))")
_NUMBERED = re.compile(r"\s*\d{1,2}[.)]\s")


def _score_lines(text: str, *, cut_off: bool) -> list[list[_Score]]:
    """What `_score_line` finds in each line that is not empty; nothing in a last one that might have gone on."""
    lines = text.strip().splitlines()
    found = [_score_line(line) for line in lines if line.strip()]
    ends_with_line = text.rstrip(" \t") != text.rstrip()
    if cut_off and not ends_with_line and found[-1] != _score_line(f"{lines[-1]}5"):  # another digit would change it
        found[-1] = []
    return found


def _score_line(line: str) -> list[_Score]:
    """The scores of a line that holds nothing but scores, their labels and separators; none for any other line."""
    item = _ITEM.match(line)
    place = item.end() if item else 0
    if _NUMBERED.match(line, place):  # "1. 8": whether 1 is a score cannot be told
        return []
    found: list[_Score] = []
    side = 0
    while place < len(line):
        token = _TOKENS.match(line, place)
        if token is None:
            rest_is_open = len(found) == 1 and found[0].side and _names_scale(line[:place])
            return _with_later(found[0], line[place:]) if rest_is_open and not line[place].isdigit() else []
        place = token.end()
        if token["label"]:
            if side:
                return []  # a label without a score
            side = _side(token)
        elif token["number"] or token["chinese"]:
            value = _value(token)
            if value is None:
                return []
            found.append(_Score(value, side))
            side = 0
    return [] if side else found


# "3 points are wrong" and "3分内容" are no scores, "3/10, wrong" and "3分，" are.
_SCALE_AT_END = re.compile(r"(?:/\s*10(?:\.0+)?|out\s+of\s+(?:10|ten)|分半?)[\s*_,;.。)\]]+$", re.IGNORECASE)
_LONGEST_END = 40  # characters


def _names_scale(text: str) -> bool:
    return _SCALE_AT_END.search(text[-_LONGEST_END:]) is not None


# A further score behind the first: "9/10 at first sight, but wrong: 2/10"; but not what an answer loses: "扣2分".
_LATER = re.compile(
    r"(?<![\d.])(?P<number>\d{1,2}(?:\.\d)?)\s*(?:/\s*10(?![\d.]*[\d])|out\s+of\s+(?:10|ten)\b|(?<![扣减少失差]\d)分(?![钟之]))"
    r"|(?<![扣减少失差百])(?P<chinese>[二两三四五六七八九])分(?![钟之])",
    re.IGNORECASE,
)


def _with_later(score: _Score, rest: str) -> list[_Score]:
    """The score of a line that goes on, and another one in what follows, if there is one."""
    for match in _LATER.finditer(rest):
        value = float(match["number"] or _DIGITS[match["chinese"]])
        if value != score.value:
            return [score, _Score(value, score.side)]
    return [score]


def _side(token: re.Match[str]) -> int:
    word = (token["after"] or token["before"]).lower().strip("第个位名份")
    return 2 if word in {"2", "b", "二", "乙", "two", "second"} else 1


def _value(token: re.Match[str]) -> float | None:
    if token["number"]:
        return float(token["number"]) + (0.5 if token["half"] else 0)
    tens, ten, ones = token["chinese"].rpartition("十")
    if len(tens) > 1 or len(ones) > 1 or (not ten and not ones) or tens == "十":
        return None  # "八九", "十十"
    value = (_DIGITS[tens] if tens else 1) * 10 if ten else 0
    value += _DIGITS[ones] if ones else 0
    decimal = _DIGITS[token["decimal"]] / 10 if token["decimal"] else 0.5 if token["zh_half"] else 0.0
    return value + decimal


# --- from lines to scores -------------------------------------------------------------------------------------------


def _one_label(found: Sequence[_Score]) -> bool:
    """Whether a line is of one answer of two: the other's stands elsewhere."""
    return len(found) == 1 and found[0].side != 0


def _leading(lines: Sequence[list[_Score]]) -> list[_Score]:
    """The scores of the first lines, as long as each holds one alone."""
    run: list[_Score] = []
    for found in lines:
        if len(found) != 1 or found[0].side:
            break
        run += found
    return run


def _of_labels(labelled: Sequence[_Score], others: bool) -> Reading:
    """The reading of lines that each name their answer."""
    values = [{each.value for each in labelled if each.side == side} for side in (1, 2)]
    if others or any(len(each) > 1 for each in values):
        return Reading(failure="contradiction")
    if not all(values):
        return Reading(failure="one_score")
    return _checked([_Score(each.pop()) for each in values], 2)


def _checked(found: Sequence[_Score], answers: int) -> Reading:
    """The reading of as many scores as there are on a line."""
    if len(found) != answers:
        return Reading(failure="too_many_scores" if len(found) > answers else "one_score")
    if answers == 2 and any(each.side for each in found):
        if {each.side for each in found} != {1, 2}:
            return Reading(failure="contradiction")
        found = sorted(found, key=lambda each: each.side)
    values = tuple(each.value for each in found)
    if not all(map(math.isfinite, values)):
        return Reading(failure="not_a_number")
    if not all(LOWEST <= value <= HIGHEST for value in values):
        return Reading(failure="out_of_range")
    if any(value * 2 % 1 for value in values):
        return Reading(failure="fraction")
    return Reading(values)
