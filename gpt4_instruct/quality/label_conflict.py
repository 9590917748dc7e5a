"""The answer contradicts the row's reference answer, or is none of the answers that the task allows."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import essence, excerpt

__all__ = ["label_conflict"]

# Answers that exclude one another.
_CLOSED = [
    {"yes", "no"},
    {"true", "false"},
    {"positive", "negative", "neutral"},
    {"up", "down"},
    {"left", "right"},
    {"correct", "incorrect"},
    {"male", "female"},
    {"fact", "opinion"},
    {"entailment", "contradiction", "neutral"},
    {"valid", "invalid"},
    {"same", "different"},
    {"spam", "ham", "not spam"},
    set("abcdefgh"),
    {"是", "否", "不是"},
    {"对", "错"},
    {"正确", "错误"},
    {"积极", "消极", "中性"},
    {"正面", "负面", "中性"},
]
_ALLOWED = re.compile(
    r"(?:answer|output|respond|reply|say|return|print|write|choose|either|one of[^.]{0,40}?|with)\W+(?:only |with "
    r"|either |simply )*"
    r"[\"'“‘]?(?P<one>[A-Z]\w*(?: \w+)?)[\"'”’]?,? or [\"'“‘]?(?P<two>[A-Z]\w*(?: \w+)?)[\"'”’]?(?=[\s.,;:]|$)"
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_MOST_WORDS = 3  # a longer label may be said in other words


@check("warning", Sample("Is 7 prime? Answer Yes or No.", "", "No.", label="Yes"))
def label_conflict(sample: Sample) -> str | None:
    """Fails an answer that says another thing than a short label, or not one of the answers the task names.

    >>> label_conflict(Sample("Is it so?", "", "No, it is not.", label="Yes"))
    "says 'no' where the label is 'Yes'"
    >>> label_conflict(Sample("Does it follow? Output either Yes or No.", "", "We went out.", label="to"))
    "is neither 'Yes' nor 'No', which the task asks for: 'We went out.'"
    >>> label_conflict(Sample("Up or down?", "", "Up.", label="Up")) is None
    True
    """
    if sample.label is None:
        return None
    said, label = essence(sample.output), essence(sample.label)
    if not said or not label or said == label:
        return None
    allowed = _ALLOWED.search(sample.instruction)
    if allowed is not None:
        options = [allowed["one"], allowed["two"]]
        # A task may name further answers ("if unsure, say I don't know").
        named = [essence(each) for each in re.findall(r"[\"'“‘]([^\"'”’]{1,40})[\"'”’]", sample.instruction)]
        known = [*map(essence, options), *named]
        named_one = any(re.search(rf"\b{re.escape(each)}\b", said) for each in known if each)
        if len(said.split()) > 1 and not named_one and label not in said:
            return f"is neither {options[0]!r} nor {options[1]!r}, which the task asks for: {excerpt(sample.output)!r}"
    for answers in _CLOSED:
        if label in answers:
            first = next((each for each in sorted(answers, key=len, reverse=True) if _begins(said, each)), None)
            if first is not None and first != label:
                return f"says {first!r} where the label is {excerpt(sample.label)!r}"
    number = _NUMBER.fullmatch(sample.label.strip().rstrip("."))
    numbers = _NUMBER.findall(sample.output)
    if (
        number is not None
        and len(numbers) == 1
        and len(said.split()) <= 2 * _MOST_WORDS
        and float(numbers[0]) != float(number[0])
    ):
        return f"says {numbers[0]} where the label is {number[0]}"
    words, wanted = said.split(), label.split()
    both_short = len(words) <= _MOST_WORDS and len(wanted) <= _MOST_WORDS
    akin = said in label or label in said or any(_alike(one, other) for one in words for other in wanted)
    if both_short and not akin:
        return f"says {excerpt(sample.output, 30)!r} where the label is {excerpt(sample.label, 30)!r}"
    return None


def _begins(said: str, answer: str) -> bool:
    if answer.isascii():
        if len(answer) == 1:  # a letter is an answer only when it stands alone
            return said == answer or said.startswith(f"option {answer}")
        return said == answer or said.startswith(f"{answer} ")
    return said.startswith(answer)


def _alike(one: str, other: str) -> bool:
    """Whether two words have one stem, as "swim" and "swimming"."""
    return one == other or (len(one) > 3 and len(other) > 3 and one[:4] == other[:4])
