"""How often a reward model prefers the answer that was chosen, in all and by how much better that answer is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

from gpt4_instruct.errors import UsageError
from gpt4_instruct.metrics.base import Definition, as_numbers, check_pairs
from gpt4_instruct.metrics.intervals import check_bootstrap, share_interval

__all__ = ["METRIC", "preference_accuracy"]


def preference_accuracy(
    predictions: Sequence[float | None],
    references: Sequence[float | None],
    *,
    gaps: Sequence[float | None] | None = None,
    bounds: Sequence[float] = (1, 2, 4),
    level: float = 0.95,
) -> dict[str, Any]:
    """The share of pairs of answers in which the chosen one has the higher reward; equal rewards count half.

    Args:
        predictions: the reward of each pair's chosen answer; None or nan where there is none.
        references: the reward of its rejected answer, in the same order.
        gaps: by how much the chosen answer's score is higher, over 0; None where it is not known. Without gaps nothing
            is told by them.
        bounds: the greatest gap in each bucket but the last, ascending from over 0, in the unit of the gaps.
        level: of the intervals, over 0 and under 1.

    Returns:
        ``accuracy`` and its ``interval`` (Wilson's, of shares between 0 and 1; it takes the pairs for independent, so
        for several pairs of one prompt it is too narrow); ``n``, the pairs with both rewards, of which ``correct``,
        ``tied`` and ``wrong``; ``missing``, the others; ``by_gap``, a list of buckets with ``gap``, ``n``, ``accuracy``
        and ``interval`` (none where a bucket is empty).

    Raises:
        UsageError: the lengths differ, a value is no number, no pair has both rewards, or a gap is not over 0.

    >>> from gpt4_instruct.metrics import load
    >>> rewards = {"predictions": [1.5, 0.2, 0.3, 2.0, None], "references": [0.5, 0.4, 0.3, -1.0, 0.0]}
    >>> found = load("preference_accuracy").compute(**rewards, gaps=[3, 1, 1, 8, 2])
    >>> found["accuracy"], found["n"], found["correct"], found["tied"], found["wrong"], found["missing"]
    (0.625, 4, 2, 1, 1, 1)
    >>> [(each["gap"], each["n"], each["accuracy"]) for each in found["by_gap"]]
    [('up to 1', 2, 0.25), ('over 1 to 2', 0, None), ('over 2 to 4', 1, 1.0), ('over 4', 1, 1.0)]
    """
    import numpy as np

    n = check_pairs(predictions, references)
    check_bootstrap(1, level)
    difference = as_numbers(predictions, "predictions") - as_numbers(references, "references")
    both = ~np.isnan(difference)
    if not both.any():
        raise UsageError(f"none of {n} pairs has both rewards: score them again")
    right = np.where(difference == 0, 0.5, difference > 0)[both]
    return {
        **_accuracy(right, level),
        "n": len(right),
        "correct": int((right == 1).sum()),
        "tied": int((right == 0.5).sum()),
        "wrong": int((right == 0).sum()),
        "missing": n - len(right),
        "level": level,
        "by_gap": None if gaps is None else _by_gap(right, _gaps(gaps, n)[both], bounds, level),
    }


def _accuracy(right: Any, level: float) -> dict[str, Any]:
    if not len(right):
        return {"accuracy": None, "interval": None}
    count = float(right.sum())
    return {"accuracy": count / len(right), "interval": asdict(share_interval(count, len(right), level))}


def _gaps(gaps: Sequence[float | None], n: int) -> Any:
    if len(gaps) != n:
        raise UsageError(f"{len(gaps)} gaps for {n} pairs: give one to each, None where it is not known")
    found = as_numbers(gaps, "gaps")
    if (found <= 0).any():
        raise UsageError("a gap is not over 0: the chosen answer of a pair has the higher score")
    return found


def _by_gap(right: Any, gaps: Any, bounds: Sequence[float], level: float) -> list[dict[str, Any]]:
    import numpy as np

    if not bounds or bounds[0] <= 0 or any(one >= other for one, other in pairwise(bounds)):
        raise UsageError(f"bounds are {list(bounds)}: give gaps over 0, each greater than the one before")
    middle = [f"over {one:g} to {other:g}" for one, other in pairwise(bounds)]
    labels = [f"up to {bounds[0]:g}", *middle, f"over {bounds[-1]:g}"]
    places = np.array([-1 if np.isnan(gap) else bisect_left(bounds, gap) for gap in gaps])
    inside = [right[places == place] for place in range(len(labels))]
    return [
        {"gap": label, "n": len(each), **_accuracy(each, level)} for label, each in zip(labels, inside, strict=True)
    ]


METRIC = Definition(
    preference_accuracy,
    "numbers",
    "Stiennon et al., Learning to summarize from human feedback, 2020, arXiv 2009.01325, where it is the accuracy of"
    " reward models",
)
