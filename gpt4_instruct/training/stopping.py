"""What ends a run before its end: a signal, numbers that are none, a full memory or disk, another process's end.

Whatever it is, the last whole checkpoint stays, and one line says what happened and what to do.
"""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import InterruptedRunError, OutputError, TrainingError
from gpt4_instruct.progress import first_process
from gpt4_instruct.training.runs import Run

__all__ = ["explaining", "stopping", "why"]

_STOPPING = b"\nstopping after this step, with a checkpoint (Ctrl-C again leaves at once)\n"
# What torch says in a plain RuntimeError.
_NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
_NO_DISK = ("PytorchStreamWriter", "inline_container", "write file", "No space left")
_NO_OTHERS = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Read error", "gloo")


class _Complete(Exception):
    """The checkpoint to go on from is that of the last step: nothing is left to train."""


@contextmanager
def stopping(trainer: Any, run: Run) -> Iterator[None]:
    """Watches a run: checkpoints are sealed, a broken step is not taken, a signal ends it after a step.

    On Ctrl-C, or SIGTERM as clusters send it, in any of the processes, all of them finish the step and write a
    checkpoint; a second Ctrl-C leaves at once. (Signals are left alone outside of a main thread.)

    Raises:
        TrainingError: a loss, or gradients, that are no numbers. Weights are as before that step.
        InterruptedRunError: it was asked to stop.
    """
    asked = threading.Event()

    def note(number: int, frame: Any) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()
        if first_process():
            os.write(2, _STOPPING)  # print may be just at work

    watch = _watch(trainer, run, asked)
    trainer.add_callback(watch)
    before: dict[int, Callable[..., Any] | int | None] = {}
    if threading.current_thread() is threading.main_thread():
        before = {each: signal.signal(each, note) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except _Complete:
        trainer.is_in_train = False
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
        trainer.remove_callback(watch)
    if asked.is_set():
        step = trainer.state.global_step
        raise InterruptedRunError(f"stopped after step {step}; the same command goes on from there")


def _watch(trainer: Any, run: Run, asked: threading.Event) -> Any:
    import torch
    from transformers import TrainerCallback

    started = time.monotonic()

    class Watch(TrainerCallback):  # type: ignore[misc]
        """See `stopping`. Added last, it has the last word on what a step ends with."""

        saved = False

        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if state.global_step >= state.max_steps:  # the stock loop would take one step more
                raise _Complete

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **more: Any) -> None:
            # Gradients are clipped by now: by a norm that is no number, to no numbers. (An engine that keeps gradients
            # to itself, as DeepSpeed's, shows none; then what is logged tells, before a checkpoint is written.)
            grads = [each.grad for each in model.parameters() if each.grad is not None]
            norm = torch.nn.utils.get_total_norm(grads) if grads else torch.zeros(())
            norm = norm.full_tensor() if hasattr(norm, "full_tensor") else norm
            if not torch.isfinite(norm):
                raise TrainingError(
                    f"the gradients of step {state.global_step + 1} are no numbers, so the run stopped before it; "
                    f"{_kept(run)}: look at the rows, or lower --learning-rate"
                )

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> Any:
            self.saved = control.should_save
            if trainer.total(float(asked.is_set())):
                asked.set()
                control.should_training_stop = True
            return control

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            for name in ("loss", "grad_norm"):
                if name in (logs or {}) and not math.isfinite(logs[name]):
                    raise TrainingError(
                        f"the {name.replace('_', ' of the ')} of step {state.global_step} is no number, so the run "
                        f"stopped; {_kept(run)}: look at the rows, or lower --learning-rate"
                    )

        def on_epoch_end(self, args: Any, state: Any, control: Any, **more: Any) -> Any:
            if asked.is_set():  # this is where a run that stops comes to, wherever it was in its epoch
                control.should_save = not self.saved
                control.should_evaluate &= state.epoch == int(state.epoch)
            return control

        def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            run.seal(Path(args.output_dir) / f"checkpoint-{state.global_step}", time.monotonic() - started)

    return Watch()


@contextmanager
def explaining(trainer: Any, run: Run) -> Iterator[None]:
    """Says in one line why a run ended.

    Raises:
        TrainingError: out of memory, or another of several processes ended.
        OutputError: a file could not be written.
        InterruptedRunError: a second Ctrl-C.
    """
    import torch
    from safetensors import SafetensorError

    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(
            f"left at once, after step {trainer.state.global_step}; {_kept(run)}, and the same command goes on"
        ) from None
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise TrainingError(_too_big(trainer)) from error
    except (OSError, SafetensorError) as error:
        raise OutputError(_unwritten(trainer, run, error)) from error
    except RuntimeError as error:
        text = str(error)
        if any(each in text for each in _NO_MEMORY):
            raise TrainingError(_too_big(trainer)) from error
        if any(each in text for each in _NO_DISK):
            raise OutputError(_unwritten(trainer, run, error)) from error
        if trainer.args.world_size > 1 and (
            isinstance(error, torch.distributed.DistError) or any(each in text for each in _NO_OTHERS)
        ):
            raise TrainingError(
                f"another process of this run ended after step {trainer.state.global_step}, so this one cannot go on: "
                "see what that one said"
            ) from error
        raise


def _kept(run: Run) -> str:
    last = run.last()
    return f"the last checkpoint, {last}, is good" if last else "there was no checkpoint yet"


def _unwritten(trainer: Any, run: Run, error: Exception) -> str:
    run.drop_parts()  # what there is of it only takes room
    return (
        f"cannot write a checkpoint after step {trainer.state.global_step} to {run.checkpoints} ({why(error)}); "
        f"{_kept(run)}: make room, and the same command goes on"
    )


def why(error: Exception) -> str:
    """What the system said of a file, in one line."""
    return getattr(error, "strerror", None) or str(error).strip().split("\n")[0]


def _too_big(trainer: Any) -> str:
    ways = []
    batch = trainer.args.per_device_train_batch_size
    if batch > 1:
        ways.append(f"--device-batch {batch // 2} (now {batch}; it learns the same)")
    if not trainer.args.activation_checkpointing:
        ways.append("--checkpointing (it learns the same)")
    ways += ["--lora", "a lower --max-length"]
    return f"out of memory after step {trainer.state.global_step}: try {', '.join(ways[:-1])} or {ways[-1]}"
