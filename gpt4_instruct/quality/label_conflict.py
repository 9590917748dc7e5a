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
# The same in other words.
_SAME = {
    "是": {"是", "对", "正确", "是的"},
    "对": {"是", "对", "正确", "是的", "这句话是正确的"},
    "正确": {"是", "对", "正确"},
    "否": {"否", "不", "不是", "不对", "没有", "错"},
    "不是": {"否", "不是", "不对"},
    "错": {"否", "不是", "不对", "错", "错误"},
    "错误": {"否", "不是", "不对", "错", "错误"},
}
_LEADING = {"yes", "no", "true", "false", "up", "down", "left", "right", "same", "valid"}  # said first, or not at all
_ALLOWED = re.compile(
    r"(?:answer|output|respond|reply|say|return|print|write|choose|either|one of[^.]{0,40}?|with)\W+(?:only |with "
    r"|either |simply )*"
    r"[\"'“‘]?(?P<one>[A-Z]\w*(?: \w+)?)[\"'”’]?,? or [\"'“‘]?(?P<two>[A-Z]\w*(?: \w+)?)[\"'”’]?(?=[\s.,;:]|$)"
)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
_MOST_HAN = 6
_MOST_NAMED = 20  # answers in a task's quotation marks; of more, they are no answers
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
        known = [*map(essence, options), *named[:_MOST_NAMED]]
        named_one = any(re.search(rf"\b{re.escape(each)}\b", said) for each in known if each)
        if len(said.split()) > 1 and not named_one and label not in said:
            return f"is neither {options[0]!r} nor {options[1]!r}, which the task asks for: {excerpt(sample.output)!r}"
    first = _choice(sample.output, label)
    if first == label:
        return None
    if first is not None:
        return f"says {first!r} where the label is {excerpt(sample.label)!r}"
    said = _without_lead(said)
    number = _NUMBER.fullmatch(sample.label.strip().rstrip("."))
    text = _in_digits(re.sub(r"^.*?(?=有|共|是|为)", "", sample.output) if not said.isascii() else sample.output)
    numbers = _NUMBER.findall(text)
    if number is not None and len(numbers) == 1 and len(sample.output) < 60 and float(numbers[0]) != float(number[0]):
        return f"says {numbers[0]} where the label is {number[0]}"
    words, wanted = said.split(), label.split()
    if not (said.isascii() and label.isascii()) and max(len(said), len(label)) > _MOST_HAN:
        return None
    both_short = len(words) <= _MOST_WORDS and len(wanted) <= _MOST_WORDS
    if not both_short:
        return None
    if said not in label and label not in said and not any(_alike(one, other) for one in words for other in wanted):
        return f"says {excerpt(sample.output, 30)!r} where the label is {excerpt(sample.label, 30)!r}"
    return None


def _choice(output: str, label: str) -> str | None:
    """Which of the answers that exclude one another the first sentence gives, where the label is one of them.

    A word that only tells that the label's choice is meant in other words ("不是" for "否") is the label itself.
    """
    sentence = essence(re.split(r"[.!?。！？\n:：]", output.strip(), maxsplit=1)[0])
    for answers in _CLOSED:
        if label not in answers:
            continue
        same = _SAME.get(label, {label})
        if len(label) == 1 and label.isascii():  # a letter is an answer only when it stands alone or is named
            named = r"(?:(?:the )?(?:correct )?(?:option|answer|choice)(?: is)? |(?:正确)?(?:答案|选项)是?)?"
            letter = re.fullmatch(rf"{named}([a-h])(?:\W.*)?", sentence)
            found = {letter[1]} if letter and (len(sentence) == 1 or not sentence.startswith("a ")) else set()
        elif label not in _LEADING and label not in _SAME:
            negated = re.search(r"\b(?:not|neither|nor|isn|rather than)\b|不|没|并非", sentence)
            found = set() if negated else {each for each in answers if _stands_in(sentence, each)}
        else:
            others = sorted(answers.union(*_SAME.values()), key=len, reverse=True)
            begun = next((each for each in others if _begins(sentence, each)), None)
            found = {begun} if begun in answers or begun in same else set()
        if len(found) == 1:
            only = found.pop()
            return label if only in same else only
    return None


def _stands_in(sentence: str, word: str) -> bool:
    return word in sentence if not word.isascii() else bool(re.search(rf"\b{re.escape(word)}\b", sentence))


def _begins(said: str, answer: str) -> bool:
    return said == answer or said.startswith(f"{answer} ") if answer.isascii() else said.startswith(answer)


def _without_lead(said: str) -> str:
    """The answer without the words that introduce it: "the topic of the text is sports" is "sports"."""
    said = re.sub(r"^(?:the|this|it)(?: \w+){0,5}? (?:is|are)(?: an?| the)? ", "", said)
    return re.sub(r"^\w{0,12}?(?:属于|归为|归入|答案是)(\w{1,6}?)类?$", r"\1", said)


_SPELLED = {
    word: str(number)
    for number, words in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
    )
    for word in words.split()
} | {"十二": "12", "十一": "11", "十": "10"}
_SPELLED |= {letter: str(number) for number, letter in enumerate("零一二三四五六七八九")}
_SPELLED_WORD = re.compile("|".join(rf"\b{word}\b" if word.isascii() else word for word in _SPELLED), re.IGNORECASE)


def _in_digits(text: str) -> str:
    """The text with small numbers in digits.

    >>> _in_digits("Eight legs"), _in_digits("有十二个")
    ('8 legs', '有12个')
    """
    return _SPELLED_WORD.sub(lambda found: _SPELLED[found[0].lower()], text)


def _alike(one: str, other: str) -> bool:
    """Whether two words have one stem, as "swim" and "swimming"."""
    return one == other or (len(one) > 3 and len(other) > 3 and one[:4] == other[:4])
