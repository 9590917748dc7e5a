"""What the facts of a run say, as the sections of its report: data, training, evaluation and cost.

A section is made for each file of facts. A file that lacks what its kind should have is not left out silently: its
section says so.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import MissingExtraError
from gpt4_instruct.figures.training import draw_training
from gpt4_instruct.publishing.origins import origin_of
from gpt4_instruct.publishing.run_evaluation import EVALUATIONS, Section, count
from gpt4_instruct.publishing.run_tables import (
    data_table,
    effort_table,
    evaluation_table,
    left_out,
    losses_table,
    reward_tables,
    settings_table,
)
from gpt4_instruct.run_facts import Facts

__all__ = ["CHAPTERS", "sections"]

CHAPTERS = ("Data", "Training", "Evaluation", "Cost")
_SEVERITIES = ("error", "warning", "info")


def sections(found: Sequence[Facts], warnings: Mapping[Path, Sequence[str]] | None = None) -> list[Section]:
    """The sections of a report, chapter by chapter.

    Args:
        found: the facts, from `run_facts.find_facts`.
        warnings: what is to be told of a file on evaluation beside what is in it.

    Returns:
        at least one for each file; the one on cost is last, where anything was asked of a model.
    """
    made: list[Section] = []
    order = ["", *_MAKERS, *EVALUATIONS]
    for facts in sorted(found, key=lambda each: order.index(each.kind)):
        try:
            made += _of(facts, (warnings or {}).get(facts.file, []))
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            made.append(_unread(facts, f"is not as gpt4-instruct writes it: {type(error).__name__}, {error}"))
    made += _cost(found)
    for each in made:
        each.tables = [table for table in each.tables if table[2]]  # without those that would have no row
    return sorted(made, key=lambda each: CHAPTERS.index(each.chapter))  # the order within a chapter stays


def _of(facts: Facts, warnings: Sequence[str]) -> list[Section]:
    """The sections of one file, with what is to be told beside what is in it."""
    if facts.error is not None:
        return [_unread(facts, facts.error)]
    if facts.kind in _MAKERS:
        return list(_MAKERS[facts.kind](facts.content))
    section = EVALUATIONS[facts.kind](facts.content)
    section.title = f"{facts.file.name.removesuffix('.json').removesuffix('.summary')}: {section.title}"
    section.notes += warnings
    return [section]


def _unread(facts: Facts, why: str) -> Section:
    chapter = {"build": "Data", "audit": "Data", "statistics": "Data", "training": "Training"}
    return Section(chapter.get(facts.kind, "Evaluation"), facts.file.name, notes=[f"{facts.file.name} {why}"])


# --- data -----------------------------------------------------------------------------------------------------------


def _build(manifest: dict[str, Any]) -> Iterator[Section]:
    for name, config in manifest["configs"].items():
        rejected = config["rejected"]
        teachers = [(each["stage"], f"{each['spec']} ({each['model']})") for each in config["teachers"]]
        rows = [
            ("source", config["source"]),
            *([("made by", "as released")] if "released" in config else teachers),
            ("built", config["built"]),
            ("answers that are cut off", config.get("on_truncation") or "-"),
            ("tokens, of prompts and of answers", f"{config['prompt_tokens']:,} and {config['completion_tokens']:,}"),
            ("seconds", f"{config['seconds']:,}"),
            ("config id", config["config_id"]),
        ]
        section = Section(
            "Data",
            f"{name}: {config['title']}",
            tiles=[
                (count(config["rows"]), "rows"),
                (count(sum(rejected.values())), "left out"),
                (count(config["asked"]), "requests sent"),
                (count(config["reused"]), "from the ledger"),
            ],
            tables=[("How it was made", ("", ""), rows)],
        )
        if rejected:
            reasons = [(reason.replace("_", " "), count(each)) for reason, each in rejected.items()]
            section.tables.append(("Left out", ("why", "rows"), reasons))
        if "audit" in config:
            section.tables.append(_checks(config["audit"]["checks"]))
        yield section


def _checks(checks: dict[str, Any]) -> tuple[str, Sequence[str], Sequence[Sequence[str]]]:
    found = [(name, each) for name, each in checks.items() if each["findings"]]
    found.sort(key=lambda pair: (_SEVERITIES.index(pair[1]["severity"]), -pair[1]["findings"], pair[0]))
    rows = [(name.replace("_", " "), each["severity"], count(each["rows"])) for name, each in found]
    return "What an audit found", ("check", "severity", "rows"), rows


def _audit(summary: dict[str, Any]) -> Iterator[Section]:
    for each in summary["data"]:
        tiles = [(count(each["rows"]), "rows"), (count(each["rows_with_findings"]), "with findings")]
        yield Section("Data", f"Audit of {each['name']}", tiles=tiles, tables=[_checks(each["checks"])])


def _statistics(summary: dict[str, Any]) -> Iterator[Section]:
    rows = []
    for each in summary["data"]:
        for name, part in ((each["name"], each), *((name, part) for name, part in each["sources"].items() if name)):
            words, scores = part.get("words"), part.get("scores")
            rows.append(
                (
                    name,
                    count(part["answers"]),
                    count(part["unique_pairs"]),
                    f"{words['mean']:.0f}, {words['median']:g}" if words else "-",
                    f"{scores['mean']:.2f}, {scores['sd']:.2f}" if scores and scores["count"] else "-",
                )
            )
    heads = ("data", "answers", "verb-noun pairs", "words, mean and median", "scores, mean and sd")
    yield Section("Data", "Statistics", tables=[("In numbers", heads, rows)])


# --- training -------------------------------------------------------------------------------------------------------


def _training(facts: dict[str, Any]) -> Iterator[Section]:
    kind = facts["kind"]
    losses = losses_table(facts)
    effort = effort_table(facts)
    speed = dict(effort).get("tokens a second")
    section = Section(
        "Training",
        f"{'Supervised tuning' if kind == 'sft' else 'Reward model'}: {facts['base']['name']}",
        tiles=[
            (count(facts["steps"]), "steps"),
            *([(losses[-1][2].partition(" ")[0], f"last loss {losses[-1][0]}")] if losses else []),
            *([(speed, "tokens a second")] if speed else []),
        ],
        tables=[
            ("Losses", ("", "first", "last"), losses),
            ("On what was held out", ("", "before", "after"), evaluation_table(facts)),
            *((each.caption, each.heads, each.rows) for each in reward_tables(facts)),
            ("Effort", ("", ""), effort),
            ("Settings", ("", ""), settings_table(facts["recipe"], kind, facts)),
            ("Data", ("", ""), data_table(facts, origin_of(facts["data"]["name"]).shown)),
            ("Not learnt whole", ("why", "count"), [(name, count(each)) for name, each in left_out(facts)]),
        ],
    )
    bad = [each["step"] for each in facts["log"] if not math.isfinite(each.get("loss", 0.0))]
    if bad:
        section.notes.append(f"the loss was no number in {len(bad)} steps, the first of them {bad[0]}")
    try:
        section.svg = _curve(facts)
    except MissingExtraError as error:
        section.notes.append(f"the curve of the losses is not drawn: {error}")
    yield section


def _curve(facts: dict[str, Any]) -> str:
    """The losses as an SVG element; empty where none is a number."""
    with tempfile.TemporaryDirectory() as folder:
        files = draw_training(facts, Path(folder))
        return next((file.read_text(encoding="utf-8") for file in files if file.suffix == ".svg"), "")


# --- cost -----------------------------------------------------------------------------------------------------------


def _cost(found: Sequence[Facts]) -> list[Section]:
    """What each file's last run asked and spent, and all together; an unknown price makes the sum a lower bound."""
    rows: list[tuple[str, ...]] = []
    spent: list[float | None] = []
    for facts in found:
        parts = facts.content.get("configs") if facts.kind == "build" else {"": facts.content}
        for name, part in parts.items() if isinstance(parts, dict) else ():
            if not isinstance(part, dict) or "cost_usd" not in part:
                continue
            known = part["cost_usd"] if isinstance(part["cost_usd"], int | float) else None
            spent.append(known)
            what = f"{facts.file.parent.name}/{facts.file.name}" + (f": {name}" if name else "")
            asked = [count(part.get(key)) for key in ("asked", "reused")]
            seconds = part.get("seconds")
            rows.append((facts.kind, what, *asked, "-" if seconds is None else f"{seconds:,}", _usd(known)))
    if not rows:
        return []
    total = math.fsum(each for each in spent if each is not None)
    unknown = sum(each is None for each in spent)
    section = Section(
        "Cost",
        "What was asked and spent",
        tiles=[(_usd(total), "of the last runs together, by the price list" + (", at least" if unknown else ""))],
        tables=[("By file", ("what", "file", "requests sent", "from the ledger", "seconds", "cost"), rows)],
        notes=[
            "Each line is what its last run spent, and the sum is of these: what earlier runs paid for came from the"
            " ledger and is not in it."
        ],
    )
    if unknown:
        section.notes.append(f"of {unknown} of {len(rows)}, the price is not known: they are not in the sum")
    return [section]


def _usd(value: float | None) -> str:
    """Dollars.

    >>> _usd(0.0), _usd(0.01234), _usd(1234.5), _usd(None)
    ('$0', '$0.0123', '$1,234.50', 'not known')
    """
    if value is None:
        return "not known"
    return f"${value:,.4f}" if 0 < value < 1 else f"${value:,.2f}" if value else "$0"


_MAKERS: dict[str, Callable[[dict[str, Any]], Iterator[Section]]] = {
    "build": _build,
    "audit": _audit,
    "statistics": _statistics,
    "training": _training,
}
