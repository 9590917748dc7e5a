"""Questions and answers put into Chinese by a teacher, for the paper's comparisons in Chinese.

The ids stay, so that what is made here is compared by `judge` as it is (A: a model's answers, B: GPT-4's):

1. ``translate(A)`` against GPT-4's answers to ``translate(questions)``: translated answers, generated baseline
2. ``translate(A)`` against ``translate(B)``: both translated
3. a model's answers to ``translate(questions)`` against ``translate(B)``: Chinese questions

A question of the same text is translated by the same request, and so to the same words, in all of them. What is Chinese
already stays as it is. A line of questions, to be answered, and one of answers, to be judged or ranked::

    {"id": "1", "instruction": "我怎样才能睡得更好？", "input": "", "category": "generic",
     "english": {"instruction": "How can I sleep better?", "input": ""}, "translation": "1c5e..."}
    {"id": "1", "instruction": "我怎样才能睡得更好？", ...,
     "answers": [{"sample": 0, "text": "早点睡。", "english": "Go to bed early.", "translation": "9f2c...", ...}]}
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import gpt4_instruct
from gpt4_instruct.errors import OutputError, OutputExistsError, UsageError
from gpt4_instruct.evaluation.answer_files import is_ours
from gpt4_instruct.evaluation.answers import read_answers, summary_path, teacher_spec
from gpt4_instruct.evaluation.asking_again import Ask, Outcome, ask_all, check_counts, opened
from gpt4_instruct.evaluation.questions import read_questions
from gpt4_instruct.judge_prompts import render_answer_translation
from gpt4_instruct.languages import chinese_share
from gpt4_instruct.prompts import TRANSLATION_SCHEMA, read_translation, render_translation
from gpt4_instruct.records import Answer, Reject, Sampling
from gpt4_instruct.storage import replacing, write_json
from gpt4_instruct.teachers.base import Teacher, connect

__all__ = ["TranslateResult", "translate"]

_CHINESE_SHARE = 0.5  # of a text's words: then it is Chinese, whatever names it quotes

_Task = tuple[str, str]  # instruction and input
_Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TranslateResult:
    """What was translated.

    Attributes:
        file: a line a question, see the top of `translating`.
        questions: that are in Chinese now.
        answers: likewise; 0 where the file was of questions.
        failed: texts that were not translated, by reason; their lines and answers have an ``error``.
        without_chinese: translated answers without a Chinese character: rightly so, where they are code or numbers.
        asked: requests sent and answered by this run.
        reused: requests answered from the ledger.
        seconds: how long it took.
        cost_usd: what this run spent; none where the price of the model is not known.
    """

    file: Path
    questions: int
    answers: int
    failed: dict[str, int]
    without_chinese: int
    asked: int
    reused: int
    seconds: float
    cost_usd: float | None


def translate(
    data: Any,
    teacher: str | Teacher,
    out: str | Path,
    *,
    retries: int = 1,
    max_tokens: int = 2048,
    limit: int | None = None,
    ledger: str | Path | None = None,
    concurrency: int | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    budget_usd: float | None = None,
    prices: str | Path | None = None,
    overwrite: bool = False,
) -> TranslateResult:
    """Has a teacher translate questions, or answers with their questions, into Chinese.

    Replies are kept in the ledger as they come: stopped at any moment, the same call goes on where it was.

    Args:
        data: a file of `answers.answer` or `ranking.rank`; or questions, as `answers.answer` takes them. References are
            translated, too; rewards and ranks stay.
        teacher: who translates, such as ``"openai:gpt-4"``.
        out: the file, ``.jsonl``; its folder is made if it is not there.
        retries: further attempts where a reply is cut off or holds no translation. A later call with more of them, and
            `overwrite`, asks only for what failed.
        max_tokens: most tokens in a translation, which takes more of them than the English does.
        limit: most lines; all by default.
        ledger, concurrency, requests_per_minute, tokens_per_minute, budget_usd, prices: as `answers.answer`.
        overwrite: write the file anew if it is there.

    Raises:
        UsageError: an argument cannot work.
        SourceError: the data cannot be read, or holds no question.
        OutputError: the file cannot be written; `OutputExistsError` when it is there already.
        RunStoppedError, IncompleteError, BudgetError: as `answers.answer`.
    """
    started = time.monotonic()
    check_counts(max_tokens=max_tokens, limit=limit, concurrency=concurrency)
    if retries < 0:
        raise UsageError(f"retries is {retries}, but must be 0 or more")
    file = Path(out).expanduser()
    if file.is_dir():
        raise OutputError(f"{file} is a folder: name a file, such as {file / 'chinese.jsonl'}")
    if file.exists() and not overwrite:
        raise OutputExistsError(f"{file} is there already: --overwrite writes it anew, --out names another")
    lines = list(islice(_lines(data), limit))
    spec = teacher_spec(teacher) if isinstance(teacher, str) else teacher
    translator, sampling = connect(spec), Sampling(0.0, 1.0, max_tokens)
    counts: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    with opened(ledger, concurrency, requests_per_minute, tokens_per_minute, budget_usd, prices) as engine:
        found = ask_all(
            engine,
            translator,
            lines,
            lambda line: [ask for _, ask in _asks(line, retries)],
            sampling,
            "translating",
        )
        with replacing(file) as temporary, temporary.open("w", encoding="utf-8") as content:
            for line, outcomes in zip(lines, found, strict=True):
                places = [place for place, _ in _asks(line, retries)]
                translated = _translated(line, dict(zip(places, outcomes, strict=True)), counts, failed)
                content.write(json.dumps(translated, ensure_ascii=False) + "\n")
        result = TranslateResult(
            file=file,
            questions=counts["questions"],
            answers=counts["answers"],
            failed=dict(failed.most_common()),
            without_chinese=counts["without_chinese"],
            asked=engine.asked,
            reused=engine.reused,
            seconds=round(time.monotonic() - started, 1),
            cost_usd=None if engine.spending.unpriced else round(engine.spending.spent_usd, 6),
        )
        write_json(
            summary_path(file),
            {
                "package": gpt4_instruct.__version__,
                "translator": {
                    "spec": translator.spec,
                    "endpoint": translator.endpoint,
                    "model": translator.model,
                },
                "sampling": sampling.parameters(),
                **{name: getattr(result, name) for name in TranslateResult.__dataclass_fields__ if name != "file"},
            },
        )
    return result


def _lines(data: Any) -> Iterator[_Line]:
    """Lines of answers as they are, and questions as lines without answers."""
    path = Path(data).expanduser() if isinstance(data, str | Path) else None
    if path is not None and path.is_file() and path.suffix in {".jsonl", ".json"} and is_ours(path):
        yield from read_answers(path)
        return
    for each in read_questions(data)[1]:
        line: _Line = {"id": each.id, "instruction": each.instruction, "input": each.input}
        if isinstance(each, Reject):
            yield _without_question(line, each.reason, each.detail)
        else:
            more = {"category": each.category, "output": each.reference}  # as `read_questions` reads them
            yield line | {name: value for name, value in more.items() if value is not None}


def _without_question(line: _Line, reason: str, detail: str) -> _Line:
    """A line in the place of a question that is none, or was not translated: nobody will ask it in English."""
    error = {"reason": reason, "detail": detail}
    if "answers" in line:
        return {**line, "error": error, "answers": []}
    english = {"instruction": line["instruction"], "input": line["input"]}
    return {"id": line["id"], "error": error, "english": english}


# --- asking ---------------------------------------------------------------------------------------------------------


def _asks(line: Mapping[str, Any], retries: int) -> list[tuple[str | int, Ask[Any]]]:
    """What is to be translated of a line: ``"task"``, ``"reference"``, and answers by their places."""
    if "error" in line:
        return []
    found: list[tuple[str | int, Ask[Any]]] = []
    task = (line["instruction"], line["input"])
    if not _is_chinese("\n".join(task)):
        found.append(("task", Ask(render_translation(*task), _task_reader(task), 1 + retries, TRANSLATION_SCHEMA)))
    texts: list[tuple[str | int, str | None]] = [("reference", line.get(_reference(line)))]
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
        if answer.finish_reason in {"length", "content_filter"}:
            return None, _ENDS[answer.finish_reason]
        found = read_translation(answer.text)
        if found is None or bool(found[1].strip()) != bool(task[1].strip()):
            return None, "unreadable_translation"
        return (found, None) if chinese_share(found[0]) else (None, "wrong_language")

    return read


_ENDS = {"length": "truncated", "content_filter": "withheld"}


def _read_answer(answer: Answer) -> tuple[str | None, str | None]:
    if answer.finish_reason in _ENDS:
        return None, _ENDS[answer.finish_reason]
    text = answer.text.strip()
    return (text, None) if text else (None, "empty")


# --- the line -------------------------------------------------------------------------------------------------------


def _translated(
    line: _Line, outcomes: Mapping[str | int, Outcome[Any]], counts: Counter[str], failed: Counter[str]
) -> _Line:
    if "error" in line:
        failed[line["error"]["reason"]] += 1
        return line
    failed.update(each.failure for each in outcomes.values() if each.failure)
    task = outcomes.get("task")
    if task is not None and task.failure:
        return _without_question(line, task.failure, "the question was not translated")
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


def _answer(answer: Mapping[str, Any], outcome: Outcome[Any] | None, counts: Counter[str]) -> _Line:
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
