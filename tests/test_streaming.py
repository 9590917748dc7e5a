"""Rows as a stream: each once in a pass, in an order that a kill does not change, on any number of processes."""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt4_instruct.errors import Gpt4InstructError, OutputExistsError, SourceError, UsageError
from gpt4_instruct.records import Sample
from gpt4_instruct.training.recipes import RewardRecipe, SFTRecipe, changed
from gpt4_instruct.training.shards import Shards, open_shards
from gpt4_instruct.training.stream import Place, Stream, pairs_of, tokens_of, windows
from gpt4_instruct.training.tokens import Encoder, encode
from tests.forks import FORKS
from tests.hub import Client, LoopbackHub
from tests.smollm2 import free_port
from tests.test_runs import curve, cut, same, windowed, with_dropout
from tests.tiny import needs_training, rows, scored_rows, tiny_model, tiny_tokenizer

pytestmark = needs_training
WINDOW = 16


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    """A tiny model's threads only wait for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def parted(folder: Path, found: list[dict[str, Any]], parts: int = 4) -> Path:
    """Rows in a folder of Parquet shards, the last one the largest."""
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    folder.mkdir(parents=True, exist_ok=True)
    size = max(1, len(found) // (parts + 1))
    for part in range(parts):
        some = found[part * size : (part + 1) * size if part < parts - 1 else None]
        Dataset.from_list(some).to_parquet(str(folder / f"part-{part}.parquet"))
    return folder


class Counted:
    """Shards whose rows are numbers."""

    def __init__(self, sizes: list[int]) -> None:
        self.rows = None
        self.name, self.count, self.sizes = "numbers", len(sizes), sizes

    def read(self, shard: int, start: int = 0) -> Iterator[dict[str, Any]]:
        for number in range(start, self.sizes[shard]):
            yield {"instruction": f"{shard}.{number}", "input": "", "output": "!"}


def stream(shards: Any, seed: int = 0, size: int = WINDOW, batch: int = 4) -> Stream:
    from gpt4_instruct.training.stream import Encoded

    def plain(chosen: Any) -> Iterator[Encoded]:
        for each in chosen:
            odd = each.instruction.endswith("3")  # nothing to learn in it
            yield Encoded(None if odd else {"text": each.instruction}, Counter(rows=1))

    return Stream(shards, plain, scored=False, batch=batch, size=size, seed=seed)


@settings(deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=5).filter(any), st.integers(1, 40), st.integers(0, 9))
def test_windows_hold_each_row_once_a_pass_and_may_be_entered_anywhere(sizes, size, seed):
    shards: Any = Counted(sizes)
    total = sum(sizes)
    found, seen = [], 0
    for at, raw in windows(shards, size, seed, Place()):
        found.append((at, [each["instruction"] for each in raw]))
        seen += len(raw)
        if seen >= 2 * total:
            break
    passes = [[row for at, some in found if at.epoch == epoch for row in some] for epoch in (0, 1)]
    everything = sorted(f"{shard}.{number}" for shard, many in enumerate(sizes) for number in range(many))
    assert sorted(passes[0]) == sorted(passes[1]) == everything
    assert all(
        len(some) == size or index + 1 == len(found) or found[index + 1][0].epoch > at.epoch
        for index, (at, some) in enumerate(found)
    )
    place = random.randrange(len(found))
    (again,) = islice(windows(shards, size, seed, found[place][0]), 1)
    assert [each["instruction"] for each in again[1]] == found[place][1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 50), st.integers(1, 40), st.integers(0, 9))
def test_a_stream_goes_on_after_any_step_with_the_same_rows_and_counts(step, size, seed):
    sizes = [7, 0, 23, 11]
    whole = stream(Counted(sizes), seed, size)
    expected = [each["text"] for each in islice(whole, 4 * 65)]
    first = stream(Counted(sizes), seed, size)
    begun = [each["text"] for each in islice(first, 4 * step + random.randrange(30))]  # some are read ahead
    assert begun == expected[: len(begun)]
    if not step:
        return
    with tempfile.TemporaryDirectory() as folder:
        first.save(Path(folder), step)
        second = stream(Counted(sizes), seed, size)
        second.load(Path(folder))
        assert [each["text"] for each in islice(second, 4 * (65 - step))] == expected[4 * step :]
        assert second.counts["rows"] == whole.counts["rows"]
        second.end(65)
        whole.end(65)
        assert second.counts == whole.counts


def test_the_order_is_another_with_each_seed_and_pass_and_mixes_within_its_window():
    one, other = (list(islice((each["text"] for each in stream(Counted([400]), seed, 200)), 720)) for seed in (0, 1))
    assert one != other and sorted(one[:360]) == sorted(other[:360]) == sorted(one[360:]) and one[:360] != one[360:]
    assert one[:360] != sorted(one[:360])
    assert {int(each.partition(".")[2]) < 200 for each in one[:180]} == {True}  # a window is no more than it says


def test_a_window_that_has_nothing_to_use_is_passed_and_a_pass_without_a_row_is_told():
    class Mixed(Counted):
        def read(self, shard: int, start: int = 0) -> Iterator[dict[str, Any]]:
            for row in super().read(shard, start):
                yield row if shard else {"odd": row["instruction"]}

    found = stream(Mixed([40, 9]), size=8)
    assert len(list(islice(found, 16))) == 16
    assert found.rejected["missing_field"] >= 40
    with pytest.raises(SourceError, match="no row of numbers has anything to learn"):
        next(iter(stream(Mixed([40]), size=8)))
    with pytest.raises(SourceError, match="numbers holds no row"):
        next(iter(stream(Counted([0, 0]))))


def test_prompts_held_out_are_not_learnt():
    class Twice(Counted):
        def read(self, shard: int, start: int = 0) -> Iterator[dict[str, Any]]:
            for row in super().read(shard, start):
                yield {**row, "instruction": row["instruction"].partition(".")[2], "output": str(shard)}

    found = stream(Twice([50, 50]), size=30)
    kept, languages = found.hold_out(9)
    learnt = {each["text"] for each in islice(found, 300)}
    assert len(kept) == 9 and languages and learnt
    assert not {each.instruction for each in kept} & learnt
    assert learnt | {each.instruction for each in kept} >= {str(n) for n in range(50) if n % 10 != 3}


def test_rows_are_encoded_as_in_memory():
    from datasets import Dataset

    from gpt4_instruct.training.pairs import encode_pairs

    tokenizer = tiny_tokenizer("llama")
    found = [*rows(60), {"instruction": "?", "input": "", "output": " "}]
    counts: Counter[str] = Counter()
    expected = encode(Dataset.from_list(found), tokenizer, 90, counts=counts)
    made = list(tokens_of(Encoder(tokenizer, 90))([Sample(**each) for each in found]))
    kept = [row for row, _ in made if row is not None]
    assert [(each["input_ids"], each["labels"]) for each in kept] == list(
        zip(expected["input_ids"], expected["labels"], strict=True)
    )
    told = sum((told for _, told in made), Counter())
    assert told == +counts and told["dropped_too_long"] and told["truncated"] and told["dropped_no_answer"]

    from gpt4_instruct.training.data import read

    samples = read(scored_rows(24), scored=True).samples
    counts = Counter()
    pairs = encode_pairs(samples, tokenizer, 200, counts=counts)
    made = list(pairs_of(Encoder(tokenizer, 200))(samples))
    assert [row for row, _ in made if row is not None] == list(pairs)
    assert sum((told for _, told in made), Counter()) == +counts


def peak(rows_each: int) -> int:
    """Bytes of Python's own at most, while a run takes nine tenths of a pass."""
    found = stream(Counted([rows_each]), size=500)
    tracemalloc.start()
    try:
        for number, _ in enumerate(islice(found, rows_each * 8 // 10), start=1):
            found.pass_by(number // 4)  # as the Trainer does at the end of each step
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_is_a_window_whatever_the_data_holds():
    assert peak(16_000) < 2 * peak(2_000)  # two or three windows are there at once


# --- runs -----------------------------------------------------------------------------------------------------------


def plan(model: Path, kind: type = SFTRecipe, **values: Any) -> Any:
    small = kind(
        model=str(model),
        max_length=200,
        epochs=2.0,
        learning_rate=3e-3,
        batch_size=8,
        device_batch=4,
        precision="fp32",
        save_steps=2,
        keep_checkpoints=True,
        held_out=0.1,
    )
    return changed(small, **values)


def tune(data: Path, out: Path, recipe: Any, **options: Any) -> dict[str, Any]:
    from gpt4_instruct.training.reward import run_reward
    from gpt4_instruct.training.sft import run_sft

    run: Any = run_sft if isinstance(recipe, SFTRecipe) else run_reward
    return dict(run(str(data), out, plan=recipe, **{"stream": True, "window": WINDOW, **options}).facts)


@pytest.mark.parametrize("kind", ["flat", "padded", "reward"])
def test_a_run_goes_on_from_any_checkpoint_to_the_same_end(tmp_path, kind):
    base = windowed(tmp_path / "base", 16) if kind == "padded" else with_dropout(tmp_path / "base")
    recipe = plan(base, RewardRecipe if kind == "reward" else SFTRecipe)
    data = parted(tmp_path / "data", scored_rows(40) if kind == "reward" else rows(40))
    whole = tune(data, tmp_path / "whole", recipe)
    assert whole["steps"] == 9  # two passes over 36 rows
    saved = sorted(int(each.name[11:]) for each in (tmp_path / "whole" / "checkpoints").glob("checkpoint-*"))
    for step in {saved[-1], random.choice(saved[:-1])}:
        out = cut(tmp_path / "whole", step, tmp_path / f"{step}")
        again = tune(data, out, recipe)
        assert curve(again["log"]) == curve(whole["log"]), step
        passes = [[each["epoch"] for each in facts["log"] if "loss" in each] for facts in (again, whole)]
        assert passes[0] == passes[1] and passes[0][-1] == 2.0
        assert (again["steps"], again["tokens"], again["data"]) == (whole["steps"], whole["tokens"], whole["data"])
        assert same(tmp_path / "whole", out), step
    told = whole["data"]
    assert told["held_out_rows"] == 4 and told["stream"]["rows"] == 40 and told["stream"]["shards"] == 4
    assert told["rows"] == 4 + whole["tokens"]["rows"] + sum(whole.get("dropped", {}).values())


def _process(data: Path, out: Path, recipe: Any, environment: dict[str, str]) -> None:
    import torch

    os.environ.update(environment)
    torch.set_num_threads(1)
    try:
        tune(data, out, recipe)
    except Gpt4InstructError:
        os._exit(1)  # a process group that has lost one would be waited for
    sys.exit(0)


def start(data: Path, out: Path, recipe: Any, **environment: str) -> Any:
    process = FORKS.Process(target=_process, args=(data, out, recipe, environment))
    process.start()
    return process


def both(data: Path, out: Path, recipe: Any) -> list[Any]:
    """Two processes of one run, as a launcher starts them."""
    common = {"OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    return [start(data, out, recipe, RANK=rank, LOCAL_RANK=rank, **common) for rank in "01"]


def test_kills_at_any_moment_change_nothing(tmp_path):
    recipe = plan(with_dropout(tmp_path / "base"))
    data = parted(tmp_path / "data", rows(40))
    whole = tune(data, tmp_path / "whole", recipe)
    out, kills = tmp_path / "out", 0
    while not (out / "training.json").exists():
        process = start(data, out, recipe)
        if kills < 3:
            process.join(random.uniform(0.1, 0.5) * (1 + kills))
            kills += process.is_alive()
            process.kill()
        process.join(120)
        assert process.exitcode in (0, -9)
    again = json.loads((out / "training.json").read_text())
    assert kills and curve(again["log"]) == curve(whole["log"])
    assert again["tokens"] == whole["tokens"] and same(tmp_path / "whole", out)


def test_two_processes_learn_what_one_does_also_after_a_kill_and_one_goes_on_where_they_were(tmp_path):
    base, data, out = tiny_model(tmp_path / "base"), parted(tmp_path / "data", rows(43)), tmp_path / "out"
    recipe = plan(base, device_batch=2)
    alone = tune(data, tmp_path / "alone", recipe)
    running = both(data, out, recipe)
    end = time.monotonic() + 60
    while not (out / "checkpoints/checkpoint-2/whole.json").exists() and time.monotonic() < end:
        time.sleep(0.01)
    running[1].kill()
    for each in running:
        each.join(120)
    killed = not (out / "training.json").exists()
    assert [each.exitcode for each in running] == [1, -9] or not killed
    if killed:
        running = both(data, out, recipe)
        for each in running:
            each.join(120)
        assert [each.exitcode for each in running] == [0, 0]
    facts = json.loads((out / "training.json").read_text())
    assert facts["hardware"]["devices"] == 2 and facts["tokens"] == alone["tokens"] and facts["data"] == alone["data"]
    losses(facts, alone)
    half = one_process(cut(out, 4, tmp_path / "half") / "checkpoints" / "checkpoint-4")
    once = tune(data, half, recipe)
    assert once["hardware"]["devices"] == 1 and once["tokens"] == alone["tokens"]
    losses(once, alone)


def losses(facts: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in ("loss", "eval_loss"):
        found, wanted = ([each[name] for each in one["log"] if name in each] for one in (facts, expected))
        assert found == pytest.approx(wanted, abs=1e-5)


def one_process(checkpoint: Path) -> Path:
    """A checkpoint of two processes as one would have written it; the run's folder."""
    (checkpoint / "rng_state_1.pth").unlink()
    (checkpoint / "rng_state_0.pth").rename(checkpoint / "rng_state.pth")
    whole = json.loads((checkpoint / "whole.json").read_text())
    whole["files"] = {each.name: each.stat().st_size for each in checkpoint.iterdir() if each.name != "whole.json"}
    (checkpoint / "whole.json").write_text(json.dumps(whole))
    return checkpoint.parents[1]


# --- what is read, and what cannot be -----------------------------------------------------------------------------


def test_shards_are_named_in_many_ways(tmp_path):
    import fsspec

    folder = parted(tmp_path / "data", rows(20), parts=3)
    bucket = fsspec.filesystem("memory")
    for each in folder.iterdir():
        bucket.pipe(f"/bucket/{each.name}", each.read_bytes())
    jsonl = tmp_path / "rows.jsonl"
    jsonl.write_text("".join(f"{json.dumps(each)}\n" for each in rows(20)))
    expected = sorted(each["instruction"] for each in rows(20))
    for data in (folder, f"{folder}/*.parquet", "memory://bucket", "memory://bucket/*.parquet", f"hub:{folder}", jsonl):
        shards = open_shards(data)
        found = [row["instruction"] for shard in range(shards.count) for row in shards.read(shard)]
        assert sorted(found) == expected, data
        assert shards.rows == (None if data == jsonl else 20) and str(tmp_path) not in shards.name
        assert [row["instruction"] for row in shards.read(shards.count - 1, 2)] == found[-len(found) :][
            len(found) - sum(1 for _ in shards.read(shards.count - 1)) + 2 :
        ]


def test_a_file_that_changed_is_another_run(tmp_path):
    data, recipe = parted(tmp_path / "data", rows(40)), plan(tiny_model(tmp_path / "base"), max_steps=3)
    tune(data, tmp_path / "whole", recipe)
    out = cut(tmp_path / "whole", 2, tmp_path / "out")
    with pytest.raises(OutputExistsError, match=r"unfinished run with another data \(\['"):
        tune(data, out, recipe, window=17)
    parted(data, rows(40))
    with pytest.raises(OutputExistsError, match=r"unfinished run with another data \(\['"):
        tune(data, out, recipe)


def test_what_cannot_be_streamed_is_told_before_anything_is_written(tmp_path):
    data, base = parted(tmp_path / "data", rows(40)), tiny_model(tmp_path / "base")
    jsonl = tmp_path / "rows.jsonl"
    jsonl.write_text("".join(f"{json.dumps(each)}\n" for each in rows(40)))
    out = tmp_path / "out"
    for what, options, recipe, message in (
        (jsonl, {}, {}, "nothing tells how many rows rows.jsonl has .*: give --max-steps"),
        (data, {}, {"packing": 400}, "leave out --packing"),
        (data, {"limit": 5}, {}, "a stream has no limit of rows: give --max-steps"),
        (data, {"window": 0}, {}, "window is 0, but must be 1 or more"),
        (data, {}, {"max_length": 10}, "no row of data has anything to learn: is max_length too short"),
        ("nothing.parquet", {}, {}, "'nothing.parquet' cannot be streamed: give a file"),
        ("foo://bucket/a.parquet", {"stream": None}, {}, "cannot list foo://bucket/a.parquet: Protocol not known: foo"),
        ("memory://none/a.parquet", {"stream": None}, {}, "memory://none/a.parquet names no .* file"),
    ):
        with pytest.raises((SourceError, UsageError), match=message):
            tune(what, out, plan(base, **recipe), **options)
        assert not out.exists()
    facts = tune(jsonl, out, plan(base, max_steps=3))
    assert facts["steps"] == 3 and facts["data"]["held_out_rows"] == 2  # a tenth of what it reads
    with pytest.raises(UsageError, match="a list is in memory already"):
        open_shards(rows(3))  # type: ignore[arg-type]


def test_a_shard_that_is_broken_is_named_with_its_row(tmp_path):
    folder = parted(tmp_path / "data", rows(40))
    shards = open_shards(folder)
    content = (folder / "part-3.parquet").read_bytes()
    (folder / "part-3.parquet").write_bytes(content[:60] + bytes(200) + content[260:])
    with pytest.raises(SourceError, match=r"^shard 4 of 4 of data cannot be read past row \d+: "):
        list(shards.read(3))


def _hub_shards(name: str) -> tuple[Any, ...]:
    shards: Shards = open_shards(name)
    read = [row["instruction"] for shard in range(shards.count) for row in shards.read(shard)]
    return shards.identity, shards.rows, shards.count, sorted(read)


def _upload(folder: str, repo_id: str) -> None:
    from huggingface_hub import HfApi

    HfApi().create_repo(repo_id, repo_type="dataset", exist_ok=True)
    HfApi().upload_folder(repo_id=repo_id, folder_path=folder, repo_type="dataset")


def test_the_hub_is_read_in_place_at_the_commit_of_the_run(tmp_path):
    folder = parted(tmp_path / "data", rows(40))
    with LoopbackHub() as hub, Client(hub, tmp_path / "home") as client:
        client.call(_upload, str(folder), "me/data")
        expected = sorted(each["instruction"] for each in rows(40))
        first = client.call(_hub_shards, "hub:me/data")
        assert first[1:] == (40, 4, expected)
        assert client.call(_hub_shards, "hf://datasets/me/data/*.parquet")[1:] == (40, 4, expected)
        client.call(_upload, str(parted(tmp_path / "more", rows(44))), "me/data")
        later = client.call(_hub_shards, "hub:me/data")
        assert later[1] == 44 and later[0] != first[0]
        before = hub.repos["datasets/me/data"].log()[1].id
        assert client.call(_hub_shards, f"hub:me/data@{before}")[1:] == first[1:]
