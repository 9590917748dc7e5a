"""`build` and `load`: the short forms of a split's builder, one into a folder and one into memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt4_instruct.errors import UnknownNameError, UsageError
from gpt4_instruct.publishing.folder import add_config, building, check_free
from gpt4_instruct.publishing.remote import mirrored
from gpt4_instruct.registry import find
from gpt4_instruct.sources.base import Source
from gpt4_instruct.sources.released import RELEASED
from gpt4_instruct.sources.shards import is_url
from gpt4_instruct.splits.base import Split
from gpt4_instruct.teachers.base import Teacher
from gpt4_instruct.views import VIEWS, as_view

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["BuildResult", "build", "find_split", "load"]


@dataclass(frozen=True, slots=True)
class BuildResult:
    """What a build did.

    Attributes:
        split: its name.
        folder: where it is, a path or a URL.
        rows: accepted rows.
        rejected: rows left out, by reason, most first.
        asked: requests sent and answered by this build.
        reused: requests answered from the ledger, or asked by another row at the same time.
        seconds: how long it took.
        extended: answers that were cut off and asked for again with more room.
        cost_usd: what this build spent, by the price list; none where the price of a model is not known.
        stopped: why a split that invents its tasks ended, in a sentence; none for the others.
    """

    split: str
    folder: Path | str
    rows: int
    rejected: dict[str, int]
    asked: int
    reused: int
    seconds: float
    extended: int
    cost_usd: float | None
    stopped: str | None = None


def build(
    split: str,
    source: str | Path | Source = "seeds",
    *,
    out: str | Path,
    teacher: str | Teacher | None = None,
    translator: str | Teacher | None = None,
    answers_from: Sequence[str | Teacher] = (),
    scorer: str | Teacher | None = None,
    limit: int | None = None,
    ledger: str | Path | None = None,
    seed: int | None = None,
    max_tokens: int = 512,
    temperature: float = 1.0,
    top_p: float = 1.0,
    concurrency: int | None = None,
    overwrite: bool = False,
    strict: bool = False,
    accept: int | None = None,
    on_truncation: str = "reject",
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    budget_usd: float | None = None,
    prices: str | Path | None = None,
    language: str | None = None,
    recipe: str | None = None,
    engine: str = "local",
) -> BuildResult:
    """Builds a split into a folder shaped like a Hub dataset repository, beside what is in there already.

    Args:
        split: ``"english"``, ``"chinese"``, ``"comparison"``, ``"unnatural"``, ``"self_instruct"``, or one that a
            package registers.
        source: ``"seeds"`` (packaged); the path of a json, jsonl, csv or parquet file; a folder of Parquet files; a
            pattern or a URL of files; ``"hub:ID"``; ``"released"``, the paper's file of this split;
            ``"released:NAME"``, another one: english, chinese, comparison, unnatural, alpaca or unnatural-core.
        out: the folder; made if it is not there. It may be a URL that fsspec knows, such as ``"s3://BUCKET/FOLDER"``.
        teacher: who answers: ``"openai:MODEL"``, ``"openai-batch:MODEL"``, ``"local:smollm2"`` (the default),
            ``"local:PATH_OR_HUB_ID"``, ``"replay:PATH"``. Without one, the source ``"released"`` is built with the
            answers that were released, unfiltered, and nobody is asked.
        translator: who translates, for chinese and self_instruct; by default the teacher.
        answers_from: who answers, for comparison, at least two; by default the teacher, twice.
        scorer: who scores, for comparison; by default the teacher.
        limit: most rows to read from the source; all by default.
        ledger: where answers are kept; by default ``$GPT4_INSTRUCT_HOME/ledger.sqlite3``. What is there is not asked
            again.
        seed: sent with every request; none by default.
        max_tokens: most tokens in an answer.
        temperature: 0 is greedy.
        top_p: nucleus mass, over 0 and up to 1.
        concurrency: requests in flight per teacher; by default each teacher's own number.
        overwrite: replace this split if the folder has it; other splits and other files stay.
        strict: stop at the first row of the source that cannot be used, instead of rejecting it.
        accept: go on until so many rows are accepted, or the source is dry; by default all rows are asked. For
            self_instruct it must be given.
        on_truncation: what happens where an answer is cut off at `max_tokens`: ``"reject"`` the row, ``"keep"`` it, or
            ``"extend"``: ask again with four times the room, and keep the first text in ``metadata.cut_output``.
        requests_per_minute: most requests to each model; by default what the endpoint says that it allows.
        tokens_per_minute: likewise, prompt and answer.
        budget_usd: a hard cap on what this build may spend: the most that is in flight can cost is set aside first.
        prices: a price file laid over the packaged one; by default ``$GPT4_INSTRUCT_HOME/prices.json`` if it is there.
        language: of the rows of self_instruct: ``"en"`` (the default), ``"zh"``, or ``"both"`` for pairs.
        recipe: how self_instruct invents tasks: ``"gpt4-instruct"`` (the default), ``"alpaca"`` or
            ``"self-instruct"``.
        engine: who has the work done: ``"local"``, this process; ``"ray"``, a Ray cluster: the one that ``RAY_ADDRESS``
            names, or one on this computer; ``"ray:ADDRESS"``, such as ``ray:auto`` or ``ray:HOST:6379``. All machines
            of a cluster must see the ledger's folder. The rows are the same.

    Returns:
        what was done. It may hold no rows, when all were rejected.

    Raises:
        UsageError: an argument cannot work.
        SourceError: the source cannot be read.
        OutputError: the folder cannot be used; `OutputExistsError` when it holds this split already.
        RunStoppedError: no request can succeed: wrong key, no such model, unreachable.
        IncompleteError: some rows have no answer yet, or Ctrl-C was pressed; the same call goes on from there.
        BudgetError: the next request could cost more than is left of the budget; a new one goes on from there.
    """
    found = find_split(split)
    with _folder(out, split, overwrite=overwrite) as folder:
        builder = found(
            source=source,
            teacher=teacher,
            translator=translator,
            answers_from=tuple(answers_from),
            scorer=scorer,
            limit=limit,
            ledger=ledger,
            seed=seed,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            concurrency=concurrency,
            strict=strict,
            accept=accept,
            on_truncation=on_truncation,
            requests_per_minute=requests_per_minute,
            tokens_per_minute=tokens_per_minute,
            budget_usd=budget_usd,
            prices=prices,
            language=language,
            recipe=recipe,
            engine=engine,
        )
        with building(folder, split, overwrite=overwrite) as scratch:
            prepared = scratch / "split"
            builder.download_and_prepare(str(prepared), file_format="parquet")
            entry = add_config(folder, split, prepared)
    fields = ("rows", "rejected", "asked", "reused", "seconds", "extended", "cost_usd")
    stopped = entry.get("self_instruct", {}).get("stopped_detail")
    where = str(out) if is_url(str(out)) else folder
    return BuildResult(split=split, folder=where, stopped=stopped, **{name: entry[name] for name in fields})


@contextmanager
def _folder(out: str | Path, split: str, *, overwrite: bool) -> Iterator[Path]:
    """Where a build is made: the folder itself, or one that is sent to a URL afterwards."""
    if is_url(str(out)):
        with mirrored(str(out), split, overwrite=overwrite) as folder:
            yield folder
        return
    folder = Path(out).expanduser()
    check_free(folder, split, overwrite=overwrite)
    yield folder


def load(split: str, *, view: str | None = None, **config: Any) -> Dataset:
    """Builds a split into the cache of `datasets`, if it is not there, and loads it.

    With neither a source nor a teacher, it is the paper's released data: downloaded at the first call, unfiltered.

    Args:
        split: its name.
        view: ``"messages"``, ``"prompt_completion"`` or ``"preference"``, for trainers: see `views.as_view`; by default
            the split's own columns.
        **config: `build`'s arguments, less ``out`` and ``overwrite``.

    Returns:
        the split's accepted rows.

    Raises:
        what `build` raises. Where there is no network and the released file is not there, the `SourceError` says what
        else works.
    """
    if split in RELEASED and not config.keys() & {"source", "teacher", "translator", "answers_from", "scorer"}:
        config["source"] = "released"
    if view is not None and view not in VIEWS:  # before anything is asked
        raise UnknownNameError("view", view, list(VIEWS))
    builder = find_split(split)(**config)
    builder.download_and_prepare()
    dataset: Dataset = builder.as_dataset(split="train")
    return dataset if view is None else as_view(dataset, view)


def find_split(name: str) -> type[Split]:
    """The split of this name."""
    found = find("splits", name)
    if not (isinstance(found, type) and issubclass(found, Split)):
        raise UsageError(f"the split {name!r} is registered, but is not a Split")
    return found
