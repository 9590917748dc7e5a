"""Ratings by other tools: tasks to take there, and the votes brought back.

format         tasks                                   votes
mturk          CSV, a row a pair, for a new batch      the CSV of a batch's results
argilla        JSON, as ``rg.Dataset.records``         the same, with ``responses``
               writes and reads it (version 2)
label_studio   JSON, a task a pair                     the JSON export, with ``annotations``

In each of them a task has ``key``, ``instruction``, ``input``, ``answer_a`` and ``answer_b``. The key says nothing of
the models, nor which one is A: that hangs on the seed, half of the pairs each way. Votes are ``A``, ``B`` or ``tie``
for ``helpfulness``, ``honesty`` and ``harmlessness``. Argilla's and Label Studio's files carry the votes that are there
already.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from gpt4_instruct.errors import OutputError, OutputExistsError, UnknownNameError
from gpt4_instruct.evaluation.rating import CRITERIA, Study
from gpt4_instruct.evaluation.rating_formats import COLUMNS, NAME_THERE, choice_of, read_votes, tasks_text
from gpt4_instruct.evaluation.rating_turns import side_of
from gpt4_instruct.evaluation.rating_words import WORDS, label_studio_page, mturk_page
from gpt4_instruct.storage import replace_text

__all__ = ["FORMATS", "ImportResult", "export", "import_votes"]

FORMATS = ("mturk", "argilla", "label_studio")
_PAGES = {"mturk": ".html", "label_studio": ".xml"}  # what comes beside a file

# What a study's folder holds: sqlite's own files, and those of a tally.
_OF_A_STUDY = {*(f"votes.sqlite3{end}" for end in ("", "-wal", "-shm")), "tally.json", "rating.png", "rating.svg"}


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What was brought back.

    Attributes:
        votes: new ones, or other ones than before; by one rater on one pair by one criterion.
        unchanged: those that were there already.
        raters: who cast them.
        left_out: what could not be used, by reason: ``unknown_key`` (not of this study), ``no_rater``, ``rejected``
            (an assignment on Mechanical Turk), ``cancelled`` (skipped in Label Studio), ``no_choice`` (a criterion
            without A, B or tie), ``voted_otherwise`` (a rater of the study has another vote there, which stays).
    """

    votes: int
    unchanged: int
    raters: int
    left_out: dict[str, int]


def export(out: str | Path, file: str | Path, format: str, *, language: str = "en", overwrite: bool = False) -> int:
    """Writes a study's pairs, attention checks among them, as tasks for another tool.

    Args:
        out: the folder that `rating_server.serve` was given.
        file: what is written.
        format: ``"mturk"``, ``"argilla"`` or ``"label_studio"``. Beside a file for Mechanical Turk comes
            ``NAME.html``, the page for its workers; beside one for Label Studio ``NAME.xml``, its labelling interface.
            A dataset of Argilla needs text fields ``instruction``, ``input``, ``answer_a`` and ``answer_b``, and a
            label question with A, B and tie for each criterion.
        language: of the words on these pages, ``"en"`` or ``"zh"``.
        overwrite: replace what is there; never the study's own files.

    Returns:
        how many tasks were written.

    Raises:
        UnknownNameError: there is no such format or language.
        OutputError: there is no study in the folder, or a file cannot be written, or is there already.
    """
    _check(format)
    if language not in WORDS:
        raise UnknownNameError("language", language, list(WORDS))
    path = Path(file).expanduser()
    study = Study(out)
    try:
        _check_targets(study, path, format, overwrite)
        tasks = _tasks(study)
        votes = _votes(study)
    finally:
        study.close()
    replace_text(path, tasks_text(tasks, votes, format))
    if format in _PAGES:
        page = mturk_page if format == "mturk" else label_studio_page
        replace_text(path.with_suffix(_PAGES[format]), page(language))
    return len(tasks)


def import_votes(file: str | Path, out: str | Path, format: str) -> ImportResult:
    """Adds the votes in a file of another tool to a study. The same file twice adds nothing the second time.

    Raters get the format before their name there, such as ``mturk:A2X...``, so that they are told apart. Those of the
    study, whose votes `export` wrote into the file, are themselves; what they voted since then stays.

    Args:
        file: what the other tool wrote.
        out: the folder of the study that the tasks were exported from, or of one with the same answers and seed.
        format: as for `export`.

    Raises:
        UnknownNameError: there is no such format.
        SourceError: the file cannot be read, or is of another format.
        OutputError: there is no study in the folder, or it cannot be written.
    """
    _check(format)
    path = Path(file).expanduser()
    left_out = Counter[str]()
    study = Study(out)
    try:
        numbers = {pair.key: number for number, pair in study.pairs.items()}
        own = _own_raters(study, format)
        there = _votes(study)
        changed = cast = 0
        raters = set()
        for key, rater, given in read_votes(path, format, left_out):
            choices = {name: choice_of(given.get(name)) for name in CRITERIA}
            usable = {name: choice for name, choice in choices.items() if choice is not None}
            if key not in numbers:
                left_out["unknown_key"] += 1
            elif not rater:
                left_out["no_rater"] += 1
            else:
                left_out["no_choice"] += len(CRITERIA) - len(usable)
                if not usable:
                    continue
                name = own.get(rater, f"{format}:{rater}")
                earlier = there[key][name] if rater in own else {}
                stay = {criterion for criterion, choice in usable.items() if earlier.get(criterion, choice) != choice}
                left_out["voted_otherwise"] += len(stay)
                usable = {criterion: choice for criterion, choice in usable.items() if criterion not in stay}
                left = side_of(study.settings["seed"], key, "")
                changed += study.record(name, numbers[key], left, usable, format)
                cast += len(usable)
                raters.add(name)
    finally:
        study.close()
    return ImportResult(
        changed, cast - changed, len(raters), {name: count for name, count in left_out.items() if count}
    )


def _own_raters(study: Study, format: str) -> dict[str | int, str]:
    """The study's raters by what they are called in an exported file; none that came from there under that name."""
    there = study.raters()
    names = dict.fromkeys([*there, *(study.settings["raters"] or [])])
    found = {NAME_THERE[format](name): name for name in names} if format in NAME_THERE else {}
    return {called: name for called, name in found.items() if f"{format}:{called}" not in there}


def _tasks(study: Study) -> list[dict[str, str]]:
    """The pairs in an order of their keys, so that the checks are not all at the end."""
    found = []
    for pair in sorted(study.pairs.values(), key=lambda pair: pair.key):
        texts = (pair.ours, pair.baseline)
        a, b = texts if side_of(study.settings["seed"], pair.key, "") == "ours" else texts[::-1]
        found.append(dict(zip(COLUMNS, (pair.key, pair.instruction, pair.input, a, b), strict=True)))
    return found


def _votes(study: Study) -> dict[str, dict[str, dict[str, str]]]:
    """By key and rater: A, B or tie by criterion."""
    found: dict[str, dict[str, dict[str, str]]] = defaultdict(lambda: defaultdict(dict))
    for rater, number, criterion, choice in study.votes():
        key = study.pairs[number].key
        left = side_of(study.settings["seed"], key, "")
        found[key][rater][criterion] = "tie" if choice == "tie" else "A" if choice == left else "B"
    return found


def _check_targets(study: Study, path: Path, format: str, overwrite: bool) -> None:
    """Raises OutputError where what is to be written would take the place of something that is needed."""
    if path.is_dir():
        raise OutputError(f"{path} is a folder: name a file with --file")
    page = path.with_suffix(_PAGES[format]) if format in _PAGES else None
    if page == path:
        raise OutputError(f"{path} is the name of the page that comes beside the tasks: give --file another ending")
    for each in filter(None, (path, page)):
        if each.resolve().parent == study.folder.resolve() and each.name in _OF_A_STUDY:
            raise OutputError(f"{each} is the study's own: name another file with --file")
        if each.exists() and not overwrite:
            raise OutputExistsError(f"{each} is there already: --overwrite writes it anew, --file names another")


def _check(format: str) -> None:
    if format not in FORMATS:
        raise UnknownNameError("format", format, FORMATS)
