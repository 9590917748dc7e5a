"""The books of a ledger: what was asked, what it cost, what may have been paid twice; checked, exported, merged.

An export is JSON Lines, one request a line, and holds everything that a ledger of another place needs to answer the
same questions::

    {"key": "9f2c...", "teacher": "openai:gpt-4", "endpoint": "https://api.openai.com/v1", "model": "gpt-4",
     "state": "settled", "attempts": 1, "unknown_attempts": 0, "prompt_tokens": 61, "completion_tokens": 4,
     "by_batch": false, "updated": 1764000000.0, "request": {...}, "response": "{...}", "error": null}
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt4_instruct.errors import LedgerError
from gpt4_instruct.formats import read_rows
from gpt4_instruct.generation.ledger import Batch, Ledger
from gpt4_instruct.generation.pricing import Prices, most_tokens
from gpt4_instruct.progress import progress
from gpt4_instruct.records import Request, content_key
from gpt4_instruct.storage import replacing

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Account", "Merged", "account_table", "accounts", "export", "merge", "open_batches", "verify"]

_COLUMNS = (
    "key, teacher, endpoint, model, state, attempts, unknown_attempts, prompt_tokens, completion_tokens, "
    "by_batch, updated, request, response, error"
)
_NAMES = tuple(_COLUMNS.split(", "))
_MOST = 1 << 53  # of anything that is counted
_UNSURE = "(unknown_attempts + (state = 'sent' AND batch IS NULL))"
_STATES = ("intent", "sent", "settled", "failed", "unknown")


@dataclass(frozen=True, slots=True)
class Account:
    """The requests to one model in one state.

    Attributes:
        model: its name.
        endpoint: where it answers.
        by_batch: whether a batch answers, or answered.
        state: of the requests.
        requests: how many.
        attempts: how often they were sent.
        prompt_tokens: as the endpoint counted them.
        completion_tokens: likewise.
        cost_usd: of those tokens; none where the price is not known.
        unknown_attempts: how often a request may have been billed without an answer reaching us.
        risk_usd: the most those can have cost; none where the price is not known.
    """

    model: str
    endpoint: str
    by_batch: bool
    state: str
    requests: int
    attempts: int
    prompt_tokens: int
    completion_tokens: int
    cost_usd: float | None
    unknown_attempts: int
    risk_usd: float | None


def accounts(ledger: Ledger, prices: Prices) -> list[Account]:
    """Requests, tokens and money by model and state; the most that unknown attempts can have cost."""
    risks: dict[tuple[Any, ...], float] = {}
    # 'sent' is on its way, or was a run's that has been killed since: at risk, too, but in a batch, which is not lost.
    unknown = f"SELECT model, endpoint, by_batch, state, request, {_UNSURE} FROM requests WHERE {_UNSURE} > 0"
    for *group, content, attempts in ledger.query(unknown):
        price = prices.find(group[1], group[0])
        if price is not None:
            # At the full price, whoever answers in the end: what is lost was sent to be answered at once.
            most = price.usd(*most_tokens(Request.from_json(content)))
            risks[tuple(group)] = risks.get(tuple(group), 0.0) + attempts * most
    totals = (
        "SELECT model, endpoint, by_batch, state, count(*), sum(attempts), sum(prompt_tokens), "
        f"sum(completion_tokens), sum({_UNSURE}) FROM requests GROUP BY 1, 2, 3, 4"
    )
    found = []
    for model, endpoint, by_batch, state, requests, attempts, prompts, completions, unsure in ledger.query(totals):
        price = prices.find(endpoint, model)
        cost = None if price is None else price.usd(prompts, completions, batch=bool(by_batch))
        risk = None if price is None else risks.get((model, endpoint, by_batch, state), 0.0)
        found.append(
            Account(
                *(model, endpoint, bool(by_batch), state, requests, attempts, prompts, completions),
                *(cost, unsure, risk),
            )
        )
    return sorted(found, key=lambda each: (each.model, each.endpoint, each.by_batch, _STATES.index(each.state)))


def account_table(found: list[Account], batches: list[Batch], prices_checked: str) -> Table:
    """For the terminal: a line for each account, the sum, and what may have been paid twice."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=f"prices of {prices_checked}", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for name in ("model", "by", "state", "requests", "sent", "prompt tokens", "answer tokens", "USD", "at risk"):
        is_text = name in {"model", "by", "state"}
        table.add_column(name, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    several = len({(each.model, each.endpoint) for each in found}) > len({each.model for each in found})
    for each in found:
        model = f"{each.model} at {each.endpoint}" if several else each.model
        numbers = (each.requests, each.attempts, each.prompt_tokens, each.completion_tokens)
        risk = f"{each.unknown_attempts:,}: {_usd(each.risk_usd)}" if each.unknown_attempts else "-"
        by = "batch" if each.by_batch else "one"
        table.add_row(model, by, each.state, *(f"{number:,}" for number in numbers), _usd(each.cost_usd), risk)
    table.add_section()
    unsure = sum(each.unknown_attempts for each in found)
    risks = [each.risk_usd or 0.0 for each in found]
    sums = (sum(getattr(each, name) for each in found) for name in _SUMS)
    risk = f"{unsure:,}: {_usd(sum(risks))}" if unsure else ""
    table.add_row("all", "", "", *(f"{number:,}" for number in sums), _usd(sum(e.cost_usd or 0.0 for e in found)), risk)
    if unsure:
        table.caption = "at risk: attempts that may have been billed without an answer, and the most they can have cost"
    if batches:
        waiting = ", ".join(f"{batch.remote or batch.state} ({batch.requests:,} requests)" for batch in batches)
        table.caption = f"{table.caption or ''}\nopen batches: {waiting}".strip()
    return table


_SUMS = ("requests", "attempts", "prompt_tokens", "completion_tokens")


def _usd(value: float | None) -> str:
    return "?" if value is None else f"{value:,.4f}" if value < 1 else f"{value:,.2f}"


def open_batches(ledger: Ledger) -> list[Batch]:
    """The batches that have not ended, oldest first."""
    return [batch for batch in ledger.batches() if batch.state != "ended"]


def verify(ledger: Ledger) -> list[str]:
    """What is wrong with a ledger, one line each; nothing, if it is whole.

    Checks the file itself, that every key is the hash of its request, and that every settled response can be read.
    """
    wrong = [f"the file: {said}" for (said,) in ledger.query("PRAGMA integrity_check") if said != "ok"]
    (total,) = next(ledger.query("SELECT count(*) FROM requests"))
    with progress(lambda: total, "verify", "request") as bar:
        for key, state, content, response in ledger.query("SELECT key, state, request, response FROM requests"):
            problem = _problem(key, state, content, response)
            if problem:
                wrong.append(f"{key[:16]}…: {problem}")
            bar.update()
    return wrong


def _problem(key: str, state: str, content: str, response: str | None) -> str:
    if content_key(content) != key:
        return "the key is not the hash of the request"
    try:
        Request.from_json(content)
    except (ValueError, TypeError, KeyError):
        return "the request cannot be read"
    if state != "settled":
        return ""
    try:
        json.loads(response or "")["choices"][0]["message"]
    except (ValueError, KeyError, IndexError, TypeError):
        return "settled, but the response is not a chat completion"
    return ""


def export(ledger: Ledger, path: Path) -> int:
    """Writes every request to a JSON Lines file, whole or not at all; how many there are.

    Raises:
        OutputError: the file cannot be written.
    """
    count = 0
    (total,) = next(ledger.query("SELECT count(*) FROM requests"))
    with (
        replacing(path) as temporary,
        temporary.open("w", encoding="utf-8") as file,
        progress(lambda: total, "export", "request") as bar,
    ):
        for values in ledger.query(f"SELECT {_COLUMNS} FROM requests ORDER BY rowid"):
            row = dict(zip(_NAMES, values, strict=True))
            row.update(request=json.loads(row["request"]), by_batch=bool(row["by_batch"]))
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
            bar.update()
    return count


@dataclass(slots=True)
class Merged:
    """What became of the requests of another ledger.

    Attributes:
        added: new here, or settled there and not here.
        known: settled here already, or no better known there.
        rejected: lines that could not be used, with the reason of each.
    """

    added: int
    known: int
    rejected: list[str]


def merge(ledger: Ledger, path: Path) -> Merged:
    """Takes over what another ledger, or an export of one, knows. What is settled here stays as it is.

    Raises:
        LedgerError: the file is neither, or this ledger cannot be written.
    """
    if path.resolve() == ledger.path.resolve():
        raise LedgerError(f"{path} is this ledger itself: name another one, or an export")
    merged = Merged(0, 0, [])
    ledger.bury()  # what a killed run had sent is to be had
    with progress(lambda: None, "import", "request") as bar:
        for number, (origin, row) in enumerate(_rows(path)):
            problem = _unusable(row)
            if problem:
                merged.rejected.append(f"{origin}: {problem}")
            elif ledger.take(row):
                merged.added += 1
            else:
                merged.known += 1
            if number % 1000 == 0:
                ledger.commit()
            bar.update()
    ledger.commit()
    return merged


def _rows(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The requests of a ledger or of an export, as dicts with the ledger's columns."""
    try:
        with path.open("rb") as file:
            is_ledger = file.read(16) == b"SQLite format 3\x00"
        if is_ledger:
            other = Ledger(path)
            try:
                for values in other.query(f"SELECT {_COLUMNS} FROM requests ORDER BY rowid"):
                    yield path.name, dict(zip(_NAMES, values, strict=True))
            finally:
                other.close()
            return
        for line, row in read_rows(path):
            if not isinstance(row, dict):
                row = {"problem": f"not a request ({row if isinstance(row, ValueError) else type(row).__name__})"}
            if isinstance(row.get("request"), dict):
                # Canonical again: the key is the hash of exactly this text.
                row["request"] = json.dumps(row["request"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
            yield f"{path.name}:{line}", row
    except (OSError, ValueError) as error:
        raise LedgerError(f"{path} cannot be imported: {getattr(error, 'strerror', None) or error}") from None


def _unusable(row: dict[str, Any]) -> str:
    if "problem" in row:
        return str(row["problem"])
    missing = [name for name in ("key", "teacher", "endpoint", "model", "state", "request") if not row.get(name)]
    if missing:
        return f"no {missing[0]}"
    texts = ("key", "teacher", "endpoint", "model", "state", "request", "response", "error")
    wrong = [name for name in texts if not isinstance(row.get(name) or "", str)]
    for name in ("attempts", "unknown_attempts", "prompt_tokens", "completion_tokens"):
        count = row.get(name) or 0
        if not (isinstance(count, int) and 0 <= count < _MOST):
            wrong.append(name)
    if wrong:
        return f"{wrong[0]} is {str(row[wrong[0]])[:40]!r}"
    if row["state"] not in _STATES:
        return f"an unknown state {row['state']!r}"
    problem = _problem(row["key"], row["state"], row["request"], row.get("response"))
    if problem:
        return problem
    request = Request.from_json(row["request"])
    same = (row["endpoint"], row["model"]) == (request.endpoint, request.model)
    return "" if same else "endpoint and model are not those of the request"
