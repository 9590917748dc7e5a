"""The four splits end to end, over a real socket, to Parquet that `load_dataset` reads."""

from __future__ import annotations

import json
from pathlib import Path

import datasets
import pytest
from datasets import load_dataset

import gpt4_instruct
from gpt4_instruct import (
    Chinese,
    Comparison,
    English,
    IncompleteError,
    OutputError,
    OutputExistsError,
    Replay,
    RunStoppedError,
    SourceError,
    Unnatural,
    UsageError,
    build,
    load,
)
from gpt4_instruct.generation import delays
from gpt4_instruct.prompts.tasks import render_alpaca, render_chinese
from gpt4_instruct.records import features
from tests.endpoint import Reply, error_reply

TASKS = [
    {"instruction": "Name the largest planet.", "input": "", "output": "Jupiter"},
    {"instruction": "Add the numbers.", "input": "1, 2", "output": "3"},
    {"instruction": "Say something short.", "input": "", "output": "Hi"},
]


@pytest.fixture
def tasks(tmp_path):
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps(TASKS))
    return path


def read(folder, split):
    return load_dataset(str(folder), split, split="train").to_list()


def rejects(folder, split):
    return [json.loads(line) for line in (folder / "rejects" / f"{split}.jsonl").read_text().splitlines()]


def test_english(endpoint, tasks, tmp_path):
    endpoint.script = lambda request, count: f" Answer to {len(request['messages'][0]['content'])}. "
    result = build("english", tasks, teacher="openai:gpt-4", out=tmp_path / "out", seed=7, max_tokens=99)
    assert (result.rows, result.rejected, result.asked, result.reused) == (3, {}, 3, 0)
    for request, task in zip(sorted(endpoint.asked, key=str), sorted(TASKS, key=str), strict=True):
        assert {key: value for key, value in request.items() if key != "messages"} == {
            "model": "gpt-4",
            "temperature": 1.0,
            "top_p": 1.0,
            "max_tokens": 99,
            "seed": 7,
        }
        assert request["messages"][0]["role"] == "user", task
    assert {request["messages"][0]["content"] for request in endpoint.asked} == {
        render_alpaca(task["instruction"], task["input"]) for task in TASKS
    }
    rows = read(tmp_path / "out", "english")
    assert [(row["instruction"], row["input"]) for row in rows] == [(t["instruction"], t["input"]) for t in TASKS]
    assert rows[0]["output"] == f"Answer to {len(render_alpaca(TASKS[0]['instruction']))}."
    metadata = rows[1]["metadata"]
    assert len(metadata.pop("request")) == 64
    assert metadata.pop("prompt_tokens") > 0 and metadata.pop("completion_tokens") > 0
    assert metadata == {
        "id": "tasks-1",
        "origin": "tasks.json:1",
        "teacher": "openai:gpt-4",
        "model": "gpt-4-0613",
        "finish_reason": "stop",
        "cut_output": None,
    }


def test_chinese_is_translated_then_answered(endpoint, tasks, tmp_path):
    def script(request, count):
        content = request["messages"][0]["content"]
        if request["model"] == "chatgpt":
            assert request["response_format"]["json_schema"]["schema"]["required"] == ["instruction", "input"]
            task = json.loads(content[content.index("\n\n{") :])
            given = "一，二" if task["input"] else ""
            return json.dumps({"instruction": f"任务：{task['instruction'][:4]}", "input": given}, ensure_ascii=False)
        assert content.startswith("任务：") and "请用简体中文作答" in content
        return "好的，这是回答。"

    endpoint.script = script
    result = build("chinese", tasks, teacher="openai:gpt-4", translator="openai:chatgpt", out=tmp_path / "out")
    assert (result.rows, result.asked) == (3, 6)
    rows = read(tmp_path / "out", "chinese")
    assert (rows[1]["instruction"], rows[1]["input"], rows[1]["output"]) == ("任务：Add", "一，二", "好的，这是回答。")
    assert rows[1]["metadata"]["translator"] == "openai:chatgpt"
    assert rows[1]["metadata"]["translation_request"] != rows[1]["metadata"]["request"]


def test_chinese_that_is_there_is_not_translated(endpoint, tmp_path):
    path = tmp_path / "tasks.jsonl"
    own = {"instruction": "Say hi.", "instruction_zh": "打个招呼。", "input": "", "input_zh": ""}
    path.write_text(json.dumps(own) + "\n" + json.dumps({"instruction": "写一首关于 Python 的诗。"}) + "\n")
    endpoint.script = lambda request, count: "你好，世界。"
    result = build("chinese", path, teacher="openai:gpt-4", translator="openai:never", out=tmp_path / "out")
    assert (result.rows, result.asked) == (2, 2)
    assert {request["model"] for request in endpoint.asked} == {"gpt-4"}
    row = read(tmp_path / "out", "chinese")[0]
    assert row["instruction"] == "打个招呼。"
    assert row["metadata"]["translator"] is None
    assert endpoint.asked[0]["messages"][0]["content"] in {
        render_chinese("打个招呼。"),
        render_chinese("写一首关于 Python 的诗。"),
    }


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("I cannot parse that", "unreadable_translation"),
        ('{"instruction": "加起来。", "input": ""}', "unreadable_translation"),
        ('{"instruction": "Add them.", "input": "1, 2"}', "wrong_language"),
        (Reply('{"instruction": "加起', finish_reason="length"), "truncated"),
    ],
)
def test_a_translation_that_fails_rejects_the_row(endpoint, tmp_path, reply, reason):
    path = tmp_path / "tasks.json"
    path.write_text(json.dumps([TASKS[1]]))
    endpoint.script = lambda request, count: reply
    result = build("chinese", path, teacher="openai:gpt-4", out=tmp_path / "out")
    assert (result.rows, result.rejected) == (0, {reason: 1})
    (reject,) = rejects(tmp_path / "out", "chinese")
    assert (reject["stage"], reject["reason"], reject["instruction"]) == ("translate", reason, "Add the numbers.")
    assert not list((tmp_path / "out").rglob("*.parquet"))
    assert "configs:" not in (tmp_path / "out" / "README.md").read_text()


def test_comparison(endpoint, tasks, tmp_path):
    def script(request, count):
        if request["model"] == "judge":
            assert request["temperature"] == 0.0
            content = request["messages"][0]["content"]
            return json.dumps({"answer": "9" if "from-good" in content else "2"})
        return f"An answer from-{request['model']}."

    endpoint.script = script
    result = build(
        "comparison",
        tasks,
        answers_from=["openai:good", "openai:bad", "openai:good"],
        scorer="openai:judge",
        out=tmp_path / "out",
    )
    assert (result.rows, result.rejected) == (3, {})
    row = read(tmp_path / "out", "comparison")[1]
    assert row["user_input"] == render_alpaca("Add the numbers.", "1, 2")
    assert row["responses_and_scores"] == [
        {"response": "An answer from-good.", "source": "good", "score": 9.0},
        {"response": "An answer from-bad.", "source": "bad", "score": 2.0},
        {"response": "An answer from-good.", "source": "good#2", "score": 9.0},
    ]
    assert [each["teacher"] for each in row["metadata"]["scores"]] == ["openai:judge"] * 3
    # Each answer in a request of its own; the two samples of the same model are two requests of the same content.
    scoring = [request for request in endpoint.asked if request["model"] == "judge"]
    assert all(request["messages"][0]["content"].count("An answer from-") == 1 for request in scoring)
    assert len([request for request in endpoint.asked if request["model"] == "good"]) == 6
    requests = [each["request"] for each in row["metadata"]["answers"]]
    assert len(set(requests)) == 3


def test_teachers_of_one_name_are_kept_apart(endpoint, tasks, tmp_path):
    """The same file name in two folders, and the same model name behind two teachers."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        record = [{**task, "output": f"From {name}."} for task in TASKS]
        (tmp_path / name / "gpt-4").with_suffix(".json").write_text(json.dumps(record))
    records = [f"replay:{tmp_path / name / 'gpt-4.json'}" for name in ("one", "two")]
    endpoint.script = lambda request, count: "5" if request["temperature"] == 0 else "From the endpoint."
    answering = ["openai:gpt-4.json", *records, "openai:gpt-4.json"]
    result = build("comparison", tasks, answers_from=answering, scorer="openai:judge", out=tmp_path / "out")
    assert result.rows == 3
    scored = read(tmp_path / "out", "comparison")[0]["responses_and_scores"]
    assert [(each["source"], each["response"]) for each in scored] == [
        ("openai:gpt-4.json", "From the endpoint."),
        ("replay:gpt-4.json", "From one."),
        ("replay:gpt-4.json#2", "From two."),
        ("openai:gpt-4.json#2", "From the endpoint."),
    ]


def test_a_score_that_cannot_be_read_rejects_the_row(endpoint, tasks, tmp_path):
    endpoint.script = lambda request, count: "11" if request["temperature"] == 0 else "A fine answer."
    result = build("comparison", tasks, teacher="openai:gpt-4", out=tmp_path / "out")
    assert (result.rows, result.rejected) == (0, {"unreadable_score": 3})
    assert rejects(tmp_path / "out", "comparison")[0]["output"] == "11"


def test_unnatural(endpoint, tmp_path):
    path = tmp_path / "core_data.jsonl"
    core = {"instruction": "Is it prime?", "instances": [{"input": "7", "constraints": "None.", "output": "Yes"}]}
    path.write_text(json.dumps(core) + "\n" + json.dumps({"instruction": "No label here."}) + "\n")
    endpoint.script = lambda request, count: "Yes."
    result = build("unnatural", path, teacher="openai:gpt-4", out=tmp_path / "out")
    assert (result.rows, result.rejected, result.asked) == (1, {"no_label": 1}, 1)
    (row,) = read(tmp_path / "out", "unnatural")
    assert {key: row[key] for key in ("instruction", "input", "output", "label")} == {
        "instruction": "Is it prime?",
        "input": "7",
        "output": "Yes.",
        "label": "Yes",
    }


def test_every_kind_of_bad_answer_is_rejected_with_its_reason(endpoint, tmp_path):
    replies = {
        "fine": Reply("All is well."),
        "empty": Reply("  "),
        "refusal": Reply("As an AI language model, I cannot do that."),
        "truncated": Reply("It goes on and", finish_reason="length"),
        "wrong_language": Reply("这是一个中文的回答。"),
        "too_long": error_reply(400, "context_length_exceeded"),
        "request_refused": error_reply(422, None, "bad request"),
    }
    path = tmp_path / "tasks.jsonl"
    path.write_text("".join(json.dumps({"instruction": f"Task {name}."}) + "\n" for name in replies) + "{broken\n")
    endpoint.script = lambda request, count: next(
        reply for name, reply in replies.items() if f"Task {name}." in request["messages"][0]["content"]
    )
    result = build("english", path, teacher="openai:gpt-4", out=tmp_path / "out")
    assert result.rows == 1
    written = rejects(tmp_path / "out", "english")
    assert [(each["reason"], each["origin"]) for each in written] == [
        (name, f"tasks.jsonl:{line}") for line, name in enumerate([*replies, "unreadable"], start=1) if name != "fine"
    ]
    assert all(each["detail"] for each in written)
    assert written[1]["output"].startswith("As an AI")
    assert result.rejected == {each["reason"]: 1 for each in written}


def test_a_folder_takes_one_split_after_another(endpoint, tasks, tmp_path):
    out = tmp_path / "out"
    endpoint.script = lambda request, count: "8" if request["temperature"] == 0 else "A fine answer."
    for split in ("english", "unnatural", "comparison"):
        build(split, tasks, teacher="openai:gpt-4", out=out)
    assert datasets.get_dataset_config_names(str(out)) == ["comparison", "english", "unnatural"]
    for split in ("english", "unnatural", "comparison"):
        streamed = list(load_dataset(str(out), split, split="train", streaming=True))
        loaded = load_dataset(str(out), split, split="train")
        assert streamed == loaded.to_list()
        assert loaded.features == features(split)
        assert len(loaded) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "out", "tasks.json"], (
        "nothing is left beside it"
    )


def test_an_odd_output_folder_is_used_in_place(tasks, tmp_path, monkeypatch):
    """The current folder, a link to a folder, a path with dots, and a name in Chinese."""
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    build("english", tasks, teacher=Replay(TASKS), out=".")
    assert sorted(path.name for path in Path().iterdir()) == ["README.md", "english", "manifest.json", "rejects"]
    (tmp_path / "target").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "target")
    for out in (tmp_path / "link", tmp_path / "target" / ".." / "target", tmp_path / "数据"):
        build("english", tasks, teacher=Replay(TASKS), out=out, overwrite=True)
        assert len(read(out, "english")) == 3
    assert (tmp_path / "link").is_symlink()


def test_a_split_of_no_rows_may_be_built_again(tasks, tmp_path):
    assert build("english", tasks, teacher=Replay([{"prompt": "p", "output": "x"}]), out=tmp_path / "out").rows == 0
    assert build("english", tasks, teacher=Replay(TASKS), out=tmp_path / "out").rows == 3


def test_nothing_is_overwritten_unasked(endpoint, tasks, tmp_path):
    out = tmp_path / "out"
    build("english", tasks, teacher="openai:gpt-4", out=out)
    build("unnatural", tasks, teacher="openai:gpt-4", out=out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(OutputExistsError, match="--overwrite"):
        build("english", tasks, teacher="openai:other", out=out)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    (out / "notes.txt").write_text("mine")
    result = build("english", tasks, teacher="openai:other", limit=1, out=out, overwrite=True)
    assert result.rows == 1
    assert read(out, "english")[0]["metadata"]["teacher"] == "openai:other"
    assert len(read(out, "unnatural")) == 3
    assert (out / "notes.txt").read_text() == "mine"


def test_a_folder_that_is_not_ours_is_left_alone(tasks, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="not empty"):
            build("english", tasks, teacher=Replay(TASKS), out=tmp_path / "thesis", overwrite=overwrite)
    with pytest.raises(OutputError, match="is a file"):
        build("english", tasks, teacher=Replay(TASKS), out=tasks)
    assert [path.name for path in (tmp_path / "thesis").iterdir()] == ["chapter.tex"]


def test_a_failed_run_leaves_nothing_and_goes_on_from_the_ledger(endpoint, tasks, tmp_path, monkeypatch):
    monkeypatch.setattr(delays, "FIRST_DELAY_S", 0.01)
    fail = True

    def script(request, count):
        return error_reply(500, None) if fail and "planet" in request["messages"][0]["content"] else "Fine."

    endpoint.script = script
    with pytest.raises(IncompleteError, match="1 of 3 rows"):
        build("english", tasks, teacher="openai:gpt-4", out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    fail = False
    result = build("english", tasks, teacher="openai:gpt-4", out=tmp_path / "out")
    assert (result.rows, result.asked, result.reused) == (3, 1, 2)
    assert set(endpoint.billed.values()) == {1}


def test_a_wrong_key_is_one_line_and_nothing_is_written(endpoint, tasks, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-wrong-and-secret")
    with pytest.raises(RunStoppedError) as caught:
        build("english", tasks, teacher="openai:gpt-4", out=tmp_path / "out")
    assert "401" in str(caught.value) and "\n" not in str(caught.value)
    assert "sk-wrong-and-secret" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    ledger = (tmp_path / "home" / "ledger.sqlite3").read_bytes()
    wal = tmp_path / "home" / "ledger.sqlite3-wal"
    assert b"sk-wrong" not in ledger + (wal.read_bytes() if wal.exists() else b"")


def test_strict_stops_at_the_first_unusable_row(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"instruction": "fine"}\n{"input": "no instruction"}\n')
    with pytest.raises(SourceError, match="no_label"):
        build("unnatural", path, teacher=Replay([{"prompt": "p", "output": "x"}]), out=tmp_path / "out", strict=True)
    with pytest.raises(SourceError, match=r"tasks\.jsonl:2: no 'instruction'"):
        build(
            "english", path, teacher=Replay([{"instruction": "fine", "output": "x"}]), out=tmp_path / "out", strict=True
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("split", "options", "says"),
    [
        ("english", {"scorer": "openai:x"}, "no use for scorer"),
        ("chinese", {"answers_from": ["openai:x", "openai:y"]}, "no use for answers_from"),
        ("comparison", {"answers_from": ["openai:x"]}, "at least two"),
        ("english", {"limit": 0}, "limit is 0"),
        ("english", {"temperature": 3.0}, "temperature"),
        ("english", {"top_p": 0.0}, "top_p"),
        ("english", {"max_tokens": -1}, "max_tokens"),
        ("englsh", {}, "did you mean 'english'"),
        ("base", {}, "unknown split"),
        ("english", {"teacher": "opnai:gpt-4"}, "did you mean 'openai'"),
        ("english", {"teacher": "replay:nowhere.json"}, "cannot replay"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_asked(endpoint, tasks, tmp_path, split, options, says):
    with pytest.raises(UsageError, match=says) as caught:
        build(split, tasks, **{"teacher": "openai:gpt-4", "out": tmp_path / "out", **options})
    assert "\n" not in str(caught.value)
    assert not endpoint.asked and not (tmp_path / "out").exists()


# --- as datasets builders --------------------------------------------------------------------------------------------


def test_a_split_is_a_builder(endpoint, tasks, tmp_path):
    endpoint.script = lambda request, count: "A fine answer."
    builder = English(source=tasks, teacher="openai:gpt-4", cache_dir=str(tmp_path / "cache"))
    assert isinstance(builder, datasets.DatasetBuilder)
    builder.download_and_prepare()
    assert builder.as_dataset(split="train")["output"][:] == ["A fine answer."] * 3
    again = English(source=tasks, teacher="openai:gpt-4", cache_dir=str(tmp_path / "cache"))
    again.download_and_prepare()
    assert len(endpoint.asked) == 3
    assert again.info.features == features("english")
    facts = json.loads(next((tmp_path / "cache").rglob("facts.json")).read_text())
    assert (facts["rows"], facts["asked"]) == (3, 3)


def test_load_is_the_short_form(tasks):
    dataset = load("unnatural", source=tasks, teacher=Replay(TASKS), limit=2)
    assert dataset["label"][:] == dataset["output"][:] == ["Jupiter", "3"]


def test_the_config_id_covers_all_that_changes_the_rows(tasks, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "k")

    def config_id(split=English, source=tasks, **options):
        return split(
            source=source, **{"teacher": "openai:gpt-4", "cache_dir": str(tmp_path / "cache"), **options}
        ).config_id

    changed = tmp_path / "other" / "tasks.json"
    changed.parent.mkdir()
    changed.write_text(json.dumps(TASKS[:2]))
    same = tmp_path / "same" / "tasks.json"
    same.parent.mkdir()
    same.write_text(tasks.read_text())
    base = config_id()
    assert base == config_id() == config_id(source=same) == config_id(ledger="elsewhere", concurrency=3)
    variants = [
        config_id(source=changed),
        config_id(teacher="openai:gpt-4o"),
        config_id(limit=2),
        config_id(seed=1),
        config_id(max_tokens=9),
        config_id(temperature=0.0),
        config_id(top_p=0.5),
        config_id(Unnatural),
        config_id(Chinese),
        config_id(Chinese, translator="openai:x"),
        config_id(Comparison),
        config_id(Comparison, scorer="openai:x"),
        config_id(Comparison, answers_from=("openai:x", "openai:y")),
        config_id(Comparison, answers_from=("openai:y", "openai:x")),
        config_id(Comparison, answers_from=("openai:x", Replay(TASKS))),
        config_id(Comparison, answers_from=("openai:x", Replay(TASKS[:2]))),
    ]
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/v1")
    variants.append(config_id())
    monkeypatch.setattr("gpt4_instruct.splits.base._code_fingerprint", lambda split: "another prompt")
    variants.append(config_id())
    monkeypatch.setattr(gpt4_instruct, "__version__", "99")
    variants.append(config_id())
    assert len({base, *variants}) == 1 + len(variants)


def test_an_unknown_option_of_a_builder_is_named():
    with pytest.raises(UsageError, match="techer"):
        English(techer="openai:gpt-4")


# --- the real samples ------------------------------------------------------------------------------------------------


def test_the_released_rows_through_their_own_answers(shared_data, tmp_path):
    out = tmp_path / "out"
    for split, name, least in (("english", "alpaca_gpt4_en_500", 480), ("chinese", "alpaca_gpt4_zh_500", 455)):
        path = shared_data / f"{name}.json"
        released = {
            (row["instruction"].strip(), row["input"].strip()): row["output"].strip()
            for row in json.loads(path.read_text())
        }
        result = build(split, path, teacher=f"replay:{path}", out=out)
        assert result.rows >= least
        assert result.rows + sum(result.rejected.values()) == 500
        for row in read(out, split):
            assert released[row["instruction"], row["input"]] == row["output"]
    result = build(
        "unnatural",
        shared_data / "unnatural_gpt4_10.json",
        teacher=f"replay:{shared_data / 'unnatural_gpt4_10.json'}",
        out=out,
    )
    assert (result.rows, result.rejected) == (9, {"empty": 1})


# --- truncation, and as many rows as are wanted ---------------------------------------------------------------------


def cut_at(limit):
    """An endpoint whose answer to the second task is cut off where there is room for fewer than `limit` tokens."""

    def script(request, count):
        cut = "Add the numbers" in request["messages"][0]["content"] and request["max_tokens"] < limit
        return Reply("The first half of" if cut else "A whole answer.", finish_reason="length" if cut else "stop")

    return script


def test_a_cut_answer_is_rejected_kept_or_asked_for_again(endpoint, tasks, tmp_path):
    endpoint.script = cut_at(200)
    options = {"source": tasks, "teacher": "openai:m", "max_tokens": 64}
    result = build("english", out=tmp_path / "reject", **options)
    assert (result.rows, result.rejected) == (2, {"truncated": 1})
    result = build("english", out=tmp_path / "keep", on_truncation="keep", **options)
    assert (result.rows, result.rejected, result.asked) == (3, {}, 0)
    kept = read(tmp_path / "keep", "english")[1]
    assert (kept["output"], kept["metadata"]["finish_reason"]) == ("The first half of", "length")
    result = build("english", out=tmp_path / "extend", on_truncation="extend", **options)
    assert (result.rows, result.rejected, result.asked, result.extended) == (3, {}, 1, 1)
    longer = read(tmp_path / "extend", "english")[1]
    assert (longer["output"], longer["metadata"]["finish_reason"]) == ("A whole answer.", "stop")
    assert longer["metadata"]["cut_output"] == "The first half of"
    assert [each["metadata"]["cut_output"] for each in read(tmp_path / "extend", "english")][::2] == [None, None]
    assert [each["max_tokens"] for each in endpoint.asked] == [64, 64, 64, 256]


def test_an_answer_that_is_cut_twice_is_rejected(endpoint, tasks, tmp_path):
    endpoint.script = cut_at(10_000)
    result = build("english", tasks, teacher="openai:m", out=tmp_path / "out", on_truncation="extend", max_tokens=64)
    assert result.rejected == {"truncated": 1}
    with pytest.raises(UsageError, match="reject, keep, extend"):
        build("english", tasks, teacher="openai:m", out=tmp_path / "other", on_truncation="guess")


def test_more_room_than_the_model_has_rejects_the_row_and_no_more(endpoint, tasks, tmp_path):
    def script(request, count):
        if request["max_tokens"] > 64:
            return error_reply(400, None, "max_tokens is too large")
        return cut_at(65)(request, count)

    endpoint.script = script
    result = build("english", tasks, teacher="openai:m", out=tmp_path / "out", on_truncation="extend", max_tokens=64)
    assert (result.rows, result.rejected) == (2, {"truncated": 1})


def test_a_translation_that_is_cut_off_is_extended_too(endpoint, tasks, tmp_path):
    def script(request, count):
        if "response_format" not in request:
            return "好的。"
        if request["max_tokens"] == 2048:
            return Reply('{"instruction": "说', finish_reason="length")
        return json.dumps({"instruction": "说点什么。", "input": ""}, ensure_ascii=False)

    endpoint.script = script
    result = build("chinese", tasks, teacher="openai:m", out=tmp_path / "out", on_truncation="extend", limit=1)
    assert (result.rows, result.extended) == (1, 1)


@pytest.fixture
def many(tmp_path):
    path = tmp_path / "many.json"
    path.write_text(json.dumps([{"instruction": f"Do thing number {n}.", "input": ""} for n in range(200)]))
    return path


def unlucky(request, count):
    """Every third row is refused, and answers come in any order."""
    number = int(request["messages"][0]["content"].split("number ")[1].split(".")[0])
    return Reply(
        "As an AI language model, I cannot." if number % 3 == 0 else "Fine.", delay_s=(number * 7919 % 13) / 500
    )


@pytest.mark.parametrize("concurrency", [1, 3, 64])
def test_so_many_accepted_rows_and_no_request_more_than_they_take(endpoint, many, tmp_path, concurrency):
    endpoint.script = unlucky
    result = build("english", many, teacher="openai:m", out=tmp_path / "out", accept=20, concurrency=concurrency)
    # Rows 0 to 29: ten of them refused, the last one accepted.
    assert (result.rows, result.rejected) == (20, {"refusal": 10})
    assert len(endpoint.asked) == 30
    found = [row["instruction"] for row in read(tmp_path / "out", "english")]
    assert found == [f"Do thing number {n}." for n in range(30) if n % 3]


def test_a_source_that_is_dry_gives_what_it_has(endpoint, tasks, tmp_path):
    endpoint.script = lambda request, count: "Fine."
    result = build("english", tasks, teacher="openai:m", out=tmp_path / "out", accept=50)
    assert result.rows == 3
    with pytest.raises(UsageError, match="accept is 0"):
        build("english", tasks, teacher="openai:m", out=tmp_path / "out2", accept=0)


def test_accept_does_not_count_what_the_source_spoils(endpoint, tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text('{"instruction": 7}\n{"instruction": "One."}\n{"input": ""}\n{"instruction": "Two."}\n{"no": 1}\n')
    endpoint.script = lambda request, count: "Fine."
    result = build("english", path, teacher="openai:m", out=tmp_path / "out", accept=2)
    assert (result.rows, sum(result.rejected.values()), len(endpoint.asked)) == (2, 2, 2)


def test_a_failure_while_rows_wait_to_be_let_in_ends_the_run(endpoint, many, tmp_path):
    endpoint.script = lambda request, count: error_reply(401, "invalid_api_key", delay_s=0.05)
    with pytest.raises(RunStoppedError, match="invalid_api_key"):
        build("english", many, teacher="openai:m", out=tmp_path / "out", accept=2)
    assert len(endpoint.asked) <= 2


def test_one_row_without_an_answer_does_not_send_for_another(endpoint, many, tmp_path, monkeypatch):
    monkeypatch.setattr(delays, "FIRST_DELAY_S", 0.001)
    endpoint.script = lambda request, count: error_reply(500, None) if "number 1." in str(request) else "Fine."
    with pytest.raises(IncompleteError, match="1 of 5 rows"):
        build("english", many, teacher="openai:m", out=tmp_path / "out", accept=5)
    assert len(endpoint.billed) == 4
