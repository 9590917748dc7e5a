"""The reward model: of two answers to a prompt, the better one gets the higher reward.

    prompts with scored answers ─▶ texts and pairs ─▶ flat batches ─▶ the stock Trainer ─▶ model, tokenizer, facts

    loss = mean over all pairs of a step of -log sigmoid(r_better - r_worse), in full `pairs.pair_losses`

Each answer is read once a step and its reward is in all of its pairs. Nothing is computed for padding, and nothing
depends on how a step's prompts are parted between devices and batches: a prompt with three pairs counts three times as
much as one with one, wherever it is.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import SourceError
from gpt4_instruct.records import Sample
from gpt4_instruct.training.attention import separate_rows
from gpt4_instruct.training.context import check_context
from gpt4_instruct.training.data import parted
from gpt4_instruct.training.finishing import Trained, accumulation, finish
from gpt4_instruct.training.loading import add_lora, find_base, load_reward, load_tokenizer, require
from gpt4_instruct.training.pairs import encode_pairs, measure_pairs, pair_batch, pair_losses
from gpt4_instruct.training.recipes import REWARD_RECIPES, RewardRecipe, recipe
from gpt4_instruct.training.runs import Run, running
from gpt4_instruct.training.scoring import give_all_rewards, has_token_head, rewards
from gpt4_instruct.training.stream import WINDOW, Stream, pairs_of
from gpt4_instruct.training.streaming import STREAMED, is_stream, loader, open_stream, rows_of
from gpt4_instruct.training.tokens import Encoder
from gpt4_instruct.training.trainer import PADDED, SEEN_PADDED, arguments, exact_trainer, without

__all__ = ["reward_trainer", "run_reward"]

_OF_PAIRS = ("better", "worse", "gaps", "labels")


def run_reward(
    data: Any,
    out: str | Path,
    *,
    model: str | None = None,
    plan: str | RewardRecipe = "opt-1.3b",
    limit: int | None = None,
    held_out_data: Any = None,
    overwrite: bool = False,
    stream: bool | None = None,
    window: int = WINDOW,
) -> Trained:
    """Trains a reward model; see `gpt4_instruct.tuning.train_reward`, which also writes its card.

    Its facts have beside those of supervised tuning: ``pairs``, ``ties``, ``dropped`` (prompts without a pair, by
    reason), and in ``held_out`` what `pairs.measure_pairs` tells.
    """
    chosen = recipe(REWARD_RECIPES, plan)
    require(*(["peft"] if chosen.lora else []))
    base = find_base(model or chosen.model)
    tokenizer = load_tokenizer(base.folder)
    rows: Any
    learnt: Any
    if is_stream(data, stream):
        encoding = rows_of(tokenizer, lambda own: pairs_of(Encoder(own, chosen.max_length)))
        rows = open_stream(data, held_out_data, chosen, encoding, window=window, limit=limit)
        chosen, learnt, kept, held_out = rows.plan, rows.stream, rows.kept, rows.held_out
        content: Any = [learnt.shards.identity, window]
    else:
        rows, learnt, kept, held_out = parted(
            data, held_out_data, scored=True, limit=limit, share=chosen.held_out, seed=chosen.seed
        )
        content = rows.sha256
    what = {
        "kind": "reward",
        "base": base.identity,
        "data": content,
        "held_out": held_out,
        "recipe": dataclasses.asdict(chosen),
    }
    with running(Path(out), what, overwrite=overwrite) as run:
        return _run(run, chosen, base, tokenizer, rows, learnt, kept)


def _run(
    run: Run,
    plan: RewardRecipe,
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
        encoded = encode_pairs(learnt, tokenizer, plan.max_length, counts=counts)
    measured, unmeasured = _measured(kept, tokenizer, plan)
    set_seed(plan.seed)  # of the head's first weights
    loaded = load_reward(base, tokenizer, frozen=plan.lora is not None)
    check_context(loaded, plan.max_length, base.name)
    parameters = sum(each.numel() for each in loaded.parameters())
    token_head = has_token_head(loaded)
    pad = None if token_head and separate_rows(loaded, plan.max_length) else tokenizer.pad_token_id
    trained = add_lora(loaded, plan.lora, reward=True) if plan.lora else loaded
    for each in trained.parameters():
        if each.requires_grad:  # the head, beside adapters, where the checkpoint is in bfloat16
            each.data = each.data.float()
    if token_head:
        give_all_rewards(trained)

    def collate(features: list[dict[str, Any]]) -> dict[str, Any]:
        return pair_batch(features, pad)

    options: dict[str, Any] = {} if pad is None else PADDED
    if streamed:
        options = STREAMED if pad is None else {**STREAMED, **SEEN_PADDED}
    settings = arguments(plan, run, accumulation=1, held_out=measured is not None, **options)
    settings.gradient_accumulation_steps = accumulation(plan, settings.world_size)
    trainer = reward_trainer()(
        model=trained,
        args=settings,
        train_dataset=encoded,
        eval_dataset=measured,
        data_collator=collate,
        processing_class=tokenizer,
    )
    trainer.margin, trainer.centering = plan.margin, plan.centering
    loaded.config.problem_type = "regression"  # so that a pipeline gives the reward itself, not its sigmoid
    tokenizer.padding_side = "right"

    def facts() -> dict[str, Any]:
        return {
            "kind": "reward",
            "base": {"name": base.name, "identity": base.identity, "licence": base.licence, "parameters": parameters},
            "data": {
                **rows.facts(),
                "held_out_rows": len(kept),
                "held_out_measured": 0 if measured is None else len(measured),
                "held_out_left_out": unmeasured,
            },
            "tokens": {name: count for name, count in counts.items() if not name.startswith("dropped_")},
            "pairs": counts["pairs"],
            "ties": counts["ties"],
            "dropped": without(counts),
            "template": "alpaca",
        }

    # Rewards of one prompt's answers often share the three digits that bfloat16 has.
    return finish(trainer, run, plan, tokenizer, facts, parameters=parameters, template="alpaca", dtype="float32")


def _measured(kept: list[Sample], tokenizer: Any, plan: RewardRecipe) -> tuple[Any, dict[str, int]]:
    """The held-out prompts as texts and pairs, or none if no prompt has a pair; and how many have none, by reason."""
    counts: Counter[str] = Counter()
    encoded = None
    if kept:
        with suppress(SourceError):  # all ties, or too long
            encoded = encode_pairs(kept, tokenizer, plan.max_length, counts=counts)
    return encoded, without(counts)


@cache
def reward_trainer() -> type:
    """`trainer.exact_trainer` with the loss of pairs; what a step is the mean of are its pairs."""
    import torch

    class RewardTrainer(exact_trainer()):  # type: ignore[misc]
        """See `reward_trainer`."""

        loss_is_scaled_for_ga = True  # it is divided by the pairs of the whole step
        margin = 0.0
        centering = 0.0

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.model_accepts_loss_kwargs = True  # so that the labels of a whole step are counted

        def compute_loss(
            self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            found = self.rewards(model, inputs)
            losses = pair_losses(
                found[inputs["better"]],
                found[inputs["worse"]],
                inputs["gaps"],
                margin=self.margin,
                centering=self.centering,
            )
            count = len(losses) if num_items_in_batch is None else num_items_in_batch
            loss = losses.sum() / count
            if num_items_in_batch is not None and self.args.average_tokens_across_devices:
                loss = loss * self.accelerator.num_processes  # the mean of all devices' gradients is taken
            return (loss, {"rewards": found}) if return_outputs else loss

        def rewards(self, model: Any, inputs: Any) -> Any:
            return rewards(model, {name: value for name, value in inputs.items() if name not in _OF_PAIRS})

        def count(self, inputs: Any) -> float:
            return float(len(inputs["gaps"]))

        def speed(self) -> dict[str, float]:
            found = super().speed()
            if "supervised_tokens_per_second" in found:
                found["pairs_per_second"] = found.pop("supervised_tokens_per_second")
            return dict(found)

        def measure(self, model: Any, inputs: Any) -> Any:
            """Rewards of each pair's better and worse answer, and its gap: [pairs, 3]."""
            found = self.rewards(model, inputs)
            return torch.stack([found[inputs["better"]], found[inputs["worse"]], inputs["gaps"]], dim=-1)

        def summarize(self, found: Any, prefix: str) -> dict[str, Any]:
            better, worse, gaps = found.unbind(-1)
            losses = pair_losses(better, worse, gaps, margin=self.margin, centering=self.centering)
            differences = (better - worse).numpy()
            metrics = {"loss": float(losses.mean()), **measure_pairs(differences, gaps.numpy())}
            return {f"{prefix}_{name}": value for name, value in metrics.items()}

    return RewardTrainer
