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
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import OutputError
from gpt4_instruct.evaluation.paper_beside import GROUPS, family
from gpt4_instruct.run_facts import Facts, find_facts
from gpt4_instruct.storage import read_json

__all__ = ["read_mine"]

_BASELINES = {"GPT-4": "vs_gpt4", "ChatGPT": "vs_chatgpt"}


def read_mine(folder: Path) -> dict[str, Any]:
    """Reads what a folder holds of a run.

    Args:
        folder: of a run, or a single file of facts.

    Raises:
        OutputError: it is not there, or holds none of `_READERS` that can be read.
    """
    mine: dict[str, Any] = {"intervals": {}, "read": [], "unread": []}
    for facts in find_facts([folder]):
        shown = str(facts.file.relative_to(folder)) if folder.is_dir() else facts.file.name
        if facts.error is not None:
            mine["unread"].append({"file": shown, "why": facts.error})
        elif facts.kind in _READERS:
            try:
                told = _READERS[facts.kind](mine, facts)
            except (AttributeError, IndexError, KeyError, OutputError, TypeError, ValueError) as error:
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
    model, baseline = _side(facts.content, "answers", _stem(facts.file)), _side(facts.content, "baseline")
    section, group = _comparison(facts.file, baseline)
    told = _score(mine, facts.content, section, group, model)
    return {"model": model, "baseline": baseline, **told, "warnings": "; ".join(facts.content.get("warnings") or [])}


def _groups(mine: dict[str, Any], facts: Facts) -> dict[str, Any]:
    single = facts.file.with_name("group-B.summary.json")  # says more of both sides than the summary of all
    sides = {**facts.content, **(read_json(single) if single.is_file() else {})}
    model, baseline = _side(sides, "answers", _stem(facts.file)), _side(sides, "baseline")
    _, group = _comparison(facts.file, baseline)
    section = "rank_groups" if group in _BASELINES.values() else "other"
    told: dict[str, Any] = {}
    for name, each in facts.content["groups"].items():
        told = _score(mine, each, section, group, str(name))
    return {"model": model, "baseline": baseline, **told}


def _score(mine: dict[str, Any], found: Mapping[str, Any], section: str, group: str, name: str) -> dict[str, Any]:
    """Puts a relative score into its place; what else is told of it."""
    score = found.get("relative_score")
    if score is None:
        raise ValueError("there is no relative score: no question was judged, or there was no baseline")
    pair = [_number(score, "model_sum"), _number(score, "baseline_sum")]
    interval = _bounds(score)
    held = mine.setdefault(section, {}).setdefault(group, {})
    name = _distinct(name, held)
    held[name] = pair
    mine["intervals"].setdefault(section, {}).setdefault(group, {})[name] = interval
    return {"questions": found.get("judged", "")}


def _comparison(file: Path, baseline: str) -> tuple[str, str]:
    """The section and the group of the paper that judged answers belong to."""
    for section, group in GROUPS:
        if section == "chinese" and group in file.name:
            return section, group
    group = next((group for _, group in GROUPS if group in file.name), _BASELINES.get(family(baseline) or "", ""))
    return ("vicuna80", group) if group else ("other", f"against {baseline or 'a baseline without a name'}")


def _side(found: Mapping[str, Any], key: str, default: str = "") -> str:
    """The name of a side: of its model where that is known, else of its file."""
    value = found.get(key)
    if isinstance(value, Mapping):
        value = value.get("model") or value.get("file")
    return _stem(Path(value)) if isinstance(value, str) and value else default


def _stem(file: Path) -> str:
    """A file's name without what all such files end in; a name that is none of a file stays.

    >>> _stem(Path("out/mine.summary.json")), _stem(Path("mine.jsonl")), _stem(Path("gpt-3.5"))
    ('mine', 'mine', 'gpt-3.5')
    """
    name = file.name
    for ending in (".jsonl", ".json", ".summary"):
        name = name.removesuffix(ending)
    return name


# --- votes, ROUGE, statistics ---------------------------------------------------------------------------------------


def _tally(mine: dict[str, Any], facts: Facts) -> dict[str, Any]:
    model, baseline = _side(facts.content, "ours", "ours"), _side(facts.content, "baseline", "baseline")
    counts: dict[str, list[int]] = {}
    intervals: dict[str, list[list[float]]] = {}
    for criterion, found in facts.content["criteria"].items():
        choices = [found[choice] for choice in ("ours", "baseline", "tie")]
        counts[criterion] = [int(_number(each, "votes")) for each in choices]
        if sum(counts[criterion]):
            bounds = [[100 * _number(each, "low"), 100 * _number(each, "high")] for each in choices]
            intervals[criterion] = bounds
    n = max((sum(each) for each in counts.values()), default=0)
    held = mine.setdefault("human_hhh", {})
    name = _distinct(f"{model}_vs_{baseline}", held)
    held[name] = {"n": n, "ours_baseline_tie": counts}
    mine["intervals"].setdefault("human_hhh", {})[name] = intervals
    return {"model": model, "baseline": baseline, "questions": facts.content.get("questions", "")}


def _rouge(mine: dict[str, Any], facts: Facts) -> dict[str, Any]:
    found = facts.content
    called = facts.file.absolute().parent.name if facts.file.name == "rouge.json" else _stem(facts.file)
    buckets = found["buckets"]
    lengths, sizes = [each["length"] for each in buckets], [int(each["n"]) for each in buckets]
    held = mine.setdefault("unnatural_rougeL", {"buckets": lengths, "n": sizes})
    if held["buckets"] != lengths or held["n"] != sizes:
        raise ValueError("its references are others than those of an earlier file")
    name = _distinct(_side(found, "answers", called), held)
    held[name] = [_number(each["rougeL"], "f1") if each["n"] else None for each in buckets]
    mine["intervals"].setdefault("unnatural_rougeL", {})[name] = [
        _bounds(each["rougeL"]) if each["n"] else None for each in buckets
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


def _bounds(found: Mapping[str, Any]) -> list[float] | None:
    """Both ends of an interval; none of too few questions for one."""
    return None if found.get("low") is None else [_number(found, "low"), _number(found, "high")]


def _number(found: Mapping[str, Any], key: str) -> float:
    value = found[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} is {value!r}, not a number")
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


_READERS: dict[str, Callable[[dict[str, Any], Facts], dict[str, Any]]] = {
    "judge": _judge,
    "groups": _groups,
    "tally": _tally,
    "rouge": _rouge,
    "statistics": _statistics,
}
