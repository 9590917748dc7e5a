"""The filters of Self-Instruct and Alpaca as checks: each rule to the letter in English, and what Chinese tasks pass."""

from __future__ import annotations

import json
import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from gpt4_instruct import audit
from gpt4_instruct.cli.app import app
from gpt4_instruct.quality.audit import choose
from gpt4_instruct.quality.base import Sample, first_failure
from gpt4_instruct.registry import find

ALPACA = ("task_length", "blacklist_alpaca", "program_asked", "begins_with_punctuation", "begins_not_ascii")
FILTERS = (*ALPACA, "blacklist_self_instruct", "input_is_output", "ends_with_colon")

# The lists as they were published; the checks keep their own.
SELF_INSTRUCT_WORDS = (
    *("image", "images", "graph", "graphs", "picture", "pictures", "file", "files", "map", "maps"),
    *("draw", "plot", "go to"),
)
ALPACA_WORDS = (*SELF_INSTRUCT_WORDS, "video", "audio", "music", "flowchart", "diagram")


def fails(name: str, instruction: str, given_input: str = "", output: str = "", language: str = "en") -> bool:
    return find("quality", name)(Sample(instruction, given_input, output, language=language)) is not None


def passes_alpaca(task: str) -> bool:
    """Alpaca's filters one by one, in its order, on a task without space around it."""
    count = len(task.split())
    if count <= 3 or count > 150:
        return False
    if any(re.search(rf"\b{word}\b", task, re.IGNORECASE) for word in ALPACA_WORDS):
        return False
    return not task.startswith("Write a program") and task[0] not in string.punctuation and task[0].isascii()


_PIECES = st.sampled_from(
    [
        *(*ALPACA_WORDS, "Map", "maple", "graphic", "a_map", "go  to", "Go To", "Write a program", "write a program"),
        *("the", "words", "é", "¿", "-", "'", "(", "“", ".", "1", "图", "x" * 30, "\n", "word " * 60),
    ]
)


@given(st.lists(_PIECES, max_size=12), st.sampled_from([" ", "", " , ", "-"]))
def test_english_is_filtered_as_alpaca_filters_it(pieces, between):
    task = between.join(pieces).strip()
    assert (first_failure(ALPACA, Sample(task, "", "")) is None) == passes_alpaca(task)


@pytest.mark.parametrize(("language", "word", "fewest", "most"), [("en", "word ", 4, 150), ("zh", "词", 5, 240)])
def test_length_is_counted_in_words(language, word, fewest, most):
    lengths = (0, fewest - 1, fewest, most, most + 1)
    found = [fails("task_length", word * count, language=language) for count in lengths]
    assert found == [True, True, False, False, True]


@pytest.mark.parametrize("word", ALPACA_WORDS)
def test_every_listed_word_is_found_whole_and_in_any_case(word):
    for task in (f"Tell me about the {word} of Rome.", f"{word.upper()}: what is it good for?"):
        assert fails("blacklist_alpaca", task)
        assert fails("blacklist_self_instruct", task) == (word in SELF_INSTRUCT_WORDS)
    assert not fails("blacklist_alpaca", f"Tell me about the x{word}x of Rome.")


def test_english_rules_to_the_letter():
    assert fails("program_asked", "Write a programme note for a concert.")
    assert not fails("program_asked", "write a program that adds two numbers.")
    assert not fails("program_asked", "Please: Write a program that adds two numbers.")
    assert all(fails("begins_with_punctuation", f"{sign}Name a planet.") for sign in string.punctuation)
    assert not fails("begins_with_punctuation", "“Carpe diem” means what?")
    assert fails("begins_not_ascii", "“Carpe diem” means what?") and not fails("begins_not_ascii", "Is π rational?")


@pytest.mark.parametrize("name", FILTERS)
@pytest.mark.parametrize("language", ["en", "zh"])
def test_an_empty_task_raises_nothing_and_is_too_short(name, language):
    for text in ("", " \n"):
        assert fails(name, text, language=language) == (name == "task_length")


@pytest.mark.parametrize(
    ("given_input", "output", "language", "expected"),
    [
        ("The same.", " The same.\n", "en", "input_is_output"),
        ("The same.", "the same.", "en", None),
        ("", "", "en", None),  # `empty` is for that
        ("Ann: Hi!\nBen: ", "Hello!", "en", "ends_with_colon"),
        ("", "Here they are:", "en", "ends_with_colon"),
        ("", "Here they are：", "en", None),
        ("", "如下：", "zh", "ends_with_colon"),
        ("", "如下:", "zh", "ends_with_colon"),
        ("3:2", "一比二：少一半。", "zh", None),
    ],
)
def test_instances(given_input, output, language, expected):
    found = first_failure(
        ("input_is_output", "ends_with_colon"), Sample("Do it.", given_input, output, language=language)
    )
    assert (found and found[0]) == expected


# --- Chinese --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "task",
    [
        *("描述下面这张图片。", "把这份文件翻译成英文。", "画出函数y=x²的图像。", "请画一棵圣诞树。", "给我画只小猫。"),
        *("用ASCII字符绘制一座房子。", "制作一张思维导图。", "根据地图说出路线。", "如图所示，求阴影部分的面积。"),
        *("请前往下面的地址。", "访问以下网站并总结内容。", "去商店买一瓶牛奶。", "在纸上画一个圆。", "画江南水乡。"),
    ],
)
def test_chinese_tasks_that_no_text_can_do(task):
    assert fails("blacklist_self_instruct", task, language="zh")
    assert fails("blacklist_alpaca", task, language="zh")


@pytest.mark.parametrize(
    "task",
    [
        *("为公司制定年度计划。", "谈谈职业规划。", "写一份活动策划。", "这本漫画讲了什么？", "介绍一位法国画家。"),
        *("图书馆几点开门？", "他的意图是什么？", "试图说服我。", "列出三种图书分类法。", "例如图书和报纸。"),
        *("解释“画龙点睛”。", "画蛇添足是什么意思？", "刻画出一个人物。", "这幅画一共卖了多少钱？", "动画的历史。"),
        *(
            "文件夹怎么重命名？",
            "解释法律文件的作用。",
            "介绍歌剧和音乐会的区别。",
            "去除列表里的重复项。",
            "图灵是谁？",
        ),
        *("去年谁得了冠军？", "描绘一幅江南春景。", "说说音乐家贝多芬。", "假如图书馆不收费。", "企图和意图的区别。"),
    ],
)
def test_ordinary_chinese_tasks_pass_the_blacklists(task):
    assert not fails("blacklist_alpaca", task, language="zh")
    assert not fails("blacklist_self_instruct", task, language="zh")


@pytest.mark.parametrize("task", ["介绍一段视频。", "听这段录音。", "推荐几首轻松的音乐。", "画一个流程图。"])
def test_alpaca_leaves_out_sounds_and_films_too(task):
    assert fails("blacklist_alpaca", task, language="zh")


def test_released_chinese_tasks_are_hardly_filtered(shared_data):
    # They are translations of tasks that passed Alpaca's filters; each row that one of these fails was read. The tasks
    # of 2 to 4 characters are an input that stands in the wrong place, but for 什么是API？ at 135.
    rows = json.loads((shared_data / "alpaca_gpt4_zh_500.json").read_text())
    found = {
        name: [row for row, each in enumerate(rows) if fails(name, each["instruction"], language="zh")]
        for name in FILTERS
    }
    assert {name: rows for name, rows in found.items() if rows} == {
        "task_length": [72, 84, 85, 135, 178, 276, 399, 421, 422],
        "blacklist_alpaca": [43, 145],  # 爵士乐歌曲的主要音乐元素, "musical" in English; 创建一个图表
        "blacklist_self_instruct": [145],
        "begins_with_punctuation": [330],
    }


def test_released_english_tasks_passed_these_filters(shared_data):
    rows = json.loads((shared_data / "alpaca_gpt4_en_500.json").read_text())
    assert [each for each in rows if first_failure(ALPACA, Sample(each["instruction"], "", ""))] == []


# --- in an audit ----------------------------------------------------------------------------------------------------


def test_an_audit_runs_them_only_where_they_are_named():
    rows = [{"instruction": "Draw a map.", "input": "", "output": "I did:"}]
    assert not set(FILTERS) & set(choose())
    found = audit(rows, checks=FILTERS).findings
    assert {(each.check, each.severity) for each in found} == {
        (name, "info") for name in ("task_length", "blacklist_alpaca", "blacklist_self_instruct", "ends_with_colon")
    }
    listed = CliRunner().invoke(app, ["audit", "--checks"], env={"COLUMNS": "300"}).output
    assert all(name in listed for name in FILTERS)
