"""The part of the command line that writes folders for Spaces of the Hub. `app` brings the parts together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["add_commands"]

space_app = typer.Typer(help="Write a metric, or the rating page, as a folder for a Space.", no_args_is_help=True)

_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write anew what is there.")]


def add_commands(app: typer.Typer) -> None:
    """Adds ``space``."""
    app.add_typer(space_app, name="space")


@space_app.command("metric")
def metric(
    name: Annotated[str, typer.Argument(help="relative_score, win_rate, rouge_by_length, ...", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder; its name is the metric's.", show_default=False)],
    requirement: Annotated[
        list[str] | None,
        typer.Option(help="What pip installs there; give it again for each. (default: this package's version)"),
    ] = None,
    overwrite: _Overwrite = False,
) -> None:
    """Write a metric as a folder: for evaluate.load, and with a page to try it on."""
    from gpt4_instruct.publishing.spaces import write_metric_space as run

    folder = run(name, out, requirements=requirement or None, overwrite=overwrite)
    typer.echo(f"{folder} is a Space: gpt4-instruct push {folder} ME/{name}")
    typer.echo(f'to load it: evaluate.load("{folder}"), or evaluate.load("ME/{name}") once it is pushed')


@space_app.command("rating")
def rating(
    answers: Annotated[
        Path, typer.Option(help="The model's: a file of answer, rank, FastChat or AlpacaEval.", show_default=False)
    ],
    baseline: Annotated[Path, typer.Option(help="Those that it is compared with.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The folder.", show_default=False)],
    questions: Annotated[
        str | None,
        typer.Option(help="Where neither file holds them: a file, or a name as for answer.", show_default=False),
    ] = None,
    rater: Annotated[
        list[str] | None, typer.Option(help="Who may rate; give it again for each. (default: anybody by name)")
    ] = None,
    per_question: Annotated[int | None, typer.Option(help="Raters of each question. (default: 3)")] = None,
    attention: Annotated[int, typer.Option(help="A check after so many questions; 0 for none.")] = 20,
    language: Annotated[str, typer.Option(help="Of the page's words: en or zh.")] = "en",
    seed: Annotated[int, typer.Option(help="Of sides, orders and checks.")] = 0,
    requirement: Annotated[
        str | None, typer.Option(help="What pip installs there. (default: this package's version)")
    ] = None,
    overwrite: _Overwrite = False,
) -> None:
    """Write the page of "rate serve" as a folder: two models' answers, rated blind by those who have the token."""
    from gpt4_instruct.rating_space import write_rating_space as run

    found = run(
        answers,
        baseline,
        out,
        questions=questions,
        raters=rater or None,
        per_question=per_question,
        attention=attention,
        language=language,
        seed=seed,
        requirement=requirement,
        overwrite=overwrite,
    )
    for reason, count in found.left_out.items():
        typer.echo(f"{count} {reason}")
    typer.echo(f"{found.folder} is a Space: {found.questions} questions, {found.checks} attention checks")
    typer.echo(f"its {found.folder / 'README.md'} says what to do before you push it: a token, and a place for votes")
