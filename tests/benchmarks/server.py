"""The endpoint that the benchmark of the engine asks: OpenAI-compatible, and as cheap as Python allows.

    python tests/benchmarks/server.py [--delay-ms 50] [--rate-limit 1000000]

It shares its processor with the client that is measured, so it does as little as it can: HTTP/1.1 by hand on an
`asyncio.Protocol`, one prepared answer for every request, sent after a delay. It prints its port, and ends when its
standard input does, which is when whoever started it ends. `GET /stats` says what came, `GET /reset` forgets it.

`tests/endpoint.py` is for tests: it does what it is told, and costs ten times as much.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import sys
import time
from typing import Any

MODEL = "bench-1"
_MOST_BYTES = 1 << 20  # of one request
_MOST_CONNECTIONS = 4096
_LONGEST_LIFE_S = 3600.0

_ANSWER = {
    "id": "chatcmpl-BqXk2mVbW1Zr7dTqk0hY5c9LJf3sE",
    "object": "chat.completion",
    "created": 1_700_000_000,
    "model": f"{MODEL}-0613",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Jupiter is the largest planet of the solar system: more than twice as heavy as all the "
                "others together.",
            },
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 52, "completion_tokens": 21, "total_tokens": 73},
}
_MODELS = {"object": "list", "data": [{"id": MODEL, "object": "model", "created": 1_700_000_000, "owned_by": "bench"}]}


class Endpoint:
    """What the connections share: the prepared answers, and the counts."""

    def __init__(self, delay_s: float, rate_limit: int | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.delay_s = delay_s
        self.answer = _response("200 OK", _ANSWER, _rate_limit_headers(rate_limit) if rate_limit else "")
        self.models = _response("200 OK", _MODELS)
        self.connections = 0
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Forgets what came before the clock of a benchmark starts."""
        self.requests = 0
        self.most_in_flight = 0
        self.cpu_before = time.process_time()
        self.first_came: float | None = None
        self.last_left: float | None = None

    def stats(self) -> bytes:
        """The counts; the seconds from the first request's arrival to the last answer's departure; and, of those, the
        processor's, which tell whether this endpoint was what the client waited for."""
        counts = {
            "requests": self.requests,
            "most_in_flight": self.most_in_flight,
            "busy_s": max((self.last_left or 0.0) - (self.first_came or 0.0), 0.0),
            "cpu_s": time.process_time() - self.cpu_before,
        }
        return _response("200 OK", counts)


class Connection(asyncio.Protocol):
    """One connection: one request at a time, each with a Content-Length, kept alive."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport: Any = None
        self._received = b""
        self._answering = False

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._endpoint.connections += 1
        if self._endpoint.connections > _MOST_CONNECTIONS:
            transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        self._endpoint.connections -= 1
        self._transport = None

    def data_received(self, data: bytes) -> None:
        received = self._received = self._received + data if self._received else data
        if self._answering:
            return
        if len(received) > _MOST_BYTES:
            self._transport.abort()
            return
        end = received.find(b"\r\n\r\n")
        if end < 0:
            return
        if received.startswith(b"POST /v1/chat/completions "):
            headers = received[:end].lower()
            start = headers.find(b"\r\ncontent-length:")
            if start < 0:
                self._refuse("411 Length Required")
                return
            stop = headers.find(b"\r\n", start + 17)
            length = int(headers[start + 17 : stop if stop > 0 else end])
            rest = len(received) - (end + 4 + length)
            if rest < 0:
                return
            self._received = received[-rest:] if rest else b""
            self._take()
        elif received.startswith(b"GET /"):
            self._received = received[end + 4 :]
            path = received[4 : received.find(b" ", 4)]
            if path == b"/stats":
                self._transport.write(self._endpoint.stats())
            elif path == b"/reset":
                self._endpoint.reset()
                self._transport.write(self._endpoint.stats())
            elif path == b"/v1/models":
                self._transport.write(self._endpoint.models)
            else:
                self._refuse("404 Not Found")
        else:
            self._refuse("404 Not Found")

    def _take(self) -> None:
        endpoint = self._endpoint
        if endpoint.first_came is None:
            endpoint.first_came = time.monotonic()
        endpoint.requests += 1
        endpoint.in_flight += 1
        if endpoint.in_flight > endpoint.most_in_flight:
            endpoint.most_in_flight = endpoint.in_flight
        self._answering = True
        endpoint.loop.call_later(endpoint.delay_s, self._give)

    def _give(self) -> None:
        endpoint = self._endpoint
        endpoint.in_flight -= 1
        endpoint.last_left = time.monotonic()
        self._answering = False
        if self._transport is None:  # the client went away
            return
        self._transport.write(endpoint.answer)
        if self._received:
            self.data_received(b"")

    def _refuse(self, status: str) -> None:
        self._transport.write(_response(status, {"error": {"message": status, "type": "invalid_request_error"}}))
        self._transport.close()


def _response(status: str, content: dict[str, Any], headers: str = "") -> bytes:
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _rate_limit_headers(limit: int) -> str:
    return "".join(
        f"x-ratelimit-limit-{what}: {limit}\r\nx-ratelimit-remaining-{what}: {limit}\r\nx-ratelimit-reset-{what}: 1ms\r\n"
        for what in ("requests", "tokens")
    )


async def serve(delay_s: float, rate_limit: int | None) -> None:
    """Answers on a free port until standard input ends."""
    loop = asyncio.get_running_loop()
    endpoint = Endpoint(delay_s, rate_limit)
    server = await loop.create_server(lambda: Connection(endpoint), "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), lambda: sys.stdin.buffer.raw.read(1024) or ended.set())  # type: ignore[attr-defined]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(ended.wait(), _LONGEST_LIFE_S)
    server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--delay-ms", type=float, default=50.0)
    parser.add_argument("--rate-limit", type=int, help="send x-ratelimit headers with this limit")
    options = parser.parse_args()
    asyncio.run(serve(options.delay_ms / 1000, options.rate_limit))


if __name__ == "__main__":
    main()
