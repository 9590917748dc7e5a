"""What votes come to, against counts made by hand, the paper's own numbers and another library's alpha."""

from __future__ import annotations

import json
import random
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gpt4_instruct.errors import MissingExtraError, OutputError, UsageError
from gpt4_instruct.evaluation.rating import CHOICES, CRITERIA, Study
from gpt4_instruct.evaluation.rating_pairs import Pair
from gpt4_instruct.evaluation.tally import _shares, agreement, tally
from gpt4_instruct.metrics.intervals import share_interval

pytestmark = pytest.mark.skipif(find_spec("nltk") is None, reason="pip install '.[human]'")

SETTINGS = {"ours": "a.jsonl", "baseline": "b.jsonl", "seed": 0, "per_question": 9, "attention": 3, "raters": None}


def study_of(folder: Path, questions: int, checks: int = 0, **settings: Any) -> Study:
    """Numbers 1 to `questions` are questions; the checks come after them, and ours is the better side of each."""
    pairs = [Pair(f"k{n}", f"{n}", f"Question {n}?", "", "mine", "theirs") for n in range(1, questions + 1)]
    pairs += [Pair(f"c{n}", f"{n}", f"Question {n}?", "", "mine", "", "ours") for n in range(1, checks + 1)]
    return Study.create(folder / "out", pairs, {**SETTINGS, **settings})


def cast(study: Study, rater: str, pair: int, *choices: str) -> None:
    """A vote by each criterion, as models; with ours on the left, A is ours."""
    sides = {"ours": "A", "baseline": "B", "tie": "tie"}
    given = {criterion: sides[choice] for criterion, choice in zip(CRITERIA, choices, strict=False)}
    study.record(rater, pair, "ours", given, "test")


def test_votes_are_counted_by_criterion_and_rater(tmp_path):
    study = study_of(tmp_path, 3, left_out={"no_answer": 2})
    cast(study, "Ann", 1, "ours", "tie", "tie")
    cast(study, "Bo", 1, "ours", "tie", "baseline")
    cast(study, "Ann", 2, "baseline", "ours", "tie")
    cast(study, "Bo", 2, "tie", "ours")  # harmlessness is missing
    cast(study, "Bo", 2, "ours", "ours")  # and one vote is changed
    found = tally(tmp_path / "out")
    assert found.paper == {
        "n": 4,
        "ours_baseline_tie": {"helpfulness": [3, 1, 0], "honesty": [2, 0, 2], "harmlessness": [0, 1, 2]},
    }
    assert (found.questions, found.rated, found.ratings, found.incomplete, found.changed) == (3, 2, 4, 1, 1)
    helpful = found.criteria["helpfulness"]
    interval = share_interval(1.5, 2)  # by questions: four votes on two of them are no four questions
    assert helpful["n"] == 4 and helpful["interval"] == "wilson over questions"
    assert helpful["ours"] == {"votes": 3, "share": 0.75, "low": interval.low, "high": interval.high}
    assert helpful["majority"]["n"] == 2  # question 1 is ours, question 2 has one of each
    assert [helpful["majority"][choice]["votes"] for choice in CHOICES] == [1, 0, 1]
    assert found.criteria["honesty"]["alpha"] == 1.0
    assert found.raters["Bo"] == {
        "ratings": 2,
        "checks": 0,
        "passed": 0,
        "attentive": None,
        "helpfulness": {"ours": 2, "baseline": 0, "tie": 0},
        "honesty": {"ours": 1, "baseline": 0, "tie": 1},
        "harmlessness": {"ours": 0, "baseline": 1, "tie": 0},
    }
    assert (found.ours, found.baseline, found.left_out) == ("a.jsonl", "b.jsonl", {"no_answer": 2})
    assert found.attentive == found.criteria
    written = json.loads((tmp_path / "out" / "tally.json").read_text())
    assert {name: written[name] for name in found.facts()} == found.facts() and written["level"] == 0.95


def test_who_fails_the_checks_is_told_apart_and_not_dropped(tmp_path):
    study = study_of(tmp_path, 4, checks=4)
    for rater, passed in (("Ann", 4), ("Bo", 3), ("Cy", 2)):
        for number in range(4):
            cast(study, rater, 1 + number, "baseline" if rater == "Cy" else "ours", "tie", "tie")
            cast(study, rater, 5 + number, "ours" if number < passed else "tie", "baseline", "baseline")
    cast(study, "Di", 1, "tie", "tie", "tie")  # saw no check
    found = tally(tmp_path / "out")
    assert {name: (each["checks"], each["passed"], each["attentive"]) for name, each in found.raters.items()} == {
        "Ann": (4, 4, True),
        "Bo": (4, 3, True),
        "Cy": (4, 2, False),
        "Di": (0, 0, None),
    }
    assert [found.criteria["helpfulness"][each]["votes"] for each in CHOICES] == [8, 4, 1]
    assert [found.attentive["helpfulness"][each]["votes"] for each in CHOICES] == [8, 0, 1]
    assert found.paper["n"] == found.ratings == 13, "checks are no ratings"
    assert [tally(tmp_path / "out", must_pass=share).raters["Bo"]["attentive"] for share in (0.76, 0.5)] == [
        False,
        True,
    ]


def test_no_votes_are_a_clear_result(tmp_path):
    study = study_of(tmp_path, 3, checks=1)
    study.view(study.enter("Ann"))
    found = tally(tmp_path / "out")
    assert (found.ratings, found.rated, found.questions) == (0, 0, 3)
    assert found.paper == {"n": 0, "ours_baseline_tie": {each: [0, 0, 0] for each in CRITERIA}}
    nothing = {"votes": 0, "share": None, "low": None, "high": None}
    empty = {"n": 0, "interval": "wilson", **dict.fromkeys(CHOICES, nothing)}
    assert found.criteria["honesty"] == {**empty, "majority": empty, "alpha": None}
    assert found.raters["Ann"]["ratings"] == 0
    json.dumps(found.facts(), allow_nan=False)


def test_the_papers_numbers_come_out_as_they_are(tmp_path, shared_data):
    papers = json.loads((shared_data / "paper_numbers.json").read_text())["human_hhh"]["LLaMA-GPT4_vs_Alpaca"]
    study = study_of(tmp_path, 704)  # one vote each: the paper does not say which of them are on one question
    counts = papers["ours_baseline_tie"].values()
    columns = [[choice for choice, count in zip(CHOICES, each, strict=True) for _ in range(count)] for each in counts]
    with study._transaction():  # one for all: 704 of them would take seconds
        for number, choices in enumerate(zip(*columns, strict=True)):
            for criterion, choice in zip(CRITERIA, choices, strict=True):
                study._save("Ann", 1 + number, criterion, choice, "test")
    found = tally(tmp_path / "out")
    assert found.paper == papers
    helpful = found.criteria["helpfulness"]
    assert [round(100 * helpful[choice]["share"], 2) for choice in CHOICES] == [54.12, 19.74, 26.14]
    assert helpful["interval"] == "wilson"
    assert round(helpful["ours"]["low"], 3) == 0.504 and round(helpful["ours"]["high"], 3) == 0.578


def test_the_interval_covers_where_raters_of_a_question_say_the_same():
    # 40 questions, each with a winner that three raters name 9 times in 10; the true share of ours is 1/2.
    chooser = random.Random(4)
    covered = {"votes": 0, "independent": 0}
    for _ in range(200):
        votes = []
        for _ in range(40):
            winner, loser = chooser.sample(CHOICES[:2], 2)
            votes.append([winner if chooser.random() < 0.9 else loser for _ in range(3)])
        found = _shares(votes, 0.95)
        ours = found["ours"]
        assert found["interval"] == "bootstrap over questions"
        covered["votes"] += ours["low"] <= 0.5 <= ours["high"]
        alone = share_interval(ours["votes"], 120)
        covered["independent"] += alone.low <= 0.5 <= alone.high
    assert covered["votes"] >= 0.91 * 200  # three standard errors under .95 are .904
    # Raters who do not follow the question tell as much as so many questions would.
    apart = _shares([chooser.choices(CHOICES[:2], k=3) for _ in range(40)], 0.95)["ours"]
    assert apart["high"] - apart["low"] < 0.75 * (share_interval(20, 40).high - share_interval(20, 40).low)
    nothing = _shares(votes, 0.95)["tie"]
    assert (nothing["low"], nothing["high"]) == (0.0, share_interval(0, 40).high), "never a certainty"
    assert covered["independent"] <= 0.88 * 200, "or this would show nothing"


def test_alpha_of_two_raters_and_two_choices_is_that_of_the_formula():
    # 1 - (n - 1) * o01 / (n0 * n1), Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011), section A:
    # of n = 20 votes 14 are one choice and 6 the other, and 4 of the 10 questions have one of each.
    rows = {"Ann": "0100000000", "Bo": "1110010010"}
    votes = {(rater, unit): CHOICES[int(each)] for rater, row in rows.items() for unit, each in enumerate(row)}
    assert agreement(votes) == pytest.approx(1 - 19 * 4 / (14 * 6), abs=1e-12)


def alpha_by_hand(votes):
    """1 - observed / expected disagreement, from the coincidences of each unit (Krippendorff 2011, section C)."""
    units = {unit: [choice for (_, of), choice in votes.items() if of == unit] for _, unit in votes}
    several = [unit for unit in units.values() if len(unit) > 1]
    every = [choice for unit in several for choice in unit]

    def apart(values):
        return sum(one != other for one in values for other in values)

    observed = sum(apart(unit) / (len(unit) - 1) for unit in several) / len(every)
    return 1 - observed / (apart(every) / (len(every) * (len(every) - 1)))


def test_alpha_with_missing_votes_is_that_of_the_formula():
    chooser = random.Random(0)
    for agreed in (0.2, 0.6, 0.95):
        votes = {
            (f"r{rater}", unit): CHOICES[unit % 3] if chooser.random() < agreed else chooser.choice(CHOICES)
            for unit in range(60)
            for rater in range(4)
            if chooser.random() < 0.7
        }
        assert agreement(votes) == pytest.approx(alpha_by_hand(votes), abs=1e-12)


def test_votes_at_random_agree_by_chance():
    chooser = random.Random(1)
    votes = {(f"r{rater}", unit): chooser.choice(CHOICES) for unit in range(3000) for rater in range(3)}
    alpha = agreement(votes)
    assert alpha is not None and abs(alpha) < 0.03


@pytest.mark.parametrize(
    "votes",
    [
        {},
        {("Ann", 1): "ours"},
        {("Ann", 1): "ours", ("Ann", 2): "tie"},
        {("Ann", 1): "ours", ("Bo", 1): "ours", ("Ann", 2): "tie"},
    ],
)
def test_where_nothing_can_be_compared_there_is_no_alpha(votes):
    assert agreement(votes) is None


def test_bad_arguments_are_one_line(tmp_path, monkeypatch):
    with pytest.raises(OutputError, match="holds no ratings"):
        tally(tmp_path)
    study = study_of(tmp_path, 2)
    for bad in ({"level": 1.0}, {"level": 0.0}, {"must_pass": 1.5}):
        with pytest.raises(UsageError, match="they are shares"):
            tally(tmp_path / "out", **bad)
    for rater in ("Ann", "Bo"):
        cast(study, rater, 1, "ours", "tie", "tie")
        cast(study, rater, 2, "tie", "tie", "tie")
    monkeypatch.setitem(__import__("sys").modules, "nltk.metrics.agreement", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'gpt4-instruct.human.'"):
        tally(tmp_path / "out")
