"""Runs in two processes on the processor, started as a user starts them: they learn what one does, speak once, end together.

The real command under torchrun and `accelerate launch`, over gloo. What runs on GPUs differs in the backend alone.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpt4_instruct.training import configs
from gpt4_instruct.training.recipes import SFTRecipe
from gpt4_instruct.training.sft import run_sft
from tests.smollm2 import free_port, installed
from tests.tiny import needs_training, rows, tiny_model

pytestmark = needs_training

_PLAN = SFTRecipe(
    max_length=200,
    epochs=2.0,
    learning_rate=1e-2,
    batch_size=8,
    device_batch=2,
    precision="fp32",
    held_out=0.12,
    save_steps=2,
    keep_checkpoints=True,
)
_FLAGS = [
    "--max-length",
    "200",
    "--epochs",
    "2",
    "--learning-rate",
    "0.01",
    "--batch-size",
    "8",
    "--device-batch",
    "2",
    "--precision",
    "fp32",
    "--no-checkpointing",
    "--held-out",
    "0.12",
    "--keep-checkpoints",
    "--save-steps",
    "2",
]
_COUNT = 43  # 36 of them fit: a step of 4 at the end of an epoch; 5 are held out, which are no two equal shares


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> tuple[Path, Path, dict[str, Any]]:
    """A base, a file of rows, and what one process finds."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("alone")
    base, file = tiny_model(folder / "base"), folder / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in rows(_COUNT)))
    facts = run_sft(str(file), folder / "out", model=str(base), plan=_PLAN).facts
    torch.set_num_threads(before)
    return base, file, facts


def launched(launcher: list[str], *program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a launcher did with a program; its processes are ended with it."""
    everything = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    command = [sys.executable, "-m", *launcher, *program]
    return subprocess.run(command, env=everything, capture_output=True, text=True, timeout=240)


def torchrun() -> list[str]:
    return ["torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(free_port())]


def curve(facts: dict[str, Any], name: str) -> list[float]:
    return [each[name] for each in facts["log"] if name in each]


def same(facts: dict[str, Any], expected: dict[str, Any], within: float = 1e-5) -> None:
    assert facts["hardware"]["devices"] == 2 and facts["steps"] == expected["steps"]
    for name in ("loss", "eval_loss", "grad_norm"):
        assert curve(facts, name) == pytest.approx(curve(expected, name), abs=within * (100 if name[0] == "g" else 1))
    assert curve(facts, "eval_tokens") == curve(expected, "eval_tokens")


# The real command, but that one of its processes is killed in the middle of a step, as the system does when memory ends.
_KILLED = """
import os, signal, sys
from gpt4_instruct.cli import app as cli
from gpt4_instruct.training.trainer import exact_trainer
stock, batches = exact_trainer().training_step, []
def step(self, *args, **options):
    batches.append(1)
    if os.environ["RANK"] == "1" and len(batches) == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    return stock(self, *args, **options)
exact_trainer().training_step = step
sys.argv[0] = "gpt4-instruct"
cli.main()
"""


def test_two_processes_learn_what_one_does_also_after_one_was_killed(alone, tmp_path):
    base, file, expected = alone
    driver, out = tmp_path / "driver.py", tmp_path / "out"
    driver.write_text(_KILLED)
    command = ["train", "sft", "--data", str(file), "--model", str(base), "--out", str(out), *_FLAGS]
    killed = launched(torchrun(), str(driver), *command)
    assert killed.returncode != 0 and not (out / "training.json").exists(), killed.stderr[-3000:]
    assert "Signal 9 (SIGKILL)" in killed.stderr
    whole = sorted(each.parent.name for each in (out / "checkpoints").glob("checkpoint-*/whole.json"))
    assert whole == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]
    done = launched(torchrun(), "-m", "gpt4_instruct", *command)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("the model is in") == 1 and "Traceback" not in done.stderr
    same(json.loads((out / "training.json").read_text()), expected)


def test_an_error_ends_both_with_a_line(alone, tmp_path):
    base, file, _ = alone
    out = tmp_path / "out"
    command = ["train", "sft", "--data", str(file), "--model", str(base), "--out", str(out), "--max-length", "10"]
    done = launched(torchrun(), "-m", "gpt4_instruct", *command)
    assert done.returncode != 0 and not out.exists()
    assert "error: " in done.stderr and "no row has anything to learn" in done.stderr
    assert 'File "' not in done.stderr.split("ChildFailedError")[0].split("torch/distributed")[0]


@pytest.mark.parametrize(
    "kind",
    ["fsdp", pytest.param("deepspeed", marks=pytest.mark.skipif(not installed("deepspeed"), reason="no deepspeed"))],
)
def test_weights_parted_between_processes_learn_the_same(alone, tmp_path, kind):
    """With the configs for GPUs, but for what a processor cannot: their number of processes and bfloat16."""
    import torch
    import yaml
    from safetensors.torch import load_file

    base, file, expected = alone
    config = yaml.safe_load((Path(next(iter(configs.__path__))) / f"{kind}.yaml").read_text())
    config |= {"num_processes": 2, "mixed_precision": "no", "use_cpu": kind == "fsdp"}  # DeepSpeed has its own switch
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    out = tmp_path / "out"
    launcher = ["accelerate.commands.launch", "--config_file", str(tmp_path / "config.yaml")]
    launcher += ["--main_process_port", str(free_port())]
    command = ["train", "sft", "--data", str(file), "--model", str(base), "--out", str(out), *_FLAGS]
    done = launched(launcher, "-m", "gpt4_instruct", *command, DS_ACCELERATOR="cpu")
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((out / "training.json").read_text())
    same(found, expected, within=1e-4)
    model = load_file(out / "model.safetensors")
    for name, weight in load_file(base.parent / "out" / "model.safetensors").items():
        torch.testing.assert_close(model[name], weight, atol=1e-3, rtol=1e-3)
    # As a kill in the last steps would have left it; each process has its own part of a checkpoint.
    for each in ("training.json", "model.safetensors"):
        (out / each).unlink()
    shutil.rmtree(out / "checkpoints" / "checkpoint-10")
    again = launched(launcher, "-m", "gpt4_instruct", *command, DS_ACCELERATOR="cpu")
    assert again.returncode == 0, again.stderr[-3000:]
    resumed = json.loads((out / "training.json").read_text())
    assert curve(resumed, "loss") == pytest.approx(curve(found, "loss"), abs=1e-6)
    for name, weight in load_file(out / "model.safetensors").items():
        torch.testing.assert_close(model[name], weight, atol=1e-6, rtol=1e-6)
