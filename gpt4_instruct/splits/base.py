"""What a split is: a source, an ordered list of stages, and the columns of its rows.

A stage asks its requests for a row and accepts or rejects what comes back. Stages stream: a row moves on as soon as its
own answers are in. A split is a `datasets.DatasetBuilder`, so that it prepares, caches and loads as any other::

    builder = English(source="seeds", teacher="openai:gpt-4", limit=100)
    builder.download_and_prepare()
    builder.as_dataset(split="train")

Beside the data, a prepared folder holds `rejects.jsonl` (every row left out, with its reason) and `facts.json` (what
the run found; cards and tables are drawn from it).

Of the source ``"released"`` and without a teacher, a split has no stages: its rows are those of the released file.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

import datasets
import jsonlines
import pyarrow as pa
from datasets.exceptions import DatasetGenerationError

import gpt4_instruct
from gpt4_instruct.errors import (
    BudgetError,
    Gpt4InstructError,
    IncompleteError,
    OutputError,
    SourceError,
    TransientError,
    UsageError,
)
from gpt4_instruct.generation.engine import Engine, check_engine, open_engine
from gpt4_instruct.generation.ledger import default_path
from gpt4_instruct.generation.pricing import Spending, load_prices
from gpt4_instruct.progress import progress, without_bars
from gpt4_instruct.records import (
    Answer,
    Instruction,
    Language,
    Reject,
    Row,
    Sampling,
    features,
)
from gpt4_instruct.sources.base import Source
from gpt4_instruct.sources.columns import released_tables
from gpt4_instruct.sources.find import open_source
from gpt4_instruct.sources.released import RELEASED, ReleasedSource
from gpt4_instruct.splits.config import DEFAULT_TEACHER, SplitConfig
from gpt4_instruct.splits.run import Outcome, Run
from gpt4_instruct.splits.stages import CHECKS, Stage, teachers_of
from gpt4_instruct.storage import write_json
from gpt4_instruct.teachers.base import Teacher, connect

__all__ = ["Split"]

_ROWS_A_TABLE = 1000


class Split(datasets.ArrowBasedBuilder, ABC):  # type: ignore[misc]
    """Base of the splits. A subclass names itself, its options and its stages, and makes the final row.

    Attributes:
        NAME: the split's name: file, registry, command line, config.
        LANGUAGE: the language of its answers.
        TITLE: for its card.
        OPTIONS: those of `SplitConfig`'s options that not every split uses, and this one does.
    """

    BUILDER_CONFIG_CLASS = SplitConfig
    VERSION = datasets.Version("1.0.0")
    NAME: ClassVar[str]
    LANGUAGE: ClassVar[Language] = "en"
    TITLE: ClassVar[str]
    OPTIONS: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, cache_dir: str | None = None, **config: Any) -> None:
        """Opens the source and the teachers; asks nothing.

        Args:
            cache_dir: where `datasets` prepares it; by default its own cache.
            **config: the fields of `SplitConfig`.

        Raises:
            UsageError: an option cannot work, or the split has no use for it.
            SourceError: the source cannot be opened.
        """
        known = {name for name in SplitConfig.__dataclass_fields__ if name != "identity_hash"}
        for name in config:
            if name not in known:
                raise UsageError(f"a split has no option {name!r}. Known: {', '.join(sorted(known))}")
        settings = SplitConfig(name=self.NAME, **config)
        settings.check(self.OPTIONS)
        self.settings = settings
        self.as_released = settings.as_released
        settings.teacher = settings.teacher or DEFAULT_TEACHER
        self.source: Source = open_source(settings.source, self.NAME)
        self.sampling = Sampling(settings.temperature, settings.top_p, settings.max_tokens, settings.seed)
        self.extended = 0  # answers of the run that were asked for again with more room
        self._connected: dict[str, Teacher] = {}
        self.stages: list[Stage] = [] if self.as_released else self.make_stages()
        check_engine(settings.engine, (each for stage in self.stages for each in teachers_of(stage)))
        self.identity = self._identity()
        digest = hashlib.sha256(json.dumps(self.identity).encode()).hexdigest()[:16]
        super().__init__(cache_dir=cache_dir, config_name=self.NAME, identity_hash=digest, **config)

    # --- for subclasses ---------------------------------------------------------------------------------------------

    @abstractmethod
    def make_stages(self) -> list[Stage]:
        """The stages, in order; `connect` gives their teachers."""

    @abstractmethod
    def to_columns(self, row: Row) -> dict[str, Any]:
        """The dataset's row, with the columns of `records.features`."""

    def begin(self, task: Instruction) -> Row | Reject:
        """The row that an instruction starts as; a split may want more of it than its instruction."""
        return Row(task)

    def to_rows(self, row: Row) -> list[dict[str, Any]]:
        """The dataset's rows that an accepted row becomes: one, unless a split makes several of it."""
        return [self.to_columns(row)]

    def answers_of(self, row: Row) -> list[Answer]:
        """Every answer that an accepted row took, for the counts of tokens."""
        return [*row.answers, *row.scores, *filter(None, [row.translation])]

    def outcomes(self, engine: Engine, done: Callable[[Outcome], None]) -> Iterator[Outcome]:
        """What becomes of each row, in order. A split whose rows come about on the way does it otherwise.

        Args:
            engine: who asks.
            done: called when a row is done, which may be long before its turn to come out.
        """
        run = self.run(self.stages, engine, self.begun, self._total, accept=self.settings.accept)
        yield from run.outcomes(self.NAME, done)
        self.extended = run.extended

    def run(self, *args: Any, **options: Any) -> Run:
        """A `Run` that does with answers that are cut off what the settings say."""
        return Run(*args, **{"extend": self.settings.on_truncation == "extend", **options})

    def found(self, rows: int) -> dict[str, Any]:
        """Facts that only this split has.

        Args:
            rows: how many were accepted.
        """
        return {}

    def advice(self, rows: int, ready: int) -> str:
        """How to build what is answered when the budget is spent.

        Args:
            rows: how many are accepted.
            ready: how many are accepted or rejected.
        """
        return f"--limit {ready} builds what is answered" if ready else ""

    @property
    def checks(self) -> tuple[str, ...]:
        """What every answer must pass: `CHECKS`, without ``truncated`` where such answers are kept."""
        kept = self.settings.on_truncation == "keep"
        return tuple(check for check in CHECKS if not (kept and check == "truncated"))

    def connect(self, teacher: str | Teacher) -> Teacher:
        """The teacher of this name, the same one each time, so that two roles share its model and its limits."""
        if isinstance(teacher, Teacher):
            return teacher
        if teacher not in self._connected:
            self._connected[teacher] = connect(teacher)
        return self._connected[teacher]

    # --- what datasets asks for -------------------------------------------------------------------------------------

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(description=self.TITLE, features=features(self.NAME))

    def _split_generators(self, dl_manager: Any) -> list[datasets.SplitGenerator]:
        return [datasets.SplitGenerator(name="train", gen_kwargs={})]

    def _generate_tables(self) -> Iterator[tuple[tuple[int, int], pa.Table]]:
        schema = self.info.features.arrow_schema
        if self.as_released:
            yield from self._released(Path(self._output_dir), schema)
            return
        rows: list[dict[str, Any]] = []
        number = 0
        for columns in self._accepted(Path(self._output_dir)):
            rows.append(columns)
            if len(rows) == _ROWS_A_TABLE:
                yield (0, number), pa.Table.from_pylist(rows, schema=schema)
                rows, number = [], number + 1
        if rows or not number:  # an empty split still has its columns
            yield (0, number), pa.Table.from_pylist(rows, schema=schema)

    def download_and_prepare(self, output_dir: str | None = None, **options: Any) -> None:
        """`datasets.DatasetBuilder.download_and_prepare`, with errors of ours as they are, not wrapped.

        Raises:
            TeacherError: the run cannot go on.
            IncompleteError: some rows have no answer yet, or Ctrl-C was pressed.
            SourceError, LedgerError, OutputError: a file cannot be read or written.
        """
        try:
            with without_bars(datasets.utils):  # ours says more
                super().download_and_prepare(output_dir, **options)
        except DatasetGenerationError as error:
            cause: BaseException | None = error.__cause__
            while isinstance(cause, DatasetGenerationError):
                cause = cause.__cause__
            if isinstance(cause, Gpt4InstructError):
                raise cause from None
            if isinstance(cause, OSError):
                raise _cannot_write(cause) from cause
            raise
        except OSError as error:
            raise _cannot_write(error) from error

    # --- the rows ---------------------------------------------------------------------------------------------------

    def _accepted(self, folder: Path) -> Iterator[dict[str, Any]]:
        """The accepted rows, in the source's order; writes the rejects and the facts into `folder`."""
        started = time.monotonic()
        settings = self.settings
        spending = Spending(load_prices(settings.prices), settings.budget_usd)
        engine = open_engine(
            settings.engine,
            self.ledger_path(),
            settings.concurrency,
            spending=spending,
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
        )
        tokens: Counter[str] = Counter()
        reasons: Counter[str] = Counter()
        unanswered: list[TransientError] = []
        rows = 0

        try:
            with (
                jsonlines.open(folder / "rejects.jsonl", "w") as rejects,
                progress(lambda: settings.accept or self._total(), self.NAME, "row") as bar,
            ):

                def done(outcome: Outcome) -> None:
                    if settings.accept is None or isinstance(outcome, Row):
                        bar.update()

                for outcome in self.outcomes(engine, done):
                    if isinstance(outcome, TransientError):
                        unanswered.append(outcome)
                    elif isinstance(outcome, Reject):
                        reasons[outcome.reason] += 1
                        rejects.write(asdict(outcome))
                    else:
                        made = self.to_rows(outcome)
                        rows += len(made)
                        for answer in self.answers_of(outcome):
                            tokens["prompt"] += answer.prompt_tokens
                            tokens["completion"] += answer.completion_tokens
                        yield from made
                    bar.set_postfix_str(_state(rows, reasons.total(), engine), refresh=False)
        except BudgetError as error:
            advice = self.advice(rows, rows + reasons.total())
            raise BudgetError(f"{error}; {advice}" if advice else str(error)) from None
        finally:
            engine.close()
        if unanswered:
            raise IncompleteError(
                f"{len(unanswered)} of {rows + reasons.total() + len(unanswered)} rows have no answer (last: "
                f"{unanswered[-1]}); the others are in {engine.ledger.path}: run the same command again to go on"
            )
        self._write_facts(
            folder,
            started,
            rows=rows,
            rejected=dict(reasons.most_common()),
            asked=engine.asked,
            reused=engine.reused,
            extended=self.extended,
            prompt_tokens=tokens["prompt"],
            completion_tokens=tokens["completion"],
            cost_usd=None if spending.unpriced else round(spending.spent_usd, 6),
            prices_checked=spending.prices.checked,
            **self.found(rows),
        )

    def _released(self, folder: Path, schema: pa.Schema) -> Iterator[tuple[tuple[int, int], pa.Table]]:
        """The rows as they were released; writes the rejects and the facts into `folder`, and asks nobody."""
        started = time.monotonic()
        file, source = RELEASED[self.NAME], self.source
        assert isinstance(source, ReleasedSource)
        reasons: Counter[str] = Counter()
        rows = number = 0
        with (
            jsonlines.open(folder / "rejects.jsonl", "w") as rejects,
            progress(lambda: self.settings.limit, self.NAME, "row") as bar,
        ):
            for found in released_tables(source, schema, file.model, self.settings.limit):
                if isinstance(found, Reject):
                    self._check_strict(found)
                    reasons[found.reason] += 1
                    rejects.write(asdict(found))
                    bar.update()
                    continue
                yield (0, number), found
                rows, number = rows + found.num_rows, number + 1
                bar.update(found.num_rows)
        if not number:  # an empty split still has its columns
            yield (0, 0), schema.empty_table()
        counts = dict.fromkeys(("asked", "reused", "extended", "prompt_tokens", "completion_tokens"), 0)
        rejected = dict(reasons.most_common())
        self._write_facts(folder, started, rows=rows, rejected=rejected, **counts, cost_usd=0.0, released=asdict(file))

    def _write_facts(self, folder: Path, started: float, **found: Any) -> None:
        facts = {
            "split": self.NAME,
            "title": self.TITLE,
            "language": self.settings.language or self.LANGUAGE,
            **found,
            "seconds": round(time.monotonic() - started, 1),
            "config_id": self.config_id,
            **self.identity,
        }
        write_json(folder / "facts.json", facts)

    def ledger_path(self) -> Path:
        """Where this split's answers are kept."""
        return Path(self.settings.ledger).expanduser() if self.settings.ledger else default_path()

    def begun(self) -> Iterator[Row | Reject]:
        """Every row of the source, as it starts."""
        for count, item in enumerate(self.source):
            if count == self.settings.limit:
                return
            row = item if isinstance(item, Reject) else self.begin(item)
            if isinstance(row, Reject):
                self._check_strict(row)
            yield row

    def _check_strict(self, row: Reject) -> None:
        if self.settings.strict:
            raise SourceError(f"{row.origin}: {row.detail} ({row.reason}); without --strict it is rejected")

    def _total(self) -> int | None:
        return self.settings.limit or self.source.count()

    def _identity(self) -> dict[str, Any]:
        """All that decides what the rows are, as plain data; the hash of it is the config id."""
        teachers = [
            {"stage": stage.name, "spec": teacher.spec, "endpoint": teacher.endpoint, "model": teacher.model}
            for stage in self.stages
            for teacher in teachers_of(stage)
        ]
        return {
            "source": self.source.name,
            "source_fingerprint": self.source.fingerprint,
            "limit": self.settings.limit,
            "strict": self.settings.strict,
            "accept": self.settings.accept,
            "on_truncation": self.settings.on_truncation,
            "teachers": teachers,
            "sampling": self.sampling.parameters(),
            "package": gpt4_instruct.__version__,
            "code": _code_fingerprint(type(self)),
        }


def _state(rows: int, rejected: int, engine: Engine) -> str:
    """What stands behind the progress bar."""
    spending, used = engine.spending, engine.quota_used()
    parts = [f"accepted={rows}", f"rejected={rejected}"]
    if spending.spent_usd or spending.most_usd:
        budget = f" of ${spending.most_usd:.2f}" if spending.most_usd else ""
        parts.append(f"${spending.spent_usd:.2f}{budget}")
    if used is not None:
        parts.append(f"quota {used:.0%}")
    return ", ".join(parts)


def _cannot_write(error: OSError) -> OutputError:
    where = f" {error.filename}" if error.filename else ""
    return OutputError(f"cannot write{where}: {error.strerror or error}. Answers are kept in the ledger")


def _code_fingerprint(split: type[Split]) -> str:
    """Changes with anything that decides what is asked or accepted: prompts, records, stages, checks, the split."""
    package = Path(__file__).parents[1]
    files = [package / name for name in ("records.py", "formats.py", "languages.py")]
    for room in ("prompts", "sources", "splits", "quality"):
        files += sorted((package / room).glob("*.py"))
    files.append(package / "splits" / "steering.json")
    with suppress(TypeError, OSError):  # a split that was typed into a notebook has no file
        files.append(Path(inspect.getfile(split)))
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
