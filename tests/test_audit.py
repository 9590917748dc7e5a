"""The audit: every check on its own example, on rows labelled by hand, on real rows; its files, its page, bad input."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, load_dataset
from typer.testing import CliRunner

from gpt4_instruct import MissingExtraError, OutputError, SourceError, UnknownNameError, UsageError, audit, build
from gpt4_instruct.cli.app import app
from gpt4_instruct.quality.audit import choose, describe_checks, examine
from gpt4_instruct.quality.base import SEVERITIES, Sample
from gpt4_instruct.quality.cleaning import part
from gpt4_instruct.records import Scored
from gpt4_instruct.registry import find, names
from gpt4_instruct.sources.rows import open_rows
from gpt4_instruct.teachers.replay import Replay

LABELS = Path(__file__).with_name("labels")
GOOD = {"instruction": "Name the largest planet.", "input": "", "output": "Jupiter is the largest planet."}
REFUSED = {"instruction": "Paint a cat.", "input": "", "output": "As an AI language model, I cannot paint."}


def look(name: str, samples: list[Sample]) -> dict[int, str]:
    """What one check finds in samples, by row."""
    check = find("quality", name)
    if not isinstance(check, type):
        return {row: reason for row, sample in enumerate(samples) if (reason := check(sample)) is not None}
    looks = check()
    found = {row: reason for row, sample in enumerate(samples) if (reason := looks(sample, row)) is not None}
    found.update({-1 if row is None else row: reason for row, reason in looks.finish()})
    return found


# --- each check -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names("quality"))
def test_every_check_says_what_it_is_and_finds_its_own_example(name):
    check = find("quality", name)
    assert check.severity in SEVERITIES
    assert check.subject in {"answer", "task", "comparison"}
    found = look(name, list(check.example))
    assert found, f"{name} does not find its example"
    for reason in found.values():
        assert reason and "\n" not in reason and len(reason) < 400
    assert any(row[0] == name and row[3] for row in describe_checks())


# What is measured by hand-labelled rows, and the least that each check must reach on them: (precision, recall). The
# labels were given by reading every row; doubtful rows count neither way. Faults in arithmetic that need geometry or
# calendars are labelled, too, and are beyond a check of equations: it is only held to raising no false alarm.
REAL = {
    "alpaca_gpt4_en_500": {
        "refusal": (0.95, 0.95),
        "truncated": (0.95, 0.95),
        "placeholder_input": (0.95, 0.95),
        "missing_attachment": (0.95, 0.5),
        "media_asked": (0.95, 0.95),
        "physical_task": (0.95, 0.95),
        "duplicate": (0.95, 0.95),
    },
    "alpaca_gpt4_zh_500": {
        "refusal": (0.95, 0.9),
        "truncated": (0.95, 0.7),
        "wrong_language": (0.95, 0.95),
        "missing_attachment": (0.95, 0.9),
        "media_asked": (0.95, 0.95),
        "physical_task": (0.95, 0.95),
        "merged_examples": (0.95, 0.95),
        "missing_code": (0.95, 0.95),
    },
    # Not looked at while the checks were written; what was seen in it was mended afterwards.
    "comparison_alpaca_eval_400": {
        "refusal": (0.95, 0.95),
        "truncated": (0.95, 0.8),
        "literal_escapes": (0.95, 0.95),
    },
    # Nor was this one, and nothing was mended after it but how a result before a unit is read.
    "comparison_alpaca_eval_400_held_out": {
        "refusal": (0.95, 0.6),
        "truncated": (0.95, 0.7),
        "wrong_arithmetic": (0.95, 0.6),
    },
}
NEVER_ALARMED = ("copied", "control_characters", "placeholder_output", "wrong_arithmetic", "foreign_language", "echo")


@cache
def labelled(shared_data: Path, name: str) -> tuple[list[Sample], dict[str, Any]]:
    """The rows of a file of labels, and the labels, by their place among these rows."""
    labels = json.loads((LABELS / f"{name}.json").read_text())
    first, shift = labels.get("from", 0), labels.get("answer", "row").startswith("(row + 1)")
    samples = []
    for row, _, found in open_rows(shared_data / labels["file"]):
        if row == labels["rows"]:
            break
        sample = found[0]
        if sample.scored:  # one answer of each row is labelled
            sample = replace(sample, output=sample.scored[(row + shift) % 3].response, scored=())
        if row >= first:
            samples.append(sample)
    for kind in ("labelled", "doubtful"):
        labels[kind] = {check: [row - first for row in rows] for check, rows in labels[kind].items()}
    return samples, labels


@pytest.mark.parametrize(("file", "check"), [(file, check) for file, checks in REAL.items() for check in checks])
def test_precision_and_recall_on_real_rows(shared_data, file, check):
    samples, labels = labelled(shared_data, file)
    wrong, doubtful = (set(labels[kind].get(check, ())) for kind in ("labelled", "doubtful"))
    found = look(check, samples).keys() - doubtful
    assert wrong, "nothing is labelled: nothing is measured"
    precision = len(found & wrong) / max(1, len(found))
    recall = len(found & wrong) / len(wrong)
    least = REAL[file][check]
    assert precision >= least[0], f"false alarms at rows {sorted(found - wrong)}"
    assert recall >= least[1], f"misses rows {sorted(wrong - found)}"


@pytest.mark.parametrize("file", REAL)
@pytest.mark.parametrize("check", NEVER_ALARMED)
def test_no_false_alarm_on_real_rows(shared_data, file, check):
    samples, labels = labelled(shared_data, file)
    known = {*labels["labelled"].get(check, ()), *labels["doubtful"].get(check, ())}
    assert not look(check, samples).keys() - known


@cache
def written() -> list[tuple[Sample, set[str]]]:
    """Rows that were written for this, each with what is wrong with it; most of the others look as if something were."""
    rows = []
    for line in (LABELS / "written.jsonl").read_text().splitlines():
        row = json.loads(line)
        scored = tuple(Scored(each["response"], each["source"], each["score"]) for each in row.get("scored", ()))
        texts = (row["instruction"], row.get("input", ""), row.get("output", ""))
        sample = Sample(*texts, language=row["language"], label=row.get("label"), scored=scored)
        rows.append((sample, set(row["wrong"])))
    return rows


@pytest.mark.parametrize("name", sorted({name for _, wrong in written() for name in wrong}))
def test_precision_and_recall_on_written_rows(name):
    # Of two checks of one kind (by script and by lingua; the task again and the input again) either may find it.
    names = next(
        (both for both in ({"wrong_language", "foreign_language"}, {"echo", "copied"}) if name in both), {name}
    )
    of_comparisons = find("quality", name).subject == "comparison"
    rows = [(sample, wrong & names) for sample, wrong in written() if bool(sample.scored) == of_comparisons]
    found = set().union(*(look(each, [sample for sample, _ in rows]) for each in names))
    expected = {row for row, (_, wrong) in enumerate(rows) if wrong}
    assert len(expected) >= 4
    false, missed = found - expected, expected - found
    assert len(found & expected) / len(found) >= 0.95, [rows[row][0] for row in false]
    assert len(found & expected) / len(expected) >= 0.8, [rows[row][0] for row in missed]


# --- checks over rows -----------------------------------------------------------------------------------------------


def test_duplicates_are_found_behind_case_and_punctuation_but_not_behind_signs():
    tasks = ["Add: 2 + 2", "Add: 2 - 2", "add 2+2", "Say hi.", "say HI!", "Say hi. "]
    found = look("duplicate", [Sample(task, "", str(row)) for row, task in enumerate(tasks)])
    assert sorted(found) == [2, 4, 5]
    assert found[5] == "the task of row 3 again, with another answer"


def test_rows_shifted_by_one_are_found_and_rows_in_step_are_not():
    words = ["red", "green", "blue", "dog", "cat", "bird", "tree", "sun", "moon", "star"]
    labels = [f"the {one} and the {other} meet again" for one, other in zip(words, words[::-1], strict=True)]
    tasks = [f"Answer question number {number}." for number in range(len(labels))]
    right = [Sample(task, "", label.upper(), label=label) for task, label in zip(tasks, labels, strict=True)]
    assert look("shifted_rows", right) == {}
    distinct = [f"{word} {word}ish {word}ing sort {number}" for number, word in enumerate(words)]
    shifted = [
        Sample(task, "", distinct[(row + 1) % len(words)], label=distinct[row]) for row, task in enumerate(tasks)
    ]
    found = look("shifted_rows", shifted)
    assert set(found) >= set(range(len(words) - 1)), "all but the last, whose label is far away"


def test_a_score_that_hardly_varies_is_of_the_whole(shared_data):
    scores = json.loads((shared_data / "cmp_data_scores.json").read_text())["gpt4"]
    samples = [Sample("x", "", "", scored=(Scored("a", "gpt4", float(score)),)) for score in scores]
    found = look("score_collapse", samples)
    assert list(found) == [-1]
    assert found[-1] == "90 % of the 51,445 answers of gpt4 are scored 9"  # the paper: 89.5 %


# --- the whole ------------------------------------------------------------------------------------------------------


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.json"
    content = [
        GOOD,
        REFUSED,
        {**GOOD, "output": ""},
        {"instruction": ["a", "list"], "output": "x"},
        {**GOOD, "extra": 1.5},
    ]
    path.write_text(json.dumps(content))
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_written(rows, tmp_path):
    result = audit(rows, out=tmp_path / "out", clean=True)
    found = read_lines(tmp_path / "out" / "audit.jsonl")
    assert all(set(each) == {"row", "check", "severity", "reason", "file"} for each in found)
    assert [each["row"] for each in found] == sorted(each["row"] for each in found)
    checks = {(each["row"], each["check"], each["severity"]) for each in found}
    assert {
        (1, "refusal", "error"),
        (2, "empty", "error"),
        (3, "wrong_type", "error"),
        (4, "duplicate", "error"),
    } <= checks
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary == result.summary
    (data,) = summary["data"]
    assert data["rows"] == 5 and data["checks"]["refusal"]["rows"] == 1 and data["checks"]["refusal"]["share"] == 0.2
    assert sum(data["checks"][name]["findings"] for name in data["checks"]) == len(found)
    kept, dropped = (read_lines(tmp_path / "out" / f"{name}.jsonl") for name in ("kept", "dropped"))
    assert kept == [GOOD]
    assert [each["row"] for each in dropped] == [1, 2, 3, 4]
    assert dropped[0]["data"] == REFUSED
    assert {
        "check": "refusal",
        "severity": "error",
        "reason": "declines: As an AI language model, I cannot",
    } in dropped[0]["reasons"]
    assert dropped[3]["data"]["extra"] == 1.5, "rows come out as they were"
    assert load_dataset("json", data_files=str(tmp_path / "out" / "kept.jsonl"), split="train")[0] == GOOD
    assert result.rows_with("refusal") == [1]


def test_warnings_are_kept_unless_they_are_to_be_dropped(tmp_path):
    rows = [GOOD, {**GOOD, "instruction": "Name a planet.", "input": "No input."}]
    for drop, kept in (("error", 2), ("warning", 1)):
        audit(rows, out=tmp_path / "out", clean=True, drop=drop)
        assert len(read_lines(tmp_path / "out" / "kept.jsonl")) == kept


def test_several_data_at_once_and_a_second_time(rows, tmp_path):
    out = tmp_path / "out"
    for _ in range(2):
        result = audit(rows, rows, [GOOD], out=out, clean=True)
    assert [each["name"] for each in result.summary["data"]] == ["rows.json", "rows.json (2)", "rows"]
    assert {path.name for path in out.iterdir()} >= {"rows.json.kept.jsonl", "rows.kept.jsonl", "audit.jsonl"}
    assert {finding.file for finding in result.findings} == {"rows.json", "rows.json (2)"}


def test_a_dataset_and_a_list_give_what_the_file_gives(rows):
    content = [GOOD, REFUSED, {**GOOD, "output": ""}]
    path = rows.with_name("same.jsonl")
    path.write_text("".join(json.dumps(row) + "\n" for row in content))
    found = [
        [(each.row, each.check, each.reason) for each in audit(data).findings]
        for data in (path, content, Dataset.from_list(content))
    ]
    assert found[0] == found[1] == found[2]
    assert {(1, "refusal"), (2, "empty"), (2, "duplicate")} <= {each[:2] for each in found[0]}


def test_the_summary_counts_what_was_found(tmp_path):
    content = [{**GOOD, "instruction": f"Name planet {number}."} for number in range(120)]
    content[0]["output"] = content[119]["output"] = ""
    content[119]["input"] = "N/A"
    result = audit(content, checks=["empty", "placeholder_input"], out=tmp_path / "out")
    (data,) = result.summary["data"]
    assert data["rows_with_findings"] == 2
    assert data["rows_by_severity"] == {"error": 2, "warning": 1, "info": 0}
    where = data["checks"]["empty"]["where"]
    assert (len(where), where[0], where[-1], sum(where)) == (60, 1, 1, 2)
    assert [(each.row, each.check) for each in result.findings] == [
        (0, "empty"),
        (119, "empty"),
        (119, "placeholder_input"),
    ]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<b>2</b>with errors" in page and "<b>1</b>with warnings" in page


def test_findings_of_the_whole_and_late_ones_have_their_place_and_their_texts():
    samples = [
        {"user_input": f"Say {number}.", "responses_and_scores": [{"response": "a", "source": "m", "score": 9}] * 2}
        for number in range(30)
    ]
    samples[3]["responses_and_scores"] = samples[3]["responses_and_scores"][:1]
    result = audit(samples, checks=["score_collapse", "few_answers", "empty"])
    assert [(each.row, each.check) for each in result.findings] == [(3, "few_answers"), (None, "score_collapse")]
    (example,) = result.summary["data"][0]["checks"]["few_answers"]["examples"]
    assert example["row"] == 3 and example["instruction"] == "Say 3."


def test_what_a_user_asks_for_is_done(shared_data):
    rows = [{"instruction": "Name it.", "input": "", "output": "这是木星，太阳系里最大的行星。"}]
    assert audit(rows, language="zh", checks=["wrong_language"]).findings == []
    assert audit(rows, language="en", checks=["wrong_language"]).rows_with("wrong_language") == [0]
    answer = "The sea is wide and blue and it never sleeps, not even on the longest night of the year"
    twice = [
        {**GOOD, "output": f"{answer}."},
        {**GOOD, "instruction": "Praise water.", "output": f"{answer}, they say."},
    ]
    assert audit(twice).rows_with("similar_output") == []
    assert audit(twice, near_duplicates=True).rows_with("similar_output") == [1]
    assert "tied_scores" not in audit([GOOD]).summary["data"][0]["checks"], "there are no scores to look at"
    assert "no row has any" in audit([GOOD], checks=["tied_scores"]).summary["data"][0]["not_run"]["tied_scores"]
    assert audit([GOOD, REFUSED], checks="refusal").rows_with("refusal") == [1], "one name is a list of one"


def test_a_long_text_is_hashed_whole_and_looked_at_in_part():
    head, tail = "Summarise. " + "word " * 12_000, " word" * 12_000
    rows = [
        {"instruction": f"{head}{middle}{tail}", "input": "", "output": "Done."} for middle in ("one", "two", "one")
    ]
    assert audit(rows, checks=["duplicate"]).rows_with("duplicate") == [2]
    code = "```\n" + "x = 1\n" * 5000 + "```\n" + "It prints nothing. " * 3000
    assert audit([{**GOOD, "output": code}], checks=["truncated"]).findings == []
    scored = [{"response": "a(" * 200_000, "source": "m", "score": 9}, {"response": "b", "source": "n", "score": 8}]
    assert (
        audit([{"user_input": "Write a Python function.", "responses_and_scores": scored}]).summary["data"][0]["rows"]
        == 1
    )


def test_comparisons_weigh_their_answers_less(tmp_path):
    row = {
        "user_input": "Paint a cat.",
        "responses_and_scores": [
            {"response": "I'm sorry, but I cannot create images.", "source": "gpt-4", "score": 4},
            {"response": "", "source": "opt-iml", "score": 0},
        ],
    }
    other = {"user_input": "Say hi.", "responses_and_scores": [{"response": "Hi!", "source": "gpt-4", "score": 9}]}
    v1 = {"user_input": "Say ho.", "completion_a": "", "completion_b": "Ho!"}
    found = {(each.row, each.check, each.severity) for each in audit([row, row, other, v1]).findings}
    assert {(0, "refusal", "warning"), (0, "empty", "warning"), (0, "scores_out_of_range", "warning")} <= found
    assert (1, "duplicate", "error") in found
    assert (2, "few_answers", "warning") in found
    assert (3, "contradicted_order", "error") in found


def test_the_audit_of_a_build_stands_on_its_card(tmp_path):
    tasks = [GOOD, {**GOOD, "instruction": "Name a planet.", "input": "N/A"}]
    source = tmp_path / "tasks.json"
    source.write_text(json.dumps(tasks))
    build("english", source, teacher=Replay(tasks), out=tmp_path / "data")
    audit(tmp_path / "data")
    card = (tmp_path / "data" / "README.md").read_text()
    assert re.search(r"\| placeholder_input \| warning \| 1 \| 50", card)
    assert "| refusal |" not in card and re.search(r"Nothing was found by .*refusal", card)
    entry = json.loads((tmp_path / "data" / "manifest.json").read_text())["configs"]["english"]
    assert entry["audit"]["rows"] == 2
    assert load_dataset(str(tmp_path / "data"), "english", split="train").num_rows == 2


# --- the page -------------------------------------------------------------------------------------------------------


def test_the_page_needs_nothing_else_and_escapes_what_rows_hold(tmp_path):
    row = {**REFUSED, "instruction": "<script>alert(1)</script><img src=x onerror=alert(2)>"}
    audit([GOOD, row], out=tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script>alert" not in page and "<img" not in page
    assert not re.search(r"""(?:src|href)\s*=\s*["']?(?:https?:)?//""", page)
    assert "&lt;script&gt;alert(1)" in page


@pytest.mark.skipif(shutil.which("chromium") is None, reason="no chromium here: the page is not seen by a browser")
def test_a_browser_shows_the_page(shared_data, tmp_path):
    audit(shared_data / "alpaca_gpt4_zh_500.json", out=tmp_path / "out")
    page = (tmp_path / "out" / "report.html").as_uri()
    browser = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    options = ["--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom", f"{page}#d1-missing_attachment"]
    done = subprocess.run([*browser, *options], capture_output=True, text=True, timeout=120)
    assert "CONSOLE" not in done.stderr, "no script fails"
    assert re.search(r'<details id="d1-missing_attachment" open', done.stdout), "its own script ran"
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())["data"][0]
    for name, check in summary["checks"].items():
        if check["findings"]:
            assert f'href="#d1-{name}"' in done.stdout


# --- bad input ------------------------------------------------------------------------------------------------------


def test_a_cut_file_gives_its_whole_rows_and_one_finding(tmp_path):
    path = tmp_path / "cut.json"
    content = json.dumps([{**GOOD, "instruction": f"Name planet {number}."} for number in range(5000)])
    path.write_text(content[: len(content) - 40])
    result = audit(path, checks=["empty"])
    (finding,) = result.findings
    assert finding.check == "unreadable" and finding.severity == "error"
    assert result.summary["data"][0]["rows"] == 5000


def test_a_file_in_gbk_is_one_clear_error(tmp_path):
    path = tmp_path / "gbk.json"
    path.write_bytes(json.dumps([{**GOOD, "output": "木星是最大的行星。"}] * 100, ensure_ascii=False).encode("gbk"))
    with pytest.raises(SourceError, match=r"(?i)gb18030|gbk") as caught:
        audit(path)
    assert "\n" not in str(caught.value)


def test_many_identical_rows_and_huge_answers_take_bounded_memory(tmp_path):
    path = tmp_path / "same.jsonl"
    with path.open("w") as file:
        file.writelines(json.dumps(GOOD) + "\n" for _ in range(100_000))
        for text in (
            "(" * 1_000_000,
            "a(" * 500_000,
            "\\n" * 500_000,
            "\n" * 1_000_000,
            "1+" * 500_000 + "=",
            "我" * 1_000_000,
        ):
            file.write(json.dumps({**GOOD, "instruction": "Write a Python function.", "output": text}) + "\n")
    code = (
        "import re, sys\nfrom gpt4_instruct import audit\n"
        "found = audit(sys.argv[1], skip=['near_duplicate', 'foreign_language']).summary['data'][0]\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]\n"
        "print(found['rows'], found['checks']['duplicate']['rows'], int(peak) // 1024)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True, timeout=280)
    rows, duplicates, megabytes = map(int, done.stdout.split())
    assert (rows, duplicates) == (100_006, 100_004)
    assert megabytes < 150, "findings are kept, rows are not"


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"data": ["nowhere.json"]}, SourceError, "does not exist"),
        ({"data": []}, UsageError, "nothing to audit"),
        ({"data": [[]]}, SourceError, "holds no rows"),
        ({"out": "a\0b"}, OutputError, "cannot write"),
        ({"checks": ["refusl"]}, UnknownNameError, "did you mean 'refusal'"),
        ({"skip": names("quality")}, UsageError, "no check is left"),
        ({"clean": True}, UsageError, "--out"),
        ({"drop": "fatal"}, UsageError, "drop is 'fatal'"),
        ({"language": "fr"}, UsageError, "language is 'fr'"),
    ],
)
def test_what_cannot_work_is_one_line(arguments, error, says):
    data = arguments.pop("data", [[GOOD]])
    with pytest.raises(error, match=re.escape(says)) as caught:
        audit(*data, **arguments)
    assert "\n" not in str(caught.value)


def test_nobodys_files_are_overwritten(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds no audit"):
        audit([GOOD], out=tmp_path)
    with pytest.raises(OutputError, match="is a file"):
        audit([GOOD], out=tmp_path / "thesis.txt")
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["thesis.txt"]


def test_a_check_whose_library_is_missing_is_left_out_and_named(monkeypatch):
    from gpt4_instruct.quality import foreign_language

    foreign_language._detector.cache_clear()
    monkeypatch.setitem(sys.modules, "lingua", None)
    result = audit([GOOD, REFUSED])
    assert "pip install 'gpt4-instruct[audit]'" in result.summary["data"][0]["not_run"]["foreign_language"]
    assert result.rows_with("refusal") == [1]
    with pytest.raises(MissingExtraError, match="lingua"):
        audit([GOOD], checks=["foreign_language"])
    foreign_language._detector.cache_clear()


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installed package, not of ours, with two checks; one of them is broken."""
    info = tmp_path / "site" / "stranger-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    points = "[gpt4_instruct.quality]\nshouting = odd_checks:shouting\nbroken = odd_checks:broken\n"
    (info / "entry_points.txt").write_text(points)
    code = "def shouting(sample):\n    return 'it shouts' if sample.output.isupper() else None\n"
    (tmp_path / "site" / "odd_checks.py").write_text(f"{code}def broken(sample):\n    return sample.nothing\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    find.cache_clear()
    yield
    find.cache_clear()


def test_a_strangers_check_runs_like_ours_and_its_fault_ends_nothing(stranger, tmp_path):
    assert {"shouting", "broken"} <= set(choose())
    (finding,) = audit([GOOD, {**GOOD, "output": "JUPITER"}], checks=["shouting"]).findings
    assert (finding.row, finding.check, finding.severity) == (1, "shouting", "warning")
    result = audit([GOOD, REFUSED], out=tmp_path / "out")
    assert result.rows_with("refusal") == [1]
    failed = result.summary["data"][0]["failed"]["broken"]
    assert failed["rows"] == 2 and re.match("row 0: AttributeError", failed["first"])
    assert "AttributeError" in (tmp_path / "out" / "report.html").read_text()


# --- files ----------------------------------------------------------------------------------------------------------


def test_names_that_look_alike_get_files_of_their_own(tmp_path):
    for name, rows in (("a b.json", [GOOD]), ("a-b.json", [GOOD, {**GOOD, "instruction": "Name a planet."}])):
        (tmp_path / name).write_text(json.dumps(rows))
    result = audit(tmp_path / "a b.json", tmp_path / "a-b.json", out=tmp_path / "out", clean=True)
    assert len(set(result.kept)) == 2
    assert [len(read_lines(path)) for path in result.kept] == [1, 2]


def test_an_earlier_audits_files_go_and_a_killed_ones_do_not_lock_the_folder(tmp_path):
    out = tmp_path / "out"
    audit([GOOD], out=out, clean=True)
    audit([GOOD], out=out)
    assert {path.name for path in out.iterdir()} == {"audit.jsonl", "summary.json", "report.html"}
    left = tmp_path / "left"
    left.mkdir()
    (left / "rows.dropped.jsonl").write_text("{}\n")
    (left / ".kept.jsonl.123").write_text("{")
    audit([GOOD], out=left)


def test_kept_rows_are_json_whatever_they_held(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet

    path = tmp_path / "odd.parquet"
    table = pa.table(
        {"instruction": ["Say hi."], "input": [""], "output": ["Hi."], "raw": [b"\x00\xff"], "mark": [float("nan")]}
    )
    pyarrow.parquet.write_table(table, path)
    audit(path, out=tmp_path / "out", clean=True)
    line = (tmp_path / "out" / "kept.jsonl").read_text()
    row = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert row["instruction"] == "Say hi." and row["mark"] is None and isinstance(row["raw"], str)


def test_what_cannot_be_read_is_dropped_with_its_text(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(GOOD) + '\n{"instruction": "half a row\nnull\n')
    audit(path, out=tmp_path / "out", clean=True)
    dropped = read_lines(tmp_path / "out" / "dropped.jsonl")
    assert [each["row"] for each in dropped] == [1, 2]
    assert "half a row" in json.dumps(dropped[0])
    assert dropped[1]["data"] is None


def test_a_reason_is_one_short_line_that_a_terminal_can_show():
    source = "evil\n\x1b[2J" + "x" * 5000
    row = {
        "user_input": "Say hi.",
        "responses_and_scores": [
            {"response": "", "source": source, "score": 9},
            {"response": "Hi", "source": "b", "score": 99},
        ],
    }
    findings = audit([row]).findings
    assert findings
    for finding in findings:
        assert finding.reason.isprintable() and len(finding.reason) <= 300


def test_only_a_whole_audit_stands_on_a_card(tmp_path):
    tasks = [{**GOOD, "input": "N/A"}]
    source = tmp_path / "tasks.json"
    source.write_text(json.dumps(tasks))
    build("english", source, teacher=Replay(tasks), out=tmp_path / "data")
    audit(f"{tmp_path / 'data'}:english")
    card = (tmp_path / "data" / "README.md").read_text()
    assert "| placeholder_input | warning | 1 |" in card
    audit(tmp_path / "data", checks=["empty"])
    assert (tmp_path / "data" / "README.md").read_text() == card


def test_rows_that_change_while_they_are_cleaned_are_told_of(tmp_path):
    rows = open_rows([GOOD, REFUSED])
    audited = examine(rows, ["refusal"])
    with pytest.raises(SourceError, match="audit it again"):
        part(open_rows([GOOD]), audited, tmp_path / "kept.jsonl", tmp_path / "dropped.jsonl")
    assert not list(tmp_path.glob("*.jsonl"))


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_found_and_wrote(rows, tmp_path):
    done = CliRunner().invoke(
        app, ["audit", str(rows), "--out", str(tmp_path / "out"), "--clean"], env={"COLUMNS": "200"}
    )
    assert done.exit_code == 0, done.output
    assert "rows.json: 5 rows, 4 with findings, 4 with errors" in done.output
    assert re.search(r"refusal +error +1 +20\.0% +row 1: declines", done.output)
    assert re.search(r"kept 1 rows in .*kept\.jsonl", done.output.replace("\n", ""))
    assert re.search(r"dropped 4 rows, with their reasons", done.output)
    assert CliRunner().invoke(app, ["audit", "--checks"], env={"COLUMNS": "300"}).output.count("placeholder") >= 2


def test_ctrl_c_leaves_no_half_of_anything(tmp_path):
    path = tmp_path / "many.jsonl"
    with path.open("w") as file:
        file.writelines(
            json.dumps({**GOOD, "instruction": f"Name planet {number}."}) + "\n" for number in range(60_000)
        )
    command = [sys.executable, "-m", "gpt4_instruct", "audit", str(path), "--out", str(tmp_path / "out"), "--clean"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while not (tmp_path / "out").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)  # it reads rows now
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.strip().splitlines()[-1].startswith("interrupted: ")
    assert not list((tmp_path / "out").iterdir())
