"""Answers to questions: n of them, drawn anew and found again, from models here and at an endpoint."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest

from gpt4_instruct.errors import (
    IncompleteError,
    OutputError,
    OutputExistsError,
    SourceError,
    UnknownNameError,
    UsageError,
)
from gpt4_instruct.evaluation.answers import answer, read_answers, render_question, summary_path, teacher_spec
from gpt4_instruct.evaluation.questions import Question, read_questions
from gpt4_instruct.generation import batches, delays
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.prompts.tasks import render_alpaca
from gpt4_instruct.records import Message, Reject, Request
from tests.endpoint import Endpoint, Reply, error_reply
from tests.faults import FaultyEndpoint
from tests.forks import Forked
from tests.tiny import needs_training, tiny_model, tiny_tokenizer

needs_local = pytest.mark.skipif(
    not all(map(find_spec, ("torch", "transformers", "llguidance", "gguf"))), reason="pip install '.[local]'"
)

QUESTIONS = [
    {"question_id": 1, "text": "How do I sleep better?", "category": "generic"},
    {"question_id": 2, "text": "木星有多大？", "category": "knowledge"},
    {"id": "zh", "instruction": "把这句话改成问句。", "input": "他会来。", "output": "他会来吗？"},
]


def write(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return write(tmp_path / "questions.jsonl", QUESTIONS)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A random model without a chat template, as it is saved after tuning, with a chat's template, and with a head."""
    from transformers import AutoModelForSequenceClassification

    from gpt4_instruct.training.loading import use_template

    folder = tmp_path_factory.mktemp("models")
    found = {name: tiny_model(folder / name) for name in ("plain", "tuned", "chatty")}
    tokenizer = tiny_tokenizer()
    use_template(tokenizer, "alpaca")
    tokenizer.save_pretrained(found["tuned"])
    tokenizer.chat_template = (
        "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}\n{% endfor %}<|assistant|>\n"
    )
    tokenizer.save_pretrained(found["chatty"])
    found["reward"] = folder / "reward"
    head = AutoModelForSequenceClassification.from_pretrained(found["plain"], num_labels=1)
    head.save_pretrained(found["reward"])
    tokenizer.save_pretrained(found["reward"])
    return found


# --- questions ------------------------------------------------------------------------------------------------------


def test_questions_of_several_shapes_keep_their_ids_categories_and_references(questions):
    name, found = read_questions(questions)
    assert name == "questions.jsonl"
    assert found == [
        Question("1", "How do I sleep better?", "", "generic", None),
        Question("2", "木星有多大？", "", "knowledge", None),
        Question("zh", "把这句话改成问句。", "他会来。", None, "他会来吗？"),
    ]
    row = {
        "id": "user_oriented_task_3",
        "motivation_app": "Gmail",
        "instruction": "Make it formal.",
        "instances": [{"input": "Hi!", "output": "Dear Sir,"}],
    }
    assert read_questions([row])[1] == [
        Question("user_oriented_task_3", "Make it formal.", "Hi!", "Gmail", "Dear Sir,")
    ]


def test_rows_without_a_question_keep_their_place_and_ids_are_distinct():
    rows = [{"id": "a", "instruction": "One."}, {"id": "a", "instruction": "Two."}, {"id": "b", "instruction": " "}]
    _, (one, two, empty, unread) = read_questions([*rows, {"question_id": 4}])
    assert (one.id, two.id) == ("a", "a-2")
    assert isinstance(empty, Reject) and empty.reason == "empty_instruction"
    assert isinstance(unread, Reject) and unread.reason == "missing_field"
    assert len(read_questions(rows, limit=1)[1]) == 1
    with pytest.raises(SourceError, match=r"rows holds no question \(1 missing_field\)"):
        read_questions([{"a": 1}])


def test_the_real_files_are_read_as_they_are(shared_data):
    _, vicuna = read_questions(shared_data / "vicuna_question_80.jsonl")
    assert len(vicuna) == 80 and len({each.category for each in vicuna}) == 9
    assert [each.id for each in vicuna] == [str(number) for number in range(1, 81)]
    _, others = read_questions(shared_data / "user_oriented_instructions_252.jsonl")
    assert len(others) == 252 and all(isinstance(each, Question) and each.category for each in others)
    assert sum(bool(each.input) for each in others) > 100


# --- how a model is asked -------------------------------------------------------------------------------------------


@needs_local
@pytest.mark.parametrize(("name", "form"), [("plain", "alpaca"), ("tuned", "alpaca"), ("chatty", "chat")])
def test_a_model_here_is_asked_in_the_form_it_knows(models, questions, tmp_path, name, form):
    out = tmp_path / "answers.jsonl"
    result = answer(questions, str(models[name]), out, max_tokens=2)
    assert result.template == form
    ledger = Ledger(tmp_path / "home" / "ledger.sqlite3")
    asked = [Request.from_json(text) for (text,) in ledger._db.execute("SELECT request FROM requests")]
    ledger.close()
    assert {each.messages[-1].content for each in asked} == {
        render_question(each.instruction, each.input, form) for each in read_questions(questions)[1]
    }
    assert (render_alpaca("把这句话改成问句。", "他会来。") in {each.messages[0].content for each in asked}) == (
        form == "alpaca"
    )


@needs_local
@pytest.mark.parametrize("family", ["llama", "opt", "qwen2"])
def test_a_tuned_model_reads_the_alpaca_prompt_byte_for_byte(tmp_path, family):
    """Through its chat template, as through none: the very tokens that it was tuned on."""
    from gpt4_instruct.teachers.local import _load, _Waiting
    from gpt4_instruct.training.loading import use_template
    from gpt4_instruct.training.tokens import Encoder

    folder = tiny_model(tmp_path / "tuned", family)
    tokenizer = tiny_tokenizer(family)
    use_template(tokenizer, "alpaca")
    tokenizer.save_pretrained(folder)
    model = _load(f"tuned-{family}", folder)
    for task in (
        ("Say hi.", ""),
        ("把这句话改成问句。", "他会来。\n{他们}呢？ "),
        (" Braces {input}\n", "### Input:"),
        ("What do </s> and <|endoftext|> mean?", "<s>"),
    ):
        prompt = render_question(*task, "alpaca")
        assert prompt == render_alpaca(*task)
        (learnt,) = Encoder(tiny_tokenizer(family)).encode([(prompt, "Hi.")])
        for template in (None, tokenizer.chat_template):
            model.tokenizer.chat_template = template
            waiting = _Waiting(
                Request("local", "m", (Message("user", prompt),), {"max_tokens": 1}),
                asyncio.Future(loop=asyncio.new_event_loop()),
            )
            model.prepare(waiting)
            assert waiting.prompt == learnt.ids[: learnt.prompt]
        text = tokenizer.decode(waiting.prompt, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert text == prompt


@needs_local
def test_a_served_folder_is_asked_as_that_folder(models, questions, tmp_path, endpoint):
    for name, form in (("tuned", "alpaca"), ("chatty", "chat")):
        assert answer(questions, f"openai:{models[name]}", tmp_path / f"{name}.jsonl").template == form
    assert answer(questions, "openai:gpt-4", tmp_path / "gpt-4.jsonl").template == "chat"
    prompts = [each["messages"][-1]["content"] for each in endpoint.asked]
    assert prompts.count("把这句话改成问句。\n\n他会来。") == 2
    assert prompts.count(render_alpaca("把这句话改成问句。", "他会来。")) == 1


def test_what_names_a_model_here(tmp_path):
    (tmp_path / "a:b").mkdir()
    assert teacher_spec(str(tmp_path)) == f"local:{tmp_path}"
    assert teacher_spec(str(tmp_path / "a:b")) == f"local:{tmp_path}/a:b"
    assert teacher_spec("org/name") == "local:org/name"
    assert teacher_spec("openai:gpt-4") == "openai:gpt-4"


# --- n answers ------------------------------------------------------------------------------------------------------


@needs_local
def test_local_answers_differ_and_are_found_again(models, questions, tmp_path):
    def texts(out: str, **options) -> list[list[str]]:
        result = answer(questions, str(models["tuned"]), tmp_path / out, max_tokens=8, **options)
        return [[each["text"] for each in line["answers"]] for line in read_answers(result.file)]

    first = texts("a.jsonl", n=3)
    assert all(len(set(each)) == 3 for each in first)
    again = texts("b.jsonl", n=3, ledger=tmp_path / "other.sqlite3")
    assert again == first
    result = answer(questions, str(models["tuned"]), tmp_path / "c.jsonl", max_tokens=8, n=5)
    assert (result.asked, result.reused) == (6, 9)
    assert [[each["text"] for each in line["answers"]][:3] for line in read_answers(result.file)] == first
    other = texts("d.jsonl", n=3, seed=7)
    assert not any(set(a) & set(b) for a, b in zip(first, other, strict=True))


def test_the_command_asks_a_set_by_its_name(endpoint, tmp_path):
    from typer.testing import CliRunner

    from gpt4_instruct.cli.app import app

    endpoint.script = lambda request, count: "Fine."
    command = ["answer", "--questions", "small-zh", "--model", "openai:m", "--n", "2", "--limit", "3"]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "answers.jsonl")])
    assert done.exit_code == 0, done.output
    assert "3 questions, 6 answers, 0 of them cut off; 6 requests sent" in done.output
    lines = list(read_answers(tmp_path / "answers.jsonl"))
    assert [each["id"] for each in lines] == ["small-01", "small-02", "small-03"] and "盆栽" in lines[0]["instruction"]


def test_an_endpoint_gets_a_seed_for_each_answer_and_what_it_refuses_is_kept(endpoint, tmp_path):
    def script(request, count):
        text = request["messages"][-1]["content"]
        if "sleep" in text and request["seed"] == 11:
            return error_reply(400, "content_policy_violation", "not this one")
        return Reply(f"{text} {request['seed']}", finish_reason="length" if request["seed"] == 10 else "stop")

    endpoint.script = script
    questions = write(tmp_path / "q.jsonl", [*QUESTIONS, {"question_id": 9}])
    result = answer(questions, "openai:gpt-4", tmp_path / "deep" / "answers.jsonl", n=3, seed=10)
    assert (result.questions, result.answers, result.cut_off) == (3, 8, 3)
    assert (result.rejected, result.refused) == ({"missing_field": 1}, {"refusal": 1})
    first, second, third, last = read_answers(result.file)
    assert first["category"] == "generic" and second["category"] == "knowledge" and "category" not in third
    assert third["reference"] == "他会来吗？" and third["teacher"] == "openai:gpt-4"
    assert [each["text"] for each in second["answers"]] == [f"木星有多大？ {seed}" for seed in (10, 11, 12)]
    assert [each["sample"] for each in second["answers"]] == [0, 1, 2]
    assert second["answers"][0]["finish_reason"] == "length"
    assert first["answers"][1]["text"] is None and first["answers"][1]["error"]["reason"] == "refusal"
    assert last["answers"] == [] and last["error"]["reason"] == "missing_field"
    assert "木星有多大？" in result.file.read_text(encoding="utf-8")  # not as escapes
    summary = json.loads(summary_path(result.file).read_text())
    assert summary["sampling"]["seed"] == 10 and summary["answers"] == 8 and summary["questions_from"] == "q.jsonl"

    asked = len(endpoint.asked)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        answer(questions, "openai:gpt-4", result.file, n=3, seed=10)
    before = result.file.read_bytes()
    again = answer(questions, "openai:gpt-4", result.file, n=3, seed=10, overwrite=True)
    assert (again.asked, again.reused) == (0, 8) and len(endpoint.asked) == asked + 1  # what was refused
    assert result.file.read_bytes() == before


def test_answers_that_do_not_come_leave_no_file_and_the_others_are_kept(endpoint, questions, tmp_path, monkeypatch):
    monkeypatch.setattr(delays, "FIRST_DELAY_S", 0.001)
    endpoint.script = lambda request, count: Reply(status=500) if "木星" in str(request["messages"]) else "Fine."
    with pytest.raises(IncompleteError, match=r"2 answers have not come \(last: .*500.*run the same command again"):
        answer(questions, "openai:m", tmp_path / "answers.jsonl", n=2)
    assert not list(tmp_path.glob("*answers*"))
    endpoint.script = lambda request, count: "Fine."
    result = answer(questions, "openai:m", tmp_path / "answers.jsonl", n=2)
    assert (result.asked, result.reused) == (2, 4)


def test_nothing_is_asked_where_the_answers_could_not_be_written(endpoint, questions, tmp_path):
    with pytest.raises(OutputError, match=r"cannot write .*x\.jsonl"):
        answer(questions, "openai:m", questions / "x.jsonl")
    for length in (240, 300):
        with pytest.raises(OutputError, match=r"cannot write .*File name too long"):
            answer(questions, "openai:m", tmp_path / ("x" * length))
    with pytest.raises(UsageError, match="holds the questions"):
        answer(questions, "openai:m", questions, overwrite=True)
    for name in ("a.json", "a.summary.json"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(OutputExistsError, match=r"a\.summary\.json is there already"):  # of a.json
        answer(questions, "openai:m", tmp_path / "a.jsonl")
    assert (tmp_path / "a.summary.json").read_text() == "{}"
    assert not endpoint.asked


def test_batches_answer_too(questions, tmp_path, monkeypatch):
    monkeypatch.setattr(delays, "FIRST_DELAY_S", 0.01)
    for name in ("_FIRST_POLL_S", "_OTHERS_S", "_FULL_S"):
        monkeypatch.setattr(batches, name, 0.03)
    with FaultyEndpoint(refused_share=0.0, length_share=0.0, batch_s=0.05) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        result = answer(questions, "openai-batch:m", tmp_path / "answers.jsonl", n=2)
        assert (result.answers, result.asked, len(server.batches)) == (6, 6, 1)
        assert answer(questions, "openai:m", tmp_path / "other.jsonl", n=2).reused == 6


# --- the end of a run -----------------------------------------------------------------------------------------------


def _answers() -> None:
    answer(sys.argv[1], "openai:m", sys.argv[2], n=4, concurrency=4, ledger=sys.argv[3])


def test_killed_again_and_again_the_file_is_the_same_and_nothing_is_asked_twice(endpoint: Endpoint, tmp_path):
    questions = write(tmp_path / "q.jsonl", [{"instruction": f"任务 {number}"} for number in range(40)])
    endpoint.script = lambda request, count: Reply(f"答 {request['messages'][0]['content']}", delay_s=0.01)
    out = tmp_path / "answers.jsonl"

    def start(out: Path, ledger: Path) -> Forked:
        return Forked(_answers, [questions, out, ledger])

    rng, kills = random.Random(0), 0
    while True:
        process, wanted = start(out, tmp_path / "one.sqlite3"), len(endpoint.asked) + rng.randrange(20, 60)
        while len(endpoint.asked) < wanted and process.poll() is None:
            time.sleep(0.005)
        if process.poll() is not None:
            break
        process.kill()
        kills += 1
        time.sleep(0.1)  # the endpoint finishes what was in flight
        assert not out.exists(), "nothing half-written"
    done = process.finish()
    assert done.returncode == 0, done.stderr
    assert kills >= 2
    ledger = Ledger(tmp_path / "one.sqlite3")
    assert ledger.counts() == {"settled": 160}
    attempts = Counter(dict(ledger._db.execute("SELECT attempts, count(*) FROM requests GROUP BY attempts")))
    ledger.close()
    lost = sum((number - 1) * count for number, count in attempts.items())
    assert len(endpoint.asked) - 160 <= lost <= kills * 4  # what was in flight when a kill came, and nothing else

    undisturbed = tmp_path / "undisturbed.jsonl"
    assert start(undisturbed, tmp_path / "two.sqlite3").wait() == 0
    assert out.read_bytes() == undisturbed.read_bytes()
    assert len(list(read_answers(out))) == 40


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n is 0"),
        ({"n": 2, "temperature": 0.0}, "all 2 answers would be the same"),
        ({"temperature": 3.0}, "temperature is 3.0"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"limit": 0}, "limit is 0"),
        ({"template": "llama"}, "template is 'llama'"),
    ],
)
def test_an_argument_that_cannot_work_is_one_line(endpoint, questions, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        answer(questions, "openai:m", tmp_path / "a.jsonl", **options)
    assert not endpoint.asked and not (tmp_path / "a.jsonl").exists()


@needs_training
@needs_local
def test_a_model_that_cannot_answer_is_one_line(models, questions, tmp_path):
    for template in ("auto", "alpaca"):
        with pytest.raises(UsageError, match="reward is a reward model, which scores answers and writes none"):
            answer(questions, str(models["reward"]), tmp_path / "a.jsonl", template=template)
    with pytest.raises(UsageError, match="there is no folder"):
        answer(questions, "./nowhere", tmp_path / "a.jsonl")
    with pytest.raises(UnknownNameError, match="did you mean 'openai'"):
        answer(questions, "opnai:gpt-4", tmp_path / "a.jsonl")


def test_a_file_with_a_mark_at_its_start_and_empty_lines_is_read(tmp_path):
    line = '{"id": "1", "instruction": "Say hi.", "input": "", "answers": []}'
    (tmp_path / "a.jsonl").write_text(f"\ufeff{line}\n\n \r\n{line}\n", encoding="utf-8")
    assert [each["id"] for each in read_answers(tmp_path / "a.jsonl")] == ["1", "1"]


def test_another_file_is_no_file_of_answers(tmp_path):
    with pytest.raises(SourceError, match="cannot read"):
        next(read_answers(tmp_path / "nothing.jsonl"))
    for line in (
        '{"instruction": "Say hi."}',
        "no json",
        "[]",
        '{"id": 1, "instruction": "", "input": "", "answers": []}',
    ):
        (tmp_path / "a.jsonl").write_text(line + "\n")
        with pytest.raises(SourceError, match=r"a\.jsonl:1 is no line of answers"):
            next(read_answers(tmp_path / "a.jsonl"))
