"""The command line: each command is a few lines over a public function. Heavy imports stay inside the commands."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from gpt4_instruct import __version__
from gpt4_instruct.errors import Gpt4InstructError, InterruptedRunError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Instruction-tuning data from a stronger model, in English and Chinese.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gpt4-instruct {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


@app.command()
def build(
    split: Annotated[str, typer.Argument(help="english, chinese, comparison or unnatural.", show_default=False)],
    source: Annotated[str, typer.Option(help="seeds, a json/jsonl/csv/parquet file, or hub:ID.")] = "seeds",
    out: Annotated[Path, typer.Option(help="The folder; other splits in it are kept.")] = Path("gpt4-instruct-data"),
    teacher: Annotated[
        str, typer.Option(help="openai:MODEL, local:smollm2, local:PATH_OR_HUB_ID or replay:PATH.")
    ] = "local:smollm2",
    translator: Annotated[str | None, typer.Option(help="chinese: who translates.  [default: the teacher]")] = None,
    answers_from: Annotated[
        list[str] | None,
        typer.Option(help="comparison: who answers; give it twice or more.  [default: the teacher, twice]"),
    ] = None,
    scorer: Annotated[str | None, typer.Option(help="comparison: who scores.  [default: the teacher]")] = None,
    limit: Annotated[int | None, typer.Option(help="Most rows to read from the source.  [default: all]")] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="Where answers are kept.  [default: ~/.gpt4_instruct/ledger.sqlite3]")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Sent with every request.  [default: none]")] = None,
    max_tokens: Annotated[int, typer.Option(help="Most tokens in an answer.")] = 512,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Nucleus mass.")] = 1.0,
    concurrency: Annotated[
        int | None, typer.Option(help="Requests in flight per teacher.  [default: each teacher's own]")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace this split if the folder has it.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first unusable row of the source.")] = False,
) -> None:
    """Build a split: ask a teacher, check the answers, write Parquet with a card.

    Answers are kept in the ledger as they come: stopped at any moment, the same command goes on where it was. Exit code
    0 means that the split is there and holds rows.
    """
    from gpt4_instruct.splits.build import build as run

    try:
        result = run(
            split,
            source,
            out=out,
            teacher=teacher,
            translator=translator,
            answers_from=answers_from or (),
            scorer=scorer,
            limit=limit,
            ledger=ledger,
            seed=seed,
            max_tokens=max_tokens,
            temperature=temperature,
            top_p=top_p,
            concurrency=concurrency,
            overwrite=overwrite,
            strict=strict,
        )
    except KeyboardInterrupt:
        # The second Ctrl-C: a model's thread may be busy for long and python would wait for it, so leave at once.
        print("stopped; the same command goes on from the ledger", file=sys.stderr, flush=True)
        os._exit(_INTERRUPTED)
    left_out = sum(result.rejected.values())
    reasons = ", ".join(f"{count} {reason}" for reason, count in result.rejected.items())
    typer.echo(
        f"{result.split}: {result.rows:,} rows accepted, {left_out:,} rejected{f' ({reasons})' if reasons else ''}; "
        f"{result.asked:,} requests sent, {result.reused:,} from the ledger, {result.seconds:.1f} s"
    )
    if result.rows:
        typer.echo(f'load_dataset("{result.folder}", "{result.split}")')
    else:
        typer.echo(f"error: no row was accepted; see {result.folder}/rejects/{result.split}.jsonl", err=True)
        raise typer.Exit(1)


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="What build --out named.", show_default=False)],
    rows: Annotated[int, typer.Option(help="Rows to show of each split.", min=0)] = 3,
) -> None:
    """Show what a folder holds: counts, rejects by reason, a few rows side by side."""
    from gpt4_instruct.publishing.show import show as run

    run(folder, rows)


def main() -> None:
    """The console script: errors of ours are one line on the error stream, without a traceback."""
    try:
        app()
    except InterruptedRunError as error:
        print(f"interrupted: {error}", file=sys.stderr)
        sys.exit(_INTERRUPTED)
    except Gpt4InstructError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
