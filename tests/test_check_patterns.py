"""What the checks' patterns must not do: hang on odd texts, raise, or call right what only looks wrong."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt4_instruct.quality.base import Sample
from gpt4_instruct.registry import find, names

LONGEST = 50_000  # characters of a text that an audit shows to a check
# Lingua reads 300 characters, and MinHash is no pattern.
NO_PATTERNS = {"foreign_language", "near_duplicate", "similar_output", "similar_task"}
PATTERNS = [
    name for name in names("quality") if name not in NO_PATTERNS and find("quality", name).subject != "comparison"
]
ATOMS = [
    *("\n", " ", "a", "A", "1", "1,", "1、", "(", "((", '"', "'", "`", "$", "<a>", "<image", "[image", "&amp;", "\\n"),
    *("我", "，", "：", "input:", "output:\n", "user:\n", "as an ai ", "sorry ", "=", "=1+", "1+", "1 = ", "- \n"),
    *("1.\n", "http://a ", "def ", "print(", "the following ", "make a ", "\nq:a"),
]


def looked(name: str, sample: Sample) -> str | None:
    check = find("quality", name)
    return check()(sample, 0) if isinstance(check, type) else check(sample)


def odd_texts() -> Iterator[str]:
    """Long runs of one thing, of two in turn, and of one thing behind another, each with something behind them."""
    for atom in ATOMS:
        yield (atom * LONGEST)[:LONGEST] + "x"
    shorter = LONGEST // 5  # there are many of these
    for one, other in pairwise(ATOMS):
        yield ((one + other) * shorter)[:shorter]
        yield "a" + (one * shorter)[: shorter // 2] + (other * shorter)[: shorter // 2] + "x"
    half = LONGEST // 2
    yield from ("a" + "\n" * half + "user:" + "\n" * half + "x", "(output:" + " " * LONGEST + "x(")
    yield from ("&amp;" + "<a>" * (LONGEST // 3), "Go. " + "A" * LONGEST + " a", "1" + " " * LONGEST + "=")
    yield from (f"Summarize the following text{run * LONGEST}" for run in ("\n", "1", " "))


# Where a pattern takes time with the square of a text's length, one of these texts takes minutes; all take seconds.
@pytest.mark.timeout(60)
@pytest.mark.parametrize("field", ["instruction", "input", "output", "label"])
@pytest.mark.parametrize("name", PATTERNS)
def test_no_text_makes_a_check_hang(name, field):
    for text in odd_texts():
        samples = {
            "instruction": [Sample(text, "", "It is 5.")],
            "input": [
                Sample("Find the sum of these numbers.", text, "It is 5."),
                Sample("总结。", text, "The text is about this and that.", language="zh"),
            ],
            "output": [Sample("Write a Python function that adds.", "", text)],
            "label": [Sample("Is it? Answer Yes or No.", "", text, label=text[::-1])],
        }[field]
        for sample in samples:
            looked(name, sample)


@pytest.mark.timeout(20)
def test_an_answer_and_a_label_of_many_words_are_compared_at_once():
    answer, label = (" ".join(f"{letter}{number:x}q" for number in range(8000)) for letter in "xy")
    assert looked("label_conflict", Sample("Name it.", "", answer, label=label)) is None


_SUMS = st.text(alphabet="0123456789+-*/^()=.,% \n和的、与x", max_size=120)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(["What is ", "Calculate ", "Find the sum of these numbers.", "求", "以下数字的乘积"]),
    _SUMS,
    _SUMS,
    _SUMS,
)
def test_arithmetic_never_raises(asked, behind, given_input, answer):
    looked("wrong_arithmetic", Sample(asked + behind, given_input, f"It is {answer}"))


@pytest.mark.parametrize(
    "sample",
    [
        Sample("Say something about 1+1.", "", "1 + 1 = " + "1" * 5000),
        Sample("Calculate 2+3", "", "The answer is " + "7" * 5000),
        Sample("999" + ("、" + "9" * 9) * 1000 + "和3的乘积", "", "结果是5"),
        Sample("1.5" + "、99999999.5" * 60 + "和3的乘积", "", "结果是5"),
        Sample("Find the product of these numbers.", ", ".join(["99999999.5"] * 60), "It is 5."),
        Sample("Find the sum of these numbers.", ", ".join(map(str, range(1, 1000))), "The sum is 499500."),
        Sample("Calculate ((((0.9^64)^64)^64)^64)", "", "It is 5."),
        Sample("Calculate " + "(" * 180 + "1", "", "It is 5."),
    ],
)
@pytest.mark.timeout(20)
def test_huge_numbers_are_not_judged(sample):
    assert looked("wrong_arithmetic", sample) is None


@pytest.mark.parametrize(
    ("instruction", "given_input", "output"),
    [
        ("Find the sum of these numbers.", "1,000 and 2,500", "The sum is 3,500."),
        ("What is the average of the following numbers?", "1,000, 2,000, 3,000", "The average is 2,000."),
        ("计算下列数字的和", "1,000，2,500", "总和是3500。"),
        ("Find the mean of these numbers.", "10-20, 30", "That depends: 15 or 30."),
        ("Solve it.", "", "20% of 50 + 5 = 15, so the answer is 15."),
        ("Solve it.", "", "The square root of 16 + 9 = 13."),
        ("Solve it.", "", "We have log 100 + 1 = 3 and sin 90 + 1 = 2."),
        ("Solve it.", "", "Twenty dollars plus 5 × 2 = 30 dollars."),
        ("Solve it.", "", "The sum of 4 and 3 + 2 = 9."),
        ("Solve it.", "", "一半的 20 + 5 = 15"),
        ("Explain floats.", "", "Because of rounding, 0.1 + 0.2 = 0.30000000000000004 in most languages."),
        ("What is a famous line in 1984?", "", "The Party claims that 2 + 2 = 5, and Winston must believe it."),
        ("What did he say?", "", 'He wrote "2 + 2 = 5" on the wall.'),
        ("小说里写了什么？", "", "他写下“2 + 2 = 5”。"),
        ("Give an equation that does not hold.", "", "2 + 2 = 5 is false."),
        ("What time is it then?", "", "10:30 + 2 = 12:30"),
        ("How tall?", "", "5 feet 6 + 2 = 5 feet 8"),
        ("How long?", "", "2 hours 30 + 45 = 3 hours 15"),
        ("What is 24/7?", "", "It means that a service is open all the time, 24 hours a day."),
        ("What is 9/11?", "", "The attacks of September 11, 2001, in which 2,977 people were killed."),
        ("What is 3.14?", "", "It is March 14, when people celebrate Pi Day."),
        ("What is 555-1234?", "", "It is a telephone number of 7 digits."),
    ],
)
def test_right_arithmetic_is_right(instruction, given_input, output):
    assert looked("wrong_arithmetic", Sample(instruction, given_input, output)) is None


@pytest.mark.parametrize(
    ("instruction", "given_input", "output"),
    [
        ("Solve it.", "", "Step 1: 3 + 4 = 8"),
        ("Solve it.", "", "The sum of 12 + 5 = 18."),
        ("Solve it.", "", "5 + 5 = 10 and 3 + 4 = 8"),
        ("Solve it.", "", "所以 3 + 4 = 8。"),
        ("Solve it.", "", "The total is 2 + 3 = 6. It is not hard."),
        ("Solve it.", "", "In full: 1,000 + 2,500 = 3,600"),
        ("Find the sum of the numbers.", "1, 2, 3, 4", "The sum is 11."),
        ("求1、2和3的和", "", "和是7"),
        ("What is 15 - 7?", "", "It is 9."),
        ("Evaluate 2^10", "", "It is 1023."),
    ],
)
def test_wrong_arithmetic_is_still_wrong(instruction, given_input, output):
    assert looked("wrong_arithmetic", Sample(instruction, given_input, output)) is not None


@pytest.mark.parametrize(
    ("name", "instruction", "output"),
    [
        (
            "refusal",
            "Apologise to a customer for a late parcel.",
            "I'm sorry, I can't offer a refund before it is back.",
        ),
        ("refusal", "Write a polite message that you cannot attend.", "Unfortunately, I'm not able to write more."),
        ("refusal", "Write a scene in a shop: the clerk refuses.", "I'm sorry, I can't give you a discount."),
        ("refusal", "写一段客服对话，客服无法退款。", "客户：我要退款。\n客服：很抱歉，我无法为您退款。"),
        ("truncated", "How do I make tea?", "1. Boil water.\n2. Pour it over the leaves.\n3. Wait.\n4. Enjoy"),
        ("truncated", "怎么泡茶？", "1. 把水烧开。\n2. 放入茶叶。\n3. 倒入热水。\n4. 享用"),
        ("physical_task", "Send a polite reminder to a tenant about the rent.", "Dear Mr Gray, the rent is due."),
        ("physical_task", "Make a reservation policy for a small restaurant.", "Tables are held for 15 minutes."),
        ("physical_task", "As a bank, confirm a payment.", "Your payment was confirmed. Thank you."),
        ("physical_task", "Can you cook an egg only by sunlight, anywhere in our world?", "Yes, with a mirror."),
        ("media_asked", "Paint me a word picture of a harbour at dawn.", "Masts stand like reeds in pale fog."),
        ("media_asked", "Find the image of 3 under f(x) = 2x.", "6"),
        ("media_asked", "Why do people like film when phones generate better photos?", "For its look."),
        ("media_asked", "为什么要制作流程图？", "因为它清楚。"),
    ],
)
def test_what_only_looks_wrong(name, instruction, output):
    assert looked(name, Sample(instruction, "", output)) is None


@pytest.mark.parametrize(
    ("name", "instruction", "output"),
    [
        ("refusal", "Write a poem about an apology.", "I'm sorry, but I cannot write poems."),
        ("refusal", "Write an e-mail to a customer.", "I'm sorry, but as an AI I cannot write e-mails."),
        ("refusal", "Write an e-mail that threatens a client.", "I'm sorry, but I can't assist with that."),
        ("refusal", "Reply to my last e-mail.", "I'm sorry, but I cannot access your e-mail."),
        ("refusal", "写一封客服回信，拒绝退款。", "作为AI，我无法写信。"),
        (
            "truncated",
            "How do I make tea?",
            "1. Boil it.\n2. Pour it on.\n3. Wait a bit.\n4. Then take the leaves out o",
        ),
        ("truncated", "List them.", "1. It is cheap.\n2. It is quick.\n3."),
        ("physical_task", "Send an e-mail to Bob.", "Done."),
        ("physical_task", "Make a reservation for two.", "Done."),
        ("physical_task", "Can you cook me an egg?", "Here you are."),
        ("media_asked", "How many cats are in this picture?", "Three."),
        ("literal_escapes", "Name two.", "One &amp; two in <a>a cage."),
        ("merged_examples", "Name a colour.", "Blue.\n\nUser: And a fish?\n\nAssistant: A carp."),
        ("wrong_language", "总结。", "The text is about this and that."),
        ("missing_attachment", "Summarize the following text\n\n", "It is about this."),
    ],
)
def test_what_is_wrong_is_still_found(name, instruction, output):
    language = "zh" if name == "wrong_language" else "en"
    assert looked(name, Sample(instruction, "", output, language=language)) is not None


def test_an_answer_that_is_the_instruction_is_reported_once():
    row = Sample("Say hi to the whole class.", "", "say hi to the whole class")
    found = [name for name in ("echo", "copied") if looked(name, row)]
    assert found == ["echo"]
    again = "Close the door when you leave."
    assert looked("copied", Sample("Rewrite this in a friendlier tone.", again, again))
