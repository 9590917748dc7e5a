"""What things cost: the price list, the estimate before anything is sent, the cap that holds, the books."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt4_instruct import BudgetError, Message, Request, UsageError, build, estimate
from gpt4_instruct.generation.accounting import account_table, accounts, export, merge, verify
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.generation.pricing import count_tokens, load_prices, most_tokens, prompt_tokens
from tests.endpoint import Reply, error_reply

PRICES = {
    "checked": "2026-01-02",
    "models": {"m": {"input": 10.0, "output": 100.0}, "other": {"input": 1, "output": 1}},
}


@pytest.fixture
def prices(tmp_path):
    path = tmp_path / "prices.json"
    path.write_text(json.dumps(PRICES))
    return path


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([{"instruction": f"Do thing number {n}.", "input": ""} for n in range(40)]))
    return path


def ledger_of(tmp_path) -> Ledger:
    return Ledger(tmp_path / "home" / "ledger.sqlite3")


# --- the price list -------------------------------------------------------------------------------------------------


def test_the_packaged_list_is_whole():
    prices = load_prices()
    assert prices.checked >= "2026-01-01"
    assert {"gpt-4", "gpt-4o", "gpt-3.5-turbo"} <= set(prices.models)
    for price in prices.models.values():
        assert 0 < price.input <= price.output < 1000 and price.batch_share == 0.5
    assert prices.find("https://api.openai.com/v1", "gpt-4-0613") == prices.models["gpt-4"]
    assert prices.find("https://api.openai.com/v1", "gpt-4o-2024-05-13").input == 5.0  # it has its own price


def test_a_list_of_ones_own_is_laid_over_it(prices, tmp_path):
    found = load_prices(prices)
    assert (found.models["m"].output, found.models["gpt-4"].input, found.checked) == (100.0, 30.0, "2026-01-02")
    (tmp_path / "home" / "prices.json").write_text(json.dumps(PRICES))
    assert load_prices().models["m"].output == 100.0


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        "[]",
        '{"models": []}',
        '{"models": {"m": {"input": 1}}}',
        '{"models": {"m": {"input": -1, "output": 1}}}',
        '{"models": {"m": {"input": "cheap", "output": 1}}}',
        '{"models": {"m": {"input": NaN, "output": 1}}}',
    ],
)
def test_what_is_no_price_list_is_said(text, tmp_path):
    path = tmp_path / "prices.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"prices\.json"):
        load_prices(path)
    with pytest.raises(UsageError, match="cannot be read"):
        load_prices(tmp_path / "nowhere.json")


@given(st.text())
def test_no_text_has_more_tokens_than_is_set_aside_for_it(text):
    request = Request("http://x", "m", (Message("user", text),), {"max_tokens": 7})
    prompt, answer = most_tokens(request)
    assert count_tokens(text) <= prompt_tokens(request) <= prompt
    assert prompt >= len(text.encode("utf-8", "surrogatepass")) and answer == 7


# --- before anything is sent ----------------------------------------------------------------------------------------


def test_an_estimate_sends_nothing_and_holds_what_a_build_then_costs(endpoint, tasks, prices, tmp_path):
    endpoint.script = lambda request, count: f"An answer of some length to {request['messages'][0]['content'][-40:]}"
    options = {"teacher": "openai:m", "prices": prices}
    before = estimate("english", source=tasks, **options)
    assert endpoint.asked == []
    assert not (tmp_path / "home" / "ledger.sqlite3").exists()
    (stage,) = before.stages
    assert (before.rows, stage.requests, stage.in_ledger, stage.measured) == (40, 40, 0, 0)
    build("english", tasks, out=tmp_path / "one", limit=10, **options)
    measured = estimate("english", source=tasks, **options)
    (stage,) = measured.stages
    assert (stage.requests, stage.in_ledger, stage.to_send, stage.measured) == (40, 10, 30, 10)
    rest = build("english", tasks, out=tmp_path / "two", **options)
    assert rest.asked == 30
    assert before.usd[0] <= rest.cost_usd <= before.usd[1]
    assert measured.usd[0] * 0.999 <= rest.cost_usd <= measured.usd[1] * 1.001
    assert measured.usd[1] - measured.usd[0] < (before.usd[1] - before.usd[0]) / 5
    after = estimate("english", source=tasks, **options)
    assert after.usd == (0.0, 0.0) and after.stages[0].to_send == 0


def test_later_stages_are_counted_too(endpoint, tasks, prices):
    found = estimate(
        "comparison", source=tasks, answers_from=["openai:m", "openai:other"], scorer="openai:m", prices=prices
    )
    assert [stage.requests for stage in found.stages] == [40, 40, 80]
    found = estimate(
        "chinese", source=tasks, teacher="openai:m", translator="openai-batch:other", prices=prices, limit=7
    )
    assert [(stage.stage, stage.requests) for stage in found.stages] == [("translate", 7), ("answer", 7)]
    assert found.usd[0] > 0
    assert estimate("english", source=tasks, teacher="openai:m", accept=5, prices=prices).rows == 5
    assert endpoint.asked == []


def test_an_unknown_price_is_said(endpoint, tasks):
    found = estimate("english", source=tasks, teacher="openai:nobody-knows")
    assert found.usd is None and found.stages[0].to_send == 40
    assert estimate("english", source=tasks, teacher="local:smollm2").usd == (0.0, 0.0)


# --- the cap --------------------------------------------------------------------------------------------------------


def test_a_budget_is_never_exceeded_and_nearly_used(endpoint, tasks, prices, tmp_path):
    endpoint.script = lambda request, count: Reply("word " * 80, delay_s=0.02)
    options = {"teacher": "openai:m", "prices": prices, "max_tokens": 120}
    whole = estimate("english", source=tasks, **options).usd[1]
    spent = 0.0
    rows = None
    for number in range(20):
        try:
            rows = build("english", tasks, out=tmp_path / "out", budget_usd=whole / 4, **options).rows
            break
        except BudgetError as error:
            assert "new --budget-usd goes on" in str(error)
        books = sum(account.cost_usd for account in accounts(ledger_of(tmp_path), load_prices(prices)))
        assert books - spent <= whole / 4
        assert books > spent, f"round {number} did nothing"
        spent = books
    assert rows == 40
    assert number >= 1
    assert set(endpoint.billed.values()) == {1}


def test_the_most_that_is_in_flight_may_cost_is_within_the_cap(endpoint, tasks, prices, tmp_path):
    """With money for three requests at their worst, no more than three are under way at once."""
    endpoint.script = lambda request, count: Reply("x" * 8, delay_s=0.05)
    request = Request("http://x", "m", (Message("user", "p" * 150),), {"max_tokens": 512})
    worst = load_prices(prices).models["m"].usd(*most_tokens(request))
    result = build("english", tasks, teacher="openai:m", prices=prices, out=tmp_path / "out", budget_usd=3.5 * worst)
    assert result.rows == 40
    assert endpoint.most_in_flight <= 3
    assert result.cost_usd < 3.5 * worst


def test_what_may_have_been_billed_counts_as_spent(endpoint, tasks, prices, tmp_path):
    endpoint.script = lambda request, count: Reply(reset=True) if count == 0 else "A good answer."
    result = build("english", tasks, teacher="openai:m", prices=prices, out=tmp_path / "out", limit=3)
    ledger = ledger_of(tmp_path)
    (account,) = accounts(ledger, load_prices(prices))
    assert (account.state, account.requests, account.unknown_attempts) == ("settled", 3, 3)
    assert result.cost_usd == pytest.approx(account.cost_usd + account.risk_usd)
    ledger.close()


def test_a_budget_needs_a_price(endpoint, tasks, tmp_path):
    with pytest.raises(UsageError, match="needs the price of nobody-knows"):
        build("english", tasks, teacher="openai:nobody-knows", out=tmp_path / "out", budget_usd=1.0)
    with pytest.raises(UsageError, match="budget_usd is -1"):
        build("english", tasks, teacher="openai:m", out=tmp_path / "out", budget_usd=-1)
    assert endpoint.asked == []
    result = build("english", tasks, teacher="openai:nobody-knows", out=tmp_path / "out", limit=2)
    assert result.cost_usd is None


# --- the books ------------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(endpoint, tasks, tmp_path):
    def script(request, count):
        content = request["messages"][0]["content"]
        if "number 3." in content:
            return error_reply(400, None, "no")
        if "number 4." in content and count == 0:
            return Reply(reset=True)
        return "好的 answer \u2028 with a separator"

    endpoint.script = script
    build("english", tasks, teacher="openai:m", out=tmp_path / "kept", limit=6)
    ledger = ledger_of(tmp_path)
    yield ledger
    ledger.close()


def test_the_books_tell_requests_tokens_and_risk(kept, prices):
    known = load_prices(prices)
    found = {account.state: account for account in accounts(kept, known)}
    assert (found["settled"].requests, found["settled"].attempts, found["settled"].unknown_attempts) == (5, 6, 1)
    assert found["settled"].prompt_tokens > 0 and found["settled"].completion_tokens > 0
    assert found["failed"].requests == 1 and found["failed"].risk_usd == 0
    assert 0 < found["settled"].risk_usd < 0.1
    assert verify(kept) == []
    account_table(list(found.values()), [], known.checked)


def test_an_export_is_taken_over_whole(kept, tmp_path):
    path = tmp_path / "export.jsonl"
    assert export(kept, path) == 6
    rows = [json.loads(line) for line in path.read_text().split("\n") if line]
    assert rows[0]["request"]["messages"][0][0] == "user" and rows[0]["state"] == "settled"
    other = Ledger(tmp_path / "other.sqlite3")
    merged = merge(other, path)
    assert (merged.added, merged.known, merged.rejected) == (6, 0, [])
    assert verify(other) == []
    prices = load_prices()
    assert accounts(other, prices) == accounts(kept, prices)
    again = merge(other, kept.path)
    assert (again.added, again.known) == (0, 6)
    other.close()


def test_what_is_settled_stays_and_what_is_not_is_taken(kept, tmp_path, endpoint, tasks):
    path = tmp_path / "export.jsonl"
    export(kept, path)
    lines = [json.loads(line) for line in path.read_text().split("\n") if line]
    for line in lines:
        line["response"] = line["response"] and line["response"].replace("好的", "other")
    lines[1]["request"]["model"] = "another"  # its key is not that request's
    del lines[2]["state"]
    path.write_text("\n".join([*(json.dumps(line) for line in lines), "[1]", "{half"]))
    merged = merge(kept, path)
    assert (merged.added, merged.known, len(merged.rejected)) == (0, 4, 4)
    assert all(name in " ".join(merged.rejected) for name in ("export.jsonl:2", "not the hash", "no state", "not JSON"))
    fresh = Ledger(tmp_path / "fresh.sqlite3")
    assert merge(fresh, path).added == 4
    fresh.close()


def test_a_ledger_that_was_tampered_with_is_found_out(kept):
    kept._db.execute("UPDATE requests SET request = replace(request, 'number 1.', 'number 9.') WHERE rowid = 2")
    kept._db.execute("UPDATE requests SET response = 'half' WHERE state = 'settled' AND rowid = 3")
    wrong = verify(kept)
    assert len(wrong) == 2
    assert "not the hash" in wrong[0] and "not a chat completion" in wrong[1]


def test_what_a_killed_run_had_sent_is_taken_over_from_where_it_is_answered(kept, tmp_path):
    other = Ledger(tmp_path / "other.sqlite3")
    other.join()
    for (content,) in kept.query("SELECT request FROM requests"):
        asked = Request.from_json(content)
        assert other.claim(asked.key, asked, content, "openai:m")
    other.commit()
    other._run_lock.release()  # as the system does when the process ends
    other._run = None
    assert merge(other, kept.path).added == 5
    assert other.counts() == {"settled": 5, "unknown": 1}
    other.close()


def test_a_lost_attempt_is_at_risk_at_its_full_price_whoever_answers_then(kept, prices):
    known = load_prices(prices)
    before = sum(account.risk_usd for account in accounts(kept, known))
    kept._db.execute("UPDATE requests SET by_batch = 1")
    assert sum(account.risk_usd for account in accounts(kept, known)) == before > 0


def test_the_upper_end_holds_where_cut_answers_are_asked_for_again(endpoint, tasks, prices, tmp_path):
    endpoint.script = lambda request, count: Reply(
        "word " * 100, finish_reason="length" if request["max_tokens"] == 64 else "stop"
    )
    options = {"teacher": "openai:m", "prices": prices, "max_tokens": 64, "on_truncation": "extend"}
    before = estimate("english", source=tasks, **options).usd
    result = build("english", tasks, out=tmp_path / "out", **options)
    assert result.extended == 40
    assert before[0] < result.cost_usd <= before[1]


@pytest.mark.parametrize("share", ["NaN", -1, 1.5])
def test_a_share_of_the_price_that_is_none_is_refused(share, tmp_path):
    path = tmp_path / "prices.json"
    path.write_text(f'{{"batch_share": {share}, "models": {{"m": {{"input": 1, "output": 1}}}}}}')
    with pytest.raises(UsageError, match="batch_share"):
        load_prices(path)
