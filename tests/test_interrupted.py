"""Builds that end in the middle: killed, interrupted, run twice at once. Nothing is asked twice, nothing half-written."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from datasets import load_dataset

import gpt4_instruct.publishing.folder
from gpt4_instruct.cli.app import main
from gpt4_instruct.generation.ledger import Ledger
from tests.endpoint import Endpoint, Reply
from tests.forks import Forked

ROWS = 120


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([{"instruction": f"Task {number}."} for number in range(ROWS)]))
    return path


def arguments(tasks: Path, out: Path, split: str = "comparison", *more: str) -> list[str]:
    teachers = ["--answers-from", "openai:a", "--answers-from", "openai:b", "--scorer", "openai:judge"]
    return [
        *("build", split, "--source", str(tasks), "--out", str(out)),
        *(teachers if split == "comparison" else ["--teacher", "openai:a"]),
        *("--concurrency", "8"),
        *more,
    ]


def forked(*args) -> Forked:
    return Forked(main, arguments(*args))


def start(*args) -> subprocess.Popen[str]:
    """As a user starts it: what Ctrl-C does depends on all that a program does first."""
    command, pipe = [sys.executable, "-m", "gpt4_instruct", *arguments(*args)], subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)


def slow(request, count):
    if request["model"] == "judge":
        return Reply(str(len(request["messages"][0]["content"]) % 10 + 1), delay_s=0.01)
    return Reply(f"{request['model']} says {len(request['messages'][0]['content'])}.", delay_s=0.01)


def wait_for(endpoint: Endpoint, count: int, process: subprocess.Popen[str] | Forked) -> None:
    end = time.monotonic() + 60
    while len(endpoint.asked) < count and process.poll() is None and time.monotonic() < end:
        time.sleep(0.005)


def rows(folder: Path, split: str = "comparison") -> list[dict]:
    return load_dataset(str(folder), split, split="train").to_list()


def test_killed_again_and_again_a_build_ends_with_the_same_rows_and_asks_nothing_twice(endpoint, tasks, tmp_path):
    endpoint.script = slow
    rng = random.Random(0)
    out = tmp_path / "out"
    kills, lost = 0, 0
    while True:
        process = forked(tasks, out)
        wait_for(endpoint, len(endpoint.asked) + rng.randrange(20, 120), process)
        if process.poll() is not None:
            break
        process.kill()
        kills += 1
        time.sleep(0.1)  # the endpoint finishes what was in flight
        assert not out.exists(), "nothing half-written"
    done = process.finish()
    assert done.returncode == 0, done.stderr
    assert kills >= 3
    assert "120 rows accepted" in done.stdout

    # What was sent when a kill came may have been asked again: the ledger shows these as attempts, and no others.
    ledger = Ledger(tmp_path / "home" / "ledger.sqlite3")
    assert ledger.counts() == {"settled": ROWS * 4}
    attempts = Counter(dict(ledger._db.execute("SELECT attempts, count(*) FROM requests GROUP BY attempts")))
    lost = sum((number - 1) * count for number, count in attempts.items())
    assert len(endpoint.asked) - ROWS * 4 <= lost <= kills * 8 * 3  # 8 in flight for each of three teachers

    undisturbed = tmp_path / "undisturbed"
    done = forked(tasks, undisturbed, "comparison", "--ledger", str(tmp_path / "other.sqlite3")).finish()
    assert done.returncode == 0, done.stderr
    assert rows(out) == rows(undisturbed)


def test_ctrl_c_finishes_what_is_in_flight_and_says_how_to_go_on(endpoint, tasks, tmp_path):
    endpoint.script = lambda request, count: Reply("Fine.", delay_s=0.3)
    process = start(tasks, tmp_path / "out", "english")
    wait_for(endpoint, 12, process)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finishing" in stderr and "run the same command again" in stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "out").exists()
    ledger = Ledger(tmp_path / "home" / "ledger.sqlite3")
    assert ledger.counts() == {"settled": len(endpoint.asked)}
    asked = len(endpoint.asked)
    assert asked <= 32

    endpoint.script = lambda request, count: "Fine."
    done = forked(tasks, tmp_path / "out", "english").finish()
    assert done.returncode == 0, done.stderr
    assert len(endpoint.asked) == ROWS
    assert f"{ROWS - asked} requests sent, {asked} from the ledger" in done.stdout


def test_a_second_ctrl_c_stops_at_once(endpoint, tasks, tmp_path):
    endpoint.script = lambda request, count: Reply("Fine.", delay_s=30)
    process = start(tasks, tmp_path / "out", "english")
    wait_for(endpoint, 8, process)
    process.send_signal(signal.SIGINT)
    assert "finishing" in process.stderr.readline() + process.stderr.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)
    assert process.returncode == 130


def test_a_second_ctrl_c_does_not_wait_for_a_busy_thread(tasks, tmp_path):
    """As a local model's is, in the middle of a batch."""
    info = tmp_path / "sleepy-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sleepy\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gpt4_instruct.teachers]\nsleepy = sleepy:Sleepy\n")
    (tmp_path / "sleepy.py").write_text(
        "import asyncio, time\n"
        "from gpt4_instruct import Teacher\n"
        "class Sleepy(Teacher):\n"
        "    spec = endpoint = model = 'sleepy'\n"
        "    def __init__(self, argument): pass\n"
        "    async def ask(self, request):\n"
        "        print('asked', flush=True)\n"
        "        await asyncio.to_thread(time.sleep, 60)\n"
    )
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "gpt4_instruct",
            "build",
            "english",
            "--teacher",
            "sleepy",
            "--out",
            str(tmp_path / "out"),
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "asked\n"
    process.send_signal(signal.SIGINT)
    assert "finishing" in process.stderr.readline() + process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "goes on from the ledger" in stderr


def test_the_same_build_twice_at_once_is_refused_the_second_time(endpoint, tasks, tmp_path):
    delay_s = 3.0
    endpoint.script = lambda request, count: Reply("Fine.", delay_s=delay_s)
    first = forked(tasks, tmp_path / "out", "english")
    wait_for(endpoint, 8, first)
    second = forked(tasks, tmp_path / "out", "english").finish()
    assert second.returncode == 1
    assert "another process is building english" in second.stderr
    delay_s = 0.0
    assert first.wait() == 0
    assert set(endpoint.billed.values()) == {1}


def test_two_splits_at_once_into_one_folder(endpoint, tasks, tmp_path):
    endpoint.script = slow
    processes = [forked(tasks, tmp_path / "out", split) for split in ("english", "comparison")]
    for process in processes:
        done = process.finish()
        assert done.returncode == 0, done.stderr
    assert len(rows(tmp_path / "out", "english")) == len(rows(tmp_path / "out", "comparison")) == ROWS


def _dies_while_moving() -> None:
    _dies(os, "replace", 3)


def _dies_while_writing_the_card() -> None:
    _dies(gpt4_instruct.publishing.folder, "renew_card", 1)


def _dies(module: Any, name: str, count: int) -> None:
    """The real command, but that it is killed when it calls a function so many times."""
    real, calls = getattr(module, name), 0

    def dying(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)

    setattr(module, name, dying)
    main()


@pytest.mark.parametrize(
    "dying", [_dies_while_moving, _dies_while_writing_the_card], ids=["moving", "writing the card"]
)
def test_killed_while_the_folder_is_written_the_next_run_repairs_it(endpoint, tasks, tmp_path, dying):
    """A kill inside `add_config`: the folder is as before or names nothing that is not whole."""
    endpoint.script = lambda request, count: "Fine."
    out = tmp_path / "out"
    assert forked(tasks, out, "english").wait() == 0
    before = rows(out, "english")
    killed = Forked(dying, arguments(tasks, out, "english", "--overwrite", "--limit", "5"))
    assert killed.wait() == -signal.SIGKILL
    manifest = json.loads((out / "manifest.json").read_text())
    for config in manifest["configs"].values():
        for file in config["files"]:
            assert (out / file["path"]).is_file()
    done = forked(tasks, out, "english", "--overwrite").finish()
    assert done.returncode == 0, done.stderr
    assert rows(out, "english") == before
