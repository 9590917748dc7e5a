"""The benchmarks: `make bench`, on a quiet machine. Prints one table; each figure beside what it is compared with.

    python tests/benchmarks/run.py [--rows 52002]

Start-up is measured as wall time of a fresh process less that of bare python, the median of several, taken in turns. A
build is measured in a fresh process, too, with its peak memory; what it reads, a file of as many Alpaca rows as the
paper's, is made here.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_WORDS = (Path(__file__).parents[2] / "gpt4_instruct/sources/seeds.jsonl").read_text(encoding="utf-8").split()
_BUILD = """
import json, resource, sys, time
from gpt4_instruct import build
from gpt4_instruct.teachers.base import connect
source, out, ledger = sys.argv[1:4]
started = time.monotonic()
teacher = connect(f"replay:{source}")
recorded = time.monotonic()
result = build("english", source, teacher=teacher, out=out, ledger=ledger)
ended = time.monotonic()
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"rows": result.rows, "rejected": sum(result.rejected.values()), "asked": result.asked,
                  "record_s": recorded - started, "build_s": ended - recorded, "peak_mb": peak}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=52_002)
    options = parser.parse_args()
    lines = [("what", "measured", "wanted"), *start_up(), *builds(options.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def start_up() -> list[tuple[str, str, str]]:
    """Seconds over bare python of importing the package, and of the help text."""
    commands = {
        "bare python": ["-c", "pass"],
        "import gpt4_instruct": ["-c", "import gpt4_instruct"],
        "gpt4-instruct --help": ["-m", "gpt4_instruct", "--help"],
    }
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(15):
        for name, arguments in commands.items():  # in turns, so that a busy moment hits all alike
            started = time.monotonic()
            subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
            seconds[name].append(time.monotonic() - started)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    bare = median["bare python"]
    return [
        ("bare python", f"{bare:.3f} s", ""),
        ("import gpt4_instruct, over bare python", f"{median['import gpt4_instruct'] - bare:.3f} s", "0.15 s"),
        ("gpt4-instruct --help", f"{median['gpt4-instruct --help']:.3f} s", "0.5 s"),
    ]


def builds(rows: int) -> list[tuple[str, str, str]]:
    """Rows a second and peak memory of a build from a file by the replay teacher, at two sizes; then from the ledger."""
    found: list[tuple[str, str, str]] = []
    with tempfile.TemporaryDirectory(prefix="gpt4-instruct-bench-") as folder:
        peaks = {}
        for count in (rows // 4, rows):
            source = Path(folder, f"alpaca-{count}.json")
            source.write_text(json.dumps(_alpaca(count), ensure_ascii=False, indent=1), encoding="utf-8")
            ledger = Path(folder, f"ledger-{count}.sqlite3")
            first = _build(source, Path(folder, f"out-{count}"), ledger)
            peaks[count] = first["peak_mb"]
            assert first["rows"] + first["rejected"] == count
            if count == rows:
                size = source.stat().st_size / 1e6
                speed = f"{count / first['build_s']:,.0f} rows/s ({first['build_s']:.1f} s)"
                found.append((f"build of {count:,} rows ({size:.0f} MB) by replay", speed, "4,000 rows/s"))
                whole = first["build_s"] + first["record_s"]
                found.append(("the same, reading the record included", f"{count / whole:,.0f} rows/s", ""))
                again = _build(source, Path(folder, f"again-{count}"), ledger)
                assert again["asked"] == 0
                found.append(("the same again, from the ledger", f"{count / again['build_s']:,.0f} rows/s", ""))
        small, large = peaks.values()
        growth = f"{small:.0f} MB -> {large:.0f} MB ({large / small:.2f}x)"
        found.append((f"peak memory, {rows // 4:,} -> {rows:,} rows", growth, "about 1x"))
    return found


def _build(source: Path, out: Path, ledger: Path) -> dict[str, Any]:
    command = [sys.executable, "-c", _BUILD, str(source), str(out), str(ledger)]
    environment = {**os.environ, "GPT4_INSTRUCT_HOME": str(out.with_name("home"))}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _alpaca(count: int) -> list[dict[str, str]]:
    """Rows as long as the released ones: about 11 words of instruction and 100 of output (alpaca_gpt4_data.json)."""
    rng = random.Random(0)
    words = [word.strip('",:{}').replace("\\n", " ") for word in _WORDS]
    words = [word for word in words if word.isascii() and word]

    def text(number: int) -> str:
        return " ".join(rng.choices(words, k=number))

    return [
        {"instruction": f"{text(10)} {number}", "input": text(9) if number % 3 == 0 else "", "output": text(100)}
        for number in range(count)
    ]


if __name__ == "__main__":
    main()
