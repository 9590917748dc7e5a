"""The pairs of answers that people rate: two files of answers joined by question, and attention checks among them.

An attention check is one of the questions with a real answer on one side, and none or a scrambled one on the other::

    Pair(question="7", ..., ours="Go to bed early, and keep regular hours.", baseline="obheu aylrge ...",
         expected="ours")
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import SourceError, UsageError
from gpt4_instruct.evaluation.answer_files import is_ours, of_sample, read_answer_rows
from gpt4_instruct.evaluation.answers import read_answers, render_question
from gpt4_instruct.evaluation.questions import Question, read_questions
from gpt4_instruct.languages import words

__all__ = ["Pair", "draw", "find_pairs"]

_ENOUGH = 20  # characters of an answer that is obviously better than none
_OF_A_WORD = 3  # characters that a word counts at least: those of Chinese have one
_SCRAMBLED = 240  # characters of one that is not


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one question.

    Attributes:
        key: 16 hex digits, of the seed and all below: the pair's name outside, which does not tell the models.
        question: the id of the question.
        instruction: the question.
        input: what it is about; may be empty.
        ours: the answer of the model that is rated; in a check, one of two texts.
        baseline: the answer of the other.
        expected: the better side of an attention check; none for a real pair.
    """

    key: str
    question: str
    instruction: str
    input: str
    ours: str
    baseline: str
    expected: str | None = None


def draw(seed: int, *parts: object) -> int:
    """A random number that hangs on the seed and the parts only: the first 8 bytes of their SHA-256.

    >>> draw(0, "a", 1) == draw(0, "a", 1), draw(0, "a", 1) == draw(1, "a", 1)
    (True, False)
    """
    return int.from_bytes(_digest(seed, *parts)[:8])


def find_pairs(
    answers: str | Path, baseline: str | Path, *, questions: Any = None, attention: int = 20, seed: int = 0
) -> tuple[list[Pair], dict[str, int]]:
    """Joins two files of answers by the ids of their questions; by the questions, where a file has no ids.

    Of several answers to a question the first is taken; of a ranked file, the best.

    Args:
        answers: of the model that is rated; a file of any shape in `answer_files`, or one of `ranking.rank`.
        baseline: of the other; likewise.
        questions: the questions, where neither file holds them (FastChat's do not); whatever `read_questions` reads.
        attention: after so many questions comes one attention check; 0 for none.
        seed: another one makes other checks, and other keys.

    Returns:
        the pairs in the order of `answers`, then the checks; and what was left out, by reason: ``only_in_answers``,
        ``only_in_baseline``, ``no_answer``, ``duplicated_id``, ``other_question``. ``empty_answer`` counts pairs that
        are rated, with an answer that says nothing.

    Raises:
        SourceError: a file cannot be read, there is no pair, or the text of a question is nowhere.
        UsageError: `attention` is negative, or no answer is long enough for a check.
    """
    if attention < 0:
        raise UsageError(f"attention is {attention}, but must be 0 (no checks) or more")
    counts = Counter[str]()
    read = [list(_read(file)) for file in (answers, baseline)]
    by_id = all(row.id is not None for rows in read for row in rows)
    mine, other = (_by_key(rows, by_id, counts) for rows in read)
    asked = _by_key(_asked(questions), by_id, Counter()) if questions is not None else {}
    counts["only_in_baseline"] += len(other.keys() - mine.keys())
    pairs: list[Pair] = []
    for key, row in mine.items():
        if key not in other:
            counts["only_in_answers"] += 1
            continue
        against = other[key]
        asks = next((each for each in (row, against, asked.get(key)) if each and each.question is not None), None)
        if len({each.question for each in (row, against)} - {None}) > 1:
            counts["other_question"] += 1
        elif row.text is None or against.text is None:
            counts["no_answer"] += 1
        elif asks is None:
            raise SourceError(f"{answers} has no text of question {key}: name a file of the questions with --questions")
        else:
            counts["empty_answer"] += not (row.text.strip() and against.text.strip())
            question = row.id or against.id or str(len(pairs) + 1)
            pairs.append(_pair(seed, question, asks.instruction, asks.input, row.text, against.text))
    left_out = {reason: count for reason, count in counts.items() if count}
    if not pairs:
        why = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "both are empty"
        raise SourceError(f"{answers} and {baseline} have no question in common that both answer ({why})")
    return [*pairs, *_checks(pairs, attention, seed)], left_out


@dataclass(frozen=True, slots=True)
class _Row:
    """What a file says of one question."""

    id: str | None
    instruction: str
    input: str
    text: str | None

    @property
    def question(self) -> str | None:
        """As a model saw it; none where the file does not say."""
        return render_question(self.instruction, self.input, "chat").strip() or None


def _read(file: str | Path) -> Iterator[_Row]:
    """The answers of a file that are to be rated, with their questions."""
    path = Path(file).expanduser()
    if not is_ours(path):
        for row in read_answer_rows(path, of_sample(0)):
            yield _Row(row.id, _whole(row.question or ""), "", None if row.text is None else _whole(row.text))
        return
    for line in read_answers(path):
        answers, ranking = line["answers"], line.get("ranking")
        first: Any = answers[ranking[0]] if ranking else answers[0] if answers else {"text": None}
        text = first["text"]
        yield _Row(
            line["id"], _whole(line["instruction"]), _whole(line["input"]), None if text is None else _whole(text)
        )


def _asked(questions: Any) -> Iterator[_Row]:
    for each in read_questions(questions)[1]:
        if isinstance(each, Question):
            yield _Row(each.id, _whole(each.instruction), _whole(each.input), None)


def _by_key(rows: Iterable[_Row], by_id: bool, counts: Counter[str]) -> dict[str, _Row]:
    """The first row of each question, by its id or its text."""
    found: dict[str, _Row] = {}
    for row in rows:
        key = row.id if by_id else row.question
        if key is None and row.id is not None and row.text is None:
            counts["no_answer"] += 1  # an empty row of the questions, which was not asked
        elif key is None:
            raise SourceError("one file has ids and no questions, the other questions and no ids: give two of one kind")
        elif key in found:
            counts["duplicated_id"] += 1
        else:
            found[key] = row
    return found


def _whole(text: str) -> str:
    """The text with a question mark for each half of a character, which no database and no page takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _checks(pairs: list[Pair], attention: int, seed: int) -> list[Pair]:
    if not attention:
        return []
    usable = [each for each in pairs if max(_size(each.ours), _size(each.baseline)) >= _ENOUGH]
    if not usable:
        raise UsageError("no answer is long enough for an attention check: leave them out with --attention 0")
    chooser = random.Random(seed)
    chosen = chooser.sample(usable, min(len(usable), max(1, len(pairs) // attention)))
    found = []
    for number, each in enumerate(chosen):
        good = max(each.ours.strip(), each.baseline.strip(), key=_size)
        bad = "" if number % 2 else _scrambled(good, chooser)
        if bad.split() == good.split():  # one character again and again
            bad = ""
        expected = chooser.choice(("ours", "baseline"))
        texts = (good, bad) if expected == "ours" else (bad, good)
        found.append(_pair(seed, each.question, each.instruction, each.input, *texts, expected))
    return found


def _size(text: str) -> int:
    """Characters; of short words more, so that a text of Chinese counts as one of English that says as much.

    >>> _size("Drink water."), _size("多喝水，少熬夜。")
    (12, 18)
    """
    return max(len(text.strip()), _OF_A_WORD * len(words(text, "zh")))


def _scrambled(text: str, chooser: random.Random) -> str:
    """The text's own characters in another order, so that it looks like an answer from afar."""
    characters = list(text[:_SCRAMBLED])
    chooser.shuffle(characters)
    return " ".join("".join(characters).split())


def _pair(
    seed: int, question: str, instruction: str, input: str, ours: str, baseline: str, expected: str | None = None
) -> Pair:
    key = _digest(seed, question, instruction, input, ours, baseline, expected).hex()[:16]
    return Pair(key, question, instruction, input, ours, baseline, expected)


def _digest(*parts: object) -> bytes:
    return hashlib.sha256("\0".join(map(str, parts)).encode("utf-8", "surrogatepass")).digest()
