"""Tuning and its preparation beside trl's, on this machine, in one run.

    python tests/benchmarks/training.py [--precision fp32 bf16] [--steps 5] [--only sft reward prepare]

Both sides tune SmolLM2-135M (on a GPU: a LLaMA-shaped model of random weights) on the same rows, tokenized once, with
the same effective batch, optimizer and precision, each in a fresh process; trl in an environment of its own, with each of
its settings that could be its fastest, of which the fastest counts. Rows are real ones where the samples are present
(``../shared/data``), else the packaged seeds. The losses of both sides' steps are compared, too: a faster step that
learns something else would be none.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parent))

import peers

from gpt4_instruct.prompts.tasks import render_alpaca

ROOT = Path(__file__).parents[2]
SAMPLES = Path(os.environ.get("GPT4_INSTRUCT_SHARED_DATA", ROOT.parent / "shared" / "data"))
_CACHE = Path("~/.cache/gpt4-instruct-peers")
_PARTS = ("sft", "reward", "prepare")
# LLaMA's shapes: hidden, feed-forward, layers, heads.
_SHAPES = {"1.3B": (2048, 5504, 24, 16), "7B": (4096, 11008, 32, 32)}
_TIMEOUT_S = 3_000

Line = tuple[str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=("fp32", "bf16"))
    parser.add_argument("--steps", type=int, default=5, help="of each side; the first is not timed")
    parser.add_argument("--batch-size", type=int, default=8, help="rows (prompts of a reward model) in a step")
    parser.add_argument("--bf16-batch-size", type=int, default=None, help="another one for bf16, where it is slow")
    parser.add_argument("--prepare-rows", type=int, default=10_000)
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=_PARTS)
    parser.add_argument("--peers-venv", type=Path, default=_CACHE, metavar="DIR")
    options = parser.parse_args()
    python = peers.install("trl", options.peers_venv.expanduser())
    lines: list[Line] = [("what", "measured", "wanted")]
    with tempfile.TemporaryDirectory(prefix="gpt4-instruct-bench-") as name:
        folder = Path(name)
        import torch

        gpu = torch.cuda.is_available()
        model = _smollm2()
        if "sft" in options.only:
            for precision in options.precision:
                size = (options.bf16_batch_size if precision == "bf16" else None) or options.batch_size
                lines += sft(folder, model, python, precision, options.steps, size)
            if gpu:
                for shape in _SHAPES:
                    lines += packed_on_gpu(folder, shape, python, options.steps)
        if "reward" in options.only:
            for precision in options.precision:
                size = (options.bf16_batch_size if precision == "bf16" else None) or options.batch_size
                lines += reward(folder, model, python, precision, options.steps, size)
        if "prepare" in options.only:
            lines += prepare(folder, model, python, options.prepare_rows)
    widths = [max(len(line[column]) for line in lines) for column in range(3)]
    for number, line in enumerate(lines):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |")
        if number == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def _smollm2() -> str:
    from gpt4_instruct.models import smollm2_folder

    return str(smollm2_folder())


# --- what is measured -------------------------------------------------------------------------------------------------


def sft(folder: Path, model: str, python: Path | None, precision: str, steps: int, size: int) -> list[Line]:
    """Supervised tokens a second."""
    job = _job(model, precision, steps, size)
    chosen = answered(steps * size)
    job |= {"rows": chosen, "encoded": encoded(chosen, model, job["max_length"])}
    bare = run("bare", {**job, "tokens": 1024, "rounds": 3 if precision == "fp32" else 1}, folder)
    lines = [(f"{precision}, bare forward and backward of 1,024 tokens: tokens/s", _rate(1024 / bare["seconds"]), "")]
    ours = run("ours-sft", job, folder)
    mine = speed(ours)
    each = f"{size} rows a step, {len(ours['seconds'])} steps"
    lines.append((f"{precision}, tuning, {each}: supervised tokens/s", _rate(mine), ""))
    theirs: dict[str, float] = {}
    for setting in ("alone", "flat", "grouped"):
        if python is None:
            break
        found = run("trl-sft", {**job, "setting": setting}, folder, python)
        theirs[setting] = speed(found)
        lines.append(
            (f"{precision}, trl {peers.version('trl')}, {setting}: supervised tokens/s", _rate(theirs[setting]), "")
        )
        if setting == "alone":
            apart = max(abs(a - b) for a, b in zip(ours["losses"], found["losses"], strict=True))
            lines.append((f"{precision}, largest difference of a step's loss to it", f"{apart:.1e}", "1e-3"))
    if theirs:
        lines.append((f"{precision}, tuning: ours / trl's fastest", f"{mine / max(theirs.values()):.2f}", "1.3"))
    return lines


def packed_on_gpu(folder: Path, shape: str, python: Path | None, steps: int) -> list[Line]:
    """A LLaMA-shaped model of random weights in bf16, packs of 2,048 tokens."""
    model = random_llama(folder / shape, shape)
    job = _job(model, "bf16", steps, 64)
    chosen = answered(steps * 64 * 2)
    job |= {"rows": chosen, "packing": 2048, "checkpointing": shape == "7B", "max_length": 512}
    packs = _packs(chosen, model, 2048)
    job |= {"packs": packs, "accumulation": max(1, round(64 * len(packs) / len(chosen)))}
    lines = []
    found = {"ours": run("ours-sft", job, folder)}
    if python is not None:
        found["trl"] = run("trl-sft", {**job, "setting": "packed"}, folder, python)
    for name, each in found.items():
        lines.append((f"{shape}, bf16, packs of 2,048, {name}: supervised tokens/s", _rate(speed(each)), ""))
        lines.append((f"{shape}, {name}: peak memory", f"{each['memory_mb'] / 1024:.1f} GiB", ""))
    return lines


def reward(folder: Path, model: str, python: Path | None, precision: str, steps: int, size: int) -> list[Line]:
    """Prompts with three answers of different scores, a second."""
    comparisons, pairs = compared(steps * size)
    job = _job(model, precision, steps, size) | {"comparisons": comparisons, "pairs": pairs}
    ours = run("ours-reward", job, folder)
    mine = size / median(ours["seconds"][1:])
    lines = [(f"{precision}, reward, {size} prompts of three answers a step: prompts/s", f"{mine:.2f}", "")]
    theirs = {}
    for setting, each in (("alone", 1), ("padded", 3), ("padded", 3 * size)):
        if python is None:
            break
        found = run("trl-reward", {**job, "setting": setting, "per_device": each}, folder, python)
        theirs[each] = size / median(found["seconds"][1:])
        lines.append((f"{precision}, trl, {each} pairs at once: prompts/s", f"{theirs[each]:.2f}", ""))
    if theirs:
        lines.append((f"{precision}, reward: ours / trl's fastest", f"{mine / max(theirs.values()):.2f}", "1.8"))
    return lines


def prepare(folder: Path, model: str, python: Path | None, count: int) -> list[Line]:
    """Rows into token ids with their mask."""
    chosen = answered(count)
    for each in chosen:
        each["prompt"] = render_alpaca(each["instruction"], each["input"])
    # trl prepares for a trainer, which needs a model: a small one.
    job = _job(str(_tiny(folder, model)), "fp32", 1, 1) | {"rows": chosen}
    rounds = [run("ours-prepare", job, folder) for _ in range(3)]
    mine = max(each["rows"] / each["seconds"] for each in rounds)
    lines = [(f"preparing {count:,} rows: rows/s", _rate(mine), "")]
    theirs = {}
    for processes in (None, os.cpu_count()):
        if python is None:
            break
        found = run("trl-prepare", {**job, "processes": processes}, folder, python)
        theirs[processes] = found["rows"] / found["seconds"]
        how = f"{processes} processes" if processes else "in this process"
        lines.append((f"trl, {how}: rows/s", _rate(theirs[processes]), ""))
    if theirs:
        lines.append(("preparing: ours / trl's fastest", f"{mine / max(theirs.values()):.2f}", "2"))
    return lines


# --- what both sides get ----------------------------------------------------------------------------------------------


def _job(model: str, precision: str, steps: int, size: int) -> dict[str, Any]:
    import torch

    return {
        "model": model,
        "precision": precision,
        "steps": steps,
        "batch_size": size,
        "max_length": 512,
        "packing": None,
        "checkpointing": False,
        "gpu": torch.cuda.is_available(),
        "init": {},
    }


def answered(count: int) -> list[dict[str, str]]:
    """So many rows, in a random order that is always the same; repeated where there are not enough."""
    file = SAMPLES / "alpaca_gpt4_en_500.json"
    if file.is_file():
        known = json.loads(file.read_text(encoding="utf-8"))
    else:
        seeds = (ROOT / "gpt4_instruct/sources/seeds.jsonl").read_text(encoding="utf-8").splitlines()
        known = [{**json.loads(line), "output": json.loads(line)["label"]} for line in seeds]
    chosen = [
        {name: each[name] for name in ("instruction", "input", "output")} for each in known if each["output"].strip()
    ]
    random.Random(0).shuffle(chosen)
    return [dict(each) for each in (chosen * (1 + count // len(chosen)))[:count]]


def encoded(rows: list[dict[str, str]], model: str, max_length: int) -> list[dict[str, Any]]:
    from datasets import Dataset

    from gpt4_instruct.training.loading import load_tokenizer
    from gpt4_instruct.training.tokens import encode

    found = encode(Dataset.from_list(rows), load_tokenizer(Path(model)), max_length)
    return [{**each, "seq_lengths": [each["length"]]} for each in found]


def _packs(rows: list[dict[str, str]], model: str, capacity: int) -> list[dict[str, Any]]:
    from datasets import Dataset

    from gpt4_instruct.training.batches import pack
    from gpt4_instruct.training.loading import load_tokenizer
    from gpt4_instruct.training.tokens import encode

    found = pack(encode(Dataset.from_list(rows), load_tokenizer(Path(model)), 512), capacity)
    return [{**each, "seq_lengths": each["lengths"]} for each in found]


def compared(count: int) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Prompts with three answers, of different scores, and all of their pairs in trl's columns."""
    rows = answered(3 * count)
    comparisons, pairs = [], []
    for number in range(count):
        prompt = render_alpaca(rows[number]["instruction"], rows[number]["input"])
        answers = [rows[number + shift * count]["output"] for shift in range(3)]
        scored = [
            {"response": text, "source": str(score), "score": score}
            for text, score in zip(answers, (9, 6, 3), strict=True)
        ]
        comparisons.append({"user_input": prompt, "responses_and_scores": scored})
        for better, worse in ((0, 1), (0, 2), (1, 2)):
            pairs.append({"prompt": prompt, "chosen": answers[better], "rejected": answers[worse]})
    return comparisons, pairs


def random_llama(folder: Path, shape: str) -> str:
    """A LLaMA of a shape with random weights and SmolLM2's tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    hidden, wide, layers, heads = _SHAPES[shape]
    tokenizer = AutoTokenizer.from_pretrained(_smollm2())
    config = LlamaConfig(
        vocab_size=32_000 if len(tokenizer) <= 32_000 else len(tokenizer),
        hidden_size=hidden,
        intermediate_size=wide,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def _tiny(folder: Path, model: str) -> Path:
    """A model of hardly any weights with another one's tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    tokenizer = AutoTokenizer.from_pretrained(model)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "tiny")
    tokenizer.save_pretrained(folder / "tiny")
    return folder / "tiny"


# --- running and reading ----------------------------------------------------------------------------------------------


def run(side: str, job: dict[str, Any], folder: Path, python: Path | None = None) -> dict[str, Any]:
    """One side's measurement, in a fresh process with caches of its own."""
    source, target = folder / "job.json", folder / "result.json"
    source.write_text(json.dumps({**job, "out": str(folder / "out")}))
    home = Path(tempfile.mkdtemp(dir=folder))
    environment = {
        **os.environ,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "PYTHONWARNINGS": "ignore",
    }
    command = [
        str(python or sys.executable),
        str(Path(__file__).with_name("training_sides.py")),
        side,
        str(source),
        str(target),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S)
    if done.returncode:
        sys.exit(f"{side} failed:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(target.read_text())
    return found


def speed(found: dict[str, Any]) -> float:
    """Supervised tokens a second over all steps but the first."""
    return float(sum(found["supervised"][1:]) / sum(found["seconds"][1:]))


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


if __name__ == "__main__":
    main()
