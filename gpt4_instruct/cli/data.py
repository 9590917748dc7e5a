"""The commands for data: build, show, audit, stats."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpt4_instruct.cli.options import INTERRUPTED, Engine
from gpt4_instruct.errors import InterruptedRunError

if TYPE_CHECKING:
    from rich.table import Table

    from gpt4_instruct.splits.estimate import Estimate
    from gpt4_instruct.workflows import AuditResult

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Adds ``build``, ``show``, ``audit`` and ``stats``."""
    for command in (build, show, audit, stats):
        app.command()(command)


def _list_checks(wanted: bool) -> None:
    if not wanted:
        return
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gpt4_instruct.quality.audit import describe_checks

    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for name in ("check", "severity", "of", "what it finds", "for example"):
        table.add_column(name, no_wrap=name not in {"what it finds", "for example"})
    for row in describe_checks():
        table.add_row(*map(Text, row))
    Console().print(table)
    raise typer.Exit


def build(
    split: Annotated[
        str, typer.Argument(help="english, chinese, comparison, unnatural or self_instruct.", show_default=False)
    ],
    source: Annotated[
        str,
        typer.Option(
            "--source",
            "--seeds",
            help="seeds, released, released:NAME, a json/jsonl/csv/parquet/zip file, or hub:ID. --seeds is the same.",
        ),
    ] = "seeds",
    out: Annotated[
        str, typer.Option(help="The folder, or a URL of one (s3://, hf://, ...); other splits in it are kept.")
    ] = "gpt4-instruct-data",
    teacher: Annotated[
        str | None,
        typer.Option(
            help="openai:MODEL, openai-batch:MODEL, local:smollm2, local:PATH_OR_HUB_ID, vllm:PATH_OR_HUB_ID or "
            "replay:PATH. "
            "(default: local:smollm2; of --source released, the released answers)"
        ),
    ] = None,
    translator: Annotated[
        str | None, typer.Option(help="chinese, self_instruct: who translates. (default: the teacher)")
    ] = None,
    answers_from: Annotated[
        list[str] | None,
        typer.Option(help="comparison: who answers; give it twice or more. (default: the teacher, twice)"),
    ] = None,
    scorer: Annotated[str | None, typer.Option(help="comparison: who scores. (default: the teacher)")] = None,
    limit: Annotated[int | None, typer.Option(help="Most rows to read from the source. (default: all)")] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="Where answers are kept. (default: ~/.gpt4_instruct/ledger.sqlite3)")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Sent with every request. (default: none)")] = None,
    max_tokens: Annotated[int, typer.Option(help="Most tokens in an answer.")] = 512,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Nucleus mass.")] = 1.0,
    concurrency: Annotated[
        int | None, typer.Option(help="Requests in flight per teacher. (default: each teacher's own)")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace this split if the folder has it.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unusable row of the source.")] = False,
    accept: Annotated[
        int | None,
        typer.Option(help="Go on until so many rows are accepted; self_instruct needs it. (default: ask about all)"),
    ] = None,
    on_truncation: Annotated[
        str, typer.Option(help="Where an answer is cut off: reject the row, keep it, or extend: ask with more room.")
    ] = "reject",
    requests_per_minute: Annotated[
        float | None, typer.Option(help="Most requests to each model. (default: what the endpoint says)")
    ] = None,
    tokens_per_minute: Annotated[
        float | None, typer.Option(help="Most tokens, prompt and answer. (default: what the endpoint says)")
    ] = None,
    budget_usd: Annotated[float | None, typer.Option(help="Most that this build may spend. (default: no cap)")] = None,
    prices: Annotated[
        Path | None, typer.Option(help="Prices of your own. (default: ~/.gpt4_instruct/prices.json, if there)")
    ] = None,
    language: Annotated[
        str | None, typer.Option(help="self_instruct: en, zh, or both, for pairs of rows. (default: en)")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="self_instruct: gpt4-instruct, alpaca or self-instruct. (default: gpt4-instruct)"),
    ] = None,
    engine: Engine = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked and cost; send nothing.")] = False,
) -> None:
    """Build a split: ask a teacher, check the answers, write Parquet with a card.

    Answers are kept in the ledger as they come: stopped at any moment, the same command goes on where it was. Exit code
    0 means that the split is there and holds rows.
    """
    from gpt4_instruct.splits.build import build as run
    from gpt4_instruct.splits.estimate import estimate

    options: dict[str, Any] = {
        "source": source,
        "teacher": teacher,
        "translator": translator,
        "answers_from": tuple(answers_from or ()),
        "scorer": scorer,
        "limit": limit,
        "ledger": ledger,
        "seed": seed,
        "max_tokens": max_tokens,
        "temperature": temperature,
        "top_p": top_p,
        "concurrency": concurrency,
        "strict": strict,
        "accept": accept,
        "on_truncation": on_truncation,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "budget_usd": budget_usd,
        "prices": prices,
        "language": language,
        "recipe": recipe,
    }
    if dry_run:
        _print_estimate(estimate(split, **options))
        return
    try:
        result = run(split, out=out, overwrite=overwrite, engine=engine, **options)
    except KeyboardInterrupt:
        # The second Ctrl-C: a model's thread may be busy for long and python would wait for it, so leave at once.
        print("stopped; the same command goes on from the ledger", file=sys.stderr, flush=True)
        os._exit(INTERRUPTED)
    left_out = sum(result.rejected.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in result.rejected.items())
    cost = f", ${result.cost_usd:.4f}" if result.cost_usd else ""
    typer.echo(
        f"{result.split}: {result.rows:,} rows accepted, {left_out:,} rejected{f' ({reasons})' if reasons else ''}; "
        f"{result.asked:,} requests sent{cost}, {result.reused:,} from the ledger, {result.seconds:.1f} s"
    )
    if result.stopped is not None:
        from rich.console import Console

        from gpt4_instruct.publishing.folder import read_manifest
        from gpt4_instruct.publishing.self_instruct_section import rounds_table

        if isinstance(result.folder, Path):
            Console().print(rounds_table(read_manifest(result.folder)["configs"][result.split]))
        reached = "" if result.rows == accept else f"{result.rows:,} of the {accept:,} rows that were wanted: "
        typer.echo(reached + result.stopped)
    elif accept and result.rows < accept:
        where = f"the first {limit:,} rows of the source hold" if limit else "the source is dry: it holds"
        typer.echo(f"{where} no more than {result.rows:,} of the {accept:,} rows that were wanted")
    if result.rows and isinstance(result.folder, str):
        typer.echo(f'load_dataset("parquet", data_files="{result.folder}/{result.split}/*.parquet")')
    elif result.rows:
        typer.echo(f'load_dataset("{result.folder}", "{result.split}")')
    else:
        typer.echo(f"error: no row was accepted; see {result.folder}/rejects/{result.split}.jsonl", err=True)
        raise typer.Exit(1)


def show(
    folder: Annotated[Path, typer.Argument(help="What build --out named.", show_default=False)],
    rows: Annotated[int, typer.Option(help="Rows to show of each split.", min=0)] = 3,
) -> None:
    """Show what a folder holds: counts, rejects by reason, a few rows side by side."""
    from gpt4_instruct.publishing.show import show as run

    run(folder, rows)


def audit(
    data: Annotated[
        list[str],
        typer.Argument(
            help="Files, folders or URLs of them, folders that build wrote, hub:ID or released:NAME.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="A folder for audit.jsonl, summary.json and report.html. (default: none)")
    ] = None,
    clean: Annotated[
        bool, typer.Option("--clean", help="Write the kept rows, and those dropped with their reasons, to --out, too.")
    ] = False,
    drop: Annotated[
        str, typer.Option(help="What --clean drops: rows with an error, or with a warning, too.")
    ] = "error",
    check: Annotated[list[str] | None, typer.Option(help="Only this check; may be given again. (default: all)")] = None,
    skip: Annotated[list[str] | None, typer.Option(help="Not this check; may be given again. (default: none)")] = None,
    near_duplicates: Annotated[
        bool, typer.Option("--near-duplicates", help="Look for answers and tasks that are nearly the same, by MinHash.")
    ] = False,
    language: Annotated[str | None, typer.Option(help="en or zh. (default: told from the rows)")] = None,
    engine: Engine = "local",
    checks: Annotated[
        bool, typer.Option("--checks", callback=_list_checks, is_eager=True, help="List the checks and end.")
    ] = False,
) -> None:
    """Say what is wrong with instruction data, row by row; clean it.

    Rows count from 0. A finding is an error (the row is wrong), a warning (it may be) or an info.
    """
    from gpt4_instruct.workflows import audit as run

    with _stopping("an audit keeps nothing until its end; the same command begins again"):
        result = run(
            *data,
            out=out,
            clean=clean,
            drop=drop,  # type: ignore[arg-type]
            checks=check or None,
            skip=skip or (),
            near_duplicates=near_duplicates,
            language=language,  # type: ignore[arg-type]
            engine=engine,
        )
    _print_audit(result)


@contextmanager
def _stopping(what_now: str) -> Iterator[None]:
    """Says on Ctrl-C what is left and what to do."""
    try:
        yield
    except KeyboardInterrupt:
        raise InterruptedRunError(what_now) from None


def _print_audit(result: AuditResult) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    for number, found in enumerate(result.summary["data"]):
        bad, rows = found["rows_by_severity"]["error"], found["rows"]
        name = "".join(letter if letter.isprintable() else "\ufffd" for letter in found["name"])
        title = f"{name}: {rows:,} rows, {found['rows_with_findings']:,} with findings, {bad:,} with errors"
        table = Table(title=Text(title), title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
        for name in ("check", "severity", "rows", "share", "for example"):
            number_like = name in {"rows", "share"}
            table.add_column(name, justify="right" if number_like else "left", no_wrap=name != "for example")
        for name, each in found["checks"].items():
            if each["findings"]:
                example = each["examples"][0] if each["examples"] else {"row": None, "reason": ""}
                where = "" if example["row"] is None else f"row {example['row']:,}: "
                shares = (f"{each['rows']:,}", f"{each['share']:.1%}") if each["rows"] else ("all", "")
                table.add_row(name, each["severity"], *shares, Text(f"{where}{example['reason']}"))
        if table.row_count:
            console.print(table)
        else:
            typer.echo(f"{title}: nothing was found")
        for why in found["not_run"].values():
            typer.echo(f"not run: {why}")
        for name, fault in found["failed"].items():
            typer.echo(
                f"{name} itself failed in {fault['rows']:,} rows (first, {fault['first']}); --skip {name} leaves it out"
            )
        if result.kept:
            typer.echo(f"kept {_lines(result.kept[number]):,} rows in {result.kept[number]}")
            typer.echo(
                f"dropped {_lines(result.dropped[number]):,} rows, with their reasons, in {result.dropped[number]}"
            )
    if result.report:
        typer.echo(f"the findings are in {result.report.with_name('audit.jsonl')}, the page is {result.report}")


def _lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(1 for _ in file)


def stats(
    a: Annotated[str, typer.Argument(help="A file, FOLDER:SPLIT, hub:ID or released:NAME.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder for tables and figures.", show_default=False)],
    b: Annotated[str | None, typer.Argument(help="Another one, drawn beside it. (default: none)")] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Count tokens, too, with this tokenizer: a folder or Hub id. (default: none)")
    ] = None,
    language: Annotated[str | None, typer.Option(help="en or zh. (default: told from the rows)")] = None,
    processes: Annotated[int | None, typer.Option(help="That parse. (default: one a core)")] = None,
    engine: Engine = "local",
) -> None:
    """Count what data is like and draw it: verb-noun pairs, lengths, scores; one data set, or two side by side."""
    from rich.console import Console

    from gpt4_instruct.workflows import stats as run

    with _stopping("the same command begins again"):
        result = run(
            a,
            b,
            out=out,
            tokenizer=tokenizer,
            language=language,  # type: ignore[arg-type]
            processes=processes,
            engine=engine,
        )
    Console().print(_stats_table(result.summary["data"]))
    typer.echo(f"tables and figures are in {result.folder}; all figures on one page: {result.folder / 'figures.html'}")


def _stats_table(data: list[dict[str, Any]]) -> Table:
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for name in ("", *(each["name"] for each in data)):
        table.add_column(Text(name), justify="right" if name else "left", overflow="fold")
    lines: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("rows", lambda each: f"{each['rows']:,}"),
        ("answers", lambda each: f"{each['answers']:,}"),
        ("answers with a verb-noun pair", lambda each: f"{each['share_with_pair']:.1%}"),
        ("unique pairs", lambda each: f"{each['unique_pairs']:,}"),
        ("pairs more often than 10 times", lambda each: f"{each['pairs_over_10']:,}"),
        ("commonest pair", lambda each: "{} {} ({})".format(*each["top_pairs"][0]) if each["top_pairs"] else "-"),
        ("words an answer, mean", lambda each: f"{each['words']['mean']:,.1f}" if "words" in each else "-"),
        ("tokens an answer, mean", lambda each: f"{each['tokens']['mean']:,.1f}" if "tokens" in each else "-"),
        ("score, mean", lambda each: f"{each['scores']['mean']:.3f}" if "scores" in each else "-"),
    ]
    for name, tell in lines:
        cells = [tell(each) for each in data]
        if set(cells) != {"-"}:
            table.add_row(name, *cells)
    return table


def _print_estimate(found: Estimate) -> None:
    from rich.console import Console

    Console().print(found.table())
    guessed = [stage for stage in found.stages if stage.to_send and not stage.measured]
    if found.usd is None:
        typer.echo("a price is not known: --prices FILE gives it")
    elif found.usd[1]:
        how = f"measured by {sum(stage.measured for stage in found.stages):,} answers"
        if guessed:
            bounds = "from empty answers to the most they can be"
            how = f"{bounds}, or {how}" if len(guessed) < len(found.stages) else bounds
        typer.echo(f"${found.usd[0]:,.2f} to ${found.usd[1]:,.2f}: {how}; prices of {found.prices_checked}")
    if guessed and any(stage.most_requests for stage in guessed):
        typer.echo("build a few rows first (such as --accept 50): they are the first of more, and measure the rest")
