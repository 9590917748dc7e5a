"""The part of the command line that has models answer and compares what they say. `app` brings the parts together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from gpt4_instruct.cli.options import Engine

if TYPE_CHECKING:
    from rich.table import Table

    from gpt4_instruct.evaluation.judge_estimate import JudgeEstimate

__all__ = ["add_commands"]

_Ledger = Annotated[
    Path | None, typer.Option(help="Where replies are kept. (default: ~/.gpt4_instruct/ledger.sqlite3)")
]
_Concurrency = Annotated[int | None, typer.Option(help="Requests in flight. (default: the teacher's own)")]
_Requests = Annotated[float | None, typer.Option(help="Most requests. (default: what the endpoint says)")]
_Tokens = Annotated[float | None, typer.Option(help="Most tokens. (default: what the endpoint says)")]
_Budget = Annotated[float | None, typer.Option(help="Most that this run may spend. (default: no cap)")]
_Prices = Annotated[Path | None, typer.Option(help="Prices of your own.")]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Write the file anew.")]
_Retries = Annotated[int, typer.Option(help="Further attempts where a reply cannot be read.", min=0)]
_Sample = Annotated[int, typer.Option(help="Which of several answers to a question, from 0.", min=0)]
_AnswersFile = Annotated[
    Path, typer.Option(help="A file of answer or rank, of FastChat or of AlpacaEval.", show_default=False)
]


def add_commands(app: typer.Typer) -> None:
    """Adds ``answer``, ``rank``, ``judge``, ``translate``, ``rouge``, ``convert``, ``paper`` and ``report``."""
    for command in (answer, rank, judge, translate, rouge, convert, paper, report):
        app.command()(command)


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
    ledger: _Ledger = None,
    concurrency: _Concurrency = None,
    requests_per_minute: _Requests = None,
    tokens_per_minute: _Tokens = None,
    budget_usd: _Budget = None,
    prices: _Prices = None,
    engine: Engine = "local",
    overwrite: _Overwrite = False,
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
        engine=engine,
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
    overwrite: _Overwrite = False,
) -> None:
    """Score every answer with a reward model and order them; all are kept, with their rewards."""
    from gpt4_instruct.evaluation.judge_table import table_of
    from gpt4_instruct.evaluation.ranking import rank as run

    found = run(answers, reward_model, out, limit=limit, overwrite=overwrite)
    columns = ("k", "mean reward of the best of the first k", "mean reward of rank k")
    rows = [
        (str(k), f"{best:.3f}", f"{found.by_rank[k]:.3f}" if k in found.by_rank else "-")
        for k, best in found.best_of.items()
    ]
    _show(table_of(columns, rows))
    typer.echo(
        f"{found.questions:,} questions, {found.answers:,} answers, {found.scored:,} of them scored now: {found.file}"
    )


def judge(
    answers: _AnswersFile,
    teacher: Annotated[str, typer.Option(help="The judge, such as openai:gpt-4.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The .jsonl file to write; with --groups, a folder.", show_default=False)],
    baseline: Annotated[
        Path | None, typer.Option(help="Answers to compare with. (default: none, see --single)")
    ] = None,
    single: Annotated[bool, typer.Option("--single", help="Score each answer alone, not beside a baseline's.")] = False,
    groups: Annotated[bool, typer.Option("--groups", help="Judge ranked answers, each rank as a group.")] = False,
    one_order: Annotated[
        bool, typer.Option("--one-order", help="Show the answer before the baseline's only, as the paper did.")
    ] = False,
    language: Annotated[
        str, typer.Option(help="Of the judge's prompts: en, zh, or auto: each question's own.")
    ] = "auto",
    questions: Annotated[
        str | None, typer.Option(help="Where the answers' files hold no questions (FastChat's): vicuna80, a file, ...")
    ] = None,
    references: Annotated[
        Path | None, typer.Option(help="Right answers to show to the judge. (default: those that the answers hold)")
    ] = None,
    sample: _Sample = 0,
    retries: _Retries = 1,
    max_tokens: Annotated[int, typer.Option(help="Most tokens in a reply.")] = 512,
    limit: Annotated[int | None, typer.Option(help="Most questions. (default: all)")] = None,
    ledger: _Ledger = None,
    concurrency: _Concurrency = None,
    requests_per_minute: _Requests = None,
    tokens_per_minute: _Tokens = None,
    budget_usd: _Budget = None,
    prices: _Prices = None,
    engine: Engine = "local",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked and cost; send nothing.")] = False,
    overwrite: _Overwrite = False,
) -> None:
    """Have a model score answers from 1 to 10 beside those of a baseline, in both orders.

    Replies that cannot be read are counted and never scored; the same command asks again for those only.
    """
    from gpt4_instruct.errors import UsageError
    from gpt4_instruct.evaluation.judge import judge as run
    from gpt4_instruct.evaluation.judge_groups import judge_groups
    from gpt4_instruct.evaluation.judge_table import judge_table

    options: dict[str, Any] = {
        "mode": "single" if single else "pairwise",
        "orders": "first" if one_order else "both",
        "language": language,
        "references": references,
        "retries": retries,
        "max_tokens": max_tokens,
        "limit": limit,
        "ledger": ledger,
        "concurrency": concurrency,
        "requests_per_minute": requests_per_minute,
        "tokens_per_minute": tokens_per_minute,
        "budget_usd": budget_usd,
        "prices": prices,
        "engine": engine,
        "dry_run": dry_run,
        "overwrite": overwrite,
    }
    if groups:
        if baseline is None or sample or questions:
            raise UsageError("--groups needs --baseline, and takes neither --sample nor --questions")
        ranked = judge_groups(answers, baseline, teacher, out, **options)
        if ranked.estimate is not None:
            _print_judge_estimate(ranked.estimate)
            return
        _show(judge_table({f"rank {name}" if name.isdigit() else name: each for name, each in ranked.groups.items()}))
        for warning in ranked.warnings:
            typer.echo(f"warning: {warning}")
        spent = _spent(ranked.asked, ranked.reused, ranked.seconds, ranked.cost_usd)
        typer.echo(f"{spent}; the verdicts are in {ranked.folder}")
        return
    found = run(answers, baseline, teacher, out, questions=questions, sample=sample, **options)
    if found.estimate is not None:
        _print_judge_estimate(found.estimate)
        return
    _show(judge_table({found.model.rstrip("/").rpartition("/")[2] or answers.stem: found}))
    for warning in found.warnings:
        typer.echo(f"warning: {warning}")
    typer.echo(f"{_spent(found.asked, found.reused, found.seconds, found.cost_usd)}; the verdicts are in {found.file}")


def _show(table: Table) -> None:
    from rich.console import Console

    Console().print(table)


def _spent(asked: int, reused: int, seconds: float, cost_usd: float | None) -> str:
    cost = f", ${cost_usd:.4f}" if cost_usd else ""
    return f"{asked:,} requests sent{cost}, {reused:,} from the ledger, {seconds:.1f} s"


def _print_judge_estimate(found: JudgeEstimate) -> None:
    typer.echo(
        f"{found.requests:,} requests, {found.in_ledger:,} of them in the ledger, {found.to_send:,} to send: about "
        f"{found.prompt_tokens:,.0f} tokens in prompts and {found.answer_tokens:,.0f} in replies"
    )
    if found.likely_usd is None or found.most_usd is None:
        typer.echo("a price is not known: --prices FILE gives it")
        return
    how = f"measured by {found.measured:,} replies" if found.measured else "guessed, for nothing was asked yet"
    typer.echo(
        f"${found.likely_usd:,.4f} likely ({how}), ${found.most_usd:,.4f} at most; prices of {found.prices_checked}"
    )


def translate(
    data: Annotated[
        str, typer.Option(help="A file of answers, or questions: vicuna80, a file, ...", show_default=False)
    ],
    teacher: Annotated[str, typer.Option(help="Who translates, such as openai:gpt-4.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The .jsonl file to write.", show_default=False)],
    retries: _Retries = 1,
    max_tokens: Annotated[int, typer.Option(help="Most tokens in a translation.")] = 2048,
    limit: Annotated[int | None, typer.Option(help="Most lines. (default: all)")] = None,
    ledger: _Ledger = None,
    concurrency: _Concurrency = None,
    requests_per_minute: _Requests = None,
    tokens_per_minute: _Tokens = None,
    budget_usd: _Budget = None,
    prices: _Prices = None,
    engine: Engine = "local",
    overwrite: _Overwrite = False,
) -> None:
    """Have a model translate questions, or answers with their questions, into Chinese."""
    from gpt4_instruct.evaluation.judge_table import reasons
    from gpt4_instruct.evaluation.translating import translate as run

    found = run(
        data,
        teacher,
        out,
        retries=retries,
        max_tokens=max_tokens,
        limit=limit,
        ledger=ledger,
        concurrency=concurrency,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        budget_usd=budget_usd,
        prices=prices,
        engine=engine,
        overwrite=overwrite,
    )
    failed = f"; not translated: {reasons(found.failed)}" if found.failed else ""
    typer.echo(f"{found.questions:,} questions and {found.answers:,} answers translated{failed}")
    typer.echo(f"{_spent(found.asked, found.reused, found.seconds, found.cost_usd)}; they are in {found.file}")


def rouge(
    answers: _AnswersFile,
    out: Annotated[Path | None, typer.Option(help="The .json file to write. (default: none)")] = None,
    references: Annotated[
        Path | None, typer.Option(help="Right answers. (default: those that the answers' questions came with)")
    ] = None,
    sample: _Sample = 0,
    tokenizer: Annotated[
        str, typer.Option(help="english, characters, words, or auto: by each reference's language.")
    ] = "auto",
    stemmer: Annotated[bool, typer.Option("--stemmer", help="Cut English words to their stems.")] = False,
    overwrite: _Overwrite = False,
) -> None:
    """Measure answers by ROUGE against right ones, by how long these are."""
    from gpt4_instruct.evaluation.judge_table import table_of
    from gpt4_instruct.evaluation.rouge import rouge as run

    found = run(
        answers, out, references=references, sample=sample, tokenizer=tokenizer, stemmer=stemmer, overwrite=overwrite
    )
    columns = (f"reference, {found['unit']}", "pairs", "ROUGE-1", "ROUGE-2", "ROUGE-L", "95% interval")
    rows = []
    for each in found["buckets"]:
        if each["n"]:
            last = each["rougeL"]
            interval = "-" if last["low"] is None else f"{last['low']:.3f} to {last['high']:.3f}"
            scores = [f"{each[name]['f1']:.3f}" for name in ("rouge1", "rouge2", "rougeL")]
            rows.append((each["length"], f"{each['n']:,}", *scores, interval))
    _show(table_of(columns, rows))
    told = [
        f"{found['empty']:,} empty" if found["empty"] else "",
        f"{found['missing']:,} of {found['questions']:,} without an answer or a reference" if found["missing"] else "",
        f"{found['duplicated']:,} more of the same questions left out" if found["duplicated"] else "",
        f"they are in {out}" if out else "",
    ]
    typer.echo("; ".join([f"F1 of {found['n']:,} answers", *filter(None, told)]))


def convert(
    answers: Annotated[Path, typer.Option(help="A file of answer or rank.", show_default=False)],
    out: Annotated[Path, typer.Option(help="The file to write.", show_default=False)],
    to: Annotated[str, typer.Option(help="fastchat or alpaca_eval.", show_default=False)],
    sample: _Sample = 0,
    overwrite: _Overwrite = False,
) -> None:
    """Write a file of answers in the form that FastChat or AlpacaEval reads."""
    from gpt4_instruct.evaluation.answer_files import export_answers

    count = export_answers(answers, out, cast(Any, to), sample=sample, overwrite=overwrite)
    typer.echo(f"{count:,} questions in {out}")


def paper(
    out: Annotated[Path, typer.Option(help="The folder to write.", show_default=False)],
    mine: Annotated[
        Path | None, typer.Option(help="A folder of a run, drawn beside the paper's. (default: none)")
    ] = None,
) -> None:
    """Write and draw every number of the paper, and a run's own beside them."""
    from gpt4_instruct.reporting import paper as run
    from gpt4_instruct.reporting import paper_table

    found = run(out, mine=mine)
    _show(paper_table(found.numbers))
    typer.echo(f"{len(found.figures)} pictures and numbers.json are in {found.folder}; all on one page: {found.page}")


def report(
    run: Annotated[list[Path], typer.Argument(help="Folders and files of a run.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="The page. (default: run_report.html in the first folder)")] = None,
) -> None:
    """Write one page that tells a run: data, training, evaluation and cost."""
    from gpt4_instruct.reporting import report as write

    typer.echo(f"the page is {write(run, out)}")
