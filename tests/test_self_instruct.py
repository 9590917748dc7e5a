"""Self-Instruct end to end over a real socket, by a scripted teacher that knows when it repeats itself."""

from __future__ import annotations

import json
import random
import zlib
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

import gpt4_instruct.splits.rounds as rounds_module
from gpt4_instruct import (
    BudgetError,
    IncompleteError,
    MissingExtraError,
    SelfInstruct,
    SourceError,
    UnknownNameError,
    UsageError,
    build,
    estimate,
)
from gpt4_instruct.cli.app import app
from gpt4_instruct.generation import delays
from gpt4_instruct.records import features
from gpt4_instruct.sources.rows import open_rows
from gpt4_instruct.splits.self_instruct_recipes import RECIPES
from tests.endpoint import Endpoint, Reply, error_reply
from tests.faults import FaultyEndpoint
from tests.self_instruct_reference import kept_by_alpaca, kept_by_self_instruct
from tests.self_instruct_script import JUNK, LABELS, Inventor
from tests.smollm2 import needs_smollm2

SEEDS = [
    {
        "instruction": f"{verb} what you had for {meal} on your {number} birthday.",
        "input": "",
        "output": "Cake.",
        "kind": "creative",
    }
    for number, (verb, meal) in enumerate(
        [("Recall", "lunch"), ("Picture", "dinner"), ("Sing", "breakfast"), ("Draft", "tea")]
    )
]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Our own recipe with fewer and shorter requests, the classic ones as they are; and without what takes long.

    That is the figure, and but for tests that use `parsed`, the parser that finds verbs and nouns.
    """
    if "parsed" not in request.fixturenames:
        monkeypatch.setattr("gpt4_instruct.splits.steering.mixed_pairs", first_and_last)
    recipe = replace(RECIPES["gpt4-instruct"], tasks=6, requests=4)
    monkeypatch.setitem(RECIPES, "gpt4-instruct", recipe)
    monkeypatch.setattr("gpt4_instruct.publishing.folder.draw_self_instruct", lambda facts, folder: [])


def first_and_last(texts, processes):
    """A pair of words of each text, in place of its verb and noun."""
    return [(text.split()[0], text.split()[-1]) for text, _ in texts]


@pytest.fixture
def parsed() -> None:
    """Whoever uses it has verbs and nouns found as they are in earnest."""


@pytest.fixture
def seeds(tmp_path: Path) -> Path:
    path = tmp_path / "seeds.jsonl"
    path.write_text("".join(json.dumps(seed) + "\n" for seed in SEEDS))
    return path


def prompt_of(request) -> str:
    return request["messages"][-1]["content"]


def invented(request) -> bool:
    """Whether a request asks for tasks."""
    beginnings = ("You write tasks", "你在为", "Here is a list", "下面是一份共", "Think of a series", "请想出")
    return prompt_of(request).startswith(beginnings)


def serve(endpoint: Endpoint, inventor: Inventor, most_delay_s: float = 0.0):
    rng = random.Random(0)
    endpoint.script = lambda request, count: Reply(inventor(prompt_of(request)), delay_s=rng.random() * most_delay_s)


def make(seeds: Path, out: Path, **options):
    return build("self_instruct", seeds, **{"teacher": "openai:m", "out": out, "recipe": "alpaca", **options})


def rows_of(out: Path) -> list[dict]:
    return pyarrow.parquet.read_table(out / "self_instruct").to_pylist()


def rejects_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "rejects" / "self_instruct.jsonl").read_text().splitlines()]


def facts_of(out: Path) -> dict:
    return json.loads((out / "manifest.json").read_text())["configs"]["self_instruct"]["self_instruct"]


# --- what is kept ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("recipe", "reference"), [("alpaca", kept_by_alpaca), ("self-instruct", kept_by_self_instruct)]
)
def test_a_slow_reference_keeps_the_same(endpoint, seeds, tmp_path, recipe, reference):
    inventor = Inventor(stock=60)
    replies: list[tuple[str, bool]] = []

    def script(request, count):
        text = inventor(prompt_of(request))
        if not invented(request):
            return text
        cut = len(replies) % 5 == 4
        text = text[: len(text) * 2 // 3] if cut else text
        replies.append((text, cut))
        return Reply(text, finish_reason="length" if cut else "stop")

    endpoint.script = script
    result = make(seeds, tmp_path / "out", recipe=recipe, accept=40, concurrency=1)
    kept = reference([seed["instruction"] for seed in SEEDS], replies)
    facts = facts_of(tmp_path / "out")
    assert facts["invented"] == len(kept) >= 40
    # Rows are those of the kept tasks, in order, whose answers passed; here all do.
    assert [row["instruction"] for row in rows_of(tmp_path / "out")] == kept[:40]
    # The teacher knows: no idea twice, and none left out that was written as a whole.
    ideas = [inventor.idea(instruction) for instruction in kept]
    assert None not in ideas and len(set(ideas)) == len(ideas)
    reasons = {each["reason"] for each in rejects_of(tmp_path / "out")}
    blacklist = f"blacklist_{recipe.replace('-', '_')}"
    expected = {blacklist, "similar", "truncated", *JUNK.values()} - {"blacklist"}
    assert len(reasons & expected) > 4 and reasons <= expected | {"copied_example"}
    assert result.rows == 40 and facts["stopped"] == "accepted"


def test_neither_the_order_of_answers_nor_concurrency_matters(seeds, tmp_path, monkeypatch):
    found = []
    for name, delay_s, concurrency in (("slow", 0.0, 1), ("mixed", 0.02, 32)):
        with Endpoint() as endpoint:
            monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url)
            monkeypatch.setenv("OPENAI_API_KEY", endpoint.key)
            serve(endpoint, Inventor(), delay_s)
            make(seeds, tmp_path / name, recipe="gpt4-instruct", accept=20, concurrency=concurrency, seed=3)
        rows = rows_of(tmp_path / name)
        for row in rows:
            for column in ("request", "instruction_request", "input_request"):
                del row["metadata"][column]  # the endpoint's port is in them
        facts = facts_of(tmp_path / name)
        found.append((rows, rejects_of(tmp_path / name), facts))
    assert found[0] == found[1]


@pytest.mark.parametrize("recipe", ["gpt4-instruct", "self-instruct"])
def test_a_finished_run_is_extended_without_asking_anything_again(endpoint, seeds, tmp_path, recipe):
    def script(request, count):  # some answers are refused, so that more tasks are needed than rows
        prompt = prompt_of(request)
        refused = not invented(request) and len(prompt) % 5 == 0 and "JSON" not in prompt
        return "As an AI language model, I cannot." if refused else inventor(prompt)

    inventor = Inventor()
    endpoint.script = script
    first = make(seeds, tmp_path / "first", recipe=recipe, accept=15)
    asked = len(endpoint.asked)
    again = make(seeds, tmp_path / "again", recipe=recipe, accept=15)
    assert (first.rows, again.asked, again.reused) == (15, 0, first.asked) and len(endpoint.asked) == asked
    longer = make(seeds, tmp_path / "longer", recipe=recipe, accept=40)
    assert longer.rows == 40 and longer.asked == len(endpoint.asked) - asked > 0
    assert max(Counter(map(json.dumps, endpoint.asked)).values()) == 1, "something was asked twice"
    assert rows_of(tmp_path / "longer")[:15] == rows_of(tmp_path / "first") == rows_of(tmp_path / "again")
    rounds = facts_of(tmp_path / "first")["rounds"]
    assert facts_of(tmp_path / "longer")["rounds"][: len(rounds)] == rounds
    assert facts_of(tmp_path / "again") == facts_of(tmp_path / "first")


def test_another_seed_shows_other_examples(endpoint, tmp_path):
    serve(endpoint, Inventor())
    for seed in (1, 2):
        build("self_instruct", teacher="openai:m", out=tmp_path / str(seed), recipe="alpaca", accept=5, seed=seed)
    prompts = [prompt_of(request) for request in endpoint.asked]
    assert len(set(prompts)) == len(prompts) == 10
    assert {request["seed"] for request in endpoint.asked} == {1, 2}
    assert all(request["stop"] == ["\n20", "20."] and request["max_tokens"] == 3072 for request in endpoint.asked)


def test_a_prompt_that_comes_again_is_another_question(endpoint, tmp_path):
    path = tmp_path / "one.jsonl"  # of one seed, every prompt is the same
    path.write_text(json.dumps(SEEDS[0]) + "\n")
    inventor = Inventor()
    endpoint.script = lambda request, count: inventor(prompt_of(request), request["seed"])
    result = make(path, tmp_path / "out", accept=120, seed=5)
    assert result.rows == 120
    assert len({prompt_of(request) for request in endpoint.asked}) == 1
    assert sorted(request["seed"] for request in endpoint.asked) == [*range(5, 5 + len(endpoint.asked))]


# --- bad replies ----------------------------------------------------------------------------------------------------


def tasks(*instructions: str) -> str:
    fields = {"input": "", "needs_input": False, "kind": "math", "labels": []}
    return json.dumps({"tasks": [{"instruction": each, **fields} for each in instructions]}, ensure_ascii=False)


IDEAS = Inventor().english


@pytest.mark.parametrize(
    ("reply", "stopped", "kept", "reasons"),
    [
        ("I would rather tell you a story about a fox.", "unreadable", 0, {"unreadable"}),
        ('{"tasks": [', "unreadable", 0, {"unreadable"}),
        (Reply(tasks(*IDEAS[:3])[:-60], finish_reason="length"), "dry", 2, {"truncated", "similar", "copied_example"}),
        (tasks(*[IDEAS[0]] * 20), "dry", 1, {"similar", "surplus", "copied_example"}),
        (tasks(*IDEAS, *IDEAS), "dry", 6, {"similar", "surplus", "copied_example"}),
        (tasks("说出三种水果的名字，并说明哪一种最好吃。"), "dry", 0, {"wrong_language"}),
        (tasks(*[seed["instruction"] for seed in SEEDS]), "dry", 0, {"copied_example"}),
        (tasks("Hi."), "dry", 0, {"task_length"}),
        (tasks(IDEAS[0] + " \ud800"), "dry", 1, {"similar", "copied_example"}),
    ],
    ids=[
        "prose",
        "half a JSON",
        "cut off",
        "20 times the same",
        "800",
        "another language",
        "the examples",
        "too short",
        "half a character",
    ],
)
def test_a_teacher_that_gives_nothing_ends_the_run_with_what_there_is(
    endpoint, seeds, tmp_path, reply, stopped, kept, reasons
):
    endpoint.script = lambda request, count: reply if invented(request) else "A fine answer."
    result = make(seeds, tmp_path / "out", recipe="gpt4-instruct", accept=10)
    facts = facts_of(tmp_path / "out")
    assert (result.rows, facts["stopped"], facts["invented"]) == (kept, stopped, kept)
    assert result.stopped == facts["stopped_detail"]
    last = sum((Counter(each["rejected"]) for each in facts["rounds"][-3:]), Counter())
    assert all((f"{count} {reason}" in result.stopped) == (reason != "surplus") for reason, count in last.items())
    assert ("novelty has dried up" in result.stopped) == ("similar" in reasons or reasons == {"copied_example"})
    rejects = rejects_of(tmp_path / "out")
    assert {each["reason"] for each in rejects} == reasons
    assert {each["stage"] for each in rejects} == {"invent"}
    assert all(each["detail"] and each["origin"].startswith("round ") for each in rejects)
    # Every reject is in its round's counts, and every task that was read was kept or rejected.
    counted = sum((Counter(each["rejected"]) for each in facts["rounds"]), Counter())
    assert counted == Counter(each["reason"] for each in rejects)
    read = sum(each["parsed"] for each in facts["rounds"])
    assert read == kept + sum(count for name, count in counted.items() if name not in ("unreadable", "truncated"))


def test_what_is_not_novel_says_what_is_like_it(endpoint, seeds, tmp_path):
    near = SEEDS[2]["instruction"].replace("your", "his")
    endpoint.script = lambda request, count: tasks(IDEAS[0], near) if invented(request) else "Fine."
    make(seeds, tmp_path / "out", recipe="gpt4-instruct", accept=9)
    details = [each["detail"] for each in rejects_of(tmp_path / "out")]
    assert details[0] == "F1 0.90 with seed 3"
    assert details[1] == "F1 1.00 with round 1, request 1, task 1"


def test_a_refused_request_is_a_rejected_one_unless_all_are(endpoint, seeds, tmp_path):
    inventor = Inventor()

    def script(request, count):
        if invented(request) and zlib.crc32(prompt_of(request).encode()) % 2:
            return error_reply(400, None, "too spicy")
        return inventor(prompt_of(request))

    endpoint.script = script
    result = make(seeds, tmp_path / "out", accept=50)
    refused = [each for each in rejects_of(tmp_path / "out") if each["reason"] == "request_refused"]
    assert result.rows == 50 and refused and all("too spicy" in each["detail"] for each in refused)
    assert sum(each["refused"] for each in facts_of(tmp_path / "out")["rounds"]) == len(refused)

    endpoint.script = lambda request, count: error_reply(400, None, "too spicy")
    make(seeds, tmp_path / "none", accept=5, temperature=0.5, seed=1)
    facts = facts_of(tmp_path / "none")
    assert (facts["stopped"], len(facts["rounds"])) == ("unreadable", 1)
    assert "refused all 5 requests of round 1" in facts["stopped_detail"] and "too spicy" in facts["stopped_detail"]


def test_answers_that_never_pass_end_the_run(endpoint, seeds, tmp_path):
    inventor = Inventor()
    endpoint.script = lambda request, count: (
        inventor(prompt_of(request)) if invented(request) else "As an AI language model, I cannot do that."
    )
    result = make(seeds, tmp_path / "out", recipe="gpt4-instruct", accept=2)
    facts = facts_of(tmp_path / "out")
    assert (result.rows, facts["stopped"], len(facts["rounds"])) == (0, "dry", 3)
    assert "no answer to a task of the last 3 rounds" in facts["stopped_detail"]


def test_a_request_without_an_answer_ends_the_run_and_it_goes_on_from_there(endpoint, seeds, tmp_path, monkeypatch):
    monkeypatch.setattr(delays, "FIRST_DELAY_S", 0.001)
    inventor = Inventor()
    broken = True

    def script(request, count):
        fails = broken and len(endpoint.asked) > 7 and invented(request)
        return error_reply(500, None) if fails else inventor(prompt_of(request))

    endpoint.script = script
    with pytest.raises(IncompleteError, match="a request of round 2 has no answer"):
        make(seeds, tmp_path / "out", accept=90)
    assert not (tmp_path / "out").exists()
    billed = dict(endpoint.billed)
    broken = False
    assert make(seeds, tmp_path / "out", accept=90).rows == 90
    assert all(endpoint.billed[prompt] == 1 for prompt in billed)


# --- seeds ----------------------------------------------------------------------------------------------------------


def test_seeds_that_cannot_be_used_are_left_out_and_none_is_an_error(endpoint, tmp_path):
    path = tmp_path / "seeds.jsonl"
    rows = [*SEEDS, SEEDS[0], {"input": "no instruction"}, {"instruction": "说出三种水果的名字。"}]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    serve(endpoint, Inventor())
    make(path, tmp_path / "out", accept=3)
    facts = facts_of(tmp_path / "out")
    assert (facts["seeds"], facts["seeds_left_out"]) == (4, {"duplicate": 1, "missing_field": 1, "wrong_language": 1})
    path.write_text(json.dumps({"input": "no instruction"}) + "\n")
    options = {"source": path, "teacher": "openai:m", "recipe": "alpaca", "accept": 3}
    for run in (partial(build, out=tmp_path / "none"), estimate):
        with pytest.raises(SourceError, match="holds no task that can be a seed \\(1 missing_field\\)"):
            run("self_instruct", **options)
    assert len(endpoint.asked) == 5


def test_limit_is_of_the_seeds(endpoint, tmp_path):
    serve(endpoint, Inventor())
    build("self_instruct", teacher="openai:m", out=tmp_path / "out", recipe="alpaca", accept=3, limit=7)
    assert facts_of(tmp_path / "out")["seeds"] == 7


# --- languages ------------------------------------------------------------------------------------------------------


def test_chinese_seeds_are_translated_first(endpoint, seeds, tmp_path):
    inventor = Inventor(junk=0.2)

    def script(request, count):
        bad = "Sing" in prompt_of(request) and request["model"] == "translator"
        return "I cannot" if bad else inventor(prompt_of(request))

    endpoint.script = script
    options = {"recipe": "gpt4-instruct", "language": "zh", "translator": "openai:translator"}
    result = make(seeds, tmp_path / "out", accept=12, **options)
    facts = facts_of(tmp_path / "out")
    assert (result.rows, facts["seeds"], facts["seeds_left_out"]) == (12, 3, {"unreadable_translation": 1})
    assert facts["language"] == "zh" and facts["rounds"][0]["rejected"].keys() <= {"wrong_language", "similar"}
    translated = [request for request in endpoint.asked if request["model"] == "translator"]
    assert len(translated) == 4
    rows = rows_of(tmp_path / "out")
    assert all(inventor.idea(row["instruction"]) is not None for row in rows)
    assert all(row["metadata"]["language"] == "zh" and row["output"] == "好的，这是一个回答。" for row in rows)
    asked = next(prompt_of(request) for request in endpoint.asked if invented(request))
    assert "你在为" in asked and "Recall" not in asked


@pytest.mark.parametrize("recipe", ["alpaca", "self-instruct"])
def test_the_classic_recipes_know_chinese(endpoint, tmp_path, recipe):
    inventor = Inventor()

    def script(request, count):
        text = inventor(prompt_of(request))
        for english, chinese in (("Instruction", "指令"), ("Input", "输入"), ("Output", "输出")):
            text = text.replace(english, chinese)
        text = text.replace("<noinput>", "<无输入>").replace("Class label", "类别标签").replace("Example", "例子")
        return text.replace("It is done.", "做好了，请看。").replace("two one", "二一").replace("four three", "四三")

    endpoint.script = script
    result = build(
        "self_instruct", teacher="openai:m", out=tmp_path / "out", recipe=recipe, language="zh", accept=6, limit=20
    )
    rows = rows_of(tmp_path / "out")
    assert result.rows == 6 and all(inventor.idea(row["instruction"]) is not None for row in rows)
    assert {row["input"] for row in rows} <= {
        "",
        "a line\nand another",
        "one two",
        "three four",
        "Snow is cold.",
        "Snow is nice.",
    }


@pytest.mark.usefixtures("parsed")
def test_both_languages_come_in_pairs(endpoint, seeds, tmp_path):
    inventor = Inventor(stock=60)

    def script(request, count):
        chinese = "请用简体中文作答" in prompt_of(request)
        refused = chinese and len(prompt_of(request)) % 4 == 0
        return "作为一个人工智能语言模型，我无法回答。" if refused else inventor(prompt_of(request))

    endpoint.script = script
    result = make(seeds, tmp_path / "out", recipe="gpt4-instruct", language="both", accept=24)
    rows = rows_of(tmp_path / "out")
    assert result.rows == len(rows) == 24
    for english, chinese in zip(rows[::2], rows[1::2], strict=True):
        about, other = english["metadata"], chinese["metadata"]
        assert (about["language"], other["language"]) == ("en", "zh")
        assert about["pair"] == other["pair"] and (about["id"], other["id"]) == (
            f"{about['pair']}-en",
            f"{about['pair']}-zh",
        )
        ideas = inventor.idea(english["instruction"]), inventor.idea(chinese["instruction"])
        assert None not in ideas and (ideas[0] == ideas[1] or 1 in {idea % 7 for idea in ideas})
        assert bool(english["input"]) == bool(chinese["input"])
        assert (about["translator"] is None) != (other["translator"] is None)
    # No idea twice, in either language, though each was new in the one that it was invented in.
    for language in (rows[::2], rows[1::2]):
        ideas = [inventor.idea(row["instruction"]) for row in language]
        assert len(set(ideas)) == len(ideas)
    rejects = rejects_of(tmp_path / "out")
    similar = {each["detail"].rpartition(" in ")[2] for each in rejects if each["reason"] == "similar"}
    assert similar == {"English", "Chinese"}
    assert any(each["reason"] == "refusal" for each in rejects), "a pair is whole or not at all"
    invented_in = Counter(prompt_of(request)[:3] == "You" for request in endpoint.asked if invented(request))
    assert set(invented_in) == {True, False}, "both languages are invented in"
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())["configs"]["self_instruct"]
    assert manifest["language"] == "both" and len(manifest["rejected"]) > 1
    read = [sample.language for _, _, found in open_rows(tmp_path / "out") for sample in found]
    assert read == ["en", "zh"] * 12


def test_a_teacher_of_one_language_goes_on_in_it(endpoint, seeds, tmp_path):
    inventor = Inventor(junk=0)

    def script(request, count):
        prompt = prompt_of(request)
        return tasks(*IDEAS[:6]) if prompt.startswith("你在为") else inventor(prompt)

    endpoint.script = script
    result = make(seeds, tmp_path / "out", recipe="gpt4-instruct", language="both", accept=60)
    facts = facts_of(tmp_path / "out")
    assert (result.rows, facts["stopped"]) == (60, "accepted")
    kept = [each["accepted"] for each in facts["rounds"]]
    assert all(kept[::2]) and not any(kept[1::2])


# --- inputs, labels, steering ---------------------------------------------------------------------------------------


def test_tasks_get_the_input_they_need_and_classes_are_used_alike(endpoint, seeds, tmp_path):
    inventor = Inventor(stock=60, junk=0)
    serve(endpoint, inventor)
    make(seeds, tmp_path / "out", recipe="gpt4-instruct", accept=50)
    rows = rows_of(tmp_path / "out")
    for row in rows:
        idea, about = inventor.idea(row["instruction"]), row["metadata"]
        assert idea is not None
        needs = idea % 3 == 0 or idea % 5 == 0
        assert bool(row["input"]) == needs == (about["input_request"] is not None)
        assert (about["label"] in LABELS[idea % 2]) == (idea % 5 == 0)
    for labels in LABELS:
        used = Counter(row["metadata"]["label"] for row in rows if row["metadata"]["label"] in labels)
        assert len(used) == len(labels) and max(used.values()) - min(used.values()) <= 1
    written = [
        prompt_of(each) for each in endpoint.asked if prompt_of(each).startswith("The task below needs an input")
    ]
    assert sum('the right answer is "urgent"' in prompt for prompt in written) > 1
    answered = [prompt_of(each) for each in endpoint.asked if prompt_of(each).startswith("Below is an instruction")]
    assert not any(label in prompt for prompt in answered for label in ("urgent", "opinion"))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [('{"input": ""}', "no_input"), (Reply("Half an inp", finish_reason="length"), "truncated")],
)
def test_an_input_that_does_not_come_rejects_the_task(endpoint, seeds, tmp_path, reply, reason):
    inventor = Inventor(junk=0)
    endpoint.script = lambda request, count: (
        reply if "needs an input" in prompt_of(request) else inventor(prompt_of(request))
    )
    make(seeds, tmp_path / "out", recipe="gpt4-instruct", accept=10)
    found = [each for each in rejects_of(tmp_path / "out") if each["stage"] == "instance"]
    assert found and {each["reason"] for each in found} == {reason}
    assert not any(row["input"] for row in rows_of(tmp_path / "out"))


@pytest.mark.usefixtures("parsed")
def test_what_is_kept_steers_what_is_asked_next(endpoint, seeds, tmp_path):
    def script(request, count):
        if not invented(request):
            return "Fine."
        rng = random.Random(prompt_of(request))
        return tasks(
            *(f"Describe a {' '.join(rng.sample(IDEAS[rng.randrange(400)].split()[1:], 6))}" for _ in range(6))
        )

    endpoint.script = script
    make(seeds, tmp_path / "out", recipe="gpt4-instruct", accept=60)
    asked = [prompt_of(request) for request in endpoint.asked if invented(request)]
    assert not any("Enough of" in prompt for prompt in asked[:2])
    assert all("Enough of: describe" in prompt for prompt in asked[-4:])
    topics = {prompt.split("from this field: ")[1].split(".\n")[0] for prompt in asked}
    assert len(topics) > len(asked) * 0.8
    assert all(prompt.count("\n1. ") == 1 and "\n4. " in prompt for prompt in asked)
    rounds = facts_of(tmp_path / "out")["rounds"]
    assert rounds[-1]["verbs"] == 1 < rounds[0]["pairs"] < rounds[-1]["pairs"]
    assert rounds[-1]["kinds"] == {"math": sum(each["accepted"] for each in rounds)}
    assert [each["asked"] for each in rounds[:3]] == [2, 4, 4]
    assert all(0 < each["similarity"] <= 0.7 for each in rounds)


def test_our_recipe_needs_an_extra_and_says_so_first(endpoint, seeds, tmp_path, monkeypatch):
    monkeypatch.setattr("gpt4_instruct.splits.steering.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"spacy.*gpt4-instruct\[stats\]"):
        make(seeds, tmp_path / "out", recipe="gpt4-instruct", accept=1)
    with pytest.raises(MissingExtraError, match="jieba"):
        make(seeds, tmp_path / "out", recipe="gpt4-instruct", language="zh", accept=1)
    serve(endpoint, Inventor())
    assert make(seeds, tmp_path / "out", accept=1).rows == 1


# --- options, accounts, estimate ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({}, UsageError, "--accept"),
        ({"accept": 3, "language": "both", "recipe": "gpt4-instruct"}, UsageError, "even number"),
        ({"accept": 4, "language": "both"}, UsageError, "one language at a time"),
        ({"accept": 4, "language": "fr"}, UsageError, "language is 'fr'"),
        ({"accept": 4, "recipe": "alpacca"}, UnknownNameError, "did you mean 'alpaca'"),
        ({"accept": 4, "translator": "openai:x"}, UsageError, "nothing is translated"),
        ({"accept": 4, "scorer": "openai:x"}, UsageError, "no use for scorer"),
    ],
)
def test_what_cannot_work_is_said_before_anything_is_asked(endpoint, seeds, tmp_path, options, error, says):
    with pytest.raises(error, match=says):
        make(seeds, tmp_path / "out", **options)
    assert not endpoint.asked


def test_other_splits_have_no_recipe(endpoint, seeds, tmp_path):
    for option in ({"recipe": "alpaca"}, {"language": "zh"}):
        with pytest.raises(UsageError, match="no use for"):
            build("english", seeds, teacher="openai:m", out=tmp_path / "out", **option)


@pytest.fixture
def prices(tmp_path: Path) -> Path:
    path = tmp_path / "prices.json"
    path.write_text(json.dumps({"checked": "2026-11-01", "models": {"m": {"input": 10.0, "output": 30.0}}}))
    return path


def test_the_accounts_are_those_of_all_replies_whenever_they_came(endpoint, seeds, tmp_path, prices):
    serve(endpoint, Inventor())
    options = {"recipe": "gpt4-instruct", "accept": 20, "prices": prices}
    result = make(seeds, tmp_path / "out", **options)
    facts = facts_of(tmp_path / "out")
    assert facts["usd_per_row"] * 20 == pytest.approx(result.cost_usd, abs=1e-5)
    inventing = sum(each["cost_usd"] for each in facts["rounds"])
    assert 0 < inventing < result.cost_usd
    prompts = [prompt_of(request) for request in endpoint.asked if invented(request)]
    assert sum(each["asked"] for each in facts["rounds"]) == len(prompts)
    assert sum(each["prompt_tokens"] for each in facts["rounds"]) == sum(len(prompt) // 4 for prompt in prompts)
    later = make(seeds, tmp_path / "later", **options)
    assert later.cost_usd == 0 and facts_of(tmp_path / "later") == facts
    make(seeds, tmp_path / "unpriced", accept=2, teacher="openai:unpriced")
    facts = facts_of(tmp_path / "unpriced")
    assert facts["usd_per_row"] is None and facts["rounds"][0]["cost_usd"] is None


def test_a_budget_that_ends_says_how_to_have_what_is_there(endpoint, seeds, tmp_path, prices, monkeypatch):
    recipe = RECIPES["gpt4-instruct"]  # what a request may cost at most is set aside: here, no more than it does
    monkeypatch.setitem(RECIPES, "gpt4-instruct", replace(recipe, sampling=replace(recipe.sampling, max_tokens=400)))
    serve(endpoint, Inventor())
    options = {"recipe": "gpt4-instruct", "prices": prices, "concurrency": 1}
    with pytest.raises(BudgetError, match=r"--accept \d+ builds what is answered") as caught:
        make(seeds, tmp_path / "out", accept=60, budget_usd=0.22, max_tokens=64, **options)
    rows = int(str(caught.value).split("--accept ")[1].split()[0])
    assert make(seeds, tmp_path / "out", accept=rows, max_tokens=64, **options).asked == 0


@pytest.mark.parametrize(
    ("recipe", "language"), [("gpt4-instruct", "en"), ("gpt4-instruct", "both"), ("self-instruct", "en")]
)
def test_an_estimate_sends_nothing_and_holds_what_the_build_takes(endpoint, seeds, tmp_path, prices, recipe, language):
    inventor = Inventor()
    serve(endpoint, inventor)
    options = {"recipe": recipe, "language": language, "teacher": "openai:m", "prices": prices}

    def expect(accept: int, asked: int, cost_usd: float, found) -> None:
        fewest = sum(stage.requests - stage.in_ledger for stage in found.stages)
        assert fewest <= asked <= sum(stage.to_send for stage in found.stages)
        assert found.usd[0] * 0.95 <= cost_usd <= found.usd[1] * 1.05

    before = estimate("self_instruct", source=seeds, accept=20, **options)
    assert not endpoint.asked and before.rows == 20
    first = make(seeds, tmp_path / "first", accept=20, **options)
    expect(20, first.asked, first.cost_usd, before)
    after = estimate("self_instruct", source=seeds, accept=20, **options)
    assert sum(stage.to_send for stage in after.stages) == 0 and after.usd == (0.0, 0.0)
    assert sum(stage.in_ledger for stage in after.stages) == first.asked
    more = estimate("self_instruct", source=seeds, accept=60, **options)
    width = [found.usd[1] - found.usd[0] for found in (before, more)]
    assert width[1] < width[0] / 2, "what is measured narrows the range"
    assert len(endpoint.asked) == first.asked


def test_batches_answer_it_too(seeds, tmp_path, monkeypatch):
    inventor = Inventor()
    monkeypatch.setattr("tests.faults.answer_text", inventor)
    monkeypatch.setattr("gpt4_instruct.generation.batches._FIRST_POLL_S", 0.02)
    monkeypatch.setattr("gpt4_instruct.generation.batches._OTHERS_S", 0.02)
    with FaultyEndpoint(refused_share=0, length_share=0, batch_s=0.02) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        by_batch = make(seeds, tmp_path / "batch", recipe="gpt4-instruct", accept=12, teacher="openai-batch:m")
        assert server.calls["chat"] == 0 and len(server.batches) > 2
        at_once = make(seeds, tmp_path / "once", recipe="gpt4-instruct", accept=12, teacher="openai:m")
    assert (by_batch.rows, at_once.asked, at_once.reused) == (12, 0, by_batch.asked)
    assert (by_batch.reused, set(server.billed.values())) == (0, {1})

    def rows(name: str) -> list[str]:
        return [row["instruction"] for row in rows_of(tmp_path / name)]

    assert rows("batch") == rows("once")


def test_the_command_line_says_why_it_stopped(endpoint, seeds, tmp_path):
    serve(endpoint, Inventor(stock=12))
    out = tmp_path / "out"
    command = ["build", "self_instruct", "--seeds", str(seeds), "--recipe", "alpaca", "--teacher", "openai:m"]
    done = CliRunner().invoke(app, [*command, "--accept", "50", "--dry-run"])
    assert done.exit_code == 0 and "build a few rows first" in done.output and not endpoint.asked
    done = CliRunner().invoke(app, [*command, "--accept", "50", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "12 of the 50 rows that were wanted: novelty has dried up" in done.output
    assert "rounds" in done.output and "load_dataset" in done.output
    done = CliRunner().invoke(app, [*command, "--accept", "50", "--dry-run"])
    assert done.exit_code == 0 and "nothing was sent" in done.output and "a few rows first" not in done.output


def test_it_is_a_builder_like_the_others(endpoint, seeds, tmp_path):
    serve(endpoint, Inventor())
    builder = SelfInstruct(
        source=seeds, teacher="openai:m", recipe="alpaca", accept=4, cache_dir=str(tmp_path / "cache")
    )
    builder.download_and_prepare()
    data = builder.as_dataset(split="train")
    assert data.features == features("self_instruct") and len(data) == 4
    ids = {
        SelfInstruct(source=seeds, teacher="openai:m", **{"recipe": "alpaca", "accept": 4, **options}).config_id
        for options in ({}, {"accept": 5}, {"recipe": "self-instruct"}, {"language": "zh"}, {"seed": 1})
    }
    assert len(ids) == 5 and builder.config_id in ids


def test_the_dry_rule_takes_three_rounds(monkeypatch):
    recipe = replace(RECIPES["alpaca"], requests=1)
    rounds = rounds_module.Rounds(recipe, ("en",), [{"en": rounds_module.Example("Name a river in Europe.")}], 0)
    for parsed, surplus, accepted, stopped in (
        *((100, 0, 0, ""), (100, 0, 1, ""), (200, 0, 1, ""), (0, 0, 0, "")),
        (1_000, 990, 9, ""),  # nearly all that was asked for
        *((100, 0, 0, ""), (100, 0, 0, ""), (1_000, 899, 1, "dry")),
    ):
        rounds._parsed, rounds._new = parsed, [None] * accepted  # type: ignore[list-item]
        rounds._rejected["surplus"] = surplus
        rounds.finish(0, 0, 0.0)
        assert rounds.stopped == stopped, (parsed, accepted)


# --- the real model -------------------------------------------------------------------------------------------------


@needs_smollm2
def test_a_small_model_invents_from_the_real_seeds(shared_data, tmp_path, monkeypatch):
    import torch

    recipe = RECIPES["gpt4-instruct"]
    sampling = replace(recipe.sampling, max_tokens=100)
    recipe = replace(recipe, human=1, machine=0, tasks=1, requests=1, sampling=sampling)
    monkeypatch.setitem(RECIPES, "gpt4-instruct", recipe)
    options = {"accept": 1, "max_tokens": 8, "on_truncation": "keep", "seed": 1, "teacher": "local:smollm2"}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # several would wait for one another, busily, wherever a core has more to do
    try:
        result = make(shared_data / "seed_tasks_175.jsonl", tmp_path / "out", recipe="gpt4-instruct", **options)
    finally:
        torch.set_num_threads(threads)
    facts = facts_of(tmp_path / "out")
    assert (result.rows, facts["seeds"], facts["stopped"]) == (1, 175, "accepted")
    assert sum(each["accepted"] for each in facts["rounds"]) == facts["invented"] > 0
    assert rows_of(tmp_path / "out")[0]["metadata"]["teacher"] == "local:smollm2"
