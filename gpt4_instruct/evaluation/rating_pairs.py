"""The pairs of answers that people rate: two files of answers joined by question, and attention checks among them.

An attention check is one of the questions with a real answer on one side, and none or a scrambled one on the other::

    Pair(question="7", ..., ours="Go to bed early, and keep regular hours.", baseline="obheu aylrge ...",
         expected="ours")
"""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import SourceError, UsageError
from gpt4_instruct.evaluation.answers import read_answers

__all__ = ["Pair", "draw", "find_pairs"]

_ENOUGH = 20  # characters of an answer that is obviously better than none
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
    answers: str | Path, baseline: str | Path, *, attention: int = 20, seed: int = 0
) -> tuple[list[Pair], dict[str, int]]:
    """Joins two files of answers by the ids of their questions.

    Of several answers to a question the first is taken; of a ranked file, the best.

    Args:
        answers: of the model that is rated, as `answers.answer` or `ranking.rank` wrote it.
        baseline: of the other.
        attention: after so many questions comes one attention check; 0 for none.
        seed: another one makes other checks, and other keys.

    Returns:
        the pairs in the order of `answers`, then the checks; and what was left out, by reason: ``only_in_answers``,
        ``only_in_baseline``, ``no_answer``, ``duplicated_id``, ``other_question``. ``empty_answer`` counts pairs that
        are rated, with an answer that says nothing.

    Raises:
        SourceError: a file cannot be read, or there is no pair.
        UsageError: `attention` is negative, or no answer is long enough for a check.
    """
    if attention < 0:
        raise UsageError(f"attention is {attention}, but must be 0 (no checks) or more")
    counts = Counter[str]()
    mine, other = _read(answers, counts), _read(baseline, counts)
    counts["only_in_baseline"] += len(other.keys() - mine.keys())
    pairs = []
    for question, (instruction, input, text) in mine.items():
        if question not in other:
            counts["only_in_answers"] += 1
            continue
        asked, about, reply = other[question]
        if (asked, about) != (instruction, input):
            counts["other_question"] += 1
        elif text is None or reply is None:
            counts["no_answer"] += 1
        else:
            counts["empty_answer"] += not (text.strip() and reply.strip())
            pairs.append(_pair(seed, question, instruction, input, text, reply))
    left_out = {reason: count for reason, count in counts.items() if count}
    if not pairs:
        why = ", ".join(f"{count} {reason}" for reason, count in left_out.items()) or "both are empty"
        raise SourceError(f"{answers} and {baseline} have no question in common that both answer ({why})")
    return [*pairs, *_checks(pairs, attention, seed)], left_out


def _read(file: str | Path, counts: Counter[str]) -> dict[str, tuple[str, str, str | None]]:
    """Instruction, input and the answer to be rated, by the question's id."""
    found: dict[str, tuple[str, str, str | None]] = {}
    for line in read_answers(file):
        if line["id"] in found:
            counts["duplicated_id"] += 1
            continue
        answers, ranking = line["answers"], line.get("ranking")
        first: Any = answers[ranking[0]] if ranking else answers[0] if answers else {"text": None}
        text = first["text"]
        found[line["id"]] = (_whole(line["instruction"]), _whole(line["input"]), None if text is None else _whole(text))
    return found


def _whole(text: str) -> str:
    """The text with a question mark for each half of a character, which no database and no page takes."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _checks(pairs: list[Pair], attention: int, seed: int) -> list[Pair]:
    if not attention:
        return []
    usable = [each for each in pairs if max(len(each.ours.strip()), len(each.baseline.strip())) >= _ENOUGH]
    if not usable:
        raise UsageError("no answer is long enough for an attention check: leave them out with --attention 0")
    chooser = random.Random(seed)
    chosen = chooser.sample(usable, min(len(usable), max(1, len(pairs) // attention)))
    found = []
    for number, each in enumerate(chosen):
        good = max(each.ours.strip(), each.baseline.strip(), key=len)
        bad = "" if number % 2 else _scrambled(good, chooser)
        expected = chooser.choice(("ours", "baseline"))
        texts = (good, bad) if expected == "ours" else (bad, good)
        found.append(_pair(seed, each.question, each.instruction, each.input, *texts, expected))
    return found


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
