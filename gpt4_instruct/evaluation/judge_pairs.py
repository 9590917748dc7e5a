"""Two runs of a judge of the same models with the sides swapped: can their sums be of the same questions?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from gpt4_instruct.evaluation.judge_results import suspicious_pair
from gpt4_instruct.run_facts import Facts

__all__ = ["judge_name", "side_name", "stem", "swapped_warnings"]


def swapped_warnings(found: Sequence[Facts]) -> dict[Path, list[str]]:
    """What `judge_results.suspicious_pair` finds in a run's summaries of verdicts, by file.

    Args:
        found: facts of any kind; those of `judge` are compared, each two of the same models with the sides swapped, by
            the same judge, over as many questions.
    """
    warnings: dict[Path, list[str]] = defaultdict(list)
    told = [(facts.file, *each) for facts in found if (each := _told(facts)) is not None]
    for (file, how, sides, sums), (other, other_how, other_sides, other_sums) in combinations(told, 2):
        if how == other_how and sides == other_sides[::-1] and sides[0] != sides[1]:
            line = suspicious_pair(*sums, *other_sums)
            if line is not None:
                warnings[file].append(f"beside {other.name}: {line}")
                warnings[other].append(f"beside {file.name}: {line}")
    return dict(warnings)


def side_name(found: Mapping[str, Any], key: str, default: str = "") -> str:
    """The name of a side: of its model where that is known, else of its file."""
    value = found.get(key)
    if isinstance(value, Mapping):
        value = value.get("model") or value.get("file")
    return stem(Path(value)) if isinstance(value, str) and value else default


def judge_name(found: Mapping[str, Any]) -> str:
    """The judge's model, or the way it is called; empty where neither is known.

    >>> judge_name({"teacher": {"spec": "openai:gpt-4", "model": "gpt-4-0613"}}), judge_name({"teacher": "local:x"})
    ('gpt-4-0613', 'local:x')
    """
    teacher = found.get("teacher")
    if isinstance(teacher, Mapping):
        teacher = teacher.get("model") or teacher.get("spec")
    return teacher if isinstance(teacher, str) else ""


def stem(file: Path) -> str:
    """A file's name without what all such files end in; a name that is none of a file stays.

    >>> stem(Path("out/mine.summary.json")), stem(Path("mine.jsonl")), stem(Path("gpt-3.5"))
    ('mine', 'mine', 'gpt-3.5')
    """
    name = file.name
    for ending in (".jsonl", ".json", ".summary"):
        name = name.removesuffix(ending)
    return name


def _told(facts: Facts) -> tuple[Any, list[str], list[Any]] | None:
    """The judge with the number of questions, both sides and their sums; none of facts that lack them."""
    score = facts.content.get("relative_score")
    if facts.kind != "judge" or not isinstance(score, Mapping):
        return None
    sums = [score.get(key) for key in ("model_sum", "baseline_sum")]
    sides = [side_name(facts.content, key) for key in ("answers", "baseline")]
    if not all(sides) or not all(isinstance(each, int | float) for each in sums):
        return None
    return (judge_name(facts.content), facts.content.get("questions")), sides, sums
