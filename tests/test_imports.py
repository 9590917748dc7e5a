"""Who imports whom, read from the source, and what stays out of a light import."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "gpt4_instruct"
# A room may import what stands in an earlier line, and its own files.
LEVELS = [
    {"__init__", "errors", "records", "prompts"},
    {"registry", "storage", "downloads", "formats", "languages", "progress", "models", "asking", "run_facts"},
    {"sources"},
    {"teachers", "quality", "statistics", "metrics", "training", "views"},
    {"generation"},
    {"splits", "evaluation", "publishing", "figures", "reports", "chat"},
    {"cluster"},
    {"engines"},
    {"workflows", "tuning", "reporting", "rating_space"},
    {"cli"},
    {"__main__"},
]
# Two rooms of one level may not import one another, except here: a build ends in a folder, a card has a
# figure.
SAME_LEVEL = {("splits", "publishing"), ("publishing", "figures")}
HEAVY = {
    "torch",
    "transformers",
    "spacy",
    "gradio",
    "ray",
    "matplotlib",
    "llguidance",
    "evaluate",
    "peft",
    "lingua",
    "datasketch",
    "jieba",
    "plotly",
    "playwright",
    "nltk",
    "uvicorn",
    "trl",
}
LIGHT_MUST_NOT_LOAD = [*HEAVY, "datasets", "openai", "pyarrow", "huggingface_hub", "numpy", "pandas", "jinja2"]


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


def level(name: str) -> int:
    return next(number for number, rooms in enumerate(LEVELS) if name in rooms)


def imports(tree: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "imports are absolute"
            yield node.module, node


FILES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_a_file_imports_only_what_its_level_may(file: Path):
    own = file.relative_to(PACKAGE).with_suffix("").parts[0]
    tree = ast.parse(file.read_text())
    typing_only = {
        id(child)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for child in ast.walk(node)
    }
    for module, node in imports(tree):
        if not module.startswith("gpt4_instruct") or id(node) in typing_only:
            continue
        other = room(module)
        if other == "__init__":
            names = {alias.name for alias in getattr(node, "names", [])}
            assert names <= {"__version__", "gpt4_instruct"}, f"{file.name} imports the package through its __init__"
            continue
        assert not (
            isinstance(node, ast.ImportFrom) and module == f"gpt4_instruct.{own}" and (PACKAGE / own).is_dir()
        ), f"{file.name} imports its own package instead of a file in it"
        allowed = (
            level(other) < level(own) or other == own or (own, other) in SAME_LEVEL or level(own) == level(other) <= 1
        )
        assert allowed, f"{own} (level {level(own) + 1}) imports {module} (level {level(other) + 1})"


def test_there_are_no_import_circles():
    edges: dict[str, set[str]] = {}
    for file in FILES:
        name = ".".join(("gpt4_instruct", *file.relative_to(PACKAGE).with_suffix("").parts))
        targets = {module for module, _ in imports(ast.parse(file.read_text())) if module.startswith("gpt4_instruct.")}
        edges[name.removesuffix(".__init__")] = targets
    state: dict[str, str] = {}

    def visit(name: str, path: list[str]) -> None:
        assert state.get(name) != "open", f"a circle: {' -> '.join([*path, name])}"
        if name in state or name not in edges or name == "gpt4_instruct":
            return
        state[name] = "open"
        for target in edges[name]:
            visit(target, [*path, name])
        state[name] = "done"

    for name in edges:
        visit(name, [])


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_heavy_libraries_are_imported_inside_functions_only(file: Path):
    for node in ast.parse(file.read_text()).body:
        for module, _ in imports(node) if isinstance(node, ast.Import | ast.ImportFrom) else ():
            assert module.split(".")[0] not in HEAVY, f"{file.name} imports {module} at its top"


@pytest.mark.parametrize(
    "code",
    [
        "import gpt4_instruct",
        "import gpt4_instruct.cli.app",
        "import gpt4_instruct.teachers.openai, gpt4_instruct.teachers.local",
        "from typer.testing import CliRunner; from gpt4_instruct.cli.app import app\n"
        "assert CliRunner().invoke(app, ['build', '--help']).exit_code == 0",
    ],
)
def test_a_light_import_loads_nothing_heavy(code: str):
    check = f"{code}\nimport sys\nprint(' '.join(set(sys.modules) & set({LIGHT_MUST_NOT_LOAD!r})))"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_every_file_says_at_its_top_what_it_is_for():
    for file in FILES:
        docstring = ast.get_docstring(ast.parse(file.read_text()))
        assert docstring and len(docstring) > 20, f"{file} has no docstring"
