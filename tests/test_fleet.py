"""A fleet over real sockets: shares by speed, servers that die, refuse and come back, and nothing asked twice."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt4_instruct.errors import RequestRefusedError, RunStoppedError, TransientError, UsageError
from gpt4_instruct.generation import delays
from gpt4_instruct.generation.engine import Engine
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.prompts.tasks import SCORES
from gpt4_instruct.records import Message, RateLimits, Request
from gpt4_instruct.teachers import fleet as fleet_module
from gpt4_instruct.teachers.base import Response, completion, connect
from gpt4_instruct.teachers.fleet import Fleet, Server
from gpt4_instruct.teachers.openai import OpenAITeacher
from gpt4_instruct.teachers.openai_client import Client
from tests.endpoint import Endpoint, Reply, Slots, error_reply

NOBODY = "http://127.0.0.1:1/v1"


@pytest.fixture(autouse=True)
def _short_delays(monkeypatch):
    monkeypatch.setattr(delays, "FIRST_DELAY_S", 0.01)
    monkeypatch.setattr(fleet_module, "_FIRST_PAUSE_S", 0.05)


@pytest.fixture
def serve(monkeypatch):
    """Starts servers and makes a fleet of them by the environment."""
    monkeypatch.setenv("OPENAI_API_KEY", Endpoint.key)
    with ExitStack() as stack:

        def start(*servers, also=()):
            for server in servers:
                stack.enter_context(server)
            urls = [*(server.url for server in servers), *also]
            monkeypatch.setenv("OPENAI_BASE_URL", ", ".join(urls) + ("," if len(urls) == 1 else ""))
            return connect("openai:m")

        yield start


def run(tmp_path, teacher, prompts, **options):
    """Asks every prompt by the engine; the texts in order, and the engine."""
    engine = Engine(Ledger(tmp_path / "ledger.sqlite3"), **options)

    async def work(prompt):
        return (await engine.ask(teacher, Request(teacher.endpoint, teacher.model, (Message("user", prompt),)))).text

    texts = list(engine.stream(work, prompts))
    engine.close()
    return texts, engine


def prompts(count):
    return [f"prompt {number}" for number in range(count)]


def billed(*servers):
    return sum((server.billed for server in servers), Counter())


# --- the rule, without a clock ---------------------------------------------------------------------------------------


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def pure(count):
    clock = Clock()
    return Fleet([Client(f"http://{number}/v1", "") for number in range(count)], clock), clock


def fate(fleet, outcome):
    """One request to a fleet: the number of the server that got it, and the error that came of it, if any."""
    asked = []

    async def ask(client):
        asked.append(int(client.endpoint.removeprefix("http://").removesuffix("/v1")))
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    try:
        asyncio.run(fleet.ask(ask))
    except Exception as error:
        return asked[0], error
    return asked[0], None


FINE = Response(completion("Fine.", model="m", completion_tokens=10))


def test_until_speeds_are_known_the_server_with_the_fewest_requests_is_next():
    fleet, _ = pure(3)
    chosen = []
    for _ in range(7):
        server = fleet.choose()
        server.in_flight += 1
        chosen.append(fleet.servers.index(server))
    assert chosen == [0, 1, 2, 0, 1, 2, 0]


def test_requests_in_flight_are_shared_by_rate():
    fleet, _ = pure(3)
    for server, rate in zip(fleet.servers, (600.0, 300.0, 100.0), strict=True):
        server.rate = rate
    for _ in range(100):
        fleet.choose().in_flight += 1
    assert [server.in_flight for server in fleet.servers] == pytest.approx([60, 30, 10], abs=1)


def test_a_server_that_is_asked_little_is_not_slow_but_one_that_answers_late_is():
    server = Server(Client("http://a/v1", ""))
    for _ in range(100):  # 32 at once, each 50 tokens a second
        server.learn(100, 2.0, 32.0)
    assert server.rate == pytest.approx(1600)
    for _ in range(200):  # the same speed with an eighth of the requests
        server.learn(100, 2.0, 4.0)
    assert server.rate == pytest.approx(1600)
    for _ in range(200):  # half the speed
        server.learn(100, 4.0, 4.0)
    assert server.rate == pytest.approx(800, rel=0.01)
    for _ in range(400):  # and faster than ever
        server.learn(100, 1.0, 32.0)
    assert server.rate == pytest.approx(3200, rel=0.01)


@given(st.lists(st.tuples(st.integers(1, 2000), st.floats(1e-6, 300), st.floats(1, 500)), min_size=1, max_size=60))
def test_a_rate_is_within_what_was_seen(answers):
    server = Server(Client("http://a/v1", ""))
    for answer in answers:
        server.learn(*answer)
    speeds = [tokens / seconds for tokens, seconds, _ in answers]
    company = [each for _, _, each in answers]
    assert 0 < server.rate <= max(speeds) * max(company) * 1.001


def test_pauses_grow_and_end_with_one_request_that_shows_whether_it_is_well(monkeypatch):
    monkeypatch.setattr(fleet_module, "_FIRST_PAUSE_S", 1.0)
    fleet, clock = pure(2)
    down = TransientError("down", billable=True)
    number, error = fate(fleet, down)
    assert (number, error.retry_after_s, error.billable) == (0, 0.0, True), "asked again at once, elsewhere"
    pauses = []
    for _ in range(8):
        assert {fate(fleet, FINE)[0] for _ in range(3)} == {1}
        pauses.append(fleet.servers[0].held_until - clock.now)
        clock.now = fleet.servers[0].held_until
        fleet.servers[1].in_flight = 5  # so that the other one is the nearer
        assert fate(fleet, down)[0] == 0
        fleet.servers[1].in_flight = 0
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    clock.now = fleet.servers[0].held_until
    first = fleet.servers[0]
    first.probed = True
    assert not first.is_ready(clock.now), "one request at a time, until it is known"
    first.probed = False
    fleet.servers[1].in_flight = 5
    assert fate(fleet, FINE) == (0, None)
    assert first.failures == 0 and first.is_ready(clock.now)


def test_what_was_sent_before_a_failure_says_nothing_new():
    server = Server(Client("http://a/v1", ""))
    for _ in range(32):  # all that it had, when it went
        server.hold(TransientError("down"), sent_at=1.0, now=5.0)
    assert server.failures == 1
    server.release(sent_at=1.0)  # an answer that was on its way
    assert server.failures == 1
    server.release(sent_at=6.0)
    assert server.failures == 0


def test_too_many_requests_at_one_server_is_not_too_many_for_the_fleet():
    fleet, clock = pure(2)
    busy = TransientError("busy", retry_after_s=20.0, overloaded=True, limits=RateLimits(60, 0))
    error = fate(fleet, busy)[1]
    assert (error.overloaded, error.retry_after_s, error.limits) == (True, 0.0, None)
    clock.now = 5.0
    error = fate(fleet, busy)[1]
    assert (error.overloaded, error.retry_after_s) == (True, 15.0), "until the first of them may be asked"
    assert fate(fleet, FINE) == (0, None), "all are gone: the one that is due first is asked all the same"


def test_the_run_sees_the_limits_of_all_servers_together():
    fleet, _ = pure(2)
    seen = []

    async def ask(client):
        return Response(FINE.text, RateLimits(60, 40, 60.0, 1000, 900) if client is fleet.clients[0] else limits)

    async def both():
        for each in fleet.servers[::-1]:
            each.in_flight = 9
            seen.append((await fleet.ask(ask)).limits)
            each.in_flight = 0

    limits = RateLimits(30, 10, 60.0, 500, 100)
    asyncio.run(both())
    assert seen == [None, RateLimits(90, 50, 60.0, 1500, 1000)]
    limits = RateLimits(9000, 10, 86_400.0, 500, 100)  # by the day
    asyncio.run(both())
    assert seen[-1] == RateLimits(tokens=1500, tokens_left=1000)


# --- which requests are the same -------------------------------------------------------------------------------------


def test_one_address_is_what_it_was_and_a_fleet_has_no_place():
    alone = OpenAITeacher("m", base_url="http://a:8000/v1?v=1,2")
    assert (alone.endpoint, alone.concurrency) == ("http://a:8000/v1", 32)
    fleets = [
        OpenAITeacher("m", base_url=each)
        for each in ("http://a/v1,http://b/v1", "http://b/v1 , http://c/v1/,http://d/v1", "http://a/v1,")
    ]
    assert {(each.endpoint, each.model, each.spec) for each in fleets} == {("http://fleet", "m", "openai:m")}
    assert [each.concurrency for each in fleets] == [64, 96, 32]
    assert alone.for_batches() is not None and fleets[0].for_batches() is None


@pytest.mark.parametrize("url", [",", "http://a/v1,http://me:secret@b/v1"])
def test_an_address_that_is_none_is_said(url):
    with pytest.raises(UsageError) as caught:
        OpenAITeacher("m", base_url=url)
    assert "OPENAI_BASE_URL" in str(caught.value) and "secret" not in str(caught.value)


def test_a_batch_has_one_address(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "http://a/v1,http://b/v1")
    with pytest.raises(UsageError, match="one address"):
        connect("openai-batch:m")


# --- over sockets ----------------------------------------------------------------------------------------------------


def test_shares_are_those_of_the_speeds_and_nothing_is_asked_twice(serve, tmp_path):
    fast, slow = Slots(4, 0.04), Slots(4, 0.16)
    texts, engine = run(tmp_path, serve(fast, slow), prompts(300))
    assert len(texts) == engine.asked == 300
    assert set(billed(fast, slow).values()) == {1} and len(billed(fast, slow)) == 300
    assert fast.billed.total() / 300 == pytest.approx(0.8, abs=0.08)
    moved = Slots(4, 0.02)
    texts, engine = run(tmp_path, serve(moved), prompts(301))
    assert (engine.asked, engine.reused, moved.billed.total()) == (1, 300, 1)


def test_a_server_that_dies_and_comes_back(serve, tmp_path, capfd):
    stays, dies = Slots(4, 0.02), Slots(4, 0.02)
    teacher = serve(stays, dies)
    back = Slots(4, 0.02, port=int(dies.url.rpartition(":")[2].removesuffix("/v1")))

    def life():
        while dies.billed.total() < 40:
            time.sleep(0.002)
        dies.__exit__()
        time.sleep(0.4)
        back.__enter__()

    thread = threading.Thread(target=life)
    thread.start()
    try:
        texts, engine = run(tmp_path, teacher, prompts(400), concurrency=32)
    finally:
        thread.join()
        back.__exit__()
    assert len(texts) == engine.asked == 400 and all(texts)
    # What it was just answering when it went may have been asked again.
    again = billed(stays, dies, back) - Counter(prompts(400))
    assert again.total() <= 4
    assert back.billed.total() > 50, "it gets its share again"
    said = capfd.readouterr().err
    assert "it is left alone for now" in said and "answers again" in said
    assert said.count("\n") == 2


def test_a_server_that_fails_now_and_then_costs_no_row(serve, tmp_path):
    def script(request, count):
        prompt = request["messages"][0]["content"]
        return error_reply(503, None, "loading") if prompt.endswith("3") and not count else Reply(delay_s=0.002)

    shaky, steady = Endpoint(script), Slots(4, 0.004)
    texts, _ = run(tmp_path, serve(shaky, steady), prompts(200))
    assert len(texts) == 200 and all(texts)
    assert set(billed(shaky, steady).values()) == {1}
    assert shaky.billed.total() > 20


def test_a_server_that_sends_something_else_at_once_does_not_get_everything(serve, tmp_path):
    good, welcome = Slots(4, 0.01), Endpoint(lambda request, count: Reply(body="<html>Welcome</html>"))
    texts, _ = run(tmp_path, serve(good, welcome), prompts(100))
    assert len(texts) == 100 and good.billed.total() == 100
    assert 1 <= len(welcome.asked) <= 16


def test_a_server_that_refuses_everybody_is_said_and_left_out(serve, tmp_path, capfd):
    good, bad = Slots(4, 0.005), Endpoint(lambda request, count: error_reply(404, "model_not_found", "no model m"))
    texts, _ = run(tmp_path, serve(good, bad), prompts(100))
    assert all(texts) and good.billed.total() == 100
    assert 1 <= len(bad.asked) <= 8, "those that were on their way when it was found out"
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and bad.url in said and "no model m" in said


def test_the_run_stops_when_all_refuse(serve, tmp_path):
    servers = [Endpoint(lambda request, count: error_reply(401, "invalid_api_key", "wrong")) for _ in range(2)]
    with pytest.raises(RunStoppedError, match="invalid_api_key"):
        run(tmp_path, serve(*servers), prompts(20))
    assert all(server.asked for server in servers)


def test_the_run_stops_when_all_are_gone(serve, tmp_path):
    with pytest.raises(RunStoppedError, match="Check the address"):
        run(tmp_path, serve(also=(NOBODY, "http://127.0.0.1:2/v1")), prompts(20))


def test_one_that_is_there_is_found_among_many_that_are_not(serve, tmp_path):
    good = Slots(8, 0.002)
    texts, _ = run(tmp_path, serve(good, also=[f"http://127.0.0.1:{port}/v1" for port in range(1, 6)]), prompts(40))
    assert len(texts) == 40 and set(good.billed.values()) == {1}


def test_a_row_that_a_server_refuses_is_the_rows_fault(serve, tmp_path):
    servers = [Endpoint(lambda request, count: error_reply(400, None, "odd")) for _ in range(2)]
    with pytest.raises(RequestRefusedError, match="odd"):
        run(tmp_path, serve(*servers), ["a"])
    assert sum(len(server.asked) for server in servers) == 1


def test_what_a_model_does_not_take_is_learnt_for_all_servers(serve):
    def script(request, count):
        return (
            error_reply(400, "unsupported_parameter", "no", param="response_format")
            if "response_format" in request
            else "7"
        )

    servers = [Endpoint(script), Endpoint(script)]
    teacher = serve(*servers)

    async def ask():
        try:
            for sample in range(3):
                messages = (Message("user", "Score."),)
                await teacher.ask(Request(teacher.endpoint, "m", messages, sample=sample, choices=SCORES))
        finally:
            await teacher.close()

    asyncio.run(ask())
    assert sum("response_format" in each for server in servers for each in server.asked) == 1
