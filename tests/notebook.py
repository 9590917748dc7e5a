"""Runs a notebook as Jupyter does. ``python -m tests.notebook`` runs the one in examples/, and keeps what it shows.

The Hub that it pushes to is on loopback. What cells say while they work (bars, on the error stream) is not kept.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from tests.hub import LoopbackHub

__all__ = ["NOTEBOOK", "execute", "shown", "with_parameters"]

NOTEBOOK = Path(__file__).parents[1] / "examples" / "quickstart.ipynb"


def with_parameters(notebook: Any, **values: object) -> None:
    """Puts other values into the cell that is tagged ``parameters``."""
    (cell,) = (each for each in notebook.cells if "parameters" in each.metadata.get("tags", ()))
    for name, value in values.items():
        cell.source, found = re.subn(rf"^{name} = [^#\n]*", f"{name} = {value!r}  ", cell.source, flags=re.MULTILINE)
        assert found == 1, f"there is no parameter {name}"


def execute(notebook: Any, folder: Path, env: Mapping[str, str]) -> None:
    """Runs all cells in `folder`, in a kernel with this environment. Raises `CellExecutionError` where one fails."""
    place = {"metadata": {"path": str(folder)}}
    client = NotebookClient(notebook, timeout=None, kernel_name="python3", resources=place, coalesce_streams=True)
    client.execute(env={**os.environ, **env, "IPYTHONDIR": str(folder / ".ipython")})


def shown(cell: Any) -> str:
    """What a cell printed and, as text, its last value."""
    said = [each.text for each in cell.outputs if each.get("name") == "stdout"]
    return "\n".join([*said, *(each.data["text/plain"] for each in cell.outputs if "data" in each)])


def _main() -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    with tempfile.TemporaryDirectory() as name, LoopbackHub() as hub:
        folder = Path(name, "run")
        folder.mkdir()
        execute(notebook, folder, {**hub.environment(Path(name, "hf")), "GPT4_INSTRUCT_HOME": f"{name}/home"})
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # times
        if "outputs" in cell:
            cell.outputs = [each for each in cell.outputs if each.get("name") != "stderr"]
    notebook.metadata.language_info = {"name": "python"}
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    _main()
