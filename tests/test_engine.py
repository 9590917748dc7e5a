"""The engine over a real socket: nothing asked twice, faults retried, limits kept, runs ended cleanly."""

from __future__ import annotations

import _thread
import asyncio
import threading
import time

import pytest

from gpt4_instruct.errors import (
    LedgerError,
    RequestRefusedError,
    RunStoppedError,
    TransientError,
)
from gpt4_instruct.generation import delays
from gpt4_instruct.generation import engine as engine_module
from gpt4_instruct.generation.engine import Engine
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.records import Message, Request
from gpt4_instruct.teachers.base import connect
from gpt4_instruct.teachers.replay import Replay
from tests.endpoint import Reply, error_reply


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch):
    monkeypatch.setattr(delays, "FIRST_DELAY_S", 0.01)


def run(ledger, teacher, prompts, *, concurrency=None, keep_errors=False):
    """Asks every prompt; the answers' texts in order, and the engine."""
    engine = Engine(ledger, concurrency)

    async def work(prompt):
        request = Request(teacher.endpoint, teacher.model, (Message("user", prompt),))
        try:
            return (await engine.ask(teacher, request)).text
        except (RequestRefusedError, TransientError) as error:
            if not keep_errors:
                raise
            return error

    return list(engine.stream(work, prompts)), engine


def ledger_at(tmp_path):
    return Ledger(tmp_path / "ledger.sqlite3")


def echo(request, count):
    return Reply(f"echo {request['messages'][0]['content']}", delay_s=hash(str(request)) % 7 / 1000)


def test_answers_come_in_order_and_once(endpoint, tmp_path):
    endpoint.script = echo
    prompts = [f"p{number % 150}" for number in range(300)]  # each twice
    texts, engine = run(ledger_at(tmp_path), connect("openai:m"), prompts)
    assert texts == [f"echo {prompt}" for prompt in prompts]
    assert set(endpoint.billed.values()) == {1}
    assert (engine.asked, engine.reused) == (150, 150)
    texts, engine = run(ledger_at(tmp_path), connect("openai:m"), [*prompts, "new"])
    assert (engine.asked, engine.reused) == (1, 300)
    assert texts[-1] == "echo new"


def test_concurrency_is_kept_and_used(endpoint, tmp_path):
    endpoint.script = lambda request, count: Reply("x", delay_s=0.02)
    run(ledger_at(tmp_path), connect("openai:m"), map(str, range(60)), concurrency=5)
    assert endpoint.most_in_flight == 5


def test_faults_of_the_moment_are_retried_and_seen_by_the_ledger(endpoint, tmp_path):
    faults = [
        error_reply(429, None, headers={"retry-after-ms": "20"}),
        error_reply(503, None),
        Reply(reset=True),
        Reply(body='{"choices": ['),
    ]
    endpoint.script = lambda request, count: faults[count] if count < len(faults) else Reply("done")
    ledger = ledger_at(tmp_path)
    texts, engine = run(ledger, connect("openai:m"), ["p"])
    assert (texts, engine.asked, len(endpoint.asked)) == (["done"], 1, 5)
    assert ledger._db.execute("SELECT state, attempts FROM requests").fetchall() == [("settled", 5)]


def test_a_row_that_fails_costs_its_neighbours_nothing(endpoint, tmp_path):
    def script(request, count):
        prompt = request["messages"][0]["content"]
        return {"bad": error_reply(400, None), "down": error_reply(500, None)}.get(prompt) or echo(request, count)

    endpoint.script = script
    ledger = ledger_at(tmp_path)
    outcome, _ = run(ledger, connect("openai:m"), ["a", "bad", "b", "down", "c"], keep_errors=True)
    assert [outcome[0], outcome[2], outcome[4]] == ["echo a", "echo b", "echo c"]
    assert isinstance(outcome[1], RequestRefusedError)
    assert isinstance(outcome[3], TransientError)
    assert ledger.counts() == {"failed": 2, "settled": 3}


def test_a_fault_of_the_run_stops_it_at_once_and_keeps_what_is_in_flight(endpoint, tmp_path):
    def script(request, count):
        prompt = request["messages"][0]["content"]
        if prompt == "5":
            return error_reply(401, "invalid_api_key", delay_s=0.05)
        return Reply("slow", delay_s=0.2)

    endpoint.script = script
    ledger = ledger_at(tmp_path)
    with pytest.raises(RunStoppedError, match="invalid_api_key"):
        run(ledger, connect("openai:m"), map(str, range(1000)), concurrency=10)
    assert len(endpoint.asked) <= 20
    assert ledger.counts() == {"failed": 1, "settled": sum(endpoint.billed.values())}


def test_an_unreachable_endpoint_ends_the_run_soon(monkeypatch, tmp_path):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    with pytest.raises(RunStoppedError, match=r"no connection to http://127\.0\.0\.1:1/v1"):
        run(ledger_at(tmp_path), connect("openai:m"), map(str, range(100)))


def test_an_endpoint_that_goes_away_ends_the_run(endpoint, tmp_path):
    endpoint.script = lambda request, count: "x" if len(endpoint.asked) < 50 else error_reply(503, None)
    ledger = ledger_at(tmp_path)
    with pytest.raises(RunStoppedError, match="20 requests in a row failed"):
        run(ledger, connect("openai:m"), map(str, range(5000)), concurrency=10, keep_errors=True)
    assert ledger.counts()["settled"] == 49
    assert len(endpoint.asked) < 49 + 40 * 6


def test_an_exception_of_the_caller_ends_the_run(endpoint, tmp_path):
    engine = Engine(ledger_at(tmp_path))

    async def work(number):
        if number == 3:
            raise ZeroDivisionError
        return number

    with pytest.raises(ZeroDivisionError):
        list(engine.stream(work, range(10**9)))


def test_an_exception_of_the_source_ends_the_run(tmp_path):
    def items():
        yield from range(100)
        raise OSError("the disk went away")

    async def work(number):
        return number

    with pytest.raises(OSError, match="went away"):
        list(Engine(ledger_at(tmp_path)).stream(work, items()))


def test_a_caller_that_stops_leaves_no_thread(endpoint, tmp_path):
    engine = Engine(ledger_at(tmp_path))

    async def work(number):
        await asyncio.sleep(0.001)
        return number

    stream = engine.stream(work, range(10**9))
    assert next(stream) == 0
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "gpt4-instruct-engine"]


def test_a_slow_caller_is_not_run_over(tmp_path):
    taken = 0

    def items():
        nonlocal taken
        for number in range(100_000):
            taken = number
            yield number

    async def work(number):
        return number

    stream = Engine(ledger_at(tmp_path)).stream(work, items())
    next(stream)
    time.sleep(0.5)
    assert taken < 20_000
    stream.close()


def test_a_slow_answer_does_not_hold_up_the_others(endpoint, tmp_path):
    endpoint.script = lambda request, count: Reply("x", delay_s=1.5 if request["messages"][0]["content"] == "0" else 0)
    run(ledger_at(tmp_path), connect("openai:m"), map(str, range(300)), concurrency=4)
    finished = list(endpoint.billed)
    assert len(finished) == 300
    assert finished.index("0") > 250


def test_a_full_disk_is_one_line(endpoint, tmp_path):
    ledger = ledger_at(tmp_path)
    ledger._db.execute(f"PRAGMA max_page_count = {ledger._db.execute('PRAGMA page_count').fetchone()[0] + 4}")
    endpoint.script = lambda request, count: "x" * 3000
    with pytest.raises(LedgerError, match="full"):
        run(ledger, connect("openai:m"), map(str, range(50)))
    settled = ledger.counts().get("settled", 0)
    assert settled < 50
    ledger.close()
    assert Ledger(tmp_path / "ledger.sqlite3").counts().get("settled", 0) == settled


def test_half_a_response_that_was_settled_is_asked_again(endpoint, tmp_path):
    """As a version with another reader may have done."""
    ledger = ledger_at(tmp_path)
    teacher = connect("openai:m")
    asked = Request(teacher.endpoint, teacher.model, (Message("user", "p"),))
    ledger.claim(asked.key, asked, asked.to_json(), teacher.spec)
    ledger.settle(asked.key, '{"half')
    ledger.commit()
    texts, _ = run(ledger, teacher, ["p"])
    assert texts == ["This is a fine answer."]
    assert ledger.counts() == {"settled": 1}


def test_a_teacher_that_cannot_be_closed_does_not_hang_the_run(tmp_path):
    class Clumsy(Replay):
        async def close(self):
            raise OSError("stuck")

    with pytest.raises(OSError, match="stuck"):
        run(ledger_at(tmp_path), Clumsy([{"prompt": "p", "output": "x"}]), ["p"])


def test_an_engine_serves_one_stream_at_a_time_and_none_after_a_failure(tmp_path):
    async def work(item):
        return 1 / item

    engine = Engine(ledger_at(tmp_path))
    stream = engine.stream(work, [1, 2])
    assert next(stream) == 1
    with pytest.raises(RuntimeError, match="one stream"):
        next(engine.stream(work, [1]))
    assert list(stream) == [0.5]
    assert list(engine.stream(work, [4])) == [0.25]
    with pytest.raises(ZeroDivisionError):
        list(engine.stream(work, [0]))
    with pytest.raises(RuntimeError, match="one stream"):
        list(engine.stream(work, [1]))


def test_it_works_where_an_event_loop_runs_already(endpoint, tmp_path):
    """As in a notebook."""
    endpoint.script = echo

    async def cell():
        return run(ledger_at(tmp_path), connect("openai:m"), ["a", "b"])[0]

    assert asyncio.run(cell()) == ["echo a", "echo b"]


def test_refusals_for_overload_are_waited_out_whatever_came_before(endpoint, tmp_path, monkeypatch):
    """A fault before them does not use up the patience: 20 times is minutes, not the seconds of the first delays."""
    waits = []
    real = engine_module.delay_s
    monkeypatch.setattr(engine_module, "delay_s", lambda attempt, after: waits.append(attempt) or real(1, after))
    endpoint.script = lambda request, count: (
        error_reply(500, None) if count == 0 else error_reply(429, None) if count < 9 else "x"
    )
    texts, _ = run(ledger_at(tmp_path), connect("openai:m"), ["p"])
    assert texts == ["x"]
    assert waits == [1, 1, 2, 3, 4, 5, 6, 7, 8]


def test_a_thread_that_is_left_behind_closes_the_ledger_itself(endpoint, tmp_path):
    """After a second Ctrl-C: what it holds must not seem to be alive for as long as the interpreter is."""
    endpoint.script = lambda request, count: Reply("x", delay_s=3.0)
    engine = Engine(ledger_at(tmp_path))
    teacher = connect("openai:m")

    async def work(prompt):
        return (await engine.ask(teacher, Request(teacher.endpoint, teacher.model, (Message("user", prompt),)))).text

    for delay_s in (0.3, 1.2):
        threading.Timer(delay_s, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        list(engine.stream(work, ["p"]))
    engine.close()
    assert engine.abandoned
    other = ledger_at(tmp_path)
    assert other.living() == 1
    time.sleep(3.0)
    assert other.living() == 0
    assert other.counts() == {"settled": 1}
