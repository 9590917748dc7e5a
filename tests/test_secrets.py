"""Keys planted in the environment, in headers and in error bodies: nowhere on disk, nowhere on the screen."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.endpoint import Endpoint, Reply, error_reply
from tests.faults import FaultyEndpoint

PLANTED = {
    "OPENAI_API_KEY": Endpoint.key,
    "HF_TOKEN": "hf_plantedInTheEnvironment01",
    "AWS_SECRET_ACCESS_KEY": "wJalrPlantedSecretAccessKey0123",
}
BUILD = ("build", "english", "--out", "out")
OTHERS = "sk-somebody-elses-key-0123456789"


def run(tmp_path: Path, url: str, *arguments: str) -> str:
    """A command with everything it may write below `tmp_path`; what it said."""
    environment = {
        **{name: value for name, value in os.environ.items() if name in {"PATH", "LANG"}},
        **PLANTED,
        "OPENAI_BASE_URL": url,
        "HOME": str(tmp_path),
        "TMPDIR": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "gpt4_instruct", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=100)
    return done.stdout + done.stderr


def nowhere(tmp_path: Path, said: str) -> None:
    for secret in (*PLANTED.values(), OTHERS):
        assert secret not in said
        for file in tmp_path.rglob("*"):
            if file.is_file():
                assert secret.encode() not in file.read_bytes(), f"{secret} stands in {file}"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([{"instruction": f"Do thing number {n}.", "input": ""} for n in range(9)]))
    return path


def test_nowhere_on_disk_or_screen(tmp_path, source):
    everything = " ".join([*PLANTED.values(), OTHERS])

    def script(request, count):
        number = int(request["messages"][0]["content"].split("number ")[1].split(".")[0])
        headers = {"x-request-id": everything, "x-ratelimit-limit-requests": everything}
        return [
            error_reply(400, None, f"what about {everything}?", headers=headers),
            error_reply(400, f"code {OTHERS}", everything, param=everything, headers=headers),
            error_reply(500, None, f"Authorization: Bearer {Endpoint.key}", headers=headers) if count < 2 else "Fine.",
            Reply(body=f"<html>{everything}</html>", headers=headers) if count < 1 else "Fine.",
            f"The answer holds {' '.join(PLANTED.values())}.",
        ][min(number, 4)]

    with Endpoint(script) as server:
        said = run(tmp_path, server.url, *BUILD, "--teacher", "openai:gpt-4o", "--source", str(source))
        assert "7 rows accepted, 2 rejected" in said
        said += run(tmp_path, server.url, "ledger", "show")
        said += run(tmp_path, server.url, "ledger", "export", str(tmp_path / "export.jsonl"))
        assert "9 requests written" in said
        assert "[redacted]" in (tmp_path / "out" / "rejects" / "english.jsonl").read_text()
        server.script = lambda request, count: error_reply(401, "invalid_api_key", f"Wrong key: {everything}")
        said += run(tmp_path, server.url, *BUILD, "--teacher", "openai:other", "--overwrite")
        assert "invalid_api_key" in said
    nowhere(tmp_path, said)


def test_nowhere_with_batches_either(tmp_path, source):
    with FaultyEndpoint(3, batch_faults=0.5, batch_s=0.05, refused_share=0.2) as server:
        assert server.key == PLANTED["OPENAI_API_KEY"]
        said = run(tmp_path, server.url, *BUILD, "--teacher", "openai-batch:m", "--source", str(source))
        assert "rows accepted" in said
    nowhere(tmp_path, said)
