"""Files of rows: every format gives back what was written, and a broken row costs itself only."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt4_instruct import formats
from gpt4_instruct.formats import UnreadableRow, read_rows

# CSV has no way to write a NUL or to tell "\r" apart at a line's end; JSON and Parquet do.
text = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=40)
rows = st.lists(st.fixed_dictionaries({"instruction": text, "input": text}), min_size=1, max_size=8)


def write(path: Path, content: list[dict[str, str]]) -> None:
    if path.suffix == ".json":
        path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in content))
    elif path.suffix == ".csv":
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(content[0]), quoting=csv.QUOTE_ALL)
            writer.writeheader()
            writer.writerows(content)
    else:
        pyarrow.parquet.write_table(pa.Table.from_pylist(content), path)


@given(rows, st.sampled_from([".json", ".jsonl", ".csv", ".parquet"]))
@settings(max_examples=150, deadline=None)
def test_rows_come_back(content, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"rows{suffix}")
        write(path, content)
        assert [row for _, row in read_rows(path)] == content


@given(st.binary(max_size=300), st.sampled_from([".json", ".jsonl", ".csv"]))
@example(b"\xa1\xa1" * 4, ".json")
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_to_the_end_without_an_exception(content, suffix):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"rows{suffix}")
        path.write_bytes((b"a,b\n" if suffix == ".csv" else b"") + content)
        try:
            for line, row in read_rows(path):
                assert line >= 1
                json.dumps(row.text if isinstance(row, ValueError) else row, ensure_ascii=False).encode()
        except ValueError as error:  # of the whole file, as `read_rows` says
            assert str(error).startswith((f"{path.name} is in GBK: ", f"{path.name} is UTF-16: "))


# Arrays in every layout, whole, broken and cut, with what could be taken for the gap between two rows inside them.
value = st.none() | st.integers() | text | st.sampled_from(["}, {", "},\n {", "]", '"', "\\", "\ud800"])
nested = st.recursive(value, lambda each: st.lists(each, max_size=3) | st.dictionaries(text, each, max_size=3))
arrays = st.lists(st.dictionaries(text, nested, max_size=4) | value, max_size=8)


@given(arrays, st.sampled_from([None, 0, 1, 4]), st.sampled_from([30, 1 << 16]), st.data())
@settings(max_examples=300, deadline=None)
def test_rows_that_are_numbered_are_the_rows_that_have_lines(content, indent, window, data):
    written = json.dumps(content, indent=indent)
    written = written[: data.draw(st.integers(0, len(written)))] if data.draw(st.booleans()) else written
    at = data.draw(st.integers(0, len(written)))
    written = written[:at] + data.draw(st.sampled_from(["", "", "{", "x", ",", '"'])) + written[at:]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(formats, "_BLOCK_CHARACTERS", window)
        path = Path(folder, "rows.json")
        path.write_text(written)
        expected = [str(row) if isinstance(row, ValueError) else row for _, row in read_rows(path)]
        found = list(read_rows(path, lines=False))
    assert [number for number, _ in found] == list(range(1, len(found) + 1))
    assert [str(row) if isinstance(row, ValueError) else row for _, row in found] == expected


@given(rows, st.data())
@settings(max_examples=150, deadline=None)
def test_a_broken_line_costs_one_row(content, data):
    lines = [json.dumps(row) for row in content]
    at = data.draw(st.integers(0, len(lines) - 1))
    lines[at] = data.draw(st.sampled_from(["{", '{"instruction": ', "not json", '{"a": "\\ud800"}', "[1, 2"]))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.jsonl")
        path.write_text("\n".join(lines))
        read = list(read_rows(path))
    assert [line for line, _ in read] == list(range(1, len(lines) + 1))
    assert isinstance(read[at][1], ValueError)
    assert [row for number, (_, row) in enumerate(read) if number != at] == [*content[:at], *content[at + 1 :]]


def test_a_broken_element_of_an_array_costs_one_row(tmp_path):
    path = tmp_path / "rows.json"
    good = '{"instruction": "a"}'
    for broken in (
        '{"instruction": "b" "input": ""}',
        '{"instruction": "b",,}',
        '{"instruction": b}',
        '{"instruction": "b\n"}',
    ):
        for layout in ("[\n{0},\n{1},\n{0}\n]", "[{0}, {1}, {0}]"):
            path.write_text(layout.replace("{0}", good).replace("{1}", broken))
            kinds = [type(row) for _, row in read_rows(path)]
            assert kinds == [dict, UnreadableRow, dict], (broken, layout, kinds)


def test_lines_are_those_of_the_file(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(
        '[\n {"instruction": "a",\n  "input": ""},\n\n {"instruction": "b"},\n {"instruction" "c"},\n {"instruction": "d"}]'
    )
    assert [line for line, _ in read_rows(path)] == [2, 5, 6, 7]


def test_an_array_is_read_across_the_windows_edges(tmp_path):
    path = tmp_path / "rows.json"
    content = [{"instruction": f"{number} " + '好x\\"' * (number * 7919 % 30_000), "n": number} for number in range(40)]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert [row for _, row in read_rows(path)] == content


def test_a_file_that_is_cut_off_says_so(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text('[{"instruction": "a"}, {"instruction": "b"')
    (_, first), (_, second) = read_rows(path)
    assert first == {"instruction": "a"}
    assert isinstance(second, ValueError)
    path.write_text('[{"instruction": "a"},')
    assert "cut off" in str(list(read_rows(path))[-1][1])


def test_a_byte_order_mark_is_no_part_of_the_first_row(tmp_path):
    for name, content in (
        ("a.jsonl", '{"instruction": "a"}'),
        ("a.json", '[{"instruction": "a"}]'),
        ("a.csv", "instruction\na\n"),
    ):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + content.encode())
        assert [row for _, row in read_rows(tmp_path / name)] == [{"instruction": "a"}], name


def test_broken_utf8_costs_one_row(tmp_path):
    bad = b"\xff\xfe bad"
    (tmp_path / "a.jsonl").write_bytes(b'{"a": "x"}\n{"a": "' + bad + b'"}\n{"a": "y"}\n')
    (tmp_path / "a.json").write_bytes(b'[{"a": "x"},\n{"a": "' + bad + b'"},\n{"a": "y"}]')
    (tmp_path / "a.csv").write_bytes(b"a\nx\n" + bad + b"\ny\n")
    for name in ("a.jsonl", "a.json", "a.csv"):
        kinds = [type(row) for _, row in read_rows(tmp_path / name)]
        assert kinds == [dict, UnreadableRow, dict], name


def test_a_very_large_field_is_read_and_not_slowly(tmp_path):
    for name in ("a.jsonl", "a.json", "a.csv"):
        write(tmp_path / name, [{"instruction": "a"}, {"instruction": "x" * 10_000_000}, {"instruction": "b"}])
        assert [len(row["instruction"]) for _, row in read_rows(tmp_path / name)] == [1, 10_000_000, 1]


def test_a_csv_line_with_too_few_or_too_many_fields_is_not_padded(tmp_path):
    (tmp_path / "a.csv").write_text("instruction,input\na,b\nc\nd,e,f\ng,h\n")
    assert [type(row) for _, row in read_rows(tmp_path / "a.csv")] == [dict, UnreadableRow, UnreadableRow, dict]


def test_what_follows_an_array_is_not_lost_silently(tmp_path):
    (tmp_path / "a.json").write_text('[{"a": 1}]\n[{"a": 2}]')
    assert [type(row) for _, row in read_rows(tmp_path / "a.json")] == [dict, UnreadableRow]


def test_a_broken_element_does_not_make_rows_of_what_is_nested_in_it(tmp_path):
    rows = [{"instruction": "a"}, {"instruction": "b", "instances": [{"instruction": "nested"}]}, {"instruction": "c"}]
    broken = json.dumps(rows, indent=1).replace('"instances":', '"instances"')
    (tmp_path / "a.json").write_text(broken)
    read = [row for _, row in read_rows(tmp_path / "a.json")]
    assert [type(row) for row in read] == [dict, UnreadableRow, dict]
    assert read[2] == rows[2]


@pytest.mark.parametrize("padding", range(65_300, 65_600, 7))
def test_a_broken_element_at_the_windows_edge_costs_one_row(tmp_path, padding):
    (tmp_path / "a.json").write_text('[{"a": "' + "x" * padding + '"},\n{"a" 1},\n{"a": 2},\n{"a": 3}]')
    assert [type(row) for _, row in read_rows(tmp_path / "a.json")] == [dict, UnreadableRow, dict, dict]


@pytest.mark.parametrize("layout", ["[{0}, {1}, {0}]", "[\n  {0},\n  {1},\n  {0}\n]", "[\n{0}\n,\n{1}\n,{0}]"])
@pytest.mark.parametrize("size", [10, 65_480, 200_000])
def test_a_broken_element_of_any_size_costs_one_row(tmp_path, layout, size):
    broken = '{"a": "' + "x" * size + '", "b" 1}'
    (tmp_path / "a.json").write_text(layout.replace("{0}", '{"a": 1}').replace("{1}", broken))
    assert [type(row) for _, row in read_rows(tmp_path / "a.json")] == [dict, UnreadableRow, dict]


@pytest.mark.parametrize("depth", [500, 990, 1000, 5000])
def test_numbers_too_long_and_nesting_too_deep_cost_one_row(tmp_path, depth):
    odd = ["[" * depth + "]" * depth, '{"n": ' + "7" * depth * 3 + "}"]
    for name, layout in (("a.json", "[{0},\n{1},\n{0}]"), ("a.jsonl", "{0}\n{1}\n{0}")):
        for element in odd:
            (tmp_path / name).write_text(layout.replace("{0}", '{"a": 1}').replace("{1}", element))
            first, _, last = [row for _, row in read_rows(tmp_path / name)]
            assert first == last == {"a": 1}


def test_lines_of_csv_are_those_of_the_file(tmp_path):
    (tmp_path / "a.csv").write_text('a,b\n1,2\n\n"x\ny",3\n4,5\n')
    assert [line for line, _ in read_rows(tmp_path / "a.csv")] == [2, 4, 6]


def test_a_quote_that_is_not_closed_is_said(tmp_path):
    (tmp_path / "a.csv").write_text('a,b\n1,2\n"x,3\n4,5\n')
    (_, first), (line, second) = read_rows(tmp_path / "a.csv")
    assert (first, line) == ({"a": "1", "b": "2"}, 3)
    assert "not closed" in str(second)


def test_one_object_and_utf16_are_said_once(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"data": [{"a": 1}]}, indent=1))
    with pytest.raises(ValueError, match="one JSON object"):
        list(read_rows(tmp_path / "a.json"))
    for name in ("a.json", "a.jsonl", "a.csv"):
        (tmp_path / name).write_text('[{"a": 1}]', encoding="utf-16")
        with pytest.raises(ValueError, match="UTF-16"):
            list(read_rows(tmp_path / name))


def test_what_is_no_such_format_is_said(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ValueError, match=r"a\.txt is not"):
        list(read_rows(tmp_path / "a.txt"))
    (tmp_path / "a.parquet").write_text("x")
    with pytest.raises(ValueError, match="not Parquet"):
        list(read_rows(tmp_path / "a.parquet"))


def unread(path: Path, **options) -> list[str]:
    found = [row.text for _, row in read_rows(path, **options) if isinstance(row, UnreadableRow)]
    json.dumps(found, ensure_ascii=False).encode()
    return found


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.jsonl", '{"a": 1}\n{"a": 好\n{"a": 2}\n{"a": "\\ud800"}', ['{"a": 好', '{"a": "\\ud800"}']),
        ("a.jsonl", b'{"a": "\xff b"}\n', ['{"a": "\ufffd b"}']),
        ("a.csv", 'a,b\n1,2\nshort\n"x\ny",2,3\n4,5\n', ["short", '"x\ny",2,3']),
        ("a.csv", 'a,b\n"1"2,3\n4,5\n"never,\nclosed\n', ['"1"2,3', '"never,\nclosed']),
        ("a.csv", b"a,b\n1,2\n\xff,3\r\n", ["\ufffd,3"]),
        ("a.json", '[{"a": 1}, {"a" 好, "b": [1]}, {"a": 2}]', ['{"a" 好, "b": [1]}']),
        ("a.json", '[\n {"a": 1},\n {"a" 2,\n  "b": {"c": 3}\n },\n {"a": 3}\n]', ['{"a" 2,\n  "b": {"c": 3}\n }']),
        ("a.json", '[{"a": 1},\n{"a": "\\ud800"},\n{"a": 3}]', ['{"a": "\\ud800"}']),
        ("a.json", b'[{"a": 1},\n{"a": "\xff"},\n{"a": 3}]', ['{"a": "\ufffd"}']),
        ("a.json", '[{"a": 1}, {"a": "never clo', ['{"a": "never clo']),
        ("a.json", '[{"a": 1}, {"a" 2}]\n', ['{"a" 2}]']),
        ("a.json", '[{"a": 1}]\n[{"a": 2}]', ['[{"a": 2}]']),
        ("a.json", '[{"a": 1},', [""]),
    ],
)
def test_what_cannot_be_read_comes_with_its_text(tmp_path, name, content, expected):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    assert unread(tmp_path / name) == unread(tmp_path / name, lines=False) == expected


@pytest.mark.parametrize("size", [10, 65_480, 90_000, 3_000_000])
def test_of_what_cannot_be_read_the_beginning_is_kept(tmp_path, size):
    broken = '{"a": "' + "x" * size + '", "b" 1}'
    for name, layout in (
        ("a.json", "[{0},\n{1},\n{0}]"),
        ("a.json", "[{0}, {1}, {0}]"),
        ("a.json", "[{0},\n{1}"),
        ("a.jsonl", "{0}\n{1}\n{0}"),
        ("a.csv", "a,b,c\n1,2,3\n{1}\n4,5,6\n"),
    ):
        (tmp_path / name).write_text(layout.replace("{0}", '{"a": 1}').replace("{1}", broken))
        assert unread(tmp_path / name) == [broken[:100_000]], (name, layout)


def test_a_column_that_is_there_twice_is_one_error(tmp_path):
    (tmp_path / "a.csv").write_text("instruction,output,output\na,b,c\n")
    with pytest.raises(ValueError, match=r"two columns of a\.csv are called 'output'"):
        list(read_rows(tmp_path / "a.csv"))
