"""The part of the command line that has models answer and compares what they say. `cli` brings the parts together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["add_commands"]


def add_commands(app: typer.Typer) -> None:
    """Adds ``answer`` and ``rank``."""
    app.command()(answer)
    app.command()(rank)


def answer(
    questions: Annotated[
        str,
        typer.Option(help="vicuna80, user252, small, small-zh, a file, FOLDER:SPLIT or hub:ID.", show_default=False),
    ],
    model: Annotated[
        str,
        typer.Option(help="A model's folder, smollm2, openai:MODEL (vLLM, too), ...", show_default=False),
    ],
    out: Annotated[Path, typer.Option(help="The .jsonl file to write.", show_default=False)],
    n: Annotated[int, typer.Option("-n", "--n", help="Answers to each question.", min=1)] = 1,
    temperature: Annotated[float, typer.Option(help="0 is greedy.")] = 1.0,
    top_p: Annotated[float, typer.Option(help="Nucleus mass.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="Most tokens in an answer.")] = 512,
    seed: Annotated[int | None, typer.Option(help="Another one draws other answers. (default: none)")] = None,
    template: Annotated[str, typer.Option(help="How to ask: alpaca, chat, or auto: as the model was tuned.")] = "auto",
    limit: Annotated[int | None, typer.Option(help="Most questions. (default: all)")] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="Where answers are kept. (default: ~/.gpt4_instruct/ledger.sqlite3)")
    ] = None,
    concurrency: Annotated[int | None, typer.Option(help="Requests in flight. (default: the teacher's own)")] = None,
    requests_per_minute: Annotated[
        float | None, typer.Option(help="Most requests. (default: what the endpoint says)")
    ] = None,
    tokens_per_minute: Annotated[
        float | None, typer.Option(help="Most tokens. (default: what the endpoint says)")
    ] = None,
    budget_usd: Annotated[float | None, typer.Option(help="Most that this run may spend. (default: no cap)")] = None,
    prices: Annotated[Path | None, typer.Option(help="Prices of your own.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write the file anew.")] = False,
) -> None:
    """Ask a model each question, once or n times, and write all answers into one file.

    Answers are kept in the ledger: stopped at any moment, the same command goes on; more questions or a larger -n ask
    only what is new. A model behind a vLLM server is openai:NAME, with OPENAI_BASE_URL.
    """
    from gpt4_instruct.evaluation.answers import answer as run

    found = run(
        questions,
        model,
        out,
        n=n,
        temperature=temperature,
        top_p=top_p,
        max_tokens=max_tokens,
        seed=seed,
        template=template,
        limit=limit,
        ledger=ledger,
        concurrency=concurrency,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        budget_usd=budget_usd,
        prices=prices,
        overwrite=overwrite,
    )
    left_out = found.rejected | found.refused
    reasons = (
        f"; without an answer: {', '.join(f'{count} {why}' for why, count in left_out.items())}" if left_out else ""
    )
    cost = f", ${found.cost_usd:.4f}" if found.cost_usd else ""
    typer.echo(
        f"{found.questions:,} questions, {found.answers:,} answers, {found.cut_off:,} of them cut off{reasons}; "
        f"{found.asked:,} requests sent{cost}, {found.reused:,} from the ledger, {found.seconds:.1f} s"
    )
    typer.echo(f"the answers are in {found.file}")


def rank(
    answers: Annotated[Path, typer.Argument(help="What answer wrote.", show_default=False)],
    reward_model: Annotated[str, typer.Argument(help="What train reward wrote.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The .jsonl file to write.", show_default=False)],
    limit: Annotated[int | None, typer.Option(help="Most questions. (default: all)")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Write the file anew.")] = False,
) -> None:
    """Score every answer with a reward model and order them; all are kept, with their rewards."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from gpt4_instruct.evaluation.ranking import rank as run

    found = run(answers, reward_model, out, limit=limit, overwrite=overwrite)
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0))
    for name in ("k", "mean reward of the best of the first k", "mean reward of rank k"):
        table.add_column(name, justify="right")
    for k, best in found.best_of.items():
        table.add_row(str(k), f"{best:.3f}", f"{found.by_rank[k]:.3f}" if k in found.by_rank else "-")
    Console().print(table)
    typer.echo(
        f"{found.questions:,} questions, {found.answers:,} answers, {found.scored:,} of them scored now: {found.file}"
    )
