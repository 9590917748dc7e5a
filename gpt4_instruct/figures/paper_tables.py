"""The paper's numbers as tables, a run's beside them: captions, heads and rows, for a page and for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpt4_instruct.figures.page import Table

__all__ = ["COMPARISONS", "DIFFERENCE_HEADS", "difference_rows", "paper_tables"]

COMPARISONS = {
    "vs_gpt4": "against GPT-4",
    "vs_chatgpt": "against ChatGPT",
    "translated_answers_vs_gpt4_generated": "answers translated to Chinese,\nagainst GPT-4's made in Chinese",
    "translated_answers_vs_gpt4_translated": "answers translated to Chinese,\nagainst GPT-4's translated",
    "chinese_questions_vs_gpt4_translated": "Chinese questions answered,\nagainst GPT-4's translated",
}
DIFFERENCE_HEADS = ["number", "the paper's", "of", "ours", "of", "interval", "difference", "the paper's is"]
_PAPER, _OURS = "the paper", "ours"
_SECTIONS = {"vicuna80": "80 questions", "rank_groups": "ranked answers", "chinese": "Chinese"}


def difference_rows(differences: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Cells under `DIFFERENCE_HEADS` for what `evaluation.paper_beside.compare` found.

    >>> found = {"what": "tie", "unit": "%", "paper_name": "A", "paper": 26.14, "name": "B", "value": 20.0,
    ...          "low": 15.0, "high": 26.5, "difference": -6.14, "doubt": None, "of": "9 votes; the paper: 704"}
    >>> difference_rows([found])
    [['tie, %', '26.1', 'A', '20.0', 'B', '15.0 to 26.5', '-6.1', 'inside; 9 votes; the paper: 704']]
    """
    rows = []
    for each in differences:
        digits = {"%": 1, "pairs": 0}.get(each["unit"], 3)
        notes = [] if each["doubt"] is None else ["doubtful"]
        if each["low"] is not None and each["paper"] is not None:
            inside = each["low"] <= each["paper"] <= each["high"]
            notes.append("inside" if inside else "outside")
        if each["of"] is not None:
            notes.append(each["of"])
        rows.append(
            [
                each["what"] + (", %" if each["unit"] == "%" else ""),
                _value(each["paper"], digits),
                (each["paper_name"] or "").replace("_vs_", " vs "),
                _value(each["value"], digits),
                each["name"].replace("_vs_", " vs "),
                between((each["low"], each["high"]), digits),
                "-" if each["difference"] is None else f"{each['difference']:+,.{digits}f}",
                "; ".join(notes),
            ]
        )
    return rows


def paper_tables(numbers: Mapping[str, Any]) -> Iterator[Table]:
    """All tables of the page: the differences first where there is a run, what is not comparable, doubts, every number.

    Args:
        numbers: the content of ``numbers.json``, see `evaluation.paper`.
    """
    own = numbers.get("mine", {})
    if numbers.get("differences"):
        yield "Ours beside the paper's", DIFFERENCE_HEADS, difference_rows(numbers["differences"])
    others = [[each["file"], each["other"]] for each in own.get("read", ()) if each.get("other")]
    if others:
        yield "Ours, of no comparison that the paper makes", ["file", "why"], others
    doubts = [[" / ".join(each["where"]), each["why"]] for each in numbers["doubts"]]
    yield "Doubtful numbers", ["number", "why"], [*doubts, ["all relative scores", numbers["no_intervals"]]]
    if not own.get("lengths"):
        why = "the paper has no counts of its answers' lengths; with --mine, a run's are drawn, if counted"
        yield "Not drawn", ["picture", "why"], [["lengths", why]]
    if own.get("unread"):
        yield "Not read of the run", ["file", "why"], [[each["file"], each["why"]] for each in own["unread"]]
    if own.get("read"):
        heads = ["file", "what", "model", "baseline", "judge", "questions", "told with it"]
        yield "Read of the run", heads, [[f"{each.get(key, '')}" for key in _READ] for each in own["read"]]
    yield (
        "Relative scores",
        ["comparison", "model", "sums of scores", "relative score, %", "interval"],
        [
            *_relative(numbers, numbers["derived"], {}, _PAPER),
            *_relative(own, own.get("derived", {}), own.get("intervals", {}), _OURS),
        ],
    )
    yield (
        "Votes of people",
        ["comparison", "criterion", "ours, baseline, tie", "shares, %"],
        [
            *_votes(numbers, _PAPER),
            *_votes(own, _OURS),
        ],
    )
    yield (
        "ROUGE-L by the length of the reference, in words",
        ["model", *numbers["unnatural_rougeL"]["buckets"]],
        [
            *_rouge(numbers["unnatural_rougeL"], _PAPER),
            *_rouge(own.get("unnatural_rougeL", {}), _OURS),
        ],
    )
    if own.get("other_rougeL"):
        heads = ["model", "words in the reference", "n", "ROUGE-L", "interval"]
        yield "ROUGE-L of ours on other references than the paper's", heads, list(_other_rouge(own))
    yield "Scores of the judge", ["model", "answers", "mean", "sd", "zeros", "commonest"], [
        [f"{name} ({whose})", f"{each['n']:,}", f"{each['mean']:.3f}", f"{each['sd']:.3f}", f"{each['zeros']:,}",
         f"{each['mode']:g}"]
        for whose, found in ((_PAPER, numbers), (_OURS, own))
        for name, each in found.get("derived", {}).get("judge_scores", {}).items()
    ]  # fmt: skip
    yield (
        "Different verb-noun pairs",
        ["data", "pairs"],
        [
            [f"{name} ({whose})", f"{count:,}"]
            for whose, found in ((_PAPER, numbers), (_OURS, own))
            for name, count in found.get("verb_noun", {}).get("unique_pairs", {}).items()
        ],
    )


_READ = ("file", "kind", "model", "baseline", "judge", "questions", "warnings")


def between(bounds: Sequence[float | None] | None, digits: int = 1) -> str:
    """An interval in words, or nothing where there is none.

    >>> between((80.25, 91)), between(None)
    ('80.2 to 91.0', '')
    """
    if bounds is None or bounds[0] is None or bounds[1] is None:
        return ""
    return f"{bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}"


def _value(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _relative(
    numbers: Mapping[str, Any], derived: Mapping[str, Any], intervals: Mapping[str, Any], whose: str
) -> Iterator[list[str]]:
    for section, groups in derived.items():
        if section not in _SECTIONS and section != "other":
            continue
        for group, scores in groups.items():
            comparison = f"{_SECTIONS.get(section, 'other')}: {COMPARISONS.get(group, group)}".replace("\n", " ")
            for name, percent in scores.items():
                pair = numbers[section][group][name]
                bounds = intervals.get(section, {}).get(group, {}).get(name)
                sums = f"{pair[0]:g} : {pair[1]:g}"
                yield [comparison, f"{name} ({whose})", sums, _value(percent, 2), between(bounds)]


def _votes(numbers: Mapping[str, Any], whose: str) -> Iterator[list[str]]:
    for name, votes in numbers.get("human_hhh", {}).items():
        for criterion, counts in votes["ours_baseline_tie"].items():
            shares = numbers["derived"]["human_hhh"][name][criterion]
            yield [
                f"{name} ({whose}), n = {votes['n']:,}",
                criterion,
                ", ".join(f"{count:,}" for count in counts),
                ", ".join(_value(share, 2) for share in shares),
            ]


def _rouge(rouge: Mapping[str, Any], whose: str) -> Iterator[list[str]]:
    if rouge:
        yield [f"references ({whose})", *(f"{count:,}" for count in rouge["n"])]
    for name, values in rouge.items():
        if name not in ("buckets", "n", "note"):
            yield [f"{name} ({whose})", *(_value(value, 4) for value in values)]


def _other_rouge(own: Mapping[str, Any]) -> Iterator[list[str]]:
    for name, found in own["other_rougeL"].items():
        bounds = own["intervals"]["other_rougeL"][name]
        for row in zip(found["buckets"], found["n"], found["rougeL"], bounds, strict=True):
            length, n, value, interval = row
            yield [name, length, f"{n:,}", _value(value, 4), between(interval, 4)]
