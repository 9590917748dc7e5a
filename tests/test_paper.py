"""The paper's numbers: packaged as they were released, what follows from them computed, a run's own beside them."""

from __future__ import annotations

import io
import json
import statistics
from collections import Counter
from pathlib import Path

import pytest

from gpt4_instruct.errors import OutputError
from gpt4_instruct.evaluation.paper import derive, paper_numbers, paper_values
from gpt4_instruct.evaluation.paper_beside import counterpart
from gpt4_instruct.metrics.rouge_by_length import rouge_by_length

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


# --- a run's own ----------------------------------------------------------------------------------------------------


def write(file: Path, content) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8")


def judged(model_sum, baseline_sum, low, high, **more):
    score = {"model_sum": model_sum, "baseline_sum": baseline_sum, "percent": 0, "low": low, "high": high}
    return {"questions": 80, "judged": 80, "failures": {}, "relative_score": score, **more}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with facts of every kind, one of them cut off and one with text for a number."""
    folder = tmp_path / "run"
    names = {"answers": {"file": "a.jsonl", "model": "小模型"}, "baseline": {"file": "b.jsonl", "model": "gpt-4o"}}
    other = {"answers": {"file": "alpaca-7b.jsonl"}, "baseline": {"file": "gpt-3.5-turbo.jsonl"}}
    write(folder / "judge" / "a.summary.json", judged(300, 720, 38.0, 45.5, **names))
    write(folder / "judge" / "b.summary.json", judged(310, 640, 44.0, 52.0, **other))
    write(folder / "judge" / "translated_answers_vs_gpt4_generated.summary.json", judged(340, 680, 45, 55, **names))
    write(folder / "judge" / "mistral.summary.json", judged(330, 660, 45, 55, baseline={"file": "mistral-7b.jsonl"}))
    write(folder / "judge" / "text.summary.json", judged("many", 720, 0, 1, **names))
    write(folder / "judge" / "cut.summary.json", '{"questions": 80, "judg')
    share = {"low": 0.2, "high": 0.5}
    counts = {"ours": {"votes": 30, **share}, "baseline": {"votes": 50, **share}, "tie": {"votes": 20, **share}}
    votes = {"criteria": {"helpfulness": {"n": 100, **counts}}, "raters": {}}
    write(folder / "tally.json", {"ours": "小模型.jsonl", "baseline": "Alpaca.jsonl", **votes})
    found = rouge_by_length(["a", "a b c", "a b"], ["a", "a b c", "a b c d e f g"])
    write(folder / "rouge.json", {"answers": "小模型.jsonl", **found})
    described = {
        "name": "rows",
        "unique_pairs": 52,
        "words": {"histogram": [3, 4, *[0] * 98], "mean": 5.0, "median": 5},
        "sources": {},
    }
    write(folder / "stats" / "summary.json", {"data": [described]})
    write(folder / "stats" / "scores.csv", "source,score,count\n,9.0,3\n,1.0,1\n")
    write(folder / "notes.json", "{}")
    return folder


def test_a_runs_numbers_have_the_papers_shape_and_stand_beside_its_own(run):
    numbers = paper_numbers(run)
    mine = numbers["mine"]
    assert mine["vicuna80"] == {"vs_gpt4": {"小模型": [300, 720]}, "vs_chatgpt": {"alpaca-7b": [310, 640]}}
    assert mine["chinese"] == {"translated_answers_vs_gpt4_generated": {"小模型": [340, 680]}}
    assert mine["other"] == {"against mistral-7b": {"mistral": [330, 660]}}
    assert mine["derived"]["vicuna80"]["vs_gpt4"]["小模型"] == pytest.approx(100 * 300 / 720)
    assert mine["intervals"]["vicuna80"]["vs_gpt4"]["小模型"] == [38.0, 45.5]
    assert mine["human_hhh"]["小模型_vs_Alpaca"] == {"n": 100, "ours_baseline_tie": {"helpfulness": [30, 50, 20]}}
    assert mine["derived"]["human_hhh"]["小模型_vs_Alpaca"]["helpfulness"] == [30, 50, 20]
    assert mine["unnatural_rougeL"]["buckets"] == VALUES["unnatural_rougeL"]["buckets"]
    assert mine["unnatural_rougeL"]["小模型"][0] == 1.0 and mine["unnatural_rougeL"]["小模型"][3] is None
    assert mine["unnatural_rougeL"]["小模型"][2] == pytest.approx(2 * 2 / 9)
    assert mine["derived"]["judge_scores"]["rows"] == {"n": 4, "mean": 7.0, "sd": pytest.approx(12**0.5), "zeros": 0, "mode": 9.0}  # fmt: skip
    assert mine["verb_noun"] == {"unique_pairs": {"rows": 52}}
    assert {name: numbers[name] for name in VALUES} == VALUES, "the paper's own are as without a run"


def test_differences_name_both_sides_and_say_what_is_doubtful(run):
    write(
        run / "judge" / "d.summary.json",
        judged(700, 640, 105, 112, answers={"file": "gpt-4o"}, baseline={"file": "chatgpt"}),
    )
    found = {(each["what"], each["name"]): each for each in paper_numbers(run)["differences"]}
    first = found["80 questions, against GPT-4", "小模型"]
    assert (first["paper_name"], first["low"], first["high"]) == ("LLaMA-GPT4-7B", 38.0, 45.5)
    assert first["difference"] == pytest.approx(100 * 300 / 720 - 100 * 606 / 726.5)
    assert first["doubt"] is None
    assert found["80 questions, against ChatGPT", "alpaca-7b"]["paper_name"] == "Alpaca-13B"
    assert "613 : 521" in found["80 questions, against ChatGPT", "gpt-4o"]["doubt"]
    vote = found["helpfulness, baseline better", "小模型_vs_Alpaca"]
    assert vote["difference"] == pytest.approx(50 - 100 * 139 / 704) and vote["low"] == 20
    assert found["ROUGE-L, references of >10 words", "小模型"]["value"] is None
    assert found["ROUGE-L, references of >10 words", "小模型"]["difference"] is None
    assert found["different verb-noun pairs", "rows"]["difference"] == 52 - 5229
    assert found["mean score of the judge", "rows"]["difference"] == pytest.approx(7 - 8.9366, abs=1e-4)


def test_groups_of_ranked_answers_stand_by_their_ranks(tmp_path):
    groups = {name: judged(600, 700, 80, 90) for name in ("1", "2", "6", "B")}
    write(tmp_path / "groups.summary.json", {"answers": "ranked.jsonl", "baseline": "gpt-4.jsonl", "groups": groups})
    write(tmp_path / "group-1.summary.json", judged(600, 700, 80, 90, baseline={"file": "gpt-4.jsonl"}))
    numbers = paper_numbers(tmp_path)
    assert list(numbers["mine"]["rank_groups"]["vs_gpt4"]) == ["1", "2", "6", "B"]
    assert "vicuna80" not in numbers["mine"], "a group counts once"
    found = {each["what"].rpartition(" ")[2]: each for each in numbers["differences"]}
    assert found["1"]["paper"] == pytest.approx(100 * 631 / 722.5)
    assert found["B"]["paper"] == pytest.approx(100 * 606 / 726.5)
    assert found["6"]["paper"] is None, "the paper has five"


def test_statistics_are_read_as_they_are_written(tmp_path):
    pytest.importorskip("spacy")
    from gpt4_instruct.sources.rows import open_rows
    from gpt4_instruct.statistics.describe import describe

    scored = [("gpt4", "I wrote a letter.", 9), ("opt", "She sold a car.", 4)]
    answers = [{"source": source, "response": text, "score": score} for source, text, score in scored]
    describe([open_rows([{"user_input": "Tell me.", "responses_and_scores": answers}] * 2)], tmp_path, processes=1)
    mine = paper_numbers(tmp_path)["mine"]
    assert mine["score_histograms"] == {"gpt4": {"9": 2}, "opt": {"4": 2}}
    assert mine["verb_noun"]["unique_pairs"] == {"gpt4": 1, "opt": 1}
    assert sum(mine["lengths"]["opt"]["histogram"]) == 2 and mine["lengths"]["opt"]["mean"] == 4


def test_what_cannot_be_read_is_told_and_the_rest_is_read(run):
    write(run / "single.summary.json", {"questions": 1, "judged": 1, "failures": {}, "mean_score": {"mean": 7}})
    mine = paper_numbers(run)["mine"]
    unread = {Path(each["file"]).name: each["why"] for each in mine["unread"]}
    assert unread.keys() == {"text.summary.json", "cut.summary.json", "single.summary.json"}
    assert "there was no baseline" in unread["single.summary.json"]
    assert "'many', not a number" in unread["text.summary.json"]
    assert {each["kind"] for each in mine["read"]} == {"judge", "tally", "rouge", "statistics"}


@pytest.mark.parametrize("broken", [[], {"helpfulness": 3}, {"helpfulness": {"ours": {"votes": "x"}}}, None])
def test_odd_facts_are_one_line(tmp_path, broken):
    write(tmp_path / "tally.json", {"criteria": broken, "raters": {}})
    with pytest.raises(OutputError, match=r"holds nothing that can be compared .*tally\.json") as caught:
        paper_numbers(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_there_or_holds_nothing(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        paper_numbers(tmp_path / "nowhere")
    with pytest.raises(OutputError, match="nothing that can be compared with the paper: judge"):
        paper_numbers(tmp_path)


def test_a_model_is_compared_with_the_like_of_it():
    models = list(VALUES["vicuna80"]["vs_gpt4"])
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


# --- the function ---------------------------------------------------------------------------------------------------


def test_the_folder_holds_the_numbers_and_the_table_tells_of_them(run, tmp_path):
    pytest.importorskip("matplotlib")
    from rich.console import Console

    from gpt4_instruct.reporting import paper, paper_table

    result = paper(tmp_path / "out", mine=run)
    assert json.loads((tmp_path / "out" / "numbers.json").read_text(encoding="utf-8")) == result.numbers
    assert result.numbers == paper_numbers(run) and result.page.is_file() and len(result.differences) > 8
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(paper_table(result.numbers))
    text = console.export_text()
    assert "小模型" in text and "-41.7" in text and "613 : 521 = 117.7 %" in text
    console.print(paper_table(paper_numbers()))
    assert "606 : 726.5" in console.export_text()


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path):
    from gpt4_instruct.reporting import paper

    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="out is a file: name a folder"):
        paper(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"
