"""The packaged seeds: 160 instructions written for this project, each with a reference answer and its Chinese.

A row of `seeds.jsonl`::

    {"id": "seed-004", "kind": "extraction", "instruction": ..., "input": ..., "label": ...,
     "instruction_zh": ..., "input_zh": ...}

The kinds take turns, so the first rows are as varied as all of them.
"""

from __future__ import annotations

from pathlib import Path

from gpt4_instruct.sources.files import FileSource

__all__ = ["Seeds"]


class Seeds(FileSource):
    """The packaged seeds as a source.

    >>> seeds = Seeds()
    >>> seeds.count(), next(iter(seeds)).id
    (160, 'seed-001')
    """

    def __init__(self) -> None:
        super().__init__(Path(__file__).with_name("seeds.jsonl"), name="seeds")
