"""`open_rows`: the same rows from every place they can be, in order, as often as asked, in bounded memory."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import datasets
import fsspec
import pytest

from gpt4_instruct import Replay, SourceError, audit, build
from gpt4_instruct.records import Reject
from gpt4_instruct.sources.built import configs_of
from gpt4_instruct.sources.find import open_source
from gpt4_instruct.sources.rows import open_rows
from gpt4_instruct.training.shards import open_shards

ROWS = [
    {"instruction": "Name the largest planet.", "input": "", "output": "Jupiter."},
    {"instruction": ["a list"], "input": "", "output": "?"},
    {"instruction": "Add them.", "input": " 1, 2 ", "output": "3"},
]


def write(path: Path, rows: list) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))
    return path


def check(rows, raws=ROWS):
    first, again = list(rows), list(rows)
    assert [each[:2] for each in first] == list(enumerate(raws)), "raw rows come as they are"
    assert first == again, "and again"
    return [found for _, _, found in first]


def test_a_file_a_zip_a_list_and_a_folder_shaped_like_the_hub(tmp_path):
    plain = write(tmp_path / "rows.json", ROWS)
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.writestr("data/core.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS))
        archive.writestr("__MACOSX/data/._core.jsonl", "shadow")
        archive.writestr("README.txt", "hello")
    for data, name in (
        (plain, "rows.json"),
        (str(plain), "rows.json"),
        (ROWS, "rows"),
        (tmp_path / "rows.zip", "rows.zip"),
    ):
        rows = open_rows(data)
        one, bad, two = check(rows)
        assert rows.name == name
        assert (one[0].output, two[0].input) == ("Jupiter.", " 1, 2 ")
        assert isinstance(bad, Reject) and bad.reason == "wrong_type"
        assert bad.origin.startswith(f"{name}:")
    hub = tmp_path / "hub"
    hub.mkdir()
    good = [ROWS[0], ROWS[2]]
    write(hub / "train.jsonl", good)
    (one,), (two,) = check(open_rows(f"hub:{hub}"), good)
    assert (one.output, two.id) == ("Jupiter.", "hub-2")


def test_a_dataset_of_any_kind():
    good = [ROWS[0], ROWS[2]]
    data = datasets.Dataset.from_list(good)
    for each in (data, data.to_iterable_dataset(), datasets.DatasetDict({"test": data.select([]), "train": data})):
        (one,), (two,) = check(open_rows(each), good)
        assert (one.output, two.input) == ("Jupiter.", " 1, 2 ")
    assert open_rows(data).count() == 2
    with pytest.raises(SourceError, match="holds no rows"):
        open_rows(3)


def test_a_folder_of_ours(tmp_path):
    source = write(tmp_path / "tasks.json", [ROWS[0], ROWS[2]])
    out = tmp_path / "out"
    build("english", source, teacher=Replay([ROWS[0], ROWS[2]]), out=out)
    rows = open_rows(out)
    assert (rows.name, rows.language, rows.count()) == ("out:english", "en", 2)
    (found, *_) = [found[0] for _, _, found in rows]
    assert (found.output, found.id, found.finish_reason) == ("Jupiter.", "tasks-1", "stop")
    build("unnatural", source, teacher=Replay([ROWS[0], ROWS[2]]), out=out)
    with pytest.raises(SourceError, match=r"several splits: name one of .*:english, .*:unnatural"):
        open_rows(out)
    assert [found[0].label for _, _, found in open_rows(f"{out}:unnatural")] == ["Jupiter.", "3"]
    with pytest.raises(SourceError, match="holds no chinese"):
        open_rows(f"{out}:chinese")
    assert configs_of(out) == ["english", "unnatural"]
    fsspec.filesystem("memory").put(f"{out}/", "/my rows/out", recursive=True)
    there, here = open_rows("memory://my rows/out/:english"), open_rows(f"{out}:english")
    assert (there.language, there.count(), list(there)) == ("en", 2, list(here))
    assert there.name == "out:english" and there.shards[0].url.startswith("memory://my rows/out/english/")
    with pytest.raises(SourceError, match=r"several splits: name one of memory://my rows/out:english, "):
        open_rows("memory://my rows/out")
    source = open_source("memory://my rows/out:english", "english")
    assert [each.instruction for each in source] == [found[0].instruction for _, _, found in here]
    assert [*open_shards("memory://my rows/out:english").read(0)] == [raw for _, raw in here.raw()]
    assert len(audit("memory://my rows/out").summary["data"]) == 2
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["configs"]["unnatural"] |= {"rows": 0, "files": []}  # as a build writes where every row is rejected
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert (configs_of(out), open_rows(out).name, list(open_rows(f"{out}:unnatural"))) == (
        ["english"],
        "out:english",
        [],
    )
    manifest["configs"]["english"] |= {"rows": 0, "files": []}
    (out / "manifest.json").write_text(json.dumps(manifest))
    for call in (configs_of, open_rows):
        with pytest.raises(SourceError, match="holds no rows: every one was rejected"):
            call(out)
    for content in ("[]", "{", '{"configs": []}', '{"configs": {"english": {}}}'):
        (out / "manifest.json").write_text(content)
        for call in (configs_of, open_rows):
            with pytest.raises(SourceError, match="not a manifest"):
                call(out)
    with pytest.raises(SourceError, match=r"holds no manifest\.json of a build"):
        configs_of(tmp_path)


@pytest.mark.parametrize("data", ["nowhere.json", "", ".", "a:b", "hub:a/b/c", "/nowhere:english"])
def test_what_is_not_there_is_one_line(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError) as caught:
        open_rows(data)
    assert "\n" not in str(caught.value)


def languages(rows, **options):
    return [None if isinstance(found, Reject) else found[0].language for _, _, found in open_rows(rows, **options)]


def test_the_language_is_that_of_nearly_all_rows_or_of_each():
    english = [{"instruction": f"Say {number}."} for number in range(30)]
    chinese = [{"instruction": f"说出第{number}个数。"} for number in range(30)]
    assert languages(english) == ["en"] * 30
    # A row that quotes another language is of its file's.
    assert languages([*chinese, {"instruction": "Translate: Good morning"}, {"instruction": "2 + 2"}]) == ["zh"] * 32
    mixed = languages([*chinese, *english, {"instruction": "2 + 2"}, {"instruction": 3}])
    assert mixed == ["zh"] * 30 + ["en"] * 31 + [None]
    assert languages(mixed := [*chinese, *english], language="zh") == ["zh"] * 60, mixed
    assert languages([]) == []


ENGLISH = {"instruction": "Name the largest planet.", "output": "It is Jupiter."}
CHINESE = {"instruction": "说出最大的行星。", "output": "最大的行星是木星（Jupiter）。"}
ASKED_IN_CHINESE = {"instruction": "说出最大的行星。", "output": "It is Jupiter."}
ASKED_IN_ENGLISH = {"instruction": "Name the largest planet.", "output": "最大的行星是木星。"}


def test_a_row_that_is_all_in_one_language_has_it_wherever_it_stands():
    assert languages([ENGLISH] * 300 + [CHINESE] * 300) == ["en"] * 300 + ["zh"] * 300
    assert languages([CHINESE] * 300 + [ENGLISH] * 300) == ["zh"] * 300 + ["en"] * 300
    assert languages([ENGLISH] * 194 + [CHINESE] * 6) == ["en"] * 194 + ["zh"] * 6
    assert languages([ENGLISH] * 300 + [CHINESE], language="en") == ["en"] * 301
    answers = {"user_input": CHINESE["instruction"], "responses_and_scores": [{"response": "是木星。"}] * 2}
    assert languages([ENGLISH] * 300 + [answers]) == ["en"] * 300 + ["zh"]


def test_an_answer_in_the_other_language_than_its_instruction_is_expected_in_the_data_s():
    both = [ASKED_IN_CHINESE, ASKED_IN_ENGLISH]
    assert languages([CHINESE] * 300 + both)[-2:] == ["zh", "zh"]
    assert languages([ENGLISH] * 300 + both)[-2:] == ["en", "en"]
    # In data of both languages, in the instruction's, if that is clear.
    short = {"instruction": "Jupiter?", "output": "最大的行星是木星。"}
    assert languages([CHINESE, ENGLISH, CHINESE] * 100 + [*both, short, {"instruction": "1 + 1"}])[-4:] == [
        "zh", "en", "zh", "zh"]  # fmt: skip
    assert languages([CHINESE, ENGLISH, ENGLISH] * 100 + [*both, short])[-3:] == ["zh", "en", "en"]


def test_each_turn_of_a_chat_has_its_own_language():
    texts = ("Name a fish, please.", "Cod.", "再说一种鱼。", "鳕鱼。")
    chat = [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]
    ((_, _, found),) = open_rows([{"messages": chat}])
    assert [each.language for each in found] == ["en", "zh"]


def test_what_cannot_be_read_is_passed_on(tmp_path):
    good = json.dumps(ROWS[0])
    lines = [good, '{"instruction": "cut', "null", "3", '"a text"', '{"instruction": "\\ud800"}', '{"a": "\udcff"}']
    path = tmp_path / "rows.jsonl"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    rows = list(open_rows(path))
    assert [raw for _, raw, _ in rows] == [ROWS[0], lines[1], None, 3, "a text", lines[5], '{"a": "\ufffd"}']
    assert [found.reason for _, _, found in rows[1:]] == [
        "unreadable", "wrong_type", "wrong_type", "wrong_type", "unreadable", "unreadable"]  # fmt: skip
    ((_, raw, found),) = open_rows([{"instruction": "half an emoji \ud83d"}])
    assert json.loads(raw) == {"instruction": "half an emoji \ufffd"} and found.reason == "unreadable"


class _Files(SimpleHTTPRequestHandler):
    """A folder on the web."""

    def log_message(self, *args):
        pass


def test_files_that_are_named_one_by_one_wherever_they_are(tmp_path):
    stage = tmp_path / "_stage"
    stage.mkdir()
    write(stage / "rows.jsonl", ROWS)
    with zipfile.ZipFile(tmp_path / "rows.zip", "w") as archive:
        archive.write(stage / "rows.jsonl", "rows.jsonl")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(tmp_path)))
    Thread(target=server.serve_forever, daemon=True).start()
    web = f"http://127.0.0.1:{server.server_port}/_stage/rows.jsonl"
    try:
        for data in (
            f"file://{stage}/rows.jsonl",  # in a folder that is none of the data where its parent is named
            f"file://{stage}/*.jsonl",
            web,
            f"{web}?download=true",
            f"zip://*.jsonl::{tmp_path}/rows.zip",
            f"simplecache::file://{stage}/rows.jsonl",
        ):
            rows = open_rows(data)
            assert rows.name == "rows.jsonl" and len(rows.shards) == 1
            check(rows)
        with pytest.raises(SourceError, match="names no"):
            open_rows(f"file://{tmp_path}/*.jsonl")
        write(tmp_path / "other.jsonl", ROWS)
        assert [each.name for each in open_rows(f"file://{tmp_path}").shards] == ["other.jsonl"]
    finally:
        server.shutdown()
        server.server_close()


def test_a_csv_file_with_a_column_twice_is_one_error(tmp_path):
    (tmp_path / "rows.csv").write_text("instruction,output,output\na,b,c\n")
    with pytest.raises(SourceError, match=r"cannot read .*rows\.csv: two columns .* 'output': rename one") as caught:
        list(open_rows(tmp_path / "rows.csv"))
    assert "\n" not in str(caught.value)


def test_the_real_samples(shared_data):
    for name, language, count in (
        ("alpaca_gpt4_en_500.json", "en", 500),
        ("alpaca_gpt4_zh_500.json", "zh", 500),
        ("unnatural_gpt4_10.json", "en", 10),
        ("comparison_alpaca_eval_400.jsonl", "en", 400),
    ):
        found = [found for _, _, found in open_rows(shared_data / name)]
        assert len(found) == count and all(len(each) == 1 and each[0].language == language for each in found)
    comparisons = [found[0] for _, _, found in open_rows(shared_data / "comparison_alpaca_eval_400.jsonl")]
    assert all(len(each.scored) == 3 and "###" not in each.instruction for each in comparisons)


_PEAK = """
import json, sys
from pathlib import Path
from gpt4_instruct.records import Reject
from gpt4_instruct.sources.find import open_source
from gpt4_instruct.sources.rows import open_rows
from gpt4_instruct.training.shards import open_shards

def peak_mb():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024

before, whole, last = peak_mb(), 0, None
for row, raw, found in open_rows(sys.argv[1]):
    whole += not isinstance(found, Reject)
    last = found
print(json.dumps([peak_mb() - before, whole, getattr(last, "detail", "")]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to read the peak memory from")
@pytest.mark.parametrize("cut_bytes", [0, 17])
def test_a_large_file_that_is_cut_in_the_middle_gives_its_whole_rows_in_little_memory(tmp_path, cut_bytes):
    path = tmp_path / "large.json"
    row = {"instruction": "Say it again and again.", "input": "", "output": "word " * 180}
    text = json.dumps([row] * 40_000)
    assert len(text) > 38_000_000
    each = len(json.dumps(row)) + 2
    path.write_text(text[: 1 + 20_000 * each + cut_bytes])  # at a row's end, and within a row
    done = subprocess.run([sys.executable, "-c", _PEAK, str(path)], capture_output=True, text=True, check=True)
    grown_mb, whole, detail = json.loads(done.stdout)
    assert whole == 20_000
    assert "cut off" in detail and "20,000 whole" in detail
    assert grown_mb < 15, "of a file of 20 MB"


def test_a_megabyte_in_one_field_and_a_hundred_thousand_identical_rows(tmp_path):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"instruction": "a", "output": "x" * 1_048_576}] + [ROWS[0]] * 100_000))
    count = 0
    for _, _, found in open_rows(path):
        count += isinstance(found, list)
    assert count == 100_001


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv"])
def test_a_file_in_gbk_is_one_error_that_says_what_to_do(tmp_path, suffix):
    path = tmp_path / f"rows.{suffix}"
    rows = [
        {"instruction": "说出最大的行星。", "output": "木星是太阳系中最大的行星，它的质量是其他行星总和的两倍半。"}
    ] * 50
    text = "instruction,output\n" + "".join(f"{row['instruction']},{row['output']}\n" for row in rows)
    if suffix == "json":
        text = json.dumps(rows, ensure_ascii=False, indent=1)
    elif suffix == "jsonl":
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    for encoding in ("gbk", "gb18030"):
        path.write_bytes(text.encode(encoding))
        with pytest.raises(SourceError, match=f"in GBK: iconv -f gb18030 -t utf-8 rows.{suffix}"):
            list(open_rows(path))
    path.write_bytes(text.encode())
    assert len(list(open_rows(path))) == 50
    # Bytes that are broken here and there, or Latin-1, are no GBK: they cost their own rows.
    path.write_bytes(text.encode().replace("两".encode(), b"\xff", 1))
    assert sum(isinstance(found, Reject) for _, _, found in open_rows(path)) == 1


def test_a_zip_of_no_rows_of_several_files_or_cut(tmp_path):
    path = tmp_path / "rows.zip"
    for names in ([], ["a.txt"], ["a.json", "b.json"]):
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, "[]")
        with pytest.raises(SourceError, match="not one"):
            list(open_rows(path))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.json", json.dumps(ROWS * 100))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceError, match="no whole zip"):
        list(open_rows(path))
