"""Every shape of a row in the wild: what is read from it, exactly, and what is rejected with its reason."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt4_instruct.prompts.tasks import render_alpaca
from gpt4_instruct.records import Instruction, Reject, Sample, Scored
from gpt4_instruct.sources.rendered import recover, recover_prompt
from gpt4_instruct.sources.shapes import MAX_CHARACTERS, adapt, samples

PROMPT = render_alpaca("Add them.", "1\n2")
INPUT, RESPONSE = "\n\n### Input:\n", "\n\n### Response:"

# Texts in which the format's own markers, whole and in parts, are as likely as anything else.
_PIECES = st.sampled_from(
    [
        INPUT,
        RESPONSE,
        "\n",
        "### ",
        "### Input:",
        "### Response:",
        "### Instruction:\n",
        " ",
        "a",
        "好",
        "{input}",
        PROMPT,
    ]
)
texts = st.lists(_PIECES | st.text(max_size=3), max_size=6).map("".join)


@given(texts, texts)
@settings(max_examples=500, deadline=None)
def test_what_is_recovered_from_a_prompt_renders_to_it_again(instruction, input):
    prompt = render_alpaca(instruction, input)
    found = recover_prompt(prompt)
    assert found is not None
    if input or INPUT not in prompt:
        assert render_alpaca(*found) == prompt or found[1] == ""
    # The pair is the only one, unless the instruction itself holds the marker of the input.
    if not input or (instruction + INPUT).index(INPUT) == len(instruction):
        assert found == (instruction, input)


@given(texts, texts, texts)
@example("\n### Response:", "", "")
@settings(max_examples=500, deadline=None)
def test_what_is_recovered_from_a_text_with_its_response(instruction, input, response):
    prompt = render_alpaca(instruction, input)
    for gap in ("\n", " "):
        found = recover(prompt + gap + response)
        assert found is not None
        if prompt.index(RESPONSE) == len(prompt) - len(RESPONSE) and (
            not input or (instruction + INPUT).index(INPUT) == len(instruction)
        ):
            assert found == (instruction, input, response)


@given(st.text() | texts)
@settings(max_examples=300, deadline=None)
def test_any_other_text_is_no_rendered_prompt_or_reads_without_an_exception(text):
    for found in (recover_prompt(text), recover(text)):
        assert found is None or text.startswith("Below is an instruction that describes a task")


def test_odd_ends_of_a_rendered_prompt():
    assert recover_prompt(PROMPT + " \n") == ("Add them.", "1\n2")
    assert recover_prompt(PROMPT + " 3") is None
    assert recover_prompt("### Instruction:\nAdd them." + RESPONSE) is None
    empty = PROMPT.replace("1\n2", "")
    assert recover_prompt(empty) == ("Add them.", "")
    assert recover(PROMPT + "\n\n3\n") == ("Add them.", "1\n2", "\n3\n")


def one(row, **fields) -> Sample:
    (found,) = samples(row, "x-1", "x:1")
    expected = {"instruction": "Add them.", "input": "1\n2", "output": "", "id": "x-1", "origin": "x:1", **fields}
    assert found == Sample(**expected)
    return found


def test_alpaca_rows_are_read_as_they_are():
    one({"instruction": " Add them.\n", "input": "1\n2", "output": " 3 "}, instruction=" Add them.\n", output=" 3 ")
    one({"instruction": "Add them.", "input": None, "output": "3", "label": 3}, input="", output="3", label="3")
    one({"instruction": "Add them.", "input": "1\n2", "output": None, "label": "3"}, label="3")
    # Alpaca on the Hub has the whole as a text, too; and a column that a file of several shapes fills with nothing.
    one({"instruction": "Add them.", "input": "1\n2", "output": "3", "text": "?", "instances": None}, output="3")
    ours = {"id": "seed-1", "origin": "seeds:1", "finish_reason": "length"}
    row = {"instruction": "Add them.", "input": "1\n2", "output": "3", "metadata": ours}
    one(row, output="3", id="seed-1", finish_reason="length")


def test_comparisons():
    scored = [
        {"response": "3", "source": "gpt4", "score": 9},
        {"response": None, "source": None, "score": "7.5"},
        {"response": " ", "source": "icm-1.3b", "score": float("nan")},
        {"response": "12", "score": "9/10"},
    ]
    expected = (Scored("3", "gpt4", 9.0), Scored("", "", 7.5), Scored(" ", "icm-1.3b", None), Scored("12", "", None))
    one({"user_input": PROMPT, "responses_and_scores": scored}, scored=expected)
    one({"instruction": "Add them.", "input": "1\n2", "responses_and_scores": scored}, scored=expected)
    pair = (Scored("3", "completion_a", None), Scored("12", "completion_b", None))
    one({"user_input": PROMPT, "completion_a": "3", "completion_b": "12"}, scored=pair)
    one({"user_input": "Hi", "completion_a": "3", "completion_b": "12"}, instruction="Hi", input="", scored=pair)


def test_preferences():
    pair = (Scored("3", "chosen", None), Scored("12", "rejected", None))
    one({"prompt": PROMPT, "chosen": "3", "rejected": "12"}, scored=pair)
    one({"instruction": "Add them.", "input": "1\n2", "chosen": "3", "rejected": "12"}, scored=pair)

    def said(answer):
        return [{"role": "user", "content": PROMPT}, {"role": "assistant", "content": answer}]

    one({"chosen": said("3"), "rejected": said("12")}, scored=pair)
    alone = {name: said(answer)[1:] for name, answer in (("chosen", "3"), ("rejected", "12"))}
    one({"prompt": said("")[:1], **alone}, scored=pair)
    one({"prompt": PROMPT, **alone}, scored=pair)
    graded = (Scored("3", "chosen", 9.0), Scored("12", "rejected", 2.0))
    one({"prompt": "ignored", "chosen": said("3"), "rejected": said("12"), "score_chosen": 9, "score_rejected": 2},
        scored=graded)  # fmt: skip


def test_rendered_rows():
    for name in ("prompt", "user_input", "text"):
        one({name: PROMPT})
        one({name: PROMPT + "\n3"}, output="3")
    for name in ("completion", "output", "response"):
        one({"prompt": PROMPT, name: "3"}, output="3")
        one({"prompt": "Is 7 prime?", name: ""}, instruction="Is 7 prime?", input="")
    # With the answer in a column of its own, the marker that counts is the last one.
    odd = render_alpaca("Explain.", f"a{RESPONSE} b")
    one({"prompt": odd, "completion": "3"}, instruction="Explain.", input=f"a{RESPONSE} b", output="3")
    one({"prompt": "Is 7 prime?"}, instruction="Is 7 prime?", input="")
    messages = [{"role": "user", "content": "Hi"}]
    answer = [{"role": "assistant", "content": "3"}]
    one({"prompt": messages, "completion": answer}, instruction="Hi", input="", output="3")


def test_chats_give_each_answer_with_the_message_before_it():
    turns = [
        ("system", "Be brief."),
        ("human", PROMPT),
        ("gpt", "3"),
        ("human", "And"),
        ("human", "now?"),
        ("gpt", "4"),
    ]
    share = [{"from": role, "value": text} for role, text in turns]
    chat = [{"role": {"human": "user", "gpt": "assistant"}.get(role, role), "content": text} for role, text in turns]
    for row in ({"conversations": share}, {"messages": chat}, {"messages": None, "conversations": chat}):
        first, second = samples(row, "x-1", "x:1")
        assert (first.instruction, first.input, first.output, first.id) == ("Add them.", "1\n2", "3", "x-1.1")
        assert (second.instruction, second.output, second.id) == ("And\n\nnow?", "4", "x-1.2")
        assert second.input == f"User: {PROMPT}\nAssistant: 3"
        # As a task for a teacher, only what needs no history.
        (task,) = adapt(row, "x-1", "x:1")
        assert task == Instruction("x-1", "Add them.", "1\n2", "3", origin="x:1")
    parts = [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    one({"messages": parts}, instruction="ab", input="")
    call = [*chat[:2], {"role": "assistant", "content": None, "tool_calls": []}]
    one({"messages": call})


def said(*texts):
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def test_a_later_message_of_a_chat_is_no_task_without_what_was_said_before():
    fish, birds = (said("Hi", "Hello.", f"Name {what}.", one, "Go on.", two, "Thanks.")
                   for what, one, two in (("fish", "Cod.", "Hake."), ("birds", "Owl.", "Kite.")))  # fmt: skip
    tasks = [[(each.instruction, each.input) for each in samples({"messages": chat}, "", "")] for chat in (fish, birds)]
    assert tasks[0][0] == tasks[1][0] == ("Hi", "")
    assert tasks[0][2] == ("Go on.", "User: Hi\nAssistant: Hello.\n\nUser: Name fish.\nAssistant: Cod.")
    assert len(tasks[0]) == 3 and not set(tasks[0][1:]) & set(tasks[1][1:])
    # An input of its own comes last.
    (_, later) = samples({"messages": said("Hi", "Hello.", PROMPT, "3")}, "", "")
    assert (later.instruction, later.input) == ("Add them.", "User: Hi\nAssistant: Hello.\n\n1\n2")
    assert all(
        next(adapt({"messages": chat}, "", "")) == Instruction("", "Hi", label="Hello.") for chat in (fish, birds)
    )


def test_a_prompt_that_is_a_chat_asks_its_last_message():
    prompt = said("Name a fish.", "Cod.", "Another one.")
    task = {"instruction": "Another one.", "input": "User: Name a fish.\nAssistant: Cod."}
    one({"prompt": prompt, "completion": [{"role": "assistant", "content": "Hake."}]}, **task, output="Hake.")
    pair = (Scored("Hake.", "chosen", None), Scored("Owl.", "rejected", None))
    ends = {each.source: [{"role": "assistant", "content": each.response}] for each in pair}
    one({"prompt": prompt, **ends}, **task, scored=pair)
    one({name: prompt + end for name, end in ends.items()}, **task, scored=pair)


def test_a_long_chat_does_not_grow_with_its_square():
    chat = said(*["a word or two"] * 20_000)
    found = samples({"messages": chat}, "", "")
    assert len(found) == 10_000
    assert sum(len(each.input) for each in found) <= 8_000 * len(found)
    assert found[-1].input.endswith("Assistant: a word or two")


def test_unnatural_instructions_with_reformulations():
    row = {
        "instruction": "Is it prime?",
        "instances": [{"input": "7", "instruction_with_input": "Is it prime? 7", "constraints": "None.", "output": "Yes"}],
        "reformulations": [
            {"instruction": "Prime or not: {INPUT}", "input": "7", "instruction_with_input": "Prime or not: 7", "output": "Yes"},
            {"instruction": "Prime?", "input": "7", "instruction_with_input": "Prime?\n7", "output": "Yes"},
        ],
    }  # fmt: skip
    found = samples(row, "x-1", "x:1")
    assert [(each.instruction, each.input, each.output, each.id) for each in found] == [
        ("Is it prime?", "7", "Yes", "x-1.1"),
        ("Prime or not: 7", "", "Yes", "x-1.2"),
        ("Prime?", "7", "Yes", "x-1.3"),
    ]
    assert [task.label for task in adapt(row, "x-1", "x:1")] == ["Yes"] * 3


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({}, "missing_field"),
        ({"input": "a"}, "missing_field"),
        ({"text": "Once upon a time."}, "missing_field"),
        ({"chosen": "a", "rejected": "b"}, "missing_field"),
        ({"completion_a": "a", "completion_b": "b"}, "missing_field"),
        ({"user_input": PROMPT, "responses_and_scores": []}, "missing_field"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "missing_field"),
        ({"user_input": PROMPT, "responses_and_scores": "a"}, "wrong_type"),
        ({"user_input": PROMPT, "responses_and_scores": ["a"]}, "wrong_type"),
        ({"user_input": PROMPT, "responses_and_scores": [{"response": ["a"]}]}, "wrong_type"),
        ({"user_input": ["a"], "responses_and_scores": [{"response": "a"}]}, "wrong_type"),
        ({"instruction": "a", "output": ["b"]}, "wrong_type"),
        ({"instruction": "a", "label": ["b"]}, "wrong_type"),
        ({"instruction": "a", "instances": [{"input": "b"}], "reformulations": ["c"]}, "wrong_type"),
        ({"prompt": 3}, "wrong_type"),
        ({"prompt": "a", "completion": 3}, "wrong_type"),
        ({"messages": [{"role": "user", "content": 3}]}, "wrong_type"),
        ({"messages": ["a"]}, "wrong_type"),
        ({"messages": None}, "wrong_type"),
        (ValueError("broken"), "unreadable"),
        (3, "wrong_type"),
    ],
)  # fmt: skip
def test_a_row_that_has_no_such_shape_is_rejected_alike_by_both(row, reason):
    found = samples(row, "x-1", "x:1")
    (task,) = adapt(row, "x-1", "x:1")
    assert found == task
    assert isinstance(found, Reject)
    assert (found.reason, found.stage, found.origin) == (reason, "source", "x:1")
    assert found.detail and "\n" not in found.detail


def test_only_as_a_task_a_row_may_be_too_long_or_have_no_instruction():
    for row in ({"instruction": " "}, {"prompt": render_alpaca("", "a")}, {"instruction": "a" * (MAX_CHARACTERS + 1)}):
        assert isinstance(samples(row, "", ""), list)
        assert isinstance(next(adapt(row, "", "")), Reject)
    assert samples({"instruction": "a", "output": "x" * 1_048_576}, "", "")[0].output == "x" * 1_048_576
    assert isinstance(next(adapt({"instruction": "a", "output": "x" * 1_048_576}, "", "")), Instruction)


# A row of anything: read or rejected, never an exception.
anything = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | texts, lambda each: st.lists(each, max_size=3)
    | st.dictionaries(st.sampled_from(["response", "source", "score", "role", "from", "content", "value", "text",
                                       "input", "output", "constraints", "instruction"]), each, max_size=4),
    max_leaves=8,
)  # fmt: skip
names = st.sampled_from(
    ["instruction", "input", "output", "label", "instances", "reformulations", "user_input", "responses_and_scores",
     "completion_a", "completion_b", "prompt", "completion", "chosen", "rejected", "messages", "conversations", "text",
     "id", "metadata", "instruction_zh", "finish_reason"]
)  # fmt: skip


@given(st.dictionaries(names, anything, max_size=6) | anything)
@settings(max_examples=1000, deadline=None)
def test_any_row_is_read_or_rejected(row):
    found = samples(row, "x-1", "x:1")
    assert isinstance(found, Reject) or (found and all(isinstance(each.output, str) for each in found))
    assert all(isinstance(each, Instruction | Reject) for each in adapt(row, "x-1", "x:1"))
