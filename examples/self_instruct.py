"""Have a teacher invent the instructions, too, round after round, and see what became of what it thought of.

Run it with `python examples/self_instruct.py` (needs the extra `stats`). The teacher here makes tasks by rule and runs
dry, as all do in the end; in earnest it is a name, such as `"openai:gpt-4o"`.
"""

from __future__ import annotations

import itertools
import json
import random
import tempfile
from pathlib import Path

from gpt4_instruct import Request, Teacher, build, completion, show

VERBS = ["Describe", "Compare", "Sketch a plan for", "Explain the history of", "Invent a riddle about", "Rank"]
THINGS = ["steam engines and sailing ships", "the moons of Jupiter", "old bread recipes", "city gardens in winter"]
IDEAS = [f"{verb} {thing}." for verb, thing in itertools.product(VERBS, THINGS)]


class Inventor(Teacher):
    """Invents tasks where it is asked for some, and answers all else."""

    spec = "inventor"
    endpoint = "local"
    model = "inventor-1"

    async def ask(self, request: Request) -> str:
        prompt = request.messages[-1].content
        if request.schema is None:
            return completion("That is a long story, and a good one.", model=self.model)
        drawn = random.Random(f"{prompt} {request.sample}").sample(IDEAS, 5)
        empty = {"input": "", "needs_input": False, "kind": "open_question", "labels": []}
        return completion(json.dumps({"tasks": [{"instruction": idea, **empty} for idea in drawn]}), model=self.model)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        out, ledger = Path(name, "data"), Path(name, "ledger.sqlite3")
        result = build("self_instruct", teacher=Inventor(), accept=30, out=out, ledger=ledger)
        print(f"{result.rows} rows; {result.stopped}")
        show(out, rows=2)
