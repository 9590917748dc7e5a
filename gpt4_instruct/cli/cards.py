"""The part of the command line that is about cards: what was measured of a model, put onto its card. `app` adds it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Adds ``card``."""
    app.command()(card)


def card(
    model: Annotated[Path, typer.Argument(help="The folder of a model that train tuned.", show_default=False)],
    evaluation: Annotated[
        list[Path],
        typer.Option(
            help="What judge, rate tally, rouge or rank wrote, or a folder of it; give it again for more. Summaries of "
            "answer, too: they tell the questions.",
            show_default=False,
        ),
    ],
    called: Annotated[
        str | None, typer.Option(help="What the model is called there. (default: as its folder)", show_default=False)
    ] = None,
) -> None:
    """Put results of an evaluation onto a model's card, in place of earlier ones.

    Other models' results are left out.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from gpt4_instruct.publishing.evaluation_results import results_table
    from gpt4_instruct.publishing.model_evaluation import record_evaluation

    recorded = record_evaluation(model, evaluation, called=called)
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for name in ("measure", "value", "interval", "n", "questions", "against", "measured by"):
        number = name in ("value", "interval", "n")
        table.add_column(name, justify="right" if number else "left", overflow="fold", no_wrap=name == "measure")
    for row in results_table(recorded.results):
        table.add_row(*map(Text, row))
    Console().print(table)
    for line in recorded.warnings:
        typer.echo(f"warning: {line}", err=True)
    for name, whose in recorded.left_out.items():
        typer.echo(f"left out: {name} is of {whose}", err=True)
    typer.echo(f"the card is {recorded.card}")
