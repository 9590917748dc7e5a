"""Self-Instruct killed at random, at an endpoint that fails: the same dataset, and nothing paid twice off the books."""

from __future__ import annotations

import json
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow.parquet
import pytest

from gpt4_instruct.generation.accounting import verify
from gpt4_instruct.generation.ledger import Ledger
from tests import exactly_once, self_instruct_run
from tests.faults import FaultyEndpoint
from tests.forks import FORKS
from tests.self_instruct_script import Inventor

SEEDS = [f"Recall what you had for {meal} on your last birthday." for meal in ("lunch", "dinner", "breakfast", "tea")]
LANGUAGES = {"en": 14, "both": 12}  # and how many rows
PLANS = 10
KILLS = 7  # at most, of one plan
AT_ONCE = 3
MOST_RUNS = 40

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def seeds(tmp_path_factory):
    path = tmp_path_factory.mktemp("seeds") / "seeds.json"
    path.write_text(json.dumps([{"instruction": seed, "output": "Cake."} for seed in SEEDS]))
    return path


@pytest.fixture(scope="module", autouse=True)
def scripted():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tests.faults.answer_text", Inventor())
        yield


def start(server, folder: Path, seeds: Path, language: str):
    environment = {
        "OPENAI_BASE_URL": server.url,
        "OPENAI_API_KEY": server.key,
        "GPT4_INSTRUCT_HOME": str(folder / "home"),
        "HF_HOME": str(folder / "hf"),
    }
    options = {"source": seeds, "out": folder / "out", "teacher": "openai:m", "concurrency": 8, "language": language}
    options["accept"] = LANGUAGES[language]
    (folder / "exit").unlink(missing_ok=True)
    process = FORKS.Process(target=self_instruct_run.run, args=(environment, folder / "log", 0.6, options))
    process.start()
    return process


def outcome(folder: Path) -> tuple[list[dict], list[dict], dict]:
    """The rows, rejects and rounds, without what differs between plans: the endpoint's port is in every request's key."""
    (shard,) = (folder / "out" / "self_instruct").glob("*.parquet")
    rows = pyarrow.parquet.read_table(shard).to_pylist()
    for row in rows:
        row["metadata"] = {name: value for name, value in row["metadata"].items() if "request" not in name}
    rejects = (folder / "out" / "rejects" / "self_instruct.jsonl").read_text().splitlines()
    facts = json.loads((folder / "out" / "manifest.json").read_text())["configs"]["self_instruct"]["self_instruct"]
    return rows, list(map(json.loads, rejects)), facts


def follow(server, seeds: Path, folder: Path, language: str, rng: random.Random) -> int:
    """Runs a build until it ends, killing it on the way; how often."""
    killed = 0
    for _ in range(MOST_RUNS):
        process = start(server, folder, seeds, language)
        doomed = killed < KILLS and rng.random() < 0.95
        process.join(rng.uniform(0.02, 0.35) if doomed else 60)
        if process.is_alive():
            assert doomed, (folder / "log").read_text()
            process.kill()
            process.join()
            killed += 1
        elif exactly_once.ended(folder / "log") == 0:
            return killed
        else:
            assert exactly_once.ended(folder / "log") == exactly_once.INCOMPLETE, (folder / "log").read_text()
    raise AssertionError(f"it does not end: {(folder / 'log').read_text()}")


def check_books(server: FaultyEndpoint, folder: Path) -> None:
    ledger = Ledger(folder / "home" / "ledger.sqlite3")
    try:
        assert verify(ledger) == []
        query = "SELECT request, state, unknown_attempts FROM requests"
        states = {
            json.loads(content)["messages"][0][1]: (state, unsure) for content, state, unsure in ledger.query(query)
        }
    finally:
        ledger.close()
    assert {state for state, _ in states.values()} <= {"settled", "failed"}
    for prompt, times in server.billed.items():
        assert times <= 1 + states[prompt][1], f"billed {times} times: {prompt!r}"


@pytest.mark.parametrize("language", LANGUAGES)
def test_killed_at_random_the_dataset_is_the_same_and_nothing_is_asked_twice(seeds, tmp_path, language):
    whole = tmp_path / "whole"
    whole.mkdir()
    with FaultyEndpoint(0) as server:
        process = start(server, whole, seeds, language)
        process.join()
        assert exactly_once.ended(whole / "log") == 0, (whole / "log").read_text()
        assert max(server.billed.values()) == 1
        check_books(server, whole)
    expected = outcome(whole)
    assert len(expected[0]) == LANGUAGES[language] and expected[2]["stopped"] == "accepted"
    assert len(expected[2]["rounds"]) > 1

    def plan(number: int) -> int:
        folder = tmp_path / str(number)
        folder.mkdir()
        with FaultyEndpoint(number, faults=0.2, hang_s=0.2) as server:
            killed = follow(server, seeds, folder, language, random.Random(number))
            check_books(server, folder)
        assert outcome(folder) == expected
        return killed

    with ThreadPoolExecutor(AT_ONCE) as pool:
        kills = sum(pool.map(plan, range(1, PLANS // len(LANGUAGES) + 1)))
    assert kills >= 25, "hardly any run was killed"
    print(f"{language}: {kills} kills")
