"""End to end against a real OpenAI-compatible server: `transformers serve` with SmolLM2, asked by the openai client."""

from __future__ import annotations

import json

from datasets import load_dataset

from gpt4_instruct import build
from gpt4_instruct.generation.ledger import Ledger
from tests.smollm2 import needs_server, serve


@needs_server
def test_a_build_against_a_real_server(tmp_path, monkeypatch):
    from gpt4_instruct.models import smollm2_folder

    folder = smollm2_folder()
    with serve(folder) as url:
        monkeypatch.setenv("OPENAI_BASE_URL", url)
        options = {"temperature": 0.2, "seed": 1, "concurrency": 4}
        teacher = f"openai:{folder}"
        tasks = tmp_path / "tasks.json"
        named = ("Name a colour.", "What is the capital of France?", "Say hi.")
        tasks.write_text(json.dumps([{"instruction": each, "input": ""} for each in named]))
        english = build("english", tasks, teacher=teacher, max_tokens=32, out=tmp_path / "out", **options)
        # This server has no structured output: scores come as free text and are read tolerantly, or rejected.
        comparison = build(
            "comparison", tasks, limit=1, teacher=teacher, max_tokens=32, out=tmp_path / "out", **options
        )
    assert english.asked == 3
    assert english.rows >= 1
    assert english.rows + sum(english.rejected.values()) == 3
    assert set(english.rejected) <= {"truncated", "echo"}
    for row in load_dataset(str(tmp_path / "out"), "english", split="train"):
        assert row["output"].strip()
        assert row["metadata"]["finish_reason"] == "stop"
        assert row["metadata"]["prompt_tokens"] > 20 and 0 < row["metadata"]["completion_tokens"] <= 32
        assert row["metadata"]["model"].startswith(str(folder))
    assert comparison.rows + sum(comparison.rejected.values()) == 1
    assert set(comparison.rejected) <= {"truncated", "echo", "unreadable_score"}
    assert set(Ledger(tmp_path / "home" / "ledger.sqlite3").counts()) == {"settled"}
