"""The wire formats byte for byte, and that reading a reply never guesses."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt4_instruct.prompts.tasks import (
    SCORES,
    TRANSLATION_SCHEMA,
    is_alpaca,
    read_choice,
    read_score,
    read_translation,
    render_alpaca,
    render_chinese,
    render_score,
    render_translation,
)

text = st.text(st.characters(codec="utf-8"), max_size=60)


def test_the_alpaca_pair_is_exact():
    assert render_alpaca("Add them.", "1, 2") == (
        "Below is an instruction that describes a task, paired with an input that provides further context. "
        "Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nAdd them.\n\n### Input:\n1, 2\n\n### Response:"
    )
    assert render_alpaca("Say hi.") == (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
        "### Instruction:\nSay hi.\n\n### Response:"
    )


def test_the_alpaca_pair_is_that_of_the_released_comparisons(shared_data):
    with (shared_data / "comparison_alpaca_eval_400.jsonl").open() as file:
        for line in file:
            prompt = json.loads(line)["user_input"]
            task = prompt.split("### Instruction:\n", 1)[1].removesuffix("\n\n### Response:")
            instruction, _, given_input = task.partition("\n\n### Input:\n")
            assert render_alpaca(instruction, given_input) == prompt


@given(text, text)
def test_a_prompt_holds_its_task_whatever_is_in_it(instruction, given_input):
    for render in (render_alpaca, render_chinese):
        prompt = render(instruction, given_input)
        assert instruction in prompt
        assert given_input in prompt
    assert is_alpaca(render_alpaca(instruction, given_input))
    assert json.dumps(instruction, ensure_ascii=False) in render_translation(instruction, given_input)


@pytest.mark.parametrize("tricky", ["{input}", "{instruction}", "{response}", "{task}", "%s {0} \\1"])
def test_braces_in_a_task_are_text(tricky):
    assert tricky in render_alpaca(tricky, "x")
    assert render_alpaca("a", tricky).endswith(f"### Input:\n{tricky}\n\n### Response:")
    assert render_score(tricky, "answer-text").count("answer-text") == 1
    assert tricky in render_score("task", tricky)


@given(st.text(max_size=80))
def test_a_score_is_whole_and_in_range_or_none(reply):
    score = read_score(reply)
    assert score is None or (str(score) in SCORES and str(score) in reply)


@given(
    st.sampled_from(SCORES),
    st.sampled_from(
        [
            "{}",
            "{}/10",
            "Score: {}",
            "**Score:** {}",
            "Rating: {}/10.",
            "评分：{}分",
            "{} out of 10",
            " {}\n",
            "[{}]",
            "{}.0",
            "{}.0/10",
            "**{}**/10",
            "Overall score is {}.",
        ]
    ),
    st.sampled_from(["", "\nIt is clear, has 3 parts and cites 2 sources.", "\n\n这个回答很有帮助。"]),
)
def test_a_score_is_read_in_every_usual_form(score, form, explanation):
    assert read_score(form.format(score) + explanation) == int(score)


@pytest.mark.parametrize(
    "reply",
    ["Score: 4/5", "Score: 7-8", "Score: 7 to 8", "Score: 8,5", "9 out of 100", "Score: 8/100", "Score: 10%", "Score: 7½", "-3/10",
     "", "good", "0", "11", "100/100", "8.5", "7.5/10", "-3", "3-4", "7 or 8", "1. It is helpful.", "Score: 12",
     "The answer has 3 parts.", "I give helpfulness 8/10 and accuracy 6/10.", "⅞", "８５"],
)  # fmt: skip
def test_a_score_that_is_not_there_is_not_made_up(reply):
    assert read_score(reply) is None


@given(st.sampled_from(SCORES))
def test_a_structured_choice_is_unwrapped(score):
    assert read_choice(json.dumps({"answer": score}), SCORES) == score
    assert read_choice(json.dumps({"answer": int(score)}), SCORES) == score


@given(st.text(max_size=80))
def test_reading_never_fails(reply):
    read_choice(reply, SCORES)
    read_translation(reply)


@given(text.filter(str.strip), text)
def test_a_translation_comes_back_from_json_in_any_wrapping(instruction, given_input):
    reply = json.dumps({"instruction": instruction, "input": given_input}, ensure_ascii=False)
    for wrapped in (reply, f"```json\n{reply}\n```", f"Here it is, {{x}}:\n{reply}\nDone {{y}}."):
        assert read_translation(wrapped) == (instruction.strip(), given_input.strip())


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "{}",
        '{"instruction": ""}',
        '{"instruction": 3}',
        "[1]",
        '{"instruction": "a", "inp',
        '{"instruction": "a", "input": 3}',
    ],
)
def test_half_a_translation_is_none(reply):
    assert read_translation(reply) is None


def test_the_translation_schema_is_strict():
    assert set(TRANSLATION_SCHEMA["required"]) == set(TRANSLATION_SCHEMA["properties"])
    assert TRANSLATION_SCHEMA["additionalProperties"] is False
