"""Writes down what an audit found, and parts the rows that are kept from those that are dropped."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from gpt4_instruct.errors import OutputError, SourceError
from gpt4_instruct.progress import progress
from gpt4_instruct.quality.audit import Audited, Finding
from gpt4_instruct.quality.base import Severity
from gpt4_instruct.sources.rows import Rows
from gpt4_instruct.storage import replacing

__all__ = ["part", "write_findings"]


def write_findings(path: Path, audited: Sequence[Audited]) -> None:
    """Writes every finding as a line of JSON, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for each in audited:
            for finding in each.findings:
                file.write(json.dumps(asdict(finding), ensure_ascii=False) + "\n")


def part(
    rows: Rows, audited: Audited, kept: Path, dropped: Path, severities: Sequence[Severity] = ("error",)
) -> tuple[int, int]:
    """Writes the rows without findings of some severities, as they were, and the others with their findings.

    A line of `dropped`: ``{"row": 17, "reasons": [{"check", "severity", "reason"}], "data": {...}}``.

    Args:
        rows: those that were audited, to be read once more.
        audited: what was found in them.
        kept: a path that ends in ``.jsonl``.
        dropped: likewise.
        severities: of the findings that drop a row.

    Returns:
        how many rows were kept, and how many dropped.

    Raises:
        OutputError: a file cannot be written.
        SourceError: the rows changed since they were audited.
    """
    reasons: dict[int, list[Finding]] = {}
    drop = audited.rows_with(*severities)
    for finding in audited.findings:
        if finding.row in drop:
            reasons.setdefault(finding.row, []).append(finding)
    counts = [0, 0]
    with ExitStack() as stack:
        temporary = [stack.enter_context(replacing(path)) for path in (kept, dropped)]
        files = [stack.enter_context(path.open("w", encoding="utf-8")) for path in temporary]
        bar = stack.enter_context(progress(lambda: audited.rows, f"clean {rows.name}", "row"))
        for number, raw, _ in rows:
            bar.update()
            bad = number in drop
            content = raw
            if bad:
                found = reasons[number]
                why = [{"check": each.check, "severity": each.severity, "reason": each.reason} for each in found]
                content = {"row": number, "reasons": why, "data": raw}
            _write(files[bad], _json(content) + "\n", (kept, dropped)[bad])
            counts[bad] += 1
        for file, path in zip(files, (kept, dropped), strict=True):
            _write(file, None, path)
        if sum(counts) != audited.rows:
            raise SourceError(f"{rows.name} had {audited.rows:,} rows and now has {sum(counts):,}: audit it again")
    return counts[0], counts[1]


def _write(file: IO[str], line: str | None, path: Path) -> None:
    """Writes a line, or what is still in memory; an error names the file that it is about."""
    try:
        if line is None:
            file.flush()
        else:
            file.write(line)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}. No row is lost: the data is as it was")


def _json(content: Any) -> str:
    """JSON on one line. What JSON has nothing for (bytes, dates) is written as text, NaN and infinity as null."""
    try:
        return json.dumps(content, ensure_ascii=False, default=str, allow_nan=False)
    except (ValueError, TypeError):
        return json.dumps(_plain(content), ensure_ascii=False, default=str)


def _plain(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(name): _plain(value) for name, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
