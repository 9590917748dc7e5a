"""Supervised tuning: LLaMA-GPT4, LLaMA-GPT4-CN, or any causal language model on any instruction data.

    rows ─▶ tokens with a mask ─▶ flat batches ─▶ the stock Trainer ─▶ model, tokenizer with its chat template, facts

Loss and gradient are those of padded batches and full logits, to the last bits; they cost less, because nothing is
computed for padding, for other rows' tokens, or for predictions of the prompt. Nothing depends on how a step's rows are
parted between devices and batches: the loss of a step is the mean over all of its supervised tokens.
"""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import SourceError, UsageError
from gpt4_instruct.models import quiet
from gpt4_instruct.records import Sample
from gpt4_instruct.training.attention import separate_rows
from gpt4_instruct.training.batches import flat_batch, pack, padded_batch
from gpt4_instruct.training.data import read, split
from gpt4_instruct.training.hardware import describe_hardware, peak_flops
from gpt4_instruct.training.loading import add_lora, find_base, load_causal, load_tokenizer, require, use_template
from gpt4_instruct.training.recipes import SFT_RECIPES, SFTRecipe, recipe
from gpt4_instruct.training.runs import Run, running
from gpt4_instruct.training.tokens import encode
from gpt4_instruct.training.trainer import arguments, exact_trainer, train

__all__ = ["Trained", "run_sft"]


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run.

    Attributes:
        folder: the model, its tokenizer and its card.
        facts: as in ``training.json``.
    """

    folder: Path
    facts: dict[str, Any]


def run_sft(
    data: Any,
    out: str | Path,
    *,
    model: str | None = None,
    recipe_: str | SFTRecipe = "llama-gpt4",
    limit: int | None = None,
    held_out: Any = None,
    overwrite: bool = False,
    **trainer_options: Any,
) -> Trained:
    """Tunes a model; see `gpt4_instruct.tuning.train_sft`, which also writes its card."""
    plan = recipe(SFT_RECIPES, recipe_)
    require(*(["peft"] if plan.lora else []))
    named = model or plan.model
    if named is None:
        raise UsageError("no base model: name one with --model")
    base = find_base(named)
    tokenizer = load_tokenizer(base.folder)
    rows = read(data, scored=False, limit=limit)
    if held_out is None:
        learnt, kept = split(rows.samples, plan.held_out, plan.seed)
    else:
        learnt, kept = rows.samples, read(held_out, scored=False).samples
    what = {
        "kind": "sft",
        "base": base.identity,
        "data": rows.sha256,
        "held_out": len(kept),
        "recipe": dataclasses.asdict(plan),
    }
    with running(Path(out), what, overwrite=overwrite) as run:
        return _run(run, plan, base, tokenizer, rows, learnt, kept, trainer_options)


def _run(
    run: Run,
    plan: SFTRecipe,
    base: Any,
    tokenizer: Any,
    rows: Any,
    learnt: list[Sample],
    kept: list[Sample],
    trainer_options: dict[str, Any],
) -> Trained:
    from transformers import set_seed

    counts: Counter[str] = Counter()
    encoded = encode(_dataset(learnt), tokenizer, plan.max_length, plan.template, counts=counts)
    measured = _measured(kept, tokenizer, plan)
    set_seed(plan.seed)  # of adapters' first weights
    loaded = load_causal(base, tokenizer, frozen=plan.lora is not None)
    parameters = sum(each.numel() for each in loaded.parameters())
    flat = separate_rows(loaded, plan.max_length)
    if plan.packing and not flat:
        raise UsageError(f"the attention of {base.name} cannot keep the rows of a pack apart: leave out --packing")
    model = add_lora(loaded, plan.lora) if plan.lora else loaded
    prepared = pack(encoded, plan.packing) if plan.packing else encoded
    projects_some = _takes(loaded, "logits_to_keep")

    def collate(features: list[dict[str, Any]]) -> dict[str, Any]:
        if flat:
            return flat_batch(features, project_all=not projects_some)
        return padded_batch(features, tokenizer.pad_token_id or 0)

    options: dict[str, Any] = (
        {} if flat else {"train_sampling_strategy": "group_by_length", "length_column_name": "length"}
    )
    if plan.packing:
        options["per_device_train_batch_size"] = 1
    settings = arguments(
        plan,
        run,
        accumulation=1,
        held_out=measured is not None,
        **{**options, **trainer_options},
    )
    settings.gradient_accumulation_steps = _accumulation(plan, len(encoded) / len(prepared), settings.world_size)
    trainer = exact_trainer()(
        model=model,
        args=settings,
        train_dataset=prepared,
        eval_dataset=measured,
        data_collator=collate,
        processing_class=tokenizer,
    )
    trainer.accelerator.wait_for_everyone()
    run.look()
    started = time.time()
    train(trainer, run, base_parameters=parameters, precision=plan.precision)
    seconds = time.time() - started
    if trainer.state.log_history and measured is not None and not _just_measured(trainer):
        trainer.evaluate()
    use_template(tokenizer, plan.template)
    _save(trainer, run, tokenizer, plan)
    peak = peak_flops(settings.device.type, plan.precision)
    facts = {
        "kind": "sft",
        "base": {"name": base.name, "identity": base.identity, "licence": base.licence, "parameters": parameters},
        "data": {**rows.facts(), "held_out_rows": len(kept)},
        "tokens": dict(counts),
        "template": plan.template,
        "recipe": dataclasses.asdict(plan),
        "steps": trainer.state.global_step,
        "tokens_seen": int(trainer.state.num_input_tokens_seen),
        "seconds": round(seconds, 1),
        "hardware": {
            **describe_hardware(settings.device.type, settings.world_size),
            "peak_flops": peak and {"flops": peak[0], "from": peak[1]},
        },
        "log": trainer.state.log_history,
    }
    if trainer.is_world_process_zero():
        run.finish(facts)
    trainer.accelerator.wait_for_everyone()
    return Trained(run.folder, facts)


def _dataset(samples: list[Sample]) -> Any:
    from datasets import Dataset

    columns = ("instruction", "input", "output")
    return Dataset.from_dict({name: [getattr(each, name) for each in samples] for name in columns})


def _measured(kept: list[Sample], tokenizer: Any, plan: SFTRecipe) -> Any:
    """The held-out rows as tokens, or none where they have nothing to say."""
    if not kept:
        return None
    try:
        return encode(_dataset(kept), tokenizer, plan.max_length, plan.template)
    except SourceError:  # all too long
        return None


def _takes(model: Any, argument: str) -> bool:
    import inspect

    return argument in inspect.signature(model.forward).parameters


def _accumulation(plan: SFTRecipe, rows_each: float, devices: int) -> int:
    """Device batches in a step of one device, so that a step has `batch_size` rows over all devices."""
    if plan.packing:
        return max(1, round(plan.batch_size / (rows_each * devices)))
    whole, rest = divmod(plan.batch_size, plan.device_batch * devices)
    if rest:
        raise UsageError(
            f"a batch of {plan.batch_size} rows cannot be parted into {plan.device_batch} rows on each of {devices} "
            "devices: change --batch-size or --device-batch"
        )
    return whole


def _just_measured(trainer: Any) -> bool:
    step = trainer.state.global_step
    return any("eval_loss" in each and each["step"] == step for each in trainer.state.log_history)


def _save(trainer: Any, run: Run, tokenizer: Any, plan: SFTRecipe) -> None:
    """Writes model and tokenizer: full weights also of adapters, which are kept beside them."""
    import torch

    model = trainer.accelerator.unwrap_model(trainer.model)
    whole = not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)
    if plan.lora and whole:
        if trainer.is_world_process_zero():
            model.save_pretrained(run.folder / "adapter")
        model = model.merge_and_unload()
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner.config.use_cache = True
    inner.set_attn_implementation("sdpa")
    generation = inner.generation_config
    generation.eos_token_id = tokenizer.eos_token_id
    generation.pad_token_id = tokenizer.pad_token_id
    generation.do_sample = True  # else a server that reads the folder would ignore a request's temperature
    with quiet():
        if whole:
            if trainer.is_world_process_zero():
                model.to(torch.bfloat16 if plan.precision == "bf16" else torch.float32)
                model.save_pretrained(run.folder)
        else:
            trainer.save_model(str(run.folder))
        if trainer.is_world_process_zero():
            tokenizer.save_pretrained(run.folder)
