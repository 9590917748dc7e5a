"""A model's answers judged by another model against a baseline's: ``judgements.jsonl`` and its summary.

judge("answers.jsonl", "chatgpt.jsonl", "openai:gpt-4", "judgements.jsonl")

Every reply is in the ledger before it is read, and stands raw in the file. What cannot be read is asked again once;
if that does not help, the question is counted as failed and is not scored. The same call on a file with failures asks
for those only. Beside ``judgements.jsonl`` stands ``judgements.summary.json``: all that `judge_results.facts` computes.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal

from gpt4_instruct.errors import UsageError
from gpt4_instruct.evaluation.answer_files import check_apart, of_sample
from gpt4_instruct.evaluation.answers import teacher_spec
from gpt4_instruct.evaluation.asking_again import check_counts, opened
from gpt4_instruct.evaluation.judge_run import Group, JudgeResult, begin, estimate_all, judge_all
from gpt4_instruct.evaluation.judging import ONE_SIDE, Judging, Mode, Orders
from gpt4_instruct.evaluation.pairing import pair_up
from gpt4_instruct.records import Sampling
from gpt4_instruct.teachers.base import Teacher, connect

__all__ = ["check_options", "judge", "judging_of"]

_LANGUAGES = ("auto", "en", "zh")


def judge(
    answers: str | Path,
    baseline: str | Path | None,
    teacher: str | Teacher,
    out: str | Path,
    *,
    mode: Mode = "pairwise",
    orders: Orders = "both",
    language: Literal["auto", "en", "zh"] = "auto",
    questions: Any = None,
    references: str | Path | None = None,
    sample: int = 0,
    retries: int = 1,
    max_tokens: int = 512,
    limit: int | None = None,
    ledger: str | Path | None = None,
    concurrency: int | None = None,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    budget_usd: float | None = None,
    prices: str | Path | None = None,
    dry_run: bool = False,
    overwrite: bool = False,
    engine: str = "local",
) -> JudgeResult:
    """Has a teacher score a model's answers beside those of a baseline, from 1 to 10.

    The relative score is the paper's: 100 * sum of the model's scores / sum of the baseline's. A question's score is
    the mean over the orders in which its two answers were shown.

    Args:
        answers: a file of `answers.answer` or `ranking.rank`, of FastChat or of AlpacaEval.
        baseline: another one; none with ``mode="single"`` scores the answers alone.
        teacher: the judge, such as ``"openai:gpt-4"``; whatever `answers.answer` takes as a model.
        out: the file, ``.jsonl``; its folder is made if it is not there.
        mode: ``"pairwise"``: both answers in one request; ``"single"``: each answer in one of its own.
        orders: pairwise, ``"both"`` asks twice a question, with the sides swapped; ``"first"`` asks with the answer
            before the baseline only, as the paper did, and favours one side where the judge favours a place.
        language: of the judge's prompts and rubrics: ``"en"``, ``"zh"``, or ``"auto"`` by each question.
        questions: the questions, where neither file holds them (FastChat's); whatever `answers.answer` reads.
        references: a file of right answers to show to the judge, of the shapes of `answers`, found by a question's id,
            else by its text. They take the place of the references that `answers` holds: a question without one there
            is judged without any, and counted in ``references`` of the summary and in the warnings.
        sample: which of several answers to a question is judged, from 0. The baseline's is its first.
        retries: further attempts, in one run, where a reply cannot be read.
        max_tokens: most tokens in a reply. The scores come first: a long explanation may be cut off.
        limit: most questions; all by default.
        ledger, concurrency, requests_per_minute, tokens_per_minute, budget_usd, prices: as `answers.answer`.
        dry_run: count what would be asked and what it would cost, and send nothing.
        overwrite: write the file anew if it is there. It is not needed to ask again for what failed.
        engine: as `answers.answer`.

    Raises:
        UsageError: an argument cannot work, or `out` or its summary would take the place of a file that is read.
        SourceError: a file cannot be read, or the two sides, or they and the references, have no question in common.
        OutputError: the file cannot be written; `OutputExistsError` when it is there, of another comparison or whole.
        RunStoppedError, IncompleteError, BudgetError: as `answers.answer`; the same call goes on from there.
    """
    check_options(mode, orders, language, retries, max_tokens=max_tokens, limit=limit, concurrency=concurrency)
    if sample < 0:
        raise UsageError(f"sample is {sample}, but must be 0 or more")
    if baseline is None and mode == "pairwise":
        raise UsageError(ONE_SIDE)
    paired = pair_up(
        answers,
        baseline,
        of_sample(sample),
        of_sample(0),
        questions=questions,
        references=references,
        language=language,
        limit=limit,
    )
    judging = judging_of(teacher, max_tokens, mode, orders, retries)
    file = Path(out).expanduser()
    check_apart(file, answers, baseline, questions, references, summary=True)
    group = Group(file, paired)
    if dry_run:
        return estimate_all(judging, [group], ledger, prices, overwrite=overwrite)[0]
    started = time.monotonic()
    begin(judging, [group], overwrite=overwrite)
    limits = (ledger, concurrency, requests_per_minute, tokens_per_minute, budget_usd, prices)
    with opened(*limits, engine, judging.teacher) as running:
        (found,) = judge_all(running, judging, [group], started)
    return found


def check_options(mode: str, orders: str, language: str, retries: int, **counts: int | None) -> None:
    """Raises UsageError where an option is not one of its choices, or a number too small."""
    check_counts(**counts)
    for name, value, known in (
        ("mode", mode, ("pairwise", "single")),
        ("orders", orders, ("both", "first")),
        ("language", language, _LANGUAGES),
    ):
        if value not in known:
            raise UsageError(f"{name} is {value!r}, but must be one of {', '.join(known)}")
    if retries < 0:
        raise UsageError(f"retries is {retries}, but must be 0 or more")


def judging_of(teacher: str | Teacher, max_tokens: int, mode: Mode, orders: Orders, retries: int) -> Judging:
    """How a teacher is asked for scores: greedily at first, since the same answers should have the same scores."""
    spec = teacher_spec(teacher) if isinstance(teacher, str) else teacher
    return Judging(connect(spec), Sampling(0.0, 1.0, max_tokens), mode, orders, retries)
