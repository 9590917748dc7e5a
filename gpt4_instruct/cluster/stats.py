"""Statistics by the workers of a Ray cluster: the numbers and files that `statistics.describe` gives on one machine.

    blocks of rows ──▶ workers: lengths, scores, and the verb-noun pair of each answer that is new in its block
                   ──▶ here, in order: counts are added, lines of lengths written
    answers' keys  ──▶ a shuffle: of equal answers, the pair of the first one is counted

A worker loads the parser once. It has a block of rows in memory, and then some of the keys.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt4_instruct.cluster.rows import TABLE_ROWS, Block, Tables, by_key, cluster, look_at
from gpt4_instruct.progress import progress
from gpt4_instruct.records import Reject
from gpt4_instruct.sources.rows import RowReader, Rows
from gpt4_instruct.statistics.describe import LENGTHS, Answer, Described, Facts, answers_of, measure
from gpt4_instruct.statistics.describe import describe as describe_here
from gpt4_instruct.statistics.lengths import Tokenizer, token_counter
from gpt4_instruct.statistics.verb_noun import Pair, mixed_pairs

__all__ = ["describe"]


def describe(
    data: Sequence[Rows],
    folder: Path,
    *,
    tokenizer: str | Tokenizer | None = None,
    processes: int | None = None,
    address: str = "",
) -> dict[str, Any]:
    """Counts what data is like on a cluster; files and result are those of `statistics.describe.describe`.

    Args:
        data: one or two data sets.
        folder: for the files, on this machine.
        tokenizer: counts tokens, too: a function, or a name that each worker can load.
        processes: how many workers; by default as many as the cluster has CPUs.
        address: of the cluster, as of `cluster.connect.join`.

    Raises:
        MissingExtraError: Ray, or a library of the extra ``stats``, is not installed.
        UsageError: the cluster is not reached, the tokenizer is not there, or not one or two data sets.
        SourceError: the data cannot be read.
        OutputError: the folder cannot be written.
        RunStoppedError: a worker failed.
    """
    with cluster(address) as workers:
        workers = min(workers, processes or workers)
        return describe_here(
            data, folder, tokenizer=tokenizer, read=lambda facts, lengths: _read(facts, lengths, tokenizer, workers)
        )


@dataclass
class _Found:
    """What a worker finds in a block.

    Attributes:
        rows: how many there are.
        unreadable: how many of them could not be read.
        languages: of the samples.
        facts: what is counted, by source.
        lengths: lines of ``lengths.csv``.
        answers: for each that is new in the block, its key, row and source, and its pair.
    """

    rows: int
    unreadable: int = 0
    languages: set[str] = field(default_factory=set)
    facts: dict[str, Facts] = field(default_factory=dict)
    lengths: str = ""
    answers: list[tuple[int, int, str, Pair | None]] = field(default_factory=list)


class _Measurer:
    """A worker's part."""

    def __init__(self, reader: RowReader, tokenizer: str | Tokenizer | None) -> None:
        self._reader = reader
        self._count_tokens = None if tokenizer is None else token_counter(tokenizer)

    def __call__(self, block: Block) -> _Found:
        found = _Found(len(block.rows))
        answers = list(self._answers(block, found))
        found.facts, lines = measure(answers, self._count_tokens)
        text = io.StringIO(newline="")
        csv.writer(text).writerows(lines)
        found.lengths = text.getvalue()
        new = {_key(answer): answer for answer in reversed(answers)}  # of equal ones, the first
        pairs = mixed_pairs([(answer.text, answer.language) for answer in new.values()], processes=1)
        found.answers = [
            (key, answer.row, answer.source, pair) for (key, answer), pair in zip(new.items(), pairs, strict=True)
        ]
        return found

    def _answers(self, block: Block, found: _Found) -> Iterator[Answer]:
        for number, (line, raw) in enumerate(block.rows, start=block.first):
            samples = self._reader.read(line, raw)
            if isinstance(samples, Reject):
                found.unreadable += 1
                continue
            for sample in samples:
                found.languages.add(sample.language)
                yield from answers_of(number, sample)


def _key(answer: Answer) -> int:
    content = f"{answer.source}\0{answer.text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "big", signed=True)


def _read(facts: Described, lengths: Path, tokenizer: str | Tokenizer | None, workers: int) -> None:
    """Reads a data set into `facts`, and writes its lengths."""
    import pyarrow

    reader, rows = facts.rows.reader(), facts.rows
    tables = Tables(TABLE_ROWS)
    with lengths.open("w", encoding="utf-8", newline="") as file, progress(rows.count, rows.name, "row") as bar:
        csv.writer(file).writerow(LENGTHS)
        for found in look_at(rows, lambda: _Measurer(reader, tokenizer), workers):
            bar.update(found.rows)
            facts.row_count += found.rows
            facts.unreadable += found.unreadable
            facts.languages |= found.languages
            facts.add(found.facts)
            file.write(found.lengths)
            if found.answers:
                keys, numbers, sources, pairs = zip(*found.answers, strict=True)
                verbs, nouns = ([pair and pair[place] for pair in pairs] for place in (0, 1))
                table = pyarrow.table({"key": keys, "row": numbers, "source": sources})
                for name, words in (("verb", verbs), ("noun", nouns)):
                    table = table.append_column(name, pyarrow.array(words, pyarrow.string()))
                tables.add(table)
    for each in by_key(tables.references(), tables.count, _counted, workers):
        facts.count_distinct(each["source"], each["count"])
        if each["verb"] is not None:
            facts.count_pair(each["source"], (each["verb"], each["noun"]), each["count"])


def _counted(table: Any) -> Any:
    """How many answers have each source and pair; of equal ones, all of which are here, the first counts."""
    import numpy as np

    table = table.sort_by([("key", "ascending"), ("row", "ascending")])
    keys = table.column("key").to_numpy()
    first = table.filter(np.diff(keys, prepend=keys[:1] - 1) != 0)
    counted = first.group_by(["source", "verb", "noun"]).aggregate([([], "count_all")])
    return counted.rename_columns(["source", "verb", "noun", "count"])
