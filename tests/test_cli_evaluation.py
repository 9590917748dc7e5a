"""The commands of evaluation from end to end: what they print and write, and what a careless user is told."""

from __future__ import annotations

import json
import os
import re
from importlib.util import find_spec

import pytest
from typer.testing import CliRunner

from gpt4_instruct.cli import app as cli
from gpt4_instruct.evaluation.answers import read_answers
from gpt4_instruct.evaluation.rating import CRITERIA, Study
from gpt4_instruct.evaluation.rating_pairs import find_pairs
from tests.test_judge import MINE, THEIRS, line, prompt_of, scripted, sides, worth, write

__all__ = ["sides"]  # a fixture


def run(*arguments: object, code: int = 0) -> str:
    done = CliRunner().invoke(cli.app, [str(each) for each in arguments], env={"COLUMNS": "120"})
    error = done.exception
    if code and error is not None and not isinstance(error, SystemExit):
        return f"{type(error).__name__}: {error}"
    assert done.exit_code == code, f"{done.output}{error!r}"
    return done.output


def test_judging_by_the_command_line(endpoint, sides, tmp_path):
    endpoint.script = scripted(first_bonus=1.0)
    mine, theirs = sides
    judging = ("judge", "--answers", mine, "--baseline", theirs, "--teacher", "openai:gpt-4")
    planned = run(*judging, "--out", tmp_path / "j.jsonl", "--dry-run")
    assert "12 requests, 0 of them in the ledger, 12 to send" in planned and "at most; prices of 20" in planned
    assert not endpoint.asked and not (tmp_path / "j.jsonl").exists()
    shown = run(*judging, "--out", tmp_path / "j.jsonl")
    assert "6 of 6" in shown and f"{100 * (sum(MINE) + 3) / (sum(THEIRS) + 3):.1f}%" in shown
    for name, cell in (("win", "2 (33%)"), ("tie", "1 (17%)"), ("loss", "3 (50%)"), ("first place is worth", "+1.00 ")):
        assert re.search(rf"^ +{name} +{re.escape(cell)}", shown, re.MULTILINE), shown
    assert re.search(r"^ win rate, ties as halves +41\.7% \[\d\d\.\d, \d\d\.\d\]", shown, re.MULTILINE), shown
    assert "generic (2)" in shown and "coding (1)" in shown and re.search(r"^ +local:mine +$", shown, re.MULTILINE)
    assert "12 requests sent" in shown and "the verdicts are in" in shown
    assert "is there already" in run(*judging, "--out", tmp_path / "j.jsonl", code=1)
    alone = run("judge", "--answers", mine, "--teacher", "openai:gpt-4", "--single", "--out", tmp_path / "s.jsonl")
    assert "mean score" in alone and "6 of 6" in alone
    assert "name one with --baseline, or judge answers alone (--single" in run(
        "judge", "--answers", mine, "--teacher", "openai:gpt-4", "--out", tmp_path / "x.jsonl", code=1
    )


def test_failures_are_shown(endpoint, sides, tmp_path):
    good = scripted()
    endpoint.script = lambda request, count: "I like both." if "Question 2?" in prompt_of(request) else good(request, 0)
    mine, theirs = sides
    shown = run(
        "judge", "--answers", mine, "--baseline", theirs, "--teacher", "openai:gpt-4", "--out", tmp_path / "j.jsonl"
    )
    assert "5 of 6" in shown and "1 no_score" in shown and "warning: 1 of 6 questions have no scores" in shown


def test_groups_are_columns(endpoint, tmp_path):
    endpoint.script = scripted()
    ranked = [
        {**line(k, worth(4 + k), worth(6 + k)), "ranking": [1, 0]}
        | {
            "answers": [
                {"sample": 0, "text": worth(4 + k), "reward": 0.0, "rank": 2},
                {"sample": 1, "text": worth(6 + k), "reward": 1.0, "rank": 1},
            ]
        }
        for k in range(3)
    ]
    base = [line(k, worth(7)) for k in range(3)]
    judging = ("judge", "--groups", "--teacher", "openai:gpt-4", "--out", tmp_path / "groups")
    judging = (*judging, "--answers", write(tmp_path / "r.jsonl", ranked))
    assert "--groups needs --baseline" in run(*judging, code=1)
    shown = run(*judging, "--baseline", write(tmp_path / "b.jsonl", base))
    head = next(part for part in shown.splitlines() if "rank 1" in part)
    assert head.split() == ["rank", "1", "rank", "2", "B"]
    assert " 100.0% " in shown and " 71.4% " in shown  # 21 and 15 of 21 points


def test_names_with_brackets_stand_in_the_table_as_they_are(endpoint, tmp_path):
    endpoint.script = scripted(first_bonus=0.5)
    names = {"category": "math [/b] x", "teacher": "local:/tmp/m[bold]"}
    mine, theirs = (
        write(tmp_path / f"{name}.jsonl", [line(k, worth(4 + (k * step) % 5), **names) for k in range(12)])
        for name, step in (("a", 1), ("b", 2))
    )
    shown = run(
        "judge", "--answers", mine, "--baseline", theirs, "--teacher", "openai:m", "--out", tmp_path / "j.jsonl"
    )
    assert "  math [/b] x (12) " in shown and " m[bold]" in shown
    assert re.search(r"^ relative score +\d+\.\d% \[\d+\.\d, \d+\.\d\]", shown, re.MULTILINE), shown
    assert re.search(r"^ first place is worth +\+0\.50 points \[\+\d\.\d\d, \+\d\.\d\d\]", shown, re.MULTILINE), shown


def test_measuring_tells_what_does_not_count(tmp_path):
    right = {"reference": "A cod fish."}
    rows = [line(1, "A cod.", **right), line(1, "No.", **right), line(2, " ", **right), line(3, None, **right)]
    shown = run("rouge", "--answers", write(tmp_path / "a.jsonl", rows))
    assert "F1 of 2 answers; 1 empty; 1 of 3 without an answer or a reference; 1 more of the same questions" in shown


def test_translating_measuring_and_converting(endpoint, tmp_path):
    def translate(request, count):
        return '{"instruction": "说出一种鱼。", "input": ""}' if '"instruction"' in prompt_of(request) else "鳕鱼。"

    endpoint.script = translate
    answers = write(tmp_path / "a.jsonl", [line(1, "A cod.", reference="A cod fish.")])
    measured = run("rouge", "--answers", answers, "--out", tmp_path / "rouge.json")
    assert re.search(r"ALL +1 +0\.800", measured) and "F1 of 1 answers; they are in" in measured
    assert json.loads((tmp_path / "rouge.json").read_text())["n"] == 1
    assert "1 questions in" in run("convert", "--answers", answers, "--to", "fastchat", "--out", tmp_path / "f.jsonl")
    assert json.loads((tmp_path / "f.jsonl").read_text())["choices"][0]["turns"] == ["A cod."]
    assert "must be fastchat or alpaca_eval" in run(
        "convert", "--answers", answers, "--to", "csv", "--out", tmp_path / "f.csv", code=1
    )
    translated = run("translate", "--data", answers, "--teacher", "openai:m", "--out", tmp_path / "zh.jsonl")
    assert "1 questions and 1 answers translated" in translated
    (chinese,) = read_answers(tmp_path / "zh.jsonl")
    assert chinese["id"] == "1" and "鱼" in chinese["instruction"] and "鱼" in chinese["answers"][0]["text"]


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="pip install '.[eval]'")
def test_the_paper_and_a_report(endpoint, sides, tmp_path):
    endpoint.script = scripted()
    mine, theirs = sides
    run_folder = tmp_path / "run"
    run("judge", "--answers", mine, "--baseline", theirs, "--teacher", "openai:gpt-4", "--out", run_folder / "j.jsonl")
    shown = run("paper", "--out", tmp_path / "paper", "--mine", run_folder)
    assert "93.7" not in shown and "Nothing of the run is of a comparison that the paper makes" in shown
    (run_folder / "j.summary.json").rename(run_folder / "vs_gpt4.summary.json")
    shown = run("paper", "--out", tmp_path / "paper", "--mine", run_folder)
    assert f"vs_gpt4.summary.json is not beside the paper's: {len(MINE)} questions, not 80" in " ".join(shown.split())
    assert "613" in shown and "doubtful" in shown and "pictures and numbers.json are in" in shown
    percent = 100 * sum(MINE) / sum(THEIRS)
    assert f"{percent:.2f}" in (tmp_path / "paper" / "paper.html").read_text(encoding="utf-8")
    assert "the page is" in run("report", run_folder, "--out", tmp_path / "report.html")
    assert "OutputError: " in run("report", tmp_path / "nowhere", code=1)


@pytest.mark.skipif(find_spec("nltk") is None, reason="pip install '.[human]'")
def test_rating_by_the_command_line(sides, tmp_path, monkeypatch):
    pairs, _ = find_pairs(*sides, attention=0, seed=0)
    settings = {"ours": "a", "baseline": "b", "seed": 0, "per_question": 1, "attention": 0, "raters": None}
    study = Study.create(tmp_path / "study", pairs, settings)
    for number in study.pairs:
        study.record("Ann", number, "ours", dict.fromkeys(CRITERIA, "A"), "test")
    study.close()
    shown = run("rate", "tally", "--out", tmp_path / "study")
    assert "6 ratings of 6 of 6 questions by 1 raters" in shown and shown.count("100.0% [") == 3
    assert "95% intervals (wilson)" in shown
    (tmp_path / "study" / "tally.json").unlink()
    with monkeypatch.context() as patched:
        patched.setattr("os.access", lambda _, mode, **__: not mode & os.W_OK)
        shown = run("rate", "tally", "--out", tmp_path / "study")
    assert "6 ratings of 6" in shown and "cannot be written, so tally.json and the pies are not in it" in shown
    assert not (tmp_path / "study" / "tally.json").exists()
    tasks = tmp_path / "tasks.json"
    assert "6 tasks in" in run("rate", "export", "--out", tmp_path / "study", "--file", tasks, "--format", "argilla")
    out = ("rate", "export", "--out", tmp_path / "study", "--file", tasks, "--format", "argilla")
    assert "OutputExistsError" in run(*out, code=1) and "6 tasks in" in run(*out, "--overwrite")
    again = run("rate", "import", "--file", tasks, "--out", tmp_path / "study", "--format", "argilla")
    assert "0 votes of 1 raters added, 18 were there" in again
    assert "UnknownNameError" in run(
        "rate", "export", "--out", tmp_path / "study", "--file", tasks, "--format", "xml", code=1
    )
    serving = ("rate", "serve", "--answers", sides[0], "--baseline", sides[1], "--out", tmp_path / "other")
    assert "token" in run(*serving, "--host", "0.0.0.0", code=1)
    if find_spec("gradio"):
        theirs = write(tmp_path / "theirs.jsonl", [{"question_id": number, "text": "Yes."} for number in range(6)])
        serving = ("rate", "serve", "--answers", theirs, "--baseline", theirs, "--out", tmp_path / "other")
        assert "has no text of question 0: name a file of the questions with --questions" in run(*serving, code=1)
        asked = write(tmp_path / "asked.jsonl", [{"question_id": number, "text": "Is it?"} for number in range(6)])
        # With questions it goes on to the next thing that cannot work.
        assert "no answer is long enough" in run(*serving, "--questions", asked, code=1)


def test_rating_without_votes(tmp_path, sides):
    if find_spec("nltk") is None:
        pytest.skip("pip install '.[human]'")
    pairs, _ = find_pairs(*sides, attention=0, seed=0)
    settings = {"ours": "a", "baseline": "b", "seed": 0, "per_question": 1, "attention": 0, "raters": None}
    Study.create(tmp_path / "study", pairs, settings).close()
    assert "0 ratings of 0 of 6 questions by 0 raters" in run("rate", "tally", "--out", tmp_path / "study")
