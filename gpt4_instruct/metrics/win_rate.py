"""How often a model's answer beats a baseline's to the same question, and how often it would at the same length.

Judges like long answers. The controlled rate is that of "Length-Controlled AlpacaEval" (Dubois et al., 2024, arXiv
2404.04475, section 3), without its terms of each question's difficulty: outcomes (1 a win, 0.5 a tie, 0 a loss) follow
sigmoid(a + b tanh(d / s)), where d is by how much the model's answer is longer, and s the standard deviation of d. At
d = 0 that is sigmoid(a). Newton's method fits it, with a small penalty on the squares of a and b, so that there is a
fit, too, where the length or the model decides every outcome. The interval is that of the profile likelihood (Venzon
and Moolgavkar, Applied Statistics 1988): all a for which the best b leaves the penalized deviance within the quantile
of chi-square. Unlike a bootstrap, it is not too narrow where hardly any outcome is a loss: in simulations of 10 to 80
questions it covers the truth in 92 to 98 of 100 samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from statistics import NormalDist
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
_CLOSE = 1e-6  # in log-odds, to which the ends of an interval are found


def win_rate(
    predictions: Sequence[float | None],
    references: Sequence[float | None],
    *,
    lengths: Sequence[float | None] | None = None,
    baseline_lengths: Sequence[float | None] | None = None,
    level: float = 0.95,
) -> dict[str, Any]:
    """How often a model wins against a baseline, ties counting half, in percent; with lengths, also at the same length.

    Args:
        predictions: the model's score on each question, by a judge or by votes; None or nan where there is none. The
            higher score wins, so 1 and 0, 0 and 1, 0.5 and 0.5 stand for outcomes without scores.
        references: the baseline's scores on the same questions, in the same order.
        lengths: of the model's answers, in any unit; None where it is not known.
        baseline_lengths: of the baseline's answers, in the same unit.
        level: of the intervals, over 0 and under 1.

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
    check_bootstrap(1, level)
    difference = as_numbers(predictions, "predictions") - as_numbers(references, "references")
    longer = _longer(lengths, baseline_lengths, n)
    both = ~np.isnan(difference)
    if not both.any():
        raise UsageError(f"none of {n} questions has both scores: judge them again")
    outcomes = (np.sign(difference[both]) + 1) / 2
    counts = {name: int((outcomes == value).sum()) for name, value in (("win", 1), ("tie", 0.5), ("loss", 0))}
    total = len(outcomes)
    controlled = None if longer is None else _controlled(outcomes, longer[both], level)
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


def _controlled(outcomes: Any, longer: Any, level: float) -> dict[str, Any] | None:
    """The win rate at the same length, of outcomes[n] and by how much the model's answers are longer [n]."""
    import numpy as np

    known = ~np.isnan(longer)
    outcomes, longer = outcomes[known], longer[known]
    n = len(outcomes)
    if not n or (np.ptp(longer) == 0 and longer[0] != 0):
        return None
    squashed = np.tanh(longer / (longer.std() or 1))
    intercept, slope = _fit(outcomes, squashed)
    low, high = _profile(outcomes, squashed, level)
    return {
        "win_rate": 100 * float(_sigmoid(intercept)),
        "interval": _percent(Interval(float(_sigmoid(low)), float(_sigmoid(high)), level)),
        "n": n,
        "length_effect": slope,
    }


def _fit(outcomes: Any, squashed: Any, intercept: float | None = None) -> tuple[float, float]:
    """Intercept and slope of the logistic regression of outcomes[n] on squashed[n]; one is given, or both are found."""
    import numpy as np

    a, b = intercept or 0.0, 0.0
    for _ in range(_STEPS):
        expected = _sigmoid(a + b * squashed)
        left, curved = outcomes - expected, expected * (1 - expected)
        along_a, along_b = left.sum() - _PENALTIES[0] * a, left @ squashed - _PENALTIES[1] * b  # the gradient
        aa, ab = curved.sum() + _PENALTIES[0], curved @ squashed  # the Hessian
        bb = curved @ squashed**2 + _PENALTIES[1]
        if intercept is None:
            steps = np.array([bb * along_a - ab * along_b, aa * along_b - ab * along_a]) / (aa * bb - ab**2)
        else:
            steps = np.array([0.0, along_b / bb])
        longest = np.abs(steps).max()
        a, b = (a, b) + steps / max(1.0, longest / _LONGEST_STEP)
        if longest < 1e-10:
            break
    return float(a), float(b)


def _loss(outcomes: Any, squashed: Any, intercept: float, slope: float) -> float:
    """What `_fit` makes least: half the penalized deviance, but for a constant."""
    import numpy as np

    odds = intercept + slope * squashed
    likelihood = (np.logaddexp(0, odds) - outcomes * odds).sum()
    return float(likelihood + _PENALTIES[0] * intercept**2 / 2 + _PENALTIES[1] * slope**2 / 2)


def _profile(outcomes: Any, squashed: Any, level: float) -> list[float]:
    """From where to where the intercept may be: there the best slope has the deviance that the level allows."""
    best, slope = _fit(outcomes, squashed)
    most = _loss(outcomes, squashed, best, slope) + NormalDist().inv_cdf((1 + level) / 2) ** 2 / 2

    def allowed(intercept: float) -> bool:
        return _loss(outcomes, squashed, *_fit(outcomes, squashed, intercept)) <= most

    ends = []
    for side in (-1.0, 1.0):
        inside, step = 0.0, 1.0
        while allowed(best + side * step):  # ends, as the intercept's own penalty grows without bound
            inside, step = step, 2 * step
        while step - inside > _CLOSE:
            middle = (inside + step) / 2
            inside, step = (middle, step) if allowed(best + side * middle) else (inside, middle)
        ends.append(best + side * inside)
    return ends


def _sigmoid(values: Any) -> Any:
    import numpy as np

    return 1 / (1 + np.exp(-values))


METRIC = Definition(
    win_rate, "numbers", "Dubois et al., Length-Controlled AlpacaEval, 2024, arXiv 2404.04475, for the controlled rate"
)
