"""Finds equations of numbers in a text, and evaluates expressions exactly."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

__all__ = ["NUMBER", "equations", "evaluate"]

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
_WINDOW = 160  # characters in front of an equals sign: longer sums are no longer sums that somebody writes out
_LEFT = re.compile(r"[-\d.,\s+−–*×÷/^·()$€£¥%]+\Z")
_BEFORE = frozenset("=≈:：（【[“\"'、，。；>")  # what an expression may follow without a space
_CUT = re.compile(r"[\n,.](?:\s|\Z)|\n")  # where a sentence, a list's item or a line ends
_RIGHT = re.compile(rf"\s*(?P<result>[-−–]?\s?[$€£¥]?\s?(?:{NUMBER})(?:\s?%)?)")
# Behind a result: what makes it part of something else.
_MORE = re.compile(
    r"[.,]?\d|\w*\d|[a-zA-Zπ²³°/]"
    r"|\s*(?:[-+*/^×÷·−]\s*[\w(]|[=≈(^!√‰²³°π]|\.{2,}|…|mod|and \d|又|个?余|remainder|[rR]\.? ?\d)"
)
_LARGEST = Fraction(10) ** 30


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
        run = _LEFT.search(before)
        if run is None:
            continue
        left = run[0]
        cuts = list(_CUT.finditer(left))
        if cuts:
            left, around = left[cuts[-1].end() :], ""
        else:
            around = before[: run.start()]
        if left.count("(") > left.count(")"):  # "(2 + 3 = 5)"
            left = left.replace("(", " ", left.count("(") - left.count(")"))
        spaced = left[:1].isspace() or not left
        left = left.strip()
        if not left or left[0] in "+*×÷/^·.,)" or not (spaced or not around or around[-1] in _BEFORE):
            continue
        if left[0] in "-−–" and (left[1:2].isspace() or around.rstrip()[-1:].isalnum()):
            continue  # the end of a longer expression
        if any(letter.isdigit() for letter in left) and re.search(r"\d\s*%?\)*\s*(?:[-+−–*×÷/^·]|\*\*)", left):
            yield left, equals[0], right["result"].strip()


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
            value = Fraction(found["number"].replace(",", ""))
            tokens.append(value / 100 if found["percent"] else value)
        elif found["op"]:
            tokens.append(
                {"−": "-", "–": "-", "×": "*", "·": "*", "x": "*", "÷": "/", "**": "^"}.get(found["op"], found["op"])
            )
    try:
        value, end = _sum(tokens, 0)
    except (IndexError, ZeroDivisionError, TypeError, OverflowError, ValueError):
        return None
    return value if end == len(tokens) and abs(value) < _LARGEST else None


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
        if power.denominator != 1 or abs(power) > 64 or abs(value) > 10**6:
            raise ValueError("not a whole power, or a huge one")
        return value ** int(power), end
    return value, place
