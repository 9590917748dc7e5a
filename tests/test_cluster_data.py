"""Audits, statistics, novelty and deduplication on a Ray cluster of three nodes: what one machine finds, to the row."""

from __future__ import annotations

import json
import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

pytest.importorskip("ray")

import ray
from ray.cluster_utils import Cluster
from ray.util import placement_group, remove_placement_group
from typer.testing import CliRunner

from gpt4_instruct import MissingExtraError, SourceError, UsageError, audit, build, stats
from gpt4_instruct.cli.app import app
from gpt4_instruct.cluster import minhash, novelty, rows
from gpt4_instruct.errors import RunStoppedError
from gpt4_instruct.quality.novelty import NoveltyIndex
from gpt4_instruct.quality.novelty import kept as kept_here
from gpt4_instruct.registry import find
from gpt4_instruct.sources.rows import open_rows

# What finds nearly the same rows is asked for, too.
WHOLE: dict[str, Any] = {"near_duplicates": True}


@pytest.fixture(scope="module", autouse=True)
def cluster(site: Path) -> Iterator[Cluster]:
    """Three nodes of one CPU on this computer; their processes are as urgent as others, since machines may be busy."""
    path = os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))
    environment = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0", "PYTHONPATH": path}
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    found = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        found.add_node(num_cpus=1)
    ray.init(address=found.address, log_to_driver=False, logging_level="ERROR")
    yield found
    ray.shutdown()
    found.shutdown()
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


@pytest.fixture(scope="module")
def real() -> list[dict[str, Any]]:
    """Real rows in both languages, some of them twice, with rows of comparisons, of labels, and of nothing among them."""
    named = os.environ.get("GPT4_INSTRUCT_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real samples are not here: GPT4_INSTRUCT_SHARED_DATA names their folder")
    english, chinese, unnatural = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("alpaca_gpt4_en_500", "alpaca_gpt4_zh_500", "unnatural_gpt4_10")
    )
    comparisons = [json.loads(line) for line in (folder / "comparison_alpaca_eval_400.jsonl").open(encoding="utf-8")]
    rows: list[Any] = [*english, *chinese[:200], *unnatural, *comparisons[:60], *unnatural[:4], *english[:40]]
    rows += [{"instruction": "no answer"}, {"output": 7}, *comparisons[:5], *chinese[:200:9]]
    for row in english[100:160]:
        rows.append({**row, "instruction": row["instruction"] + " Please.", "output": f"Well: {row['output']}"})
    return rows


@pytest.fixture(scope="module")
def shards(real, tmp_path_factory) -> Path:
    """The plain ones of these rows as Parquet in two files and several row groups."""
    folder = tmp_path_factory.mktemp("data") / "rows"
    folder.mkdir()
    plain = [row for row in real if set(row) == {"instruction", "input", "output"}]
    for number in range(2):
        table = pa.Table.from_pylist(plain[number::2])
        pq.write_table(table, folder / f"part-{number}.parquet", row_group_size=150)
    return folder


def plain(summary: dict[str, Any]) -> dict[str, Any]:
    """A summary without what no two runs have in common."""
    return {
        **summary,
        "data": [{name: what for name, what in each.items() if name != "seconds"} for each in summary["data"]],
    }


def files_of(folder: Path, *left_out: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.name not in left_out}


def test_an_audit_finds_the_same_in_rows_of_every_shape(real, tmp_path):
    here = audit(real, out=tmp_path / "here", clean=True, drop="warning", **WHOLE)
    there = audit(real, out=tmp_path / "there", clean=True, drop="warning", engine="ray", **WHOLE)
    assert len(there.findings) > 300
    assert {"duplicate", "near_duplicate", "similar_task", "similar_output"} <= {each.check for each in there.findings}
    assert there.findings == here.findings
    assert plain(there.summary) == plain(here.summary)
    assert files_of(tmp_path / "there", "summary.json", "report.html") == files_of(
        tmp_path / "here", "summary.json", "report.html"
    )


STRANGERS = """
from gpt4_instruct.quality.base import OverFacts, check

def seen(output, row):
    if row % 4 == 1:
        raise KeyError(output)
    return "" if row % 4 == 2 else "third" if row % 4 == 3 else None

@check("warning", optional=True)
class Remembers:
    def __call__(self, sample, row):
        return seen(sample.output, row)

    def finish(self):
        return iter(())

@check("warning", optional=True)
class Facts(OverFacts):
    def facts(self, sample):
        return None if sample.output == "7" else (sample.output.encode(),)
    def judge(self, facts, row):
        return seen(facts[0].decode(), row)

@check("warning", optional=True)
class Keys(Facts):
    spread = "key"
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an installed package, not of ours, with checks over rows that go wrong in some of them."""
    folder = tmp_path_factory.mktemp("site")
    info = folder / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    points = (f"{name.lower()} = strange_checks:{name}\n" for name in ("Remembers", "Facts", "Keys"))
    (info / "entry_points.txt").write_text("".join(("[gpt4_instruct.quality]\n", *points)))
    (folder / "strange_checks.py").write_text(STRANGERS)
    return folder


@pytest.fixture
def stranger(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.syspath_prepend(site)
    find.cache_clear()
    yield
    find.cache_clear()


def test_a_strangers_fault_ends_nothing_on_a_cluster_either(stranger):
    data = [{"instruction": f"Say {number}.", "output": str(number)} for number in range(12)]
    data.append({"instruction": "a", "responses": [{"model": each, "response": each, "score": 1} for each in "ab"]})
    names = ["remembers", "facts", "keys"]
    here, there = (audit(data, checks=names, engine=engine) for engine in ("local", "ray"))
    assert here.summary["data"][0]["failed"] == {
        "remembers": {"rows": 3, "first": "row 1: KeyError: '1'"},
        "facts": {"rows": 3, "first": "row 1: KeyError: '1'"},
        "keys": {"rows": 3, "first": "row 1: KeyError: '1'"},
    }
    assert len(here.findings) == 16
    assert there.findings == here.findings and plain(there.summary) == plain(here.summary)


def test_workers_read_parts_of_parquet_files_for_themselves(shards, tmp_path):
    # A model of seventy languages, for each worker, is loaded in the test above.
    arguments = ["audit", str(shards / "*.parquet"), "--engine", "ray", "--skip", "foreign_language"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "there"), "--clean"])
    assert done.exit_code == 0, done.output
    here = audit(str(shards), out=tmp_path / "here", clean=True, skip=["foreign_language"])
    assert here.findings and len({each.row for each in here.findings}) > 50
    assert files_of(tmp_path / "there", "summary.json", "report.html", "audit.jsonl") == files_of(
        tmp_path / "here", "summary.json", "report.html", "audit.jsonl"
    )
    lines = (tmp_path / "there" / "audit.jsonl").read_text(encoding="utf-8").splitlines()
    keys = ("row", "check", "severity", "reason")
    assert [[json.loads(line)[key] for key in keys] for line in lines] == [
        [getattr(each, key) for key in keys] for each in here.findings
    ]


def test_statistics_are_the_same_files(real, shards, tmp_path):
    count = lambda text: text.split()  # noqa: E731
    here = stats(real, f"file://{shards}", out=tmp_path / "here", tokenizer=count, processes=1)
    there = stats(real, f"file://{shards}", out=tmp_path / "there", tokenizer=count, processes=2, engine="ray")
    assert there.summary == here.summary
    assert len(there.summary["data"][0]["sources"]) > 1
    assert files_of(tmp_path / "there") == files_of(tmp_path / "here")


def made_up(count: int, seed: int, vocabulary: int = 60) -> list[str]:
    """Texts of few words, so that many are near to one another, some to several at once."""
    rng = random.Random(seed)
    texts: list[str] = []
    for _ in range(count):
        if texts and rng.random() < 0.4:
            words = rng.choice(texts).split()
            words[rng.randrange(len(words)) : rng.randrange(len(words)) + 1] = [f"w{rng.randrange(vocabulary)}"]
        else:
            words = [f"w{int(rng.paretovariate(0.7)) % vocabulary}" for _ in range(rng.randint(1, 14))]
        texts.append(" ".join(words) or "w0")
    return texts


@pytest.mark.parametrize(("language", "threshold"), [("en", 0.7), ("zh", 0.5)])
def test_novelty_keeps_the_same_texts_whatever_the_rounds(real, monkeypatch, language, threshold):
    monkeypatch.setattr(novelty, "ROUND", 300)
    texts = [row.get("instruction") or "" for row in real if isinstance(row.get("instruction", ""), str)]
    texts += made_up(1_500, seed=len(language))
    assert novelty.kept(texts, threshold, language) == kept_here(texts, threshold, language)


def test_novelty_names_the_nearest_text_that_is_kept_and_keeps_no_more_than_it_may():
    texts = made_up(1_200, seed=9)
    index, wanted = NoveltyIndex(), []
    for text in texts:
        wanted.append(index.nearest(text))
        if wanted[-1] is None and len(index) < 100:
            index.add(text)
    rounds = [ray.put(texts[start : start + 250]) for start in range(0, len(texts), 250)]
    assert list(novelty.nearest(rounds, workers=3, most=100)) == wanted


def lose_a(worker: str) -> int:
    """Kills a worker, as the kernel does where memory is short; its process."""
    # Behind the name stands the method that it is at, if it is.
    named = (each for each in psutil.process_iter(["cmdline"]) if (each.info["cmdline"] or [""])[0].startswith(worker))
    lost = next(named)
    lost.kill()
    lost.wait(20)
    return lost.pid


def test_a_lost_workers_share_of_the_novel_texts_is_given_to_another():
    texts = made_up(1_500, seed=11)
    rounds = [ray.put(texts[start : start + 250]) for start in range(0, len(texts), 250)]
    found = novelty.nearest(rounds, workers=2)
    near = [next(found) for _ in range(600)]  # of the third round
    lost = {lose_a("ray::_Index")}
    near += [next(found) for _ in range(250)]
    lost.add(lose_a("ray::_Index"))
    near += found
    assert len(lost) == 2
    assert [number for number, each in enumerate(near) if each is None] == kept_here(texts)


def test_novelty_does_not_wait_for_places_that_others_have_or_that_are_lost(monkeypatch):
    monkeypatch.setattr(novelty, "_PLACE_S", 3)
    texts = made_up(1_000, seed=12)
    rounds = [ray.put(texts[start : start + 250]) for start in range(0, len(texts), 250)]
    others = [placement_group([{"CPU": 1}])]
    try:
        ray.get(others[0].ready(), timeout=30)
        found = novelty.nearest(rounds, workers=3)
        near = [next(found) for _ in range(300)]
        others.append(
            placement_group([{"CPU": 1}])
        )  # gets the place of the one that is lost, as if its machine were lost, too
        lose_a("ray::_Index")
        ray.get(others[1].ready(), timeout=30)
        near += found
    finally:
        for other in others:
            remove_placement_group(other)
    assert [number for number, each in enumerate(near) if each is None] == kept_here(texts)


def test_what_a_lost_worker_had_before_it_is_looked_at_by_another(shards, monkeypatch):
    monkeypatch.setattr(rows, "BLOCK_ROWS", 40)

    def make():
        def look(block):
            time.sleep(0.3)
            return os.getpid(), [(block.first + place, raw) for place, (_, raw) in enumerate(block.rows)]

        return look

    data = open_rows(str(shards))
    with rows.cluster("") as workers:
        assert workers == 3
        looking = rows.look_at(data, make, workers)
        found = [next(looking)]
        lost = lose_a("ray::MapWorker(MapBatches(_Looker))")
        found += looking
    assert len({process for process, _ in found} - {lost}) >= 3
    assert [each for _, block in found for each in block] == list(enumerate(raw for _, raw in data.raw()))


def test_minhash_finds_the_similar_pairs_and_only_those():
    texts = [*made_up(900, seed=4, vocabulary=400), "", "?", "the same", "the same", "THE same!"]
    found = minhash.duplicates(texts)
    numbers = [number for number, text in enumerate(texts) if text.split() and text != "?"]
    exact = {}
    first: dict[str, int] = {}
    for number in numbers:  # every pair, by an index of one text
        key = " ".join(texts[number].lower().rstrip("!").split())
        if key in first:
            exact[first[key], number] = 1.0
            continue
        first[key] = number
    distinct = list(first.values())
    for place, number in enumerate(distinct):
        index = NoveltyIndex(0.8)
        index.add(texts[number])
        for other in distinct[place + 1 :]:
            near = index.nearest(texts[other])
            if near is not None:
                exact[number, other] = near[1]
    pairs = {(one, other): f1 for one, other, f1 in found.pairs}
    assert len(pairs) == len(found.pairs)
    assert pairs.items() <= exact.items()
    assert len(exact) > 300
    assert len(pairs) >= 0.95 * len(exact)
    assert found.first == minhash.components(found.pairs)
    last = len(texts) - 1
    assert found.first[last] == found.first[last - 1] == last - 2
    assert {len(texts) - 5, len(texts) - 4} <= set(found.kept())


def test_a_worker_that_cannot_read_is_told_in_a_line(shards, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in shards.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    content = (broken / "part-1.parquet").read_bytes()
    middle = len(content) // 2
    (broken / "part-1.parquet").write_bytes(content[: middle - 500] + bytes(1000) + content[middle + 500 :])
    with pytest.raises((SourceError, RunStoppedError), match=r"part-1\.parquet") as caught:
        audit(broken, checks=["empty"], engine="ray")
    assert "\n" not in str(caught.value)


def test_workers_find_data_that_is_named_from_the_callers_folder(real, tmp_path, monkeypatch):
    (tmp_path / "rows.jsonl").write_text(json.dumps(real[0]) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    build("english", "rows.jsonl", teacher="replay:rows.jsonl", out="built", ledger="ledger.sqlite3")
    for data in ("rows.jsonl", "built"):
        here, there = (audit(data, checks=["empty"], engine=engine).summary["data"][0] for engine in ("local", "ray"))
        assert (there["rows"], there["name"]) == (here["rows"], here["name"])


@pytest.mark.parametrize("name", ["*.jsonl", "none.parquet"])
def test_no_rows_are_told_as_on_one_machine(tmp_path, name):
    for letter in "ab":
        (tmp_path / f"{letter}.jsonl").touch()
    pq.write_table(pa.table({"instruction": pa.array([], pa.string())}), tmp_path / "none.parquet")
    for engine in ("local", "ray"):
        with pytest.raises(SourceError, match="holds no rows: there is nothing to audit"):
            audit(tmp_path / name, engine=engine)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ray.exceptions.OutOfDiskError("id"), "a worker failed: a machine's disk is full, .*: free some, or start"),
        (ray.exceptions.OutOfMemoryError("id"), "a worker failed: its machine has too little memory: start"),
    ],
)
def test_what_a_machine_is_short_of_is_told_in_a_line(error, message):
    told = rows._ours(error)
    assert isinstance(told, RunStoppedError) and re.match(message, str(told)) and "\n" not in str(told)


def test_what_cannot_work_is_said_before_anything_is_read(shards, monkeypatch):
    with pytest.raises(UsageError, match="unknown engine 'rai'"):
        audit(shards, engine="rai")
    with pytest.raises(UsageError, match="no address"):
        stats(shards, out=shards.parent / "out", engine="local:host")
    with pytest.raises(UsageError, match=r"from 0\.75 to 1"):
        minhash.duplicates(["a"], 0.5)
    with pytest.raises(UsageError, match=r"texts\[1\] is a int"):
        novelty.kept(["a", 1])  # type: ignore[list-item]
    with pytest.raises(SourceError, match="names no"):
        audit(str(shards / "*.csv"), engine="ray")
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"gpt4-instruct\[ray\]"):
        audit(shards, engine="ray")


def test_a_worker_that_lacks_something_says_what_it_is(shards):
    def make():
        raise MissingExtraError("the check near_duplicate", "datasketch", "audit")

    with (
        pytest.raises(MissingExtraError, match=r"near_duplicate needs datasketch.*gpt4-instruct\[audit\]"),
        rows.cluster("") as workers,
    ):
        list(rows.look_at(open_rows(str(shards)), make, workers))
