"""Tasks taken to other tools, and the votes that come back from them."""

from __future__ import annotations

import csv
import html
import json
from collections import Counter
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from gpt4_instruct.errors import OutputError, OutputExistsError, SourceError, UnknownNameError
from gpt4_instruct.evaluation.rating import CRITERIA, Study
from gpt4_instruct.evaluation.rating_files import FORMATS, export, import_votes
from gpt4_instruct.evaluation.rating_pairs import find_pairs
from tests.test_rating import SETTINGS, line, rate_all, write

ODD = 'He said: "木星, <b>𠮷</b>; 1 < 2"\r\nand,\n\n🪐 left'


def new_study(folder: Path, name: str = "out", count: int = 12, attention: int = 4, **settings: Any) -> Study:
    files = [
        write(folder / f"{who}.jsonl", [line(f"{n}", f"{who}: {ODD} {n}") for n in range(count)])
        for who in ("ours", "baseline")
    ]
    pairs, _ = find_pairs(files[0], files[1], attention=attention, seed=3)
    return Study.create(folder / name, pairs, {**SETTINGS, "attention": attention, **settings})


def mturk_results(tasks: list[dict[str, str]], votes: dict[str, dict[str, str]], style: str = "crowd") -> str:
    """The results of a batch, as Mechanical Turk writes them: a row an assignment."""
    rows = []
    for task in tasks:
        for worker, choices in votes.items():
            row: dict[str, Any] = {"HITId": "3H", "WorkerId": worker, "AssignmentStatus": "Approved"}
            row |= {f"Input.{name}": text for name, text in task.items()}
            if style == "crowd":
                marks = {name: {each: each == choice for each in ("A", "B", "tie")} for name, choice in choices.items()}
                row["Answer.taskAnswers"] = json.dumps([marks])
            elif style == "columns":
                marked = {
                    (name, each): each == choice for name, choice in choices.items() for each in ("A", "B", "tie")
                }
                row |= {f"Answer.{name}.{each}": str(is_it).lower() for (name, each), is_it in marked.items()}
            else:
                row |= {f"Answer.{name}": choice for name, choice in choices.items()}
            rows.append(row)
    return csv_of(rows)


def csv_of(rows: list[dict[str, Any]]) -> str:
    import io

    written = io.StringIO(newline="")
    writer = csv.DictWriter(written, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return written.getvalue()


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def models_of(study: Study, rater: str) -> dict[int, str]:
    return {
        number: choice for who, number, criterion, choice in study.votes() if who == rater and criterion == CRITERIA[0]
    }


# --- out ------------------------------------------------------------------------------------------------------------


def test_mechanical_turk_gets_one_line_a_task_that_its_page_shows_as_it_was(tmp_path):
    study = new_study(tmp_path)
    file = tmp_path / "deep" / "tasks.csv"
    assert export(tmp_path / "out", file, "mturk") == 15
    assert file.read_text().count("\n") == 16, "no line breaks within"
    tasks = read_csv(file)
    assert list(tasks[0]) == ["key", "instruction", "input", "answer_a", "answer_b"]
    pairs = {pair.key: pair for pair in study.pairs.values()}
    sides = Counter()
    for task in tasks:
        pair = pairs.pop(task["key"])
        assert max(map(ord, task["answer_a"])) <= 0xFFFF and "<b>" not in task["answer_a"]
        a, b = (html.unescape(task[name]) for name in ("answer_a", "answer_b"))
        ours, baseline = (text.replace("\r\n", "\n") for text in (pair.ours, pair.baseline))
        assert {a, b} == {ours, baseline}
        sides["ours" if a == ours else "baseline"] += 1
        assert "ours" not in task["key"] and "baseline" not in task["key"]
    assert not pairs and min(sides["ours"], sides["baseline"]) >= 3
    page = file.with_suffix(".html").read_text(encoding="utf-8")
    assert all(f"${{{name}}}" in page for name in ("instruction", "input", "answer_a", "answer_b"))
    assert all(page.count(f'name="{name}"') == 3 for name in CRITERIA)
    export(tmp_path / "out", file, "mturk", language="zh", overwrite=True)
    assert "有用" in file.with_suffix(".html").read_text(encoding="utf-8")


def test_label_studio_gets_an_interface_that_fits_its_tasks(tmp_path):
    new_study(tmp_path)
    export(tmp_path / "out", tmp_path / "tasks.json", "label_studio")
    root = ElementTree.parse(tmp_path / "tasks.xml").getroot()
    tasks = json.loads((tmp_path / "tasks.json").read_text(encoding="utf-8"))
    shown = {each.get("value", "").removeprefix("$") for each in root.iter("Text")}
    assert shown == set(tasks[0]["data"]) - {"key"}
    assert {each.get("name"): [c.get("value") for c in each] for each in root.iter("Choices")} == {
        name: ["A", "B", "tie"] for name in CRITERIA
    }
    assert {each.get("toName") for each in root.iter("Choices")} <= {each.get("name") for each in root.iter("Text")}
    assert ODD in json.dumps(tasks, ensure_ascii=False).replace("\\r\\n", "\r\n").replace("\\n", "\n").replace(
        '\\"', '"'
    )


def test_nothing_that_is_there_is_replaced_unasked_and_the_study_never(tmp_path):
    study = new_study(tmp_path)
    rate_all(study, "Ann")
    votes, folder = study.votes(), tmp_path / "out"
    for name in ("votes.sqlite3", "votes.sqlite3-wal", "tally.json", "../out/rating.png"):
        with pytest.raises(OutputError, match="is the study's own: name another file with --file"):
            export(folder, folder / name, "mturk", overwrite=True)
    for name, format in (("x.html", "mturk"), ("x.xml", "label_studio")):
        with pytest.raises(OutputError, match="is the name of the page that comes beside"):
            export(folder, tmp_path / name, format)
    with pytest.raises(OutputError, match="is a folder: name a file"):
        export(folder, tmp_path, "argilla")
    (tmp_path / "page.html").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"page.html is there already: --overwrite"):
        export(folder, tmp_path / "page.csv", "mturk")
    assert not (tmp_path / "page.csv").exists() and (tmp_path / "page.html").read_text() == "mine"
    assert export(folder, tmp_path / "page.csv", "mturk", overwrite=True) == 15
    assert Study(folder).votes() == votes


# --- and back -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["argilla", "label_studio"])
def test_votes_go_out_and_come_back_as_they_were(tmp_path, format):
    study = new_study(tmp_path)
    rate_all(study, "Ann", "A")
    rate_all(study, "Bo", "tie")
    export(tmp_path / "out", tmp_path / "tasks.json", format)
    again = new_study(tmp_path, "again")
    first = import_votes(tmp_path / "tasks.json", tmp_path / "again", format)
    assert (first.votes, first.unchanged, first.raters, first.left_out) == (90, 0, 2, {})
    ann, bo = sorted(again.raters(), key=lambda name: "tie" in models_of(again, name).values())
    assert ann.startswith(f"{format}:") and ann != bo
    assert models_of(again, ann) == models_of(study, "Ann") and set(models_of(again, bo).values()) == {"tie"}
    second = import_votes(tmp_path / "tasks.json", tmp_path / "again", format)
    assert (second.votes, second.unchanged) == (0, 90)
    assert len(again.history()) == 90


@pytest.mark.parametrize("format", ["argilla", "label_studio"])
def test_a_studys_own_votes_come_back_to_their_raters(tmp_path, format):
    study = new_study(tmp_path)
    rate_all(study, "Ann", "A")
    study.record("mturk:W1", 1, "ours", dict.fromkeys(CRITERIA, "A"), "mturk")
    votes = study.votes()
    export(tmp_path / "out", tmp_path / "tasks.json", format)
    found = import_votes(tmp_path / "tasks.json", tmp_path / "out", format)
    assert (found.votes, found.unchanged, found.raters, found.left_out) == (0, 48, 2, {})
    assert study.votes() == votes and study.raters() == ["Ann", "mturk:W1"]
    study.vote("Ann", 0, dict.fromkeys(CRITERIA, "B"))  # after the file was written
    later = study.votes()
    found = import_votes(tmp_path / "tasks.json", tmp_path / "out", format)
    assert (found.votes, found.unchanged, found.left_out) == (0, 45, {"voted_otherwise": 3})
    assert study.votes() == later != votes
    named = new_study(tmp_path, "named", raters=["Ann"], per_question=1)  # who has not come yet
    assert import_votes(tmp_path / "tasks.json", tmp_path / "named", format).votes == 48
    assert models_of(named, "Ann") == {
        n: c for who, n, criterion, c in votes if (who, criterion) == ("Ann", CRITERIA[0])
    }


def test_a_number_of_label_studio_is_no_rater_of_that_name(tmp_path):
    study = new_study(tmp_path)
    study.enter("7")
    choice = {"from_name": "honesty", "type": "choices", "value": {"choices": ["tie"]}}
    task = {"data": {"key": study.pairs[1].key}, "annotations": [{"completed_by": 7, "result": [choice]}]}
    (tmp_path / "votes.json").write_text(json.dumps([task]))
    import_votes(tmp_path / "votes.json", tmp_path / "out", "label_studio")
    assert [who for who, *_ in study.votes()] == ["label_studio:7"]


@pytest.mark.parametrize(
    ("answers", "left_out"), [("[]", {"no_choice": 3}), ("{}", {"no_choice": 3}), ("[1]", None), ("no", None)]
)
def test_a_task_without_answers_is_counted_and_a_broken_one_leaves_all_as_it_was(tmp_path, answers, left_out):
    study = new_study(tmp_path)
    good = json.dumps([{name: {"A": True, "B": False} for name in CRITERIA}])
    rows = [
        {"WorkerId": "W1", "Input.key": study.pairs[number].key, "Answer.taskAnswers": text}
        for number, text in ((1, good), (2, answers))
    ]
    file = tmp_path / "results.csv"
    file.write_text(csv_of(rows))
    if left_out:
        found = import_votes(file, tmp_path / "out", "mturk")
        assert (found.votes, found.left_out) == (3, left_out)
    else:
        with pytest.raises(SourceError, match="is no file of votes of mturk"):
            import_votes(file, tmp_path / "out", "mturk")
        assert study.votes() == [] and study.raters() == []


@pytest.mark.parametrize("style", ["crowd", "columns", "plain"])
def test_votes_of_mechanical_turk_are_votes_for_models(tmp_path, style):
    study = new_study(tmp_path)
    export(tmp_path / "out", tmp_path / "tasks.csv", "mturk")
    tasks = read_csv(tmp_path / "tasks.csv")
    results = tmp_path / "results.csv"
    a, mixed = dict.fromkeys(CRITERIA, "A"), dict(zip(CRITERIA, ("B", "tie", "A"), strict=True))
    results.write_text(mturk_results(tasks, {"W1": a, "W2": mixed}, style), encoding="utf-8-sig")
    found = import_votes(results, tmp_path / "out", "mturk")
    assert (found.votes, found.raters, found.left_out) == (90, 2, {})
    shown = {task["key"]: html.unescape(task["answer_a"]) for task in tasks}
    for number, choice in models_of(study, "mturk:W1").items():
        pair = study.pairs[number]
        assert getattr(pair, choice).replace("\r\n", "\n") == shown[pair.key]
    opposite = {"ours": "baseline", "baseline": "ours"}
    assert models_of(study, "mturk:W2") == {n: opposite[c] for n, c in models_of(study, "mturk:W1").items()}
    by_criterion = Counter(
        (criterion, choice == "tie") for who, _, criterion, choice in study.votes() if who == "mturk:W2"
    )
    assert by_criterion == {("helpfulness", False): 15, ("honesty", True): 15, ("harmlessness", False): 15}


def test_imported_votes_count_as_raters_of_a_question(tmp_path):
    study = new_study(tmp_path, attention=0)  # two raters each
    export(tmp_path / "out", tmp_path / "tasks.csv", "mturk")
    results = mturk_results(
        read_csv(tmp_path / "tasks.csv")[:5], {w: dict.fromkeys(CRITERIA, "A") for w in ("W1", "W2")}
    )
    (tmp_path / "results.csv").write_text(results)
    import_votes(tmp_path / "results.csv", tmp_path / "out", "mturk")
    assert len(rate_all(study, "Ann")) == 7


def test_what_cannot_be_used_is_counted(tmp_path):
    study = new_study(tmp_path)
    key = study.pairs[1].key
    good = {"WorkerId": "W1", "Input.key": key, **{f"Answer.{name}": "A" for name in CRITERIA}}
    rows = [
        {**good, "AssignmentStatus": "Rejected", "WorkerId": "W0"},
        {**good, "Input.key": "0000"},
        {**good, "WorkerId": ""},
        {**good, "Answer.honesty": "", "Answer.helpfulness": "C"},
        {**good, "WorkerId": "W2", **{f"Answer.{name}": "" for name in CRITERIA}},
    ]
    file = tmp_path / "results.csv"
    file.write_text(csv_of(rows))
    found = import_votes(file, tmp_path / "out", "mturk")
    assert (found.votes, found.raters) == (1, 1)
    assert found.left_out == {"rejected": 1, "unknown_key": 1, "no_rater": 1, "no_choice": 5}
    assert study.raters() == ["mturk:W1"]

    task = {"data": {"key": key}, "annotations": [{"was_cancelled": True, "completed_by": 1, "result": []}]}
    choice = {"from_name": "honesty", "type": "choices", "value": {"choices": ["tie"]}}
    task["annotations"].append(
        {"completed_by": 7, "result": [choice, {"type": "textarea", "from_name": "x", "value": {}}]}
    )
    file.write_text(json.dumps([task]))
    found = import_votes(file, tmp_path / "out", "label_studio")
    assert (found.votes, found.left_out) == (1, {"cancelled": 1, "no_choice": 2})
    assert ("label_studio:7", 1, "honesty", "tie") in study.votes()


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("content", ["", "[]", "{", "[1]", '[{"id": 1}]', "a,b\n1,2\n", '{"data": {}}', "\x00\xff"])
def test_what_is_no_file_of_votes_is_one_line(tmp_path, format, content):
    new_study(tmp_path).close()
    file = tmp_path / "votes"
    file.write_bytes(content.encode("latin-1"))
    with pytest.raises(SourceError, match=rf"is no file of votes of {format}.*--format|cannot read") as error:
        import_votes(file, tmp_path / "out", format)
    assert "\n" not in str(error.value)


def test_bad_names_are_one_line(tmp_path):
    new_study(tmp_path).close()
    with pytest.raises(UnknownNameError, match="unknown format 'label-studio': did you mean 'label_studio'"):
        export(tmp_path / "out", tmp_path / "x", "label-studio")
    with pytest.raises(UnknownNameError, match="unknown language 'fr'"):
        export(tmp_path / "out", tmp_path / "x", "mturk", language="fr")
    with pytest.raises(SourceError, match="cannot read"):
        import_votes(tmp_path / "nowhere", tmp_path / "out", "mturk")
    with pytest.raises(OutputError, match="holds no ratings"):
        export(tmp_path / "nowhere", tmp_path / "x", "mturk")
