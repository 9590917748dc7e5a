"""The prompts of the judge, who scores answers, and of the translator of answers, English and Chinese.

A judge sees two answers and gives each a score of 1 to 10, the two on the first line of its reply, or sees one answer
and gives it one. What it is to weigh hangs on the kind of question: general, coding or math.
"""

from __future__ import annotations

from typing import Literal

from gpt4_instruct.records import Language

__all__ = ["RUBRICS", "Rubric", "render_answer_translation", "render_pair", "render_single", "rubric_of"]

Rubric = Literal["general", "coding", "math"]

# What is weighed, by language and kind of question.
RUBRICS: dict[Language, dict[Rubric, str]] = {
    "en": {
        "general": "Weigh how helpful an answer is, how relevant to the question, how accurate, and how detailed.",
        "coding": (
            "Weigh first of all whether the code does what the question asks: whether it runs, is right also for "
            "unusual inputs, and is no more involved than it need be. Then weigh how clear the code and its "
            "explanation are. Code that does not work earns a low score, however well it is explained."
        ),
        "math": (
            "Solve the problem yourself before you score. Weigh first of all whether the result is right, then whether "
            "each step that leads to it is right and can be followed. A wrong result earns a low score, however well "
            "it is explained."
        ),
    },
    "zh": {
        "general": "请衡量回答是否有帮助、是否切题、是否准确、是否详尽。",
        "coding": (
            "请首先衡量代码是否完成了题目的要求：能否运行，遇到特殊输入时是否正确，是否没有不必要的复杂之处；"
            "其次衡量代码和说明是否清楚。代码若不能工作，说明写得再好也只能得低分。"
        ),
        "math": (
            "请先自己解出这道题再打分。首先衡量结果是否正确，其次衡量每一步推导是否正确、是否看得明白。"
            "结果若是错的，讲解写得再好也只能得低分。"
        ),
    },
}

# Vicuna's categories that are judged by a rubric of their own; all others are general.
_OF_CATEGORY: dict[str, Rubric] = {"coding": "coding", "math": "math"}

_OPENING = {
    ("en", 1): "You are judging an answer to a question. {rubric} How long the answer is must not count in itself.",
    ("en", 2): (
        "You are judging two answers to the same question, given by two assistants. {rubric} Which answer comes first, "
        "and which is longer, must not count in itself."
    ),
    ("zh", 1): "你要评判一个问题的回答。{rubric}回答的长短本身不应影响分数。",
    ("zh", 2): "你要评判两个助手对同一个问题的回答。{rubric}回答的先后和长短本身不应影响分数。",
}
_CLOSING = {
    ("en", 1): (
        "On the first line, write nothing but the score of the answer: a number from 1 (useless or wrong) to 10 (could "
        "hardly be better); half points are allowed. From the second line on, explain the score."
    ),
    ("en", 2): (
        "On the first line, write nothing but two numbers with a space between them: the score of assistant 1, then "
        "the score of assistant 2. Each is from 1 (useless or wrong) to 10 (could hardly be better); half points are "
        "allowed. From the second line on, explain both scores."
    ),
    ("zh", 1): (
        "请在第一行只写这个回答的分数：从 1（毫无用处或完全错误）到 10（几乎无可挑剔）的数字，可以有半分。"
        "从第二行起说明理由。"
    ),
    ("zh", 2): (
        "请在第一行只写两个数字，中间用空格隔开：先写助手 1 的分数，再写助手 2 的分数。"
        "每个分数从 1（毫无用处或完全错误）到 10（几乎无可挑剔），可以有半分。从第二行起说明理由。"
    ),
}
_HEADINGS = {
    "en": {
        "question": "Question",
        "reference": "Reference answer, which is right",
        "answer": "Answer",
        "end": "End of answer",
        "of": "Answer of assistant {number}",
        "end of": "End of the answer of assistant {number}",
        "empty": "(no answer was given)",
    },
    "zh": {
        "question": "问题",
        "reference": "参考答案（正确）",
        "answer": "回答",
        "end": "回答结束",
        "of": "助手 {number} 的回答",
        "end of": "助手 {number} 的回答结束",
        "empty": "（没有作答）",
    },
}

_ANSWER_TRANSLATION = """\
Translate the text below from English into natural, fluent Simplified Chinese. Translate it whole, and as it is: do \
not answer it, correct it, shorten it or comment on it. Keep its layout, and leave code, formulas and names of \
variables untouched. Reply with the translation and nothing else.

[Text]
{text}
[End of text]"""


def rubric_of(category: str | None) -> Rubric:
    """The rubric by which a question of a category is judged.

    >>> rubric_of("math"), rubric_of("coding"), rubric_of("roleplay"), rubric_of(None)
    ('math', 'coding', 'general', 'general')
    """
    return _OF_CATEGORY.get((category or "").strip().lower(), "general")


def render_pair(
    question: str,
    first: str,
    second: str,
    *,
    rubric: Rubric = "general",
    language: Language = "en",
    reference: str | None = None,
) -> str:
    """The prompt that asks for a score of each of two answers.

    Args:
        question: the question as the answering models saw it, without the Alpaca wrapping.
        first: the answer that is shown first.
        second: the other one. An empty answer is shown as one that was not given.
        rubric: what is weighed.
        language: of the prompt.
        reference: a right answer, shown before the others; or none.

    >>> print(render_pair("3 + 4 = ?", "7", "", rubric="math", language="zh", reference="7"))
    ... # doctest: +ELLIPSIS
    你要评判两个助手对同一个问题的回答。请先自己解出这道题再打分。...
    <BLANKLINE>
    [问题]
    3 + 4 = ?
    <BLANKLINE>
    [参考答案（正确）]
    7
    <BLANKLINE>
    [助手 1 的回答]
    7
    [助手 1 的回答结束]
    <BLANKLINE>
    [助手 2 的回答]
    （没有作答）
    [助手 2 的回答结束]
    <BLANKLINE>
    请在第一行只写两个数字，...
    """
    return _render(question, (first, second), rubric, language, reference)


def render_single(
    question: str,
    answer: str,
    *,
    rubric: Rubric = "general",
    language: Language = "en",
    reference: str | None = None,
) -> str:
    """The prompt that asks for a score of one answer; the arguments are those of `render_pair`.

    >>> "[Answer]\\nHi!\\n[End of answer]" in render_single("Say hi.", "Hi!")
    True
    """
    return _render(question, (answer,), rubric, language, reference)


def _render(question: str, answers: tuple[str, ...], rubric: Rubric, language: Language, reference: str | None) -> str:
    headings, kind = _HEADINGS[language], (language, len(answers))
    parts = [_OPENING[kind].replace("{rubric}", RUBRICS[language][rubric]), f"[{headings['question']}]\n{question}"]
    if reference is not None:
        parts.append(f"[{headings['reference']}]\n{reference}")
    for number, answer in enumerate(answers, start=1):
        names = (headings["of"], headings["end of"]) if len(answers) > 1 else (headings["answer"], headings["end"])
        begin, end = (name.replace("{number}", str(number)) for name in names)
        parts.append(f"[{begin}]\n{answer.strip() or headings['empty']}\n[{end}]")
    return "\n\n".join([*parts, _CLOSING[kind]])


def render_answer_translation(text: str) -> str:
    """The prompt that asks for an answer's Chinese translation, as plain text.

    (`prompts.render_translation` is for tasks, whose two fields must be told apart.)
    """
    return _ANSWER_TRANSLATION.replace("{text}", text)
