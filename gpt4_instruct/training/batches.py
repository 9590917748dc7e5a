"""Batches without padding: rows laid end to end as one text, each blind to the others.

    rows          [a a a a] [b b] [c c c]
    input_ids     a a a a b b c c c               [1, T]
    position_ids  0 1 2 3 0 1 0 1 2               each row counts from 0
    labels        - - a a - b - c c               [1, T]; "-" is -100

What is learnt is known before the model runs, so only the positions that predict it are projected onto the vocabulary
(`logits_to_keep`). For a prompt of half the tokens and a vocabulary of 50,000, that is a tenth of the work of a small
model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt4_instruct.errors import UsageError
from gpt4_instruct.training.tokens import IGNORED

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["best_fit", "flat_batch", "flat_text", "pack", "padded_batch"]


def best_fit(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Packs items into bins by best fit decreasing: the longest first, each where the least room is left.

    Uses at most 11/9 of the fewest bins, and 6/9 of one (Dósa, 2007); for the lengths of real rows, hardly more than
    the fewest.

    Args:
        lengths: of each item, from 1 to `capacity`.
        capacity: of a bin.

    Returns:
        the items' indices, bin by bin.

    Raises:
        UsageError: an item does not fit into a bin.

    >>> best_fit([3, 5, 2, 4], capacity=7)
    [[1, 2], [3, 0]]
    """
    sizes = np.asarray(lengths, dtype=np.int64)
    if len(sizes) and sizes.max() > capacity:
        raise UsageError(f"a row of {sizes.max()} tokens does not fit into a pack of {capacity}: make it longer")
    bins: list[list[int]] = []
    by_room: list[list[int]] = [[] for _ in range(capacity + 1)]  # bins with so much room left
    rooms = 0  # bit r is set where by_room[r] has a bin
    for item in np.argsort(-sizes, kind="stable").tolist():
        size = int(sizes[item])
        fitting = rooms >> size
        if fitting:
            room = size + (fitting & -fitting).bit_length() - 1
            place = by_room[room].pop()
            if not by_room[room]:
                rooms &= ~(1 << room)
            bins[place].append(item)
        else:
            room, place = capacity, len(bins)
            bins.append([item])
        by_room[room - size].append(place)
        rooms |= 1 << (room - size)
    return bins


def pack(encoded: Dataset, capacity: int) -> Dataset:
    """Rows of `tokens.encode` as packs of up to `capacity` tokens, each a row with the ``lengths`` of those in it.

    Raises:
        UsageError: a row is longer than a pack.
    """
    import pyarrow as pa
    from datasets import Dataset, Features, List, Value

    bins = best_fit(encoded["length"], capacity)
    table = encoded.select([row for each in bins for row in each]).with_format("arrow")[:].combine_chunks()
    counts = np.array([len(each) for each in bins], dtype=np.int32)
    lengths = table["length"].to_numpy()
    rows = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    tokens = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)[rows]
    columns = {
        name: pa.ListArray.from_arrays(pa.array(tokens), table[name].chunk(0).flatten())
        for name in ("input_ids", "labels")
    }
    columns["lengths"] = pa.ListArray.from_arrays(pa.array(rows), pa.array(lengths, pa.int32()))
    columns["length"] = pa.array(np.diff(tokens).astype(np.int32))
    whole = List(Value("int32"))
    features = Features({"input_ids": whole, "labels": whole, "lengths": whole, "length": Value("int32")})
    return Dataset(pa.table(columns).cast(features.arrow_schema))


def flat_batch(rows: Sequence[Mapping[str, Any]], *, project_all: bool = False) -> dict[str, Any]:
    """Rows, or packs of rows, as one text for a model whose attention keeps them apart.

    Args:
        rows: with ``input_ids``, ``labels``, and ``lengths`` where a row is a pack.
        project_all: for a model that takes no ``logits_to_keep``.

    Returns:
        ``input_ids``, ``position_ids`` and ``labels`` [1, T]; ``shift_labels`` [1, N] and ``logits_to_keep`` [N], the N
        tokens that are learnt and the positions they are predicted at; ``cu_seq_lens_q`` and ``_k`` [rows + 1] and
        ``max_length_q`` and ``_k`` as flash attention has them; ``segments``, the rows' lengths, for `attention`.
    """
    import torch

    lengths = [length for each in rows for length in each.get("lengths") or [len(each["input_ids"])]]
    batch = flat_text(np.concatenate([each["input_ids"] for each in rows]), lengths)
    labels = np.concatenate([each["labels"] for each in rows]).astype(np.int64)
    labels[batch["cu_seq_lens_q"][:-1]] = IGNORED  # nothing comes before a row's first token
    batch["labels"] = torch.from_numpy(labels)[None]
    if not project_all:
        (learnt,) = np.nonzero(labels != IGNORED)
        batch["shift_labels"] = torch.from_numpy(labels[learnt])[None]
        batch["logits_to_keep"] = torch.from_numpy(learnt - 1)
    return batch


def flat_text(ids: Any, lengths: Sequence[int]) -> dict[str, Any]:
    """What a model needs to know of texts that are laid end to end.

    Args:
        ids: of all texts' tokens [T].
        lengths: of the texts, in tokens.

    Returns:
        as `flat_batch`, but for the labels.
    """
    import torch

    sizes = np.asarray(lengths, dtype=np.int64)
    ends = np.cumsum(sizes)
    positions = np.arange(len(ids)) - np.repeat(ends - sizes, sizes)
    bounds = torch.from_numpy(np.concatenate([[0], ends]).astype(np.int32))
    longest = int(sizes.max())
    return {
        "input_ids": torch.from_numpy(np.asarray(ids, dtype=np.int64))[None],
        "position_ids": torch.from_numpy(positions)[None],
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
        "segments": sizes.tolist(),
    }


def padded_batch(rows: Sequence[Mapping[str, Any]], pad: int) -> dict[str, Any]:
    """Rows side by side, padded at their right, for a model whose attention cannot keep them apart in one text.

    Returns:
        ``input_ids``, ``attention_mask`` and ``labels`` [rows, T].
    """
    import torch

    width = max(len(each["input_ids"]) for each in rows)
    ids = np.full((len(rows), width), pad, dtype=np.int64)
    labels = np.full((len(rows), width), IGNORED, dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=np.int64)
    for place, each in enumerate(rows):
        length = len(each["input_ids"])
        ids[place, :length], labels[place, :length], mask[place, :length] = each["input_ids"], each["labels"], 1
    return {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        "labels": torch.from_numpy(labels),
    }
