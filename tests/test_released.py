"""The released data as splits, as sources and on cards: as it was released, with nobody asked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard

from gpt4_instruct import (
    English,
    OutputError,
    Replay,
    SourceError,
    UnknownNameError,
    UsageError,
    build,
    estimate,
    load,
)
from gpt4_instruct.prompts.tasks import is_alpaca
from gpt4_instruct.publishing.folder import read_manifest, record_audit
from gpt4_instruct.publishing.show import show
from gpt4_instruct.records import features
from gpt4_instruct.sources.find import open_source
from gpt4_instruct.sources.released import RELEASED
from gpt4_instruct.sources.rows import open_rows
from tests.released_server import contents, release

FILES = contents()
SPLITS = ("english", "chinese", "comparison", "unnatural")


@pytest.fixture(autouse=True)
def files(tmp_path, monkeypatch):
    """A folder that has every released file; returns a function that puts others there."""
    folder = tmp_path / "released"
    folder.mkdir()
    monkeypatch.setenv("GPT4_INSTRUCT_RELEASED_DIR", str(folder))

    def put(**changed):
        """Makes these rows, or else the usual ones, the released files."""
        made = {**FILES, **{name: json.dumps(rows, ensure_ascii=False).encode() for name, rows in changed.items()}}
        release(monkeypatch, made)
        for name, content in made.items():
            (folder / RELEASED[name].file_name).write_bytes(content)

    put()
    return put


@pytest.mark.parametrize("split", SPLITS)
def test_load_gives_the_rows_as_they_were_released(split, tmp_path):
    dataset = load(split)
    assert dataset.features == features(split)
    expected = json.loads(FILES[split])
    found = dataset.to_list()
    metadata = [row.pop("metadata") for row in found]
    assert found == expected, "texts are not stripped"
    model = None if split == "comparison" else "gpt-4"
    assert {each.get("model") for each in metadata} == {model}
    assert [each["id"] for each in metadata] == [f"{split}-{number}" for number in range(1, 31)]
    assert metadata[4]["origin"] == f"released:{split}:5"
    for each in metadata:
        rest = {name: value for name, value in each.items() if name not in {"id", "origin", "model"}}
        assert set(rest.values()) == {None}
    assert not (tmp_path / "home" / "ledger.sqlite3").exists(), "nobody is asked"
    assert load(split, source="released", limit=7).to_list() == dataset.select(range(7)).to_list()


@pytest.mark.parametrize("split", SPLITS)
def test_build_writes_them_with_a_card_that_says_whose_they_are(split, tmp_path):
    out = tmp_path / "out"
    result = build(split, "released", out=out)
    assert (result.rows, result.rejected, result.asked, result.cost_usd) == (30, {}, 0, 0)
    assert load_dataset(str(out), split, split="train").to_list() == load(split).to_list()
    card = DatasetCard.load(out / "README.md")
    assert card.data.license == "cc-by-nc-4.0"
    each = RELEASED[split]
    said = ("research only", "OpenAI's terms of use", "Nothing was filtered", each.repository, each.commit, each.blob,
            f"- {split}: ", "| as released |")  # fmt: skip
    for words in said:
        assert words in card.text, words
    for words in ("temperature", "passed automatic checks", "local:", "{{", "None"):
        assert words not in card.text, words
    entry = read_manifest(out)["configs"][split]
    assert entry["released"]["blob"] == entry["source_fingerprint"] == each.blob
    assert entry["teachers"] == []
    (number, _, (sample,)), *rest = open_rows(out)
    assert (number, sample.id, len(rest)) == (0, f"{split}-1", 29)
    assert sample.language == ("zh" if split == "chinese" else "en")
    show(out)


def test_a_folder_may_hold_released_and_made_splits(tmp_path):
    out = tmp_path / "out"
    build("chinese", "released", out=out)
    task = {"instruction": "Say hi.", "input": "", "output": "Hi."}
    tasks = tmp_path / "tasks.json"
    tasks.write_text(json.dumps([task]))
    build("english", tasks, teacher=Replay([task]), out=out)
    text = (out / "README.md").read_text()
    assert "Every row of english has a `metadata`" in text and "Of chinese, `metadata` holds" in text
    assert "The answers of english were written by a model (`replay`)" in text
    assert "under the terms of their source (tasks.json)" in text
    assert load_dataset(str(out), "english", split="train")["output"][:] == ["Hi."]


ODD = [
    {"instruction": "One.", "input": "", "output": ""},
    {"instruction": ["Two."], "input": "", "output": "?"},
    {"instruction": "Three.", "input": None, "output": "3"},
    {"instruction": "Four.", "input": ""},
    {"instruction": "", "input": " ", "output": "As an AI language model, I cannot."},
    {"instruction": "Six.", "input": "", "output": 6},
    "seven",
    {"instruction": "Eight.", "input": "", "output": "8", "more": 1},
]


def test_only_what_cannot_be_read_is_rejected(files, tmp_path):
    files(english=ODD)
    out = tmp_path / "out"
    result = build("english", "released", out=out)
    rows = load_dataset(str(out), "english", split="train").to_list()
    assert [row["output"] for row in rows] == ["", "3", "As an AI language model, I cannot.", "8"]
    assert [row["input"] for row in rows] == ["", "", " ", ""]
    assert [row["metadata"]["id"] for row in rows] == ["english-1", "english-3", "english-5", "english-8"]
    rejects = [json.loads(line) for line in (out / "rejects" / "english.jsonl").read_text().splitlines()]
    assert [(each["id"], each["reason"]) for each in rejects] == [
        ("english-2", "wrong_type"),
        ("english-4", "missing_field"),
        ("english-6", "wrong_type"),
        ("english-7", "wrong_type"),
    ]
    assert result.rejected == {"wrong_type": 3, "missing_field": 1}
    with pytest.raises(SourceError, match=r"released:english:2: 'instruction' is a list"):
        build("english", "released", out=tmp_path / "strict", strict=True)
    files(english=ODD[1:2])
    assert build("english", "released", out=tmp_path / "none").rows == 0


def test_scores_that_are_no_numbers(files):
    prompt = json.loads(FILES["comparison"])[0]["user_input"]
    scores = [9, 7.5, "9", "8/10", float("nan"), None]
    answers = [{"response": "a", "source": "gpt4", "score": score} for score in scores]
    files(comparison=[{"user_input": prompt, "responses_and_scores": answers}] * 2)
    rows = load("comparison")["responses_and_scores"][:]
    assert [[each["score"] for each in row] for row in rows] == [[9.0, 7.5, 9.0, None, None, None]] * 2


def test_as_many_rows_as_a_table_holds_and_one_more_with_a_bad_one_in_between(files, monkeypatch):
    from gpt4_instruct.sources import columns

    monkeypatch.setattr(columns, "_ROWS_A_BATCH", 10)
    monkeypatch.setattr(columns, "_BATCHES_A_TABLE", 3)
    for count in (29, 30, 31, 60, 61):
        rows = [{"instruction": f"Say {number}.", "input": "", "output": str(number)} for number in range(count)]
        files(english=[*rows[:15], {"output": "x"}, *rows[15:]])
        found = load("english")
        assert found["output"][:] == [str(number) for number in range(count)]
        assert [each["id"] for each in found["metadata"]][14:16] == ["english-15", "english-17"]


def test_with_a_teacher_the_released_instructions_are_answered(tmp_path):
    answers = [{**row, "output": "Another answer."} for row in json.loads(FILES["english"])]
    dataset = load("english", source="released", teacher=Replay(answers), limit=3)
    assert dataset["output"][:] == ["Another answer."] * 3
    assert dataset["instruction"][0] == "Add 0.", "what is asked is stripped"
    assert [each["id"] for each in dataset["metadata"]] == [each["id"] for each in load("english", limit=3)["metadata"]]
    out = tmp_path / "out"
    build("unnatural", "released", teacher=Replay(answers), out=out)
    card = (out / "README.md").read_text()
    assert "passed automatic checks" in card and "instructions of released:unnatural are under [CC BY-NC" in card


def test_other_released_files_are_sources(tmp_path):
    assert len(list(open_source("released:alpaca"))) == 30
    tasks = list(open_source("released:comparison"))
    assert (tasks[3].instruction, tasks[3].id) == ("Say 3.", "comparison-4")
    answers = json.loads(FILES["alpaca"])
    dataset = load("english", source="released:alpaca", teacher=Replay(answers), limit=2)
    assert dataset["metadata"][1]["origin"] == "released:alpaca:2"
    with pytest.raises(UnknownNameError, match="did you mean 'alpaca'"):
        open_source("released:alpacca")
    with pytest.raises(SourceError, match="which released file"):
        open_rows("released")


def test_as_a_builder_and_in_an_estimate():
    builder = English(source="released", limit=5)
    assert builder.stages == []
    assert builder.config_id != English(source="released").config_id
    assert builder.config_id != English(source="released", teacher=Replay(ODD[:1]), limit=5).config_id
    found = estimate("english", source="released", limit=5)
    assert (found.rows, found.stages, found.usd) == (5, [], (0, 0))
    with pytest.raises(UsageError, match="limit"):
        English(source="released", accept=5)
    with pytest.raises(UsageError, match="no use for scorer"):
        English(source="released", scorer="openai:x")


def test_a_change_of_the_file_is_another_cached_dataset(files):
    assert load("english").num_rows == 30
    files(english=json.loads(FILES["english"])[:4])
    assert load("english").num_rows == 4


def test_without_the_file_and_offline_it_is_said_what_else_works(monkeypatch, tmp_path):
    monkeypatch.delenv("GPT4_INSTRUCT_RELEASED_DIR")
    with pytest.raises(SourceError, match=r"HF_HUB_OFFLINE forbids .*GPT4_INSTRUCT_RELEASED_DIR=FOLDER"):
        load("english")
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE"):
        build("english", "released", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_comparisons_prompts_stay_rendered():
    assert all(is_alpaca(prompt) for prompt in load("comparison")["user_input"])


def test_the_real_samples_through_the_released_path(files, shared_data, tmp_path):
    """Rows of the real files, in the place of the released ones."""
    samples = {
        "english": "alpaca_gpt4_en_500.json",
        "chinese": "alpaca_gpt4_zh_500.json",
        "unnatural": "unnatural_gpt4_10.json",
    }
    for split, name in samples.items():
        real = json.loads(Path(shared_data / name).read_text())
        files(**{split: real})
        found = load(split)
        columns = [name for name in found.column_names if name != "metadata"]
        assert found.select_columns(columns).to_list() == [{name: row[name] for name in columns} for row in real]
    lines = (shared_data / "comparison_alpaca_eval_400.jsonl").read_text().splitlines()
    real = [json.loads(line) for line in lines]
    files(comparison=real)
    found = load("comparison").to_list()
    assert [row["user_input"] for row in found] == [row["user_input"] for row in real]
    assert found[0]["responses_and_scores"] == real[0]["responses_and_scores"]


# --- an audit's rates on the card -----------------------------------------------------------------------------------

SUMMARY = {
    "rows": 30,
    "rows_with_findings": 3,
    "checks": {
        "empty": {"severity": "warning", "findings": 2, "rows": 1},
        "refusal": {"severity": "error", "findings": 2, "rows": 2},
        "ties": {"severity": "info", "findings": 0, "rows": 0},
    },
    "package": "0.1.0",
}


def test_an_audits_rates_stand_on_the_card_instead_of_what_is_known(tmp_path):
    out = tmp_path / "out"
    for split in ("english", "chinese"):
        build(split, "released", out=out)
    assert "- english: answers cut off" in (out / "README.md").read_text()
    record_audit(out, "english", SUMMARY)
    text = (out / "README.md").read_text()
    assert "- english: answers cut off" not in text and "- chinese: answers cut off" in text
    assert "english: 3 of 30 rows have a finding (10.00%), by gpt4-instruct 0.1.0." in text
    rows = [line for line in text.splitlines() if line.startswith(("| refusal", "| empty", "| ties"))]
    assert rows == ["| refusal | error | 2 | 6.67% | 2 |", "| empty | warning | 1 | 3.33% | 2 |"]
    assert "Nothing was found by ties." in text
    assert read_manifest(out)["configs"]["english"]["audit"] == SUMMARY
    assert DatasetCard.load(out / "README.md").data.to_dict()["configs"][0]["config_name"] == "chinese"
    assert len(load_dataset(str(out), "english", split="train")) == 30
    # Another audit takes its place; of other rows, it is gone.
    record_audit(out, "english", {**SUMMARY, "rows_with_findings": 0, "checks": {}})
    assert "english: 0 of 30 rows have a finding" in (out / "README.md").read_text()
    build("english", "released", out=out, limit=3, overwrite=True)
    assert "rows have a finding" not in (out / "README.md").read_text()


def test_an_audit_of_what_is_not_there_is_one_line(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        record_audit(tmp_path / "nowhere", "english", SUMMARY)
    build("english", "released", out=tmp_path / "out")
    with pytest.raises(OutputError, match="holds no chinese: it has english"):
        record_audit(tmp_path / "out", "chinese", SUMMARY)
