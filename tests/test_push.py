"""Datasets on the Hub: what is pushed is loaded again, only changes are sent, and nobody's part of it is lost."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from gpt4_instruct.errors import OutputError, TermsError, UsageError
from gpt4_instruct.storage import sha256
from tests.hub import Client, File, LoopbackHub
from tests.pushing import build_data, found_in, load_rows, push_folder, upload_file

CHINESE = [f"春天来了，第{number}朵花开了。" for number in range(12)]
ENGLISH = [f"The answer is {number}, of course." for number in range(12)]
OTHER = [f"The answer is {number}, as before." for number in range(9)]
KEY = "sk-plantedInTheEnvironment0123456789"


@pytest.fixture(scope="module")
def hub():
    with LoopbackHub() as served:
        yield served


@pytest.fixture(scope="module")
def client(hub, tmp_path_factory):
    home = tmp_path_factory.mktemp("client")
    named = {"GPT4_INSTRUCT_HOME": str(home / "home"), "OPENAI_API_KEY": KEY}
    with Client(hub, home / "hf", **named) as process:
        yield process


@pytest.fixture(scope="module")
def built(client, tmp_path_factory):
    folder = tmp_path_factory.mktemp("built") / "data"
    client.call(build_data, str(folder), "english", ENGLISH)
    client.call(build_data, str(folder), "chinese", CHINESE)
    return folder


@pytest.fixture
def data(built, tmp_path):
    return shutil.copytree(built, tmp_path / "data")


def shards(repo, config):
    return {path for path in repo.files() if path.startswith(f"{config}/")}


def writes(hub):
    return [each for each in hub.requests if each.method in ("POST", "PUT") and "/paths-info/" not in each.path]


def test_a_dataset_is_one_private_commit_and_loads_by_its_configs(hub, client, data):
    result = client.call(push_folder, str(data), "me/first")
    repo = hub.repos["datasets/me/first"]
    assert repo.private and not result.public
    assert [each.title for each in repo.log()] == ["Add chinese, english", "initial commit"]
    assert result.commit == repo.branches["main"]
    sent = {each.relative_to(data).as_posix() for each in data.rglob("*") if each.is_file()}
    assert set(result.added) == sent == set(repo.files()) - {".gitattributes"}
    assert not (result.changed or result.deleted or result.unchanged)
    assert result.bytes_sent == sum(len(content) for path, content in repo.files().items() if path in sent)
    for path in sent - {"README.md", "manifest.json"}:
        assert repo.files()[path] == (data / path).read_bytes()
    card = repo.files()["README.md"].decode()
    assert "PATH_OR_REPOSITORY" not in card and 'load_dataset("me/first"' in card

    assert client.call(load_rows, "me/first", "chinese") == CHINESE
    assert client.call(load_rows, "me/first", "english", streaming=True) == ENGLISH
    assert result.loads_with == 'datasets.load_dataset("me/first", "english", split="train")'

    before = len(writes(hub))
    again = client.call(push_folder, str(data), "first")
    assert len(writes(hub)) == before, "nothing is sent where nothing has changed"
    assert set(again.unchanged) == sent and again.bytes_sent == 0
    assert (again.repo_id, again.commit) == ("me/first", result.commit)


def test_a_repository_may_be_built_into_and_audited_in_place(hub, client, built):
    url = "hf://datasets/me/in-place"
    client.call(upload_file, "me/in-place", ".gitignore", "cache")
    client.call(build_data, url, "english", ENGLISH)
    client.call(build_data, url, "chinese", CHINESE)
    repo = hub.repos["datasets/me/in-place"]
    assert shards(repo, "english") == {each.relative_to(built).as_posix() for each in built.glob("english/*")}
    assert repo.log()[0].title.startswith("Upload manifest.json"), "what is named there is there"
    assert client.call(load_rows, "me/in-place", "chinese") == CHINESE
    assert client.call(found_in, url) == client.call(found_in, str(built)) != []
    assert client.call(found_in, f"{url}:chinese") == client.call(found_in, f"{built}:chinese") != []
    with pytest.raises(OutputError, match=r"^hf://datasets/me/none/x cannot be read or written: .*not found"):
        client.call(build_data, "hf://datasets/me/none/x", "english", ENGLISH[:2])


def test_one_config_is_renewed_and_all_else_stays(hub, client, data, tmp_path):
    client.call(push_folder, str(data), "me/kept")
    repo = hub.repos["datasets/me/kept"]
    card = repo.files()["README.md"].decode()
    client.call(
        upload_file, "me/kept", "README.md", card.replace("---\n", "---\nthumbnail: mine.png\n", 1) + "\nMy note.\n"
    )
    client.call(upload_file, "me/kept", "notes/mine.txt", "mine")
    old, chinese = shards(repo, "english"), shards(repo, "chinese")
    client.call(build_data, str(tmp_path / "new"), "english", OTHER)

    asked = len(hub.requests)
    result = client.call(push_folder, str(tmp_path / "new"), "me/kept")
    puts = [each.path.rpartition("/")[2] for each in hub.requests[asked:] if each.method == "PUT"]
    (new,) = shards(repo, "english")
    assert puts == [sha256(tmp_path / "new" / new)], "the other config is not sent again"
    assert set(result.deleted) == old and shards(repo, "chinese") == chinese
    assert repo.log()[0].title == "Update english"
    assert repo.files()["notes/mine.txt"] == b"mine"
    card = repo.files()["README.md"].decode()
    assert "\nMy note.\n" in card and "thumbnail: mine.png" in card
    assert sorted(json.loads(repo.files()["manifest.json"])["configs"]) == ["chinese", "english"]
    assert client.call(load_rows, "me/kept", "english") == OTHER
    assert client.call(load_rows, "me/kept", "chinese") == CHINESE


def test_a_repository_of_somebody_elses_files_keeps_them(hub, client, data):
    client.call(upload_file, "me/theirs", "README.md", "---\nlicense: mit\n---\n# By hand\n")
    client.call(push_folder, str(data), "me/theirs")
    card = hub.repos["datasets/me/theirs"].files()["README.md"].decode()
    assert "# By hand" in card and "license: mit" in card
    assert client.call(load_rows, "me/theirs", "english") == ENGLISH

    repo = hub.repos["datasets/me/theirs"]
    repo.log()[0].files["README.md"] = File("# 说明\n".encode("gbk"))
    with pytest.raises(UsageError, match=r"README\.md of me/theirs is not UTF-8"):
        client.call(push_folder, str(data), "me/theirs")

    client.call(upload_file, "me/little", "manifest.json", '{"format": 1, "configs": {"x": {}}}')
    with pytest.raises(
        UsageError, match=r"a config in manifest\.json, of the folder or of me/little, is not as"
    ) as caught:
        client.call(push_folder, str(data), "me/little")
    assert "\n" not in str(caught.value)

    client.call(upload_file, "me/other", "manifest.json", '{"of": "another program"}')
    with pytest.raises(UsageError, match=r"manifest\.json of me/other is another program's"):
        client.call(push_folder, str(data), "me/other")


def test_a_dry_run_tells_and_sends_nothing(hub, client, data, tmp_path):
    before = len(writes(hub))
    result = client.call(push_folder, str(data), "me/dry", dry_run=True)
    assert result.dry_run and result.commit is None
    assert "datasets/me/dry" not in hub.repos
    assert result.added["README.md"] > 1_000 and result.bytes_sent == sum(result.added.values())
    client.call(push_folder, str(data), "me/wet")
    client.call(build_data, str(tmp_path / "new"), "english", OTHER)
    state, before = dict(hub.repos["datasets/me/wet"].branches), len(writes(hub))
    result = client.call(push_folder, str(tmp_path / "new"), "me/wet", dry_run=True, tag="v1")
    assert len(writes(hub)) == before and hub.repos["datasets/me/wet"].branches == state
    (added,), ((deleted, size),) = result.added, result.deleted.items()
    assert added.startswith("english/")
    assert deleted.startswith("english/") and size == len(hub.repos["datasets/me/wet"].files()[deleted])
    assert sorted(result.changed) == ["README.md", "manifest.json"]


def test_branches_tags_and_pull_requests(hub, client, data, tmp_path):
    first = client.call(push_folder, str(data), "me/named", tag="v1")
    repo = hub.repos["datasets/me/named"]
    assert repo.tags == {"v1": first.commit} and first.tag == "v1"
    client.call(push_folder, str(data), "me/named", tag="v1")  # the same commit: fine
    client.call(build_data, str(tmp_path / "new"), "english", OTHER)
    new, before = str(tmp_path / "new"), len(writes(hub))
    with pytest.raises(UsageError, match=f"the tag v1 of me/named is on commit {first.commit[:8]}"):
        client.call(push_folder, new, "me/named", tag="v1")
    with pytest.raises(UsageError, match="v1 is a tag of me/named"):
        client.call(push_folder, new, "me/named", revision="v1")
    with pytest.raises(UsageError, match=f"me/named has no {first.commit}: name another branch"):
        client.call(push_folder, new, "me/named", revision=first.commit)
    with pytest.raises(UsageError, match="against main"):
        client.call(push_folder, new, "me/named", revision="next", create_pr=True)
    assert len(writes(hub)) == before

    branch = client.call(push_folder, new, "me/named", revision="next", message="Try others")
    assert repo.branches == {"main": first.commit, "next": branch.commit}
    assert repo.log("next")[0].title == "Try others"
    assert client.call(load_rows, "me/named", "english", revision="next") == OTHER
    pull = client.call(push_folder, new, "me/named", create_pr=True)
    assert pull.pull_request == f"{hub.url}/datasets/me/named/discussions/1"
    assert repo.branches["main"] == first.commit and repo.pulls == {"refs/pr/1": pull.commit}
    assert 'revision="refs/pr/1"' in pull.loads_with
    assert client.call(load_rows, "me/named", "english", revision="refs/pr/1") == OTHER
    client.call(build_data, new, "english", ENGLISH[:2])
    again = client.call(push_folder, new, "me/named", revision="refs/pr/1")
    assert repo.pulls == {"refs/pr/1": again.commit} and repo.log("refs/pr/1")[1].id == pull.commit
    renewed = client.call(push_folder, new, "me/named", tag="v2")
    assert repo.tags == {"v1": first.commit, "v2": renewed.commit}


def test_nothing_goes_public_without_a_licence_and_consent(hub, client, data):
    folder, before = str(data), len(writes(hub))
    with pytest.raises(UsageError, match="the card lacks a licence"):
        client.call(push_folder, folder, "me/open", public=True, accept_terms=True)
    card = data / "README.md"
    card.write_text(card.read_text().replace("license: unknown", "license: cc-by-4.0"))
    with pytest.raises(TermsError, match="me/open would be public: --accept-terms") as caught:
        client.call(push_folder, folder, "me/open", public=True)
    assert caught.value.notice[0] == "licence on the card: cc-by-4.0"
    assert any("from a record" in line for line in caught.value.notice)
    assert len(writes(hub)) == before and "datasets/me/open" not in hub.repos

    result = client.call(push_folder, folder, "me/open", public=True, accept_terms=True, tag="v1")
    assert result.public and not hub.repos["datasets/me/open"].private
    last = [each.path.removeprefix("/api/datasets/me/open/").partition("/")[0] for each in writes(hub)[-3:]]
    assert last == ["commit", "tag", "settings"], "it is seen when it is whole"
    with pytest.raises(TermsError, match="me/open is public"):
        client.call(push_folder, folder, "me/open")
    client.call(push_folder, folder, "me/open", accept_terms=True)
    assert not hub.repos["datasets/me/open"].private, "what is public stays so"


@pytest.mark.parametrize("where", [{"create_pr": True}, {"revision": "next"}], ids=str)
def test_what_is_not_on_main_makes_nothing_public(hub, client, data, where):
    repo_id = f"me/secretly{len(hub.repos)}"
    client.call(push_folder, str(data), repo_id)
    card, before = data / "README.md", len(writes(hub))
    card.write_text(card.read_text().replace("license: unknown", "license: cc-by-4.0"))
    with pytest.raises(UsageError, match="--public shows main to everybody, too"):
        client.call(push_folder, str(data), repo_id, public=True, accept_terms=True, **where)
    assert hub.repos[f"datasets/{repo_id}"].private and len(writes(hub)) == before


def test_a_pull_request_makes_no_repository(hub, client, data):
    for dry_run in (False, True):
        with pytest.raises(UsageError, match="there is no me/mistyped to open a pull request for"):
            client.call(push_folder, str(data), "me/mistyped", create_pr=True, dry_run=dry_run)
    assert "datasets/me/mistyped" not in hub.repos


@pytest.mark.parametrize("name", ["datasets/me/data", "https://huggingface.co/me/data", "我/数据", "me/", ""])
def test_a_name_that_the_hub_does_not_take_is_told(data, name):
    with pytest.raises(UsageError, match="is no name for a repository: OWNER/NAME, or NAME, of at most 96 letters"):
        push_folder(str(data), name)


def test_the_notice_tells_of_all_that_would_be_seen(hub, client, data, tmp_path):
    client.call(push_folder, str(data), "me/seen")
    client.call(build_data, str(tmp_path / "new"), "english", OTHER)
    card = tmp_path / "new" / "README.md"
    card.write_text(card.read_text().replace("license: unknown", "license: cc-by-4.0"))
    with pytest.raises(TermsError) as caught:
        client.call(push_folder, str(tmp_path / "new"), "me/seen", public=True)
    assert any(line.startswith("chinese: ") for line in caught.value.notice), "which is there already"
    assert caught.value.notice[-1].startswith("all else in the repository is seen, too")


def test_a_space_is_uploaded_as_it_is(hub, client, tmp_path):
    for name, text in (("README.md", "---\nsdk: gradio\n---\n# Mine\n"), ("app.py", "print()\n"), (".env", "A=1\n")):
        (tmp_path / name).write_text(text)
    result = client.call(push_folder, str(tmp_path), "me/space")
    assert (result.kind, result.url) == ("space", f"{hub.url}/spaces/me/space")
    files = hub.repos["spaces/me/space"].files()
    assert files.pop(".gitattributes") and files == {
        "README.md": b"---\nsdk: gradio\n---\n# Mine\n",
        "app.py": b"print()\n",
    }
    assert client.call(push_folder, str(tmp_path), "me/space").unchanged.keys() == files.keys()


def test_shards_are_cut_where_their_content_says_so(client, built):
    assert client.call(_chunking, str(built))["max_chunk_size"] > 0, "so that Xet takes only the chunks that are new"


def _chunking(folder: str) -> dict[str, int]:
    from pathlib import Path

    import pyarrow.parquet

    shard = next(Path(folder, "english").iterdir())
    found: dict[str, int] = json.loads(pyarrow.parquet.read_metadata(shard).metadata[b"content_defined_chunking"])
    return found


def test_two_at_once_both_end_in_the_repository(hub, client, tmp_path):
    folders = []
    for config, texts in (("english", ENGLISH), ("chinese", CHINESE)):
        folders.append(str(tmp_path / config))
        client.call(build_data, folders[-1], config, texts)
    hub.fail("POST */commit/*", 0, times=2, delay_s=0.3)  # both have read the same state when the first is answered
    commits = client.call(_push_at_once, folders, "me/both")
    hub.heal()
    refused = [each.status for each in hub.asked("POST */datasets/me/both/commit/*")]
    assert sorted(refused) == [200, 200, 412]
    repo = hub.repos["datasets/me/both"]
    assert {each.id for each in repo.log()[:2]} == set(commits)
    assert client.call(load_rows, "me/both", "english") == ENGLISH
    assert client.call(load_rows, "me/both", "chinese") == CHINESE


def _push_at_once(folders: list[str], repo_id: str) -> list[str | None]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor() as pool:
        return [each.commit for each in pool.map(push_folder, folders, [repo_id] * len(folders))]


def test_a_secret_is_found_before_anything_is_sent(hub, client, data, tmp_path):
    asked = len(hub.requests)
    with (data / "README.md").open("a") as card:
        card.write(f"\nRun it with {hub.token}\n")
    with pytest.raises(UsageError, match=r"README.md, line \d+, holds the value of HF_TOKEN") as caught:
        client.call(push_folder, str(data), "me/secret")
    assert hub.token not in str(caught.value)
    folder = str(tmp_path / "new")
    client.call(build_data, folder, "english", [*ENGLISH[:3], f"Your key is {KEY}, is it not?"])
    with pytest.raises(UsageError, match=r"english/.*parquet, row 4, column output, holds the value of OPENAI_API_KEY"):
        client.call(push_folder, folder, "me/secret")
    client.call(build_data, folder, "english", ["It is sk-proj-Abc0123456789defghij, or sk-xxxxxxxxxxxxxxxxxxxxxxxxx."])
    with pytest.raises(UsageError, match="row 1, column output, holds what looks like a key of OpenAI"):
        client.call(push_folder, folder, "me/secret")
    client.call(build_data, folder, "english", ENGLISH)
    with pytest.raises(UsageError, match="the message, line 1, holds the value of OPENAI_API_KEY"):
        client.call(push_folder, folder, "me/secret", message=f"Made with {KEY}")
    assert len(hub.requests) == asked


def _command(arguments: list[str], answer: str = "") -> tuple[int, str]:
    import typer
    from typer.testing import CliRunner

    from gpt4_instruct.cli.publishing import add_commands

    app = typer.Typer()
    app.callback()(lambda: None)
    add_commands(app)
    done = CliRunner().invoke(app, ["push", *arguments], input=answer)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.output


def test_the_command_tells_asks_and_says_how_to_load_it(hub, client, data):
    card = data / "README.md"
    card.write_text(card.read_text().replace("license: unknown", "license: cc-by-4.0"))
    code, said = client.call(_command, [str(data), "me/said", "--dry-run"])
    assert code == 0 and "would send 6 files" in said and "rejects/english.jsonl" in said
    (data / "ledger.sqlite3").write_bytes(b"private")
    code, said = client.call(_command, [str(data), "me/said", "--public"], "n\n")
    assert code == 1 and "licence on the card: cc-by-4.0" in said
    assert "datasets/me/said" not in hub.repos
    code, said = client.call(_command, [str(data), "me/said", "--public", "--tag", "v1"], "y\n")
    assert code == 0 and "not published: ledger.sqlite3" in said
    assert "ledger.sqlite3" not in hub.repos["datasets/me/said"].files()
    assert f"{hub.url}/datasets/me/said (public, tag v1), commit" in said
    line = said.rpartition("to load it: ")[2].strip()
    assert client.call(_evaluate, line) == ENGLISH
    code, said = client.call(_command, [str(data), "me/said", "--accept-terms"])
    assert code == 0 and "nothing to change: me/said holds all of it" in said


def _evaluate(line: str) -> Any:
    import datasets

    assert datasets
    return eval(line)["output"][:]


def test_no_commit_holds_a_secret(hub, client, data):
    client.call(push_folder, str(data), "me/clean", tag="v1")
    for repo in hub.repos.values():
        for commit in repo.commits.values():
            told = [commit.title, commit.description, *commit.files]
            for text in (*(each.encode() for each in told), *(file.content for file in commit.files.values())):
                assert hub.token.encode() not in text and KEY.encode() not in text
