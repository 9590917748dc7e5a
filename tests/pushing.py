"""What the tests of pushes do in a client's process (`tests.hub.Client`): build, push, load; small, and without waits."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gpt4_instruct.publishing.push_result import PushResult

__all__ = ["build_data", "found_in", "impatient", "load_rows", "push_folder", "upload_file", "waits"]

_WAITS: list[float] = []


def impatient() -> None:
    """Makes every wait of this process a thousandth of what it would be, and remembers what it would be."""
    real = time.sleep

    def sleep(seconds: float) -> None:
        _WAITS.append(seconds)
        real(seconds / 1_000)

    time.sleep = sleep


def waits() -> list[float]:
    """The waits since the last call, in seconds."""
    found = list(_WAITS)
    _WAITS.clear()
    return found


def build_data(folder: str, config: str, texts: Sequence[str], **settings: Any) -> None:
    """Builds a config of these answers into a folder, or at a URL."""
    from gpt4_instruct import Replay, build

    task = "写第{}句话。" if config == "chinese" else "Say sentence {}."
    tasks = [{"instruction": task.format(n), "input": "", "output": text} for n, text in enumerate(texts)]
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "tasks.json")
        source.write_text(json.dumps(tasks), encoding="utf-8")
        build(config, source, teacher=Replay(tasks), out=folder, overwrite=True, **settings)


def found_in(data: str) -> list[tuple[Any, ...]]:
    """What an audit finds, row by row."""
    from gpt4_instruct import audit

    return [(each.row, each.check, each.reason) for each in audit(data).findings]


def push_folder(folder: str, repo_id: str, **named: Any) -> PushResult:
    from gpt4_instruct import push

    return push(folder, repo_id, **named)


def load_rows(repo_id: str, config: str, *, streaming: bool = False, revision: str | None = None) -> list[str]:
    """The answers of a config, as `datasets` loads them."""
    from datasets import load_dataset

    rows = load_dataset(repo_id, config, split="train", streaming=streaming, revision=revision)
    return [row["output"] for row in rows]


def upload_file(repo_id: str, path: str, content: str, kind: str = "dataset") -> None:
    """Somebody else's commit."""
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo_id, repo_type=kind, private=True, exist_ok=True)
    api.upload_file(path_or_fileobj=content.encode(), path_in_repo=path, repo_id=repo_id, repo_type=kind)
