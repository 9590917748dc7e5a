"""What a run was made with, as a table in words: its recipe, and what came of it where the recipe does not decide."""

from __future__ import annotations

from typing import Any

__all__ = ["settings_table"]


def settings_table(recipe: dict[str, Any], kind: str, facts: dict[str, Any] | None = None) -> list[tuple[str, str]]:
    """A recipe in words; that it leaves none of its fields out is tested.

    Args:
        recipe: its fields.
        kind: ``"sft"`` or ``"reward"``.
        facts: of its run, for what the recipe does not decide alone: the epochs that so many steps take, the rows of a
            step of packs.
    """
    unit = "rows" if kind == "sft" else "prompts"
    lora, steps = recipe["lora"], recipe["save_steps"]
    rows = [
        ("epochs", _epochs(recipe, facts or {})),
        ("batch", _batch(recipe, unit, facts or {})),
        ("learning rate", f"{recipe['learning_rate']:g}, then along a cosine to 0"),
        ("warm-up", f"{recipe['warmup']:.0%} of the steps"),
        ("optimizer", "AdamW (0.9, 0.999), gradients clipped to a norm of 1"),
        ("weight decay", f"{recipe['weight_decay']:g}"),
        ("most tokens", f"{recipe['max_length']:,}, prompt and answer together"),
        ("precision", {"bf16": "bfloat16, weights kept in float32", "fp32": "float32"}[recipe["precision"]]),
        ("activation checkpointing", "yes" if recipe["checkpointing"] else "no"),
        ("adapters", f"rank {lora['rank']}, alpha {lora['alpha']}, dropout {lora['dropout']:g}" if lora else "none"),
        ("seed", f"{recipe['seed']}"),
        ("held out", f"{recipe['held_out']:.1%} of the prompts, unless other data was named for that"),
        ("measured and saved", f"every {steps:,} steps" if steps else "at the end of each epoch"),
    ]
    if kind == "sft":
        packing = recipe["packing"]
        return [*rows, ("packing", f"by best fit, {packing:,} tokens a pack" if packing else "none")]
    return [
        *rows,
        ("margin", f"{recipe['margin']:g} for each point of a score"),
        ("centering", f"{recipe['centering']:g}"),
    ]


def _epochs(recipe: dict[str, Any], facts: dict[str, Any]) -> str:
    """Those of the recipe; where it counts steps instead, those that the log came to."""
    most = recipe["max_steps"]
    if not most:
        return f"{recipe['epochs']:g}"
    passed = max((each["epoch"] for each in facts.get("log", ()) if "epoch" in each), default=None)
    return f"as many as {most:,} steps take" + (f": {passed:.3g}" if passed is not None else "")


def _batch(recipe: dict[str, Any], unit: str, facts: dict[str, Any]) -> str:
    asked = f"{recipe['batch_size']:,} {unit} a step"
    if not recipe.get("packing"):
        return f"{asked}, {recipe['device_batch']:,} at once on a device"
    rows = facts.get("rows_a_step")
    true = f"{rows:,.1f} {unit} a step on average, for {recipe['batch_size']:,}" if rows else f"about {asked}"
    return f"{true}, one pack at once on a device; {recipe['device_batch']:,} {unit} at once where it measures"
