"""An OpenAI-compatible endpoint on a real socket that does what a test tells it, and counts what it bills."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web


@dataclass
class Reply:
    """What to answer: a text, or a fault."""

    text: str = "This is a fine answer."
    status: int = 200
    finish_reason: str = "stop"
    headers: dict[str, str] = field(default_factory=dict)
    body: str | None = None  # instead of a completion
    delay_s: float = 0.0
    reset: bool = False  # cut the connection in the middle of the body
    message: dict[str, Any] | None = None


Script = Callable[[dict[str, Any], int], Reply | str]


class Served:
    """An aiohttp application on loopback, on a thread and an event loop of its own; a context manager.

    Attributes:
        url: its base address, as the openai client wants it.
        key: the API key that it expects.
        port: where it listens; any that is free by default.
    """

    key = "sk-test-0123456789-secret"
    url: str
    port = 0

    def __init__(self) -> None:
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def application(self) -> web.Application:
        """What is served."""
        raise NotImplementedError

    async def leave(self) -> None:
        """Ends what is still going on."""

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *error: object) -> None:
        if not self._thread.is_alive():  # a test has ended it already
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        runner = web.AppRunner(self.application(), access_log=None, shutdown_timeout=0.1)
        self._loop.run_until_complete(runner.setup())
        self._loop.run_until_complete(web.TCPSite(runner, "127.0.0.1", self.port).start())
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        self._ready.set()
        self._loop.run_forever()
        self._loop.run_until_complete(self.leave())
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()


class Endpoint(Served):
    """Answers ``/v1/chat/completions`` by `script(request, how many times it was asked before)`.

    `asked` holds every request in order, `billed` how often each prompt was answered with 200.
    """

    def __init__(self, script: Script | None = None) -> None:
        super().__init__()
        self.script: Script = script or (lambda request, count: Reply())
        self.asked: list[dict[str, Any]] = []
        self.billed: Counter[str] = Counter()
        self.in_flight = 0
        self.most_in_flight = 0
        self._seen: Counter[str] = Counter()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_post("/v1/chat/completions", self._answer)
        return app

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        raw = await http.text()
        request = json.loads(raw)
        count = self._seen[raw]
        self._seen[raw] += 1
        self.asked.append(request)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if http.headers.get("Authorization") != f"Bearer {self.key}":
                return _error(
                    401, "invalid_api_key", f"Incorrect API key provided: {http.headers.get('Authorization')}"
                )
            reply = self.script(request, count)
            if isinstance(reply, str):
                reply = Reply(reply)
            await asyncio.sleep(reply.delay_s)
            if reply.status == 200:
                self.billed[request["messages"][-1]["content"]] += 1
            return await self._reply(http, request, reply)
        finally:
            self.in_flight -= 1

    async def _reply(self, http: web.Request, request: dict[str, Any], reply: Reply) -> web.StreamResponse:
        body = reply.body if reply.body is not None else _completion(request, reply)
        if reply.reset:
            response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "100000"})
            await response.prepare(http)
            await response.write(body[: len(body) // 2].encode())
            assert http.transport is not None
            http.transport.abort()
            return response
        return web.Response(text=body, status=reply.status, headers=reply.headers, content_type="application/json")


class Slots(Endpoint):
    """A server of some speed: it answers so many requests at a time, each in `seconds`; the others wait."""

    def __init__(self, slots: int, seconds: float, *, port: int = 0) -> None:
        super().__init__(lambda request, count: Reply(delay_s=seconds))
        self.port = port
        self._free = asyncio.Semaphore(slots)

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        async with self._free:
            return await super()._answer(http)


def _completion(request: dict[str, Any], reply: Reply) -> str:
    if reply.status != 200:
        return json.dumps({"error": {"message": reply.text, "type": "error", "code": None, "param": None}})
    prompt = request["messages"][-1]["content"]
    return json.dumps(
        {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": f"{request['model']}-0613",
            "choices": [
                {
                    "index": 0,
                    "message": reply.message or {"role": "assistant", "content": reply.text},
                    "finish_reason": reply.finish_reason,
                }
            ],
            "usage": {"prompt_tokens": len(prompt) // 4, "completion_tokens": len(reply.text) // 4, "total_tokens": 1},
        }
    )


def _error(status: int, code: str, message: str) -> web.Response:
    error = {"message": message, "type": "invalid_request_error", "code": code, "param": None}
    return web.json_response({"error": error}, status=status)


def error_reply(status: int, code: str | None, message: str = "no", **fields: Any) -> Reply:
    """A reply that is an error in the API's shape."""
    error = {"message": message, "type": "error", "code": code, "param": fields.pop("param", None)}
    return Reply(status=status, body=json.dumps({"error": error}), **fields)
