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
from gpt4_instruct.prompts import TRANSLATION_SCHEMA, read_translation, render_chinese, render_translation
from gpt4_instruct.records import Answer, Instruction, Reject, Request, Row, Sampling, provenance
from gpt4_instruct.splits.base import Split
from gpt4_instruct.splits.stages import Stage, check_answer, question, rejected
from gpt4_instruct.teachers.base import Teacher

__all__ = ["Chinese"]

# A translation may be longer than an answer: the task's input is in it, and Chinese takes more tokens a word.
_TRANSLATION = Sampling(temperature=0.0, max_tokens=2048)
# An instruction with this share of Han characters among its words is Chinese, whatever names it quotes.
_CHINESE_SHARE = 0.5


class _Translate(Stage):
    name = "translate"

    def __init__(self, translator: Teacher, seed: int | None) -> None:
        self.translator = translator
        self._sampling = replace(_TRANSLATION, seed=seed)

    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        if row.instruction.chinese is not None:
            return []
        prompt = render_translation(row.instruction.instruction, row.instruction.input)
        return [question(self.translator, prompt, self._sampling, schema=TRANSLATION_SCHEMA)]

    def stand_in(self, row: Row, request: Request, tokens: int) -> str:
        task = row.instruction  # a translation is as long as what it translates
        texts = {"instruction": _filler(task.instruction), "input": _filler(task.input)}
        return json.dumps(texts, ensure_ascii=False)

    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
        task = row.instruction
        if task.chinese is not None:
            return replace(row, instruction=_in_chinese(task, *task.chinese))
        (answer,) = answers
        if answer.finish_reason == "length":
            return rejected(row, self.name, "truncated", "the translation was cut off at the token limit", answer.text)
        found = read_translation(answer.text)
        if found is None:
            return rejected(row, self.name, "unreadable_translation", "the reply holds no translation", answer.text)
        if bool(found[1]) != bool(task.input):
            what = "lost" if task.input else "made up"
            return rejected(row, self.name, "unreadable_translation", f"the translation {what} an input", answer.text)
        if not chinese_share(found[0]):
            return rejected(row, self.name, "wrong_language", "the translation holds no Chinese", answer.text)
        return replace(row, instruction=_in_chinese(task, *found), translation=answer)


class _AnswerInChinese(Stage):
    name = "answer"

    def __init__(self, teacher: Teacher, sampling: Sampling, checks: Sequence[str]) -> None:
        self.teacher = teacher
        self._sampling = sampling
        self._checks = checks

    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        prompt = render_chinese(row.instruction.instruction, row.instruction.input)
        return [question(self.teacher, prompt, self._sampling)]

    def stand_in(self, row: Row, request: Request, tokens: int) -> str:
        return "字" * max(1, tokens)

    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
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
            _Translate(translator, self.settings.seed),
            _AnswerInChinese(self.connect(self.settings.teacher), self.sampling, self.checks),
        ]

    def begin(self, task: Instruction) -> Row | Reject:
        """The task, marked when it is Chinese already."""
        if task.chinese is None and (chinese_share(task.instruction) or 0) >= _CHINESE_SHARE:
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
