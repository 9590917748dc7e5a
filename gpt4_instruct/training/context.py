"""How many tokens a base model can read: as many as it has learnt positions, or any number."""

from __future__ import annotations

import re
from itertools import chain
from typing import Any

from gpt4_instruct.errors import UsageError

__all__ = ["check_context", "learnt_positions"]

# Tables with a row for each position, as transformers calls them: weights (GPT-2, OPT, BERT), or sines (GPT-J).
_TABLE = re.compile(r"(?:^|\.)(wpe|embed_positions|position_embeddings)(\.weight)?$")


def learnt_positions(model: Any) -> int | None:
    """The most tokens that a model has positions for; none where positions are computed and never end (RoPE, ALiBi).

    Args:
        model: a `transformers.PreTrainedModel`.
    """
    config = model.config.get_text_config()
    for name, table in chain(model.named_parameters(), model.named_buffers()):
        found = _TABLE.search(name)
        if found is None or table.dim() != 2:
            continue
        owner = model.get_submodule(name.rpartition(".")[0])
        padding = getattr(owner, "padding_idx", None)  # RoBERTa counts from behind it
        rows = table.shape[0] - (0 if padding is None else padding + 1)
        return int(min(rows, getattr(config, "max_position_embeddings", None) or rows))
    return None


def check_context(model: Any, max_length: int, name: str) -> None:
    """Makes sure that a base model can read rows of `max_length` tokens.

    A model with computed positions (RoPE, ALiBi) may read more than it was trained on: tuning is how it learns to.

    Args:
        model: a `transformers.PreTrainedModel`.
        max_length: most tokens of a row.
        name: of the model.

    Raises:
        UsageError: it has fewer positions.
    """
    most = learnt_positions(model)
    if most is not None and max_length > most:
        raise UsageError(f"max_length is {max_length}, but {name} reads at most {most} tokens: --max-length {most}")
