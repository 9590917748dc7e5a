"""What a build would ask and cost, before anything is sent: ``gpt4-instruct build ... --dry-run``, `estimate`.

The rows go through the stages as in a build, but only the ledger is asked. For what is not there, tokens are counted:
by the answers of the same kind that the ledger holds for the model, where it holds any; otherwise from nothing to
``max_tokens`` for each answer, and the most that a prompt can be.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from gpt4_instruct.errors import TransientError
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.generation.pricing import Prices, answer_tokens, load_prices, most_tokens, prompt_tokens
from gpt4_instruct.generation.shards import look_into
from gpt4_instruct.progress import progress
from gpt4_instruct.records import Answer, Reject, Request, Row
from gpt4_instruct.splits.base import Split
from gpt4_instruct.splits.build import find_split
from gpt4_instruct.splits.run import EXTENSION
from gpt4_instruct.splits.self_instruct import SelfInstruct
from gpt4_instruct.splits.self_instruct_estimate import project
from gpt4_instruct.splits.stages import teachers_of
from gpt4_instruct.teachers.base import BatchTeacher, Teacher, read

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Estimate", "StageEstimate", "estimate"]

_MEASURED = 5_000  # the latest answers of a model that are looked at
_SHARE = 1.96  # standard deviations: 95 of 100 sums of normally distributed numbers lie that near to what is expected


@dataclass
class StageEstimate:
    """What a stage would ask of one teacher. Of each range, the first number is the lower.

    Attributes:
        stage: its name.
        teacher: as the user wrote it.
        requests: how many it takes.
        in_ledger: of those, how many are answered already.
        prompt_tokens: of the others.
        answer_tokens: of their answers.
        usd: what they cost; none where the model's price is not known.
        measured: answers in the ledger by which they were measured; 0 for a range from nothing to the most.
        most_requests: how many it may take, where that depends on the answers; else none.
    """

    stage: str
    teacher: str
    requests: int = 0
    in_ledger: int = 0
    prompt_tokens: tuple[float, float] = (0.0, 0.0)
    answer_tokens: tuple[float, float] = (0.0, 0.0)
    usd: tuple[float, float] | None = (0.0, 0.0)
    measured: int = 0
    most_requests: int | None = None

    @property
    def to_send(self) -> int:
        """Requests that would be sent, at most."""
        return (self.most_requests or self.requests) - self.in_ledger


@dataclass
class Estimate:
    """What a build would ask and cost.

    Attributes:
        split: its name.
        rows: rows of the source that would be asked about.
        stages: what each stage would ask, in order.
        prices_checked: the date of the price list.
    """

    split: str
    rows: int
    stages: list[StageEstimate]
    prices_checked: str

    @property
    def usd(self) -> tuple[float, float] | None:
        """The range of what all stages cost together; none where a price is not known."""
        known = [stage.usd for stage in self.stages if stage.usd is not None]
        if len(known) < len(self.stages):
            return None
        return sum(low for low, _ in known), sum(high for _, high in known)

    def table(self) -> Table:
        """For the terminal."""
        from rich.box import SIMPLE
        from rich.table import Table

        title = f"{self.split}: {self.rows:,} rows; nothing was sent"
        table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
        for name in ("stage", "teacher", "requests", "in ledger", "prompt tokens", "answer tokens", "USD"):
            is_text = name in {"stage", "teacher"}
            table.add_column(name, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
        for each in self.stages:
            usd = "?" if each.usd is None else _range(each.usd, "{:,.2f}".format)
            tokens = (_range(each.prompt_tokens, _short), _range(each.answer_tokens, _short))
            requests = _range((each.requests, each.most_requests or each.requests), "{:,.0f}".format)
            table.add_row(each.stage, each.teacher, requests, f"{each.in_ledger:,}", *tokens, usd)
        if len(self.stages) > 1:
            table.add_section()
            most = sum(each.most_requests or each.requests for each in self.stages)
            requests = _range((sum(each.requests for each in self.stages), most), "{:,.0f}".format)
            in_ledger = f"{sum(each.in_ledger for each in self.stages):,}"
            total = "?" if self.usd is None else _range(self.usd, "{:,.2f}".format)
            table.add_row("all", "", requests, in_ledger, "", "", total)
        return table


def _range(values: tuple[float, float], form: Callable[[float], str]) -> str:
    low, high = (form(value) for value in values)
    return low if low == high else f"{low}–{high}"


def _short(number: float) -> str:
    """A count in few characters.

    >>> [_short(number) for number in (7, 34_665, 1_645_000)]
    ['7', '35K', '1.6M']
    """
    if number < 10_000:
        return f"{number:,.0f}"
    return f"{number / 1e3:,.0f}K" if number < 1e6 else f"{number / 1e6:,.1f}M"


@dataclass
class _Measured:
    """The latest answers of a kind: their tokens, and those of their prompts beside what we would have counted."""

    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    counted: float = 0.0
    said: float = 0.0
    cut: int = 0

    def add(self, request: Request, prompt: int, answer: int) -> None:
        self.count += 1
        self.total += answer
        self.squares += answer * answer
        self.counted += prompt_tokens(request)
        self.said += prompt
        self.cut += answer >= answer_tokens(request)

    @property
    def mean(self) -> float:
        return self.total / self.count

    def sum_of(self, number: int) -> tuple[float, float]:
        """Between what the tokens of so many more answers will lie: the mean is uncertain, and so is each answer."""
        variance = max(0.0, self.squares / self.count - self.mean**2)
        spread = _SHARE * math.sqrt(variance * (number + number**2 / self.count))
        return max(0.0, number * self.mean - spread), number * self.mean + spread


@dataclass
class _Counter:
    """Adds up what one stage would ask of one teacher."""

    found: StageEstimate
    batch: bool
    extend: bool
    measured: dict[tuple[Any, ...], _Measured]
    asked: dict[tuple[Any, ...], int] = field(default_factory=dict)
    prompts: dict[tuple[Any, ...], list[float]] = field(default_factory=dict)
    example: dict[tuple[Any, ...], Request] = field(default_factory=dict)

    def add(self, request: Request, side: int) -> None:
        """Counts a request that would be sent; `side` is 0 for the lower and 1 for the upper end of the range."""
        kind = _kind(request)
        self.example[kind] = request
        prompts = self.prompts.setdefault(kind, [0.0, 0.0])
        if side == 0:
            self.asked[kind] = self.asked.get(kind, 0) + 1
            prompts[0] += prompt_tokens(request)
        else:
            prompts[1] += prompt_tokens(request) if kind in self.measured else most_tokens(request)[0]

    def finish(self, prices: Prices) -> StageEstimate:
        for kind, number in self.asked.items():
            measured, request = self.measured.get(kind), self.example[kind]
            prompts = (self.prompts[kind][0], self.prompts[kind][1])
            answers = (0.0, float(number * answer_tokens(request)))
            if measured is not None:
                scale = measured.said / measured.counted if measured.said else 1.0
                prompts = (prompts[0] * scale, prompts[1] * scale)
                low, high = measured.sum_of(number)
                answers = (low, min(high, answers[1]))
                self.found.measured += measured.count
            if self.extend and not request.choices:  # what is cut off is asked for again, in full
                again = measured.cut / measured.count if measured else 1.0
                prompts = (prompts[0], prompts[1] * (1 + again))
                answers = (answers[0], answers[1] + again * number * EXTENSION * answer_tokens(request))
            price = prices.find(request.endpoint, request.model)
            self.found.prompt_tokens = _plus(self.found.prompt_tokens, prompts)
            self.found.answer_tokens = _plus(self.found.answer_tokens, answers)
            if price is None:
                self.found.usd = None
            elif self.found.usd is not None:
                costs = [price.usd(*each, batch=self.batch) for each in zip(prompts, answers, strict=True)]
                self.found.usd = _plus(self.found.usd, (costs[0], costs[1]))
        return self.found


def _plus(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    return one[0] + other[0], one[1] + other[1]


def _kind(request: Request) -> tuple[Any, ...]:
    """Requests of one kind have answers of similar length: translations, scores, answers with the same room."""
    return request.endpoint, request.model, bool(request.choices), request.schema is not None, answer_tokens(request)


def estimate(split: str, **config: Any) -> Estimate:
    """What `build` with the same arguments would ask and cost. Sends nothing.

    Args:
        split: its name.
        **config: `build`'s arguments, less ``out`` and ``overwrite``. With ``accept``, the cost is that of as many rows
            of the source: those of rejected ones come on top.

    Returns:
        a range for each stage: by what the ledger holds of the same kind, or from nothing to the most it can be. For
        ``"self_instruct"``, whose tasks nobody knows yet, the number of requests is a range, too.

    Raises:
        UsageError, SourceError, LedgerError: as `build`.
    """
    builder = find_split(split)(**config)
    prices = load_prices(builder.settings.prices)
    ledger = look_into(builder.ledger_path())
    try:
        return _estimate(builder, ledger, prices)
    finally:
        if ledger is not None:
            ledger.close()


def _estimate(builder: Split, ledger: Ledger | None, prices: Prices) -> Estimate:
    measured = _measure(builder, ledger)
    if isinstance(builder, SelfInstruct):
        return _estimate_invented(builder, ledger, prices, measured)
    counters: dict[tuple[str, str], _Counter] = {}
    seen: tuple[set[str], set[str]] = (set(), set())
    rows = 0
    with progress(lambda: None, f"{builder.NAME}: counting", "row") as bar:
        for row in islice(_rows(builder), builder.settings.accept):
            rows += 1
            for side in (0, 1):
                _walk(builder, ledger, row, side, seen[side], measured, counters)
            bar.update()
    return Estimate(builder.NAME, rows, [each.finish(prices) for each in counters.values()], prices.checked)


def _estimate_invented(
    builder: SelfInstruct, ledger: Ledger | None, prices: Prices, measured: dict[tuple[Any, ...], _Measured]
) -> Estimate:
    """The estimate of a split whose rows come about on the way: between the fewest requests and the most."""
    stages = []
    for each in project(builder, lambda teacher, request: _known(ledger, teacher, request, request.key)):
        found = StageEstimate(each.stage.name, each.teacher.spec, each.in_ledger + each.fewest, each.in_ledger)
        found.most_requests = each.in_ledger + each.most
        ends: list[StageEstimate] = []
        for number in (each.fewest, each.most):
            extend = builder.settings.on_truncation == "extend" and each.stage is not builder.invent
            counter = _Counter(replace(found), isinstance(each.teacher, BatchTeacher), extend, measured)
            if each.example is not None and number:
                counter.add(each.example, 0)
                counter.add(each.example, 1)
                kind = _kind(each.example)
                counter.asked[kind] = number
                counter.prompts[kind] = [number * tokens for tokens in counter.prompts[kind]]
            ends.append(counter.finish(prices))
        low, high = ends
        found.prompt_tokens = (low.prompt_tokens[0], high.prompt_tokens[1])
        found.answer_tokens = (low.answer_tokens[0], high.answer_tokens[1])
        found.usd = None if low.usd is None or high.usd is None else (low.usd[0], high.usd[1])
        found.measured = high.measured
        stages.append(found)
    assert builder.settings.accept is not None
    return Estimate(builder.NAME, builder.settings.accept, stages, prices.checked)


def _rows(builder: Split) -> Iterator[Row]:
    return (row for row in builder.begun() if isinstance(row, Row))


def _walk(
    builder: Split,
    ledger: Ledger | None,
    row: Row,
    side: int,
    seen: set[str],
    measured: dict[tuple[Any, ...], _Measured],
    counters: dict[tuple[str, str], _Counter],
) -> None:
    """Takes a row through the stages with the shortest or the longest answers that it may get."""
    for stage in builder.stages:
        answers = []
        for teacher, request in stage.requests(row):
            name = (stage.name, teacher.spec)
            counter = counters.get(name)
            if counter is None:
                found = StageEstimate(stage.name, teacher.spec)
                extend = builder.settings.on_truncation == "extend"
                counter = counters[name] = _Counter(found, isinstance(teacher, BatchTeacher), extend, measured)
            key = request.key
            answer = _known(ledger, teacher, request, key)
            if key not in seen:
                seen.add(key)
                if side == 0:
                    counter.found.requests += 1
                    counter.found.in_ledger += answer is not None
                if answer is None:
                    counter.add(request, side)
            if answer is None:
                kind = measured.get(_kind(request))
                tokens = round(kind.mean) if kind else side * answer_tokens(request)
                text = stage.stand_in(row, request, tokens)
                answer = Answer(text, "stop", teacher.spec, request.model, 0, 0, key)
            answers.append(answer)
        outcome = stage.accept(row, answers)
        if isinstance(outcome, Reject):
            return
        row = outcome


def _known(ledger: Ledger | None, teacher: Teacher, request: Request, key: str) -> Answer | None:
    raw = ledger.settled(key) if ledger is not None else None
    try:
        return None if raw is None else read(teacher, request, key, raw)
    except TransientError:  # it would be asked again
        return None


def _measure(builder: Split, ledger: Ledger | None) -> dict[tuple[Any, ...], _Measured]:
    """The latest answers of each teacher's model, by kind."""
    found: dict[tuple[Any, ...], _Measured] = {}
    teachers = {(teacher.endpoint, teacher.model) for stage in builder.stages for teacher in teachers_of(stage)}
    for endpoint, model in sorted(teachers) if ledger else ():
        query = (
            "SELECT request, prompt_tokens, completion_tokens FROM requests WHERE state = 'settled' "
            "AND completion_tokens > 0 AND endpoint = ? AND model = ? ORDER BY rowid DESC LIMIT ?"
        )
        assert ledger is not None
        for content, prompt, answer in ledger.query(query, (endpoint, model, _MEASURED)):
            request = Request.from_json(content)
            found.setdefault(_kind(request), _Measured()).add(request, prompt, answer)
    return found
