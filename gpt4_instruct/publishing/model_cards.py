"""Renders the card of a tuned model from its `training.json`: what it is, how to ask it, how it came about.

facts of a run ─▶ README.md (YAML for the Hub, then prose) and training.png, in the model's folder
a recipe       ─▶ the same card before any run: each number that a run fills in reads "not run yet"
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import MissingExtraError
from gpt4_instruct.figures.training import draw_training
from gpt4_instruct.prompts.tasks import ALPACA, ALPACA_NO_INPUT
from gpt4_instruct.publishing.card_parts import merge_card, read_card
from gpt4_instruct.publishing.evaluation_results import (
    Result,
    eval_results,
    evaluation_of,
    forget_evaluation,
    results_table,
)
from gpt4_instruct.publishing.origins import HUB_ID, Origin, joint_licence, origin_of
from gpt4_instruct.publishing.rendering import render
from gpt4_instruct.publishing.run_tables import (
    NOT_RUN,
    data_table,
    effort_table,
    evaluation_table,
    held_out,
    left_out,
    losses_table,
    parted,
    perplexity,
    reward_tables,
    settings_table,
)
from gpt4_instruct.sources.released import RELEASED
from gpt4_instruct.storage import replace_text

__all__ = ["render_model_card", "write_model_card"]

_FIGURE = "training.png"
_PLACE = "PATH_OR_REPOSITORY"
_PEFT = "# Model Card for Model ID"  # heads the empty form that peft leaves beside adapters
_LANGUAGES = {"en": "English", "zh": "Chinese"}
# What is asked in a card's examples: a question, a task with an input, and two answers to the question.
_EXAMPLES = {
    "en": (
        "Name the largest planet.",
        ("Put this into the plural.", "the mouse"),
        ("The largest planet of the solar system is Jupiter.", "No."),
    ),
    "zh": ("最大的行星是哪一颗？", ("把这句话改成问句。", "他会来。"), ("太阳系最大的行星是木星。", "不。")),
}


def render_model_card(
    facts: dict[str, Any],
    *,
    title: str | None = None,
    figure: str | None = None,
    whole: bool = True,
    command: str | None = None,
    results: Sequence[Result] = (),
) -> str:
    """The README of a tuned model's folder.

    Args:
        facts: as in ``training.json``, of a supervised run or of a reward model's; what is None there reads "not run
            yet".
        title: by default made of the base model's name.
        figure: the file of the loss curve beside the card, if there is one.
        whole: whether the folder holds the whole model; else it holds adapters for the base.
        command: that makes the run, where it was not made.
        results: what its answers were found to be worth, from `evaluation_of`.

    Returns:
        Markdown, the same for the same facts.
    """
    base, data, recipe, kind = facts["base"], facts["data"], facts["recipe"], facts["kind"]
    origin = origin_of(data["name"])
    base_id = base["name"] if HUB_ID.fullmatch(base["name"]) else None
    title = title or (f"{base['name']}, tuned" if kind == "sft" else f"Reward model from {base['name']}")
    licence = joint_licence(base["licence"], origin.licence)
    languages = data["languages"]
    measured, unmeasured = held_out(facts)
    question, task, answers = _EXAMPLES["zh" if languages == ["zh"] else "en"]
    run = facts["steps"] is not None
    return render(
        "model_card.md",
        metadata=_metadata(facts, origin, title, base_id, licence, whole, results),
        title=title,
        kind=kind,
        run=run,
        not_run=NOT_RUN,
        command=command,
        place=_PLACE,
        question=question,
        task=task,
        answers=answers,
        adapters=_adapters(recipe, whole),
        whole=whole,
        alpaca=facts["template"] == "alpaca",
        with_input=ALPACA,
        without_input=ALPACA_NO_INPUT,
        base=base,
        base_link=f"https://huggingface.co/{base_id}" if base_id else None,
        languages=[_LANGUAGES[each] for each in languages],
        data=data_table(facts, origin.shown),
        left_out=left_out(facts),
        cut=facts["tokens"].get("truncated", 0),
        origin=origin,
        research=origin.released is not None and origin.released.repository == RELEASED["english"].repository,
        unit="rows" if kind == "sft" else "prompts",
        recipe=recipe,
        settings=settings_table(recipe, kind, facts),
        margin=recipe.get("margin"),
        centering=recipe.get("centering"),
        effort=effort_table(facts),
        losses=losses_table(facts),
        figure=figure,
        evaluation=evaluation_table(facts),
        results=results_table(results),
        tables=reward_tables(facts),
        held_out_rows=data["held_out_rows"],
        measured=measured,
        unmeasured=unmeasured,
        parted=parted(facts),
        licence=licence,
    )


def write_model_card(folder: Path, facts: dict[str, Any]) -> Path:
    """Writes the card of a run, and its loss curve where matplotlib is installed, into the model's folder.

    Args:
        folder: the model's.
        facts: as in its ``training.json``.

    Returns:
        the path of ``README.md``; it is whole or not there, and written behind the figure that it shows. What people
        wrote in one that is there stays.

    Raises:
        OutputError: they cannot be written.
    """
    try:
        drawn = draw_training(facts, folder)
    except MissingExtraError:  # a card without a figure is better than a run that ends in an error
        drawn = []
    whole = any(any(folder.glob(pattern)) for pattern in ("model*.safetensors", "pytorch_model*.bin"))
    adapters = (folder / "adapter_config.json").is_file() and not whole
    figure = _FIGURE if any(each.name == _FIGURE for each in drawn) else None
    card = folder / "README.md"
    old = read_card(card)
    if old is not None and _PEFT in old:
        old = None
    results = evaluation_of(folder)
    if not results:
        forget_evaluation(folder)
    rendered = render_model_card(facts, figure=figure, whole=not adapters, results=results)
    replace_text(card, merge_card(old, rendered))
    return card


def _metadata(
    facts: dict[str, Any],
    origin: Origin,
    title: str,
    base_id: str | None,
    licence: str,
    whole: bool,
    found_elsewhere: Sequence[Result],
) -> str:
    """The card's YAML, as the Hub reads it."""
    from huggingface_hub import EvalResult, ModelCardData

    sft = facts["kind"] == "sft"
    task = "text-generation" if sft else "text-classification"
    found = facts.get("held_out") or {}
    measured = {name: found[name] for name in ("accuracy", "loss") if name in found}
    if sft and "loss" in found:
        measured["perplexity"] = perplexity(found["loss"])
    results = [
        EvalResult(
            task_type=task,
            dataset_type=origin.hub or "held-out",
            dataset_name=f"held-out {'rows' if sft else 'prompts'} of {origin.shown}",
            metric_type=name,
            metric_value=round(value, 4),
        )
        for name, value in measured.items()
        if math.isfinite(value)
    ]
    results += eval_results(found_elsewhere, task)
    lora = bool(facts["recipe"]["lora"])
    metadata = ModelCardData(
        base_model=base_id,
        base_model_relation=None if base_id is None else "finetune" if whole else "adapter",
        license=licence,
        license_name="terms-of-base-model-and-data" if licence == "other" else None,
        language=facts["data"]["languages"] or None,
        datasets=[origin.hub] if origin.hub else None,
        pipeline_tag=task,
        library_name="transformers" if whole else "peft",
        tags=["gpt4-instruct", "sft" if sft else "reward-model", *(["alpaca"] if facts["template"] == "alpaca" else [])]
        + (["lora"] if lora else []),
        model_name=title if results else None,
        eval_results=results or None,
    )
    return str(metadata.to_yaml(line_break="\n"))


def _adapters(recipe: dict[str, Any], whole: bool) -> str:
    if not recipe["lora"]:
        return "all weights are tuned"
    return "with low-rank adapters, " + ("which are merged into the weights" if whole else "which this folder holds")
