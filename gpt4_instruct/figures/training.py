"""A run's losses as a picture, drawn from the log in its `training.json`.

training.png, training.svg   the loss of each step, and of what was held out, over the steps

Up to 400 steps are drawn one by one. Of a longer run, each of 400 spans of steps is drawn as its mean, over a band from
its lowest loss to its highest, so that 100,000 steps are as easy to read, and a single bad one is still seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpt4_instruct.figures.drawing import PALETTE, Picture, style

__all__ = ["draw_training"]

_SPANS = 400  # points of the line; more cannot be told apart on 7 inches
_SINGLE = 40  # steps that are drawn as points on their line, too


class _Span(NamedTuple):
    """Steps that are drawn as one point."""

    step: float
    mean: float
    low: float
    high: float


def draw_training(facts: dict[str, Any], folder: Path) -> list[Path]:
    """Draws a run's losses into a folder.

    Args:
        facts: as in ``training.json``.
        folder: where ``training.png`` and ``training.svg`` are written; those of an earlier run are replaced.

    Returns:
        the paths of both; none where the log holds no loss that is a number.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: they cannot be written.
    """
    learnt, held_out = _losses(facts["log"], "loss"), _losses(facts["log"], "eval_loss")
    if not learnt and not held_out:
        return []
    with style([]):
        return _picture(facts["kind"], learnt, held_out).save(folder)


def _losses(log: Sequence[dict[str, Any]], name: str) -> list[tuple[int, float]]:
    """(step, loss) in the order of the steps; of a step that was logged twice, the last."""
    found = {each["step"]: float(each[name]) for each in log if each.get(name) is not None}
    return sorted((step, loss) for step, loss in found.items() if math.isfinite(loss))


def _picture(kind: str, learnt: list[tuple[int, float]], held_out: list[tuple[int, float]]) -> Picture:
    told = [
        f"{name} from {losses[0][1]:.3f} at step {losses[0][0]:,} to {losses[-1][1]:.3f} at step {losses[-1][0]:,}"
        for name, losses in (("of the steps", learnt), ("held out", held_out))
        if losses
    ]
    picture = Picture("training", f"Lines: the loss, {'; '.join(told)}.", width=7, height=3.8)
    axes = picture.figure.subplots()
    if learnt:
        _draw_learnt(picture, axes, learnt)
    if held_out:
        few = len(held_out) <= _SINGLE
        (line,) = axes.plot(
            *zip(*held_out, strict=True),
            color=PALETTE[3],
            linewidth=1.8,
            marker="o" if few else None,
            markersize=5,
            markeredgecolor="white",
            zorder=3,
            label=f"held out: {held_out[-1][1]:.3f} in the end",
        )
        picture.tip(line, f"held out, measured {len(held_out):,} times: {told[-1]}")
    _limit(axes, learnt, held_out)
    axes.set_xlabel("step")
    axes.set_ylabel("nats a token" if kind == "sft" else "loss of a pair")
    picture.figure.suptitle("Loss")
    picture.figure.legend(loc="outside lower center", ncols=2, fontsize="small")
    return picture


def _draw_learnt(picture: Picture, axes: Any, learnt: list[tuple[int, float]]) -> None:
    spans = _spans(learnt)
    steps = [each.step for each in spans]
    size = math.ceil(len(learnt) / _SPANS)
    label = "each step" if size == 1 else f"mean of each {size:,} steps, over their lowest to highest"
    if size > 1:
        band = axes.fill_between(
            steps, [each.low for each in spans], [each.high for each in spans], color=PALETTE[0], alpha=0.2, linewidth=0
        )
        picture.tip(band, f"lowest and highest of each {size:,} steps")
    (line,) = axes.plot(
        steps,
        [each.mean for each in spans],
        color=PALETTE[0],
        linewidth=1.2,
        marker="o" if len(learnt) <= _SINGLE else None,
        markersize=3,
        label=label,
    )
    picture.tip(line, f"{len(learnt):,} steps: from {learnt[0][1]:.3f} to {learnt[-1][1]:.3f}")


def _spans(losses: Sequence[tuple[int, float]]) -> list[_Span]:
    """At most `_SPANS` parts of equal length, but for the last.

    >>> _spans([(1, 2.0), (2, 1.0)])
    [_Span(step=1.0, mean=2.0, low=2.0, high=2.0), _Span(step=2.0, mean=1.0, low=1.0, high=1.0)]
    """
    size = max(1, math.ceil(len(losses) / _SPANS))
    found = []
    for begin in range(0, len(losses), size):
        steps, values = zip(*losses[begin : begin + size], strict=True)
        found.append(_Span(math.fsum(steps) / len(steps), math.fsum(values) / len(values), min(values), max(values)))
    return found


def _limit(axes: Any, learnt: list[tuple[int, float]], held_out: list[tuple[int, float]]) -> None:
    """Axes that hold all points, with whole numbers for steps; a far outlier does not flatten all others."""
    from matplotlib.ticker import MaxNLocator

    steps = [step for step, _ in (*learnt, *held_out)]
    room = max(0.5, 0.02 * (max(steps) - min(steps)))
    axes.set_xlim(min(steps) - room, max(steps) + room)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    axes.xaxis.set_major_formatter(lambda step, _: f"{step:,.0f}")
    values = sorted(loss for _, loss in (*learnt, *held_out))
    typical = values[: max(1, math.ceil(0.99 * len(values)))]
    if values[0] > 0 and values[-1] > 20 * max(typical[-1], 1e-9):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda loss, _: f"{loss:g}")
