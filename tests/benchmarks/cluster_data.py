"""Audits, statistics and deduplication on a Ray cluster: one worker and two, beside the local engine.

    python tests/benchmarks/cluster_data.py [--rows 520000] [--texts 52000] [--only audit,stats,minhash]
                                            [--engines local,ray-1,ray-2]

Run it on a quiet machine of two cores or more. Each run is a process of its own with a cluster of as many CPUs as it has
workers; its first rows start and warm the workers, which is part of the time. Of each worker the resident memory, less
what it shares with others, is read ten times a second, and the largest one is told of each third of the run: flat memory
shows as three like numbers. CPU seconds are told, too: they say where the work is even on a machine that is not quiet.
The findings of all runs are compared.

The rows are made of the real English and Chinese samples: in each copy of a row, two in five of its content words (in
Chinese, of its pairs of characters) are exchanged for others of the same samples, so that tasks and answers are new, and
as long and as faulty as real ones; one row in twenty is a plain copy. The 52,000 instructions are those of `novelty.py`:
the released file's own cannot be had here. Its exact pairs are all with a ROUGE-L F1 over 0.8, by the exact index.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.novelty import SAMPLES, corpus

_PIECE = re.compile(r"[A-Za-z]{4,}|[\u4e00-\u9fff]{2}")
_EVERY_S = 0.1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=520_000)
    parser.add_argument("--texts", type=int, default=52_000)
    parser.add_argument("--only", default="audit,stats,minhash")
    parser.add_argument("--engines", default="local,ray-1,ray-2")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(*options.child)))
        return
    wanted = options.only.split(",")
    with tempfile.TemporaryDirectory() as folder:
        if {"audit", "stats"} & set(wanted):
            write_rows(Path(folder) / "rows", options.rows)
        for work in ("audit", "stats"):
            if work in wanted:
                print_runs(work, folder, options.rows, options.engines.split(","))
    if "minhash" in wanted:
        recall(options.texts)


def print_runs(work: str, folder: str, rows: int, engines: list[str]) -> None:
    found: dict[str, Any] = {}
    for engine in engines:
        command = [sys.executable, __file__, "--child", work, f"{folder}/rows", engine]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stderr)
        found[engine] = json.loads(done.stdout.splitlines()[-1])
        each = found[engine]
        thirds = ", ".join(f"{size:,.0f}" for size in each["worker_mb"]) or "-"
        print(
            f"{work} of {rows:,} rows, {engine}: {each['seconds']:.1f} s, {rows / each['seconds']:,.0f} rows/s; "
            f"CPU: {each['caller_cpu_s']:.0f} s the caller, {each['worker_cpu_s']:.0f} s the workers together; "
            f"a worker's memory, by thirds: {thirds} MB; the caller's at the end: {each['caller_mb']:,.0f} MB",
            flush=True,
        )
    for faster, slower, wanted in (("ray-2", "ray-1", " (wanted: 1.6x)"), ("ray-1", "local", "")):
        if {faster, slower} <= set(engines):
            ratio = found[slower]["seconds"] / found[faster]["seconds"]
            print(f"{work}: {faster} to {slower} {ratio:.2f}x{wanted}", flush=True)
    same = len({each["result"] for each in found.values()}) == 1
    print(f"{work}: results are {'the same' if same else 'DIFFERENT'}", flush=True)


def measure(work: str, data: str, engine: str) -> dict[str, Any]:
    """One run: seconds, memory, and a hash of what it found."""
    import psutil

    from gpt4_instruct import audit, stats

    if engine != "local":
        import ray

        ray.init(
            address="local",
            num_cpus=int(engine[-1]),
            log_to_driver=False,
            logging_level="ERROR",
            include_dashboard=False,
        )
    samples: list[tuple[float, float]] = []
    busy: dict[int, float] = {}  # of each worker process, seconds of CPU
    stop = threading.Event()
    own = psutil.Process()

    def watch() -> None:
        while not stop.wait(_EVERY_S):
            sizes = []
            for process in own.children(recursive=True):
                try:
                    if "ray::" in " ".join(process.cmdline()):
                        memory = process.memory_info()
                        sizes.append((memory.rss - memory.shared) / 2**20)
                        times = process.cpu_times()
                        busy[process.pid] = times.user + times.system
                except psutil.Error:
                    continue
            samples.append((time.monotonic(), max(sizes, default=0.0)))

    watching = threading.Thread(target=watch, daemon=True)
    watching.start()
    started, began = time.monotonic(), time.process_time()
    name = engine.partition("-")[0]
    if work == "audit":
        findings = audit(data, engine=name).findings
        result: Any = [(each.row, each.check, each.reason) for each in findings]
    else:
        with tempfile.TemporaryDirectory() as out:
            result = stats(data, out=out, engine=name, processes=None if engine != "local" else 1).summary
    ended = time.monotonic()
    stop.set()
    watching.join()
    third = (ended - started) / 3
    peaks = [
        max((size for at, size in samples if started + part * third <= at < started + (part + 1) * third), default=0.0)
        for part in range(3)
    ]
    return {
        "seconds": ended - started,
        "worker_cpu_s": sum(busy.values()),
        "caller_cpu_s": time.process_time() - began,
        "worker_mb": peaks if engine != "local" else [],
        "caller_mb": own.memory_info().rss / 2**20,
        "result": hashlib.sha256(json.dumps(result, sort_keys=True, default=str).encode()).hexdigest(),
    }


def write_rows(folder: Path, count: int) -> None:
    """Eight Parquet files of rows that are like real ones."""
    import pyarrow
    import pyarrow.parquet

    folder.mkdir()
    rng = random.Random(1)
    real = [
        row
        for name in ("alpaca_gpt4_en_500", "alpaca_gpt4_zh_500")
        for row in json.loads((SAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    ]
    words: dict[bool, list[str]] = {True: [], False: []}
    for row in real:
        for piece in _PIECE.findall(" ".join(row.values())):
            words[piece.isascii()].append(piece)

    def other(found: re.Match[str]) -> str:
        return rng.choice(words[found[0].isascii()]) if rng.random() < 0.4 else found[0]

    def made() -> dict[str, str]:
        row = rng.choice(real)
        return row if rng.random() < 0.05 else {name: _PIECE.sub(other, text) for name, text in row.items()}

    for number in range(8):
        rows = [made() for _ in range(count // 8 + (number < count % 8))]
        pyarrow.parquet.write_table(
            pyarrow.Table.from_pylist(rows), folder / f"part-{number}.parquet", row_group_size=20_000
        )


def recall(count: int) -> None:
    """What MinHash finds of the exact pairs."""
    import ray

    from gpt4_instruct.cluster import minhash

    texts = corpus(count)
    started = time.monotonic()
    exact = exact_pairs(texts, 0.8)
    exact_s = time.monotonic() - started
    ray.init(
        address="local", num_cpus=os.cpu_count(), log_to_driver=False, logging_level="ERROR", include_dashboard=False
    )
    compared = ray.remote(_Counter).options(name="compared", num_cpus=0).remote()
    score = minhash._rouge_l

    def counting(texts: list[bytes], others: list[bytes]) -> Any:
        ray.get(ray.get_actor("compared").add.remote(len(texts) * len(others) - len(texts) * (len(texts) + 1) // 2))
        return score(texts, others)

    started = time.monotonic()
    found = minhash.duplicates(texts)
    seconds = time.monotonic() - started
    minhash._rouge_l = counting
    minhash.duplicates(texts)
    looked_at = ray.get(compared.total.remote())
    pairs = spread({(one, two) for one, two, _ in found.pairs}, texts)
    print(
        f"minhash of {count:,} instructions: {len(exact):,} exact pairs over 0.8 ({exact_s:.0f} s), {len(pairs):,} found "
        f"({seconds:.0f} s): recall {len(pairs & exact) / len(exact):.2%} (wanted: 95 %), precision "
        f"{len(pairs & exact) / len(pairs):.2%}; {looked_at / count:.1f} comparisons a text; "
        f"{len(found.first):,} of the texts are one too many"
    )
    ray.shutdown()


class _Counter:
    def __init__(self) -> None:
        self.count = 0

    def add(self, count: int) -> None:
        self.count += count

    def total(self) -> int:
        return self.count


def exact_pairs(texts: list[str], threshold: float) -> set[tuple[int, int]]:
    """All pairs over a threshold, each text against all before it, by the candidates of the exact index."""
    import numpy as np
    from rapidfuzz.distance import LCSseq
    from rapidfuzz.process import cdist

    from gpt4_instruct.languages import words
    from gpt4_instruct.quality.novelty import NoveltyIndex, f1

    index = NoveltyIndex(threshold)
    first: dict[tuple[str, ...], int] = {}
    numbers: list[int] = []
    pairs = set()
    for number, text in enumerate(texts):
        tokens = words(text, "en")
        if not tokens or first.setdefault(tuple(tokens), number) != number:
            continue
        sequence = [index._features.get(token, -1) for token in tokens]
        near = index._candidates(sequence)
        if near:
            common = cdist([sequence], [index._texts[each] for each in near], scorer=LCSseq.similarity, dtype=np.int64)[
                0
            ]
            lengths = np.array([len(index._texts[each]) for each in near])
            scores = np.where(common > 0, f1(np.maximum(common, 1), len(sequence), lengths), 0.0)
            pairs |= {(numbers[near[place]], number) for place in np.flatnonzero(scores > threshold)}
        index.add(text)
        numbers.append(number)
    return spread(pairs, texts)


def spread(pairs: set[tuple[int, int]], texts: list[str]) -> set[tuple[int, int]]:
    """The pairs of distinct texts: of equal ones, the first stands for all."""
    from gpt4_instruct.languages import words

    first: dict[tuple[str, ...], int] = {}
    same = [first.setdefault(tuple(words(text, "en")), number) for number, text in enumerate(texts)]
    return {(same[one], same[two]) for one, two in pairs if same[one] != same[two]}


if __name__ == "__main__":
    main()
