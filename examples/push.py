"""Publish a dataset on the Hub, add a split to it, and load both from there.

Run it with `python examples/push.py ME/NAME` after `hf auth login`. The repository is private; with a teacher such as
`"openai:gpt-4o"` in place of the recorded answers, its card names the terms of that model's answers.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from datasets import load_dataset

from gpt4_instruct import Replay, build, push

TASKS = [
    {"instruction": "Name the largest planet.", "instruction_zh": "说出最大的行星。"},
    {"instruction": "Name the planet nearest to the Sun.", "instruction_zh": "说出离太阳最近的行星。"},
]
ANSWERS = [
    {"instruction": "Name the largest planet.", "output": "Jupiter."},
    {"instruction": "Name the planet nearest to the Sun.", "output": "Mercury."},
    {"instruction": "说出最大的行星。", "output": "木星。"},
    {"instruction": "说出离太阳最近的行星。", "output": "水星。"},
]


def main(repo_id: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        tasks, data = Path(name, "tasks.json"), Path(name, "data")
        tasks.write_text(json.dumps(TASKS))
        for split in ("english", "chinese"):
            build(split, tasks, teacher=Replay(ANSWERS), out=data, ledger=Path(name, "ledger.sqlite3"))
            pushed = push(data, repo_id)  # one commit: the new split and the card; what is there already is not sent
            print(f"{split}: {', '.join(pushed.added | pushed.changed)} -> {pushed.url}")
    for split in ("english", "chinese"):
        for row in load_dataset(repo_id, split, split="train"):
            print(f"{row['instruction']} -> {row['output']}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("name a repository of yours: python examples/push.py ME/NAME")
    main(sys.argv[1])
