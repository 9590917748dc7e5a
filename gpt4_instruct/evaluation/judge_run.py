"""Judges comparisons, one or several by one engine, and writes ``judgements.jsonl`` and its summary for each."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gpt4_instruct
from gpt4_instruct.errors import OutputError, OutputExistsError
from gpt4_instruct.evaluation.answers import summary_path
from gpt4_instruct.evaluation.asking_again import REFUSED, Ask, ask_all, check_writable
from gpt4_instruct.evaluation.judge_estimate import JudgeEstimate, estimate
from gpt4_instruct.evaluation.judge_results import facts
from gpt4_instruct.evaluation.judging import Judging, identity, to_line
from gpt4_instruct.evaluation.pairing import Pair, Paired
from gpt4_instruct.generation.engine import Engine
from gpt4_instruct.generation.ledger import default_path
from gpt4_instruct.generation.pricing import load_prices
from gpt4_instruct.generation.shards import look_into
from gpt4_instruct.storage import replacing
from gpt4_instruct.teachers.base import Teacher

__all__ = ["Group", "JudgeResult", "begin", "estimate_all", "judge_all", "read_judgements"]


@dataclass(frozen=True, slots=True)
class JudgeResult:
    """What became of a comparison.

    Attributes:
        file: a line a question, see the top of `judging`. It is not there after a dry run.
        questions: that both sides answered.
        judged: of those, the ones that have scores.
        failed: the others, by reason: the keys of `judge_reading.REASONS`, and ``"request_refused"``.
        facts: all that was found, as in the summary; empty after a dry run.
        warnings: what to know before trusting the result, a line each.
        asked: requests sent and answered by this run.
        reused: requests answered from the ledger.
        seconds: how long it took.
        cost_usd: what this run spent; none where the price of the judge is not known.
        estimate: after a dry run, what would be asked and cost.
        model: whose answers are judged, as their file says; empty where it does not.
    """

    file: Path
    questions: int
    judged: int
    failed: dict[str, int]
    facts: dict[str, Any]
    warnings: tuple[str, ...]
    asked: int = 0
    reused: int = 0
    seconds: float = 0.0
    cost_usd: float | None = 0.0
    estimate: JudgeEstimate | None = None
    model: str = ""


@dataclass
class Group:
    """A comparison: where it is written, and what is compared.

    Attributes:
        file: the file of judgements.
        paired: the questions, and what was found when the sides were brought together.
        earlier: replies that earlier runs could not read, by the question's id, a number for each of its requests.
        identity: see `judging.identity`.
    """

    file: Path
    paired: Paired
    earlier: Mapping[str, Sequence[int]] | None = None
    identity: str = ""


def begin(judging: Judging, groups: Sequence[Group], *, overwrite: bool, summary: Path | None = None) -> None:
    """Looks at what is there already: failures of the same comparison are to be asked again, anything else stays.

    Args:
        judging: how the judge is asked.
        groups: what is to be judged; gets its identity and what failed earlier.
        overwrite: write the files anew.
        summary: one more file that is there when all is done.

    Raises:
        OutputExistsError: a file or its summary is of another comparison, or all is there and nothing failed.
        OutputError: a file is a folder, or cannot be written.
    """
    unfinished = summary is not None and not summary.exists()
    for group in groups:
        group.identity = identity(judging, group.paired.pairs)
        if group.file.is_dir():
            raise OutputError(f"{group.file} is a folder: name a file, such as {group.file / 'judgements.jsonl'}")
        check_writable(group.file, summary_path(group.file))
        if not overwrite:
            group.earlier = _failures(group.file, group.identity)
            beside = summary_path(group.file)  # alone, it is of this comparison where the same run was stopped
            if group.earlier is None and (
                group.file.exists() or (beside.exists() and _identity(group.file) != group.identity)
            ):
                there = group.file if group.file.exists() else beside
                raise OutputExistsError(
                    f"{there} is there already, and of another comparison: --overwrite writes it anew, --out names "
                    "another"
                )
        unfinished = unfinished or group.earlier is None or bool(group.earlier)
    if not unfinished:
        raise OutputExistsError(
            f"{groups[0].file} is there already, and nothing in it failed: --overwrite writes it anew, --out names "
            "another"
        )


def _identity(file: Path) -> Any:
    """What the summary beside a file of judgements says of which comparison it is; none where it does not."""
    try:
        return json.loads(summary_path(file).read_text(encoding="utf-8"))["identity"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _failures(file: Path, identity: str) -> dict[str, list[int]] | None:
    """For each question that failed, how many replies to each of its requests could not be read.

    None where the file is not there, is of another comparison, or is none.
    """
    try:
        lines = read_judgements(file) if _identity(file) == identity else None
    except OutputError:
        lines = None
    return (
        None
        if lines is None
        else {
            line["id"]: [
                sum(reply["failure"] not in (None, REFUSED) for reply in order["replies"]) if order["failure"] else 0
                for order in line["orders"]
            ]
            for line in lines
            if line["failure"]
        }
    )


def judge_all(
    engine: Engine, judging: Judging, groups: Sequence[Group], started: float, summary: Path | None = None
) -> list[JudgeResult]:
    """Judges all groups in one go, so that what they share is asked once, and writes their files and summaries.

    Args:
        engine: of this run.
        judging: how the judge is asked.
        groups: as `begin` left them.
        started: when the run began, by `time.monotonic`.
        summary: a file that tells of all groups. An old one goes before the first group is written.

    Raises:
        Gpt4InstructError: as `judge.judge`.
    """
    tasks = [(pair, _earlier(group, pair)) for group in groups for pair in group.paired.pairs]
    outcomes = iter(
        ask_all(
            engine,
            judging.teacher,
            tasks,
            lambda task: judging.asks(*task),
            judging.sampling,
            "judging",
            lambda task: task[0].question,
        )
    )
    results = []
    if summary is not None:
        summary.unlink(missing_ok=True)
    for group in groups:
        lines = [to_line(judging, pair, next(outcomes)) for pair in group.paired.pairs]
        found = facts(lines)
        result = JudgeResult(
            file=group.file,
            questions=len(lines),
            judged=found["judged"],
            failed=found["failures"],
            facts=found,
            warnings=(*group.paired.warnings, *_doubts(judging, found)),
            asked=engine.asked,
            reused=engine.reused,
            seconds=round(time.monotonic() - started, 1),
            cost_usd=None if engine.spending.unpriced else round(engine.spending.spent_usd, 6),
            model=group.paired.facts["answers"]["model"],
        )
        # What all groups together asked and cost is told of no single one.
        run = {} if len(groups) > 1 else {name: getattr(result, name) for name in _OF_A_RUN}
        _write(group, lines, _summary(judging, group, result) | run)
        results.append(result)
    return results


_OF_A_RUN = ("asked", "reused", "seconds", "cost_usd")


def _write(group: Group, lines: Sequence[Mapping[str, Any]], summary: Mapping[str, Any]) -> None:
    """The summary takes its place first: a file without it would be taken for another comparison's."""
    with replacing(group.file) as temporary:
        with temporary.open("w", encoding="utf-8") as content:
            content.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        with replacing(summary_path(group.file)) as beside:
            beside.write_text(json.dumps(summary, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
            if group.earlier is None:  # never, wherever this ends, another comparison's file beside this summary
                group.file.unlink(missing_ok=True)


def _summary(judging: Judging, group: Group, result: JudgeResult) -> dict[str, Any]:
    return {
        "package": gpt4_instruct.__version__,
        "identity": group.identity,
        "mode": judging.mode,
        "orders": judging.orders if judging.mode == "pairwise" else None,
        "teacher": _who(judging.teacher),
        "sampling": judging.sampling.parameters(),
        "retries": judging.retries,
        **group.paired.facts,
        "warnings": list(result.warnings),
        **result.facts,
    }


def _asks(judging: Judging, group: Group, pair: Pair) -> list[Ask[tuple[float, ...]]]:
    return judging.asks(pair, _earlier(group, pair))


def _earlier(group: Group, pair: Pair) -> Sequence[int]:
    return (group.earlier or {}).get(pair.id, ())


def _doubts(judging: Judging, found: Mapping[str, Any]) -> list[str]:
    """What the verdicts themselves say against the result."""
    warnings = []
    if judging.mode == "pairwise" and judging.orders == "first":
        warnings.append(
            "judged in one order only: if the judge favours the answer that comes first, the scores do, too"
        )
    failed = found["questions"] - found["judged"]
    if failed:
        reasons = ", ".join(f"{count} {reason}" for reason, count in found["failures"].items())
        warnings.append(
            f"{failed} of {found['questions']} questions have no scores ({reasons}) and do not count: run the same "
            "command again to ask for them only"
        )
    return warnings


def _who(teacher: Teacher) -> dict[str, str]:
    return {"spec": teacher.spec, "endpoint": teacher.endpoint, "model": teacher.model}


def estimate_all(
    judging: Judging,
    groups: Sequence[Group],
    ledger: str | Path | None,
    prices: str | Path | None,
    *,
    overwrite: bool,
) -> list[JudgeResult]:
    """What all groups together would ask and cost, as the estimate of each; nothing is sent or written."""
    path = Path(ledger).expanduser() if ledger else default_path()
    opened = look_into(path)
    for group in groups:  # what failed there would be asked again
        group.earlier = None if overwrite else _failures(group.file, identity(judging, group.paired.pairs))
    try:
        every = (ask for group in groups for pair in group.paired.pairs for ask in _asks(judging, group, pair))
        found = estimate(judging.teacher, every, judging.sampling, opened, load_prices(prices))
    finally:
        if opened is not None:
            opened.close()
    return [
        JudgeResult(group.file, len(group.paired.pairs), 0, {}, {}, tuple(group.paired.warnings), estimate=found)
        for group in groups
    ]


def read_judgements(file: str | Path) -> list[dict[str, Any]]:
    """The lines of a file of judgements, see the top of `judging`.

    Raises:
        OutputError: it cannot be read, or is another kind of file.
    """
    path = Path(file).expanduser()
    try:
        with path.open(encoding="utf-8") as lines:  # not str.splitlines: replies may hold other ends of lines
            found = [json.loads(line) for line in lines]
        if all(isinstance(line["id"], str) and isinstance(line["orders"], list) for line in found):
            return found
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise OutputError(f"{path} is no file of judgements: gpt4-instruct judge writes one")
