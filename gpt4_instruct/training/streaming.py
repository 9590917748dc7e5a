"""A run whose rows are a `stream.Stream`: what is held out, how many steps it has, and how a Trainer goes on in it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from gpt4_instruct.errors import UsageError
from gpt4_instruct.records import Sample
from gpt4_instruct.sources.shards import is_url
from gpt4_instruct.training.data import read
from gpt4_instruct.training.recipes import RewardRecipe, SFTRecipe, changed
from gpt4_instruct.training.shards import open_shards
from gpt4_instruct.training.stream import Encode, Stream

__all__ = ["STREAMED", "Streamed", "is_stream", "keeper", "loader", "open_stream", "rows_of"]

# For the stock Trainer: the stream itself goes on where it was, and each process takes its own share of it.
STREAMED: dict[str, Any] = {"ignore_data_skip": True, "accelerator_config": {"dispatch_batches": False}}
_MOST_HELD_OUT = 2_000  # rows: enough to tell 1 % of a loss, and little to measure
_MOMENTS = 10  # checkpoints of a run, where the recipe names no number of steps

_R = TypeVar("_R", SFTRecipe, RewardRecipe)


@dataclass(frozen=True, slots=True)
class Streamed(Generic[_R]):
    """What a run reads.

    Attributes:
        stream: the rows to learn from.
        plan: the recipe with the number of its steps, and when to save.
        kept: samples held out.
        held_out: what tells a run which those are, as `data.parted` has it.
        own: they are of the data itself.
        languages: of the first rows.
        window: rows that are shuffled together.
    """

    stream: Stream
    plan: _R
    kept: list[Sample]
    held_out: Any
    own: bool
    languages: list[str]
    window: int

    def facts(self) -> dict[str, Any]:
        """As `data.Data.facts`, of what was read up to the end of the last step, in all passes."""
        shards, counts = self.stream.shards, self.stream.counts
        read = counts["rows"]  # with those dropped; of prompts for a reward model, those are counted beside
        if isinstance(self.plan, RewardRecipe):
            read += sum(number for name, number in counts.items() if name.startswith("dropped_"))
        return {
            "name": shards.name,
            "rows": read + len(self.kept) * self.own,
            "rejected": dict(self.stream.rejected),
            "sha256": shards.identity,  # of its files' names and versions: the rows were never there all at once
            "languages": self.languages,
            "stream": {
                "shards": shards.count,
                "rows": shards.rows,
                "window": self.window,
            },
        }


def is_stream(data: Any, wanted: bool | None) -> bool:
    """Whether data is to be read as a stream: where it is wanted, or the data is a URL and nothing was said.

    A folder or a Hub dataset is read whole unless it is asked for, because that shuffles better and counts more: only
    the user knows what fits into memory. What is in a bucket seldom does.
    """
    return isinstance(data, str) and is_url(data) and not data.startswith("hub:") if wanted is None else wanted


def open_stream(
    data: Any, held_out_data: Any, plan: _R, encode: Encode, *, window: int, limit: int | None = None
) -> Streamed[_R]:
    """Opens the rows of a run as a stream.

    Args:
        data: as `shards.open_shards` takes it.
        held_out_data: rows to measure on, as `data.read` takes them; none for the first rows of the stream: the
            recipe's share of them, 2,000 at most, and no other row that has one of their prompts is learnt.
        plan: the recipe. A step has `batch_size` rows that can be learnt, in the last one, too, so that passes flow
            into one another. Without `max_steps` there are as many steps as `epochs` passes over all rows have,
            less those held out; a row that cannot be learnt is made up for by the next pass. Without `save_steps` there
            are ten checkpoints.
        encode: makes samples rows, `stream.tokens_of` or `stream.pairs_of`.
        window: rows that are shuffled together.
        limit: must be none.

    Raises:
        SourceError: the data cannot be read, or has nothing to learn.
        UsageError: the number of rows is not known, so that there must be `max_steps`; or an argument cannot work.
    """
    if limit is not None:
        raise UsageError("a stream has no limit of rows: give --max-steps, which is as many batches")
    if getattr(plan, "packing", None):
        raise UsageError("packs are made of all rows at once: leave out --packing; flat batches have no padding either")
    scored = isinstance(plan, RewardRecipe)
    shards = open_shards(data)
    if plan.max_steps is None and shards.rows is None:
        raise UsageError(f"nothing tells how many rows {shards.name} has before they are read: give --max-steps")
    stream = Stream(shards, encode, scored=scored, batch=plan.batch_size, size=window, seed=plan.seed)
    rows = shards.rows if shards.rows is not None else (plan.max_steps or 1) * plan.batch_size
    most = 0
    if plan.held_out and held_out_data is None and rows > 1:
        most = min(max(1, round(plan.held_out * rows)), _MOST_HELD_OUT, rows - 1)
    kept, languages = stream.hold_out(most)
    held_out: Any = len(kept)
    if held_out_data is not None:
        others = read(held_out_data, scored=scored)
        kept, held_out = others.samples, [len(others.samples), others.sha256]
    learnt = rows - most
    if shards.rows is not None:
        stream.pass_rows = learnt
    steps = plan.max_steps or max(1, math.ceil(plan.epochs * learnt / plan.batch_size))
    planned = changed(plan, max_steps=steps, save_steps=plan.save_steps or math.ceil(steps / _MOMENTS))
    return Streamed(stream, planned, kept, held_out, held_out_data is None, languages, window)


def rows_of(tokenizer: Any, make: Callable[[Any], Encode]) -> Encode:
    """An `Encode` with a tokenizer of its own, for it works in a thread while the run's is written to checkpoints."""
    return make(copy.deepcopy(tokenizer))


@cache
def _iterable() -> type:
    from torch.utils.data import IterableDataset

    class Rows(IterableDataset):  # type: ignore[misc]
        """A stream as torch knows one."""

        def __init__(self, stream: Stream) -> None:
            self.stream = stream

        def __iter__(self) -> Any:
            return iter(self.stream)

    return Rows


def loader(stream: Stream) -> Any:
    """The stream as a dataset of torch, for a Trainer."""
    return _iterable()(stream)


@cache
def keeper() -> type:
    """The callback that writes a stream's place into each checkpoint; made when first needed, as `exact_trainer`."""
    from transformers import TrainerCallback

    class Keeper(TrainerCallback):  # type: ignore[misc]
        """See `keeper`. Added before what seals a checkpoint."""

        def __init__(self, stream: Stream) -> None:
            self.stream = stream

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            rows = self.stream.pass_rows
            if rows:  # passes, as with rows in memory; the stock one is a share of the run
                batch = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
                state.epoch = state.global_step * batch / rows
            self.stream.pass_by(state.global_step)

        def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.is_world_process_zero:
                self.stream.save(Path(args.output_dir) / f"checkpoint-{state.global_step}", state.global_step)

        def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.stream.end(state.global_step)

    return Keeper
