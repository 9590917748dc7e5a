"""Verbs and nouns as two rings: the 20 commonest verbs, around each its four commonest nouns (PAPER.md, Figure 1).

A piece is as wide as what is shown of it is common, as in the paper's own figure, but all pairs count, not only those
that occur more than ten times.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from gpt4_instruct.figures.drawing import PALETTE, Picture, ink_on, tint

__all__ = ["sunburst"]

_VERBS, _NOUNS = 20, 4


def sunburst(name: str, data: str, pairs: Counter[tuple[str, str]]) -> Picture | None:
    """Draws the rings; call it inside `style`.

    Args:
        name: the picture's.
        data: what the title calls the data set.
        pairs: how often each verb and noun occur.

    Returns:
        the picture, or none where there are no pairs.
    """
    verbs: Counter[str] = Counter()
    for (verb, _), count in pairs.items():
        verbs[verb] += count
    shown: dict[str, list[tuple[str, int]]] = {}
    for verb in sorted(verbs, key=lambda verb: (-verbs[verb], verb))[:_VERBS]:
        nouns = [(noun, count) for (each, noun), count in pairs.items() if each == verb]
        shown[verb] = sorted(nouns, key=lambda noun: (-noun[1], noun))[:_NOUNS]
    if not shown:
        return None
    total = sum(count for nouns in shown.values() for _, count in nouns)
    picture = Picture(
        name,
        f"Rings: the {len(shown)} commonest verbs of {data} ({', '.join(shown)}), and around each up to "
        f"{_NOUNS} of its commonest nouns.",
        width=8,
        height=8.4,
    )
    axes = picture.figure.subplots()
    axes.set(xlim=(-1.02, 1.02), ylim=(-1.02, 1.02), aspect="equal")
    axes.set_axis_off()
    start = 90.0  # clockwise from the top
    for number, (verb, nouns) in enumerate(shown.items()):
        # Neighbours differ in hue; the palette's second and third rounds, in lightness.
        colour = tint(PALETTE[number % len(PALETTE)], 1 - 0.25 * (number // len(PALETTE)))
        size = 360 * sum(count for _, count in nouns) / total
        _wedge(picture, axes, (start - size, start), (0.22, 0.6), colour, verb, f"{verb}: {verbs[verb]}")
        for noun, count in nouns:
            width = 360 * count / total
            tip = f"{verb} {noun}: {count}"
            _wedge(picture, axes, (start - width, start), (0.6, 1.0), tint(colour, 0.45), noun, tip)
            start -= width
    axes.set_title(f"The commonest verbs of {data} and their nouns", loc="center", pad=2)
    return picture


def _wedge(
    picture: Picture,
    axes: Any,
    angles: tuple[float, float],
    radii: tuple[float, float],
    colour: str,
    text: str,
    tip: str,
) -> None:
    """A piece of a ring with its text along the radius, as large as fits, or none where it would be illegible."""
    from matplotlib.patches import Wedge

    start, end = angles
    inner, outer = radii
    wedge = Wedge((0, 0), outer, start, end, width=outer - inner, facecolor=colour, edgecolor="white", linewidth=0.8)
    axes.add_patch(wedge)
    picture.tip(wedge, tip)
    middle = math.radians((start + end) / 2)
    radius = (inner + outer) / 2
    inches = picture.figure.get_figwidth() / 2.04  # of one unit
    high = 72 * inches * 2 * radius * math.sin(min(math.radians(end - start), math.pi) / 2) * 0.75
    wide = sum(1.0 if ord(character) > 0x2E80 else 0.62 for character in text) or 1
    size = min(11.0, high, 72 * inches * (outer - inner) * 0.92 / wide)
    if size < 4:
        return
    degrees = math.degrees(middle) % 360
    turned = degrees - 180 if 90 < degrees < 270 else degrees
    axes.text(
        *(radius * math.cos(middle), radius * math.sin(middle), text),
        ha="center",
        va="center",
        rotation=turned,
        rotation_mode="anchor",
        fontsize=size,
        color=ink_on(colour),
    )
