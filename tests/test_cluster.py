"""The same work on a Ray cluster: three machines on one, over real sockets, with workers and machines that are lost."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pyarrow
import pyarrow.parquet
import pytest
from datasets import load_dataset
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gpt4_instruct import (
    BudgetError,
    InterruptedRunError,
    LedgerError,
    MissingExtraError,
    OutputError,
    Replay,
    RunStoppedError,
    UnknownNameError,
    UsageError,
    audit,
    build,
)
from gpt4_instruct.cli.app import app
from gpt4_instruct.cluster.connect import needs_of
from gpt4_instruct.cluster.partitions import Part, merged, part_of, scatter, write_results
from gpt4_instruct.cluster.permits import Permits
from gpt4_instruct.evaluation.answers import answer
from gpt4_instruct.evaluation.judge import judge
from gpt4_instruct.generation.accounting import verify
from gpt4_instruct.generation.engine import Engine, open_engine
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.generation.shards import alone_on, shards_of, take_over
from gpt4_instruct.records import Message, Request
from gpt4_instruct.teachers.base import completion, connect
from tests.endpoint import Reply, error_reply
from tests.faults import FaultyEndpoint, answer_text

pytestmark = pytest.mark.timeout(300)


class Machines:
    """A cluster of three nodes, each with a CPU, to which this process belongs."""

    def __init__(self) -> None:
        # Other tests would starve workers that make way for them.
        os.environ.update(RAY_USAGE_STATS_ENABLED="0", RAY_worker_niceness="0")
        ray = pytest.importorskip("ray")
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        self.address = self.cluster.address
        self.engine = f"ray:{self.address}"
        self.others = [self.cluster.add_node(num_cpus=1) for _ in range(2)]
        ray.init(address=self.address, log_to_driver=False, logging_level="ERROR")
        self.session = Path(self.cluster.head_node.get_session_dir_path())

    def close(self) -> None:
        import ray

        processes = [info.process for node in self.cluster.list_all_nodes() for info in _processes(node)]
        ray.shutdown()
        self.cluster.shutdown()
        assert all(process.poll() is not None for process in processes), "something of Ray's is left running"

    def workers(self, port: int) -> list[psutil.Process]:
        """The processes that are doing a part now, and are connected to an endpoint."""
        return [process for process in psutil.process_iter() if _is_asking(process, port)]


def _is_asking(process: psutil.Process, port: int) -> bool:
    with suppress(psutil.Error):
        asks = any(each.raddr and each.raddr.port == port for each in process.net_connections())
        return asks and process.cmdline()[0].startswith("ray::do_part")
    return False


def _command_lines() -> Iterator[bytes]:
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit():
                yield (folder / "cmdline").read_bytes()


def _processes(node: Any) -> list[Any]:
    return [info for infos in node.all_processes.values() for info in infos]


@pytest.fixture(scope="module")
def machines():
    found = Machines()
    try:
        yield found
    finally:
        found.close()


def write(path: Path, tasks: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(tasks, ensure_ascii=False))
    return path


def lines(count: int) -> list[dict[str, Any]]:
    return [{"instruction": f"Write line {number} of a poem.", "input": ""} for number in range(count)]


def outcome(out: Path, split: str) -> tuple[Any, Any, Any]:
    """Rows, rejects and facts of a build, but for times."""
    rows = pyarrow.parquet.read_table(out / split).to_pylist()
    rejects = [json.loads(line) for line in (out / "rejects" / f"{split}.jsonl").read_text().splitlines()]
    facts = json.loads((out / "manifest.json").read_text())["configs"][split]
    return rows, rejects, {name: value for name, value in facts.items() if name not in {"seconds", "built"}}


def prompt_of(request: dict[str, Any]) -> str:
    return str(request["messages"][-1]["content"])


def test_what_is_told_late_still_counts(machines, endpoint, tmp_path, monkeypatch):
    class Late(Permits):
        async def post(self, *values):
            await asyncio.sleep(0.3)
            await super().post(*values)

    monkeypatch.setattr("gpt4_instruct.cluster.engine.Permits", Late)
    prices = write(tmp_path / "prices.json", {"models": {"m": {"input": 1.0, "output": 1.0}}})
    source = write(tmp_path / "tasks.json", lines(3))
    ledger = tmp_path / "ledger.sqlite3"
    result = build(
        "english",
        source,
        out=tmp_path / "out",
        teacher="openai:m",
        ledger=ledger,
        engine=machines.engine,
        prices=prices,
    )
    assert result.asked == len(endpoint.asked) == 3
    assert result.cost_usd and result.cost_usd > 0


# --- the same rows --------------------------------------------------------------------------------------------------

# Some tasks come twice, one of them with other spaces; one is refused, one is cut off, and one is refused in words.
TASKS = [
    {"instruction": "Name the largest planet.", "input": "", "output": "Jupiter", "label": "Jupiter"},
    {"instruction": "Add the numbers.", "input": "1, 2", "output": "3"},
    {"instruction": "Name the largest planet.", "input": "", "output": "Jupiter"},
    {"instruction": "Refuse this one.", "input": "", "output": "-"},
    {"instruction": "", "input": "", "output": "-"},
    {"instruction": "Cut this one.", "input": "", "output": "-"},
    {"instruction": "Add the numbers.", "input": "3, 4", "output": "7"},
    *({"instruction": f"Describe animal {number % 5} at length.", "input": "", "output": "-"} for number in range(8)),
    {"instruction": "Name a planet: the largest.", "input": "", "output": "Jupiter"},
]


def scripted(request: dict[str, Any], count: int) -> Reply | str:
    """Answers by the prompt alone; two of the tasks have the same translation."""
    prompt = prompt_of(request)
    schema = request.get("response_format", {}).get("json_schema", {}).get("schema", {})
    if "instruction" in schema.get("properties", {}):
        task = json.loads(prompt[prompt.index("\n\n{") :])
        if "Refuse" in task["instruction"]:
            return "I cannot."
        text = "说出最大的行星。" if "planet" in task["instruction"] else f"任务{sum(task['instruction'].encode())}。"
        return json.dumps({"instruction": text, "input": "数字" if task["input"] else ""}, ensure_ascii=False)
    if "answer" in schema.get("properties", {}):
        return json.dumps({"answer": str(1 + len(prompt) % 10)})
    if "Refuse this one" in prompt:
        return error_reply(400, "content_policy_violation", "This is against the policy.")
    text = "好的，这是回答。" if "请用简体中文作答" in prompt else answer_text(prompt)
    return Reply(text, finish_reason="length" if "Cut this one" in prompt else "stop")


@pytest.mark.parametrize(
    ("split", "options"),
    [
        ("english", {"accept": 9, "on_truncation": "extend"}),
        ("chinese", {}),
        ("comparison", {"answers_from": ("openai:one", "openai:two", "openai:one"), "limit": 12}),
        ("unnatural", {}),
    ],
)
def test_the_rows_are_those_of_one_machine(machines, endpoint, tmp_path, split, options):
    endpoint.script = scripted
    source = write(tmp_path / "tasks.json", TASKS)
    found = {}
    for name, engine in (("local", "local"), ("ray", machines.engine)):
        endpoint.asked.clear()
        out = tmp_path / name
        result = build(
            split, source, out=out, teacher="openai:m", ledger=tmp_path / f"{name}.sqlite3", engine=engine, **options
        )
        asked = Counter(json.dumps(request) for request in endpoint.asked)
        found[name] = (outcome(out, split), sorted(asked.items()), result.asked, result.reused)
        assert result.rows and result.rejected and result.reused
    assert found["ray"] == found["local"]
    assert not shards_of(tmp_path / "ray.sqlite3").exists()
    again = build(
        split,
        source,
        out=tmp_path / "ray",
        overwrite=True,
        teacher="openai:m",
        ledger=tmp_path / "ray.sqlite3",
        engine=machines.engine,
        **options,
    )
    assert again.asked == 0


def test_a_build_may_go_to_a_url(machines, endpoint, tmp_path):
    endpoint.script = scripted
    source, url = f"file://{tmp_path}/tasks", f"file://{tmp_path}/there"
    (tmp_path / "tasks").mkdir()
    for number, tasks in enumerate((TASKS[:6], TASKS[6:])):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(tasks), tmp_path / f"tasks/part-{number}.parquet")
    options = {"teacher": "openai:m", "ledger": tmp_path / "ledger.sqlite3", "out": url}
    result = build("english", source, engine=machines.engine, **options)
    local = build("english", tmp_path / "tasks", teacher="openai:m", ledger=options["ledger"], out=tmp_path / "local")
    assert local.asked == 0 and sum(local.rejected.values()) + local.rows == len(TASKS)
    assert result.folder == url
    assert outcome(tmp_path / "there", "english")[:2] == outcome(tmp_path / "local", "english")[:2]
    with pytest.raises(OutputError, match=f"^{url} already holds english"):
        build("english", source, **options)
    (before,) = (tmp_path / "there/english").iterdir()
    build("english", source, limit=2, overwrite=True, **options)
    build("unnatural", source, **options)
    (after,) = (tmp_path / "there/english").iterdir()
    assert before.name != after.name
    assert [len(load_dataset(str(tmp_path / "there"), each, split="train")) for each in ("english", "unnatural")] == [
        2,
        13,
    ]
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"theirs is not empty and holds no manifest.json of ours"):
        build("english", source, **{**options, "out": f"file://{tmp_path}/theirs"})
    with pytest.raises(UsageError, match="no file system is known for nowhere://x"):
        build("english", source, **{**options, "out": "nowhere://x"})


def test_tasks_are_invented_as_on_one_machine(machines, endpoint, tmp_path):
    from tests.self_instruct_script import Inventor

    inventor = Inventor(stock=120)
    endpoint.script = lambda request, count: inventor(prompt_of(request))
    seeds = write(
        tmp_path / "seeds.json",
        [
            {"instruction": f"{verb} what you had for lunch.", "input": "", "output": "Cake."}
            for verb in ("Recall", "Picture", "Sing", "Draft")
        ],
    )
    found = []
    for name, engine in (("local", "local"), ("ray", machines.engine)):
        options = {"recipe": "self-instruct", "accept": 6, "ledger": tmp_path / f"{name}.sqlite3", "engine": engine}
        build("self_instruct", seeds, out=tmp_path / name, teacher="openai:m", **options)
        found.append(outcome(tmp_path / name, "self_instruct"))
    assert found[0] == found[1]


def test_models_are_asked_and_judged_as_on_one_machine(machines, endpoint, tmp_path):
    endpoint.script = lambda request, count: (
        error_reply(400, "content_policy_violation", "no")
        if "Question 3" in prompt_of(request)
        else (f"{1 + len(prompt_of(request)) % 9} 5\nFor reasons." if request["model"] == "judge" else "An answer.")
    )
    questions = [{"instruction": f"Question {number}?", "input": "", "output": "Yes."} for number in (1, 2, 3, 4, 5, 2)]
    files = {}
    for name, engine in (("local", "local"), ("ray", machines.engine)):
        shared = {"ledger": tmp_path / f"{name}.sqlite3", "engine": engine}
        mine = answer(questions, "openai:mine", tmp_path / name / "mine.jsonl", n=2, **shared)
        assert (mine.asked, mine.reused, mine.refused) == (8, 2, {"refusal": 2})
        theirs = answer(questions, "openai:theirs", tmp_path / name / "theirs.jsonl", **shared)
        verdicts = judge(mine.file, theirs.file, "openai:judge", tmp_path / name / "judged.jsonl", **shared)
        files[name] = [each.file.read_text() for each in (mine, theirs, verdicts)]
        assert len(verdicts.facts) and verdicts.asked
    assert files["ray"] == files["local"]


# --- what is lost ---------------------------------------------------------------------------------------------------


def paid_once(server: FaultyEndpoint, ledger: Path) -> int:
    """Holds a run to the promise: nothing is billed more often than the books say; how many attempts were lost."""
    opened = Ledger(ledger)
    try:
        assert verify(opened) == []
        lost = {
            json.loads(content)["messages"][0][1]: unsure
            for content, unsure in opened.query("SELECT request, unknown_attempts FROM requests")
        }
    finally:
        opened.close()
    for prompt, times in server.billed.items():
        assert times <= 1 + lost[prompt], prompt
    return sum(lost.values())


@pytest.fixture
def faulty(monkeypatch):
    with FaultyEndpoint(0, faults=0.0, latency_s=0.1) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        yield server


def wait_for(what, most_s: float = 60.0) -> None:
    end = time.monotonic() + most_s
    while not what():
        assert time.monotonic() < end, "it does not come about"
        time.sleep(0.01)


def test_ctrl_c_ends_the_workers_and_keeps_what_they_have(machines, faulty, tmp_path):
    source, ledger = write(tmp_path / "tasks.json", lines(120)), tmp_path / "ledger.sqlite3"
    options = {"teacher": "openai:m", "ledger": ledger, "concurrency": 4}

    def press() -> None:
        wait_for(lambda: faulty.requests > 15)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=press)
    pressing.start()
    with pytest.raises(InterruptedRunError, match=r"stopped by Ctrl-C; .* run the same command again"):
        build("english", source, out=tmp_path / "out", engine=machines.engine, **options)
    pressing.join()
    assert 10 < faulty.requests < 110
    build("english", source, out=tmp_path / "out", **options)
    assert set(faulty.billed.values()) == {1}


def test_ctrl_c_does_not_wait_for_parts_that_have_no_place(machines, endpoint, tmp_path):
    import ray
    from ray.util import placement_group, remove_placement_group

    others = placement_group([{"CPU": 1}] * 3)
    source = write(tmp_path / "tasks.json", lines(12))
    try:
        ray.get(others.ready(), timeout=60)
        pressing = threading.Timer(3, os.kill, (os.getpid(), signal.SIGINT))
        pressing.start()
        with pytest.raises(InterruptedRunError, match="stopped by Ctrl-C"):
            build("english", source, out=tmp_path / "out", teacher="openai:m", engine=machines.engine)
        pressing.join()
    finally:
        remove_placement_group(others)
    assert not endpoint.asked


def test_what_is_refused_is_not_asked_for_again_by_another_part(machines, endpoint, tmp_path):
    def script(request: dict[str, Any], count: int) -> Any:
        prompt = prompt_of(request)
        return error_reply(400, "bad", "no") if "Refuse" in prompt else answer_text(prompt)

    endpoint.script = script
    tasks = ["Refuse it.", "Refuse it.", "One.", "Refuse it.", "Two.", "Refuse it.", "Three.", "Four."]
    source = write(tmp_path / "tasks.json", [{"instruction": each, "input": ""} for each in tasks])
    for engine, ledger in (("local", "a.sqlite3"), (machines.engine, "b.sqlite3")):
        endpoint.asked.clear()
        options = {"teacher": "openai:m", "engine": engine, "ledger": tmp_path / ledger, "overwrite": True}
        result = build("english", source, out=tmp_path / "out", accept=3, **options)
        assert (result.rows, sum(result.rejected.values())) == (3, 4)
        asked = Counter(prompt_of(each) for each in endpoint.asked)
        assert len(asked) == 4 and set(asked.values()) == {1}


# --- limits and money -----------------------------------------------------------------------------------------------


def test_a_limit_holds_for_all_workers_together(machines, endpoint, tmp_path):
    came: list[float] = []

    def script(request: dict[str, Any], count: int) -> str:
        came.append(time.monotonic())
        return answer_text(prompt_of(request))

    endpoint.script = script
    source, a_minute = write(tmp_path / "tasks.json", lines(120)), 1800
    options = {"ledger": tmp_path / "ledger.sqlite3", "engine": machines.engine, "requests_per_minute": a_minute}
    build("english", source, out=tmp_path / "out", teacher="openai:m", **options)
    a_second = a_minute / 60
    assert len(came) == 120
    # What flows in since the first of them, half a second's worth that may gather, and a second that the first one may
    # have taken to arrive on a busy machine. Three limits of their own would let three times as many go.
    for number, moment in enumerate(came):
        assert number <= a_second * (moment - came[0] + 0.5 + 1.0) + 1


def test_a_budget_is_the_whole_clusters(machines, endpoint, tmp_path):
    endpoint.script = lambda request, count: Reply(answer_text(prompt_of(request)), delay_s=0.02)
    prices = write(tmp_path / "prices.json", {"models": {"m": {"input": 10.0, "output": 30.0}}})
    options = {"prices": prices, "ledger": tmp_path / "ledger.sqlite3", "engine": machines.engine}
    source = write(tmp_path / "tasks.json", lines(60))
    with pytest.raises(BudgetError, match=r"of the budget of \$0.03 is spent"):
        build("english", source, out=tmp_path / "out", teacher="openai:m", budget_usd=0.03, max_tokens=200, **options)
    usage = [
        (len(prompt) // 4 * 10.0 + len(answer_text(prompt)) // 4 * 30.0) / 1e6 * times
        for prompt, times in endpoint.billed.items()
    ]
    assert 0.005 < sum(usage) <= 0.03


# --- what cannot work -----------------------------------------------------------------------------------------------


def test_what_cannot_work_is_said_in_a_line(machines, endpoint, tmp_path, monkeypatch):
    source = write(tmp_path / "tasks.json", lines(4))

    def run(engine: str = machines.engine, teacher: Any = "openai:m") -> None:
        build("english", source, out=tmp_path / "out", teacher=teacher, engine=engine)

    with pytest.raises(UnknownNameError, match=r"unknown engine 'rya': did you mean 'ray'\? Known: local, ray"):
        run("rya")
    with pytest.raises(UsageError, match="the local engine has no address 'here'"):
        run("local:here")
    with pytest.raises(UsageError, match="openai-batch:m answers by the batch, which needs the local engine"):
        run(teacher="openai-batch:m")
    with pytest.raises(UsageError, match=r"cannot travel to the workers .* name teachers by a text"):
        run(teacher=Replay([{"prompt": "a", "output": "b"}]))
    moved = connect("openai:m")
    moved.endpoint = "http://elsewhere/v1"
    with pytest.raises(
        RunStoppedError, match=r"openai:m is m at http://127.* on a worker, and m at http://elsewhere/v1"
    ):
        run(teacher=moved)
    endpoint.script = lambda request, count: error_reply(401, "invalid_api_key", "Incorrect API key provided.")
    with pytest.raises(RunStoppedError, match="401"):
        run()
    assert not endpoint.billed and not (tmp_path / "out").exists()


def test_without_ray_or_a_cluster_it_says_what_to_do(machines, tmp_path, monkeypatch):
    import ray

    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "ray", None)
        with pytest.raises(MissingExtraError, match=r"needs ray, .* pip install 'gpt4-instruct\[ray\]'"):
            open_engine("ray", tmp_path / "ledger.sqlite3")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(
        UsageError, match=rf"no Ray cluster at 127.0.0.1:{port} .*: 'ray start --head' starts one there"
    ):
        open_engine(f"ray:127.0.0.1:{port}", tmp_path / "ledger.sqlite3")
    for nonsense in ("nonsense", "[::1", "host:port"):
        with pytest.raises(UsageError, match="is no address of a Ray cluster: write ray:HOST:6379"):
            open_engine(f"ray:{nonsense}", tmp_path / "ledger.sqlite3")
    with pytest.raises(UsageError, match=r"must be on a machine of its cluster, and ray://a:10001 is for others"):
        open_engine("ray:ray://a:10001", tmp_path / "ledger.sqlite3")


def test_a_port_of_something_else_is_told(endpoint, tmp_path, monkeypatch):
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    address = endpoint.url.split("/")[2]
    with pytest.raises(UsageError, match=rf"what listens at {address} is no Ray cluster: name the port"):
        open_engine(f"ray:{address}", tmp_path / "ledger.sqlite3")


def test_a_cluster_that_asks_for_a_token_says_so(machines, tmp_path, monkeypatch):
    import ray

    def init(**options: Any) -> None:
        raise ConnectionError("Failed to connect") from RuntimeError("RPC error: InvalidAuthToken: it is missing")

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(UsageError, match=rf"cluster at {machines.address} asks for a token: set RAY_AUTH_MODE=token"):
        open_engine(machines.engine, tmp_path / "ledger.sqlite3")


def test_a_machine_of_another_version_is_told_before_anything_is_asked(machines, endpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("gpt4_instruct.__version__", "9.0.0")
    source = write(tmp_path / "tasks.json", lines(4))
    with pytest.raises(
        RunStoppedError, match=r"^the worker on [\d.]+ has gpt4-instruct .*, and here is 9.0.0: install"
    ):
        build("english", source, out=tmp_path / "out", teacher="openai:m", engine=machines.engine)
    with pytest.raises(RunStoppedError, match="has gpt4-instruct"):
        audit(source, engine=machines.engine)
    assert not endpoint.billed and not (tmp_path / "out").exists()


def test_a_worker_without_a_module_is_named(machines, tmp_path, monkeypatch):
    """A teacher of the user's own, installed on this computer only: workers have the paths of when it joined them."""
    (tmp_path / "only_here.py").write_text(
        "from gpt4_instruct.teachers.base import Teacher, completion\n"
        "class Mine(Teacher):\n"
        "    spec, endpoint, model = 'mine', 'mine', 'mine'\n"
        "    async def ask(self, request):\n"
        "        return completion('Hi.', model='mine')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    source = write(tmp_path / "tasks.json", lines(4))
    with pytest.raises(
        RunStoppedError, match=r"the worker on [\d.]+ has no module 'only_here': install only_here there"
    ):
        build(
            "english",
            source,
            out=tmp_path / "out",
            teacher=importlib.import_module("only_here").Mine(),
            engine=machines.engine,
        )


def test_a_worker_that_does_not_see_the_folder_is_named(machines, endpoint, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setattr(
        "gpt4_instruct.cluster.engine.scatter", lambda items, key, folder, parts: scatter(items, key, elsewhere, parts)
    )
    source = write(tmp_path / "tasks.json", lines(4))
    with pytest.raises(
        OutputError, match=r"the worker on [\d.]+ does not see .*: all machines of the cluster must share"
    ):
        build("english", source, out=tmp_path / "out", teacher="openai:m", engine=machines.engine)
    assert not endpoint.asked


def test_a_full_disk_at_one_worker_stops_the_run_and_the_rest_is_kept(machines, tmp_path):
    engine = open_engine(machines.engine, tmp_path / "ledger.sqlite3")

    def job(engine: Engine, items: Any) -> Any:
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        try:
            for item in items:
                if item == 3:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
                request = Request("mine", "m", (Message("user", str(item)),))
                engine.ledger.claim(request.key, request, request.to_json(), "mine")
                engine.ledger.settle(request.key, completion("Yes.", model="m"))
                engine.ledger.commit()
                yield "long" * 100_000
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    try:
        with pytest.raises(OutputError, match=r"the worker on [\d.]+ cannot write .*: File too large. Free the disk"):
            list(engine.spread(job, range(8), str, "filling"))
    finally:
        engine.close()
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    assert ledger.counts()["settled"] >= 1
    ledger.close()


def test_no_key_is_in_a_file_of_rays(machines, endpoint, tmp_path):
    source = write(tmp_path / "tasks.json", lines(3))
    options = {"ledger": tmp_path / "ledger.sqlite3", "engine": machines.engine}
    assert build("english", source, out=tmp_path / "out", teacher="openai:m", **options).asked == 3
    files = [path for path in machines.session.rglob("*") if path.is_file()]
    assert any("worker" in path.name for path in files)
    assert not [path for path in files if endpoint.key.encode() in path.read_bytes()]


# --- at last, as a machine is gone then, and idle workers make room for those of another run --------------------------


def test_workers_and_then_a_machine_are_lost(machines, faulty, tmp_path):
    source = write(tmp_path / "tasks.json", lines(150))
    build("english", source, out=tmp_path / "local", teacher="openai:m", ledger=tmp_path / "local.sqlite3")
    faulty.latency_s = 0.3  # so that something is always in flight, of one worker or of another
    faulty.billed.clear()
    before = faulty.requests
    options = {"teacher": "openai:m", "ledger": tmp_path / "ray.sqlite3", "engine": machines.engine, "concurrency": 9}
    failures: list[BaseException] = []

    def run() -> None:
        try:
            build("english", source, out=tmp_path / "ray", **options)
        except BaseException as error:
            failures.append(error)

    running = threading.Thread(target=run)
    running.start()
    wait_for(lambda: faulty.requests > before + 10)
    for worker in machines.workers(int(faulty.url.split(":")[2].split("/")[0])):
        worker.kill()
    wait_for(lambda: faulty.requests > before + 40)
    machines.cluster.remove_node(machines.others.pop(), allow_graceful=False)
    running.join(120)
    assert not running.is_alive() and not failures, failures
    assert outcome(tmp_path / "ray", "english")[:2] == outcome(tmp_path / "local", "english")[:2]
    lost = paid_once(faulty, tmp_path / "ray.sqlite3")
    assert 0 < lost <= 18  # no more than nine were in flight, each time


def test_what_a_killed_run_leaves_behind_is_taken_over(machines, faulty, tmp_path):
    source, ledger = write(tmp_path / "tasks.json", lines(120)), tmp_path / "ledger.sqlite3"
    options = {"source": str(source), "teacher": "openai:m", "ledger": str(ledger), "concurrency": 4}
    script = (
        f"from gpt4_instruct.splits.build import build\n"
        f"build('english', out={str(tmp_path / 'killed')!r}, engine={machines.engine!r}, **{options!r})\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", script])
    try:
        wait_for(lambda: faulty.requests > 20)
        with pytest.raises(LedgerError, match=r"a run on a cluster is using the ledger .*ledger.sqlite3: wait for it"):
            build("english", out=tmp_path / "refused", **options)
    finally:
        killed.kill()
        killed.wait()
    assert shards_of(ledger).is_dir()
    result = build("english", out=tmp_path / "out", **options)
    assert not shards_of(ledger).exists()
    assert result.rows + sum(result.rejected.values()) == 120
    assert result.reused > 10
    paid_once(faulty, ledger)


def test_a_cluster_of_its_own_is_ended_with_the_run(tmp_path):
    """In a process of its own, as a user has it: the command line starts Ray, and nothing of it stays."""
    tasks = write(tmp_path / "tasks.json", [{"instruction": "Is 7 prime?", "input": "", "output": "Yes, it is."}])
    command = [sys.executable, "-m", "gpt4_instruct", "build", "english", "--engine", "ray"]
    command += ["--source", tasks, "--teacher", "replay:tasks.json", "--out", "out"]
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:  # sockets have short names
        environment = {**os.environ, "RAY_TMPDIR": folder}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("english: 1 rows accepted, 0 rejected; 1 requests sent")
        assert any(Path(folder).rglob("raylet.out"))
        wait_for(lambda: not [each for each in _command_lines() if folder.encode() in each])


TWO_AT_ONCE = """
import threading, time
import ray
from gpt4_instruct import build

def run(source, name):
    found.append(build("english", source, teacher=f"replay:{source}", out=name, ledger=name + ".sqlite3", engine="ray").rows)

found = []
other = threading.Thread(target=run, args=("tasks.json", "small"))
other.start()
while not ray.is_initialized():
    time.sleep(0.01)
run("many.json", "large")
other.join()
print(found, ray.is_initialized())
"""


def test_builds_of_threads_share_a_cluster_that_the_last_one_ends(tmp_path):
    task = {"instruction": "Is 7 prime?", "input": "", "output": "Yes, it is."}
    write(tmp_path / "tasks.json", [task])
    write(tmp_path / "many.json", [{**task, "instruction": f"Is {each} odd?"} for each in range(3000)])
    command = [sys.executable, "-c", TWO_AT_ONCE]
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        environment = {**os.environ, "RAY_TMPDIR": folder}
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.strip()) == (0, "[1, 3000] False"), done.stderr


def test_a_folder_that_ray_cannot_use_is_told(tmp_path):
    write(tmp_path / "tasks.json", TASKS[:1])
    command = [sys.executable, "-m", "gpt4_instruct", "build", "english", "--engine", "ray", "--source", "tasks.json"]
    environment = {**os.environ, "RAY_TMPDIR": str(tmp_path / "tasks.json"), "OPENAI_API_KEY": "k"}
    command += ["--teacher", "openai:m", "--out", "out"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.match(r"error: Ray cannot start on this computer \(.*Not a directory.*\): RAY_TMPDIR names", done.stderr)


# --- parts ----------------------------------------------------------------------------------------------------------


@given(st.lists(st.text(st.sampled_from("ab \n"), max_size=4)), st.integers(1, 5))
def test_parts_give_every_item_back_in_order(tmp_path_factory, items, parts):
    folder = tmp_path_factory.mktemp("parts")
    counts = scatter(items, lambda item: item, folder, parts)
    assert sum(counts.values()) == len(items)
    for name, count in counts.items():
        part = Part(folder, name, count)
        assert {f"{part_of(item, parts):05d}" for item in part} == {name}
        assert write_results(part, (item.upper() for item in part), lambda: None)
    assert list(merged(folder, counts)) == [item.upper() for item in items]


def test_a_part_of_a_ledger_comes_back_once(tmp_path):
    requests = [Request("http://e", "m", (Message("user", str(number)),)) for number in range(4)]

    def claim(ledger: Ledger, request: Request) -> None:
        assert ledger.claim(request.key, request, request.to_json(), "openai:m")

    ledger = Ledger(tmp_path / "ledger.sqlite3")
    ledger.join()
    for request in requests[:2]:
        claim(ledger, request)
    ledger.settle(requests[0].key, "the first", 3, 4)
    ledger.fail(requests[1].key, "lost", unknown=True)
    ledger.commit()
    folder = shards_of(ledger.path) / "1"
    folder.mkdir(parents=True)
    shard = Ledger(folder / "00000.sqlite3")
    shard.join()
    found = ledger.row(requests[0].key)
    assert found is not None and shard.take(found)  # as a worker does that looks it up
    for request in requests[1:]:
        claim(shard, request)
    shard.settle(requests[1].key, "the second", 5, 6)
    shard.settle(requests[2].key, "the third")
    shard.commit()  # the last one is under way when the worker is killed
    shard._run_lock.release()
    look = ["ledger", "show", "--ledger", str(ledger.path)]
    with alone_on(ledger.path):
        with pytest.raises(LedgerError, match="a run on a cluster is using"):
            take_over(ledger)
        said = CliRunner().invoke(app, look)  # which is no run
        assert said.exit_code == 0
        assert said.stderr == "a run on a cluster is using this ledger: what its workers have is not in it yet\n"
    said = CliRunner().invoke(app, look)
    assert (said.exit_code, said.stderr) == (0, "")
    assert not shards_of(ledger.path).exists()
    take_over(ledger)
    query = "SELECT state, response, attempts, unknown_attempts, prompt_tokens FROM requests ORDER BY request"
    assert list(ledger.query(query)) == [
        ("settled", "the first", 1, 0, 3),
        ("settled", "the second", 2, 1, 5),
        ("settled", "the third", 1, 0, 0),
        ("unknown", None, 1, 1, 0),
    ]
    ledger.close()


def test_a_worker_with_a_model_has_a_gpu_or_a_machine_of_its_own(machines, monkeypatch):
    import ray

    def with_nodes(*resources: dict[str, float]) -> tuple[dict[str, float], dict[str, float]]:
        monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": each} for each in resources])
        return needs_of(False), needs_of(True)

    assert with_nodes({"CPU": 8.0}, {"CPU": 4.0}, {}) == ({"num_cpus": 1}, {"num_cpus": 4.0})
    assert with_nodes({"CPU": 8.0}, {"CPU": 4.0, "GPU": 2.0}) == ({"num_cpus": 1}, {"num_cpus": 1, "num_gpus": 1})


def test_two_runs_do_not_share_a_ledger_in_parts(machines, tmp_path):
    busy = Ledger(tmp_path / "ledger.sqlite3")
    busy.join()
    with pytest.raises(LedgerError, match="another run uses the ledger"):
        open_engine(machines.engine, busy.path)
    busy.close()
    assert not shards_of(busy.path).exists()
