"""How fast the rating page answers when many raters vote at once.

    python tests/benchmarks/rating.py [--raters 50] [--seconds 20] [--pause 3.0]

The real page runs in a process of its own, over 252 questions. The raters are clients in this process that send what the
page in a browser sends, by HTTP on loopback, and wait for the next question. A call saves three votes, on disk, and brings
the next question. First each rater pauses between two votes, at random and `--pause` seconds in the mean, which is much
less than two answers take to read; then all of them press at the same moments; then none of them ever pauses, which is
the most that the server can do.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from gpt4_instruct.evaluation.rating import Study

QUESTIONS = 252
WANTED_MS = 200
_SERVE = """
import sys
from gpt4_instruct.evaluation.rating_server import serve
serve(*sys.argv[1:4], port=0, per_question=10_000, attention=20, tell=lambda line: print(line, flush=True))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--raters", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--pause", type=float, default=3.0)
    options = parser.parse_args()
    lines = [("what", "measured", "wanted")]
    for name, pause_s, together in (
        (f"each a vote every {options.pause:g} s", options.pause, False),
        ("all at the same moment", options.pause, True),
        ("without a pause", 0.0, False),
    ):
        times, rate, lost = measure(options.raters, options.seconds, pause_s, together)
        wanted = f"{WANTED_MS} ms" if pause_s and not together else ""
        for share, label in ((0.5, "median"), (0.95, "95 of 100 within"), (0.99, "99 of 100 within"), (1.0, "slowest")):
            found = times[min(len(times) - 1, int(share * len(times)))]
            text = f"{options.raters} raters, {name}: {label}"
            lines.append((text, f"{1000 * found:.0f} ms", wanted if share == 0.99 else ""))
        lines.append((f"  {len(times):,} answers; a second", f"{rate:.0f}", ""))
        lines.append(("  votes lost", f"{lost}", "0"))
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def measure(raters: int, seconds: float, pause_s: float, together: bool) -> tuple[list[float], float, int]:
    """The seconds that each answer took, ascending; answers a second; and votes that were answered for but not saved."""
    with tempfile.TemporaryDirectory(prefix="gpt4-instruct-bench-") as name:
        folder = Path(name)
        files = [write(folder / f"{who}.jsonl", who) for who in ("ours", "baseline")]
        command = [sys.executable, "-c", _SERVE, *files, str(folder / "out")]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        try:
            assert server.stdout is not None
            server.stdout.readline()
            url = server.stdout.readline().strip()
            times, took_s = asyncio.run(rate(url, raters, seconds, pause_s, together))
        finally:
            server.terminate()
            server.wait()
        study = Study(folder / "out")
        lost = 3 * len(times) - len(study.votes())
        study.close()
    return sorted(times), len(times) / took_s, lost


def write(file: Path, who: str) -> str:
    """Answers of about 100 words."""
    words = random.Random(who)
    with file.open("w", encoding="utf-8") as lines:
        for number in range(QUESTIONS):
            text = " ".join("".join(words.choices("etaoinshrdlu", k=words.randint(2, 9))) for _ in range(100))
            answers = [{"sample": 0, "text": text}]
            lines.write(
                json.dumps({"id": f"{number}", "instruction": f"{number}?", "input": "", "answers": answers}) + "\n"
            )
    return str(file)


async def rate(url: str, raters: int, seconds: float, pause_s: float, together: bool) -> tuple[list[float], float]:
    import aiohttp

    times: list[float] = []
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=raters)) as client:

        async def call(name: str, number: int, *values: object) -> list[Any]:
            body = {"data": values, "session_hash": f"session{number}"}
            async with client.post(f"/gradio_api/run/{name}", json=body) as answer:
                answer.raise_for_status()
                return (await answer.json())["data"]

        async def one(number: int) -> None:
            chooser = random.Random(number)
            rater, place = (await call("start", number, f"rater {number}"))[:2]
            while time.monotonic() < end and place >= 0:
                now = time.monotonic()
                pause = chooser.expovariate(1 / pause_s) if pause_s else 0
                await asyncio.sleep(pause_s - now % pause_s if together else pause)
                choices = chooser.choices(("A", "B", "tie"), k=3)
                sent = time.perf_counter()
                shown = await call("vote", number, rater, place, *choices)
                times.append(time.perf_counter() - sent)
                assert shown[1] != place, "the next question came"
                place = shown[1]

        while True:
            try:
                async with client.get("/config") as answer:
                    answer.raise_for_status()
                break
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.2)
        began = time.monotonic()
        end = began + seconds
        await asyncio.gather(*map(one, range(raters)))
        return times, time.monotonic() - began


if __name__ == "__main__":
    main()
