"""How right the audit's checks are: precision and recall on rows labelled by hand, real ones and written ones.

    python tests/benchmarks/checks.py

The labels are in `tests/labels`: of 1,400 real rows (where the samples are present), each read whole, and of rows written
for this, half of which only look as if something were wrong. Real rows that two careful readers may judge differently
are left out. The tests hold what is printed here to a least value.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from gpt4_instruct.registry import find, names
from tests.benchmarks.novelty import SAMPLES
from tests.test_audit import REAL, labelled, look, written


def main() -> None:
    real = [labelled(SAMPLES, file) for file in REAL] if SAMPLES.is_dir() else []
    lines = [("check", "real rows: right", "false", "missed", "written rows: right", "false", "missed")]
    for name in names("quality"):
        counts = [0, 0, 0]
        for samples, labels in real:
            wrong = set(labels["labelled"].get(name, ()))
            if name in labels["labelled"]:
                found = look(name, samples).keys() - set(labels["doubtful"].get(name, ()))
                counts = [sum(pair) for pair in zip(counts, _compare(found, wrong), strict=True)]
        rows = [each for each in written() if bool(each[0].scored) == (find("quality", name).subject == "comparison")]
        expected = {row for row, (_, wrong) in enumerate(rows) if name in wrong}
        on_written = _compare(look(name, [sample for sample, _ in rows]).keys(), expected) if expected else ("", "", "")
        if sum(counts) or expected:
            lines.append((name, *map(str, counts), *map(str, on_written)))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def _compare(found: set[int], wrong: set[int]) -> tuple[int, int, int]:
    return len(found & wrong), len(found - wrong), len(wrong - found)


if __name__ == "__main__":
    main()
