"""A released file comes whole and as it was released, or not at all: every fault of a download, over real sockets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpt4_instruct import SourceError, UnknownNameError, downloads
from gpt4_instruct.downloads import blob_id
from gpt4_instruct.sources.released import RELEASED, fetch
from gpt4_instruct.sources.rows import open_rows
from tests.released_server import ReleasedServer, blob_of, contents, release

FILES = contents(rows=3000)


@pytest.fixture
def online(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr(downloads, "_DELAY_S", 0.01)


@pytest.fixture
def server(online, monkeypatch):
    with ReleasedServer(FILES) as server:
        monkeypatch.setenv("GPT4_INSTRUCT_RELEASED_URL", server.url + "/")
        release(monkeypatch, FILES)
        yield server


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home" / "released"


def left(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def test_the_table_is_the_one_of_the_release():
    """Held twice, so that a slip of the keyboard in one place is found."""
    gpt4, alpaca, unnatural, fastchat, self_instruct = (
        "Instruction-Tuning-with-GPT-4/GPT-4-LLM",
        "tatsu-lab/stanford_alpaca",
        "orhonovich/unnatural-instructions",
        "lm-sys/FastChat",
        "yizhongw/self-instruct",
    )
    commits = {
        gpt4: "80cda62",
        alpaca: "761dc5b",
        unnatural: "22a41c9",
        fastchat: "31a1b90",
        self_instruct: "0b26cca",
    }
    expected = {
        "english": (gpt4, "data/alpaca_gpt4_data.json", "25508714"),
        "chinese": (gpt4, "data/alpaca_gpt4_data_zh.json", "af092742"),
        "comparison": (gpt4, "data/comparison_data_v2.json", "decb04ca"),
        "unnatural": (gpt4, "data/unnatural_instruction_gpt4_data.json", "b2ff6915"),
        "alpaca": (alpaca, "alpaca_data.json", "3779ddbc"),
        "unnatural-core": (unnatural, "data/core_data.zip", "037b95e7"),
        "vicuna80": (fastchat, "fastchat/eval/table/question.jsonl", "c946b8f7"),
        "user252": (self_instruct, "human_eval/user_oriented_instructions.jsonl", "ed6d5d98"),
    }
    assert {name: (each.repository, each.path, each.blob[:8]) for name, each in RELEASED.items()} == expected
    for each in RELEASED.values():
        assert each.commit.startswith(commits[each.repository])
        assert len(each.commit) == len(each.blob) == 40


def test_the_blob_id_is_gits(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"")
    assert blob_id(path) == "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"  # the empty blob, in every repository
    path.write_bytes(b"hello\n")
    assert blob_id(path) == "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object


def test_a_file_is_downloaded_once(server, home, monkeypatch):
    path = fetch("english")
    assert path.read_bytes() == FILES["english"]
    each = RELEASED["english"]
    assert path == home / each.repository.replace("/", "--") / "snapshots" / each.commit / each.path
    assert left(home) == ["alpaca_gpt4_data.json"]
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fetch("english") == path
    assert server.asked == [None]
    rows = list(open_rows("released:english"))
    assert len(rows) == 3000 and rows[0][2][0].origin == "released:english:1"
    assert server.asked == [None]


@pytest.mark.parametrize("ranges", [True, False])
def test_what_is_cut_off_is_gone_on_with(server, home, ranges):
    server.cuts, server.cut_after, server.ranges = 2, 5_000, ranges
    assert fetch("english").read_bytes() == FILES["english"]
    assert server.asked == [None, "bytes=5000-", f"bytes={10_000 if ranges else 5_000}-"]
    assert left(home) == ["alpaca_gpt4_data.json"]


def test_what_is_cut_off_again_and_again_is_kept_for_the_next_call(server, home):
    server.cuts, server.cut_after = 99, 1_000
    with pytest.raises(SourceError, match=r"tried 5 times: .*5,000 bytes are kept: run it again") as caught:
        fetch("english")
    assert "\n" not in str(caught.value) and "GPT4_INSTRUCT_RELEASED_DIR" in str(caught.value)
    assert left(home) == [f"{blob_of(FILES['english'])}.incomplete"]
    server.cuts = 0
    assert fetch("english").read_bytes() == FILES["english"]
    assert server.asked[-1] == "bytes=5000-"


@pytest.mark.parametrize("waits", [1, 4])
def test_a_server_that_is_busy_is_asked_again(server, waits):
    server.refusals = waits
    assert fetch("english").read_bytes() == FILES["english"]
    assert len(server.asked) == waits + 1


@pytest.mark.parametrize(
    ("status", "says"), [(503, "tried 5 times: the server answers 503"), (403, "answers 403"), (410, "410")]
)
def test_a_server_that_refuses_is_one_line(server, home, status, says):
    server.refusals, server.status = 99, status
    with pytest.raises(SourceError, match=says) as caught:
        fetch("english")
    assert "\n" not in str(caught.value)
    assert left(home) == []


def test_another_revision_or_an_altered_file_is_not_taken(server, home):
    address = next(path for path in server.files if path.endswith("alpaca_gpt4_data.json"))
    other = server.files[address] = FILES["english"].replace(b"It is 4.", b"It is 5.")
    with pytest.raises(SourceError, match=f"git blob id is {blob_of(other)}, not {blob_of(FILES['english'])}"):
        fetch("english")
    assert left(home) == [], "it is removed"


def test_a_cached_file_that_was_altered_is_set_aside(server, home, monkeypatch):
    path = fetch("english")
    path.write_bytes(b"[]")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match="was altered, and HF_HUB_OFFLINE forbids"):
        fetch("english")
    assert path.read_bytes() == b"[]"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert fetch("english").read_bytes() == FILES["english"]
    assert left(home) == ["alpaca_gpt4_data.json", "alpaca_gpt4_data.json.altered"]


@pytest.mark.parametrize("rest", [b"junk", FILES["english"], FILES["english"] + b"more", FILES["english"][:70] + b"?"])
def test_what_an_earlier_run_left_may_be_whole_too_long_or_of_something_else(server, home, rest):
    """A server answers 416 to what is whole or too long."""
    each = RELEASED["english"]
    folder = (home / each.repository.replace("/", "--") / "snapshots" / each.commit / each.path).parent
    folder.mkdir(parents=True)
    (folder / f"{each.blob}.incomplete").write_bytes(rest)
    assert fetch("english").read_bytes() == FILES["english"]
    assert left(home) == ["alpaca_gpt4_data.json"]
    assert server.asked == ([f"bytes={len(rest)}-"] + ([None] if rest != FILES["english"] else []))


def test_no_such_file_at_the_mirror_and_no_such_name(server):
    server.files.clear()
    with pytest.raises(SourceError, match="answers 404"):
        fetch("english")
    with pytest.raises(UnknownNameError, match="did you mean 'english'"):
        fetch("englsh")


def test_no_network_and_offline_mode_say_what_else_works(online, monkeypatch):
    for url in ("http://127.0.0.1:1", "http://nowhere.invalid", "nonsense", "http://[bad"):
        monkeypatch.setenv("GPT4_INSTRUCT_RELEASED_URL", url)
        with pytest.raises(SourceError, match=r"cannot reach .*GPT4_INSTRUCT_RELEASED_DIR=FOLDER") as caught:
            fetch("english")
        assert "\n" not in str(caught.value)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(SourceError, match=r"not downloaded yet, and HF_HUB_OFFLINE forbids .*RELEASED_DIR"):
        fetch("english")


def test_a_folder_that_has_the_files(monkeypatch, tmp_path, home):
    release(monkeypatch, FILES)
    monkeypatch.setenv("GPT4_INSTRUCT_RELEASED_DIR", str(tmp_path))
    (tmp_path / "alpaca_gpt4_data.json").write_bytes(FILES["english"])
    assert fetch("english") == tmp_path / "alpaca_gpt4_data.json"
    (tmp_path / "alpaca_gpt4_data.json").write_bytes(b"[]")
    with pytest.raises(SourceError, match="is not the released file: its git blob id is"):
        fetch("english")
    with pytest.raises(SourceError, match="HF_HUB_OFFLINE"):  # one that it does not have
        fetch("chinese")
    assert left(home) == []


_FETCH = """
import json, sys
from gpt4_instruct import Gpt4InstructError
from gpt4_instruct.sources import released
from tests.released_server import contents, patched
released.RELEASED.update(patched(contents(rows=3000)))
if len(sys.argv) > 1:
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
try:
    print(released.fetch("english"))
except Gpt4InstructError as error:
    print(f"{type(error).__name__}: {error}")
"""


def start(server, *args: object) -> subprocess.Popen[str]:
    env = {**os.environ, "HF_HUB_OFFLINE": "0", "GPT4_INSTRUCT_RELEASED_URL": server.url}
    command = [sys.executable, "-c", _FETCH, *map(str, args)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, cwd=Path(__file__).parents[1])


def test_two_processes_at_once_download_it_once(server, home):
    server.slow.clear()
    processes = [start(server) for _ in range(2)]
    deadline = time.monotonic() + 60
    while not server.asked and time.monotonic() < deadline and processes[0].poll() is None:
        time.sleep(0.05)
    time.sleep(1)  # the other one comes to the lock
    server.slow.set()
    said = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert len(said) == 1 and Path(said.pop()).read_bytes() == FILES["english"]
    assert server.asked == [None]


def test_a_killed_download_is_gone_on_with(server, home):
    """A process that is killed while it waits for bytes leaves a part, and the next one asks for the rest."""
    server.cuts, server.cut_after = 1, 70_000

    class Stall:
        def wait(self, timeout: float) -> None:
            if len(server.asked) == 2:
                time.sleep(3)

    server.slow = Stall()
    process = start(server)
    deadline = time.monotonic() + 60
    while len(server.asked) < 2 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.communicate()
    assert left(home) == [f"{blob_of(FILES['english'])}.incomplete"]
    assert fetch("english").read_bytes() == FILES["english"]
    assert server.asked == [None, "bytes=70000-", "bytes=70000-"]


def test_a_full_disk_is_one_line_and_nothing_half_written_counts(server, home):
    """A file may not grow past 64 KiB: what a full disk looks like to a program."""
    said = start(server, 65_536).communicate(timeout=60)[0].strip()
    assert said.startswith("OutputError: cannot write") and "\n" not in said, said
    assert "alpaca_gpt4_data.json" not in left(home)
    assert fetch("english").read_bytes() == FILES["english"]


def test_rows_of_a_released_zip(server, monkeypatch, tmp_path):
    import io
    import zipfile

    core = {"instruction": "Is it prime?", "instances": [{"input": "7", "constraints": "None.", "output": "Yes"}]}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("core_data.jsonl", json.dumps(core) + "\n")
    each = RELEASED["unnatural-core"]
    server.files[f"/{each.repository}/{each.commit}/{each.path}"] = packed.getvalue()
    release(monkeypatch, {"unnatural-core": packed.getvalue()})
    ((_, raw, (sample,)),) = open_rows("released:unnatural-core")
    assert raw == core and (sample.input, sample.output) == ("7", "Yes")
