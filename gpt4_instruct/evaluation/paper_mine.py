"""A run's own numbers in the shape of the paper's, from whatever facts its folder holds: judged answers, votes, ROUGE,
statistics. See `paper` for the shape; which file is what is told by its content (`run_facts`).

Beside the paper's sections there are ``intervals``, under the same keys; ``other`` and ``other_rougeL``, what cannot
be held against a number of the paper's; ``incomplete``, how many questions a score lacks, likewise; ``lengths`` of
answers; ``read`` and ``unread``, the files.

Of which comparison judged answers are is told by the file's name where it holds a comparison's, such as
``translated_answers_vs_gpt4_generated.summary.json``; else by the baseline's name. They stand beside the paper's only
where they are of as many questions, by GPT-4, against the same baseline; ROUGE, where the references are the paper's;
votes, where the baseline is one of the paper's. Of any other file, ``read`` says in ``other`` why it does not.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import OutputError
from gpt4_instruct.evaluation.judge_pairs import judge_name, side_name, stem, swapped_warnings
from gpt4_instruct.evaluation.paper_beside import GROUPS, VOTED, family
from gpt4_instruct.run_facts import Facts, find_facts
from gpt4_instruct.storage import read_json

__all__ = ["read_mine"]

_BASELINES = {"GPT-4": "vs_gpt4", "ChatGPT": "vs_chatgpt"}
_QUESTIONS = 80  # in each of the paper's comparisons by a judge
_REFERENCES = {"0-2": 5089, "3-5": 868, "6-10": 936, ">10": 2107, "ALL": 9000}  # the paper's, by their lengths


def read_mine(folder: Path) -> dict[str, Any]:
    """Reads what a folder holds of a run.

    Args:
        folder: of a run, or a single file of facts.

    Raises:
        OutputError: it is not there, or holds none of `_READERS` that can be read.
    """
    mine: dict[str, Any] = {"intervals": {}, "read": [], "unread": []}
    found = find_facts([folder])
    warnings = swapped_warnings(found)
    for facts in found:
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
                told["warnings"] = "; ".join([*told.get("warnings", []), *warnings.get(facts.file, [])])
                mine["read"].append({"file": shown, "kind": facts.kind, "other": "", **told})
    if not mine["read"]:
        why = "; ".join(f"{each['file']} {each['why']}" for each in mine["unread"])
        raise OutputError(
            f"{folder} holds nothing that can be compared with the paper{f' ({why})' if why else ''}: judge, tally, "
            "rouge and stats write it"
        )
    return mine


# --- judged answers -------------------------------------------------------------------------------------------------


def _judge(mine: dict[str, Any], facts: Facts) -> dict[str, Any]:
    model, baseline = side_name(facts.content, "answers", stem(facts.file)), side_name(facts.content, "baseline")
    judge, questions = judge_name(facts.content), facts.content["questions"]
    section, group, other = _comparison(facts.file, facts.content, judge, {questions})
    told = _score(mine, facts.content, section, group, model)
    told |= {"model": model, "baseline": baseline, "judge": judge, "other": other}
    return {**told, "warnings": facts.content.get("warnings") or []}


def _groups(mine: dict[str, Any], facts: Facts) -> dict[str, Any]:
    single = facts.file.with_name("group-B.summary.json")  # says more of both sides than the summary of all
    sides = {**facts.content, **(read_json(single) if single.is_file() else {})}
    model, baseline = side_name(sides, "answers", stem(facts.file)), side_name(sides, "baseline")
    judge, groups = judge_name(sides), facts.content["groups"]
    section, group, other = _comparison(facts.file, sides, judge, {each["questions"] for each in groups.values()})
    section = "rank_groups" if section == "vicuna80" else "other"
    told: dict[str, Any] = {}
    for name, each in groups.items():
        told = _score(mine, each, section, group, f"group {name}" if section == "other" else str(name))
    told |= {"model": model, "baseline": baseline, "judge": judge, "other": other}
    return {**told, "warnings": facts.content.get("warnings") or []}


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
    judged, questions = found.get("judged", ""), found.get("questions", "")
    if judged != questions:
        of = f"{judged} of {questions} questions have scores"
        mine.setdefault("incomplete", {}).setdefault(section, {}).setdefault(group, {})[name] = of
    return {"questions": f"{judged}" if judged == questions else f"{judged} of {questions}"}


def _comparison(file: Path, sides: Mapping[str, Any], judge: str, questions: set[int]) -> tuple[str, str, str]:
    """The section and the group of the paper that judged answers belong to; or of others, and why they are others."""
    baseline = side_name(sides, "baseline") or "a baseline without a name"
    side = sides.get("baseline")
    model_known = isinstance(side, Mapping) and bool(side.get("model"))
    by_family = _BASELINES.get(family(baseline) or "", "")
    named = [each for each in GROUPS if re.search(rf"{each[1]}(?![a-z0-9])", file.name)]  # none of vs_gpt4o
    section, group = max(named, key=lambda each: len(each[1]), default=("vicuna80", by_family))
    wanted = "ChatGPT" if group == "vs_chatgpt" else "GPT-4"
    why = []
    if questions != {_QUESTIONS}:
        why.append(f"{_range(questions)} questions, not {_QUESTIONS}")
    if family(judge) != "GPT-4":
        why.append(f"judged by {judge or 'an unknown judge'}, not GPT-4")
    if not group:
        why.append(f"against {baseline}, not {' or '.join(_BASELINES)}")
    elif model_known and family(baseline) != wanted:  # else the file's name is believed
        why.append(f"against {baseline}, not {wanted}")
    if not why:
        return section, group, ""
    of = f"against {baseline}: {_range(questions)} questions, judge {judge or 'unknown'}"
    return "other", of, ", ".join(why)


def _range(values: set[int]) -> str:
    """One number, or from the least to the most.

    >>> _range({80}), _range({3, 5, 4})
    ('80', '3 to 5')
    """
    least, most = min(values), max(values)
    return f"{least}" if least == most else f"{least} to {most}"


# --- votes, ROUGE, statistics ---------------------------------------------------------------------------------------


def _tally(mine: dict[str, Any], facts: Facts) -> dict[str, Any]:
    model, baseline = side_name(facts.content, "ours", "ours"), side_name(facts.content, "baseline", "baseline")
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
    other = "" if family(baseline) in VOTED else f"against {baseline}, not {' or '.join(VOTED)}"
    name = _distinct(f"{model}_vs_{baseline}", held)
    held[name] = {"n": n, "ours_baseline_tie": counts}
    mine["intervals"].setdefault("human_hhh", {})[name] = intervals
    return {"model": model, "baseline": baseline, "questions": facts.content.get("questions", ""), "other": other}


def _rouge(mine: dict[str, Any], facts: Facts) -> dict[str, Any]:
    found = facts.content
    called = facts.file.absolute().parent.name if facts.file.name == "rouge.json" else stem(facts.file)
    buckets = found["buckets"]
    lengths, sizes = [each["length"] for each in buckets], [int(each["n"]) for each in buckets]
    values = [_number(each["rougeL"], "f1") if each["n"] else None for each in buckets]
    bounds = [_bounds(each["rougeL"]) if each["n"] else None for each in buckets]
    other = "" if dict(zip(lengths, sizes, strict=True)) == _REFERENCES else (
        f"other references than the paper's: {sizes[-1]:,}, by their lengths {_listed(sizes[:-1])}; the paper's are "
        f"{_REFERENCES['ALL']:,}, {_listed(list(_REFERENCES.values())[:-1])}"
    )  # fmt: skip
    section = "other_rougeL" if other else "unnatural_rougeL"
    held = mine.setdefault(section, {} if other else {"buckets": lengths, "n": sizes})
    name = _distinct(side_name(found, "answers", called), held)
    held[name] = {"buckets": lengths, "n": sizes, "rougeL": values} if other else values
    mine["intervals"].setdefault(section, {})[name] = bounds
    told = [f"lengths in {found.get('unit', 'words')}"]
    return {"model": name, "questions": found.get("n", ""), "warnings": told, "other": other}


def _listed(sizes: Sequence[int]) -> str:
    return " + ".join(f"{each:,}" for each in sizes)


def _statistics(mine: dict[str, Any], facts: Facts) -> dict[str, Any]:
    for each, suffix in zip(facts.content["data"], ("", "_b"), strict=False):
        parts = {name: part for name, part in each["sources"].items() if name} or {each["name"]: each}
        for name, part in parts.items():
            name = _distinct(name, mine.get("verb_noun", {}).get("unique_pairs", {}))
            mine.setdefault("verb_noun", {}).setdefault("unique_pairs", {})[name] = int(part["unique_pairs"])
            mine["verb_noun"].setdefault("answers", {})[name] = part.get("answers")
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
