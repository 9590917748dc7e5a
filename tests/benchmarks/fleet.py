"""What a fleet of two servers of unequal speed answers, against the two alone and against asking them in turns.

    python tests/benchmarks/fleet.py [--seconds 15]

Each server is a process of its own on loopback. It answers 8 requests at a time, the fast one each in 0.1 s, the slow
one in 0.4 s: 80 and 20 a second. The engine asks through the real client, with 32 requests in flight for each server;
a run's rate is that of its answers after the first fifth.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from gpt4_instruct.generation.engine import Engine
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.records import Message, Request
from gpt4_instruct.teachers.fleet import Fleet, Server
from gpt4_instruct.teachers.openai import OpenAITeacher
from tests.endpoint import Slots

SLOTS = 8
SPEEDS_S = (0.1, 0.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15.0)
    seconds = parser.parse_args().seconds
    with ExitStack() as stack:
        urls = [stack.enter_context(server(each)) for each in SPEEDS_S]
        alone = [measure([url], seconds) for url in urls]
        together = measure(urls, seconds)
        turns = measure(urls, seconds, in_turns=True)
    rates = " + ".join(f"{each:.0f}" for each in alone)
    lines = [
        ("what", "measured", "wanted"),
        ("the fast server and the slow one, each alone", f"{rates} = {sum(alone):.0f} requests/s", ""),
        ("both as a fleet", f"{together:.0f} requests/s ({together / sum(alone):.2f} of the sum)", "0.9"),
        ("both in turns", f"{turns:.0f} requests/s; the fleet answers {together / turns:.1f} times as many", ""),
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def measure(urls: Sequence[str], seconds: float, *, in_turns: bool = False) -> float:
    """Answers a second, of a run of so many seconds."""
    teacher = OpenAITeacher("m", api_key=Slots.key, base_url=",".join(urls) + ",")
    if in_turns:
        assert teacher._fleet is not None
        teacher._fleet = InTurns(teacher._fleet.clients)
    began = time.monotonic()
    end = began + seconds
    answered = 0

    def prompts() -> Iterator[str]:
        return itertools.takewhile(lambda _: time.monotonic() < end, (f"Number {each}." for each in itertools.count()))

    async def work(prompt: str) -> None:
        nonlocal answered
        await engine.ask(teacher, Request(teacher.endpoint, teacher.model, (Message("user", prompt),)))
        answered += began + seconds / 5 < time.monotonic() < end

    with tempfile.TemporaryDirectory(prefix="gpt4-instruct-bench-") as folder:
        engine = Engine(Ledger(Path(folder, "ledger.sqlite3")))
        for _ in engine.stream(work, prompts()):
            if time.monotonic() > end:
                break
        engine.close()
    return answered / (seconds * 4 / 5)


class InTurns(Fleet):
    """One server after the other, whatever they are worth."""

    turn = 0

    def choose(self) -> Server:
        self.turn += 1
        return self.servers[self.turn % len(self.servers)]


@contextmanager
def server(seconds: float) -> Iterator[str]:
    """A server in a process of its own; its address."""
    command = [sys.executable, __file__, "serve", str(seconds)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()  # which ends it


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        with Slots(SLOTS, float(sys.argv[2])) as here:
            print(here.url, flush=True)
            sys.stdin.read()
    else:
        main()
