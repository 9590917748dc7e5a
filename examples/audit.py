"""Say what is wrong with instruction data, row by row, and keep the rows without errors.

Run it with `python examples/audit.py`. With the released data instead: `audit("released:chinese", ...)`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from datasets import load_dataset

from gpt4_instruct import audit

ROWS = [
    {"instruction": "Name the largest planet.", "input": "", "output": "Jupiter."},
    {"instruction": "Draw a cat.", "input": "No input.", "output": "As an AI language model, I cannot draw."},
    {"instruction": "把12和30相加。", "input": "", "output": "12 + 30 = 52"},
    {"instruction": "总结以下文章。", "input": "", "output": "The article is about the history of printing."},
    {"instruction": "name the largest planet", "input": "", "output": "It is Jupiter."},
]

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        result = audit(ROWS, out=Path(folder, "audit"), clean=True)
        for finding in result.findings:
            print(f"row {finding.row}: {finding.check} ({finding.severity}): {finding.reason}")
        kept = load_dataset("json", data_files=str(result.kept[0]), split="train")
        print(f"{kept.num_rows} of {len(ROWS)} rows are kept; report.html shows the rest")
