"""What Alpaca's rule costs over as many instructions as the paper's, beside rouge-score, whose decisions it must keep.

    python tests/benchmarks/novelty.py [--texts 52002] [--slow 2000]

rouge-score's cost of one pair is measured here, on pairs of the same corpus; times the pairs that its loop would compare,
each candidate with all kept before it, that is what the ratio is of. The loop itself runs over the first texts only.

The corpus is made anew each time, the same one: about half of it real or packaged instructions (the seeds, and the real
samples where they are present) with most of their content words exchanged; a fifth from templates, some of them short, in
which only a word or two differ, so that families are dense; a fifth words drawn by Zipf's law, as function words are
drawn in English, with lengths spread around Alpaca's mean of 11 words, up to 60; and near copies of texts before. The
Chinese one has half of the pieces, of one to three characters, exchanged in the seeds' and the sample's instructions.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import os
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from rouge_score.rouge_scorer import RougeScorer

from gpt4_instruct.quality.novelty import NoveltyIndex, kept

ROOT = Path(__file__).parents[2]
SAMPLES = Path(os.environ.get("GPT4_INSTRUCT_SHARED_DATA", ROOT.parent / "shared" / "data"))
SEEDS = ROOT / "gpt4_instruct/sources/seeds.jsonl"
VOCABULARY = 30_000
TEMPLATES = (
    "Write a story about {0}.",
    "Generate a list of {n} {0}.",
    "Describe the {0} of a {1}.",
    "What is the {0} of {1}?",
    "Create a {0} for a {1}",
    "Explain how {0} affects {1}",
    "Rewrite the following sentence using the word {0}: The {1} was {2} in the {3}.",
    "Given the following {0}, find the {1} of the {2}.",
    "Come up with {n} ways to {0} the {1}.",
    "Classify the following as {0} or {1}: {2}",
    "Name {n} types of {0} that can be used in {1} and {2}",
    "Write a {0} about the {1} of {2} in the style of {3}",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=52_002)
    parser.add_argument("--slow", type=int, default=2_000, help="texts that rouge-score goes through, too")
    options = parser.parse_args()
    lines = [("what", "measured", "wanted"), *measure(options.texts, options.slow), *chinese(), *bad_cases()]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def measure(count: int, slow_count: int) -> list[tuple[str, str, str]]:
    mixed = corpus(count)
    # All of Alpaca's own instructions were kept, which makes the pool larger.
    pool = corpus(2 * count, seed=3)
    pool = [pool[number] for number in kept(pool)][:count]
    pair_s = rouge_pair_s(mixed)
    lines = [("rouge-score, one pair", f"{pair_s * 1e6:.1f} us", "")]
    for texts in (mixed, pool):
        lengths = [len(text.split()) for text in texts]
        half_s = whole_s = math.inf
        for _ in range(3):  # in turns, and the best of each, so that a busy moment decides nothing
            half_s = min(half_s, timed(lambda texts=texts: kept(texts[: len(texts) // 2]))[1])
            found, seconds = timed(lambda texts=texts: kept(texts))
            whole_s = min(whole_s, seconds)
        # Alpaca's loop compares each candidate with all that were kept before it, the dropped candidates, too.
        are_kept = set(found)
        pairs = sum(accumulate((number in are_kept for number in range(len(texts) - 1)), initial=0))
        lines += [
            (
                f"{len(texts):,} texts of {min(lengths)} to {max(lengths)} words, {sum(lengths) / len(texts):.1f} on average,"
                f" {len(found):,} kept",
                f"{whole_s:.2f} s",
                "60 s",
            ),
            (f"  over the first {len(texts) // 2:,} ({half_s:.2f} s)", f"{whole_s / half_s:.2f}x", "under 3x"),
            (
                f"  rouge-score for the {pairs:,} pairs of Alpaca's loop ({pair_s * pairs / 3600:.1f} hours), over that",
                f"{pair_s * pairs / whole_s:,.0f}x",
                "1,000x",
            ),
        ]
    slow, compared, slow_s = one_by_one(mixed[:slow_count])
    same = "the same" if slow == kept(mixed[:slow_count]) else "OTHERS"
    mean_ms, p99_ms = row_by_row(pool)
    return [
        *lines,
        (f"kept by rouge-score of the first {slow_count:,} ({compared:,} pairs, {slow_s:.0f} s)", same, "the same"),
        (f"text by text, at a pool of {len(pool):,}: CPU time of one, mean", f"{mean_ms:.3f} ms", "5 ms"),
        ("  the slowest in a hundred", f"{p99_ms:.3f} ms", "5 ms"),
    ]


def chinese(count: int = 48_818) -> list[tuple[str, str, str]]:
    rng = random.Random(6)
    phrases = [json.loads(line)["instruction_zh"] for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    if SAMPLES.is_dir():
        phrases += [row["instruction"] for row in json.loads((SAMPLES / "alpaca_gpt4_zh_500.json").read_text())]
    cut = [re.findall(r"[a-zA-Z0-9]+|.{1,3}?(?=[，。？！：、]|$)|.{2}", phrase[:80]) for phrase in phrases]
    pieces = [piece for phrase in cut for piece in phrase]
    texts = [
        "".join(piece if rng.random() < 0.5 else rng.choice(pieces) for piece in rng.choice(cut)) for _ in range(count)
    ]
    numbers, seconds = timed(lambda: kept(texts, language="zh"))
    length = sum(map(len, texts)) / count
    return [(f"{count:,} Chinese texts of {length:.0f} characters: {len(numbers):,} kept", f"{seconds:.2f} s", "")]


def bad_cases() -> list[tuple[str, str, str]]:
    rng = random.Random(1)
    common = ["the", "a", "of", "to", "in", "and", "is", "for"]
    cases = {
        "100,000 identical texts": ["Write a story about a red fox in the snow."] * 100_000,
        "one text of 1 MB among 1,000 texts": [*corpus(1_000), " ".join(rng.choices(_vocabulary(), k=150_000))],
        "three texts of 1 MB, of the same words": [" ".join(rng.choices(_vocabulary(), k=150_000)) for _ in range(3)],
        "52,002 texts that share no word": [" ".join(f"w{n}x{i}" for i in range(11)) for n in range(52_002)],
        "10,000 texts of 12 of 8 words": [" ".join(rng.choices(common, k=12)) for _ in range(10_000)],
    }
    found = []
    for name, texts in cases.items():
        numbers, seconds = timed(lambda texts=texts: kept(texts))
        found.append((f"{name}: {len(numbers):,} kept", f"{seconds:.2f} s", ""))
    return found


def timed(work: Callable[[], list[int]]) -> tuple[list[int], float]:
    gc.collect()
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def one_by_one(texts: list[str]) -> tuple[list[int], int, float]:
    """What rouge-score keeps, the pairs it compared for that (it may stop at the first that is too similar), seconds."""
    scorer = RougeScorer(["rougeL"])
    found: list[int] = []
    compared = 0
    started = time.perf_counter()
    for number, text in enumerate(texts):
        for other in found:
            compared += 1
            if scorer.score(texts[other], text)["rougeL"].fmeasure > 0.7:
                break
        else:
            found.append(number)
    return found, compared, time.perf_counter() - started


def rouge_pair_s(texts: list[str], count: int = 20_000) -> float:
    """Seconds of one pair, as Alpaca's loop has it: of tokens that were found before."""
    from rouge_score.rouge_scorer import _score_lcs
    from rouge_score.tokenizers import DefaultTokenizer

    rng = random.Random(2)
    tokenizer = DefaultTokenizer()
    tokens = [tokenizer.tokenize(text) for text in rng.sample(texts, 2_000)]
    pairs = [rng.sample(tokens, 2) for _ in range(count)]
    best_s = math.inf
    for _ in range(3):  # the best, as with what it is compared with
        started = time.perf_counter()
        for one, other in pairs:
            _score_lcs(one, other)
        best_s = min(best_s, time.perf_counter() - started)
    return best_s / count


def row_by_row(pool: list[str], candidates: int = 5_000) -> tuple[float, float]:
    """Milliseconds of CPU of `add_if_novel` for one text, mean and 99th percentile, after all of `pool` were added."""
    index = NoveltyIndex()
    for text in pool:
        index.add(text)
    took = []
    for text in corpus(candidates, seed=4):
        started = time.process_time()
        index.add_if_novel(text)
        took.append(time.process_time() - started)
    took.sort()
    return sum(took) / len(took) * 1e3, took[int(len(took) * 0.99)] * 1e3


def corpus(count: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    phrases, vocabulary = _phrases(), _vocabulary()
    # Zipf's law with Mandelbrot's shift
    weights = list(accumulate(1 / (rank + 2.7) for rank in range(len(vocabulary))))
    common = set(vocabulary[:100])

    def draw(number: int) -> list[str]:
        return rng.choices(vocabulary, cum_weights=weights, k=number)

    def content() -> str:
        return next(word for word in iter(lambda: draw(1)[0], None) if word not in common)

    texts: list[str] = []
    for _ in range(count):
        kind = rng.random()
        if kind < 0.53:
            chosen = rng.choice(phrases).split()
            texts.append(" ".join(w if w.lower() in common or rng.random() < 0.3 else content() for w in chosen))
        elif kind < 0.75:
            filled = [content() for _ in range(4)]
            texts.append(rng.choice(TEMPLATES).format(*filled, n=rng.randint(2, 20)))
        elif kind < 0.95 or not texts:
            texts.append(" ".join(draw(min(60, max(3, round(rng.lognormvariate(math.log(9.5), 0.55)))))))
        else:
            copied = rng.choice(texts).split()
            for _ in range(rng.randint(0, 3)):
                copied[rng.randrange(len(copied))] = content()
            texts.append(" ".join(copied))
    return texts


def _phrases() -> list[str]:
    phrases = [json.loads(line)["instruction"] for line in SEEDS.read_text(encoding="utf-8").splitlines()]
    if SAMPLES.is_dir():
        phrases += [row["instruction"] for row in json.loads((SAMPLES / "alpaca_gpt4_en_500.json").read_text())]
        for name in ("seed_tasks_175.jsonl", "user_oriented_instructions_252.jsonl"):
            phrases += [json.loads(line)["instruction"] for line in (SAMPLES / name).read_text().splitlines()]
    return [" ".join(phrase.split()[:60]) for phrase in phrases]


def _vocabulary() -> list[str]:
    """The words of the phrases by how often they occur, then made-up ones."""
    counts = Counter(word.strip(".,:;?!'\"()").lower() for phrase in _phrases() for word in phrase.split())
    words = [word for word, _ in counts.most_common() if word.isalpha() and word.isascii()]
    rng = random.Random(5)
    known = set(words)
    while len(words) < VOCABULARY:
        word = "".join(rng.choice("bcdfghklmnprstvz") + rng.choice("aeiou") for _ in range(rng.randint(2, 4)))
        if word not in known:
            known.add(word)
            words.append(word)
    return words


if __name__ == "__main__":
    main()
