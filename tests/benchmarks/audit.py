"""What an audit of as many rows as the paper's costs, page, cleaned file and all.

    python tests/benchmarks/audit.py [--rows 52002]

The tasks are those of `novelty.py`; an answer is the sentences of a real one (of the packaged seeds' references where the
real samples are not present), put together anew: as long as the released ones, about 100 words, and full of what checks
look for. It runs in a fresh process, by the command line, with its peak memory.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.novelty import ROOT, SAMPLES, corpus

_RUN = """
import re, sys
from gpt4_instruct.cli.app import app
app(sys.argv[1:], standalone_mode=False)
print("peak", re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=52_002)
    options = parser.parse_args()
    lines = [("what", "measured", "wanted")]
    with tempfile.TemporaryDirectory(prefix="gpt4-instruct-bench-") as folder:
        path = Path(folder, "rows.json")
        path.write_text(json.dumps(rows(options.rows), ensure_ascii=False, indent=1), encoding="utf-8")
        size = path.stat().st_size / 1e6
        for flags, wanted in ((["--clean"], "120 s"), (["--clean", "--near-duplicates"], "")):
            started = time.monotonic()
            command = [sys.executable, "-c", _RUN, "audit", str(path), "--out", f"{folder}/{len(lines)}", *flags]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds = time.monotonic() - started
            peak = int(re.search(r"peak (\d+)", done.stdout)[1]) / 1024  # type: ignore[index]
            found = json.loads(Path(folder, str(len(lines)), "summary.json").read_text())["data"][0]
            what = f"audit {' '.join(flags)} of {options.rows:,} rows ({size:.0f} MB)"
            lines.append(
                (what, f"{seconds:.1f} s, {peak:.0f} MB, {found['rows_with_findings']:,} rows with findings", wanted)
            )
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def rows(count: int) -> list[dict[str, str]]:
    """Alpaca rows, the same each time."""
    rng = random.Random(0)
    sample = SAMPLES / "alpaca_gpt4_en_500.json"
    if sample.is_file():
        answers = [row["output"] for row in json.loads(sample.read_text(encoding="utf-8"))]
    else:
        seeds = (ROOT / "gpt4_instruct" / "sources" / "seeds.jsonl").read_text(encoding="utf-8").splitlines()
        answers = [json.loads(line)["label"] for line in seeds]
    sentences = [part for answer in answers for part in re.split(r"(?<=[.!?])\s+", answer) if part]
    found = []
    for task in corpus(count):
        own = re.split(r"(?<=[.!?])\s+", rng.choice(answers))
        mixed = [rng.choice(sentences) if rng.random() < 0.5 else part for part in own]
        found.append({"instruction": task, "input": "", "output": " ".join(mixed)})
    return found


if __name__ == "__main__":
    main()
