"""What of a folder may be published: it is whole, made to be published, and holds no secret."""

from __future__ import annotations

import json
import os
import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.publishing.contents import read_contents
from gpt4_instruct.publishing.secret_scan import check_no_secrets, without_secrets
from gpt4_instruct.publishing.terms import check_public
from gpt4_instruct.storage import lock, sha256

SECRET = 'it\'s-"4"-Secret/Value'
TOKEN = 'a Token of/"mine" #1'
CARD = "---\nlicense: mit\n---\n# A card with ![a figure](figures/lengths.png), [more](../private.txt) and [none](none.md)\n"


@pytest.fixture
def data(tmp_path):
    """A dataset's folder, and beside what it was made with, much that is nobody's business."""
    folder = tmp_path / "data"
    for name in ("english", "rejects", "figures", ".cache"):
        (folder / name).mkdir(parents=True)
    shard = folder / "english" / "train-00000-of-00001-0123456789abcdef.parquet"
    shard.write_bytes(b"PAR1 in name only")
    (folder / "rejects" / "english.jsonl").write_text("{}\n")
    (folder / "README.md").write_text(CARD)
    entry = {"path": shard.relative_to(folder).as_posix(), "bytes": 17, "sha256": sha256(shard)}
    config = {"rows": 1, "rejected": {}, "files": [entry], "source": "seeds", "teachers": []}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "configs": {"english": config}}))
    (folder / "figures" / "lengths.png").write_bytes(b"a figure")
    (folder / "figures" / "old.png").write_bytes(b"not shown")
    (folder / "english" / "train-00000-of-00001-of-before.parquet").write_bytes(b"a leftover")
    (folder / ".cache" / "x").write_text("hidden")
    (folder / "ledger.sqlite3").write_text("raw answers")
    (tmp_path / "private.txt").write_text("outside")
    return folder


def test_a_dataset_is_what_its_manifest_and_card_name(data):
    contents = read_contents(str(data))
    assert contents.kind == "dataset"
    assert sorted(contents.files) == [
        "english/train-00000-of-00001-0123456789abcdef.parquet",
        "figures/lengths.png",
        "manifest.json",
        "rejects/english.jsonl",
    ]
    assert contents.left_out == (".cache/", "ledger.sqlite3")


def test_a_dataset_that_is_not_whole_is_refused(data):
    shard = data / "english" / "train-00000-of-00001-0123456789abcdef.parquet"
    shard.write_bytes(b"PAR1 in name ONLY")
    with pytest.raises(OutputError, match=r"is not what manifest\.json says, so it was changed"):
        read_contents(data)
    shard.unlink()
    with pytest.raises(OutputError, match=r"is missing, which manifest\.json names"):
        read_contents(data)
    manifest = json.loads((data / "manifest.json").read_text())
    for path in ("../private.txt", "/etc/passwd", ".cache/x"):
        manifest["configs"]["english"]["files"][0]["path"] = path
        (data / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(OutputError, match="which is not in the folder"):
            read_contents(data)
    (data / "manifest.json").write_text(json.dumps({"format": 1, "configs": {"english": {"files": [{}]}}}))
    with pytest.raises(OutputError, match="does not say which files english has"):
        read_contents(data)
    (data / "manifest.json").write_text(json.dumps({"format": 1, "configs": {}}))
    with pytest.raises(OutputError, match="holds no finished build"):
        read_contents(data)


def test_a_card_names_its_pictures_in_any_spelling(data):
    for name in ("lengths 2.png", "长度.png"):
        (data / "figures" / name).write_bytes(b"a figure")
    long = "A" * 6_000
    (data / "README.md").write_text(
        "![a](figures/lengths%202.png) ![b](<figures/lengths.png>) <img src='figures/%E9%95%BF%E5%BA%A6.png'>\n"
        f"![in the text](data:image/png;base64,{long}) [too long]({long}) [nothing](%00) [up](%2E%2E/private.txt)\n"
    )
    found = [path for path in read_contents(data).files if path.startswith("figures/")]
    assert sorted(found) == ["figures/lengths 2.png", "figures/lengths.png", "figures/长度.png"]


def test_a_build_in_progress_is_waited_for_and_a_killed_one_is_nothing(data):
    (data / ".chinese.building").mkdir()
    assert read_contents(data).kind == "dataset"
    locked, done = threading.Event(), threading.Event()

    def build() -> None:
        with lock(data / "chinese"):
            locked.set()
            done.wait(10)

    builder = threading.Thread(target=build)
    builder.start()
    try:
        assert locked.wait(10)
        with pytest.raises(OutputError, match=r"chinese is being built in .*: wait until it is there"):
            read_contents(data)
    finally:
        done.set()
        builder.join()


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    (folder / "adapter").mkdir(parents=True)
    (folder / "checkpoints" / "checkpoint-2").mkdir(parents=True)
    for name in (
        "config.json",
        "generation_config.json",
        "model-00001-of-00002.safetensors",
        "model-00002-of-00002.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "training.png",
        "optimizer.pt",
        "answers.jsonl",
        "checkpoints/checkpoint-2/model.safetensors",
    ):
        (folder / name).write_text("{}")
    weights = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weights}))
    (folder / "training.json").write_text(json.dumps({"kind": "sft", "base": {"name": "me/base"}}))
    (folder / "README.md").write_text("![loss](training.png)\n")
    return folder


def test_a_model_is_its_weights_tokenizer_facts_and_card(model):
    contents = read_contents(model)
    assert contents.kind == "model"
    assert contents.left_out == ("answers.jsonl", "checkpoints/", "optimizer.pt")
    assert len(contents.files) == 12 and "training.png" in contents.files
    (model / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(OutputError, match=r"model-00002-of-00002\.safetensors is missing"):
        read_contents(model)
    (model / "README.md").unlink()
    with pytest.raises(OutputError, match=r"README\.md is missing: the same gpt4-instruct train command"):
        read_contents(model)
    (model / "training.json").write_text('{"of": "another program"}')
    with pytest.raises(UsageError, match="holds no finished run of this package"):
        read_contents(model)


def test_a_space_is_all_of_its_files_but_what_its_runs_leave(tmp_path):
    folder = tmp_path / "space"
    for name in ("assets", "__pycache__", "votes"):
        (folder / name).mkdir(parents=True)
        (folder / name / "x.txt").write_text("x")
    (folder / "README.md").write_text("---\nsdk: gradio\n---\n")
    (folder / "app.py").write_text("")
    (folder / ".env").write_text("TOKEN=1")
    (tmp_path / "private.txt").write_text("outside")
    (folder / "link.txt").symlink_to(tmp_path / "private.txt")
    contents = read_contents(folder)
    assert (contents.kind, sorted(contents.files)) == ("space", ["app.py", "assets/x.txt"])
    assert contents.left_out == (".env", "__pycache__/", "link.txt", "votes/")


def test_anything_else_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no folder"):
        read_contents(tmp_path / "none")
    (tmp_path / "README.md").write_text("# Only a card\n")
    with pytest.raises(UsageError, match="is nothing that can be published"):
        read_contents(tmp_path)


# --- secrets --------------------------------------------------------------------------------------------------------

PLAIN = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=40)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=PLAIN, after=PLAIN, spelt=st.sampled_from([SECRET, json.dumps(SECRET)[1:-1]]))
def test_a_known_secret_is_found_wherever_it_stands(monkeypatch, tmp_path, before, after, spelt):
    monkeypatch.setenv("MY_API_KEY", SECRET)
    text = f"{before}{spelt}{after}"
    (tmp_path / "a.txt").write_bytes(text.encode())
    for content in (text.encode(), tmp_path / "a.txt"):
        with pytest.raises(UsageError, match="holds the value of MY_API_KEY") as caught:
            check_no_secrets({"clean.md": b"nothing", "a.txt": content})
        assert f"a.txt, line {before.count(chr(10)) + 1}," in str(caught.value)
        assert SECRET not in str(caught.value)
    assert SECRET not in without_secrets(f"{before}{SECRET}{after}")


def test_the_name_of_a_file_is_read_too(monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "Key-0123456789")
    with pytest.raises(UsageError, match=r"the name a/\[redacted\]\.txt holds the value of MY_API_KEY"):
        check_no_secrets({"a/Key-0123456789.txt": b""})


def test_a_value_that_is_no_text_is_looked_for_nowhere(monkeypatch, data):
    monkeypatch.setitem(os.environb, b"MY_API_KEY", b"\xff\xfe0123456789")
    check_no_secrets({"a.md": data / "README.md"})
    assert without_secrets("text") == "text"


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(PLAIN, min_size=1, max_size=9), data=st.data())
def test_and_in_any_column_of_parquet_however_deep(monkeypatch, tmp_path, texts, data):
    import pyarrow
    import pyarrow.parquet

    monkeypatch.setenv("MY_TOKEN", TOKEN)
    row = data.draw(st.integers(0, len(texts) - 1))
    column = data.draw(st.sampled_from(["plain", "listed", "deep"]))
    path = tmp_path / "a.parquet"
    for texts_now, is_clean in (
        (texts, True),
        ([*texts[:row], f"{texts[row]} {TOKEN}", *texts[row + 1 :]], False),
    ):
        columns = {
            "plain": [{"plain": text, "listed": None, "deep": None} for text in texts_now],
            "listed": [{"plain": "", "listed": ["", text], "deep": None} for text in texts_now],
            "deep": [{"plain": "", "listed": None, "deep": [{"response": text, "score": 1.5}]} for text in texts_now],
        }
        types = {"plain": pyarrow.string(), "listed": pyarrow.list_(pyarrow.string())}
        types["deep"] = pyarrow.list_(pyarrow.struct({"response": pyarrow.string(), "score": pyarrow.float64()}))
        table = pyarrow.Table.from_pylist(columns[column], schema=pyarrow.schema(types))
        pyarrow.parquet.write_table(table, path, row_group_size=3)
        if is_clean:
            check_no_secrets({"a.parquet": path})
        else:
            with pytest.raises(
                UsageError, match=f"a.parquet, row {row + 1}, column {column}, holds the value of MY_TOKEN"
            ):
                check_no_secrets({"a.parquet": path})


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("hf_AbCdEfGhIjKlMnOpQrStUvWxYz01234567", True),
        ("sk-proj-4f9A0123456789abcdefXYZ", True),
        ("ghp_16C7e42F292c6912E7710c838347Ae178B4a", True),
        ("AKIAIOSFODNN7EXAMPLE", True),
        ("hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", False),
        ("sk-........................", False),
        ("a task-specific-fine-tuning-method2", False),
        ("the sk-learn-contrib-and-its-friends of all", False),
    ],
)
def test_what_looks_like_a_key_is_found_and_a_placeholder_is_none(text, found):
    if not found:
        check_no_secrets({"README.md": text.encode()})
        return
    with pytest.raises(UsageError, match=r"README\.md, line 1, holds what looks like"):
        check_no_secrets({"README.md": f"Use {text}.".encode()})


def test_words_are_no_secrets(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "EMPTY")
    monkeypatch.setenv("PATH_TO_KEY_FILE", "a/path/of/somebody")
    check_no_secrets({"README.md": b"EMPTY, a/path/of/somebody", "none.txt": b""})
    assert "OPENAI_API_KEY" in os.environ


@pytest.mark.parametrize(
    ("kind", "card", "said"),
    [
        ("dataset", "# No metadata\n", "lacks a licence .* and a section on terms"),
        ("dataset", "---\nlicense: unknown\n---\n## Limits and terms\n", "lacks a licence"),
        ("model", "---\nlicense: mit\n---\n# Model\n\nIts terms.\n", "lacks a section on terms"),
        ("space", "---\nsdk: gradio\n---\n", "lacks a licence"),
        ("dataset", "---\nlicense: cc-by-nc-4.0\n---\n## Limits and terms\n", None),
        ("model", "---\nlicense: other\n---\n## Licence and terms\n", None),
        ("space", "---\nsdk: gradio\nlicense: mit\n---\n", None),
    ],
)
def test_what_a_public_card_must_say(kind, card, said):
    if said is None:
        check_public(kind, card)
        return
    with pytest.raises(UsageError, match=said):
        check_public(kind, card)
