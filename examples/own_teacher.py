"""A teacher of one's own in ten lines, here one that answers by rule; any model with a Python call fits the same way.

Run it with `python examples/own_teacher.py`.
"""

from __future__ import annotations

import tempfile

from gpt4_instruct import Request, RequestRefusedError, Teacher, build, completion, show


class Counter(Teacher):
    """Answers every question with the number of its words, and refuses long ones."""

    spec = "counter"
    endpoint = "local"
    model = "counter-1"  # part of a request's identity: change it when the answers change

    async def ask(self, request: Request) -> str:
        words = len(request.messages[-1].content.split())
        if words > 60:
            raise RequestRefusedError("too_long", f"{words} words")
        return completion(f"Your prompt has {words} words.", model=self.model)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        result = build("english", teacher=Counter(), limit=10, out=f"{folder}/data", ledger=f"{folder}/ledger.sqlite3")
        print(f"{result.rows} accepted, rejected: {result.rejected}")
        show(f"{folder}/data", rows=2)
