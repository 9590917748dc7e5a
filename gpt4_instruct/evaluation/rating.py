"""Two models' answers side by side, shown to people, and their votes: one folder is one study.

ratings/
  votes.sqlite3   the pairs, who was shown what with which side on the left, every vote and every change of one
  tally.json      written by `tally`

For each pair a rater says, by each of the three criteria, which answer is better, or that none is. A vote is on disk
when it is answered for: write-ahead logging with ``synchronous=FULL``, so that not even a power cut loses it. Which
model is on the left depends on seed, question and rater, and the page is never told.

Among the questions come attention checks: a real answer beside one that is empty or scrambled. Who finds the scrambled
one more helpful does not read; `tally` tells such raters apart.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.evaluation.rating_pairs import Pair
from gpt4_instruct.evaluation.rating_tables import APPLICATION_ID, VERSION, make, opened
from gpt4_instruct.evaluation.rating_turns import Turns, name_of, side_of
from gpt4_instruct.storage import lock

__all__ = ["CHOICES", "CRITERIA", "Study", "View"]

CRITERIA = ("helpfulness", "honesty", "harmlessness")
CHOICES = ("ours", "baseline", "tie")

_LEFT_ALONE_S = 3600.0  # a question that was shown this long ago, without a vote, is given to somebody else


@dataclass(frozen=True, slots=True)
class View:
    """What a rater sees.

    Attributes:
        place: of the pair among those that this rater was shown, from 0.
        total: how many there are to be, as far as is known: others may take some of them.
        instruction: the question.
        input: what it is about; may be empty.
        left: answer A.
        right: answer B.
        choices: what was chosen before: ``"A"``, ``"B"`` or ``"tie"`` by criterion.
    """

    place: int
    total: int
    instruction: str
    input: str
    left: str
    right: str
    choices: dict[str, str]


class Study:
    """Opens the study in a folder. One object is used by many threads, one folder by many processes.

    In a folder that cannot be written, it can be read.

    Args:
        folder: as `create` made it.

    Raises:
        OutputError: there is no study in it, or it cannot be read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser()
        self.file = self.folder / "votes.sqlite3"
        if not self.file.is_file():
            raise OutputError(f"{self.folder} holds no ratings: gpt4-instruct rate serve makes them")
        self._lock = threading.RLock()
        with self._told():
            self._db, self._writable = opened(self.file)
            (application,) = self._db.execute("PRAGMA application_id").fetchone()
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID or version != VERSION:
            raise OutputError(f"{self.file} is no study of this version: name another folder with --out")
        self.settings = {name: json.loads(value) for name, value in self._rows("SELECT name, value FROM settings")}
        self.pairs = {row[0]: Pair(*row[1:]) for row in self._rows("SELECT * FROM pairs ORDER BY number")}
        self._turns = Turns(
            [number for number, pair in self.pairs.items() if pair.expected is None],
            [number for number, pair in self.pairs.items() if pair.expected is not None],
            **{name: self.settings[name] for name in ("seed", "per_question", "attention", "raters")},
        )

    @classmethod
    def create(cls, folder: str | Path, pairs: Sequence[Pair], settings: Mapping[str, Any]) -> Study:
        """Makes a study, or goes on with the one in the folder if it is the same.

        Args:
            folder: made if it is not there.
            pairs: what is compared, attention checks among them; see `rating_pairs.find_pairs`.
            settings: ``seed``, ``per_question``, ``attention`` and ``raters`` (names, or none: anyone), and anything
                else in plain data that the tally should tell.

        Raises:
            UsageError: the folder holds another study.
            OutputError: it cannot be written.
        """
        folder = Path(folder).expanduser()
        if folder.is_file():
            raise OutputError(f"{folder} is a file: name a folder with --out")
        file = folder / "votes.sqlite3"
        with lock(file):
            if not file.exists():
                make(file, pairs, settings)
        study = cls(folder)
        study._check_writable()
        asked = json.loads(json.dumps(dict(settings)))
        other = next((name for name in asked if asked[name] != study.settings.get(name)), None)
        if other is None and [each.key for each in pairs] != [each.key for each in study.pairs.values()]:
            other = "answers"
        if other is not None:
            study.close()
            raise UsageError(f"{folder} holds another study ({other} was not the same): name another folder with --out")
        return study

    def close(self) -> None:
        self._db.close()

    # --- what a rater does ------------------------------------------------------------------------------------------

    def enter(self, rater: str) -> str:
        """Lets a rater in, for the first time or again; returns the name as it is kept.

        Raises:
            UsageError: it is no name, or this study is for others.
        """
        name = name_of(rater)
        raters = self.settings["raters"]
        if raters is not None and name not in raters:
            raise UsageError(f"this study has no rater {name!r}: type the name as it was given to you")
        with self._transaction():
            self._db.execute("INSERT OR IGNORE INTO raters VALUES (?, ?)", (name, time.time()))
        return name

    def view(self, rater: str, place: int | None = None) -> View | None:
        """The pair at a place; by default the one where the rater is. None when there is nothing left to rate.

        Raises:
            UsageError: the rater was shown nothing there.
            OutputError: the study cannot be read or written.
        """
        with self._transaction():
            return self._view(rater, place)

    def vote(self, rater: str, place: int, choices: Mapping[str, str]) -> View | None:
        """Saves a rater's votes on what is at a place, and gives what comes next. They are on disk when it returns.

        Args:
            rater: the name, as `enter` gave it.
            place: of `View`.
            choices: ``"A"``, ``"B"`` or ``"tie"`` by criterion, for all three; ones given before are replaced, and
                stay in the history.

        Raises:
            UsageError: a criterion has no choice, or the rater was shown nothing there.
            OutputError: they could not be saved.
        """
        if set(choices) != set(CRITERIA) or not set(choices.values()) <= {"A", "B", "tie"}:
            raise UsageError("each criterion needs a choice: A, B or tie")
        with self._transaction():
            pair, left = self._shown(rater, place)
            for criterion, choice in choices.items():
                self._save(rater, pair, criterion, _model(choice, left), "page")
            self._db.execute("UPDATE shown SET done = 1 WHERE rater = ? AND place = ?", (rater, place))
            after = self._db.execute("SELECT 1 FROM shown WHERE rater = ? AND place = ?", (rater, place + 1)).fetchone()
            return self._view(rater, place + 1 if after else None)

    # --- votes from elsewhere, and all of them ----------------------------------------------------------------------

    def record(self, rater: str, pair: int, left: str, choices: Mapping[str, str], source: str) -> int:
        """Saves votes that were cast elsewhere; how many of them are new or other than before.

        Args:
            rater: any name.
            pair: the number of the pair.
            left: which model was on the left there.
            choices: ``"A"``, ``"B"`` or ``"tie"`` by criterion, not necessarily all.
            source: where they were cast.
        """
        with self._transaction():
            now = time.time()
            self._db.execute("INSERT OR IGNORE INTO raters VALUES (?, ?)", (rater, now))
            (place,) = self._db.execute("SELECT count(*) FROM shown WHERE rater = ?", (rater,)).fetchone()
            self._db.execute("INSERT OR IGNORE INTO shown VALUES (?, ?, ?, ?, ?, 1)", (rater, place, pair, left, now))
            return sum(
                self._save(rater, pair, criterion, _model(choice, left), source)
                for criterion, choice in choices.items()
            )

    def votes(self) -> list[tuple[str, int, str, str]]:
        """The last vote of each rater on each pair by each criterion: (rater, pair, criterion, choice)."""
        return self._rows("SELECT rater, pair, criterion, choice FROM votes ORDER BY rater, pair, criterion")

    def history(self) -> list[tuple[str, int, str, str]]:
        """Every vote ever cast, in order, those that were changed among them."""
        return self._rows("SELECT rater, pair, criterion, choice FROM history ORDER BY number")

    def raters(self) -> list[str]:
        """All who came, in the order in which they did."""
        return [name for (name,) in self._rows("SELECT name FROM raters ORDER BY joined, name")]

    # --- inside -----------------------------------------------------------------------------------------------------

    def _view(self, rater: str, place: int | None) -> View | None:
        had = {pair for (pair,) in self._db.execute("SELECT pair FROM shown WHERE rater = ?", (rater,))}
        taken = self._taken()
        if place is None:
            query = "SELECT min(place) FROM shown WHERE rater = ? AND NOT done"
            (place,) = self._db.execute(query, (rater,)).fetchone()
        if place is None:
            number = self._turns.next(rater, had, taken)
            if number is None:
                return None
            place, left = len(had), side_of(self.settings["seed"], self.pairs[number].key, rater)
            row = (rater, place, number, left, time.time())
            self._db.execute("INSERT INTO shown (rater, place, pair, left, at) VALUES (?, ?, ?, ?, ?)", row)
            had.add(number)
            taken[number] = taken.get(number, 0) + 1
        number, left = self._shown(rater, place)
        cast = self._db.execute("SELECT criterion, choice FROM votes WHERE rater = ? AND pair = ?", (rater, number))
        choices = {criterion: "tie" if each == "tie" else "A" if each == left else "B" for criterion, each in cast}
        pair = self.pairs[number]
        texts = (pair.ours, pair.baseline) if left == "ours" else (pair.baseline, pair.ours)
        return View(place, self._turns.total(rater, had, taken), pair.instruction, pair.input, *texts, choices)

    def _shown(self, rater: str, place: int) -> tuple[int, str]:
        query = "SELECT pair, left FROM shown WHERE rater = ? AND place = ?"
        found = self._db.execute(query, (rater, place)).fetchone()
        if found is None:
            raise UsageError(f"{rater} has no question {place + 1}: load the page again")
        return int(found[0]), str(found[1])

    def _taken(self) -> dict[int, int]:
        """How many raters have each pair: those who voted on it, and those who look at it now."""
        query = "SELECT pair, count(*) FROM shown WHERE done OR at > ? GROUP BY pair"
        return dict(self._db.execute(query, (time.time() - _LEFT_ALONE_S,)).fetchall())

    def _save(self, rater: str, pair: int, criterion: str, choice: str, source: str) -> bool:
        of = (rater, pair, criterion)
        query = "SELECT choice FROM votes WHERE rater = ? AND pair = ? AND criterion = ?"
        if self._db.execute(query, of).fetchone() == (choice,):
            return False
        row = (*of, choice, source, time.time())
        self._db.execute("INSERT OR REPLACE INTO votes VALUES (?, ?, ?, ?, ?, ?)", row)
        columns = "rater, pair, criterion, choice, source, at"
        self._db.execute(f"INSERT INTO history ({columns}) VALUES (?, ?, ?, ?, ?, ?)", row)
        return True

    def _rows(self, query: str) -> list[Any]:
        with self._lock, self._told():
            return self._db.execute(query).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._check_writable()
        with self._lock, self._told():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _check_writable(self) -> None:
        if not self._writable:
            raise OutputError(f"{self.folder} cannot be written: make it so, or copy it to where it can")

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OutputError(f"{self.file} cannot be used: {error}. Free the disk, or name another folder") from error


def _model(choice: str, left: str) -> str:
    """What A, B or tie means, by what is on the left."""
    if choice == "tie":
        return "tie"
    return left if choice == "A" else "baseline" if left == "ours" else "ours"
