"""What `training.json` says of a run, as the tables of its card; what it does not know yet reads "not run yet"."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

from gpt4_instruct.publishing.run_settings import settings_table

__all__ = [
    "NOT_RUN",
    "Table",
    "code",
    "data_table",
    "effort_table",
    "evaluation_table",
    "held_out",
    "left_out",
    "losses_table",
    "number",
    "parted",
    "perplexity",
    "plain",
    "reward_tables",
    "settings_table",
]

NOT_RUN = "not run yet"
_UNKNOWN = f"*{NOT_RUN}*"


def data_table(facts: dict[str, Any], shown: str) -> list[tuple[str, str]]:
    """What was read, held out and learnt; `shown` is the data's name."""
    data, tokens = facts["data"], facts["tokens"]
    unit = "rows" if facts["kind"] == "sft" else "prompts"
    rows = [
        ("name", code(shown)),
        (f"{unit} read", number(data["rows"])),
        ("held out", number(data["held_out_rows"])),
        ("learnt from", number(_learnt(facts))),
    ]
    if facts["kind"] == "sft":
        rows += [
            (
                "tokens",
                f"{number(tokens.get('tokens'))}, of which are learnt {number(tokens.get('supervised_tokens'))}",
            )
        ]
    else:
        rows += [
            ("answers learnt from", number(tokens.get("answers"))),
            ("pairs with a better and a worse answer", number(facts["pairs"])),
            ("pairs of equal scores, which teach nothing", number(facts["ties"])),
            ("tokens", number(tokens.get("tokens"))),
        ]
    return [*rows, ("SHA-256 of what was read", _code_or_unknown(data["sha256"]))]


def _learnt(facts: dict[str, Any]) -> int | None:
    """How many rows or prompts have something to learn."""
    tokens = facts["tokens"]
    if "rows" not in tokens:
        return None
    dropped = [tokens.get(name, 0) for name in ("dropped_no_answer", "dropped_too_long")]  # a reward run has neither
    return int(tokens["rows"] - sum(dropped))


def parted(facts: dict[str, Any]) -> bool:
    """Whether what was held out was parted from the data by its prompts; else other data was named for it."""
    if facts["steps"] is None:
        return True
    rows = facts["tokens"].get("rows", 0) + sum((facts.get("dropped") or {}).values())
    return bool(rows + facts["data"]["held_out_rows"] == facts["data"]["rows"])


def left_out(facts: dict[str, Any]) -> list[tuple[str, int]]:
    """Counts by reason, of what was not read, is not learnt, or lost its end."""
    tokens = facts["tokens"]
    counts = {f"not read: {name}": count for name, count in (facts["data"]["rejected"] or {}).items()}
    if facts["kind"] == "sft":
        told = {"dropped_no_answer": "left out: no answer", "dropped_too_long": "left out: no room for an answer"}
        told["truncated"] = "cut at the end: too long"
    else:
        counts |= {f"left out: {name}": count for name, count in (facts["dropped"] or {}).items()}
        told = {
            "answers_without_score": "answers left out: without a score",
            "answers_too_long": "answers left out: no room for them",
            "answers_in_no_pair": "answers left out: in no pair",
            "truncated": "answers cut at the end: too long",
            "empty": "answers that are empty, and learnt from",
            "same_text": "pairs left out: both read the same",
        }
    counts |= {words: tokens.get(name, 0) for name, words in told.items()}
    return [(name.replace("_", " "), count) for name, count in counts.items() if count]


def held_out(facts: dict[str, Any]) -> tuple[int | None, list[tuple[str, int]]]:
    """How many rows or prompts of what was held out are measured, and how many are not, by reason."""
    data = facts["data"]
    missing = data.get("held_out_left_out") or {}
    measured = data.get("held_out_measured", data["held_out_rows"])  # earlier runs do not tell
    return measured, [(name.replace("_", " "), count) for name, count in missing.items()]


def effort_table(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What the run cost, and how fast it was: over all of its steps, in how many pieces it ever ran."""
    speed, hardware = _speed(facts["log"]), facts["hardware"]
    peak = hardware and hardware["peak_flops"]
    learnt = ("supervised tokens a second", "supervised") if facts["kind"] == "sft" else ("pairs a second", "pairs")
    share = f"{speed['mfu']:.1%} of {_peak(peak)}" if peak and "mfu" in speed else None
    rows: list[tuple[str, str | None]] = [
        ("steps", _or_none(facts["steps"])),
        ("tokens seen", _or_none(facts["tokens_seen"])),
        ("hardware", hardware and _hardware(hardware)),
        ("time in steps", _duration(speed.get("seconds"))),
        ("time from the last start on, measuring and saving too", _duration(facts["seconds"])),
        ("tokens a second", _or_none(speed.get("tokens"), digits=1)),
        (learnt[0], _or_none(speed.get(learnt[1]), digits=1)),
        ("MFU", share),
    ]
    missing = _UNKNOWN if facts["steps"] is None else "not known"
    return [(name, missing if value is None else value) for name, value in rows]


def _hardware(hardware: dict[str, Any]) -> str:
    count = hardware["threads"]
    threads = f", {count} thread{'' if count == 1 else 's'}" if hardware["device"] == "cpu" else ""
    return f"{hardware['devices']} x {code(hardware['name'])}{threads}"


def _peak(peak: dict[str, Any]) -> str:
    return f"{peak['flops'] / 1e12:,.2f} TFLOP/s a device ({peak['from']})"


def _speed(log: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Seconds in all steps and what was done in one of them, from the steps' own speeds."""
    sums: dict[str, float] = {}
    before = 0.0
    named = {"supervised_tokens_per_second": "supervised", "pairs_per_second": "pairs", "mfu": "mfu"}
    for each in log:
        if "loss" not in each:
            continue
        tokens, before = each["num_input_tokens_seen"] - before, each["num_input_tokens_seen"]
        if not each.get("tokens_per_second"):
            continue
        seconds = tokens / each["tokens_per_second"]
        found = {"seconds": seconds, "tokens": tokens}
        found |= {name: each[key] * seconds for key, name in named.items() if key in each}
        for name, value in found.items():
            sums[name] = sums.get(name, 0.0) + value
    seconds = sums.get("seconds")
    return {name: value if name == "seconds" else value / seconds for name, value in sums.items()} if seconds else {}


def losses_table(facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The first and the last loss, of the steps and of what was held out."""
    unit = "a token" if facts["kind"] == "sft" else "a pair"
    shown = []
    for words, name in ((f"of a step, nats {unit}", "loss"), (f"held out, nats {unit}", "eval_loss")):
        found = [f"{each[name]:.4f} (step {each['step']:,})" for each in facts["log"] if each.get(name) is not None]
        if found:
            shown.append((words, found[0], found[-1]))
        elif facts["steps"] is None:
            shown.append((words, _UNKNOWN, _UNKNOWN))
    return shown


def perplexity(loss: float) -> float:
    """Of a loss in nats a token."""
    return math.exp(loss) if loss < 700 else math.inf


def evaluation_table(facts: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What was measured on what was held out, before the first step and at the end."""
    sft = facts["kind"] == "sft"
    measured = [each for each in facts["log"] if each.get("eval_loss") is not None]
    names = {"loss": "loss", "perplexity": "perplexity"} if sft else {
        "loss": "loss", "accuracy": "accuracy, over all pairs", "calibration_error": "expected calibration error"
    }  # fmt: skip
    if facts["steps"] is None:
        return [(words, _UNKNOWN, _UNKNOWN) for words in names.values()]
    if not measured:
        return []
    before = measured[0] if measured[0]["step"] == 0 else {}
    return [(words, _metric(before, name), _metric(measured[-1], name)) for name, words in names.items()]


def _metric(measured: dict[str, Any], name: str) -> str:
    if not measured:
        return "-"
    if name == "perplexity":
        return f"{perplexity(measured['eval_loss']):,.2f}"
    value = measured.get(f"eval_{name}")
    if value is None:
        return "-"
    return f"{value:.1%}" if name == "accuracy" else f"{value:.4f}"


class Table(NamedTuple):
    """A table of numbers, with what it shows."""

    caption: str
    heads: tuple[str, ...]
    rows: list[tuple[str, ...]]


def reward_tables(facts: dict[str, Any]) -> list[Table]:
    """A reward model's accuracy by the gap of the scores, and how sure it is beside how right."""
    if facts["kind"] == "sft":
        return []
    found = facts.get("held_out") or {}
    by_gap: list[tuple[str, ...]] = [
        (_span(each["from"], each["to"]), number(each["pairs"]), f"{each['accuracy']:.1%}")
        for each in found.get("accuracy_by_gap", ())
    ]
    calibration: list[tuple[str, ...]] = [
        (
            f"{each['from']:.0%} to {each['to']:.0%}",
            number(each["pairs"]),
            f"{each['confidence']:.1%}",
            f"{each['accuracy']:.1%}",
        )
        for each in found.get("calibration", ())
    ]
    if facts["steps"] is None:
        by_gap, calibration = [(_UNKNOWN,) * 3], [(_UNKNOWN,) * 4]
    tables = [
        Table(
            "How often the better answer has the higher reward, by how far the scores of a pair are apart:",
            ("scores differ by", "pairs", "accuracy"),
            by_gap,
        ),
        Table(
            "How sure the rewards of a pair are, which is the sigmoid of their difference, beside how often they are "
            "right:",
            ("sure by", "pairs", "sure on average", "accuracy"),
            calibration,
        ),
    ]
    return [each for each in tables if each.rows]


def _span(low: float, high: float) -> str:
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


# --- words for values -----------------------------------------------------------------------------------------------


def _code_or_unknown(text: str | None) -> str:
    return _UNKNOWN if text is None else code(text)


def number(value: float | None, digits: int = 0) -> str:
    """A count or a rate.

    >>> number(52002), number(None), number(1234.56, digits=1)
    ('52,002', '*not run yet*', '1,234.6')
    """
    return _UNKNOWN if value is None else f"{value:,.{digits}f}"


def _or_none(value: float | None, digits: int = 0) -> str | None:
    return None if value is None else number(value, digits)


def _duration(seconds: float | None) -> str | None:
    """Seconds in words.

    >>> _duration(53.61), _duration(7384)
    ('53.6 s', '2 h 3 min')
    """
    if seconds is None:
        return None
    if seconds < 120:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def code(text: str) -> str:
    """A name as code, which nothing in it can end: neither the code nor a cell of a table.

    >>> code("a`b|c")
    "`a'b/c`"
    """
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    return f"`{line.replace('`', chr(39)).replace('|', '/')}`"


def plain(text: str) -> str:
    r"""Words in which nothing is markup, and no line ends.

    >>> plain("a|b\n# <!-- *c* my_rows.json")
    'a\\|b \\# \\<!-- \\*c\\* my_rows.json'
    """
    line = "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))
    return re.sub(r"[\\`*\[\]<>|~]|(?<!\S)#|(?<!\w)_|_(?!\w)", r"\\\g<0>", line)
