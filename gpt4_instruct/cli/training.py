"""The part of the command line that tunes a model and talks with it. `app` brings the parts together."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gpt4_instruct.training.finishing import Trained
    from gpt4_instruct.training.recipes import LoRA

__all__ = ["add_commands"]

train_app = typer.Typer(help="Tune a model: supervised, or as a reward model.", no_args_is_help=True)

_Data = Annotated[
    str, typer.Option(help="A file, FOLDER:SPLIT, hub:ID, released:NAME or the URL of shards.", show_default=False)
]
_Out = Annotated[Path, typer.Option(help="The folder for the model; checkpoints are in it.", show_default=False)]
_Model = Annotated[str | None, typer.Option(help="A folder, ORG/NAME@REVISION or smollm2. (default: the recipe's)")]
_Limit = Annotated[int | None, typer.Option(help="Most rows to read. (default: all)")]
_HeldOutData = Annotated[
    str | None, typer.Option(help="Rows to measure on. (default: a share of the prompts in --data)")
]
_HeldOut = Annotated[float | None, typer.Option(help="Share of the prompts to measure on. (default: the recipe's)")]
_Epochs = Annotated[float | None, typer.Option(help="Passes over the data. (default: the recipe's)")]
_MaxSteps = Annotated[int | None, typer.Option(help="End after so many steps. (default: go by epochs)")]
_LearningRate = Annotated[float | None, typer.Option(help="At its highest. (default: the recipe's)")]
_BatchSize = Annotated[int | None, typer.Option(help="Rows in a step, over all devices. (default: the recipe's)")]
_DeviceBatch = Annotated[
    int | None, typer.Option(help="Rows a device takes at once; it learns the same. (default: the recipe's)")
]
_MaxLength = Annotated[int | None, typer.Option(help="Most tokens of a row. (default: the recipe's)")]
_Precision = Annotated[str | None, typer.Option(help="bf16 or fp32. (default: the recipe's)")]
_Checkpointing = Annotated[
    bool | None,
    typer.Option("--checkpointing/--no-checkpointing", help="Compute activations twice to save memory."),
]
_Lora = Annotated[bool, typer.Option("--lora", help="Train adapters, not the whole model; they are merged at the end.")]
_LoraRank = Annotated[int | None, typer.Option(help="Of the adapters; implies --lora. (default: 16)")]
_Seed = Annotated[int | None, typer.Option(help="Of order, dropout and new weights. (default: the recipe's)")]
_SaveSteps = Annotated[int | None, typer.Option(help="A checkpoint every so many steps. (default: each epoch)")]
_Keep = Annotated[bool, typer.Option("--keep-checkpoints", help="All of them, also after the end. (default: none)")]
_Overwrite = Annotated[
    bool,
    typer.Option("--overwrite", help="A finished run, or another one, gives way; the same unfinished one goes on."),
]
_Stream = Annotated[
    bool | None,
    typer.Option("--stream/--no-stream", help="Read rows on the way, as many as there are. (default: a URL's)"),
]
_Window = Annotated[int, typer.Option(help="Rows of a stream that are shuffled together.")]


def add_commands(app: typer.Typer) -> None:
    """Adds ``train`` and ``chat``."""
    app.add_typer(train_app, name="train")
    app.command()(chat)


@train_app.command("sft")
def train_sft(
    data: _Data,
    out: _Out,
    model: _Model = None,
    recipe: Annotated[str, typer.Option(help="llama-gpt4, llama-gpt4-cn or smollm2-demo.")] = "llama-gpt4",
    template: Annotated[
        str | None, typer.Option(help="alpaca, or chat: the base model's own. (default: alpaca)")
    ] = None,
    packing: Annotated[
        int | None, typer.Option(help="Lay rows into packs of so many tokens. (default: the recipe's)")
    ] = None,
    limit: _Limit = None,
    held_out: _HeldOut = None,
    held_out_data: _HeldOutData = None,
    epochs: _Epochs = None,
    max_steps: _MaxSteps = None,
    learning_rate: _LearningRate = None,
    batch_size: _BatchSize = None,
    device_batch: _DeviceBatch = None,
    max_length: _MaxLength = None,
    precision: _Precision = None,
    checkpointing: _Checkpointing = None,
    lora: _Lora = False,
    lora_rank: _LoraRank = None,
    seed: _Seed = None,
    save_steps: _SaveSteps = None,
    keep_checkpoints: _Keep = False,
    overwrite: _Overwrite = False,
    stream: _Stream = None,
    window: _Window = 10_000,
) -> None:
    """Tune a model on instructions and answers: LLaMA-GPT4, LLaMA-GPT4-CN, or any other.

    The same command goes on where it stopped. On several GPUs: torchrun --nproc-per-node 8 -m gpt4_instruct train sft
    """
    from gpt4_instruct.training.recipes import SFT_RECIPES, changed
    from gpt4_instruct.training.recipes import recipe as known
    from gpt4_instruct.tuning import train_sft as run

    plan = changed(
        known(SFT_RECIPES, recipe),
        template=template,
        packing=packing,
        held_out=held_out,
        epochs=epochs,
        max_steps=max_steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        device_batch=device_batch,
        max_length=max_length,
        precision=precision,
        checkpointing=checkpointing,
        lora=_lora(lora, lora_rank),
        seed=seed,
        save_steps=save_steps,
        keep_checkpoints=keep_checkpoints or None,
    )
    trained = run(
        data,
        out,
        model=model,
        recipe=plan,
        limit=limit,
        held_out_data=held_out_data,
        overwrite=overwrite,
        stream=stream,
        window=window,
    )
    _tell(trained, f"gpt4-instruct chat {shlex.quote(str(out))}")


@train_app.command("reward")
def train_reward(
    data: _Data,
    out: _Out,
    model: _Model = None,
    recipe: Annotated[str, typer.Option(help="opt-1.3b or smollm2-demo.")] = "opt-1.3b",
    margin: Annotated[
        float | None, typer.Option(help="Rewards are to differ by so much a point of score. (default: the recipe's)")
    ] = None,
    centering: Annotated[
        float | None, typer.Option(help="Weight of keeping rewards around 0. (default: the recipe's)")
    ] = None,
    limit: _Limit = None,
    held_out: _HeldOut = None,
    held_out_data: _HeldOutData = None,
    epochs: _Epochs = None,
    max_steps: _MaxSteps = None,
    learning_rate: _LearningRate = None,
    batch_size: _BatchSize = None,
    device_batch: _DeviceBatch = None,
    max_length: _MaxLength = None,
    precision: _Precision = None,
    checkpointing: _Checkpointing = None,
    lora: _Lora = False,
    lora_rank: _LoraRank = None,
    seed: _Seed = None,
    save_steps: _SaveSteps = None,
    keep_checkpoints: _Keep = False,
    overwrite: _Overwrite = False,
    stream: _Stream = None,
    window: _Window = 10_000,
) -> None:
    """Tune a reward model on scored answers; of two answers to a prompt, the better one gets the higher reward.

    Batches count prompts, each with all its answers. The same command goes on where it stopped.
    """
    from gpt4_instruct.training.recipes import REWARD_RECIPES, changed
    from gpt4_instruct.training.recipes import recipe as known
    from gpt4_instruct.tuning import train_reward as run

    plan = changed(
        known(REWARD_RECIPES, recipe),
        margin=margin,
        centering=centering,
        held_out=held_out,
        epochs=epochs,
        max_steps=max_steps,
        learning_rate=learning_rate,
        batch_size=batch_size,
        device_batch=device_batch,
        max_length=max_length,
        precision=precision,
        checkpointing=checkpointing,
        lora=_lora(lora, lora_rank),
        seed=seed,
        save_steps=save_steps,
        keep_checkpoints=keep_checkpoints or None,
    )
    trained = run(
        data,
        out,
        model=model,
        recipe=plan,
        limit=limit,
        held_out_data=held_out_data,
        overwrite=overwrite,
        stream=stream,
        window=window,
    )
    _tell(trained, f"gpt4-instruct rank ANSWERS.jsonl {shlex.quote(str(out))}")


def _lora(wanted: bool, rank: int | None) -> LoRA | None:
    from gpt4_instruct.training.recipes import LoRA

    if rank is not None:
        return LoRA(rank=rank, alpha=2 * rank)
    return LoRA() if wanted else None


def _tell(trained: Trained, following: str) -> None:
    """A run's end, in the first of its processes."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    if not trained.main:
        return
    facts, log = trained.facts, trained.facts["log"]
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), show_header=False)
    measured = [each for each in log if "eval_loss" in each]
    losses = [each["loss"] for each in log if "loss" in each]
    speeds = [each["tokens_per_second"] for each in log if "tokens_per_second" in each]
    lines: list[tuple[str, Any]] = [
        ("base model", facts["base"]["name"]),
        ("rows learnt from", f"{facts['data']['rows'] - facts['data']['held_out_rows']:,}"),
        ("rows held out", f"{facts['data'].get('held_out_measured', facts['data']['held_out_rows']):,}"),
        ("steps", f"{facts['steps']:,}"),
        ("tokens", f"{facts['tokens_seen']:,} in {facts['seconds']:,.0f} s"),
    ]
    if losses:
        lines.append(("loss", f"{losses[0]:.3f} to {losses[-1]:.3f}"))
    if measured:
        lines.append(("held-out loss", f"{measured[0]['eval_loss']:.3f} to {measured[-1]['eval_loss']:.3f}"))
        if "eval_accuracy" in measured[-1]:
            lines.append(("held-out accuracy", f"{measured[-1]['eval_accuracy']:.1%} of pairs"))
    if speeds:
        lines.append(("tokens a second, median", f"{sorted(speeds)[len(speeds) // 2]:,.0f}"))
    for name, value in lines:
        table.add_row(name, str(value))
    Console().print(table)
    typer.echo(f"the model is in {trained.folder}, its card is README.md there; next: {following}")


@train_app.command("preview")
def preview(
    data: _Data,
    model: Annotated[str, typer.Option(help="Whose tokenizer: a folder, Hub id or smollm2.")] = "smollm2",
    template: Annotated[str, typer.Option(help="alpaca, or chat: the model's own.")] = "alpaca",
    max_length: Annotated[int, typer.Option(help="Most tokens of a row.")] = 512,
    row: Annotated[int, typer.Option(help="Which row, from 0.", min=0)] = 0,
    ids: Annotated[bool, typer.Option("--ids", help="Show each token's id, too.")] = False,
) -> None:
    """Show one row as the model reads it: its tokens, and which of them are learnt."""
    from gpt4_instruct.training.preview import preview as run

    run(data, model, max_length=max_length, template=template, row=row, ids=ids)


def chat(
    model: Annotated[str, typer.Argument(help="A model's folder, a Hub id or smollm2.", show_default=False)],
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 0.7,
    top_p: Annotated[float, typer.Option(help="Nucleus mass.")] = 0.9,
    max_tokens: Annotated[int, typer.Option(help="Most tokens in an answer.")] = 512,
    system: Annotated[str | None, typer.Option(help="Stands before the conversation. (default: nothing)")] = None,
    seed: Annotated[int | None, typer.Option(help="Gives the same answers again. (default: others each time)")] = None,
) -> None:
    """Talk with a model, in English or Chinese. From a pipe, each line is a question and each answer a line."""
    from gpt4_instruct.chat import chat as run

    run(model, temperature=temperature, top_p=top_p, max_tokens=max_tokens, system=system, seed=seed)
