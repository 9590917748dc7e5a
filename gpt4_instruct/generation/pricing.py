"""What requests cost: the price list, tokens counted without a vocabulary, and the money a run may spend.

The list is `prices.json` beside this file, dated, in US dollars per million tokens. Your own is laid over it::

    {"checked": "2026-11-01", "models": {"my-model": {"input": 0.2, "output": 0.6}}}

Only what is asked over http costs anything; a local model and a replay are free.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import BudgetError, UsageError
from gpt4_instruct.records import Request
from gpt4_instruct.storage import home

__all__ = [
    "Price",
    "Prices",
    "Spending",
    "answer_tokens",
    "count_tokens",
    "load_prices",
    "most_tokens",
    "prompt_tokens",
]

_MILLION = 1_000_000
# "gpt-4o-2024-08-06" and "gpt-4-0613" cost what "gpt-4o" and "gpt-4" cost, unless the list names them.
_DATED = re.compile(r"-(\d{4}-\d{2}-\d{2}|\d{4})$")
# Tokens of OpenAI's vocabularies: about 4 ASCII characters make one (OpenAI, "What are tokens and how to count them?");
# a character of Chinese is about one.
_ASCII_A_TOKEN = 4
# Around each message and before the reply (OpenAI Cookbook, "How to count tokens with tiktoken": 3 and 3).
_TOKENS_A_MESSAGE = 3
_TOKENS_A_REPLY = 3
# A role and a separator are never more; generous, because it bounds what may be spent.
_MOST_TOKENS_A_MESSAGE = 16
_NO_LIMIT_TOKENS = 16_384  # a request without max_tokens: as many as most models can write at all


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens, and the share of that which the Batch API costs."""

    input: float
    output: float
    batch_share: float = 0.5

    def usd(self, prompt_tokens: float, completion_tokens: float, *, batch: bool = False) -> float:
        """The cost of so many tokens.

        >>> round(Price(30.0, 60.0).usd(100, 50), 6)
        0.006
        """
        cost = (prompt_tokens * self.input + completion_tokens * self.output) / _MILLION
        return cost * self.batch_share if batch else cost


_FREE = Price(0.0, 0.0)


class Prices:
    """A price list.

    Args:
        models: by the model's name.
        checked: the date on which the prices held, as ``YYYY-MM-DD``.
    """

    def __init__(self, models: Mapping[str, Price], checked: str) -> None:
        self.models = dict(models)
        self.checked = checked

    def find(self, endpoint: str, model: str) -> Price | None:
        """The price of a model at an endpoint, or none where it is not known.

        >>> prices = Prices({"gpt-4o": Price(2.5, 10.0)}, "2026-11-23")
        >>> prices.find("https://api.openai.com/v1", "gpt-4o-2024-08-06").output
        10.0
        >>> prices.find("local", "SmolLM2-135M-Instruct").output
        0.0
        >>> prices.find("https://api.openai.com/v1", "gpt-99") is None
        True
        """
        if not endpoint.startswith(("http://", "https://")):
            return _FREE
        return self.models.get(model) or self.models.get(_DATED.sub("", model))


def load_prices(path: str | Path | None = None) -> Prices:
    """The packaged price list with the user's laid over it.

    Args:
        path: the user's; by default ``$GPT4_INSTRUCT_HOME/prices.json``, if it is there.

    Raises:
        UsageError: the file cannot be read, or is not a price list.
    """
    packaged = _read(Path(__file__).with_name("prices.json"))
    own = Path(path).expanduser() if path else home() / "prices.json"
    if path is None and not own.is_file():
        return packaged
    mine = _read(own)
    return Prices({**packaged.models, **mine.models}, mine.checked or packaged.checked)


def _read(path: Path) -> Prices:
    example = '{"models": {"my-model": {"input": 0.2, "output": 0.6}}}, US dollars per million tokens'
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        share = float(found.get("batch_share", 0.5))
        models = {
            str(name): Price(float(each["input"]), float(each["output"]), float(each.get("batch_share", share)))
            for name, each in found["models"].items()
        }
    except OSError as error:
        raise UsageError(f"the price file {path} cannot be read: {error.strerror or error}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise UsageError(f"{path} is not a price file: it needs {example}") from None
    for name, price in models.items():
        if not (0 <= price.input < 1e6 and 0 <= price.output < 1e6):
            raise UsageError(f"{path}: the price of {name!r} is not a number of dollars per million tokens")
        if not 0 <= price.batch_share <= 1:
            raise UsageError(f"{path}: the batch_share of {name!r} is not a share of the price, from 0 to 1")
    return Prices(models, str(found.get("checked", "")))


# --- tokens ---------------------------------------------------------------------------------------------------------


def count_tokens(text: str) -> int:
    """About how many tokens a text is, without any vocabulary.

    >>> count_tokens("Name the largest planet."), count_tokens("说出最大的行星。")
    (6, 8)
    """
    if text.isascii():
        return -(-len(text) // _ASCII_A_TOKEN)
    ascii_characters = len(text.encode("ascii", "ignore"))
    return -(-ascii_characters // _ASCII_A_TOKEN) + len(text) - ascii_characters


def prompt_tokens(request: Request) -> int:
    """About how many tokens a request's prompt is."""
    return sum(count_tokens(message.content) + _TOKENS_A_MESSAGE for message in request.messages) + (
        _TOKENS_A_REPLY + _schema_bytes(request) // _ASCII_A_TOKEN
    )


def most_tokens(request: Request) -> tuple[int, int]:
    """The most tokens that a request's prompt and its answer can be.

    A token of a byte-level vocabulary, as all of OpenAI's are, is at least one byte of UTF-8.
    """
    prompt = sum(len(message.content.encode("utf-8", "surrogatepass")) for message in request.messages)
    framing = _MOST_TOKENS_A_MESSAGE * (len(request.messages) + 1)
    return prompt + framing + _schema_bytes(request), answer_tokens(request)


def answer_tokens(request: Request) -> int:
    """The most tokens that an answer to the request can be."""
    return int(request.parameters.get("max_tokens") or _NO_LIMIT_TOKENS)


def _schema_bytes(request: Request) -> int:
    if request.schema is not None:
        return _json_bytes(json.dumps(request.schema, ensure_ascii=False))
    # The schema around the allowed answers is a fixed text of about 150 bytes.
    return 200 + sum(len(choice.encode()) + 4 for choice in request.choices) if request.choices else 0


@cache
def _json_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


# --- money ----------------------------------------------------------------------------------------------------------


class Spending:
    """What a run has spent, and what it may: the most that is in flight can cost is set aside before it is sent.

    Args:
        prices: what things cost.
        most_usd: a hard cap on this run; none for no cap.
    """

    def __init__(self, prices: Prices, most_usd: float | None = None) -> None:
        self.prices = prices
        self.most_usd = most_usd
        self.spent_usd = 0.0
        self.reserved_usd = 0.0
        self.unpriced: set[str] = set()  # models whose price is not known: their cost is missing in spent_usd
        self._in_flight = 0
        self._waiting: deque[tuple[float, asyncio.Future[None]]] = deque()

    def worst_usd(self, request: Request, *, batch: bool = False) -> float:
        """The most that a request can cost.

        Raises:
            UsageError: there is a cap, and the price of the model is not known.
        """
        price = self._price(request)
        return price.usd(*most_tokens(request), batch=batch) if price else 0.0

    def cost_usd(self, request: Request, usage: Any, *, batch: bool = False) -> float:
        """What an answer cost, by the tokens that the endpoint counted; the most it can have cost where it did not.

        Args:
            request: what was asked.
            usage: prompt and completion tokens.
            batch: by the Batch API.
        """
        price = self._price(request)
        if price is None:
            return 0.0
        return price.usd(*(usage if any(usage) else most_tokens(request)), batch=batch)

    def _price(self, request: Request) -> Price | None:
        price = self.prices.find(request.endpoint, request.model)
        if price is None:
            if self.most_usd is not None:
                raise UsageError(
                    f"a budget needs the price of {request.model}, which is not known: "
                    f'give --prices FILE with {{"models": {{"{request.model}": {{"input": ..., "output": ...}}}}}}'
                )
            self.unpriced.add(request.model)
        return price

    async def reserve(self, worst_usd: float) -> None:
        """Sets money aside for a request; waits, first come first served, while what is in flight may leave enough.

        Raises:
            BudgetError: nothing is in flight, and the rest of the budget is not enough.
        """
        if not self._waiting and self.try_reserve(worst_usd):
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((worst_usd, future))
        self._pump()
        await future

    def try_reserve(self, worst_usd: float, *, anyway: bool = False) -> bool:
        """Sets money aside for a request; false where that could go over the cap, unless it has to be."""
        # A billionth of a dollar is forgiven, so that sums of floats may use the cap up.
        most_usd = float("inf") if self.most_usd is None or anyway else self.most_usd + 1e-9
        if self.spent_usd + self.reserved_usd + worst_usd > most_usd:
            return False
        self.reserved_usd += worst_usd
        self._in_flight += 1
        return True

    def settle(self, worst_usd: float, cost_usd: float) -> None:
        """Turns what was set aside into what it did cost; the rest flows back."""
        self._in_flight -= 1
        self.reserved_usd = self.reserved_usd - worst_usd if self._in_flight else 0.0
        self.spent_usd += cost_usd
        self._pump()

    def exhausted(self, worst_usd: float) -> BudgetError:
        """The error of a request that cannot be afforded."""
        return BudgetError(
            f"${self.spent_usd:.4f} of the budget of ${self.most_usd:.6g} is spent, and the next request may cost "
            f"up to ${worst_usd:.4f}; every answer is in the ledger: a new --budget-usd goes on from there"
        )

    def _pump(self) -> None:
        while self._waiting:
            worst_usd, future = self._waiting[0]
            if future.done():
                self._waiting.popleft()
            elif self.try_reserve(worst_usd):
                self._waiting.popleft()
                future.set_result(None)
            elif self._in_flight:
                return
            else:
                self.stop(self.exhausted(worst_usd))

    def stop(self, error: Exception) -> None:
        """Sends those who wait away with an exception."""
        while self._waiting:
            _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)
