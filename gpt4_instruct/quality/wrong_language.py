"""The answer is not in the language asked for, by the share of Han characters among the words."""

from __future__ import annotations

import re

from gpt4_instruct.languages import chinese_share
from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import CODE

__all__ = ["wrong_language"]

# Below this share a Chinese answer is not Chinese, above its complement an English one is not English: an answer that
# quotes the other language at length is still in its own.
_LEAST_SHARE = 0.3
_FEWEST_WORDS = 6
_FUNCTION_WORD = re.compile(
    r"\b(?:the|is|are|was|were|and|this|that|it|you|i|of)\b|[\u3040-\u30ff\uac00-\ud7af]", re.IGNORECASE
)
# Words of another language that the task is about, as in: Turn "He likes to ride his bike" into a question.
# What stands between words is bounded, and an apostrophe is no letter, or a run of them could be read in many ways.
_MATERIAL = re.compile(
    r"[\"“‘'「]\W{0,20}+(?:[A-Za-z]++\W{1,20}+){3}|^[^\w\n]{0,40}+(?:[A-Za-z]++[^\w\n]{1,20}+){5}", re.MULTILINE
)
# Tasks whose right answer may be in another language than the task. Both lists are shorter than those of `texts`: one
# asked to use "simple language" (语言) or Chinese (中文), or for a "string", must not answer in another language.
_OTHER_LANGUAGE = re.compile(
    r"\b(?:translat\w*|chinese|mandarin|japanese|korean|kanji|pinyin|hanzi|bilingual)\b"
    r"|翻译|译成|译为|译文|英文|英语|日文|法文|德文|韩文|法语|德语|西班牙语|日语|韩语|俄语|意大利语|拉丁语|外语|双语",
    re.IGNORECASE | re.ASCII,
)
_CODE_TASK = re.compile(
    r"\b(?:code|function|program|script|sql|html|css|python|java|javascript|regex|query|json|xml|latex|shell|bash"
    r"|c\+\+)\b"
    r"|代码|函数|编程|程序|脚本|查询语句|正则|表达式|公式|方程|网页",
    re.IGNORECASE | re.ASCII,
)


@check("error", Sample("法国的首都是哪里？", "", "The capital of France is Paris.", language="zh"))
def wrong_language(sample: Sample) -> str | None:
    """Fails an answer in another language than `sample.language`.

    Translation tasks are exempt, and so are code tasks and answers of numbers and symbols; code, formulas and
    addresses inside an answer do not count. An answer taken from the task's own words (a class name, an extracted
    span) is in the task's language by definition.

    >>> wrong_language(Sample("法国的首都是哪里？", "", "The capital of France is Paris.", language="zh"))
    'expected Chinese; Han characters are 0 % of its words'
    >>> wrong_language(Sample("把“你好”译成英文。", "", "Hello", language="zh")) is None
    True
    >>> wrong_language(Sample("Name a colour.", "", "红色"))
    'expected English; Han characters are 100 % of its words'
    """
    share = chinese_share(CODE.sub(" ", sample.output))
    if share is None:
        return None
    wrong = share < _LEAST_SHARE if sample.language == "zh" else share > 1 - _LEAST_SHARE
    if not wrong:
        return None
    if sample.language == "zh" and share == 0 and not _is_prose(sample.output):
        return None
    task = f"{sample.instruction}\n{sample.input}"
    if _OTHER_LANGUAGE.search(sample.instruction) or (sample.language == "zh" and _MATERIAL.search(task)):
        return None
    # Code may stand without a fence; where it has one, what stands around it is prose.
    if _CODE_TASK.search(sample.instruction) and (
        "```" not in sample.output or not _is_prose(CODE.sub(" ", sample.output))
    ):
        return None
    if sample.output.strip().rstrip(".。!！") in task:
        return None
    expected = "Chinese" if sample.language == "zh" else "English"
    return f"expected {expected}; Han characters are {share:.0%} of its words".replace("%", " %")


def _is_prose(text: str) -> bool:
    """Whether a text without Chinese is language, rather than a name or a term: "WHO" may answer a Chinese question."""
    words = re.findall(r"[^\W\d_]+", text)
    return len(words) >= _FEWEST_WORDS or bool(_FUNCTION_WORD.search(text))
