"""Build offline from recorded answers, load with datasets, and look at what was rejected.

Run it with `python examples/look.py`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from datasets import load_dataset

from gpt4_instruct import Replay, build

RECORD = [
    {"instruction": "Name the largest planet.", "input": "", "output": "Jupiter."},
    {"instruction": "Add the numbers.", "input": "1, 2", "output": "3"},
    {"instruction": "Draw a cat.", "input": "", "output": "As an AI language model, I cannot draw."},
]

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "tasks.json")
        source.write_text(json.dumps(RECORD))
        out = Path(folder, "data")
        build("english", source, teacher=Replay(RECORD), out=out, ledger=Path(folder, "ledger.sqlite3"))

        for row in load_dataset(str(out), "english", split="train"):
            print(f"{row['instruction']} {row['input']} -> {row['output']}")
        for line in (out / "rejects" / "english.jsonl").read_text().splitlines():
            reject = json.loads(line)
            print(f"rejected ({reject['reason']}): {reject['instruction']} -> {reject['output']}")
