"""How often a model's answer beats a baseline's to the same question, and how often it would at the same length.

Judges like long answers. The controlled rate is that of "Length-Controlled AlpacaEval" (Dubois et al., 2024, arXiv
2404.04475, section 3), without its terms of each question's difficulty: outcomes (1 a win, 0.5 a tie, 0 a loss) follow
sigmoid(a + b tanh(d / s)), where d is by how much the model's answer is longer, and s the standard deviation of d. At
d = 0 that is sigmoid(a). Newton's method fits it, with a small penalty on the squares of a and b, so that there is a
fit, too, where the length or the model decides every outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from gpt4_instruct.errors import UsageError
from gpt4_instruct.metrics.base import Definition, as_numbers, check_pairs
from gpt4_instruct.metrics.intervals import Interval, check_bootstrap, share_interval

__all__ = ["METRIC", "win_rate"]

# On half the squares of a and b, where each question weighs 1. For simulated judges that like nothing but length, 0.1
# on b leaves 0 to 4 of 22 points; more leaves more, and less makes the rate uncertain where length decides it all.
_PENALTIES = (0.01, 0.1)
_STEPS = 100  # Newton's; 5 to 20 are taken
_LONGEST_STEP = 2.0  # in log-odds, so that no step leaps over where the curve is steep
_AT_ONCE = 1_000_000  # questions drawn together


def win_rate(
    predictions: Sequence[float | None],
    references: Sequence[float | None],
    *,
    lengths: Sequence[float | None] | None = None,
    baseline_lengths: Sequence[float | None] | None = None,
    resamples: int = 2_000,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, Any]:
    """How often a model wins against a baseline, ties counting half, in percent; with lengths, also at the same length.

    Args:
        predictions: the model's score on each question, by a judge or by votes; None or nan where there is none. The
            higher score wins, so 1 and 0, 0 and 1, 0.5 and 0.5 stand for outcomes without scores.
        references: the baseline's scores on the same questions, in the same order.
        lengths: of the model's answers, in any unit; None where it is not known.
        baseline_lengths: of the baseline's answers, in the same unit.
        resamples: draws of the bootstrap over questions, for the controlled rate.
        level: of the intervals, over 0 and under 1.
        seed: of the draws.

    Returns:
        ``win_rate`` and its ``interval``; ``n``, the questions with both scores, which alone count; ``missing``, the
        others; ``win``, ``tie`` and ``loss``, each with ``n``, ``percent`` and ``interval``. All in percent; Wilson's
        intervals, of which that of the win rate is a little wide where there are ties. ``length_controlled`` has
        ``win_rate``, ``interval``, ``n`` (those of known lengths) and ``length_effect``, b of the formula; it is none
        without lengths, and where all differ by the same, so that the effect of length cannot be told.

    Raises:
        UsageError: the lists differ in length, a value is no number, no question has both scores, or the lengths of
            one side alone are given.

    >>> from gpt4_instruct.metrics import load
    >>> scores = {"predictions": [9, 8, 7, 9, 8, None], "references": [8, 8, 8, 7, 6, 9]}
    >>> found = load("win_rate").compute(**scores)
    >>> found["win_rate"], found["n"], found["missing"], [found[each]["n"] for each in ("win", "tie", "loss")]
    (70.0, 5, 1, [3, 1, 1])
    >>> lengths = {"lengths": [90, 50, 30, 70, 60, 10], "baseline_lengths": [40, 50, 60, 60, 20, 10]}
    >>> round(win_rate(**scores, **lengths)["length_controlled"]["win_rate"])  # the longer ones won
    62
    """
    import numpy as np

    n = check_pairs(predictions, references)
    check_bootstrap(resamples, level)
    difference = as_numbers(predictions, "predictions") - as_numbers(references, "references")
    longer = _longer(lengths, baseline_lengths, n)
    both = ~np.isnan(difference)
    if not both.any():
        raise UsageError(f"none of {n} questions has both scores: judge them again")
    outcomes = (np.sign(difference[both]) + 1) / 2
    counts = {name: int((outcomes == value).sum()) for name, value in (("win", 1), ("tie", 0.5), ("loss", 0))}
    total = len(outcomes)
    controlled = None if longer is None else _controlled(outcomes, longer[both], resamples, level, seed)
    return {
        "win_rate": float(100 * outcomes.mean()),
        "interval": _percent(share_interval(float(outcomes.sum()), total, level)),
        "n": total,
        "missing": n - total,
        **{
            name: {
                "n": count,
                "percent": 100 * count / total,
                "interval": _percent(share_interval(count, total, level)),
            }
            for name, count in counts.items()
        },
        "length_controlled": controlled,
    }


def _percent(shares: Interval) -> dict[str, float]:
    return asdict(Interval(100 * shares.low, 100 * shares.high, shares.level))


def _longer(lengths: Sequence[float | None] | None, baseline: Sequence[float | None] | None, n: int) -> Any:
    """By how much the model's answers are longer, float64[n], nan where it is not known; None without lengths."""
    if lengths is None and baseline is None:
        return None
    if lengths is None or baseline is None:
        raise UsageError("the lengths of one side alone are given: give lengths and baseline_lengths, or neither")
    if not len(lengths) == len(baseline) == n:
        raise UsageError(f"{len(lengths)} and {len(baseline)} lengths for {n} questions: give one to each answer")
    return as_numbers(lengths, "lengths") - as_numbers(baseline, "baseline_lengths")


def _controlled(outcomes: Any, longer: Any, resamples: int, level: float, seed: int) -> dict[str, Any] | None:
    """The win rate at the same length, of outcomes[n] and by how much the model's answers are longer [n]."""
    import numpy as np

    known = ~np.isnan(longer)
    outcomes, longer = outcomes[known], longer[known]
    n = len(outcomes)
    if not n or (np.ptp(longer) == 0 and longer[0] != 0):
        return None
    squashed = np.tanh(longer / (longer.std() or 1))
    intercept, slope = _fit(outcomes, squashed, np.ones((1, n)))
    rng = np.random.default_rng(seed)
    step = max(1, _AT_ONCE // n)
    drawn = []
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        draws = rng.integers(0, n, size=(rows, n)) + np.arange(rows)[:, None] * n
        weights = np.bincount(draws.ravel(), minlength=rows * n).reshape(rows, n)
        drawn.append(_fit(outcomes, squashed, weights)[0])
    low, high = np.quantile(_sigmoid(np.concatenate(drawn)), [(1 - level) / 2, (1 + level) / 2])
    return {
        "win_rate": float(100 * _sigmoid(intercept[0])),
        "interval": _percent(Interval(float(low), float(high), level)),
        "n": n,
        "length_effect": float(slope[0]),
    }


def _fit(outcomes: Any, squashed: Any, weights: Any) -> tuple[Any, Any]:
    """The intercepts and slopes [fits] of logistic regressions of outcomes[n] on squashed[n], by weights[fits, n]."""
    import numpy as np

    a, b = np.zeros(len(weights)), np.zeros(len(weights))
    for _ in range(_STEPS):
        expected = _sigmoid(a[:, None] + b[:, None] * squashed)
        left, curved = weights * (outcomes - expected), weights * expected * (1 - expected)
        along_a, along_b = left.sum(1) - _PENALTIES[0] * a, left @ squashed - _PENALTIES[1] * b  # the gradient
        aa, ab = curved.sum(1) + _PENALTIES[0], curved @ squashed  # the Hessian
        bb = curved @ squashed**2 + _PENALTIES[1]
        steps = np.stack([bb * along_a - ab * along_b, aa * along_b - ab * along_a]) / (aa * bb - ab**2)
        longest = np.abs(steps).max(axis=0)
        steps /= np.maximum(1, longest / _LONGEST_STEP)
        a, b = a + steps[0], b + steps[1]
        if longest.max() < 1e-10:
            break
    return a, b


def _sigmoid(values: Any) -> Any:
    import numpy as np

    return 1 / (1 + np.exp(-values))


METRIC = Definition(
    win_rate, "numbers", "Dubois et al., Length-Controlled AlpacaEval, 2024, arXiv 2404.04475, for the controlled rate"
)
