"""English: a teacher answers each instruction in the Alpaca prompt (the paper's 52K, section 2).

A row::

    {"instruction": "Name the largest planet.", "input": "", "output": "Jupiter.", "metadata": {...}}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from gpt4_instruct.prompts.tasks import render_alpaca
from gpt4_instruct.records import Answer, Reject, Request, Row, Sampling, provenance
from gpt4_instruct.splits.base import Split
from gpt4_instruct.splits.stages import CHECKS, Stage, check_answer, question
from gpt4_instruct.teachers.base import Teacher

__all__ = ["English", "AnswerInEnglish"]


class AnswerInEnglish(Stage):
    """A teacher answers the task in the Alpaca prompt.

    Args:
        teacher: who answers.
        sampling: how.
        sample: which answer of this teacher to this question it is.
        name: of the stage.
        checks: what the answer must pass.
    """

    def __init__(
        self,
        teacher: Teacher,
        sampling: Sampling,
        sample: int = 0,
        name: str = "answer",
        checks: Sequence[str] = CHECKS,
    ) -> None:
        self.name = name
        self.teacher = teacher
        self._sampling = sampling
        self._sample = sample
        self._checks = checks

    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        """One request: the rendered task."""
        prompt = render_alpaca(row.instruction.instruction, row.instruction.input)
        return [question(self.teacher, prompt, self._sampling, sample=self._sample)]

    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
        """The row with the answer, if it passes the checks."""
        (answer,) = answers
        return check_answer(row, self.name, answer, "en", self._checks) or replace(row, answers=(*row.answers, answer))


class English(Split):
    """The English split: instructions answered by a teacher."""

    NAME = "english"
    TITLE = "English instructions answered by a teacher model"

    def make_stages(self) -> list[Stage]:
        """One stage: the teacher answers."""
        return [AnswerInEnglish(self.connect(self.settings.teacher), self.sampling, checks=self.checks)]

    def to_columns(self, row: Row) -> dict[str, Any]:
        """The Alpaca triple and where the answer came from."""
        task, answer = row.instruction, row.answers[0]
        return {
            "instruction": task.instruction,
            "input": task.input,
            "output": answer.text.strip(),
            "metadata": {"id": task.id, "origin": task.origin, **provenance(answer)},
        }
