"""One measurement of `training.py`, in a fresh process of the side it is of: ours, trl's in its own environment, or bare.

    ENVIRONMENT/bin/python tests/benchmarks/training_sides.py SIDE job.json result.json

trl's sides import nothing of ours. What a step takes is timed on both sides by the same callback, from the beginning of
a step to its end, the optimizer's part included, without the first step, which warms up.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

Job = dict[str, Any]


def timed() -> list[float]:
    """The seconds of each step of every Trainer made from now on."""
    import torch
    from transformers import TrainerCallback, trainer

    seconds: list[float] = []

    def now() -> float:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        return time.perf_counter()

    class Timer(TrainerCallback):
        def on_step_begin(self, *given: Any, **more: Any) -> None:
            self.started = now()

        def on_step_end(self, *given: Any, **more: Any) -> None:
            seconds.append(now() - self.started)

    trainer.DEFAULT_CALLBACKS.append(Timer)
    return seconds


def memory_mb() -> float:
    """The peak so far: of the GPU where there is one, else of this process."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def outcome(seconds: list[float], log: list[dict[str, Any]], **more: Any) -> Job:
    losses = [each["loss"] for each in log if "loss" in each]
    return {"seconds": seconds, "losses": losses, "memory_mb": memory_mb(), **more}


# --- bare -------------------------------------------------------------------------------------------------------------


def bare(job: Job) -> Job:
    """Forward and backward of one text of 1,024 tokens and all of its logits, nothing else."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32).train()
    ids = torch.arange(job["tokens"])[None] + 500
    best = float("inf")
    for _ in range(job["rounds"]):
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=job["precision"] == "bf16"):
            loss = model(input_ids=ids, labels=ids, use_cache=False).loss
        loss.backward()
        model.zero_grad()
        best = min(best, time.perf_counter() - started)
    return {"seconds": best, "tokens": job["tokens"]}


# --- ours -------------------------------------------------------------------------------------------------------------


def ours_sft(job: Job) -> Job:
    from gpt4_instruct.training.recipes import SFTRecipe
    from gpt4_instruct.training.sft import run_sft

    seconds = timed()
    plan = SFTRecipe(
        model=job["model"],
        max_length=job["max_length"],
        epochs=100,
        max_steps=job["steps"],
        batch_size=job["batch_size"],
        device_batch=job["batch_size"],
        precision=job["precision"],
        packing=job["packing"],
        checkpointing=job["checkpointing"],
        held_out=0.0,
    )
    rows = [
        {"instruction": each["instruction"], "input": each["input"], "output": each["output"]} for each in job["rows"]
    ]
    facts = run_sft(rows, job["out"], plan=plan, overwrite=True).facts
    logged = [each for each in facts["log"] if "loss" in each]
    supervised = [
        round(each["supervised_tokens_per_second"] * took) for each, took in zip(logged, seconds, strict=True)
    ]
    return outcome(seconds, facts["log"], supervised=supervised)


def ours_reward(job: Job) -> Job:
    from gpt4_instruct.training.recipes import RewardRecipe
    from gpt4_instruct.training.reward import run_reward

    seconds = timed()
    plan = RewardRecipe(
        model=job["model"],
        max_length=job["max_length"],
        epochs=100,
        max_steps=job["steps"],
        batch_size=job["batch_size"],
        device_batch=job["batch_size"],
        precision=job["precision"],
        held_out=0.0,
    )
    facts = run_reward(job["comparisons"], job["out"], plan=plan, overwrite=True).facts
    return outcome(seconds, facts["log"])


def ours_prepare(job: Job) -> Job:
    from datasets import Dataset
    from transformers import AutoTokenizer

    from gpt4_instruct.training.tokens import encode

    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    rows = Dataset.from_list(job["rows"])
    started = time.perf_counter()
    found = encode(rows, tokenizer, job["max_length"])
    return {"seconds": time.perf_counter() - started, "rows": len(found)}


# --- trl --------------------------------------------------------------------------------------------------------------


def trl_arguments(job: Job) -> Job:
    return {
        "output_dir": job["out"],
        "max_steps": job["steps"],
        "learning_rate": 2e-5,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.03,
        "weight_decay": 0.0,
        "bf16": job["precision"] == "bf16",
        "use_cpu": not job["gpu"],
        "gradient_checkpointing": job["checkpointing"],
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "model_init_kwargs": {"dtype": "float32", **job["init"]},
    }


def trl_sft(job: Job) -> Job:
    """Settings: ``alone`` (one row at a time, so no padding), ``flat`` (padding-free), ``grouped`` (padded, by length),
    ``packed``.
    """
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    seconds = timed()
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    batch = job["batch_size"]
    settings: dict[str, Job] = {
        "alone": {"per_device_train_batch_size": 1, "gradient_accumulation_steps": batch},
        "flat": {
            "per_device_train_batch_size": batch,
            "padding_free": True,
            "max_length": None,
            "dataset_kwargs": {"skip_prepare_dataset": True},
        },
        "grouped": {"per_device_train_batch_size": batch, "train_sampling_strategy": "group_by_length"},
        "packed": {
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": job.get("accumulation", 1),
            "padding_free": True,
            "max_length": None,
            "dataset_kwargs": {"skip_prepare_dataset": True},
        },
    }
    chosen = {"max_length": job["max_length"], **settings[job["setting"]]}
    # What is already tokens it takes as it is, so that both sides learn from the very same.
    columns = ["input_ids", "labels", *(["seq_lengths"] if job["setting"] in {"flat", "packed"} else [])]
    source = job["packs"] if job["setting"] == "packed" else job["encoded"]
    data = Dataset.from_dict({name: [each[name] for each in source] for name in columns})
    trainer = SFTTrainer(
        model=job["model"],
        args=SFTConfig(**{**trl_arguments(job), **chosen}),
        train_dataset=data,
        processing_class=tokenizer,
    )
    learnt: list[int] = []
    whole = trainer._get_num_items_in_batch

    def counted(samples: Any, device: Any) -> Any:
        found = whole(samples, device)
        learnt.append(int(found))
        return found

    trainer._get_num_items_in_batch = counted
    trainer.train()
    return outcome(seconds, trainer.state.log_history, supervised=learnt[: len(seconds)])


def trl_reward(job: Job) -> Job:
    """All pairs of each prompt, one step over as many prompts as ours; settings ``alone`` (a pair at a time) and
    ``padded`` (``per_device`` pairs at a time).
    """
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    seconds = timed()
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    if tokenizer.pad_token_id == tokenizer.eos_token_id or tokenizer.pad_token_id is None:
        # trl does not make room for a new token, so it gets one that is there and ends nothing.
        tokenizer.pad_token = next(each for each in tokenizer.all_special_tokens if each != tokenizer.eos_token)
    pairs = job["batch_size"] * 3
    each = 1 if job["setting"] == "alone" else job["per_device"]
    trainer = RewardTrainer(
        model=job["model"],
        args=RewardConfig(
            **{
                **trl_arguments(job),
                "max_length": job["max_length"],
                "per_device_train_batch_size": each,
                "gradient_accumulation_steps": pairs // each,
            }
        ),
        train_dataset=Dataset.from_list(job["pairs"]),
        processing_class=tokenizer,
    )
    trainer.train()
    return outcome(seconds, trainer.state.log_history)


def trl_prepare(job: Job) -> Job:
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    spent: list[float] = []
    prepare = SFTTrainer._prepare_dataset

    def clocked(*given: Any, **more: Any) -> Any:
        started = time.perf_counter()
        found = prepare(*given, **more)
        spent.append(time.perf_counter() - started)
        return found

    SFTTrainer._prepare_dataset = clocked
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    data = Dataset.from_list([{"prompt": each["prompt"], "completion": each["output"]} for each in job["rows"]])
    trainer = SFTTrainer(
        model=job["model"],
        args=SFTConfig(**trl_arguments(job), max_length=job["max_length"], dataset_num_proc=job["processes"]),
        train_dataset=data,
        processing_class=tokenizer,
    )
    return {"seconds": spent[0], "rows": len(trainer.train_dataset)}


if __name__ == "__main__":
    side, source, target = sys.argv[1:]
    if side.startswith("ours"):
        sys.path.insert(0, str(Path(__file__).parents[2]))
    Path(target).write_text(json.dumps(globals()[side.replace("-", "_")](json.loads(Path(source).read_text()))))
