"""The paper's numbers (arXiv 2304.03277), and a run's beside them, as the plain data that figures are drawn from::

    {"vicuna80": {"vs_gpt4": {"LLaMA-13B": [520, 731.5], ...}, ...}, ...    the paper's, a pair is two sums of scores
     "derived": {"vicuna80": {"vs_gpt4": {"LLaMA-13B": 71.08..., ...}, ...}, ...    under the same keys, what follows
     "score_histograms": {"gpt4": {"0": 16, ...}, ...}
     "doubts": [{"where": ["vicuna80", "vs_chatgpt", "GPT-4"], "why": ...}, ...]
     "mine": {...}              a run's, in the same shape, with "derived" and "intervals" under the same keys, and
                                what is of no comparison that the paper makes; see `paper_mine`
     "differences": [...]}      a run's numbers beside the paper's, see `paper_beside`

The paper's values are in ``paper_values.json``, with where they are from. What is derived is computed here each time.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from gpt4_instruct.evaluation.paper_beside import compare
from gpt4_instruct.evaluation.paper_mine import read_mine
from gpt4_instruct.statistics.scores import score_summary

__all__ = ["PAIRED", "derive", "paper_numbers", "paper_values", "relative_score"]

PAIRED = ("vicuna80", "rank_groups", "chinese")  # the sections that hold pairs of sums


@cache
def _packaged() -> str:
    return (files("gpt4_instruct.evaluation") / "paper_values.json").read_text(encoding="utf-8")


def paper_values() -> dict[str, Any]:
    """What is packaged: ``source``, ``numbers``, ``score_histograms``, ``doubts`` and ``no_intervals``.

    >>> paper_values()["numbers"]["vicuna80"]["vs_gpt4"]["LLaMA-GPT4-7B"]
    [606, 726.5]
    """
    return dict(json.loads(_packaged()))


def paper_numbers(mine: Path | None = None) -> dict[str, Any]:
    """All of the paper's numbers with what follows from them, and a run's beside them: the content of `numbers.json`.

    Args:
        mine: a folder of a run, see `paper_mine.read_mine`.

    Raises:
        OutputError: the folder is not there, or holds nothing of a run that can be read.
    """
    values = paper_values()
    numbers = {**values["numbers"], "derived": derive(values["numbers"], values["score_histograms"])}
    numbers |= {name: values[name] for name in ("score_histograms", "doubts", "no_intervals", "source")}
    if mine is None:
        return numbers
    own = read_mine(mine)
    own["derived"] = derive(own, own.get("score_histograms", {}))
    numbers["mine"] = own
    numbers["differences"] = list(compare(numbers))
    return numbers


def derive(numbers: Mapping[str, Any], score_histograms: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """What follows from sums and counts, under the keys of what it follows from.

    Args:
        numbers: in the shape at the top; a section that is not there is left out.
        score_histograms: how often a model's answers got each score.

    Returns:
        of pairs, the relative score, 100 a / b, in per cent (PAPER.md, section 4); of votes, the shares of ours, the
        baseline and ties, in per cent; of ROUGE-L, the mean of the buckets by their sizes, and what a model has more
        than Alpaca in each; of scores, n, mean, sd (of the population), zeros and the commonest one.

    >>> derive({"vicuna80": {"vs_gpt4": {"mine": [606, 726.5]}}}, {})
    {'vicuna80': {'vs_gpt4': {'mine': 83.41362697866484}}}
    """
    found: dict[str, Any] = {
        section: {
            group: {name: relative_score(pair) for name, pair in pairs.items()}
            for group, pairs in numbers[section].items()
            if isinstance(pairs, dict)
        }
        for section in (*PAIRED, "other")
        if section in numbers
    }
    if "human_hhh" in numbers:
        found["human_hhh"] = {
            name: {
                criterion: [100 * count / sum(counts) if sum(counts) else None for count in counts]
                for criterion, counts in votes["ours_baseline_tie"].items()
            }
            for name, votes in numbers["human_hhh"].items()
        }
    if "unnatural_rougeL" in numbers:
        found["unnatural_rougeL"] = _of_rouge(numbers["unnatural_rougeL"])
    if score_histograms:
        found["judge_scores"] = {name: _of_scores(counts) for name, counts in score_histograms.items()}
    return found


def relative_score(pair: Sequence[float]) -> float | None:
    """100 a / b in per cent; none of a baseline without any points.

    >>> relative_score([3, 4])
    75.0
    """
    return 100 * pair[0] / pair[1] if pair[1] else None


def _of_rouge(rouge: Mapping[str, Any]) -> dict[str, Any]:
    sizes, buckets = rouge["n"], rouge["buckets"]
    parts = [place for place, name in enumerate(buckets) if name != "ALL"]
    found: dict[str, Any] = {}
    for name, values in rouge.items():
        if name in ("buckets", "n", "note"):
            continue
        known = [place for place in parts if values[place] is not None and sizes[place]]
        total = sum(sizes[place] for place in known)
        mean = math.fsum(values[place] * sizes[place] for place in known) / total if total else None
        found[name] = {"mean_of_buckets": mean}
        if "Alpaca" in rouge and name != "Alpaca":
            found[name]["minus_Alpaca"] = [value - other for value, other in zip(values, rouge["Alpaca"], strict=True)]
    return found


def _of_scores(counts: Mapping[str, int]) -> dict[str, Any]:
    told = score_summary(Counter({float(score): count for score, count in counts.items()}))
    return {"n": told["count"], **{name: told[name] for name in ("mean", "sd", "zeros", "mode")}}
