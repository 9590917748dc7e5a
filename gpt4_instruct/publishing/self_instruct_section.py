"""How the instructions of a Self-Instruct build were invented: as a section of its card, and as a terminal's table.

Both say what the build's facts say, and nothing else: see `splits.self_instruct` for their keys.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from gpt4_instruct.publishing.run_tables import code, plain

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["rounds_table", "self_instruct_section"]

_LANGUAGES = {"en": "English", "zh": "Chinese", "both": "English and Chinese, each instruction in both"}
_ROUNDS = 12  # that are all shown; of more, about as many
_KINDS = 20  # that are named
_COMMONEST = 2  # reasons of a round that are named
_HEADS = ("round", "requests", "tasks", "kept", "kept %", "commonest reasons", "USD", "verbs", "pairs")
_LEFT = "commonest reasons"  # the one column of words


def self_instruct_section(config: dict[str, Any]) -> str:
    """The section of a dataset's card that says how its instructions were invented.

    Args:
        config: the build's entry in the manifest; its key ``self_instruct`` is as in ``facts.json``, and may name a
            ``figure`` that is in the dataset's folder.

    Returns:
        Markdown that begins with a heading of the second level and ends with a line end.
    """
    facts = config["self_instruct"]
    rounds = facts["rounds"]
    parts = [
        "## How the instructions were invented",
        "A model was shown some tasks, written by people or invented before, and asked for new ones, round after\n"
        "round. A new task was kept where it passed the recipe's filters and no seed, and no task kept before, is\n"
        "nearly the same. It became a row if its answer passed, too.",
        _markdown(("", ""), _told(config)),
        f"It stopped ({code(facts['stopped'])}): {plain(facts['stopped_detail']).rstrip('.')}.",
    ]
    if facts.get("figure"):
        words = "Per round, the tasks kept and rejected by reason, and how varied the kept ones are"
        parts.append(f"![{words}]({facts['figure']})")
    rejected = _rejected(rounds)
    if rejected:
        count = sum(rejected.values())
        rows = [(code(reason), f"{number:,}", _share(number, count)) for reason, number in _ranked(rejected)]
        parts += [
            f"While they were invented, {count:,} tasks were rejected:",
            _markdown(("reason", "tasks", "share of the rejected"), rows),
        ]
    if rounds:
        shown = _chosen(rounds)
        heads, cells = _columns(shown, reason=code)
        every = "The rounds:" if len(shown) == len(rounds) else f"{len(shown)} of the {len(rounds):,} rounds:"
        parts += [f"{every} verbs and pairs are the different ones of all tasks kept so far.", _markdown(heads, cells)]
        kinds = rounds[-1]["kinds"]
        if kinds:
            kept = sum(kinds.values())
            ranked = _ranked(kinds)
            rows = [(code(kind), f"{number:,}", _share(number, kept)) for kind, number in ranked[:_KINDS]]
            rest = sum(number for _, number in ranked[_KINDS:])
            if rest:
                rows.append((f"{len(ranked) - _KINDS:,} others", f"{rest:,}", _share(rest, kept)))
            parts += ["The kinds of the tasks that were kept:", _markdown(("kind", "tasks", "share"), rows)]
    return "\n\n".join(parts) + "\n"


def rounds_table(facts: dict[str, Any]) -> Table:
    """The rounds of a build for the terminal; of more than 12, the first, some at equal distances, and the last.

    Args:
        facts: of the build, as in ``facts.json`` or its entry in the manifest.
    """
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    rounds = facts["self_instruct"]["rounds"]
    shown = _chosen(rounds)
    heads, cells = _columns(shown, reason=str)
    total = f"{len(rounds):,} round{'' if len(rounds) == 1 else 's'}"
    named = total if len(shown) == len(rounds) else f"{len(shown)} of {total}"
    table = Table(title=Text(f"invented, {named}"), title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for head in heads:
        table.add_column(head, justify="left" if head == _LEFT else "right", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))
    return table


def _told(config: dict[str, Any]) -> list[tuple[str, str]]:
    """The run in numbers, each with its name."""
    facts = config["self_instruct"]
    rounds = facts["rounds"]
    read, kept = sum(each["parsed"] for each in rounds), sum(each["accepted"] for each in rounds)
    refused = sum(each["refused"] for each in rounds)
    requests = f"{sum(each['asked'] for each in rounds):,}" + (f"; {refused:,} refused" if refused else "")
    seeds = f"{facts['seeds']:,}"
    if facts["seeds_left_out"]:
        left_out = ", ".join(f"{code(reason)} {count:,}" for reason, count in _ranked(facts["seeds_left_out"]))
        seeds += f"; left out: {left_out}"
    return [
        ("recipe", code(facts["recipe"])),
        ("language", _LANGUAGES[facts["language"]]),
        ("seeds", seeds),
        ("rounds", f"{len(rounds):,}"),
        ("requests for tasks", requests),
        ("tasks read from the replies", f"{read:,}"),
        ("tasks kept", f"{kept:,} ({_share(kept, read)})"),
        ("rows in the data", f"{config['rows']:,}"),
        ("cost of inventing", _usd(_cost(rounds))),
        ("cost of a row, answers and all", _usd(facts["usd_per_row"])),
    ]


def _cost(rounds: Iterable[dict[str, Any]]) -> float | None:
    """What the rounds cost; none where the price of one is not known."""
    costs = [each["cost_usd"] for each in rounds]
    return None if None in costs else math.fsum(costs)


def _rejected(rounds: Iterable[dict[str, Any]]) -> Counter[str]:
    found: Counter[str] = Counter()
    for each in rounds:
        found.update(each["rejected"])
    return found


def _ranked(counts: dict[str, int]) -> list[tuple[str, int]]:
    """Most first; equals by name, so that their order does not depend on which came first."""
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _chosen(rounds: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """All rounds if they are few; else the first, each that is a multiple of a round number, and the last.

    >>> [each["round"] for each in _chosen([{"round": number} for number in range(1, 304)])]
    [1, 50, 100, 150, 200, 250, 300, 303]
    """
    if len(rounds) <= _ROUNDS:
        return list(rounds)
    steps = (base * 10**power for power in range(9) for base in (1, 2, 5))
    step = next(step for step in steps if len(rounds) // step + 2 <= _ROUNDS)
    last = len(rounds) - 1
    return [each for place, each in enumerate(rounds) if place in (0, last) or (place + 1) % step == 0]


def _columns(rounds: Sequence[dict[str, Any]], *, reason: Any) -> tuple[list[str], list[list[str]]]:
    """The heads and the cells of a table of rounds; a column that no round knows is left out."""
    rows = [_cells(each, reason) for each in rounds]
    known = [place for place in range(len(_HEADS)) if any(row[place] is not None for row in rows)]
    return [_HEADS[place] for place in known], [[row[place] or "-" for place in known] for row in rows]


def _cells(each: dict[str, Any], reason: Any) -> list[str | None]:
    reasons = ", ".join(f"{reason(name)} {count:,}" for name, count in _ranked(each["rejected"])[:_COMMONEST])
    counts = [None if each[key] is None else f"{each[key]:,}" for key in ("round", "asked", "parsed", "accepted")]
    share, cost = _share(each["accepted"], each["parsed"]), each["cost_usd"]
    pairs = [None if each.get(key) is None else f"{each[key]:,}" for key in ("verbs", "pairs")]
    return [*counts, share, reasons, None if cost is None else f"{cost:,.4f}", *pairs]


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def _usd(value: float | None) -> str:
    """An amount in dollars, small ones with the digits that tell them apart.

    >>> _usd(12.345), _usd(0.000123), _usd(0), _usd(None)
    ('12.35 USD', '0.000123 USD', '0.00 USD', 'not known')
    """
    if value is None:
        return "not known"
    return f"{value:,.2f} USD" if value >= 1 or value == 0 else f"{value:.3g} USD"


def _markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; numbers, which are all but the first column and the one of words, stand on the right."""
    rules = ["---" if place == 0 or head in ("", _LEFT) else "---:" for place, head in enumerate(heads)]
    lines = [f"| {' | '.join(line)} |" for line in (heads, *rows)]
    return "\n".join([lines[0], f"|{'|'.join(rules)}|", *lines[1:]])
