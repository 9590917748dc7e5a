"""What judging found, as the table that the command line prints: a column a comparison, a row a number."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from gpt4_instruct.evaluation.judge_run import JudgeResult

__all__ = ["judge_table", "ranged", "reasons", "table_of"]


def table_of(columns: Iterable[str], rows: Iterable[Iterable[str]], *, named_rows: bool = False) -> Table:
    """A table of texts as they are: a name with brackets is no markup.

    Args:
        columns: their names.
        rows: a cell for each of them.
        named_rows: the first column is of names, and stands left.
    """
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for place, name in enumerate(columns):
        table.add_column(Text(name), justify="left" if named_rows and not place else "right")
    for cells in rows:
        table.add_row(*map(Text, cells))
    return table


def judge_table(results: Mapping[str, JudgeResult]) -> Table:
    """What was found. Rows in which no comparison has anything are left out.

    Args:
        results: by the names of their columns.
    """
    every = [each.facts for each in results.values()]
    categories = dict.fromkeys(name for found in every for name in found.get("categories") or {})
    lines: list[tuple[str, Any]] = [
        ("questions judged", lambda found: f"{found['judged']} of {found['questions']}"),
        ("not readable, refused", lambda found: reasons(found["failures"])),
        ("relative score", lambda found: ranged(found.get("relative_score"), "percent", "%")),
        ("mean score", lambda found: ranged(found.get("mean_score"), "mean")),
        *((_category_name(every, name), lambda found, name=name: _category(found, name)) for name in categories),
        ("win rate, ties as halves", _win_rate),
        *((f"  {name}", lambda found, name=name: _outcome(found, name)) for name in ("win", "tie", "loss")),
        ("win rate at the same length", _controlled),
        ("first place is worth", lambda found: _points(found.get("position"))),
        ("winner flips with the order", lambda found: _flips(found.get("position"))),
    ]
    rows = [(name, *(tell(found) for found in every)) for name, tell in lines]
    told = (row for row in rows if any(cell not in ("", "-") for cell in row[1:]))
    return table_of(("", *results), told, named_rows=True)


def reasons(counts: Mapping[str, int]) -> str:
    """How many of what.

    >>> reasons({"no_score": 2, "refusal": 1}), reasons({})
    ('2 no_score, 1 refusal', '-')
    """
    return ", ".join(f"{count} {reason}" for reason, count in counts.items()) or "-"


def ranged(found: Mapping[str, Any] | None, name: str, unit: str = "", form: str = ".1f") -> str:
    """A number with its interval, where there are enough questions for one.

    >>> ranged({"mean": 7.25, "low": 6.5, "high": 8}, "mean"), ranged({"mean": 7.25, "low": None, "high": None}, "mean")
    ('7.2 [6.5, 8.0]', '7.2')
    >>> ranged(None, "mean")
    '-'
    """
    if not found:
        return "-"
    number = f"{found[name]:{form}}{unit}"
    if found.get("low") is None or found.get("high") is None:
        return number
    return f"{number} [{found['low']:{form}}, {found['high']:{form}}]"


def _category_name(every: Iterable[Mapping[str, Any]], name: str) -> str:
    """A category with the number of its questions that were judged, the least and the most of all comparisons."""
    of = [(found.get("categories") or {}).get(name) for found in every]
    counts = sorted({each["judged"] if each else 0 for each in of})
    return f"  {name} ({counts[0]}{f' to {counts[-1]}' if len(counts) > 1 else ''})"


def _category(found: Mapping[str, Any], name: str) -> str:
    of = (found.get("categories") or {}).get(name) or {}
    return ranged(of["relative_score"], "percent") if of.get("relative_score") else ranged(of.get("mean_score"), "mean")


def _win_rate(found: Mapping[str, Any]) -> str:
    of = found.get("outcomes")
    return "-" if not of else ranged({"percent": of["win_rate"], **(of["interval"] or {})}, "percent", "%")


def _outcome(found: Mapping[str, Any], name: str) -> str:
    of = found.get("outcomes")
    return "-" if not of else f"{of[name]['n']} ({of[name]['percent']:.0f}%)"


def _controlled(found: Mapping[str, Any]) -> str:
    of = (found.get("outcomes") or {}).get("length_controlled")
    return "-" if not of else ranged({"percent": of["win_rate"], **(of["interval"] or {})}, "percent", "%")


def _points(position: Mapping[str, Any] | None) -> str:
    return ranged((position or {}).get("first_advantage"), "mean", " points", "+.2f")


def _flips(position: Mapping[str, Any] | None) -> str:
    return "-" if not position else f"{position['flipped']['n']} of {position['questions']}"
