"""One row holds several: the answer goes on with another task, as when a generated batch was cut apart wrongly."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import excerpt

__all__ = ["merged_examples"]

_HEADING = re.compile(
    r"^[ \t#>*\d.)]*(?P<word>instruction|input|output|response|task|指令|指示|输入|输出"
    r"|任务)\s*+\d*+\**+\s*+[:：]\**[ \t]*(?P<rest>.*)",
    re.IGNORECASE | re.MULTILINE | re.ASCII,
)
# Alpaca's generation prompt numbers its tasks and parts them with "###"; <noinput> stands in them, too.
_MARK = re.compile(r"<noinput>|<nooutput>|^###\s*$|^###\s*\d+\.\s", re.IGNORECASE | re.MULTILINE | re.ASCII)
# Runs are possessive (*+): a space or a letter that two parts of a pattern may take costs the square of a run's length.
# An answer noted behind the task: "He go home. (Corrected sentence: He goes home.)".
_NOTED = re.compile(
    r"\((?:rewritten|corrected|revised|output|answer|result|translation|no change)[^:()]{0,40}"
    r"(?::|needed)[^()]*+\)?\s*$"
    r"|[（(](?:改写|修改|更正|答案|输出|结果|翻译)[^:：()（）]{0,10}[:：][^()（）]*+[)）]?\s*$",
    re.IGNORECASE | re.ASCII,
)
_RUN_ON = re.compile(
    r"\b(?:output|answer|response):\s*\S[^\n]{0,200}?\b(?:instruction|task):|输出[:：]\s*\S[^\n]{0,100}?(?:指令|任务)[:：]",
    re.IGNORECASE | re.ASCII,
)
# Turns of a talk behind the answer: the model went on as the user.
_TURN = re.compile(
    r"\n[^\S\n]*+(?:user|human|question|q|问|用户|问题)\s*+\d*+[:：].*+\n\s*+"
    r"(?:assistant|ai|answer|a|bot|答|助手|回答)\s*+\d*+[:：]",
    re.IGNORECASE,
)
_TALK = re.compile(
    r"\b(?:dialog(?:ue)?|conversation|interview|q ?& ?a|faq|quiz|questions?|chat(?:bot)?|script|scene|riddles?"
    r"|flash ?cards?)\b"
    r"|对话|问答|采访|访谈|问题|测验|聊天|剧本|谜语",
    re.IGNORECASE | re.ASCII,
)
_TASK_WORDS = {"instruction", "task", "指令", "指示", "任务"}
_IN_WORDS = {"input", "输入"}
_OUT_WORDS = {"output", "response", "输出"}
# Tasks that ask for such headings.
_WANTED = re.compile(
    r"\b(?:examples?|instructions?|inputs?|outputs?|tasks?|function|program|code|algorithm|prompt|test cases?"
    r"|template)\b"
    r"|示例|例子|指令|输入|输出|任务|函数|程序|代码|算法|测试",
    re.IGNORECASE | re.ASCII,
)


@check(
    "error",
    Sample("Name a colour.", "", "Blue.\n\nInstruction: Add the numbers.\nInput: 2, 3\nOutput: 5"),
)
def merged_examples(sample: Sample) -> str | None:
    """Fails an answer with headings of a further task in it, and a task that already holds its answer.

    >>> merged_examples(Sample("Name a colour.", "", "Blue.\\n###\\n2. Instruction: Name a fish."))
    "goes on with another example: '###'"
    >>> merged_examples(Sample("Sort.\\nInput: 2 1\\nOutput: 1 2", "3 1", "1 3"))
    "the task holds an answer already: 'Output: 1 2'"
    >>> merged_examples(Sample("Explain recursion.", "", "Instructions: call yourself.")) is None
    True
    """
    found = _second_task(sample) if ":" in sample.output or "：" in sample.output or "#" in sample.output else None
    found = found or _turns(sample)
    mark = _MARK.search(sample.output)
    if mark is not None and mark[0] != sample.output.strip():
        found = found or mark[0]
    if found and not (_MARK.search(sample.instruction) or _MARK.search(sample.input)):
        return f"goes on with another example: {excerpt(found)!r}"
    run_on = _RUN_ON.search(sample.instruction)
    if run_on is not None:
        return f"two tasks in one: {excerpt(run_on[0])!r}"
    noted = None if sample.input.strip() else _NOTED.search(sample.instruction)
    if noted is not None:
        return f"the task holds an answer already: {excerpt(noted[0])!r}"
    if sample.input.strip() and (":" in sample.instruction or "：" in sample.instruction):
        words = {each["word"].lower(): each for each in _HEADING.finditer(sample.instruction)}
        answers = [each for word, each in words.items() if word in _OUT_WORDS and each["rest"].strip()]
        if answers and words.keys() & (_IN_WORDS | _TASK_WORDS):
            return f"the task holds an answer already: {excerpt(answers[0][0])!r}"
    return None


def _turns(sample: Sample) -> str | None:
    turn = _TURN.search(sample.output)
    if turn is None or _TALK.search(sample.instruction) or _TURN.search(f"\n{sample.input}"):
        return None
    return turn[0]


def _second_task(sample: Sample) -> str | None:
    """The heading in the answer behind which another task begins."""
    headings = list(_HEADING.finditer(sample.output))
    if len(headings) < 2:
        return None
    words = [each["word"].lower() for each in headings]
    inside = [each for each, word in zip(headings, words, strict=True) if word in _TASK_WORDS and each.start() > 0]
    has_more = any(word in _OUT_WORDS | _IN_WORDS for word in words)
    if inside and has_more and not _WANTED.search(sample.instruction):
        return inside[0][0]
    answers = [each for each, word in zip(headings, words, strict=True) if word in _OUT_WORDS]
    if headings[0].start() > 0 and answers and words[0] in _IN_WORDS and not _WANTED.search(sample.instruction):
        return headings[0][0]
    if len(answers) > 1 and not _WANTED.search(sample.instruction):
        return answers[1][0]
    return None
