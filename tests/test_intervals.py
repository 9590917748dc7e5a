"""The intervals: that they cover the truth as often as they say, their formulas, and what they refuse."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest

from gpt4_instruct.errors import UsageError
from gpt4_instruct.metrics.intervals import (
    FEWEST,
    Interval,
    Unknown,
    _student,
    bootstrap_mean,
    bootstrap_means,
    bootstrap_ratio,
    share_interval,
)

RUNS, QUESTIONS = 500, 80


def expected_coverage(level: float, short: float = 0.005) -> tuple[float, float]:
    """What 500 runs may find where the rate is the stated one: 3.3 standard deviations, in all but 1 of 1,000 tests.

    And a little less than the stated rate, which a bootstrap may fall short by: of 80 questions half a percent.
    """
    spread = 3.3 * math.sqrt(level * (1 - level) / RUNS)
    return level - spread - short, level + spread


# --- they cover the truth -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_interval_of_a_ratio_covers_the_truth_at_the_stated_rate(level):
    rng = np.random.default_rng(17)
    covered = 0
    for run in range(RUNS):
        baseline = rng.choice([7, 8, 9, 10], p=[0.1, 0.3, 0.4, 0.2], size=QUESTIONS)  # 8.7 on average
        model = np.clip(baseline + rng.choice([-2, -1, 0], p=[0.2, 0.3, 0.5], size=QUESTIONS), 1, 10)  # 0.7 less
        found = bootstrap_ratio(model, baseline, resamples=1_000, level=level, seed=run)
        covered += found.low <= 100 * 8.0 / 8.7 <= found.high
    low, high = expected_coverage(level)
    assert low <= covered / RUNS <= high


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_interval_of_a_mean_covers_the_truth_at_the_stated_rate(level):
    rng = np.random.default_rng(18)
    found = [
        bootstrap_mean(rng.beta(2, 3, size=QUESTIONS), resamples=1_000, level=level, seed=run) for run in range(RUNS)
    ]
    low, high = expected_coverage(level)
    assert low <= sum(each.low <= 2 / 5 <= each.high for each in found) / RUNS <= high


def test_the_interval_of_few_questions_covers_the_truth_more_often_than_the_plain_percentiles():
    rng = np.random.default_rng(20)
    low, high = expected_coverage(0.95, short=0.02)
    covered = plain = 0
    for run in range(RUNS):
        values = rng.choice([-2, -1, 0, 1], p=[0.1, 0.3, 0.4, 0.2], size=FEWEST)  # -0.3 on average
        found = bootstrap_mean(values, resamples=1_000, seed=run)
        covered += found.low - 1e-9 <= -0.3 <= found.high + 1e-9
        ends = np.quantile(rng.choice(values, size=(1_000, FEWEST)).mean(axis=1), [0.025, 0.975])
        plain += ends[0] - 1e-9 <= -0.3 <= ends[1] + 1e-9
    assert low <= covered / RUNS <= high
    assert plain < covered


def test_too_few_questions_have_no_interval():
    for n in range(1, FEWEST):
        assert bootstrap_mean([6.5, *range(n - 1)], level=0.8) == Unknown(level=0.8)
        assert bootstrap_ratio(range(n), [8] * n) == Unknown()
        assert bootstrap_means([range(n), [1] * n]) == [Unknown(), Unknown()]
    assert isinstance(bootstrap_mean(range(FEWEST)), Interval)
    assert isinstance(bootstrap_ratio(range(FEWEST), [8] * FEWEST), Interval)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.93])
def test_the_interval_of_a_share_covers_the_truth_at_the_stated_rate(share):
    counts = np.random.default_rng(19).binomial(200, share, size=RUNS)
    found = [share_interval(int(count), 200) for count in counts]
    low, high = expected_coverage(0.95)
    assert low <= sum(each.low <= share <= each.high for each in found) / RUNS <= high


# --- they are what others compute -----------------------------------------------------------------------------------


def test_students_t_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    for degrees in (9, 15, 30, 79, 9000):
        for level, most in ((0.5, 1e-3), (0.8, 1e-3), (0.95, 1e-3), (0.99, 3e-3)):
            assert _student(level, degrees) == pytest.approx(stats.t.ppf((1 + level) / 2, degrees), abs=most)


def test_the_bootstrap_agrees_with_scipys():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(3)
    model, baseline = rng.integers(4, 10, size=40), rng.integers(7, 11, size=40)
    outside = stats.norm.cdf(-math.sqrt(40 / 39) * stats.t.ppf(0.975, 39))  # as far out as Student's t
    theirs = stats.bootstrap(
        (model, baseline),
        lambda a, b, axis=-1: 100 * a.sum(axis=axis) / b.sum(axis=axis),
        paired=True,
        vectorized=True,
        method="percentile",
        n_resamples=20_000,
        confidence_level=1 - 2 * outside,
        random_state=1,
    ).confidence_interval
    ours = bootstrap_ratio(model, baseline, resamples=20_000)
    width = theirs.high - theirs.low  # the draws differ, so that the ends do a little, too
    assert ours.low == pytest.approx(theirs.low, abs=0.04 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.04 * width)


def test_wilsons_interval_is_scipys():
    stats = pytest.importorskip("scipy.stats")
    for count, total, level in [(0, 5, 0.95), (5, 5, 0.95), (1, 1, 0.5), (323, 755, 0.99), (381, 704, 0.95)]:
        theirs = stats.binomtest(count, total).proportion_ci(level, method="wilson")
        ours = share_interval(count, total, level)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
        assert 0 <= ours.low <= count / total <= ours.high <= 1


def test_several_means_are_each_the_one():
    rng = np.random.default_rng(4)
    columns = [rng.random(50), rng.normal(size=50)]
    for together, alone in zip(bootstrap_means(columns), map(bootstrap_mean, columns), strict=True):
        assert (together.low, together.high) == pytest.approx((alone.low, alone.high), abs=1e-12)


# --- small and large, same and other --------------------------------------------------------------------------------


def test_the_same_everywhere_gives_a_point():
    assert bootstrap_ratio([6] * FEWEST, [8] * FEWEST) == Interval(75.0, 75.0)
    assert bootstrap_mean([6.5] * FEWEST, level=0.8) == Interval(6.5, 6.5, 0.8)


def test_the_same_seed_gives_the_same_interval():
    values = np.random.default_rng(5).random(30)
    assert bootstrap_mean(values) == bootstrap_mean(values, seed=0) != bootstrap_mean(values, seed=1)


def test_many_questions_take_little_memory():
    values = np.random.default_rng(6).random(200_000)
    tracemalloc.start()
    found = bootstrap_ratio(values, values + 1, resamples=50)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 60e6  # 50 draws at once would take 80 MB for their numbers alone, and 10,000 draws 16 GB
    assert found.low < 100 * values.sum() / (values + 1).sum() < found.high
    assert found.high - found.low < 0.3


def test_draws_that_have_no_ratio_do_not_count():
    nothing = [0] * FEWEST
    found = bootstrap_ratio([4, *nothing], [8, *nothing], resamples=100)  # the first question is in 65 % of the draws
    assert found == Interval(50.0, 50.0)
    with pytest.raises(UsageError, match="in each of 1 draws: draw more often"):
        bootstrap_ratio([1, *[0] * 999], [1, *[0] * 999], resamples=1, seed=1)


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_mean([]), "there is no question"),
        (lambda: bootstrap_ratio([], []), "there is no question"),
        (lambda: bootstrap_ratio([1, 2], [1]), "2 numerators and 1 denominators"),
        (lambda: bootstrap_ratio([1, 2], [0, 0]), "sum to 0, or one is negative"),
        (lambda: bootstrap_ratio([1, 2], [3, -1]), "sum to 0, or one is negative"),
        (lambda: bootstrap_mean([1, float("nan")]), r"values\[1\] is nan: leave out"),
        (lambda: bootstrap_mean([1, None]), r"values\[1\] is nan: leave out"),
        (lambda: bootstrap_ratio([1, 2], [3, float("inf")]), r"denominators\[1\] is inf"),
        (lambda: bootstrap_mean(["nine"]), "values are not all numbers"),
        (lambda: bootstrap_mean([[1.0, 2.0]]), "must be a list of numbers"),
        (lambda: bootstrap_mean([1], resamples=0), "resamples is 0"),
        (lambda: bootstrap_mean([1], level=95), "level is 95"),
        (lambda: share_interval(0, 0), "the total is 0"),
        (lambda: share_interval(4, 3), "4 of 3 is no share"),
        (lambda: share_interval(-1, 3), "-1 of 3 is no share"),
        (lambda: share_interval(1, 3, level=1), "level is 1"),
    ],
)
def test_what_has_no_interval_is_one_line(call, message):
    with pytest.raises(UsageError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
