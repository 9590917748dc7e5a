"""What a run shows while it trains: a bar in a terminal or a notebook, a line now and then in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from gpt4_instruct.progress import first_process, progress, wanted

__all__ = ["told", "telling"]

_LINES = 100  # in a log, about so many for all steps, and one for each time something is measured


@contextmanager
def telling(trainer: Any) -> Iterator[None]:
    """Shows a run, in place of the stock callbacks, which show every number of every step."""
    shown = _telling()()
    trainer.add_callback(shown)
    try:
        yield
    finally:
        trainer.remove_callback(shown)
        if shown.bar is not None:
            shown.bar.close()


@cache
def _telling() -> type:
    from transformers import TrainerCallback

    class Telling(TrainerCallback):  # type: ignore[misc]
        """See `telling`."""

        bar: Any = None

        def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self.bar = progress(lambda: state.max_steps, "training", "step")
            self.bar.update(state.global_step)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            if not first_process() or not (line := told(logs or {})):
                return
            line = f"step {state.global_step:,} of {state.max_steps:,}: {line}"
            held_out = "eval_loss" in logs
            if wanted():
                if held_out and self.bar is not None:
                    self.bar.write(line, file=sys.stderr)
                elif self.bar is not None:
                    self.bar.set_postfix_str(told(logs), refresh=False)
                    self.bar.update(state.global_step - self.bar.n)
            elif held_out or state.global_step % max(1, state.max_steps // _LINES) == 0 or state.global_step == 1:
                print(line, file=sys.stderr, flush=True)

    return Telling


def told(logs: dict[str, Any]) -> str:
    """The numbers of a log that are worth a look, or nothing.

    >>> told({"loss": 1.83211, "tokens_per_second": 9034.2, "supervised_tokens_per_second": 1833.0, "mfu": 0.3712})
    'loss 1.832, 9,034 tokens/s (1,833 learnt), MFU 37.1 %'
    >>> told({"eval_loss": 0.6012, "eval_tokens": 360.0, "eval_accuracy": 0.627})
    'held-out loss 0.601, 62.7 % of pairs right'
    >>> told({"train_runtime": 2.0})
    ''
    """
    parts = []
    if "eval_loss" in logs:
        parts.append(f"held-out loss {logs['eval_loss']:.3f}")
        if "eval_accuracy" in logs:
            parts.append(f"{100 * logs['eval_accuracy']:.1f} % of pairs right")
    elif "loss" in logs:
        parts.append(f"loss {logs['loss']:.3f}")
        if "tokens_per_second" in logs:
            speed = f"{logs['tokens_per_second']:,.0f} tokens/s"
            learnt = logs.get("supervised_tokens_per_second")
            parts.append(f"{speed} ({learnt:,.0f} learnt)" if learnt is not None else speed)
        if "pairs_per_second" in logs:
            parts.append(f"{logs['pairs_per_second']:,.1f} pairs/s")
        if "mfu" in logs:
            parts.append(f"MFU {100 * logs['mfu']:.1f} %")
    return ", ".join(parts)
