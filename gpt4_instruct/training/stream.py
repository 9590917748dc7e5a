"""Rows of a run as a stream: shuffled, tokenized and batched on the way, and found again after a kill.

    pass 0   shards in an order by seed and pass      [7] [2] [9] ...
             windows of 10,000 rows across them       |-----w-----|-----w-----| ...
             rows within a window, by its own order   ─▶ tokens ─▶ row 0, row 1, ... of the run

Memory holds a window, whatever the data's size. There is one order of rows, which seed and window decide: each process
reads all of it and takes its share of every batch (as `accelerate` shares an iterable), so that a run learns the same
on any number of devices, and goes on on another number. That is paid for by each process's reading and tokenizing what
all take, one thread ahead: a slow core does some thousands of rows a second, more cores as many times more, while a 7B
model takes about thirty a second on an H100. So it holds up to about a hundred GPUs.

A place in the stream is four numbers: pass, shard and row where the window begins, rows taken of it. So going on reads
one window again, and of the shard before it what must be skipped. (A shuffle buffer that is refilled row by row, as
`datasets` has it, is not in its `state_dict`: after a kill the rows that were in it would never be learnt.)
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpt4_instruct.errors import SourceError, UsageError
from gpt4_instruct.records import Reject, Sample
from gpt4_instruct.sources.rows import Rows
from gpt4_instruct.sources.shapes import samples
from gpt4_instruct.storage import read_json, write_json
from gpt4_instruct.training.pairs import pair_rows
from gpt4_instruct.training.shards import Shards
from gpt4_instruct.training.tokens import IGNORED, Encoder

__all__ = ["WINDOW", "Encode", "Place", "Stream", "pairs_of", "tokens_of", "windows"]

WINDOW = 10_000  # rows that are shuffled together
_CHUNK = 64  # rows that are tokenized at once
_FILE = "stream.json"  # beside a checkpoint's other files
_LOOKED_AT = 200  # rows that tell the languages


class Encoded(NamedTuple):
    """A sample as a row for the model, or none, and what it adds to the counts."""

    row: dict[str, Any] | None
    told: Counter[str]


Encode = Callable[[Sequence[Sample]], Iterable[Encoded]]


def tokens_of(encoder: Encoder) -> Encode:
    """Encodes one answer each, row by row, as `tokens.encode` does a dataset."""

    def encode(chosen: Sequence[Sample]) -> Iterator[Encoded]:
        texts = [encoder.render(each.instruction, each.input, each.output) for each in chosen if each.output.strip()]
        found = iter(encoder.encode(texts))
        for each in chosen:
            if not each.output.strip():
                yield Encoded(None, Counter(rows=1, dropped_no_answer=1))
                continue
            ids, prompt, cut = (one := next(found)).ids, one.prompt, one.cut
            if len(ids) <= prompt:
                yield Encoded(None, Counter(rows=1, dropped_too_long=1))
                continue
            told = Counter(rows=1, truncated=int(cut), tokens=len(ids), supervised_tokens=len(ids) - prompt)
            labels = [IGNORED] * prompt + ids[prompt:]
            yield Encoded({"input_ids": ids, "labels": labels, "length": len(ids)}, told)

    return encode


def pairs_of(encoder: Encoder) -> Encode:
    """Encodes prompts with their scored answers, one by one, as `pairs.encode_pairs` does all."""

    def encode(chosen: Sequence[Sample]) -> Iterator[Encoded]:
        for each in chosen:
            told: Counter[str] = Counter()
            rows = pair_rows([each], encoder, told)
            yield Encoded(rows[0] if rows else None, told)

    return encode


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the stream a row is.

    Attributes:
        epoch: pass over the data, from 0.
        shard: that its window begins in, by its place in the pass's order.
        row: of that shard, where the window begins.
        taken: samples of the window, up to this row.
    """

    epoch: int = 0
    shard: int = 0
    row: int = 0
    taken: int = 0


def windows(shards: Shards, size: int, seed: int, start: Place) -> Iterator[tuple[Place, list[Any]]]:
    """Windows of raw rows without end, pass after pass, each with the place where it begins.

    Args:
        shards: what to read.
        size: rows of a window; the last one of a pass may have fewer.
        seed: with the pass's number, it decides the order of shards.
        start: the window to begin with.

    Raises:
        SourceError: the data cannot be read, or holds no row.
    """
    at = replace(start, taken=0)
    for epoch in count(start.epoch):
        order = np.random.default_rng([seed, epoch]).permutation(shards.count).tolist()
        rows: list[Any] = []
        first, any_row = at.row, False
        for place in range(at.shard, len(order)):
            for number, row in enumerate(shards.read(order[place], first), start=first + 1):
                rows.append(row)
                if len(rows) == size:
                    yield at, rows
                    rows, any_row, at = [], True, Place(epoch, place, number)
            first = 0
        if rows:
            yield at, rows
        elif not any_row:
            raise SourceError(f"{shards.name} holds no row")
        at = Place(epoch + 1)


class Stream:
    """The rows that a run learns from, without end; iterating begins, or goes on, where the run stands.

    Args:
        shards: what is read.
        encode: `tokens_of` or `pairs_of`.
        scored: whether rows of several answers with scores are wanted, or rows of one answer.
        batch: rows of a step: places are known at the end of each.
        size: rows of a window.
        seed: decides the order.

    Attributes:
        counts: what the rows so far were, as `tokens.encode` or `pairs.encode_pairs` tells.
        rejected: rows read so far that could not be used, by reason.
        held: hashes of prompts that are not to be learnt.
        pass_rows: how many rows a pass over the data has, where that is known.
    """

    def __init__(self, shards: Shards, encode: Encode, *, scored: bool, batch: int, size: int, seed: int) -> None:
        if size < 1:
            raise UsageError(f"window is {size}, but must be 1 or more")
        self.shards, self.counts, self.rejected = shards, Counter[str](), Counter[str]()
        self.held: frozenset[bytes] = frozenset()
        self.pass_rows = shards.rows
        self._encode, self._scored, self._batch, self._size, self._seed = encode, scored, batch, size, seed
        self._start = Place()
        self._kept = 0  # rows given out since the run began
        self._marks: dict[int, dict[str, Any]] = {}  # by step: all that going on from its end takes

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for place, (row, told), rejected in _ahead(self._encoded()):
            self.counts.update(told)
            self.rejected.update(rejected)
            if row is None:
                continue
            self._kept += 1
            if self._kept % self._batch == 0:
                self._marks[self._kept // self._batch] = {
                    **asdict(place),
                    "counts": dict(self.counts),
                    "rejected": dict(self.rejected),
                }
            yield row

    def hold_out(self, most: int) -> tuple[list[Sample], list[str]]:
        """Takes samples out of what is learnt: the first ones of the order, and all others that have their prompts.

        Returns:
            at most so many samples, of the first window; and the languages of its first rows.

        Raises:
            SourceError: nothing that can be learnt is left in a whole pass.
        """
        at, raw = next(windows(self.shards, self._size, self._seed, Place()))
        read = Rows(self.shards.name, lambda: enumerate(raw[:_LOOKED_AT]))
        languages = {each.language for _, _, found in read if not isinstance(found, Reject) for each in found}
        kept = [sample for _, sample in islice(self._shuffled(at, raw, Counter()), most)]
        self.held = frozenset(map(_key, kept))
        left = (sample for _, sample in self._shuffled(at, raw, Counter()))
        while chunk := list(islice(left, _CHUNK)):
            if any(row is not None for row, _ in self._encode(chunk)):
                return kept, sorted(languages)
        next(row for _, (row, _), _ in self._encoded() if row is not None)
        return kept, sorted(languages)

    def load(self, checkpoint: Path) -> None:
        """Goes on from a checkpoint.

        Raises:
            OutputError: what it says of the stream cannot be read.
        """
        mark = read_json(checkpoint / _FILE)
        self._kept = mark["step"] * self._batch
        self._start = Place(*(mark[name] for name in Place.__slots__))
        self._take(mark)

    def save(self, checkpoint: Path, step: int) -> None:
        """Writes into a checkpoint what `load` reads."""
        write_json(checkpoint / _FILE, {"step": step, **self._marks[step]})

    def pass_by(self, step: int) -> None:
        """Forgets places before the end of a step, and counts what was read up to there, not what was read ahead."""
        self._marks = {number: mark for number, mark in self._marks.items() if number >= step}

    def end(self, step: int) -> None:
        """Leaves in the counts what was learnt up to the end of a step."""
        if step in self._marks:
            self._take(self._marks[step])

    def _take(self, mark: Mapping[str, Any]) -> None:
        for counter, name in ((self.counts, "counts"), (self.rejected, "rejected")):
            counter.clear()
            counter.update(mark[name])

    def _shuffled(self, at: Place, raw: Sequence[Any], rejected: Counter[str]) -> Iterator[tuple[Place, Sample]]:
        found: list[Sample] = []
        for row in raw:
            read = samples(row, "", "")
            if isinstance(read, Reject):
                rejected[read.reason] += 1
                continue
            for sample in read:
                if bool(sample.scored) != self._scored:
                    rejected["several_answers" if sample.scored else "one_answer"] += 1
                elif _key(sample) not in self.held:
                    found.append(sample)
        order = np.random.default_rng([self._seed, at.epoch, at.shard, at.row]).permutation(len(found))
        for taken, place in enumerate(order.tolist(), start=1):
            yield replace(at, taken=taken), found[place]

    def _encoded(self) -> Iterator[tuple[Place, Encoded, Counter[str]]]:
        """Each sample's row, from where the run stands, with the rejected ones that were read on the way to it."""
        rejected: Counter[str] = Counter()
        skipped, epoch, any_row = self._start.taken, self._start.epoch, self._kept > 0
        for at, raw in windows(self.shards, self._size, self._seed, self._start):
            if at.epoch > epoch:
                if not any_row:
                    raise SourceError(f"no row of {self.shards.name} has anything to learn: is max_length too short?")
                epoch, any_row = at.epoch, False
            left = self._shuffled(at, raw, rejected)
            if skipped:
                for _ in islice(left, skipped):
                    pass
                rejected.clear()  # of this window they were counted before
                skipped = 0
            while chunk := list(islice(left, _CHUNK)):
                for (place, _), encoded in zip(chunk, self._encode([each for _, each in chunk]), strict=True):
                    any_row = any_row or encoded.row is not None
                    yield place, encoded, rejected
                    rejected = Counter()


def _key(sample: Sample) -> bytes:
    return hashlib.sha256(f"{sample.instruction}\0{sample.input}".encode("utf-8", "replace")).digest()


def _ahead(items: Iterator[Any]) -> Iterator[Any]:
    """The same, made a chunk ahead in a thread."""

    def some() -> list[Any]:
        return list(islice(items, _CHUNK))

    with ThreadPoolExecutor(1, thread_name_prefix="gpt4-instruct-stream") as thread:
        coming = thread.submit(some)
        while chunk := coming.result():
            coming = thread.submit(some)
            yield from chunk
