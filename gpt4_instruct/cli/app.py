"""The command line: each command is a few lines over a public function. Heavy imports stay inside the commands.

Every file beside this one is a group of commands; here they come together.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from gpt4_instruct import __version__
from gpt4_instruct.cli.cards import add_commands as add_cards
from gpt4_instruct.cli.data import add_commands as add_data
from gpt4_instruct.cli.evaluation import add_commands as add_evaluation
from gpt4_instruct.cli.ledger import ledger_app
from gpt4_instruct.cli.options import INTERRUPTED
from gpt4_instruct.cli.publishing import add_commands as add_publishing
from gpt4_instruct.cli.rating import rate_app
from gpt4_instruct.cli.spaces import add_commands as add_spaces
from gpt4_instruct.cli.training import add_commands as add_training
from gpt4_instruct.errors import Gpt4InstructError, InterruptedRunError

__all__ = ["app", "main"]

app = typer.Typer(
    help="Instruction-tuning data from a stronger model, in English and Chinese.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gpt4-instruct {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


for add_commands in (add_data, add_training, add_evaluation, add_cards, add_publishing, add_spaces):
    add_commands(app)
app.add_typer(rate_app, name="rate")
app.add_typer(ledger_app, name="ledger")


def main() -> None:
    """The console script: errors of ours are one line on the error stream, without a traceback."""
    try:
        app()
    except InterruptedRunError as error:
        print(f"interrupted: {error}", file=sys.stderr)
        sys.exit(INTERRUPTED)
    except Gpt4InstructError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
