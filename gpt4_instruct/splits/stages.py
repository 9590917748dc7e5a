"""What a stage of a split is: it asks its requests for a row, and accepts or rejects what comes back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpt4_instruct.quality.base import Sample, first_failure
from gpt4_instruct.records import Answer, Language, Message, Reject, Request, Row, Sampling
from gpt4_instruct.teachers.base import Teacher

__all__ = ["CHECKS", "Stage", "check_answer", "question", "rejected", "teachers_of"]

# What every answer must pass, in this order: what an answer says comes before how it ends.
CHECKS = ("empty", "refusal", "echo", "wrong_language", "truncated")


class Stage(ABC):
    """One step of a row's way.

    Attributes:
        name: stands in the rejects.
        changes_task: the rows that it accepts may have another task than before, perhaps one that other rows have, too.
    """

    name: str
    changes_task = False

    @abstractmethod
    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        """What to ask for a row, and whom; nothing when there is nothing to ask."""

    def stand_in(self, row: Row, request: Request, tokens: int) -> str:
        """A text that `accept` may accept as the answer to a request, of about so many tokens.

        A dry run takes it for the answer, to count what the later stages would ask.
        """
        return f"{request.key[:8]} " + "word " * tokens  # no two are alike, or they would count as one

    @abstractmethod
    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
        """The row with what was learnt, or why it is left out.

        Args:
            row: as `requests` saw it.
            answers: one for each of its requests, in order.
        """


def teachers_of(stage: Stage) -> list[Teacher]:
    """Whom a stage may ask: every teacher among its attributes, alone or in a list or dict of them."""
    found: list[Teacher] = []
    for value in vars(stage).values():
        several = value.values() if isinstance(value, Mapping) else value
        values = several if isinstance(several, Iterable) and not isinstance(several, str) else [several]
        found += [each for each in values if isinstance(each, Teacher)]
    return found


def question(teacher: Teacher, prompt: str, sampling: Sampling, **fields: Any) -> tuple[Teacher, Request]:
    """A request of one user message, with whom to ask. `fields` are `Request`'s ``sample``, ``choices``, ``schema``."""
    request = Request(teacher.endpoint, teacher.model, (Message("user", prompt),), sampling.parameters(), **fields)
    return teacher, request


def rejected(row: Row, stage: str, reason: str, detail: str, output: str = "") -> Reject:
    """The reject of a row at a stage."""
    task = row.instruction
    return Reject(task.id, stage, reason, detail, task.origin, task.instruction, task.input, output)


def check_answer(
    row: Row, stage: str, answer: Answer, language: Language, checks: Sequence[str] = CHECKS
) -> Reject | None:
    """Runs checks on an answer to the row's task."""
    task = row.instruction
    sample = Sample(task.instruction, task.input, answer.text, answer.finish_reason, language)
    failure = first_failure(checks, sample)
    return rejected(row, stage, *failure, answer.text) if failure else None
