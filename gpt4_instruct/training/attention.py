"""Attention within each row of a flat batch: torch's own kernel, once a row, so that no row sees another.

A mask over the whole text would say the same, at the price of computing what it then throws away: for sixteen rows of
equal length, sixteen times as much. And a mask is built from ``position_ids`` by some models only; OPT builds none.
"""

from __future__ import annotations

from typing import Any

__all__ = ["FLASH", "SEGMENTS", "separate_rows"]

SEGMENTS = "gpt4_instruct_segments"
FLASH = "flash_attention_2"  # where it is installed, it does the same in one kernel


def separate_rows(model: Any, longest: int) -> bool:
    """Makes a model's attention keep the rows of a flat batch apart; says whether it can.

    Models whose attention cannot be replaced (old ones, with position biases of their own), that look at a window
    shorter than a row, cap their logits or keep a state from token to token, cannot.

    Args:
        model: a `transformers.PreTrainedModel`. One that was loaded with flash attention keeps that. Asked without
            ``segments``, it goes on as before.
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
    model.set_attn_implementation(SEGMENTS)
    return True


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

    if not segments or len(segments) == 1:
        alone: tuple[Any, None] = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return alone
    rows = zip(query.split(segments, 2), key.split(segments, 2), value.split(segments, 2), strict=True)
    outputs = [sdpa_attention_forward(module, *row, None, **options)[0] for row in rows]
    whole: Any = torch.cat(outputs, dim=1)
    return whole, None
