"""Sources: the packaged seeds, files of every shape, a Hub-shaped folder; and each way a row can be unusable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gpt4_instruct.errors import SourceError
from gpt4_instruct.languages import chinese_share
from gpt4_instruct.records import Instruction, Reject
from gpt4_instruct.sources.find import open_source
from gpt4_instruct.sources.shapes import MAX_CHARACTERS


def write(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_the_seeds_are_varied_and_complete():
    rows = list(open_source("seeds"))
    assert len(rows) >= 150
    assert all(isinstance(row, Instruction) and row.label and row.chinese for row in rows)
    assert len({row.instruction for row in rows}) == len({row.chinese[0] for row in rows}) == len(rows)
    assert len({row.id for row in rows}) == len(rows)
    with_input = sum(bool(row.input) for row in rows)
    assert 50 <= with_input <= len(rows) - 50
    for row in rows:
        instruction, given_input = row.chinese
        assert chinese_share(instruction), row.id
        assert bool(given_input) == bool(row.input), row.id
        assert row.origin == f"seeds:{int(row.id.removeprefix('seed-'))}"


def test_no_two_seeds_are_nearly_the_same():
    from rapidfuzz.distance import Indel

    tokens = [row.instruction.lower().split() for row in open_source("seeds")]
    worst = max(Indel.normalized_similarity(a, b) for number, a in enumerate(tokens) for b in tokens[:number])
    assert worst < 0.7  # the bound that Self-Instruct puts on new instructions


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "unreadable"),
        ([1, 2], "wrong_type"),
        ("null", "wrong_type"),
        ({"input": "x"}, "missing_field"),
        ({"instruction": 3}, "wrong_type"),
        ({"instruction": None}, "wrong_type"),
        ({"instruction": "a", "input": ["x"]}, "wrong_type"),
        ({"instruction": " \n"}, "empty_instruction"),
        ({"instruction": "a", "input": "x" * (MAX_CHARACTERS + 1)}, "too_long"),
        ({"instruction": "a", "instances": "x"}, "wrong_type"),
        ({"instruction": "a", "instances": []}, "missing_field"),
        ({"instruction": "a", "instances": [{"input": "x"}, {"input": 1}]}, "wrong_type"),
    ],
)
def test_an_unusable_row_is_rejected_with_its_place_and_the_rest_goes_on(tmp_path, row, reason):
    path = write(tmp_path / "tasks.jsonl", {"instruction": "first"}, row, {"instruction": "last"})
    first, bad, last = open_source(path)
    assert (first.instruction, last.instruction) == ("first", "last")
    assert isinstance(bad, Reject)
    assert (bad.reason, bad.stage, bad.origin) == (reason, "source", "tasks.jsonl:2")
    assert bad.detail
    assert "\n" not in bad.detail
    assert len(bad.instruction) <= 1000 and len(bad.input) <= 1000


def test_a_label_may_be_a_number(tmp_path):
    (row,) = open_source(write(tmp_path / "tasks.jsonl", {"instruction": "a", "label": 1, "output": "x"}))
    assert row.label == "1"


def test_broken_utf8_and_a_mark_at_the_start(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"instruction": "first"}\n{"instruction": "\xff"}\n{"instruction": "last"}\n')
    first, bad, last = open_source(path)
    assert (first.instruction, bad.reason, last.instruction) == ("first", "unreadable", "last")
    assert "UTF-8" in bad.detail


def test_the_unnatural_core_shape(tmp_path):
    row = {
        "instruction": "Is it prime?",
        "instances": [
            {"input": "7", "instruction_with_input": "Is 7 prime?", "constraints": "Say Yes or No.", "output": "Yes"},
            {"input": "8", "instruction_with_input": "Is 8 prime?", "constraints": "None.", "output": "No"},
        ],
    }
    seven, eight = open_source(write(tmp_path / "core_data.jsonl", row))
    assert (seven.id, seven.instruction, seven.input, seven.label) == (
        "core_data-1.1",
        "Is it prime?\nSay Yes or No.",
        "7",
        "Yes",
    )
    assert (eight.id, eight.instruction, eight.input, eight.label) == ("core_data-1.2", "Is it prime?", "8", "No")


def test_the_seed_tasks_of_self_instruct(shared_data):
    rows = list(open_source(shared_data / "seed_tasks_175.jsonl"))
    assert len(rows) == 175
    assert all(isinstance(row, Instruction) and row.label for row in rows)


def test_the_released_samples(shared_data):
    for name, count in (
        ("alpaca_gpt4_en_500.json", 500),
        ("alpaca_gpt4_zh_500.json", 500),
        ("unnatural_gpt4_10.json", 10),
    ):
        rows = list(open_source(shared_data / name))
        assert len(rows) == count
        assert all(isinstance(row, Instruction) for row in rows)
    assert next(iter(open_source(shared_data / "unnatural_gpt4_10.json"))).label == "world\nHello"


def test_the_fingerprint_is_of_the_content(tmp_path):
    one = open_source(write(tmp_path / "a.jsonl", {"instruction": "a"}))
    same = open_source(write(tmp_path / "b.jsonl", {"instruction": "a"}))
    other = open_source(write(tmp_path / "c.jsonl", {"instruction": "b"}))
    assert one.fingerprint == same.fingerprint != other.fingerprint


@pytest.mark.parametrize("spec", ["nowhere.json", "", ".", "seed", "hub:no/such-dataset", "hub:a/b/c"])
def test_a_source_that_is_not_there_is_one_line(spec):
    with pytest.raises(SourceError) as caught:
        open_source(spec)
    assert "\n" not in str(caught.value)


def test_a_folder_shaped_like_a_hub_dataset(tmp_path):
    folder = tmp_path / "dataset"
    folder.mkdir()
    write(folder / "train.jsonl", {"instruction": "a", "input": ""}, {"instruction": "b", "input": "c"})
    source = open_source(f"hub:{folder}")
    assert [(row.instruction, row.input, row.origin) for row in source] == [
        ("a", "", f"hub:{folder}:1"),
        ("b", "c", f"hub:{folder}:2"),
    ]
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: one\n  data_files: train.jsonl\n- config_name: two\n  data_files: two.jsonl\n---\n"
    )
    write(folder / "two.jsonl", {"instruction": "from two"}, "{broken")
    with pytest.raises(SourceError, match="Config name is missing"):
        next(iter(open_source(f"hub:{folder}")))
    two = iter(open_source(f"hub:{folder}:two"))
    with pytest.raises(SourceError, match="cannot be read past row"):
        list(two)
    source = open_source(f"hub:{folder}")
    before = source.fingerprint
    write(folder / "train.jsonl", {"instruction": "changed"})
    assert open_source(f"hub:{folder}").fingerprint != before
