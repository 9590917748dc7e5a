"""The scores that a judge gave to each model's answers: mean, spread, mode, and what is wrong with them.

The paper's judge (PAPER.md, section 2, Figure 2) was asked for 1 to 10, and gave 0 and fractions, too.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

__all__ = ["score_summary"]

LEAST, MOST = 1, 10


def score_summary(scores: Counter[float], missing: int = 0) -> dict[str, Any]:
    """What one model's scores are like.

    Args:
        scores: how often each score was given.
        missing: how many answers have none.

    Returns:
        ``count``, ``missing``, ``mean``, ``sd`` (of the population: divided by the count), ``mode`` (the commonest
        score, the lowest of several), ``mode_share``, ``zeros``, ``out_of_range`` (below 1, zeros among them, or above
        10) and ``fractions`` (scores that are no whole number).

    >>> score_summary(Counter({9.0: 3, 8.5: 1, 0.0: 1}))  # doctest: +NORMALIZE_WHITESPACE
    {'count': 5, 'missing': 0, 'mean': 7.1, 'sd': 3.5552777669262356, 'mode': 9.0, 'mode_share': 0.6, 'zeros': 1,
     'out_of_range': 1, 'fractions': 1}
    """
    total = scores.total()
    if not total:
        return {"count": 0, "missing": missing}
    mean = math.fsum(score * count for score, count in scores.items()) / total
    variance = math.fsum((score - mean) ** 2 * count for score, count in scores.items()) / total
    mode = min(scores, key=lambda score: (-scores[score], score))
    return {
        "count": total,
        "missing": missing,
        "mean": mean,
        "sd": math.sqrt(variance),
        "mode": mode,
        "mode_share": scores[mode] / total,
        "zeros": scores[0.0],
        "out_of_range": sum(count for score, count in scores.items() if not LEAST <= score <= MOST),
        "fractions": sum(count for score, count in scores.items() if not float(score).is_integer()),
    }
