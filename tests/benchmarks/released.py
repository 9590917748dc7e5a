"""Loads, checks and writes as many Alpaca rows as were released, beside pyarrow alone: `python tests/benchmarks/released.py`.

The file is made here, of the released one's shape and size. Each way is run several times, in turns, so that a busy
moment hits all alike; the figure is the fastest of each.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

_ROUNDS = 7


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 52_002
    with tempfile.TemporaryDirectory(prefix="gpt4-instruct-bench-") as name:
        folder = Path(name)
        os.environ.update(
            GPT4_INSTRUCT_HOME=f"{folder}/home",
            GPT4_INSTRUCT_RELEASED_DIR=name,
            HF_HOME=f"{folder}/hf",
            HF_HUB_OFFLINE="1",
        )
        lines = [("what", "measured", "wanted"), *measure(folder, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def measure(folder: Path, rows: int) -> list[tuple[str, str, str]]:
    """Seconds of pyarrow alone, of a split of the released rows, and of a build of it with card and manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from gpt4_instruct import English, build
    from gpt4_instruct.sources import released
    from gpt4_instruct.sources.rows import open_rows

    content = json.dumps(_alpaca(rows), ensure_ascii=False, indent=4).encode()
    path = folder / released.RELEASED["english"].file_name
    path.write_bytes(content)
    released.RELEASED.update(_patched({"english": content}))

    def alone() -> None:
        with path.open(encoding="utf-8") as file:
            pq.write_table(pa.Table.from_pylist(json.load(file)), folder / "alone.parquet")

    def split() -> None:
        builder = English(source="released", cache_dir=f"{folder}/cache")
        builder.download_and_prepare(tempfile.mkdtemp(dir=folder) + "/split", file_format="parquet")

    def whole() -> None:
        assert build("english", "released", out=folder / "out", overwrite=True).rows == rows

    def look() -> None:
        assert sum(isinstance(found, list) for _, _, found in open_rows(path)) == rows

    ways: dict[str, Callable[[], None]] = {"alone": alone, "split": split, "build": whole, "rows": look}
    seconds = dict.fromkeys(ways, 1000000000.0)
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            started = time.perf_counter()
            way()
            seconds[name] = min(seconds[name], time.perf_counter() - started)

    def beside(name: str) -> str:
        return f"{seconds[name]:.2f} s, {seconds[name] / seconds['alone']:.2f}x"

    size = f"{rows:,} rows ({len(content) / 1e6:.0f} MB)"
    return [
        (f"pyarrow alone: json.load, from_pylist, write_table of {size}", f"{seconds['alone']:.2f} s", ""),
        ("verified, loaded, checked and written to Parquet with metadata", beside("split"), "1.5x"),
        ("a build of them: that, with its hashes, card and manifest", beside("build"), ""),
        ("looked at as samples, one by one (open_rows)", beside("rows"), ""),
    ]


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.benchmarks.run import _alpaca
    from tests.released_server import patched as _patched

    main()
