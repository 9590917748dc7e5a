"""Answers ranked by a reward model: each line of a file of answers with a reward beside each text, and their order::

    {"id": "1", "instruction": ..., ..., "ranking": [1, 0],
     "answers": [{"sample": 0, "text": "Go to bed early.", "reward": -0.31, "rank": 2, ...},
                 {"sample": 1, "text": "Keep regular hours, and ...", "reward": 1.72, "rank": 1, ...}]}

The answers keep their order; ``ranking`` has their indices, the best one first. An answer that did not come has neither
reward nor rank. All groups are in the one file: `of_rank(answers, 1)` is each question's best answer of all, and
`best_of(answers, 2)` what the best would have been of two.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from filelock import Timeout

import gpt4_instruct
from gpt4_instruct.errors import OutputError, OutputExistsError, UsageError
from gpt4_instruct.evaluation.answers import read_answers, summary_path
from gpt4_instruct.progress import progress
from gpt4_instruct.storage import lock, sha256, write_json
from gpt4_instruct.training.loading import find_base
from gpt4_instruct.training.scoring import RewardModel

__all__ = ["RankResult", "best_of", "of_rank", "rank"]

_AT_ONCE = 256  # answers, given to the reward model together: it makes batches of like length of them

_Line = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RankResult:
    """What was ranked.

    Attributes:
        file: a line a question, see the top of `ranking`.
        questions: with at least one answer.
        answers: with a reward.
        scored: of those, by this run; the others were scored before it was stopped.
        compared: questions of which all answers came; the means are over these.
        best_of: for each k, the mean reward of the best among the first k answers.
        by_rank: for each rank from 1, the mean reward of the answers on it.
        seconds: how long it took.
    """

    file: Path
    questions: int
    answers: int
    scored: int
    compared: int
    best_of: dict[int, float]
    by_rank: dict[int, float]
    seconds: float


def rank(
    answers_file: str | Path,
    reward_model: str | Path,
    out: str | Path,
    *,
    limit: int | None = None,
    overwrite: bool = False,
) -> RankResult:
    """Scores every answer in a file with a reward model, and says which are the best.

    Stopped at any moment, the same call goes on behind the last line that was scored: lines are kept in a hidden file
    beside `out` as they come, which counts for these answers and this reward model only.

    Args:
        answers_file: what `answers.answer` wrote.
        reward_model: the folder of a model with a scalar head, as ``train reward`` writes it, or a Hub id.
        out: the file, ``.jsonl``; its folder is made if it is not there.
        limit: most lines; all by default.
        overwrite: rank anew if the file is there.

    Raises:
        UsageError: an argument cannot work, or the model is none that gives rewards, or gives what are no numbers.
        SourceError: the file of answers cannot be read.
        OutputError: the file cannot be written, or another process writes it; `OutputExistsError` when it is there.
    """
    started = time.monotonic()
    source, file = Path(answers_file).expanduser(), Path(out).expanduser()
    if limit is not None and limit < 1:
        raise UsageError(f"limit is {limit}, but must be 1 or more")
    if file.is_dir():
        raise OutputError(f"{file} is a folder: name a file, such as {file / 'ranked.jsonl'}")
    if file.resolve() == source.resolve():
        raise UsageError(f"{file} holds the answers themselves: name another file with --out")
    lines = list(islice(read_answers(source), limit))
    base = find_base(str(reward_model))
    run = {
        "answers": sha256(source),
        "limit": limit,
        "reward_model": base.identity,
        "package": gpt4_instruct.__version__,
    }
    own = lock(file, blocking=False)
    try:
        own.acquire()
    except Timeout:
        raise OutputError(f"another process writes {file}: wait for it, or name another file with --out") from None
    try:
        if file.exists() and not overwrite:
            raise OutputExistsError(f"{file} is there already: --overwrite ranks anew, --out names another")
        part, of_part = (file.with_name(f".{file.name}.{end}") for end in ("part", "part.json"))
        done = _begin(part, of_part, run)
        scored = _score(lines[done:], str(reward_model), part)
        result = _result(file, read_answers(part), scored, started)
        write_json(
            summary_path(file),
            {
                **run,
                "reward_model": {"name": base.name, "identity": base.identity},
                **asdict(result),
                "file": file.name,
            },
        )
        os.replace(part, file)
        of_part.unlink()
    except OSError as error:
        raise OutputError(f"cannot write {file}: {error.strerror or error}") from error
    finally:
        own.release()
    return result


def best_of(answers: Sequence[Mapping[str, Any]], k: int) -> Mapping[str, Any] | None:
    """The answer with the highest reward among the first k of a line's; none where none of them came.

    >>> answers = [{"sample": 0, "reward": -0.3}, {"sample": 1, "reward": 1.7}, {"sample": 2, "reward": 2.0}]
    >>> [best_of(answers, k)["sample"] for k in (1, 2, 3)]
    [0, 1, 2]
    """
    came = [each for each in answers[:k] if each["reward"] is not None]
    return max(came, key=lambda each: float(each["reward"]), default=None)


def of_rank(answers: Sequence[Mapping[str, Any]], place: int) -> Mapping[str, Any] | None:
    """The answer of a line that is on a rank, 1 for the best; none where so many did not come.

    >>> of_rank([{"sample": 0, "rank": 2}, {"sample": 1, "rank": 1}], 1)["sample"]
    1
    """
    return next((each for each in answers if each["rank"] == place), None)


def _begin(part: Path, of_part: Path, run: _Line) -> int:
    """How many lines an earlier run with the same answers and reward model has scored; the others are to come."""
    part.parent.mkdir(parents=True, exist_ok=True)
    try:
        same = json.loads(of_part.read_text(encoding="utf-8")) == run
    except (OSError, ValueError):
        same = False
    if not same:
        part.unlink(missing_ok=True)
        write_json(of_part, run)
    with part.open("ab+") as content:
        content.seek(0)
        kept = content.read()
        content.truncate(kept.rfind(b"\n") + 1)  # a kill may have cut the last line off
    return kept.count(b"\n")


def _score(lines: Sequence[_Line], reward_model: str, part: Path) -> int:
    """Appends lines with their rewards; how many answers there were."""
    if not lines:
        return 0
    model = RewardModel(reward_model)
    count = 0
    with progress(lambda: len(lines), "ranking", "question") as bar, part.open("a", encoding="utf-8") as content:
        for group in _groups(lines):
            asked = [
                (line["instruction"], line["input"], each["text"])
                for line in group
                for each in line["answers"]
                if each["text"] is not None
            ]
            rewards = model.score(asked) if asked else []
            if not all(map(math.isfinite, rewards)):
                raise UsageError(f"{reward_model} gives rewards that are no numbers: is it a model that was trained?")
            given = iter(rewards)
            for line in group:
                content.write(json.dumps(_ranked(line, given), ensure_ascii=False) + "\n")
            content.flush()
            count += len(asked)
            bar.update(len(group))
    return count


def _groups(lines: Sequence[_Line]) -> Iterator[list[_Line]]:
    """Lines together that have about `_AT_ONCE` answers."""
    group: list[_Line] = []
    for line in lines:
        group.append(line)
        if sum(len(each["answers"]) for each in group) >= _AT_ONCE:
            yield group
            group = []
    if group:
        yield group


def _ranked(line: _Line, rewards: Iterator[float]) -> _Line:
    """A line with the next rewards, as many as it has texts."""
    answers = [{**each, "reward": None if each["text"] is None else float(next(rewards))} for each in line["answers"]]
    came = [place for place, each in enumerate(answers) if each["reward"] is not None]
    ranking = sorted(came, key=lambda place: -answers[place]["reward"])  # of equal ones, the earlier stays before
    ranks = {place: number for number, place in enumerate(ranking, start=1)}
    given = [{**each, "rank": ranks.get(place)} for place, each in enumerate(answers)]
    return {**line, "answers": given, "ranking": ranking}


def _result(file: Path, lines: Iterator[_Line], scored: int, started: float) -> RankResult:
    every = [[each["reward"] for each in line["answers"]] for line in lines]
    n = max(map(len, every), default=0)
    whole = [rewards for rewards in every if len(rewards) == n and None not in rewards] if n else []
    groups = range(1, n + 1) if whole else ()
    return RankResult(
        file=file,
        questions=sum(any(each is not None for each in rewards) for rewards in every),
        answers=sum(each is not None for rewards in every for each in rewards),
        scored=scored,
        compared=len(whole),
        best_of={k: _mean([max(rewards[:k]) for rewards in whole]) for k in groups},
        by_rank={k: _mean([sorted(rewards, reverse=True)[k - 1] for rewards in whole]) for k in groups},
        seconds=round(time.monotonic() - started, 1),
    )


def _mean(values: Sequence[float]) -> float:
    return round(math.fsum(values) / len(values), 6)
