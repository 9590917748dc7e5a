"""How much of an enforced quota the engine uses, and how often it is told that it asks too much.

    python tests/benchmarks/limits.py [--minutes 2]

Two loopback endpoints enforce 6,000 requests and 200,000 tokens a minute: one as OpenAI does, by a bucket that is full at
first, with headers from which the limits are learnt; one by a window of 60 s that slides and that says nothing, so that
the limits are given by flags. Each is asked without pause by the real client, over a socket, for some real minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from gpt4_instruct.generation.engine import Engine
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.records import Message, Request
from gpt4_instruct.teachers.base import connect
from tests.faults import FaultyEndpoint, Limits

REQUESTS, TOKENS = 6_000, 200_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=2.0)
    options = parser.parse_args()
    lines = [("what", "measured", "wanted")]
    for name, style, flags in (
        ("learnt from headers", "bucket", {}),
        ("given by flags", "window", {"requests_per_minute": REQUESTS, "tokens_per_minute": TOKENS}),
    ):
        used, refused = measure(style, flags, options.minutes)
        lines.append(
            (f"quota of {REQUESTS:,} requests, {TOKENS:,} tokens a minute, {name}: used", f"{used:.1%}", "97%")
        )
        lines.append(("  of its requests, refused with 429", f"{refused:.3%}", "0.1%"))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def measure(style: str, flags: dict[str, float], minutes: float) -> tuple[float, float]:
    """The share of the tighter quota that was used, and the share of requests that were refused."""
    limits = Limits(REQUESTS, TOKENS, style=style)
    with (
        tempfile.TemporaryDirectory(prefix="gpt4-instruct-bench-") as folder,
        FaultyEndpoint(limits=limits, latency_s=0.05, refused_share=0.0) as server,
    ):
        os.environ.update(OPENAI_BASE_URL=server.url, OPENAI_API_KEY=server.key, GPT4_INSTRUCT_HOME=folder)
        teacher = connect("openai:m")
        engine = Engine(Ledger(Path(folder, "ledger.sqlite3")), 128, **flags)
        end = time.monotonic() + minutes * 60

        def prompts() -> Iterator[str]:
            number = 0
            while time.monotonic() < end:
                number += 1
                yield f"Say something about the number {number}."

        async def work(prompt: str) -> int:
            request = Request(teacher.endpoint, teacher.model, (Message("user", prompt),), {"max_tokens": 512})
            return (await engine.ask(teacher, request)).completion_tokens

        for _ in engine.stream(work, prompts()):
            if time.monotonic() > end:
                break
        admitted = [ticket for ticket in limits.admitted if ticket.at <= end]
        there_was = minutes + (style == "bucket")  # a bucket is full at first
        tokens = sum(ticket.tokens for ticket in admitted)
        used = max(len(admitted) / (REQUESTS * there_was), tokens / (TOKENS * there_was))
        return used, server.answered_429 / server.requests


if __name__ == "__main__":
    main()
