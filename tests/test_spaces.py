"""Folders for Spaces: metrics that evaluate loads, from disk and from a Hub, and the rating page as a server of its own."""

from __future__ import annotations

import doctest
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import typer
from huggingface_hub import SpaceCard
from typer.testing import CliRunner

from gpt4_instruct import __version__
from gpt4_instruct.cli.spaces import add_commands
from gpt4_instruct.errors import OutputError, OutputExistsError, UnknownNameError, UsageError
from gpt4_instruct.evaluation.rating import CRITERIA, Study
from gpt4_instruct.evaluation.rating_pairs import Pair
from gpt4_instruct.evaluation.tally import tally
from gpt4_instruct.publishing.metric_page import EXAMPLES, compute_table, page_of
from gpt4_instruct.publishing.spaces import write_metric_space
from gpt4_instruct.rating_space import RatingSpace, _keeping, serve_rating_space, write_rating_space
from gpt4_instruct.registry import find, names
from tests.hub import Client, LoopbackHub
from tests.test_rating import line, rate_all, write

METRICS = names("metrics")
ROOT = Path(__file__).parents[1]
TOKEN = "planted-rating-token"
needs_evaluate = pytest.mark.skipif(find_spec("evaluate") is None, reason="pip install '.[eval]'")
needs_gradio = pytest.mark.skipif(find_spec("gradio") is None, reason="pip install '.[human]'")


def two_files(folder: Path, count: int = 4) -> list[Path]:
    hidden = {"teacher": "openai:planted-model", "cost_usd": 1.5, "metadata": {"id": "planted-metadata"}}
    return [
        write(
            folder / f"{who}.jsonl",
            [line(f"{n}", f"{who} has a long answer to {n}. 木星", **hidden) for n in range(count)],
        )
        for who in ("first", "second")
    ]


def space(folder: Path, **settings: Any) -> RatingSpace:
    return write_rating_space(*two_files(folder), folder / "space", **settings)


# --- metrics --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def spaces(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("spaces")
    for name in METRICS:
        assert write_metric_space(name, folder / name) == folder / name
    return folder


def own(name: str) -> dict[str, Any]:
    definition = find("metrics", name)
    predictions, references = EXAMPLES[definition.inputs]
    return definition.compute(predictions=predictions, references=references)


def loaded(places: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """What evaluate makes of folders or repositories, in the client's process."""
    import evaluate

    found = []
    for place in places:
        metric = evaluate.load(place)
        predictions, references = EXAMPLES[find("metrics", metric.name).inputs]
        for one, other in zip(predictions, references, strict=True):
            metric.add(prediction=one, reference=other)
        found.append((metric.name, metric.compute()))
    return found


def example(folder: str) -> tuple[int, int]:
    """Runs the example of a card; how many lines failed, and of how many."""
    text = (Path(folder) / "README.md").read_text(encoding="utf-8").replace("PATH_OR_REPOSITORY", folder)
    code = "\n".join(re.findall(r"```python\n(>>>.*?)```", text, flags=re.DOTALL))
    test = doctest.DocTestParser().get_doctest(code, {}, folder, None, None)
    return tuple(doctest.DocTestRunner(verbose=False).run(test))[:2]


def pushed(folder: str, repo: str) -> None:
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo, repo_type="space", space_sdk="gradio", private=True)
    api.upload_folder(folder_path=folder, repo_id=repo, repo_type="space")


@needs_evaluate
def test_evaluate_loads_metrics_from_folders_and_from_a_private_space(spaces, tmp_path):
    folders = [str(spaces / name) for name in METRICS]
    quiet = {"HF_UPDATE_DOWNLOAD_COUNTS": "0", "USE_TORCH": "0"}
    with LoopbackHub() as hub, Client(hub, tmp_path, **quiet) as client:
        assert client.call(loaded, folders) == [(name, own(name)) for name in METRICS]
        assert not hub.requests
        for folder in folders:
            assert client.call(example, folder) == (0, 6)
        repo = f"me/{METRICS[0]}"
        client.call(pushed, folders[0], repo)
        assert client.call(loaded, [repo]) == [(METRICS[0], own(METRICS[0]))]
        assert hub.asked(f"GET /spaces/{repo}/resolve/main/{METRICS[0]}.py")[0].token == hub.token


@pytest.mark.parametrize("name", METRICS)
def test_a_metrics_card_tells_what_its_docstring_does(spaces, name):
    card = SpaceCard.load(spaces / name / "README.md")
    assert (card.data.sdk, card.data.app_file, card.data.title) == (
        "gradio",
        "app.py",
        name.replace("_", " ").capitalize(),
    )
    assert {"evaluate", "metric"} <= set(card.data.tags) and card.data.license == "apache-2.0"
    for argument in ("predictions", "references", "level"):
        assert f"\n- `{argument}`: " in card.text
    assert find("metrics", name).citation in card.text and "UsageError" in card.text and "Args:" not in card.text
    assert (spaces / name / "requirements.txt").read_text() == f"gpt4-instruct[eval]=={__version__}\n"


def test_spaces_run_in_the_versions_that_are_tested(spaces, tmp_path):
    tested = dict(each.split("==") for each in (ROOT / "constraints.txt").read_text().splitlines() if "==" in each)
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    for folder in (spaces / METRICS[0], space(tmp_path).folder):
        data = SpaceCard.load(folder / "README.md").data
        assert data.sdk_version == tested["gradio"] and f">={data.python_version}" == python


def test_a_folder_of_another_name_another_package_or_with_something_in_it_is_told(spaces, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"finds win_rate.py only in a folder of that name: --out .*/mine/win_rate"):
        write_metric_space("win_rate", tmp_path / "mine")
    with pytest.raises(UnknownNameError, match="did you mean 'win_rate'"):
        write_metric_space("winrate", tmp_path / "winrate")
    with pytest.raises(OutputExistsError, match="--overwrite writes the Space anew"):
        write_metric_space("win_rate", spaces / "win_rate")
    address = "gpt4-instruct[eval] @ git+https://example.org/repository@v1"
    folder = write_metric_space("win_rate", tmp_path / "win_rate", requirements=[address, "other==1"], overwrite=True)
    assert (folder / "requirements.txt").read_text() == f"{address}\nother==1\n"
    assert f"# From: {address}\n" in (folder / "win_rate.py").read_text()
    for given, wanted in ((address, f"{address}\n"), ([], f"gpt4-instruct[eval]=={__version__}\n")):
        write_metric_space("win_rate", folder, requirements=given, overwrite=True)
        assert (folder / "requirements.txt").read_text() == wanted
    with pytest.raises(UsageError, match="a requirement is one line"):
        write_metric_space("win_rate", folder, requirements=[f"{address}\nimport os"], overwrite=True)
    monkeypatch.setattr(find("metrics", "win_rate").compute, "__module__", "elsewhere")
    with pytest.raises(UsageError, match="is of another package: name that"):
        write_metric_space("win_rate", tmp_path / "other" / "win_rate")


@needs_gradio
@pytest.mark.parametrize("name", METRICS)
def test_the_page_of_a_metric_begins_with_an_example_that_computes(name):
    page = page_of(name)
    (compute,) = [each for each in page.fns.values() if each.api_name == "compute"]
    table, options = (each.value for each in compute.inputs)
    columns = set(json.loads(options)) | set(table["headers"])
    assert {"predictions", "references", "level"} <= columns
    assert compute.fn(table["data"], options) == own(name)


def test_a_table_is_computed_as_it_was_typed():
    rows = [["9", 8, "90", 40], [8, "8", 50, "50"], ["", None, "", ""], ["7", "", 3, 4], [None, "", None, "5"]]
    found = compute_table("win_rate", rows, '{"level": 0.9}')
    assert (found["n"], found["missing"], found["interval"]["level"]) == (2, 2, 0.9)
    assert found["length_controlled"]["n"] == 2
    assert compute_table("win_rate", [[*row[:2], None, ""] for row in rows], "")["length_controlled"] is None
    for rows, options, message in (
        ([["a", 1]], "{}", "predictions has 'a', which is no number"),
        ([[1, 1]], "{", "the options are not JSON"),
        ([[1, 1]], '{"predictions": [1]}', "with these names: level"),
        ([[1, 1]], "[]", "with these names: level"),
        ([["", None]], "{}", "there is nothing to compare"),
    ):
        with pytest.raises(UsageError, match=message):
            compute_table("win_rate", rows, options)


# --- the rating page ------------------------------------------------------------------------------------------------


def test_a_rating_folder_holds_what_raters_see_and_nothing_else_of_the_answers(tmp_path):
    found = space(tmp_path, attention=2, raters=["Ann", "丁一"], language="zh", seed=5)
    assert (found.questions, found.checks, found.left_out) == (4, 2, {})
    texts = {file.name: file.read_text(encoding="utf-8") for file in found.folder.iterdir()}
    assert set(texts) == {".gitignore", "README.md", "app.py", "pairs.jsonl", "requirements.txt", "study.json"}
    assert not [name for name, text in texts.items() if "planted" in text or "cost_usd" in text]
    assert {name for name, text in texts.items() if "first.jsonl" in text} == {"README.md", "study.json"}
    assert SpaceCard.load(found.folder / "README.md").data.title == "哪个回答更好？"
    with pytest.raises(OutputExistsError):
        space(tmp_path)
    with pytest.raises(UsageError, match="per_question is 3, but must be 1 or more, and at most the 2 raters"):
        space(tmp_path, raters=["Ann", "Bo"], per_question=3, overwrite=True)
    with pytest.raises(UnknownNameError, match="unknown language 'fr'"):
        space(tmp_path, language="fr", overwrite=True)


def study_of(folder: Path, votes: Path) -> Study:
    """The study of a folder, with its votes elsewhere."""
    lines = (folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    settings = json.loads((folder / "study.json").read_text(encoding="utf-8"))["settings"]
    return Study.create(votes, [Pair(**json.loads(each)) for each in lines], settings)


@contextmanager
def served(folder: Path, storage: Path) -> Iterator[tuple[str, list[str]]]:
    """Runs ``app.py`` as the Hub does, but on loopback, and stops it; its address, and what it says."""
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "RATING_TOKEN": TOKEN,
        "RATING_STORAGE": str(storage),
        "GRADIO_SERVER_NAME": "127.0.0.1",
        "GRADIO_SERVER_PORT": str(port),
        "SYSTEM": "spaces",
        "SPACE_ID": "me/study",
        "SPACE_HOST": "me-study.hf.space",
        "PYTHONPATH": str(ROOT),
    }
    process = subprocess.Popen([sys.executable, "app.py"], cwd=folder, env=environment, stdout=-1, stderr=-2, text=True)
    said: list[str] = []
    try:
        assert process.stdout is not None
        for text in process.stdout:
            said.append(text.strip())
            if "raters open" in text:
                break
        for _ in range(200):
            with closing(socket.socket()) as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", said
        process.send_signal(signal.SIGTERM)
        said.extend(process.stdout.read().split("\n"))
        assert process.wait(timeout=30) == 0, said
    finally:
        process.kill()
        process.communicate()


@needs_gradio
def test_the_page_of_a_space_asks_for_the_token_and_its_votes_outlast_it(tmp_path):
    import httpx

    folder = space(tmp_path, attention=0).folder
    readme = (folder / "README.md").read_text(encoding="utf-8")
    kept = tmp_path / "bucket" / re.findall(r"hf://buckets/ME/VOTES/(\S+)", readme)[0]
    with closing(study_of(folder, kept)) as study:  # as a start before left it
        rate_all(study, "Bo")
    with served(folder, tmp_path / "bucket") as (url, said):
        assert said == [
            "12 votes of 1 raters are there",
            "raters open https://me-study.hf.space/?token=... with the secret RATING_TOKEN in place of the dots",
        ]
        for path in ("/", "/config", "/gradio_api/run/start", "/?token=wrong-wrong-wrong"):
            assert httpx.get(f"{url}{path}").status_code == 401
        proxied = {"X-Forwarded-Host": "me-study.hf.space", "X-Forwarded-Proto": "https"}
        with httpx.Client(base_url=url, headers=proxied) as client:
            assert client.get(f"/?token={TOKEN}").status_code == 303
            assert client.get("/config").json()["root"] == "https://me-study.hf.space"
            for path in ("pairs.jsonl", "study.json", str(folder / "pairs.jsonl")):
                answer = client.get(f"/gradio_api/file={path}")
                assert answer.status_code in (403, 404) and "has a long answer" not in answer.text
            seen = client.post("/gradio_api/run/start", json={"data": ["Ann"]}).json()["data"]
            assert "has a long answer" in seen[2] and "jsonl" not in seen[2]
            voted = client.post("/gradio_api/run/vote", json={"data": ["Ann", 0, "A", "B", "tie"]}).json()["data"]
            assert voted[1] == 1
    assert TOKEN not in "".join(said) and not (folder / "votes").exists()
    assert [each.name for each in (tmp_path / "bucket").iterdir()] == [kept.name]
    found = tally(kept)
    assert (found.ratings, found.rated, found.ours, found.baseline) == (5, 4, "first.jsonl", "second.jsonl")


def test_votes_are_copied_while_they_are_cast_and_trouble_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("gpt4_instruct.rating_space._KEEP_S", 0.02)
    study = study_of(space(tmp_path, attention=0).folder, tmp_path / "votes")
    said: list[str] = []
    kept = tmp_path / "bucket" / "ratings" / "votes.sqlite3"

    def copied() -> int:
        with closing(sqlite3.connect(kept)) as db:
            return int(db.execute("SELECT count(*) FROM votes").fetchone()[0])

    def until(done: Any) -> None:
        for _ in range(500):
            if done():
                return
            time.sleep(0.01)
        raise AssertionError(said)

    with _keeping(study.file, kept, said.append):
        assert copied() == 0  # there before the first vote
        rate_all(study, "Ann")
        until(lambda: copied() == 4 * len(CRITERIA))
        kept.unlink()
        kept.mkdir()  # what is written cannot take its place
        rate_all(study, "Bo")
        until(lambda: said)
        kept.rmdir()
        until(kept.is_file)
    assert copied() == 8 * len(CRITERIA) and "votes are not copied, and tried again" in said[0]
    with pytest.raises(OutputError, match="cannot write"), _keeping(study.file, study.file / "x", said.append):
        raise AssertionError("a vote would be taken that does not last")
    with _keeping(study.file, None, said.append):
        assert said[-1].startswith("WARNING: votes vanish when this Space restarts")
    study.close()


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (None, "add the secret RATING_TOKEN"),
        (" ", "add the secret RATING_TOKEN"),
        ("short", "the token has 5 characters"),
    ],
)
def test_without_a_good_token_nothing_is_served(tmp_path, monkeypatch, token, message):
    folder = space(tmp_path).folder
    if token is None:
        monkeypatch.delenv("RATING_TOKEN", raising=False)
    else:
        monkeypatch.setenv("RATING_TOKEN", token)
    with pytest.raises(UsageError, match=message):
        serve_rating_space(folder)
    assert not (folder / "votes").exists()


def test_a_broken_folder_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("RATING_TOKEN", TOKEN)
    folder = space(tmp_path).folder
    for broken in ('{"key": 1}\n', "{\n"):
        (folder / "pairs.jsonl").write_text(broken)
        with pytest.raises(OutputError, match="is not the folder of a rating Space"):
            serve_rating_space(folder)
    with pytest.raises(OutputError, match="gpt4-instruct space rating writes one"):
        serve_rating_space(tmp_path / "nowhere")


# --- the command line -----------------------------------------------------------------------------------------------


def test_the_commands_write_both_and_say_what_comes_next(tmp_path):
    app = typer.Typer()
    add_commands(app)
    ran = CliRunner().invoke(app, ["space", "metric", "win_rate", "--out", str(tmp_path / "win_rate")])
    assert ran.exit_code == 0 and f'evaluate.load("{tmp_path / "win_rate"}")' in ran.output
    files = [f"--{name}={file}" for name, file in zip(("answers", "baseline"), two_files(tmp_path), strict=True)]
    out = str(tmp_path / "mine")
    ran = CliRunner().invoke(app, ["space", "rating", *files, "--out", out, "--rater", "Ann", "--attention", "2"])
    assert ran.exit_code == 0 and f"{out} is a Space: 4 questions, 2 attention checks" in ran.output
    assert json.loads((tmp_path / "mine" / "study.json").read_text())["settings"]["raters"] == ["Ann"]
    ran = CliRunner().invoke(app, ["space", "rating", *files, "--out", out])
    assert isinstance(ran.exception, OutputExistsError)
