"""Questions and answers in Chinese: ids stay, failures are told, and the paper's three comparisons can be made."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gpt4_instruct.errors import OutputExistsError, SourceError, UsageError
from gpt4_instruct.evaluation.answers import answer, read_answers, summary_path
from gpt4_instruct.evaluation.judge import judge
from gpt4_instruct.evaluation.judge_run import read_judgements
from gpt4_instruct.evaluation.questions import Question, read_questions
from gpt4_instruct.evaluation.translating import translate
from gpt4_instruct.records import Reject
from tests.endpoint import Reply, error_reply

TEACHER = "openai:gpt-4"
NUMBERS = "零一二三四五六七八九"


def write(file: Path, lines: list[Any]) -> Path:
    file.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in lines), encoding="utf-8")
    return file


def line(number: int, *texts: str | None, **fields: Any) -> dict[str, Any]:
    answers = [{"sample": sample, "text": text} for sample, text in enumerate(texts)]
    question = {"id": f"q{number}", "instruction": f"What is task {number}?", "input": "", "category": "math"}
    return {**question, "reference": None, "teacher": "local:mine", "answers": answers, **fields}


def chinese(text: str) -> str:
    """What the scripted translator makes of an English text: its numbers stay."""
    return "".join(re.findall(r"\d+(?:\.\d)?", text)) and "译文" + "、".join(re.findall(r"\d+(?:\.\d)?", text)) + "。"


def translator(request: dict[str, Any], count: int = 0) -> str | None:
    """The reply to a request for a translation; none to any other."""
    prompt = str(request["messages"][-1]["content"])
    if "two keys" in prompt:
        task = json.loads(prompt[prompt.index("\n{") :])
        return json.dumps({name: chinese(text) for name, text in task.items()}, ensure_ascii=False)
    if "[End of text]" in prompt:
        return chinese(prompt.split("[Text]\n")[1].removesuffix("\n[End of text]"))
    return None


def test_questions_keep_their_ids_and_are_read_as_questions(endpoint, tmp_path):
    endpoint.script = translator
    questions = write(
        tmp_path / "q.jsonl",
        [
            {"question_id": 1, "text": "What is 7?", "category": "math"},
            {"id": "b", "instruction": "Add.", "input": "4 and 5", "output": "It is 9."},
            {"id": "zh", "instruction": "七加一等于几？", "input": ""},
            {"question_id": 4},
        ],
    )
    endpoint.script = lambda request, count: (
        translator(request) if "Add." not in str(request) else '{"instruction": "求和。", "input": "4 与 5"}'
    )
    result = translate(questions, TEACHER, tmp_path / "deep" / "zh.jsonl")
    assert (result.questions, result.answers, result.failed, result.asked) == (3, 0, {"missing_field": 1}, 3)
    _, found = read_questions(result.file)
    assert found[:3] == [
        Question("1", "译文7。", "", "math", None),
        Question("b", "求和。", "4 与 5", None, "译文9。"),
        Question("zh", "七加一等于几？", "", None, None),
    ]
    assert isinstance(found[3], Reject)
    first = json.loads(result.file.read_text(encoding="utf-8").splitlines()[0])
    assert first["english"] == {"instruction": "What is 7?", "input": ""} and len(first["translation"]) == 64
    assert json.loads(summary_path(result.file).read_text())["translator"]["model"] == "gpt-4"
    with pytest.raises(OutputExistsError, match="--overwrite"):
        translate(questions, TEACHER, result.file)
    assert translate(questions, TEACHER, result.file, overwrite=True).asked == 0


def test_answers_are_translated_with_their_questions_and_keep_all_else(endpoint, tmp_path):
    endpoint.script = translator
    source = write(
        tmp_path / "a.jsonl",
        [
            line(1, "It is 5.", None, "", "它是 5。", reference="It is 55."),
            line(2, "```\nprint(6)\n```"),
            {"id": "x", "instruction": "", "input": "", "error": {"reason": "missing_field"}, "answers": []},
        ],
    )
    source.write_text(source.read_text().replace('"sample": 0', '"rank": 1, "reward": 0.5, "sample": 0'))
    endpoint.script = lambda request, count: "print(6)" if "print" in str(request) else translator(request)
    result = translate(source, TEACHER, tmp_path / "zh.jsonl")
    assert (result.questions, result.answers, result.without_chinese) == (2, 3, 1)
    assert (result.asked, result.failed) == (5, {"missing_field": 1})
    one, two, unread = read_answers(result.file)
    assert (one["id"], one["instruction"], one["category"], one["reference"]) == ("q1", "译文1。", "math", "译文55。")
    assert one["english"]["instruction"] == "What is task 1?" and one["teacher"] == "local:mine"
    assert [each["text"] for each in one["answers"]] == ["译文5。", None, "", "它是 5。"]
    kept = one["answers"][0]
    assert (kept["english"], kept["rank"], kept["reward"], kept["sample"]) == ("It is 5.", 1, 0.5, 0)
    assert two["answers"][0]["text"] == "print(6)"
    assert unread["answers"] == [] and unread["error"]["reason"] == "missing_field"


def test_what_is_not_translated_is_told_and_asked_again_on_demand(endpoint, tmp_path):
    source = write(tmp_path / "a.jsonl", [line(k, f"It is 1{k}.") for k in range(5)])
    tries: dict[str, int] = {}

    def script(request, count):
        prompt = str(request["messages"][-1]["content"])
        kind = next((each for each in ("task 0", "task 1", "It is 12", "It is 13") if each in prompt), None)
        tries[kind or ""] = tries.get(kind or "", 0) + 1
        if kind == "task 0":
            return "I will not." if tries[kind] <= 2 else translator(request)
        if kind == "task 1":
            return "译文1。" if tries[kind] == 1 else translator(request)  # not the object that was asked for
        if kind == "It is 12":
            return Reply("译文", finish_reason="length")
        if kind == "It is 13":
            return error_reply(400, "content_policy_violation", "not this one")
        return translator(request)

    endpoint.script = script
    result = translate(source, TEACHER, tmp_path / "zh.jsonl")
    assert result.failed == {"unreadable_translation": 1, "truncated": 1, "request_refused": 1}
    assert (result.questions, result.answers) == (4, 2)
    lines = list(read_answers(result.file))
    assert lines[0]["answers"] == [] and lines[0]["error"]["reason"] == "unreadable_translation"
    assert lines[1]["instruction"] == "译文1。"
    assert lines[2]["answers"][0]["text"] is None and lines[2]["answers"][0]["english"] == "It is 12."
    assert lines[3]["answers"][0]["error"]["reason"] == "request_refused"
    asked = len(endpoint.asked)
    again = translate(source, TEACHER, result.file, retries=2, overwrite=True)
    assert len(endpoint.asked) == asked + 3  # what failed: a third attempt for each of two, and what was refused
    assert (again.failed, again.questions) == ({"truncated": 1, "request_refused": 1}, 5)
    questions = write(tmp_path / "q.jsonl", [{"instruction": "What is task 0?"}, {"instruction": "What is task 4?"}])
    endpoint.script = lambda request, count: "No." if "task 0" in str(request) else translator(request)
    file = translate(questions, "openai:other", tmp_path / "q-zh.jsonl").file
    lost, kept = read_questions(file)[1]
    assert isinstance(lost, Reject) and kept.instruction == "译文4。"  # nobody answers it in English by mistake


def test_the_papers_three_comparisons_in_chinese(endpoint, tmp_path):
    """A model, GPT-4's translated answers and GPT-4's Chinese answers, each of a known worth."""
    worths = {"openai:mine": "5.5", "openai:gpt-4": "8"}

    def script(request, count):
        prompt = str(request["messages"][-1]["content"])
        if "助手 1" in prompt:  # the judge: what is worth most by the numbers; what was written in Chinese loses half
            texts = [prompt.split(f"[助手 {n} 的回答]\n")[1].split("\n[", maxsplit=1)[0] for n in (1, 2)]
            return " ".join(re.findall(r"\d+(?:\.5)?", each)[0] for each in texts) + "\n因为如此。"
        found = translator(request)
        if found is not None:
            return found
        value = worths[f"openai:{request['model']}"]
        return f"我的分是 {float(value) - 0.5:g}。" if "译文" in prompt else f"My worth is {value}."

    endpoint.script = script
    questions = write(tmp_path / "q.jsonl", [{"question_id": k, "text": f"What is {k}?"} for k in range(1, 6)])
    in_chinese = translate(questions, TEACHER, tmp_path / "q-zh.jsonl").file
    files = {}
    for name in ("mine", "gpt-4"):
        english = answer(questions, f"openai:{name}", tmp_path / f"{name}.jsonl").file
        files[name, "translated"] = translate(english, TEACHER, tmp_path / f"{name}-translated.jsonl").file
        files[name, "generated"] = answer(in_chinese, f"openai:{name}", tmp_path / f"{name}-zh.jsonl").file
    expected = {
        ("translated", "generated"): (5.5, 7.5),
        ("translated", "translated"): (5.5, 8.0),
        ("generated", "translated"): (5.0, 8.0),
    }
    for (ours, theirs), (score, baseline) in expected.items():
        out = tmp_path / f"{ours}-{theirs}.jsonl"
        result = judge(files["mine", ours], files["gpt-4", theirs], TEACHER, out)
        assert (result.questions, result.judged, result.warnings) == (5, 5, ())
        relative = result.facts["relative_score"]
        assert (relative["model_sum"], relative["baseline_sum"]) == (5 * score, 5 * baseline)
        assert {each["language"] for each in read_judgements(out)} == {"zh"}
    # The paper's finding has a place, too: GPT-4's translated answers beside those that it wrote in Chinese.
    own = judge(files["gpt-4", "translated"], files["gpt-4", "generated"], TEACHER, tmp_path / "own.jsonl")
    assert own.facts["relative_score"]["percent"] == pytest.approx(100 * 8 / 7.5)


def test_killed_translating_asks_nothing_twice(endpoint, tmp_path):
    source = write(tmp_path / "a.jsonl", [line(k, f"It is {k}.") for k in range(30)])
    endpoint.script = lambda request, count: Reply(translator(request) or "", delay_s=0.02)
    out = tmp_path / "zh.jsonl"
    code = (
        "import sys; from gpt4_instruct.evaluation.translating import translate\n"
        "translate(sys.argv[1], 'openai:m', sys.argv[2], concurrency=4)"
    )
    command = [sys.executable, "-c", code, str(source), str(out)]
    process = subprocess.Popen(command, start_new_session=True)
    while len(endpoint.asked) < 20 and process.poll() is None:
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.1)
    assert not out.exists()
    result = translate(source, "openai:m", out)
    assert (result.questions, result.answers) == (30, 30) and result.reused >= 16
    assert len(endpoint.asked) <= 60 + 4  # what was in flight, and nothing else


def test_what_cannot_be_translated_is_one_line(tmp_path, endpoint):
    for data, options, error, message in (
        ([{"a": 1}], {}, SourceError, "holds no question"),
        (str(tmp_path / "no.jsonl"), {}, SourceError, "does not exist"),
        ([{"instruction": "Hi."}], {"max_tokens": 0}, UsageError, "max_tokens is 0"),
        ([{"instruction": "Hi."}], {"retries": -1}, UsageError, "retries is -1"),
    ):
        with pytest.raises(error, match=message):
            translate(data, TEACHER, tmp_path / "out.jsonl", **options)
    source = write(tmp_path / "a.jsonl", [line(1, "It is 1.")])
    with pytest.raises(UsageError, match="would take the place of"):
        translate(source, TEACHER, source, overwrite=True)
    assert not endpoint.asked
