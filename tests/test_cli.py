"""The command line as a person meets it: real processes, exit codes, one line for each mistake."""

from __future__ import annotations

import inspect
import json
import os
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import gpt4_instruct
from gpt4_instruct.cli.app import app, main
from gpt4_instruct.cli.data import build as build_command
from tests.forks import Forked

TASKS = [{"instruction": f"Task {number}.", "input": "", "output": "Done."} for number in range(5)]


def run(*args: object, **env: str) -> subprocess.CompletedProcess[str]:
    return Forked(main, args, env={**os.environ, "COLUMNS": "150", **env}).finish()


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(TASKS))
    return path


def test_the_options_are_builds_arguments():
    arguments = inspect.signature(gpt4_instruct.build).parameters
    options = inspect.signature(build_command).parameters
    assert set(options) == {*arguments, "dry_run"}
    for name, argument in arguments.items():
        if name not in {"split", "out", "answers_from"}:
            assert options[name].default == argument.default, name


def test_version_and_help():
    command = [sys.executable, "-m", "gpt4_instruct", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert said.strip() == run("--version").stdout.strip() == f"gpt4-instruct {gpt4_instruct.__version__}"
    overview = run("--help")
    assert overview.returncode == 0
    assert {"build", "show"} <= set(overview.stdout.split())
    details = CliRunner().invoke(app, ["build", "--help"], env={"COLUMNS": "150"}).output
    for name in inspect.signature(build_command).parameters:
        if name != "split":
            assert f"--{name.replace('_', '-')}" in details


def test_build_then_show(tasks, tmp_path):
    tasks.write_text(json.dumps([*TASKS, {"instruction": "Not recorded."}, {"input": "no instruction"}]))
    record = tmp_path / "record.json"
    record.write_text(json.dumps(TASKS))
    built = run("build", "unnatural", "--source", tasks, "--teacher", f"replay:{record}", "--out", tmp_path / "out")
    assert built.returncode == 0, built.stderr
    assert "unnatural: 5 rows accepted, 2 rejected (1 no_label, 1 missing_field)" in built.stdout
    assert f'load_dataset("{tmp_path}/out", "unnatural")' in built.stdout
    assert built.stderr == "", "quiet when nobody looks"
    shown = run("show", tmp_path / "out", "--rows", 2)
    assert shown.returncode == 0
    for expected in ("unnatural", "missing_field", "no_label", "Task 0.", "Task 1.", "the first 2 of 5 rows"):
        assert expected in shown.stdout
    assert "Task 2." not in shown.stdout


def test_no_accepted_row_is_not_success(tasks, tmp_path):
    record = tmp_path / "record.json"
    record.write_text(json.dumps([{"prompt": "something else", "output": "x"}]))
    built = run("build", "english", "--source", tasks, "--teacher", f"replay:{record}", "--out", tmp_path / "out")
    assert built.returncode == 1
    assert "0 rows accepted, 5 rejected (5 not_recorded)" in built.stdout
    assert "no row was accepted" in built.stderr
    assert len((tmp_path / "out" / "rejects" / "english.jsonl").read_text().splitlines()) == 5
    assert run("show", tmp_path / "out").returncode == 0


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["build", "englsh"], "did you mean 'english'"),
        (["build", "english", "--teacher", "opnai:gpt-4"], "did you mean 'openai'"),
        (["build", "english", "--teacher", "openai:gpt-4"], "OPENAI_API_KEY"),
        (["build", "english", "--teacher", "openai:"], "openai:MODEL"),
        (["build", "english", "--teacher", "local:./nowhere"], "nowhere"),
        (["build", "english", "--teacher", "replay:nowhere.json"], "nowhere.json"),
        (["build", "english", "--source", "nowhere.json"], "nowhere.json"),
        (["build", "english", "--source", "hub:no/such-dataset"], "no/such-dataset"),
        (["build", "english", "--limit", "0"], "limit is 0"),
        (["build", "english", "--scorer", "openai:x"], "no use for scorer"),
        (["build", "english", "--ledger", "/dev/null/ledger"], "ledger"),
        (["show", "nowhere"], "nowhere"),
        (["show", "."], "no finished build"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)  # fmt: skip
def test_a_mistake_is_one_line_and_leaves_nothing(args, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if args[0] == "build" and "--teacher" not in args:
        record = tmp_path / "record.json"
        record.write_text(json.dumps(TASKS))
        args = [*args, "--teacher", f"replay:{record}"]
    before = sorted(tmp_path.iterdir())
    done = run(*args)
    assert done.returncode == 1
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stdout == ""
    assert sorted(tmp_path.iterdir()) == before


def test_an_endpoint_that_is_not_there(tasks, tmp_path):
    done = run(
        "build", "english", "--source", tasks, "--teacher", "openai:gpt-4", "--out", tmp_path / "out",
        OPENAI_BASE_URL="http://127.0.0.1:1/v1", OPENAI_API_KEY="sk-planted",
    )  # fmt: skip
    assert done.returncode == 1
    assert re.match(r"error: no connection to http://127\.0\.0\.1:1/v1.*\n$", done.stderr), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_planted_key_appears_nowhere(endpoint, tasks, tmp_path):
    """Not in the folder, not in the ledger, not on the screen; also when the endpoint says it back."""
    endpoint.script = lambda request, count: f"Your key is {endpoint.key}."
    done = run("build", "english", "--source", tasks, "--teacher", "openai:gpt-4", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    wrong = run(
        "build", "unnatural", "--source", tasks, "--teacher", "openai:gpt-4", "--out", tmp_path / "out",
        "--temperature", 0, OPENAI_API_KEY="sk-wrong-planted",
    )  # fmt: skip
    assert wrong.returncode == 1 and "401" in wrong.stderr
    screens = done.stdout + done.stderr + wrong.stdout + wrong.stderr
    files = [path for path in tmp_path.rglob("*") if path.is_file() and "models" not in path.parts]
    assert any(path.name.startswith("ledger") for path in files)
    for secret in (endpoint.key, "sk-wrong-planted"):
        assert secret not in screens
        assert not [path for path in files if secret.encode() in path.read_bytes()]


def _on_a_full_disk() -> None:
    """A file may not grow past 8 KiB: what a full disk looks like to a program, from the ledger on."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
    main()


def test_a_read_only_folder_and_a_full_disk(tasks, tmp_path):
    record = tmp_path / "record.json"
    record.write_text(json.dumps(TASKS))
    arguments = ["build", "english", "--source", tasks, "--teacher", f"replay:{record}", "--out"]
    done = run(*arguments, "/proc/out")
    assert done.returncode == 1 and len(done.stderr.strip().splitlines()) == 1, done.stderr
    full = Forked(_on_a_full_disk, [*arguments, tmp_path / "out"]).finish()
    assert full.returncode == 1
    assert full.stderr.startswith("error: ") and len(full.stderr.strip().splitlines()) == 1, full.stderr
    assert not (tmp_path / "out").exists()


# --- money, limits, the ledger --------------------------------------------------------------------------------------


def test_a_dry_run_prints_what_would_be_asked_and_sends_nothing(endpoint):
    said = run("build", "comparison", "--teacher", "openai:gpt-4o", "--limit", "3", "--dry-run")
    assert said.returncode == 0, said.stderr
    assert "3 rows; nothing was sent" in said.stdout and "from empty answers to the most they can be" in said.stdout
    assert not endpoint.asked
    said = run("build", "english", "--teacher", "openai:unknown", "--limit", "3", "--dry-run")
    assert "a price is not known: --prices FILE" in said.stdout


def test_a_budget_that_is_spent_is_one_line_and_a_larger_one_goes_on(endpoint, tmp_path):
    endpoint.script = lambda request, count: "A good answer that costs something. " * 10
    build_it = ("build", "english", "--teacher", "openai:gpt-4o", "--limit", "20", "--out", str(tmp_path / "out"))
    said = run(*build_it, "--budget-usd", "0.012")
    assert said.returncode == 1
    assert said.stderr.count("\n") == 1 and "a new --budget-usd goes on from there" in said.stderr
    assert 0 < len(endpoint.asked) < 20
    said = run(*build_it, "--budget-usd", "1")
    assert said.returncode == 0 and len(endpoint.asked) == 20
    said = run("ledger", "show")
    assert "gpt-4o" in said.stdout and "settled" in said.stdout
    said = run("ledger", "verify")
    assert "20 settled; whole" in said.stdout


def test_accept_says_when_the_source_is_dry(endpoint, tmp_path):
    endpoint.script = lambda request, count: "Fine."
    source = tmp_path / "tasks.jsonl"
    source.write_text('{"instruction": "One."}\n{"instruction": "Two."}\n')
    build_it = (
        "build",
        "english",
        "--source",
        str(source),
        "--teacher",
        "openai:m",
        "--overwrite",
        "--out",
        str(tmp_path / "out"),
    )
    assert "the source is dry: it holds no more than 2 of the 5 rows" in run(*build_it, "--accept", "5").stdout
    assert "dry" not in run(*build_it, "--accept", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ledger", "show"), "there is no ledger at"),
        (("ledger", "show", "--prices", "nowhere.json"), "cannot be read"),
        (("ledger", "import", "nowhere.jsonl"), "cannot be imported"),
        (("ledger", "cancel", "openai:m"), "has no batches"),
        (("build", "english", "--on-truncation", "guess"), "must be one of reject, keep, extend"),
        (("build", "english", "--accept", "0"), "accept is 0"),
        (("build", "english", "--budget-usd", "nan"), "must be a number of dollars over 0"),
        (("build", "english", "--requests-per-minute", "-1"), "requests_per_minute is -1"),
    ],
)
def test_what_cannot_work_is_one_line(endpoint, arguments, says, tmp_path):
    said = run(*arguments)
    assert said.returncode == 1
    assert says in said.stderr and said.stderr.count("\n") == 1
