"""Each script builds its split: as it was released, and with teachers."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

from gpt4_instruct.sources.released import RELEASED
from tests.endpoint import Endpoint
from tests.hub import LoopbackHub
from tests.released_server import contents, release
from tests.self_instruct_script import Inventor

SCRIPTS = Path(__file__).parents[1] / "dataset_scripts"
SPLITS = ["english", "chinese", "comparison", "unnatural"]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs a script in this process, so that the imports are paid once, and the released files can be small ones."""

    def script(name: str, *arguments: object) -> Path:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *map(str, arguments), "--out", str(tmp_path / "data")])
        runpy.run_path(str(SCRIPTS / f"{name}.py"), run_name="__main__")
        return tmp_path / "data"

    monkeypatch.syspath_prepend(str(SCRIPTS))
    return script


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Small files of the released shapes, in a folder where they are found."""
    files = contents(6)
    release(monkeypatch, files)
    for name, content in files.items():
        (tmp_path / RELEASED[name].file_name).write_bytes(content)
    monkeypatch.setenv("GPT4_INSTRUCT_RELEASED_DIR", str(tmp_path))
    return files


def test_without_a_teacher_the_released_rows_are_built(run, released):
    for split in SPLITS:
        folder = run(split, "--limit", 4)
    for split in SPLITS:
        rows = load_dataset(str(folder), split, split="train")
        assert rows.num_rows == 4
    assert rows[0]["output"] == json.loads(released["unnatural"])[0]["output"]


def test_with_a_teacher_the_papers_questions_are_asked(run, released, endpoint: Endpoint, capsys):
    endpoint.script = _answer
    run("english", "--teacher", "openai:gpt-4o", "--limit", 3)
    run("chinese", "--translator", "openai:gpt-4o-mini", "--teacher", "openai:gpt-4o", "--limit", 3)
    asked = [request["model"] for request in endpoint.asked]
    assert sorted(asked) == ["gpt-4o"] * 5 + ["gpt-4o-mini"] * 3  # two of them became the same Chinese question
    models = ("--answers-from", "openai:gpt-4o", "--answers-from", "openai:gpt-3.5-turbo")
    folder = run("comparison", *models, "--scorer", "openai:gpt-4o", "--limit", 2)
    rows = load_dataset(str(folder), "comparison", split="train")
    assert [each["source"] for each in rows[0]["responses_and_scores"]] == ["gpt-4o", "gpt-3.5-turbo"]
    assert load_dataset(str(folder), "chinese", split="train")[0]["output"] == "这是一个很好的回答。"
    assert "chinese: the first 1 of 3 rows" in capsys.readouterr().out

    before = len(endpoint.asked)
    run("english", "--teacher", "openai:gpt-4o", "--limit", 4)  # the folder's split is replaced by a longer one
    assert len(endpoint.asked) == before + 1
    assert load_dataset(str(folder), "english", split="train").num_rows == 4


def test_a_teacher_answers_questions_of_ones_own(run, tmp_path):
    record = [{"instruction": f"Add {n}.", "input": "1", "output": f"It is {n + 1}.", "label": "x"} for n in range(3)]
    tasks = tmp_path / "tasks.json"
    tasks.write_text(json.dumps(record))
    folder = run("unnatural", "--source", tasks, "--teacher", f"replay:{tasks}", "--limit", 2)
    rows = load_dataset(str(folder), "unnatural", split="train")
    assert rows["output"][:] == ["It is 1.", "It is 2."] and rows["label"][:] == ["x", "x"]


def test_a_teacher_invents_the_questions_too(run, endpoint: Endpoint):
    inventor = Inventor()
    endpoint.script = lambda request, count: inventor(request["messages"][-1]["content"], count)
    teacher = ("--teacher", "openai:gpt-4o", "--recipe", "alpaca", "--language", "en")
    folder = run("self_instruct", *teacher, "--accept", 4)
    rows = load_dataset(str(folder), "self_instruct", split="train")
    assert rows.num_rows == 4 and {row["language"] for row in rows["metadata"]} == {"en"}


def test_a_script_publishes_what_it_built(tmp_path):
    tasks = tmp_path / "tasks.json"
    tasks.write_text(json.dumps([{"instruction": "Add 1 and 2.", "output": "It is 3."}]))
    command = [sys.executable, str(SCRIPTS / "english.py"), "--source", str(tasks), "--teacher", f"replay:{tasks}"]
    with LoopbackHub() as hub:
        done = subprocess.run(
            [*command, "--out", str(tmp_path / "data"), "--push-to", "me/sums"],
            capture_output=True,
            text=True,
            env={**os.environ, **hub.environment(tmp_path / "hf")},
        )
        assert done.returncode == 0, done.stderr
        repo = hub.repos["datasets/me/sums"]
    assert done.stdout.splitlines()[-1] == f"{hub.url}/datasets/me/sums" and repo.private
    assert any(name.startswith("english/train-") for name in repo.files())


def test_what_goes_wrong_is_one_line(run, tmp_path):
    (tmp_path / "tasks.json").write_text('[{"instruction": "Name a cat.", "output": "As an AI, I cannot."}]')
    with pytest.raises(SystemExit, match=r"^error: no row was accepted"):
        run("english", "--source", tmp_path / "tasks.json", "--teacher", f"replay:{tmp_path}/tasks.json")
    with pytest.raises(SystemExit, match=r"^error: the source '.*none.json' does not exist"):
        run("english", "--source", tmp_path / "none.json", "--teacher", "openai:gpt-4o")


def _answer(request: dict[str, Any], count: int) -> str:
    """What each of the paper's roles says: a translation, an answer in the question's language, a score."""
    prompt = request["messages"][-1]["content"]
    if request["model"] == "gpt-4o-mini":
        return json.dumps({"instruction": "把它们相加。", "input": "0, 1" if "0, 1" in prompt else ""})
    if "response_format" in request:
        return '{"score": "9"}'
    return "这是一个很好的回答。" if "把它们相加" in prompt else "This is a fine answer."
