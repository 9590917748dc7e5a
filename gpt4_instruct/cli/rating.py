"""The part of the command line by which people rate answers: the page, its votes, other tools. `app` adds it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["rate_app"]

rate_app = typer.Typer(help="Have people rate answers, blind, and count their votes.", no_args_is_help=True)

_Study = Annotated[Path, typer.Option(help="The folder of the votes.", show_default=False)]
_Format = Annotated[str, typer.Option("--format", help="mturk, argilla or label_studio.", show_default=False)]


@rate_app.command("serve")
def serve(
    answers: Annotated[
        Path, typer.Option(help="The model's: a file of answer, rank, FastChat or AlpacaEval.", show_default=False)
    ],
    baseline: Annotated[Path, typer.Option(help="Those that it is compared with.", show_default=False)],
    out: _Study,
    questions: Annotated[
        str | None,
        typer.Option(help="Where neither file holds them: a file, or a name as for answer.", show_default=False),
    ] = None,
    host: Annotated[str, typer.Option(help="The address to listen on; others than this need --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes any that is free.")] = 7860,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="GPT4_INSTRUCT_RATING_TOKEN", help="A password of 12 characters or more, which the links hold."
        ),
    ] = None,
    rater: Annotated[
        list[str] | None, typer.Option(help="Who may rate; give it again for each. (default: anybody by name)")
    ] = None,
    per_question: Annotated[int | None, typer.Option(help="Raters of each question. (default: 3)")] = None,
    attention: Annotated[int, typer.Option(help="A check after so many questions; 0 for none.")] = 20,
    language: Annotated[str, typer.Option(help="Of the page's words: en or zh.")] = "en",
    seed: Annotated[int, typer.Option(help="Of sides, orders and checks.")] = 0,
) -> None:
    """Show two models' answers side by side in the browser, until Ctrl-C: which is more helpful, honest, harmless?

    The same command goes on with the same votes.
    """
    from gpt4_instruct.evaluation.rating_server import serve as run

    run(
        answers,
        baseline,
        out,
        questions=questions,
        host=host,
        port=port,
        token=token,
        raters=rater or None,
        per_question=per_question,
        attention=attention,
        language=language,
        seed=seed,
        tell=typer.echo,
    )


@rate_app.command("export")
def export(
    out: _Study,
    file: Annotated[Path, typer.Option(help="The file to write.", show_default=False)],
    to: _Format,
    language: Annotated[str, typer.Option(help="Of the words on their pages: en or zh.")] = "en",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
) -> None:
    """Write the pairs as tasks for Mechanical Turk, Argilla or Label Studio."""
    from gpt4_instruct.evaluation.rating_files import export as run

    typer.echo(f"{run(out, file, to, language=language, overwrite=overwrite):,} tasks in {file}")


@rate_app.command("import")
def import_votes(
    file: Annotated[Path, typer.Option(help="What the other tool wrote.", show_default=False)],
    out: _Study,
    of: _Format,
) -> None:
    """Add the votes that were cast in another tool."""
    from gpt4_instruct.evaluation.rating_files import import_votes as run

    found = run(file, out, of)
    left_out = "".join(f"; {count:,} {reason}" for reason, count in found.left_out.items())
    typer.echo(f"{found.votes:,} votes of {found.raters:,} raters added, {found.unchanged:,} were there{left_out}")


@rate_app.command("tally")
def tally(
    out: _Study,
    must_pass: Annotated[float, typer.Option(help="Share of the checks that an attentive rater passes.")] = 0.75,
) -> None:
    """Count the votes: shares with their intervals, and how far raters agree."""
    import os

    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from gpt4_instruct.evaluation.tally import tally as run
    from gpt4_instruct.figures.rating import draw_rating

    writable = not out.is_dir() or os.access(out, os.W_OK)
    found = run(out, must_pass=must_pass, write=writable)
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for name in ("", f"{found.ours} better", f"{found.baseline} better", "tie", "agreement (alpha)"):
        table.add_column(name, justify="left" if not name else "right")
    for criterion, counted in found.criteria.items():
        shares = [counted[name] for name in ("ours", "baseline", "tie")]
        cells = [
            "-"
            if each["share"] is None
            else f"{100 * each['share']:.1f}% [{100 * each['low']:.1f}, {100 * each['high']:.1f}]"
            for each in shares
        ]
        alpha = counted["alpha"]
        table.add_row(criterion, *cells, "-" if alpha is None else f"{alpha:.2f}")
    Console().print(table)
    inattentive = [name for name, each in found.raters.items() if each["attentive"] is False]
    failed = f"; attention checks were failed by {', '.join(inattentive)}" if inattentive else ""
    typer.echo(
        f"{found.ratings:,} ratings of {found.rated:,} of {found.questions:,} questions by {len(found.raters):,} raters"
        f"{failed}"
    )
    if found.ratings:
        kinds = dict.fromkeys(counted["interval"] for counted in found.criteria.values())
        typer.echo(f"in brackets: 95% intervals ({', '.join(kinds)})")
    if not writable:
        typer.echo(f"{out} cannot be written, so tally.json and the pies are not in it: copy the folder to have them")
        return
    typer.echo(f"all of it is in {out / 'tally.json'}")
    if found.ratings:
        pies = draw_rating(found.facts(), out)
        typer.echo(f"the pies are {' and '.join(str(path) for path in pies)}")
