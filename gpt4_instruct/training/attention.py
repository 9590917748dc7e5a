"""Attention within each row of a flat batch: torch's own kernel, once a row, so that no row sees another.

A mask over the whole text would say the same, at the price of computing what it then throws away: for sixteen rows of
equal length, sixteen times as much. And a mask is built from ``position_ids`` by some models only; OPT builds none.

What a model's class says of its attention is not always so: Nemotron's layers pass nothing on to it, Doge adds a mask
of its own, RoBERTa counts positions from 2. So whether rows are kept apart is not looked up but tried, on a few tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpt4_instruct.training.batches import flat_text

__all__ = ["FLASH", "SEGMENTS", "separate_rows"]

SEGMENTS = "gpt4_instruct_segments"
FLASH = "flash_attention_2"  # where it is installed, it does the same in one kernel

_TRIED = (5, 3)  # tokens of the rows on which it is tried
# By how much they may differ from rows alone, as a share of their length: rounding. What a row sees of another changes
# the states of tiny new models by a tenth, of others by more.
_FLOAT32, _FEWER_DIGITS = 1e-4, 5e-2


def separate_rows(model: Any, longest: int) -> bool:
    """Makes a model's attention keep the rows of a flat batch apart; says whether it can.

    Models whose attention cannot be replaced (old ones, with position biases of their own), that look at a window
    shorter than a row, cap their logits or keep a state from token to token, cannot. Of the others, those can that read
    two rows of a few random tokens laid end to end as they read each alone: three passes, which change nothing in the
    model and take no random number. (Weights that are not here, or not whole, cannot be tried.)

    Args:
        model: a `transformers.PreTrainedModel`, with any head. One that was loaded with flash attention keeps that.
            Asked without ``segments``, it goes on as before; where it cannot, it keeps the attention it had.
        longest: most tokens of a row.
    """
    if model.config._attn_implementation == FLASH:
        return True
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if (
        not (model._supports_attention_backend and model._supports_sdpa)
        or (window is not None and window < longest)
        or not kinds <= {"full_attention", "sliding_attention"}
        or getattr(config, "attn_logit_softcapping", None) is not None
    ):
        return False
    _register()
    before = config._attn_implementation
    with _unchanged(model):
        alone = None if _is_elsewhere(model) else _states(model, laid=False)
        model.set_attn_implementation(SEGMENTS)
        if _is_elsewhere(model) or _equal(alone, _states(model, laid=True), model.dtype):
            return True
    model.set_attn_implementation(before)
    return False


@contextmanager
def _unchanged(model: Any) -> Iterator[None]:
    """For a look at what a model computes: no dropout, no gradients, and random numbers go on as if nothing was."""
    import torch

    modes = [(each, each.training) for each in model.modules()]
    devices = [model.device] if model.device.type == "cuda" else []
    model.eval()
    try:
        with torch.random.fork_rng(devices=devices), torch.no_grad():
            yield
    finally:
        for each, training in modes:
            each.training = training


def _is_elsewhere(model: Any) -> bool:
    """Whether weights are on no device, or parted between processes (DeepSpeed), so that nothing can be computed."""
    return any(each.is_meta or hasattr(each, "ds_id") for each in model.parameters())


def _states(model: Any, *, laid: bool) -> Any:
    """The last states of the rows of `_TRIED` [T, width], laid end to end or each alone; none if it cannot read so."""
    import torch

    embeddings = model.get_input_embeddings().weight
    random = torch.Generator().manual_seed(0)
    ids = torch.randint(embeddings.shape[0], (sum(_TRIED),), generator=random)
    pad = model.config.get_text_config().pad_token_id
    if pad is not None:
        ids[ids == pad] += 1 if pad == 0 else -1  # some count no position for it
    rows = [flat_text(ids, _TRIED)] if laid else [{"input_ids": each[None]} for each in ids.split(_TRIED)]
    found = []
    try:
        for row in rows:
            given = {name: each.to(embeddings.device) if torch.is_tensor(each) else each for name, each in row.items()}
            states = model(**given, use_cache=False, output_hidden_states=True).hidden_states[-1]
            found.append(states[0].float())
    except Exception:  # every model raises its own; padded rows are then all there is
        return None
    return torch.cat(found)


def _equal(alone: Any, laid: Any, dtype: Any) -> bool:
    """Whether states differ by no more than the rounding of a type of numbers."""
    import torch

    if alone is None or laid is None or alone.shape != laid.shape:
        return False
    tolerance = _FLOAT32 if torch.finfo(dtype).bits >= 32 else _FEWER_DIGITS
    return bool((laid - alone).norm() <= tolerance * alone.norm())


def _register() -> None:
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(SEGMENTS, _attend)
    AttentionMaskInterface.register(SEGMENTS, _mask)


def _mask(*, q_length: int, kv_length: int, attention_mask: Any = None, **options: Any) -> Any:
    """None for a flat batch and a whole text; the usual mask where there is padding, or something is cached."""
    from transformers.masking_utils import sdpa_mask

    if attention_mask is None and q_length == kv_length:
        return None
    return sdpa_mask(q_length=q_length, kv_length=kv_length, attention_mask=attention_mask, **options)


def _attend(
    module: Any,
    query: Any,
    key: Any,
    value: Any,
    attention_mask: Any,
    *,
    segments: list[int] | None = None,
    **options: Any,
) -> tuple[Any, None]:
    """Attention [1, heads, T, size] -> [1, T, heads, size], each of `segments` for itself."""
    import torch
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if segments and attention_mask is not None:  # the model's own, for `_mask` gives none
        raise ValueError("a model that masks tokens by itself cannot have its rows laid end to end")
    if not segments or len(segments) == 1:
        alone: tuple[Any, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return alone
    rows = zip(query.split(segments, 2), key.split(segments, 2), value.split(segments, 2), strict=True)
    outputs = [sdpa_attention_forward(module, *row, None, **options)[0] for row in rows]
    whole: Any = torch.cat(outputs, dim=1)
    return whole, None
