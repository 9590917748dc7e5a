"""Ratings by other tools: tasks to take there, and the votes brought back.

format         tasks                                   votes
mturk          CSV, a row a pair, for a new batch      the CSV of a batch's results
argilla        JSON, as ``rg.Dataset.records``         the same, with ``responses``
               writes and reads it (version 2)
label_studio   JSON, a task a pair                     the JSON export, with ``annotations``

In each of them a task has ``key``, ``instruction``, ``input``, ``answer_a`` and ``answer_b``. The key says nothing of
the models, nor which one is A: that hangs on the seed, half of the pairs each way. Votes are ``A``, ``B`` or ``tie``
for ``helpfulness``, ``honesty`` and ``harmlessness``. Argilla's and Label Studio's files carry the votes that are there
already.
"""

from __future__ import annotations

import csv
import html
import io
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import SourceError, UnknownNameError
from gpt4_instruct.evaluation.rating import CRITERIA, Study
from gpt4_instruct.evaluation.rating_turns import side_of
from gpt4_instruct.evaluation.rating_words import WORDS, label_studio_page, mturk_page
from gpt4_instruct.storage import replace_text

__all__ = ["FORMATS", "ImportResult", "export", "import_votes"]

FORMATS = ("mturk", "argilla", "label_studio")

_TEXTS = ("key", "instruction", "input", "answer_a", "answer_b")
_CHOICES = {"a": "A", "b": "B", "tie": "tie"}
# Names of raters as Argilla's UUIDs: always the same one for a name.
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "gpt4-instruct/raters")

_Found = tuple[str, str, Mapping[str, Any]]  # key, rater, choices by criterion as they stand in the file


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What was brought back.

    Attributes:
        votes: new ones, or other ones than before; by one rater on one pair by one criterion.
        unchanged: those that were there already.
        raters: who cast them.
        left_out: what could not be used, by reason: ``unknown_key`` (not of this study), ``no_rater``, ``rejected``
            (an assignment on Mechanical Turk), ``cancelled`` (skipped in Label Studio), ``no_choice`` (a criterion
            without A, B or tie).
    """

    votes: int
    unchanged: int
    raters: int
    left_out: dict[str, int]


def export(out: str | Path, file: str | Path, format: str, *, language: str = "en") -> int:
    """Writes a study's pairs, attention checks among them, as tasks for another tool.

    Args:
        out: the folder that `rating_server.serve` was given.
        file: what is written; one that is there is replaced.
        format: ``"mturk"``, ``"argilla"`` or ``"label_studio"``. Beside a file for Mechanical Turk comes
            ``NAME.html``, the page for its workers; beside one for Label Studio ``NAME.xml``, its labelling interface.
            A dataset of Argilla needs text fields ``instruction``, ``input``, ``answer_a`` and ``answer_b``, and a
            label question with A, B and tie for each criterion.
        language: of the words on these pages, ``"en"`` or ``"zh"``.

    Returns:
        how many tasks were written.

    Raises:
        UnknownNameError: there is no such format or language.
        OutputError: there is no study in the folder, or the file cannot be written.
    """
    _check(format)
    if language not in WORDS:
        raise UnknownNameError("language", language, list(WORDS))
    path = Path(file).expanduser()
    study = Study(out)
    try:
        tasks = _tasks(study)
        votes = _votes(study)
    finally:
        study.close()
    if format == "mturk":
        written = io.StringIO(newline="")
        writer = csv.DictWriter(written, _TEXTS)
        writer.writeheader()
        writer.writerows({name: _as_html(text) for name, text in task.items()} for task in tasks)
        replace_text(path, written.getvalue())
        replace_text(path.with_suffix(".html"), mturk_page(language))
        return len(tasks)
    of_format = _argilla if format == "argilla" else _label_studio
    content = [of_format(task, votes[task["key"]]) for task in tasks]
    replace_text(path, json.dumps(content, ensure_ascii=False, indent=1) + "\n")
    if format == "label_studio":
        replace_text(path.with_suffix(".xml"), label_studio_page(language))
    return len(tasks)


def import_votes(file: str | Path, out: str | Path, format: str) -> ImportResult:
    """Adds the votes in a file of another tool to a study. The same file twice adds nothing the second time.

    Raters get the format before their name there, such as ``mturk:A2X...``, so that they are told apart.

    Args:
        file: what the other tool wrote.
        out: the folder of the study that the tasks were exported from, or of one with the same answers and seed.
        format: as for `export`.

    Raises:
        UnknownNameError: there is no such format.
        SourceError: the file cannot be read, or is of another format.
        OutputError: there is no study in the folder, or it cannot be written.
    """
    _check(format)
    path = Path(file).expanduser()
    left_out = Counter[str]()
    study = Study(out)
    try:
        numbers = {pair.key: number for number, pair in study.pairs.items()}
        changed = cast = 0
        raters = set()
        for key, rater, given in _read(path, format, left_out):
            choices = {name: _choice(given.get(name)) for name in CRITERIA}
            usable = {name: choice for name, choice in choices.items() if choice is not None}
            if key not in numbers:
                left_out["unknown_key"] += 1
            elif not rater:
                left_out["no_rater"] += 1
            else:
                left_out["no_choice"] += len(CRITERIA) - len(usable)
                if not usable:
                    continue
                name = f"{format}:{rater}"
                left = side_of(study.settings["seed"], key, "")
                changed += study.record(name, numbers[key], left, usable, format)
                cast += len(usable)
                raters.add(name)
    finally:
        study.close()
    return ImportResult(
        changed, cast - changed, len(raters), {name: count for name, count in left_out.items() if count}
    )


# --- what goes out --------------------------------------------------------------------------------------------------


def _tasks(study: Study) -> list[dict[str, str]]:
    """The pairs in an order of their keys, so that the checks are not all at the end."""
    found = []
    for pair in sorted(study.pairs.values(), key=lambda pair: pair.key):
        texts = (pair.ours, pair.baseline)
        a, b = texts if side_of(study.settings["seed"], pair.key, "") == "ours" else texts[::-1]
        found.append(dict(zip(_TEXTS, (pair.key, pair.instruction, pair.input, a, b), strict=True)))
    return found


def _votes(study: Study) -> dict[str, dict[str, dict[str, str]]]:
    """By key and rater: A, B or tie by criterion."""
    found: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for rater, number, criterion, choice in study.votes():
        key = study.pairs[number].key
        left = side_of(study.settings["seed"], key, "")
        found[key][rater][criterion] = "tie" if choice == "tie" else "A" if choice == left else "B"
    return found


def _as_html(text: str) -> str:
    """A text as Mechanical Turk takes it: it goes into the page as it is, and must be one line without emoji.

    >>> _as_html("1 < 2\\n🪐")
    '1 &lt; 2&#10;&#129680;'
    """
    plain = html.escape(text.replace("\r\n", "\n"))
    return "".join(each if "\x20" <= each <= "\uffff" else f"&#{ord(each)};" for each in plain)


def _argilla(task: Mapping[str, str], votes: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    responses: dict[str, list[dict[str, str]]] = defaultdict(list)
    for rater, choices in votes.items():
        for criterion, choice in choices.items():
            responses[criterion].append({"value": choice, "user_id": str(uuid.uuid5(_NAMESPACE, rater))})
    fields = {name: task[name] for name in _TEXTS if name != "key"}
    record = {"id": task["key"], "fields": fields, "metadata": {}, "suggestions": {}, "responses": responses}
    return {**record, "vectors": {}}


def _label_studio(task: Mapping[str, str], votes: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    annotations = []
    for rater, choices in votes.items():
        result = [
            {"from_name": name, "to_name": "pair", "type": "choices", "value": {"choices": [choice]}}
            for name, choice in choices.items()
        ]
        annotations.append({"result": result, "was_cancelled": False, "completed_by": {"email": rater}})
    return {"data": dict(task), "annotations": annotations}


# --- what comes back ------------------------------------------------------------------------------------------------


def _read(path: Path, format: str, left_out: Counter[str]) -> Iterator[_Found]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        if format == "mturk":
            yield from _from_mturk(text, left_out)
        else:
            found = json.loads(text)
            if not isinstance(found, list) or not found:
                raise ValueError("a list of tasks is expected")
            yield from _from_argilla(found) if format == "argilla" else _from_label_studio(found, left_out)
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise SourceError(f"{path} is no file of votes of {format}: {error!r}. Is it another --format?") from error


def _from_mturk(text: str, left_out: Counter[str]) -> Iterator[_Found]:
    """A results file: ``Input.*`` is what went out, ``Answer.*`` what the worker chose.

    A crowd-form puts all answers into ``Answer.taskAnswers``, as ``[{"honesty": {"A": true, "B": false, ...}, ...}]``.
    """
    rows = csv.DictReader(io.StringIO(text, newline=""))
    if not {"WorkerId", "Input.key"} <= set(rows.fieldnames or ()):
        raise ValueError("it has no columns WorkerId and Input.key")
    for row in rows:
        if (row.get("AssignmentStatus") or "").lower() == "rejected" or row.get("Reject"):
            left_out["rejected"] += 1
            continue
        given: dict[str, Any] = {name: row.get(f"Answer.{name}") for name in CRITERIA}
        for name in CRITERIA:  # a plain form's radio buttons come as a column each
            columns = {each: row.get(f"Answer.{name}.{each}") for each in _CHOICES.values()}
            if any(columns.values()):
                given[name] = {each: (value or "").lower() == "true" for each, value in columns.items()}
        if row.get("Answer.taskAnswers"):
            given |= json.loads(row["Answer.taskAnswers"])[0]
        yield row["Input.key"] or "", row["WorkerId"] or "", given


def _from_argilla(records: list[Any]) -> Iterator[_Found]:
    for record in records:
        of_rater: dict[str, dict[str, Any]] = defaultdict(dict)
        for name, responses in record["responses"].items():
            for response in responses:
                of_rater[str(response.get("user_id") or "")][name] = response["value"]
        for rater, given in of_rater.items():
            yield str(record["id"]), rater, given


def _from_label_studio(tasks: list[Any], left_out: Counter[str]) -> Iterator[_Found]:
    for task in tasks:
        for annotation in task["annotations"]:
            if annotation.get("was_cancelled"):
                left_out["cancelled"] += 1
                continue
            by = annotation.get("completed_by")
            rater = by.get("email") or by.get("id") if isinstance(by, dict) else by
            given = {
                each["from_name"]: (each["value"].get("choices") or [None])[0]
                for each in annotation["result"]
                if each.get("type") == "choices"
            }
            yield str(task["data"]["key"]), "" if rater is None else str(rater), given


def _choice(given: Any) -> str | None:
    """A, B or tie of a text, or of a mapping of which one is true.

    >>> _choice("a"), _choice({"A": False, "B": False, "tie": True}), _choice({"A": True, "B": True}), _choice(None)
    ('A', 'tie', None, None)
    """
    if isinstance(given, dict):
        marked = [name for name, value in given.items() if value is True]
        given = marked[0] if len(marked) == 1 else None
    return _CHOICES.get(given.strip().lower()) if isinstance(given, str) else None


def _check(format: str) -> None:
    if format not in FORMATS:
        raise UnknownNameError("format", format, FORMATS)
