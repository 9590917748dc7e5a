"""The paper's figures (arXiv 2304.03277) with a run's numbers beside them, drawn from the `numbers.json` of a folder.

human          pies: how people voted, for each criterion
vicuna80       bars: relative scores on the 80 questions, against GPT-4 and against ChatGPT
rank_groups    points: relative scores of the answers on each rank of a reward model
chinese        bars: relative scores in Chinese, three comparisons
rouge          bars: ROUGE-L by the length of the reference
scores         lines: how dense the judge's scores are, for each answering model
verb_noun      bars: how many different verb-noun pairs there are
lengths        histograms of answers' lengths, of a run that has statistics
paper.html     all of them, with the numbers as tables

Blue is the paper's, light blue the models it compares with, orange a run's own, with its interval where there is one.
A hatched bar is one whose number is doubtful; the page says why.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpt4_instruct.errors import OutputError
from gpt4_instruct.figures.drawing import PALETTE, Picture, style, tint
from gpt4_instruct.figures.page import write_page
from gpt4_instruct.figures.paper_counts import human, rouge, shown
from gpt4_instruct.figures.paper_scores import lengths, scores, verb_noun
from gpt4_instruct.figures.paper_tables import COMPARISONS, paper_tables
from gpt4_instruct.storage import read_json

__all__ = ["PICTURES", "draw_paper"]

PICTURES = ("human", "vicuna80", "rank_groups", "chinese", "rouge", "scores", "verb_noun", "lengths")


class _Bar(NamedTuple):
    """A relative score as it is drawn."""

    name: str
    percent: float
    pair: Sequence[float]
    bounds: Sequence[float] | None = None
    mine: bool = False
    doubt: str | None = None

    @property
    def colour(self) -> str:
        if self.mine:
            return PALETTE[1]
        return PALETTE[0] if self.name.startswith("LLaMA-GPT4") else tint(PALETTE[0], 0.4)

    @property
    def tip(self) -> str:
        between = "" if self.bounds is None else f", interval {self.bounds[0]:.1f} to {self.bounds[1]:.1f} %"
        doubt = "" if self.doubt is None else f". Doubtful: {self.doubt}"
        return f"{self.name}: {self.percent:.1f} % = {self.pair[0]:g} : {self.pair[1]:g}{between}{doubt}"


def draw_paper(folder: Path) -> list[Path]:
    """Draws the numbers in a folder into the same folder.

    Returns:
        the paths of the pictures, each as PNG and SVG, and of ``paper.html``.

    Raises:
        OutputError: the folder holds no such numbers, or cannot be written.
        MissingExtraError: matplotlib is not installed, or no font has the Chinese characters in a model's name.
    """
    numbers = read_json(folder / "numbers.json")
    if not isinstance(numbers, dict) or not isinstance(numbers.get("derived"), dict):
        raise OutputError(f"{folder}/numbers.json is not one of the paper's: run gpt4-instruct paper first")
    files: list[Path] = []
    with style(_names(numbers.get("mine", {}))):
        found = [
            human(numbers),
            _bars("vicuna80", "Relative scores on 80 questions (the paper's judge: GPT-4)", numbers),
            _rank_groups(numbers),
            _bars("chinese", "Relative scores in Chinese (the paper's judge: GPT-4)", numbers),
            rouge(numbers),
            scores(numbers),
            verb_noun(numbers),
            lengths(numbers),
        ]
        drawn = [picture for picture in found if picture is not None]
        for picture in drawn:
            files += picture.save(folder)
        page = folder / "paper.html"
        title = "Instruction Tuning with GPT-4: the paper's numbers" + (", and ours" if "mine" in numbers else "")
        write_page(page, title=title, pictures=drawn, tables=list(paper_tables(numbers)))
    for name in PICTURES:
        for ending in (".png", ".svg"):  # of an earlier call
            if folder / f"{name}{ending}" not in files:
                (folder / f"{name}{ending}").unlink(missing_ok=True)
    return [*files, page]


def _names(own: Any) -> Iterator[str]:
    """All names in what a run has: they decide which fonts are needed."""
    if isinstance(own, dict):
        yield from own
        for each in own.values():
            yield from _names(each)
    elif isinstance(own, list):
        for each in own:
            yield from _names(each)
    elif isinstance(own, str):
        yield own


# --- relative scores ------------------------------------------------------------------------------------------------


def _rows(numbers: Mapping[str, Any], section: str, group: str) -> list[_Bar]:
    """The paper's, in its order, then a run's own."""
    doubts = {tuple(each["where"]): each["why"] for each in numbers["doubts"]}
    found = [
        _Bar(name, percent, numbers[section][group][name], doubt=doubts.get((section, group, name)))
        for name, percent in numbers["derived"][section][group].items()
    ]
    own = numbers.get("mine", {})
    bounds = own.get("intervals", {}).get(section, {}).get(group, {})
    for name, percent in own.get("derived", {}).get(section, {}).get(group, {}).items():
        if percent is not None:
            found.append(_Bar(name, percent, own[section][group][name], bounds.get(name), mine=True))
    return found


def _groups(numbers: Mapping[str, Any], section: str) -> dict[str, list[_Bar]]:
    return {group: _rows(numbers, section, group) for group in numbers["derived"][section]}


def _bars(section: str, title: str, numbers: Mapping[str, Any]) -> Picture:
    """Bars from nothing, one panel a comparison, each with its value at its end."""
    groups = _groups(numbers, section)
    most = max(len(rows) for rows in groups.values())
    told = "; ".join(
        f"{COMPARISONS[group]}: {', '.join(f'{each.name} {each.percent:.1f} %' for each in rows)}"
        for group, rows in groups.items()
    ).replace("\n", " ")
    picture = Picture(section, f"Bars: {title}. {told}.", width=3.8 * len(groups), height=1.7 + 0.3 * most)
    widest = max([100.0, *(each.percent for rows in groups.values() for each in rows)])
    for axes, (group, rows) in zip(picture.figure.subplots(1, len(groups)), groups.items(), strict=True):
        for place, each in enumerate(rows):
            (bar,) = axes.barh(
                [place],
                [each.percent],
                0.76,
                color=each.colour,
                hatch="////" if each.doubt else None,
                edgecolor="white" if each.doubt else each.colour,
                linewidth=0,
            )
            picture.tip(bar, each.tip)
            end = each.percent
            if each.bounds is not None:
                axes.plot(each.bounds, [place, place], color="black", linewidth=1.2, solid_capstyle="butt")
                end = max(end, each.bounds[1])
            value = axes.text(
                end + 1, place, f"{each.percent:.1f}{' ?' if each.doubt else ''}", va="center", fontsize=8
            )
            value.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # the line at 100 stays off it
        axes.set_yticks(range(len(rows)), [shown(each.name, 22) for each in rows])
        axes.set_ylim(most - 0.4, -0.6)
        axes.set_xlim(0, widest * 1.22)  # room for the values
        axes.axvline(100, color="black", linewidth=0.8, linestyle=":")
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0)
        axes.set_title(COMPARISONS[group], fontsize=9)
        axes.set_xlabel("% of the baseline's scores")
    picture.figure.suptitle(title)
    _legend(picture, [each for rows in groups.values() for each in rows])
    return picture


def _rank_groups(numbers: Mapping[str, Any]) -> Picture:
    """Points, since the differences are small: the axis does not begin at nothing."""
    groups = _groups(numbers, "rank_groups")
    told = "; ".join(
        f"{COMPARISONS[group]}: " + ", ".join(f"{each.name} {each.percent:.1f} %" for each in rows if not each.mine)
        for group, rows in groups.items()
    )
    picture = Picture("rank_groups", f"Points: relative scores by rank. {told}.", width=8, height=4)
    names = list(dict.fromkeys(each.name for rows in groups.values() for each in rows))
    names.sort(key=lambda name: (not name.isdigit(), int(name) if name.isdigit() else 0, name))
    for axes, (group, rows) in zip(picture.figure.subplots(1, 2, sharey=True), groups.items(), strict=True):
        for mine in (False, True):
            points = sorted((names.index(each.name), each) for each in rows if each.mine == mine)
            if not points:
                continue
            colour, offset = (PALETTE[1], 0.12) if mine else (PALETTE[0], 0.0)
            ranked = [(place + offset, each.percent) for place, each in points if each.name.isdigit()]
            axes.plot(*zip(*ranked, strict=True), color=colour, linewidth=0.9, alpha=0.6)
            for place, each in points:
                if each.bounds is not None:
                    axes.plot([place + offset] * 2, each.bounds, color=colour, linewidth=1.2)
                (point,) = axes.plot(
                    [place + offset], [each.percent], color=colour, marker="o" if each.name.isdigit() else "D"
                )
                picture.tip(point, f"{'ours' if mine else 'the paper'}, group {each.tip}")
                if not mine:
                    axes.annotate(f"{each.percent:.1f}", (place, each.percent), (-5, 5), textcoords="offset points",
                                  ha="center", fontsize=8)  # fmt: skip
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(names) - 0.5)
        axes.margins(y=0.15)
        axes.set_title(COMPARISONS[group], fontsize=9)
        axes.set_xlabel("rank by the reward model; B: not ranked")
    picture.figure.axes[0].set_ylabel("relative score, % (not from 0)")
    picture.figure.suptitle("Relative scores of ranked answers")
    _legend(picture, [each for rows in groups.values() for each in rows], compared=False)
    return picture


def _legend(picture: Picture, rows: Sequence[_Bar], *, compared: bool = True) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=PALETTE[0], label="the paper's LLaMA-GPT4")]
    if compared:
        handles.append(Patch(color=tint(PALETTE[0], 0.4), label="others in the paper"))
    if any(each.mine for each in rows):
        handles.append(Patch(color=PALETTE[1], label="ours, with its interval"))
    if any(each.doubt for each in rows):
        handles.append(Patch(facecolor="#888888", hatch="////", edgecolor="white", label="? doubtful, see the page"))
    picture.figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), fontsize="small")
