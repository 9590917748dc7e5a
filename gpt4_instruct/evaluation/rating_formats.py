"""Tasks and votes as the files of other tools have them; what is in each, `rating_files` says at its top."""

from __future__ import annotations

import csv
import html
import io
import json
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import SourceError
from gpt4_instruct.evaluation.rating import CRITERIA

__all__ = ["COLUMNS", "NAME_THERE", "choice_of", "read_votes", "tasks_text"]

COLUMNS = ("key", "instruction", "input", "answer_a", "answer_b")  # of a task

_CHOICES = {"a": "A", "b": "B", "tie": "tie"}
# Names of raters as Argilla's UUIDs: always the same one for a name.
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "gpt4-instruct/raters")
# What a rater is called in an exported file; Mechanical Turk's carry no votes.
NAME_THERE: Mapping[str, Callable[[str], str]] = {
    "argilla": lambda name: str(uuid.uuid5(_NAMESPACE, name)),
    "label_studio": lambda name: name,
}

_Votes = Mapping[str, Mapping[str, str]]  # A, B or tie by rater and criterion
_Found = tuple[str, str | int, Mapping[str, Any]]  # key, rater, choices by criterion as they stand in the file


# --- what goes out --------------------------------------------------------------------------------------------------


def tasks_text(tasks: Sequence[Mapping[str, str]], votes: Mapping[str, _Votes], format: str) -> str:
    """A file of tasks, each with the columns of `COLUMNS`; `votes` are by key, and not for Mechanical Turk."""
    if format == "mturk":
        written = io.StringIO(newline="")
        writer = csv.DictWriter(written, COLUMNS)
        writer.writeheader()
        writer.writerows({name: _as_html(text) for name, text in task.items()} for task in tasks)
        return written.getvalue()
    of_format = _argilla if format == "argilla" else _label_studio
    content = [of_format(task, votes.get(task["key"], {})) for task in tasks]
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


def _as_html(text: str) -> str:
    """A text as Mechanical Turk takes it: it goes into the page as it is, and must be one line without emoji.

    >>> _as_html("1 < 2\\n🪐")
    '1 &lt; 2&#10;&#129680;'
    """
    plain = html.escape(text.replace("\r\n", "\n"))
    return "".join(each if "\x20" <= each <= "\uffff" else f"&#{ord(each)};" for each in plain)


def _argilla(task: Mapping[str, str], votes: _Votes) -> dict[str, Any]:
    responses: dict[str, list[dict[str, str]]] = defaultdict(list)
    for rater, choices in votes.items():
        for criterion, choice in choices.items():
            responses[criterion].append({"value": choice, "user_id": NAME_THERE["argilla"](rater)})
    fields = {name: task[name] for name in COLUMNS if name != "key"}
    record = {"id": task["key"], "fields": fields, "metadata": {}, "suggestions": {}, "responses": responses}
    return {**record, "vectors": {}}


def _label_studio(task: Mapping[str, str], votes: _Votes) -> dict[str, Any]:
    annotations = []
    for rater, choices in votes.items():
        result = [
            {"from_name": name, "to_name": "pair", "type": "choices", "value": {"choices": [choice]}}
            for name, choice in choices.items()
        ]
        annotations.append(
            {"result": result, "was_cancelled": False, "completed_by": {"email": NAME_THERE["label_studio"](rater)}}
        )
    return {"data": dict(task), "annotations": annotations}


# --- what comes back ------------------------------------------------------------------------------------------------


def read_votes(path: Path, format: str, left_out: Counter[str]) -> list[_Found]:
    """All votes in a file; those that do not count by its own account are counted in `left_out`.

    Raises:
        SourceError: it cannot be read, or is of another format.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        if format == "mturk":
            return list(_from_mturk(text, left_out))
        found = json.loads(text)
        if not isinstance(found, list) or not found:
            raise ValueError("a list of tasks is expected")
        return list(_from_argilla(found) if format == "argilla" else _from_label_studio(found, left_out))
    except (LookupError, ValueError, TypeError, AttributeError, RecursionError, csv.Error) as error:
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
            given |= (json.loads(row["Answer.taskAnswers"]) or [{}])[0]  # a worker may have sent none
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
            # A number is a user of Label Studio, and never a rater of ours who chose it for a name.
            yield str(task["data"]["key"]), rater if isinstance(rater, int) else str(rater or ""), given


def choice_of(given: Any) -> str | None:
    """A, B or tie of a text, or of a mapping of which one is true.

    >>> choice_of("a"), choice_of({"A": False, "tie": True}), choice_of({"A": True, "B": True}), choice_of(None)
    ('A', 'tie', None, None)
    """
    if isinstance(given, dict):
        marked = [name for name, value in given.items() if value is True]
        given = marked[0] if len(marked) == 1 else None
    return _CHOICES.get(given.strip().lower()) if isinstance(given, str) else None
