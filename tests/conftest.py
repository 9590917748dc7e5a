"""What all tests share: a home of their own, the scripted endpoint, and the real data where it is present."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# datasets and huggingface_hub read these when they are imported, so they come before everything else.
_HOME = tempfile.mkdtemp(prefix="gpt4-instruct-tests-")
os.environ["HF_HOME"] = f"{_HOME}/hf"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GPT4_INSTRUCT_HOME"] = f"{_HOME}/home"
for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HF_TOKEN"):
    os.environ.pop(name, None)

from tests.endpoint import Endpoint  # noqa: E402


def pytest_sessionfinish() -> None:
    import shutil

    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def _own_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts with an empty ledger, and shares only converted models with the others."""
    home = tmp_path / "home"
    home.mkdir()
    models = Path(_HOME) / "models"
    models.mkdir(exist_ok=True)
    (home / "models").symlink_to(models)
    monkeypatch.setenv("GPT4_INSTRUCT_HOME", str(home))


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    """A scripted endpoint on loopback, at which the openai client finds itself by the environment."""
    with Endpoint() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        yield server


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real samples, which are not part of the project."""
    named = os.environ.get("GPT4_INSTRUCT_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real samples are not here: GPT4_INSTRUCT_SHARED_DATA names their folder")
    return folder
