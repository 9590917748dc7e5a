"""The ledger: what is settled stays settled, several processes share it, and foreign files are refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

from gpt4_instruct.errors import LedgerError
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.records import Message, Request


def request(text: str = "Hi") -> Request:
    return Request("local", "m", (Message("user", text),), {"temperature": 0.0})


def settle(ledger: Ledger, text: str, raw: str) -> None:
    asked = request(text)
    ledger.claim(asked.key, asked, asked.to_json(), "local:m")
    ledger.settle(asked.key, raw)
    ledger.commit()


def test_a_settled_response_is_there_after_reopening_and_is_never_replaced(tmp_path):
    path = tmp_path / "deep" / "ledger.sqlite3"
    ledger = Ledger(path)
    settle(ledger, "Hi", "raw 1")
    ledger.close()
    ledger = Ledger(path)
    asked = request()
    assert ledger.settled(asked.key) == "raw 1"
    ledger.claim(asked.key, asked, asked.to_json(), "local:m")  # a slower process
    ledger.commit()
    assert ledger.settled(asked.key) == "raw 1"
    assert path.stat().st_mode & 0o077 == 0


def test_the_states(tmp_path):
    ledger = Ledger(tmp_path / "ledger.sqlite3")
    for text in ("a", "b", "c", "d"):
        asked = request(text)
        ledger.claim(asked.key, asked, asked.to_json(), "local:m")
    ledger.settle(request("b").key, "raw")
    ledger.fail(request("c").key, "400", unknown=False)
    ledger.fail(request("d").key, "timeout", unknown=True)
    ledger.commit()
    assert ledger.counts() == {"failed": 1, "sent": 1, "settled": 1, "unknown": 1}
    assert ledger.settled(request("c").key) is None
    assert ledger.settled("0" * 64) is None


@pytest.mark.parametrize(
    "other", [{"model": "n"}, {"endpoint": "x"}, {"sample": 1}, {"choices": ("1",)}, {"schema": {}}]
)
def test_any_difference_in_content_is_another_question(other):
    fields = {"endpoint": "local", "model": "m", "messages": (Message("user", "Hi"),)}
    assert Request(**fields).key != Request(**{**fields, **other}).key


def test_what_is_no_ledger_is_left_alone(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("mine, and long enough to be looked at as a database header would be " * 20)
    with pytest.raises(LedgerError, match=r"notes\.txt"):
        Ledger(text)
    assert text.read_text().startswith("mine")
    foreign = tmp_path / "foreign.sqlite3"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE mine (a)")
    with pytest.raises(LedgerError, match="not a ledger"):
        Ledger(foreign)
    newer = tmp_path / "newer.sqlite3"
    Ledger(newer).close()
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(LedgerError, match="newer version"):
        Ledger(newer)
    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger(tmp_path)


def test_a_file_that_is_refused_keeps_its_mode(tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("mine " * 100)
    text.chmod(0o644)
    with pytest.raises(LedgerError):
        Ledger(text)
    assert text.stat().st_mode & 0o777 == 0o644


WRITER = """
import sys
from pathlib import Path
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.records import Message, Request
ledger = Ledger(Path(sys.argv[1]))
for number in range(200):
    asked = Request("local", "m", (Message("user", f"{sys.argv[2]} {number}"),))
    ledger.claim(asked.key, asked, asked.to_json(), "local:m")
    ledger.commit()
    ledger.settle(asked.key, "raw")
    ledger.commit()
"""


def test_several_processes_write_at_once(tmp_path):
    path = tmp_path / "ledger.sqlite3"
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(name)]) for name in range(4)]
    assert [writer.wait(120) for writer in writers] == [0, 0, 0, 0]
    assert Ledger(path).counts() == {"settled": 800}
