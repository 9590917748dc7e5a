"""What a push sends of a dataset that has grown, and how long it looks through one before.

    python tests/benchmarks/pushing.py [--rows 8000]

A split of so many rows is built from recorded answers, then again with 100 rows more at its end, 100 more in its middle,
and 100 fewer. Each shard is cut into chunks of about 64 KiB where a rolling hash says so, as Xet does; printed is the
share of its bytes that is in no chunk of the first one, and would be sent. (Xet's own hash has other constants, so its
chunks end elsewhere, but as often.) Then the whole folder is pushed to the Hub on loopback, twice.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.hub import Client, LoopbackHub
from tests.pushing import push_folder

_BITS = 16  # a chunk ends where so many bits of the hash are zero: 64 KiB on average
_SHORTEST, _LONGEST = 8 << 10, 128 << 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8_000)
    count = parser.parse_args().rows
    made = random.Random(0)
    words = ["".join(made.choices("abcdefghijklmnopqrstuvwxyz", k=made.randint(2, 9))) for _ in range(3_000)]
    rows = [
        {"instruction": f"Task {n}: {' '.join(made.choices(words, k=8))}.", "input": "", "output": " ".join(made.choices(words, k=60))}
        for n in range(count + 100)
    ]  # fmt: skip
    first, more, middle = rows[:count], rows[count:], count // 2
    with tempfile.TemporaryDirectory(prefix="gpt4-instruct-bench-") as folder:
        os.environ["GPT4_INSTRUCT_HOME"] = f"{folder}/home"
        shard = build(folder, "first", first, rows)
        known = {hashlib.sha256(each).digest() for each in chunks(shard)}
        for what, changed in (
            ("100 rows more at the end", rows),
            ("100 rows more in the middle", [*first[:middle], *more, *first[middle:]]),
            ("100 rows fewer in the middle", [*first[:middle], *first[middle + 100 :]]),
        ):
            content = build(folder, what.replace(" ", "-"), changed, rows)
            new = sum(len(each) for each in chunks(content) if hashlib.sha256(each).digest() not in known)
            print(f"{what}: {new / len(content):.1%} of {len(content):,} bytes are new")
        with LoopbackHub() as hub, Client(hub, Path(folder, "hf")) as client:
            client.call(push_folder, f"{folder}/first", "me/warm")
            for what in ("a first push", "a push that changes nothing"):
                started = time.perf_counter()
                client.call(push_folder, f"{folder}/first", "me/data")
                print(f"{what} of {count:,} rows: {time.perf_counter() - started:.2f} s")


def build(folder: str, name: str, rows: list[dict[str, Any]], recorded: list[dict[str, Any]]) -> bytes:
    """The shard of a split of these rows."""
    from gpt4_instruct import Replay
    from gpt4_instruct import build as run

    source = Path(folder, "tasks.json")
    source.write_text(json.dumps(rows))
    run("english", source, teacher=Replay(recorded), out=Path(folder, name))
    return next(Path(folder, name, "english").iterdir()).read_bytes()


def chunks(content: bytes) -> list[bytes]:
    """Content cut where a gear hash of the last bytes says so."""
    table = random.Random(7)
    gear = [table.getrandbits(64) for _ in range(256)]
    mask, found, start, state = ((1 << _BITS) - 1) << 40, [], 0, 0
    for at, byte in enumerate(content):
        state = ((state << 1) + gear[byte]) & 0xFFFFFFFFFFFFFFFF
        length = at + 1 - start
        if (length >= _SHORTEST and not state & mask) or length >= _LONGEST:
            found.append(content[start : at + 1])
            start, state = at + 1, 0
    return [*found, content[start:]]


if __name__ == "__main__":
    main()
