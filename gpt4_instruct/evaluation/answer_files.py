"""Files of answers, whoever wrote them: ours, FastChat's and AlpacaEval's, read alike, and written for those who do.

{"id": "1", "instruction": "How ...?", "answers": [{"text": "Go ..."}]}              `answers` and `ranking`
{"question_id": 1, "text": "Go ...", "model_id": "vicuna-13b"}                        FastChat's, for Vicuna's 80
{"question_id": 1, "model_id": "m", "choices": [{"index": 0, "turns": ["Go ..."]}]}   FastChat's llm_judge; turn 1
[{"instruction": "How ...?", "output": "Go ...", "generator": "m"}]                   AlpacaEval's; no ids
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gpt4_instruct.errors import OutputExistsError, SourceError, UsageError
from gpt4_instruct.evaluation.answers import read_answers, render_question, summary_path
from gpt4_instruct.records import well_formed
from gpt4_instruct.storage import replacing

__all__ = [
    "AnswerRow",
    "Pick",
    "check_apart",
    "export_answers",
    "is_ours",
    "of_sample",
    "read_answer_rows",
    "read_references",
]

_MOST_CHOICES = 10_000  # of one question; a larger index is no place

# Which one of a question's answers is meant; none where it did not come.
Pick = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any] | None]


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One answer in a file.

    Attributes:
        text: as it stands there; none where it did not come.
        id: the question's; none in AlpacaEval's files.
        question: the instruction with its input below it; none in FastChat's files.
        category: the question's, where the file has it.
        reference: likewise.
        model: who answered, as the file says; empty where it does not.
    """

    text: str | None
    id: str | None = None
    question: str | None = None
    category: str | None = None
    reference: str | None = None
    model: str = ""


def of_sample(sample: int) -> Pick:
    """Picks a question's answer by its number, from 0.

    >>> of_sample(1)([{"text": "a"}, {"text": "b"}]), of_sample(2)([{"text": "a"}])
    ({'text': 'b'}, None)
    """
    return lambda answers: answers[sample] if sample < len(answers) else None


def read_answer_rows(file: str | Path, pick: Pick) -> list[AnswerRow]:
    """The answers in a file of any of the shapes at the top.

    Args:
        file: a ``.jsonl``, or a ``.json`` with one list.
        pick: which of a question's several answers is meant.

    Raises:
        SourceError: it cannot be read, or holds no answers.
    """
    path = Path(file).expanduser()
    if is_ours(path):
        found = [_of_ours(line, pick) for line in read_answers(path)]
    else:
        found = [_of_others(row, f"{path}:{number}", pick) for number, row in _rows(path)]
    if not found:
        raise SourceError(f"{path} holds no answers: gpt4-instruct answer writes a file of them")
    return found


def is_ours(path: Path) -> bool:
    """Whether a file's first line is one of `answers`: then `read_answers` reads it, and says where it is broken.

    Raises:
        SourceError: it cannot be read.
    """
    first = next(_rows(path), (0, None))[1]
    return isinstance(first, Mapping) and "answers" in first


def _of_ours(line: Mapping[str, Any], pick: Pick) -> AnswerRow:
    picked = pick(line["answers"])
    return AnswerRow(
        text=_whole(picked["text"]) if picked else None,
        id=line["id"],
        question=well_formed(render_question(line["instruction"], line["input"], "chat")),
        category=_text(line.get("category")),
        reference=_whole(_text(line.get("reference"))),
        model=str(line.get("teacher") or ""),
    )


def _of_others(row: Any, place: str, pick: Pick) -> AnswerRow:
    try:
        if "question_id" in row:
            picked = pick(_choices(row["choices"]) if "choices" in row else [row])
            text, fields = picked and picked["text"], {"id": str(row["question_id"]), "model": row.get("model_id")}
        else:
            text = row["output"]
            question = well_formed(render_question(row["instruction"], row.get("input") or "", "chat"))
            fields = {"question": question, "model": row.get("generator")}
        if text is None or isinstance(text, str):
            fields["model"] = str(fields["model"] or "")
            return AnswerRow(_whole(text), **fields, category=_text(row.get("category")))
    except (TypeError, KeyError, IndexError, AttributeError):
        pass
    raise SourceError(f"{place} is no answer: give a file of gpt4-instruct answer, of FastChat or of AlpacaEval")


def _choices(choices: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The first turns of FastChat's choices, each in the place that its index names: one that failed has none."""
    found = {_place(each, place): each["turns"][0] for place, each in enumerate(choices)}
    return [{"text": found.get(place)} for place in range(max(found, default=-1) + 1)]


def _place(choice: Mapping[str, Any], place: int) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) and 0 <= index < _MOST_CHOICES else place


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _whole(text: str | None) -> str | None:
    """A text that can be sent and written: JSON may hold halves of characters."""
    return None if text is None else well_formed(text)


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Each row with the number of its line, or of its place in a list, from 1."""
    try:
        with path.open(encoding="utf-8") as lines:
            first = lines.read(64).lstrip("\ufeff \t\r\n")
            lines.seek(0)
            if first.startswith("["):
                yield from enumerate(json.loads(lines.read().removeprefix("\ufeff")), start=1)
                return
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    try:
                        yield number, json.loads(line.removeprefix("\ufeff"))
                    except (ValueError, RecursionError):
                        raise SourceError(f"{path}:{number} is not JSON: is it a file of answers?") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    except (ValueError, RecursionError) as error:
        raise SourceError(f"{path} is not JSON: {error}") from error


def read_references(file: str | Path) -> Callable[[str | None, str | None], str | None]:
    """Finds right answers in a file of any of the shapes at the top, by a question's id, else by its text.

    Of several answers the first one is meant; of a question that comes twice, the first that is not empty.

    Returns:
        a function of an id and a text, either of which may be none; it gives the right answer, or none.

    Raises:
        SourceError: as `read_answer_rows`.
    """
    by_id: dict[str, str] = {}
    by_question: dict[str, str] = {}
    for row in read_answer_rows(file, of_sample(0)):
        if row.text is not None and row.text.strip():
            if row.id is not None:
                by_id.setdefault(row.id, row.text)
            if row.question is not None:
                by_question.setdefault(row.question.strip(), row.text)

    def find(id: str | None, question: str | None) -> str | None:
        found = None if id is None else by_id.get(id)
        return by_question.get(question.strip()) if found is None and question is not None else found

    return find


def check_apart(file: Path, *read: Any, summary: bool = False) -> None:
    """Raises UsageError where a file that is to be written is one that is read, or its summary.

    Args:
        file: what is to be written.
        read: files, and anything else that is read.
        summary: a summary is to be written beside it, which must not be that of another file.
    """
    written = {each.resolve() for each in ([file, summary_path(file)] if summary else [file])}
    for path in (Path(each).expanduser() for each in read if isinstance(each, str | Path)):
        if written & {path.resolve(), summary_path(path).resolve()}:
            raise UsageError(f"{file} would take the place of {path} or of its summary: name another file with --out")


def export_answers(
    answers_file: str | Path,
    out: str | Path,
    form: Literal["fastchat", "alpaca_eval"],
    *,
    sample: int = 0,
    overwrite: bool = False,
) -> int:
    """Writes a file of `answers` in the form that another tool reads; answers that did not come are left out.

    The others keep their numbers, as FastChat's ``index``. An id is written as a number, as FastChat's own are, where
    it is one to the last digit: 7, but not 007.

    Args:
        answers_file: what `answers.answer` or `ranking.rank` wrote.
        out: the file.
        form: ``"fastchat"`` writes all answers to a question as its choices, a line a question; ``"alpaca_eval"``
            writes one list with one answer to each.
        sample: which one, for AlpacaEval.
        overwrite: write the file anew if it is there.

    Returns:
        how many questions were written.

    Raises:
        SourceError: the file of answers cannot be read.
        UsageError: there is no such form, or the file is that of the answers.
        OutputError: the file cannot be written, or is there already.
    """
    if form not in ("fastchat", "alpaca_eval"):
        raise UsageError(f"form is {form!r}, but must be fastchat or alpaca_eval")
    file = Path(out).expanduser()
    check_apart(file, answers_file)
    if file.exists() and not overwrite:
        raise OutputExistsError(f"{file} is there already: --overwrite writes it anew, --out names another")
    rows = list(_fastchat(answers_file) if form == "fastchat" else _alpaca_eval(answers_file, sample))
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8") as lines:
        if form == "fastchat":
            lines.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        else:
            json.dump(rows, lines, ensure_ascii=False, indent=1)
    return len(rows)


_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


def _fastchat(file: str | Path) -> Iterator[dict[str, Any]]:
    for line in read_answers(file):
        texts = enumerate(each["text"] for each in line["answers"])
        choices = [{"index": number, "turns": [text]} for number, text in texts if text is not None]
        if choices:
            id = int(line["id"]) if _NUMBER.fullmatch(line["id"]) else line["id"]
            yield {"question_id": id, "model_id": line.get("teacher", ""), "choices": choices}


def _alpaca_eval(file: str | Path, sample: int) -> Iterator[dict[str, Any]]:
    for line in read_answers(file):
        row = _of_ours(line, of_sample(sample))
        if row.text is not None:
            yield {"instruction": row.question, "output": row.text, "generator": row.model}
