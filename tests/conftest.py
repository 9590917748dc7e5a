"""What all tests share: a home of their own, the scripted endpoint, and the real data where it is present."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

# A shell that starts a command in the background has it ignore Ctrl-C, and all it starts inherit that: the programs that
# tests interrupt would not notice.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# datasets and huggingface_hub read these when they are imported, so they come before everything else.
# The processes of pytest-xdist inherit the first one's folder, in which they share SmolLM2: its conversion takes 20 s. Name
# a folder, and it is kept for the next run, too.
_OWNER = "GPT4_INSTRUCT_TESTS_HOME" not in os.environ
if _OWNER:
    os.environ["GPT4_INSTRUCT_TESTS_HOME"] = tempfile.mkdtemp(prefix="gpt4-instruct-tests-")
_SHARED = os.environ["GPT4_INSTRUCT_TESTS_HOME"]
_HOME = tempfile.mkdtemp(dir=_SHARED)
os.environ["HF_HOME"] = f"{_HOME}/hf"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["GPT4_INSTRUCT_HOME"] = f"{_HOME}/home"
for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "HF_TOKEN"):
    os.environ.pop(name, None)

from tests.endpoint import Endpoint  # noqa: E402


def pytest_unconfigure() -> None:
    import shutil

    shutil.rmtree(_SHARED if _OWNER else _HOME, ignore_errors=True)


@pytest.fixture(autouse=True)
def _own_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test starts with an empty ledger, and shares only converted models with the others."""
    home = tmp_path / "home"
    home.mkdir()
    models = Path(_SHARED) / "models"
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
