"""The part of the command line that publishes what was made. `app` brings the parts together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gpt4_instruct.publishing.push_result import PushResult

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Adds ``push``."""
    app.command()(push)


def push(
    folder: Annotated[Path, typer.Argument(help="What build, train or space wrote.", show_default=False)],
    repo_id: Annotated[str, typer.Argument(help="OWNER/NAME, or NAME for one of yours.", show_default=False)],
    public: Annotated[bool, typer.Option("--public", help="Everybody may see it. (default: private)")] = False,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="You have read the terms that come with it: do not ask.")
    ] = False,
    create_pr: Annotated[
        bool, typer.Option("--create-pr", help="Open a pull request instead of committing to main.")
    ] = False,
    revision: Annotated[
        str | None, typer.Option(help="A branch; made if it is not there. (default: main)", show_default=False)
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Names the commit, such as v1.0. (default: none)")] = None,
    message: Annotated[str | None, typer.Option(help="Of the commit. (default: what was added or changed)")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and send nothing.")] = False,
) -> None:
    """Publish a dataset, a model, adapters or a Space on the Hugging Face Hub, in one commit.

    Private unless --public. Only what has changed is sent; other configs, and what people wrote on a card, stay, but
    a Space's card is replaced.
    The same command goes on where one was cut off. Log in with: hf auth login
    """
    from gpt4_instruct.errors import TermsError
    from gpt4_instruct.publishing.hub import push as run

    def once(accepted: bool) -> PushResult:
        return run(
            folder,
            repo_id,
            public=public,
            accept_terms=accepted,
            create_pr=create_pr,
            revision=revision,
            tag=tag,
            message=message,
            dry_run=dry_run,
        )

    try:
        result = once(accept_terms)
    except TermsError as error:
        typer.echo("Before everybody can see it:")
        for line in error.notice:
            typer.echo(f"- {line}")
        typer.confirm("Have you read these terms, and may you publish under them?", abort=True)
        result = once(True)
    _tell(result)


def _tell(result: PushResult) -> None:
    """What was sent, or would be, then where it is."""
    if result.dry_run:
        _tell_files(result)
    if result.left_out:
        typer.echo(f"not published: {', '.join(result.left_out)}")
    replaced = len(result.added) + len(result.changed)
    if not (replaced or result.deleted):
        typer.echo(f"nothing to change: {result.repo_id} holds all of it")
    else:
        verbs = ("would send", "delete", "leave") if result.dry_run else ("sent", "deleted", "left")
        typer.echo(
            f"{verbs[0]} {replaced:,} files ({_size(result.bytes_sent)}), {verbs[1]} {len(result.deleted):,}, "
            f"{verbs[2]} {len(result.unchanged):,} unchanged"
        )
    if result.dry_run:
        return
    where = result.pull_request or result.url
    seen = "public" if result.public else "private"
    typer.echo(f"{where} ({seen}{f', tag {result.tag}' if result.tag else ''}), commit {(result.commit or '')[:8]}")
    typer.echo(f"to load it: {result.loads_with}")


def _tell_files(result: PushResult) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), title=Text(result.repo_id), title_justify="left")
    table.add_column("")
    table.add_column("file", overflow="fold")
    table.add_column("bytes", justify="right")
    for what in ("added", "changed", "deleted", "unchanged"):
        for name, size in getattr(result, what).items():
            table.add_row(what, Text(name), f"{size:,}")
    Console().print(table)


def _size(count: int) -> str:
    """Bytes in the unit that suits them.

    >>> _size(512), _size(20_480), _size(3_500_000)
    ('512 bytes', '20.5 kB', '3.5 MB')
    """
    if count < 1_000:
        return f"{count} bytes"
    for power, unit in ((1, "kB"), (2, "MB")):
        if count < 1_000 ** (power + 1):
            return f"{count / 1_000**power:,.1f} {unit}"
    return f"{count / 1_000**3:,.1f} GB"
