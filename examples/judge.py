"""Have a judge compare the answers of two models, in both orders, and read what came out.

Run it with `python examples/judge.py`. Models and judge are stand-ins, so that it runs anywhere at once; in earnest
they are names: `answer("vicuna80", "openai:gpt-4o", ...)` or a folder of yours, and `judge(..., "openai:gpt-4", ...)`.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from gpt4_instruct import Replay, Request, Teacher, answer, completion, judge

QUESTIONS = [{"instruction": f"What is {n} + 7?", "label": str(n + 7), "category": "math"} for n in range(12)]
CAREFUL = [{"prompt": row["instruction"], "output": f"It is {row['label']}."} for row in QUESTIONS]
HASTY = [{**row, "output": "It is 7."} if n % 3 else row for n, row in enumerate(CAREFUL)]


class Checker(Teacher):
    """Scores by whether an answer holds the right one, which the prompt shows; likes the first place a little."""

    spec = "checker"
    endpoint = "local"
    model = "checker-1"

    async def ask(self, request: Request) -> str:
        prompt = request.messages[-1].content
        right = re.search(r"\[Reference answer.*\]\n(.*)\n", prompt)
        shown = re.findall(r"\[Answer of assistant \d\]\n(.*?)\n\[End", prompt, flags=re.DOTALL)
        first, second = (9 if right and right[1] in re.findall(r"\d+", text) else 3 for text in shown)
        return completion(f"{first + 1} {second}\nOnly the numbers were compared.", model=self.model)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kept = {"ledger": folder / "ledger.sqlite3"}
        answer(QUESTIONS, Replay(CAREFUL), folder / "careful.jsonl", **kept)
        answer(QUESTIONS, Replay(HASTY), folder / "hasty.jsonl", **kept)
        found = judge(folder / "careful.jsonl", folder / "hasty.jsonl", Checker(), folder / "judged.jsonl", **kept)

        score, outcomes = found.facts["relative_score"], found.facts["outcomes"]
        print(f"{found.judged} of {found.questions} questions judged in {found.asked} requests")
        print(f"relative score {score['percent']:.0f} % [{score['low']:.0f}, {score['high']:.0f}]")
        print("  ".join(f"{name} {outcomes[name]['n']}" for name in ("win", "tie", "loss")))
        print(f"first place is worth {found.facts['position']['first_advantage']['mean']:+.1f} points")
