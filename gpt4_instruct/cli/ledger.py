"""The commands for the record of every request: ``ledger show`` and the others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gpt4_instruct.generation.ledger import Ledger

__all__ = ["ledger_app"]

ledger_app = typer.Typer(help="The record of every request: what was asked, what it cost.", no_args_is_help=True)

_LedgerOption = Annotated[Path | None, typer.Option("--ledger", help="The file. (default: the one build uses)")]


def _open(path: Path | None) -> Ledger:
    from gpt4_instruct.errors import LedgerError
    from gpt4_instruct.generation.ledger import default_path
    from gpt4_instruct.generation.shards import look_into, shards_of

    path = path or default_path()
    ledger = look_into(path)
    if ledger is None:
        raise LedgerError(f"there is no ledger at {path}: build makes one, --ledger names another")
    if shards_of(path).is_dir():
        typer.echo("a run on a cluster is using this ledger: what its workers have is not in it yet", err=True)
    return ledger


@contextmanager
def _opened(path: Path | None) -> Iterator[Ledger]:
    ledger = _open(path)
    try:
        yield ledger
    finally:
        ledger.close()


@ledger_app.command("show")
def ledger_show(
    ledger: _LedgerOption = None,
    prices: Annotated[Path | None, typer.Option(help="Prices of your own.")] = None,
) -> None:
    """Requests, tokens and money by model and state, and what may have been paid twice."""
    from rich.console import Console

    from gpt4_instruct.generation.accounting import account_table, accounts, open_batches
    from gpt4_instruct.generation.pricing import load_prices

    known = load_prices(prices)
    with _opened(ledger) as opened:
        Console().print(account_table(accounts(opened, known), open_batches(opened), known.checked))


@ledger_app.command("verify")
def ledger_verify(ledger: _LedgerOption = None) -> None:
    """Check the file, every key and every response."""
    from gpt4_instruct.generation.accounting import verify

    with _opened(ledger) as opened:
        wrong, counts = verify(opened), opened.counts()
    for line in wrong[:20]:
        typer.echo(line, err=True)
    states = ", ".join(f"{count:,} {state}" for state, count in counts.items()) or "empty"
    typer.echo(f"{opened.path}: {states}; {f'{len(wrong):,} problems' if wrong else 'whole'}")
    if wrong:
        raise typer.Exit(1)


@ledger_app.command("export")
def ledger_export(
    file: Annotated[Path, typer.Argument(help="A .jsonl file to write.", show_default=False)],
    ledger: _LedgerOption = None,
) -> None:
    """Write every request and response to a JSON Lines file."""
    from gpt4_instruct.generation.accounting import export

    with _opened(ledger) as opened:
        typer.echo(f"{export(opened, file):,} requests written to {file}")


@ledger_app.command("import")
def ledger_import(
    file: Annotated[Path, typer.Argument(help="Another ledger, or an export.", show_default=False)],
    ledger: _LedgerOption = None,
) -> None:
    """Take over what another ledger knows; what is settled here stays as it is."""
    from gpt4_instruct.generation.accounting import merge
    from gpt4_instruct.generation.ledger import Ledger, default_path

    opened = Ledger(ledger or default_path())
    try:
        merged = merge(opened, file)
    finally:
        opened.close()
    for line in merged.rejected[:20]:
        typer.echo(line, err=True)
    typer.echo(f"{merged.added:,} requests taken over, {merged.known:,} known, {len(merged.rejected):,} unusable")
    if merged.rejected:
        raise typer.Exit(1)


@ledger_app.command("cancel")
def ledger_cancel(
    teacher: Annotated[str, typer.Argument(help="openai-batch:MODEL", show_default=False)],
    ledger: _LedgerOption = None,
    forget: Annotated[
        bool, typer.Option("--forget", help="Ask no endpoint: batches it no longer has; they may be paid twice.")
    ] = False,
) -> None:
    """Cancel the open batches of a model and keep what they have answered."""
    from gpt4_instruct.errors import UsageError
    from gpt4_instruct.generation.accounting import open_batches
    from gpt4_instruct.generation.engine import Engine
    from gpt4_instruct.teachers.base import BatchTeacher, connect

    found = connect(teacher)
    if not isinstance(found, BatchTeacher):
        raise UsageError(f"{teacher} answers at once and has no batches: name an openai-batch:MODEL")
    opened = _open(ledger)
    engine = Engine(opened)
    try:
        cancelled = engine.forget_batches(found) if forget else engine.cancel_batches(found)
        others = len(open_batches(opened))
    finally:
        engine.close()
    done = "given up: their requests will be asked again" if forget else "cancelled: what they had answered is kept"
    rest = f"; {others} are of runs that go on, or of other models" if others else ""
    typer.echo(f"{cancelled} batches {done}{rest}")
