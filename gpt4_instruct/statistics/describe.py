"""One or two data sets in numbers, written to a folder as plain data; figures are drawn from these files only.

    verb_noun.csv            verb,noun,count           by count, from high to low
    verb_noun_by_source.csv  source,verb,noun,count    where rows hold the answers of several models
    lengths.csv              row,source,words,characters,tokens     one line an answer; tokens empty without a tokenizer
    scores.csv               source,score,count        where answers have scores
    summary.json             all that is told of each data set, and the commonest pairs of the first beside the second

The second data set's files end in ``_b``: ``verb_noun_b.csv``. As in the paper's notebook, pairs are counted once for
equal answers. Rows stream; what grows with them is a number for each answer.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from gpt4_instruct.errors import UsageError
from gpt4_instruct.progress import progress
from gpt4_instruct.records import Reject, Sample, well_formed
from gpt4_instruct.sources.rows import Rows
from gpt4_instruct.statistics.lengths import Tokenizer, count_words, length_summary, token_counter
from gpt4_instruct.statistics.scores import score_summary
from gpt4_instruct.statistics.verb_noun import Pair, mixed_pairs, most_common
from gpt4_instruct.storage import replacing, write_json

__all__ = ["Answer", "Described", "Facts", "Read", "answers_of", "describe", "measure"]

SUFFIXES = ("", "_b")
OFTEN = 10  # pairs that occur more often are told of in the paper's Figure 1
TOP = 25  # and these are drawn
LENGTHS = ("row", "source", "words", "characters", "tokens")
_WINDOW = 256  # answers that go through the tokenizer at once

CountTokens = Callable[[Sequence[str]], list[int]]
Read = Callable[["Described", Path], None]  # reads a data set, and writes its lengths


class Answer(NamedTuple):
    """One answer of a row, as it is counted."""

    row: int
    source: str
    text: str
    score: float | None
    language: str


@dataclass
class Facts:
    """What is counted of the answers of one source, or of all."""

    answers: int = 0
    asked: int = 0  # distinct answers, whose pair was looked for
    pairs: Counter[Pair] = field(default_factory=Counter)
    words: Counter[int] = field(default_factory=Counter)
    characters: Counter[int] = field(default_factory=Counter)
    tokens: Counter[int] = field(default_factory=Counter)
    scores: Counter[float] = field(default_factory=Counter)
    unscored: int = 0

    def add(self, other: Facts) -> None:
        """Adds what was counted elsewhere."""
        self.answers += other.answers
        self.asked += other.asked
        self.unscored += other.unscored
        for name in ("pairs", "words", "characters", "tokens", "scores"):
            getattr(self, name).update(getattr(other, name))

    def summary(self) -> dict[str, Any]:
        """The numbers, as ``summary.json`` has them."""
        lengths = {"words": self.words, "characters": self.characters, "tokens": self.tokens}
        found = self.pairs.total()
        told: dict[str, Any] = {
            "answers": self.answers,
            "distinct_answers": self.asked,
            "with_pair": found,
            "share_with_pair": found / self.asked if self.asked else 0.0,
            "unique_pairs": len(self.pairs),
            f"pairs_over_{OFTEN}": sum(count > OFTEN for count in self.pairs.values()),
            "top_pairs": [[*pair] for pair in most_common(self.pairs)[:TOP]],
            **{name: length_summary(counts) for name, counts in lengths.items() if counts},
        }
        return told | ({"scores": score_summary(self.scores, self.unscored)} if self.scores else {})


def describe(
    data: Sequence[Rows],
    folder: Path,
    *,
    tokenizer: str | Tokenizer | None = None,
    processes: int | None = None,
    read: Read | None = None,
) -> dict[str, Any]:
    """Counts what one data set is like, or two side by side, and writes the files above.

    Args:
        data: one or two data sets, from `open_rows`.
        folder: is made where it is not there; files of an earlier call are replaced, or removed.
        tokenizer: counts tokens, too: see `token_counter`.
        processes: see `verb_noun_pairs`.
        read: reads each data set and writes its lengths; by default in this process and its helpers.

    Returns:
        the content of ``summary.json``: ``data``, a list with ``name``, ``language`` (``en``, ``zh`` or both),
        ``rows``, ``unreadable`` rows, the counts of all answers and, under ``sources``, those of each model's answers;
        and, for two, ``compared``: the commonest pairs of the first, each with its count in both and its share of
        their distinct answers.

    Raises:
        UsageError: not one or two data sets, or the tokenizer is not there.
        OutputError: the folder cannot be written.
        MissingExtraError: a library of the extra ``stats`` is not installed.
    """
    if len(data) not in (1, 2):
        raise UsageError(f"{len(data)} data sets cannot be described together: give one or two")
    count_tokens = None if tokenizer is None else token_counter(tokenizer)

    def read_here(facts: Described, lengths: Path) -> None:
        facts.read(lengths, count_tokens, processes)

    told, pairs, written = [], [], {"summary.json"}
    for rows, suffix in zip(data, SUFFIXES, strict=False):
        facts = Described(rows)
        with replacing(folder / f"lengths{suffix}.csv") as path:
            (read or read_here)(facts, path)
        written |= {f"lengths{suffix}.csv"} | facts.write(folder, suffix)
        told.append(facts.summary())
        pairs.append(facts.whole)
    summary: dict[str, Any] = {"data": told}
    if len(pairs) == 2:
        summary["compared"] = _compared(*pairs)
    for name in ("verb_noun", "verb_noun_by_source", "lengths", "scores"):
        for suffix in SUFFIXES:
            if f"{name}{suffix}.csv" not in written:
                (folder / f"{name}{suffix}.csv").unlink(missing_ok=True)
    write_json(folder / "summary.json", summary)
    return summary


class Described:
    """One data set on its way: read once, then written.

    Args:
        rows: the data.

    Attributes:
        whole: what is counted of all answers.
        sources: and of those of each model.
        languages: of the samples.
        row_count: how many rows there are.
        unreadable: how many of them could not be read.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.whole = Facts()
        self.sources: dict[str, Facts] = {}
        self.languages: set[str] = set()
        self.row_count = 0
        self.unreadable = 0

    def read(self, lengths: Path, count_tokens: CountTokens | None, processes: int | None) -> None:
        """Reads all rows, and writes a line of lengths for each answer."""
        sources: deque[str] = deque()  # of the texts whose pairs have not come yet, since they are read ahead
        with lengths.open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file)
            lines.writerow(LENGTHS)
            for pair in mixed_pairs(self._distinct(lines, count_tokens, sources), processes):
                source = sources.popleft()
                if pair is not None:
                    self.count_pair(source, pair)

    def count_pair(self, source: str, pair: Pair, times: int = 1) -> None:
        """Counts the pair of an answer that was not there before."""
        self.whole.pairs[pair] += times
        self.sources[source].pairs[pair] += times

    def count_distinct(self, source: str, times: int = 1) -> None:
        """Counts answers that were not there before."""
        self.whole.asked += times
        self.sources[source].asked += times

    def add(self, facts: dict[str, Facts]) -> None:
        """Adds what was counted of some answers, by source."""
        for source, counted in facts.items():
            self.whole.add(counted)
            self.sources.setdefault(source, Facts()).add(counted)

    def write(self, folder: Path, suffix: str) -> set[str]:
        """Writes the pairs and the scores; returns the files' names."""
        tables: dict[str, tuple[list[str], Iterable[Sequence[Any]]]] = {
            "verb_noun": (["verb", "noun", "count"], most_common(self.whole.pairs))
        }
        if len(self.sources) > 1:
            by_source = ((name, *pair) for name, facts in self.sources.items() for pair in most_common(facts.pairs))
            tables["verb_noun_by_source"] = (["source", "verb", "noun", "count"], by_source)
        if self.whole.scores:
            scores = ((name, *each) for name, facts in self.sources.items() for each in sorted(facts.scores.items()))
            tables["scores"] = (["source", "score", "count"], scores)
        for name, (columns, table) in tables.items():
            with (
                replacing(folder / f"{name}{suffix}.csv") as path,
                path.open("w", encoding="utf-8", newline="") as file,
            ):
                csv.writer(file).writerows([columns])
                csv.writer(file).writerows(table)
        return {f"{name}{suffix}.csv" for name in tables}

    def summary(self) -> dict[str, Any]:
        return {
            "name": self.rows.name,
            "language": " and ".join(sorted(self.languages)) or self.rows.language,
            "rows": self.row_count,
            "unreadable": self.unreadable,
            **self.whole.summary(),
            "sources": {name: facts.summary() for name, facts in self.sources.items()},
        }

    def _distinct(self, lines: Any, count_tokens: CountTokens | None, sources: deque[str]) -> Iterator[tuple[str, str]]:
        """The text and language of each new answer; all are counted and measured on the way."""
        seen: set[int] = set()
        answers = self._answers()
        while window := list(islice(answers, _WINDOW)):
            facts, measured = measure(window, count_tokens)
            self.add(facts)
            lines.writerows(measured)
            for answer in window:
                key = hash((answer.source, answer.text))
                if key not in seen:
                    seen.add(key)
                    sources.append(answer.source)
                    self.count_distinct(answer.source)
                    yield answer.text, answer.language

    def _answers(self) -> Iterator[Answer]:
        with progress(self.rows.count, self.rows.name, "row") as bar:
            for number, _, found in self.rows:
                bar.update()
                self.row_count += 1
                if isinstance(found, Reject):
                    self.unreadable += 1
                    continue
                for sample in found:
                    self.languages.add(sample.language)
                    yield from answers_of(number, sample)


def measure(
    answers: Sequence[Answer], count_tokens: CountTokens | None
) -> tuple[dict[str, Facts], list[tuple[Any, ...]]]:
    """What is counted of some answers, by source, and a line of ``lengths.csv`` for each."""
    tokens: Sequence[int | None] = [None] * len(answers)
    if count_tokens is not None:
        tokens = count_tokens([answer.text for answer in answers])
    facts: dict[str, Facts] = {}
    lines = []
    for answer, token_count in zip(answers, tokens, strict=True):
        word_count = count_words(answer.text, answer.language)
        lines.append((answer.row, answer.source, word_count, len(answer.text), token_count))
        _count(facts.setdefault(answer.source, Facts()), answer, word_count, token_count)
    return facts, lines


def answers_of(row: int, sample: Sample) -> Iterator[Answer]:
    """The answers in a sample of a row: of a comparison, each one."""
    if not sample.scored:
        yield Answer(row, "", well_formed(sample.output), None, sample.language)
    for scored in sample.scored:
        yield Answer(row, scored.source, well_formed(scored.response), scored.score, sample.language)


def _count(facts: Facts, answer: Answer, words: int, tokens: int | None) -> None:
    facts.answers += 1
    facts.words[words] += 1
    facts.characters[len(answer.text)] += 1
    if tokens is not None:
        facts.tokens[tokens] += 1
    if answer.score is not None and math.isfinite(answer.score):
        facts.scores[float(answer.score)] += 1
    else:
        facts.unscored += 1


def _compared(first: Facts, second: Facts) -> list[dict[str, Any]]:
    return [
        {
            "verb": verb,
            "noun": noun,
            "count": count,
            "count_b": second.pairs[verb, noun],
            "share": count / first.asked,
            "share_b": second.pairs[verb, noun] / second.asked if second.asked else 0.0,
        }
        for verb, noun, count in most_common(first.pairs)[:TOP]
    ]
