"""The examples run as they stand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.smollm2 import needs_smollm2

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name: str, *args: object, cwd: Path) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=280)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_smollm2
def test_the_quickstart(tmp_path):
    printed = run("quickstart.py", "--rows", 4, cwd=tmp_path)
    for split in ("english", "chinese", "comparison", "unnatural"):
        assert split in printed
    assert "SmolLM2 knows no Chinese" in printed
    again = run("quickstart.py", "--rows", 4, cwd=tmp_path)
    assert printed.splitlines()[-8:-6] == again.splitlines()[-8:-6]


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py") if path.name != "quickstart.py"))
def test_every_other_example(name, tmp_path):
    assert run(name, cwd=tmp_path)
