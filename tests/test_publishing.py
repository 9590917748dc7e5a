"""The folder and its card: valid metadata, true numbers, readable in a terminal with Chinese in it."""

from __future__ import annotations

import json

import pytest
from huggingface_hub import DatasetCard

from gpt4_instruct import OutputError, Replay, build
from gpt4_instruct.publishing.folder import read_manifest
from gpt4_instruct.publishing.show import show
from gpt4_instruct.sources.files import FileSource
from gpt4_instruct.storage import sha256
from tests.faults import FaultyEndpoint

TASKS = [
    {"instruction": "写一句关于春天的话。", "input": "", "output": "春天来了，[花]开了。"},
    {"instruction": "Say [bold]hi[/bold].", "input": "", "output": "Hi."},
    {"instruction": "Refuse.", "input": "", "output": "As an AI language model, I cannot."},
]


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(TASKS))
    build("english", path, teacher=Replay(TASKS), out=tmp_path / "out")
    build("chinese", path, teacher=Replay(TASKS), limit=1, out=tmp_path / "out")
    return tmp_path / "out"


def test_the_card_is_valid_and_true(folder):
    card = DatasetCard.load(folder / "README.md")
    data = card.data.to_dict()
    assert data["language"] == ["en", "zh"]
    assert [config["config_name"] for config in data["configs"]] == ["chinese", "english"]
    for config in data["configs"]:
        for path in config["data_files"][0]["path"]:
            assert (folder / path).is_file()
    assert "| english | 1 | 2 | tasks.json |" in card.text
    assert "| english | refusal | 1 |" in card.text
    assert "| english | wrong_language | 1 |" in card.text
    assert "OpenAI" not in card.text, "its terms stand where its models answered"
    assert "{{" not in card.text and "None" not in card.text


def test_the_manifest_names_every_file_with_its_hash(folder):
    manifest = read_manifest(folder)
    for config in manifest["configs"].values():
        for file in config["files"]:
            assert sha256(folder / file["path"]) == file["sha256"]
            assert (folder / file["path"]).stat().st_size == file["bytes"]
    assert manifest["configs"]["english"]["teachers"][0]["spec"] == "replay"


def test_a_card_with_openai_answers_says_its_terms(endpoint, tmp_path):
    build("english", limit=2, teacher="openai:gpt-4", out=tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    assert "OpenAI's terms of use" in text
    assert "the seeds of gpt4-instruct are Apache-2.0" in text


def test_a_card_with_answers_by_the_batch_says_their_terms_too(tmp_path, monkeypatch):
    with FaultyEndpoint(batch_s=0.01, refused_share=0.0, length_share=0.0) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        build("english", teacher="openai-batch:m", limit=1, out=tmp_path / "out")
    assert "OpenAI's terms of use" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("on_truncation", ["reject", "keep"])
def test_a_card_does_not_say_that_no_answer_is_cut_off_where_some_are(tmp_path, on_truncation):
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(TASKS[1:2]))
    build("english", path, teacher=Replay(TASKS), out=tmp_path / "out", on_truncation=on_truncation)
    text = (tmp_path / "out" / "README.md").read_text()
    assert ("not cut off" in text) == (on_truncation == "reject")
    assert ("In english, answers that were cut off" in text) == (on_truncation == "keep")


def test_what_others_build_at_a_url_meanwhile_stays(tmp_path):
    there = tmp_path / "there"
    out, card = f"file://{there}", there / "README.md"
    options = {"teacher": Replay(TASKS), "out": out, "limit": 2}
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(TASKS))
    build("english", path, **options)

    class Meanwhile(FileSource):
        def __iter__(self):
            build("unnatural", path, **options)
            build("english", path, **options, overwrite=True, ledger=tmp_path / "other.sqlite3")
            card.write_text(card.read_text() + "\nMy note.\n")
            return super().__iter__()

    build("chinese", Meanwhile(path), **options)
    configs = read_manifest(there)["configs"]
    assert list(configs) == ["chinese", "english", "unnatural"]
    named = {file["path"] for config in configs.values() for file in config["files"]}
    assert named == {each.relative_to(there).as_posix() for each in there.rglob("*.parquet")}
    data = DatasetCard.load(card)
    assert [config["config_name"] for config in data.data.to_dict()["configs"]] == list(configs)
    assert "My note." in data.text and "| chinese |" in data.text


def test_what_show_prints(folder, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    show(folder)
    printed = capsys.readouterr().out
    assert "写一句关于春天的话。" in printed
    assert "春天来了，[花]开了。" in printed
    assert "Say [bold]hi[/bold]." in printed, "brackets in a row are text"
    assert "refusal" in printed
    # The borders stand in one column although Chinese characters are two wide.
    from rich.cells import cell_len

    lines = [line for line in printed.splitlines() if line.startswith(("│", "┃", "├", "┏", "┡", "└"))]
    table = [line for line in lines if "春天" in line or "instruction" in line]
    assert len({cell_len(line) for line in table[:2]}) == 1


def test_a_folder_of_a_newer_version_or_a_broken_one_is_one_line(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    for broken in ({**manifest, "format": 99}, [], {"configs": 3}):
        (folder / "manifest.json").write_text(json.dumps(broken))
        with pytest.raises(OutputError) as caught:
            show(folder)
        assert "\n" not in str(caught.value)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(OutputError, match="not JSON"):
        show(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    next(folder.rglob("*.parquet")).write_text("x")
    with pytest.raises(OutputError, match="cannot read"):
        show(folder)
