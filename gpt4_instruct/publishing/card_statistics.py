"""What `stats` counted of a config, as its card tells it: a few numbers, the commonest pairs, and the pictures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from gpt4_instruct.publishing.run_evaluation import count

__all__ = ["StatisticsTable", "main_numbers", "statistics_table"]

_COUNTED = ("answers", "distinct_answers", "with_pair", "share_with_pair", "unique_pairs", "pairs_over_10")
_PAIRS = 10  # that a card names


class StatisticsTable(NamedTuple):
    """The statistics of a config.

    Attributes:
        rows: of all answers, and of each model's where there are several: name, answers, words (mean, median, 95 %),
            tokens (mean), distinct pairs, share of answers with a pair, score (mean and sd).
        pairs: the commonest, as ``write story (12)``.
        figures: files beside the card, each with what it shows.
        by: the version that counted.
    """

    rows: list[tuple[str, ...]]
    pairs: str
    figures: list[tuple[str, str]]
    by: str


def main_numbers(summary: Mapping[str, Any]) -> dict[str, Any]:
    """What of one data set's summary (see `statistics.describe.describe`) goes into a manifest: no histograms."""
    told: dict[str, Any] = {name: summary[name] for name in _COUNTED if name in summary}
    for name in ("words", "characters", "tokens", "scores"):
        if name in summary:
            told[name] = {key: value for key, value in summary[name].items() if key != "histogram"}
    told["top_pairs"] = [list(pair) for pair in summary.get("top_pairs", ())][:_PAIRS]
    sources = summary.get("sources") or {}
    if len(sources) > 1:
        told["sources"] = {name: main_numbers(each) for name, each in sources.items()}
    return told


def statistics_table(statistics: Mapping[str, Any]) -> StatisticsTable:
    """The statistics in a config's manifest entry, in words."""
    parts = {"all answers": statistics, **statistics.get("sources", {})}
    words = {"verb_noun_top": "The commonest pairs of verb and noun", "lengths": "Lengths of the answers",
             "verb_noun_sunburst": "The commonest verbs, each with its nouns", "scores": "The scores"}  # fmt: skip
    return StatisticsTable(
        rows=[_row(name, each) for name, each in parts.items()],
        pairs=", ".join(f"{verb} {noun} ({times:,})" for verb, noun, times in statistics["top_pairs"]),
        figures=[
            (file, next((text for name, text in words.items() if name in file), "A figure"))
            for file in statistics["figures"]
        ],
        by=statistics["package"],
    )


def _row(name: str, each: Mapping[str, Any]) -> tuple[str, ...]:
    words, tokens, scores = (each.get(key) or {"count": 0} for key in ("words", "tokens", "scores"))
    return (
        name,
        count(each["answers"]),
        f"{words['mean']:,.1f}, {words['median']:,}, {words['p95']:,}" if words["count"] else "-",
        f"{tokens['mean']:,.1f}" if tokens["count"] else "-",
        count(each["unique_pairs"]),
        f"{each['share_with_pair']:.1%}",
        f"{scores['mean']:.2f} ± {scores['sd']:.2f}" if scores["count"] else "-",
    )
