"""What a judge would ask and cost, before anything is sent: ``gpt4-instruct judge ... --dry-run``.

The prompts are known to the last letter, so that only the replies must be guessed: by those that the ledger holds of
the same judge with the same room, where it holds any; else as a score with a short explanation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gpt4_instruct.errors import TransientError
from gpt4_instruct.evaluation.asking_again import Ask, make_request
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.generation.pricing import Prices, answer_tokens, most_tokens, prompt_tokens
from gpt4_instruct.records import Request, Sampling
from gpt4_instruct.teachers.base import BatchTeacher, Teacher, read

__all__ = ["JudgeEstimate", "estimate"]

_LIKELY_TOKENS = 200  # of a reply, where nothing is measured: two scores and about 150 words
_MEASURED = 5_000  # the latest replies of the judge that are looked at


@dataclass(frozen=True, slots=True)
class JudgeEstimate:
    """What would be asked.

    Attributes:
        requests: first attempts that it takes; what two groups share counts once.
        in_ledger: of those, how many have a reply that can be read.
        to_send: requests that would be sent, if every reply could be read.
        prompt_tokens: of those, likely.
        answer_tokens: of their replies, likely.
        likely_usd: what they would cost; none where the judge's price is not known.
        most_usd: what they can cost at most: each prompt and each reply as long as it can be, and all attempts used up.
        measured: replies in the ledger by which the likely ones were measured; 0 where they are guessed.
        prices_checked: the date of the price list.
    """

    requests: int
    in_ledger: int
    to_send: int
    prompt_tokens: float
    answer_tokens: float
    likely_usd: float | None
    most_usd: float | None
    measured: int
    prices_checked: str


def estimate(
    teacher: Teacher, asks: Iterable[Ask[Any]], sampling: Sampling, ledger: Ledger | None, prices: Prices
) -> JudgeEstimate:
    """Counts what would be asked; sends nothing.

    Args:
        teacher: the judge.
        asks: all questions to it.
        sampling: of a first attempt.
        ledger: where earlier replies are; none where there is no ledger yet.
        prices: what things cost.
    """
    seen: set[str] = set()
    to_send: list[Request] = []
    attempts: list[int] = []
    in_ledger = 0
    for ask in asks:
        first = make_request(teacher, ask, sampling, 0)
        if first.key in seen:
            continue
        seen.add(first.key)
        request, left = _next(teacher, ask, sampling, ledger)
        if request is None:
            in_ledger += 1
        elif left > 0:
            to_send.append(request)
            attempts.append(left)
    count, total, prompts_said, prompts_counted = _measure(teacher, sampling, ledger)
    scale = prompts_said / prompts_counted if prompts_counted and prompts_said else 1.0
    likely_prompt = scale * sum(map(prompt_tokens, to_send))
    likely_answer = len(to_send) * (total / count if count else min(_LIKELY_TOKENS, sampling.max_tokens))
    price = prices.find(teacher.endpoint, teacher.model)
    batch = isinstance(teacher, BatchTeacher)
    most = [tuple(number * left for number in most_tokens(each)) for each, left in zip(to_send, attempts, strict=True)]
    return JudgeEstimate(
        requests=len(seen),
        in_ledger=in_ledger,
        to_send=len(to_send),
        prompt_tokens=likely_prompt,
        answer_tokens=likely_answer,
        likely_usd=price.usd(likely_prompt, likely_answer, batch=batch) if price else None,
        most_usd=price.usd(sum(a for a, _ in most), sum(b for _, b in most), batch=batch) if price else None,
        measured=count,
        prices_checked=prices.checked,
    )


def _next(teacher: Teacher, ask: Ask[Any], sampling: Sampling, ledger: Ledger | None) -> tuple[Request | None, int]:
    """The next request that is not answered, and how many attempts are left; no request where a reply can be read."""
    sample = 0
    while True:
        request = make_request(teacher, ask, sampling, sample)
        raw = ledger.settled(request.key) if ledger is not None else None
        if raw is None:
            return request, ask.most - sample
        try:
            if ask.read(read(teacher, request, request.key, raw))[1] is None:
                return None, 0
        except TransientError:  # it would be asked again
            return request, ask.most - sample
        sample += 1


def _measure(teacher: Teacher, sampling: Sampling, ledger: Ledger | None) -> tuple[int, int, int, int]:
    """The latest replies with the same room: how many, their tokens, and those of their prompts as said and counted."""
    count = total = said = counted = 0
    query = (
        "SELECT request, prompt_tokens, completion_tokens FROM requests WHERE state = 'settled' "
        "AND completion_tokens > 0 AND endpoint = ? AND model = ? ORDER BY rowid DESC LIMIT ?"
    )
    rows = ledger.query(query, (teacher.endpoint, teacher.model, _MEASURED)) if ledger is not None else ()
    for content, prompt, answer in rows:
        request = Request.from_json(content)
        greedy = request.parameters.get("temperature") == sampling.temperature
        if greedy and request.schema is None and answer_tokens(request) == sampling.max_tokens:
            count, total, said = count + 1, total + answer, said + prompt
            counted += prompt_tokens(request)
    return count, total, said, counted
