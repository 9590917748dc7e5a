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

import pytest
from datasets import load_dataset

from gpt4_instruct.generation.ledger import Ledger
from tests.endpoint import Endpoint, Reply

ROWS = 120


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([{"instruction": f"Task {number}."} for number in range(ROWS)]))
    return path


def command(tasks: Path, out: Path, split: str = "comparison", *more: str) -> list[str]:
    teachers = ["--answers-from", "openai:a", "--answers-from", "openai:b", "--scorer", "openai:judge"]
    return [
        *(sys.executable, "-m", "gpt4_instruct", "build", split, "--source", str(tasks), "--out", str(out)),
        *(teachers if split == "comparison" else ["--teacher", "openai:a"]),
        *("--concurrency", "8"),
        *more,
    ]


def start(*args, **kwargs) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(command(*args), stdout=pipe, stderr=pipe, text=True, start_new_session=True, **kwargs)


def slow(request, count):
    if request["model"] == "judge":
        return Reply(str(len(request["messages"][0]["content"]) % 10 + 1), delay_s=0.01)
    return Reply(f"{request['model']} says {len(request['messages'][0]['content'])}.", delay_s=0.01)


def wait_for(endpoint: Endpoint, count: int, process: subprocess.Popen[str]) -> None:
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
        process = start(tasks, out)
        wait_for(endpoint, len(endpoint.asked) + rng.randrange(20, 120), process)
        if process.poll() is not None:
            break
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
        time.sleep(0.1)  # the endpoint finishes what was in flight
        assert not out.exists(), "nothing half-written"
    stdout, stderr = process.communicate()
    assert process.returncode == 0, stderr
    assert kills >= 3
    assert "120 rows accepted" in stdout

    # What was sent when a kill came may have been asked again: the ledger shows these as attempts, and no others.
    ledger = Ledger(tmp_path / "home" / "ledger.sqlite3")
    assert ledger.counts() == {"settled": ROWS * 4}
    attempts = Counter(dict(ledger._db.execute("SELECT attempts, count(*) FROM requests GROUP BY attempts")))
    lost = sum((number - 1) * count for number, count in attempts.items())
    assert len(endpoint.asked) - ROWS * 4 <= lost <= kills * 8 * 3  # 8 in flight for each of three teachers

    undisturbed = tmp_path / "undisturbed"
    done = subprocess.run([*command(tasks, undisturbed), "--ledger", str(tmp_path / "other.sqlite3")], check=True)
    assert done.returncode == 0
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
    done = subprocess.run(command(tasks, tmp_path / "out", "english"), capture_output=True, text=True)
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
    first = start(tasks, tmp_path / "out", "english")
    wait_for(endpoint, 8, first)
    second = subprocess.run(command(tasks, tmp_path / "out", "english"), capture_output=True, text=True)
    assert second.returncode == 1
    assert "another process is building english" in second.stderr
    delay_s = 0.0
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert set(endpoint.billed.values()) == {1}


def test_two_splits_at_once_into_one_folder(endpoint, tasks, tmp_path):
    endpoint.script = slow
    processes = [start(tasks, tmp_path / "out", split) for split in ("english", "comparison")]
    for process in processes:
        _, stderr = process.communicate(timeout=60)
        assert process.returncode == 0, stderr
    assert len(rows(tmp_path / "out", "english")) == len(rows(tmp_path / "out", "comparison")) == ROWS


@pytest.mark.parametrize("moment", ["moving", "writing the card"])
def test_killed_while_the_folder_is_written_the_next_run_repairs_it(endpoint, tasks, tmp_path, moment):
    """A kill inside `add_config`: the folder is as before or names nothing that is not whole."""
    endpoint.script = lambda request, count: "Fine."
    out = tmp_path / "out"
    subprocess.run(command(tasks, out, "english"), check=True)
    before = rows(out, "english")
    where = "os.replace" if moment == "moving" else "folder.renew_card"
    code = f"""
import os, signal, sys
import gpt4_instruct.publishing.folder as folder
calls = 0
real = {where}
def dying(*args):
    global calls
    calls += 1
    if calls == {3 if moment == "moving" else 1}:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*args)
{where} = dying
from gpt4_instruct.cli import main
sys.argv = {command(tasks, out, "english", "--overwrite", "--limit", "5")[2:]!r}
main()
"""
    killed = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    manifest = json.loads((out / "manifest.json").read_text())
    for config in manifest["configs"].values():
        for file in config["files"]:
            assert (out / file["path"]).is_file()
    done = subprocess.run([*command(tasks, out, "english", "--overwrite")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert rows(out, "english") == before
