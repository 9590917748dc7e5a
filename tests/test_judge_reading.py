"""How a judge's reply is read: every form of two scores and of one, and all that is none."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt4_instruct.evaluation.judge_reading import REASONS, read_scores

HALVES = st.integers(2, 20).map(lambda number: number / 2)
CHINESE = {1: "一", 2: "两", 3: "三", 4: "四", 5: "五", 6: "六", 7: "七", 8: "八", 9: "九", 10: "十"}


@pytest.mark.parametrize(
    "reply",
    [
        "8 9",
        "8 9\nBoth answers are right; the second is 3 times longer, 10 out of 10 readers would say.",
        "8, 9",
        "8,9",
        "8; 9",
        "8、9",
        "8\t9",
        "| 8 | 9 |",
        "(8, 9)",
        "[[8, 9]]",
        "**8 9**",
        "8/10 9/10",
        "8/10 and 9/10",
        "8.0/10.0 9.0/10.0",
        "Assistant 1: 8/10, for it is 2 points short of style.\nAssistant 2: 9/10, so 9/10.",
        "助手1：8分，扣2分。\n助手2：9分，内容十分好。",
        "8 / 10, 9 / 10.",
        "8 out of 10, 9 out of ten",
        "Scores: 8 and 9 (out of 10)",
        "The scores are 8 and 9.",
        "Assistant 1: 8\nAssistant 2: 9",
        "Assistant 1: 8, Assistant 2: 9",
        "Assistant 2: 9, Assistant 1: 8",
        "Assistant 2: 9\nAssistant 1: 8",
        "**Assistant 1:** 8\n**Assistant 2:** 9\n\nThe first one is fine.",
        "- Assistant A: 8/10\n- Assistant B: 9/10",
        "1. Assistant 1: 8\n2. Assistant 2: 9",
        "Assistant 1's score: 8\nAssistant 2's score: 9",
        "Assistant 1: 8/10 - clear and right.\nAssistant 2: 9/10, for it has all 12 steps.",
        "Answer one: 8 points; answer two: 9 points",
        '{"assistant_1": 8, "assistant_2": 9}',
        "８　９",
        "８，９",
        "8分 9分",
        "八分，九分",
        "八 九",
        "助手 1：8 分\n助手 2：9 分",
        "助手1：8分，因为简洁。\n助手2：9分，因为全面。",
        "第一个回答：八分；第二个回答：九分",
        "评分：8和9",
        "8\n9\nThe second one is better.",
        "Here are my scores.\n\n8 9\n\nThe second one is better.",
        "8 9\n\nConclusion:\n8 9",
        "<think>8 7, or rather 8 9?</think>\n\n8 9",
    ],
)
def test_two_scores(reply):
    assert read_scores(reply, 2).scores == (8.0, 9.0)
    assert read_scores(reply, 2).failure is None


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty"),
        (" \n\t", "empty"),
        ("<think>8 9</think>", "empty"),
        ("8", "one_score"),
        ("8\nThe first answer is good.", "one_score"),
        ("Assistant 1: 8", "one_score"),
        ("8.9", "one_score"),
        ("8 9 7", "too_many_scores"),
        ("8\n9\n7", "too_many_scores"),
        ("Assistant 1: 8, Assistant 1: 9", "contradiction"),
        ("Assistant 1: 8\nAssistant 2: 9\nAssistant 2: 7", "contradiction"),
        ("My scores:\n8 9\nOr perhaps:\n9 8", "contradiction"),
        ("Assistant 1: 8\n9", "contradiction"),
        ("Assistant 1: 9/10 at first sight, but wrong: 2/10\nAssistant 2: 7/10", "contradiction"),
        ("Assistant 1: 7/10\nAssistant 2: 9/10 for style, 3 out of 10 for its result", "contradiction"),
        ("助手1：8/10，但结果错误，应为2/10\n助手2：7/10", "contradiction"),
        ("助手1：8分，但结果错误，应为2分\n助手2：七分", "contradiction"),
        ("助手1：八分，但结果错误，应为三分\n助手2：七分", "contradiction"),
        ("1 8\n2 9", "contradiction"),
        ("Let me think.\n8 9\nFinal: 9 8", "contradiction"),
        ("<think>\n8 9\nhmm, no", "no_score"),
        ("8/10.5 9/10.5", "no_score"),
        ("nan nan", "not_a_number"),
        ("8 NaN", "not_a_number"),
        ("inf 8", "not_a_number"),
        ("0 8", "out_of_range"),
        ("8 11", "out_of_range"),
        ("80 90", "out_of_range"),
        ("-1 -1", "out_of_range"),
        ("八分 十一分", "out_of_range"),
        ("8.7 9", "fraction"),
        ("8-9", "no_score"),
        ("8 - 9", "no_score"),
        ("8 to 9", "no_score"),
        ("8/9", "no_score"),
        ("80% 90%", "no_score"),
        ("85/100 90/100", "no_score"),
        ("1. 8\n2. 9", "no_score"),
        ("八九", "no_score"),
        ("十十 八", "no_score"),
        ("8分钟 9分钟", "no_score"),
        ("十分好，九分像。", "no_score"),
        ("Both answers are good.", "no_score"),
        ("I would say 8 and 9, but it depends.", "no_score"),
        ("What would you like me to do with these 2 answers?", "no_score"),
        ("Assistant 1: 3 points are wrong.\nAssistant 2: none.", "no_score"),
        ("I'm sorry, but I cannot assist with that request.", "refusal"),
        ("I am not able to fairly compare these two.", "refusal"),
        ("我无法对这两个回答打分。", "refusal"),
        ("作为一个人工智能语言模型，我无法评分。", "refusal"),
    ],
)
def test_what_is_no_two_scores_has_a_reason(reply, reason):
    found = read_scores(reply, 2)
    assert (found.scores, found.failure) == ((), reason)
    assert reason in REASONS


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("8", 8.0),
        ("8\nClear, but 2 steps are missing.", 8.0),
        ("**Score: 8.5/10**", 8.5),
        ("Rating: [[8]]", 8.0),
        ("8/10. Clear.", None),
        ("评分：9分。", 9.0),
        ("九分半", 9.5),
        ("八点五分", 8.5),
        ("９．５", 9.5),
        ("十分", 10.0),
        ("10", 10.0),
        ("8 9", None),
        ("Fine.", None),
        ("8,5", None),
        ("My score:\n8", 8.0),
    ],
)
def test_one_score(reply, score):
    found = read_scores(reply, 1)
    assert found.scores == (() if score is None else (score,))
    assert (found.failure is None) == (score is not None)


def test_a_reply_that_was_cut_off_has_its_scores_and_a_withheld_one_has_none():
    assert read_scores("8 9\nThe first", 2, "length").scores == (8.0, 9.0)
    assert read_scores("Assistant 1: 8\nAssistant 2: 9/10, for", 2, "length").scores == (8.0, 9.0)
    assert read_scores("8 9\n", 2, "length").scores == (8.0, 9.0)
    assert read_scores("<think>8 7</think>\n8\nThe", 1, "length").scores == (8.0,)
    for reply in (
        "8 1",
        "8 9.",
        "8/10 9/1",
        "8/10 9/10",
        "8\n9",
        "八分，九",
        "8",
        "Assistant 1: 8\nAssistant 2: 1",
        "Assistant 1: 8/10, good.\nAssistant 2: 9/10, ",
        "<think>\n8 9\nhmm, no",
        "<think>hm</think>",
        "Let me",
    ):
        assert read_scores(reply, 2, "length").failure == "truncated", reply
    assert read_scores("1", 1, "length").failure == "truncated"
    assert read_scores("<think>\n8 9\nhmm, no... wait", 2, "length").scores == ()
    assert read_scores("8 9", 2, "content_filter").failure == "withheld"


def chinese(value: float) -> str:
    return f"{CHINESE[int(value)]}分{'半' if value % 1 else ''}"


@given(HALVES, HALVES)
def test_every_pair_is_read_in_every_form(first, second):
    forms = [
        f"{first:g} {second:g}",
        f"{first:g}/10, {second:g}/10",
        f"Assistant 2: {second}\nAssistant 1: {first}",
        json.dumps({"assistant_1": first, "assistant_2": second}),
        f"{chinese(first)}，{chinese(second)}",
    ]
    for form in forms:
        assert read_scores(f"{form}\nBecause of 3 things.", 2).scores == (first, second), form


@given(st.text(alphabet="0123456789./-,:%*# \nAassistn12分八半十naN助手", max_size=60), st.sampled_from([1, 2]))
def test_whatever_the_reply_there_are_scores_or_a_reason(reply, answers):
    found = read_scores(reply, answers)
    assert (found.failure in REASONS) != bool(found.scores)
    assert len(found.scores) in (0, answers) and all(1 <= score <= 10 for score in found.scores)


@pytest.mark.parametrize("part", ["8 ", " ", "the ", "Assistant 1: ", "8/10 ", "** ", "overall ", "一", "十"])
def test_long_replies_take_no_time(part):
    began = time.process_time()
    for answers in (1, 2):
        read_scores(part * 20_000 + "x", answers)
    assert time.process_time() - began < 2
