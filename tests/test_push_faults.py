"""The Hub fails at every step: nothing is half published, a line says what happened, and a second push completes it."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpt4_instruct.errors import HubError, InterruptedRunError
from tests.hub import Client, LoopbackHub
from tests.pushing import build_data, impatient, load_rows, push_folder, upload_file, waits

TEXTS = [f"The answer is {number}, of course." for number in range(9)]
# Every request of a push that adds a tag and ends public.
STEPS = (
    "GET */whoami-v2",
    "GET /api/datasets/me/*",
    "POST */repos/create",
    "GET */refs",
    "GET */tree/*",
    "HEAD */resolve/*/README.md",
    "POST */preupload/*",
    "POST */objects/batch",
    "PUT /lfs/*",
    "POST /verify/*",
    "POST */commit/*",
    "POST */tag/*",
    "PUT */settings",
)


@pytest.fixture(scope="module")
def hub():
    with LoopbackHub() as served:
        yield served


@pytest.fixture(scope="module")
def client(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("client")
    with Client(hub, home / "hf", GPT4_INSTRUCT_HOME=str(home / "home")) as process:
        process.call(impatient)
        yield process


@pytest.fixture(scope="module")
def data(client, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "data"
    client.call(build_data, str(folder), "english", TEXTS)
    card = folder / "README.md"
    card.write_text(card.read_text().replace("license: unknown", "license: cc-by-4.0"))
    return str(folder)


@pytest.fixture
def repo_id(hub, client):
    """A private repository of its own, with a card that somebody wrote."""
    name = f"me/number{len(hub.repos)}"
    client.call(upload_file, name, "README.md", "# By hand\n")
    yield name
    hub.heal()


def is_whole(hub, repo_id):
    """Whether the branch is one commit further, with everything in it."""
    repo = hub.repos[f"datasets/{repo_id}"]
    first = repo.log()[0].title
    assert first in ("Add english", "Upload README.md with huggingface_hub", "initial commit")
    whole = {"README.md", "manifest.json", "rejects/english.jsonl"} <= set(repo.files())
    assert whole == (first == "Add english") and sum(each.title == "Add english" for each in repo.log()) <= 1
    return whole


@pytest.mark.parametrize("fault", [{"status": 500}, {"status": 503}, {"cut": "before"}, {"cut": "after"}], ids=str)
def test_a_fault_at_every_step_once_is_overcome(hub, client, data, fault):
    for step in STEPS:
        hub.fail(step, **fault)
    repo_id = f"me/new{len(hub.repos)}"
    result = client.call(push_folder, data, repo_id, public=True, accept_terms=True, tag="v1")
    assert set(hub.planted) <= {"HEAD */resolve/*/README.md"}, "there is none in a new repository"
    hub.heal()
    repo = hub.repos[f"datasets/{repo_id}"]
    assert is_whole(hub, repo_id) and not repo.private
    assert repo.tags == {"v1": repo.branches["main"]} == {"v1": result.commit}
    assert "manifest.json" in result.added, "also where the answer to the commit was lost"
    assert client.call(load_rows, repo_id, "english") == TEXTS


@pytest.mark.parametrize("step", [each for each in STEPS if not each.endswith(("/create", "/tag/*", "/settings"))])
def test_a_fault_that_lasts_leaves_all_as_it_was_and_the_next_push_completes_it(hub, client, data, repo_id, step):
    hub.fail(step, 500, times=99, message=f"planted, with {hub.token}")
    with pytest.raises(HubError, match=r"the Hub has a fault of its own \(500\).*the same command goes on") as caught:
        client.call(push_folder, data, repo_id)
    assert hub.token not in str(caught.value) and "\n" not in str(caught.value)
    assert not is_whole(hub, repo_id) and hub.repos[f"datasets/{repo_id}"].private
    hub.heal()
    asked = len(hub.requests)
    client.call(push_folder, data, repo_id)
    assert is_whole(hub, repo_id)
    sent = [each for each in hub.requests[asked:] if each.method == "PUT"]
    arrived = step in ("POST */commit/*", "POST /verify/*")
    assert len(sent) == (0 if arrived else 1), "what has arrived is not sent again"


def test_a_cut_upload_is_told_and_gone_on_with(hub, client, data, repo_id):
    hub.fail("PUT /lfs/*", cut="before", times=99)
    with pytest.raises(HubError, match=r"Error while uploading 'english/.*the Hub cannot be reached.*goes on"):
        client.call(push_folder, data, repo_id)
    assert not is_whole(hub, repo_id)
    hub.heal()
    client.call(push_folder, data, repo_id)
    assert is_whole(hub, repo_id)


@pytest.mark.parametrize("step", ["GET */tree/*", "PUT /lfs/*", "POST */commit/*"])
def test_too_many_requests_are_waited_for_as_long_as_the_hub_asks(hub, client, data, repo_id, step):
    client.call(waits)
    hub.fail(step, 429, headers={"Retry-After": "41"}, times=2)
    client.call(push_folder, data, repo_id)
    assert is_whole(hub, repo_id)
    assert len([each for each in client.call(waits) if 41 <= each <= 42]) == 2


@pytest.mark.parametrize(
    ("step", "status", "said"),
    [
        ("GET */whoami-v2", 401, r"does not know the token \(401\): run hf auth login"),
        ("POST */commit/*", 401, r"does not know the token \(401\)|has no .* that this token can see \(404\)"),
        ("POST */preupload/*", 403, r"does not let this token write to me/.* \(403\): it needs the right to write"),
        ("POST */commit/*", 403, r"does not let this token write to me/"),
        ("POST */commit/*", 413, r"too large for the Hub \(413\)"),
        ("POST */commit/*", 429, r"too many requests \(429\): wait"),
        ("POST */commit/*", 400, r"the Hub refused me/.* \(400\); it says: planted"),
        ("POST */commit/*", 412, r"others commit to me/.* all the time"),
    ],
)
def test_a_refusal_is_one_line_that_says_what_to_do(hub, client, data, repo_id, step, status, said):
    hub.fail(step, status, times=99)
    with pytest.raises(HubError, match=said) as caught:
        client.call(push_folder, data, repo_id)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 600
    assert not is_whole(hub, repo_id)


@pytest.mark.parametrize(("step", "status"), [("POST */tag/*", 400), ("PUT */settings", 403)])
def test_a_refusal_after_the_commit_says_that_it_is_there(hub, client, data, repo_id, step, status):
    hub.fail(step, status, times=99)
    with pytest.raises(HubError, match=rf"commit \w{{8}} is published, but the Hub .*\({status}\)"):
        client.call(push_folder, data, repo_id, public=True, accept_terms=True, tag="v1")
    assert is_whole(hub, repo_id)


def test_a_branch_that_moved_is_read_anew(hub, client, data, repo_id):
    hub.fail("POST */commit/*", 412)
    client.call(push_folder, data, repo_id)
    assert is_whole(hub, repo_id)


def test_who_may_not_write_is_told_before_anything_is_there(hub, client, data):
    with pytest.raises(HubError, match=r"does not let this token write to you/data \(403\)"):
        client.call(push_folder, data, "you/data")
    assert not any(name.startswith("datasets/you/") for name in hub.repos)
    with pytest.raises(HubError, match=r"does not let this token write to me/read \(403\).*You don't have the rights"):
        client.call(_as, hub.read_token, data, "me/read")
    with pytest.raises(HubError, match="nobody is logged in to the Hub: run hf auth login"):
        client.call(_as, "", data, "me/read")
    with pytest.raises(HubError, match=r"does not know the token \(401\)"):
        client.call(_as, "hf_notOfThisHub", data, "me/read")
    assert "datasets/me/read" not in hub.repos


def test_offline_is_told(monkeypatch, data):
    monkeypatch.setenv("HF_TOKEN", "hf_ofNobody")
    with pytest.raises(HubError, match="is not asked while HF_HUB_OFFLINE is set"):  # as all tests have it
        push_folder(data, "me/data")


def _as(token: str, folder: str, repo_id: str) -> None:
    before, os.environ["HF_TOKEN"] = os.environ["HF_TOKEN"], token
    try:
        push_folder(folder, repo_id)
    finally:
        os.environ["HF_TOKEN"] = before


def test_a_pull_request_is_not_opened_twice(hub, client, data, repo_id):
    hub.fail("POST */commit/*", cut="after")
    with pytest.raises(HubError, match="cannot be reached"):
        client.call(push_folder, data, repo_id, create_pr=True)
    assert len(hub.repos[f"datasets/{repo_id}"].pulls) == 1
    hub.fail("POST */commit/*", 503)
    client.call(push_folder, data, repo_id, create_pr=True)
    assert len(hub.repos[f"datasets/{repo_id}"].pulls) == 2, "503 is before anything is done"


@pytest.fixture(scope="module")
def xet(hub, tmp_path_factory):
    """A client that sends by Xet, as it does to the Hub; here it comes as far as the token for its storage."""
    pytest.importorskip("hf_xet")
    home = tmp_path_factory.mktemp("xet")
    with Client(hub, home / "hf", GPT4_INSTRUCT_HOME=str(home / "home"), HF_HUB_DISABLE_XET="0") as process:
        yield process


@pytest.mark.parametrize(("status", "said"), [(401, "does not know the token"), (403, "does not let this token write")])
def test_what_xet_is_refused_is_told_as_any_refusal(hub, xet, data, repo_id, status, said):
    hub.fail("GET */xet-write-token/*", status, times=99)
    with pytest.raises(HubError, match=rf"the Hub {said}.*\({status}\)"):
        xet.call(push_folder, data, repo_id)
    assert not is_whole(hub, repo_id)


def test_ctrl_c_is_heard_while_xet_tries_again(hub, xet, data, repo_id):
    process = xet.call(os.getpid)
    hub.fail("GET */xet-write-token/*", 500, times=999)
    with ThreadPoolExecutor() as pool:
        pushed = pool.submit(xet.call, push_folder, data, repo_id)
        while not hub.asked(f"GET */{repo_id}/xet-write-token/*"):
            time.sleep(0.005)
        os.kill(process, signal.SIGINT)
        with pytest.raises(InterruptedRunError, match="nothing is published; the same command goes on"):
            pushed.result(10)
    assert not is_whole(hub, repo_id)


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("PUT /lfs/*", "nothing is published; the same command goes on"),
        ("POST */commit/*", "the commit may have come through or not; the same command goes on"),
        ("POST */tag/*", "commit .* is published; the same command goes on"),
    ],
)
def test_ctrl_c_says_how_far_it_came(hub, client, data, repo_id, step, said):
    process = client.call(os.getpid)
    hub.fail(step, 503, delay_s=1.0)
    asked = len(hub.asked(step))
    with ThreadPoolExecutor() as pool:
        pushed = pool.submit(client.call, push_folder, data, repo_id, tag="v1")
        while len(hub.asked(step)) == asked:
            time.sleep(0.005)
        os.kill(process, signal.SIGINT)
        with pytest.raises(InterruptedRunError, match=said):
            pushed.result(30)
    hub.heal()
    client.call(push_folder, data, repo_id, tag="v1")
    assert is_whole(hub, repo_id)
    assert hub.repos[f"datasets/{repo_id}"].tags == {"v1": hub.repos[f"datasets/{repo_id}"].branches["main"]}
