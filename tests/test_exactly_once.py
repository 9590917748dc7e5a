"""Whatever fails and whenever the process is killed: the same dataset, and nothing paid twice that is not on the books.

Each plan is a seed: it decides which attempts at the endpoint fail in which way, what becomes of batches, when the build
is killed with SIGKILL, and, where both ways are used, which of them a run takes.
"""

from __future__ import annotations

import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet
import pytest

from gpt4_instruct.generation.accounting import verify
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.prompts.tasks import render_alpaca
from tests import exactly_once
from tests.faults import FaultyEndpoint, is_cut, is_refused
from tests.forks import FORKS

TASKS = [{"instruction": f"Write line {number} of a poem.", "input": ""} for number in range(24)]
PROMPTS = [render_alpaca(task["instruction"], "") for task in TASKS]
MOST_RUNS = 40
AT_ONCE = 4

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def processes():
    return FORKS


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "tasks.json"
    path.write_text(json.dumps(TASKS))
    return path


def start(processes, server, folder: Path, source: Path, teacher: str, **options):
    environment = {
        "OPENAI_BASE_URL": server.url,
        "OPENAI_API_KEY": server.key,
        "GPT4_INSTRUCT_HOME": str(folder / "home"),
        "HF_HOME": str(folder / "hf"),
    }
    options = {"source": source, "out": folder / "out", "teacher": teacher, "concurrency": 8, **options}
    (folder / "exit").unlink(missing_ok=True)
    process = processes.Process(target=exactly_once.run, args=(environment, folder / "log", 0.6, options))
    process.start()
    return process


def outcome(folder: Path) -> tuple[list[dict], list[dict]]:
    """The rows and rejects of a build, without what differs between plans: the endpoint's port, who was asked last."""
    (shard,) = (folder / "out" / "english").glob("*.parquet")
    rows = pyarrow.parquet.read_table(shard).to_pylist()
    for row in rows:
        del row["metadata"]["teacher"], row["metadata"]["request"]
    rejects = [json.loads(line) for line in (folder / "out" / "rejects" / "english.jsonl").read_text().splitlines()]
    return rows, rejects


@pytest.fixture(scope="module")
def faultless(processes, source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faultless")
    with FaultyEndpoint(0) as server:
        process = start(processes, server, folder, source, "openai:m")
        process.join()
        assert process.exitcode == 0, (folder / "log").read_text()
        answered = [prompt for prompt in PROMPTS if not is_refused(prompt)]
        assert dict(server.billed) == dict.fromkeys(answered, 1)
    rows, rejects = outcome(folder)
    assert [reject["reason"] for reject in rejects] == [
        "request_refused" if is_refused(prompt) else "truncated"
        for prompt in PROMPTS
        if is_refused(prompt) or is_cut(prompt)
    ]
    assert rejects and len(rows) + len(rejects) == len(TASKS)
    return rows, rejects


def follow(processes, source, folder: Path, seed: int, teachers: tuple[str, ...]) -> tuple[FaultyEndpoint, int]:
    """Runs a plan to its end; the endpoint, and how many runs were killed."""
    rng = random.Random(seed)
    folder.mkdir()
    killed = 0
    with FaultyEndpoint(seed, faults=0.3, hang_s=0.3, batch_faults=0.5, batch_s=0.05) as server:
        for _ in range(MOST_RUNS):
            process = start(processes, server, folder, source, rng.choice(teachers))
            doomed = killed < 4 and rng.random() < 0.8
            process.join(rng.uniform(0.03, 0.6) if doomed else 60)
            if process.is_alive():
                assert doomed, f"plan {seed} hangs: {(folder / 'log').read_text()}"
                process.kill()
                process.join()
                killed += 1
            elif exactly_once.ended(folder / "log") == 0:
                return server, killed
            else:
                assert exactly_once.ended(folder / "log") == exactly_once.INCOMPLETE, (folder / "log").read_text()
    raise AssertionError(f"plan {seed} does not end: {(folder / 'log').read_text()}")


def check(server: FaultyEndpoint, folder: Path, expected) -> int:
    """Holds the end of a plan to the promise; how often something was billed twice, all of it on the books."""
    assert outcome(folder) == expected
    ledger = Ledger(folder / "home" / "ledger.sqlite3")
    try:
        assert verify(ledger) == []
        states = {
            json.loads(content)["messages"][0][1]: (state, unsure)
            for content, state, unsure in ledger.query("SELECT request, state, unknown_attempts FROM requests")
        }
    finally:
        ledger.close()
    assert {prompt: state for prompt, (state, _) in states.items()} == {
        prompt: "failed" if is_refused(prompt) else "settled" for prompt in PROMPTS
    }
    for prompt, times in server.billed.items():
        assert times <= 1 + states[prompt][1], (
            f"{folder.name}: billed {times} times, {states[prompt][1]} lost ones on the books, "
            f"{server.lost[prompt]} lost on purpose: {prompt!r}; {dict(server.given)}; {(folder / 'log').read_text()}"
        )
    return sum(server.billed.values()) - len(server.billed)


WAYS = {
    "online": (("openai:m",), range(120)),
    "batch": (("openai-batch:m",), range(1000, 1040)),
    "both": (("openai:m", "openai-batch:m"), range(2000, 2040)),
}


@pytest.mark.parametrize("way", WAYS)
def test_every_plan_ends_in_the_same_dataset_and_is_paid_once(way, processes, source, faultless, tmp_path):
    teachers, seeds = WAYS[way]

    def plan(seed: int) -> tuple[int, int]:
        folder = tmp_path / str(seed)
        server, killed = follow(processes, source, folder, seed, teachers)
        return killed, check(server, folder, faultless)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ends = list(pool.map(plan, seeds))
    assert sum(killed for killed, _ in ends) > len(seeds) / 2, "hardly any run was killed"
    print(
        f"{way}: {len(seeds)} plans, {sum(k for k, _ in ends)} kills, {sum(t for _, t in ends)} billed twice, on the books"
    )


def test_two_processes_on_one_ledger_ask_each_question_once(processes, source, faultless, tmp_path):
    with FaultyEndpoint(5, latency_s=0.05) as server:
        folders = [tmp_path / name for name in ("one", "two", "three")]
        running = []
        for folder in folders:
            folder.mkdir()
            (folder / "home").symlink_to(tmp_path / "home")
            running.append(start(processes, server, folder, source, "openai:m", concurrency=3))
        for process in running:
            process.join(60)
        assert [process.exitcode for process in running] == [0, 0, 0], (folders[0] / "log").read_text()
        assert set(server.billed.values()) == {1}
    for folder in folders:
        assert outcome(folder) == faultless


def test_what_another_process_was_asking_when_it_died_is_asked_again(processes, source, faultless, tmp_path):
    with FaultyEndpoint(6, latency_s=0.4) as server:
        process = start(processes, server, tmp_path, source, "openai:m")
        while server.requests < 8:
            time.sleep(0.01)
        other = tmp_path / "other"
        other.mkdir()
        (other / "home").symlink_to(tmp_path / "home")
        second = start(processes, server, other, source, "openai:m")
        time.sleep(0.2)  # it waits for what the first one has sent
        process.kill()
        second.join(60)
        assert second.exitcode == 0, (other / "log").read_text()
        check(server, other, faultless)
