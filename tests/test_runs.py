"""Runs that end in the middle and go on: to the same weights and losses, from any checkpoint, whatever ended them."""

from __future__ import annotations

import json
import random
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from gpt4_instruct.errors import (
    Gpt4InstructError,
    InterruptedRunError,
    OutputError,
    OutputExistsError,
    SourceError,
    UsageError,
)
from gpt4_instruct.training import runs
from gpt4_instruct.training.recipes import LoRA, SFTRecipe, changed
from gpt4_instruct.training.runs import running
from tests.forks import FORKS
from tests.tiny import needs_training, rows, tiny_model, tiny_tokenizer

pytestmark = needs_training


@pytest.fixture(autouse=True)
def _one_thread():
    """A tiny model's threads only wait for one another."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def plan(model: Path, **values: Any) -> SFTRecipe:
    small = SFTRecipe(
        model=str(model),
        max_length=200,
        epochs=2.0,
        learning_rate=3e-3,
        batch_size=8,
        device_batch=4,
        precision="fp32",
        save_steps=1,
        keep_checkpoints=True,
        held_out=0.1,
    )
    return changed(small, **values)


def tune(out: Path, recipe: SFTRecipe, count: int = 40, **options: Any) -> dict[str, Any]:
    from gpt4_instruct.training.sft import run_sft

    return run_sft(rows(count), out, plan=recipe, **options).facts


def with_dropout(folder: Path) -> Path:
    """OPT draws random numbers in every layer, so going on must find them where they were."""
    config = json.loads((tiny_model(folder, "opt") / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dropout": 0.1, "attention_dropout": 0.1}))
    return folder


def curve(log: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """All that is told of each step, but for its speed and the end."""
    names = ("step", "loss", "grad_norm", "learning_rate", "num_input_tokens_seen", "eval_loss", "eval_tokens")
    return [tuple(each.get(name) for name in names) for each in log if "train_runtime" not in each]


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    import torch

    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def cut(whole: Path, step: int, out: Path) -> Path:
    """A run's folder as a kill after the checkpoint of a step would have left it."""
    shutil.copytree(whole / "checkpoints", out / "checkpoints")
    for each in (out / "checkpoints").glob("checkpoint-*"):
        if int(each.name.rpartition("-")[2]) > step:
            shutil.rmtree(each)
    return out


KINDS: dict[str, dict[str, Any]] = {
    "full": {},
    "lora": {"lora": LoRA(rank=4, dropout=0.1)},
    "packing": {"packing": 400},
    "accumulation": {"device_batch": 1},
    "epochs": {"save_steps": None},
    "cut short": {"max_steps": 7},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_goes_on_from_any_checkpoint_to_the_same_end(tmp_path, kind):
    recipe = plan(with_dropout(tmp_path / "base"), **KINDS[kind])
    whole = tune(tmp_path / "whole", recipe)
    saved = sorted(int(each.name[11:]) for each in (tmp_path / "whole" / "checkpoints").glob("checkpoint-*"))
    assert len(saved) > 1
    for step in {saved[-1], random.choice(saved[:-1])}:
        out = cut(tmp_path / "whole", step, tmp_path / f"{step}")
        again = tune(out, recipe)
        assert curve(again["log"]) == curve(whole["log"]), step
        assert (again["steps"], again["tokens_seen"]) == (whole["steps"], whole["tokens_seen"])
        assert again["seconds"] >= 0
        assert same(tmp_path / "whole", out), step


def test_rows_in_order_of_length_are_found_again(tmp_path):
    base = windowed(tmp_path / "base", window=16)  # its window makes it take padded batches
    recipe = plan(base, save_steps=2)
    whole = tune(tmp_path / "whole", recipe)
    again = tune(cut(tmp_path / "whole", 8, tmp_path / "cut"), recipe)  # in the second epoch
    assert curve(again["log"]) == curve(whole["log"])
    assert same(tmp_path / "whole", tmp_path / "cut")


def windowed(folder: Path, window: int) -> Path:
    """A Mistral with a window and dropout, which packs cannot be kept apart in."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    tokenizer = tiny_tokenizer("llama")
    config = MistralConfig(
        vocab_size=800,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=window,
        attention_dropout=0.1,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    MistralForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _process(out: Path, recipe: SFTRecipe, options: dict[str, Any]) -> None:
    import torch

    torch.set_num_threads(1)
    try:
        tune(out, recipe, **options)
    except Gpt4InstructError as error:
        (out / "said.txt").write_text(str(error))
        sys.exit(1)


def start(out: Path, recipe: SFTRecipe, **options: Any) -> Any:
    process = FORKS.Process(target=_process, args=(out, recipe, options))
    process.start()
    return process


def test_kills_at_any_moment_change_nothing(tmp_path):
    recipe = plan(with_dropout(tmp_path / "base"), epochs=3.0)
    whole = tune(tmp_path / "whole", recipe)
    out, kills = tmp_path / "out", 0
    while not (out / "training.json").exists():
        process = start(out, recipe)
        if kills < 8:
            process.join(random.uniform(0.1, 0.4) * (1 + kills))  # the first come early on any computer
            kills += process.is_alive()
            process.kill()
        process.join(60)
        assert process.exitcode in (0, -signal.SIGKILL)
    assert kills > 1
    again = json.loads((out / "training.json").read_text())
    assert curve(again["log"]) == curve(whole["log"])
    assert same(tmp_path / "whole", out)


def test_a_kill_while_the_model_is_written_costs_no_step(tmp_path):
    recipe = plan(tiny_model(tmp_path / "base"), save_steps=None, max_steps=7)
    whole = tune(tmp_path / "whole", recipe)
    out = cut(tmp_path / "whole", 7, tmp_path / "out")
    half = (tmp_path / "whole" / "model.safetensors").read_bytes()[:1000]
    (out / "model.safetensors").write_bytes(half)
    again = tune(out, recipe)
    assert again["steps"] == 7 and curve(again["log"]) == curve(whole["log"])
    assert same(tmp_path / "whole", out)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, SFTRecipe]:
    """A run's folder with its checkpoints, and its recipe."""
    folder = tmp_path_factory.mktemp("finished")
    recipe = plan(tiny_model(folder / "base"), epochs=1.0)
    tune(folder / "out", recipe)
    return folder / "out", recipe


WHAT = {"kind": "sft", "base": "b", "data": "d", "recipe": {"learning_rate": 0.1, "device_batch": 4, "epochs": 1.0}}


def unfinished(finished: tuple[Path, SFTRecipe], out: Path, what: dict[str, Any] = WHAT) -> Path:
    shutil.copytree(finished[0] / "checkpoints", out / "checkpoints")
    (out / "checkpoints" / "run.json").write_text(json.dumps(what))
    return out


def looked(out: Path, what: dict[str, Any] = WHAT, **options: Any) -> str | None:
    """Where a run in a folder goes on from."""
    with running(out, what, **{"overwrite": False, **options}) as run:
        run.look()
        return run.resumed_from and run.resumed_from.name


def test_nothing_of_a_checkpoint_may_be_missing_or_short(finished, tmp_path):
    names = sorted(each.name for each in (finished[0] / "checkpoints").glob("checkpoint-*"))
    *_, older, newest = sorted(names, key=lambda name: int(name[11:]))
    files = [each.name for each in (finished[0] / "checkpoints" / newest).iterdir()]
    assert {"optimizer.pt", "model.safetensors", "rng_state.pth", "trainer_state.json", "whole.json"} <= set(files)
    assert looked(unfinished(finished, tmp_path / "whole")) == newest
    for name in files:
        for kind in ("gone", "short", "empty"):
            out = unfinished(finished, tmp_path / f"{kind}-{name}")
            broken = out / "checkpoints" / newest / name
            content = broken.read_bytes()
            broken.unlink() if kind == "gone" else broken.write_bytes(content[: len(content) // 2 * (kind == "short")])
            assert looked(out) == older, (name, kind)
            assert not broken.parent.exists()  # nor is it in the way when the next one is written
            # Rotation deletes the older one; a kill in the middle of that leaves the newer.
            out = unfinished(finished, tmp_path / f"old-{kind}-{name}")
            (out / "checkpoints" / older / name).unlink()
            assert looked(out) == newest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("save_steps", [None, 4])
def test_a_signal_ends_the_step_and_saves(tmp_path, monkeypatch, number, save_steps, capfd):
    recipe = plan(with_dropout(tmp_path / "base"), save_steps=save_steps)
    whole = tune(tmp_path / "whole", recipe)
    signalling(monkeypatch, {5: [number]})
    out = tmp_path / "out"
    with pytest.raises(InterruptedRunError, match=r"^stopped after step 3; the same command goes on from there$"):
        tune(out, recipe)
    assert (out / "checkpoints" / "checkpoint-3" / "whole.json").is_file() and not (out / "config.json").exists()
    assert "stopping after this step" in capfd.readouterr().err
    assert signal.getsignal(number) is not None
    again = tune(out, recipe)
    assert curve(again["log"]) == curve(whole["log"])
    assert same(tmp_path / "whole", out)


def signalling(monkeypatch, moments: dict[int, list[int]]) -> None:
    """Has signals come in some of a trainer's batches, counted from 1."""
    from gpt4_instruct.training.trainer import exact_trainer

    stock, batches = exact_trainer().training_step, iter(range(1, 1000))

    def step(self, *args, **options):
        found = stock(self, *args, **options)
        for number in moments.get(next(batches), ()):
            signal.raise_signal(number)
        return found

    monkeypatch.setattr(exact_trainer(), "training_step", step)


def test_a_second_ctrl_c_leaves_at_once(tmp_path, monkeypatch):
    recipe = plan(tiny_model(tmp_path / "base"))
    signalling(monkeypatch, {5: [signal.SIGINT, signal.SIGINT]})
    with pytest.raises(InterruptedRunError, match=r"left at once, after step 2; the last checkpoint, .*-2, is good"):
        tune(tmp_path / "out", recipe)
    assert tune(tmp_path / "out", recipe)["steps"] == 10


def test_two_at_once(tmp_path):
    with running(tmp_path / "out", WHAT, overwrite=False) as run:
        run.look()
        with (
            pytest.raises(OutputError, match=r"another process trains in .*: wait for it, or name another"),
            running(tmp_path / "out", WHAT, overwrite=True),
        ):
            pass
    assert looked(tmp_path / "out") is None


def test_a_finished_folder_is_not_written_over_unasked(finished, tmp_path):
    folder, recipe = finished
    shutil.copytree(folder, tmp_path / "out")
    with pytest.raises(OutputExistsError, match="holds a finished run: --overwrite trains anew, --out names another"):
        tune(tmp_path / "out", recipe)
    (tmp_path / "out" / "adapter").mkdir()  # of a run before that had one
    again = tune(tmp_path / "out", changed(recipe, learning_rate=1e-3), overwrite=True)
    assert again["recipe"]["learning_rate"] == 1e-3 and again["log"][0]["step"] == 0
    assert not (tmp_path / "out" / "adapter").exists()
    assert not same(folder, tmp_path / "out")


def test_another_run_in_an_unfinished_folder_is_told_by_what_differs(finished, tmp_path):
    out = unfinished(finished, tmp_path / "out")
    other = {**WHAT, "data": "e", "recipe": {**WHAT["recipe"], "learning_rate": 0.2}}
    with pytest.raises(OutputExistsError, match=r"another data \(d, not e\), learning_rate \(0.1, not 0.2\): give"):
        looked(out, other)
    fewer = {**WHAT, "recipe": {**WHAT["recipe"], "device_batch": 2}}  # as the line on too little memory says
    assert looked(out, fewer) == looked(out)
    assert looked(out, fewer, overwrite=True) is not None  # the same run goes on, also with the flag
    assert looked(out, other, overwrite=True) is None
    assert not list((out / "checkpoints").glob("checkpoint-*"))
    assert looked(out, WHAT) is None  # nothing is lost, so nothing is asked


def test_overwriting_may_be_cut_off_anywhere(finished, tmp_path, monkeypatch):
    other = {**WHAT, "data": "e"}
    steps = ["_rmtree", "_rmtree", "_write", "_unlink"]
    for survived in range(len(steps) + 1):
        out = unfinished(finished, tmp_path / f"{survived}")
        shutil.copy(finished[0] / "training.json", out)
        left = iter([True] * survived)

        def cut_off(stock, left=left):
            def step(*args, **options):
                if not next(left, False):
                    raise KeyboardInterrupt
                return stock(*args, **options)

            return step

        with monkeypatch.context() as patch:
            patch.setattr(runs.shutil, "rmtree", cut_off(shutil.rmtree))
            patch.setattr(runs, "write_json", cut_off(runs.write_json))
            patch.setattr(Path, "unlink", cut_off(Path.unlink))
            with pytest.raises(KeyboardInterrupt):
                looked(out, other, overwrite=True)
        assert looked(out, other, overwrite=True) is None
        assert not (out / "training.json").exists()


def test_folders_of_something_else_stay_as_they_are(tmp_path):
    for name, content in {"notes.txt": "mine", "training.json": "{}", "checkpoints/run.json": '{"a": 1}'}.items():
        folder = tmp_path / name.replace("/", "-")
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(content)
        (folder / "checkpoints").mkdir(exist_ok=True)
        for overwrite in (False, True):
            with pytest.raises(OutputError, match="is not empty and holds no training run: name another folder"):
                looked(folder, overwrite=overwrite)
        assert (folder / name).read_text() == content and (folder / "checkpoints").is_dir()
    with pytest.raises(OutputError, match=r"is a file: name a folder"):
        looked(tmp_path / "notes.txt" / "notes.txt")
    with pytest.raises(OutputError, match=r"cannot write .*: Not a directory: name another folder with --out"):
        looked(tmp_path / "notes.txt" / "notes.txt" / "out")


def test_checkpoints_are_two_while_the_run_lasts_and_none_after(tmp_path, monkeypatch):
    recipe = plan(tiny_model(tmp_path / "base"), keep_checkpoints=False)
    out = tmp_path / "out"
    signalling(monkeypatch, {13: [signal.SIGINT]})
    with pytest.raises(InterruptedRunError):
        tune(out, recipe)
    assert sorted(each.name for each in (out / "checkpoints").iterdir()) == ["checkpoint-6", "checkpoint-7", "run.json"]
    assert tune(out, recipe)["steps"] == 10
    assert (out / "training.json").is_file() and not (out / "checkpoints").exists()
    with pytest.raises(OutputExistsError, match="holds a finished run"):
        tune(out, recipe)


def test_what_fails_before_a_step_leaves_nothing(finished, tmp_path):
    folder, recipe = finished
    with pytest.raises(SourceError, match="no row has anything to learn"):
        tune(tmp_path / "out", changed(recipe, max_length=10))
    assert not (tmp_path / "out").exists()
    shutil.copytree(folder, tmp_path / "finished")
    with pytest.raises(UsageError, match="cannot be parted"):
        tune(tmp_path / "finished", changed(recipe, device_batch=5), overwrite=True)
    assert (tmp_path / "finished" / "training.json").read_text() == (folder / "training.json").read_text()


def test_what_could_not_be_trained_may_be_tried_in_another_way(tmp_path):
    """No checkpoint, so nothing is lost."""
    looked(tmp_path / "out", WHAT)
    assert looked(tmp_path / "out", {**WHAT, "data": "e"}) is None
