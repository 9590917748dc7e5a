"""The answer computes wrongly what can be recomputed: an equation in it, or the sum, mean or product asked for.

Only what is certain is judged: equations whose every part is a number ("12 × 4 = 48", "3加5等于8", "$5 + $3 = $8"), and
tasks that are one expression or one list of numbers. A result may be rounded to the places that it shows.
"""

from __future__ import annotations

import math
import re
from fractions import Fraction
from statistics import median

from gpt4_instruct.quality.arithmetic import LARGEST, MOST_DIGITS, NUMBER, equations, evaluate
from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import excerpt, prose

__all__ = ["wrong_arithmetic"]


_MOST_SAID = 200  # numbers in an answer: of more, they are a table, and one of them fits anything
_MOST_LISTED = 2000  # characters of a list of numbers
# Where 1 + 1 may well be 10, and 10 + 5 be 3.
_OTHER_NUMBERS = re.compile(
    r"\b(?:binary|hexadecimal|octal|base \d|modul[oar]+|mod|clock|boolean)\b|进制|模运算|时钟", re.IGNORECASE | re.ASCII
)


def _shown(result: str) -> tuple[Fraction, Fraction]:
    """The value of a number as it is written, and half a unit of its last place."""
    digits = re.sub(r"[^\d.]", "", result)
    places = len(digits.partition(".")[2])
    value = Fraction(digits.rstrip(".")) * (-1 if re.match(r"\s*[-−–]", result) else 1)
    unit = Fraction(1, 10**places)
    return (value / 100, unit / 100) if "%" in result else (value, unit)


def _agree(value: Fraction, result: str, *, about: bool = False) -> bool:
    shown, unit = _shown(result)
    # A whole result of a division is taken for rounded, and any result for cut off instead of rounded.
    room = unit if value.denominator != 1 else Fraction(0)
    if about:
        room = max(room, abs(value) / 50)
    if "." in result:  # what a computer's floating point makes of it, as 0.1 + 0.2 = 0.30000000000000004
        room = max(room, abs(value) / 10**9)
    return abs(value - shown) <= room or abs(value - shown * 100) <= room * 100 * ("%" not in result) * (value < 1)


@check("error", Sample("What is 12 times 12?", "", "12 * 12 = 124"))
def wrong_arithmetic(sample: Sample) -> str | None:
    """Fails an answer with an equation that does not hold, or without the result that the task's numbers have.

    >>> wrong_arithmetic(Sample("What is 12 times 12?", "", "12 * 12 = 124"))
    '12 * 12 is 144, not 124'
    >>> wrong_arithmetic(Sample("Find the mean of these numbers.", "2, 4, 9", "The mean is 6."))
    'the mean of 2, 4, 9 is 5, which the answer does not say'
    >>> wrong_arithmetic(Sample("Divide.", "", "10 / 3 = 3.33, and 2x + 3 = 7 gives x = 2.")) is None
    True
    """
    text = sample.output
    if not any(letter.isdigit() for letter in text) or _OTHER_NUMBERS.search(f"{sample.instruction} {text}"):
        return None
    # A digit of the output comes first, since few rows hold an equation at all.
    if "=" in text or "≈" in text or "equal" in text or "等于" in text:
        for left, sign, right in equations(prose(text)):
            value = evaluate(left)
            if value is not None and not _agree(value, right, about=sign == "≈"):
                # A wrong equation may be the task's own, quoted.
                if _tight(f"{left}{sign}{right}") in _tight(f"{sample.instruction}{sample.input}"):
                    continue
                return f"{excerpt(left)} is {_plain(value)}, not {right}"
    return _asked(sample)


def _tight(text: str) -> str:
    return re.sub(r"\s", "", text)


def _plain(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.6g}"


_ASKS_VALUE = re.compile(
    r"\W*(?:please )?(?:calculate|compute|evaluate|solve|find|what is|what's|determine|simplify|work out|how much is"
    r"|计算|求|算出|请问|求解|算)(?:[ :：]|the|value|result|answer|sum|product|expression|following|equation|of)*"
    r"(?P<value>[-(−–]?[\d.][-\d.,\s+−–*×÷/^·x()%]*?)(?:[\s=?？.。]|的值|的结果|是多少|等于多少)*",
    re.IGNORECASE,
)
_STATISTIC = re.compile(
    r"\b(?P<what>mean|average|sum|total|product|median)\b (?:value )?of (?:the |these |this |a )?(?:following |given "
    r"|below |series of |set of |list of )*(?:numbers?|integers|values|list|set|array|data|data set|sequence)?"
    r"|(?:以下|下面|下列|这些|给定|这组|一组)[^。，]{0,8}?(?:数字|数|数值|整数|数据|列表|数组)的?(?P<zh>平均值|平均数|均值|总和|和|乘积|积|中位数)",
    re.IGNORECASE,
)
_LIST_OF = re.compile(
    r"(?<![\d.、，,])(?P<list>-?\d++(?:\.\d++)?+(?:[、，,]\s*+-?\d++(?:\.\d++)?+)++(?:和|与)-?\d+(?:\.\d+)?)(?:这[一二两三四五六七八九]?个数)?的(?P<zh>平均值|平均数"
    r"|均值|总和|和|乘积|积|中位数)"
)
# With a word that asks for a computation, 10/4 is one; without, it may be a date, a name, a size.
_SAYS_COMPUTE = re.compile(r"\W*(?:please )?(?:calculate|compute|evaluate|计算|算)", re.IGNORECASE)
_ONE_NUMBER = re.compile(r"[-−–]?[\d.,]+")
_A_NAME = re.compile(r"[-−–]?[\d.,]+(?:[-−–/x][\d.,]+)*")
_LIST = re.compile(r"[\[({]?(?P<list>(?:[-\d.,，、\s]|and|和)+)[\])}]?[\s.。?？]*")
_MEANS = {
    "平均值": "mean",
    "平均数": "mean",
    "均值": "mean",
    "average": "mean",
    "总和": "sum",
    "和": "sum",
    "total": "sum",
    "乘积": "product",
    "积": "product",
    "中位数": "median",
}


def _asked(sample: Sample) -> str | None:
    """What the task itself has as its result, if that is one number, and the answer does not say."""
    asked = _ASKS_VALUE.fullmatch(sample.instruction.strip()[:200]) if not sample.input.strip() else None
    if asked is not None:
        # "What is 24/7?" and "What is 3.14?" ask for a meaning.
        no_sum = _ONE_NUMBER if _SAYS_COMPUTE.match(sample.instruction) else _A_NAME
        value = None if no_sum.fullmatch(asked["value"].strip()) else evaluate(asked["value"])
        return None if value is None else _unsaid(value, excerpt(asked["value"].strip()), sample.output)
    wanted = _STATISTIC.search(sample.instruction)
    listed_first = None if sample.input.strip() else _LIST_OF.search(sample.instruction[:_MOST_LISTED])
    if listed_first is not None:
        return _unsaid_of(_MEANS[listed_first["zh"]], listed_first["list"], sample.output)
    if wanted is None:
        return None
    rest = sample.input.strip() or sample.instruction[wanted.end() :].strip(" :：")
    rest = re.sub(r"^(?:numbers?|list|input|数字|数列|列表|输入|数据)\s*[:：=]\s*", "", rest, flags=re.IGNORECASE)
    listed = _LIST.fullmatch(rest) if len(rest) <= _MOST_LISTED else None
    if (
        listed is None
        or len(re.findall(r"\d+", rest)) < 2
        or "weighted" in sample.instruction
        or re.search(r"\b(?:squares?|digits|range|first|between|odd|even|function|code)\b", sample.instruction)
    ):
        return None
    what = (wanted["what"] or wanted["zh"]).lower()
    return _unsaid_of(_MEANS.get(what, what), listed["list"], sample.output)


def _numbers(listed: str) -> list[Fraction]:
    """The numbers of a list; none, where it can be read in two ways ("1,000": a thousand, or one and nothing).

    >>> _numbers("2.5, 4 and -9"), _numbers("1,000 and 2,500"), _numbers("10-20, 30")
    ([Fraction(5, 2), Fraction(4, 1), Fraction(-9, 1)], [], [])
    """
    if re.search(r"\d[,，]\d{3}(?!\d)|\d[-–−]", listed):
        return []
    found = re.findall(r"-?\d+(?:\.\d+)?", listed)
    return [Fraction(each) for each in found] if max(map(len, found)) <= MOST_DIGITS else []


def _unsaid_of(what: str, listed: str, output: str) -> str | None:
    numbers = _numbers(listed)
    return _unsaid(_compute(what, numbers), f"the {what} of {excerpt(listed, 40)}", output) if numbers else None


def _compute(what: str, numbers: list[Fraction]) -> Fraction:
    if what == "product":
        return Fraction(math.prod(numbers))
    if what == "median":
        return Fraction(median(numbers))
    total = sum(numbers, Fraction(0))
    return total / len(numbers) if what == "mean" else total


_NAMES_VALUE = (
    r"(?:mean|average|sum|total|product|median|平均[值数]?|总?和|乘?积|中位数)\s*(?:is|are|=|:|：|是|为|等于)"
)


def _unsaid(value: Fraction, what: str, output: str) -> str | None:
    # What it says that it is, if it says so; else any number.
    if abs(value) >= LARGEST:
        return None
    named = re.findall(rf"{_NAMES_VALUE}\s*([-−–]?(?:{NUMBER})%?)", output, re.IGNORECASE)
    said = named[-1:] or re.findall(rf"[-−–]?(?:{NUMBER})%?", output)
    if len(said) > _MOST_SAID or any(len(each) > MOST_DIGITS for each in said):
        return None
    spelled = re.search(
        r"[零一二三四五六七八九十百千万]+|\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|\w+teen|\w+ty)\b|/|√|\\frac",
        output,
        re.IGNORECASE,
    )
    if not said or spelled or any(_agree(value, each, about="." in each) for each in said):
        return None
    return f"{what} is {_plain(value)}, which the answer does not say"
