"""There is no task: the instruction is white space only."""

from __future__ import annotations

from gpt4_instruct.quality.base import Sample, check

__all__ = ["empty_instruction"]


@check("error", Sample(" ", "", "Cod."), of="task")
def empty_instruction(sample: Sample) -> str | None:
    """Fails a row whose instruction says nothing, whatever its input is.

    >>> empty_instruction(Sample("\\n", "Translate: fish", "poisson"))
    'the instruction is empty'
    """
    return None if sample.instruction.strip() else "the instruction is empty"
