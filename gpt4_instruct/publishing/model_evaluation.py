"""What judges, people and ROUGE say of a tuned model, put beside it and onto its card.

    facts of judge, rate tally, rouge, rank ─▶ evaluation.json beside training.json ─▶ README.md: a table, `model-index`

Whose answers were judged is told by their file, and is compared with the folder: results of another model are not put
on this one's card.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.models import find_model
from gpt4_instruct.publishing.evaluation_results import MAKERS, Result, record_results
from gpt4_instruct.publishing.model_cards import write_model_card
from gpt4_instruct.run_facts import Facts, find_facts
from gpt4_instruct.training.runs import FACTS, facts_of

__all__ = ["EvaluationResult", "record_evaluation"]


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """What was put on a model's card.

    Attributes:
        card: the card's path.
        results: what is in ``evaluation.json``; see `evaluation_results.Result`.
        warnings: what to know of them, a line each: whose answers these are is not known, or the model changed.
        left_out: files that were named and are of another model, with whose they are.
    """

    card: Path
    results: list[Result]
    warnings: list[str]
    left_out: dict[str, str]


def record_evaluation(
    folder: str | Path, facts: str | Path | Sequence[str | Path], *, called: str | None = None
) -> EvaluationResult:
    """Puts results of an evaluation beside a tuned model, as ``evaluation.json``, and onto its card.

    Results that were recorded before are replaced: name all of them at once.

    Args:
        folder: the model's, as `train_sft` or `train_reward` wrote it.
        facts: files or folders with what `judge`, ``rate tally``, `rouge` or, for a reward model, `rank` wrote; the
            summaries of `answer` among them tell which questions were asked.
        called: what these files call the model, where that is not the folder's name: that under which a server knew it.

    Returns:
        what was recorded, and what was not.

    Raises:
        UsageError: the folder holds no tuned model, or the files hold nothing on it, but maybe on others.
        OutputError: a path is not there, or the folder cannot be written.
    """
    folder = Path(folder).expanduser()
    run = facts_of(folder)
    if run is None:
        raise UsageError(f"{folder} holds no model that gpt4-instruct train tuned (no {FACTS}): name its folder")
    found = find_facts([facts] if isinstance(facts, str | Path) else facts)
    names = {folder.resolve().name, *([called] if called else [])}
    answers = [each for each in found if each.kind == "answers"]
    results: list[Result] = []
    warnings: list[str] = []
    left_out: dict[str, str] = {}
    for each in found:
        if each.error is not None:
            warnings.append(f"{each.file.name} {each.error}")
        if each.kind not in MAKERS or (each.kind == "rank") != (run["kind"] == "reward"):
            continue
        summary = _summary(each, answers)
        whose, how = _whose(each, summary)
        if whose and _bare(whose) not in names:
            left_out[each.file.name] = whose
            continue
        if not whose:
            warnings.append(f"{each.file.name} does not say whose answers it is of: it was taken for this model's")
        elif how and how != (now := _identity(folder)):
            warnings.append(f"{each.file.name} is of {how}, but the model is {now}: its files changed since, or a copy")
        made: list[Result] = [
            {**result, "questions": summary.get("questions_from"), "file": each.file.name} for result in _made(each)
        ]
        if not made:
            warnings.append(f"{each.file.name} holds no result: nothing of it was judged")
        results += made
    if not results:
        others = "; ".join(f"{name} is of {whose}" for name, whose in left_out.items())
        why = f"{others}: name the one of {folder.name}, or say with --called what it is called there" if others else (
            "name what judge, rate tally or rouge wrote" if run["kind"] == "sft" else "name what rank wrote"
        )  # fmt: skip
        raise UsageError(f"nothing there measures {folder.name}: {why}")
    record_results(folder, results)
    return EvaluationResult(write_model_card(folder, run), results, warnings, left_out)


def _made(facts: Facts) -> list[Result]:
    try:
        return list(MAKERS[facts.kind](facts.content))
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise OutputError(f"{facts.file} is not as gpt4-instruct writes it: {type(error).__name__}, {error}") from error


def _summary(facts: Facts, answers: Sequence[Facts]) -> Mapping[str, Any]:
    """What `answer` said of the answers that a file is of; nothing where that is not there, or one of several."""
    side = facts.content.get("ours" if facts.kind == "tally" else "answers")
    name, model = (side.get("file"), side.get("model")) if isinstance(side, Mapping) else (side, None)
    file = Path(str(name or ""))
    found = [
        each.content
        for each in answers
        if each.file.name == f"{file.stem}.summary.json"
        and (not file.parent.name or each.file.parent.name == file.parent.name)
        and (not model or each.content["teacher"].get("spec") == model)
    ]
    return found[0] if len(found) == 1 else {}


def _whose(facts: Facts, summary: Mapping[str, Any]) -> tuple[str, str]:
    """Whose answers, or rewards, a file is of, and exactly which model that was; empty where it is not known."""
    if facts.kind == "rank":
        model = facts.content["reward_model"]
        return str(model["name"]), str(model["identity"])
    teacher, side = summary.get("teacher") or {}, facts.content.get("answers")
    whose = str((isinstance(side, Mapping) and side.get("model")) or teacher.get("spec") or "")
    return whose, str(teacher.get("model", "")) if whose.startswith("local:") else ""


def _bare(model: str) -> str:
    """A model's name without who runs it, and without the folders above it.

    >>> _bare("local:llama-gpt4"), _bare("openai:./runs/llama-gpt4/"), _bare("openai:gpt-4")
    ('llama-gpt4', 'llama-gpt4', 'gpt-4')
    """
    return model.removeprefix("local:").removeprefix("openai:").rstrip("/").rpartition("/")[2]


def _identity(folder: Path) -> str:
    return find_model(str(folder))[2]
