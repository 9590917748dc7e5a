"""The notebook runs from its first cell to its last, and is kept with what it showed."""

from __future__ import annotations

import re
from typing import Any

import nbformat
import pytest

from tests.hub import LoopbackHub
from tests.notebook import NOTEBOOK, execute, shown, with_parameters
from tests.smollm2 import needs_smollm2


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@needs_smollm2
@pytest.mark.timeout(600)
def test_the_notebook_runs(tmp_path):
    notebook = read()
    with_parameters(notebook, ROWS=3, MAX_TOKENS=24, STEPS=1, QUESTIONS=3, REPO_ID="me/from-a-notebook")
    with LoopbackHub() as hub:
        execute(notebook, tmp_path, hub.environment(tmp_path / "hf"))
        repo = hub.repos["datasets/me/from-a-notebook"]
    assert repo.private and any(name.endswith(".parquet") for name in repo.files())

    cells = code(notebook)
    said = "\n".join(map(shown, cells))
    assert re.search(r"[1-3] rows accepted, rejected: \{", said)
    assert re.search(r"loss on rows that it did not see: \d\.\d\d before, \d\.\d\d after", said)
    assert re.search(r"smollm2> \w.*\n+tuned> \w", said)
    assert re.search(r"ROUGE-L\nsmollm2 +0\.\d+\ntuned +0\.\d+", said)
    assert said.count("num_rows: 160") == 1 and said.count("features: ['instruction', 'input', 'output'") == 2

    # Without widgets, a bar is one line of text, which ends full; and none stands below another.
    bars = "".join(each.text for cell in cells for each in cell.outputs if each.get("name") == "stderr")
    for name in ("audit rows", "english", "tokenizing", "training", "answering"):
        assert re.search(rf"^{name}: 100%\|", bars, flags=re.MULTILINE), name
    assert "\x1b" not in bars and len(bars.splitlines()) < 40


def test_what_is_kept_is_what_it_showed():
    cells = code(read())
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    first, *others = cells
    assert first.source.startswith("%pip install")
    silent = [cell.source for cell in others if not cell.outputs and "parameters" not in cell.metadata.get("tags", ())]
    assert not silent
    kept = NOTEBOOK.read_text(encoding="utf-8")
    assert not any(each.output_type == "error" for cell in cells for each in cell.outputs)
    assert not re.search(r"/tmp/|/home/|/root/|site-packages|127\.0\.0\.1|localhost|hf_[A-Za-z0-9]{8}|sk-", kept)
    assert "说出" in kept or "面团" in kept  # Chinese stands there as itself, and not as escapes
    assert len(kept) < 100_000
