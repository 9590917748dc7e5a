"""A run's own numbers in the shape of the paper's, from whatever facts its folder holds: judged answers, votes, ROUGE,
statistics. See `paper` for the shape; which file is what is told by its content (`run_facts`).

Beside the paper's sections there are ``intervals``, under the same keys; ``other``, judged answers of no comparison
that the paper makes; ``lengths`` of answers; ``read`` and ``unread``, the files.

Of which comparison judged answers are is told by the file's name where it holds a comparison's, such as
``translated_answers_vs_gpt4_generated.summary.json``; else by the baseline's name, which begins like the paper's.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import OutputError
from gpt4_instruct.evaluation.paper_beside import GROUPS, family
from gpt4_instruct.run_facts import Facts, find_facts

__all__ = ["read_mine"]

_KINDS = ("judge", "groups", "tally", "rouge", "statistics")
_BASELINES = {"GPT-4": "vs_gpt4", "ChatGPT": "vs_chatgpt"}


def read_mine(folder: Path) -> dict[str, Any]:
    """Reads what a folder holds of a run.

    Args:
        folder: of a run, or a single file of facts.

    Raises:
        OutputError: it is not there, or holds none of `_KINDS` that can be read.
    """
    mine: dict[str, Any] = {"intervals": {}, "read": [], "unread": []}
    for facts in find_facts([folder]):
        shown = str(facts.file.relative_to(folder)) if folder.is_dir() else facts.file.name
        if facts.error is not None:
            mine["unread"].append({"file": shown, "why": facts.error})
        elif facts.kind in _KINDS:
            try:
                told = {
                    "judge": _judge,
                    "groups": _groups,
                    "tally": _tally,
                    "rouge": _rouge,
                    "statistics": _statistics,
                }[facts.kind](mine, facts)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                why = f"is not as gpt4-instruct writes it: {type(error).__name__}, {error}"
                mine["unread"].append({"file": shown, "why": why})
            else:
                mine["read"].append({"file": shown, "kind": facts.kind, **told})
    if not mine["read"]:
        why = "; ".join(f"{each['file']} {each['why']}" for each in mine["unread"])
        raise OutputError(
            f"{folder} holds nothing that can be compared with the paper{f' ({why})' if why else ''}: judge, tally, "
            "rouge and stats write it"
        )
    return mine


# --- judged answers -------------------------------------------------------------------------------------------------


def _judge(mine: dict[str, Any], facts: Facts) -> dict[str, Any]:
    found = facts.content
    model, baseline = (
        _side(found, "model", "answers", default=facts.file.name.partition(".")[0]),
        _side(found, "baseline"),
    )
    section, group = _comparison(facts.file, baseline)
    return {**_score(mine, found, section, group, model), "model": model, "baseline": baseline}


def _groups(mine: dict[str, Any], facts: Facts) -> dict[str, Any]:
    found = facts.content
    baseline = _side(found, "baseline")
    _, group = _comparison(facts.file, baseline)
    section = "rank_groups" if group in _BASELINES.values() else "other"
    told = {}
    for name, each in found["groups"].items():
        told = _score(mine, each, section, group, str(name))
    return {**told, "model": _side(found, "model", "answers", "ranked", default=""), "baseline": baseline}


def _score(mine: dict[str, Any], found: Mapping[str, Any], section: str, group: str, name: str) -> dict[str, Any]:
    """Puts a relative score into its place; what else is told of it."""
    score = found.get("relative_score")
    if score is None:
        raise ValueError("it has no relative score: no question was judged, or there was no baseline")
    pair = [_number(score, "model_sum", "sum"), _number(score, "baseline_sum")]
    held = mine.setdefault(section, {}).setdefault(group, {})
    name = _distinct(name, held)
    held[name] = pair
    bounds = score.get("interval") or score
    if bounds.get("low") is not None and bounds.get("high") is not None:
        interval = [_number(bounds, "low"), _number(bounds, "high")]
        mine["intervals"].setdefault(section, {}).setdefault(group, {})[name] = interval
    questions = found.get("questions", score.get("n", ""))
    warnings = found.get("warnings") or []
    return {"questions": questions, "warnings": "; ".join([warnings] if isinstance(warnings, str) else warnings)}


def _comparison(file: Path, baseline: str) -> tuple[str, str]:
    """The section and the group of the paper that judged answers belong to."""
    for section, group in GROUPS:
        if section == "chinese" and group in file.name:
            return section, group
    group = next((group for _, group in GROUPS if group in file.name), _BASELINES.get(family(baseline) or "", ""))
    return ("vicuna80", group) if group else ("other", f"against {baseline or 'a baseline without a name'}")


def _side(found: Mapping[str, Any], *keys: str, default: str = "") -> str:
    """The name of a side, which may stand in a mapping of more facts."""
    for key in keys:
        value = found.get(key)
        if isinstance(value, Mapping):
            value = next((value[inner] for inner in ("name", "model", "spec", "file") if value.get(inner)), None)
        if isinstance(value, str) and value:
            return value
    return default


# --- votes, ROUGE, statistics ---------------------------------------------------------------------------------------


def _tally(mine: dict[str, Any], facts: Facts) -> dict[str, Any]:
    found = facts.content
    model, baseline = _side(found, "model", "ours", default="ours"), _side(found, "baseline", default="baseline")
    counts, intervals = {}, {}
    for criterion, each in found["criteria"].items():
        counts[criterion] = [int(_number(each[choice], "count")) for choice in ("ours", "baseline", "tie")]
        bounds = [[each[choice].get("low"), each[choice].get("high")] for choice in ("ours", "baseline", "tie")]
        if all(low is not None for low, _ in bounds):
            intervals[criterion] = [[100 * low, 100 * high] for low, high in bounds]
    n = max((sum(each) for each in counts.values()), default=0)
    held = mine.setdefault("human_hhh", {})
    name = _distinct(f"{model}_vs_{baseline}", held)
    held[name] = {"n": n, "ours_baseline_tie": counts}
    mine["intervals"].setdefault("human_hhh", {})[name] = intervals
    return {"model": model, "baseline": baseline, "questions": found.get("questions", "")}


def _rouge(mine: dict[str, Any], facts: Facts) -> dict[str, Any]:
    found = facts.content
    file = facts.file
    called = file.name.removesuffix(".rouge.json") if file.name != "rouge.json" else file.absolute().parent.name
    buckets = found["buckets"]
    lengths, sizes = [each["length"] for each in buckets], [int(each["n"]) for each in buckets]
    held = mine.setdefault("unnatural_rougeL", {"buckets": lengths, "n": sizes})
    if held["buckets"] != lengths or held["n"] != sizes:
        raise ValueError("its references are others than those of an earlier file")
    name = _distinct(_side(found, "model", "answers", default=called), held)
    held[name] = [_number(each["rougeL"], "f1") if each["n"] else None for each in buckets]
    mine["intervals"].setdefault("unnatural_rougeL", {})[name] = [
        [_number(each["rougeL"], "low"), _number(each["rougeL"], "high")] if each["n"] else None for each in buckets
    ]
    return {"model": name, "questions": found.get("n", ""), "warnings": f"lengths in {found.get('unit', 'words')}"}


def _statistics(mine: dict[str, Any], facts: Facts) -> dict[str, Any]:
    for each, suffix in zip(facts.content["data"], ("", "_b"), strict=False):
        parts = {name: part for name, part in each["sources"].items() if name} or {each["name"]: each}
        for name, part in parts.items():
            name = _distinct(name, mine.get("verb_noun", {}).get("unique_pairs", {}))
            mine.setdefault("verb_noun", {}).setdefault("unique_pairs", {})[name] = int(part["unique_pairs"])
            if "words" in part:
                mine.setdefault("lengths", {})[name] = part["words"]
        for source, score, count in _csv(facts.file.with_name(f"scores{suffix}.csv")):
            held = mine.setdefault("score_histograms", {}).setdefault(source or each["name"], {})
            held[f"{float(score):g}"] = held.get(f"{float(score):g}", 0) + int(count)
    return {"model": ", ".join(each["name"] for each in facts.content["data"])}


def _csv(file: Path) -> Iterator[list[str]]:
    if file.is_file():
        with file.open(encoding="utf-8", newline="") as lines:
            rows = csv.reader(lines)
            next(rows, None)
            yield from rows


def _number(found: Mapping[str, Any], *keys: str) -> float:
    value = next((found[key] for key in keys if key in found), None)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{keys[0]} is {value!r}, not a number")
    return value


def _distinct(name: str, held: Mapping[str, Any]) -> str:
    """The name, with a number behind it where it is taken.

    >>> _distinct("a", {"a": 1, "a (2)": 1})
    'a (3)'
    """
    number, found = 1, name
    while found in held:
        number += 1
        found = f"{name} ({number})"
    return found
