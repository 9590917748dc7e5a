"""Pictures of votes and of ROUGE-L: the paper's and a run's beside them.

Each takes the content of `numbers.json` (see `evaluation.paper`) and gives a picture; they are called inside
`style`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from gpt4_instruct.figures.drawing import PALETTE, Picture, ink_on, tint

__all__ = ["human", "rouge", "shown"]


def shown(name: str, most: int = 40) -> str:
    """A name that fits, its middle left out.

    >>> shown("local:out/a-model", 12)
    'local…-model'
    """
    half = (most - 1) // 2
    return name if len(name) <= most else f"{name[:half]}…{name[-half - (most - 1) % 2 :]}"


class _Votes(NamedTuple):
    """A row of pies."""

    names: str  # FIRST_vs_SECOND
    whose: str
    n: int
    counts: Mapping[str, Sequence[int]]  # by criterion: the first is better, the second is, tie
    shares: Mapping[str, Sequence[float | None]]


class _Series(NamedTuple):
    """What is drawn in one colour: a model's ROUGE-L in each bucket."""

    name: str
    values: Sequence[float | None]
    intervals: Sequence[Sequence[float] | None]
    colour: str


def human(numbers: Mapping[str, Any]) -> Picture:
    """Pies: a row of three for each two models, the paper's first."""
    rows = [
        _Votes(name, whose, votes["n"], votes["ours_baseline_tie"], found["derived"]["human_hhh"][name])
        for whose, found in (("the paper", numbers), ("ours", numbers.get("mine", {})))
        for name, votes in found.get("human_hhh", {}).items()
    ]
    told = "; ".join(
        f"{each.names}, {each.whose}, {criterion}: {', '.join(map(_percent, shares))}"
        for each in rows
        for criterion, shares in each.shares.items()
    )
    alt = f"Pies: shares of votes for the first model, for the second, and of ties. {told}."
    picture = Picture("human", alt, width=8, height=0.7 + 2.4 * len(rows))
    columns = max(len(each.counts) for each in rows)
    for line, each in zip(picture.figure.subplots(len(rows), columns, squeeze=False), rows, strict=True):
        for axes in line:
            axes.set_axis_off()
        for axes, (criterion, counts) in zip(line, each.counts.items(), strict=False):
            axes.set_title(criterion, loc="center", fontsize=10, pad=2)
            _pie(picture, axes, each, criterion, counts)
        first, _, second = each.names.partition("_vs_")
        label = f"{shown(first, 22)}\nvs {shown(second, 22)}\n{each.whose}\nn = {each.n:,}"
        line[0].text(-0.15, 0.5, label, ha="right", va="center", transform=line[0].transAxes)
    _legend(picture, zip(_VOTE_COLOURS, ("the first is better", "the second is better", "tie"), strict=True))
    picture.figure.suptitle("How people voted")
    return picture


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1f} %"


_VOTE_COLOURS = (PALETTE[0], PALETTE[1], "#cccccc")


def _pie(picture: Picture, axes: Any, row: _Votes, criterion: str, counts: Sequence[int]) -> None:
    if not sum(counts):
        axes.text(0.5, 0.5, "no votes", ha="center", va="center", transform=axes.transAxes)
        return
    wedges, _ = axes.pie(
        counts,
        colors=_VOTE_COLOURS,
        startangle=90,
        counterclock=False,
        wedgeprops={"edgecolor": "white", "linewidth": 1},
    )
    sides = (*row.names.split("_vs_", 1), "tie")
    for wedge, count, share, side, colour in zip(
        wedges, counts, row.shares[criterion], sides, _VOTE_COLOURS, strict=True
    ):
        picture.tip(wedge, f"{criterion}: {side}, {count:,} of {sum(counts):,} votes ({_percent(share)})")
        if share is not None and share >= 4:  # else there is no room
            angle = math.radians((wedge.theta1 + wedge.theta2) / 2)
            x, y = 0.62 * math.cos(angle), 0.62 * math.sin(angle)
            axes.text(x, y, f"{share:.1f} %", ha="center", va="center", fontsize=8, color=ink_on(colour))


def _legend(picture: Picture, labels: Iterable[tuple[str, str]]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=colour, label=label) for colour, label in labels]
    picture.figure.legend(handles=handles, loc="outside lower center", ncols=4, fontsize="small")


def rouge(numbers: Mapping[str, Any]) -> Picture:
    """Bars by bucket, models side by side; a run's on the same references, with intervals where there are some."""
    paper, own = numbers["unnatural_rougeL"], numbers.get("mine", {}).get("unnatural_rougeL", {})
    bounds = numbers.get("mine", {}).get("intervals", {}).get("unnatural_rougeL", {})
    buckets, nothing = paper["buckets"], [None] * len(paper["n"])
    series = [
        _Series(name, paper[name], nothing, colour)
        for name, colour in zip(_models(paper), (PALETTE[0], tint(PALETTE[0], 0.35), PALETTE[2]), strict=True)
    ] + [
        _Series(f"{shown(name)} (ours)", own[name], bounds[name], colour)
        for name, colour in zip(_models(own), (PALETTE[1], PALETTE[3], PALETTE[5]), strict=False)
    ]
    told = "; ".join(
        f"{each.name} {', '.join('-' if value is None else f'{value:.3f}' for value in each.values)}" for each in series
    )
    alt = f"Bars: ROUGE-L for references of {', '.join(buckets)} words. {told}."
    picture = Picture("rouge", alt, width=8, height=4)
    axes = picture.figure.subplots()
    thick = 0.84 / len(series)
    for number, each in enumerate(series):
        for place, (bucket, value, interval) in enumerate(zip(buckets, each.values, each.intervals, strict=True)):
            if value is None:
                continue
            x = place + (number - (len(series) - 1) / 2) * thick
            (bar,) = axes.bar([x], [value], thick * 0.94, color=each.colour)
            between = "" if interval is None else f", interval {interval[0]:.3f} to {interval[1]:.3f}"
            picture.tip(bar, f"{each.name}, {bucket} words: {value:.4f}{between}")
            if interval is not None:
                axes.plot([x, x], interval, color="black", linewidth=1.1)
    labels = [f"{'all' if name == 'ALL' else name}\nn = {n:,}" for name, n in zip(buckets, paper["n"], strict=True)]
    axes.set_xticks(range(len(buckets)), labels)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("words in the reference")
    axes.set_ylabel("ROUGE-L (F1)")
    picture.figure.suptitle("ROUGE-L on Unnatural Instructions")
    _legend(picture, ((each.colour, each.name) for each in series))
    return picture


def _models(rouge: Mapping[str, Any]) -> list[str]:
    return [name for name in rouge if name not in ("buckets", "n", "note")]
