"""What is to be translated of a line of questions or answers, how replies are read, and the line that it becomes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gpt4_instruct.evaluation.asking_again import Ask, Outcome
from gpt4_instruct.languages import chinese_share
from gpt4_instruct.prompts.judge import render_answer_translation
from gpt4_instruct.prompts.tasks import TRANSLATION_SCHEMA, read_translation, render_translation
from gpt4_instruct.records import Answer

__all__ = ["Line", "Place", "asks_of", "translated", "without_question"]

_CHINESE_SHARE = 0.5  # of a text's words: then it is Chinese, whatever names it quotes
# Replies that are of no use, by how they end.
_ENDS = {"length": "truncated", "content_filter": "withheld"}

Line = dict[str, Any]
Place = str | int  # of a text in its line: "task", "reference", or an answer's number
_Task = tuple[str, str]  # instruction and input


def asks_of(line: Mapping[str, Any], retries: int) -> list[tuple[Place, Ask[Any]]]:
    """What is to be translated of a line, with the place of each text: nothing that is empty, or Chinese already."""
    if "error" in line:
        return []
    found: list[tuple[Place, Ask[Any]]] = []
    task = (line["instruction"], line["input"])
    if not _is_chinese("\n".join(task)):
        found.append(("task", Ask(render_translation(*task), _task_reader(task), 1 + retries, TRANSLATION_SCHEMA)))
    texts: list[tuple[Place, str | None]] = [("reference", line.get(_reference(line)))]
    texts += [(place, each["text"]) for place, each in enumerate(line.get("answers", ()))]
    for place, text in texts:
        if text is not None and text.strip() and not _is_chinese(text):
            found.append((place, Ask(render_answer_translation(text), _read_answer, 1 + retries)))
    return found


def _reference(line: Mapping[str, Any]) -> str:
    """Where a line has its right answer."""
    return "reference" if "answers" in line else "output"


def _is_chinese(text: str) -> bool:
    return (chinese_share(text) or 0) >= _CHINESE_SHARE


def _task_reader(task: _Task) -> Any:
    def read(answer: Answer) -> tuple[_Task | None, str | None]:
        if answer.finish_reason in _ENDS:
            return None, _ENDS[answer.finish_reason]
        found = read_translation(answer.text)
        if found is None or bool(found[1].strip()) != bool(task[1].strip()):
            return None, "unreadable_translation"
        return (found, None) if chinese_share(found[0]) else (None, "wrong_language")

    return read


def _read_answer(answer: Answer) -> tuple[str | None, str | None]:
    if answer.finish_reason in _ENDS:
        return None, _ENDS[answer.finish_reason]
    text = answer.text.strip()
    return (text, None) if text else (None, "empty")


def translated(line: Line, outcomes: Mapping[Place, Outcome[Any]], counts: Counter[str], failed: Counter[str]) -> Line:
    """The line in Chinese; the English stays beside it. Adds to the counts, and to those of what failed."""
    if "error" in line:
        failed[line["error"]["reason"]] += 1
        return line
    failed.update(each.failure for each in outcomes.values() if each.failure)
    task = outcomes.get("task")
    if task is not None and task.failure:
        return without_question(line, task.failure, "the question was not translated")
    counts["questions"] += 1
    found = dict(line)
    if task is not None:
        found |= dict(zip(("instruction", "input"), task.value or (), strict=True))
        found["english"] = {"instruction": line["instruction"], "input": line["input"]}
        found["translation"] = _key(task)
    if "reference" in outcomes:
        found[_reference(line)] = outcomes["reference"].value  # none where it failed: an English one would mislead
    if "answers" in line:
        found["answers"] = [_answer(each, outcomes.get(place), counts) for place, each in enumerate(line["answers"])]
    return found


def _answer(answer: Mapping[str, Any], outcome: Outcome[Any] | None, counts: Counter[str]) -> Line:
    if outcome is None:  # it did not come, is empty, or is Chinese
        counts["answers"] += bool((answer["text"] or "").strip())
        return dict(answer)
    if outcome.failure:
        error = {"reason": outcome.failure, "detail": "the answer was not translated"}
        return {**answer, "text": None, "english": answer["text"], "error": error}
    counts["answers"] += 1
    counts["without_chinese"] += not chinese_share(str(outcome.value))
    return {**answer, "text": outcome.value, "english": answer["text"], "translation": _key(outcome)}


def _key(outcome: Outcome[Any]) -> str | None:
    answer = outcome.attempts[-1].answer
    return answer.request if answer else None


def without_question(line: Line, reason: str, detail: str) -> Line:
    """A line in the place of a question that is none, or was not translated: nobody will ask it in English."""
    error = {"reason": reason, "detail": detail}
    if "answers" in line:
        return {**line, "error": error, "answers": []}
    english = {"instruction": line["instruction"], "input": line["input"]}
    return {"id": line["id"], "error": error, "english": english}
