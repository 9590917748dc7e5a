"""The examples run as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.smollm2 import needs_smollm2

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *args: object, cwd: Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=800)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_smollm2
@pytest.mark.timeout(1200)
def test_the_quickstart(tmp_path):
    printed = run("quickstart.py", "--rows", 3, "--steps", 2, "--questions", 4, cwd=tmp_path)
    for split in ("english", "chinese", "comparison", "unnatural"):
        assert split in printed
    assert "SmolLM2 knows no Chinese" in printed
    assert re.search(r"  after  0\.\d\d of 2\n", printed)  # of the first four, two have a right answer
    page = (tmp_path / "quickstart-evaluation" / "report.html").read_text(encoding="utf-8")
    assert "quickstart-model" in page and "ROUGE" in page
    assert "What is bread made of?" in printed and (tmp_path / "quickstart-model" / "README.md").is_file()
    again = run("quickstart.py", "--rows", 3, "--steps", 2, "--questions", 4, cwd=tmp_path)
    built = [line for line in printed.splitlines() if "rows accepted" in line]
    assert len(built) == 4 and built == [line for line in again.splitlines() if "rows accepted" in line]
    said = [text[text.index("before >") :] for text in (printed, again)]
    assert said[0] == said[1]  # the same model, and the same answers


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py") if path.name != "quickstart.py"))
def test_every_other_example(name, tmp_path):
    assert run(name, cwd=tmp_path)
