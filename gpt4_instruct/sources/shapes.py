"""Turns a row of any known shape into instructions, or into a reject that says what is wrong with it.

Shapes, told apart by their keys::

    {"instruction": ..., "input": ..., "output": ...}                    Alpaca; also with "label", "instruction_zh"
    {"instruction": ..., "instances": [{"input": ..., "output": ..., "constraints": ...}]}
                                                                         Unnatural Instructions core, Self-Instruct
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpt4_instruct.records import Instruction, Reject

__all__ = ["adapt"]

# No model reads a million characters (about 250,000 tokens) of one task; such a field is a broken export.
MAX_CHARACTERS = 1_000_000
_NO_CONSTRAINTS = frozenset({"", "none", "none.", "n/a"})


class _Unusable(ValueError):
    """Why a row cannot be used: a reason to count by and a detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def adapt(row: Any, id: str, origin: str) -> Iterator[Instruction | Reject]:
    """The instructions in one row of a source.

    Args:
        row: as it was read; a `ValueError` stands for a row that could not be.
        id: for rows that have no ``id`` of their own.
        origin: ``file:line``.

    Yields:
        an `Instruction` for a plain row and for each instance of a row with instances; or one `Reject`.

    >>> row = {"instruction": "Add.", "instances": [{"input": "1 2"}, {"input": "3 4"}]}
    >>> [each.input for each in adapt(row, "a", "")]
    ['1 2', '3 4']
    >>> next(adapt({"input": "1 2"}, "a", "sums.json:7")).reason
    'missing_field'
    """
    try:
        yield from _instructions(row, id, origin)
    except _Unusable as problem:
        task = row if isinstance(row, Mapping) else {}
        shown = {name: str(task.get(name) or "")[:1000] for name in ("instruction", "input")}
        shown = {name: text.encode("utf-8", "replace").decode() for name, text in shown.items()}
        yield Reject(id, "source", problem.reason, str(problem), origin, **shown)


def _instructions(row: Any, id: str, origin: str) -> Iterator[Instruction]:
    if isinstance(row, ValueError):
        raise _Unusable("unreadable", str(row))
    if not isinstance(row, Mapping):
        raise _Unusable("wrong_type", f"the row is a {type(row).__name__}, not an object")
    id = str(row["id"]) if isinstance(row.get("id"), str | int) else id
    instruction = _text(row, "instruction", required=True)
    if not instruction:
        raise _Unusable("empty_instruction", "'instruction' is empty")
    if "instances" not in row:
        # A class label may be a number.
        label = str(row["label"]) if isinstance(row.get("label"), int | float) else _text(row, "label")
        label = label or _text(row, "output")
        chinese = _text(row, "instruction_zh")
        yield Instruction(
            id=id,
            instruction=instruction,
            input=_text(row, "input"),
            label=label or None,
            chinese=(chinese, _text(row, "input_zh")) if chinese else None,
            origin=origin,
        )
        return
    instances = row["instances"]
    if not isinstance(instances, list) or not all(isinstance(each, Mapping) for each in instances):
        raise _Unusable("wrong_type", "'instances' is not a list of objects")
    if not instances:
        raise _Unusable("missing_field", "'instances' is empty")
    # All are read before the first goes out, so that a row is used whole or rejected whole.
    read = []
    for number, instance in enumerate(instances, start=1):
        constraints = _text(instance, "constraints")
        task = instruction if constraints.lower() in _NO_CONSTRAINTS else f"{instruction}\n{constraints}"
        read.append(
            Instruction(
                id=id if len(instances) == 1 else f"{id}.{number}",
                instruction=task,
                input=_text(instance, "input"),
                label=_text(instance, "output") or None,
                origin=origin,
            )
        )
    yield from read


def _text(row: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    if required and name not in row:
        raise _Unusable("missing_field", f"no {name!r} among {', '.join(map(str, row))[:200] or 'no fields'}")
    value = row.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise _Unusable("wrong_type", f"{name!r} is a {type(value).__name__}, not text")
    if len(value) > MAX_CHARACTERS:
        raise _Unusable("too_long", f"{name!r} has {len(value):,} characters, over {MAX_CHARACTERS:,}")
    return value.strip()
