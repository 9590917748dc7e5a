"""What became of a Self-Instruct run's tasks, and how varied those are that it kept, drawn from its facts.

self_instruct.png, self_instruct.svg
    above, the tasks of each round, kept and rejected by reason, under the share that was kept
    below, the different verbs, verb-noun pairs and topics of all that is kept so far, and how near each new task is to
    the nearest earlier one

Up to 100 rounds are drawn one by one; of a longer run, each bar and point stands for as many rounds as leave 100.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpt4_instruct.figures.drawing import PALETTE, Picture, style

__all__ = ["draw_self_instruct"]

_SPANS = 100  # bars; more cannot be told apart on 7 inches
_SINGLE = 40  # points of a line that are drawn as dots on it, too
_REASONS = 4  # that get a colour of their own
_KEPT, _REJECTED, _OTHER, _LINE = PALETTE[0], (PALETTE[1], PALETTE[3], PALETTE[5], PALETTE[4]), "#b8b8b8", "#222222"
# What is counted of all that is kept so far: its key in the facts, its name, its colour.
_COUNTS = (
    ("pairs", "verb-noun pairs", PALETTE[0]),
    ("verbs", "verbs", PALETTE[2]),
    ("topics", "topics", PALETTE[5]),
)


class _Span(NamedTuple):
    """Rounds that are drawn as one bar and one point.

    Attributes:
        first, last: their numbers.
        read: tasks that were read from the replies.
        kept: of these.
        rejected: the others, by reason.
        counts: of all kept up to the last of these rounds, by the keys of `_COUNTS`; NaN where not known.
        similarity: mean over the tasks kept in these rounds; NaN where not known.
    """

    first: int
    last: int
    read: int
    kept: int
    rejected: Counter[str]
    counts: dict[str, float]
    similarity: float

    @property
    def name(self) -> str:
        return f"round {self.first:,}" if self.first == self.last else f"rounds {self.first:,} to {self.last:,}"

    @property
    def length(self) -> int:
        return self.last - self.first + 1


def draw_self_instruct(facts: dict[str, Any], folder: Path) -> list[Path]:
    """Draws a run's rounds into a folder.

    Args:
        facts: of the build, as in ``facts.json``; its key ``self_instruct`` is read.
        folder: where ``self_instruct.png`` and ``self_instruct.svg`` are written; those of an earlier run are replaced.

    Returns:
        the paths of both; none where there was no round.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: they cannot be written.
    """
    rounds = facts["self_instruct"]["rounds"]
    if not rounds:
        return []
    with style([]):
        return _picture(_spans(rounds)).save(folder)


def _spans(rounds: Sequence[dict[str, Any]]) -> list[_Span]:
    """At most `_SPANS` parts of equal length, but for the last."""
    size = math.ceil(len(rounds) / _SPANS)
    found = []
    for begin in range(0, len(rounds), size):
        part = rounds[begin : begin + size]
        rejected: Counter[str] = Counter()
        for each in part:
            rejected.update(each["rejected"])
        near = [(each["similarity"], each["accepted"]) for each in part if each["similarity"] is not None]
        weight = sum(kept for _, kept in near)
        found.append(
            _Span(
                first=part[0]["round"],
                last=part[-1]["round"],
                read=sum(each["parsed"] for each in part),
                kept=sum(each["accepted"] for each in part),
                rejected=rejected,
                counts={key: _number(part[-1].get(key)) for key, _, _ in _COUNTS},
                similarity=math.fsum(mean * kept for mean, kept in near) / weight if weight else math.nan,
            )
        )
    return found


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _picture(spans: list[_Span]) -> Picture:
    read, kept = sum(each.read for each in spans), sum(each.kept for each in spans)
    shown = [count for count in _COUNTS if any(each.counts[count[0]] > 0 for each in spans)]
    near = any(not math.isnan(each.similarity) for each in spans)
    told = f"{kept:,} of {read:,} invented tasks kept in {spans[-1].last:,} round{'' if spans[-1].last == 1 else 's'}"
    below = bool(shown) or near
    picture = Picture(
        "self_instruct",
        f"Bars: the tasks of each round, kept and rejected by reason; {told}."
        + (" Lines: how varied those are that are kept." if below else ""),
        width=7,
        height=6.6 if below else 3.8,
    )
    every = picture.figure.subplots(2 if below else 1, 1, sharex=True, squeeze=False)[:, 0]
    _draw_tasks(picture, every[0], spans)
    if below:
        _draw_diversity(picture, every[1], spans, shown, near=near)
    _limit(every[-1], spans)
    picture.figure.suptitle(told)
    return picture


def _draw_tasks(picture: Picture, axes: Any, spans: list[_Span]) -> None:
    """Stacked bars of what became of the tasks of a round, and a line of the share that was kept."""
    total: Counter[str] = Counter()
    for each in spans:
        total.update(each.rejected)
    # The order of equals must not depend on which reason came first.
    ranked = sorted(total, key=lambda reason: (-total[reason], reason))
    named = ranked if len(ranked) <= _REASONS + 1 else ranked[:_REASONS]
    colours = dict(zip(named, (*_REJECTED, _OTHER), strict=False))
    layers = [("kept", _KEPT, [each.kept for each in spans])]
    layers += [(reason, colours[reason], [each.rejected[reason] for each in spans]) for reason in named]
    if len(named) < len(ranked):
        rest = [sum(each.rejected[reason] for reason in ranked[_REASONS:]) for each in spans]
        layers.append((f"{len(ranked) - _REASONS} other reasons", _OTHER, rest))
    # Each part as its mean round, so that a part with fewer rounds is no lower.
    centres = [(each.first + each.last) / 2 for each in spans]
    widths = [each.length * (0.8 if len(spans) <= _SINGLE else 1.0) for each in spans]
    under = [0.0] * len(spans)
    for name, colour, counts in layers:
        heights = [count / each.length for count, each in zip(counts, spans, strict=True)]
        bars = axes.bar(centres, heights, widths, under, color=colour, linewidth=0, label=f"{name}: {sum(counts):,}")
        for bar, count, each in zip(bars, counts, spans, strict=True):
            picture.tip(bar, f"{each.name}: {count:,} {name}")
        under = [low + height for low, height in zip(under, heights, strict=True)]
    length = spans[0].length
    axes.set_ylabel("tasks a round" if length == 1 else f"tasks a round, mean of each {length:,} rounds")
    axes.set_ylim(0, max(1.0, 1.04 * max(under)))
    axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    shares = [each.kept / each.read if each.read else math.nan for each in spans]
    line = _line_on_the_right(axes, centres, shares, "share that is kept")
    line.axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    picture.tip(line, f"kept: {_percent(shares[0])} at first, {_percent(shares[-1])} in the end")
    _legend(axes, line, below=0.03)


def _draw_diversity(
    picture: Picture, axes: Any, spans: list[_Span], shown: Sequence[tuple[str, str, str]], *, near: bool
) -> None:
    """Lines of how many different verbs, pairs, ... there are so far, and of how near the new tasks are."""
    rounds = [each.last for each in spans]
    ends = []
    for key, name, colour in shown:
        counts = [each.counts[key] for each in spans]
        ends.append(max(count for count in counts if not math.isnan(count)))
        (drawn,) = axes.plot(
            rounds, counts, color=colour, linewidth=1.6, **_dots(spans), label=f"different {name}: {ends[-1]:,.0f}"
        )
        picture.tip(drawn, f"{ends[-1]:,.0f} different {name} in the end")
    axes.set_ylabel("different ones so far" if shown else "")
    line = None
    if near:
        centres = [(each.first + each.last) / 2 for each in spans]
        means = [each.similarity for each in spans]
        line = _line_on_the_right(axes, centres, means, "ROUGE-L F1 to the nearest earlier task, mean")
        line.axes.set_ylabel("similarity")
        known = [mean for mean in means if not math.isnan(mean)]
        picture.tip(line, f"to the nearest earlier task: {known[0]:.2f} at first, {known[-1]:.2f} in the end")
    if not shown:
        axes.set_yticks([])
    elif max(ends) > 10 * min(ends):  # else the lesser lines are flat
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    axes.set_xlabel("round")
    _legend(axes, line, below=0.16)


def _line_on_the_right(axes: Any, rounds: list[float], values: list[float], name: str) -> Any:
    """A line from 0 to 1 on an axis of its own, over what is drawn on the left one."""
    from matplotlib.patheffects import withStroke

    right = axes.twinx()
    right.spines["right"].set_visible(True)
    right.grid(visible=False)
    right.set_ylim(0, 1.04)
    (line,) = right.plot(
        rounds, values, color=_LINE, linewidth=1.6, linestyle=(0, (4, 1.5)), **_dots(rounds), label=name
    )
    line.set_path_effects([withStroke(linewidth=3.2, foreground="white")])  # seen on dark bars, too
    return line


def _dots(points: Sequence[Any]) -> dict[str, Any]:
    return {"marker": "o", "markersize": 4} if len(points) <= _SINGLE else {}


def _legend(axes: Any, line: Any, *, below: float) -> None:
    """The names of what is drawn on both axes, under the left one."""
    handles, _ = axes.get_legend_handles_labels()
    handles += [] if line is None else [line]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -below), ncols=3, fontsize="small")


def _limit(axes: Any, spans: list[_Span]) -> None:
    """Whole rounds, with room for the first and the last bar."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xlim(spans[0].first - 0.7, spans[-1].last + 0.7)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(lambda number, _: f"{number:,.0f}")


def _percent(share: float) -> str:
    return "none read" if math.isnan(share) else f"{share:.0%}"
