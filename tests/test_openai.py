"""The openai teacher over a real socket: what is sent, every fault sorted once, and no key anywhere."""

from __future__ import annotations

import asyncio
import inspect
import json

import httpx2
import openai
import pytest

from gpt4_instruct.errors import RequestRefusedError, RunStoppedError, TransientError, UsageError
from gpt4_instruct.prompts.tasks import SCORES, TRANSLATION_SCHEMA
from gpt4_instruct.records import Message, RateLimits, Request
from gpt4_instruct.teachers.base import connect, read
from gpt4_instruct.teachers.openai import OpenAITeacher
from gpt4_instruct.teachers.openai_errors import sort_error
from tests.endpoint import Endpoint, Reply, error_reply


def request(teacher, **fields) -> Request:
    messages = (Message("user", "Name the largest planet."),)
    return Request(teacher.endpoint, teacher.model, messages, {"temperature": 0.5, "max_tokens": 9}, **fields)


def ask(teacher, **fields):
    async def go():
        try:
            asked = request(teacher, **fields)
            return read(teacher, asked, asked.key, (await teacher.ask(asked)).text)
        finally:
            await teacher.close()

    return asyncio.run(go())


def test_what_is_sent_and_what_is_read(endpoint):
    endpoint.script = lambda request, count: Reply("Jupiter.", finish_reason="length")
    answer = ask(connect("openai:gpt-4"))
    assert endpoint.asked == [
        {
            "model": "gpt-4",
            "messages": [{"role": "user", "content": "Name the largest planet."}],
            "temperature": 0.5,
            "max_tokens": 9,
        }
    ]
    assert (answer.text, answer.finish_reason, answer.teacher, answer.model) == (
        "Jupiter.",
        "length",
        "openai:gpt-4",
        "gpt-4-0613",
    )
    assert (answer.prompt_tokens, answer.completion_tokens) == (6, 2)


def test_structured_output_where_the_endpoint_has_it(endpoint):
    endpoint.script = lambda request, count: Reply(json.dumps({"answer": "7"}))
    assert ask(connect("openai:gpt-4o"), choices=SCORES).text == "7"
    sent = endpoint.asked[0]["response_format"]["json_schema"]["schema"]
    assert sent["properties"]["answer"]["enum"] == list(SCORES)
    ask(connect("openai:gpt-4o"), schema=TRANSLATION_SCHEMA)
    assert endpoint.asked[1]["response_format"]["json_schema"]["schema"] == TRANSLATION_SCHEMA


@pytest.mark.parametrize("code", [None, "unsupported_parameter"])
def test_structured_output_is_given_up_once_where_it_is_refused(endpoint, code):
    def script(request, count):
        if "response_format" in request:
            return error_reply(400, code, "Invalid parameter", param="response_format")
        return "7\nClear."

    endpoint.script = script
    teacher = connect("openai:gpt-4")
    assert ask(teacher, choices=SCORES).text == "7\nClear."
    assert ask(teacher, choices=SCORES, sample=1).text == "7\nClear."
    assert ["response_format" in each for each in endpoint.asked] == [True, False, False]


def test_a_refusal_field_is_a_refusal(endpoint):
    endpoint.script = lambda request, count: Reply(
        message={"role": "assistant", "content": None, "refusal": "I won't."}
    )
    answer = ask(connect("openai:gpt-4"))
    assert (answer.text, answer.finish_reason) == ("I won't.", "content_filter")


@pytest.mark.parametrize(
    ("reply", "error", "says"),
    [
        (error_reply(400, "context_length_exceeded", "This model's maximum context length is 8192"), RequestRefusedError, "too_long"),
        (error_reply(400, "content_policy_violation"), RequestRefusedError, "refusal"),
        (error_reply(400, None, "strange"), RequestRefusedError, "request_refused"),
        (error_reply(422, None), RequestRefusedError, "request_refused"),
        (error_reply(413, None), RequestRefusedError, "request_refused"),
        (error_reply(401, "invalid_api_key"), RunStoppedError, "401"),
        (error_reply(403, None), RunStoppedError, "403"),
        (error_reply(404, "model_not_found", "The model `gpt-5x` does not exist"), RunStoppedError, "gpt-5x"),
        (error_reply(429, "insufficient_quota"), RunStoppedError, "insufficient_quota"),
        (error_reply(400, "unsupported_value", "temperature"), RunStoppedError, "temperature"),
        (error_reply(402, None), RunStoppedError, "402"),
        (error_reply(408, None), TransientError, "408"),
        (error_reply(409, None), TransientError, "409"),
        (error_reply(429, "rate_limit_exceeded"), TransientError, "429"),
        (error_reply(500, None), TransientError, "500"),
        (error_reply(503, None, "overloaded"), TransientError, "overloaded"),
        (Reply(status=502, body="<html>Bad gateway</html>"), TransientError, "502"),
        (Reply(reset=True), TransientError, ""),
        (Reply(body='{"choices": [{"mess'), TransientError, "not a chat completion"),
        (Reply(body="<html>Welcome to the hotel</html>"), TransientError, "not a chat completion"),
        (Reply(body='{"choices": []}'), TransientError, "not a chat completion"),
        (Reply(body="[]"), TransientError, "not a chat completion"),
        (Reply(body=""), TransientError, "not a chat completion"),
    ],
    ids=lambda value: getattr(value, "status", None) or getattr(value, "__name__", value),
)  # fmt: skip
def test_every_fault_is_somebodys(endpoint, reply, error, says):
    endpoint.script = lambda request, count: reply
    with pytest.raises(error) as caught:
        ask(connect("openai:gpt-4"))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(endpoint.asked) == 1, "the client's own retries are off"


def test_retry_after_is_read(endpoint):
    for headers, seconds in (
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"Retry-After": "soon"}, None),
    ):
        endpoint.script = lambda request, count, headers=headers: error_reply(429, None, headers=headers)
        with pytest.raises(TransientError) as caught:
            ask(connect("openai:gpt-4"))
        assert caught.value.retry_after_s == seconds


def test_nobody_there_is_not_billable_and_half_an_answer_is(endpoint):
    endpoint.script = lambda request, count: Reply(reset=True)
    with pytest.raises(TransientError) as caught:
        ask(connect("openai:gpt-4"))
    assert caught.value.billable and not caught.value.unreachable
    with pytest.raises(TransientError) as caught:
        ask(OpenAITeacher("gpt-4", base_url="http://127.0.0.1:1/v1"))
    assert caught.value.unreachable and not caught.value.billable


def _example(kind: type[Exception]) -> Exception:
    """An exception of the openai client, of any kind, made as the client would."""
    sent = httpx2.Request("POST", "http://127.0.0.1/v1")
    given = {
        "message": "text",
        "request": sent,
        "response": httpx2.Response(418, request=sent, json={}),
        "body": None,
        "completion": None,
    }
    names = [name for name in inspect.signature(kind.__init__).parameters if name != "self"]
    if issubclass(kind, openai.APIStatusError):
        return (
            kind("text", response=given["response"], body=None)
            if kind is not openai.OAuthError
            else kind(**{name: given[name] for name in names if name in given})
        )
    try:
        return kind(**{name: given[name] for name in names if name in given})
    except (TypeError, AttributeError):
        return kind.__new__(kind, "text")


KINDS = [
    value
    for value in list(vars(openai).values())
    if isinstance(value, type) and issubclass(value, openai.OpenAIError) and not value.__name__.startswith("_")
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_exception_of_the_client_is_mapped(kind):
    assert isinstance(sort_error(_example(kind), "http://x/v1"), RequestRefusedError | TransientError | RunStoppedError)


def test_no_exception_of_the_client_is_new():
    """A release of openai with a new exception fails here, so that somebody decides whose fault it is."""
    assert {kind.__name__ for kind in KINDS} == {
        "APIConnectionError",
        "APIError",
        "APIResponseValidationError",
        "APIStatusError",
        "APITimeoutError",
        "AuthenticationError",
        "BadRequestError",
        "ConflictError",
        "ContentFilterFinishReasonError",
        "InternalServerError",
        "LengthFinishReasonError",
        "NotFoundError",
        "OAuthError",
        "OpenAIError",
        "PermissionDeniedError",
        "RateLimitError",
        "UnprocessableEntityError",
        "WebSocketConnectionClosedError",
        "WebSocketQueueFullError",
    }


def test_the_key_is_cut_out_of_errors_and_responses(endpoint):
    endpoint.script = lambda request, count: error_reply(400, None, f"your key {Endpoint.key} is odd")
    with pytest.raises(RequestRefusedError) as caught:
        ask(connect("openai:gpt-4"))
    assert Endpoint.key not in str(caught.value)
    assert caught.value.__cause__ is None
    endpoint.script = lambda request, count: f"Your key is {Endpoint.key}."
    assert ask(connect("openai:gpt-4")).text == "Your key is [redacted]."


def test_a_key_that_is_a_word_is_no_secret(endpoint):
    endpoint.key = "fine"
    endpoint.script = lambda request, count: "A fine answer."
    assert ask(OpenAITeacher("gpt-4", api_key="fine")).text == "A fine answer."


@pytest.mark.parametrize(
    ("key", "url"),
    [
        ("sk-secret…", "http://127.0.0.1:1/v1"),
        ("sk-sec\nret", "http://127.0.0.1:1/v1"),
        ("sk-sec ret", "http://127.0.0.1:1/v1"),
        ("k", "https://me:secret@host/v1"),
        ("k", "sk-secret"),
        ("k", "me:secret@host/v1"),
    ],
)
def test_a_broken_key_or_address_is_said_without_showing_it(key, url):
    with pytest.raises(UsageError) as caught:
        OpenAITeacher("gpt-4", api_key=key, base_url=url)
    assert "sec" not in str(caught.value)


def test_two_samples_with_a_seed_are_two_draws(endpoint):
    teacher = connect("openai:gpt-4")
    for sample in (0, 1):
        asked = Request(teacher.endpoint, "gpt-4", (Message("user", "p"),), {"seed": 5}, sample=sample)
        asyncio.run(teacher.ask(asked))
        asyncio.run(teacher.close())
    assert [each["seed"] for each in endpoint.asked] == [5, 6]


def test_half_a_surrogate_pair_is_no_trap(endpoint):
    endpoint.script = lambda request, count: "half an emoji \ud83d, a whole one \U0001f600"
    assert ask(connect("openai:gpt-4")).text == "half an emoji \ufffd, a whole one \U0001f600"


def test_what_is_missing_is_said_at_once(monkeypatch):
    with pytest.raises(UsageError, match="OPENAI_API_KEY"):
        connect("openai:gpt-4")
    with pytest.raises(UsageError, match="openai:MODEL"):
        connect("openai:")
    monkeypatch.setenv("OPENAI_BASE_URL", "localhost:8000")
    with pytest.raises(UsageError, match="not an http address"):
        connect("openai:gpt-4")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/v1")
    connect("openai:gpt-4")  # an endpoint of one's own may need no key


# --- what a model takes ---------------------------------------------------------------------------------------------


def refusing(*fields):
    """An endpoint whose model refuses fields, in OpenAI's words."""

    def script(request, count):
        for field in fields:
            if field in request and (field != "temperature" or request[field] != 1):
                hint = " Use 'max_completion_tokens' instead." if field == "max_tokens" else ""
                kind = "value" if field == "temperature" else "parameter"
                message = f"Unsupported {kind}: '{field}' is not supported with this model.{hint}"
                return error_reply(400, f"unsupported_{kind}", message, param=field)
        return "Fine."

    return script


def test_max_tokens_goes_by_the_name_that_the_model_wants(endpoint):
    endpoint.script = refusing("max_tokens")
    teacher = connect("openai:gpt-new")
    assert ask(teacher).text == ask(teacher, sample=1).text == "Fine."
    sent = [{name: each[name] for name in each if "max" in name} for each in endpoint.asked]
    assert sent == [{"max_tokens": 9}, {"max_completion_tokens": 9}, {"max_completion_tokens": 9}]


def test_openais_newer_models_are_asked_right_at_once(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", Endpoint.key)
    for model, name in (
        ("gpt-5-mini", "max_completion_tokens"),
        ("o3", "max_completion_tokens"),
        ("gpt-4o", "max_tokens"),
    ):
        teacher = connect(f"openai:{model}")
        assert name in teacher.body(request(teacher))


def test_greedy_decoding_is_given_up_where_the_model_has_its_own_way_only(endpoint):
    endpoint.script = refusing("temperature", "max_tokens")
    teacher = connect("openai:o9")
    messages = (Message("user", "Translate."),)
    asked = Request(teacher.endpoint, "o9", messages, {"temperature": 0.0, "top_p": 1.0, "max_tokens": 9})
    assert "Fine." in asyncio.run(teacher.ask(asked)).text
    assert set(endpoint.asked[-1]) == {"model", "messages", "top_p", "max_completion_tokens"}
    asyncio.run(teacher.close())
    with pytest.raises(RunStoppedError, match="temperature"):
        ask(connect("openai:o9"))  # at 0.5, which is the user's wish


@pytest.mark.parametrize("code", ["unsupported_parameter", None])
def test_stops_and_a_penalty_are_given_up_where_the_model_takes_none(endpoint, code):
    def script(request, count):
        for name, said in (("stop", "stop"), ("presence_penalty", "presencePenalty")):
            if name in request:
                return error_reply(400, code, f"Model o9 does not support parameter {said}.")
        return "Fine."

    endpoint.script = script
    teacher = connect("openai:o9")
    messages = (Message("user", "Go on."),)
    asked = Request(teacher.endpoint, "o9", messages, {"stop": ["\n16"], "presence_penalty": 2, "max_tokens": 9})
    assert "Fine." in asyncio.run(teacher.ask(asked)).text
    assert set(endpoint.asked[-1]) == {"model", "messages", "max_tokens"}
    asyncio.run(teacher.close())


# --- limits and secrets ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "limits"),
    [
        ({}, None),
        ({"x-ratelimit-limit-requests": "60", "x-ratelimit-remaining-requests": "59", "x-ratelimit-reset-requests": "1s"},
         RateLimits(60, 59, 60.0)),
        ({"x-ratelimit-limit-tokens": "150000", "x-ratelimit-remaining-tokens": "149984"},
         RateLimits(tokens=150000, tokens_left=149984)),
        ({"x-ratelimit-limit-requests": "14400", "x-ratelimit-remaining-requests": "14370",
          "x-ratelimit-reset-requests": "2m59.56s"}, RateLimits(14400, 14370, 86400.0)),
        ({"x-ratelimit-limit-requests": "many", "x-ratelimit-remaining-requests": "inf"}, RateLimits()),
    ],
)  # fmt: skip
def test_limits_are_read_from_the_headers(endpoint, headers, limits):
    endpoint.script = lambda request, count: Reply(headers=headers)
    teacher = connect("openai:m")
    assert asyncio.run(teacher.ask(request(teacher))).limits == limits
    endpoint.script = lambda request, count: error_reply(429, None, headers=headers)
    with pytest.raises(TransientError) as caught:
        ask(connect("openai:m"))
    assert caught.value.overloaded and caught.value.limits == limits


def test_a_connection_that_is_lost_may_have_been_billed_and_one_that_was_not_made_is_not(endpoint):
    from tests.faults import FaultyEndpoint

    for fault in ("hang after", "reset", "reset mid-body"):
        with FaultyEndpoint(1, faults=1.0, hang_s=0.05, only={f"chat {fault}"}, refused_share=0) as server:
            teacher = OpenAITeacher("m", api_key=server.key, base_url=server.url)
            with pytest.raises(TransientError) as caught:
                ask(teacher)
            assert caught.value.billable and not caught.value.unreachable, fault
    with pytest.raises(TransientError) as caught:
        ask(OpenAITeacher("m", api_key="k", base_url="http://nobody.invalid/v1"))
    assert caught.value.unreachable and not caught.value.billable


def test_secrets_of_the_environment_and_what_looks_like_one_are_cut_out(endpoint, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_planted0123456789")
    monkeypatch.setenv("MY_DB_PASSWORD", "correct horse battery")
    said = "hf_planted0123456789, correct horse battery, sk-other-0123456789abcdef, Authorization: Bearer abc.def.ghi"
    endpoint.script = lambda request, count: error_reply(400, None, said)
    with pytest.raises(RequestRefusedError) as caught:
        ask(connect("openai:gpt-4"))
    assert not any(part in str(caught.value) for part in ("planted", "horse", "sk-other", "abc.def"))
    endpoint.script = lambda request, count: f"An answer with {said}"
    assert "planted" not in ask(connect("openai:gpt-4")).text and "horse" not in ask(connect("openai:gpt-4")).text


@pytest.mark.parametrize(("status", "body", "billable"), [
    (504, "<html>Gateway timeout</html>", True), (502, "<html></html>", True), (524, "x", True), (500, "<html>", True),
    (500, None, False), (503, None, False), (429, None, False),
])  # fmt: skip
def test_a_gateway_that_did_not_wait_may_have_cost_an_answer(endpoint, status, body, billable):
    endpoint.script = lambda request, count: Reply(status=status, body=body) if body else error_reply(status, None)
    with pytest.raises(TransientError) as caught:
        ask(connect("openai:m"))
    assert caught.value.billable is billable


def test_a_key_that_is_written_with_escapes_is_cut_out_too(endpoint):
    key = "AAAA/BBBB+CCCC/0123456789"
    endpoint.key = key
    text = json.dumps({"choices": [{"message": {"content": f"Your key is {key}."}, "finish_reason": "stop"}]})
    endpoint.script = lambda request, count: Reply(body=text.replace("/", "\\/"))
    assert ask(OpenAITeacher("m", api_key=key)).text == "Your key is [redacted]."


@pytest.mark.parametrize("usage", ["x", [1], {"prompt_tokens": 1e400}, {"prompt_tokens": -5}, {"prompt_tokens": 10**30},
                                   {"prompt_tokens": "7"}, None])  # fmt: skip
def test_an_answer_is_not_lost_over_how_it_was_counted(endpoint, usage):
    body = {"choices": [{"message": {"content": "Fine."}, "finish_reason": "stop"}], "usage": usage}
    endpoint.script = lambda request, count: Reply(body=json.dumps(body))
    answer = ask(connect("openai:m"))
    assert (answer.text, answer.prompt_tokens) == ("Fine.", 0)
