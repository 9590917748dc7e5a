"""What the answers of a run cost by the price list, whether they were asked for now or long ago."""

from __future__ import annotations

from gpt4_instruct.generation.batches import number
from gpt4_instruct.generation.pricing import Prices, most_tokens
from gpt4_instruct.records import Answer, Request
from gpt4_instruct.teachers.base import BatchTeacher, Teacher

__all__ = ["Costs"]


class Costs:
    """Adds up what answers cost, each once, however often it comes.

    Args:
        prices: what things cost.

    Attributes:
        usd: the sum in US dollars; none once the price of a model is not known.
    """

    def __init__(self, prices: Prices) -> None:
        self.usd: float | None = 0.0
        self._prices = prices
        self._known: set[int] = set()

    def add(self, teacher: Teacher, request: Request, answer: Answer) -> None:
        """Counts an answer, unless it is counted already."""
        key = number(answer.request)
        if key in self._known:
            return
        self._known.add(key)
        price = self._prices.find(request.endpoint, request.model)
        if price is None or self.usd is None:
            self.usd = None
            return
        # The most it can have cost, where the endpoint did not count.
        tokens = (answer.prompt_tokens, answer.completion_tokens)
        self.usd += price.usd(
            *(tokens if any(tokens) else most_tokens(request)), batch=isinstance(teacher, BatchTeacher)
        )
