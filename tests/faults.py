"""An OpenAI-compatible endpoint on a real socket whose faults follow from a seed, and that counts what it bills.

Answers are a function of the prompt alone, and which attempt at a prompt fails in which way is a function of the seed,
the prompt and the attempt's number: a run repeats, whatever the order in which its requests arrive. The endpoint also
enforces rate limits as OpenAI or a stricter gateway does, and speaks the Batch API.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import math
import random
import socket
import struct
import time
from collections import Counter, deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.endpoint import Served

# Every fault, by the operation it befalls; "batch" is what becomes of a batch that was accepted. "after" means that the
# operation was done, and billed, before its answer was lost.
_CALL = ("500", "503", "reset")
FAULTS: dict[str, tuple[str, ...]] = {
    "chat": (
        *("429 retry-after", "429 headers", "429 bare", "500", "502 html", "503", "200 html"),
        *("slow", "hang", "reset", "hang after", "reset mid-body", "truncated"),
    ),
    "upload": (*_CALL, "500 after", "reset after"),
    "create": (*_CALL, "500 after", "reset after"),
    "retrieve": _CALL,
    "list": _CALL,
    "content": (*_CALL, "reset mid-body"),
    "batch": ("expired", "token limit", "line errors", "duplicates"),
}
MOST_LINES = 50_000  # of a batch's input file
MOST_BYTES = 200 << 20
_CHAT = "/v1/chat/completions"
_HTML = "<html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"
_WORDS = """
the a some every this river garden window teacher letter answer morning table story number question friend road is was
keeps finds brings follows opens shows and but near under after with for of small bright quiet early clear useful warm
often slowly there
""".split()  # noqa: SIM905


@functools.lru_cache(maxsize=10_000)
def answer_text(prompt: str) -> str:
    """The answer to a prompt: one or two English sentences of 8 to 40 words in all."""
    rng = random.Random(f"answer:{prompt}")
    words = rng.choices(_WORDS, k=rng.randint(8, 40))
    sentences = [words] if len(words) < 20 else [words[:10], words[10:]]
    return " ".join(" ".join(sentence).capitalize() + "." for sentence in sentences)


def is_refused(prompt: str, share: float = 0.05) -> bool:
    """Whether a prompt is one of those that always get a 400."""
    return _unit(f"refused:{prompt}") < share


def is_cut(prompt: str, share: float = 0.05) -> bool:
    """Whether a prompt is one of those whose answer always ends with finish_reason ``length``."""
    return _unit(f"cut:{prompt}") < share


def _unit(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7]) / (1 << 56)


def usage_of(prompt: str) -> dict[str, int]:
    asked, answered = len(prompt) // 4, len(answer_text(prompt).split()) * 4 // 3
    return {"prompt_tokens": asked, "completion_tokens": answered, "total_tokens": asked + answered}


def duration(seconds: float) -> str:
    """A duration as OpenAI's headers write it.

    >>> [duration(seconds) for seconds in (0, 0.12, 1, 8.64, 360, 3661.5)]
    ['0s', '120ms', '1s', '8.64s', '6m0s', '1h1m1.5s']
    """
    thousandths = math.ceil(round(seconds * 1000, 3))
    if 0 < thousandths < 1000:
        return f"{thousandths}ms"
    minutes, thousandths = divmod(thousandths, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h" * (hours > 0) + f"{minutes}m" * (hours + minutes > 0) + f"{thousandths / 1000:g}s"


@dataclass
class Ticket:
    """One admitted request: when, and what it took of the quota so far."""

    at: float  # time.monotonic()
    tokens: int


class Limits:
    """Rate limits, enforced when a request arrives.

    A `bucket` of a minute's worth starts full and refills continuously, as OpenAI's does. It is charged the prompt and
    `max_tokens`; with `refund`, the charge becomes what was really used once the answer is computed. A request that
    fails keeps its charge. A `window` admits what fits in the 60 s before it, by the tokens really used, and tells
    nothing in headers. `speed` shortens the minute: at 10 it lasts 6 s, and ``x-ratelimit-limit-*`` are per 6 s, too.
    """

    def __init__(
        self,
        requests_per_minute: int,
        tokens_per_minute: int,
        *,
        style: str = "bucket",
        headers: bool = True,
        refund: bool = True,
        speed: float = 1.0,
    ) -> None:
        assert style in ("bucket", "window")
        self.requests_per_minute, self.tokens_per_minute = requests_per_minute, tokens_per_minute
        self.bucket = style == "bucket"
        self.headers = headers and self.bucket
        self.refund = refund
        self.minute_s = 60 / speed
        self.admitted: list[Ticket] = []
        self._free_requests, self._free_tokens = float(requests_per_minute), float(tokens_per_minute)
        self._refilled_at = time.monotonic()
        self._window: deque[Ticket] = deque()
        self._window_tokens = 0

    @property
    def used_requests(self) -> int:
        return len(self.admitted)

    @property
    def used_tokens(self) -> int:
        return sum(ticket.tokens for ticket in self.admitted)

    def admit(self, charge: int, used: int) -> Ticket | str:
        """A ticket, or which limit refuses: ``requests`` or ``tokens``. `used` is what the answer will really use."""
        now = self._refill()
        if self.bucket:
            refused = "requests" if self._free_requests < 1 else "tokens" if self._free_tokens < charge else ""
        else:
            full = len(self._window) >= self.requests_per_minute
            refused = "requests" if full else "tokens" if self._window_tokens + used > self.tokens_per_minute else ""
        if refused:
            return refused
        ticket = Ticket(now, charge if self.bucket else used)
        self.admitted.append(ticket)
        if self.bucket:
            self._free_requests -= 1
            self._free_tokens -= charge
        else:
            self._window.append(ticket)
            self._window_tokens += used
        return ticket

    def settle(self, ticket: Ticket, used: int) -> None:
        """Corrects what an admitted request took, once that is known; 0 when nothing was computed for it."""
        now = self._refill()
        if self.bucket:
            if not (self.refund and used):
                return
            self._free_tokens = min(self.tokens_per_minute, self._free_tokens + ticket.tokens - used)
        elif ticket.at > now - self.minute_s:
            self._window_tokens += used - ticket.tokens
        ticket.tokens = used

    def as_headers(self, refused: int | None = None) -> dict[str, str]:
        """The headers of a response; for a request that is `refused`, by its charge, also when to come again."""
        if not self.headers:
            return {}
        self._refill()
        requests, tokens = self.requests_per_minute, self.tokens_per_minute
        found = {}
        for name, limit, free in (("requests", requests, self._free_requests), ("tokens", tokens, self._free_tokens)):
            found[f"x-ratelimit-limit-{name}"] = str(limit)
            found[f"x-ratelimit-remaining-{name}"] = str(max(0, int(free)))
            found[f"x-ratelimit-reset-{name}"] = duration((limit - free) / limit * self.minute_s)
        if refused is not None:
            wait = max((1 - self._free_requests) / requests, (refused - self._free_tokens) / tokens, 0)
            found["retry-after-ms"] = str(math.ceil(wait * self.minute_s * 1000))
        return found

    def _refill(self) -> float:
        now = time.monotonic()
        share = (now - self._refilled_at) / self.minute_s
        self._refilled_at = now
        self._free_requests = min(self.requests_per_minute, self._free_requests + share * self.requests_per_minute)
        self._free_tokens = min(self.tokens_per_minute, self._free_tokens + share * self.tokens_per_minute)
        while self._window and self._window[0].at <= now - self.minute_s:
            self._window_tokens -= self._window.popleft().tokens
        return now


class FaultyEndpoint(Served):
    """Answers chat completions, files and batches, with faults.

    `billed` is how often each prompt (the last message) was answered with 200, online or in a batch, whether or not the
    answer reached anybody, and `lost` how often a fault kept it from doing so; `statuses` counts responses, with 0 for a
    connection that was reset or timed out; `calls` counts requests by operation and `given` the faults, as
    ``"chat 500"``. `batches` are the batch objects as they are served, in the order in which they were made.

    Args:
        seed: of the plan of faults.
        faults: the probability that an attempt at a prompt is faulty.
        most_faults: never more faulty attempts than this for one prompt, faulty batches in all, or faulty calls in a
            row for one file, one batch or one collection: who retries succeeds.
        hang_s: how long a request that hangs is held before its connection is cut.
        latency_s: how long every answer takes.
        limits: rate limits for chat completions.
        batch_faults: the probability that a batch, or a call about batches and files, is faulty.
        batch_s: how long a batch takes.
        refused_share: of the prompts that always get a 400.
        length_share: of the prompts whose answer is always cut off.
        only: the faults that may happen, as `given` names them; all by default.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        faults: float = 0.0,
        most_faults: int = 3,
        hang_s: float = 1.0,
        latency_s: float = 0.005,
        limits: Limits | None = None,
        batch_faults: float = 0.0,
        batch_s: float = 0.1,
        refused_share: float = 0.05,
        length_share: float = 0.05,
        only: Collection[str] | None = None,
    ) -> None:
        super().__init__()
        self.seed, self.faults, self.batch_faults, self.most_faults = seed, faults, batch_faults, most_faults
        self.hang_s, self.latency_s, self.batch_s, self.limits = hang_s, latency_s, batch_s, limits
        self.refused_share, self.length_share, self.only = refused_share, length_share, only
        self.billed: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.tokens_billed = 0
        self.requests = 0
        self.calls: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()
        self.given: Counter[str] = Counter()
        self.objects: dict[str, dict[str, Any]] = {}  # files and batches, as they are served
        self.contents: dict[str, bytes] = {}
        self._files_made = 0
        self._attempts: Counter[tuple[str, str]] = Counter()
        self._faulty: Counter[tuple[str, str]] = Counter()
        self._work: set[asyncio.Task[None]] = set()

    @property
    def batches(self) -> list[dict[str, Any]]:
        return [found for found in list(self.objects.values()) if found["object"] == "batch"]

    @property
    def files(self) -> list[dict[str, Any]]:
        return [found for found in list(self.objects.values()) if found["object"] == "file"]

    @property
    def answered_429(self) -> int:
        return self.statuses[429]

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 30, middlewares=[self._handle])
        for method, path, operation, handler in (
            ("POST", _CHAT, "chat", self._chat),
            ("POST", "/v1/files", "upload", self._upload),
            ("GET", "/v1/files", "files", self._list_files),
            ("GET", "/v1/files/{id}", "file", self._show),
            ("GET", "/v1/files/{id}/content", "content", self._content),
            ("DELETE", "/v1/files/{id}", "delete", self._delete),
            ("POST", "/v1/batches", "create", self._create),
            ("GET", "/v1/batches", "list", self._list_batches),
            ("GET", "/v1/batches/{id}", "retrieve", self._show),
            ("POST", "/v1/batches/{id}/cancel", "cancel", self._cancel),
        ):
            app.router.add_route(method, path, handler, name=operation)
        return app

    async def leave(self) -> None:
        for task in self._work:
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)

    # What every request passes through.

    @web.middleware
    async def _handle(self, http: web.Request, handler: Any) -> web.StreamResponse:
        operation = http.match_info.route.name or "unknown"
        self.requests += 1
        self.calls[operation] += 1
        try:
            if http.headers.get("Authorization") != f"Bearer {self.key}":
                response = _error(401, "Incorrect API key provided.", code="invalid_api_key")
            elif operation == "chat":
                response = await handler(http)
            else:
                response = await self._handle_call(http, handler, operation)
        except ConnectionError:  # the client went away in the middle of its request
            response = await _cut(http)
        self.statuses[0 if isinstance(response, _Cut) else response.status] += 1
        return response

    async def _handle_call(self, http: web.Request, handler: Any, operation: str) -> web.Response:
        subject = http.match_info.get("id", "")
        fault = self._fault(operation, subject, self.batch_faults)
        if not fault:
            self._faulty[operation, subject] = 0
        if fault in ("500", "503"):
            return _error(int(fault), "The server had an error.", type="server_error")
        if fault == "reset":
            return await _cut(http)
        if subject and subject not in self.objects:
            return _error(404, f"No such object: {subject}", param="id")
        response: web.Response = await handler(http)
        if fault == "500 after":
            return _error(500, "The server had an error.", type="server_error")
        if fault == "reset after":
            return await _cut(http)
        if fault == "reset mid-body" and isinstance(response.body, bytes):
            return await _cut(http, response.body)
        return response

    def _fault(self, operation: str, subject: str, probability: float) -> str:
        """What befalls the next attempt at `subject`; empty when nothing does."""
        number = self._attempts[operation, subject]
        self._attempts[operation, subject] += 1
        kinds = [kind for kind in FAULTS.get(operation, ()) if self.only is None or f"{operation} {kind}" in self.only]
        rng = random.Random(f"{self.seed}:{subject or operation}:{number}")
        if not kinds or self._faulty[operation, subject] >= self.most_faults or rng.random() >= probability:
            return ""
        kind = rng.choice(kinds)
        self._faulty[operation, subject] += 1
        self.given[f"{operation} {kind}"] += 1
        return kind

    # Chat completions.

    def _answer(self, request: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """Computes an answer, and bills it."""
        prompt = request["messages"][-1]["content"]
        if is_refused(prompt, self.refused_share):
            return 400, _problem("This prompt is not accepted.", param="messages")
        usage = usage_of(prompt)
        self.billed[prompt] += 1
        self.tokens_billed += usage["total_tokens"]
        message = {"role": "assistant", "content": answer_text(prompt)}
        reason = "length" if is_cut(prompt, self.length_share) else "stop"
        name = f"chatcmpl-{hashlib.sha256(prompt.encode()).hexdigest()[:24]}"
        completion = {"id": name, "object": "chat.completion", "created": 1, "model": f"{request['model']}-0613"}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        return 200, {**completion, "choices": [choice], "usage": usage}

    async def _chat(self, http: web.Request) -> web.Response:
        request = await http.json()
        prompt = request["messages"][-1]["content"]
        charge = len(prompt) // 4 + (request.get("max_tokens") or request.get("max_completion_tokens") or 0)
        ticket = self.limits.admit(charge, usage_of(prompt)["total_tokens"]) if self.limits else None
        if self.limits and isinstance(ticket, str):  # no attempt: limits depend on time, which faults must not
            return self._too_many(self.limits.as_headers(charge), ticket)
        fault = self._fault("chat", prompt, self.faults)
        await asyncio.sleep(self.latency_s)
        failure = await self._fail(http, fault, random.Random(f"{self.seed}:{prompt}:{fault}"))
        status, body = (0, {}) if failure is not None else self._answer(request)
        if self.limits and isinstance(ticket, Ticket):
            self.limits.settle(ticket, body["usage"]["total_tokens"] if status == 200 else 0)
        if failure is not None:
            return failure
        text = json.dumps(body).encode()
        if status == 200 and fault in ("hang after", "reset mid-body", "truncated"):
            self.lost[prompt] += 1
            if fault == "reset mid-body":
                return await _cut(http, text)
            if fault == "hang after":
                await asyncio.sleep(self.hang_s)
                return await _cut(http)
            text = text[: len(text) // 2]
        return web.Response(body=text, status=status, headers=self._headers(), content_type="application/json")

    async def _fail(self, http: web.Request, fault: str, rng: random.Random) -> web.Response | None:
        """The response to an attempt for which nothing is computed; none if something is."""
        wait_ms = rng.randint(5, 50)
        match fault:
            case "429 retry-after":
                return self._too_many({**self._headers(), "retry-after-ms": str(wait_ms)})
            case "429 headers":
                # Limits so high that who believes them is not held up by them.
                headers = (self.limits or Limits(1_000_000, 1_000_000_000)).as_headers()
                if headers:
                    headers |= {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": f"{wait_ms}ms"}
                return self._too_many(headers)
            case "429 bare":
                return self._too_many({})
            case "500" | "503":
                message = "The server had an error." if fault == "500" else "The engine is currently overloaded."
                return _error(int(fault), message, self._headers(), type="server_error")
            case "502 html":  # from a proxy, as is the next: it knows nothing of limits
                return web.Response(status=502, text=_HTML.format("502 Bad Gateway"), content_type="text/html")
            case "200 html":
                return web.Response(text=_HTML.format("We will be back soon"), content_type="text/html")
            case "hang":
                await asyncio.sleep(self.hang_s)
                return await _cut(http)
            case "reset":
                return await _cut(http)
            case "slow":
                await asyncio.sleep(rng.uniform(0.05, 0.2))
        return None

    def _too_many(self, headers: dict[str, str], which: str = "requests") -> web.Response:
        return _error(429, f"Rate limit reached on {which}.", headers, type=which, code="rate_limit_exceeded")

    def _headers(self) -> dict[str, str]:
        return self.limits.as_headers() if self.limits else {}

    # Files.

    async def _upload(self, http: web.Request) -> web.Response:
        purpose, name, content = "", "", None
        async for part in await http.multipart():
            if part.name == "file":
                name, content = part.filename or "", bytes(await part.read())
            elif part.name == "purpose":
                purpose = await part.text()
        if content is None or not purpose:
            return _error(400, "A file and its purpose are required.", param="purpose" if content else "file")
        return web.json_response(self._keep(name, purpose, content))

    def _keep(self, name: str, purpose: str, content: bytes) -> dict[str, Any]:
        self._files_made += 1
        info: dict[str, Any] = {
            "id": f"file-{self._files_made:06d}",
            "object": "file",
            "filename": name,
            "purpose": purpose,
        }
        info |= {"bytes": len(content), "created_at": int(time.time()), "status": "processed"}
        self.objects[info["id"]], self.contents[info["id"]] = info, content
        return info

    async def _list_files(self, http: web.Request) -> web.Response:
        purpose = http.query.get("purpose")
        files = [info for info in self.files if purpose in (None, info["purpose"])]
        return _page(files if http.query.get("order") == "asc" else files[::-1], http, 10_000)

    async def _show(self, http: web.Request) -> web.Response:
        return web.json_response(self.objects[http.match_info["id"]])

    async def _content(self, http: web.Request) -> web.Response:
        return web.Response(body=self.contents[http.match_info["id"]], content_type="application/octet-stream")

    async def _delete(self, http: web.Request) -> web.Response:
        deleted = http.match_info["id"]
        del self.objects[deleted], self.contents[deleted]
        return web.json_response({"id": deleted, "object": "file", "deleted": True})

    # Batches.

    async def _create(self, http: web.Request) -> web.Response:
        request = await http.json()
        file, metadata = self.objects.get(request.get("input_file_id")), request.get("metadata") or {}
        if file is None or file.get("purpose") != "batch":
            return _error(400, "No such file of purpose batch.", param="input_file_id")
        if request.get("endpoint") != _CHAT or request.get("completion_window") != "24h":
            return _error(400, "Invalid endpoint or completion_window.", param="endpoint")
        if len(metadata) > 16 or any(len(key) > 64 or len(value) > 512 for key, value in metadata.items()):
            return _error(400, "At most 16 pairs, of at most 64 and 512 characters.", param="metadata")
        batch: dict[str, Any] = {"id": f"batch_{len(self.batches) + 1:06d}", "object": "batch", "endpoint": _CHAT}
        batch |= {"input_file_id": file["id"], "completion_window": "24h", "metadata": metadata, "errors": None}
        batch |= {"output_file_id": None, "error_file_id": None}
        batch |= {"request_counts": {"total": 0, "completed": 0, "failed": 0}, "status": "validating"}
        batch |= {"created_at": int(time.time()), "expires_at": int(time.time()) + 86_400}
        self.objects[batch["id"]] = batch
        task = asyncio.create_task(self._run(batch, self.contents[file["id"]]))
        self._work.add(task)
        task.add_done_callback(self._work.discard)
        return web.json_response(batch)

    async def _run(self, batch: dict[str, Any], content: bytes) -> None:
        """A batch's life, whether or not anybody looks; `_cancel` only sets the status, which is looked at here."""
        fault = self._fault("batch", "", self.batch_faults)
        rng = random.Random(f"{self.seed}:{batch['id']}")
        await asyncio.sleep(self.batch_s / 4)
        lines, errors = _validate(content)
        if fault == "token limit":
            errors = [_batch_error("token_limit_exceeded", "Enqueued token limit reached. Please try again later.")]
        if batch["status"] == "validating":
            if errors:
                batch["errors"] = {"object": "list", "data": errors}
                return _enter(batch, "failed")
            _enter(batch, "in_progress")
        rng.shuffle(lines)
        counts = batch["request_counts"]
        counts["total"] = len(lines)
        outputs: list[dict[str, Any]] = []
        failures: list[dict[str, Any]] = []
        end = int(rng.random() * len(lines)) if fault == "expired" else len(lines)
        unlucky = int(rng.random() * len(lines)) if fault == "line errors" else -1
        done = 0
        while done < end:
            if done % math.ceil(len(lines) / 10) == 0:
                await asyncio.sleep(self.batch_s / 20)
            if batch["status"] == "cancelling":
                break
            line = lines[done]
            if done == unlucky or (unlucky >= 0 and rng.random() < 0.3):
                status = rng.choice([429, 500])
                body = _problem("The request could not be processed. Try again later.", type="server_error")
            else:
                status, body = self._answer(line["body"])
            response = {"status_code": status, "request_id": f"req_{done}", "body": body}
            (outputs if status == 200 else failures).append(_output_line(batch, line, response=response))
            done += 1
            counts.update(completed=len(outputs), failed=len(failures))
        cancelled = batch["status"] == "cancelling"
        for line in lines[done:]:
            code = "batch_cancelled" if cancelled else "batch_expired"
            error = {"code": code, "message": "This request was not executed before the batch ended."}
            failures.append(_output_line(batch, line, error=error))
        if fault == "duplicates" and outputs:
            outputs += rng.choices(outputs, k=math.ceil(len(outputs) / 3))
            rng.shuffle(outputs)
        if not cancelled:
            _enter(batch, "finalizing")
        await asyncio.sleep(self.batch_s / 4)
        for field, found in (("output_file_id", outputs), ("error_file_id", failures)):
            if found:
                text = "".join(json.dumps(line) + "\n" for line in found)
                batch[field] = self._keep(f"{batch['id']}_{field}.jsonl", "batch_output", text.encode())["id"]
        ended = "expired" if fault == "expired" else "completed"
        _enter(batch, "cancelled" if batch["status"] == "cancelling" else ended)

    async def _list_batches(self, http: web.Request) -> web.Response:
        return _page(self.batches[::-1], http, 20)

    async def _cancel(self, http: web.Request) -> web.Response:
        batch = self.objects[http.match_info["id"]]
        if batch["status"] in ("completed", "failed", "expired", "cancelled"):
            return _error(409, f"Cannot cancel a batch with status '{batch['status']}'.")
        if batch["status"] != "cancelling":
            _enter(batch, "cancelling")
        return web.json_response(batch)


def _validate(content: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The lines of an input file, and what is wrong with it."""
    if len(content) > MOST_BYTES:
        return [], [_batch_error("file_too_large", "The input file is larger than 200 MB.")]
    lines: dict[str, dict[str, Any]] = {}
    errors = []
    model = None
    for number, raw in enumerate(content.splitlines(), 1):
        if not raw.strip():
            continue
        try:
            line = json.loads(raw)
            custom_id, body = line["custom_id"], line["body"]
            model = model or body["model"]
            known = line["method"] == "POST" and line["url"] == _CHAT and isinstance(custom_id, str)
            body["messages"][-1]["content"]
        except ValueError:
            errors.append(_batch_error("invalid_json_line", "This line is not parseable as valid JSON.", number))
            continue
        except (LookupError, TypeError):
            known = False
        if not known:
            errors.append(_batch_error("invalid_request", "A field is missing or wrong.", number))
        elif custom_id in lines:
            errors.append(_batch_error("duplicate_custom_id", f"The custom_id '{custom_id}' is used twice.", number))
        elif body["model"] != model:
            errors.append(_batch_error("mismatched_model", "A batch has a single model.", number))
        else:
            lines[custom_id] = line
    if len(lines) > MOST_LINES:
        errors.append(_batch_error("too_many_tasks", f"The input file holds more than {MOST_LINES} requests."))
    if not lines and not errors:
        errors.append(_batch_error("empty_file", "The input file holds no requests."))
    return list(lines.values()), errors


def _enter(batch: dict[str, Any], status: str) -> None:
    batch["status"] = status
    batch[f"{status}_at"] = int(time.time())


def _batch_error(code: str, message: str, line: int | None = None) -> dict[str, Any]:
    return {"code": code, "message": message, "line": line, "param": None}


def _output_line(batch: dict[str, Any], line: dict[str, Any], **result: Any) -> dict[str, Any]:
    identity = {"id": f"batch_req_{batch['id']}_{line['custom_id']}", "custom_id": line["custom_id"]}
    return {**identity, "response": None, "error": None, **result}


def _page(items: list[dict[str, Any]], http: web.Request, limit: int) -> web.Response:
    ids = [item["id"] for item in items]
    after = http.query.get("after")
    if after is not None and after not in ids:
        return _error(404, f"No such object: {after}", param="after")
    start = 0 if after is None else ids.index(after) + 1
    end = start + int(http.query.get("limit", limit))
    first, last = (ids[start:end][:1] or [None])[0], (ids[start:end][-1:] or [None])[0]
    page = {"object": "list", "data": items[start:end], "first_id": first, "last_id": last}
    return web.json_response({**page, "has_more": end < len(items)})


def _problem(message: str, **fields: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}}


def _error(status: int, message: str, headers: dict[str, str] | None = None, **fields: str) -> web.Response:
    return web.json_response(_problem(message, **fields), status=status, headers=headers)


class _Cut(web.Response):
    """Stands for a response that was never, or not wholly, sent."""


async def _cut(http: web.Request, body: bytes = b"") -> _Cut:
    """Resets the connection: before any byte, or in the middle of a body."""
    with contextlib.suppress(ConnectionError):  # the client may be gone
        if body:
            headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
            response = web.StreamResponse(headers=headers)
            await response.prepare(http)
            await response.write(body[: len(body) // 2])
    if http.transport is not None:
        connection = http.transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            # With this the kernel sends a reset, as a crash does; without, an orderly end.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        http.transport.abort()
    return _Cut()
