"""How uncertain a number is: intervals over questions, and of shares.

The questions are taken for a sample of those that could have been asked. The percentile bootstrap (Efron and
Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13) draws as many of them anew, with replacement, computes
the number again, and takes the middle of what it finds; of few questions a little more than that, as Student's t is
wider than the normal curve (Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician
2015). In simulations of 10 questions, the plain middle covers the truth in 88 of 100 samples, and this in 93; of 20
questions, in 94. Below `FEWEST` questions no interval is given: it would not cover the truth as often as it says.

Shares have Wilson's interval ("Probable inference, the law of succession, and statistical inference", JASA 1927), which
stays within 0 and 1, and is no point where all votes are the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

from gpt4_instruct.errors import UsageError

__all__ = [
    "FEWEST",
    "Interval",
    "Unknown",
    "bootstrap_mean",
    "bootstrap_means",
    "bootstrap_ratio",
    "check_bootstrap",
    "share_interval",
]

FEWEST = 10  # questions that a bootstrapped interval needs
_AT_ONCE = 1_000_000  # questions drawn together: a few times 8 MB, however many questions there are


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`, in the unit of the number it belongs to; it covers the truth in `level` of all samples."""

    low: float
    high: float
    level: float = 0.95


@dataclass(frozen=True, slots=True)
class Unknown:
    """In place of an interval where there are too few questions for one."""

    low: None = None
    high: None = None
    level: float = 0.95


def bootstrap_ratio(
    numerators: Sequence[float],
    denominators: Sequence[float],
    *,
    resamples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval | Unknown:
    """The interval of ``100 * sum(numerators) / sum(denominators)``, in percent, over questions; unknown below 10.

    Args:
        numerators: a number a question.
        denominators: likewise, of the same questions in the same order; none is negative.
        resamples: how often the questions are drawn anew. The few draws whose denominators are all 0 do not count.
        level: over 0 and under 1.
        seed: of the draws; the same seed gives the same interval.

    Raises:
        UsageError: there is no question, the lengths differ, a value is no finite number, or the denominators sum to 0.

    >>> found = bootstrap_ratio([8, 9, 7, 6] * 5, [9, 9, 8, 9] * 5)  # 85.7 %
    >>> round(found.low, 1), round(found.high, 1)
    (79.5, 91.4)
    >>> bootstrap_ratio([8, 9, 7, 6], [9, 9, 8, 9])
    Unknown(low=None, high=None, level=0.95)
    """
    import numpy as np

    check_bootstrap(resamples, level)
    top, bottom = _column(numerators, "numerators"), _column(denominators, "denominators")
    if len(top) != len(bottom):
        raise UsageError(f"{len(top)} numerators and {len(bottom)} denominators: give one of each a question")
    if bottom.min() < 0 or bottom.sum() <= 0:
        raise UsageError("the denominators sum to 0, or one is negative: there is no ratio to them")
    if len(top) < FEWEST:
        return Unknown(level=level)
    sums = _resampled_sums(np.column_stack([top, bottom]), resamples, seed)
    sums = sums[sums[:, 1] > 0]
    if not len(sums):
        raise UsageError(f"the denominators sum to 0 in each of {resamples} draws: draw more often")
    return _middle(100 * sums[:, 0] / sums[:, 1], len(top), level)


def bootstrap_mean(
    values: Sequence[float], *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> Interval | Unknown:
    """The interval of the mean of `values`, in their unit; arguments and errors as in `bootstrap_ratio`.

    >>> bootstrap_mean([0.5] * 10), bootstrap_mean([0.5] * 9)
    (Interval(low=0.5, high=0.5, level=0.95), Unknown(low=None, high=None, level=0.95))
    """
    return bootstrap_means([values], resamples=resamples, level=level, seed=seed)[0]


def bootstrap_means(
    columns: Sequence[Sequence[float]], *, resamples: int = 10_000, level: float = 0.95, seed: int = 0
) -> list[Interval | Unknown]:
    """The intervals of several means over the same questions, at about the cost of one; see `bootstrap_mean`."""
    import numpy as np

    check_bootstrap(resamples, level)
    table = np.column_stack([_column(values, "values") for values in columns])
    if len(table) < FEWEST:
        return [Unknown(level=level) for _ in columns]
    sums = _resampled_sums(table, resamples, seed)
    return [_middle(each / len(table), len(table), level) for each in sums.T]


def share_interval(count: float, total: int, level: float = 0.95) -> Interval:
    """Wilson's interval of the share ``count / total``, between 0 and 1.

    Args:
        count: from 0 to `total`. Ties may count half; the interval is then a little wider than it need be.
        total: 1 or more.
        level: over 0 and under 1.

    Raises:
        UsageError: an argument is out of its range.

    >>> found = share_interval(381, 704)  # 54.1 %
    >>> round(found.low, 3), round(found.high, 3)
    (0.504, 0.578)
    >>> share_interval(3, 3).low < 0.5
    True
    """
    check_bootstrap(1, level)
    if total < 1:
        raise UsageError("there is nothing to take a share of: the total is 0")
    if not 0 <= count <= total:
        raise UsageError(f"{count} of {total} is no share: the count must be from 0 to the total")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = count / total, z * z / total
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / total + spread / (4 * total)) / (1 + spread)
    # At the ends the formula gives exactly 0 and 1, but for its rounding.
    return Interval(0.0 if count == 0 else middle - half, 1.0 if count == total else middle + half, level)


def check_bootstrap(resamples: int, level: float) -> None:
    """Raises UsageError where there are no resamples, or the level is not over 0 and under 1."""
    if resamples < 1:
        raise UsageError(f"resamples is {resamples}, but must be 1 or more")
    if not 0 < level < 1:
        raise UsageError(f"level is {level}, but must be over 0 and under 1, such as 0.95")


def _column(values: Sequence[float], name: str) -> Any:
    """float64[n], n > 0, all of them finite."""
    import numpy as np

    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{name} are not all numbers: leave out the questions that have none") from None
    if column.ndim != 1:
        raise UsageError(f"{name} must be a list of numbers, one a question")
    if not len(column):
        raise UsageError("there is no question: an interval needs at least one")
    if not np.isfinite(column).all():
        place = int(np.flatnonzero(~np.isfinite(column))[0])
        raise UsageError(f"{name}[{place}] is {column[place]}: leave out the questions that have no number")
    return column


def _resampled_sums(table: Any, resamples: int, seed: int) -> Any:
    """float64[resamples, columns]: the sums of each column of float64[n, columns], over n rows drawn anew each time."""
    import numpy as np

    n = len(table)
    rng = np.random.default_rng(seed)
    sums = np.empty((resamples, table.shape[1]))
    step = max(1, _AT_ONCE // n)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, n, size=(rows, n))
        drawn += np.arange(rows)[:, None] * n  # so that one count serves all of these draws
        counts = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n)
        sums[start : start + rows] = counts @ table
    return sums


def _middle(values: Any, n: int, level: float) -> Interval:
    """Between the quantiles of float64[resamples] that are as far out as Student's t of n questions."""
    import numpy as np

    outside = NormalDist().cdf(-math.sqrt(n / (n - 1)) * _student(level, n - 1))
    low, high = np.quantile(values, [outside, 1 - outside])
    return Interval(float(low), float(high), level)


def _student(level: float, degrees: int) -> float:
    """By how many standard errors an interval of Student's t reaches to a side (Abramowitz and Stegun, 26.7.5).

    From 9 degrees of freedom up, it is right to a thousandth at a level of 0.95, and to two at 0.99.

    >>> round(_student(0.95, 9), 2), round(_student(0.95, 79), 2)
    (2.26, 1.99)
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    return (
        z
        + (z**3 + z) / (4 * degrees)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * degrees**3)
    )
