"""Novelty against the slow way: the same texts kept as by rouge-score asked pair by pair, to the last digit."""

from __future__ import annotations

import json
import random
import tracemalloc
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer, _score_lcs
from rouge_score.tokenizers import DefaultTokenizer, Tokenizer

from gpt4_instruct.errors import UnknownNameError, UsageError
from gpt4_instruct.languages import words
from gpt4_instruct.quality import novelty
from gpt4_instruct.quality.novelty import NoveltyIndex, kept


class Characters(Tokenizer):
    """For rouge-score, whose own tokenizer drops Chinese."""

    def tokenize(self, text: str) -> list[str]:
        return words(text, "zh")


SCORERS = {"en": RougeScorer(["rougeL"]), "zh": RougeScorer(["rougeL"], tokenizer=Characters())}


def f1(one: str, other: str, language: str = "en") -> float:
    return SCORERS[language].score(one, other)["rougeL"].fmeasure


def slowly_kept(texts: Sequence[str], threshold: float = 0.7, language: str = "en") -> list[int]:
    """As Alpaca's generate_instruction.py does it: tokens first, then `_score_lcs` with everything kept so far."""
    tokenizer = DefaultTokenizer() if language == "en" else Characters()
    tokens = [tokenizer.tokenize(text) for text in texts]
    found: list[int] = []
    for number, own in enumerate(tokens):
        if not any(_score_lcs(own, tokens[other]).fmeasure > threshold for other in found):
            found.append(number)
    return found


@pytest.fixture(params=[1, 3, novelty._FIRST_COUNT])
def first_count(request, monkeypatch):
    """Tokens are also counted again within few texts, as they are in many."""
    monkeypatch.setattr(novelty, "_FIRST_COUNT", request.param)


# Few words, in texts of few lengths, so that many pairs stand close to the threshold.
ENGLISH = st.lists(st.sampled_from(["a", "B", "it's", "list", "the", "fox,"]), max_size=12).map(" ".join)
CHINESE = st.lists(st.sampled_from([*"写一个故事的。\U00020bb7", "Python ", "３", "カ"]), max_size=14).map("".join)
THRESHOLDS = st.sampled_from([0.7, 0.5, 0.6, 0.8, 2 / 3, 0.3, 0.05, 1.0]) | st.floats(0.01, 1.0)


@st.composite
def families(draw, text):
    """Texts, and copies of them with a token or two exchanged, added or left out, in any order."""
    texts = draw(st.lists(text, min_size=1, max_size=6))
    for _ in range(draw(st.integers(0, 8))):
        copied = list(draw(st.sampled_from(texts)))
        at = draw(st.integers(0, len(copied)))
        copied[at : at + draw(st.integers(0, 2))] = draw(text)[: draw(st.integers(0, 3))]
        texts.append("".join(copied))
    return draw(st.permutations(texts))


@pytest.mark.usefixtures("first_count")
@pytest.mark.parametrize(("language", "text"), [("en", ENGLISH), ("zh", CHINESE)])
def test_the_kept_texts_are_those_of_the_slow_way(language, text):
    @settings(max_examples=150, deadline=None)
    @given(families(text), THRESHOLDS)
    def same(texts, threshold):
        assert kept(texts, threshold, language) == slowly_kept(texts, threshold, language)

    same()


@pytest.mark.usefixtures("first_count")
@pytest.mark.parametrize(("language", "text"), [("en", ENGLISH), ("zh", CHINESE)])
def test_nearest_is_the_first_of_the_most_similar_with_rouge_scores_own_number(language, text):
    @settings(max_examples=100, deadline=None)
    @given(families(text), THRESHOLDS, text)
    def same(pool, threshold, candidate):
        index = NoveltyIndex(threshold, language)
        assert [index.add(each) for each in pool] == list(range(len(pool))) and len(index) == len(pool)
        scores = [f1(each, candidate, language) for each in pool]
        best = max(scores)
        expected = (scores.index(best), best) if best > threshold else None
        assert index.nearest(candidate) == expected
        assert index.similar(candidate) == [each for each in enumerate(scores) if each[1] > threshold]
        assert index.add_if_novel(candidate) is (expected is None)

    same()


@settings(max_examples=100, deadline=None)
@given(families(ENGLISH), THRESHOLDS)
def test_an_index_asked_row_by_row_decides_as_kept_does_and_is_not_changed_by_being_asked(texts, threshold):
    index = NoveltyIndex(threshold)
    found = []
    for number, text in enumerate(texts):
        for other in texts:
            index.nearest(other)
        if index.nearest(text) is None:
            found.append(number)
            index.add(text)
    assert found == kept(texts, threshold)


@pytest.mark.parametrize("threshold", [0.7, 0.5, 0.6, 0.8, 0.9, 0.3, 2 / 3])
def test_pairs_exactly_at_the_threshold_fall_on_the_side_on_which_rouge_scores_floats_put_them(threshold):
    exactly = Fraction(threshold).limit_denominator(100)
    sides = []
    for n in range(1, 50):
        for m in range(1, 50):
            common = exactly * (n + m) / 2
            if common.denominator != 1 or not 0 < common <= min(n, m):
                continue
            shared = [f"s{each}" for each in range(int(common))]
            one = " ".join([*shared, *(f"a{each}" for each in range(n - int(common)))])
            other = " ".join([*(f"b{each}" for each in range(m - int(common))), *shared])
            expected = _score_lcs(one.split(), other.split()).fmeasure > threshold
            assert kept([one, other], threshold) == ([0] if expected else [0, 1]), (int(common), n, m)
            sides.append(expected)
    # Decided in exact numbers, all of them would be kept; 0.9 is the only one here whose floats agree with that.
    assert sides and any(sides) == (threshold != 0.9) and not all(sides)


def test_random_texts_of_an_everyday_shape_with_counts_made_again_on_the_way(monkeypatch):
    monkeypatch.setattr(novelty, "_FIRST_COUNT", 100)
    rng = random.Random(0)
    vocabulary = [f"w{rank}" for rank in range(400)]
    weights = [1 / (rank + 1) for rank in range(400)]
    texts: list[str] = []
    for _ in range(500):
        if texts and rng.random() < 0.4:
            copied = rng.choice(texts).split()
            for _ in range(rng.randint(1, 4)):
                copied[rng.randrange(len(copied))] = rng.choice(vocabulary)
            texts.append(" ".join(copied))
        else:
            texts.append(" ".join(rng.choices(vocabulary, weights, k=rng.randint(2, 14))))
    found = kept(texts)
    assert 200 < len(found) < 450  # counted twice, and some are dropped
    assert found == slowly_kept(texts)


def test_the_real_english_instructions(shared_data):
    texts = [row["instruction"] for row in json.loads((shared_data / "alpaca_gpt4_en_500.json").read_text())][:300]
    for name in ("seed_tasks_175.jsonl", "user_oriented_instructions_252.jsonl"):
        texts += [row["instruction"] for row in _jsonl(shared_data / name)][:60]
    assert kept(texts) == slowly_kept(texts)
    some = texts[::3]
    assert kept(some, 0.4) == slowly_kept(some, 0.4) != list(range(len(some)))


def test_the_real_chinese_instructions(shared_data):
    texts = [row["instruction"] for row in json.loads((shared_data / "alpaca_gpt4_zh_500.json").read_text())][:250]
    assert kept(texts, language="zh") == slowly_kept(texts, language="zh")
    some = texts[:150]
    assert kept(some, 0.4, "zh") == slowly_kept(some, 0.4, "zh") != list(range(len(some)))


def _jsonl(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_more_tokens_than_there_are_characters(monkeypatch):
    monkeypatch.setattr(novelty, "_LAST_CHARACTER", 5)
    texts = ["a b c d", "e f g h i j", "e f g h i k", "l m n o", "o l m n o", "b c d a x", "l e a", "e l a"]
    index = NoveltyIndex()
    assert [index.add_if_novel(text) for text in texts] == [True, True, False, True, False, True, True, True]
    assert {type(each) for each in index._texts} == {str, list}
    assert kept(texts) == slowly_kept(texts)
    assert index.nearest("e f g h i j") == (1, 1.0)


def test_texts_without_a_token_are_kept_and_never_near():
    assert kept(["", "...", "你好", "你好", "Hi.", "hi"]) == [0, 1, 2, 3, 4]
    assert kept(["", "。", "你好", "你好！"], language="zh") == [0, 1, 2]
    assert NoveltyIndex().nearest("") is None


def test_the_same_text_over_and_over():
    assert kept(["Write a story about a red fox."] * 20_000) == [0]
    assert kept(["the the the the"] * 500) == [0]
    assert kept(["Say hi."] * 300, threshold=1) == list(range(300))  # nothing is greater than 1


def test_one_text_of_a_megabyte():
    rng = random.Random(0)
    long = " ".join(f"w{rng.randrange(20_000)}" for _ in range(150_000))
    assert kept(["Say hi.", long, "Name a river.", long, "a " * 500_000, "Say: hi!"]) == [0, 1, 2, 4]
    short = long[:200_000]
    assert kept([short, f"Again: {short}", "a " * 100_000]) == [0, 2]


def test_memory_does_not_grow_with_the_square_of_the_texts():
    rng = random.Random(0)
    texts = [" ".join(f"w{rng.randrange(2_000)}" for _ in range(10)) for _ in range(6_000)]
    kept(texts[:10])
    peaks = []
    for count in (1_500, 6_000):
        tracemalloc.start()
        kept(texts[:count])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 6 * peaks[0]  # four times the texts


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (lambda: kept([], threshold=0), "threshold is 0: give a number over 0 and up to 1"),
        (lambda: kept([], threshold=1.01), "threshold is 1.01"),
        (lambda: kept([], threshold=float("nan")), "threshold is nan"),
        (lambda: NoveltyIndex(True), "threshold is True"),
        (lambda: NoveltyIndex("0.7"), "threshold is '0.7'"),
        (lambda: kept("Say hi."), "texts is one string"),
        (lambda: kept(["Say hi.", None]), r"texts\[1\] is a NoneType, not a string"),
        (lambda: kept([["Say hi."]]), r"texts\[0\] is a list, not a string"),
        (lambda: NoveltyIndex().add(7), "the text is a int, not a string"),
        (lambda: NoveltyIndex().nearest(None), "the text is a NoneType, not a string"),
        (lambda: NoveltyIndex().add_if_novel(b"hi"), "the text is a bytes, not a string"),
    ],
)
def test_what_cannot_work_is_said_in_a_line(work, message):
    with pytest.raises(UsageError, match=message):
        work()


@pytest.mark.parametrize("work", [lambda: kept([], language="de"), lambda: words("", "english")])
def test_an_unknown_language(work):
    with pytest.raises(UnknownNameError, match=r"unknown language '.*Known: en, zh"):
        work()


@settings(max_examples=500)
@given(st.text() | st.text("aZ09 _-İſKé你\n"))
def test_english_words_are_rouge_scores_tokens(text):
    assert words(text, "en") == DefaultTokenizer().tokenize(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("请写一首诗，谢谢！", "请 写 一 首 诗 谢 谢"),
        ("把“GPT-4”译成英文", "把 gpt 4 译 成 英 文"),
        ("ＡＩ有１００种", "ai 有 100 种"),
        ("二〇二三年，人人都说", "二 〇 二 三 年 人 人 都 说"),
        ("人々の𠮷野家", "人 々 の 𠮷 野 家"),  # 𠮷 lies beyond the basic plane
        ("カタカナ・ｶﾅ ー", "カ タ カ ナ カ ナ ー"),
        ("한국어 text", "한 국 어 text"),
        ("ㄅㄆㄇ", "ㄅ ㄆ ㄇ"),
        ("café Привет2", "café привет2"),
        ("snake_case，x²", "snake case x2"),
        ("—— …… 😀", ""),
        ("a b\tc\n", "a b c"),
    ],
)
def test_chinese_words(text, expected):
    assert words(text, "zh") == expected.split()


@given(st.text())
def test_chinese_words_are_lower_case_whole_and_cover_all_letters_and_digits(text):
    tokens = words(text, "zh")
    assert all(token and token.lower() == token and "_" not in token and not token.isspace() for token in tokens)
    if text.isascii():
        assert tokens == words(text, "en")
