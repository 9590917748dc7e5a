"""Finds equations of numbers in a text, and evaluates expressions exactly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

__all__ = ["LARGEST", "MOST_DIGITS", "NUMBER", "equations", "evaluate"]

NUMBER = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_TOKEN = re.compile(rf"\s*(?:(?P<number>{NUMBER})\s*(?P<percent>%)?|(?P<op>\*\*|[-+−–*×÷/^·x()])|[$€£¥])")
# Words for signs, between numbers only.
_WORDS = [
    (re.compile(r"(?<=\d) ?(?:plus|加上?) ?(?=[\d$])"), " + "),
    (re.compile(r"(?<=\d) ?(?:minus|减去?) ?(?=[\d$])"), " - "),
    (re.compile(r"(?<=[\d)]) ?(?:[xX]|times|multiplied by|乘以?) ?(?=[\d$(])"), " * "),
    (re.compile(r"(?<=\d) ?(?:divided by|除以) ?(?=[\d$])"), " / "),
    (re.compile(r"(?<=[\d%)]) ?(?:equals|is equal to|等于) ?(?=[\d$-])"), " = "),
]
_WORD = 40  # characters: the longest words, or number, that are looked for right before it
_WINDOW = 160  # characters in front of an equals sign: longer sums are no longer sums that somebody writes out
_LEFT = "-0123456789., \t\r\n\u3000\xa0+−–*×÷/^·()$€£¥%"  # what a left side is made of
_BEFORE = frozenset("=≈:：（【[“\"'、，。；>")  # what an expression may follow without a space
_CUT = re.compile(r"[\n,.](?:\s|\Z)|\n")  # where a sentence, a list's item or a line ends
_RIGHT = re.compile(rf"\s*(?P<result>[-−–]?\s?[$€£¥]?\s?(?:{NUMBER})(?:\s?%)?)")
_UNIT = (
    r"(?:feet|foot|ft|inch(?:es)?|yards?|miles?|hours?|hrs?|h|minutes?|mins?|m|seconds?|days?|weeks?|months?|years?"
    r"|pounds?|lbs?|ounces?|oz|stone|gallons?|quarts?|pints?|cups?|dollars?|cents?|degrees?|km|cm|kg|g"
    r"|英尺|英寸|小时|时|分钟?|秒|元|角|天|周|年|个?月|米|厘米|公斤|千克|克|斤|度|点|[\"'′″°])"
)
# Before a left side: what makes it part of something else ("20% of 50 + 5", "log 100 + 1", "5 feet 6 + 2").
_PART = re.compile(
    r"(?:\b(?:(?<!\bsum )(?<!\bproduct )(?<!\bresult )(?<!\btotal )of|roots?|power|log|ln|lg|exp"
    r"|a?(?:sin|cos|tan)h?|cot|sec|csc|sqrt|cbrt|abs|mod|base|factorial|not|plus|minus|negative|times|over|by|from|per|half"
    r"|twice|thrice|double|triple|add|subtract|point|hundred|thousand|million|billion|dozen|(?:twen|thir|for|fif|six|seven|eigh|nine)ty)"
    rf"|[的根方√∛∑∏加减乘除]|加上|减去|[乘除]以|\d\s*{_UNIT})\Z",
    re.IGNORECASE | re.ASCII,
)
_CLOCK = re.compile(r"\d:\Z")
_NUMBER_AND = re.compile(r"(?P<result>[=≈]?)\s*[$€£¥]?[\d.,]+%?\s*(?:\band|&|和|与)\s*\Z", re.ASCII)
# Said of an equation that somebody has wrong.
_SAID_WRONG = re.compile(
    r"\b(?:claim|insist|pretend|believ|jok(?:e|ing)|parado|fallac|incorrect|wrong|false|mistake|li(?:e|es|ed)\b|Orwell"
    r"|instead of)"
    r"|声称|宣称|谎|笑话|玩笑|悖论|谬|错误|不等于|而不是|并非",
    re.IGNORECASE | re.ASCII,
)
# Behind a result: what makes it part of something else.
_MORE = re.compile(
    r"[.,:]?\d|\w*\d|[a-zA-Zπ²³°/]"
    r"|\s*(?:[-+*/^×÷·−]\s*[\w(]|[=≈(^!√‰²³°π]|\.{2,}|…|mod|and \d|又|个?余|remainder|[rR]\.? ?\d"
    rf"|{_UNIT}\s*\d)"
)
MOST_DIGITS = 30  # of a number: longer ones are not counted with, but made up or listed
LARGEST = Fraction(10) ** 30
_LARGEST_POWER = 2000  # bits


def equations(text: str) -> Iterator[tuple[str, str, str]]:
    """Every equation in a text whose left side is nothing but numbers and signs, and whose right side is a number.

    Yields:
        the left side, ``"="`` or ``"≈"``, and the right side. What is part of something else (a variable, a chain's
        last link, a number with a unit in letters) is left out, since it cannot be judged.

    >>> list(equations("So 3加5等于8, a = 12 - 1 = 11, 2x + 3 = 7, and (2 + 3) x 4 = 20 eggs."))
    [('3 + 5', '=', '8'), ('12 - 1', '=', '11'), ('(2 + 3) * 4', '=', '20')]
    """
    for pattern, sign in _WORDS:
        text = pattern.sub(sign, text)
    for equals in re.finditer("[=≈]", text):
        right = _RIGHT.match(text, equals.end())
        if right is None or _MORE.match(text, right.end()):
            continue
        before = text[max(0, equals.start() - _WINDOW) : equals.start()].rstrip()
        around = before.rstrip(_LEFT)
        left = before[len(around) :]
        if not left or sum(map(str.isdigit, right["result"])) > MOST_DIGITS:
            continue
        cuts = list(_CUT.finditer(left))
        if cuts:
            left, around = left[cuts[-1].end() :], ""
        if left.count("(") > left.count(")"):  # "(2 + 3 = 5)"
            left = left.replace("(", " ", left.count("(") - left.count(")"))
        spaced = left[:1].isspace() or not left
        left = left.strip()
        if not left or left[0] in "+*×÷/^·.,)" or left[-1] in "-+−–*×÷/^·(":
            continue
        if not (spaced or not around or around[-1] in _BEFORE) or (not spaced and _CLOCK.search(around)):
            continue
        if left[0] in "-−–" and (left[1:2].isspace() or around.rstrip()[-1:].isalnum()):
            continue  # the end of a longer expression
        if not re.search(r"\d\s*%?\)*\s*[-+−–*×÷/^·]", left):
            continue
        if _PART.search(around[-_WORD:]) or _joined(around[-_WORD:]) or _of_somebody(text, equals.start(), right.end()):
            continue
        yield left, equals[0], right["result"].strip()


def _joined(around: str) -> bool:
    """Whether a number and "and" stand before, as in "the sum of 4 and 3 + 2"; but for another equation's result."""
    joined = _NUMBER_AND.search(around)
    return joined is not None and not joined["result"]


def _of_somebody(text: str, start: int, end: int) -> bool:
    """Whether an equation is quoted, or is said to be wrong, in its own line."""
    line = text[max(0, start - _WINDOW) : start].rpartition("\n")[2]
    opened, closed = (max(map(line.rfind, marks)) for marks in ("“‘「『", "”’」』"))
    if line.count('"') % 2 or opened > closed:
        return True
    line = re.split(r"[.!?]\s|[。！？]", line)[-1]
    behind = text[end : end + _WINDOW // 2].partition("\n")[0]
    return _SAID_WRONG.search(line[-_WINDOW // 2 :]) is not None or _SAID_WRONG.search(behind) is not None


def evaluate(expression: str) -> Fraction | None:
    """The exact value of an expression of numbers, ``+ - * / ^ %`` and brackets; none if it is none or too large.

    >>> evaluate("2 + 3 × 4"), evaluate("(1 - 3) / 4"), evaluate("20% * 1,000"), evaluate("1 / 0")
    (Fraction(14, 1), Fraction(-1, 2), Fraction(200, 1), None)
    """
    tokens: list[str | Fraction] = []
    place = 0
    text = expression.strip()
    while place < len(text):
        found = _TOKEN.match(text, place)
        if found is None:
            return None
        place = found.end()
        if found["number"]:
            if len(found["number"]) > MOST_DIGITS:
                return None
            value = Fraction(found["number"].replace(",", ""))
            tokens.append(value / 100 if found["percent"] else value)
        elif found["op"]:
            tokens.append(
                {"−": "-", "–": "-", "×": "*", "·": "*", "x": "*", "÷": "/", "**": "^"}.get(found["op"], found["op"])
            )
    try:
        value, end = _sum(tokens, 0)
    except (IndexError, ZeroDivisionError, TypeError, OverflowError, ValueError, RecursionError):
        return None
    return value if end == len(tokens) and abs(value) < LARGEST else None


def _sum(tokens: list[str | Fraction], place: int) -> tuple[Fraction, int]:
    value, place = _product(tokens, place)
    while place < len(tokens) and tokens[place] in ("+", "-"):
        other, end = _product(tokens, place + 1)
        value = value + other if tokens[place] == "+" else value - other
        place = end
    return value, place


def _product(tokens: list[str | Fraction], place: int) -> tuple[Fraction, int]:
    value, place = _signed(tokens, place)
    while place < len(tokens) and tokens[place] in ("*", "/"):
        other, end = _signed(tokens, place + 1)
        value = value * other if tokens[place] == "*" else value / other
        place = end
    return value, place


def _signed(tokens: list[str | Fraction], place: int) -> tuple[Fraction, int]:
    if tokens[place] == "-":
        value, end = _signed(tokens, place + 1)
        return -value, end
    if tokens[place] == "(":
        value, end = _sum(tokens, place + 1)
        if tokens[end] != ")":
            raise ValueError("a bracket is not closed")
        place = end + 1
    else:
        found = tokens[place]
        if not isinstance(found, Fraction):
            raise ValueError("a number is missing")
        value, place = found, place + 1
    if place < len(tokens) and tokens[place] == "^":
        power, end = _signed(tokens, place + 1)
        size = max(abs(value.numerator), value.denominator).bit_length()
        if power.denominator != 1 or abs(power) > 64 or size * abs(power) > _LARGEST_POWER:
            raise ValueError("not a whole power, or a huge one")
        return value ** int(power), end
    return value, place
