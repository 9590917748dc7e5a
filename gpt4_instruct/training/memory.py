"""What a run needs of each GPU's memory, before one is rented: arithmetic of weights, moments and activations.

    >>> from gpt4_instruct.training.recipes import SFT_RECIPES
    >>> found = memory_gib(LLAMA_7B, SFT_RECIPES["llama-gpt4"], devices=8)
    >>> round(sum(found.values())), round(found["weights"], 1), round(found["moments"], 1)
    (21, 3.1, 6.3)

Bytes of a parameter: 4 of weight, 4 of gradient, 8 of AdamW's two moments, each parted between the devices (FSDP2,
ZeRO-3); computing is in bfloat16. With LoRA each device holds the whole model, as 2 bytes a parameter. Those of
activations were counted tensor by tensor on LLaMA's layers as transformers 5.23 computes flat batches, in which nothing
is kept for padding or attention's scores; `tests/test_launch.py` counts them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from gpt4_instruct.training.recipes import SFTRecipe

__all__ = ["LLAMA_7B", "Shape", "memory_gib", "shape_of"]

_GIB = 2**30
_LAYER_INPUT = 4  # bytes of each number that checkpointing keeps of a layer: the residual stream is in float32
_OF_HIDDEN, _OF_INTERMEDIATE = 36, 8  # bytes a layer keeps of each token for its way back, by width
_LOGIT = 12  # bytes of each logit at most: bfloat16, float32, and the gradient of both
_OTHER_GIB = 3.0  # the CUDA context, NCCL's buffers, and what the allocator holds in pieces: our assumption
_CARE = 2  # a layer on its way back holds its activations, and gradients of them


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a LLaMA-like model: parameters, width, layers, width within a layer's MLP, vocabulary."""

    parameters: int
    hidden: int
    layers: int
    intermediate: int
    vocabulary: int


# huggyllama/llama-7b, config.json; parameters as Touvron et al., 2023, table 2 has them: 6.7B.
LLAMA_7B = Shape(6_738_415_616, 4096, 32, 11_008, 32_000)


def shape_of(model: Any) -> Shape:
    """The sizes of a `transformers.PreTrainedModel`."""
    config = model.config.get_text_config()
    parameters = sum(each.numel() for each in model.parameters())
    sizes = (config.hidden_size, config.num_hidden_layers, config.intermediate_size, config.vocab_size)
    return Shape(parameters, *sizes)


def memory_gib(shape: Shape, plan: SFTRecipe, devices: int, *, tokens: int | None = None) -> dict[str, float]:
    """The memory of one device at its fullest, in GiB, by what it is for; the sum is what a card must have.

    Args:
        shape: of the base model.
        plan: whose ``device_batch``, ``max_length``, ``checkpointing`` and ``lora`` count; in bfloat16.
        devices: that weights, gradients and moments are parted between.
        tokens: that a device takes at once; by default as many as its rows can have, which is about four times what
            rows of GPT-4's answers have on average.

    Returns:
        ``weights``, ``gradients``, ``moments``; ``gathered`` (two layers whole, with a gradient, and the embeddings, or
        what autocast copies); ``activations``, ``logits``, ``other``.
    """
    tokens = plan.device_batch * plan.max_length if tokens is None else tokens
    layer = shape.parameters - 2 * shape.vocabulary * shape.hidden  # of all layers
    one = layer / shape.layers
    embeddings = shape.vocabulary * shape.hidden
    if plan.lora:
        # Two matrices beside each of a layer's seven: rank x (in + out) numbers.
        widths = 8 * shape.hidden + 3 * (shape.hidden + shape.intermediate)
        trained: float = plan.lora.rank * widths * shape.layers
        weights, gathered = 2 * shape.parameters + 4 * trained, 0.0
    else:
        trained = shape.parameters / devices
        weights = 4 * trained
        gathered = 2 * one * (2 + 2) + one * 4 + 2 * embeddings * 2 if devices > 1 else 2 * shape.parameters
    within = tokens * (_OF_HIDDEN * shape.hidden + _OF_INTERMEDIATE * shape.intermediate)
    kept = tokens * _LAYER_INPUT * shape.hidden * shape.layers if plan.checkpointing else within * shape.layers
    found = {
        "weights": weights,
        "gradients": 4 * trained,
        "moments": 8 * trained,
        "gathered": gathered,
        "activations": kept + _CARE * within * plan.checkpointing,
        "logits": tokens * shape.vocabulary * _LOGIT,
    }
    return {name: size / _GIB for name, size in found.items()} | {"other": _OTHER_GIB}
