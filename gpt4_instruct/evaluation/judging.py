"""What a judge is asked about a pair of answers, and the line of ``judgements.jsonl`` that comes of its replies.

Pairwise, both answers stand in one request; in both orders, by default, so that what the judge gives to the answer that
comes first cancels out. One at a time, each answer has a request of its own. A line::

    {"id": "1", "category": "math", "rubric": "math", "language": "en", "outcome": "win", "failure": null,
     "score": 8.5, "baseline_score": 7.0, "words": 61, "baseline_words": 48,
     "orders": [{"shown": ["answer", "baseline"], "scores": {"answer": 9.0, "baseline": 7.0}, "failure": null,
                 "replies": [{"sample": 0, "text": "9 7\\nThe first ...", "failure": null, "finish_reason": "stop",
                              "tokens": 63, "prompt_tokens": 412, "model": "gpt-4-0613", "request": "9f2c..."}]},
                {"shown": ["baseline", "answer"], ...}]}
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

from gpt4_instruct.errors import UsageError
from gpt4_instruct.evaluation.asking_again import Ask, Attempt, Outcome, make_request
from gpt4_instruct.evaluation.judge_reading import read_scores
from gpt4_instruct.evaluation.pairing import Pair
from gpt4_instruct.prompts.judge import render_pair, render_single, rubric_of
from gpt4_instruct.records import Answer, Sampling
from gpt4_instruct.statistics.lengths import count_words
from gpt4_instruct.teachers.base import Teacher

__all__ = ["ONE_SIDE", "Judging", "Mode", "Orders", "identity", "to_line"]

Mode = Literal["pairwise", "single"]
Orders = Literal["both", "first"]
Scores = tuple[float, ...]

ONE_SIDE = (
    'pairs of answers need a baseline: name one with --baseline, or judge answers alone (--single, mode="single")'
)


@dataclass(frozen=True, slots=True)
class Judging:
    """How a judge is asked.

    Attributes:
        teacher: the judge.
        sampling: of a first attempt.
        mode: ``"pairwise"``: both answers in one request; ``"single"``: one answer in each.
        orders: pairwise, ``"both"`` or ``"first"``: the answer before the baseline only.
        retries: further attempts where a reply cannot be read.
    """

    teacher: Teacher
    sampling: Sampling
    mode: Mode = "pairwise"
    orders: Orders = "both"
    retries: int = 1

    def shown(self, pair: Pair) -> list[tuple[str, ...]]:
        """What each request about a pair shows, in order: ``"answer"``, ``"baseline"``.

        Raises:
            UsageError: two answers are wanted, and there is one.
        """
        if self.mode == "single":
            return [("answer",)] if pair.baseline is None else [("answer",), ("baseline",)]
        if pair.baseline is None:
            raise UsageError(ONE_SIDE)
        both: list[tuple[str, ...]] = [("answer", "baseline"), ("baseline", "answer")]
        return both if self.orders == "both" else both[:1]

    def asks(self, pair: Pair, earlier: Sequence[int] = ()) -> list[Ask[Scores]]:
        """The questions to the judge about a pair.

        Args:
            pair: what is judged.
            earlier: for each of them, replies that earlier runs could not read; they count for nothing.
        """
        found = []
        for place, shown in enumerate(self.shown(pair)):
            texts = [pair.answer if name == "answer" else pair.baseline or "" for name in shown]
            before = earlier[place] if place < len(earlier) else 0
            found.append(Ask(_prompt(pair, texts), _reader(len(shown)), before + 1 + self.retries))
        return found


def _prompt(pair: Pair, texts: Sequence[str]) -> str:
    how: dict[str, Any] = {
        "rubric": rubric_of(pair.category),
        "language": pair.language,
        "reference": pair.reference,
    }
    if len(texts) == 2:
        return render_pair(pair.question, texts[0], texts[1], **how)
    return render_single(pair.question, texts[0], **how)


def _reader(answers: int) -> Any:
    def read(answer: Answer) -> tuple[Scores | None, str | None]:
        found = read_scores(answer.text, answers, answer.finish_reason)
        return (None, found.failure) if found.failure else (found.scores, None)

    return read


def identity(judging: Judging, pairs: Sequence[Pair]) -> str:
    """A hash of all that is asked first: of two runs with the same one, the second goes on where the first ended."""
    digest = hashlib.sha256()
    for pair in pairs:
        for ask in judging.asks(pair):
            digest.update(make_request(judging.teacher, ask, judging.sampling, 0).key.encode())
    return digest.hexdigest()


# --- the line -------------------------------------------------------------------------------------------------------


def to_line(judging: Judging, pair: Pair, outcomes: Sequence[Outcome[Scores]]) -> dict[str, Any]:
    """A pair's line, as at the top. Where one of its orders has no scores, the question has none."""
    orders = []
    for shown, outcome in zip(judging.shown(pair), outcomes, strict=True):
        scores = dict(zip(shown, outcome.value, strict=True)) if outcome.value else None
        replies = [_reply(each) for each in outcome.attempts]
        orders.append({"shown": list(shown), "scores": scores, "failure": outcome.failure, "replies": replies})
    failure = next((each["failure"] for each in orders if each["failure"]), None)
    score = None if failure else _mean(orders, "answer")
    baseline = None if failure or pair.baseline is None else _mean(orders, "baseline")
    return {
        "id": pair.id,
        "category": pair.category,
        "rubric": rubric_of(pair.category),
        "language": pair.language,
        "outcome": None if score is None or baseline is None else outcome_of(score, baseline),
        "failure": failure,
        "score": score,
        "baseline_score": baseline,
        "words": count_words(pair.answer, pair.language),
        "baseline_words": None if pair.baseline is None else count_words(pair.baseline, pair.language),
        "orders": orders,
    }


def outcome_of(score: float, baseline: float) -> str:
    """What a question's scores say.

    >>> outcome_of(8.5, 8.0), outcome_of(8.0, 8.0), outcome_of(7.0, 8.0)
    ('win', 'tie', 'loss')
    """
    return "win" if score > baseline else "loss" if score < baseline else "tie"


def _mean(orders: Sequence[Mapping[str, Any]], name: str) -> float:
    return fmean(each["scores"][name] for each in orders if name in each["scores"])


def _reply(attempt: Attempt) -> dict[str, Any]:
    if attempt.answer is None:
        return {"sample": attempt.sample, "text": None, "failure": attempt.failure, "detail": attempt.detail}
    answer = attempt.answer
    return {
        "sample": attempt.sample,
        "text": answer.text,
        "failure": attempt.failure,
        "finish_reason": answer.finish_reason,
        "tokens": answer.completion_tokens,
        "prompt_tokens": answer.prompt_tokens,
        "model": answer.model,
        "request": answer.request,
    }
