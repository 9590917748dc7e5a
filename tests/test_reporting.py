"""What a report may not do: replace what is no page, tell nothing, or hide that two runs do not agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt4_instruct.errors import OutputError
from gpt4_instruct.reporting import report


def judged(answers: str, baseline: str, model_sum: float, baseline_sum: float) -> dict:
    """A summary of 80 verdicts, as `judge` writes it."""
    interval = {"low": 40.0, "high": 60.0}
    outcome = {"n": 40, "percent": 50.0, "interval": interval}
    return {
        "teacher": {"spec": "openai:gpt-4", "model": "gpt-4-0613"},
        **{"mode": "pairwise", "orders": "both", "common": 80, "questions": 80, "judged": 80, "failures": {}},
        **{
            name: {"file": f"{side}.jsonl", "model": side}
            for name, side in (("answers", answers), ("baseline", baseline))
        },
        "relative_score": {"model_sum": model_sum, "baseline_sum": baseline_sum, "percent": 100.0, **interval},
        "outcomes": {"win": outcome, "tie": outcome, "loss": outcome, "win_rate": 50.0, "interval": interval},
    }


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "a.summary.json").write_text(json.dumps(judged("gpt-4", "chatgpt", 613, 521)))
    return folder


@pytest.mark.parametrize("content", [b'{"id": "1", "score": 8.0}\n', b"", b"\xff\xfe<!doctype html>", b"<html>"])
def test_a_file_that_is_no_page_is_never_replaced(run, content):
    verdicts = run / "a.jsonl"
    verdicts.write_bytes(content)
    with pytest.raises(OutputError, match=r"a\.jsonl is there and is no page: name another file, such as .*html"):
        report(run, verdicts)
    assert verdicts.read_bytes() == content


def test_a_page_is_replaced_by_a_newer_one(run, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("\ufeff\n<!DOCTYPE html><p>an earlier page", encoding="utf-8")
    for _ in range(2):
        assert report(run, page) == page
        text = page.read_text(encoding="utf-8")
        assert "relative score" in text and "an earlier page" not in text


def test_a_file_without_facts_makes_no_page(tmp_path):
    for name, content in (("notes.json", "{}"), ("a.summary.json", '{"judged": 3, "fail')):
        (tmp_path / name).write_text(content)
        with pytest.raises(OutputError, match=f"holds no facts of a run .{name} .*: name what build, train") as caught:
            report(tmp_path / name)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "run_report.html").exists()


def test_two_runs_with_swapped_sides_whose_sums_do_not_agree_are_told(run):
    told = "a.summary.json: 613 to 521 is 117.7 %, but 714 to 652 or 109.5 % in the reverse run"
    other = run / "b.summary.json"
    other.write_text(json.dumps(judged("chatgpt", "gpt-4", 652, 714)))
    text = report(run).read_text(encoding="utf-8")
    assert f"beside {told}" in text and "beside b.summary.json: 613 to 521" in text
    other.write_text(json.dumps(judged("chatgpt", "gpt-4", 540, 620)))
    assert "in the reverse run" not in report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("bounds", "told"), [((None, None), "too few questions for an interval"), ((88, 95), "88.0 to 95.0")]
)
def test_a_score_of_few_questions_says_why_it_has_no_interval(run, bounds, told):
    facts = judged("a", "b", 40, 44)
    facts["relative_score"] |= {"percent": 90.9, "low": bounds[0], "high": bounds[1]}
    (run / "a.summary.json").write_text(json.dumps(facts))
    assert f"relative score, {told} (40 : 44)" in report(run).read_text(encoding="utf-8")
