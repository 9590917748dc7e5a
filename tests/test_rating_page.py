"""The rating page in a real browser, and who may reach it."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from gpt4_instruct.errors import MissingExtraError, UnknownNameError, UsageError
from gpt4_instruct.evaluation.rating import CHOICES, CRITERIA, Study
from gpt4_instruct.evaluation.rating_pairs import find_pairs
from gpt4_instruct.evaluation.rating_server import _links, guarded, only_here, rater_names, serve
from gpt4_instruct.evaluation.tally import tally
from tests.test_rating import SETTINGS, line, write

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
TOKEN = "a-token-of-some-length"

pytestmark = pytest.mark.skipif(find_spec("gradio") is None, reason="pip install '.[human]'")
in_browser = pytest.mark.skipif(
    CHROMIUM is None or find_spec("playwright") is None or find_spec("nltk") is None,
    reason="no chromium, playwright or nltk here: the page is not seen by a browser",
)
ODD = "<script>document.title = 'broken'</script><img src=x onerror=\"document.title = 'broken'\"> & **bold** $x^2$\n  木星"


def two_files(folder: Path, count: int = 10) -> tuple[Path, Path]:
    ours, baseline = (
        write(folder / f"{who}.jsonl", [line(f"{n}", f"{text} {n}. {ODD}") for n in range(count)])
        for who, text in (("ours", "First says"), ("baseline", "Second says"))
    )
    return ours, baseline


def new_study(folder: Path, count: int = 10, **settings: Any) -> Study:
    chosen = {**SETTINGS, **settings}
    pairs, _ = find_pairs(*two_files(folder, count), attention=chosen["attention"], seed=3)
    return Study.create(folder / "out", pairs, chosen)


@contextmanager
def running(study: Study, language: str = "en", token: str | None = None) -> Iterator[str]:
    """The page on a port of this computer; its address."""
    import uvicorn

    from gpt4_instruct.evaluation.rating_page import app_of

    app = app_of(study, language)
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(guarded(app, token) if token else only_here(app), log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield found
        found.close()


def enter(page: Any, url: str, name: str) -> None:
    page.goto(url)
    page.fill("#name input, #name textarea", name)
    page.click("#begin")
    page.wait_for_selector("#place")
    page.wait_for_selector("#next")


def wait_for(page: Any, place: int | None) -> None:
    page.wait_for_selector(f"#place[data-place='{place}']" if place is not None else ".done")


def place_of(page: Any) -> int:
    return int(page.get_attribute("#place", "data-place"))


def keys(page: Any, *choices: str) -> None:
    for choice in choices:
        page.keyboard.press({"A": "1", "B": "2", "tie": "3"}[choice])


def chosen(page: Any) -> list[str | None]:
    script = "(id) => document.querySelector(`#${id} input:checked`)?.value ?? null"
    return [page.evaluate(script, each) for each in CRITERIA]


def sides(page: Any) -> list[str | None]:
    """Which model A and B are, by their texts; none for the bad side of an attention check."""
    texts = page.locator("#pair .sides .text").all_inner_texts()
    assert len(texts) == 2
    found = ["ours" if "First says" in text else "baseline" if "Second says" in text else None for text in texts]
    return found


# --- in a browser ---------------------------------------------------------------------------------------------------


@in_browser
def test_ten_questions_by_keys_and_clicks_with_a_reload_midway_are_counted_exactly(tmp_path, browser):
    study = new_study(tmp_path, attention=5)
    wanted = {each: Counter() for each in CRITERIA}
    checks = 0
    with running(study) as url:
        page = browser.new_page()
        trouble: list[str] = []
        page.on("pageerror", lambda error: trouble.append(str(error)))
        enter(page, url, "Ann")
        for place in range(12):
            wait_for(page, place)
            models = sides(page)
            choices = [("A", "B", "tie")[(place + number) % 3] for number in range(3)]
            if None in models:
                checks += 1
                choices[0] = "B" if models[0] is None else "A"
            else:
                for criterion, choice in zip(CRITERIA, choices, strict=True):
                    wanted[criterion][models[0] if choice == "A" else models[1] if choice == "B" else "tie"] += 1
            if place % 2:
                for criterion, choice in zip(CRITERIA, choices, strict=True):
                    page.check(f"#{criterion} input[value='{choice}']", force=True)
                assert chosen(page) == choices
                page.click("#next")
            else:
                keys(page, *choices)
                assert chosen(page) == choices
                page.keyboard.press("Enter")
            wait_for(page, place + 1 if place < 11 else None)
            if place == 4:
                page.reload()
                wait_for(page, 5)
                assert chosen(page) == [None] * 3
            if place == 7:  # closed, and opened again by the plain address
                page.close()
                page = browser.new_page()
                enter(page, url, " Ann ")
                wait_for(page, 8)
        assert page.title() == "Which answer is better?" and not trouble
        found = tally(tmp_path / "out")
    assert checks == 2 and found.raters["Ann"]["passed"] == 2
    assert found.paper == {"n": 10, "ours_baseline_tie": {c: [wanted[c][each] for each in CHOICES] for c in CRITERIA}}
    assert found.changed == 0 and found.incomplete == 0


@in_browser
def test_two_raters_at_once_lose_nothing(tmp_path, browser):
    study = new_study(tmp_path, 5, per_question=2)
    with running(study) as url:
        pages = {name: browser.new_page() for name in ("Ann", "Bo")}
        for name, page in pages.items():
            enter(page, url, name)
        models = {name: [] for name in pages}
        for place in range(5):
            for name, page in pages.items():
                wait_for(page, place)
                models[name].append(sides(page)[0])
                keys(page, "A", "A", "A")
            for page in pages.values():  # both, before either has its answer
                page.keyboard.press("Enter")
        for page in pages.values():
            wait_for(page, None)
            page.close()
        found = tally(tmp_path / "out")
    assert found.ratings == 10 and found.rated == 5
    for name in pages:
        counts = found.raters[name]["helpfulness"]
        assert counts == {"ours": models[name].count("ours"), "baseline": models[name].count("baseline"), "tie": 0}


@in_browser
def test_what_is_missing_is_said_and_what_was_chosen_can_be_changed(tmp_path, browser):
    study = new_study(tmp_path, 3)
    with running(study) as url:
        page = browser.new_page()
        enter(page, url, "Ann")
        keys(page, "A", "B")
        page.keyboard.press("Enter")
        page.wait_for_selector(".trouble")
        assert chosen(page) == ["A", "B", None] and place_of(page) == 0 and study.votes() == []
        keys(page, "tie")
        page.keyboard.press("Enter")
        wait_for(page, 1)
        assert len(study.votes()) == 3 and page.locator(".trouble").count() == 0
        assert page.locator(".criterion.active").get_attribute("id") == "helpfulness"
        page.click("#back")
        wait_for(page, 0)
        assert chosen(page) == ["A", "B", "tie"]
        keys(page, "A", "B")
        page.keyboard.press("Backspace")  # honesty again
        keys(page, "A")
        page.keyboard.press("Enter")
        wait_for(page, 1)
        assert chosen(page) == [None] * 3
        page.close()
    assert len(study.votes()) == 3 and len(study.history()) == 4


@in_browser
@pytest.mark.parametrize(("language", "word"), [("en", "Question 1 of 4"), ("zh", "第 1 题，共 4 题")])
def test_it_fits_a_phone_in_both_languages(tmp_path, browser, language, word):
    study = new_study(tmp_path, 4)
    with running(study, language) as url:
        page = browser.new_page(viewport={"width": 380, "height": 800}, has_touch=True)
        enter(page, url, "Ann")
        assert page.inner_text("#place span") == word
        assert page.evaluate("document.documentElement.scrollWidth") == 380
        boxes = [each.bounding_box() for each in page.locator(".criterion label, #next, #back").all()]
        assert len(boxes) == 11 and all(box["height"] >= 44 and box["x"] + box["width"] <= 380 for box in boxes)
        a, b = (each.bounding_box() for each in page.locator(".sides section").all())
        assert b["y"] >= a["y"] + a["height"], "one below the other"
        page.screenshot(path=tmp_path / "phone.png", full_page=True)
        for criterion in CRITERIA:
            page.tap(f"#{criterion} label:nth-of-type(3)")
        page.tap("#next")
        wait_for(page, 1)
        assert page.evaluate("window.scrollY") == 0
        page.close()
    assert [choice for *_, choice in study.votes()] == ["tie"] * 3


@in_browser
def test_texts_are_shown_as_they_are_and_nothing_comes_from_elsewhere(tmp_path, browser):
    study = new_study(tmp_path, 1)
    with running(study) as url:
        page = browser.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        enter(page, url, "Ann")
        texts = page.locator("#pair .sides .text").all_inner_texts()
        assert all(text.endswith(ODD) for text in texts) and page.title() != "broken"
        assert [each for each in asked if not each.startswith((url, "data:", "blob:"))] == []
        page.close()


# --- by plain requests ----------------------------------------------------------------------------------------------


def call(client: Any, name: str, *values: Any) -> Any:
    answer = client.post(f"/gradio_api/run/{name}", json={"data": list(values)})
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


def test_the_page_is_not_told_which_model_is_which(tmp_path):
    import httpx

    study = new_study(tmp_path, 3)
    with running(study) as url, httpx.Client(base_url=url) as client:
        said = client.get("/").text + client.get("/config").text + client.get("/gradio_api/info").text
        said += str(call(client, "start", "Ann")) + str(call(client, "vote", "Ann", 0, "A", "B", "tie"))
        said += str(call(client, "back", "Ann", 1))
    for word in ("ours", "baseline", *(pair.key for pair in study.pairs.values())):
        assert word not in said.replace("hours", "").replace("yours", ""), word


def test_an_open_page_goes_on_after_the_server_was_started_again(tmp_path):
    import httpx

    study = new_study(tmp_path, 3)
    with running(study) as url, httpx.Client(base_url=url) as client:
        rater, place = call(client, "start", "Ann")[:2]
    study.close()
    study = Study(tmp_path / "out")
    with running(study) as url, httpx.Client(base_url=url) as client:
        assert call(client, "vote", rater, place, "A", "A", "A")[1] == 1
        assert "not saved" in str(call(client, "vote", "Nobody", 0, "A", "A", "A"))
        study.close()  # what cannot be saved is not passed over in silence
        assert "not saved" in str(call(client, "vote", rater, 1, "A", "A", "A"))
    assert len(Study(tmp_path / "out").votes()) == 3


def test_only_named_raters_come_in(tmp_path):
    import httpx

    study = new_study(tmp_path, 3, raters=["Ann"], per_question=1)
    with running(study) as url, httpx.Client(base_url=url) as client:
        assert "not known here" in str(call(client, "start", "Eve"))
        assert call(client, "start", "Ann")[0] == "Ann"
    assert study.raters() == ["Ann"]


def test_with_a_token_every_request_needs_it(tmp_path):
    import httpx

    study = new_study(tmp_path, 3)
    with running(study, token=TOKEN) as url:
        for path in (
            "/",
            "/config",
            "/gradio_api/info",
            "/gradio_api/run/start",
            "/gradio_api/queue/data",
            "/assets/x.js",
        ):
            for more in ({}, {"headers": {"Authorization": "Bearer wrong"}}, {"cookies": {"rating_token": TOKEN}}):
                with httpx.Client(base_url=url, **more) as client:
                    assert client.get(path).status_code == 401
                    assert client.post(path, json={"data": ["Ann"]}).status_code == 401
        with httpx.Client(base_url=url) as client:
            assert client.get("/?token=wrong").status_code == 401
            moved = client.get(f"/?rater=A%20b&token={TOKEN}")
            assert (moved.status_code, moved.headers["location"]) == (303, "/?rater=A+b")
            assert "HttpOnly" in moved.headers["set-cookie"] and TOKEN not in moved.headers["set-cookie"]
            assert client.get("/config").status_code == 200  # by the cookie
            assert call(client, "start", "Ann")[0] == "Ann"
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}) as client:
            assert client.get("/config").status_code == 200
    assert study.raters() == ["Ann"]


def test_two_studies_on_one_computer_do_not_throw_each_others_raters_out(tmp_path):
    import httpx

    study, other = new_study(tmp_path, 3), f"{TOKEN}-2"
    with running(study, token=TOKEN) as url, running(study, token=other) as url2, httpx.Client() as browser:
        for address, token in ((url, TOKEN), (url2, other)):
            assert browser.get(f"{address}?token={token}").status_code == 303
        assert len({each.name for each in browser.cookies.jar}) == 2
        assert [browser.get(f"{address}config").status_code for address in (url, url2)] == [200, 200]
        assert httpx.get(f"{url}config", cookies=dict.fromkeys(browser.cookies, "x")).status_code == 401


def test_without_a_token_it_answers_to_this_computers_names_only(tmp_path):
    import httpx

    study = new_study(tmp_path, 3)
    with running(study) as url, httpx.Client(base_url=url) as client:
        for host, status in (
            ("evil.example", 400),
            ("evil.example:7860", 400),
            ("127.0.0.1.evil.example", 400),
            ("LOCALHOST:7860", 200),
            ("127.0.0.1", 200),
            ("[::1]:7860", 200),
        ):
            headers = {"Host": host, "Origin": f"http://{host}"}
            assert client.get("/", headers=headers).status_code == status, host
            voted = client.post("/gradio_api/run/start", json={"data": [host[:4]]}, headers=headers)
            assert voted.status_code == status, host
    assert study.raters() == ["LOCA", "127.", "[::1"]


def test_links_lead_to_an_address_that_others_can_open():
    for host in ("0.0.0.0", "::", "::0", ""):
        (link,) = _links(host, 7860, TOKEN, None)
        assert urlsplit(link).hostname not in ("0.0.0.0", "::", "", None) and link.endswith(f":7860/?token={TOKEN}")
    assert _links("example.org", 7860, None, None) == ["http://example.org:7860/"]
    assert _links("192.168.1.7", 7860, None, None) == ["http://192.168.1.7:7860/"]
    assert _links("::1", 7860, None, ["Ann"]) == ["http://[::1]:7860/?rater=Ann"]


def test_named_raters_are_named_as_they_will_be_when_they_come():
    assert rater_names(["Jose\u0301", " Ann  Lee"]) == ["Jos\u00e9", "Ann Lee"]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.7", "example.org"])
def test_another_host_needs_a_token(tmp_path, host):
    with pytest.raises(UsageError, match=rf"{host} can be reached by others: give a --token"):
        serve(*two_files(tmp_path), tmp_path / "out", host=host)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"token": "short"}, UsageError, "the token has 5 characters"),
        ({"language": "fr"}, UnknownNameError, "unknown language 'fr'"),
        ({"raters": ["Ann", " Ann "]}, UsageError, "raters need names, each another"),
        ({"raters": []}, UsageError, "raters need names"),
        ({"raters": ["Jos\u00e9", "Jose\u0301"]}, UsageError, "raters need names, each another"),
        ({"raters": ["Ann", "x" * 61]}, UsageError, "a name has 1 to 60 characters"),
        ({"raters": ["Ann", " "]}, UsageError, "a name has 1 to 60 characters"),
        ({"raters": ["Ann", "Bo"], "per_question": 3}, UsageError, "per_question is 3, .* at most the 2 raters"),
        ({"per_question": 0}, UsageError, "per_question is 0"),
        ({"attention": -1}, UsageError, "attention is -1"),
    ],
)
def test_bad_arguments_are_one_line_and_write_nothing(tmp_path, more, error, message):
    with pytest.raises(error, match=message) as found:
        serve(*two_files(tmp_path), tmp_path / "out", **more)
    assert "\n" not in str(found.value) and not (tmp_path / "out").exists()


def test_without_gradio_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(MissingExtraError, match=r"needs gradio, .* pip install 'gpt4-instruct\[human\]'"):
        serve(*two_files(tmp_path), tmp_path / "out")


_SERVED = """
import sys
from gpt4_instruct.evaluation.rating_server import serve
serve(*sys.argv[1:4], port=int(sys.argv[4]), raters=["Ann", "丁 一"], attention=0, tell=lambda line: print(line, flush=True))
"""


def test_it_listens_on_this_computer_only_and_ends_by_ctrl_c(tmp_path):
    import httpx

    files = [*map(str, two_files(tmp_path)), str(tmp_path / "out")]
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVED, *files, "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("10 questions, 0 attention checks, votes in ")
        links = [process.stdout.readline().strip() for _ in range(2)]
        port = int(links[0].split(":")[2].split("/")[0])
        assert links == [f"http://127.0.0.1:{port}/?rater={name}" for name in ("Ann", "%E4%B8%81%20%E4%B8%80")]
        for _ in range(100):
            try:
                assert httpx.get(links[0], timeout=60).status_code == 200
                break
            except httpx.TransportError:
                time.sleep(0.1)
        assert httpx.get(links[0], headers={"Host": "evil.example"}).status_code == 400
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: .* --port names another"):
            serve(*files, port=port, raters=["Ann", "丁 一"], attention=0)
        own = {address[4][0] for address in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)}
        for address in own - {"127.0.0.1"}:
            with pytest.raises(OSError), socket.create_connection((address, port), timeout=1):
                pass
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0
        assert process.stderr is not None and process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()
