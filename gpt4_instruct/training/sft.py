"""Supervised tuning: LLaMA-GPT4, LLaMA-GPT4-CN, or any causal language model on any instruction data.

    rows ─▶ tokens with a mask ─▶ flat batches ─▶ the stock Trainer ─▶ model, tokenizer with its chat template, facts

Loss and gradient are those of padded batches and full logits, to the last bits; they cost less, because nothing is
computed for padding, for other rows' tokens, or for predictions of the prompt. The loss of a step is the mean over all
of its supervised tokens, however its rows are parted between devices and batches. (Where the rows of an epoch cannot be
parted evenly between devices, the stock loader fills its last step up with rows from its front.)
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import SourceError, UsageError
from gpt4_instruct.records import Sample
from gpt4_instruct.training.attention import separate_rows
from gpt4_instruct.training.batches import flat_batch, pack, padded_batch
from gpt4_instruct.training.context import check_context
from gpt4_instruct.training.data import parted
from gpt4_instruct.training.finishing import Trained, accumulation, finish
from gpt4_instruct.training.loading import add_lora, find_base, load_causal, load_tokenizer, require
from gpt4_instruct.training.recipes import SFT_RECIPES, SFTRecipe, recipe
from gpt4_instruct.training.runs import Run, running
from gpt4_instruct.training.stream import WINDOW, Stream, tokens_of
from gpt4_instruct.training.streaming import STREAMED, is_stream, loader, open_stream, rows_of
from gpt4_instruct.training.tokens import Encoder, encode
from gpt4_instruct.training.trainer import PADDED, SEEN_PADDED, arguments, exact_trainer, without

__all__ = ["Trained", "run_sft"]


def run_sft(
    data: Any,
    out: str | Path,
    *,
    model: str | None = None,
    plan: str | SFTRecipe = "llama-gpt4",
    limit: int | None = None,
    held_out_data: Any = None,
    overwrite: bool = False,
    stream: bool | None = None,
    window: int = WINDOW,
) -> Trained:
    """Tunes a model; see `gpt4_instruct.tuning.train_sft`, which also writes its card."""
    chosen = recipe(SFT_RECIPES, plan)
    require(*(["peft"] if chosen.lora else []))
    base = find_base(model or chosen.model)
    tokenizer = load_tokenizer(base.folder)
    rows: Any
    learnt: Any
    if is_stream(data, stream):
        encoding = rows_of(tokenizer, lambda own: tokens_of(Encoder(own, chosen.max_length, chosen.template)))
        rows = open_stream(data, held_out_data, chosen, encoding, window=window, limit=limit)
        chosen, learnt, kept, held_out = rows.plan, rows.stream, rows.kept, rows.held_out
        content: Any = [learnt.shards.identity, window]
    else:
        rows, learnt, kept, held_out = parted(
            data, held_out_data, scored=False, limit=limit, share=chosen.held_out, seed=chosen.seed
        )
        content = rows.sha256
    what = {
        "kind": "sft",
        "base": base.identity,
        "data": content,
        "held_out": held_out,
        "recipe": dataclasses.asdict(chosen),
    }
    with running(Path(out), what, overwrite=overwrite) as run:
        return _run(run, chosen, base, tokenizer, rows, learnt, kept)


def _run(
    run: Run,
    plan: SFTRecipe,
    base: Any,
    tokenizer: Any,
    rows: Any,
    learnt: list[Sample] | Stream,
    kept: list[Sample],
) -> Trained:
    from transformers import set_seed

    counts: Counter[str] = Counter()
    streamed = isinstance(learnt, Stream)
    if isinstance(learnt, Stream):
        encoded, counts = loader(learnt), learnt.counts
    else:
        encoded = encode(_dataset(learnt), tokenizer, plan.max_length, plan.template, counts=counts)
    measured, unmeasured = _measured(kept, tokenizer, plan)
    set_seed(plan.seed)  # of adapters' first weights
    loaded = load_causal(base, tokenizer, frozen=plan.lora is not None)
    check_context(loaded, plan.max_length, base.name)
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

    options: dict[str, Any] = {} if flat else PADDED
    if streamed:
        options = STREAMED if flat else {**STREAMED, **SEEN_PADDED}
    if plan.packing:
        options = {"per_device_train_batch_size": 1}
    settings = arguments(plan, run, accumulation=1, held_out=measured is not None, **options)
    packed: dict[str, Any] = {}
    if plan.packing:
        packs = _packs_a_step(plan, len(encoded) / len(prepared), settings.world_size)
        settings.gradient_accumulation_steps = packs // settings.world_size
        packed = {"rows_a_step": round(len(encoded) / math.ceil(len(prepared) / packs), 1)}
    else:
        settings.gradient_accumulation_steps = accumulation(plan, settings.world_size)
    trainer = exact_trainer()(
        model=model,
        args=settings,
        train_dataset=prepared,
        eval_dataset=measured,
        data_collator=collate,
        processing_class=tokenizer,
    )

    def facts() -> dict[str, Any]:
        return {
            "kind": "sft",
            "base": {"name": base.name, "identity": base.identity, "licence": base.licence, "parameters": parameters},
            "data": {
                **rows.facts(),
                "held_out_rows": len(kept),
                "held_out_measured": 0 if measured is None else len(measured),
                "held_out_left_out": unmeasured,
            },
            "tokens": dict(counts),
            "template": plan.template,
            **packed,
        }

    dtype = "bfloat16" if plan.precision == "bf16" else "float32"
    return finish(trainer, run, plan, tokenizer, facts, parameters=parameters, template=plan.template, dtype=dtype)


def _dataset(samples: list[Sample]) -> Any:
    from datasets import Dataset

    columns = ("instruction", "input", "output")
    return Dataset.from_dict({name: [getattr(each, name) for each in samples] for name in columns})


def _measured(kept: list[Sample], tokenizer: Any, plan: SFTRecipe) -> tuple[Any, dict[str, int]]:
    """The held-out rows as tokens, or none where they have nothing to say; and how many have not, by reason."""
    counts: Counter[str] = Counter()
    encoded = None
    if kept:
        with suppress(SourceError):  # all too long
            encoded = encode(_dataset(kept), tokenizer, plan.max_length, plan.template, counts=counts)
    return encoded, without(counts)


def _packs_a_step(plan: SFTRecipe, rows_each: float, devices: int) -> int:
    """Packs in a step over all devices, so that it has about `batch_size` rows.

    Args:
        plan: with the tokens of a pack and the rows of a step.
        rows_each: rows in a pack, on average.
        devices: each takes as many packs as the others.

    Raises:
        UsageError: one pack on each device has more rows already.
    """
    if rows_each * devices > plan.batch_size:
        raise UsageError(
            f"a pack of {plan.packing} tokens holds {rows_each:.1f} rows on average, but a step is to have "
            f"{plan.batch_size} rows on {devices} device{'s' * (devices > 1)}: lower --packing, or raise --batch-size"
        )
    return devices * round(plan.batch_size / (rows_each * devices))


def _takes(model: Any, argument: str) -> bool:
    import inspect

    return argument in inspect.signature(model.forward).parameters
