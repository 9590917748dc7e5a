"""The results in facts of an evaluation, each as one line of a card: what was measured, by whom, against whom."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import gpt4_instruct
from gpt4_instruct.errors import OutputError
from gpt4_instruct.publishing.origins import origin_of
from gpt4_instruct.publishing.run_evaluation import between, count
from gpt4_instruct.storage import read_json, sha256, write_json
from gpt4_instruct.training.runs import FACTS

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

__all__ = [
    "EVALUATION",
    "MAKERS",
    "Result",
    "eval_results",
    "evaluation_of",
    "forget_evaluation",
    "record_results",
    "results_table",
]

EVALUATION = "evaluation.json"


class Result(TypedDict, total=False):
    """One number and how it came about.

    Attributes:
        metric: its name for machines, as ``"relative_score"``.
        name: what it is called.
        value: in `unit`.
        unit: ``"%"`` or nothing.
        low, high: of its interval; none where there are too few questions for one.
        level: of the interval.
        n: how many questions, votes or pairs it is of.
        against: the baseline; empty where there is none.
        by: who measured: a judge, people, ROUGE's tokenizer.
        questions: where they are from, as `answer` names it; none where that is not known.
        file: the facts.
    """

    metric: str
    name: str
    value: float
    unit: str
    low: float | None
    high: float | None
    level: float | None
    n: int
    against: str
    by: str
    questions: str | None
    file: str


def evaluation_of(folder: Path) -> list[Result]:
    """What `model_evaluation.record_evaluation` put beside a model; nothing where another run was evaluated.

    Args:
        folder: the model's.

    Raises:
        OutputError: its ``training.json`` cannot be read.
    """
    found = _evaluation(folder / EVALUATION)
    if found is None or not (folder / FACTS).is_file() or found["training"] != sha256(folder / FACTS):
        return []
    return list(found["results"])


def _evaluation(file: Path) -> dict[str, Any] | None:
    """The content of an evaluation.json of ours; others may have a file of that name, too."""
    try:
        found = read_json(file)
    except OutputError:
        return None
    return found if isinstance(found, dict) and isinstance(found.get("results"), list) and "training" in found else None


def record_results(folder: Path, results: Sequence[Result]) -> None:
    """Writes results into a model's folder, with the run that they are of.

    Raises:
        OutputError: they cannot be written.
    """
    content = {"package": gpt4_instruct.__version__, "training": sha256(folder / FACTS), "results": list(results)}
    write_json(folder / EVALUATION, content)


def forget_evaluation(folder: Path) -> None:
    """Removes the results of an earlier run from a model's folder."""
    if _evaluation(folder / EVALUATION) is not None:
        (folder / EVALUATION).unlink()


def results_table(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """The rows of a card's table: what, its value and interval, n, the questions, against whom, by whom."""
    return [
        (each["name"], _value(each), _interval(each) or "-", count(each["n"]), _questions(each), each["against"] or "-",
         each["by"])
        for each in results
    ]  # fmt: skip


def eval_results(results: Sequence[Result], task: str) -> list[EvalResult]:
    """The same for the ``model-index`` of a card's metadata."""
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type=task,
            dataset_type=origin_of(each["questions"] or "").hub or "questions",
            dataset_name=_questions(each),
            metric_type=each["metric"],
            metric_name=_described(each),
            metric_value=round(each["value"], 4),
        )
        for each in results
        if math.isfinite(each["value"])
    ]


def _described(each: Result) -> str:
    against = f" against {each['against']}" if each["against"] else ""
    interval = _interval(each)
    told = f"{each['level'] or 0.95:.0%} interval {interval}; " if interval else ""
    return f"{each['name']}{' in %' if each['unit'] else ''}{against}, by {each['by']} ({told}n = {each['n']:,})"


def _value(each: Result) -> str:
    return f"{each['value']:.1f} %" if each["unit"] else f"{each['value']:.3f}"


def _interval(each: Result) -> str:
    found = between({"low": each["low"], "high": each["high"]}, 1 if each["unit"] else 3)
    return "" if found == "-" else found


def _questions(each: Result) -> str:
    return origin_of(each["questions"]).shown if each["questions"] else f"those of {each['file']}"


# --- from the facts -------------------------------------------------------------------------------------------------


def _result(metric: str, name: str, value: float, bounds: Mapping[str, Any] | None, n: int, *, by: str,
            against: str = "", unit: str = "") -> Result:  # fmt: skip
    low, high, level = (None if bounds is None else bounds.get(key) for key in ("low", "high", "level"))
    return Result(
        metric=metric, name=name, value=value, unit=unit, low=low, high=high, level=level, n=n, against=against, by=by
    )


def _judge(facts: Mapping[str, Any]) -> Iterator[Result]:
    by, against = _judged_by(facts), _side(facts.get("baseline"))
    yield from _scores(facts, facts["judged"], by, against)
    mean = facts.get("mean_score")
    if mean:
        yield _result("mean_score", "mean score, 1 to 10", mean["mean"], mean, facts["judged"], by=by)


def _scores(found: Mapping[str, Any], judged: int, by: str, against: str, of: str = "") -> Iterator[Result]:
    score, outcomes = found.get("relative_score"), found.get("outcomes")
    given: Any = {"by": by, "against": against, "unit": "%"}
    if score:
        yield _result("relative_score", f"relative score{of}", score["percent"], score, judged, **given)
    if outcomes:
        yield _result("win_rate", f"win rate{of}", outcomes["win_rate"], outcomes["interval"], judged, **given)


def _groups(facts: Mapping[str, Any]) -> Iterator[Result]:
    for name, each in facts["groups"].items():
        of = ", answers that were not ranked" if name == "B" else f", answers of rank {name} by reward"
        yield from _scores(each, each["judged"], _judged_by(facts), _side(facts.get("baseline")), of)


def _tally(facts: Mapping[str, Any]) -> Iterator[Result]:
    people = len(facts["raters"])
    by = f"{people:,} {'person' if people == 1 else 'people'}"
    for criterion, found in facts["criteria"].items():
        share = found["ours"]["share"]
        if share is not None:
            bounds = {key: None if found["ours"][key] is None else 100 * found["ours"][key] for key in ("low", "high")}
            bounds["level"] = facts.get("level")
            yield _result(
                "human_preference", f"votes for it, {criterion}", 100 * share, bounds, found["n"], by=by,
                against=_side(facts["baseline"]), unit="%",
            )  # fmt: skip


def _rouge(facts: Mapping[str, Any]) -> Iterator[Result]:
    whole = facts["buckets"][-1]  # of all lengths
    by = f"reference answers (tokens: {facts['tokenizer']}{', stemmed' if facts['stemmer'] else ''})"
    for metric, name in (("rouge1", "ROUGE-1"), ("rouge2", "ROUGE-2"), ("rougeL", "ROUGE-L")):
        bounds = {**whole[metric], "level": facts["level"]}
        yield _result(metric, f"{name} (F1)", facts[metric], bounds, facts["n"], by=by)


def _rank(facts: Mapping[str, Any]) -> Iterator[Result]:
    for k, reward in facts["best_of"].items():
        yield _result("mean_reward", f"mean reward of the best of {k}", reward, None, facts["compared"], by="itself")


MAKERS: dict[str, Callable[[Mapping[str, Any]], Iterator[Result]]] = {
    "judge": _judge,
    "groups": _groups,
    "tally": _tally,
    "rouge": _rouge,
    "rank": _rank,
}


def _side(value: Any) -> str:
    """The name of a side, without folders of anybody's: of its model where that is known, else of its file."""
    if isinstance(value, Mapping):
        value = value.get("model") or value.get("file")
    text = str(value or "")
    who, colon, name = text.partition(":") if ":" in text else ("", "", text)
    if name.startswith(("/", ".", "~")) or name.endswith(".jsonl"):
        name = Path(name).name
    return f"{who}{colon}{name.removesuffix('.jsonl')}"


def _judged_by(facts: Mapping[str, Any]) -> str:
    teacher = facts["teacher"]
    return _side(teacher["spec"] if isinstance(teacher, Mapping) else teacher)
