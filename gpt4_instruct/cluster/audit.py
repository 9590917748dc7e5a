"""An audit by the workers of a Ray cluster, which finds what `quality.audit.examine` finds, in the same order.

    blocks of rows ──▶ workers: the checks of single rows, and the facts of the checks over rows (`OverFacts`)
                   ──▶ here, in order: findings, counts, and the facts, which are compact
    facts ──▶ by key (`duplicate`, `repeated_answer`): a shuffle, each worker judges some of the keys
          ──▶ against those kept before (`near_duplicate`): `cluster.novelty`, in rounds
          ──▶ MinHash signatures (`similar_task`, `similar_output`): `cluster.minhash`, then its few pairs in order here
          ──▶ here, in order, as they come (`shifted_rows`, `few_answers`, `score_collapse`)

A check over rows of another package that has no facts sees each sample here, in order. No worker has more in memory
than a block of rows, some of the keys or, for `near_duplicate`, the tasks that are kept, 200,000 at most of a language.
Here are, as on one machine, the findings; and the tasks and signatures of checks that compare them lie in Ray's object
store, which moves what does not fit to the disk.
"""

from __future__ import annotations

import pickle
import time
from abc import ABC, abstractmethod
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

from gpt4_instruct.cluster.minhash import TEXTS, Bands, Pair, equal_share, pairs, signatures_table
from gpt4_instruct.cluster.novelty import ROUND, nearest
from gpt4_instruct.cluster.rows import TABLE_ROWS, Block, Tables, by_key, cluster, look_at
from gpt4_instruct.formats import UnreadableRow
from gpt4_instruct.progress import progress
from gpt4_instruct.quality.audit import Audited, Look, conclude, fault, find_in, judged, keep, prepare, targets
from gpt4_instruct.quality.base import OverFacts, Sample
from gpt4_instruct.quality.minhash import SIMILAR
from gpt4_instruct.registry import find
from gpt4_instruct.sources.rows import RowReader, Rows

__all__ = ["examine"]


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a check over rows has of a sample.

    Attributes:
        row: its number.
        place: which of the row's samples it is.
        sources: of the targets that the check sees in it; see `quality.audit.targets`.
        each: the facts of each target; for a check without facts, the target's sample.
    """

    row: int
    place: int
    sources: tuple[str, ...]
    each: tuple[Any, ...]


def examine(rows: Rows, checks: Sequence[str], *, required: Sequence[str] = (), address: str = "") -> Audited:
    """Runs checks over rows on a cluster; arguments and result are those of `quality.audit.examine`.

    Args:
        rows: the data.
        checks: the names of the checks.
        required: of these, what cannot run is an error.
        address: of the cluster, as of `cluster.connect.join`.

    Raises:
        MissingExtraError: Ray, or what a required check needs, is not installed.
        UsageError: the cluster is not reached.
        SourceError: the rows cannot be read, or there are none.
        RunStoppedError: a worker failed.
    """
    started = time.monotonic()
    audited = Audited(rows.name)
    looks = list(prepare(checks, required, audited.not_run))
    with cluster(address) as workers:
        judges = {look.name: _judge_of(look, workers, audited) for look in looks if look.over_rows is not None}
        reader, names = rows.reader(), [look.name for look in looks]
        with progress(rows.count, f"audit {rows.name}", "row") as bar:
            for found, facts in look_at(rows, lambda: _Examiner(reader, names), workers):
                bar.update(found.rows)
                audited.add(found)
                for name, of_check in facts.items():
                    judges[name].take(of_check)
        places: dict[tuple[str, int], tuple[int, int | None]] = {}
        for look in looks:
            if look.over_rows is None:
                continue
            for facts, reasons in judges[look.name].reasons():
                for reason, severity, answer in judged(look, facts.sources, reasons):
                    places.setdefault((look.name, facts.row), (facts.place, answer))
                    keep(audited, facts.row, look.name, severity, reason)
    conclude(audited, looks, rows, checks, required, places)
    audited.seconds = time.monotonic() - started
    return audited


class _Examiner:
    """A worker's part: what single rows show, and the facts of checks over rows."""

    def __init__(self, reader: RowReader, names: Sequence[str]) -> None:
        self._reader = reader
        self._looks = list(prepare(names))

    def __call__(self, block: Block) -> tuple[Audited, dict[str, list[_Facts]]]:
        audited = Audited(self._reader.name)
        facts: dict[str, list[_Facts]] = defaultdict(list)

        def apart(look: Look, sample: Sample, row: int, place: int) -> None:
            seen = targets(look, sample)
            has_facts = isinstance(look.over_rows, OverFacts)
            each = tuple(look.over_rows.facts(target.sample) if has_facts else target.sample for target in seen)
            if any(one is not None for one in each):
                facts[look.name].append(_Facts(row, place, tuple(target.source for target in seen), each))

        for number, (line, raw) in enumerate(block.rows, start=block.first):
            shown = raw.text if isinstance(raw, UnreadableRow) else raw
            find_in(audited, self._looks, number, shown, self._reader.read(line, raw), apart)
        return audited, dict(facts)


class _Where:
    """Where in the data the numbered facts of a check are: 8 bytes for most."""

    def __init__(self) -> None:
        self.rows = array("q")
        self._others: dict[int, tuple[int, int, tuple[str, ...]]] = {}

    def add(self, facts: _Facts, answer: int) -> int:
        """Puts down the next one; its number."""
        number = len(self.rows)
        self.rows.append(facts.row)
        if facts.place or facts.sources != ("",):
            self._others[number] = (facts.place, answer, facts.sources)
        return number

    def said(self, number: int, reason: str) -> _Said:
        """What is wrong there."""
        return _Said(self.rows[number], *self._others.get(number, (0, 0, ("",))), reason)


class _Said(NamedTuple):
    """What is wrong with one target of a sample."""

    row: int
    place: int
    answer: int
    sources: tuple[str, ...]
    reason: str


def _by_sample(said: Iterable[_Said]) -> Iterator[tuple[_Facts, list[str | None]]]:
    """By sample, in order: what is wrong with each of its targets."""
    for (row, place), group in groupby(sorted(said), key=lambda each: each[:2]):
        found = list(group)
        reasons: list[str | None] = [None] * len(found[0].sources)
        for each in found:
            reasons[each.answer] = each.reason
        yield _Facts(row, place, found[0].sources, ()), reasons


def _judge_of(look: Look, workers: int, audited: Audited) -> _Judge:
    spread = look.over_rows.spread if isinstance(look.over_rows, OverFacts) else "order"
    kinds: dict[str, type[_Judge]] = {"key": _ByKey, "novelty": _Novel, "minhash": _Alike, "order": _InOrder}
    return kinds[spread](look, workers, audited)


class _Judge(ABC):
    """Takes the facts of a check in the order of the rows, and says in the end what is wrong where.

    Args:
        look: the check.
        workers: how many there are.
        audited: where it is put down that the check itself went wrong in a row, as on one machine.
    """

    def __init__(self, look: Look, workers: int, audited: Audited) -> None:
        self.look = look
        self.workers = workers
        self.audited = audited

    @abstractmethod
    def take(self, facts: Sequence[_Facts]) -> None:
        """Takes what a block has."""

    @abstractmethod
    def reasons(self) -> Iterator[tuple[_Facts, Sequence[str | None]]]:
        """The samples with something wrong, in order, and what is wrong with each target."""


class _InOrder(_Judge):
    """Judges here, as the facts come."""

    def __init__(self, look: Look, workers: int, audited: Audited) -> None:
        super().__init__(look, workers, audited)
        self._found: list[tuple[_Facts, Sequence[str | None]]] = []

    def take(self, facts: Sequence[_Facts]) -> None:
        check = self.look.over_rows
        judge = check.judge if isinstance(check, OverFacts) else check
        for each in facts:
            try:
                reasons = [None if one is None else judge(one, each.row) for one in each.each]
            except Exception as error:
                self.audited.fail(self.look.name, each.row, fault(error))
                continue
            if any(reason is not None for reason in reasons):
                self._found.append((replace(each, each=()), reasons))

    def reasons(self) -> Iterator[tuple[_Facts, Sequence[str | None]]]:
        return iter(self._found)


class _ByKey(_Judge):
    """Judges the facts of each key apart, in the workers."""

    def __init__(self, look: Look, workers: int, audited: Audited) -> None:
        super().__init__(look, workers, audited)
        self._tables = Tables(TABLE_ROWS)

    def take(self, facts: Sequence[_Facts]) -> None:
        import pyarrow

        lines = [
            (int.from_bytes(one[0][:8], "big", signed=True), each.row, each.place, answer, each.sources, one)
            for each in facts
            for answer, one in enumerate(each.each)
            if one is not None
        ]
        if lines:
            keys, rows, places, answers, sources, each_facts = zip(*lines, strict=True)
            table = pyarrow.table({"key": keys, "row": rows, "place": places, "answer": answers})
            for name, values in (("sources", sources), ("facts", each_facts)):
                table = table.append_column(name, pyarrow.array([*map(pickle.dumps, values)], pyarrow.binary()))
            self._tables.add(table)

    def reasons(self) -> Iterator[tuple[_Facts, Sequence[str | None]]]:
        name = self.look.name
        tables, self._tables = self._tables, Tables(TABLE_ROWS)
        found = list(by_key(tables.references(), tables.count, lambda table: _judged(table, name), self.workers))
        failed = {(each["row"], each["place"]): each["fault"] for each in found if each["fault"] is not None}
        for (row, _), why in sorted(failed.items()):
            self.audited.fail(name, row, why)
        yield from _by_sample(
            _Said(each["row"], each["place"], each["answer"], pickle.loads(each["sources"]), each["reason"])
            for each in found
            if (each["row"], each["place"]) not in failed
        )


def _judged(table: Any, name: str) -> Any:
    """What a check says of facts whose keys are all here."""
    import pyarrow

    table = table.sort_by([("row", "ascending"), ("place", "ascending"), ("answer", "ascending")])
    check = find("quality", name)()
    reasons: list[str | None] = []
    faults: list[str | None] = []
    for facts, row in zip(table.column("facts").to_pylist(), table.column("row").to_pylist(), strict=True):
        reason = why = None
        try:
            reason = check.judge(pickle.loads(facts), row)
        except Exception as error:
            why = fault(error)
        reasons.append(reason)
        faults.append(why)
    table = table.select(["row", "place", "answer", "sources"])
    for column, values in (("reason", reasons), ("fault", faults)):
        table = table.append_column(column, pyarrow.array(values, pyarrow.string()))
    return table.filter([reason is not None or why is not None for reason, why in zip(reasons, faults, strict=True)])


class _Novel(_Judge):
    """Compares tasks with those kept before, language by language."""

    def __init__(self, look: Look, workers: int, audited: Audited) -> None:
        super().__init__(look, workers, audited)
        self._texts: dict[str, list[str]] = defaultdict(list)
        self._rounds: dict[str, list[Any]] = defaultdict(list)
        self._where: dict[str, _Where] = defaultdict(_Where)

    def take(self, facts: Sequence[_Facts]) -> None:
        for each in facts:
            for answer, (language, text) in enumerate(each.each):
                self._where[language].add(each, answer)
                self._texts[language].append(text)
        for language in self._texts:
            if len(self._texts[language]) >= ROUND:
                self._hand_on(language)

    def _hand_on(self, language: str) -> None:
        import ray

        self._rounds[language].append(ray.put(self._texts[language]))
        self._texts[language] = []

    def reasons(self) -> Iterator[tuple[_Facts, Sequence[str | None]]]:
        return _by_sample(said for language in list(self._texts) for said in self._of(language))

    def _of(self, language: str) -> Iterator[_Said]:
        self._hand_on(language)
        check, where = self.look.over_rows, self._where[language]
        kept = array("q")
        rounds = self._rounds.pop(language)
        found = nearest(rounds, language=language, workers=self.workers, most=check.most_kept)
        for number, near in enumerate(found):
            row = where.rows[number]
            if near is not None and kept[near[0]] != row:
                yield where.said(number, check.reason(kept[near[0]], near[1]))
            elif near is None and len(kept) < check.most_kept:
                kept.append(row)


class _Alike(_Judge):
    """Finds the pairs of texts with like signatures, and goes through them in order."""

    def __init__(self, look: Look, workers: int, audited: Audited) -> None:
        super().__init__(look, workers, audited)
        self._where = _Where()
        self._tables = Tables(TEXTS)

    def take(self, facts: Sequence[_Facts]) -> None:
        numbers, signatures = [], []
        for each in facts:
            for answer, one in enumerate(each.each):
                if one is not None:
                    numbers.append(self._where.add(each, answer))
                    signatures.append(one)
        if numbers:
            self._tables.add(signatures_table(numbers, signatures))

    def reasons(self) -> Iterator[tuple[_Facts, Sequence[str | None]]]:
        check, rows = self.look.over_rows, self._where.rows
        count, width, permutations = check.bands
        found = pairs(
            self._tables.references(),
            len(rows),
            Bands(count, width, permutations),
            lambda one, other: equal_share(one, other, permutations),
            SIMILAR,
            workers=self.workers,
            at_least=True,
        )
        near = near_kept(found, rows)
        yield from _by_sample(self._where.said(number, check.reason(*what)) for number, what in near.items())


def near_kept(found: Iterable[Pair], rows: Sequence[int]) -> dict[int, tuple[int, float]]:
    """What `quality.minhash.Similar` finds, from the pairs of like texts: the nearest of those kept before.

    Args:
        found: of texts whose signatures are equal, as of `pairs`, only the first is paired with others.
        rows: of each text, the row that it is in; of a row, one text is kept at most, and none is near another.

    Returns:
        of each text that is near one that was kept, that one's row, and the similarity.

    >>> near_kept([(0, 1, 0.9), (1, 2, 0.85), (2, 3, 1.0)], [0, 1, 2, 3])
    {1: (0, 0.9), 3: (2, 1.0)}
    """
    paired: dict[int, list[tuple[int, float]]] = defaultdict(list)
    first_of: dict[int, int] = {}
    texts = set()
    for one, other, similarity in found:
        texts |= {one, other}
        if similarity == 1.0:
            first_of[other] = min(one, first_of.get(other, one))
        paired[one].append((other, similarity))
        paired[other].append((one, similarity))
    kept: dict[int, list[int]] = defaultdict(list)  # of the first of equal ones: those of them that were kept
    near: dict[int, tuple[int, float]] = {}
    left_out = set()  # neither near one nor kept, for their row had one
    for text in sorted(texts):
        first = first_of.get(text, text)
        known = [(similarity, -rows[each]) for other, similarity in paired[first] for each in kept[other]]
        known += [(1.0, -rows[each]) for each in kept[first]]
        best = max((each for each in known if -each[1] != rows[text]), default=None)
        if best is not None:
            near[text] = (-best[1], best[0])
            continue
        before = text - 1
        while before >= 0 and rows[before] == rows[text] and (before in near or before in left_out):
            before -= 1
        if before >= 0 and rows[before] == rows[text]:
            left_out.add(text)
        else:
            kept[first].append(text)
    return near
