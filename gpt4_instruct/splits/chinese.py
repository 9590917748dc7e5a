"""Chinese: a translator puts each instruction into Chinese, then a teacher answers it in Chinese.

In the paper ChatGPT translates and GPT-4 answers. Instructions that bring their own Chinese, or are Chinese already,
are not translated. A row::

    {"instruction": "说出最大的行星。", "input": "", "output": "木星。",
     "metadata": {..., "translator": "openai:gpt-3.5-turbo", "translation_request": "1c5e..."}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gpt4_instruct.languages import chinese_share
from gpt4_instruct.prompts.tasks import TRANSLATION_SCHEMA, read_translation, render_chinese, render_translation
from gpt4_instruct.records import Answer, Instruction, Language, Reject, Request, Row, Sampling, provenance
from gpt4_instruct.splits.base import Split
from gpt4_instruct.splits.stages import Stage, check_answer, question, rejected
from gpt4_instruct.teachers.base import Teacher

__all__ = ["Chinese", "CHINESE_SHARE", "AnswerInChinese", "Translate", "ask_for_translation", "read_translated"]

# A translation may be longer than an answer: the task's input is in it, and Chinese takes more tokens a word.
_TRANSLATION = Sampling(temperature=0.0, max_tokens=2048)
# An instruction with this share of Han characters among its words is Chinese, whatever names it quotes.
CHINESE_SHARE = 0.5


class Translate(Stage):
    """A translator puts a task into Chinese, unless it brings its own.

    Args:
        translator: who translates.
        seed: sent with every request when given.
    """

    name = "translate"
    changes_task = True

    def __init__(self, translator: Teacher, seed: int | None) -> None:
        self.translator = translator
        self._seed = seed

    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        """One request, or none where the task brings its own Chinese."""
        if row.instruction.chinese is not None:
            return []
        return [ask_for_translation(self.translator, self._seed, row.instruction, "zh")]

    def stand_in(self, row: Row, request: Request, tokens: int) -> str:
        """Chinese as long as what it translates."""
        task = row.instruction
        texts = {"instruction": _filler(task.instruction), "input": _filler(task.input)}
        return json.dumps(texts, ensure_ascii=False)

    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
        """The row in Chinese, if the translation can be read and is one."""
        task = row.instruction
        if task.chinese is not None:
            return replace(row, instruction=_in_chinese(task, *task.chinese))
        (answer,) = answers
        found = read_translated(row, self.name, answer, "zh")
        if isinstance(found, Reject):
            return found
        return replace(row, instruction=_in_chinese(task, *found), translation=answer)


def ask_for_translation(
    translator: Teacher, seed: int | None, task: Instruction, into: Language
) -> tuple[Teacher, Request]:
    """The request for a task's translation, with whom to ask."""
    prompt = render_translation(task.instruction, task.input, into)
    return question(translator, prompt, replace(_TRANSLATION, seed=seed), schema=TRANSLATION_SCHEMA)


def read_translated(row: Row, stage: str, answer: Answer, into: Language) -> tuple[str, str] | Reject:
    """The row's instruction and input as an answer translates them, or why that is none."""
    if answer.finish_reason == "length":
        return rejected(row, stage, "truncated", "the translation was cut off at the token limit", answer.text)
    found = read_translation(answer.text)
    if found is None:
        return rejected(row, stage, "unreadable_translation", "the reply holds no translation", answer.text)
    given = row.instruction.input
    if bool(found[1]) != bool(given):
        what = "lost" if given else "made up"
        return rejected(row, stage, "unreadable_translation", f"the translation {what} an input", answer.text)
    share = chinese_share(found[0])
    if into == "zh" and not share:
        return rejected(row, stage, "wrong_language", "the translation holds no Chinese", answer.text)
    if into == "en" and (share or 0) >= CHINESE_SHARE:
        return rejected(row, stage, "wrong_language", "the translation is Chinese still", answer.text)
    return found


class AnswerInChinese(Stage):
    """A teacher answers the task in Chinese.

    Args:
        teacher: who answers.
        sampling: how.
        checks: what the answer must pass.
    """

    name = "answer"

    def __init__(self, teacher: Teacher, sampling: Sampling, checks: Sequence[str]) -> None:
        self.teacher = teacher
        self._sampling = sampling
        self._checks = checks

    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        """One request: the task, and which language is wanted."""
        prompt = render_chinese(row.instruction.instruction, row.instruction.input)
        return [question(self.teacher, prompt, self._sampling)]

    def stand_in(self, row: Row, request: Request, tokens: int) -> str:
        """Chinese of so many characters."""
        return "字" * max(1, tokens)

    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
        """The row with the answer, if it passes the checks."""
        (answer,) = answers
        return check_answer(row, self.name, answer, "zh", self._checks) or replace(row, answers=(answer,))


def _filler(text: str) -> str:
    """Chinese of about as many tokens as an English text; that of another text is another."""
    length = -(-len(text) // 4)
    digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
    return "".join(chr(0x4E00 + digest[place % len(digest)]) for place in range(length))


def _in_chinese(task: Instruction, instruction: str, input: str) -> Instruction:
    return replace(task, instruction=instruction, input=input, chinese=(instruction, input))


class Chinese(Split):
    """The Chinese split: instructions translated, then answered in Chinese."""

    NAME = "chinese"
    LANGUAGE = "zh"
    TITLE = "Chinese instructions answered in Chinese by a teacher model"
    OPTIONS = frozenset({"translator"})

    def make_stages(self) -> list[Stage]:
        """Two stages: translate, answer."""
        translator = self.connect(self.settings.translator or self.settings.teacher)
        return [
            Translate(translator, self.settings.seed),
            AnswerInChinese(self.connect(self.settings.teacher), self.sampling, self.checks),
        ]

    def begin(self, task: Instruction) -> Row | Reject:
        """The task, marked when it is Chinese already."""
        if task.chinese is None and (chinese_share(task.instruction) or 0) >= CHINESE_SHARE:
            return Row(_in_chinese(task, task.instruction, task.input))
        return Row(task)

    def to_columns(self, row: Row) -> dict[str, Any]:
        """The Alpaca triple in Chinese, and where the answer and the translation came from."""
        task, answer, translation = row.instruction, row.answers[0], row.translation
        return {
            "instruction": task.instruction,
            "input": task.input,
            "output": answer.text.strip(),
            "metadata": {
                "id": task.id,
                "origin": task.origin,
                **provenance(answer),
                "translator": translation.teacher if translation else None,
                "translation_request": translation.request if translation else None,
            },
        }
