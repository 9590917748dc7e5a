"""Scored answers as pairs: every one of them once, none that says nothing, and metrics counted pair by pair."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt4_instruct.errors import SourceError, UsageError
from gpt4_instruct.records import Sample, Scored
from gpt4_instruct.training.data import read
from gpt4_instruct.training.pairs import encode_pairs, measure_pairs, pair_batch, pair_losses, text_batch
from gpt4_instruct.training.tokens import encode
from tests.tiny import FAMILIES, needs_training, scored_rows, tiny_tokenizer

pytestmark = needs_training


def sample(*answers: tuple[str, float | None], instruction: str = "Name a planet.") -> Sample:
    scored = tuple(Scored(text, "someone", score) for text, score in answers)
    return Sample(instruction=instruction, input="", output="", scored=scored)


def told(*samples: Sample, max_length: int = 200) -> tuple[Dataset, Counter[str]]:
    counts: Counter[str] = Counter()
    return encode_pairs(samples, tiny_tokenizer("llama"), max_length, counts=counts), +counts


def test_all_pairs_of_different_scores_are_taken_once():
    rows, counts = told(sample(("Mars.", 6.0), ("Venus.", 9.0), ("Pluto!", 6.0), ("Saturn.", None)))
    (row,) = rows
    assert (row["better"], row["worse"], row["gaps"]) == ([1, 1], [0, 2], [3.0, 3.0])
    assert len(row["lengths"]) == 3 and sum(row["lengths"]) == row["length"] == len(row["input_ids"])
    expected = {"rows": 1, "answers": 3, "pairs": 2, "ties": 1, "answers_without_score": 1, "tokens": row["length"]}
    assert counts == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_is_read_as_in_supervised_tuning(family):
    tokenizer = tiny_tokenizer(family)
    found = sample(("木星。", 2.0), ("Jupiter.", 9.0))
    (row,) = encode_pairs([found], tokenizer, 200)
    plain = [{"instruction": found.instruction, "input": "", "output": each.response} for each in found.scored]
    expected = encode(Dataset.from_list(plain), tokenizer, 200)["input_ids"]
    assert row["input_ids"] == [token for ids in expected for token in ids]


def test_an_empty_answer_is_an_answer_and_a_cut_one_is_scored():
    prompt = len(told(sample(("", 1.0), ("a", 2.0)))[0][0]["input_ids"])
    rows, counts = told(sample(("", 1.0), ("Saturn has rings. " * 40, 9.0)))
    assert counts["empty"] == counts["truncated"] == counts["pairs"] == 1
    assert rows[0]["lengths"][1] == 200 and rows[0]["lengths"][0] < prompt
    assert rows[0]["input_ids"][-1] != tiny_tokenizer("llama").eos_token_id


def test_an_answer_in_no_pair_is_not_read():
    # The first two read the same, the first and the last are a tie: the first says nothing.
    rows, counts = told(sample(("Mars.", 9.0), ("Mars.", 2.0), ("Venus.", 9.0)))
    assert len(rows[0]["lengths"]) == 2 and (rows[0]["better"], rows[0]["worse"]) == ([1], [0])
    assert counts["same_text"] == counts["ties"] == counts["answers_in_no_pair"] == 1


@pytest.mark.parametrize(
    "reason, useless",
    [
        ("dropped_unscored", sample(("Mars.", None), ("Venus.", 3.0))),
        ("dropped_ties", sample(("Mars.", 3.0), ("Venus.", 3.0))),
        ("dropped_same_text", sample(("Mars.", 3.0), ("Mars.", 5.0))),
        ("dropped_too_long", sample(("Mars.", 3.0), ("Venus.", 5.0), instruction="Name a planet. " * 60)),
    ],
)
def test_a_prompt_without_a_pair_is_counted_by_its_reason(reason, useless):
    rows, counts = told(useless, sample(("Mars.", 3.0), ("Venus.", 5.0)))
    assert len(rows) == 1 and counts[reason] == 1
    assert sum(count for name, count in counts.items() if name.startswith("dropped_")) == 1
    with pytest.raises(SourceError, match=rf"no prompt has two answers .*1 {reason}") as raised:
        told(useless)
    assert "\n" not in str(raised.value)


def test_data_without_scores_or_with_one_answer_says_what_it_needs():
    unscored = [{"user_input": "Hi.", "responses_and_scores": [{"response": each, "source": "a"} for each in "ab"]}]
    with pytest.raises(SourceError, match="dropped_unscored"):
        encode_pairs(read(unscored, scored=True).samples, tiny_tokenizer())
    with pytest.raises(SourceError, match=r"1 one_answer.*several answers to each prompt, with scores"):
        read([{"instruction": "Hi.", "output": "Hello."}], scored=True)


def test_a_tokenizer_without_an_end_is_refused():
    tokenizer = tiny_tokenizer("qwen2")
    tokenizer.eos_token = None
    with pytest.raises(UsageError, match="end-of-text"):
        encode_pairs([sample(("a", 1.0), ("b", 2.0))], tokenizer)


@pytest.mark.parametrize("pad", [None, 7])
def test_a_batch_finds_each_answer_and_its_end(pad):
    rows = list(encode_pairs(read(scored_rows(5), scored=True).samples, tiny_tokenizer("llama"), 200))
    batch = pair_batch(rows, pad)
    ids, lengths = batch["input_ids"], [size for row in rows for size in row["lengths"]]
    if pad is None:
        texts = ids[0].split(lengths)
    else:
        texts = [line[mask.bool()] for line, mask in zip(ids, batch["attention_mask"], strict=True)]
    assert [len(each) for each in texts] == lengths
    assert ids.flatten()[batch["last"]].tolist() == [each[-1].item() for each in texts]
    assert len(batch["labels"]) == sum(len(row["gaps"]) for row in rows)
    pairs = []
    for row in rows:
        cuts = [sum(row["lengths"][:place]) for place in range(len(row["lengths"]) + 1)]
        own = [row["input_ids"][low:high] for low, high in pairwise(cuts)]
        pairs += [(own[better], own[worse]) for better, worse in zip(row["better"], row["worse"], strict=True)]
    found = zip(batch["better"].tolist(), batch["worse"].tolist(), strict=True)
    assert [(texts[better].tolist(), texts[worse].tolist()) for better, worse in found] == pairs


def test_padding_is_at_the_right_only():
    batch = text_batch([1, 2, 3, 4, 5, 6], [1, 3, 2], pad=9)
    assert batch["input_ids"].tolist() == [[1, 9, 9], [2, 3, 4], [5, 6, 9]]
    assert batch["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 0]]
    assert batch["last"].tolist() == [0, 5, 7]


def test_the_loss_is_the_formula():
    import torch

    better, worse, gaps = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 1.0, 0.5]), torch.tensor([1.0, 7.0, 2.0])

    def by_hand(margin: float, centering: float) -> list[float]:
        return [
            -math.log(1 / (1 + math.exp(-(b - w - margin * g)))) + centering * (b + w) ** 2
            for b, w, g in zip(better.tolist(), worse.tolist(), gaps.tolist(), strict=True)
        ]

    for margin, centering in [(0.0, 0.0), (0.3, 0.0), (0.0, 0.01), (0.3, 0.01)]:
        found = pair_losses(better, worse, gaps, margin=margin, centering=centering)
        assert found.tolist() == pytest.approx(by_hand(margin, centering), rel=1e-5)


def test_a_large_difference_costs_nothing_or_what_it_is():
    import torch

    wide = torch.tensor([500.0])
    assert pair_losses(wide, -wide, wide).item() == 0.0
    assert pair_losses(-wide, wide, wide).item() == 1000.0


differences = st.one_of(st.just(0.0), st.floats(-30, 30))


@given(st.lists(st.tuples(differences, st.sampled_from([0.5, 1.0, 2.0, 2.5, 7.0])), min_size=1, max_size=60))
@settings(max_examples=150, deadline=None)
def test_metrics_are_counted_pair_by_pair(pairs):
    found = measure_pairs([each for each, _ in pairs], [gap for _, gap in pairs])

    def right(some: list[tuple[float, float]]) -> float:
        return sum(0.5 if each == 0 else each > 0 for each, _ in some) / len(some)

    assert found["pairs"] == len(pairs) and found["accuracy"] == pytest.approx(right(pairs))
    parts = found["accuracy_by_gap"]
    assert 1 <= len(parts) <= 4 and sum(each["pairs"] for each in parts) == len(pairs)
    for part in parts:
        some = [each for each in pairs if part["from"] <= each[1] <= part["to"]]
        assert part["pairs"] == len(some) and part["accuracy"] == pytest.approx(right(some))
    assert all(one["to"] < other["from"] for one, other in pairwise(parts))
    bins = found["calibration"]
    assert sum(each["pairs"] for each in bins) == len(pairs)
    assert all(each["from"] - 1e-9 <= each["confidence"] <= each["to"] + 1e-9 for each in bins)
    error = sum(each["pairs"] * abs(each["confidence"] - each["accuracy"]) for each in bins) / len(pairs)
    assert found["calibration_error"] == pytest.approx(error)
    assert sum(each["pairs"] * each["accuracy"] for each in bins) == pytest.approx(found["accuracy"] * len(pairs))


def test_rewards_that_are_as_sure_as_they_are_right_are_calibrated():
    sure = math.log(3)  # 0.75
    assert measure_pairs([sure, sure, sure, -sure], [1.0] * 4)["calibration_error"] == pytest.approx(0)
    assert measure_pairs([9.0, 9.0, -9.0, -9.0], [1.0] * 4)["calibration_error"] == pytest.approx(0.5, abs=1e-3)
