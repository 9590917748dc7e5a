"""What is built, installed into a clean environment, and used from an empty folder as its users do.

All of it is one environment: the first test that needs it makes it, and those of other processes wait for it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from filelock import FileLock

from tests.endpoint import Endpoint
from tests.hub import LoopbackHub

ROOT = Path(__file__).parents[1]
NO_INDEX = re.compile(r"NewConnectionError|NameResolutionError|ConnectTimeout|ProxyError|Temporary failure in name")
# What `pip install gpt4-instruct` must not bring: each is gigabytes, or belongs to an extra.
HEAVY = {"torch", "transformers", "spacy", "gradio", "ray", "matplotlib", "peft", "accelerate", "evaluate", "nltk"}


def run(*command: object, cwd: Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    found = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(word) for word in command]
    return subprocess.run(words, capture_output=True, text=True, cwd=cwd, env={**found, **(env or {})}, timeout=280)


@dataclass(frozen=True)
class Clean:
    """An environment with the wheel and what it depends on, and nothing else."""

    folder: Path

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site(self) -> Path:
        (found,) = self.folder.glob("lib/python*/site-packages")
        return found

    def run(self, *command: object, cwd: Path, env: Mapping[str, str] | None = None) -> str:
        """Runs a command of this environment; what it printed."""
        name, *rest = command
        done = run(self.folder / "bin" / str(name), *rest, cwd=cwd, env=env)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of this test run have in common."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "distribution"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def built(shared: Path) -> tuple[Path, Path]:
    """The source distribution, and the wheel that is built from it."""
    with FileLock(shared / "build.lock"):
        if not list(shared.glob("dist/*.whl")):
            done = run(sys.executable, "-m", "build", "--no-isolation", "--outdir", shared / "dist", ROOT, cwd=shared)
            assert done.returncode == 0, done.stdout + done.stderr
    (source,), (wheel,) = shared.glob("dist/*.tar.gz"), shared.glob("dist/*.whl")
    return source, wheel


@pytest.fixture(scope="session")
def clean(shared: Path, built: tuple[Path, Path]) -> Clean:
    folder, finished = shared / "clean", shared / "clean.json"
    with FileLock(shared / "clean.lock"):
        if not finished.exists():
            started = time.monotonic()
            assert run(sys.executable, "-m", "venv", "--without-pip", "--clear", folder, cwd=shared).returncode == 0
            pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--no-compile")
            options = ("--quiet", "--retries", 1, "--constraint", ROOT / "constraints.txt")
            done = run(*pip, *options, built[1], cwd=shared)
            no_index = done.returncode != 0 and NO_INDEX.search(done.stderr)
            assert done.returncode == 0 or no_index, done.stderr
            told = {"seconds": time.monotonic() - started, "no_index": bool(no_index)}
            finished.write_text(json.dumps(told))
    if json.loads(finished.read_text())["no_index"]:
        pytest.skip("pip reaches no index here, so there is nothing to install from")
    return Clean(folder)


def test_the_wheel_holds_the_package_whole_and_the_source_what_tests_it(built: tuple[Path, Path]):
    source, wheel = built
    inside = {
        path for path in (ROOT / "gpt4_instruct").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    names = {str(path.relative_to(ROOT)) for path in inside}
    with zipfile.ZipFile(wheel) as opened:
        packed = {name for name in opened.namelist() if ".dist-info/" not in name}
        (metadata,) = (opened.read(name).decode() for name in opened.namelist() if name.endswith(".dist-info/METADATA"))
    assert packed == names
    kinds = {Path(name).suffix for name in names}
    assert {".json", ".jsonl", ".html", ".md", ".yaml", ".typed"} <= kinds  # seeds, prices, templates, ...
    required = re.findall(r"^Requires-Dist: ([\w-]+)[^;\n]*$", metadata, flags=re.MULTILINE)
    assert "datasets" in required and not HEAVY & set(required)

    with tarfile.open(source) as opened:
        held = {name.partition("/")[2] for name in opened.getnames()}
    for name in ("tests/test_distribution.py", "tests/labels/written.jsonl", "examples/quickstart.ipynb"):
        assert name in held
    for name in ("dataset_scripts/english.py", "model_cards/llama-gpt4.md", "constraints.txt", "Makefile", "LICENSE"):
        assert name in held
    assert names <= held


def test_the_base_install_is_small(clean: Clean, shared: Path, tmp_path: Path):
    installed = {path.name.split("-")[0].lower() for path in clean.site.glob("*.dist-info")}
    assert "gpt4_instruct" in installed and not HEAVY & installed
    size = sum(path.lstat().st_size for path in clean.site.rglob("*") if path.is_file())
    code = "import time; t = time.perf_counter(); import gpt4_instruct; print(time.perf_counter() - t)"
    took = float(clean.run("python", "-c", code, cwd=tmp_path))
    seconds = json.loads((shared / "clean.json").read_text())["seconds"]
    print(
        f"\nbase install: {len(installed)} packages, {size / 1e6:.0f} MB, {seconds:.0f} s; import: {1000 * took:.0f} ms"
    )
    assert size < 600e6  # pyarrow, which datasets is made of, is a good third of it


def test_the_command_line_is_there(clean: Clean, tmp_path: Path):
    assert "gpt4-instruct 0." in clean.run("gpt4-instruct", "--version", cwd=tmp_path)
    said = clean.run("gpt4-instruct", "--help", cwd=tmp_path)
    assert "build" in said and "train" in said
    # What an extra brings says which one, in one line.
    done = run(clean.folder / "bin" / "gpt4-instruct", "build", "english", "--limit", 1, cwd=tmp_path)
    assert done.returncode == 1 and re.fullmatch(r"error: .*pip install '?gpt4-instruct\[local\].*\n", done.stderr)


def test_from_an_empty_folder_to_the_hub_and_back(clean: Clean, tmp_path: Path):
    """The README's example as it stands there, then the folder goes to the Hub, and comes from it on another computer."""
    empty, home = tmp_path / "empty", {"GPT4_INSTRUCT_HOME": str(tmp_path / "home")}
    empty.mkdir()
    with Endpoint() as endpoint, LoopbackHub() as hub:
        here = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": endpoint.key, **hub.environment(tmp_path / "hf")}
        clean.run("python", "-c", readme_example(), cwd=empty, env={**here, **home})
        push = "import gpt4_instruct; print(gpt4_instruct.push('my-data', 'me/my-data').url)"
        url = clean.run("python", "-c", push, cwd=empty, env={**here, **home}).strip()
        assert url == f"{hub.url}/datasets/me/my-data"

        load = (
            "from datasets import load_dataset; rows = load_dataset('me/my-data', 'english', split='train'); "
            "print(rows.num_rows, rows[0]['output'])"
        )
        there = hub.environment(tmp_path / "another")
        assert clean.run("python", "-c", load, cwd=tmp_path, env=there) == "100 This is a fine answer.\n"


def readme_example() -> str:
    """The first Python example of "Use it" that builds something."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n## Use it\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"^```python\n(.*?)^```", section, flags=re.DOTALL | re.MULTILINE)
    return next(block for block in blocks if "gpt4_instruct.build(" in block)


DOWNSTREAM = '''
from collections.abc import Sequence
from pathlib import Path

import gpt4_instruct
from gpt4_instruct import Answer, Reject, Replay, Request, Row, SFTRecipe, Stage, Teacher, build, completion, estimate


class Echo(Teacher):
    """Says how long a question is."""

    spec = "echo"
    endpoint = "local"
    model = "echo-1"

    async def ask(self, request: Request) -> str:
        return completion(str(len(request.messages[-1].content)), model=self.model)


class Keep(Stage):
    name = "keep"

    def requests(self, row: Row) -> list[tuple[Teacher, Request]]:
        return []

    def accept(self, row: Row, answers: Sequence[Answer]) -> Row | Reject:
        return row


def rows(folder: Path) -> int:
    result = build("english", teacher=Echo(), limit=3, out=folder)
    cost: float | None = result.cost_usd
    high = estimate("english", teacher="openai:gpt-4o").usd
    reveal_type(result.rejected)
    reveal_type(gpt4_instruct.judge("a.jsonl", "b.jsonl", Replay([]), folder / "judged.jsonl").judged)
    reveal_type(gpt4_instruct.push(folder, "me/rows").url)
    return result.rows if cost is None and high else SFTRecipe(epochs=1.0).batch_size


def wrong() -> None:
    build("english", out="data", limit="3")
'''


def test_a_strictly_typed_program_can_use_it(clean: Clean, tmp_path: Path):
    program = tmp_path / "downstream.py"
    program.write_text(DOWNSTREAM)
    options = ("--strict", "--python-executable", clean.python, "--cache-dir", os.devnull, "--config-file", "")
    done = run(sys.executable, "-m", "mypy", *options, program, cwd=tmp_path)
    assert re.sub(r"^downstream.py:\d+: ", "", done.stdout, flags=re.MULTILINE).splitlines() == [
        'note: Revealed type is "dict[str, int]"',
        'note: Revealed type is "int"',
        'note: Revealed type is "str"',
        'error: Argument "limit" to "build" has incompatible type "str"; expected "int | None"  [arg-type]',
        "Found 1 error in 1 file (checked 1 source file)",
    ]
