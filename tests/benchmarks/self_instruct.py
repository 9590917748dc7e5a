"""Self-Instruct at the size of Alpaca: the novelty step beside 52,000 kept tasks, and a whole run by an instant teacher.

    python tests/benchmarks/self_instruct.py [--accept 52000] [--recipe gpt4-instruct] [--profile] [--again]

The teacher answers in this process, at once, with sentences put together from clauses; now and then it writes one again
with a word changed. What is measured is therefore all but the teacher: composing, parsing, filters, novelty, verbs and
nouns, stages, ledger, Parquet, card and figure.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from gpt4_instruct.quality.novelty import NoveltyIndex
from gpt4_instruct.records import Request
from gpt4_instruct.splits import rounds
from gpt4_instruct.splits.build import build
from gpt4_instruct.splits.steering import Steering
from gpt4_instruct.teachers.base import Teacher, completion

_SEEDS = Path(__file__).parents[2] / "gpt4_instruct/sources/seeds.jsonl"
_STEERING = json.loads((Path(__file__).parents[2] / "gpt4_instruct/splits/steering.json").read_text(encoding="utf-8"))
_WORDS = sorted(
    {
        word.strip('.,:;?!"()').lower()
        for line in _SEEDS.read_text(encoding="utf-8").splitlines()
        for word in f"{json.loads(line)['instruction']} {json.loads(line)['label']}".split()
        if word.strip('.,:;?!"()').isalpha() and word.isascii()
    }
)
_SHAPES = (
    "{verb} the {a} of a {b} for {c} that {d} {e} {f}.",
    "{verb} a short {a} about {topic} in which {b} and {c} {d} the {e}.",
    "How does {topic} {a} when the {b} is {c} and {d}, and what about {e}?",
    "Given a {a} from {topic}, {verb} which {b} {c} best with {d} and why {e} {f}.",
)


class Instant(Teacher):
    """Answers at once. Of its tasks one in seven is one of the last thousand with a word changed."""

    spec = endpoint = "instant"
    model = "instant"
    concurrency = 256

    def __init__(self) -> None:
        self.said: list[str] = []

    async def ask(self, request: Request) -> str:
        rng = random.Random(request.to_json())
        prompt = request.messages[-1].content
        if prompt.startswith("You write tasks"):
            tasks = [self._task(rng) for _ in range(20)]
            text = json.dumps({"tasks": tasks})
        elif prompt.startswith("Here is a list"):
            lines = (
                f"{n}. Instruction: {self._text(rng)}\n{n}. Input:\n<noinput>\n{n}. Output:\n{_words(rng, 40)}."
                for n in range(4, 20)
            )
            text = "\n###\n".join(lines)
        elif prompt.startswith("The task below"):
            text = json.dumps({"input": _words(rng, 40)})
        else:
            text = f"It is so: {_words(rng, 80)}."
        return completion(text, model="instant", prompt_tokens=len(prompt) // 4, completion_tokens=len(text) // 4)

    def _task(self, rng: random.Random) -> dict[str, Any]:
        kind = rng.choice(list(_STEERING["kinds"]))
        labels = ["yes", "no"] if kind == "classification" else []
        needs = bool(labels) or rng.random() < 0.3
        return {"instruction": self._text(rng), "input": "", "needs_input": needs, "kind": kind, "labels": labels}

    def _text(self, rng: random.Random) -> str:
        if self.said and rng.random() < 1 / 7:
            parts = rng.choice(self.said[-1000:]).split()
            parts[rng.randrange(len(parts))] = rng.choice(_WORDS)
            return " ".join(parts)
        names = {name: rng.choice(_WORDS) for name in "abcdef"}
        topic, verb = rng.choice(_STEERING["topics"])["en"], rng.choice(_STEERING["verbs"]["en"])
        text = rng.choice(_SHAPES).format(topic=topic, verb=verb, **names)
        text = text[0].upper() + text[1:]
        self.said.append(text)
        return text


def _words(rng: random.Random, number: int) -> str:
    return " ".join(rng.choices(_WORDS, k=number))


def novelty(pool: int) -> None:
    """Seconds of CPU that a kept task takes of the index, at so many kept ones: the step of `Rounds.keep`."""
    teacher, rng, index = Instant(), random.Random(0), NoveltyIndex()
    while len(index) < pool:
        index.add(teacher._text(rng))
    times, kept, started_all = [], 0, time.process_time()
    while kept < 1000:
        text = teacher._text(rng)
        started = time.process_time()
        novel = index.nearest(text) is None
        if novel and rounds.zlib.crc32(text.encode()) % rounds._ONE_IN == 0:  # as a run measures it
            index.closest(text)
        if novel:
            index.add(text)
            kept += 1
        times.append(time.process_time() - started)
    spent = time.process_time() - started_all
    print(
        f"novelty at {pool:,} kept: {1e3 * spent / kept:.3f} ms of CPU a kept task, rejected ones included (wanted 5 ms)"
    )


class Clock:
    """How long some functions take, all calls together; those that call one another are told apart by hand."""

    def __init__(self) -> None:
        self.seconds: Counter[str] = Counter()

    def watch(self, owner: Any, name: str, label: str) -> None:
        function = getattr(owner, name)

        def timed(*args: Any, **options: Any) -> Any:
            started = time.monotonic()
            try:
                return function(*args, **options)
            finally:
                self.seconds[label] += time.monotonic() - started

        setattr(owner, name, timed)


def run(accept: int, recipe: str, profile: bool, again: bool) -> None:
    """Builds so many rows and prints where the time went."""
    clock = Clock()
    clock.watch(NoveltyIndex, "nearest", "novelty")
    clock.watch(NoveltyIndex, "add", "novelty")
    clock.watch(NoveltyIndex, "closest", "similarity to the nearest")
    clock.watch(Steering, "add", "verbs and nouns")
    clock.watch(rounds, "read_tasks", "reading replies")
    clock.watch(rounds, "first_failure", "filters")
    profiler = cProfile.Profile()
    with tempfile.TemporaryDirectory(prefix="gpt4-instruct-bench-") as folder:
        started, cpu = time.monotonic(), time.process_time()
        if profile:
            profiler.enable()
        out = Path(folder, "out")
        options: dict[str, Any] = {"teacher": Instant(), "ledger": Path(folder, "ledger")}
        options |= {"accept": accept, "recipe": recipe}
        result = build("self_instruct", out=out, **options)
        profiler.disable()
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        facts = json.loads((out / "manifest.json").read_text())["configs"]["self_instruct"]["self_instruct"]
        again_s = None
        if again:
            whole = build("self_instruct", out=out, overwrite=True, **options)
            assert whole.asked == 0 and whole.rows == result.rows
            again_s = whole.seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{recipe}: {result.rows:,} rows in {seconds:.0f} s ({result.rows / seconds:,.0f} rows/s; CPU {cpu:.0f} s; wanted 600 s); peak {peak:.0f} MB"
    )
    print(
        f"  {len(facts['rounds']):,} rounds, {result.asked:,} requests, {sum(result.rejected.values()):,} rejected: {result.rejected}"
    )
    if again_s is not None:
        print(f"  again, all of it from the ledger: {again_s:.0f} s")
    for label, spent in clock.seconds.most_common():
        print(f"  {label}: {spent:.1f} s, {spent / (seconds + (again_s or 0)):.0%}")
    last = facts["rounds"][-1]
    print(
        f"  verbs {last['verbs']}, pairs {last['pairs']}, similarity {last['similarity']}; stopped: {facts['stopped_detail']}"
    )
    if profile:
        pstats.Stats(profiler, stream=sys.stdout).sort_stats("tottime").print_stats(35)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accept", type=int, default=52_000)
    parser.add_argument("--recipe", default="gpt4-instruct")
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--again", action="store_true", help="build it once more, from the ledger")
    options = parser.parse_args()
    novelty(options.accept)
    run(options.accept, options.recipe, options.profile, options.again)


if __name__ == "__main__":
    main()
