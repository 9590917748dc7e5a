"""Alpaca's and Self-Instruct's loops, slow and plain, from their description: rouge-score against every text, one by one.

PAPER.md, section 5, and the papers: a reply's tasks pass the filters in turn, then each is compared with every seed and
every task kept before. Nothing of the package is used here.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Sequence

from rouge_score.rouge_scorer import RougeScorer

__all__ = ["kept_by_alpaca", "kept_by_self_instruct"]

_SHARED = ["image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps", "draw", "plot"]
_SHARED.append("go to")
_ALPACA = [*_SHARED, "video", "audio", "music", "flowchart", "diagram"]


def kept_by_alpaca(seeds: Sequence[str], replies: Iterable[tuple[str, bool]]) -> list[str]:
    """The instructions that are kept; of each reply, its text and whether it was cut off."""
    tasks = []
    for text, cut in replies:
        blocks = text.split("###")
        for block in blocks[:-1] if cut else blocks:
            fields = re.fullmatch(
                r"\s*(\d+)\. Instruction:(.*?)\n\1\. Input:(.*?)\n\1\. Output:(.*)", block, flags=re.DOTALL
            )
            if fields:
                tasks.append(fields[2].strip())
    return _novel(seeds, [task for task in tasks if _passes(task, _ALPACA)])


def kept_by_self_instruct(seeds: Sequence[str], replies: Iterable[tuple[str, bool]]) -> list[str]:
    """The instructions that are kept; a reply that was cut off gives none."""
    tasks = []
    for text, cut in replies:
        if not cut:
            tasks += [re.sub(r"\s+", " ", item).strip() for item in re.split(r"(?:^|\n)\d+\s?\. ", text)]
    tasks = [task[0].upper() + task[1:] for task in tasks if task]
    return _novel(seeds, [task for task in tasks if _passes(task, _SHARED)])


def _passes(task: str, blacklist: list[str]) -> bool:
    return not (
        len(task.split()) <= 3
        or len(task.split()) > 150
        or any(re.search(rf"\b{word}\b", task, re.IGNORECASE) for word in blacklist)
        or task.startswith("Write a program")
        or task[0] in string.punctuation
        or not task[0].isascii()
    )


def _novel(seeds: Sequence[str], tasks: Sequence[str]) -> list[str]:
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    kept: list[str] = []
    for task in tasks:
        if all(scorer.score(each, task)["rougeL"].fmeasure <= 0.7 for each in [*seeds, *kept]):
            kept.append(task)
    return kept
