"""Tuning a model, from rows to a folder with its card: the functions behind `gpt4-instruct train`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt4_instruct.errors import InterruptedRunError
from gpt4_instruct.progress import first_process
from gpt4_instruct.publishing.model_cards import write_model_card
from gpt4_instruct.training.recipes import RewardRecipe, SFTRecipe
from gpt4_instruct.training.runs import facts_of

if TYPE_CHECKING:
    from datasets import Dataset

    from gpt4_instruct.training.finishing import Trained

__all__ = ["train_reward", "train_sft"]


def train_sft(
    data: str | Path | Dataset | Sequence[Mapping[str, Any]],
    out: str | Path,
    *,
    model: str | None = None,
    recipe: str | SFTRecipe = "llama-gpt4",
    limit: int | None = None,
    held_out_data: str | Path | Dataset | Sequence[Mapping[str, Any]] | None = None,
    overwrite: bool = False,
    stream: bool | None = None,
    window: int = 10_000,
) -> Trained:
    """Tunes a causal language model on instructions and their answers.

    What is learnt is the answer and its end, given the prompt. The same call goes on where a killed one was.

    Args:
        data: a file, ``FOLDER:SPLIT`` of a folder that `build` wrote, ``"hub:ID"``, ``"released:NAME"``, a
            `datasets.Dataset`, or a list of dicts, in any known shape with one answer a row.
        out: the folder for the model, its tokenizer with the chat template it was tuned in, ``training.json`` and the
            card; checkpoints are in it while the run lasts.
        model: a folder or Hub id ``ORG/NAME[@REVISION]``, or ``"smollm2"``; by default the recipe's.
        recipe: ``"llama-gpt4"`` and ``"llama-gpt4-cn"`` are the paper's, ``"smollm2-demo"`` is for any computer; or
            your own `SFTRecipe`.
        limit: most rows to read.
        held_out_data: rows to measure on; by default the recipe's share of the prompts in `data`.
        overwrite: a finished run in the folder, or another one, gives way; the same unfinished one goes on.
        stream: read the rows on the way instead of all at first, so that memory does not grow with them; see
            `training.streaming.open_stream`. By default only a URL is (``hf://``, ``s3://``, ``https://``); a folder
            of Parquet files and ``hub:ID`` can be. A run goes on to the same losses, on any number of devices.
        window: rows of a stream that are shuffled together.

    Raises:
        MissingExtraError: the extra ``train`` is not installed.
        UsageError: the model cannot be tuned like this, or a setting cannot work.
        SourceError: the data cannot be read, or has nothing to learn.
        OutputError: the folder cannot be used; `OutputExistsError` where it holds a finished run, or another one.
        TrainingError: out of memory, or a loss that is no number. The last good checkpoint is kept.
        InterruptedRunError: it was asked to stop, and has a checkpoint.
    """
    from gpt4_instruct.training.sft import run_sft

    with _interruptible(Path(out)):
        trained = run_sft(
            data,
            out,
            model=model,
            plan=recipe,
            limit=limit,
            held_out_data=held_out_data,
            overwrite=overwrite,
            stream=stream,
            window=window,
        )
        if trained.main:
            write_model_card(trained.folder, trained.facts)
    return trained


def train_reward(
    data: str | Path | Dataset | Sequence[Mapping[str, Any]],
    out: str | Path,
    *,
    model: str | None = None,
    recipe: str | RewardRecipe = "opt-1.3b",
    limit: int | None = None,
    held_out_data: str | Path | Dataset | Sequence[Mapping[str, Any]] | None = None,
    overwrite: bool = False,
    stream: bool | None = None,
    window: int = 10_000,
) -> Trained:
    """Tunes a reward model on scored answers: of two answers to a prompt, the better one gets the higher reward.

    Args:
        data: rows of several scored answers, in any known shape; see `train_sft`.
        out: the folder; see `train_sft`.
        model: the base; by default the recipe's, OPT-1.3B.
        recipe: ``"opt-1.3b"``, ``"smollm2-demo"``, or your own `RewardRecipe`.
        limit: most rows to read.
        held_out_data: rows to measure on; by default the recipe's share of the prompts in `data`.
        overwrite: a finished run in the folder, or another one, gives way; the same unfinished one goes on.
        stream: read the rows on the way instead of all at first, so that memory does not grow with them; see
            `training.streaming.open_stream`. By default only a URL is (``hf://``, ``s3://``, ``https://``); a folder
            of Parquet files and ``hub:ID`` can be. A run goes on to the same losses, on any number of devices.
        window: rows of a stream that are shuffled together.

    Raises:
        MissingExtraError, UsageError, SourceError, OutputError, TrainingError, InterruptedRunError: as `train_sft`.
    """
    from gpt4_instruct.training.reward import run_reward

    with _interruptible(Path(out)):
        trained = run_reward(
            data,
            out,
            model=model,
            plan=recipe,
            limit=limit,
            held_out_data=held_out_data,
            overwrite=overwrite,
            stream=stream,
            window=window,
        )
        if trained.main:
            write_model_card(trained.folder, trained.facts)
    return trained


@contextmanager
def _interruptible(out: Path) -> Iterator[None]:
    """Writes the card that a finished run in the folder lacks, and says in a line where a Ctrl-C came between steps.

    The card comes last, after ``training.json`` that it is made of: a kill between the two costs a call.
    """
    folder = out.expanduser()
    found = facts_of(folder)
    if first_process() and found is not None and not (folder / "README.md").exists():
        write_model_card(folder, found)
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError("stopped; the same command goes on from what is written") from None
