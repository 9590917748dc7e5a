"""The folder of a run, which the same command goes on in after a kill, and finds finished after the end::

README.md  model.safetensors  config.json  tokenizer.json  ...     the model
training.json                    what the run was and found; written last: a folder with it is finished
checkpoints/run.json             what the run is
checkpoints/checkpoint-200/      the model, the optimizer and the order of rows after 200 steps
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import Timeout

from gpt4_instruct.errors import OutputError, OutputExistsError
from gpt4_instruct.storage import lock, read_json, write_json

__all__ = ["FACTS", "Run", "first_process", "running"]

FACTS = "training.json"
_CHECKPOINTS = "checkpoints"
_RUN = "run.json"
_STATE = "trainer_state.json"  # the trainer writes it last
_WEIGHTS = ("*.safetensors", "*.bin", "pytorch_model_fsdp_0", "global_step*")


def first_process() -> bool:
    """Whether this is the only process of a run, or the first of several: the one that writes and prints."""
    return os.environ.get("RANK", "0") == "0"  # as torchrun and accelerate set it


class Run:
    """One run's folder. Of several processes, only that of rank 0 writes.

    Attributes:
        folder: named by the user.
        checkpoints: a folder in it.
        resumed_from: the last whole checkpoint, or none.
    """

    def __init__(self, folder: Path, what: dict[str, Any], *, overwrite: bool, main: bool) -> None:
        self.folder = folder
        self.checkpoints = folder / _CHECKPOINTS
        if main:
            self._claim(what, overwrite)
        self.resumed_from: Path | None = None

    def look(self) -> None:
        """Finds the last whole checkpoint; to be called when rank 0 has claimed the folder."""
        self.resumed_from = next((each for each in self._newest_first() if _whole(each)), None)

    def finish(self, facts: dict[str, Any]) -> None:
        """Writes what the run found, and so marks it finished."""
        write_json(self.folder / FACTS, facts)

    def _claim(self, what: dict[str, Any], overwrite: bool) -> None:
        folder = self.folder
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file: name a folder")
        try:
            held = {each.name for each in folder.iterdir()} if folder.is_dir() else set()
            if held and FACTS not in held and not (self.checkpoints / _RUN).is_file():
                raise OutputError(f"{folder} is not empty and holds no training run: name another folder with --out")
            if overwrite:
                for name in held:  # the model is written over in the end, unless the run is killed before
                    if name == _CHECKPOINTS:
                        shutil.rmtree(self.checkpoints)
                (folder / FACTS).unlink(missing_ok=True)
            if (folder / FACTS).is_file():
                raise OutputExistsError(
                    f"{folder} holds a finished run: --overwrite trains anew, --out names another folder"
                )
            if (self.checkpoints / _RUN).is_file():
                self._compare(what)
            self.checkpoints.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write {folder}: {error.strerror or error}: name another folder with --out"
            ) from error
        write_json(self.checkpoints / _RUN, what)
        for each in self._newest_first():
            if not _whole(each):  # a kill cut it off
                shutil.rmtree(each, ignore_errors=True)

    def _compare(self, what: dict[str, Any]) -> None:
        before = read_json(self.checkpoints / _RUN)
        now = json.loads(json.dumps(what))
        other = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
        if other:
            raise OutputExistsError(
                f"{self.folder} holds an unfinished run with another {', '.join(other)}: give the same to go on with "
                "it, --overwrite to train anew, or another --out"
            )

    def _newest_first(self) -> list[Path]:
        found = [each for each in self.checkpoints.glob("checkpoint-*") if each.name.rpartition("-")[2].isdigit()]
        return sorted(found, key=lambda each: -int(each.name.rpartition("-")[2]))


def _whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end."""
    try:
        json.loads((checkpoint / _STATE).read_text())
    except (OSError, ValueError):
        return False
    return any(any(checkpoint.glob(pattern)) for pattern in _WEIGHTS)


@contextmanager
def running(folder: Path, what: dict[str, Any], *, overwrite: bool) -> Iterator[Run]:
    """Opens the folder of a run, for one run at a time.

    Args:
        folder: made if it is not there.
        what: all that decides the result: an unfinished run in the folder goes on if it is the same.
        overwrite: begin anew, whatever the folder holds.

    Raises:
        OutputExistsError: it holds a finished run, or another one that is not finished.
        OutputError: it holds something else, cannot be written, or another process trains in it.
    """
    folder = folder.expanduser().resolve()
    if not first_process():
        yield Run(folder, what, overwrite=False, main=False)
        return
    own = lock(folder / FACTS, blocking=False)
    try:
        own.acquire()
    except Timeout:
        raise OutputError(
            f"another process trains in {folder}: wait for it, or name another folder with --out"
        ) from None
    try:
        yield Run(folder, what, overwrite=overwrite, main=True)
    finally:
        own.release()
