"""What a Ray cluster costs a run, and how well one limit holds for all of its workers. Prints one table.

    python tests/benchmarks/cluster.py [--requests 4000] [--minutes 2] [--per-minute 6000]

Requests a second: one machine's engine, and clusters of one and two workers on this computer, ask the same prompts of an
endpoint that answers at once (`server.py`, in a process of its own). Workers are warm; timed is all that a run does with
its items: to divide them, to have them asked, to merge ledgers and results.

The limit: two workers ask an endpoint that admits so many requests in any 60 s and says nothing of it
(`tests/faults.py`), for some real minutes, by a flag. Where the machine is busy, give it fewer requests a minute than it
has time for.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from gpt4_instruct.generation.engine import Engine, open_engine
from gpt4_instruct.records import Message, Request
from gpt4_instruct.teachers.base import Teacher, connect
from tests.faults import FaultyEndpoint, Limits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=4_000)
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--per-minute", type=int, default=6_000)
    options = parser.parse_args()
    lines = [("what", "measured", "wanted")]
    with serving() as url:
        os.environ.update(OPENAI_BASE_URL=url, OPENAI_API_KEY="none")
        measured = {name: rate(name, options.requests) for name in ("local", "1 worker", "2 workers")}
    rates = {name: found for name, (found, _, _) in measured.items()}
    for name, (found, caller_ms, permits_ms) in measured.items():
        lines.append((f"requests a second, {name}", f"{found:,.0f}", ""))
        if name != "local":
            lines.append(("  the caller works for each", f"{caller_ms:.2f} ms", "< 1 ms"))
            lines.append(("  the permits' actor works for each", f"{permits_ms:.2f} ms", "< 1 ms"))
    extra_ms = 1000 * (1 / rates["1 worker"] - 1 / rates["local"])
    lines.append(("a request by one worker takes longer by", f"{extra_ms:.2f} ms", "a few ms"))
    used, refused = limit(options.minutes, options.per_minute)
    lines.append((f"quota of {options.per_minute:,} requests a minute, two workers: used", f"{used:.1%}", "97%"))
    lines.append(("  of its requests, refused with 429", f"{refused:.3%}", "0.1%"))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


@contextmanager
def serving() -> Iterator[str]:
    """The endpoint that answers at once; its address."""
    command = [sys.executable, str(Path(__file__).with_name("server.py")), "--delay-ms", "0"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline().split()[-1])}/v1"
    finally:
        process.stdin.close()
        process.wait()


def asked(teacher: Teacher, engine: Engine, prompts: Sequence[str]) -> Iterator[int]:
    """What a worker does: each prompt once."""

    async def work(prompt: str) -> int:
        request = Request(teacher.endpoint, teacher.model, (Message("user", prompt),), {"max_tokens": 64})
        return (await engine.ask(teacher, request)).completion_tokens

    yield from engine.stream(work, prompts)


@contextmanager
def opened(name: str, folder: str, **options: float) -> Iterator[Engine]:
    """An engine of so many workers, on a ledger of its own."""
    local = name == "local"
    if not local:
        import ray

        workers = int(name.split(maxsplit=1)[0])
        ray.init(address="local", num_cpus=workers, log_to_driver=False, logging_level="ERROR", include_dashboard=False)
    engine = open_engine("local" if local else "ray", Path(folder, "ledger.sqlite3"), 128, **options)
    try:
        yield engine
    finally:
        engine.close()
        if not local:
            ray.shutdown()


def rate(name: str, requests: int) -> tuple[float, float, float]:
    """Requests a second, and for each the milliseconds of CPU that this process takes and the permits' actor does."""
    with tempfile.TemporaryDirectory(prefix="gpt4-instruct-bench-") as folder:
        os.environ["GPT4_INSTRUCT_HOME"] = folder
        with opened(name, folder) as engine:
            job = partial(asked, connect("openai:bench-1"))
            list(engine.spread(job, [f"Warm {number} up." for number in range(64)], str, "warming"))
            started, own, permits = time.monotonic(), time.process_time(), permits_cpu_s()
            found = list(engine.spread(job, [f"Say {number}." for number in range(requests)], str, name))
            assert len(found) == requests
            own, permits = time.process_time() - own, permits_cpu_s() - permits
            return requests / (time.monotonic() - started), 1000 * own / requests, 1000 * permits / requests


def permits_cpu_s() -> float:
    """Seconds of CPU that the actor of the permits has taken, if there is one: it bounds what a cluster can ask."""
    import psutil

    processes = psutil.Process().children(recursive=True)
    actors = [each for each in processes if "".join(each.cmdline()[:1]).startswith("ray::Permits")]
    return sum(sum(each.cpu_times()[:2]) for each in actors)


def limit(minutes: float, per_minute: int) -> tuple[float, float]:
    """The share of the quota that was used, from the first request to the last, and the share that was refused."""
    limits = Limits(per_minute, 10**9, style="window")
    with (
        tempfile.TemporaryDirectory(prefix="gpt4-instruct-bench-") as folder,
        FaultyEndpoint(limits=limits, latency_s=0.05, refused_share=0.0, faults=0.0) as server,
    ):
        os.environ.update(OPENAI_BASE_URL=server.url, OPENAI_API_KEY=server.key, GPT4_INSTRUCT_HOME=folder)
        with opened("2 workers", folder, requests_per_minute=per_minute) as engine:
            prompts = [f"Say something about the number {number}." for number in range(int(minutes * per_minute))]
            list(engine.spread(partial(asked, connect("openai:m")), prompts, str, "limit"))
        moments = sorted(ticket.at for ticket in limits.admitted)
        took_s = moments[-1] - moments[0]
        return (len(moments) - 1) / took_s * 60 / per_minute, server.answered_429 / server.requests


if __name__ == "__main__":
    main()
