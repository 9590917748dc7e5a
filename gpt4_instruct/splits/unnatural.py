"""Unnatural: a teacher answers instructions that bring a reference answer, which is kept as ``label``.

Its source is the Unnatural Instructions core set (jsonl with ``instances``), or any source with a label or an output.
A row::

    {"instruction": "Is the number prime? Answer Yes or No.", "input": "7", "output": "Yes.", "label": "Yes",
     "metadata": {...}}
"""

from __future__ import annotations

from typing import Any

from gpt4_instruct.records import Instruction, Reject, Row
from gpt4_instruct.splits.english import English
from gpt4_instruct.splits.stages import rejected

__all__ = ["Unnatural"]


class Unnatural(English):
    """The Unnatural Instructions split: the English split's one stage, with the source's own answer beside it."""

    NAME = "unnatural"
    TITLE = "Unnatural Instructions answered by a teacher model, beside their reference answers"

    def begin(self, task: Instruction) -> Row | Reject:
        """The task, if it has a label: without one, nothing can be compared."""
        if task.label is None:
            return rejected(Row(task), "source", "no_label", "the source gives no reference answer")
        return Row(task)

    def to_columns(self, row: Row) -> dict[str, Any]:
        """The English split's columns and the label."""
        columns = super().to_columns(row)
        metadata = columns.pop("metadata")
        return {**columns, "label": row.instruction.label, "metadata": metadata}
