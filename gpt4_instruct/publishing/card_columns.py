"""The columns of a dataset, as a table of its card: what each is called, of which type, and what is in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["columns_table"]

# What is in the columns of `records.features`; a split of somebody else's has others, whose meaning is not told.
_MEANINGS = {
    "instruction": "the task",
    "input": "what the task is about; may be empty",
    "output": "the answer",
    "label": "the reference answer that the task came with",
    "user_input": "the task in the Alpaca prompt",
    "responses_and_scores": "each model's answer, who wrote it, and its score from 1 (worst) to 10 (best)",
    "metadata.id": "the task's, in its source",
    "metadata.origin": "where the task was read",
    "metadata.teacher": "who answered",
    "metadata.model": "the model, as it named itself",
    "metadata.finish_reason": "how the answer ended: `stop`, or `length` where it was cut off",
    "metadata.prompt_tokens": "tokens of the prompt",
    "metadata.completion_tokens": "tokens of the answer",
    "metadata.request": "hash of the request",
    "metadata.cut_output": "the first text, where an answer was cut off and asked for again",
    "metadata.translator": "who translated the task; empty where nobody did",
    "metadata.translation_request": "hash of that request",
    "metadata.answers": "where each answer is from, and how it ended",
    "metadata.scores": "the same of each reply that gave a score",
    "metadata.language": "`en` or `zh`",
    "metadata.pair": "what a row shares with its twin in the other language",
    "metadata.kind": "kind of task",
    "metadata.topic": "what the task was to be about",
    "metadata.round": "the round in which it was invented",
    "metadata.label": "the label that the right answer has, where the task is to classify",
    "metadata.instruction_request": "hash of the request that invented the task",
    "metadata.input_request": "hash of the request that wrote its input",
}


def columns_table(features: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[tuple[str, str, str, str]]:
    """A row for each column of any config.

    Args:
        features: of each config, as its card's ``dataset_info`` has them.

    Returns:
        the column's name, with a dot where it is part of another; its type; the configs that have it, empty where all
        do; and what is in it.

    >>> one = [{"name": "output", "dtype": "string"}, {"name": "tags", "list": "string"}]
    >>> columns_table({"english": one, "other": one[:1]})
    [('output', 'string', '', 'the answer'), ('tags', 'list of string', 'english', '')]
    """
    found: dict[tuple[str, str], list[str]] = {}
    for config, columns in features.items():
        for column in _flat(columns, ""):
            found.setdefault(column, []).append(config)
    order = {name: number for number, name in enumerate(_MEANINGS)}
    names = sorted(found, key=lambda column: order.get(column[0], len(order)))  # the columns of one split stay together
    return [
        (name, kind, "" if len(found[name, kind]) == len(features) else ", ".join(found[name, kind]), _meaning(name))
        for name, kind in names
    ]


def _meaning(name: str) -> str:
    return _MEANINGS.get(name, "")


def _flat(columns: Sequence[Mapping[str, Any]], before: str) -> Iterator[tuple[str, str]]:
    for column in columns:
        name = before + column["name"]
        if "struct" in column:
            yield from _flat(column["struct"], f"{name}.")
        else:
            yield name, _type(column)


def _type(column: Mapping[str, Any]) -> str:
    if "list" in column:
        items = column["list"]
        if isinstance(items, str):
            return f"list of {items}"
        if isinstance(items, list):
            return f"list of ({', '.join(each['name'] for each in items)})"
        return f"list of {_type(items)}"
    kind = column.get("dtype", "")
    return kind if isinstance(kind, str) else next(iter(kind), "")
