"""The ledger: what is settled stays settled, several processes share it, and foreign files are refused."""

from __future__ import annotations

import sqlite3
import subprocess
import sys

import pytest

from gpt4_instruct.errors import LedgerError
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.records import Message, Request
from gpt4_instruct.teachers.base import completion


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


# --- versions, runs, shared use -------------------------------------------------------------------------------------

VERSION_1 = """
CREATE TABLE requests (
    key TEXT PRIMARY KEY, teacher TEXT NOT NULL, endpoint TEXT NOT NULL, model TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('intent', 'sent', 'settled', 'failed', 'unknown')),
    attempts INTEGER NOT NULL, request TEXT NOT NULL, response TEXT, error TEXT, updated REAL NOT NULL
);
PRAGMA application_id = 1731480625;
PRAGMA user_version = 1;
"""


def test_a_ledger_of_the_first_version_opens_and_keeps_its_answers(tmp_path):
    path = tmp_path / "old.sqlite3"
    states = {
        "settled": completion("Hi!", model="m", prompt_tokens=5, completion_tokens=2),
        "sent": None,
        "unknown": None,
        "failed": None,
    }
    with sqlite3.connect(path) as db:
        db.executescript(VERSION_1)
        for state, response in [*states.items(), ("settled", "half a resp")]:
            asked = request(f"{state} {response and response[:4]}")
            values = (asked.key, "local:m", "local", "m", state, 1, asked.to_json(), response, None, 1.0)
            db.execute(f"INSERT INTO requests VALUES ({', '.join('?' * 10)})", values)
    db.close()
    ledger = Ledger(path)
    assert ledger.counts() == {"failed": 1, "settled": 2, "unknown": 2}
    assert "Hi!" in ledger.settled(request('settled {"mo').key)
    found = list(ledger.query("SELECT prompt_tokens, completion_tokens, unknown_attempts FROM requests ORDER BY rowid"))
    assert found == [(5, 2, 0), (0, 0, 1), (0, 0, 1), (0, 0, 0), (0, 0, 0)]
    ledger.join()
    asked = request("sent None")
    assert ledger.claim(asked.key, asked, asked.to_json(), "local:m")
    ledger.close()
    Ledger(path).close()  # and again, as the version that it is now


def test_what_a_living_run_has_sent_is_nobody_elses(tmp_path):
    one, two = Ledger(tmp_path / "l.sqlite3"), Ledger(tmp_path / "l.sqlite3")
    one.join()
    two.join()
    asked = request()
    claim = (asked.key, asked, asked.to_json(), "local:m")
    assert one.claim(*claim)
    one.commit()
    assert not two.claim(*claim)
    two.bury()
    two.commit()
    assert not two.is_free(asked.key)
    assert one.claim(*claim), "its own it may send once more"
    one.close()  # the run ends without an answer
    assert two.is_free(asked.key)
    assert two.claim(*claim)
    two.commit()
    assert list(two.query("SELECT state, attempts, unknown_attempts FROM requests")) == [("sent", 3, 1)]
    two.close()


DYING = """
import os, sys
from pathlib import Path
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.records import Message, Request
ledger = Ledger(Path(sys.argv[1]))
ledger.join()
asked = Request("local", "m", (Message("user", "Hi"),), {"temperature": 0.0})
ledger.claim(asked.key, asked, asked.to_json(), "local:m")
ledger.commit()
print("sent", flush=True)
sys.stdin.read()
"""


def test_a_run_whose_process_is_killed_is_dead_at_once(tmp_path, monkeypatch):
    path = tmp_path / "l.sqlite3"
    process = subprocess.Popen([sys.executable, "-c", DYING, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"sent\n"
    monkeypatch.setenv("GPT4_INSTRUCT_HOME", str(tmp_path / "another home"))  # whose locks are elsewhere
    ledger = Ledger(path)
    ledger.join()
    assert not ledger.is_free(request().key)
    process.kill()
    process.wait()
    ledger.bury()
    ledger.commit()
    assert ledger.is_free(request().key)
    assert list(ledger.query("SELECT state, unknown_attempts FROM requests")) == [("unknown", 1)]
    ledger.close()
    assert not (tmp_path / "l.sqlite3.runs").exists(), "the dead run's lock is swept up"


def test_after_a_write_that_failed_nothing_is_recorded_any_more(tmp_path):
    """What was written before it in the same transaction is lost with it, so that nothing may rely on it."""
    ledger = Ledger(tmp_path / "l.sqlite3")
    ledger.join()
    ledger._db.execute(f"PRAGMA max_page_count = {ledger._db.execute('PRAGMA page_count').fetchone()[0]}")
    asked = request("x" * 10_000)
    claim = (asked.key, asked, asked.to_json(), "local:m")
    for act in (
        lambda: ledger.claim(*claim),
        ledger.commit,
        lambda: ledger.fail("k", "e", unknown=False),
        ledger.commit,
    ):
        with pytest.raises(LedgerError, match="full"):
            act()
    ledger.close()
    assert Ledger(tmp_path / "l.sqlite3").counts() == {}


def test_a_late_word_of_a_run_that_was_taken_for_dead_takes_no_answer_away(tmp_path):
    ledger = Ledger(tmp_path / "l.sqlite3")
    settle(ledger, "Hi", "raw")
    ledger.fail(request().key, "timeout", unknown=True)
    ledger.settle(request().key, "another")
    assert ledger.settled(request().key) == "raw"
    ledger.close()
