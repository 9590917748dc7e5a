"""The folder of a run, which the same command goes on in after a kill, and finds finished after the end::

README.md  model.safetensors  config.json  tokenizer.json  ...     the model
training.json                    what the run was and found; written last: a folder with it is finished
checkpoints/run.json             what the run is; the folder goes when the run is finished, unless it is to be kept
checkpoints/checkpoint-200/      the model, the optimizer and the order of rows after 200 steps
checkpoints/checkpoint-200/whole.json   its files and their sizes; written last: without it, a kill cut it off
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import Timeout

from gpt4_instruct.errors import OutputError, OutputExistsError
from gpt4_instruct.progress import first_process
from gpt4_instruct.storage import lock, read_json, write_json

__all__ = ["FACTS", "Run", "facts_of", "running"]

FACTS = "training.json"
_CHECKPOINTS = "checkpoints"
_RUN = "run.json"
_WHOLE = "whole.json"
_ADAPTER = "adapter"
# What may be another when a run goes on, for it changes no result.
_FREE = ("recipe.device_batch", "recipe.checkpointing", "recipe.keep_checkpoints")


class Run:
    """One run's folder. Of several processes, only the first writes.

    Nothing in the folder is changed before `look`: what fails earlier (no such model, no row to learn) leaves all as it
    was.

    Attributes:
        folder: named by the user.
        checkpoints: a folder in it.
        resumed_from: the last whole checkpoint when the run began, or none.
        seconds_before: that it had been trained for by then.
    """

    def __init__(self, folder: Path, what: dict[str, Any], *, overwrite: bool, main: bool) -> None:
        self.folder = folder
        self.checkpoints = folder / _CHECKPOINTS
        self.resumed_from: Path | None = None
        self.seconds_before = 0.0
        self._what: dict[str, Any] = json.loads(json.dumps(what))
        self._main = main
        if main:
            with _told(folder):
                self._check(overwrite)

    def look(self) -> None:
        """Takes the folder, and finds the last whole checkpoint; every process of the run calls it, and waits for all.

        Raises:
            OutputError: the folder cannot be written.
        """
        if self._main:
            with _told(self.folder):
                self._take()
        _wait()
        self.resumed_from = self.last()
        if self.resumed_from is not None:
            self.seconds_before = float(read_json(self.resumed_from / _WHOLE)["seconds"])

    def last(self) -> Path | None:
        """The last whole checkpoint."""
        return next((each for each in self._newest_first() if _is_whole(each)), None)

    def seal(self, checkpoint: Path, seconds: float) -> None:
        """Says that a checkpoint is whole; every process of the run calls it when it has written its part.

        Args:
            checkpoint: its folder.
            seconds: trained since the run began or went on.
        """
        _wait()
        if self._main:
            files = sorted(each for each in checkpoint.rglob("*") if each.is_file() and each.name != _WHOLE)
            for each in files:
                _write_out(each)
            sizes = {str(each.relative_to(checkpoint)): each.stat().st_size for each in files}
            write_json(checkpoint / _WHOLE, {"seconds": round(self.seconds_before + seconds, 1), "files": sizes})

    def drop_parts(self) -> None:
        """Deletes checkpoints that are not whole."""
        if self._main:
            for each in self._newest_first():
                if not _is_whole(each):
                    shutil.rmtree(each, ignore_errors=True)

    def finish(self, facts: dict[str, Any], *, keep: bool) -> None:
        """Writes what the run found, and so marks it finished; checkpoints go, unless they are to be kept."""
        write_json(self.folder / FACTS, facts)
        if not keep:
            shutil.rmtree(self.checkpoints, ignore_errors=True)

    def _check(self, overwrite: bool) -> None:
        folder = self.folder
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file: name a folder")
        finished, begun = _is_ours(folder / FACTS), _is_ours(self.checkpoints / _RUN)
        if not finished and not begun and not _is_empty(folder):
            raise OutputError(f"{folder} is not empty and holds no training run: name another folder with --out")
        if finished and not overwrite:
            raise OutputExistsError(
                f"{folder} holds a finished run: --overwrite trains anew, --out names another folder"
            )
        if begun and not overwrite and self.last() is not None and (other := self._differences()):
            raise OutputExistsError(
                f"{folder} holds an unfinished run with another {', '.join(other)}: give the same to go on with it, "
                "--overwrite to train anew, or another --out"
            )
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise OutputError(f"cannot write {folder}: name another folder with --out")

    def _take(self) -> None:
        """Whenever this is cut off, the folder is ours, and no other run's checkpoint in it is taken for this one's."""
        if _is_ours(self.folder / FACTS) or self._differences():
            for each in self._newest_first():
                shutil.rmtree(each)
            shutil.rmtree(self.folder / _ADAPTER, ignore_errors=True)  # the new run may have none
        write_json(self.checkpoints / _RUN, self._what)
        (self.folder / FACTS).unlink(missing_ok=True)
        self.drop_parts()

    def _differences(self) -> list[str]:
        """What the run in the folder has another of, as ``"learning_rate (0.1, not 0.2)"``."""
        if not _is_ours(self.checkpoints / _RUN):
            return []
        before, now = _flat(read_json(self.checkpoints / _RUN)), _flat(self._what)
        found = []
        for name in sorted({*before, *now}):
            old, new = before.get(name), now.get(name)
            if old != new and name not in _FREE:
                found.append(f"{name.removeprefix('recipe.')} ({_short(old)}, not {_short(new)})")
        return found

    def _newest_first(self) -> list[Path]:
        found = [each for each in self.checkpoints.glob("checkpoint-*") if each.name.rpartition("-")[2].isdigit()]
        return sorted(found, key=lambda each: -int(each.name.rpartition("-")[2]))


def facts_of(folder: Path) -> dict[str, Any] | None:
    """What the finished run in a folder found; none where there is none."""
    return _ours(folder / FACTS)


def _is_ours(file: Path) -> bool:
    return _ours(file) is not None


def _ours(file: Path) -> dict[str, Any] | None:
    """What a file says of a run; none where it is of something else: others may have a training.json, too."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) and "kind" in content and "base" in content else None


def _is_empty(folder: Path) -> bool:
    """Whether there is nothing in a folder, or only what a run killed at its very beginning leaves."""
    held = list(folder.iterdir()) if folder.is_dir() else []
    if [each.name for each in held] == [_CHECKPOINTS] and held[0].is_dir():
        held = [each for each in held[0].iterdir() if not each.name.startswith(f".{_RUN}")]
    return not held


def _is_whole(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end, and nothing of it is gone."""
    try:
        sizes = json.loads((checkpoint / _WHOLE).read_text(encoding="utf-8"))["files"]
        return all((checkpoint / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _flat(what: dict[str, Any], before: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in what.items():
        found |= _flat(value, f"{before}{name}.") if isinstance(value, dict) else {before + name: value}
    return found


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:12]}..."


def _write_out(file: Path) -> None:
    """Waits until a file is on the disk, so that not even a power cut leaves a sealed checkpoint without it."""
    descriptor = os.open(file, os.O_RDONLY)
    try:
        with suppress(OSError):  # not every file system can
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _wait() -> None:
    """Waits for all processes of the run, if there are several."""
    if "RANK" not in os.environ:
        return
    from accelerate import PartialState
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized():
        PartialState().wait_for_everyone()


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {folder}: {error.strerror or error}: name another folder with --out"
        ) from error


@contextmanager
def running(folder: Path, what: dict[str, Any], *, overwrite: bool) -> Iterator[Run]:
    """Opens the folder of a run, for one run at a time.

    Args:
        folder: made if it is not there.
        what: all that decides the result: an unfinished run in the folder goes on if it is the same. Has the keys
            ``kind`` and ``base``; in a ``recipe``, those of `_FREE` may be others.
        overwrite: a finished run or another one in the folder gives way. An unfinished one that is the same goes on, so
            that a command with this flag survives a kill, too.

    Raises:
        OutputExistsError: it holds a finished run, or another one that is not finished.
        OutputError: it holds something else, cannot be written, or another process trains in it.
    """
    folder = folder.expanduser().resolve()
    if not first_process():
        yield Run(folder, what, overwrite=overwrite, main=False)
        return
    own = lock(folder / FACTS, blocking=False)
    try:
        own.acquire()
    except Timeout:
        raise OutputError(
            f"another process trains in {folder}: wait for it, or name another folder with --out"
        ) from None
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    try:
        run = Run(folder, what, overwrite=overwrite, main=True)
        try:
            yield run
        finally:
            for each in (run.checkpoints, *missing):
                with suppress(OSError):  # there is something in it, or it was never made
                    each.rmdir()
    finally:
        own.release()
