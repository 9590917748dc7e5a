"""The questions that models are compared on: rows of any shape, with or without an answer.

{"question_id": 1, "text": "How do I sleep better?", "category": "generic"}         FastChat's (Vicuna's 80)
{"id": "...", "motivation_app": "Gmail", "instruction": "...", "instances": [...]}  Self-Instruct's 252
{"instruction": "说出最大的行星。", "input": ""}                                    and all that `shapes` reads
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import SourceError
from gpt4_instruct.records import Reject, Sample
from gpt4_instruct.sources.rows import Rows, open_rows
from gpt4_instruct.sources.shapes import samples

__all__ = ["QUESTION_SETS", "Question", "read_questions"]

_PACKAGED = Path(__file__).with_name("question_sets")
# By name: the two public sets of the paper, fetched once and verified, and a small one of ours in both languages.
QUESTION_SETS: dict[str, str] = {
    "vicuna80": "released:vicuna80",
    "user252": "released:user252",
    "small": str(_PACKAGED / "small.jsonl"),
    "small-zh": str(_PACKAGED / "small_zh.jsonl"),
}

# The columns that group questions: Vicuna's kind of question, and the application that Self-Instruct's was made for.
_CATEGORIES = ("category", "motivation_app")


@dataclass(frozen=True, slots=True)
class Question:
    """One question to a model.

    Attributes:
        id: unique among the questions.
        instruction: never empty; as it stands in the row, like all texts here.
        input: what it is about; may be empty.
        category: the group that the row puts it in, or none.
        reference: the row's own answer, or none.
    """

    id: str
    instruction: str
    input: str = ""
    category: str | None = None
    reference: str | None = None


def read_questions(data: Any, limit: int | None = None) -> tuple[str, list[Question | Reject]]:
    """The questions of a set, or in a file, folder, Hub dataset, `datasets.Dataset` or list.

    Args:
        data: ``"vicuna80"``, ``"user252"``, ``"small"``, ``"small-zh"``, or what `sources.rows.open_rows` reads.
        limit: most questions.

    Returns:
        the data's name, without folders of yours; its questions in order, and in their places the rows that hold none.

    Raises:
        SourceError: there is no such data, or not one question in it.

    >>> read_questions([{"question_id": 7, "text": "What is 7?", "category": "math"}])
    ('rows', [Question(id='7', instruction='What is 7?', input='', category='math', reference=None)])
    >>> name, questions = read_questions("small-zh")
    >>> name, len(questions), questions[10].instruction, questions[10].reference
    ('small-zh', 18, '一列火车14:35出发，行驶3小时50分钟。它几点到达？', '18:25。')
    """
    known = isinstance(data, str) and data in QUESTION_SETS
    rows = open_rows(QUESTION_SETS[data] if known else data)
    found = list(islice(_distinct(_read(rows)), limit))
    if not any(isinstance(each, Question) for each in found):
        reasons = Counter(each.reason for each in found if isinstance(each, Reject))
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "it is empty"
        raise SourceError(f"{rows.name} holds no question ({why}): a row needs an instruction, a prompt or a text")
    return str(data) if known else rows.name, found


def _read(rows: Rows) -> Iterator[Question | Reject]:
    for _, raw, found in rows:
        if isinstance(found, Reject) and isinstance(raw, Mapping) and {"question_id", "text"} <= raw.keys():
            found = samples({"id": str(raw["question_id"]), "instruction": raw["text"]}, found.id, found.origin)
        if isinstance(found, Reject):
            yield found
            continue
        values = (raw.get(name) for name in _CATEGORIES) if isinstance(raw, Mapping) else ()
        category = next((value for value in values if isinstance(value, str) and value), None)
        yield from (_question(sample, category) for sample in found)


def _question(sample: Sample, category: str | None) -> Question | Reject:
    if not sample.instruction.strip():
        return Reject(sample.id, "source", "empty_instruction", "'instruction' is empty", sample.origin)
    reference = (sample.label or "").strip() or sample.output.strip() or None
    return Question(sample.id, sample.instruction, sample.input, category, reference)


def _distinct(found: Iterator[Question | Reject]) -> Iterator[Question | Reject]:
    """The same, with another id where one comes again: answers are told apart by them."""
    seen: set[str] = set()
    for each in found:
        id, number = each.id, 1
        while id in seen:
            number += 1
            id = f"{each.id}-{number}"
        seen.add(id)
        yield each if id == each.id else replace(each, id=id)
