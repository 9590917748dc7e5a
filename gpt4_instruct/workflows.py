"""Whole commands as functions, from reading to the page: what a command line calls, and a notebook can.

The rooms below find things out and save them as plain data; pages and figures are drawn from what was saved. Here the
two meet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gpt4_instruct
from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.publishing.folder import MANIFEST, record_audit, record_statistics
from gpt4_instruct.quality.audit import Audited, Finding, choose
from gpt4_instruct.quality.base import SEVERITIES, Severity
from gpt4_instruct.quality.cleaning import part, write_findings
from gpt4_instruct.records import Language
from gpt4_instruct.registry import find
from gpt4_instruct.reports import audit_page
from gpt4_instruct.sources.built import configs_of, is_built
from gpt4_instruct.sources.rows import Rows, open_rows
from gpt4_instruct.storage import replace_text, write_json

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

__all__ = ["AuditResult", "StatsResult", "audit", "stats"]

_FINDINGS = "audit.jsonl"
_PAIRS = "verb_noun.csv"
# What a run that was killed may leave, besides half-written files, which begin with a dot.
_PARTED = re.compile(r"(?:.+\.)?(?:kept|dropped)\.jsonl")
_OF_AUDIT = re.compile(rf"{_PARTED.pattern}|\..+\.\d+")
_OF_STATISTICS = re.compile(r"(?:verb_noun|verb_noun_by_source|lengths|scores)(?:_b)?\.csv|\..+\.\d+")
_NEAR = ("similar_output", "similar_task")  # what near_duplicates=True adds to the checks


@dataclass(frozen=True, slots=True)
class AuditResult:
    """What an audit found.

    Attributes:
        summary: the counts, as in ``summary.json``: ``{"package", "data": [{"name", "rows", "rows_with_findings",
            "rows_by_severity", "languages", "checks": {name: {"severity", "findings", "rows", "share", ...}}, ...}]}``.
        findings: every finding, in the order of the data and its rows.
        kept: with ``clean=True``, the files of the kept rows, one for each of the data.
        dropped: likewise those of the dropped rows.
        report: the page, where ``out`` was given.
    """

    summary: dict[str, Any]
    findings: list[Finding]
    kept: tuple[Path, ...] = ()
    dropped: tuple[Path, ...] = ()
    report: Path | None = None

    def rows_with(self, check: str) -> list[int]:
        """The numbers of the rows in which a check found something, from 0; of several data, those of all."""
        return sorted({each.row for each in self.findings if each.check == check and each.row is not None})


def audit(
    *data: str | Path | Dataset | DatasetDict | Sequence[Mapping[str, Any]],
    out: str | Path | None = None,
    clean: bool = False,
    drop: Severity = "error",
    checks: Sequence[str] | None = None,
    skip: Sequence[str] = (),
    near_duplicates: bool = False,
    language: Language | None = None,
    engine: str = "local",
) -> AuditResult:
    """Says what is wrong with instruction data, row by row.

    Args:
        *data: files (json, jsonl, csv, parquet, or a zip of one), folders that `build` wrote, other folders, patterns
            and URLs of such files, ``"hub:ID"``, ``"released:NAME"``, `datasets.Dataset`s, or lists of dicts, in any
            known shape. The rates of a folder's splits are written on its card, too, where no check was left out.
        out: a folder for ``audit.jsonl`` (a line a finding), ``summary.json`` and ``report.html``; an earlier audit in
            it is replaced.
        clean: also write the rows without findings of `drop`'s severity to ``kept.jsonl``, unchanged, and the others,
            with their reasons, to ``dropped.jsonl``; with several data, to ``NAME.kept.jsonl`` and so on. Needs `out`.
            What JSON has nothing for (bytes, dates) is written as text, NaN as null.
        drop: ``"error"``; ``"warning"`` to drop rows with warnings, too; ``"info"`` to drop every row with a finding.
        checks: only these; by default all that are found in the registry, but those that must be asked for.
        skip: not these.
        near_duplicates: also look for near duplicates among answers and tasks by MinHash, for data of any size.
        language: of the answers, ``"en"`` or ``"zh"``; by default it is told from the rows.
        engine: who looks at the rows: ``"local"``, this process; ``"ray"`` or ``"ray:ADDRESS"``, the workers of a Ray
            cluster, as of `build`, which read Parquet for themselves and find the same.

    Raises:
        UsageError: an argument cannot work; `UnknownNameError` for a check that is none.
        MissingExtraError: the engine, or a check that was asked for, needs a library that is not installed.
        SourceError: the data cannot be read.
        OutputError: the folder cannot be used or written.
        RunStoppedError: a worker of the engine failed.

    >>> rows = [{"instruction": "Name a fish.", "input": "", "output": "Cod."},
    ...         {"instruction": "Draw a fish.", "input": "No input.", "output": "As an AI, I cannot draw."}]
    >>> found = audit(rows)
    >>> [(each.row, each.check, each.severity) for each in found.findings if each.check != "media_asked"]
    [(1, 'placeholder_input', 'warning'), (1, 'refusal', 'error')]
    """
    if not data:
        raise UsageError("nothing to audit: name a file, a folder that build wrote, hub:ID or released:NAME")
    if language not in (None, "en", "zh"):
        raise UsageError(f"language is {language!r}, but must be en or zh")
    if drop not in SEVERITIES:
        raise UsageError(f"drop is {drop!r}, but must be one of {', '.join(SEVERITIES)}")
    if clean and out is None:
        raise UsageError("clean writes files: name a folder with out (--out)")
    optional = _NEAR if near_duplicates else ()
    chosen = choose(checks, skip=skip, optional=optional)
    runs = _engine(engine)
    whole = not checks and not skip  # a card tells of whole audits only
    folder = None if out is None else _usable(Path(out).expanduser(), "audit", _FINDINGS, _OF_AUDIT)
    opened = [(rows, place) for each in data for rows, place in _open(each, language)]
    stems = _distinct([_file_stem(rows.name) for rows, _ in opened])
    audited: list[Audited] = []
    kept: list[Path] = []
    dropped: list[Path] = []
    required = (*([checks] if isinstance(checks, str) else checks or ()), *optional)
    for name, stem, (rows, place) in zip(_distinct([rows.name for rows, _ in opened]), stems, opened, strict=True):
        rows.name = name
        found = runs.examine(rows, chosen, required=required)
        audited.append(found)
        if folder is not None and clean:
            prefix = f"{stem}." if len(opened) > 1 else ""
            paths = (folder / f"{prefix}kept.jsonl", folder / f"{prefix}dropped.jsonl")
            part(rows, found, *paths, severities=SEVERITIES[: SEVERITIES.index(drop) + 1])
            kept.append(paths[0])
            dropped.append(paths[1])
        if place is not None and whole:
            _put_on_card(*place, found)
    summary = {"package": gpt4_instruct.__version__, "dropped_from": drop, "data": [each.summary() for each in audited]}
    findings = [finding for each in audited for finding in each.findings]
    if folder is None:
        return AuditResult(summary, findings)
    write_findings(folder / _FINDINGS, audited)
    write_json(folder / "summary.json", summary)
    report = folder / "report.html"
    replace_text(report, audit_page(summary))
    for left in folder.iterdir():  # of an earlier audit, of other data
        if _PARTED.fullmatch(left.name) and left not in kept and left not in dropped:
            left.unlink(missing_ok=True)
    return AuditResult(summary, findings, tuple(kept), tuple(dropped), report)


@dataclass(frozen=True, slots=True)
class StatsResult:
    """What was counted, and where it is drawn.

    Attributes:
        summary: as in ``summary.json``; see `gpt4_instruct.statistics.describe.describe`.
        folder: with ``verb_noun.csv``, ``lengths.csv``, ``scores.csv`` where there are scores, and ``summary.json``.
        figures: the pictures, each as PNG and SVG, and the page ``figures.html``.
    """

    summary: dict[str, Any]
    folder: Path
    figures: tuple[Path, ...]


def stats(
    a: str | Path | Dataset | DatasetDict | Sequence[Mapping[str, Any]],
    b: str | Path | Dataset | DatasetDict | Sequence[Mapping[str, Any]] | None = None,
    *,
    out: str | Path,
    tokenizer: str | None = None,
    language: Language | None = None,
    processes: int | None = None,
    engine: str = "local",
) -> StatsResult:
    """Counts what one data set is like, or two side by side, and draws it: the paper's Figures 1 and 2.

    Verb-noun pairs of the answers' first sentences, lengths in words and, with a tokenizer, in tokens, and scores. Of a
    split in a folder that `build` wrote, the main numbers and the pictures are put on its card, too.

    Args:
        a: a file, ``FOLDER:SPLIT`` of a folder that `build` wrote, another folder, a pattern or a URL of files,
            ``"hub:ID"``, ``"released:NAME"``, a `datasets.Dataset`, or a list of dicts, in any known shape.
        b: another one, to be drawn beside it.
        out: the folder for tables and figures; earlier statistics in it are replaced.
        tokenizer: a tokenizer's folder or Hub id, to count tokens, too.
        language: of the answers, ``"en"`` or ``"zh"``; by default it is told from the rows.
        processes: that parse; by default one for each core.
        engine: who reads and parses: ``"local"``, this process and others of this computer; ``"ray"`` or
            ``"ray:ADDRESS"``, the workers of a Ray cluster, which find the same.

    Raises:
        MissingExtraError: the extra ``stats``, or the engine's, is not installed.
        UsageError: the tokenizer is not there, or the language is unknown.
        SourceError: the data cannot be read.
        OutputError: the folder cannot be used or written.
    """
    from gpt4_instruct.figures.statistics import draw_statistics

    if language not in (None, "en", "zh"):
        raise UsageError(f"language is {language!r}, but must be en or zh")
    runs = _engine(engine)
    given = [each for each in (a, b) if each is not None]
    opened = [open_rows(each, language=language) for each in given]
    folder = _usable(Path(out).expanduser(), "statistics", _PAIRS, _OF_STATISTICS)
    for rows, name in zip(opened, _distinct([rows.name for rows in opened]), strict=True):
        rows.name = name
    summary = runs.describe(opened, folder, tokenizer=tokenizer, processes=processes)
    files = tuple(draw_statistics(folder))
    for each, told, suffix in zip(given, summary["data"], ("", "_b"), strict=False):
        place = _place(each)
        if place is not None:
            own = f"*sunburst{suffix}.png" if len(given) > 1 else "*.png"  # the others show both
            record_statistics(*place, told, [file for file in files if file.match(own)])
    return StatsResult(summary, folder, files)


def _engine(engine: str) -> Any:
    """The engine that a text names, such as ``"ray:HOST:6379"``."""
    name, _, address = engine.partition(":")
    return find("engines", name)(address)


def _open(data: Any, language: Language | None) -> Iterator[tuple[Rows, tuple[Path, str] | None]]:
    """The rows of one argument, and where it is a folder of ours, its path and config: a folder holds several."""
    if isinstance(data, str | Path) and is_built(data):
        for config in configs_of(data):
            yield open_rows(f"{data}:{config}", language=language), _place(f"{data}:{config}")
        return
    yield open_rows(data, language=language), _place(data)


def _place(data: Any) -> tuple[Path, str] | None:
    """The folder of ours and its config that an argument names; none where it names something else."""
    if not isinstance(data, str | Path):
        return None
    folder = Path(data).expanduser()
    if (folder / MANIFEST).is_file() and len(configs := configs_of(folder)) == 1:
        return folder, configs[0]
    path, _, config = str(data).rpartition(":")
    if path and (Path(path).expanduser() / MANIFEST).is_file():
        return Path(path).expanduser(), config
    return None


def _usable(folder: Path, kind: str, marker: str, own: re.Pattern[str]) -> Path:
    """The folder, if it is new, empty, or holds an earlier result of this kind, or what a killed run left of one.

    Raises:
        OutputError: it is a file, or holds something else.
    """
    try:
        if folder.exists() and not folder.is_dir():
            raise OutputError(f"{folder} is a file: name a folder")
        held = [each.name for each in folder.iterdir()] if folder.is_dir() else []
        if held and marker not in held and not all(own.fullmatch(name) for name in held):
            raise OutputError(f"{folder} is not empty and holds no {kind}: name another folder")
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # a name that no file system takes is a ValueError
        raise OutputError(
            f"cannot write {str(folder)!r}: {getattr(error, 'strerror', None) or error}: name another folder"
        )
    return folder


def _distinct(names: Iterable[str]) -> list[str]:
    """The names, with a number behind those that stand there twice."""
    found: list[str] = []
    for name in names:
        number, distinct = 1, name
        while distinct in found:
            number += 1
            distinct = f"{name} ({number})"
        found.append(distinct)
    return found


def _file_stem(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in name)


def _put_on_card(folder: Path, config: str, found: Audited) -> None:
    checks = {
        name: {key: entry[key] for key in ("severity", "findings", "rows")}
        for name, entry in found.summary()["checks"].items()
    }
    record_audit(
        folder,
        config,
        {
            "rows": found.rows,
            "rows_with_findings": len(found.rows_with()),
            "checks": checks,
            "package": gpt4_instruct.__version__,
        },
    )
