"""Scored answers as pairs: what a reward model reads, and which of two answers is to have the higher reward.

    answers of a prompt     a (9)   b (6)   c (6)   d (no score)
    texts                   prompt + a + end        prompt + b + end        prompt + c + end
    pairs                   a > b   a > c           b and c are a tie

    {"input_ids": [... a ..., ... b ..., ... c ...], "lengths": [40, 52, 31], "length": 123,
     "better": [0, 0], "worse": [1, 2], "gaps": [3.0, 3.0]}

A row is a prompt with all its answers, so that each is read once a step, however many pairs it is in: for three answers
that are half the tokens of three rows with a pair each, for nine an eighth.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from gpt4_instruct.errors import SourceError
from gpt4_instruct.records import Sample
from gpt4_instruct.training.batches import flat_text
from gpt4_instruct.training.tokens import Encoder

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

__all__ = ["encode_pairs", "measure_pairs", "pair_batch", "pair_losses", "pair_rows", "text_batch"]

_BATCH = 1_000  # prompts
_CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)


def encode_pairs(
    samples: Sequence[Sample],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int = 512,
    *,
    counts: Counter[str] | None = None,
) -> Dataset:
    """Prompts with scored answers as token ids and pairs, in the same order.

    The text of an answer has the same ids as in supervised tuning with the Alpaca template: prompt, answer, end of
    text. An empty answer is one like any other. One that is longer than `max_length` loses its end, and the end of
    text with it, and is scored by what is left; it is left out where nothing of it would be.

    Args:
        samples: with their answers in ``scored``.
        tokenizer: of the base model.
        max_length: most tokens of a prompt with one answer.
        counts: is told ``rows`` (prompts), ``answers``, ``truncated`` and ``empty`` ones among them, ``pairs`` and
            ``tokens`` of what is kept; ``ties`` (pairs of equal scores) and ``same_text`` (pairs that read the same,
            for their difference is cut off or not there), which are no pairs; ``answers_without_score``,
            ``answers_too_long`` and ``answers_in_no_pair``, which are left out; and the prompts without a pair:
            ``dropped_unscored`` (fewer than two answers have a score), ``dropped_too_long`` (fewer than two are left
            otherwise), ``dropped_ties``, ``dropped_same_text``.

    Returns:
        columns ``input_ids`` [T] of all answers, one behind the other; their ``lengths`` [answers]; ``length`` T;
        ``better`` and ``worse`` [pairs], answers by their place; ``gaps`` [pairs], by how much their scores differ.

    Raises:
        UsageError: the tokenizer or `max_length` cannot work.
        SourceError: no prompt has a pair.
    """
    from datasets import Dataset, Features, List, Value

    encoder = Encoder(tokenizer, max_length)
    told: Counter[str] = Counter() if counts is None else counts
    columns: dict[str, list[Any]] = {name: [] for name in ("input_ids", "lengths", "length", "better", "worse", "gaps")}
    for start in range(0, len(samples), _BATCH):
        for row in pair_rows(samples[start : start + _BATCH], encoder, told):
            for name, value in row.items():
                columns[name].append(value)
    if not columns["length"]:
        why = ", ".join(f"{count} {name}" for name, count in sorted(told.items()) if name.startswith("dropped_"))
        raise SourceError(
            f"no prompt has two answers of which one is better ({why or 'there are none'}): give answers with scores "
            "that differ"
        )
    ints, whole = List(Value("int32")), Value("int32")
    features = Features(
        {
            "input_ids": ints,
            "lengths": ints,
            "length": whole,
            "better": ints,
            "worse": ints,
            "gaps": List(Value("float32")),
        }
    )
    return Dataset.from_dict(columns, features=features)


def pair_rows(samples: Sequence[Sample], encoder: Encoder, told: Counter[str]) -> list[dict[str, Any]]:
    """The rows of those prompts that have a pair."""
    texts = [
        encoder.render(each.instruction, each.input, one.response)
        for each in samples
        for one in each.scored
        if one.score is not None
    ]
    encoded = iter(encoder.encode(texts))
    rows = []
    for sample in samples:
        scored = [one for one in sample.scored if one.score is not None]
        told["answers_without_score"] += len(sample.scored) - len(scored)
        read = [(one, next(encoded)) for one in scored]
        kept = [(one, tokens) for one, tokens in read if len(tokens.ids) > tokens.prompt]
        told["answers_too_long"] += len(read) - len(kept)
        pairs, ties, same = _pairs([(float(one.score or 0), tokens.ids) for one, tokens in kept])
        told["ties"] += ties
        told["same_text"] += same
        if not pairs:
            told[_why(len(scored), len(kept), same)] += 1
            continue
        used = sorted({place for better, worse, _ in pairs for place in (better, worse)})
        told["answers_in_no_pair"] += len(kept) - len(used)
        now = {place: number for number, place in enumerate(used)}
        lengths = [len(kept[place][1].ids) for place in used]
        rows.append(
            {
                "input_ids": [token for place in used for token in kept[place][1].ids],
                "lengths": lengths,
                "length": sum(lengths),
                "better": [now[better] for better, _, _ in pairs],
                "worse": [now[worse] for _, worse, _ in pairs],
                "gaps": [gap for _, _, gap in pairs],
            }
        )
        told["rows"] += 1
        told["answers"] += len(used)
        told["truncated"] += sum(kept[place][1].cut for place in used)
        told["empty"] += sum(not kept[place][0].response.strip() for place in used)
        told["pairs"] += len(pairs)
        told["tokens"] += sum(lengths)
    return rows


def _pairs(answers: Sequence[tuple[float, list[int]]]) -> tuple[list[tuple[int, int, float]], int, int]:
    """The pairs (better, worse, gap) of answers by their place; how many are ties, and how many read the same."""
    pairs, ties, same = [], 0, 0
    for first, (score, ids) in enumerate(answers):
        for second, (other, others) in enumerate(answers[first + 1 :], start=first + 1):
            if score == other:
                ties += 1
            elif ids == others:
                same += 1
            elif score > other:
                pairs.append((first, second, score - other))
            else:
                pairs.append((second, first, other - score))
    return pairs, ties, same


def _why(scored: int, kept: int, same: int) -> str:
    if scored < 2:
        return "dropped_unscored"
    if kept < 2:
        return "dropped_too_long"
    return "dropped_same_text" if same else "dropped_ties"


# --- batches --------------------------------------------------------------------------------------------------------


def text_batch(ids: Any, lengths: Sequence[int], pad: int | None = None) -> dict[str, Any]:
    """Texts for a model that is to give each one reward.

    Args:
        ids: of all texts, one behind the other [T].
        lengths: of the texts.
        pad: none lays them end to end, for a model whose attention keeps them apart; else they stand side by side,
            padded at their right with this token.

    Returns:
        what the model takes, with ``last`` [texts]: where each text's last token is, among all [rows * width].
    """
    import torch

    sizes = np.asarray(lengths, dtype=np.int64)
    if pad is None:
        return {**flat_text(ids, lengths), "last": torch.from_numpy(np.cumsum(sizes) - 1)}
    width = int(sizes.max())
    mask = np.arange(width) < sizes[:, None]
    padded = np.full(mask.shape, pad, dtype=np.int64)
    padded[mask] = ids
    return {
        "input_ids": torch.from_numpy(padded),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        "last": torch.from_numpy(np.arange(len(sizes)) * width + sizes - 1),
    }


def pair_batch(rows: Sequence[Mapping[str, Any]], pad: int | None = None) -> dict[str, Any]:
    """Rows of `encode_pairs` as one batch.

    Args:
        rows: prompts with their answers.
        pad: as `text_batch`.

    Returns:
        what `text_batch` gives; ``better`` and ``worse`` [pairs], answers by their place in the batch; ``gaps``
        [pairs]; ``labels`` [pairs], all 1, by which the Trainer counts what a step is the mean of.
    """
    import torch

    batch = text_batch(
        np.concatenate([each["input_ids"] for each in rows]), [size for each in rows for size in each["lengths"]], pad
    )
    first = np.cumsum([0, *(len(each["lengths"]) for each in rows)])
    for name in ("better", "worse"):
        places = [np.asarray(each[name]) + start for each, start in zip(rows, first, strict=False)]
        batch[name] = torch.from_numpy(np.concatenate(places).astype(np.int64))
    batch["gaps"] = torch.from_numpy(np.concatenate([each["gaps"] for each in rows]).astype(np.float32))
    batch["labels"] = torch.ones(len(batch["gaps"]), dtype=torch.int64)
    return batch


# --- loss and metrics -----------------------------------------------------------------------------------------------


def pair_losses(better: Any, worse: Any, gaps: Any, *, margin: float = 0.0, centering: float = 0.0) -> Any:
    r"""What each pair costs::

        -log sigmoid(r_better - r_worse - margin * (s_better - s_worse)) + centering * (r_better + r_worse)^2

    The first term without its margin is the likelihood of Bradley and Terry (1952), by which the paper trains its
    reward model (section 3.2). The margin by which of two answers one is better is that of Llama 2 (Touvron et al.,
    2023, equation 2), there one number for each degree of preference. Rewards are told apart by differences alone, so
    any number may be added to all of them; the second term keeps them around 0 (Eisenstein et al., 2023, "Helping or
    Herding?").

    Args:
        better: rewards r of the better answers [pairs].
        worse: rewards of the worse ones [pairs].
        gaps: by how much the scores s differ [pairs].
        margin: for each point of a score.
        centering: weight of the second term.

    Returns:
        [pairs], in float32.
    """
    from torch.nn.functional import logsigmoid

    better, worse = better.float(), worse.float()
    losses = -logsigmoid(better - worse - margin * gaps) if margin else -logsigmoid(better - worse)
    return losses + centering * (better + worse).square() if centering else losses


def measure_pairs(differences: Any, gaps: Any) -> dict[str, Any]:
    """How well the rewards of pairs say which answer is better.

    Args:
        differences: reward of the better answer less that of the worse one [pairs].
        gaps: by how much their scores differ [pairs].

    Returns:
        ``pairs``; ``accuracy``, the share in which the better one has the higher reward (equal ones count half);
        ``accuracy_by_gap``, the same for each quarter of the gaps; ``calibration``, for pairs by how sure the rewards
        are, ``sigmoid(|difference|)`` from 0.5 to 1: the mean of that beside the accuracy, which would be the same;
        ``calibration_error``, by how much they differ on average over pairs (Guo et al., 2017, the expected calibration
        error).

    >>> found = measure_pairs([2.0, 1.0, -1.0, 0.0], [3.0, 3.0, 1.0, 1.0])
    >>> found["accuracy"], [(each["from"], each["pairs"], each["accuracy"]) for each in found["accuracy_by_gap"]]
    (0.625, [(1.0, 2, 0.25), (3.0, 2, 1.0)])
    """
    different, gap = np.asarray(differences, dtype=np.float64), np.asarray(gaps, dtype=np.float64)
    right = np.where(different == 0, 0.5, different > 0)
    confidence = 1 / (1 + np.exp(-np.abs(different)))
    calibration = []
    places = np.clip(np.digitize(confidence, _CONFIDENCES) - 1, 0, len(_CONFIDENCES) - 2)
    for place, (low, high) in enumerate(pairwise(_CONFIDENCES)):
        found = {"from": low, "to": high, **_share(right, places == place)}
        if found["pairs"]:
            calibration.append({**found, "confidence": float(confidence[places == place].mean())})
    return {
        "pairs": len(different),
        "accuracy": float(right.mean()),
        "accuracy_by_gap": _by_gap(right, gap),
        "calibration": calibration,
        "calibration_error": sum(each["pairs"] * abs(each["accuracy"] - each["confidence"]) for each in calibration)
        / len(different),
    }


def _by_gap(right: Any, gap: Any) -> list[dict[str, Any]]:
    """The accuracy in each quarter of the gaps; fewer parts where many gaps are equal."""
    # An observed gap as each border, so that equal gaps stay together and a border can be read.
    starts = np.unique(np.quantile(gap, (0, 0.25, 0.5, 0.75), method="higher"))
    parts = np.digitize(gap, starts) - 1
    found = []
    for part in range(len(starts)):
        inside = parts == part
        if inside.any():
            found.append({"from": float(gap[inside].min()), "to": float(gap[inside].max()), **_share(right, inside)})
    return found


def _share(right: Any, inside: Any) -> dict[str, Any]:
    count = int(inside.sum())
    return {"pairs": count, "accuracy": float(right[inside].mean()) if count else 0.0}
