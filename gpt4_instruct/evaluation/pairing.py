"""Two sides' answers to the same questions, brought together for a judge; and what does not fit together, counted.

Only questions that both sides answered are judged. An answer that came and is empty counts as one, and a bad one:
otherwise a model would gain by silence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from gpt4_instruct.errors import SourceError
from gpt4_instruct.evaluation.answer_files import AnswerRow, Pick, read_answer_rows, read_references
from gpt4_instruct.evaluation.answers import render_question
from gpt4_instruct.evaluation.questions import Question, read_questions
from gpt4_instruct.languages import chinese_share
from gpt4_instruct.records import Language

__all__ = ["Pair", "Paired", "pair_up"]

_CHINESE_SHARE = 0.5  # of a question's words: then it is judged in Chinese, whatever names it quotes
_SHOWN = 20  # ids that are listed; all are counted


@dataclass(frozen=True, slots=True)
class Pair:
    """A question with the answers to be judged.

    Attributes:
        id: the question's.
        question: as the answering models saw it.
        answer: what is measured.
        baseline: what it is measured against; none where answers are judged alone.
        category: the question's, or none.
        reference: a right answer, or none.
        language: of the question, and of the judge's prompt.
    """

    id: str
    question: str
    answer: str
    baseline: str | None = None
    category: str | None = None
    reference: str | None = None
    language: Language = "en"


@dataclass
class Paired:
    """What two files give a judge to do.

    Attributes:
        pairs: in the order of the answers.
        facts: how many questions each side has and lacks, by side.
        warnings: a line for each thing that the user should know of before trusting a result.
    """

    pairs: list[Pair]
    facts: dict[str, Any]
    warnings: list[str] = field(default_factory=list)


@dataclass
class _Side:
    name: str
    rows: dict[str, AnswerRow]  # what was answered, by key
    facts: dict[str, Any]


def pair_up(
    answers: str | Path,
    baseline: str | Path | None,
    pick: Pick,
    pick_baseline: Pick,
    *,
    questions: Any = None,
    references: str | Path | None = None,
    language: Literal["auto", "en", "zh"] = "auto",
    limit: int | None = None,
) -> Paired:
    """The questions that two files of answers have in common.

    Questions are matched by their ids; by their texts, where a file has no ids. Of a question that comes twice, the
    first answer counts. Where the texts of one id differ, it is not the same question, and is left out. Right answers
    are found by a question's id, else by its text.

    Args:
        answers: a file of any shape in `answer_files`.
        baseline: likewise; none to judge the answers alone.
        pick: which of several answers to a question is meant.
        pick_baseline: likewise, of the baseline.
        questions: the questions themselves, for files that hold none (FastChat's); whatever `read_questions` reads.
        references: a file of right answers, of any shape in `answer_files`, in place of those that the answers' file
            holds: a question that is not in it has none.
        language: of the judge's prompts; ``"auto"`` goes by each question.
        limit: most questions.

    Raises:
        SourceError: a file cannot be read, the questions' texts are nowhere, the sides have none in common, or the file
            of right answers has none of them.
    """
    read = [read_answer_rows(answers, pick)] + ([read_answer_rows(baseline, pick_baseline)] if baseline else [])
    by_id = all(row.id is not None for rows in read for row in rows)
    named = {} if questions is None else _by_id(questions)
    if not by_id:  # matched by their texts, which FastChat's files do not hold
        read = [[_with_question(row, named) for row in rows] for rows in read]
    asked = named if by_id else {_text_of(each).strip(): each for each in named.values()}
    find = None if references is None else read_references(references)
    files = [answers, *([baseline] if baseline else [])]
    sides = [_side(Path(str(file)).name, rows, by_id) for file, rows in zip(files, read, strict=True)]
    mine, other = sides[0], sides[1] if baseline else None
    pairs: list[Pair] = []
    differ: list[str] = []
    for key, row in mine.rows.items():
        against = other.rows.get(key) if other else None
        if other and against is None:
            continue
        asks = asked.get(key)
        texts = [each.question for each in (row, against) if each and each.question is not None]
        if len({text.strip() for text in texts}) > 1:
            differ.append(key)
            continue
        question = texts[0] if texts else _text_of(asks) if asks else None
        if question is None:
            raise SourceError(
                f"{mine.name} has no text of question {key}: name the file of the questions, too (--questions)"
            )
        known = [each for each in (row, against, asks) if each]
        id = row.id or (against.id if against else None)
        pairs.append(
            Pair(
                id=id or str(len(pairs) + 1),
                question=question,
                answer=row.text or "",
                baseline=(against.text or "") if against else None,
                category=next((each.category for each in known if each.category), None),
                reference=(
                    find(id, question) if find else next((each.reference for each in known if each.reference), None)
                ),
                language=_language(question) if language == "auto" else language,
            )
        )
    paired = _paired(pairs[:limit], len(pairs), sides, differ)
    if references is not None:
        _count_references(paired, Path(references).name)
    return paired


def _side(name: str, rows: Sequence[AnswerRow], by_id: bool) -> _Side:
    """The answers that came, by key, and what is wrong with the others."""
    found: dict[str, AnswerRow] = {}
    twice: list[str] = []
    seen: set[str] = set()
    for row in rows:
        key = _key(row, by_id)
        if key in seen:
            twice.append(key)
            continue
        seen.add(key)
        if row.text is not None:
            found[key] = row
    models = sorted({row.model for row in rows if row.model})
    return _Side(
        name,
        found,
        {
            "file": name,
            "model": ", ".join(models),
            "questions": len(seen),
            "not_answered": len(seen) - len(found),
            "duplicated": len(twice),
            "duplicated_ids": twice[:_SHOWN],
        },
    )


def _paired(pairs: list[Pair], common: int, sides: Sequence[_Side], differ: Sequence[str]) -> Paired:
    warnings = []
    for side, other in zip(sides, reversed(sides), strict=True):
        only = [key for key in side.rows if key not in other.rows]
        side.facts |= {"only_here": len(only), "only_here_ids": only[:_SHOWN]}
        if side.facts["duplicated"]:
            warnings.append(
                f"{side.name} has {_several(side.facts['duplicated'], 'id')} twice: the first answer counts"
            )
        if side.facts["not_answered"]:
            asked = _several(side.facts["questions"], "question")
            warnings.append(f"{side.name} has no answer to {side.facts['not_answered']} of its {asked}")
    empty = {name: sum(not (getattr(pair, name) or "").strip() for pair in pairs) for name in ("answer", "baseline")}
    for side, count in zip(sides, empty.values(), strict=False):
        side.facts["empty"] = count
        if count:
            warnings.append(f"{side.name} has {_several(count, 'empty answer')}, judged as not given")
    if any(side.facts["only_here"] for side in sides):
        lacking = ", ".join(f"{side.facts['only_here']} only in {side.name}" for side in sides)
        counts = f": only the {common} common ones count" if common else ""
        warnings.append(f"the two sides cover different questions ({lacking}){counts}")
    if differ:
        warnings.append(
            f"different questions have the same id on the two sides, {_several(len(differ), 'time')}: they are left out"
        )
    if not pairs:
        what = (
            f"{sides[0].name} and {sides[1].name} have no question in common" if len(sides) > 1 else "nothing to judge"
        )
        why = f" ({'; '.join(warnings)})" if warnings else ""
        raise SourceError(f"{what}{why}: name files with answers to the same questions")
    facts: dict[str, Any] = {name: side.facts for name, side in zip(("answers", "baseline"), sides, strict=False)}
    facts |= {"common": common, "different_questions": len(differ), "different_questions_ids": list(differ[:_SHOWN])}
    return Paired(pairs, facts, warnings)


def _several(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _key(row: AnswerRow, by_id: bool) -> str:
    if by_id:
        return str(row.id)
    if row.question is None:
        raise SourceError(
            "one file has ids and no questions, the other questions and no ids, so that they cannot be matched: name "
            "the file of the questions, too (--questions)"
        )
    return row.question.strip()


def _by_id(questions: Any) -> Mapping[str, Question]:
    return {each.id: each for each in read_questions(questions)[1] if isinstance(each, Question)}


def _text_of(question: Question) -> str:
    return render_question(question.instruction, question.input, "chat")


def _with_question(row: AnswerRow, questions: Mapping[str, Question]) -> AnswerRow:
    """The row with the text of its question, where it has none and the questions do."""
    found = questions.get(row.id) if row.question is None and row.id is not None else None
    return replace(row, question=_text_of(found)) if found else row


def _count_references(paired: Paired, name: str) -> None:
    """Adds to the facts and the warnings how many questions have no right answer in a file.

    Raises:
        SourceError: none has one.
    """
    lacking = [pair.id for pair in paired.pairs if pair.reference is None]
    paired.facts["references"] = {"file": name, "missing": len(lacking), "missing_ids": lacking[:_SHOWN]}
    if len(lacking) == len(paired.pairs):
        raise SourceError(
            f"{name} has a right answer to none of {_several(len(lacking), 'question')}: name a file of the same ids "
            "or texts"
        )
    if lacking:
        paired.warnings.append(
            f"{len(lacking)} of {_several(len(paired.pairs), 'question')} have no reference in {name}"
        )


def _language(question: str) -> Language:
    return "zh" if (chinese_share(question) or 0) >= _CHINESE_SHARE else "en"
