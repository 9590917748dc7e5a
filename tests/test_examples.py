"""The examples run as they stand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.hub import LoopbackHub
from tests.smollm2 import needs_smollm2

EXAMPLES = Path(__file__).parents[1] / "examples"


WITH_ARGUMENTS = ("quickstart.py", "push.py")


def run(name: str, *args: object, cwd: Path, env: Mapping[str, str] = {}) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **env}, timeout=800)
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


def test_publishing(tmp_path):
    with LoopbackHub() as hub:
        printed = run("push.py", "me/planets", cwd=tmp_path, env=hub.environment(tmp_path / "hf"))
        repo = hub.repos["datasets/me/planets"]
    assert "Name the largest planet. -> Jupiter." in printed and "说出离太阳最近的行星。 -> 水星。" in printed
    english, chinese = [line for line in printed.splitlines() if hub.url in line]
    assert "english/train" in english and "english/train" not in chinese  # what is there is not sent again
    assert len(repo.log()) == 3 and repo.private  # an empty repository, and a commit for each split


EXPECTED = {
    "audit.py": "row 2: wrong_arithmetic (error): 12 + 30 is 42, not 52",
    "judge.py": "relative score 173 % [127, 238]\nwin 8  tie 4  loss 0\n",
    "look.py": "rejected (refusal): Draw a cat.",
    "self_instruct.py": "16 rows; novelty has dried up",
    "own_teacher.py": "8 accepted, rejected: {'too_long': 2}",
}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py") if path.name not in WITH_ARGUMENTS))
def test_every_other_example(name, tmp_path):
    assert EXPECTED[name] in run(name, cwd=tmp_path)


def test_examples_are_short():
    for path in EXAMPLES.glob("*.py"):
        if path.name != "quickstart.py":
            assert len(path.read_text(encoding="utf-8").splitlines()) < 60, path.name
