"""The human tasks that Self-Instruct begins with, in the languages of the rows; what cannot be used is left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from gpt4_instruct.errors import SourceError
from gpt4_instruct.languages import chinese_share
from gpt4_instruct.prompts.self_instruct import Example
from gpt4_instruct.records import Instruction, Language, Reject, Row
from gpt4_instruct.splits.chinese import CHINESE_SHARE

__all__ = ["Seeds"]


class Seeds:
    """The seeds of a run.

    Args:
        languages: of the rows.

    Attributes:
        examples: each seed in every language.
        left_out: how many were left out, by reason.
    """

    def __init__(self, languages: tuple[Language, ...]) -> None:
        self.languages = languages
        self.examples: list[dict[Language, Example]] = []
        self.left_out: Counter[str] = Counter()

    def begun(self, rows: Iterable[Row | Reject]) -> Iterator[Row | Reject]:
        """The seeds without those that come twice, and marked where they are Chinese; and what is rejected.

        A seed of several examples (Self-Instruct's instances) comes with its first one.
        """
        seen: set[str] = set()
        for row in rows:
            if isinstance(row, Reject):
                yield row
                continue
            task = row.instruction
            text = " ".join(task.instruction.split()).casefold()
            if text in seen:
                yield _rejected(task, "duplicate", "the seeds hold this instruction already")
                continue
            seen.add(text)
            chinese = (chinese_share(task.instruction) or 0) >= CHINESE_SHARE
            if chinese and self.languages == ("en",):
                yield _rejected(task, "wrong_language", "the seed is Chinese")
            else:
                yield replace(row, instruction=_marked(task)) if chinese else row

    def take(self, outcomes: Iterable[Row | Reject]) -> Iterator[Reject]:
        """Takes the seeds; gives back what is left out.

        Args:
            outcomes: in every language by now.
        """
        for outcome in outcomes:
            if isinstance(outcome, Reject):
                self.left_out[outcome.reason] += 1
                yield outcome
            else:
                self.examples.append({language: _example(outcome, language) for language in self.languages})

    def check(self, source: str) -> None:
        """Says so if no seed is left.

        Args:
            source: the name of what they were read from.

        Raises:
            SourceError: none is.
        """
        if not self.examples:
            reasons = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items()) or "it is empty"
            raise SourceError(f"{source} holds no task that can be a seed ({reasons}): give another --seeds")


def _marked(task: Instruction) -> Instruction:
    return replace(task, chinese=(task.instruction, task.input))


def _example(row: Row, language: Language) -> Example:
    task = row.instruction
    texts = task.chinese if language == "zh" and task.chinese is not None else (task.instruction, task.input)
    # The seed's own answer, unless it is in another language: a translation is of the task alone.
    label = task.label or ""
    chinese = (chinese_share(label) or 0) >= CHINESE_SHARE
    return Example(*texts, label if chinese == (language == "zh") else "", task.kind)


def _rejected(task: Instruction, reason: str, detail: str) -> Reject:
    return Reject(task.id, "source", reason, detail, task.origin, task.instruction, task.input)
