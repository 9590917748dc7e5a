"""A loopback server that has the released files as raw.githubusercontent.com has them, and every fault of a download."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from gpt4_instruct.prompts.tasks import render_alpaca
from gpt4_instruct.sources import released

__all__ = ["ReleasedServer", "blob_of", "contents", "patched", "release"]


def blob_of(content: bytes) -> str:
    """The git blob id, computed another way than the package does."""
    return hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()


def contents(rows: int = 30) -> dict[str, bytes]:
    """Files of the released shapes, with rows of our own."""

    def alpaca(number: int) -> dict[str, Any]:
        given = f" {number}, {number + 1} " if number % 3 == 0 else ""
        return {"instruction": f"Add {number}. ", "input": given, "output": f"It is {2 * number}."}

    def chinese(number: int) -> dict[str, Any]:
        return {"instruction": f"把{number}加一。", "input": "", "output": f"是{number + 1}。"}

    def scored(number: int) -> dict[str, Any]:
        sources = ("gpt4", "text-davinci-003", "icm-1.3b")
        answers = [
            {"response": f"{number}!", "source": source, "score": 9.0 - 2 * at} for at, source in enumerate(sources)
        ]
        return {"user_input": render_alpaca(f"Say {number}."), "responses_and_scores": answers}

    made: dict[str, Callable[[int], dict[str, Any]]] = {
        "english": alpaca,
        "chinese": chinese,
        "comparison": scored,
        "unnatural": lambda number: {**alpaca(number), "label": f"{2 * number}"},
        "alpaca": alpaca,
    }
    return {
        name: json.dumps([row(number) for number in range(rows)], ensure_ascii=False, indent=4).encode()
        for name, row in made.items()
    }


class ReleasedServer:
    """Serves `files` (by their names in the table) at the table's paths.

    Attributes:
        asked: the Range header of every request, or none.
        cut_after: bytes after which an answer's connection is closed.
        cuts: how many answers are cut.
        status: answered instead, while `refusals` lasts.
        ranges: whether parts can be asked for.
    """

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = {
            f"/{each.repository}/{each.commit}/{each.path}": files[name]
            for name, each in released.RELEASED.items()
            if name in files
        }
        self.asked: list[str | None] = []
        self.cut_after, self.cuts = 0, 0
        self.status, self.refusals = 503, 0
        self.ranges = True
        self.slow = threading.Event()
        self.slow.set()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                owner._answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> ReleasedServer:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range")
        self.asked.append(asked)
        content = self.files.get(request.path)
        if content is None or self.refusals > 0:
            self.refusals -= content is not None
            request.send_response(self.status if content is not None else 404)
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        if start >= len(content):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(content)}")
            request.send_header("Content-Length", "0")
            request.end_headers()
            return
        request.send_response(206 if asked and self.ranges else 200)
        if asked and self.ranges:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        body = content[start:]
        request.send_header("Content-Length", str(len(body)))
        request.end_headers()
        self.slow.wait(10)
        if self.cuts > 0:
            self.cuts -= 1
            body = body[: self.cut_after]
            request.close_connection = True
        request.wfile.write(body)


def release(monkeypatch: pytest.MonkeyPatch, files: Mapping[str, bytes]) -> None:
    """For one test, makes these files the released ones."""
    for name, each in patched(files).items():
        monkeypatch.setitem(released.RELEASED, name, each)


def patched(files: Mapping[str, bytes]) -> dict[str, Any]:
    """The table, with the blob ids of these files."""
    return {
        name: replace(each, blob=blob_of(files[name])) if name in files else each
        for name, each in released.RELEASED.items()
    }
