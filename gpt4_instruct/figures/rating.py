"""What people's votes came to, as pies, drawn from the facts of a tally.

rating.png, rating.svg   a pie for each criterion: the share of votes for ours, for the baseline, and for neither

Beside each share stands its interval, because a pie shows none.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt4_instruct.figures.drawing import PALETTE, Picture, ink_on, style

__all__ = ["draw_rating"]

_COLOURS = {"ours": PALETTE[0], "baseline": PALETTE[1], "tie": "#c8c8c8"}
_SMALLEST = 0.06  # a share under this has no room for its number within its slice


def draw_rating(
    facts: Mapping[str, Any],
    folder: Path,
    *,
    names: tuple[str, str] | None = None,
) -> list[Path]:
    """Draws the pies of a tally into a folder.

    Args:
        facts: as in ``tally.json``; of a criterion it needs ``n`` and for each choice ``votes``, ``share``, ``low`` and
            ``high``.
        folder: where ``rating.png`` and ``rating.svg`` are written; those of an earlier tally are replaced.
        names: of our model and the baseline; by default those of their files.

    Returns:
        the paths of both; none where there is no vote.

    Raises:
        MissingExtraError: matplotlib is not installed, or no font has the names' characters.
        OutputError: they cannot be written.
    """
    criteria = {name: found for name, found in facts["criteria"].items() if found["n"]}
    if not criteria:
        return []
    ours, baseline = names or (Path(facts["ours"]).stem, Path(facts["baseline"]).stem)
    labels = {"ours": ours, "baseline": baseline, "tie": "tie"}
    with style(labels.values()):
        return _picture(criteria, labels).save(folder)


def _picture(criteria: Mapping[str, Mapping[str, Any]], labels: Mapping[str, str]) -> Picture:
    told = "; ".join(
        f"{name}: " + ", ".join(f"{labels[choice]} {_percent(found[choice]['share'])}" for choice in _COLOURS)
        for name, found in criteria.items()
    )
    picture = Picture("rating", f"Pies of people's votes. {told}.", width=2.6 * len(criteria), height=3.6)
    slices = []
    (row,) = picture.figure.subplots(1, len(criteria), squeeze=False)
    for axes, (name, found) in zip(row, criteria.items(), strict=True):
        slices = _pie(picture, axes, found, labels)
        axes.set_title(f"{name}, {found['n']:,} votes", loc="center")
    picture.figure.legend(slices, [labels[choice] for choice in _COLOURS], loc="outside lower center", ncols=3)
    return picture


def _pie(picture: Picture, axes: Any, found: Mapping[str, Any], labels: Mapping[str, str]) -> list[Any]:
    shares = [found[choice]["share"] for choice in _COLOURS]
    colours = list(_COLOURS.values())
    drawn, _ = axes.pie(
        shares, colors=colours, startangle=90, counterclock=False, wedgeprops={"edgecolor": "white", "linewidth": 1.5}
    )
    intervals = []
    for wedge, choice, share, colour in zip(drawn, _COLOURS, shares, colours, strict=True):
        interval = f"{100 * found[choice]['low']:.1f} to {100 * found[choice]['high']:.1f} %"
        picture.tip(
            wedge, f"{labels[choice]}: {found[choice]['votes']:,} of {found['n']:,}, {_percent(share)} ({interval})"
        )
        intervals.append(f"{labels[choice]}: {interval}")
        if share >= _SMALLEST:
            _inside(axes, wedge, _percent(share), ink_on(colour))
    axes.set_xlabel("\n".join(intervals), fontsize="small")
    return list(drawn)


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _inside(axes: Any, wedge: Any, text: str, ink: str) -> None:
    """Writes into a slice, at 0.62 of the radius."""
    import math

    angle = math.radians((wedge.theta1 + wedge.theta2) / 2)
    axes.text(0.62 * math.cos(angle), 0.62 * math.sin(angle), text, ha="center", va="center", color=ink)
