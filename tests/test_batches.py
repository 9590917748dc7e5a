"""Answers by the batch, over a real socket: as few requests as are missing, whatever happened before."""

from __future__ import annotations

import json
import sqlite3
import time

import pytest

from gpt4_instruct import BudgetError, RunStoppedError, UsageError, build
from gpt4_instruct.generation import batches, delays
from gpt4_instruct.generation.accounting import accounts
from gpt4_instruct.generation.engine import Engine
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.generation.pricing import load_prices
from gpt4_instruct.teachers import openai_batch
from gpt4_instruct.teachers.base import connect
from tests import faults
from tests.faults import FaultyEndpoint

N = 20


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch):
    monkeypatch.setattr(delays, "FIRST_DELAY_S", 0.01)
    for name in ("_FIRST_POLL_S", "_OTHERS_S", "_FULL_S"):
        monkeypatch.setattr(batches, name, 0.03)


@pytest.fixture
def serve(monkeypatch):
    opened = []

    def start(**options):
        server = FaultyEndpoint(**{"refused_share": 0.0, "length_share": 0.0, "batch_s": 0.05, **options})
        opened.append(server.__enter__())
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        return server

    yield start
    for server in opened:
        server.__exit__(None, None, None)


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([{"instruction": f"Do thing number {n}.", "input": ""} for n in range(N)]))
    return path


@pytest.fixture
def ledger(tmp_path):
    ledger = Ledger(tmp_path / "home" / "ledger.sqlite3")
    yield ledger
    ledger.close()


def uploads(server) -> int:
    return sum(file["purpose"] == "batch" for file in server.files)


def test_one_batch_answers_all_at_half_the_price(serve, tasks, tmp_path, ledger):
    server = serve()
    result = build("english", tasks, teacher="openai-batch:gpt-4o", out=tmp_path / "out")
    assert (result.rows, result.asked, result.reused) == (N, N, 0)
    assert (len(server.batches), uploads(server)) == (1, 1)
    assert set(server.billed.values()) == {1}
    (account,) = accounts(ledger, load_prices())
    assert (account.by_batch, account.state, account.requests) == (True, "settled", N)
    assert result.cost_usd == pytest.approx(account.cost_usd)
    full = load_prices().models["gpt-4o"].usd(account.prompt_tokens, account.completion_tokens)
    assert account.cost_usd == pytest.approx(full / 2)


def test_what_one_way_has_answered_the_other_does_not_ask(serve, tasks, tmp_path):
    server = serve()
    assert build("english", tasks, teacher="openai:m", out=tmp_path / "a", limit=8).asked == 8
    assert build("english", tasks, teacher="openai-batch:m", out=tmp_path / "b", limit=14).asked == 6
    assert build("english", tasks, teacher="openai:m", out=tmp_path / "c").asked == 6
    assert set(server.billed.values()) == {1} and len(server.billed) == N


def test_stages_take_as_many_rounds_as_they_need(serve, tmp_path):
    """Two answers and their scores, all by the batch: the scores can only be asked when the answers are there."""
    server = serve()
    result = build(
        "comparison",
        answers_from=["openai-batch:one", "openai-batch:two"],
        scorer="openai-batch:three",
        out=tmp_path / "out",
        limit=5,
    )
    assert result.rejected == {"unreadable_score": 5}  # the endpoint writes prose, but it was asked
    assert result.asked == 15  # both gave the same answers here, which are scored once
    assert len(server.batches) == 3


def test_files_are_as_large_as_they_may_be(serve, tasks, tmp_path, monkeypatch):
    server = serve()
    monkeypatch.setattr(openai_batch.OpenAIBatchTeacher, "most_requests", 7)
    build("english", tasks, teacher="openai-batch:m", out=tmp_path / "out", limit=16)
    assert sorted(batch["request_counts"]["total"] for batch in server.batches) == [2, 7, 7]
    monkeypatch.setattr(openai_batch.OpenAIBatchTeacher, "most_bytes", 1000)
    build("english", tasks, teacher="openai-batch:other", out=tmp_path / "out2", limit=6)
    sizes = [file["bytes"] for file in server.files if file["purpose"] == "batch"][3:]
    assert len(sizes) > 1 and max(sizes) <= 1000
    assert server.billed.total() == 16 + 6


@pytest.mark.parametrize("fault", ["expired", "line errors", "duplicates"])
def test_only_what_is_missing_is_asked_again(serve, tasks, tmp_path, fault):
    server = serve(batch_faults=1.0, only={f"batch {fault}"}, most_faults=2)
    result = build("english", tasks, teacher="openai-batch:m", out=tmp_path / "out")
    assert result.rows == N
    assert server.given[f"batch {fault}"] == 2 or fault == "duplicates"
    assert set(server.billed.values()) == {1}


def test_where_too_much_is_waiting_smaller_batches_are_sent_one_at_a_time(serve, tasks, tmp_path):
    server = serve(batch_faults=1.0, only={"batch token limit"}, most_faults=4)
    assert build("english", tasks, teacher="openai-batch:m", out=tmp_path / "out").rows == N
    sizes = [batch["request_counts"]["total"] for batch in server.batches if batch["status"] == "completed"]
    assert (sizes[0], sum(sizes)) == (1, N)  # after 20, 10, 5 and 2 were too many
    assert max(sizes) > 1 and len(sizes) < 12
    assert set(server.billed.values()) == {1}


def test_a_batch_that_is_refused_stops_the_run(serve, tasks, tmp_path, monkeypatch, ledger):
    server = serve()
    monkeypatch.setattr(faults, "MOST_LINES", 3)
    with pytest.raises(RunStoppedError, match="refuses the batch"):
        build("english", tasks, teacher="openai-batch:m", out=tmp_path / "out")
    assert ledger.counts() == {"failed": N}
    assert not server.billed


def test_lines_break_only_where_lines_end(serve, tasks, tmp_path, monkeypatch):
    """A separator of Unicode inside an answer is no end of a line, though most readers of lines take it for one."""
    server = serve()
    monkeypatch.setattr(faults, "answer_text", lambda prompt: "One line.\u2028Another one.\x85A third one.")
    monkeypatch.setattr(
        faults.json, "dumps", lambda value, **options: json.JSONEncoder(ensure_ascii=False).encode(value)
    )
    assert build("english", tasks, teacher="openai-batch:m", out=tmp_path / "out").rows == N
    assert set(server.billed.values()) == {1}


# --- between runs ---------------------------------------------------------------------------------------------------


@pytest.fixture
def abandon(tasks, tmp_path, monkeypatch):
    """Leaves a batch at the endpoint, as a run does that ends while it polls."""

    def leave(server) -> None:
        real = batches.Batches._tell

        def end(self, batch, status) -> None:
            raise RunStoppedError("the end of this run")

        monkeypatch.setattr(batches.Batches, "_tell", end)
        with pytest.raises(RunStoppedError, match="the end of this run"):
            build("english", tasks, teacher="openai-batch:m", out=tmp_path / "gone")
        monkeypatch.setattr(batches.Batches, "_tell", real)
        assert len(server.batches) == 1

    return leave


def test_an_online_run_takes_what_a_batch_has_and_asks_the_rest(serve, tasks, tmp_path, ledger, capsys, abandon):
    server = serve(batch_s=5.0)
    abandon(server)
    assert ledger.counts() == {"sent": N}
    time.sleep(1.5)
    result = build("english", tasks, teacher="openai:m", out=tmp_path / "out")
    assert (result.rows, result.asked + result.reused) == (N, N)
    assert "cancelling the batch" in capsys.readouterr().err
    assert set(server.billed.values()) == {1}
    by_batch = {account.by_batch: account.requests for account in accounts(ledger, load_prices())}
    assert sum(by_batch.values()) == N and by_batch.get(False, 0) > 0


def test_the_next_batch_run_finds_the_batch(serve, tasks, tmp_path, ledger, abandon):
    server = serve(batch_s=1.0)
    abandon(server)
    assert [batch.state for batch in ledger.batches()] == ["open"]
    assert build("english", tasks, teacher="openai-batch:m", out=tmp_path / "out").rows == N
    assert len(server.batches) == 1
    assert set(server.billed.values()) == {1}


@pytest.mark.parametrize("teacher", ["openai-batch:m", "openai:m"])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_run_that_ends_around_the_submission_leaves_one_batch(serve, tasks, tmp_path, monkeypatch, moment, teacher):
    """Whether the endpoint has the batch, nobody knows then: it is looked for by its name."""
    server = serve()
    real = openai_batch.OpenAIBatchTeacher.submit

    async def submit(self, file, name):
        if moment == "after":
            await real(self, file, name)
        raise RunStoppedError("the end of this run")

    monkeypatch.setattr(openai_batch.OpenAIBatchTeacher, "submit", submit)
    with pytest.raises(RunStoppedError, match="the end of this run"):
        build("english", tasks, teacher="openai-batch:m", out=tmp_path / "gone")
    assert len(server.batches) == (moment == "after")
    monkeypatch.setattr(openai_batch.OpenAIBatchTeacher, "submit", real)
    assert build("english", tasks, teacher=teacher, out=tmp_path / "out").rows == N
    assert len(server.batches) == (moment == "after" or teacher == "openai-batch:m")
    assert set(server.billed.values()) == {1}


def test_cancelling_keeps_what_is_answered(serve, ledger, abandon):
    server = serve(batch_s=3.0)
    abandon(server)
    time.sleep(1.0)
    assert Engine(ledger).cancel_batches(connect("openai-batch:m")) == 1
    counts = ledger.counts()
    assert counts.get("settled", 0) == sum(server.billed.values())
    assert sum(counts.values()) == N
    assert [batch.state for batch in ledger.batches()] == ["ended"]
    assert server.batches[0]["status"] == "cancelled"


def test_a_budget_holds_for_batches(serve, tasks, tmp_path, ledger):
    server = serve()
    prices = tmp_path / "prices.json"
    prices.write_text('{"models": {"m": {"input": 10, "output": 100}}}')
    worst = 0.5 * (300 * 10 + 512 * 100) / 1e6  # about that much for each request
    with pytest.raises(BudgetError, match="new --budget-usd goes on"):
        build("english", tasks, teacher="openai-batch:m", out=tmp_path / "out", prices=prices, budget_usd=1.3 * worst)
    spent = sum(account.cost_usd for account in accounts(ledger, load_prices(prices)))
    assert 0 < spent <= 1.3 * worst
    assert max(batch["request_counts"]["total"] for batch in server.batches) == 1
    assert build("english", tasks, teacher="openai-batch:m", out=tmp_path / "out", prices=prices).rows == N
    assert set(server.billed.values()) == {1}


def test_accept_by_batch_asks_no_more_than_may_be_needed(serve, tasks, tmp_path):
    server = serve(length_share=0.4)
    result = build("english", tasks, teacher="openai-batch:m", out=tmp_path / "out", accept=6)
    assert result.rows == 6
    assert len(server.billed) == 6 + result.rejected["truncated"]
    again = build("english", tasks, teacher="openai:m", out=tmp_path / "again", accept=6)
    assert (again.rows, again.asked) == (6, 0)


def test_refused_lines_reject_their_rows(serve, tasks, tmp_path):
    server = serve(refused_share=0.4)
    result = build("english", tasks, teacher="openai-batch:m", out=tmp_path / "out")
    assert result.rejected["request_refused"] == sum(faults.is_refused(p, 0.4) for p in prompts(tmp_path))
    assert len(server.batches) == 1


def prompts(tmp_path):
    with sqlite3.connect(tmp_path / "home" / "ledger.sqlite3") as db:
        return [json.loads(content)["messages"][0][1] for (content,) in db.execute("SELECT request FROM requests")]


def test_who_has_no_batches_cannot_cancel_them(endpoint):
    from typer.testing import CliRunner

    from gpt4_instruct.cli.app import app

    outcome = CliRunner().invoke(app, ["ledger", "cancel", "openai:m"])
    assert isinstance(outcome.exception, UsageError) and "openai-batch:MODEL" in str(outcome.exception)


# --- what a batch must not do to others -----------------------------------------------------------------------------


def test_passes_agree_on_what_an_online_teacher_did_not_answer(endpoint, serve, tmp_path, monkeypatch):
    """An answer that comes only in the last pass would leave its row waiting for a batch that nobody sends."""
    from gpt4_instruct import IncompleteError
    from tests.endpoint import error_reply

    def script(request, count):
        content = request["messages"][0]["content"]
        if "number 3." in content and count < 6:
            return error_reply(500, None)
        return error_reply(400, None) if "number 5." in content else "Fine."

    endpoint.script = script
    source = tmp_path / "tasks.json"
    source.write_text(json.dumps([{"instruction": f"Do thing number {n}.", "input": ""} for n in range(8)]))
    online = connect("openai:m")
    serve()
    options = {"answers_from": [online, online], "scorer": "openai-batch:s", "out": tmp_path / "out"}
    with pytest.raises(IncompleteError, match="1 of 8 rows"):
        build("comparison", source, **options)
    assert sum("number 5." in str(request) for request in endpoint.asked) == 1
    result = build("comparison", source, **options)
    assert result.rows + sum(result.rejected.values()) == 8
    assert result.rejected == {"unreadable_score": 7, "request_refused": 1}


def test_counts_are_those_of_the_rows_that_were_asked_for(serve, tasks, tmp_path, abandon):
    server = serve(batch_s=0.3)
    abandon(server)
    result = build("english", tasks, teacher="openai-batch:m", out=tmp_path / "out", limit=5)
    assert (result.rows, result.asked, result.reused) == (5, 5, 0)
    result = build("english", tasks, teacher="openai-batch:m", out=tmp_path / "all")
    assert (result.rows, result.asked, result.reused) == (N, 0, N)
    assert set(server.billed.values()) == {1}


def test_a_line_that_stops_the_run_leaves_nothing_behind(serve, tasks, tmp_path, monkeypatch, ledger):
    """No quota left in the middle of a batch: what was answered is kept, and the next run asks the rest."""
    server = serve()
    real = openai_batch.OpenAIBatchTeacher._read

    def read(self, line):
        key, result = real(self, line)
        return (key, RunStoppedError("no quota left")) if "number 3." in ledger.content(key) else (key, result)

    monkeypatch.setattr(openai_batch.OpenAIBatchTeacher, "_read", read)
    with pytest.raises(RunStoppedError, match="no quota left"):
        build("english", tasks, teacher="openai-batch:m", out=tmp_path / "out")
    assert ledger.counts() == {"failed": 1, "settled": N - 1}
    monkeypatch.setattr(openai_batch.OpenAIBatchTeacher, "_read", real)
    assert build("english", tasks, teacher="openai:m", out=tmp_path / "out").asked == 1
    assert server.billed.total() == N + 1


def test_a_batch_that_the_endpoint_has_no_more_can_be_given_up(serve, tasks, tmp_path, abandon, ledger):
    server = serve(batch_s=0.2)
    abandon(server)
    server.objects.clear()
    for teacher in ("openai-batch:m", "openai:m"):
        with pytest.raises(RunStoppedError, match="ledger cancel openai-batch:m --forget"):
            build("english", tasks, teacher=teacher, out=tmp_path / "out")
    engine = Engine(ledger)
    assert engine.forget_batches(connect("openai-batch:m")) == 1
    assert ledger.counts() == {"unknown": N}
    (account,) = accounts(ledger, load_prices())
    assert account.unknown_attempts == N
    assert build("english", tasks, teacher="openai:m", out=tmp_path / "out").rows == N


def test_an_open_batch_of_a_ledger_that_is_imported_holds_nobody_up(serve, tasks, tmp_path, abandon, ledger):
    from gpt4_instruct.generation.accounting import merge

    server = serve(batch_s=60)
    abandon(server)
    other = Ledger(tmp_path / "other.sqlite3")
    assert merge(other, ledger.path).added == N
    assert other.counts() == {"unknown": N}
    other.close()
    assert (
        build("english", tasks, teacher="openai:m", out=tmp_path / "out", ledger=tmp_path / "other.sqlite3").rows == N
    )
