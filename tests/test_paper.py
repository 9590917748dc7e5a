"""The paper's numbers: packaged as they were released, and what follows from them computed."""

from __future__ import annotations

import json
import statistics
from collections import Counter

import pytest

from gpt4_instruct.evaluation.paper import derive, paper_numbers, paper_values
from gpt4_instruct.evaluation.paper_beside import counterpart, family

VALUES = paper_values()["numbers"]
DERIVED = derive(VALUES, paper_values()["score_histograms"])


def numbers_in(content, path=()):
    """Every number with the keys that lead to it."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield from numbers_in(value, (*path, key))
    elif isinstance(content, list):
        for place, value in enumerate(content):
            yield from numbers_in(value, (*path, place))
    elif isinstance(content, int | float):
        yield path, content


# --- the paper's own ------------------------------------------------------------------------------------------------


def test_every_number_of_the_release_is_packaged(shared_data):
    released = json.loads((shared_data / "paper_numbers.json").read_text())
    assert dict(numbers_in(released)) == dict(numbers_in(VALUES))
    assert len(dict(numbers_in(released))) > 150
    assert released.keys() == VALUES.keys()


def test_relative_scores_are_recomputed_from_their_sums(shared_data):
    released = json.loads((shared_data / "paper_numbers.json").read_text())
    count = 0
    for section in ("vicuna80", "rank_groups", "chinese"):
        for group, pairs in released[section].items():
            if group == "note":
                continue
            assert DERIVED[section][group].keys() == pairs.keys()
            for name, (model, baseline) in pairs.items():
                assert DERIVED[section][group][name] == pytest.approx(100 * model / baseline, abs=1e-12)
                count += 1
    assert count == 50
    # As the paper's figures print them.
    assert round(DERIVED["vicuna80"]["vs_gpt4"]["LLaMA-GPT4-7B"], 1) == 83.4
    assert round(DERIVED["chinese"]["chinese_questions_vs_gpt4_translated"]["LLaMA-GPT4-CN-7B"], 1) == 64.1


def test_votes_are_recomputed_from_their_counts(shared_data):
    released = json.loads((shared_data / "paper_numbers.json").read_text())["human_hhh"]
    for name, votes in released.items():
        for criterion, counts in votes["ours_baseline_tie"].items():
            assert sum(counts) == votes["n"]
            expected = [100 * count / votes["n"] for count in counts]
            assert DERIVED["human_hhh"][name][criterion] == pytest.approx(expected, abs=1e-12)
    # PAPER.md, section 4: 54.12 % against 19.74 %, tie 26.1 %
    helpful = DERIVED["human_hhh"]["LLaMA-GPT4_vs_Alpaca"]["helpfulness"]
    assert [round(each, 2) for each in helpful] == [54.12, 19.74, 26.14]


def test_rouge_is_that_of_the_released_files_and_all_is_near_the_mean_of_the_buckets(shared_data):
    files = {"0-2": "0-2", "3-5": "3-5", "6-10": "6-10", ">10": "10-", "ALL": "ALL"}
    names = {"Alpaca-GPT4": "LLaMA-GPT4", "Alpaca": "Alpaca", "GPT4": "GPT-4"}
    rouge = VALUES["unnatural_rougeL"]
    for place, bucket in enumerate(rouge["buckets"]):
        for row in json.loads((shared_data / f"unnatural_rouge_len{files[bucket]}.json").read_text()):
            assert rouge[names[row["Model"]]][place] == row["rougeL"]
            assert rouge["n"][place] == row["NumInstance"]
    assert sum(rouge["n"][:-1]) == rouge["n"][-1] == 9000
    for name in names.values():
        mean = DERIVED["unnatural_rougeL"][name]["mean_of_buckets"]
        exact = sum(value * n for value, n in zip(rouge[name][:-1], rouge["n"][:-1], strict=True)) / 9000
        assert mean == pytest.approx(exact, abs=1e-12)
        assert abs(mean - rouge[name][-1]) < 5e-4
    gains = DERIVED["unnatural_rougeL"]["LLaMA-GPT4"]["minus_Alpaca"][:-1]
    assert gains == sorted(gains), "the longer the reference, the better it does against Alpaca"


def test_the_judges_scores_are_those_of_the_release(shared_data):
    released = json.loads((shared_data / "cmp_data_scores.json").read_text())
    told = json.loads((shared_data / "paper_numbers.json").read_text())["judge_scores"]
    named = {"gpt4": "gpt4", "text-davinci-003": "text-davinci-003", "icm-1.3b": "icm-1.3b (OPT-IML)"}
    for source, scores in released.items():
        packaged = paper_values()["score_histograms"][named[source]]
        assert {float(score): count for score, count in packaged.items()} == Counter(map(float, scores))
        facts, paper = DERIVED["judge_scores"][named[source]], told[named[source]]
        assert facts["mean"] == pytest.approx(statistics.fmean(scores), abs=1e-9)
        assert facts["sd"] == pytest.approx(statistics.pstdev(scores), abs=1e-9)
        assert (facts["n"], facts["zeros"], facts["mode"]) == (paper["n"], paper["zeros"], paper["mode"])
        assert facts["mean"] == pytest.approx(paper["mean"], abs=5e-4)
        assert facts["sd"] == pytest.approx(paper["sd"], abs=5e-4)


def test_doubtful_numbers_are_marked_with_why():
    numbers = paper_numbers()
    found = {tuple(each["where"]): each for each in numbers["doubts"]}
    chatgpt = found["vicuna80", "vs_chatgpt", "GPT-4"]["why"]
    model, baseline = numbers["vicuna80"]["vs_chatgpt"]["GPT-4"]
    other, reverse = numbers["vicuna80"]["vs_gpt4"]["ChatGPT"]
    assert f"{100 * model / baseline:.1f} %" in chatgpt and f"{100 * reverse / other:.1f} %" in chatgpt
    sums = sorted(sum(pair) for pair in numbers["vicuna80"]["vs_chatgpt"].values())
    assert f"are {sums[0]:,}" in chatgpt and f"{int(sums[1]):,} to {sums[-1]:,}" in chatgpt
    assert f"about {80 * (model + baseline) / (other + reverse):.0f}," in chatgpt
    vicuna = found["chinese", "chinese_questions_vs_gpt4_translated", "Vicuna-13B"]
    assert vicuna["instead"] == [526.5, 702] and "75.0 %" in vicuna["why"] and "78.9 %" in vicuna["why"]
    for section, group, name in found:
        assert name in numbers[section][group]
    assert "no interval" in numbers["no_intervals"]


# --- which model of the paper is meant ------------------------------------------------------------------------------


def test_a_model_is_compared_with_the_like_of_it():
    models = list(VALUES["vicuna80"]["vs_gpt4"])
    for name in ("gpt-4", "GPT4", "openai:gpt-4-turbo-2024-04-09", "gpt-4-0613", "gpt-4-32k", "gpt-4 (2)"):
        assert family(name) == "GPT-4", name
    for name in ("gpt-4o", "gpt-4o-mini", "gpt-4.1", "openai:gpt-4.1-nano", "gpt-4.5-preview", "gpt-40", "gpt-5"):
        assert family(name) is None, name
    names = ("LLaMA-GPT4-7B-R1", "out/llama-gpt4-mine", "llama-3-8b", "openai:gpt-4-turbo", "gpt-3.5-turbo", "qwen", "")
    found = [counterpart(name, models) for name in names]
    assert found == [
        "LLaMA-GPT4-7B-R1",
        "LLaMA-GPT4-7B",
        "LLaMA-13B",
        "GPT-4",
        "ChatGPT",
        "LLaMA-GPT4-7B",
        "LLaMA-GPT4-7B",
    ]
    assert (
        counterpart("llama-gpt4-cn", list(VALUES["chinese"]["chinese_questions_vs_gpt4_translated"]))
        == "LLaMA-GPT4-CN-7B"
    )
    assert counterpart("anything", []) is None
