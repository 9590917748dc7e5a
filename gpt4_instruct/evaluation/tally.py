"""What people's votes come to: shares with intervals, agreement, and who did not read, as plain data::

    {"ours": "llama-gpt4.jsonl", "baseline": "alpaca.jsonl", "questions": 252, "ratings": 704, ...,
     "criteria": {"helpfulness": {"n": 704, "interval": "bootstrap over questions",
                                  "ours": {"votes": 381, "share": 0.541, "low": 0.497, "high": 0.586}, ...,
                                  "alpha": 0.31}},
     "attentive": {...},                            the same, without those who failed the attention checks
     "paper": {"n": 704, "ours_baseline_tie": {"helpfulness": [381, 139, 184], ...}}}

A share is of votes. Votes on one question go together, so where a question has several, the interval is over questions,
each with all of its votes: by bootstrap, or, with too few questions for one and for a share of nothing or all, Wilson's
with as many votes as there are questions. Where each has one vote, it is Wilson's, too. ``interval`` says which it is.
``majority`` counts each question once, for what most of its raters say: a tie where two sides have as many.

Agreement is Krippendorff's alpha for nominal data ("Content Analysis", 2004, chapter 11), by the library of that name:
1 is perfect, 0 what chance gives. There is none where no question has two votes, or all votes are the same.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gpt4_instruct
from gpt4_instruct.errors import MissingExtraError, UsageError
from gpt4_instruct.evaluation.rating import CHOICES, CRITERIA, Study
from gpt4_instruct.metrics.intervals import FEWEST, bootstrap_ratio, share_interval
from gpt4_instruct.storage import write_json

__all__ = ["TallyResult", "agreement", "tally"]

_Votes = Mapping[tuple[str, int], str]  # by rater and pair


@dataclass(frozen=True, slots=True)
class TallyResult:
    """What was found; see the top of `tally`.

    Attributes:
        ours: the file of the model that was rated.
        baseline: the file of the other.
        questions: pairs that are rated, attention checks not among them.
        rated: of those, the ones with a vote.
        ratings: pairs of a rater and a question with a vote, checks not among them.
        incomplete: of those, the ones without a vote by each criterion.
        changed: votes that took the place of an earlier one.
        criteria: all votes, by criterion.
        attentive: likewise, without those of raters who failed the attention checks.
        raters: by name: ``ratings``, ``checks``, ``passed``, ``attentive`` (none where no check was seen) and the
            counts of each choice by criterion.
        paper: the counts in the form of the paper's own numbers.
        left_out: questions that were not rated, by reason.
    """

    ours: str
    baseline: str
    questions: int
    rated: int
    ratings: int
    incomplete: int
    changed: int
    criteria: dict[str, dict[str, Any]]
    attentive: dict[str, dict[str, Any]]
    raters: dict[str, dict[str, Any]]
    paper: dict[str, Any]
    left_out: dict[str, int]

    def facts(self) -> dict[str, Any]:
        """All of it as plain data."""
        return asdict(self)


def tally(out: str | Path, *, level: float = 0.95, must_pass: float = 0.75, write: bool = True) -> TallyResult:
    """Counts the votes of a study, and writes ``tally.json`` beside them. It may be asked while people rate.

    Args:
        out: the folder that `rating_server.serve` was given.
        level: of the intervals.
        must_pass: the share of attention checks that a rater must pass to count among the attentive. A check is passed
            when the real answer is voted more helpful.
        write: write ``tally.json``; else the folder is only read.

    Returns:
        what was found; with no vote at all, counts of 0 and neither shares nor agreement.

    Raises:
        UsageError: `level` or `must_pass` is out of range.
        OutputError: there is no study in the folder, or it cannot be written.
        MissingExtraError: nltk is not installed, and there are votes to be compared.
    """
    if not 0 < level < 1 or not 0 <= must_pass <= 1:
        raise UsageError(f"level is {level} and must_pass {must_pass}, but they are shares, such as 0.95 and 0.75")
    study = Study(out)
    try:
        votes = study.votes()
        history = study.history()
        raters = study.raters()
    finally:
        study.close()
    expected = {number: pair.expected for number, pair in study.pairs.items() if pair.expected is not None}
    by_criterion: dict[str, dict[tuple[str, int], str]] = {each: {} for each in CRITERIA}
    checks: dict[str, list[bool]] = defaultdict(list)
    for rater, pair, criterion, choice in votes:
        if pair not in expected:
            by_criterion[criterion][rater, pair] = choice
        elif criterion == "helpfulness":
            checks[rater].append(choice == expected[pair])
    failed = {rater for rater, passed in checks.items() if sum(passed) < must_pass * len(passed)}
    ratings = {of for cast in by_criterion.values() for of in cast}
    result = TallyResult(
        ours=study.settings["ours"],
        baseline=study.settings["baseline"],
        questions=len(study.pairs) - len(expected),
        rated=len({pair for _, pair in ratings}),
        ratings=len(ratings),
        incomplete=sum(any(of not in cast for cast in by_criterion.values()) for of in ratings),
        changed=len(history) - len(votes),
        criteria={criterion: _counted(cast, level) for criterion, cast in by_criterion.items()},
        attentive={
            criterion: _counted({of: choice for of, choice in cast.items() if of[0] not in failed}, level)
            for criterion, cast in by_criterion.items()
        },
        raters={each: _rater(each, by_criterion, checks[each], each in failed) for each in raters},
        paper={
            "n": len(ratings),
            "ours_baseline_tie": {each: list(_counts(cast.values()).values()) for each, cast in by_criterion.items()},
        },
        left_out=study.settings.get("left_out", {}),
    )
    if not write:
        return result
    facts = {"package": gpt4_instruct.__version__, "level": level, "must_pass": must_pass, **result.facts()}
    write_json(study.folder / "tally.json", facts)
    return result


def agreement(votes: _Votes) -> float | None:
    """Krippendorff's alpha of votes by rater and question; none where nothing can be compared, or all is the same.

    Raises:
        MissingExtraError: nltk is not installed.

    >>> agreement({("Ann", 1): "ours", ("Bo", 2): "ours"}) is None
    True
    """
    units: dict[int, Counter[str]] = defaultdict(Counter)
    for (_, pair), choice in votes.items():
        units[pair][choice] += 1
    if len({choice for unit in units.values() if unit.total() > 1 for choice in unit}) < 2:
        return None
    try:
        from nltk.metrics.agreement import AnnotationTask
    except ImportError:
        raise MissingExtraError("rater agreement", "nltk", "human") from None
    several = {pair for pair, unit in units.items() if unit.total() > 1}
    cast = [(rater, str(pair), choice) for (rater, pair), choice in votes.items() if pair in several]
    return float(AnnotationTask(cast).alpha())


def _counted(votes: _Votes, level: float) -> dict[str, Any]:
    """The facts of one criterion."""
    by_question: dict[int, list[str]] = defaultdict(list)
    for (_, pair), choice in votes.items():
        by_question[pair].append(choice)
    questions = list(by_question.values())
    return {
        **_shares(questions, level),
        "majority": _shares([[_most(choices)] for choices in questions], level),
        "alpha": agreement(votes),
    }


def _shares(questions: Sequence[Sequence[str]], level: float) -> dict[str, Any]:
    """How many votes there are for each choice, and which share that is, with its interval, from those by question."""
    counts = _counts(choice for choices in questions for choice in choices)
    total = sum(counts.values())
    drawn = total > len(questions) >= FEWEST
    kind = "bootstrap over questions" if drawn else "wilson over questions" if total > len(questions) else "wilson"
    found: dict[str, Any] = {"n": total, "interval": kind}
    for choice, count in counts.items():
        low = high = None
        if drawn and 0 < count < total:
            own = [choices.count(choice) for choices in questions]
            percent = bootstrap_ratio(own, [len(choices) for choices in questions], level=level)
            low, high = (None if end is None else end / 100 for end in (percent.low, percent.high))
        elif total:
            interval = share_interval(count * len(questions) / total, len(questions), level)
            low, high = interval.low, interval.high
        found[choice] = {"votes": count, "share": count / total if total else None, "low": low, "high": high}
    return found


def _counts(choices: Iterable[str]) -> dict[str, int]:
    counts = Counter(choices)
    return {choice: counts[choice] for choice in CHOICES}


def _most(choices: Sequence[str]) -> str:
    """What most say; a tie where two choices have as many.

    >>> _most(["ours", "ours", "tie"]), _most(["ours", "baseline"])
    ('ours', 'tie')
    """
    (first, most), *others = Counter(choices).most_common()
    return "tie" if others and others[0][1] == most else first


def _rater(rater: str, by_criterion: Mapping[str, _Votes], passed: Sequence[bool], failed: bool) -> dict[str, Any]:
    own = {
        criterion: {pair: choice for (who, pair), choice in cast.items() if who == rater}
        for criterion, cast in by_criterion.items()
    }
    return {
        "ratings": len({pair for cast in own.values() for pair in cast}),
        "checks": len(passed),
        "passed": sum(passed),
        "attentive": not failed if passed else None,
        **{criterion: _counts(cast.values()) for criterion, cast in own.items()},
    }
