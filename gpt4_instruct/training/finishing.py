"""What every run comes down to, whatever it teaches: train, measure once more, write the model, then the facts."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.models import quiet
from gpt4_instruct.training.attention import SEGMENTS
from gpt4_instruct.training.hardware import describe_hardware, peak_flops
from gpt4_instruct.training.loading import use_template
from gpt4_instruct.training.recipes import RewardRecipe, SFTRecipe
from gpt4_instruct.training.runs import Run
from gpt4_instruct.training.stopping import why
from gpt4_instruct.training.trainer import train

__all__ = ["Trained", "accumulation", "finish"]


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished run.

    Attributes:
        folder: the model, its tokenizer and its card.
        facts: as in ``training.json``.
        main: whether this is the process that writes, the only one or the first of several.
    """

    folder: Path
    facts: dict[str, Any]
    main: bool = True


def accumulation(plan: SFTRecipe | RewardRecipe, devices: int) -> int:
    """Device batches in a step of one device, so that a step has `batch_size` rows over all devices.

    Raises:
        UsageError: there is no such number.
    """
    whole, rest = divmod(plan.batch_size, plan.device_batch * devices)
    if rest:
        raise UsageError(
            f"a batch of {plan.batch_size} rows cannot be parted into {plan.device_batch} rows on each of {devices} "
            "devices: change --batch-size or --device-batch"
        )
    return whole


def finish(
    trainer: Any,
    run: Run,
    plan: SFTRecipe | RewardRecipe,
    tokenizer: Any,
    known: Callable[[], dict[str, Any]],
    *,
    parameters: int,
    template: str,
    dtype: str,
) -> Trained:
    """Trains from where the run stands to its end, and writes what came of it.

    Args:
        trainer: of `exact_trainer`.
        run: where.
        plan: its recipe.
        tokenizer: is saved beside the model, with the chat template of `template`.
        known: what the run has learnt from: kind, base, data, tokens. It is asked at the end, for a stream is read on
            the way.
        parameters: of the base model, for its FLOP.
        template: ``"alpaca"`` or ``"chat"``.
        dtype: of the weights that are written: ``"float32"`` or ``"bfloat16"``.

    Raises:
        TrainingError, InterruptedRunError: as `trainer.train`.
        OutputError: a checkpoint or the model could not be written.
    """
    settings = trainer.args
    trainer.accelerator.wait_for_everyone()
    run.look()
    started = time.time()
    train(trainer, run, base_parameters=parameters, precision=plan.precision)
    seconds = time.time() - started
    if trainer.state.log_history and trainer.eval_dataset is not None and not _just_measured(trainer):
        trainer.evaluate()
    use_template(tokenizer, template)
    facts = known()
    with _told(run):
        _save(trainer, run, tokenizer, plan, dtype, facts["base"]["name"])
    peak = peak_flops(settings.device.type, plan.precision)
    facts = {
        **facts,
        # The base has a name of its own above; a folder of yours has no place in what goes with a model.
        "recipe": {**dataclasses.asdict(plan), "model": facts["base"]["name"]},
        "steps": trainer.state.global_step,
        "tokens_seen": int(trainer.state.num_input_tokens_seen),
        "seconds": round(seconds, 1),
        "hardware": {
            **describe_hardware(settings.device.type, settings.world_size),
            "peak_flops": peak and {"flops": peak[0], "from": peak[1]},
        },
        "held_out": _last_measured(trainer.state.log_history),
        "log": trainer.state.log_history,
    }
    if trainer.is_world_process_zero():
        with _told(run):
            run.finish(facts, keep=plan.keep_checkpoints)
    trainer.accelerator.wait_for_everyone()
    return Trained(run.folder, facts, trainer.is_world_process_zero())


@contextmanager
def _told(run: Run) -> Iterator[None]:
    """Says in one line that there was no room for the model; all of its steps are in the last checkpoint."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise OutputError(
            f"cannot write the model to {run.folder} ({why(error)}); its training is done and kept in {run.last()}: "
            "make room, and the same command goes on"
        ) from error


def _just_measured(trainer: Any) -> bool:
    step = trainer.state.global_step
    return any("eval_loss" in each and each["step"] == step for each in trainer.state.log_history)


def _last_measured(log: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The last metrics of what was held out, or none if nothing was."""
    measured = [each for each in log if "eval_loss" in each]
    if not measured:
        return None
    return {name.removeprefix("eval_"): value for name, value in measured[-1].items() if name.startswith("eval_")}


def _save(trainer: Any, run: Run, tokenizer: Any, plan: SFTRecipe | RewardRecipe, dtype: str, base: str) -> None:
    """Writes model and tokenizer: full weights also of adapters, which are kept beside them."""
    import torch
    from transformers import GenerationConfig

    model = trainer.accelerator.unwrap_model(trainer.model)
    whole = not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)
    if plan.lora and whole:
        if dtype == "float32":
            model.float()  # before adapters are added to weights that may have fewer digits
        for config in model.peft_config.values():
            config.base_model_name_or_path = base  # a folder of yours has no place in what goes with a model
        if trainer.is_world_process_zero():
            model.save_pretrained(run.folder / "adapter")
            (run.folder / "adapter" / "README.md").unlink(missing_ok=True)  # peft's, which says nothing
        model = model.merge_and_unload()  # each weight is added up in float32, and rounded once
    if whole:
        model.to(getattr(torch, dtype))
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    inner.config.use_cache = True
    if inner.config._attn_implementation == SEGMENTS:
        inner.set_attn_implementation("sdpa")
    if getattr(inner, "generation_config", None) is not None:  # the base's may not fit a model that samples
        inner.generation_config = GenerationConfig(
            do_sample=True,  # else a server that reads the folder would ignore a request's temperature
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    with quiet():
        if not whole:
            trainer.save_model(str(run.folder))
        elif trainer.is_world_process_zero():
            model.save_pretrained(run.folder)
        if trainer.is_world_process_zero():
            tokenizer.save_pretrained(run.folder)
