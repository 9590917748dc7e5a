"""The rows of a run: read in any shape, counted, hashed, and split so that no prompt is on both sides."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from gpt4_instruct.errors import SourceError, UsageError
from gpt4_instruct.progress import progress
from gpt4_instruct.records import Reject, Sample
from gpt4_instruct.sources.rows import open_rows

__all__ = ["Data", "parted", "read", "split"]


@dataclass(frozen=True, slots=True)
class Data:
    """What was read.

    Attributes:
        name: as `open_rows` calls it; no folder of yours.
        samples: in order.
        rejected: rows that could not be used, by reason.
        sha256: of the samples' content, so that a card can say which rows they were.
    """

    name: str
    samples: list[Sample]
    rejected: Counter[str] = field(default_factory=Counter)
    sha256: str = ""

    def facts(self) -> dict[str, Any]:
        """As `training.json` has it."""
        return {
            "name": self.name,
            "rows": len(self.samples),
            "rejected": dict(self.rejected),
            "sha256": self.sha256,
            "languages": sorted({each.language for each in self.samples}),
        }


def read(data: Any, *, scored: bool, limit: int | None = None) -> Data:
    """The rows of a file, folder, Hub dataset, `datasets.Dataset` or list; see `sources.rows.open_rows`.

    Args:
        data: what to read.
        scored: whether rows of several answers with scores are wanted, or rows of one answer.
        limit: most rows to read.

    Raises:
        SourceError: there is no such data, or no row of the wanted kind in it.
    """
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}, but must be 1 or more")
    rows = open_rows(data)
    found: list[Sample] = []
    rejected: Counter[str] = Counter()
    content = hashlib.sha256()
    with progress(lambda: limit or rows.count(), "reading", "row") as bar:
        for _, _, each in islice(rows, limit):
            bar.update()
            if isinstance(each, Reject):
                rejected[each.reason] += 1
                continue
            for sample in each:
                if bool(sample.scored) != scored:
                    rejected["several_answers" if sample.scored else "one_answer"] += 1
                    continue
                found.append(sample)
                answers = [(one.response, one.score) for one in sample.scored] if scored else sample.output
                content.update(json.dumps([sample.instruction, sample.input, answers]).encode())
    if not found:
        wanted = "several answers to each prompt, with scores" if scored else "one answer to each instruction"
        why = ", ".join(f"{count} {reason}" for reason, count in rejected.items()) or "it is empty"
        raise SourceError(f"{rows.name} holds no row to train on ({why}): rows need {wanted}")
    return Data(rows.name, found, rejected, content.hexdigest())


def parted(
    data: Any, held_out_data: Any, *, scored: bool, limit: int | None, share: float, seed: int
) -> tuple[Data, list[Sample], list[Sample], Any]:
    """The rows of a run: those to learn from and those held out.

    Args:
        data: what to read; see `read`.
        held_out_data: rows to measure on; none for a share of the prompts in `data`.
        scored: as for `read`.
        limit: most rows of `data`.
        share: as for `split`.
        seed: as for `split`.

    Returns:
        what `data` held; the samples to learn from; those held out; and what tells a run which the held-out ones are:
        their number, since of its own data share and seed decide, or number and content.

    Raises:
        SourceError, UsageError: as `read`.
    """
    rows = read(data, scored=scored, limit=limit)
    if held_out_data is None:
        learnt, kept = split(rows.samples, share, seed)
        return rows, learnt, kept, len(kept)
    others = read(held_out_data, scored=scored)
    return rows, rows.samples, others.samples, [len(others.samples), others.sha256]


def split(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Parts samples into those to learn from and those held out; all of one prompt stay together.

    Which prompts are held out depends on them and the seed alone, not on their order or on how many others there are
    (but for the last ones at the border).

    Args:
        samples: all.
        share: of the prompts, to be held out: at least one if there are two or more, unless it is 0; never all.
        seed: another one holds out others.

    >>> rows = [Sample(instruction=f"{n % 10}?", input="", output="!") for n in range(40)]
    >>> learnt, held = split(rows, 0.2, seed=1)
    >>> len(learnt), len(held), {one.instruction for one in held} & {one.instruction for one in learnt}
    (32, 8, set())
    """
    keys = [
        hashlib.sha256(f"{seed}\0{one.instruction}\0{one.input}".encode("utf-8", "replace")).digest() for one in samples
    ]
    prompts = sorted(set(keys))
    count = min(max(1, round(share * len(prompts))), len(prompts) - 1) if share and len(prompts) > 1 else 0
    held = set(prompts[:count])
    return (
        [one for one, key in zip(samples, keys, strict=True) if key not in held],
        [one for one, key in zip(samples, keys, strict=True) if key in held],
    )
