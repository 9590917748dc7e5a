"""A run's own numbers beside the paper's: what is comparable, how far apart the two are, and what cannot be read."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from gpt4_instruct.errors import OutputError
from gpt4_instruct.evaluation.paper import paper_numbers, paper_values
from gpt4_instruct.metrics.rouge_by_length import rouge_by_length

VALUES = paper_values()["numbers"]


def write(file: Path, content) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8")


GPT4 = {"teacher": {"spec": "openai:gpt-4", "model": "gpt-4-0613"}}


def judged(model_sum, baseline_sum, low, high, **more):
    score = {"model_sum": model_sum, "baseline_sum": baseline_sum, "percent": 0, "low": low, "high": high}
    return {"questions": 80, "judged": 80, "failures": {}, "relative_score": score, **GPT4, **more}


def rouge_of_the_papers_references():
    """Facts that have the paper's sizes of buckets."""
    paper = VALUES["unnatural_rougeL"]
    value = {"precision": 0.5, "recall": 0.5, "f1": 0.5, "low": 0.4, "high": 0.6}
    buckets = [
        {"length": length, "n": n, "rougeL": value} for length, n in zip(paper["buckets"], paper["n"], strict=True)
    ]
    return {"rougeL": 0.5, "n": 9000, "missing": 0, "unit": "whitespace words", "buckets": buckets}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A folder with facts of every kind, one of them cut off and one with text for a number."""
    folder = tmp_path / "run"
    names = {"answers": {"file": "a.jsonl", "model": "小模型"}, "baseline": {"file": "b.jsonl", "model": "gpt-4-0613"}}
    other = {"answers": {"file": "alpaca-7b.jsonl"}, "baseline": {"file": "gpt-3.5-turbo.jsonl"}}
    write(folder / "judge" / "a.summary.json", judged(300, 720, 38.0, 45.5, **{**names, "judged": 77}))
    write(folder / "judge" / "b.summary.json", judged(310, 640, 44.0, 52.0, **other))
    write(folder / "judge" / "translated_answers_vs_gpt4_generated.summary.json", judged(340, 680, 45, 55, **names))
    write(folder / "judge" / "mistral.summary.json", judged(330, 660, 45, 55, baseline={"file": "mistral-7b.jsonl"}))
    write(folder / "judge" / "text.summary.json", judged("many", 720, 0, 1, **names))
    write(folder / "judge" / "cut.summary.json", '{"questions": 80, "judg')
    share = {"low": 0.2, "high": 0.5}
    counts = {"ours": {"votes": 30, **share}, "baseline": {"votes": 50, **share}, "tie": {"votes": 20, **share}}
    votes = {"criteria": {"helpfulness": {"n": 100, **counts}}, "raters": {}}
    write(folder / "tally.json", {"ours": "小模型.jsonl", "baseline": "Alpaca.jsonl", **votes})
    write(folder / "rouge.json", {"answers": "小模型.jsonl", **rouge_of_the_papers_references()})
    described = {
        "name": "rows",
        "unique_pairs": 52,
        "answers": 900,
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
    assert mine["other"] == {"against mistral-7b: 80 questions, judge gpt-4-0613": {"mistral": [330, 660]}}
    assert mine["derived"]["vicuna80"]["vs_gpt4"]["小模型"] == pytest.approx(100 * 300 / 720)
    assert mine["intervals"]["vicuna80"]["vs_gpt4"]["小模型"] == [38.0, 45.5]
    assert mine["human_hhh"]["小模型_vs_Alpaca"] == {"n": 100, "ours_baseline_tie": {"helpfulness": [30, 50, 20]}}
    assert mine["derived"]["human_hhh"]["小模型_vs_Alpaca"]["helpfulness"] == [30, 50, 20]
    assert mine["unnatural_rougeL"]["n"] == VALUES["unnatural_rougeL"]["n"]
    assert mine["unnatural_rougeL"]["小模型"] == [0.5] * 5
    assert mine["intervals"]["unnatural_rougeL"]["小模型"] == [[0.4, 0.6]] * 5
    assert mine["derived"]["judge_scores"]["rows"] == {"n": 4, "mean": 7.0, "sd": pytest.approx(12**0.5), "zeros": 0, "mode": 9.0}  # fmt: skip
    assert mine["verb_noun"] == {"unique_pairs": {"rows": 52}, "answers": {"rows": 900}}
    assert {name: numbers[name] for name in VALUES} == VALUES, "the paper's own are as without a run"


def test_differences_name_both_sides_and_say_what_is_doubtful(run):
    write(
        run / "judge" / "d.summary.json",
        judged(700, 640, 105, 112, answers={"file": "gpt-4"}, baseline={"file": "chatgpt"}),
    )
    found = {(each["what"], each["name"]): each for each in paper_numbers(run)["differences"]}
    first = found["80 questions, against GPT-4", "小模型"]
    assert (first["paper_name"], first["low"], first["high"]) == ("LLaMA-GPT4-7B", 38.0, 45.5)
    assert first["difference"] == pytest.approx(100 * 300 / 720 - 100 * 606 / 726.5)
    assert first["doubt"] is None and first["of"] == "77 of 80 questions have scores"
    assert found["80 questions, against ChatGPT", "alpaca-7b"]["paper_name"] == "Alpaca-13B"
    assert "613 : 521" in found["80 questions, against ChatGPT", "gpt-4"]["doubt"]
    vote = found["helpfulness, baseline better", "小模型_vs_Alpaca"]
    assert vote["difference"] == pytest.approx(50 - 100 * 139 / 704) and vote["low"] == 20
    assert found["ROUGE-L, references of >10 words", "小模型"]["difference"] == pytest.approx(0.5 - 0.4119, abs=1e-4)
    assert found["different verb-noun pairs", "rows"]["difference"] == 52 - 5229
    assert found["mean score of the judge", "rows"]["difference"] == pytest.approx(7 - 8.9366, abs=1e-4)


def test_groups_of_ranked_answers_stand_by_their_ranks(tmp_path):
    groups = {name: judged(600, 700, 80, 90) for name in ("1", "2", "6", "B")}
    write(
        tmp_path / "groups.summary.json",
        {"answers": "ranked.jsonl", "baseline": "gpt-4.jsonl", "groups": groups, "teacher": "openai:gpt-4"},
    )
    write(tmp_path / "group-1.summary.json", judged(600, 700, 80, 90, baseline={"file": "gpt-4.jsonl"}))
    numbers = paper_numbers(tmp_path)
    assert list(numbers["mine"]["rank_groups"]["vs_gpt4"]) == ["1", "2", "6", "B"]
    assert "vicuna80" not in numbers["mine"], "a group counts once"
    found = {each["what"].rpartition(" ")[2]: each for each in numbers["differences"]}
    assert found["1"]["paper"] == pytest.approx(100 * 631 / 722.5)
    assert found["B"]["paper"] == pytest.approx(100 * 606 / 726.5)
    assert found["6"]["paper"] is None, "the paper has five"


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"questions": 5, "judged": 5}, "5 questions, not 80"),
        ({"questions": 81}, "81 questions, not 80"),
        ({"teacher": {"spec": "openai:gpt-3.5-turbo", "model": "gpt-3.5-turbo"}}, "judged by gpt-3.5-turbo, not GPT-4"),
        ({"teacher": {"spec": "openai:gpt-4o-mini"}}, "judged by openai:gpt-4o-mini, not GPT-4"),
        ({"teacher": None}, "judged by an unknown judge, not GPT-4"),
        ({"baseline": {"file": "b.jsonl", "model": "gpt-4o-mini"}}, "against gpt-4o-mini, not GPT-4"),
        ({"baseline": {"file": "b.jsonl", "model": "gpt-3.5-turbo"}}, "against gpt-3.5-turbo, not GPT-4"),
    ],
)
@pytest.mark.parametrize("name", ["vs_gpt4", "translated_answers_vs_gpt4_generated"])
def test_verdicts_of_other_questions_judges_or_baselines_do_not_stand_beside_the_papers(tmp_path, name, changed, why):
    facts = judged(330, 660, 45, 55, answers={"file": "a.jsonl", "model": "mine"}, baseline={"file": "b.jsonl"})
    write(tmp_path / f"{name}.summary.json", facts)
    numbers = paper_numbers(tmp_path)
    assert len(numbers["differences"]) == 1 and numbers["mine"]["read"][0]["other"] == ""
    write(tmp_path / f"{name}.summary.json", {**facts, **changed})
    numbers = paper_numbers(tmp_path)
    assert numbers["differences"] == [] and not {"vicuna80", "chinese"} & numbers["mine"].keys()
    (told,) = numbers["mine"]["read"]
    assert told["other"] == why
    (scores,) = numbers["mine"]["derived"]["other"].values()
    assert scores == {"mine": 50.0}, "the number is told, on its own"


def test_a_files_name_tells_the_comparison_only_whole(tmp_path):
    for name in ("vs_gpt4o", "vs_gpt4", "vs_chatgpt_2"):
        write(tmp_path / f"{name}.summary.json", judged(330, 660, 45, 55, baseline={"file": "b.jsonl"}))
    mine = paper_numbers(tmp_path)["mine"]
    assert mine["vicuna80"] == {"vs_gpt4": {"vs_gpt4": [330, 660]}, "vs_chatgpt": {"vs_chatgpt_2": [330, 660]}}
    assert list(mine["other"]) == ["against b: 80 questions, judge gpt-4-0613"]


def test_groups_of_few_questions_do_not_stand_beside_the_papers(tmp_path):
    groups = {name: judged(6, 7, None, None, questions=n) for name, n in (("1", 4), ("B", 3))}
    facts = {"answers": "ranked.jsonl", "baseline": "gpt-4.jsonl", "groups": groups, "teacher": "openai:gpt-4"}
    write(tmp_path / "groups.summary.json", facts)
    numbers = paper_numbers(tmp_path)
    assert numbers["differences"] == [] and numbers["mine"]["read"][0]["other"] == "3 to 4 questions, not 80"
    ((of, held),) = numbers["mine"]["other"].items()
    assert of == "against gpt-4: 3 to 4 questions, judge openai:gpt-4" and list(held) == ["group 1", "group B"]
    assert numbers["mine"]["intervals"]["other"][of]["group 1"] is None, "too few questions for an interval"


def test_rouge_on_other_references_does_not_stand_beside_the_papers(run):
    found = rouge_by_length(["a", "a b c", "a b"], ["a", "a b c", "a b c d e f g"])
    write(run / "other" / "rouge.json", {"answers": "他.jsonl", **found})
    numbers = paper_numbers(run)
    mine = numbers["mine"]
    assert list(mine["unnatural_rougeL"]) == ["buckets", "n", "小模型"]
    assert mine["other_rougeL"]["他"]["n"] == [1, 1, 1, 0, 3]
    assert mine["other_rougeL"]["他"]["rougeL"] == pytest.approx([1, 1, 4 / 9, None, 22 / 27])
    assert not [each for each in numbers["differences"] if each["name"] == "他"]
    told = {each["file"]: each["other"] for each in mine["read"]}
    assert told["rouge.json"] == ""
    assert told["other/rouge.json"].startswith("other references than the paper's: 3, by their lengths 1 + 1 + 1 + 0;")
    assert told["other/rouge.json"].endswith("the paper's are 9,000, 5,089 + 868 + 936 + 2,107")


def test_votes_against_another_baseline_do_not_stand_beside_the_papers(run):
    facts = json.loads((run / "tally.json").read_text(encoding="utf-8"))
    write(run / "tally.json", {**facts, "baseline": "mistral.jsonl"})
    numbers = paper_numbers(run)
    assert "小模型_vs_mistral" in numbers["mine"]["derived"]["human_hhh"]
    assert not [each for each in numbers["differences"] if "_vs_" in each["name"]]
    (told,) = [each for each in numbers["mine"]["read"] if each["kind"] == "tally"]
    assert told["other"] == "against mistral, not Alpaca or GPT-4"


def test_two_runs_with_swapped_sides_whose_sums_do_not_agree_are_told(tmp_path):
    one, other = ({"file": f"{each}.jsonl", "model": each} for each in ("gpt-4", "gpt-3.5-turbo"))
    write(tmp_path / "a.summary.json", judged(613, 521, 110, 125, answers=one, baseline=other, warnings=["odd"]))
    write(tmp_path / "b.summary.json", judged(652, 714, 88, 95, answers=other, baseline=one))
    told = {each["file"]: each["warnings"] for each in paper_numbers(tmp_path)["mine"]["read"]}
    assert told["a.summary.json"].startswith("odd; beside b.summary.json: 613 to 521 is 117.7 %, but 714 to 652")
    assert told["b.summary.json"].startswith("beside a.summary.json: 613 to 521 is 117.7 %")
    for facts in (
        judged(652, 714, 88, 95, answers=other, baseline=one, questions=60),  # which explains it
        judged(540, 610, 88, 95, answers=other, baseline=one),
        judged(652, 714, 88, 95, answers=one, baseline=other),  # not swapped
        judged(652, 714, 88, 95, answers=other, baseline=one, teacher="local:other"),
    ):
        write(tmp_path / "b.summary.json", facts)
        found = paper_numbers(tmp_path)["mine"]["read"]
        assert [each["warnings"] for each in found] == ["odd", ""]


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
    assert (
        "小模型" in text
        and "-41.7" in text
        and "900 answers; the paper: 52,002" in text
        and "613 : 521 = 117.7 %" in text
    )
    console.print(paper_table(paper_numbers()))
    assert "606 : 726.5" in console.export_text()


def test_a_file_in_place_of_the_folder_is_one_line(tmp_path):
    from gpt4_instruct.reporting import paper

    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputError, match="out is a file: name a folder"):
        paper(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"
