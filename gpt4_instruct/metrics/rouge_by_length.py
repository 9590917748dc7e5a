"""ROUGE against reference answers, by how long these are: the paper's figure on Unnatural Instructions.

What it gives, here of two pairs::

    {"rouge1": 0.9, "rouge2": 0.75, "rougeL": 0.9, "n": 2, "missing": 0,
     "unit": "whitespace words", "tokenizer": "auto", "pairs_by_tokenizer": {"english": 2}, "stemmer": false,
     "resamples": 1000, "level": 0.95, "seed": 0,
     "buckets": [{"length": "0-2", "n": 1,
                  "rouge1": {"precision": 1.0, "recall": 1.0, "f1": 1.0, "low": null, "high": null},
                  "rouge2": {...}, "rougeL": {...}},
                 ..., {"length": "ALL", "n": 2, ...}]}
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from gpt4_instruct.errors import UsageError
from gpt4_instruct.metrics.base import Definition, check_pairs
from gpt4_instruct.metrics.intervals import bootstrap_means, check_bootstrap
from gpt4_instruct.metrics.rouge import ROUGES, score_pairs
from gpt4_instruct.metrics.tokens import UNITS, choose

__all__ = ["METRIC", "BOUNDS", "rouge_by_length"]

BOUNDS = (2, 5, 10)  # the paper's

_SCORES = ("precision", "recall", "f1")


def rouge_by_length(
    predictions: Sequence[str | None],
    references: Sequence[str | None],
    *,
    bounds: Sequence[int] = BOUNDS,
    tokenizer: str = "auto",
    stemmer: bool = False,
    resamples: int = 1_000,
    level: float = 0.95,
    seed: int = 0,
    workers: int = 1,
) -> dict[str, Any]:
    """ROUGE-1, ROUGE-2 and ROUGE-L of predictions against references, in buckets of the references' length.

    In English the scores of a pair are rouge-score's. The means are the means; rouge-score's own aggregates are
    bootstrapped ones, which differ in the fourth digit.

    Args:
        predictions: the answers; None where there is none. An empty one counts, and scores 0.
        references: the right answers, in the same order; None where there is none.
        bounds: the greatest length in each bucket but the last, ascending.
        tokenizer: ``"english"``, ``"characters"`` or ``"words"``, see `tokens.encode`; ``"auto"`` has English
            tokens but where a reference is mostly Chinese, or has none of them, and characters there.
        stemmer: cut English tokens to their stems.
        resamples: draws of the bootstrap over the pairs of a bucket; as many as rouge-score takes by default.
        level: of the intervals, over 0 and under 1.
        seed: of the draws.
        workers: threads for ROUGE-L; -1 for one a core, which pays for texts of thousands of words.

    Returns:
        as at the top of this file: the mean F1 over all pairs, and for each bucket the mean precision, recall and F1
        (none where a bucket is empty) with the interval of the F1 (none below 10 pairs). Lengths are in ``unit``:
        whitespace words for English tokens, else tokens. ``missing`` pairs, of which a text is None, are left out.

    Raises:
        UsageError: the lengths differ, a text is none, no pair is whole, or an option cannot work.
        MissingExtraError: a library that the tokenizer or stemmer needs is not installed.

    >>> from gpt4_instruct.metrics import load
    >>> predictions, references = ["Paris", "It is a big red dog."], ["paris.", "A big red dog"]
    >>> found = load("rouge_by_length").compute(predictions=predictions, references=references)
    >>> round(found["rougeL"], 3), found["unit"], found["pairs_by_tokenizer"]
    (0.9, 'whitespace words', {'english': 2})
    >>> [(each["length"], each["n"], round(each["rougeL"]["f1"], 3)) for each in found["buckets"] if each["n"]]
    [('0-2', 1, 1.0), ('3-5', 1, 0.8), ('ALL', 2, 0.9)]
    >>> rouge_by_length(["我爱熊猫。"], ["我爱熊猫！"])["rougeL"]
    1.0
    """
    n = check_pairs(predictions, references)
    check_bootstrap(resamples, level)
    labels = _labels(bounds)
    pairs = [
        (_text(one, "predictions", place), _text(other, "references", place))
        for place, (one, other) in enumerate(zip(predictions, references, strict=True))
        if one is not None and other is not None
    ]
    if not pairs:
        raise UsageError(f"of none of {n} pairs there are both texts")
    chosen = [choose(reference, tokenizer) for _, reference in pairs]
    scores, lengths = _score(pairs, chosen, stemmer=stemmer, tokenizer=tokenizer, workers=workers)
    places: list[list[int]] = [[] for _ in labels]
    for place, each in enumerate(lengths):
        places[bisect_left(bounds, each)].append(place)
    places[-1] = list(range(len(pairs)))
    buckets = [
        {"length": label, "n": len(rows), **_bucket(scores, rows, resamples=resamples, level=level, seed=seed)}
        for label, rows in zip(labels, places, strict=True)
    ]
    return {
        **{rouge: buckets[-1][rouge]["f1"] for rouge in ROUGES},
        "n": len(pairs),
        "missing": n - len(pairs),
        "unit": " or ".join(UNITS[name] for name in sorted(set(chosen), reverse=True)),
        "tokenizer": tokenizer,
        "pairs_by_tokenizer": dict(sorted(Counter(chosen).items())),
        "stemmer": stemmer,
        "resamples": resamples,
        "level": level,
        "seed": seed,
        "buckets": buckets,
    }


def _score(
    pairs: Sequence[tuple[str, str]], chosen: Sequence[str], *, tokenizer: str, stemmer: bool, workers: int
) -> tuple[dict[str, Any], list[int]]:
    """For each rouge float64[pairs, 3], as `score_pairs` gives them; and each reference's length."""
    import numpy as np

    scores = {rouge: np.empty((len(pairs), 3)) for rouge in ROUGES}
    lengths = [len(reference.split()) for _, reference in pairs]
    for name in set(chosen):
        rows = [row for row, each in enumerate(chosen) if each == name]
        answers, right = [pairs[row][0] for row in rows], [pairs[row][1] for row in rows]
        stems = stemmer and (name == "english" or tokenizer != "auto")  # "auto" leaves other pairs as they are
        found, sizes = score_pairs(answers, right, name, stemmer=stems, workers=workers)
        for rouge in ROUGES:
            scores[rouge][rows] = found[rouge]
        if name != "english":
            for row, size in zip(rows, sizes[:, 1].tolist(), strict=True):
                lengths[row] = size
    return scores, lengths


def _text(value: Any, name: str, place: int) -> str:
    if not isinstance(value, str):
        raise UsageError(f"{name}[{place}] is a {type(value).__name__}, not a string: give None where there is no text")
    return value


def _labels(bounds: Sequence[int]) -> list[str]:
    """The names of the buckets, from the shortest to all."""
    if not bounds or bounds[0] < 0 or any(one >= other for one, other in pairwise(bounds)):
        raise UsageError(f"bounds are {list(bounds)}: give lengths from 0 up, each greater than the one before")
    starts = [0, *(bound + 1 for bound in bounds)]
    ranges = [f"{start}-{end}" if start < end else f"{end}" for start, end in zip(starts, bounds, strict=False)]
    return [*ranges, f">{bounds[-1]}", "ALL"]


def _bucket(scores: dict[str, Any], rows: list[int], *, resamples: int, level: float, seed: int) -> dict[str, Any]:
    if not rows:
        return {rouge: dict.fromkeys((*_SCORES, "low", "high")) for rouge in ROUGES}
    found = {rouge: scores[rouge][rows] for rouge in ROUGES}
    intervals = bootstrap_means([each[:, 2] for each in found.values()], resamples=resamples, level=level, seed=seed)
    return {
        rouge: {
            **{name: math.fsum(column) / len(rows) for name, column in zip(_SCORES, each.T, strict=True)},
            "low": interval.low,
            "high": interval.high,
        }
        for (rouge, each), interval in zip(found.items(), intervals, strict=True)
    }


METRIC = Definition(
    rouge_by_length,
    "texts",
    "Lin, ROUGE: A package for automatic evaluation of summaries, 2004; the buckets are those of Peng et al.,"
    " Instruction Tuning with GPT-4, 2023, arXiv 2304.03277",
)
