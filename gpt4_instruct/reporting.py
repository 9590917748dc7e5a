"""Pages of what was found: the paper's numbers with a run's beside them, and the report of a run.

Both read facts that were saved before, and ask nothing of anybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gpt4_instruct
from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.evaluation.judge_pairs import swapped_warnings
from gpt4_instruct.evaluation.paper import paper_numbers
from gpt4_instruct.evaluation.paper_beside import GROUPS
from gpt4_instruct.figures.paper_tables import difference_rows
from gpt4_instruct.publishing.run_sections import CHAPTERS, sections
from gpt4_instruct.reports import run_page
from gpt4_instruct.run_facts import find_facts
from gpt4_instruct.storage import replace_text, write_json

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["PaperResult", "paper", "paper_table", "report"]

_REPORT = "run_report.html"
_PAGE = "<!doctype html"  # how any page begins


@dataclass(frozen=True, slots=True)
class PaperResult:
    """The paper's numbers, and a run's beside them.

    Attributes:
        folder: with ``numbers.json``, the pictures and ``paper.html``.
        numbers: as in ``numbers.json``, see `gpt4_instruct.evaluation.paper`.
        differences: a run's numbers beside the paper's, see `gpt4_instruct.evaluation.paper_beside.compare`; none
            where no run was named.
        figures: the pictures, each as PNG and SVG.
        page: ``paper.html``.
    """

    folder: Path
    numbers: dict[str, Any]
    differences: list[dict[str, Any]]
    figures: tuple[Path, ...]
    page: Path


def paper(out: str | Path, *, mine: str | Path | None = None) -> PaperResult:
    """Writes and draws every number of the paper's figures, from packaged values, and a run's own beside them.

    Args:
        out: the folder for ``numbers.json``, the pictures and ``paper.html``; an earlier call's are replaced.
        mine: a folder of a run: summaries of `judge`, the votes' ``tally.json``, ``rouge.json``, what `stats` wrote;
            whatever of these it holds, in folders of its own, too.

    Raises:
        MissingExtraError: matplotlib is not installed.
        OutputError: the folder cannot be written, or `mine` holds nothing that can be compared.
    """
    from gpt4_instruct.figures.paper import draw_paper

    folder = Path(out).expanduser()
    numbers = paper_numbers(None if mine is None else Path(mine).expanduser())
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: name a folder")
    write_json(folder / "numbers.json", numbers)
    *figures, page = draw_paper(folder)
    return PaperResult(folder, numbers, numbers.get("differences", []), tuple(figures), page)


def paper_table(numbers: dict[str, Any]) -> Table:
    """For the terminal: a run's numbers beside the paper's, or where there are none, the paper's relative scores.

    Args:
        numbers: `PaperResult.numbers`.
    """
    from rich.box import SIMPLE
    from rich.table import Table
    from rich.text import Text

    ours = any(each["value"] is not None for each in numbers.get("differences", ()))
    table = Table(title="Ours beside the paper's" if ours else "The paper's relative scores", title_justify="left",
                  box=SIMPLE, padding=(0, 1, 0, 0), caption_justify="left")  # fmt: skip
    doubts = [f"{' / '.join(each['where'])} is doubtful: {each['why']}" for each in numbers["doubts"]]
    if "mine" in numbers and not ours:
        doubts.append(
            "Nothing of the run is of a comparison that the paper makes: its baselines are GPT-4 and ChatGPT, its judge"
            " is GPT-4, its questions are 80."
        )
    for each in numbers.get("mine", {}).get("read", ()):
        if each.get("other"):
            doubts.append(f"{each['file']} is not beside the paper's: {each['other']}")
        elif each["kind"] == "judge" and each["warnings"]:
            doubts.append(f"{each['file']}: {each['warnings']}")
    table.caption = Text("\n".join([*doubts, numbers["no_intervals"]]))
    heads = ("", "paper", "ours", "interval", "difference", "the paper's is") if ours else ("", "sums of scores", "%")
    for name in heads:
        text = name in ("", "the paper's is")
        table.add_column(name, justify="left" if text else "right", overflow="fold", no_wrap=not text)
    before = None
    for title, cells in _beside(numbers) if ours else _alone(numbers):
        if title != before:
            table.add_section()
            table.add_row(Text(title, style="bold"))
            before = title
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _beside(numbers: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The two models' names, and a row of their numbers; without those that a run has nothing for."""
    rows = difference_rows(numbers["differences"])
    for each, (what, paper, paper_name, value, name, interval, difference, notes) in zip(
        numbers["differences"], rows, strict=True
    ):
        if each["value"] is not None:
            yield f"{name} beside {paper_name}", [what, paper, value, interval, difference, notes]


def _alone(numbers: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """The comparison, and a row of a model's numbers."""
    doubts = [each["where"] for each in numbers["doubts"]]
    for (section, group), what in GROUPS.items():
        for name, percent in numbers["derived"][section][group].items():
            model, baseline = numbers[section][group][name]
            mark = " ?" if [section, group, name] in doubts else ""
            yield what, [name, f"{model:g} : {baseline:g}", f"{percent:.1f}{mark}"]


def report(run: str | Path | Sequence[str | Path], out: str | Path | None = None) -> Path:
    """Writes one page that tells a run: its data, training, evaluation and cost.

    The page needs no other file and no network. What each file is of is told by what is in it, so folders may be named
    as they please.

    Args:
        run: one or more folders or files of facts: of data that `build` wrote, of a model that `train` tuned, summaries
            of `answer`, `rank`, `judge`, ``tally.json``, ``rouge.json``, what `stats` or `audit` wrote; in folders
            below, too.
        out: the page's file; by default ``run_report.html`` in the first folder. A page that is there is replaced.

    Returns:
        the page's path.

    Raises:
        UsageError: nothing is named.
        OutputError: a folder is not there, holds no facts at all, or the page cannot be written, as where a file that
            is no page has its name.
    """
    paths = [Path(each).expanduser() for each in ([run] if isinstance(run, str | Path) else run)]
    if not paths:
        raise UsageError("no run is named: give the folders of data, model and evaluation")
    found = find_facts(paths)
    if not any(each.kind for each in found):
        why = "; ".join(f"{each.file.name} {each.error}" for each in found)
        raise OutputError(
            f"{', '.join(map(str, paths))} holds no facts of a run{f' ({why})' if why else ''}: name what build, train,"
            " answer, rank, judge or stats wrote"
        )
    place = paths[0] if paths[0].is_dir() else paths[0].parent
    page = place / _REPORT if out is None else Path(out).expanduser()
    if page.is_dir():
        raise OutputError(f"{page} is a folder: name a file, such as {page / _REPORT}")
    if page.exists() and not _is_page(page):
        raise OutputError(f"{page} is there and is no page: name another file, such as {page.with_name(_REPORT)}")
    made = sections(found, swapped_warnings(found))
    chapters = {name: [each for each in made if each.chapter == name] for name in CHAPTERS}
    title = ", ".join(dict.fromkeys(path.resolve().name for path in paths))
    when = f"gpt4-instruct {gpt4_instruct.__version__}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    replace_text(page, run_page(title, {name: each for name, each in chapters.items() if each}, when))
    return page


def _is_page(file: Path) -> bool:
    """Whether a file begins as a page does; one that cannot be read is none."""
    try:
        with file.open("rb") as opened:
            start = opened.read(200)
    except OSError:
        return False
    return start.decode("utf-8", "replace").lstrip("\ufeff \t\r\n").lower().startswith(_PAGE)
