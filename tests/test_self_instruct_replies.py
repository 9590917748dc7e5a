"""The readers of Self-Instruct's replies: what they make of every shape, and that no text breaks them."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt4_instruct.prompts.self_instruct import Example, Wishes, render_tasks, tasks_schema
from gpt4_instruct.prompts.self_instruct_classics import render_listed, render_numbered
from gpt4_instruct.prompts.self_instruct_replies import (
    read_input,
    read_instances,
    read_listed,
    read_numbered,
    read_tasks,
)

TASK = {"instruction": "Name a river.", "input": "", "needs_input": False, "kind": "math", "labels": []}
OTHER = {"instruction": "Sort it.", "input": "b, a", "needs_input": True, "kind": "Code", "labels": ["x", "x", "y"]}


@pytest.mark.parametrize(
    "reply",
    [
        json.dumps({"tasks": [TASK, OTHER]}),
        json.dumps([TASK, OTHER]),
        json.dumps({"result": {"tasks": [TASK, OTHER]}}),
        f"{json.dumps(TASK)}\n{json.dumps(OTHER)}\n",
        f"Here you are:\n```json\n{json.dumps({'tasks': [TASK, OTHER]}, indent=2)}\n```\nEnjoy!",
        json.dumps({"tasks": [{"指令": "Name a river."}, {"指令": "Sort it.", "输入": "b, a"}]}, ensure_ascii=False),
        json.dumps({"Tasks": [{"Instruction": "Name a river."}, {"INSTRUCTION": "Sort it.", "Input": "b, a"}]}),
        json.dumps([{"instruction": "Name a river.", "task": "math"}, {"task": "Sort it."}]),
        "（1）Name a river.\n（2）Sort it.",
        "一、Name a river.\n二、Sort it.",
        "①Name a river.\n②Sort it.",
        "１．Name a river.\n２．Sort it.",
        "1. **Name a river.**\n2. **Sort** it.",
        "1. Name a river.\n2. Sort it.",
        "- Name a river.\n- Sort it.",
        "Instruction: Name a river.\nInput:\n\nInstruction: Sort it.\nInput: b, a",
        "**1. 指令**：Name a river.\n**2. 指令**：Sort it.\n**2. 输入**：b, a",
        "任务 1：Name a river.\n任务 2：Sort it.\n输入：b, a",
    ],
)
def test_tasks_are_read_out_of_every_shape(reply):
    assert [draft.instruction for draft in read_tasks(reply)] == ["Name a river.", "Sort it."]
    assert not any(draft.cut or draft.flaw for draft in read_tasks(reply))
    if "b, a" in reply:
        assert read_tasks(reply)[1].input == "b, a"


def test_every_field_is_read():
    first, second = read_tasks(json.dumps({"tasks": [TASK, OTHER]}))
    assert (first.needs_input, first.kind, first.labels) == (False, "math", ())
    assert (second.needs_input, second.kind, second.labels) == (True, "code", ("x", "y"))
    odd = {"instruction": "Add.", "input": {"a": 1}, "needs_input": "yes", "kind": None, "labels": "none"}
    (read,) = read_tasks(json.dumps(odd))
    assert (read.input, read.needs_input, read.kind, read.labels) == ('{"a": 1}', True, "", ())


def test_what_no_text_holds_is_left_out_of_escapes():
    task = {
        "instruction": "Name \ud800 a river.",
        "input": "\udc00",
        "needs_input": True,
        "labels": ["\ud800", 1, None],
    }
    (read,) = read_tasks(json.dumps(task))
    assert (read.instruction, read.input, read.labels) == ("Name \ufffd a river.", "\ufffd", ("\ufffd", "1"))
    assert read_input(json.dumps({"input": "\ud83d a"})) == "\ufffd a"


@pytest.mark.parametrize("none", ["N/A", "None", "null", "<noinput>", "无", " 无输入 "])
def test_an_input_that_says_that_there_is_none_is_none(none):
    assert read_tasks(json.dumps({**TASK, "input": none}))[0].input == ""


def test_what_is_broken_or_cut_says_so():
    whole = json.dumps({"tasks": [TASK, OTHER, TASK]})
    broken = whole.replace('"Sort it.", ', '"Sort it." ')
    assert [(draft.instruction, draft.flaw) for draft in read_tasks(broken)][1] == ("Sort it.", "broken JSON")
    assert [draft.cut for draft in read_tasks(whole[:-70])] == [False, False, True]
    assert read_tasks('{"tasks": [{"instruction": ""}]}')[0].flaw == "no instruction"
    assert read_tasks("1. Add.\n2. Multi", cut=True)[1].cut


@pytest.mark.parametrize(
    "text", ["", "   ", "{", "{}", "[]", '{"tasks": []}', "Sorry, I cannot.", '{"tasks": "none"}', "{" * 9_000]
)
def test_no_task_is_made_up(text):
    assert read_tasks(text) == []


@given(st.text(), st.booleans())
def test_no_text_breaks_a_reader(text, cut):
    for read in (read_tasks, read_numbered, read_listed):
        for draft in read(text, cut=cut):
            assert draft.instruction == draft.instruction.strip()
            (draft.instruction + draft.input + draft.output).encode()
    read_input(text)
    for flag in (True, False):
        assert all(len(each) == 2 for each in read_instances(text, 5, classification=flag, cut=cut))


@given(st.text(alphabet='{}[]",:\\ninstructo \n', max_size=400))
def test_no_tangle_of_json_breaks_the_reader(text):
    read_tasks(text)


# No digits, and no signs that a reader of lists may take for its own.
words = st.text("abcXYZé汉字 ,;", min_size=1).map(str.strip).filter(bool)


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), min_size=1, max_size=8), st.data())
def test_json_that_is_cut_anywhere_gives_its_whole_tasks_and_no_other(rows, data):
    rows = [(instruction.strip() or "Add.", input.strip()) for instruction, input in rows]
    as_ascii = data.draw(st.booleans())
    objects = [json.dumps({"instruction": a, "input": b}, ensure_ascii=as_ascii) for a, b in rows]
    reply = '{"tasks": [' + ", ".join(objects) + "]}"
    ends = [len('{"tasks": [' + ", ".join(objects[:number])) for number in range(1, len(rows) + 1)]
    place = data.draw(st.integers(0, len(reply)))
    found = read_tasks(reply[:place], cut=True)
    whole = sum(end <= place for end in ends)
    assert [(draft.instruction, draft.input) for draft in found if not draft.cut] == rows[:whole]
    assert len(found) - whole <= (place < len(reply))


def test_a_brace_in_a_text_does_not_end_a_task_that_is_cut():
    whole = json.dumps(
        {"tasks": [{"instruction": "Add.", "input": ""}, {"instruction": "Close it.", "input": "a } b"}]}
    )
    found = read_tasks(whole[: whole.index(" b")], cut=True)
    assert [(draft.instruction, draft.cut, draft.flaw) for draft in found] == [
        ("Add.", False, ""),
        ("Close it.", True, ""),
    ]


@given(st.lists(st.tuples(words, words, words), min_size=1, max_size=6), st.integers(1, 30))
def test_a_numbered_list_is_read_back(rows, first):
    blocks = [
        f"{number}. Instruction: {a}\n{number}. Input:\n{b}\n{number}. Output:\n{c}"
        for number, (a, b, c) in enumerate(rows, start=first)
    ]
    reply = "\n###\n".join(blocks)
    assert [(d.instruction, d.input, d.output, d.flaw) for d in read_numbered(reply)] == [(*row, "") for row in rows]
    # As a completion goes on behind the prompt's last words.
    behind = reply.removeprefix(f"{first}. Instruction:")
    assert [draft.instruction for draft in read_numbered(behind)] == [row[0] for row in rows]


@given(st.lists(words, min_size=1, max_size=8), st.integers(2, 30))
def test_a_listed_reply_is_read_back(rows, first):
    reply = "\n".join(f"{number}. {text}" for number, text in enumerate(rows, start=first))
    wanted = [" ".join(text.split()) for text in rows]
    assert [draft.instruction for draft in read_listed(reply, first=first)] == wanted
    if len(rows) > 1:
        assert [draft.instruction for draft in read_listed(reply.removeprefix(f"{first}. "), first=first)] == wanted


def test_lines_that_look_like_fields_stay_in_the_input():
    reply = "4. Instruction: Continue.\n4. Input:\nInput: 3\nOutput: 4\n7. Output: x\n4. Output:\nOutput: 9"
    (read,) = read_numbered(reply)
    assert (read.input, read.output) == ("Input: 3\nOutput: 4\n7. Output: x", "Output: 9")


@pytest.mark.parametrize("nothing", ["<noinput>", "<NoInput>", "<无输入>", "noinput", "无输入"])
def test_what_stands_for_no_input_is_none(nothing):
    (read,) = read_numbered(f"4. Instruction: Add.\n4. Input:\n{nothing}\n4. Output:\n3")
    assert (read.input, read.output) == ("", "3")


def test_examples_are_read_as_the_source_reads_them():
    text = "Example 1\nInput: a\nOutput: b\nExample 2\nOutput: c\nInput: d\nExample 3\nonly this"
    assert read_instances(text, 5, classification=False) == [("a", "b"), ("", "c"), ("", "only this")]
    assert read_instances(text, 5, classification=False, cut=True) == [("a", "b"), ("", "c")]
    assert read_instances("Input: a\nOutput: b", 5, classification=False) == [("a", "b")]
    assert read_instances("b, and no more", 5, classification=False) == []
    chinese = "类别标签：紧急\n输入：水管漏了。\n类别标签：不急\n输入：钟慢了。"
    assert read_instances(chinese, 5, classification=True) == [("水管漏了。", "紧急"), ("钟慢了。", "不急")]
    assert read_instances("Class label: yes\nClass label: no", 5, classification=True) == [("", "yes"), ("", "no")]
    assert read_instances("例子 1\n输入：甲\n输出：乙", 5, classification=False) == [("甲", "乙")]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('{"input": "a\\nb"}', "a\nb"),
        ('```json\n{"input": "a"}\n```', "a"),
        ("输入：一份通知", "一份通知"),
        ("Just the text.", "Just the text."),
        ('{"input": "<noinput>"}', None),
        ('{"output": "a"}', None),
        ("", None),
    ],
)
def test_an_input_is_read(text, wanted):
    assert read_input(text) == wanted


@settings(max_examples=30)
@given(st.text(), st.text(), st.text())
def test_prompts_hold_what_they_are_given_whatever_braces_are_in_it(a, b, c):
    example = Example(f"Do {a} {{count}}", f"with {b} {{topic}}", f"so {c}")
    for language in ("en", "zh"):
        prompt = render_tasks([example], 7, Wishes("tides {kinds}", ("math",), ("add",)), {"math": "sums"}, language)
        assert f"with {b} {{topic}}" in prompt and "tides {kinds}" in prompt and "7" in prompt
        assert f"with {b} {{topic}}" in render_numbered([example], 20, language)
        assert "{count}" in render_listed([example], 8, language)


def test_the_schema_is_one_that_strict_mode_takes():
    pending = [tasks_schema(["math", "code"])]
    while pending:
        node = pending.pop()
        if node.get("type") == "object":
            assert node["additionalProperties"] is False and node["required"] == list(node["properties"])
            pending += node["properties"].values()
        if node.get("type") == "array":
            pending.append(node["items"])


@pytest.mark.parametrize(
    "reply",
    [
        '{"Input": "The kettle."}',
        'Here is one:\n{"input": "The kettle."}\nEnjoy!',
        'Sure!\n```json\n{\n "input": "The kettle."}\n```',
    ],
)
def test_an_input_is_found_in_its_wrapping(reply):
    assert read_input(reply) == "The kettle."


def test_what_should_have_stopped_the_model_stops_the_reader():
    examples = "\n".join(f"Example {number}\nInput: {number}\nOutput: is {number}" for number in range(1, 8))
    five = [(str(number), f"is {number}") for number in range(1, 6)]
    assert read_instances(examples, 5, classification=False) == five
    reply = "Sure!\n\nTask: Say it.\nExample 1\nInput: a\nOutput: b\n\nTask: Sing.\nExample 1\nInput: c\nOutput: d"
    for cut in (False, True):
        assert read_instances(reply, 5, classification=False, cut=cut) == [("a", "b")]
    labels = "Class label: yes\nInput: a\nClass label: no\nInput: b\nTask: Sing.\nClass label: la\nInput: c"
    assert read_instances(labels, 5, classification=True) == [("a", "yes"), ("b", "no")]
    listed = "Of course:\n\n9. Name a river.\n\n10. Sort\nthem.\n\nI hope this helps!"
    read = read_listed(listed, first=9, paragraphs=False)
    assert [each.instruction for each in read] == ["Name a river.", "Sort them."]
