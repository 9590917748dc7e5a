"""The replay teacher: from rows, files and ledgers, the same answers; never one that is not recorded."""

from __future__ import annotations

import asyncio
import json

import pytest

from gpt4_instruct import Replay, RequestRefusedError, UsageError, build
from gpt4_instruct.records import Message, Request


def ask(teacher: Replay, prompt: str, sample: int = 0) -> str:
    request = Request("replay", teacher.model, (Message("user", prompt),), sample=sample)
    return json.loads(asyncio.run(teacher.ask(request)))["choices"][0]["message"]["content"]


def test_a_question_recorded_twice_has_two_samples():
    teacher = Replay(
        [{"prompt": "p", "output": "one"}, {"prompt": "q", "output": "x"}, {"prompt": "p", "output": "two"}]
    )
    assert (ask(teacher, "p"), ask(teacher, "p", 1)) == ("one", "two")
    for prompt, sample in (("p", 2), ("unknown", 0)):
        with pytest.raises(RequestRefusedError) as caught:
            ask(teacher, prompt, sample)
        assert caught.value.reason == "not_recorded"


def test_another_record_is_another_model():
    one, same, other = (Replay([{"prompt": "p", "output": text}]) for text in ("a", "a", "b"))
    assert one.model == same.model != other.model


def test_a_ledger_replays_the_build_that_wrote_it(endpoint, tmp_path):
    endpoint.script = lambda request, count: "5" if request["temperature"] == 0 else f"Answer of {request['model']}."
    options = {"limit": 6, "answers_from": ["openai:a", "openai:b"], "scorer": "openai:judge"}
    build("comparison", ledger=tmp_path / "ledger.sqlite3", out=tmp_path / "first", **options)
    build("english", teacher="openai:a", limit=6, ledger=tmp_path / "ledger.sqlite3", out=tmp_path / "first")
    asked = len(endpoint.asked)
    result = build("english", limit=6, teacher=f"replay:{tmp_path / 'ledger.sqlite3'}", out=tmp_path / "second")
    assert (result.rows, len(endpoint.asked)) == (6, asked)


@pytest.mark.parametrize(
    "content",
    ["[]", '[{"instruction": "a"}]', '[{"output": "a"}]', '[{"instruction": "a", "output": 3}]', "{broken", "[1]"],
)
def test_a_record_that_cannot_be_used_is_said(tmp_path, content):
    path = tmp_path / "record.json"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        Replay(path)
    assert "\n" not in str(caught.value) and "record.json" in str(caught.value)
