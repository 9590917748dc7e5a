"""The stock Trainer with what a run needs beside it: exact held-out losses, honest speed, a stop before weights break.

Nothing of the training loop is ours. `train` runs one Trainer in one run's folder, to its end or to where it stops.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from gpt4_instruct.errors import UsageError
from gpt4_instruct.progress import nested, progress
from gpt4_instruct.training.hardware import peak_flops
from gpt4_instruct.training.recipes import RewardRecipe, SFTRecipe
from gpt4_instruct.training.runs import Run
from gpt4_instruct.training.stopping import explaining, stopping
from gpt4_instruct.training.streaming import keeper
from gpt4_instruct.training.telling import telling

__all__ = ["PADDED", "SEEN_PADDED", "arguments", "exact_trainer", "train", "without"]

# For batches with padding: rows of like length together, and padding is no token that was seen.
SEEN_PADDED = {"include_num_input_tokens_seen": "non_padding"}  # by the attention_mask, which flat batches have not
PADDED = {"train_sampling_strategy": "group_by_length", "length_column_name": "length", **SEEN_PADDED}


def arguments(recipe: SFTRecipe | RewardRecipe, run: Run, *, accumulation: int, held_out: bool, **more: Any) -> Any:
    """A recipe as `transformers.TrainingArguments`.

    Args:
        recipe: what to do.
        run: where.
        accumulation: device batches in one step of one device.
        held_out: whether there is something to measure on: before the first step, and at every checkpoint.
        more: other fields of TrainingArguments.
    """
    import torch
    from transformers import TrainingArguments
    from transformers.trainer_utils import SaveStrategy

    accelerated = torch.accelerator.is_available()
    moments = SaveStrategy.STEPS if recipe.save_steps else SaveStrategy.EPOCH
    fields = {
        "output_dir": str(run.checkpoints),
        "num_train_epochs": recipe.epochs,
        "max_steps": recipe.max_steps or -1,
        "learning_rate": recipe.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": recipe.warmup,
        "weight_decay": recipe.weight_decay,
        "per_device_train_batch_size": recipe.device_batch,
        "per_device_eval_batch_size": recipe.device_batch,
        "gradient_accumulation_steps": accumulation,
        "bf16": recipe.precision == "bf16",
        "use_cpu": not accelerated,  # else bf16 is refused
        "dataloader_pin_memory": accelerated,
        "activation_checkpointing": recipe.checkpointing,
        "seed": recipe.seed,
        "save_strategy": moments,
        "save_steps": recipe.save_steps or 500,
        "save_total_limit": None if recipe.keep_checkpoints else 2,
        "eval_strategy": str(moments.value) if held_out else "no",
        "eval_steps": recipe.save_steps,
        "eval_on_start": held_out,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,  # a loss that is no number is to be seen
        "include_num_input_tokens_seen": "all",
        "remove_unused_columns": False,
        "ddp_find_unused_parameters": False,  # there are none to look for
        "disable_tqdm": True,  # `telling` shows what there is to see
        "report_to": "none",
    }
    try:
        settings = TrainingArguments(**{**fields, **more})
    except (ValueError, ImportError) as error:
        raise UsageError(f"these settings do not work here: {str(error).strip().splitlines()[0]}") from error
    # One process would part each batch between all GPUs that it sees, which a flat one cannot be; torchrun uses all.
    settings._n_gpu = min(settings.n_gpu, 1)
    return settings


def without(counts: Counter[str]) -> dict[str, int]:
    """How many rows or prompts have nothing to learn or to measure, by reason.

    >>> without(Counter(rows=9, dropped_too_long=2, dropped_no_answer=0))
    {'too_long': 2}
    """
    dropped = sorted(name for name in counts if name.startswith("dropped_") and counts[name])
    return {name.removeprefix("dropped_"): counts[name] for name in dropped}


@cache
def _clock() -> type:
    """Times steps, with the optimizer's part and without what comes between them: measuring and saving."""
    from transformers import TrainerCallback

    class Clock(TrainerCallback):  # type: ignore[misc]
        """See `_clock`."""

        def __init__(self, trainer: Any) -> None:
            self.trainer, self.started = trainer, 0.0

        def on_step_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.started = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.trainer.busy_s += time.perf_counter() - self.started

    return Clock


@cache
def _order() -> type:
    """Has each epoch's order of rows depend on the seed and its number alone, so that a run can go on in any of them.

    The stock loader forgets the number when it goes on in a later epoch on several devices, and an order by length
    takes whatever random numbers come next.
    """
    import torch
    from transformers import TrainerCallback
    from transformers.trainer_pt_utils import LengthGroupedSampler

    class Order(TrainerCallback):  # type: ignore[misc]
        """See `_order`."""

        def on_epoch_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any, **more: Any) -> None:
            batches = train_dataloader.batch_sampler
            while hasattr(batches, "batch_sampler"):  # of all devices, within that of this one
                batches = batches.batch_sampler
            sampler, epoch = batches.sampler, int(state.epoch or 0)
            if isinstance(sampler, LengthGroupedSampler):
                sampler.batch_size = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
                sampler.generator = torch.Generator().manual_seed(args.seed + epoch)
            else:
                sampler.set_epoch(epoch)

    return Order


@cache
def exact_trainer() -> type:
    """`transformers.Trainer`, made when it is first needed, for importing it takes seconds.

    What it adds::

        evaluate   the loss over all held-out tokens. The stock one averages the means of batches, so that the tokens of
                   a batch with few of them count for more, and the result depends on the batch size.
        log        tokens, supervised tokens and 6N FLOP a second beside each loss.
    """
    import torch
    from torch.utils.data import DataLoader
    from transformers import PrinterCallback, Trainer

    class ExactTrainer(Trainer):  # type: ignore[misc]
        """See `exact_trainer`."""

        parameters = 0  # that the 6N are of
        precision = "fp32"

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.supervised = 0.0  # tokens learnt by this process since the last log
            self.busy_s = 0.0
            self.tokens_before = 0.0
            self.remove_callback(PrinterCallback)
            self.add_callback(_clock()(self))
            self.stream = getattr(self.train_dataset, "stream", None)  # none where the rows are in memory
            self.add_callback(_order()() if self.stream is None else keeper()(self.stream))

        def get_train_dataloader(self) -> Any:
            if self.stream is None:
                return super().get_train_dataloader()
            # The stock one takes a random number when it begins to read, and again where a run goes on.
            options = {"pin_memory": self.args.dataloader_pin_memory, "generator": torch.Generator()}
            batch = self.args.train_batch_size
            rows = DataLoader(self.train_dataset, batch, collate_fn=self.data_collator, **options)
            return self.accelerator.prepare(rows)

        def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
            self.supervised += self.count(inputs)
            return super().training_step(model, inputs, num_items_in_batch)

        def count(self, inputs: Any) -> float:
            """What a batch teaches: its supervised tokens."""
            if "shift_labels" in inputs:
                return float(inputs["shift_labels"].numel())
            return float((inputs["labels"][..., 1:] != -100).sum())

        def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
            if "loss" in logs:
                logs.update(self.speed())
            super().log(logs, start_time)

        def speed(self) -> dict[str, float]:
            """Tokens a second over all devices, and the share of their peak that 6 N FLOP a token is."""
            seen = float(self.state.num_input_tokens_seen)
            tokens, self.tokens_before = seen - self.tokens_before, seen
            learnt = self.total(self.supervised)
            busy_s, self.busy_s, self.supervised = self.busy_s, 0.0, 0.0
            if not busy_s or tokens <= 0:
                return {}
            found = {"tokens_per_second": tokens / busy_s, "supervised_tokens_per_second": learnt / busy_s}
            peak = peak_flops(self.args.device.type, self.precision)
            if peak is not None:
                flops = 6 * self.parameters * tokens / busy_s
                found["mfu"] = flops / (peak[0] * self.args.world_size)
            return {name: round(value, 4) for name, value in found.items()}

        def total(self, value: float) -> float:
            """The sum of a number over all processes."""
            if self.args.world_size == 1:
                return value
            counted = torch.tensor(value, dtype=torch.float64 if self.args.device.type == "cpu" else torch.float32)
            return float(self.accelerator.reduce(counted.to(self.args.device), "sum"))

        def evaluate(
            self, eval_dataset: Any = None, ignore_keys: Any = None, metric_key_prefix: str = "eval"
        ) -> dict[str, float]:
            from accelerate.utils import gather_object

            model = self._wrap_model(self.model, training=False) if not self.is_in_train else self.model_wrapped
            model.eval()
            sums = []
            for inputs, own in self.shares(self.eval_dataset if eval_dataset is None else eval_dataset):
                with torch.no_grad(), self.compute_loss_context_manager():
                    found = self.measure(model, self._prepare_inputs(inputs))
                if own:
                    sums.append(found.double().cpu())
            sums = gather_object(sums)
            metrics = self.summarize(torch.cat(sums), metric_key_prefix)
            self.log(dict(metrics))
            self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
            return metrics

        def shares(self, rows: Any) -> Iterator[tuple[Any, bool]]:
            """Batches of this process's share, and whether it is one: where rows are out, it computes with the others.

            The stock loader takes random numbers, also where nothing is random, so that dropout would depend on what is
            measured; and it fills up the last batches with rows from the front, which would be counted twice.
            """
            order = sorted(range(len(rows)), key=rows["length"].__getitem__)
            processes, size = self.args.world_size, self.args.per_device_eval_batch_size
            starts = range(0, len(order), processes * size)
            with progress(lambda: len(starts), "measuring", "batch", leave=False) as bar:
                for start in starts:
                    own = order[start + self.args.process_index : start + processes * size : processes]
                    yield self.data_collator([rows[place] for place in own or order[:1]]), bool(own)
                    bar.update()

        def measure(self, model: Any, inputs: Any) -> Any:
            """The loss of a batch as a sum, and over how many tokens: [1, 2]."""
            count = self.count(inputs)
            loss = model(**inputs, num_items_in_batch=torch.tensor(1.0)).loss
            return torch.stack([loss.detach().float(), torch.tensor(count, device=loss.device)])[None]

        def summarize(self, found: Any, prefix: str) -> dict[str, float]:
            """The metrics of what `measure` found."""
            loss, count = found.sum(0).tolist()
            return {f"{prefix}_loss": loss / count, f"{prefix}_tokens": count}

    return ExactTrainer


def train(trainer: Any, run: Run, *, base_parameters: int, precision: str) -> None:
    """Trains to the end, from the last whole checkpoint if there is one.

    On Ctrl-C, or SIGTERM as clusters send it, it finishes the step and writes a checkpoint; a second Ctrl-C leaves at
    once.

    Raises:
        TrainingError: out of memory, or gradients that are no numbers; weights are as before that step.
        OutputError: a checkpoint could not be written; the one before is kept.
        InterruptedRunError: it was asked to stop.
    """
    trainer.parameters, trainer.precision = base_parameters, precision
    before = run.resumed_from
    if before is not None:
        from transformers import TrainerState

        state = TrainerState.load_from_json(str(before / "trainer_state.json"))
        trainer.tokens_before = float(state.num_input_tokens_seen)
        trainer.args.eval_on_start = False  # it was measured then
        if trainer.stream is not None:
            trainer.stream.load(before)
    with _quiet_bars(), explaining(trainer, run), stopping(trainer, run), telling(trainer):
        trainer.train(resume_from_checkpoint=str(before) if before else None)


@contextmanager
def _quiet_bars() -> Iterator[None]:
    """Keeps the bars of every checkpoint's writing out of logs and pipes, and from below a bar that is text."""
    from transformers.utils import logging

    if nested() or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
