"""The sections of a run's report on evaluation, each from one file of facts: answers, verdicts, votes, ROUGE."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["EVALUATIONS", "Section", "between", "count", "percent"]

Grid = tuple[str, Sequence[str], Sequence[Sequence[str]]]


@dataclass
class Section:
    """A part of a report.

    Attributes:
        chapter: ``"Data"``, ``"Training"``, ``"Evaluation"`` or ``"Cost"``.
        title: what it is of.
        tiles: what is to be seen first: a value and what it is.
        tables: each a caption, the heads and the rows. A cell that begins with a digit or a sign is a number.
        notes: what to know before trusting it, a line each.
        svg: a picture, drawn here; empty where there is none.
    """

    chapter: str
    title: str
    tiles: list[tuple[str, str]] = field(default_factory=list)
    tables: list[Grid] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    svg: str = ""


def count(value: float | None) -> str:
    """A number of things.

    >>> count(52002), count(None)
    ('52,002', '-')
    """
    return "-" if value is None else f"{value:,}"


def percent(value: float | None, digits: int = 1) -> str:
    """A number of per cent, as ``"54.1 %"``."""
    return "-" if value is None else f"{value:.{digits}f} %"


def between(bounds: Mapping[str, Any] | None, digits: int = 1, scale: float = 1.0) -> str:
    """An interval in words.

    >>> between({"low": 0.504, "high": 0.578}, scale=100), between({"low": None})
    ('50.4 to 57.8', '-')
    """
    if not bounds or bounds.get("low") is None or bounds.get("high") is None:
        return "-"
    return f"{scale * bounds['low']:.{digits}f} to {scale * bounds['high']:.{digits}f}"


def _or_few(bounds: Mapping[str, Any] | None, digits: int = 1) -> str:
    """An interval where the number stands alone, so that a dash would tell nothing."""
    told = between(bounds, digits)
    return "too few questions for an interval" if told == "-" else told


def _decimal(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _by_reason(counts: Mapping[str, int] | None) -> list[tuple[str, str]]:
    return [(reason.replace("_", " "), count(each)) for reason, each in (counts or {}).items()]


def _side(facts: Mapping[str, Any], key: str) -> str:
    side = facts.get(key)
    if isinstance(side, Mapping):
        model = f" ({side['model']})" if side.get("model") else ""
        return f"{side['file']}{model}"
    return str(side or "-")


def _answers(facts: dict[str, Any]) -> Section:
    sampling = facts["sampling"]
    rows = [
        ("questions", str(facts["questions_from"])),
        ("model", facts["teacher"]["spec"]),
        ("answers to each", count(facts["n"])),
        ("temperature, top p, most tokens", ", ".join(f"{sampling[key]:g}" for key in _SAMPLING)),
        ("prompt", facts["template"]),
        ("tokens in answers", count(facts["tokens"])),
    ]
    tables: list[Grid] = [("How they were asked", ("", ""), rows)]
    if reasons := _by_reason({**facts["rejected"], **facts["refused"]}):
        tables.append(("Without an answer", ("why", "questions"), reasons))
    return Section(
        "Evaluation",
        f"answers of {facts['teacher']['spec']}",
        tiles=[
            (count(facts["questions"]), "questions"),
            (count(facts["answers"]), "answers"),
            (count(facts["cut_off"]), "of them cut off"),
        ],
        tables=tables,
    )


_SAMPLING = ("temperature", "top_p", "max_tokens")


def _translation(facts: dict[str, Any]) -> Section:
    return Section(
        "Evaluation",
        f"translated by {facts['translator']['spec']}",
        tiles=[(count(facts["questions"]), "questions"), (count(facts["answers"]), "answers")],
        tables=[("Not translated", ("why", "texts"), _by_reason(facts["failed"]))] if facts["failed"] else [],
    )


def _rank(facts: dict[str, Any]) -> Section:
    rows = [(k, _decimal(best, 3), _decimal(facts["by_rank"].get(k), 3)) for k, best in facts["best_of"].items()]
    heads = ("k", "mean reward of the best of the first k", "mean reward of rank k")
    return Section(
        "Evaluation",
        f"answers ranked by {facts['reward_model']['name']}",
        tiles=[(count(facts["questions"]), "questions"), (count(facts["answers"]), "answers with a reward")],
        tables=[("Rewards", heads, rows)],
    )


def _judge(facts: dict[str, Any]) -> Section:
    judged = [(f"{facts['judged']:,} of {facts['questions']:,}", "questions judged")]
    made = [
        ("judge", f"{facts['teacher']['spec']} ({facts['teacher']['model']})"),
        (
            "shown",
            f"both answers, orders: {facts['orders']}" if facts["mode"] == "pairwise" else "one answer at a time",
        ),
        ("of questions asked on both sides", f"{facts['common']:,}"),
    ]
    against = f" against {_side(facts, 'baseline')}" if facts.get("baseline") else ""
    title = f"judged by {facts['teacher']['spec']}: {_side(facts, 'answers')}{against}"
    section = Section("Evaluation", title, tiles=judged)
    section.notes += facts.get("warnings") or []
    if facts.get("mean_score"):
        section.tiles.append((_decimal(facts["mean_score"]["mean"]), f"mean score ({_or_few(facts['mean_score'], 2)})"))
    section.tables.append(("How it was judged", ("", ""), made))
    if facts.get("relative_score"):
        section.tiles += _score_tiles(facts)
        section.tables.append(("Outcomes", ("", "questions", "share", "interval"), _outcomes(facts["outcomes"])))
    if facts["failures"]:
        section.tables.append(("Without scores", ("why", "questions"), _by_reason(facts["failures"])))
    categories = [_category(name, each) for name, each in (facts.get("categories") or {}).items()]
    if categories:
        section.tables.append(("By category", ("category", "judged", "score", "interval", "win rate"), categories))
    section.tables.append(("The judge itself", ("", ""), _biases(facts)))
    return section


def _score_tiles(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    score, outcomes = facts["relative_score"], facts["outcomes"]
    sums = f"{score['model_sum']:g} : {score['baseline_sum']:g}"
    return [
        (percent(score["percent"]), f"relative score, {_or_few(score)} ({sums})"),
        (percent(outcomes["win_rate"]), f"win rate, {between(outcomes['interval'])}"),
    ]


def _outcomes(outcomes: Mapping[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [
        (name, count(each["n"]), percent(each["percent"]), between(each["interval"]))
        for name, each in ((name, outcomes[name]) for name in ("win", "tie", "loss"))
    ]
    controlled = outcomes.get("length_controlled")
    if controlled:
        interval = between(controlled["interval"])
        rows.append(("win rate at the same length", count(controlled["n"]), percent(controlled["win_rate"]), interval))
    return rows


def _category(name: str, each: Mapping[str, Any]) -> tuple[str, ...]:
    judged = f"{each['judged']:,} of {each['questions']:,}"
    if each.get("relative_score"):
        score, outcomes = each["relative_score"], each["outcomes"]
        return name, judged, percent(score["percent"]), between(score), percent(outcomes["win_rate"])
    mean = each.get("mean_score")
    return name, judged, _decimal(mean["mean"]) if mean else "-", between(mean, 2), "-"


def _biases(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    rows = []
    position, length = facts.get("position"), facts.get("length_bias")
    if position:
        advantage, flipped = position["first_advantage"], position["flipped"]
        shown = f"{advantage['mean']:+.2f} points ({_or_few(advantage, 2)})"
        rows.append(("advantage of the answer shown first", shown))
        shown = f"{percent(flipped['percent'])} ({between(flipped['interval'])}), {count(flipped['n'])} questions"
        rows.append(("winner changes with the order", shown))
    if length:
        rows += [
            ("correlation of scores with lengths", _decimal(length["correlation"])),
            (
                "mean words, model and baseline",
                f"{_decimal(length['mean_words'], 0)} and {_decimal(length['baseline_mean_words'], 0)}",
            ),
        ]
    if facts.get("replies"):
        unread = ", ".join(f"{each:,} {why.replace('_', ' ')}" for why, each in facts["unreadable_replies"].items())
        rows.append(("replies", f"{facts['replies']:,}; not readable: {unread or 'none'}"))
    return rows


def _groups(facts: dict[str, Any]) -> Section:
    rows = []
    for name, each in facts["groups"].items():
        score, outcomes = each["relative_score"], each["outcomes"]
        rows.append(
            (
                "B (not ranked)" if name == "B" else name,
                f"{each['judged']:,} of {each['questions']:,}",
                percent(score["percent"]) if score else "-",
                between(score),
                percent(outcomes["win_rate"]) if outcomes else "-",
            )
        )
    heads = ("rank", "judged", "relative score", "interval", "win rate")
    title = f"ranked answers judged by {facts['teacher']}: {facts['answers']} against {facts['baseline']}"
    return Section("Evaluation", title, tables=[("By rank", heads, rows)])


def _tally(facts: dict[str, Any]) -> Section:
    rows = [
        (criterion, which, *_shares(found), _decimal(found["alpha"]))
        for which, criteria in (("all", facts["criteria"]), ("attentive", facts["attentive"]))
        for criterion, found in criteria.items()
    ]
    heads = ("criterion", "raters", "votes", "ours better", "baseline better", "tie", "alpha")
    raters = [
        (name, count(each["ratings"]), f"{each['passed']} of {each['checks']}",
         {True: "yes", False: "no", None: "not known"}[each["attentive"]])
        for name, each in facts["raters"].items()
    ]  # fmt: skip
    section = Section(
        "Evaluation",
        f"rated by people: {facts['ours']} against {facts['baseline']}",
        tiles=[
            (f"{facts['rated']:,} of {facts['questions']:,}", "questions rated"),
            (count(facts["ratings"]), "ratings"),
            (count(len(facts["raters"])), "raters"),
        ],
        tables=[("Votes", heads, rows)],
    )
    if raters:
        section.tables.append(("Raters", ("rater", "ratings", "checks passed", "attentive"), raters))
    if facts["incomplete"]:
        section.notes.append(f"{facts['incomplete']:,} ratings lack a vote by one of the criteria")
    return section


def _shares(found: Mapping[str, Any]) -> tuple[str, ...]:
    cells = [count(found["n"])]
    for choice in ("ours", "baseline", "tie"):
        share = found[choice]["share"]
        cells.append("-" if share is None else f"{100 * share:.1f} % ({between(found[choice], scale=100)})")
    return tuple(cells)


def _rouge(facts: dict[str, Any]) -> Section:
    rows = [
        (
            each["length"],
            count(each["n"]),
            *(_decimal(each[name]["f1"], 4) for name in _ROUGES),
            between(each["rougeL"], 4),
        )
        for each in facts["buckets"]
    ]
    tokenizer = f"{facts['tokenizer']}{', stemmed' if facts['stemmer'] else ''}"
    heads = (f"reference, {facts['unit']}", "n", "ROUGE-1", "ROUGE-2", "ROUGE-L", "interval of ROUGE-L")
    return Section(
        "Evaluation",
        f"ROUGE of {_side(facts, 'answers')}",
        tiles=[(_decimal(facts["rougeL"], 4), "ROUGE-L (F1)"), (count(facts["n"]), "pairs")],
        tables=[(f"By the length of the reference (tokens: {tokenizer})", heads, rows)],
        notes=[f"{facts['missing']:,} pairs lack a text"] if facts["missing"] else [],
    )


_ROUGES = ("rouge1", "rouge2", "rougeL")
EVALUATIONS = {
    "answers": _answers,
    "translation": _translation,
    "rank": _rank,
    "judge": _judge,
    "groups": _groups,
    "tally": _tally,
    "rouge": _rouge,
}
