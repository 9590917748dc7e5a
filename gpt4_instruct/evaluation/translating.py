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
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import gpt4_instruct
from gpt4_instruct.errors import SourceError, UsageError
from gpt4_instruct.evaluation.answer_files import check_apart, is_ours
from gpt4_instruct.evaluation.answers import free_file, read_answers, summary_path, teacher_spec
from gpt4_instruct.evaluation.asking_again import ask_all, check_counts, check_writable, opened
from gpt4_instruct.evaluation.questions import read_questions
from gpt4_instruct.evaluation.translation_lines import Line, asks_of, translated, without_question
from gpt4_instruct.records import Reject, Sampling
from gpt4_instruct.storage import replacing, write_json
from gpt4_instruct.teachers.base import Teacher, connect

__all__ = ["TranslateResult", "translate"]


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
    engine: str = "local",
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
        engine: as `answers.answer`.

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
    check_apart(file, data, summary=True)
    free_file(file, overwrite=overwrite)
    lines = list(islice(_lines(data), limit))
    spec = teacher_spec(teacher) if isinstance(teacher, str) else teacher
    translator, sampling = connect(spec), Sampling(0.0, 1.0, max_tokens)
    check_writable(file, summary_path(file))
    counts: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    limits = (ledger, concurrency, requests_per_minute, tokens_per_minute, budget_usd, prices)
    with opened(*limits, engine, translator) as running:
        found = ask_all(
            running,
            translator,
            lines,
            lambda line: [ask for _, ask in asks_of(line, retries)],
            sampling,
            "translating",
            lambda line: str(line["instruction"]),
        )
        with replacing(file) as temporary:
            with temporary.open("w", encoding="utf-8") as content:
                for line, outcomes in zip(lines, found, strict=True):
                    places = [place for place, _ in asks_of(line, retries)]
                    found_line = translated(line, dict(zip(places, outcomes, strict=True)), counts, failed)
                    content.write(json.dumps(found_line, ensure_ascii=False) + "\n")
            result = TranslateResult(
                file=file,
                questions=counts["questions"],
                answers=counts["answers"],
                failed=dict(failed.most_common()),
                without_chinese=counts["without_chinese"],
                asked=running.asked,
                reused=running.reused,
                seconds=round(time.monotonic() - started, 1),
                cost_usd=None if running.spending.unpriced else round(running.spending.spent_usd, 6),
            )
            facts = {name: getattr(result, name) for name in TranslateResult.__dataclass_fields__ if name != "file"}
            who = {"spec": translator.spec, "endpoint": translator.endpoint, "model": translator.model}
            write_json(
                summary_path(file),
                {"package": gpt4_instruct.__version__, "translator": who, "sampling": sampling.parameters(), **facts},
            )
    return result


def _lines(data: Any) -> Iterator[Line]:
    """Lines of answers as they are, and questions as lines without answers."""
    if isinstance(data, str | Path) and _holds_answers(Path(data).expanduser()):
        yield from read_answers(data)
        return
    for each in read_questions(data)[1]:
        line: Line = {"id": each.id, "instruction": each.instruction, "input": each.input}
        if isinstance(each, Reject):
            yield without_question(line, each.reason, each.detail)
        else:
            more = {"category": each.category, "output": each.reference}  # as `read_questions` reads them
            yield line | {name: value for name, value in more.items() if value is not None}


def _holds_answers(path: Path) -> bool:
    try:
        return path.is_file() and is_ours(path)
    except SourceError:  # it may still hold questions, in another format or with a broken first row
        return False
