"""The endpoint of faults does what it says, as the real openai client sees it."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections import Counter

import openai
import pytest

from tests import faults
from tests.faults import FAULTS, FaultyEndpoint, Limits, answer_text, is_cut, is_refused, usage_of

EVERY_PROMPT = {"refused_share": 0.0, "length_share": 0.0}  # is answered, and in full


class Server(FaultyEndpoint):
    """The endpoint with a client."""

    def __enter__(self):
        super().__enter__()
        http = openai.DefaultHttpxClient(verify=False)  # reading certificates takes longer than all else here
        self.client = openai.OpenAI(api_key=self.key, base_url=self.url, max_retries=0, http_client=http)
        return self

    def __exit__(self, *error):
        self.client.close()
        super().__exit__(*error)


def ask(server, prompt, **options):
    messages = [{"role": "user", "content": prompt}]
    return server.client.chat.completions.with_raw_response.create(model="m", messages=messages, **options)


def ask_all(server, prompts, **options):
    """Asks all prompts at once; the responses or errors in order."""

    async def work():
        http = openai.DefaultAioHttpClient()
        async with openai.AsyncOpenAI(
            api_key=server.key, base_url=server.url, max_retries=0, http_client=http
        ) as connected:
            create = connected.chat.completions.create
            return await asyncio.gather(
                *(create(model="m", messages=[{"role": "user", "content": prompt}], **options) for prompt in prompts),
                return_exceptions=True,
            )

    return asyncio.run(work())


def input_line(prompt, custom_id=None, model="m"):
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    return {"custom_id": custom_id or f"id-{prompt}", "method": "POST", "url": "/v1/chat/completions", "body": body}


def upload(server, lines):
    text = "".join(json.dumps(line) + "\n" for line in lines)
    return server.client.files.create(file=("in.jsonl", text.encode()), purpose="batch")


def create(server, lines, **metadata):
    file = upload(server, lines)
    return server.client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata=metadata
    )


def wait(server, batch, seconds=5):
    end = time.monotonic() + seconds
    while batch.status in ("validating", "in_progress", "finalizing", "cancelling"):
        assert time.monotonic() < end
        time.sleep(0.01)
        batch = server.client.batches.retrieve(batch.id)
    return batch


def lines_of(server, file_id):
    return [json.loads(line) for line in server.client.files.content(file_id).text.splitlines()] if file_id else []


def test_answers_depend_on_the_prompt_alone():
    prompts = [f"prompt {number}" for number in range(400)]
    with Server(1) as server:
        answers = ask_all(server, prompts)
        for prompt, answer in zip(prompts, answers, strict=True):
            if is_refused(prompt):
                assert isinstance(answer, openai.BadRequestError)
                assert answer.type == "invalid_request_error"
            else:
                assert answer.choices[0].message.content == answer_text(prompt)
                assert answer.choices[0].finish_reason == ("length" if is_cut(prompt) else "stop")
                assert answer.usage.model_dump(include=set(usage_of(prompt))) == usage_of(prompt)
        assert server.billed == Counter(prompt for prompt in prompts if not is_refused(prompt))
        assert server.tokens_billed == sum(usage_of(prompt)["total_tokens"] for prompt in server.billed)
        assert (server.requests, sum(server.statuses.values())) == (400, 400)
    assert 5 <= sum(map(is_refused, prompts)) <= 40
    assert 5 <= sum(map(is_cut, prompts)) <= 40
    assert {len(answer_text(prompt).split()) for prompt in prompts} == set(range(8, 41))


def test_a_wrong_key_is_refused():
    with Server() as server, pytest.raises(openai.AuthenticationError):
        server.client.with_options(api_key="wrong").batches.list()


# What the client sees of each fault, and how often the prompt is billed.
SEEN = {
    "429 retry-after": (openai.RateLimitError, 0),
    "429 headers": (openai.RateLimitError, 0),
    "429 bare": (openai.RateLimitError, 0),
    "500": (openai.InternalServerError, 0),
    "502 html": (openai.InternalServerError, 0),
    "503": (openai.InternalServerError, 0),
    "200 html": (None, 0),
    "slow": (None, 1),
    "hang": (openai.APIConnectionError, 0),
    "reset": (openai.APIConnectionError, 0),
    "hang after": (openai.APIConnectionError, 1),
    "reset mid-body": (openai.APIConnectionError, 1),
    "truncated": (None, 1),
}


@pytest.mark.parametrize("fault", FAULTS["chat"])
def test_each_fault_of_a_chat_is_what_it_says(fault):
    error, billed = SEEN[fault]
    options = {"faults": 1.0, "most_faults": 1, "hang_s": 0.05, "only": {f"chat {fault}"}, **EVERY_PROMPT}
    with Server(**options) as server:
        if error is None:
            response = ask(server, "p")
            assert response.status_code == 200
            if fault == "200 html":
                assert response.headers["content-type"].startswith("text/html")
            elif fault == "truncated":
                with pytest.raises(json.JSONDecodeError):
                    json.loads(response.text)
        else:
            with pytest.raises(error) as raised:
                ask(server, "p")
            if fault.startswith("429"):
                headers = raised.value.response.headers
                assert ("retry-after-ms" in headers) == (fault == "429 retry-after")
                assert ("x-ratelimit-reset-requests" in headers) == (fault == "429 headers")
                assert server.answered_429 == 1
        assert server.billed["p"] == billed
        assert server.lost["p"] == (billed if fault != "slow" else 0)
        assert server.given == {f"chat {fault}": 1}
        assert json.loads(ask(server, "p").text)["choices"][0]["message"]["content"] == answer_text("p")
        assert server.billed["p"] == billed + 1


def test_the_plan_of_faults_repeats_and_ends():
    prompts = [f"prompt {number}" for number in range(60)]

    def run(seed):
        with Server(seed, faults=1.0, most_faults=2, hang_s=0.02, **EVERY_PROMPT) as server:
            seen = [[type(answer).__name__ for answer in ask_all(server, prompts)] for _ in range(3)]
            assert set(seen.pop()) == {"ChatCompletion"}
            return seen, server.given, server.billed

    first = run(1)
    assert run(1) == first
    assert run(2)[0] != first[0]
    assert set(first[1]) == {f"chat {kind}" for kind in FAULTS["chat"]}


def test_clients_that_die_at_any_moment_do_no_harm():
    body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "p"}]})
    with Server(**EVERY_PROMPT) as server:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
        request = f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        for length in [*range(0, len(request), 20), len(request)]:
            with socket.create_connection(("127.0.0.1", int(server.url.split(":")[2][:-3]))) as connection:
                connection.sendall(request[:length])
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, length % 3 // 2))
        time.sleep(0.05)
        assert server.billed["p"] == 1  # the one that was sent in full
        assert ask(server, "p").status_code == 200


def test_a_bucket_charges_on_arrival_and_gives_back_what_was_not_used():
    limits = Limits(100, 1000)
    with Server(limits=limits, **EVERY_PROMPT) as server:
        headers = ask(server, "p", max_tokens=600).headers
        used = usage_of("p")["total_tokens"]
        assert headers["x-ratelimit-limit-requests"] == "100"
        assert headers["x-ratelimit-limit-tokens"] == "1000"
        assert headers["x-ratelimit-remaining-requests"] == "99"
        assert 0 <= int(headers["x-ratelimit-remaining-tokens"]) - (1000 - used) <= 1
        assert headers["x-ratelimit-reset-requests"].endswith("ms")
        assert "retry-after-ms" not in headers
        assert (limits.used_requests, limits.used_tokens) == (1, used)
        with pytest.raises(openai.RateLimitError) as refused:
            ask(server, "p", max_tokens=1000)
        assert refused.value.code == "rate_limit_exceeded"
        assert refused.value.type == "tokens"
        assert 0 < int(refused.value.response.headers["retry-after-ms"]) <= used * 60
        assert limits.used_requests == 1
    with Server(limits=Limits(100, 1000, refund=False, headers=False), **EVERY_PROMPT) as server:
        assert not [name for name in ask(server, "p", max_tokens=600).headers if "ratelimit" in name]
        with pytest.raises(openai.RateLimitError) as refused:
            ask(server, "p", max_tokens=600)
        assert "retry-after-ms" not in refused.value.response.headers


def test_a_bucket_refills_while_one_waits():
    limits = Limits(60, 10**6, speed=10)  # one every 0.1 s
    with Server(limits=limits, **EVERY_PROMPT) as server:
        ask_all(server, map(str, range(60)))
        with pytest.raises(openai.RateLimitError):
            for _ in range(30):
                ask(server, "p")
        time.sleep(0.1)
        assert ask(server, "p").status_code == 200
        elapsed = limits.admitted[-1].at - limits.admitted[0].at
        assert limits.used_requests <= 60 + elapsed * 10


def test_a_window_counts_what_was_used_and_tells_nothing():
    used = usage_of("p")["total_tokens"]
    limits = Limits(1000, 2 * used, style="window", speed=120)
    with Server(limits=limits, **EVERY_PROMPT) as server:
        for _ in range(2):
            assert not [name for name in ask(server, "p", max_tokens=10**6).headers if "ratelimit" in name]
        with pytest.raises(openai.RateLimitError) as refused:
            ask(server, "p")
        assert not [name for name in refused.value.response.headers if "ratelimit" in name or "retry" in name]
        assert limits.used_tokens == 2 * used
        time.sleep(0.5)
        assert ask(server, "p").status_code == 200
    with Server(limits=Limits(2, 10**6, style="window"), **EVERY_PROMPT) as server:
        answers = ask_all(server, "abc")
        assert [isinstance(answer, openai.RateLimitError) for answer in answers].count(True) == 1


def test_what_fails_takes_nothing_from_a_window():
    limits = Limits(1000, 1000, style="window")
    with Server(faults=1.0, only={"chat 500"}, limits=limits, **EVERY_PROMPT) as server:
        with pytest.raises(openai.InternalServerError):
            ask(server, "p")
        assert (limits.used_requests, limits.used_tokens, server.billed) == (1, 0, {})


def test_a_batch_from_upload_to_output():
    prompts = [f"prompt {number}" for number in range(100)]
    refused = set(filter(is_refused, prompts))
    assert refused
    with Server(1) as server:
        batch = create(server, map(input_line, prompts), run="one")
        assert (batch.status, batch.metadata) == ("validating", {"run": "one"})
        batch = wait(server, batch)
        assert batch.status == "completed"
        assert batch.in_progress_at <= batch.finalizing_at <= batch.completed_at
        counts = batch.request_counts
        assert (counts.total, counts.completed, counts.failed) == (100, 100 - len(refused), len(refused))
        outputs, failures = lines_of(server, batch.output_file_id), lines_of(server, batch.error_file_id)
        ids = [line["custom_id"] for line in outputs]
        assert ids != sorted(ids, key=lambda custom_id: int(custom_id.split()[1]))
        assert set(outputs[0]) == {"id", "custom_id", "response", "error"}
        for line in outputs:
            completion = openai.types.chat.ChatCompletion.model_validate(line["response"]["body"])
            assert completion.choices[0].message.content == answer_text(line["custom_id"].removeprefix("id-"))
        assert {line["custom_id"].removeprefix("id-") for line in failures} == refused
        assert {line["response"]["status_code"] for line in failures} == {400}
        assert failures[0]["response"]["body"]["error"]["type"] == "invalid_request_error"
        assert server.billed == Counter(set(prompts) - refused)
        assert [made["metadata"] for made in server.batches] == [{"run": "one"}]


def test_files_are_listed_read_and_deleted():
    with Server() as server:
        files = server.client.files
        first, second = upload(server, [input_line("a")]), upload(server, [])
        assert [file.id for file in files.list()] == [second.id, first.id]
        assert [file.id for file in files.list(limit=1)] == [second.id, first.id]  # by pages
        assert [file.id for file in files.list(purpose="batch_output")] == []
        assert files.retrieve(first.id).bytes == len(files.content(first.id).content)
        assert files.delete(first.id).deleted
        for read in (files.retrieve, files.content, files.delete):
            with pytest.raises(openai.NotFoundError):
                read(first.id)


def test_batches_are_listed_newest_first_by_pages():
    with Server() as server:
        made = [create(server, [input_line("a")], number=str(number)).id for number in range(5)]
        batches = server.client.batches
        page = batches.list(limit=2)
        assert [batch.id for batch in page.data] == [made[4], made[3]]
        assert page.has_more
        assert [batch.id for batch in page] == made[::-1]
        assert [batch.id for batch in batches.list(after=made[2]).data] == [made[1], made[0]]
        assert not batches.list().has_more
        with pytest.raises(openai.NotFoundError):
            batches.retrieve("batch_none")


def test_a_cancelled_batch_keeps_what_was_done():
    prompts = list(map(str, range(100)))
    with Server(batch_s=0.4, **EVERY_PROMPT) as server:
        batch = create(server, map(input_line, prompts))
        while not batch.request_counts.completed:
            time.sleep(0.01)
            batch = server.client.batches.retrieve(batch.id)
        assert server.client.batches.cancel(batch.id).status == "cancelling"
        batch = wait(server, batch)
        assert batch.status == "cancelled"
        outputs, failures = lines_of(server, batch.output_file_id), lines_of(server, batch.error_file_id)
        assert 0 < len(outputs) == sum(server.billed.values()) < 100
        assert {line["error"]["code"] for line in failures} == {"batch_cancelled"}
        assert sorted(line["custom_id"] for line in outputs + failures) == sorted(f"id-{prompt}" for prompt in prompts)
        with pytest.raises(openai.ConflictError):
            server.client.batches.cancel(batch.id)


def test_an_input_file_that_is_wrong_fails(monkeypatch):
    good = input_line("a")
    with Server(batch_s=0.02) as server:

        def errors(lines):
            batch = wait(server, create(server, lines))
            assert (batch.status, batch.output_file_id) == ("failed", None)
            return [(error.code, error.line) for error in batch.errors.data]

        assert errors([good, good]) == [("duplicate_custom_id", 2)]
        assert errors([good, input_line("b", model="n")]) == [("mismatched_model", 2)]
        assert errors([good, {"custom_id": "b"}, 3]) == [("invalid_request", 2), ("invalid_request", 3)]
        assert errors([]) == [("empty_file", None)]
        monkeypatch.setattr(faults, "MOST_LINES", 1)
        assert errors([good, input_line("b")]) == [("too_many_tasks", None)]
        monkeypatch.setattr(faults, "MOST_BYTES", 10)
        assert errors([good]) == [("file_too_large", None)]
        monkeypatch.undo()
        file = server.client.files.create(file=("in.jsonl", b'{"custom_id": \n'), purpose="batch")
        arguments = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
        batch = wait(server, server.client.batches.create(input_file_id=file.id, **arguments))
        assert [(error.code, error.line) for error in batch.errors.data] == [("invalid_json_line", 1)]
        with pytest.raises(openai.BadRequestError):
            server.client.batches.create(input_file_id="file-none", **arguments)
        assert not server.billed


@pytest.mark.parametrize("fault", FAULTS["batch"])
def test_each_fault_of_a_batch_is_what_it_says(fault):
    prompts = list(map(str, range(50)))
    options = {"batch_faults": 1.0, "most_faults": 1, "batch_s": 0.05, "only": {f"batch {fault}"}, **EVERY_PROMPT}
    with Server(**options) as server:
        batch = wait(server, create(server, map(input_line, prompts)))
        outputs, failures = lines_of(server, batch.output_file_id), lines_of(server, batch.error_file_id)
        done = {line["custom_id"].removeprefix("id-") for line in outputs}
        assert server.billed == Counter(done)
        if fault == "token limit":
            assert batch.status == "failed"
            assert batch.errors.data[0].code == "token_limit_exceeded"
            assert not outputs and not failures
        elif fault == "expired":
            assert batch.status == "expired"
            assert {(line["error"]["code"], line["response"]) for line in failures} == {("batch_expired", None)}
            assert len(outputs) + len(failures) == 50
        elif fault == "line errors":
            assert batch.status == "completed"
            assert {line["response"]["status_code"] for line in failures} == {429, 500}
            assert len(outputs) + len(failures) == 50 == batch.request_counts.total
        else:
            assert batch.status == "completed"
            assert len(outputs) > len(done) == 50 == batch.request_counts.completed
        assert wait(server, create(server, map(input_line, prompts))).status == "completed"
        assert server.given == {f"batch {fault}": 1}


CALLS = [
    (operation, kind) for operation in ("upload", "create", "list", "retrieve", "content") for kind in FAULTS[operation]
]


def made(server):
    return sum(file["purpose"] == "batch" for file in server.files), len(server.batches)


@pytest.mark.parametrize(("operation", "kind"), CALLS)
def test_each_fault_of_a_call_is_what_it_says(operation, kind):
    options = {"batch_faults": 1.0, "most_faults": 1, "batch_s": 0.0, "only": {f"{operation} {kind}"}}
    with Server(**options) as server:
        text = json.dumps(input_line("a")).encode()
        file = None
        calls = {
            "upload": lambda: server.client.files.create(file=("in.jsonl", text), purpose="batch"),
            "create": lambda: server.client.batches.create(
                input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
            ),
            "list": lambda: server.client.batches.list(),
            "retrieve": lambda: server.client.batches.retrieve(server.batches[0]["id"]),
            "content": lambda: server.client.files.content(file.id),
        }
        for name, call in calls.items():
            if name == operation:
                before = made(server)
                with pytest.raises(openai.InternalServerError if kind[0] == "5" else openai.APIConnectionError):
                    call()
                assert (made(server) != before) == kind.endswith("after")
                assert server.given == {f"{operation} {kind}": 1}
            answer = call()
            file = answer if name == "upload" else file
        assert answer.content == text
        assert len(server.batches) == 1 + (operation == "create" and kind.endswith("after"))
