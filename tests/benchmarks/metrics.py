"""What ROUGE over the paper's 9,000 pairs of three models costs, beside rouge-score; and what the intervals cost.

    python tests/benchmarks/metrics.py [--pairs 9000] [--models 3]

The references are as long as the paper's: as many of 0 to 2 words, of 3 to 5, of 6 to 10 and more (up to 60). They are
pieces of real texts (answers in the real samples where these are present, else the packaged seeds), and so are the answers,
a third of whose words come from the reference. Most answers are a few words longer than their references, as those that
were released are. Of a long pair, rouge-score's time grows with the product of the lengths, so short ones are the hardest to
be faster at: in the harder case, answers are of 1 to 120 words, whatever their reference, half of them of 14 or less.

Both sides score the same pairs, in one process and one thread, in turns, the best of each counts, and every score is
compared.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
from rouge_score.rouge_scorer import RougeScorer

from gpt4_instruct.metrics.intervals import bootstrap_mean, bootstrap_ratio
from gpt4_instruct.metrics.rouge import ROUGES, score_pairs
from gpt4_instruct.metrics.rouge_by_length import rouge_by_length

ROOT = Path(__file__).parents[2]
SAMPLES = Path(os.environ.get("GPT4_INSTRUCT_SHARED_DATA", ROOT.parent / "shared" / "data"))
SEEDS = ROOT / "gpt4_instruct/sources/seeds.jsonl"
LENGTHS = {(0, 2): 5_089, (3, 5): 868, (6, 10): 936, (11, 60): 2_107}  # words: pairs, of the paper
ROUNDS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=9_000)
    parser.add_argument("--models", type=int, default=3)
    options = parser.parse_args()
    lines = [("what", "measured", "wanted"), *rouges(options.pairs, options.models), *chinese(), *bootstraps()]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def rouges(pairs: int, models: int) -> list[tuple[str, str, str]]:
    size = f"{pairs:,} pairs x {models} models"
    usual, harder = corpus(pairs, models), corpus(pairs, models, as_long=False)
    lines = [
        *beside_rouge_score(f"ROUGE-L of {size}", *usual, ("rougeL",), rounds=ROUNDS, wanted="20x"),
        *beside_rouge_score("ROUGE-L, the harder case", *harder, ("rougeL",), rounds=ROUNDS),
        *beside_rouge_score("ROUGE-1, 2 and L", *usual, ROUGES),
        *beside_rouge_score("ROUGE-1, 2 and L of stems", *usual, ROUGES, stemmer=True),
    ]
    references, answers = usual
    whole_s = min(timed(lambda: [rouge_by_length(model, references) for model in answers])[1] for _ in range(ROUNDS))
    return [*lines, ("the whole metric: three scores in buckets, with intervals", f"{whole_s:.2f} s", "")]


def beside_rouge_score(
    name: str,
    references: list[str],
    answers: list[list[str]],
    kinds: tuple[str, ...],
    *,
    stemmer: bool = False,
    rounds: int = 1,
    wanted: str = "",
) -> list[tuple[str, str, str]]:
    scorer = RougeScorer(list(kinds), use_stemmer=stemmer)

    def theirs() -> list[Any]:
        return [[scorer.score(other, one) for one, other in zip(model, references, strict=True)] for model in answers]

    def ours() -> list[dict[str, Any]]:
        return [score_pairs(model, references, rouges=kinds, stemmer=stemmer)[0] for model in answers]

    slow_s = fast_s = math.inf
    for _ in range(rounds):  # in turns, so that a busy moment hits both
        found, seconds = timed(ours)
        fast_s = min(fast_s, seconds)
        expected, seconds = timed(theirs)
        slow_s = min(slow_s, seconds)
    apart = max(
        np.abs(scores[kind] - np.array([each[kind] for each in slow])).max()
        for scores, slow in zip(found, expected, strict=True)
        for kind in kinds
    )
    words = [np.mean([len(text.split()) for text in texts]) for texts in (references, *answers)]
    return [
        (f"{name}, {words[0]:.0f} and {np.mean(words[1:]):.0f} words on average: rouge-score", f"{slow_s:.2f} s", ""),
        ("  here", f"{fast_s:.3f} s", ""),
        ("  as many times as fast", f"{slow_s / fast_s:.0f}x", wanted),
        ("  greatest difference of any precision, recall or F1", f"{apart:.0e}", "1e-12"),
    ]


def chinese(count: int = 9_000) -> list[tuple[str, str, str]]:
    rng = random.Random(3)
    texts = [json.loads(line)["instruction_zh"] for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    if SAMPLES.is_dir():
        texts += [row["output"][:200] for row in json.loads((SAMPLES / "alpaca_gpt4_zh_500.json").read_text())]
    predictions, references = rng.choices(texts, k=count), rng.choices(texts, k=count)
    characters = np.mean([len(text) for text in (*predictions, *references)])
    found = []
    for tokenizer in ("characters", "words"):
        rouge_by_length(predictions[:1], references[:1], tokenizer=tokenizer)  # jieba reads its dictionary
        seconds = timed(lambda tokenizer=tokenizer: rouge_by_length(predictions, references, tokenizer=tokenizer))[1]
        name = f"{count:,} Chinese pairs by {tokenizer}, texts of {characters:.0f} characters"
        found.append((name, f"{seconds:.2f} s", ""))
    return found


def bootstraps() -> list[tuple[str, str, str]]:
    rng = np.random.default_rng(0)
    model, baseline = rng.integers(1, 11, size=(2, 80))
    ratio_s = min(timed(lambda: bootstrap_ratio(model, baseline))[1] for _ in range(ROUNDS))
    values = rng.random(9_000)
    mean_s = min(timed(lambda: bootstrap_mean(values))[1] for _ in range(ROUNDS))
    return [
        ("bootstrap of 80 questions, 10,000 resamples", f"{ratio_s:.3f} s", "1 s"),
        ("bootstrap of 9,000 questions, 10,000 resamples", f"{mean_s:.2f} s", ""),
    ]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def corpus(pairs: int, models: int, *, as_long: bool = True) -> tuple[list[str], list[list[str]]]:
    """References, and each model's answers to them."""
    rng = random.Random(0)
    if SAMPLES.is_dir():
        texts = [row["output"] for row in json.loads((SAMPLES / "alpaca_gpt4_en_500.json").read_text(encoding="utf-8"))]
    else:
        texts = [json.loads(line)["instruction"] for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    words = " ".join(texts).split()

    def piece(length: int) -> list[str]:
        start = rng.randrange(len(words) - length)
        return words[start : start + length]

    share = pairs / sum(LENGTHS.values())
    lengths = [rng.randint(*bounds) for bounds, number in LENGTHS.items() for _ in range(round(number * share))]
    references = [piece(length) for length in lengths]
    answers: list[list[str]] = [[] for _ in range(models)]
    for reference in references:
        for model in answers:
            if as_long:
                length = len(reference) * rng.lognormvariate(math.log(1.2), 0.5) + rng.lognormvariate(math.log(4), 1.0)
            else:
                length = min(120, rng.lognormvariate(math.log(14), 1.0))
            length = max(1, round(length))
            kept = [word for word in reference if rng.random() < 0.33]
            model.append(" ".join([*kept, *piece(length)][:length]))
    return [" ".join(reference) for reference in references], answers


if __name__ == "__main__":
    main()
