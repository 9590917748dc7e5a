"""The paper's relative score: what a judge gave a model, in percent of what it gave the baseline beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gpt4_instruct.errors import UsageError
from gpt4_instruct.metrics.base import Definition, as_numbers, check_pairs
from gpt4_instruct.metrics.intervals import bootstrap_ratio

__all__ = ["METRIC", "relative_score"]


def relative_score(
    predictions: Sequence[float | None],
    references: Sequence[float | None],
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """A model's judge scores in percent of a baseline's: ``100 * sum(predictions) / sum(references)``.

    It is the ratio of sums, as in "Instruction Tuning with GPT-4" (arXiv 2304.03277, figure 4), not the mean of the
    questions' ratios.

    Args:
        predictions: the model's score on each question, as 1..10; None or nan where there is none.
        references: the baseline's scores on the same questions, in the same order.
        resamples: draws of the bootstrap over questions, see `intervals.bootstrap_ratio`.
        level: of the interval, over 0 and under 1.
        seed: of the draws.

    Returns:
        ``relative_score`` and its ``interval`` (both in percent; ``low`` and ``high`` are none below 10 questions, of
        which no interval can be told); ``n``, the questions with both scores, which alone count; ``missing``, the
        others; ``sum`` and ``baseline_sum`` of the scores, ``mean`` and ``baseline_mean``.

    Raises:
        UsageError: the lengths differ, a score is no number or negative, no question has both scores, or the
            baseline's sum to 0.

    >>> from gpt4_instruct.metrics import load
    >>> found = load("relative_score").compute(predictions=[8, 7, 9, None], references=[9, 9, 8, 9])
    >>> round(found["relative_score"], 2), found["n"], found["missing"], found["sum"], found["baseline_sum"]
    (92.31, 3, 1, 24.0, 26.0)
    >>> found["interval"]["low"] is None
    True
    >>> found = relative_score([8, 7, 9] * 10, [9, 9, 8] * 10)
    >>> round(found["interval"]["low"], 1), round(found["interval"]["high"], 1)
    (87.2, 97.6)
    """
    import numpy as np

    n = check_pairs(predictions, references)
    model, baseline = as_numbers(predictions, "predictions"), as_numbers(references, "references")
    both = ~np.isnan(model) & ~np.isnan(baseline)
    model, baseline = model[both], baseline[both]
    if not len(model):
        raise UsageError(f"none of {n} questions has both scores: judge them again")
    if model.min() < 0 or baseline.min() < 0:
        raise UsageError("a score is negative: give None where the judge gave no score")
    interval = bootstrap_ratio(model, baseline, resamples=resamples, level=level, seed=seed)
    return {
        "relative_score": float(100 * model.sum() / baseline.sum()),
        "interval": asdict(interval),
        "n": len(model),
        "missing": n - len(model),
        "sum": float(model.sum()),
        "baseline_sum": float(baseline.sum()),
        "mean": float(model.mean()),
        "baseline_mean": float(baseline.mean()),
    }


METRIC = Definition(relative_score, "numbers", "Peng et al., Instruction Tuning with GPT-4, 2023, arXiv 2304.03277")
