"""What a run is made with: the paper's numbers, and those of a demonstration on any computer.

llama-gpt4, llama-gpt4-cn     section 3.1 of the paper gives the Alpaca recipe (tatsu-lab/stanford_alpaca @ 761dc5bf,
                              README.md): 3 epochs, 2e-5, cosine, 3 % warm-up, no weight decay, 512 tokens. The
                              release trained on 16 GPUs, one row each, accumulated 4 times: 64 rows a step.
opt-1.3b                      section 3.2: OPT-1.3B with a scalar head, one epoch; the paper gives no more.
smollm2-demo                  ours: a 135-million-parameter model on a laptop's processor.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

from gpt4_instruct.errors import UnknownNameError, UsageError

__all__ = ["LoRA", "REWARD_RECIPES", "RewardRecipe", "SFTRecipe", "SFT_RECIPES", "changed", "recipe"]

PRECISIONS = ("bf16", "fp32")
TEMPLATES = ("alpaca", "chat")


def _whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Raises UsageError unless a value is a whole number in a range."""
    limits = f"{least} or more" if most is None else f"from {least} to {most}"
    if not isinstance(value, int) or isinstance(value, bool) or value < least or (most is not None and value > most):
        raise UsageError(f"{name} is {value!r}, but must be a whole number, {limits}")


def _number(name: str, value: Any) -> float:
    """A finite number; raises UsageError for what is none."""
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise UsageError(f"{name} is {value!r}, but must be a number")
    return value


@dataclass(frozen=True, slots=True)
class LoRA:
    """Low-rank adapters on every linear layer but the head (Hu et al., 2021); the base model stays as it is.

    Attributes:
        rank: of each adapter's two matrices.
        alpha: adapters are scaled by ``alpha / rank``.
        dropout: of an adapter's input.
    """

    rank: int = 16
    alpha: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        _whole("lora rank", self.rank, 1)
        if not _number("lora alpha", self.alpha) > 0:
            raise UsageError(f"lora alpha is {self.alpha}, but must be more than 0")
        if not 0 <= _number("lora dropout", self.dropout) < 1:
            raise UsageError(f"lora dropout is {self.dropout}, but must be from 0 to less than 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Recipe:
    """What both kinds of run have.

    Attributes:
        model: the base model, where none is named: a folder or Hub id.
        max_length: most tokens of a row; longer ones lose their end.
        epochs: passes over the data.
        max_steps: ends the run after so many steps, whatever `epochs` says; none to go by `epochs`.
        learning_rate: at its highest, after the warm-up.
        warmup: share of all steps in which the rate rises from 0; then it falls along a cosine to 0.
        weight_decay: AdamW's.
        batch_size: rows in one step, over all devices.
        device_batch: rows that one device takes at once; the gradients of ``batch_size / (device_batch * devices)``
            such batches are added up for a step. It changes no result, but for what dropout draws.
        precision: ``"bf16"`` computes in bfloat16 and keeps the weights in float32, ``"fp32"`` does all in float32.
        checkpointing: computes activations twice instead of keeping them: about a third more time, far less memory.
        lora: adapters instead of the full model; none tunes all weights.
        seed: of the order of rows, dropout and new weights.
        save_steps: a checkpoint after every so many steps; none for one at the end of each epoch.
        keep_checkpoints: keep them all. Else the last two are there while the run lasts, and none after its end.
        held_out: share of the rows that are only measured, not learnt from; 0 for none.
    """

    model: str | None = None
    max_length: int = 512
    epochs: float = 3.0
    max_steps: int | None = None
    learning_rate: float = 2e-5
    warmup: float = 0.03
    weight_decay: float = 0.0
    batch_size: int = 64
    device_batch: int = 4
    precision: str = "bf16"
    checkpointing: bool = False
    lora: LoRA | None = None
    seed: int = 42
    save_steps: int | None = None
    keep_checkpoints: bool = False
    held_out: float = 0.01

    def __post_init__(self) -> None:
        for name in ("batch_size", "device_batch", "max_length"):
            _whole(name, getattr(self, name), 1)
        for name in ("max_steps", "save_steps"):
            if getattr(self, name) is not None:
                _whole(name, getattr(self, name), 1)
        _whole("seed", self.seed, 0, 2**32 - 1)
        for name in ("epochs", "learning_rate"):
            if not _number(name, getattr(self, name)) > 0:
                raise UsageError(f"{name} is {getattr(self, name)}, but must be more than 0")
        if _number("weight_decay", self.weight_decay) < 0:
            raise UsageError(f"weight_decay is {self.weight_decay}, but must be 0 or more")
        for name in ("warmup", "held_out"):
            if not 0 <= _number(name, getattr(self, name)) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}, but must be from 0 to less than 1")
        for name in ("checkpointing", "keep_checkpoints"):
            if not isinstance(getattr(self, name), bool):
                raise UsageError(f"{name} is {getattr(self, name)!r}, but must be True or False")
        if self.lora is not None and not isinstance(self.lora, LoRA):
            raise UsageError(f"lora is {self.lora!r}, but must be None or a LoRA(rank=..., alpha=...)")
        if self.precision not in PRECISIONS:
            raise UsageError(f"precision is {self.precision!r}, but must be {' or '.join(PRECISIONS)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SFTRecipe(_Recipe):
    """Supervised tuning: the answers are learnt, given their prompts. See `_Recipe` for the rest.

    Attributes:
        template: ``"alpaca"``, or ``"chat"`` for the base model's own chat template.
        packing: tokens of a pack, or none. Rows are laid into packs by best fit, and a device takes one pack at once
            instead of ``device_batch`` rows; a step takes as many packs as come nearest to ``batch_size`` rows, and has
            on average what ``rows_a_step`` in ``training.json`` says. A pack that holds more than one device's share
            of a step is refused.

    >>> SFTRecipe(epochs=1, learning_rate=1e-4, lora=LoRA(rank=8)).batch_size
    64
    >>> SFTRecipe(precision="fp16")
    Traceback (most recent call last):
    gpt4_instruct.errors.UsageError: precision is 'fp16', but must be bf16 or fp32
    """

    template: str = "alpaca"
    packing: int | None = None

    def __post_init__(self) -> None:
        super(SFTRecipe, self).__post_init__()
        if self.packing is not None:
            _whole("packing", self.packing, 1)
        if self.template not in TEMPLATES:
            raise UsageError(f"template is {self.template!r}, but must be {' or '.join(TEMPLATES)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardRecipe(_Recipe):
    """A reward model: of two answers to a prompt, the better one is to have the higher reward. See `_Recipe`.

    ``batch_size`` and ``device_batch`` count prompts, each with all its answers.

    Attributes:
        margin: a pair's rewards are to differ by so much for each point between its scores; 0 asks only for the order.
        centering: weight of the mean square of the sum of a pair's rewards, which keeps them around 0.

    >>> RewardRecipe(batch_size=16, margin=0.1).epochs
    3.0
    """

    margin: float = 0.0
    centering: float = 0.0

    def __post_init__(self) -> None:
        super(RewardRecipe, self).__post_init__()
        for name in ("margin", "centering"):
            if _number(name, getattr(self, name)) < 0:
                raise UsageError(f"{name} is {getattr(self, name)}, but must be 0 or more")


_PAPER = SFTRecipe(model="huggyllama/llama-7b", checkpointing=True)
SFT_RECIPES: dict[str, SFTRecipe] = {
    "llama-gpt4": _PAPER,
    "llama-gpt4-cn": _PAPER,  # the same numbers; the data is Chinese
    "smollm2-demo": SFTRecipe(
        model="smollm2",
        max_length=256,
        epochs=1.0,
        learning_rate=1e-4,
        batch_size=8,
        device_batch=8,
        precision="fp32",
        held_out=0.05,
    ),
}
REWARD_RECIPES: dict[str, RewardRecipe] = {
    "opt-1.3b": RewardRecipe(
        model="facebook/opt-1.3b", epochs=1.0, learning_rate=1e-5, batch_size=32, held_out=0.05, checkpointing=True
    ),
    "smollm2-demo": RewardRecipe(
        model="smollm2",
        max_length=256,
        epochs=1.0,
        learning_rate=5e-5,
        batch_size=8,
        device_batch=8,
        precision="fp32",
        held_out=0.2,
    ),
}

_R = TypeVar("_R", SFTRecipe, RewardRecipe)


def recipe(known: dict[str, _R], wanted: str | _R) -> _R:
    """The recipe of a name, or the one that is given.

    >>> recipe(SFT_RECIPES, "llama-gpt4").batch_size
    64

    Raises:
        UnknownNameError: there is none of that name.
    """
    if not isinstance(wanted, str):
        return wanted
    if wanted not in known:
        raise UnknownNameError("recipe", wanted, list(known))
    return known[wanted]


def changed(base: _R, **values: Any) -> _R:
    """The recipe with those of `values` that are not None.

    >>> changed(SFT_RECIPES["llama-gpt4"], epochs=1.0, seed=None).epochs
    1.0

    Raises:
        UsageError: a value cannot be, or the recipe has no such field.
    """
    names = {field.name for field in fields(base)}
    for name in values:
        if name not in names:
            raise UsageError(f"a {type(base).__name__} has no {name}")
    return replace(base, **{name: value for name, value in values.items() if value is not None})
