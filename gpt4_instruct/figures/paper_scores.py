"""Pictures of the judge's scores, of verb-noun pairs and of lengths: the paper's counts and a run's beside them.

Each takes the content of `numbers.json` (see `evaluation.paper`) and gives a picture, or none where there is nothing to
draw; they are called inside `style`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gpt4_instruct.figures.drawing import PALETTE, Picture
from gpt4_instruct.figures.paper_counts import shown

__all__ = ["density", "lengths", "scores", "verb_noun"]

BANDWIDTH = 0.25  # points of a score


def scores(numbers: Mapping[str, Any]) -> Picture:
    """Densities of the judge's scores, smoothed alike, for each answering model."""
    found = [
        (f"{shown(name)}{of}", counts, told["derived"]["judge_scores"][name])
        for of, told in (("", numbers), (" (ours)", numbers.get("mine", {})))
        for name, counts in told.get("score_histograms", {}).items()
    ][: len(PALETTE)]
    labels = [f"{name}: n = {of['n']:,}, mean {of['mean']:.2f}, sd {of['sd']:.2f}" for name, _, of in found]
    picture = Picture("scores", f"Lines: the density of the judge's scores. {'; '.join(labels)}.", width=8, height=4.2)
    axes = picture.figure.subplots()
    points = [number / 20 for number in range(-20, 231)]
    for number, ((name, counts, _), label) in enumerate(zip(found, labels, strict=True)):
        heights = density({float(score): count for score, count in counts.items()}, points)
        ours = name.endswith("(ours)")
        (line,) = axes.plot(points, heights, color=PALETTE[number], linestyle="--" if ours else "-", label=label)
        axes.fill_between(points, heights, color=PALETTE[number], alpha=0.15, linewidth=0)
        picture.tip(line, label)
    axes.set_xlim(-1, 11.5)
    axes.set_ylim(0)
    axes.set_xticks(range(11))
    axes.set_xlabel(f"score, smoothed by a normal curve of {BANDWIDTH} points")
    axes.set_ylabel("density")
    picture.figure.suptitle("The judge's scores")
    picture.figure.legend(loc="outside lower center", ncols=1, fontsize="small")
    return picture


def density(counts: Mapping[float, int], points: Sequence[float], bandwidth: float = BANDWIDTH) -> list[float]:
    """How dense scores are at some points: the sum of a normal curve on each score, divided by their number.

    Args:
        counts: how often each score was given.
        points: of the axis, in the scores' unit.
        bandwidth: the curve's standard deviation, in the same unit.

    >>> [round(each, 3) for each in density({9.0: 1, 1.0: 1}, [1.0, 5.0, 9.0], 1.0)]
    [0.199, 0.0, 0.199]
    """
    scale = 1 / (sum(counts.values()) * bandwidth * math.sqrt(2 * math.pi))
    return [
        scale
        * math.fsum(count * math.exp(-0.5 * ((point - score) / bandwidth) ** 2) for score, count in counts.items())
        for point in points
    ]


def verb_noun(numbers: Mapping[str, Any]) -> Picture:
    """Bars: how many different pairs."""
    own = numbers.get("mine", {}).get("verb_noun", {}).get("unique_pairs", {})
    found = [(f"{name}, the paper", count, PALETTE[0]) for name, count in numbers["verb_noun"]["unique_pairs"].items()]
    found += [(f"{shown(name)}, ours", count, PALETTE[1]) for name, count in own.items()]
    told = "; ".join(f"{name} {count:,}" for name, count, _ in found)
    picture = Picture("verb_noun", f"Bars: different verb-noun pairs. {told}.", width=7, height=1.1 + 0.36 * len(found))
    axes = picture.figure.subplots()
    for place, (name, count, colour) in enumerate(found):
        (bar,) = axes.barh([place], [count], 0.7, color=colour)
        picture.tip(bar, f"{name}: {count:,} different pairs")
        axes.text(count, place, f" {count:,}", va="center", fontsize=8)
    axes.set_yticks(range(len(found)), [name for name, *_ in found])
    axes.set_ylim(len(found) - 0.4, -0.6)
    axes.set_xlim(0, max(count for _, count, _ in found) * 1.12)
    axes.xaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("different pairs of a root verb and its object (the paper: of 52,002 answers)")
    picture.figure.suptitle("Verb-noun pairs")
    return picture


def lengths(numbers: Mapping[str, Any]) -> Picture | None:
    """Histograms of a run's answers over 0..512 words in 100 bins, counts on a logarithmic axis, as the paper's."""
    own = dict(list(numbers.get("mine", {}).get("lengths", {}).items())[: len(PALETTE)])
    if not own:
        return None
    told = [f"{shown(name)}: mean {each['mean']:.0f}, median {each['median']:g} words" for name, each in own.items()]
    picture = Picture("lengths", f"Histograms of our answers' lengths. {'; '.join(told)}.", width=8, height=3.6)
    axes = picture.figure.subplots()
    for number, (each, label) in enumerate(zip(own.values(), told, strict=True)):
        counts = each["histogram"][:100]
        edges = [512 * place / len(counts) for place in range(len(counts) + 1)]
        steps = axes.stairs(counts, edges, color=PALETTE[number], linewidth=1.3, label=label, baseline=0.5)
        picture.tip(steps, label)
    axes.set_yscale("log")
    axes.set_ylim(0.5, max(max(each["histogram"][:100]) for each in own.values()) * 1.4 + 1)
    axes.set_xlim(0, 512)
    axes.set_xlabel("words in an answer (of Chinese: characters)")
    axes.set_ylabel("answers")
    axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
    axes.tick_params(which="minor", labelleft=False)
    picture.figure.suptitle("How long our answers are (the paper gives no counts)")
    picture.figure.legend(loc="outside lower center", ncols=1, fontsize="small")
    return picture
