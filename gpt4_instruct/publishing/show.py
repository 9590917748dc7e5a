"""Prints what a dataset folder holds, as tables in the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import OutputError
from gpt4_instruct.prompts.tasks import is_alpaca
from gpt4_instruct.publishing.folder import read_manifest
from gpt4_instruct.publishing.self_instruct_section import rounds_table

__all__ = ["show"]

_SHOWN_CHARACTERS = 300


def show(folder: str | Path, rows: int = 3) -> None:
    """Prints the counts of each split, the rejects by reason, invented rounds, and a few rows side by side.

    Args:
        folder: what `build` wrote.
        rows: how many rows of each split.

    Raises:
        OutputError: it holds no finished build, or a file of it cannot be read.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    folder = Path(folder).expanduser()
    configs = read_manifest(folder)["configs"]
    console = Console()

    counts = Table(title=Text(f"{folder}"), title_justify="left")
    for name in ("split", "rows", "rejected", "made by", "source"):
        counts.add_column(name, justify="right" if name in {"rows", "rejected"} else "left", overflow="fold")
    for name, config in configs.items():
        teachers = sorted({teacher["spec"] for teacher in config["teachers"]})
        if "released" in config:
            teachers = ["as released"]
        rejected = sum(config["rejected"].values())
        counts.add_row(name, f"{config['rows']:,}", f"{rejected:,}", Text(", ".join(teachers)), Text(config["source"]))
    console.print(counts)

    if any(config["rejected"] for config in configs.values()):
        reasons = Table(title="rejected, by reason", title_justify="left")
        reasons.add_column("split")
        reasons.add_column("reason")
        reasons.add_column("rows", justify="right")
        for name, config in configs.items():
            for reason, count in config["rejected"].items():
                reasons.add_row(name, reason, f"{count:,}")
        console.print(reasons)
    for config in configs.values():
        if "self_instruct" in config:
            console.print(rounds_table(config))

    for name, config in configs.items():
        taken = list(islice(_rows(folder, config), rows))
        if not taken:
            continue
        columns = [column for column in taken[0] if column != "metadata"]
        table = Table(title=f"{name}: the first {len(taken)} of {config['rows']:,} rows", title_justify="left")
        table.show_lines = True
        for column in columns:
            table.add_column(column, ratio=3 if column in {"output", "responses_and_scores"} else 2, overflow="fold")
        for row in taken:
            # Text, not str: brackets in a row are not markup.
            table.add_row(*(Text(_shorten(_plain(row[column]))) for column in columns))
        console.print(table)


def _rows(folder: Path, config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    import pyarrow
    import pyarrow.parquet

    for file in config["files"]:
        try:
            for batch in pyarrow.parquet.ParquetFile(folder / file["path"]).iter_batches(batch_size=16):
                yield from batch.to_pylist()
        except (OSError, pyarrow.ArrowException) as error:
            raise OutputError(f"cannot read {folder / file['path']}: {' '.join(str(error).split())}") from error


def _plain(value: Any) -> str:
    if isinstance(value, str) and is_alpaca(value):  # its preamble is the same in every row
        return value.partition("### Instruction:\n")[2].removesuffix("### Response:").rstrip()
    if isinstance(value, list):  # scored answers
        return "\n".join(f"[{_score(each)}] {each['source']}: {_shorten(each['response'])}" for each in value)
    return "" if value is None else str(value)


def _score(scored: dict[str, Any]) -> str:
    return "?" if scored["score"] is None else f"{scored['score']:g}"


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + " …"
