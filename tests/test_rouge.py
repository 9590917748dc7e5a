"""ROUGE: digit for digit rouge-score's in English, sensible in Chinese, and in buckets as the paper has them."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt4_instruct.errors import MissingExtraError, UnknownNameError, UsageError
from gpt4_instruct.metrics import rouge as rouge_module
from gpt4_instruct.metrics import tokens
from gpt4_instruct.metrics.rouge import ROUGES, score_pairs
from gpt4_instruct.metrics.rouge_by_length import rouge_by_length
from gpt4_instruct.metrics.tokens import choose, encode

SMALL = {"resamples": 50}


def theirs(predictions: list[str], references: list[str], stemmer: bool) -> dict[str, np.ndarray]:
    """rouge-score's precision, recall and F1 of each pair."""
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(list(ROUGES), use_stemmer=stemmer)
    found = [scorer.score(reference, prediction) for prediction, reference in zip(predictions, references, strict=True)]
    return {rouge: np.array([each[rouge] for each in found]) for rouge in ROUGES}


def ours(predictions: list[str], references: list[str], stemmer: bool) -> dict[str, np.ndarray]:
    return score_pairs(predictions, references, stemmer=stemmer)[0]


def assert_same(predictions: list[str], references: list[str], stemmer: bool) -> None:
    expected = theirs(predictions, references, stemmer)
    for rouge, scores in ours(predictions, references, stemmer).items():
        np.testing.assert_allclose(scores, expected[rouge], rtol=0, atol=1e-12, err_msg=rouge)


# --- equal to rouge-score -------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["the", "The", "cat", "cats", "running", "ran", "don't", "7", "café", "熊猫", "İ", "-", "\n", "_"]
)
TEXTS = st.one_of(st.text(max_size=30), st.lists(WORDS, max_size=12).map(" ".join))


@settings(deadline=None, max_examples=300)
@given(pairs=st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=5), stemmer=st.booleans())
def test_any_pair_has_the_scores_of_rouge_score(pairs, stemmer):
    assert_same([one for one, _ in pairs], [other for _, other in pairs], stemmer)


@pytest.mark.parametrize("stemmer", [False, True])
def test_real_pairs_have_the_scores_of_rouge_score(shared_data, stemmer):
    predictions, references = real_pairs(shared_data)
    assert_same(predictions, references, stemmer)
    expected = theirs(predictions, references, stemmer)
    found = rouge_by_length(predictions, references, tokenizer="english", stemmer=stemmer, **SMALL)
    lengths = [len(reference.split()) for reference in references]
    for bucket, low, high in zip(found["buckets"], (0, 3, 6, 11, 0), (2, 5, 10, math.inf, math.inf), strict=True):
        rows = [place for place, each in enumerate(lengths) if low <= each <= high]
        assert bucket["n"] == len(rows)
        for rouge in ROUGES:
            if rows:
                mean = expected[rouge][rows].mean(axis=0)
                values = bucket[rouge]
                assert (values["precision"], values["recall"], values["f1"]) == pytest.approx(mean, abs=1e-12)
                assert values["low"] <= values["f1"] <= values["high"]
    assert [found[rouge] for rouge in ROUGES] == [found["buckets"][-1][rouge]["f1"] for rouge in ROUGES]
    assert found["rouge2"] < found["rougeL"] <= found["rouge1"]


def real_pairs(folder) -> tuple[list[str], list[str]]:
    """Answers of three models to the same prompts, one against another, cut so that rouge-score takes no minutes."""
    lines = (folder / "comparison_alpaca_eval_400.jsonl").read_text(encoding="utf-8").splitlines()
    predictions, references = [], []
    for number, line in enumerate(lines[:150]):
        one, other, third = (
            " ".join(each["response"].split()[:60]) for each in json.loads(line)["responses_and_scores"]
        )
        predictions += [one, third]
        references += [other, " ".join(one.split()[: 1 + number % 14])]
    for row in json.loads((folder / "unnatural_gpt4_10.json").read_text(encoding="utf-8")):
        predictions.append(row["output"])
        references.append(row["label"])
    return predictions, references


def test_every_character_is_lowered_and_dropped_as_rouge_score_does():
    from rouge_score.tokenizers import DefaultTokenizer

    characters = [chr(number) for number in range(sys.maxunicode + 1)]
    text = "".join(f"a{each}b " for each in characters[:0x3000])
    assert len(encode([text], "english")[0]) == len(DefaultTokenizer().tokenize(text))
    odd = [each for each in characters[128:] if any(map(str.isascii, each.lower()))]
    assert odd == ["\u0130", "\u212a"]
    assert_same([*odd, "a\0b", "\0", "\ud800"], ["I", "K", "b\0a", "\0\0", "?"], False)


def test_a_token_is_the_same_character_in_all_texts():
    found = encode(["The cats sat.", "", "the SAT cat", "\0 cat \0"], "english")
    assert list(map(len, found)) == [3, 0, 3, 1]
    assert found[0][0] == found[2][0] and found[0][2] == found[2][1] and found[2][2] == found[3]
    assert len(set("".join(found))) == 4
    stems = encode(["The cats sat.", "the SAT cat"], "english", stemmer=True)
    assert set(stems[0]) == set(stems[1])
    assert encode([], "english") == []


def test_more_tokens_than_there_are_characters_are_refused_and_surrogates_are_characters(monkeypatch):
    numbers = " ".join(map(str, range(0xE100)))  # as tokens, more than 0xD800
    text, other = encode([numbers, f"{0xDFFF} {0xD7FF} x"], "english")
    assert len(text) == 0xE100 and other[0] == text[0xDFFF]
    scores, _ = score_pairs([numbers], [" ".join(map(str, range(0xD700, 0xE000)))])
    assert scores["rougeL"][0].tolist()[1] == 1
    monkeypatch.setattr(tokens, "_CHARACTERS", 3)
    with pytest.raises(UsageError, match="there are 4 different tokens in a pair of texts"):
        encode(["a b c"], "english")  # and the mark


@pytest.mark.parametrize("at_once", [1, 40, 1000])
def test_blocks_and_threads_change_nothing(monkeypatch, at_once):
    texts = ["", *(f"{number % 7} {number % 5} {number % 3} {number % 2}" for number in range(100)), ""]
    whole, sizes = score_pairs(texts, texts[::-1])
    monkeypatch.setattr(rouge_module, "_AT_ONCE", at_once)
    found, found_sizes = score_pairs(texts, texts[::-1], workers=4)
    assert all((whole[rouge] == found[rouge]).all() for rouge in ROUGES)
    assert (sizes == found_sizes).all() and sizes[:3].tolist() == [[0, 0], [4, 4], [4, 4]]


# --- Chinese --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tokenizer", ["auto", "characters", "words"])
def test_chinese_that_is_the_same_scores_1_where_rouge_score_gives_0(tokenizer):
    if tokenizer == "words":
        pytest.importorskip("jieba")
    texts = ["大熊猫喜欢吃竹子。", "北京是中国的首都，人口超过两千万。"]
    assert theirs(texts, texts, False)["rougeL"].max() == 0
    found = rouge_by_length(texts, texts, tokenizer=tokenizer, **SMALL)
    assert [found[rouge] for rouge in ROUGES] == [1, 1, 1]
    others = rouge_by_length(texts, texts[::-1], tokenizer=tokenizer, **SMALL)
    assert others["rougeL"] < 0.2


def test_chinese_by_characters_and_by_words_is_what_is_counted_by_hand():
    pytest.importorskip("jieba")
    prediction, reference = ["我喜欢熊猫"], ["熊猫喜欢我。"]
    found = rouge_by_length(prediction, reference, tokenizer="characters", **SMALL)
    assert (found["rouge1"], found["rouge2"], found["rougeL"]) == pytest.approx((1, 2 / 4, 2 / 5))  # 喜欢, 熊猫
    assert (found["unit"], found["pairs_by_tokenizer"]) == ("characters", {"characters": 1})
    assert [each["n"] for each in found["buckets"]] == [0, 1, 0, 0, 1]
    found = rouge_by_length(prediction, reference, tokenizer="words", **SMALL)
    assert (found["rouge1"], found["rouge2"], found["rougeL"]) == pytest.approx((1, 0, 1 / 3))
    assert (found["unit"], found["buckets"][1]["n"]) == ("words", 1)  # 熊猫, 喜欢, 我


def test_auto_tells_by_the_reference_so_that_a_pair_scores_the_same_in_any_company():
    pairs = [("巴黎", "Paris"), ("Paris is big", "paris"), ("巴黎很大", "巴黎"), ("とても", "とても"), ("", "42")]
    predictions, references = [one for one, _ in pairs], [other for _, other in pairs]
    together = rouge_by_length(predictions, references, **SMALL)
    alone = [rouge_by_length([one], [other], **SMALL)["rougeL"] for one, other in pairs]
    assert alone == pytest.approx([0, 1 / 2, 2 / 3, 1, 0])
    assert together["rougeL"] == pytest.approx(sum(alone) / 5)
    assert together["pairs_by_tokenizer"] == {"characters": 2, "english": 3}
    assert together["unit"] == "whitespace words or characters"


def test_real_answers_are_told_apart_by_language(shared_data):
    for name, expected in (("en", "english"), ("zh", "characters")):
        rows = json.loads((shared_data / f"alpaca_gpt4_{name}_500.json").read_text(encoding="utf-8"))
        chosen = [choose(row["output"], "auto") for row in rows]
        assert chosen.count(expected) > 0.95 * len(rows), name
        outputs = [row["output"] for row in rows if any(each.isalnum() for each in row["output"])]
        found = rouge_by_length(outputs, outputs, **SMALL)
        assert found["rouge1"] == found["rougeL"] == 1  # of whatever language


# --- the buckets ----------------------------------------------------------------------------------------------------


def test_the_buckets_are_named_and_filled_as_in_the_paper(shared_data):
    """Its numbers are of answers that were not released, so that the form alone can be compared."""
    references = ["word " * length for length in (0, 1, 2, 3, 5, 6, 10, 11, 300)]
    found = rouge_by_length(references, references, **SMALL)
    assert [each["n"] for each in found["buckets"]] == [3, 2, 2, 2, 9]
    paper = json.loads((shared_data / "paper_numbers.json").read_text())["unnatural_rougeL"]
    assert [each["length"] for each in found["buckets"]] == paper["buckets"]
    for bucket in found["buckets"]:
        name = bucket["length"].replace(">10", "10-")
        theirs = json.loads((shared_data / f"unnatural_rouge_len{name}.json").read_text())
        assert all(set(ROUGES) <= each.keys() for each in theirs)
        assert set(ROUGES) <= bucket.keys()


def test_lengths_count_what_spaces_part_and_not_tokens():
    found = rouge_by_length(["x"], ["state-of-the-art, isn't it?"], **SMALL)  # 8 tokens
    assert [each["length"] for each in found["buckets"] if each["n"]] == ["3-5", "ALL"]
    assert (found["unit"], found["tokenizer"], found["stemmer"]) == ("whitespace words", "auto", False)


def test_other_bounds_and_an_empty_bucket():
    found = rouge_by_length(["a b"], ["a b"], bounds=[1, 2, 4], **SMALL)
    assert [(each["length"], each["n"]) for each in found["buckets"]] == [
        ("0-1", 0),
        ("2", 1),
        ("3-4", 0),
        (">4", 0),
        ("ALL", 1),
    ]
    assert found["buckets"][0]["rougeL"] == dict.fromkeys(["precision", "recall", "f1", "low", "high"])
    assert found["buckets"][1]["rougeL"] == {"precision": 1, "recall": 1, "f1": 1, "low": None, "high": None}
    json.dumps(found)  # plain data


def test_the_interval_is_that_of_the_mean_of_the_bucket():
    from gpt4_instruct.metrics.intervals import bootstrap_mean

    references = [f"the number {number}" for number in range(40)]
    predictions = [f"the number {number if number % 3 else 'x'}" for number in range(40)]
    found = rouge_by_length(predictions, references, resamples=500, level=0.9, seed=3)
    expected = bootstrap_mean([1 if number % 3 else 2 / 3 for number in range(40)], resamples=500, level=0.9, seed=3)
    assert (found["buckets"][1]["rougeL"]["low"], found["buckets"][1]["rougeL"]["high"]) == pytest.approx(
        (expected.low, expected.high)
    )
    assert (found["resamples"], found["level"], found["seed"]) == (500, 0.9, 3)


# --- bad input ------------------------------------------------------------------------------------------------------


def test_missing_texts_are_left_out_and_counted_and_empty_ones_score_0():
    found = rouge_by_length(["a", None, "b", ""], ["a", "a", None, "a"], **SMALL)
    assert (found["n"], found["missing"], found["rougeL"]) == (2, 2, 0.5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rouge_by_length(["a"], ["a", "b"]), "1 predictions and 2 references"),
        (lambda: rouge_by_length([], []), "there is nothing to compare"),
        (lambda: rouge_by_length("ab", "ab"), "predictions is one string"),
        (lambda: rouge_by_length([None], ["a"]), "of none of 1 pairs"),
        (lambda: rouge_by_length(["a", 5], ["a", "b"]), r"predictions\[1\] is a int"),
        (lambda: rouge_by_length(["a"], [["a"]]), r"references\[0\] is a list"),
        (lambda: rouge_by_length(["a"], ["a"], bounds=[]), r"bounds are \[\]"),
        (lambda: rouge_by_length(["a"], ["a"], bounds=[2, 2]), r"bounds are \[2, 2\]"),
        (lambda: rouge_by_length(["a"], ["a"], resamples=0), "resamples is 0"),
        (lambda: rouge_by_length(["a"], ["a"], tokenizer="words", stemmer=True), "stems are English"),
    ],
)
def test_what_cannot_work_is_one_line(call, message):
    with pytest.raises(UsageError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_an_unknown_tokenizer_names_the_nearest():
    with pytest.raises(UnknownNameError, match="unknown tokenizer 'word': did you mean 'words'"):
        rouge_by_length(["a"], ["a"], tokenizer="word")


@pytest.mark.parametrize(
    ("library", "options", "extra"),
    [("jieba", {"tokenizer": "words"}, "stats"), ("nltk.stem.porter", {"stemmer": True}, "eval")],
)
def test_a_library_that_is_missing_is_named_with_its_extra(monkeypatch, library, options, extra):
    monkeypatch.setitem(sys.modules, library, None)
    tokens._jieba.cache_clear()
    tokens._porter.cache_clear()
    with pytest.raises(MissingExtraError, match=rf"pip install 'gpt4-instruct\[{extra}\]'"):
        rouge_by_length(["a"], ["a"], **options)


def test_it_needs_no_library_beside_the_ordinary_ones():
    code = (
        "import sys\n"
        "for name in ('evaluate', 'nltk', 'rouge_score', 'jieba', 'scipy'): sys.modules[name] = None\n"
        "from gpt4_instruct.metrics.rouge_by_length import rouge_by_length\n"
        "print(rouge_by_length(['the cat', '熊猫'], ['the cat', '熊猫'])['rougeL'])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1.0\n"
