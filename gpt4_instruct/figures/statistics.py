"""The paper's statistics as pictures (PAPER.md, Figures 1 and 2), drawn from the files that `describe` wrote.

verb_noun_top    the 25 commonest verb-noun pairs, of the first data set beside the second
verb_noun_sunburst, verb_noun_sunburst_b
                 the 20 commonest verbs, each with its four commonest nouns
lengths          histograms of the answers' lengths
scores           how often the judge gave each score, by model
figures.html     all of them, with what is under the mouse and the pairs as a table to search
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from gpt4_instruct.errors import OutputError
from gpt4_instruct.figures.drawing import PALETTE, Picture, style
from gpt4_instruct.figures.page import write_page
from gpt4_instruct.figures.sunburst import sunburst
from gpt4_instruct.storage import read_json

__all__ = ["draw_statistics"]

_SERIES = 4  # beside one another; more cannot be told apart
_TOP = 25
_LONGEST, _BINS = 512, 100
_TABLE_ROWS = 1_000  # in the page; all are in verb_noun.csv


class _Series(NamedTuple):
    """What is drawn in one colour: a data set, or one model's answers in it."""

    name: str
    language: str
    facts: dict[str, Any]
    pairs: Counter[tuple[str, str]]


def draw_statistics(folder: Path) -> list[Path]:
    """Draws what `describe` wrote to a folder, into the same folder.

    Returns:
        the paths of the pictures, each as PNG and SVG, and of ``figures.html``.

    Raises:
        OutputError: the folder holds no statistics, or cannot be written.
        MissingExtraError: matplotlib is not installed, or no font has the Chinese characters.
    """
    summary = read_json(folder / "summary.json")
    if not isinstance(summary, dict) or not isinstance(summary.get("data"), list):
        raise OutputError(f"{folder}/summary.json is not one of statistics: run gpt4-instruct stats first")
    data = [_Series(_shown(each["name"]), each["language"], each, _pairs(folder, suffix)) for each, suffix in
            zip(summary["data"], ("", "_b"), strict=False)]  # fmt: skip
    series = (data if len(data) > 1 else _by_source(folder, data[0]))[:_SERIES]
    texts = [text for each in (*data, *series) for text in (each.name, *(word for pair in each.pairs for word in pair))]
    files: list[Path] = []
    with style(texts):
        pictures = [
            _top(series),
            *(
                sunburst(f"verb_noun_sunburst{suffix}", each.name, each.pairs)
                for each, suffix in zip(data, ("", "_b"), strict=False)
            ),
        ]
        pictures += [_lengths(series), _scores(folder, data)]
        drawn = [picture for picture in pictures if picture is not None]
        for picture in drawn:
            files += picture.save(folder)
        page = folder / "figures.html"
        write_page(page, title=" and ".join(each.name for each in data), pictures=drawn, tables=list(_tables(data)))
    kept = {path.name for path in files}
    for name in ("verb_noun_top", "verb_noun_sunburst", "verb_noun_sunburst_b", "lengths", "scores"):
        for ending in (".png", ".svg"):  # of an earlier call
            if name + ending not in kept:
                (folder / f"{name}{ending}").unlink(missing_ok=True)
    return [*files, page]


def _read(path: Path) -> Iterator[list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            yield from islice(csv.reader(file), 1, None)
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}. Run gpt4-instruct stats again")


def _pairs(folder: Path, suffix: str) -> Counter[tuple[str, str]]:
    return Counter({(verb, noun): int(count) for verb, noun, count in _read(folder / f"verb_noun{suffix}.csv")})


def _by_source(folder: Path, whole: _Series) -> list[_Series]:
    """The answers of each model, where there are several."""
    sources = whole.facts["sources"]
    if len(sources) < 2:
        return [whole]
    pairs: dict[str, Counter[tuple[str, str]]] = {name: Counter() for name in sources}
    for source, verb, noun, count in _read(folder / "verb_noun_by_source.csv"):
        pairs[source][verb, noun] = int(count)
    return [_Series(_shown(name), whole.language, facts, pairs[name]) for name, facts in sources.items()]


def _shown(name: str) -> str:
    """A name that fits a legend."""
    return name if len(name) <= 40 else f"{name[:19]}…{name[-20:]}"


def _top(series: Sequence[_Series]) -> Picture | None:
    """Bars of the commonest pairs: of the first series beside the others, or of each alone where languages differ."""
    if not any(each.pairs for each in series):
        return None
    alone = len({each.language for each in series}) > 1
    panels = [[each] for each in series] if alone else [list(series)]
    rows = max(min(_TOP, len(panel[0].pairs)) for panel in panels)
    picture = Picture(
        "verb_noun_top",
        f"Bars: how often the {rows} commonest verb-noun pairs occur in {' and '.join(each.name for each in series)}.",
        width=7 * len(panels) ** 0.6,
        height=max(2.4, 1.2 + rows * (0.2 + 0.06 * len(panels[0]))),
    )
    every = picture.figure.subplots(1, len(panels), squeeze=False)[0]
    for number, (axes, panel) in enumerate(zip(every, panels, strict=True)):
        ranked = _ranked(panel[0].pairs)[:_TOP]
        thick = 0.8 / len(panel)
        for place, each in enumerate(panel):
            asked = each.facts["distinct_answers"] or 1
            shares = [1_000 * each.pairs[pair] / asked for pair in ranked]
            heights = [row + (place - (len(panel) - 1) / 2) * thick for row in range(len(ranked))]
            colour = PALETTE[number + place]
            bars = axes.barh(heights, shares, thick * 0.92, color=colour, label=_labelled(each))
            for bar, (verb, noun), share in zip(bars, ranked, shares, strict=True):
                count = each.pairs[verb, noun]
                picture.tip(bar, f"{verb} {noun}: {count} of {asked:,} in {each.name} ({share:.1f} in 1,000)")
        axes.set_yticks(range(len(ranked)), [f"{verb} {noun}" for verb, noun in ranked])
        axes.set_ylim(len(ranked) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel("times in 1,000 different answers")
        axes.tick_params(axis="y", length=0)
    beside = f" of {series[0].name}, beside the others" if len(series) > 1 and not alone else ""
    picture.figure.suptitle(f"The commonest verb-noun pairs{beside}", fontsize="large" if beside else "x-large")
    picture.figure.legend(loc="outside lower center", ncols=1, fontsize="small")
    return picture


def _labelled(each: _Series) -> str:
    unique, often = each.facts["unique_pairs"], each.facts["pairs_over_10"]
    return f"{each.name}: {unique:,} different pairs, {often:,} of them over 10 times"


def _ranked(pairs: Counter[tuple[str, str]]) -> list[tuple[str, str]]:
    return sorted(pairs, key=lambda pair: (-pairs[pair], pair))


def _lengths(series: Sequence[_Series]) -> Picture | None:
    """Histograms over 0..512 in 100 bins, counts on a logarithmic axis, in words and, where counted, in tokens."""
    units = [unit for unit in ("words", "tokens") if any(unit in each.facts for each in series)]
    if not units:
        return None
    picture = Picture(
        "lengths",
        "Histograms of the answers' lengths in " + " and in ".join(units) + ": " + "; ".join(
            f"{each.name}, median {each.facts[unit]['median']} {unit}"
            for unit in units for each in series if unit in each.facts
        ) + ".",
        width=7,
        height=3.6 * len(units),
    )  # fmt: skip
    edges = [number * _LONGEST / _BINS for number in range(_BINS + 1)]
    chinese = any("zh" in (each.language or "") for each in series)
    for axes, unit in zip(picture.figure.subplots(len(units), 1, squeeze=False)[:, 0], units, strict=True):
        for number, each in enumerate(series):
            if unit not in each.facts:
                continue
            facts = each.facts[unit]
            label = (
                f"{each.name}: mean {facts['mean']:.0f}, median {facts['median']}, {facts['above_512']:.1%} over 512"
            )
            counts = facts["histogram"][:_BINS]
            steps = axes.stairs(counts, edges, color=PALETTE[number], linewidth=1.3, label=label, baseline=0.5)
            picture.tip(steps, label)
            axes.stairs(counts, edges, color=PALETTE[number], alpha=0.18, fill=True, baseline=0.5)
        axes.set_yscale("log")
        most = max(max(each.facts[unit]["histogram"][:_BINS]) for each in series if unit in each.facts)
        axes.set_ylim(0.5, max(most, 1) * 1.4)
        axes.yaxis.set_major_formatter(lambda count, _: f"{count:,.0f}")
        axes.tick_params(which="minor", labelleft=False)
        axes.set_xlim(0, _LONGEST)
        axes.set_xlabel(f"{unit} in an answer" + (" (of Chinese: characters)" if unit == "words" and chinese else ""))
        axes.set_ylabel("answers")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), fontsize="small")
    picture.figure.suptitle("How long the answers are")
    return picture


def _scores(folder: Path, data: Sequence[_Series]) -> Picture | None:
    """Bars of the share of answers with each score, rounded to whole ones, for each model."""
    models: list[tuple[str, dict[str, Any], Counter[int]]] = []
    for each, suffix in zip(data, ("", "_b"), strict=False):
        scores: dict[str, Counter[int]] = {}
        for source, value, count in _read(folder / f"scores{suffix}.csv") if "scores" in each.facts else ():
            scores.setdefault(source, Counter())[round(float(value))] += int(count)
        for source, given in scores.items():
            name = f"{each.name}: {source}" if len(data) > 1 else source or each.name
            models.append((_shown(name), each.facts["sources"][source]["scores"], given))
    if not models:
        return None
    models = models[: len(PALETTE)]
    least = min(0, *(min(counts) for _, _, counts in models))
    most = max(10, *(max(counts) for _, _, counts in models))
    told = [f"{name}: mean {facts['mean']:.2f}, sd {facts['sd']:.2f}" for name, facts, _ in models]
    picture = Picture("scores", f"Bars: the share of answers with each score. {'; '.join(told)}.", width=7, height=4)
    axes = picture.figure.subplots()
    thick = 0.84 / len(models)
    for number, (label, (model, facts, counts)) in enumerate(zip(told, models, strict=True)):
        scores_given = sorted(counts)
        shares = [counts[score] / facts["count"] for score in scores_given]
        places = [score + (number - (len(models) - 1) / 2) * thick for score in scores_given]
        wrong = f", {facts['out_of_range']:,} not in 1 to 10" if facts["out_of_range"] else ""
        bars = axes.bar(places, shares, thick * 0.94, color=PALETTE[number], label=label + wrong)
        for bar, score, share in zip(bars, scores_given, shares, strict=True):
            picture.tip(bar, f"{model}: {counts[score]:,} answers with {score} ({share:.1%})")
    if most - least <= 20:
        axes.set_xticks(range(least, most + 1))
    axes.set_xlim(least - 0.6, most + 0.6)
    axes.set_xlabel("score, rounded to a whole number" if _fractions(models) else "score")
    axes.set_ylabel("share of the model's answers")
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.grid(visible=False, axis="x")
    picture.figure.suptitle("The judge's scores")
    picture.figure.legend(loc="outside lower center", ncols=1, fontsize="small")
    return picture


def _fractions(models: Sequence[tuple[str, dict[str, Any], Counter[int]]]) -> bool:
    return any(facts["fractions"] for _, facts, _ in models)


def _tables(data: Sequence[_Series]) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """A caption, the heads and the rows: what is told of each data set and its models, then each one's pairs."""
    heads = ["", "rows", "answers", "with a pair", "different pairs", "over 10 times", "median words", "over 512 words"]
    rows = []
    for each in data:
        for name, facts in ((each.name, each.facts), *each.facts["sources"].items()):
            if name == "":
                continue
            words = facts.get("words", {"median": "", "above_512": 0.0})
            rows.append(
                [
                    *(name, f"{facts['rows']:,}" if "rows" in facts else "", f"{facts['answers']:,}"),
                    *(f"{facts['share_with_pair']:.1%}", f"{facts['unique_pairs']:,}", f"{facts['pairs_over_10']:,}"),
                    *(f"{words['median']}", f"{words['above_512']:.1%}"),
                ]
            )
    yield "In numbers", heads, rows
    for each in data:
        ranked = _ranked(each.pairs)
        caption = f"Verb-noun pairs of {each.name}"
        if len(ranked) > _TABLE_ROWS:
            caption += f": the {_TABLE_ROWS:,} commonest of {len(ranked):,}"
        rows = [[*pair, f"{each.pairs[pair]:,}"] for pair in ranked[:_TABLE_ROWS]]
        yield caption, ["verb", "noun", "count"], rows
