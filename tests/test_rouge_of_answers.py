"""A file of answers measured against its references, or another file's: the numbers of the metric, and whose they are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gpt4_instruct.errors import OutputError, OutputExistsError, SourceError, UsageError
from gpt4_instruct.evaluation.rouge import rouge
from gpt4_instruct.metrics.rouge_by_length import rouge_by_length

ROWS = [
    ("1", ["Paris", "Lyon"], "Paris."),
    ("2", ["a big red dog", None], "A big dog that is red"),
    ("3", ["木星最大", "火星"], "木星是最大的行星"),
    ("4", [None, "Yes."], "Yes."),
    ("5", ["No idea."], None),
]


def line(id: str, texts: list[str | None], reference: str | None) -> dict[str, Any]:
    answers = [{"sample": number, "text": text} for number, text in enumerate(texts)]
    return {
        "id": id,
        "instruction": f"Question {id}?",
        "input": "",
        "reference": reference,
        "teacher": "local:mine",
        "answers": answers,
    }


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return write(tmp_path / "answers.jsonl", [line(*row) for row in ROWS])


def test_the_numbers_are_the_metrics_and_the_file_says_whose(answers, tmp_path):
    found = rouge(answers, tmp_path / "deep" / "rouge.json")
    texts, right = [row[1][0] for row in ROWS], [row[2] for row in ROWS]
    assert {name: found[name] for name in rouge_by_length(texts, right)} == rouge_by_length(texts, right)
    assert (found["questions"], found["n"], found["missing"]) == (5, 3, 2)
    assert found["answers"] == {"model": "local:mine", "file": "answers.jsonl"} and found["references"] is None
    assert json.loads((tmp_path / "deep" / "rouge.json").read_text()) == json.loads(json.dumps(found))
    with pytest.raises(OutputExistsError, match=r"rouge\.json is there already"):
        rouge(answers, tmp_path / "deep" / "rouge.json")
    second = rouge(answers, sample=1)
    assert (second["n"], second["missing"]) == (3, 2) and second["rougeL"] != found["rougeL"]


def test_references_of_another_file_are_joined_by_id_or_by_question(answers, tmp_path):
    fastchat = write(tmp_path / "fastchat.jsonl", [{"question_id": 2, "text": "a big red dog", "model_id": "m"}])
    found = rouge(answers, references=fastchat)
    assert (found["n"], found["rougeL"], found["references"]) == (1, 1.0, "fastchat.jsonl")
    alpaca = tmp_path / "alpaca.json"
    alpaca.write_text(json.dumps([{"instruction": "Question 1?", "output": "Paris", "generator": "m"}]))
    assert rouge(answers, references=alpaca)["rougeL"] == 1.0


def test_the_first_of_an_id_counts_and_empty_answers_are_told(answers, tmp_path):
    twice = write(answers, [*(line(*row) for row in ROWS), line("1", ["no"], "no"), line("6", [" "], "Yes.")])
    found = rouge(answers)
    texts, right = [*(row[1][0] for row in ROWS), " "], [*(row[2] for row in ROWS), "Yes."]
    assert found["rougeL"] == pytest.approx(rouge_by_length(texts, right)["rougeL"])
    assert (found["questions"], found["n"], found["duplicated"], found["empty"]) == (6, 4, 1, 1)
    again = write(tmp_path / "again.jsonl", [line("1", [each], None) for each in ("Paris", "Lyon")])
    assert rouge(twice, references=again)["rougeL"] == 1.0


def test_a_path_that_cannot_be_written_is_one_line(answers, tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        rouge(answers, answers / "rouge.json")
    for read in (answers, tmp_path / "answers.summary.json"):
        with pytest.raises(UsageError, match="would take the place of"):
            rouge(answers, read, overwrite=True)
    assert rouge(answers, tmp_path / "answers.json")["n"] == 3


def test_without_a_reference_it_says_what_is_missing(answers, tmp_path):
    bare = write(tmp_path / "bare.jsonl", [line(id, texts, None) for id, texts, _ in ROWS])
    with pytest.raises(SourceError, match=r"bare\.jsonl has no reference to measure .* --references"):
        rouge(bare)
    other = write(tmp_path / "other.jsonl", [{"question_id": 9, "text": "x"}])
    with pytest.raises(SourceError, match=r"no question in common with other\.jsonl"):
        rouge(bare, references=other)
    with pytest.raises(UsageError, match="sample is -1"):
        rouge(answers, sample=-1)
