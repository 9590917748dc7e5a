"""The checks on written-out cases and on the real samples; and that the registry finds a stranger's check."""

from __future__ import annotations

import json

import pytest

from gpt4_instruct.errors import UnknownNameError, UsageError
from gpt4_instruct.quality.base import Sample, first_failure
from gpt4_instruct.registry import find, names

ALL = ("empty", "refusal", "echo", "wrong_language", "truncated")


def failure(output: str, instruction: str = "Do it.", given: str = "", reason: str = "stop", language: str = "en"):
    found = first_failure(ALL, Sample(instruction, given, output, reason, language))
    return found[0] if found else None


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        ({"output": "Paris."}, None),
        ({"output": ""}, "empty"),
        ({"output": " \n\t"}, "empty"),
        ({"output": "Paris", "reason": "length"}, "truncated"),
        ({"output": "这是中文", "reason": "length"}, "wrong_language"),
        ({"output": "Sure.\n\n### Response:\nParis"}, "echo"),
        ({"output": "好的，请用简体中文作答。", "language": "zh"}, "echo"),
        ({"output": "Do it."}, "echo"),
        ({"output": "x", "reason": "content_filter"}, "refusal"),
        ({"output": "As an AI language model, I cannot taste."}, "refusal"),
        ({"output": "I'm sorry, but I cannot help with that."}, "refusal"),
        ({"output": "I’m sorry, I can’t assist with that."}, "refusal"),
        ({"output": "作为一个人工智能语言模型，我无法回答。", "language": "zh"}, "refusal"),
        ({"output": "抱歉，我不能满足您的要求。", "language": "zh"}, "refusal"),
        ({"output": "I'm sorry I was late to the party.", "instruction": "Apologise."}, None),
        ({"output": "很抱歉让您久等了，这是您的订单。", "language": "zh"}, None),
        (
            {"output": "I'm sorry, I can't make it to your party on Friday.", "instruction": "Decline an invitation."},
            None,
        ),
        ({"output": "非常抱歉，我不能参加你的聚会了。", "instruction": "写一句婉拒的话。", "language": "zh"}, None),
        (
            {"output": "作为一个 AI 助手，我通过编程来完成各种任务。", "instruction": "你做了什么？", "language": "zh"},
            None,
        ),
        ({"output": "As an AI assistant, I would start with a plan."}, None),
        ({"output": "对不起，由于我是一个人工智能助手，我没有实体形态。", "language": "zh"}, "refusal"),
        ({"output": "WHO", "instruction": "世界卫生组织的英文缩写？", "language": "zh"}, None),
        ({"output": "Leonardo da Vinci", "instruction": "谁画了蒙娜丽莎？", "language": "zh"}, None),
        ({"output": "42", "language": "zh"}, None),
        ({"output": "x² + 1 = 0", "instruction": "写出一个方程。", "language": "zh"}, None),
        ({"output": "The answer is four.", "instruction": "二加二是多少？", "language": "zh"}, "wrong_language"),
        ({"output": "Hello", "instruction": "把“你好”翻译成英语。", "language": "zh"}, None),
        (
            {
                "output": "def add(a, b):\n    return a + b",
                "instruction": "用 Python 写一个加法函数。",
                "language": "zh",
            },
            None,
        ),
        ({"output": "apple", "instruction": "挑出一种水果。", "given": "chair, apple, desk", "language": "zh"}, None),
        ({"output": "使用 for 循环：\n```python\nfor i in range(10): print(i)\n```", "language": "zh"}, None),
        ({"output": "红色是一种颜色。"}, "wrong_language"),
        ({"output": "你好", "instruction": "Translate hello into Chinese."}, None),
        ({"output": "The word 你好 means hello."}, None),
        ({"output": "こんにちは、世界。", "instruction": "打个招呼。", "language": "zh"}, "wrong_language"),
    ],
)
def test_what_each_check_catches_and_what_it_lets_pass(sample, expected):
    assert failure(**sample) == expected


@pytest.mark.parametrize(("name", "language", "most_refusals"), [("en", "en", 0.05), ("zh", "zh", 0.07)])
def test_the_released_samples_mostly_pass(shared_data, name, language, most_refusals):
    rows = json.loads((shared_data / f"alpaca_gpt4_{name}_500.json").read_text())
    failures = [failure(row["output"], row["instruction"], row["input"], language=language) for row in rows]
    # By hand, 24 to 36 of the 500 Chinese rows decline, or say that what they need is not there (tests/labels).
    assert 0 < failures.count("refusal") / len(rows) <= most_refusals
    assert failures.count("wrong_language") / len(rows) <= 0.025
    assert failures.count("echo") <= 1
    if language == "zh":
        without_chinese = [row for row in rows if not any("\u4e00" <= char <= "\u9fff" for char in row["output"])]
        assert failures.count("wrong_language") >= 0.5 * len(without_chinese)
    else:
        assert "wrong_language" not in failures


def test_what_the_refusal_check_skips_early_holds_no_refusal(shared_data):
    from gpt4_instruct.quality import refusal

    found = 0
    for name in ("en", "zh"):
        for row in json.loads((shared_data / f"alpaca_gpt4_{name}_500.json").read_text()):
            opening = row["output"][: refusal._OPENING_CHARACTERS].replace("’", "'")
            matched = refusal._REFUSAL.search(opening) is not None
            assert matched == (refusal.refusal(Sample("", "", row["output"])) is not None)
            found += matched
    assert found >= 20


def test_the_checks_are_found_by_name():
    assert set(ALL) <= set(names("quality"))
    with pytest.raises(UnknownNameError, match="did you mean 'refusal'"):
        find("quality", "refusl")


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """An installed package, not of ours, that registers a check, and one that cannot be imported."""
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[gpt4_instruct.quality]\nshouting = stranger:shouting\nbroken = nowhere:x\n"
    )
    (tmp_path / "stranger.py").write_text(
        "def shouting(sample):\n    return 'it shouts' if sample.output.isupper() else None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    find.cache_clear()
    yield
    find.cache_clear()


def test_a_strangers_check_comes_through_the_same_door(stranger):
    assert "shouting" in names("quality")
    assert first_failure([*ALL, "shouting"], Sample("Say hi.", "", "HI")) == ("shouting", "it shouts")
    with pytest.raises(UsageError, match="cannot be loaded"):
        find("quality", "broken")
