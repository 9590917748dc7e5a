"""Relative scores, preference accuracy and win rates; and all metrics as those of the evaluate library."""

from __future__ import annotations

import inspect
import json
import math
import socket
import subprocess
import sys

import numpy as np
import pytest

from gpt4_instruct.errors import MissingExtraError, UnknownNameError, UsageError
from gpt4_instruct.metrics import load
from gpt4_instruct.metrics.intervals import bootstrap_mean, bootstrap_ratio, share_interval
from gpt4_instruct.metrics.preference_accuracy import preference_accuracy
from gpt4_instruct.metrics.relative_score import relative_score
from gpt4_instruct.metrics.win_rate import _fit, win_rate
from gpt4_instruct.registry import find, names

NAMES = ["preference_accuracy", "relative_score", "rouge_by_length", "win_rate"]
NAN = float("nan")


@pytest.fixture(scope="module")
def paper(shared_data) -> dict:
    return json.loads((shared_data / "paper_numbers.json").read_text(encoding="utf-8"))


# --- the numbers of the paper ---------------------------------------------------------------------------------------


def spread(total: float, questions: int = 80) -> list[float]:
    """Scores in halves, unequal, that sum to the total."""
    scores = [total // questions + (0.5 if number % 3 == 0 else -0.5) for number in range(questions)]
    left = total - sum(scores)
    for number in range(int(2 * abs(left))):
        scores[number % questions] += math.copysign(0.5, left)
    assert sum(scores) == total
    return scores


def pairs_of(numbers: dict) -> dict[str, list[float]]:
    found = {}
    for part in ("vicuna80", "rank_groups"):
        for against, models in numbers[part].items():
            found |= {f"{part} {against} {model}": pair for model, pair in models.items()}
    for against, models in numbers["chinese"].items():
        if against != "note":
            found |= {f"{against} {model}": pair for model, pair in models.items()}
    return found


def test_every_relative_score_of_the_paper_comes_from_its_sums(paper):
    pairs = pairs_of(paper)
    assert len(pairs) == 16 + 12 + 22
    for name, (ours, theirs) in pairs.items():
        found = relative_score(spread(ours), spread(theirs), resamples=200)
        assert (found["sum"], found["baseline_sum"], found["n"]) == (ours, theirs, 80), name
        assert found["relative_score"] == pytest.approx(100 * ours / theirs, abs=1e-12), name
        assert found["interval"]["low"] <= found["relative_score"] <= found["interval"]["high"], name
    # As the paper prints them.
    vicuna = paper["vicuna80"]
    for against, model, percent in (
        ("vs_chatgpt", "LLaMA-GPT4-7B", 91),
        ("vs_chatgpt", "LLaMA-GPT4-7B-R1", 94),
        ("vs_gpt4", "LLaMA-GPT4-7B-R1", 87),
        ("vs_gpt4", "Alpaca-13B", 80),
        ("vs_gpt4", "GPT-4", 100),
    ):
        ours, theirs = vicuna[against][model]
        assert round(relative_score(spread(ours), spread(theirs), resamples=1)["relative_score"]) == percent


def test_the_votes_of_the_paper_come_from_its_counts(paper):
    for comparison in paper["human_hhh"].values():
        for criterion, (ours, baseline, tie) in comparison["ours_baseline_tie"].items():
            outcomes = [1.0] * ours + [0.0] * baseline + [0.5] * tie
            found = win_rate(outcomes, [1 - each for each in outcomes])
            assert found["n"] == comparison["n"], criterion
            assert [found[each]["n"] for each in ("win", "loss", "tie")] == [ours, baseline, tie]
            assert sum(found[each]["percent"] for each in ("win", "loss", "tie")) == pytest.approx(100)
    ours, baseline, tie = paper["human_hhh"]["LLaMA-GPT4_vs_Alpaca"]["ours_baseline_tie"]["helpfulness"]
    found = win_rate([2] * ours + [0] * baseline + [1] * tie, [1] * 704)
    assert [round(found[each]["percent"], 2) for each in ("win", "loss", "tie")] == [54.12, 19.74, 26.14]
    interval = share_interval(ours, 704)
    assert found["win"]["interval"] == {"low": 100 * interval.low, "high": 100 * interval.high, "level": 0.95}


def test_the_means_of_the_papers_judge_scores_lie_in_their_intervals(paper, shared_data):
    scores = json.loads((shared_data / "cmp_data_scores.json").read_text(encoding="utf-8"))
    expected = paper["judge_scores"]
    by_n = {each["n"]: each for each in expected.values()}
    assert len(scores) == 3
    for values in scores.values():
        told = by_n[len(values)]
        interval = bootstrap_mean(values, resamples=50)
        assert interval.low - 5e-4 <= told["mean"] <= interval.high + 5e-4
        assert interval.high - interval.low < 8 * told["sd"] / math.sqrt(told["n"])
        assert sum(values) / len(values) == pytest.approx(told["mean"], abs=5e-4)


# --- relative score -------------------------------------------------------------------------------------------------


def test_a_relative_score_is_a_ratio_of_sums_over_questions_with_both_scores():
    model, baseline = [8, None, 5, 9, NAN], [10, 9, 5, NAN, None]
    found = relative_score(model, baseline)
    assert found["relative_score"] == pytest.approx(100 * 13 / 15)  # a mean of ratios would be 90
    assert (found["n"], found["missing"], found["mean"], found["baseline_mean"]) == (2, 3, 6.5, 7.5)
    assert found["interval"] == {"low": None, "high": None, "level": 0.95}, "two questions are too few"
    interval = bootstrap_ratio([8, 5] * 5, [10, 5] * 5, level=0.9)
    ten = relative_score([*model, *[8, 5] * 4], [*baseline, *[10, 5] * 4], level=0.9)["interval"]
    assert ten == {"low": interval.low, "high": interval.high, "level": 0.9}
    assert relative_score(model[::-1], baseline[::-1])["relative_score"] == found["relative_score"]


# --- preference accuracy --------------------------------------------------------------------------------------------


def test_preference_accuracy_counts_ties_half_and_tells_them():
    chosen, rejected = [1.0, 2.0, 0.0, -1.0, None, 5.0], [0.0, 2.0, 1.0, -3.0, 1.0, NAN]
    found = preference_accuracy(chosen, rejected, gaps=[2, 1, None, 5, 1, 1], level=0.9)
    assert (found["n"], found["correct"], found["tied"], found["wrong"], found["missing"]) == (4, 2, 1, 1, 2)
    assert found["accuracy"] == 2.5 / 4
    interval = share_interval(2.5, 4, 0.9)
    assert found["interval"] == {"low": interval.low, "high": interval.high, "level": 0.9}
    assert [(each["n"], each["accuracy"]) for each in found["by_gap"]] == [(1, 0.5), (1, 1.0), (0, None), (1, 1.0)]
    assert found["by_gap"][2]["interval"] is None
    assert preference_accuracy(chosen, rejected)["by_gap"] is None
    json.dumps(found)


def test_preference_accuracy_is_that_of_training():
    from gpt4_instruct.training.pairs import measure_pairs

    rng = np.random.default_rng(2)
    chosen, rejected, gaps = rng.normal(0.5, 1, 200).round(1), rng.normal(0, 1, 200).round(1), rng.integers(1, 9, 200)
    found = preference_accuracy(chosen, rejected, gaps=gaps)
    assert found["tied"] > 0
    assert found["accuracy"] == pytest.approx(measure_pairs(chosen - rejected, gaps)["accuracy"])
    parts = found["by_gap"]
    assert sum(each["n"] for each in parts) == 200
    assert sum(each["n"] * each["accuracy"] for each in parts) == pytest.approx(200 * found["accuracy"])


def test_the_bounds_of_gaps_are_in_the_bucket_below():
    found = preference_accuracy([1] * 4, [0] * 4, gaps=[0.5, 1, 1.5, 9], bounds=[0.5, 1])
    assert [(each["gap"], each["n"]) for each in found["by_gap"]] == [
        ("up to 0.5", 1),
        ("over 0.5 to 1", 1),
        ("over 1", 2),
    ]


# --- win rate -------------------------------------------------------------------------------------------------------


def judged(rng, n: int, judge) -> dict:
    """Scores by a judge of how much longer the model's answer is; it is 60 characters longer on average."""
    longer = rng.normal(60, 100, size=n)
    wins = judge(longer)
    return {
        "predictions": np.where(wins, 9, 7),
        "references": np.full(n, 8),
        "lengths": 500 + longer,
        "baseline_lengths": np.full(n, 500),
    }


def test_a_judge_that_likes_length_only_gives_half_when_controlled():
    rng = np.random.default_rng(4)
    judges = {
        "always": lambda longer: longer > 0,
        "often": lambda longer: rng.random(len(longer)) < 1 / (1 + np.exp(-longer / 40)),
    }
    for name, judge in judges.items():
        found = [win_rate(**judged(rng, 400, judge)) for _ in range(200)]
        raw = sum(each["win_rate"] for each in found) / 200
        controlled = sum(each["length_controlled"]["win_rate"] for each in found) / 200
        assert raw > 65, name
        assert controlled == pytest.approx(50, abs=3 if name == "always" else 1), name
        assert all(each["length_controlled"]["length_effect"] > 1 for each in found), name


def test_a_judge_that_does_not_look_at_length_gives_the_same_when_controlled():
    rng = np.random.default_rng(5)
    found = [win_rate(**judged(rng, 400, lambda longer: rng.random(len(longer)) < 0.75)) for _ in range(40)]
    differences = [each["length_controlled"]["win_rate"] - each["win_rate"] for each in found]
    assert abs(sum(differences) / 40) < 1
    assert max(map(abs, differences)) < 6
    assert abs(sum(each["length_controlled"]["length_effect"] for each in found) / 40) < 0.15


@pytest.mark.parametrize(("share", "n"), [(0.5, 80), (0.8, 80), (0.9, 30), (0.95, 30)])
def test_the_intervals_of_win_rates_cover_the_truth_at_the_stated_rate(share, n):
    rng = np.random.default_rng(6)
    runs, raw, controlled = 500, 0, 0

    def judge(longer):
        """Prefers the model in `share` of the answers that are as long, and longer ones by 1.5 in log-odds."""
        odds = math.log(share / (1 - share)) + 1.5 * np.tanh(longer / longer.std())
        return rng.random(n) < 1 / (1 + np.exp(-odds))

    for _ in range(runs):
        found = win_rate(**judged(rng, n, judge))["length_controlled"]
        controlled += found["interval"]["low"] <= 100 * share <= found["interval"]["high"]
        fair = win_rate(rng.random(n) < share, np.full(n, 0.5))
        raw += fair["interval"]["low"] <= 100 * share <= fair["interval"]["high"]
    tolerance = 3.3 * math.sqrt(0.95 * 0.05 / runs)
    # As wins are whole, no interval of a share covers it in just 95 of 100 cases; this is how often Wilson's does.
    intervals = [win_rate([1] * wins + [0] * (n - wins), [0.5] * n)["interval"] for wins in range(n + 1)]
    exact = sum(
        math.comb(n, wins) * share**wins * (1 - share) ** (n - wins)
        for wins, interval in enumerate(intervals)
        if interval["low"] <= 100 * share <= interval["high"]
    )
    assert exact == pytest.approx(0.95, abs=0.03)
    assert raw / runs == pytest.approx(exact, abs=tolerance)
    # Likewise of a fit to few outcomes, one or two of them losses.
    assert 0.95 - tolerance - 0.02 <= controlled / runs <= min(1, 0.95 + tolerance + 0.02)


def test_a_side_that_wins_always_has_a_wide_interval():
    lengths = {"lengths": range(20), "baseline_lengths": [5] * 20}
    found = win_rate([1] * 20, [0] * 20, **lengths)["length_controlled"]
    assert found["win_rate"] > 99 and 80 < found["interval"]["low"] < 92 and found["interval"]["high"] > 99.9
    lost = win_rate([0] * 20, [1] * 20, **lengths)["length_controlled"]["interval"]
    assert lost["high"] == pytest.approx(100 - found["interval"]["low"], abs=1e-3)
    narrow = win_rate([1] * 20, [0] * 20, **lengths, level=0.5)["length_controlled"]["interval"]
    assert narrow["low"] > found["interval"]["low"] + 3


def test_the_ends_of_a_controlled_interval_are_as_deep_as_chi_square_says():
    optimize, stats = pytest.importorskip("scipy.optimize"), pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(8)
    for level in (0.8, 0.95):
        longer, wins = rng.normal(50, 100, size=40), rng.choice([0, 0.5, 1], p=[0.2, 0.2, 0.6], size=40)
        found = win_rate(wins, np.full(40, 0.5), lengths=longer, baseline_lengths=np.zeros(40), level=level)
        x = np.tanh(longer / longer.std())

        def loss(a, b, x=x, y=wins):
            z = a + b * x
            return (np.logaddexp(0, z) - y * z).sum() + 0.005 * a**2 + 0.05 * b**2

        best = optimize.minimize(lambda both: loss(*both), [0, 0]).fun
        for end in ("low", "high"):
            share = found["length_controlled"]["interval"][end] / 100
            a = math.log(share / (1 - share))
            least = optimize.minimize_scalar(lambda b: loss(a, b)).fun  # noqa: B023
            assert 2 * (least - best) == pytest.approx(stats.chi2.ppf(level, 1), abs=1e-3)


def test_the_fit_is_the_best_one():
    optimize = pytest.importorskip("scipy.optimize")
    rng = np.random.default_rng(7)
    for case in ("mixed", "separable", "all wins"):
        x = np.tanh(rng.normal(0.4, 1, size=60))
        y = {"mixed": rng.choice([0, 0.5, 1], size=60), "separable": (x > 0) * 1.0, "all wins": np.ones(60)}[case]

        def loss(both, x=x, y=y):
            z = both[0] + both[1] * x
            return (np.logaddexp(0, z) - y * z).sum() + 0.005 * both[0] ** 2 + 0.05 * both[1] ** 2

        found = _fit(y, x)
        best = optimize.minimize(loss, [0, 0], tol=1e-10)
        assert loss(found) == pytest.approx(best.fun, abs=1e-7), case
        assert found == pytest.approx(best.x, abs=2e-3), case


def test_lengths_that_cannot_control_anything():
    scores = {"predictions": [9, 8, 9, 7], "references": [8, 8, 8, 8]}
    assert win_rate(**scores)["length_controlled"] is None
    apart = win_rate(**scores, lengths=[13, 15, 9, 11], baseline_lengths=[3, 5, -1, 1])
    assert apart["length_controlled"] is None and apart["win_rate"] == 62.5
    same = win_rate(**scores, lengths=[3, 5, 9, 1], baseline_lengths=[3, 5, 9, 1])["length_controlled"]
    assert same["win_rate"] == pytest.approx(62.5, abs=0.2) and same["length_effect"] == 0
    some = win_rate(**scores, lengths=[3, None, 9, 1], baseline_lengths=[1, 5, NAN, 4])["length_controlled"]
    assert some["n"] == 2
    assert win_rate(**scores, lengths=[None] * 4, baseline_lengths=[1] * 4)["length_controlled"] is None


def test_missing_scores_are_left_out_with_their_lengths():
    scores = {"predictions": [9, None, 9, 7, 8, 9], "references": [8, 8, 8, 8, 9, NAN]}
    found = win_rate(**scores, lengths=[9, 1, 8, 4, 3, 2], baseline_lengths=[5] * 6)
    kept = win_rate([9, 9, 7, 8], [8, 8, 8, 9], lengths=[9, 8, 4, 3], baseline_lengths=[5] * 4)
    assert (found.pop("missing"), kept.pop("missing")) == (2, 0)
    assert found == kept


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [relative_score, preference_accuracy, win_rate])
@pytest.mark.parametrize(
    ("predictions", "references", "message"),
    [
        ([1, 2], [1], "2 predictions and 1 references"),
        ([], [], "there is nothing to compare"),
        ("12", "12", "predictions is one string"),
        ([None, 1], [1, NAN], "none of 2 "),
        ([1, "nine"], [1, 2], "predictions are not all numbers"),
        ([1, 2], [1, float("inf")], r"references\[1\] is infinite"),
        ([[1, 2]], [[1, 2]], "must be a list of numbers"),
    ],
)
def test_scores_that_cannot_be_compared_are_one_line(metric, predictions, references, message):
    with pytest.raises(UsageError, match=message) as error:
        metric(predictions, references)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relative_score([1, -1], [1, 1]), "a score is negative"),
        (lambda: relative_score([1, 2], [0, 0]), "sum to 0"),
        (lambda: relative_score([1], [1], level=95), "level is 95"),
        (lambda: preference_accuracy([1], [0], gaps=[0]), "a gap is not over 0"),
        (lambda: preference_accuracy([1], [0], gaps=[1, 2]), "2 gaps for 1 pairs"),
        (lambda: preference_accuracy([1], [0], gaps=[1], bounds=[2, 1]), r"bounds are \[2, 1\]"),
        (lambda: preference_accuracy([1], [0], level=0), "level is 0"),
        (lambda: win_rate([1], [0], lengths=[5]), "the lengths of one side alone"),
        (lambda: win_rate([1], [0], lengths=[5], baseline_lengths=[5, 6]), "1 and 2 lengths for 1 questions"),
        (lambda: win_rate([1], [0], level=1), "level is 1"),
    ],
)
def test_options_that_cannot_work_are_one_line(call, message):
    with pytest.raises(UsageError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


# --- as metrics of evaluate -----------------------------------------------------------------------------------------

EXAMPLES = {
    "relative_score": ([8.0, 7.5, None], [9.0, 9.0, 8.0], {"resamples": 100}),
    "preference_accuracy": ([1.0, None, 0.5], [0.0, 1.0, 0.7], {"gaps": [1, 2, 3]}),
    "rouge_by_length": ([None, "the cat", "大熊猫"], ["a", "the cats", "熊猫"], {"bounds": [1, 4], "resamples": 20}),
    "win_rate": ([1, 0, 1, None], [0, 1, 0.5, 1], {"lengths": [3, 2, 9, 1], "baseline_lengths": [1, 1, 8, 1]}),
}


def test_the_registry_knows_all_metrics():
    assert names("metrics") == NAMES == sorted(EXAMPLES)
    with pytest.raises(UnknownNameError, match="unknown metric 'rouge_by_lenght': did you mean 'rouge_by_length'"):
        load("rouge_by_lenght")


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_is_its_function(name, monkeypatch):
    evaluate = pytest.importorskip("evaluate")

    def refuse(*arguments: object) -> None:
        raise OSError("a metric asks the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    predictions, references, options = EXAMPLES[name]
    metric = load(name)
    assert isinstance(metric, evaluate.Metric) and metric.name == name
    function = find("metrics", name).compute
    expected = function(predictions, references, **options)
    assert metric.compute(predictions=predictions, references=references, **options) == expected
    metric.add_batch(predictions=predictions[:2], references=references[:2])
    metric.add_batch(predictions=predictions[2:], references=references[2:])
    assert metric.compute(**options) == expected, "batch by batch"
    with pytest.raises(TypeError, match="nonsense"):
        metric.compute(predictions=predictions, references=references, nonsense=1)
    assert inspect.getdoc(function) in metric.inputs_description
    assert f'load("{name}")' in metric.inputs_description, "the example in the docstring"
    assert metric.citation
    json.dumps(expected, allow_nan=False)


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_takes_no_unnamed_options(name):
    parameters = list(inspect.signature(find("metrics", name).compute).parameters.values())
    assert [each.name for each in parameters[:2]] == ["predictions", "references"]
    assert all(each.kind is each.KEYWORD_ONLY for each in parameters[2:])


def test_without_evaluate_the_functions_work_and_load_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "evaluate", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gpt4-instruct\[eval\]'"):
        load("win_rate")
    assert win_rate([1], [0])["win_rate"] == 100


def test_the_import_is_light():
    heavy = ["numpy", "evaluate", "datasets", "rapidfuzz", "scipy", "pandas", "nltk"]
    code = (
        "import gpt4_instruct.metrics, gpt4_instruct.metrics.rouge_by_length, gpt4_instruct.metrics.win_rate, sys\n"
        f"print(*sorted(set(sys.modules) & set({heavy!r})))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
