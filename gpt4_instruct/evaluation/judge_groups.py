"""Ranked answers judged by their rank, as in the paper's figure 4 (c) and (d): does a reward model know what is good?

Group 1 is each question's best answer by the reward model, group 2 its second best, and so on; group B is the first
answer that was drawn, without ranking. Each is compared with the same baseline. A folder of::

    group-1.jsonl  group-1.summary.json  ...  group-B.jsonl  group-B.summary.json     see `judge`
    groups.summary.json                   the numbers of all groups: {"groups": {"1": {"relative_score": ...}, ...}},
                                          and what they asked and cost together
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import gpt4_instruct
from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.evaluation.answer_files import Pick, check_apart, of_sample
from gpt4_instruct.evaluation.answers import read_answers
from gpt4_instruct.evaluation.asking_again import opened
from gpt4_instruct.evaluation.judge import check_options, judging_of
from gpt4_instruct.evaluation.judge_estimate import JudgeEstimate
from gpt4_instruct.evaluation.judge_results import low_baselines
from gpt4_instruct.evaluation.judge_run import Group, JudgeResult, begin, estimate_all, judge_all
from gpt4_instruct.evaluation.judging import Mode, Orders
from gpt4_instruct.evaluation.pairing import pair_up
from gpt4_instruct.evaluation.ranking import of_rank
from gpt4_instruct.storage import write_json
from gpt4_instruct.teachers.base import Teacher

__all__ = ["GroupsResult", "judge_groups"]

_SUMMARY = "groups.summary.json"
_UNRANKED = "B"


@dataclass(frozen=True, slots=True)
class GroupsResult:
    """What became of all groups.

    Attributes:
        folder: what was written, see the top of the file; it is not there after a dry run.
        groups: each group's result, by its name: ``"1"`` for the best answers, ..., ``"B"`` for unranked ones.
        warnings: what to know before trusting the results, a line each; those of one group begin with its name.
        asked: requests sent and answered by this run, for all groups.
        reused: requests answered from the ledger, or by another group's.
        seconds: how long it took.
        cost_usd: what this run spent; none where the price of the judge is not known.
        estimate: after a dry run, what all groups together would cost.
    """

    folder: Path
    groups: dict[str, JudgeResult]
    warnings: tuple[str, ...] = ()
    asked: int = 0
    reused: int = 0
    seconds: float = 0.0
    cost_usd: float | None = 0.0
    estimate: JudgeEstimate | None = None


def judge_groups(
    ranked: str | Path,
    baseline: str | Path,
    teacher: str | Teacher,
    out: str | Path,
    *,
    mode: Mode = "pairwise",
    orders: Orders = "both",
    language: Literal["auto", "en", "zh"] = "auto",
    references: str | Path | None = None,
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
) -> GroupsResult:
    """Has a teacher score the answers of each rank beside those of a baseline.

    All groups are asked together: the first answer that was drawn is also of some rank, and its verdict serves both.

    Args:
        ranked: what `ranking.rank` wrote.
        baseline: a file of answers, as `judge` takes it.
        teacher: the judge.
        out: the folder; it is made if it is not there.
        mode, orders, language, references, retries, max_tokens, limit: as `judge.judge`.
        ledger, concurrency, requests_per_minute, tokens_per_minute, budget_usd, prices, dry_run, overwrite: likewise.
        engine: as `answers.answer`.

    Raises:
        UsageError: the answers are not ranked, or an argument cannot work. All others: as `judge.judge`.
    """
    started = time.monotonic()
    check_options(mode, orders, language, retries, max_tokens=max_tokens, limit=limit, concurrency=concurrency)
    folder = Path(out).expanduser()
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: name a folder for the groups")
    pair = partial(
        pair_up, ranked, baseline, pick_baseline=of_sample(0), references=references, language=language, limit=limit
    )
    picks: dict[str, Pick] = {str(place): partial(_of_rank, place=place) for place in range(1, _ranks(ranked) + 1)}
    groups = {
        name: Group(folder / f"group-{name}.jsonl", pair(pick=pick))
        for name, pick in {**picks, _UNRANKED: of_sample(0)}.items()
    }
    judging = judging_of(teacher, max_tokens, mode, orders, retries)
    every = list(groups.values())
    for file in (folder / _SUMMARY, *(group.file for group in every)):
        check_apart(file, ranked, baseline, references, summary=file.suffix == ".jsonl")
    if dry_run:
        counted = dict(zip(groups, estimate_all(judging, every, ledger, prices, overwrite=overwrite), strict=True))
        return GroupsResult(folder, counted, estimate=counted[_UNRANKED].estimate)
    begin(judging, every, overwrite=overwrite, summary=folder / _SUMMARY)
    limits = (ledger, concurrency, requests_per_minute, tokens_per_minute, budget_usd, prices)
    with opened(*limits, engine, judging.teacher) as running:
        found = dict(zip(groups, judge_all(running, judging, every, started, folder / _SUMMARY), strict=True))
    last = found[_UNRANKED]
    result = GroupsResult(folder, found, _warnings(found), last.asked, last.reused, last.seconds, last.cost_usd)
    write_json(
        folder / _SUMMARY,
        {
            "package": gpt4_instruct.__version__,
            "teacher": judging.teacher.spec,
            "answers": Path(ranked).name,
            "baseline": Path(baseline).name,
            "groups": {
                name: {"questions": each.questions, "judged": each.judged, "failed": each.failed, **_numbers(each)}
                for name, each in found.items()
            },
            **{name: getattr(result, name) for name in ("warnings", "asked", "reused", "seconds", "cost_usd")},
        },
    )
    return result


def _warnings(groups: Mapping[str, JudgeResult]) -> tuple[str, ...]:
    """Those of each group, and of groups in which the baseline's sum tells that questions are missing."""
    own = [f"group {name}: {warning}" for name, each in groups.items() for warning in each.warnings]
    relative = {name: each.facts.get("relative_score") for name, each in groups.items()}
    low = low_baselines({f"group {name}": each["baseline_sum"] for name, each in relative.items() if each})
    return (*own, *low.values())


def _numbers(result: JudgeResult) -> dict[str, Any]:
    return {name: result.facts.get(name) for name in ("relative_score", "outcomes", "position", "length_bias")}


def _of_rank(answers: Sequence[Mapping[str, Any]], place: int) -> Mapping[str, Any] | None:
    return of_rank(answers, place)


def _ranks(ranked: str | Path) -> int:
    """How many ranks there are."""
    lines = [line["answers"] for line in read_answers(ranked)]
    if not all("rank" in each for answers in lines for each in answers):
        raise UsageError(f"{ranked} holds answers without ranks: gpt4-instruct rank gives them some")
    count = max((sum(each["rank"] is not None for each in answers) for answers in lines), default=0)
    if not count:
        raise UsageError(f"{ranked} holds no ranked answer: gpt4-instruct rank writes a file of them")
    return count
