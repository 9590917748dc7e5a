"""Judging: what is asked, what comes of it, what is asked again, and what it costs."""

from __future__ import annotations

import json
import os
import random
import re
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gpt4_instruct.errors import BudgetError, IncompleteError, OutputError, OutputExistsError, SourceError, UsageError
from gpt4_instruct.evaluation import judge_results
from gpt4_instruct.evaluation.answer_files import export_answers, of_sample, read_answer_rows
from gpt4_instruct.evaluation.answers import summary_path
from gpt4_instruct.evaluation.judge import judge
from gpt4_instruct.evaluation.judge_groups import judge_groups
from gpt4_instruct.evaluation.judge_results import facts, low_baselines, suspicious_pair
from gpt4_instruct.evaluation.judge_run import read_judgements
from gpt4_instruct.generation import batches, delays
from gpt4_instruct.generation.ledger import Ledger
from gpt4_instruct.metrics.relative_score import relative_score
from tests.endpoint import Endpoint, Reply, error_reply
from tests.faults import FaultyEndpoint
from tests.forks import Forked

TEACHER = "openai:gpt-4"


def line(number: int, *texts: str | None, category: str | None = "generic", **fields: Any) -> dict[str, Any]:
    """A line of a file of answers."""
    answers = [
        {"sample": sample, "text": text} if text is not None else {"sample": sample, "text": None, "error": {}}
        for sample, text in enumerate(texts)
    ]
    question = {"id": str(number), "instruction": f"Question {number}?", "input": "", "category": category}
    return {**question, "reference": None, "teacher": "local:mine", "answers": answers, **fields}


def write(file: Path, lines: list[Any]) -> Path:
    file.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in lines), encoding="utf-8")
    return file


def worth(value: float, words: int = 0) -> str:
    """An answer that the scripted judge gives so many points."""
    return f"This is worth {value:g}.{' word' * words}"


def scripted(first_bonus: float = 0.0) -> Any:
    """A judge that sees what an answer is worth, and favours the one that is shown first."""

    def script(request: dict[str, Any], count: int) -> str:
        values = [float(each) for each in re.findall(r"worth (\d+(?:\.5)?)\.", prompt_of(request))]
        values[0] = min(10.0, values[0] + first_bonus)
        return " ".join(f"{each:g}" for each in values) + "\nFor these reasons."

    return script


def prompt_of(request: dict[str, Any]) -> str:
    return str(request["messages"][-1]["content"])


def summary_of(file: Path) -> dict[str, Any]:
    return dict(json.loads(summary_path(file).read_text(encoding="utf-8")))


MINE = [5.0, 6.0, 7.5, 8.0, 4.0, 6.5]
THEIRS = [6.0, 6.0, 7.0, 6.0, 7.0, 7.5]


@pytest.fixture
def sides(tmp_path: Path) -> tuple[Path, Path]:
    """Six questions, of which the model wins two, ties one and loses three."""
    categories = ["generic", "coding", "math", "generic", "math", None]
    mine = [line(k, worth(value), category=categories[k]) for k, value in enumerate(MINE)]
    theirs = [line(k, worth(value, 1), category=categories[k]) for k, value in enumerate(THEIRS)]  # no two are alike
    return write(tmp_path / "mine.jsonl", mine), write(tmp_path / "theirs.jsonl", list(reversed(theirs)))


# --- what is asked --------------------------------------------------------------------------------------------------


def test_both_answers_stand_in_each_request_in_both_orders(endpoint, sides, tmp_path):
    endpoint.script = scripted()
    result = judge(*sides, TEACHER, tmp_path / "deep" / "j.jsonl")
    prompts = [prompt_of(each) for each in endpoint.asked]
    assert len(prompts) == len(set(prompts)) == result.asked == 12
    for k, (mine, theirs) in enumerate(zip(MINE, THEIRS, strict=True)):
        of_question = [each for each in prompts if f"Question {k}?" in each]
        orders = {tuple(re.findall(r"worth (\S+)\.", each)) for each in of_question}
        assert orders == {(f"{mine:g}", f"{theirs:g}"), (f"{theirs:g}", f"{mine:g}")} and len(of_question) == 2
    assert all(each["temperature"] == 0 and each["max_tokens"] == 512 for each in endpoint.asked)


def test_rubrics_go_by_category_and_language_and_references_are_shown(endpoint, tmp_path):
    endpoint.script = scripted()
    lines = [
        line(0, worth(5), category="math", reference="The sum is 12."),
        line(1, worth(5), category="coding"),
        line(2, worth(5), category="roleplay"),
        line(3, worth(5), category="math", instruction="三加四等于几？"),
    ]
    mine, theirs = write(tmp_path / "a.jsonl", lines), write(tmp_path / "b.jsonl", lines)
    found = read_judgements(judge(mine, theirs, TEACHER, tmp_path / "j.jsonl", orders="first").file)
    assert [each["rubric"] for each in found] == ["math", "coding", "general", "math"]
    assert [each["language"] for each in found] == ["en", "en", "en", "zh"]
    by_question = {each.split("?")[0].split("Question ")[-1]: each for each in map(prompt_of, endpoint.asked)}
    assert "The sum is 12." in by_question["0"] and "Solve the problem yourself" in by_question["0"]
    assert "Reference" not in by_question["1"] and "whether the code does" in by_question["1"]
    assert "how helpful" in by_question["2"]
    (chinese,) = [each for each in map(prompt_of, endpoint.asked) if "三加四" in each]
    assert "请先自己解出这道题" in chinese and "[助手 2 的回答]" in chinese and "assistant" not in chinese

    references = write(tmp_path / "r.jsonl", [{"question_id": 1, "choices": [{"turns": ["print(1)"]}]}])
    judge(mine, theirs, TEACHER, tmp_path / "k.jsonl", orders="first", references=references, language="zh")
    shown = [prompt_of(each) for each in endpoint.asked[4:]]
    assert [each for each in shown if "print(1)" in each and "Question 1?" in each and "参考答案" in each]
    assert sum("参考答案" in each for each in shown) == 1


def test_right_answers_of_another_file_are_found_by_id_or_text_and_what_has_none_is_told(endpoint, sides, tmp_path):
    endpoint.script = scripted()

    def shown(file: Path, answers: Path, *, limit: int | None = None) -> tuple[list[str], Any]:
        found = judge(
            answers,
            sides[1],
            TEACHER,
            tmp_path / f"{file.stem}-j.jsonl",
            orders="first",
            references=file,
            limit=limit,
            overwrite=True,
        )
        sent = {reply["request"]: each["id"] for each in read_judgements(found.file) for reply in replies_of(each)}
        assert len(sent) == found.questions
        right = [
            re.search(r"\[Reference answer, which is right\]\n(.*)", each) for each in map(prompt_of, endpoint.asked)
        ]
        endpoint.asked.clear()
        return sorted(each[1] for each in right if each), found

    held = [line(k, worth(value), reference=f"Held {k}.") for k, value in enumerate(MINE)]
    answers = write(tmp_path / "answers.jsonl", held)
    alpaca = tmp_path / "alpaca.json"
    alpaca.write_text(json.dumps([{"instruction": f"Question {k}?", "output": f"Text {k}."} for k in (0, 1, 0)]))
    right, found = shown(alpaca, answers)
    assert right == ["Text 0.", "Text 1."]
    assert "4 of 6 questions have no reference in alpaca.json" in found.warnings
    assert summary_of(found.file)["references"] == {
        "file": "alpaca.json",
        "missing": 4,
        "missing_ids": ["2", "3", "4", "5"],
    }
    half = write(tmp_path / "half.jsonl", [line(k, f"By id {k}.", instruction="?") for k in (1, 3, 5)])
    assert shown(half, answers)[0] == ["By id 1.", "By id 3.", "By id 5."]
    twice = write(tmp_path / "twice.jsonl", [line(k % 6, f"{'First' if k < 6 else 'Second'} {k}.") for k in range(9)])
    right, found = shown(twice, answers)
    assert right == [f"First {k}." for k in range(6)] and not found.warnings[1:]
    other = write(tmp_path / "other.jsonl", [line(k, "No.") for k in (77, 78)])
    with pytest.raises(SourceError, match=r"other\.jsonl has a right answer to none of 6 questions"):
        shown(other, answers)
    assert not endpoint.asked


def replies_of(judgement: dict[str, Any]) -> list[dict[str, Any]]:
    return [reply for order in judgement["orders"] for reply in order["replies"]]


def test_answers_are_scored_one_by_one_with_and_without_a_baseline(endpoint, sides, tmp_path):
    endpoint.script = scripted()
    alone = judge(sides[0], None, TEACHER, tmp_path / "alone.jsonl", mode="single")
    assert alone.asked == 6 and all(prompt_of(each).count("worth") == 1 for each in endpoint.asked)
    assert alone.facts["mean_score"]["mean"] == pytest.approx(sum(MINE) / 6)
    assert alone.facts["categories"]["math"]["mean_score"]["mean"] == pytest.approx((7.5 + 4.0) / 2)
    both = judge(*sides, TEACHER, tmp_path / "both.jsonl", mode="single")
    assert (both.asked, both.reused) == (6, 6)
    assert both.facts["relative_score"]["percent"] == pytest.approx(100 * sum(MINE) / sum(THEIRS))
    assert both.facts["position"] is None


# --- what comes of it -----------------------------------------------------------------------------------------------


def test_scores_outcomes_and_categories_are_those_of_the_judge(endpoint, sides, tmp_path):
    endpoint.script = scripted()
    result = judge(*sides, TEACHER, tmp_path / "j.jsonl")
    lines, summary = read_judgements(result.file), summary_of(result.file)
    assert [each["score"] for each in lines] == MINE and [each["baseline_score"] for each in lines] == THEIRS
    assert [each["outcome"] for each in lines] == ["loss", "tie", "win", "win", "loss", "loss"]
    first, second = lines[0]["orders"]
    assert (first["shown"], second["shown"]) == (["answer", "baseline"], ["baseline", "answer"])
    assert first["scores"] == second["scores"] == {"answer": 5.0, "baseline": 6.0}
    assert first["replies"][0]["text"] == "5 6\nFor these reasons." and len(first["replies"][0]["request"]) == 64
    assert second["replies"][0]["text"].startswith("6 5\n")
    relative = summary["relative_score"]
    assert (relative["model_sum"], relative["baseline_sum"]) == (sum(MINE), sum(THEIRS))
    assert relative["percent"] == pytest.approx(100 * sum(MINE) / sum(THEIRS))
    interval = relative_score(MINE, THEIRS)["interval"]
    assert {name: relative[name] for name in interval} == interval
    assert {name: summary["outcomes"][name]["n"] for name in ("win", "tie", "loss")} == {"win": 2, "tie": 1, "loss": 3}
    assert summary["outcomes"]["win_rate"] == pytest.approx(100 * 2.5 / 6)
    assert summary["categories"]["math"]["relative_score"]["model_sum"] == 11.5
    assert list(summary["categories"]) == ["generic", "coding", "math"]
    assert (summary["answers"]["file"], summary["answers"]["model"]) == ("mine.jsonl", "local:mine")
    assert summary["teacher"]["model"] == "gpt-4" and summary["warnings"] == list(result.warnings) == []
    assert result.facts["failures"] == result.failed == {}


def test_the_swap_removes_a_position_bias(endpoint, sides, tmp_path):
    endpoint.script = scripted(first_bonus=1.5)
    truth = 100 * sum(MINE) / sum(THEIRS)
    once = judge(*sides, TEACHER, tmp_path / "once.jsonl", orders="first")
    assert once.facts["relative_score"]["percent"] == pytest.approx(100 * (sum(MINE) + 9) / sum(THEIRS))
    assert once.facts["outcomes"]["win_rate"] > 75 and once.facts["position"] is None
    assert any("one order only" in each for each in once.warnings)
    both = judge(*sides, TEACHER, tmp_path / "both.jsonl")
    assert (both.asked, both.reused) == (6, 6)
    relative = both.facts["relative_score"]
    assert (relative["model_sum"], relative["baseline_sum"]) == (sum(MINE) + 4.5, sum(THEIRS) + 4.5)
    assert relative["model_sum"] - relative["baseline_sum"] == sum(MINE) - sum(THEIRS)
    assert abs(relative["percent"] - truth) < 2 < once.facts["relative_score"]["percent"] - truth
    lines = read_judgements(both.file)
    assert [each["outcome"] for each in lines] == ["loss", "tie", "win", "win", "loss", "loss"]
    position = both.facts["position"]
    assert position["first_advantage"]["mean"] == pytest.approx(1.5)
    # Where the two are less than 1.5 apart, the first one wins in both orders.
    close = sum(abs(a - b) < 1.5 for a, b in zip(MINE, THEIRS, strict=True))
    assert position["flipped"]["n"] == position["changed"]["n"] == close == 4
    # Where they are exactly as far apart as the bias, one order is a tie: changed, but not flipped.
    endpoint.script = scripted(first_bonus=1)
    position = judge(*sides, "openai:other", tmp_path / "other.jsonl").facts["position"]
    assert (position["flipped"]["n"], position["changed"]["n"]) == (2, 4)
    assert position["flipped"]["percent"] == pytest.approx(100 * 2 / 6)


def test_a_judge_that_likes_long_answers_is_found_out(endpoint, tmp_path):
    rng = random.Random(0)
    sizes = [(rng.randrange(60), rng.randrange(20)) for _ in range(40)]
    mine = write(tmp_path / "a.jsonl", [line(k, worth(5, a)) for k, (a, _) in enumerate(sizes)])
    theirs = write(tmp_path / "b.jsonl", [line(k, worth(5, b)) for k, (_, b) in enumerate(sizes)])

    def by_length(request, count):
        texts = re.findall(r"This is worth 5\.((?: word)*)", prompt_of(request))
        longer = len(texts[0]) - len(texts[1])
        return "5 5" if not longer else "7 5" if longer > 0 else "5 7"

    endpoint.script = by_length
    found = judge(mine, theirs, TEACHER, tmp_path / "j.jsonl").facts
    assert found["length_bias"]["correlation"] > 0.6
    assert found["length_bias"]["mean_words"] > found["length_bias"]["baseline_mean_words"] + 10
    assert found["outcomes"]["win_rate"] > 75
    assert abs(found["outcomes"]["length_controlled"]["win_rate"] - 50) < abs(found["outcomes"]["win_rate"] - 50) - 5
    endpoint.script = scripted()
    fair = judge(mine, theirs, "openai:fair", tmp_path / "k.jsonl").facts
    assert fair["length_bias"]["correlation"] is None and fair["outcomes"]["tie"]["n"] == 40


def test_intervals_cover_the_truth_as_often_as_they_say():
    """500 runs of 80 questions by a judge whose scores and bias are known, at a level of 90 %."""
    rng = random.Random(7)
    runs, questions = 500, 80
    # A question is worth 4..8 to both, and the model's answer 0.5 less on average.
    how = {"level": 0.9, "resamples": 400, "seed": 0}
    truth = {"percent": 100 * 5.5 / 6.0, "win": 100 * 0.25, "bias": 0.6}
    covered: Counter[str] = Counter()
    for _ in range(runs):
        lines = [simulated(rng) for _ in range(questions)]
        found = judge_results._compared(lines, how)
        relative, wins = found["relative_score"], found["outcomes"]["win"]["interval"]
        bias = judge_results._position(lines, how)["first_advantage"]
        covered["percent"] += relative["low"] <= truth["percent"] <= relative["high"]
        covered["win"] += wins["low"] <= truth["win"] <= wins["high"]
        covered["bias"] += bias["low"] <= truth["bias"] <= bias["high"]
    # 500 draws of a share of 0.9 are within 4 standard deviations of 0.0134; the bootstrap of 80 is a little narrow.
    for name, count in covered.items():
        assert 0.846 <= count / runs <= 0.954, (name, count)


def simulated(rng: random.Random) -> dict[str, Any]:
    """A line of a question on which the model wins in 25 of 100, and loses by a point or two in the others."""
    base = rng.choice([4.0, 5.0, 6.0, 7.0, 8.0])
    gap = rng.choices([1.0, -0.5, -1.5], weights=[25, 50, 25])[0]  # -0.375 on average
    gap -= 0.125
    bonus = rng.choice([0.0, 0.4, 1.4])
    scores = {"answer": base + gap, "baseline": base}
    first = {**scores, "answer": scores["answer"] + bonus}
    second = {**scores, "baseline": scores["baseline"] + bonus}
    orders = [
        {"shown": ["answer", "baseline"], "scores": first},
        {"shown": ["baseline", "answer"], "scores": second},
    ]
    return {"score": base + gap, "baseline_score": base, "words": 1, "baseline_words": 1, "orders": orders}


# --- failures -------------------------------------------------------------------------------------------------------


def test_only_what_failed_is_asked_again(endpoint, sides, tmp_path):
    replies: dict[str, list[str]] = {"Question 1?": ["Both are fine.", "6 x", "Hm.", "7 6"], "Question 2?": ["11 3"]}

    def script(request, count):
        prompt = prompt_of(request)
        question = re.findall(r"Question \d\?", prompt)[0]
        ours_first = " word" not in prompt.split("[End of")[0]
        if question in replies and ours_first and replies[question]:
            return replies[question].pop(0)
        return scripted()(request, count)

    endpoint.script = script
    result = judge(*sides, TEACHER, tmp_path / "j.jsonl")
    assert (result.questions, result.judged, result.failed) == (6, 5, {"no_score": 1})
    assert result.asked == len(endpoint.asked) == 12 + 2  # a second attempt for each of two
    one, two = read_judgements(result.file)[1:3]
    assert (one["failure"], one["score"], one["outcome"]) == ("no_score", None, None)
    assert [each["text"] for each in one["orders"][0]["replies"]] == ["Both are fine.", "6 x"]
    assert one["orders"][1]["scores"] == {"baseline": 6.0, "answer": 6.0}  # kept, but it does not count alone
    assert [each["failure"] for each in two["orders"][0]["replies"]] == ["out_of_range", None]
    assert two["score"] == 7.5
    assert summary_of(result.file)["unreadable_replies"] == {"no_score": 2, "out_of_range": 1}
    assert summary_of(result.file)["relative_score"]["model_sum"] == sum(MINE) - MINE[1]
    assert any("1 of 6 questions have no scores (1 no_score)" in each for each in result.warnings)
    assert sum(each["temperature"] > 0 for each in endpoint.asked) == 2  # a greedy reply would only come again

    before = len(endpoint.asked)
    again = judge(*sides, TEACHER, result.file)
    assert [re.findall(r"Question \d", prompt_of(each)) for each in endpoint.asked[before:]] == [["Question 1"]] * 2
    assert (again.judged, again.failed, again.asked) == (6, {}, 2)
    (order, _) = read_judgements(result.file)[1]["orders"]
    assert [each["sample"] for each in order["replies"]] == [0, 1, 2, 3]
    assert order["scores"] == {"answer": 7.0, "baseline": 6.0}
    with pytest.raises(OutputExistsError, match="nothing in it failed: --overwrite"):
        judge(*sides, TEACHER, result.file)
    anew = judge(*sides, TEACHER, result.file, overwrite=True)
    assert (anew.asked, anew.judged) == (0, 6) and len(endpoint.asked) == before + 2


def test_attempts_end_and_nothing_is_scored_where_the_judge_never_says_a_number(endpoint, sides, tmp_path):
    endpoint.script = lambda request, count: "I'm sorry, but I cannot judge these."
    result = judge(*sides, TEACHER, tmp_path / "j.jsonl", retries=2)
    assert (result.judged, result.failed, result.asked) == (0, {"refusal": 6}, 36)
    assert result.facts["relative_score"] is result.facts["outcomes"] is result.facts["position"] is None
    assert result.facts["categories"]["math"] == {
        "questions": 2,
        "judged": 0,
        "relative_score": None,
        "outcomes": None,
    }
    plan = judge(*sides, TEACHER, result.file, retries=0, dry_run=True).estimate
    assert (plan.in_ledger, plan.to_send) == (0, 12)  # all is asked once more
    endpoint.script = scripted()
    again = judge(*sides, TEACHER, result.file, retries=0)
    assert (again.judged, again.asked) == (6, 12)


def test_a_request_that_the_endpoint_refuses_is_counted_and_asked_again_later(endpoint, sides, tmp_path):
    def script(request, count):
        if "Question 3?" in prompt_of(request):
            return error_reply(400, "content_policy_violation", "not this one")
        return scripted()(request, count)

    endpoint.script = script
    result = judge(*sides, TEACHER, tmp_path / "j.jsonl")
    assert (result.judged, result.failed, len(endpoint.asked)) == (5, {"request_refused": 1}, 12)
    reply = read_judgements(result.file)[3]["orders"][0]["replies"][0]
    assert reply["text"] is None and "not this one" in reply["detail"]
    endpoint.script = scripted()
    assert judge(*sides, TEACHER, result.file).judged == 6 and len(endpoint.asked) == 14


def test_replies_that_do_not_come_leave_no_file_and_the_others_are_kept(endpoint, sides, tmp_path, monkeypatch):
    monkeypatch.setattr(delays, "FIRST_DELAY_S", 0.001)
    fine = scripted()
    endpoint.script = lambda request, count: (
        Reply(status=500) if "Question 3?" in prompt_of(request) else fine(request, count)
    )
    with pytest.raises(IncompleteError, match=r"2 replies have not come \(last: .*500.*run the same command again"):
        judge(*sides, TEACHER, tmp_path / "j.jsonl")
    assert not list(tmp_path.glob("*j.*"))
    endpoint.script = fine
    result = judge(*sides, TEACHER, tmp_path / "j.jsonl")
    assert (result.asked, result.reused) == (2, 10)


def test_another_comparison_is_not_written_over(endpoint, sides, tmp_path):
    endpoint.script = scripted()
    file = judge(*sides, TEACHER, tmp_path / "j.jsonl").file
    before = file.read_bytes()
    with pytest.raises(OutputExistsError, match="and of another comparison"):
        judge(*sides, TEACHER, file, limit=3)
    (tmp_path / "notes.jsonl").write_text("mine\n")
    with pytest.raises(OutputExistsError, match="another comparison"):
        judge(*sides, TEACHER, tmp_path / "notes.jsonl")
    with pytest.raises(OutputError, match="is a folder"):
        judge(*sides, TEACHER, tmp_path)
    (tmp_path / "other.summary.json").write_text('{"questions_from": "vicuna80"}')
    with pytest.raises(OutputExistsError, match=r"other\.summary\.json is there already, and of another comparison"):
        judge(*sides, TEACHER, tmp_path / "other.jsonl")
    assert file.read_bytes() == before and (tmp_path / "notes.jsonl").read_text() == "mine\n"
    assert (tmp_path / "other.summary.json").read_text() == '{"questions_from": "vicuna80"}'
    broken = before[:-20]
    file.write_bytes(broken)  # beside a summary of the same comparison
    with pytest.raises(OutputExistsError, match="another comparison"):
        judge(*sides, TEACHER, file)
    assert file.read_bytes() == broken


def test_nothing_is_asked_where_the_verdicts_could_not_be_written(endpoint, sides, tmp_path):
    endpoint.script = scripted()
    for file in (sides[0] / "x.jsonl", tmp_path / ("x" * 255)):
        with pytest.raises(OutputError, match="Nothing was asked"):
            judge(*sides, TEACHER, file)
    assert not endpoint.asked
    assert {each.name for each in tmp_path.iterdir()} <= {"mine.jsonl", "theirs.jsonl", "home"}


def test_odd_characters_come_through(endpoint, tmp_path):
    endpoint.script = lambda request, count: "8 9\nOne\u2028line\x85and \U0001f600"
    mine = write(tmp_path / "a.jsonl", [line(0, "a\u2028b"), line(1, "half: HALF"), line(2, "{answer}\x00 {0}")])
    mine.write_text(mine.read_text(encoding="utf-8").replace("HALF", "\\ud83d"), encoding="utf-8")
    theirs = write(tmp_path / "b.jsonl", [line(k, "{question} {rubric}") for k in range(3)])
    result = judge(mine, theirs, TEACHER, tmp_path / "j.jsonl")
    lines = read_judgements(result.file)
    assert len(lines) == result.judged == 3
    assert lines[0]["orders"][0]["replies"][0]["text"] == "8 9\nOne\u2028line\x85and \U0001f600"
    prompts = "".join(map(prompt_of, endpoint.asked))
    assert "a\u2028b" in prompts and "half: \ufffd" in prompts and "{answer}" in prompts
    assert prompts.count("{question} {rubric}") == 6
    with pytest.raises(OutputError, match="is no file of judgements"):
        read_judgements(mine)
    with pytest.raises(OutputError, match="cannot read"):
        read_judgements(tmp_path / "nothing.jsonl")


# --- sides that do not fit ------------------------------------------------------------------------------------------


def test_sides_of_different_questions_are_told(endpoint, tmp_path):
    endpoint.script = lambda request, count: "7 7" if "not given" in prompt_of(request) else scripted()(request, count)
    mine = [line(k, worth(6)) for k in range(6)] + [line(2, worth(9)), line(7, None), line(8, ""), line(9, " ")]
    theirs = [line(k, worth(6)) for k in (1, 2, 3, 4, 8, 10, 11)] + [line(5, worth(6), instruction="Another?")]
    a, b = write(tmp_path / "a.jsonl", mine), write(tmp_path / "b.jsonl", theirs)
    endpoint.script = lambda request, count: "6 6"
    result = judge(a, b, TEACHER, tmp_path / "j.jsonl")
    assert [each["id"] for each in read_judgements(result.file)] == ["1", "2", "3", "4", "8"]
    summary = summary_of(result.file)
    left, right = summary["answers"], summary["baseline"]
    assert (left["questions"], left["duplicated"], left["not_answered"], left["empty"]) == (9, 1, 1, 1)
    assert (left["only_here"], left["only_here_ids"]) == (2, ["0", "9"]) and left["duplicated_ids"] == ["2"]
    assert (right["only_here"], right["only_here_ids"]) == (2, ["10", "11"])
    assert (summary["common"], summary["different_questions"], summary["different_questions_ids"]) == (5, 1, ["5"])
    told = "\n".join(result.warnings)
    for each in (
        "a.jsonl has 1 id twice",
        "a.jsonl has no answer to 1 of its 9 questions",
        "a.jsonl has 1 empty answer,",
        "cover different questions (2 only in a.jsonl, 2 only in b.jsonl): only the 5 common ones count",
        "different questions have the same id on the two sides, 1 time",
    ):
        assert each in told
    assert sum("(no answer was given)" in prompt_of(each) for each in endpoint.asked) == 2
    assert "worth 9" not in str(endpoint.asked)  # of a question that comes twice, the first counts
    with pytest.raises(SourceError, match=r"no question in common \(.* \(1 only in c\.jsonl, 8 only in b\.jsonl\)\)"):
        judge(write(tmp_path / "c.jsonl", [line(77, worth(5))]), b, TEACHER, tmp_path / "k.jsonl")


def test_files_of_fastchat_and_alpaca_eval_are_judged(endpoint, sides, tmp_path):
    endpoint.script = scripted()
    expected = judge(*sides, TEACHER, tmp_path / "j.jsonl", orders="first").facts["relative_score"]
    fastchat, alpaca = tmp_path / "fastchat.jsonl", tmp_path / "alpaca.json"
    assert export_answers(sides[0], fastchat, "fastchat") == export_answers(sides[1], alpaca, "alpaca_eval") == 6
    assert json.loads(fastchat.read_text().splitlines()[0]) == {
        "question_id": 0,
        "model_id": "local:mine",
        "choices": [{"index": 0, "turns": [worth(5)]}],
    }
    last = {"instruction": "Question 5?", "output": worth(7.5, 1), "generator": "local:mine"}
    assert json.loads(alpaca.read_text())[0] == last
    old = write(
        tmp_path / "old.jsonl",
        [{"question_id": k, "text": worth(value), "answer_id": "x", "model_id": "m"} for k, value in enumerate(MINE)],
    )
    questions = [{"question_id": k, "text": f"Question {k}?", "category": "math"} for k in range(6)]
    for file, options in ((fastchat, {}), (old, {}), (sides[0], {"questions": questions})):
        found = judge(file, sides[1], TEACHER, tmp_path / f"{file.stem}-j.jsonl", orders="first", **options)
        assert found.facts["relative_score"] == expected
    assert read_judgements(tmp_path / "old-j.jsonl")[0]["category"] == "generic"  # as the other side says
    by_text = judge(sides[0], alpaca, TEACHER, tmp_path / "alpaca-j.jsonl", orders="first")
    assert by_text.facts["relative_score"] == expected
    assert read_judgements(by_text.file)[0]["id"] == "0"
    with pytest.raises(SourceError, match="name the file of the questions, too"):
        judge(fastchat, old, TEACHER, tmp_path / "k.jsonl")
    both = judge(fastchat, old, TEACHER, tmp_path / "k.jsonl", questions=questions, orders="first")
    assert read_judgements(both.file)[5]["rubric"] == "math"
    with pytest.raises(SourceError, match=r"cannot be matched: name the file of the questions, too \(--questions\)"):
        judge(fastchat, alpaca, TEACHER, tmp_path / "l.jsonl")
    matched = judge(fastchat, alpaca, TEACHER, tmp_path / "l.jsonl", questions=questions, orders="first")
    assert matched.facts["relative_score"] == expected and read_judgements(matched.file)[5]["rubric"] == "math"
    with pytest.raises(OutputExistsError, match="--overwrite"):
        export_answers(sides[0], fastchat, "fastchat")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("no json\n", r"x\.jsonl:1 is not JSON"),
        (
            '{"question_id": 1, "choices": []}\n{"question_id": 2, "choices": [{"turns": 7}]}\n',
            r"x\.jsonl:2 is no answer",
        ),
        ('{"rows": 1}\n', r"x\.jsonl:1 is no answer"),
        ("[1]", r"x\.jsonl:1 is no answer"),
        ("", "holds no answers"),
        ('{"id": "1", "answers": []}\n', r"x\.jsonl:1 is no line of answers"),
        ("[{", "is not JSON"),
    ],
)
def test_what_is_no_file_of_answers_is_one_line(tmp_path, content, message):
    (tmp_path / "x.jsonl").write_text(content)
    with pytest.raises(SourceError, match=message) as error:
        read_answer_rows(tmp_path / "x.jsonl", of_sample(0))
    assert "\n" not in str(error.value)


def test_a_sample_that_is_not_there_is_not_answered(endpoint, tmp_path):
    endpoint.script = scripted()
    mine = write(tmp_path / "a.jsonl", [line(0, worth(5), worth(8)), line(1, worth(5)), line(2, worth(5), None)])
    theirs = write(tmp_path / "b.jsonl", [line(k, worth(6), worth(1)) for k in range(3)])
    result = judge(mine, theirs, TEACHER, tmp_path / "j.jsonl", sample=1)
    (found,) = read_judgements(result.file)
    assert (found["id"], found["score"], found["baseline_score"]) == ("0", 8.0, 6.0)
    assert any("no answer to 2 of its 3 questions" in each for each in result.warnings)
    with pytest.raises(SourceError, match=r"a\.jsonl has no answer to 3 of its 3 questions"):
        judge(mine, theirs, TEACHER, tmp_path / "k.jsonl", sample=3)
    with pytest.raises(SourceError, match=r"nothing to judge \(a\.jsonl has no answer to 3 of its 3 questions\)"):
        judge(mine, None, TEACHER, tmp_path / "k.jsonl", sample=3, mode="single")


def test_exported_answers_keep_their_ids_and_places(tmp_path):
    first = line(0, "a", None, "c", id="007", reference=7, category=5)
    mine = write(tmp_path / "a.jsonl", [first, line(7, None, "x"), line(8, None)])
    assert export_answers(mine, tmp_path / "f.jsonl", "fastchat") == 2
    rows = [json.loads(each) for each in (tmp_path / "f.jsonl").read_text().splitlines()]
    assert [row["question_id"] for row in rows] == ["007", 7]
    assert [[each["index"] for each in row["choices"]] for row in rows] == [[0, 2], [1]]
    for sample, texts in enumerate((["a", None], [None, "x"], ["c", None], [None, None])):
        for file in (mine, tmp_path / "f.jsonl"):
            found = read_answer_rows(file, of_sample(sample))
            assert [row.text for row in found][:2] == texts, (file, sample)
            assert [row.id for row in found][:2] == ["007", "7"]
    assert (found[0].reference, found[0].category) == (None, None)
    ours = read_answer_rows(mine, of_sample(0))  # a number is neither
    assert (ours[0].reference, ours[0].category) == (None, None)
    with pytest.raises(UsageError, match="would take the place of"):
        export_answers(mine, mine, "fastchat", overwrite=True)


# --- sums that cannot be ---------------------------------------------------------------------------------------------


def test_the_papers_own_suspicious_pair_is_caught_and_no_other(shared_data):
    numbers = json.loads((shared_data / "paper_numbers.json").read_text(encoding="utf-8"))["vicuna80"]
    versus = {"GPT-4": numbers["vs_gpt4"], "ChatGPT": numbers["vs_chatgpt"]}
    low = {
        (name, each) for name, pairs in versus.items() for each in low_baselines({k: v[1] for k, v in pairs.items()})
    }
    assert low == {("ChatGPT", "GPT-4")}
    caught = set()
    for baseline, pairs in versus.items():
        for model, (ours, theirs) in pairs.items():
            if model in versus:  # only then is there a run with the sides swapped
                reverse_model, reverse_baseline = versus[model][baseline]
                if suspicious_pair(ours, theirs, reverse_model, reverse_baseline):
                    caught.add(frozenset((model, baseline)))
    assert caught == {frozenset(("GPT-4", "ChatGPT"))}


def test_a_pair_is_suspicious_only_where_both_sums_are_lower():
    assert "as if 80 % to 86 % of the questions" in str(suspicious_pair(613, 521, 652, 714))
    assert suspicious_pair(700, 560, 652, 714) is None  # a judge that is kinder to one side
    assert suspicious_pair(652, 714, 652, 714) is suspicious_pair(0, 0, 652, 714) is None
    assert low_baselines({}) == low_baselines({"a": 700, "b": 640, "c": 760}) == {}


# --- rank groups ----------------------------------------------------------------------------------------------------


def ranked(number: int, values: list[float | None], order: list[int]) -> dict[str, Any]:
    found = line(number, *(None if each is None else worth(each) for each in values))
    for place, each in enumerate(found["answers"]):
        each |= {"reward": 1.0, "rank": order.index(place) + 1} if place in order else {"reward": None, "rank": None}
    return found


def test_rank_groups_stand_beside_the_baseline_and_what_they_share_is_asked_once(endpoint, tmp_path, monkeypatch):
    endpoint.script = scripted()
    file = write(
        tmp_path / "ranked.jsonl",
        [ranked(0, [5, 8, 6], [1, 2, 0]), ranked(1, [7, 4, 9], [2, 0, 1]), ranked(2, [6, None, 7], [2, 0])],
    )
    baseline = write(tmp_path / "b.jsonl", [line(k, worth(8)) for k in range(3)])
    planned = judge_groups(file, baseline, TEACHER, tmp_path / "groups", dry_run=True)
    assert planned.estimate.requests == planned.estimate.to_send == 16 - 1  # 8 answers; 8 against 8 is one request
    assert not endpoint.asked and not (tmp_path / "groups").exists()
    result = judge_groups(file, baseline, TEACHER, tmp_path / "groups")
    assert list(result.groups) == ["1", "2", "3", "B"]
    assert result.asked == len(endpoint.asked) == 15
    sums = {name: each.facts["relative_score"]["model_sum"] for name, each in result.groups.items()}
    assert sums == {"1": 8 + 9 + 7, "2": 6 + 7 + 6, "3": 5 + 4, "B": 5 + 7 + 6}
    summary = json.loads((tmp_path / "groups" / "groups.summary.json").read_text())
    assert {name: each["relative_score"]["model_sum"] for name, each in summary["groups"].items()} == sums
    assert summary["groups"]["3"]["questions"] == 2 and summary["answers"] == "ranked.jsonl"
    assert summary["warnings"] == list(result.warnings)
    assert any(each.startswith("group 3: ranked.jsonl has no answer to 1 of its 3") for each in result.warnings)
    assert result.warnings[-1].startswith("the baseline scores 16 beside group 3, 24 in the median run: about 67 %")
    assert summary_of(result.groups["1"].file)["relative_score"]["model_sum"] == 24
    with pytest.raises(OutputExistsError, match="--overwrite"):
        judge_groups(file, baseline, TEACHER, tmp_path / "groups")
    (tmp_path / "groups" / "group-2.jsonl").unlink()  # as a kill between two files leaves it
    assert judge_groups(file, baseline, TEACHER, tmp_path / "groups").asked == 0
    assert (tmp_path / "groups" / "group-2.jsonl").exists()
    # What all cost together is told once, and never beside groups of another run.
    told = [json.loads(each.read_text()) for each in (tmp_path / "groups").glob("*.summary.json")]
    assert len(told) == 5 and [("cost_usd" in each, "asked" in each) for each in told].count((True, True)) == 1
    with monkeypatch.context() as patched:
        patched.setattr("gpt4_instruct.storage.os.replace", stopping_at("groups.summary.json"))
        with pytest.raises(KeyboardInterrupt):
            judge_groups(file, baseline, TEACHER, tmp_path / "groups", limit=2, overwrite=True)
    assert not (tmp_path / "groups" / "groups.summary.json").exists()
    assert judge_groups(file, baseline, TEACHER, tmp_path / "groups", limit=2).groups["1"].questions == 2
    with pytest.raises(UsageError, match="answers without ranks"):
        judge_groups(baseline, baseline, TEACHER, tmp_path / "other")


# --- cost -----------------------------------------------------------------------------------------------------------


def test_a_dry_run_counts_what_would_be_asked_and_asks_nothing(endpoint, sides, tmp_path):
    endpoint.script = scripted()
    plan = judge(*sides, TEACHER, tmp_path / "j.jsonl", dry_run=True)
    assert not endpoint.asked and not list(tmp_path.glob("**/j.*")) and not list(tmp_path.glob("home/ledger*"))
    before = plan.estimate
    assert (before.requests, before.in_ledger, before.to_send, before.measured) == (12, 0, 12, 0)
    assert 0 < before.likely_usd < before.most_usd
    part = judge(*sides, TEACHER, tmp_path / "part.jsonl", limit=4)
    after = judge(*sides, TEACHER, tmp_path / "j.jsonl", dry_run=True).estimate
    assert (after.requests, after.in_ledger, after.to_send, after.measured) == (12, 8, 4, 8)
    assert after.answer_tokens == pytest.approx(4 * 5, rel=0.2)  # as the replies so far
    rest = judge(*sides, TEACHER, tmp_path / "j.jsonl")
    assert rest.asked == 4 and part.cost_usd > 0
    assert rest.cost_usd == pytest.approx(after.likely_usd, rel=0.1) and rest.cost_usd < after.most_usd
    assert judge(*sides, TEACHER, tmp_path / "k.jsonl", dry_run=True).estimate.most_usd == 0
    unknown = judge(*sides, "openai:unheard-of", tmp_path / "k.jsonl", dry_run=True).estimate
    assert unknown.likely_usd is unknown.most_usd is None and unknown.to_send == 12


def test_what_could_not_be_read_is_in_the_estimate(endpoint, sides, tmp_path):
    endpoint.script = lambda request, count: "Fine." if "Question 1?" in prompt_of(request) else scripted()(request, 0)
    judge(*sides, TEACHER, tmp_path / "j.jsonl", retries=0)
    estimate = judge(*sides, TEACHER, tmp_path / "k.jsonl", dry_run=True).estimate
    assert (estimate.in_ledger, estimate.to_send) == (10, 2)
    asked = len(endpoint.asked)
    judge(*sides, TEACHER, tmp_path / "k.jsonl")
    assert len(endpoint.asked) - asked == 2


def test_a_budget_is_a_hard_cap_and_a_new_one_goes_on(endpoint, sides, tmp_path):
    endpoint.script = scripted()
    most = judge(*sides, TEACHER, tmp_path / "j.jsonl", dry_run=True).estimate.most_usd
    with pytest.raises(BudgetError, match="a new --budget-usd goes on from there"):
        judge(*sides, TEACHER, tmp_path / "j.jsonl", budget_usd=most / 20)
    asked = len(endpoint.asked)
    assert 0 < asked < 12 and not (tmp_path / "j.jsonl").exists()
    rest = judge(*sides, TEACHER, tmp_path / "j.jsonl", budget_usd=most)
    assert (rest.asked, rest.reused, rest.judged) == (12 - asked, asked, 6)


def test_batches_judge_too(sides, tmp_path, monkeypatch):
    monkeypatch.setattr(delays, "FIRST_DELAY_S", 0.01)
    for name in ("_FIRST_POLL_S", "_OTHERS_S", "_FULL_S"):
        monkeypatch.setattr(batches, name, 0.03)
    with FaultyEndpoint(refused_share=0.0, length_share=0.0, batch_s=0.05) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", server.key)
        result = judge(*sides, "openai-batch:m", tmp_path / "j.jsonl")
        assert result.failed == {"no_score": 6}  # this endpoint answers in sentences
        assert (result.asked, result.reused, len(server.batches)) == (24, 0, 2)  # then a batch of second attempts
        other = judge(*sides, "openai:m", tmp_path / "k.jsonl")
        assert (other.asked, other.reused) == (0, 24)


# --- the end of a run -----------------------------------------------------------------------------------------------


def _judges() -> None:
    judge(sys.argv[1], sys.argv[2], "openai:m", sys.argv[3], concurrency=4, ledger=sys.argv[4])


def test_killed_again_and_again_the_file_is_the_same_and_nothing_is_asked_twice(endpoint: Endpoint, tmp_path):
    mine = write(tmp_path / "a.jsonl", [line(k, worth(4 + k % 5)) for k in range(40)])
    theirs = write(tmp_path / "b.jsonl", [line(k, worth(5.5)) for k in range(40)])
    fine = scripted(1)

    def script(request, count):
        number = int(re.findall(r"Question (\d+)\?", prompt_of(request))[0])
        unreadable = number % 5 == 0 and (number % 10 == 0 or request["temperature"] == 0)
        return Reply("Both are fine." if unreadable else fine(request, count), delay_s=0.01)

    endpoint.script = script
    out = tmp_path / "j.jsonl"

    def start(out: Path, ledger: Path) -> Forked:
        return Forked(_judges, [mine, theirs, out, ledger])

    rng, kills = random.Random(0), 0
    while True:
        process, wanted = start(out, tmp_path / "one.sqlite3"), len(endpoint.asked) + rng.randrange(20, 50)
        while len(endpoint.asked) < wanted and process.poll() is None:
            time.sleep(0.005)
        if process.poll() is not None:
            break
        process.kill()
        kills += 1
        time.sleep(0.1)  # the endpoint finishes what was in flight
        assert not out.exists(), "nothing half-written"
    done = process.finish()
    assert done.returncode == 0, done.stderr
    assert kills >= 2
    needed = 80 + 16  # 8 questions need a second attempt in both orders, which helps 4 of them
    ledger = Ledger(tmp_path / "one.sqlite3")
    assert ledger.counts() == {"settled": needed}
    attempts = Counter(dict(ledger._db.execute("SELECT attempts, count(*) FROM requests GROUP BY attempts")))
    ledger.close()
    lost = sum((number - 1) * count for number, count in attempts.items())
    assert len(endpoint.asked) - needed <= lost <= kills * 4  # what was in flight when a kill came, and nothing else

    undisturbed = tmp_path / "undisturbed.jsonl"
    assert start(undisturbed, tmp_path / "two.sqlite3").wait() == 0
    assert out.read_bytes() == undisturbed.read_bytes()
    lines = read_judgements(out)
    assert len(lines) == 40 and sum(each["failure"] == "no_score" for each in lines) == 4
    found = {name: value for name, value in summary_of(out).items() if name in facts(lines)}
    assert found == json.loads(json.dumps(facts(lines)))


def test_stopped_between_summary_and_file_the_same_command_goes_on(endpoint, sides, tmp_path, monkeypatch):
    endpoint.script = lambda request, count: "Fine." if "Question 1?" in prompt_of(request) else scripted()(request, 0)

    for retries in (0, 1):  # there is no file yet; then there is one, with a failure
        with monkeypatch.context() as patched:
            patched.setattr("gpt4_instruct.storage.os.replace", stopping_at("j.jsonl"))
            with pytest.raises(KeyboardInterrupt):
                judge(*sides, TEACHER, tmp_path / "j.jsonl", retries=retries)
        asked = len(endpoint.asked)
        result = judge(*sides, TEACHER, tmp_path / "j.jsonl", retries=retries)
        assert (result.judged, len(endpoint.asked)) == (5, asked)

    # Another comparison takes the file's place: stopped anywhere, there are never the lines of one and the sums of
    # the other.
    better = write(tmp_path / "better.jsonl", [line(k, worth(value + 1)) for k, value in enumerate(MINE)])
    for name in ("j.summary.json", "j.jsonl"):
        judge(*sides, TEACHER, tmp_path / "j.jsonl", overwrite=True)
        with monkeypatch.context() as patched:
            patched.setattr("gpt4_instruct.storage.os.replace", stopping_at(name))
            with pytest.raises(KeyboardInterrupt):
                judge(better, sides[1], TEACHER, tmp_path / "j.jsonl", overwrite=True)
        assert not (tmp_path / "j.jsonl").exists()
        asked = len(endpoint.asked)
        result = judge(better, sides[1], TEACHER, tmp_path / "j.jsonl", overwrite=name == "j.summary.json")
        scores = [each["score"] for each in read_judgements(result.file) if each["failure"] is None]
        assert sum(scores) == summary_of(result.file)["relative_score"]["model_sum"] == sum(MINE) - MINE[1] + 5
        assert len(endpoint.asked) == asked


def stopping_at(name: str) -> Any:
    """`os.replace`, but for a file of that name."""

    def replace(source: Any, target: Any) -> None:
        if Path(target).name == name:
            raise KeyboardInterrupt
        os.rename(source, target)

    return replace


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "triple"}, "mode is 'triple'"),
        ({"orders": "second"}, "orders is 'second'"),
        ({"language": "fr"}, "language is 'fr'"),
        ({"sample": -1}, "sample is -1"),
        ({"retries": -1}, "retries is -1"),
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"limit": 0}, "limit is 0"),
    ],
)
def test_an_argument_that_cannot_work_is_one_line(endpoint, sides, tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        judge(*sides, TEACHER, tmp_path / "j.jsonl", **options)
    references = write(tmp_path / "right.jsonl", [line(0, "Right.")])
    for file in (sides[1], references, sides[0].with_suffix(".json")):  # the last has the summary of the answers
        with pytest.raises(UsageError, match="would take the place of"):
            judge(*sides, TEACHER, file, references=references, overwrite=True)
    with pytest.raises(UsageError, match=r'alone \(--single, mode="single"\)'):
        judge(sides[0], None, TEACHER, tmp_path / "j.jsonl")
    assert not endpoint.asked and not (tmp_path / "j.jsonl").exists()
