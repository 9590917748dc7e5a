"""The loopback Hub itself: what the real clients write to it, they read from it, and its faults are what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.hub import Client, LoopbackHub

CARD = """---
license: mit
configs:
- config_name: chinese
  data_files: [{split: train, path: chinese/train.parquet}]
- config_name: english
  data_files: [{split: train, path: english/train.parquet}]
---
# Two
"""


@pytest.fixture(scope="module")
def hub():
    with LoopbackHub(part_bytes=20_000) as served:
        yield served


@pytest.fixture(scope="module")
def client(hub, tmp_path_factory):
    with Client(hub, tmp_path_factory.mktemp("home")) as process:
        yield process


def _upload(folder: str, repo_id: str, kind: str) -> str:
    from huggingface_hub import HfApi

    api = HfApi()
    api.create_repo(repo_id, repo_type=kind, private=True)
    api.create_repo(repo_id, repo_type=kind, exist_ok=True)
    return api.upload_folder(repo_id=repo_id, folder_path=folder, repo_type=kind).oid


def _load(repo_id: str) -> dict[str, Any]:
    from datasets import load_dataset

    chinese = load_dataset(repo_id, "chinese", split="train")
    streamed = list(load_dataset(repo_id, "english", split="train", streaming=True))
    return {"chinese": chinese["instruction"][:], "english": [row["instruction"] for row in streamed]}


def _ranges(path: str) -> tuple[bytes, bytes]:
    from huggingface_hub import HfFileSystem

    with HfFileSystem().open(path, block_size=1_000) as file:
        file.seek(70_000)
        middle = file.read(100)
        file.seek(-5, 2)
        return middle, file.read()


def _look(repo_id: str) -> dict[str, Any]:
    """Whatever else the client can ask."""
    from huggingface_hub import CommitOperationAdd, HfApi, snapshot_download

    api = HfApi()
    info = api.dataset_info(repo_id, files_metadata=True)
    api.create_branch(repo_id, branch="next", repo_type="dataset")
    api.create_tag(repo_id, tag="v1", repo_type="dataset")
    made = api.create_commit(
        repo_id,
        [CommitOperationAdd("new.txt", b"new")],
        commit_message="Propose",
        repo_type="dataset",
        create_pr=True,
    )
    api.update_repo_settings(repo_id, private=False, repo_type="dataset")
    refs = api.list_repo_refs(repo_id, repo_type="dataset", include_pull_requests=True)
    return {
        "name": api.whoami()["name"],
        "private": info.private,
        "licence": info.card_data.license,
        "sizes": {each.rfilename: each.size for each in info.siblings},
        "found": [each.path for each in api.get_paths_info(repo_id, ["README.md", "no"], repo_type="dataset")],
        "branches": sorted(each.name for each in refs.branches),
        "tags": [each.name for each in refs.tags],
        "pulls": [each.ref for each in refs.pull_requests],
        "pull": made.pr_revision,
        "commits": [each.title for each in api.list_repo_commits(repo_id, repo_type="dataset")],
        "snapshot": Path(
            snapshot_download(repo_id, repo_type="dataset", revision=made.pr_revision), "new.txt"
        ).read_text(),
    }


def _refused(function_name: str, *arguments: Any, token: str | bool, **named: Any) -> tuple[str, int]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        getattr(HfApi(token=token), function_name)(*arguments, **named)
    except HfHubHTTPError as error:
        return type(error).__name__, error.response.status_code
    return "", 200


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    from datasets import Dataset

    folder = tmp_path_factory.mktemp("data")
    (folder / "README.md").write_text(CARD)
    for name, text in (("chinese", "说一句话。"), ("english", "Say a word.")):
        rows = Dataset.from_list([{"instruction": f"{number} {text}"} for number in range(400)])
        rows.to_parquet(folder / name / "train.parquet")
    return folder


def test_a_dataset_goes_up_and_comes_back_whole_and_streamed(hub, client, data):
    commit = client.call(_upload, str(data), "me/data", "dataset")
    repo = hub.repos["datasets/me/data"]
    assert repo.private and repo.branches["main"] == commit
    files = repo.files()
    assert files.pop(".gitattributes")
    assert files == {str(each.relative_to(data)): each.read_bytes() for each in data.rglob("*") if each.is_file()}
    found = client.call(_load, "me/data")
    assert found["chinese"][7] == "7 说一句话。"
    assert found["english"] == [f"{number} Say a word." for number in range(400)]
    assert hub.asked("GET */resolve/*"), "streaming reads the files"

    found = client.call(_look, "me/data")
    assert found == {
        "name": "me",
        "private": True,
        "licence": "mit",
        "sizes": {path: len(content) for path, content in sorted(repo.files().items())},
        "found": ["README.md"],
        "branches": ["main", "next"],
        "tags": ["v1"],
        "pulls": ["refs/pr/1"],
        "pull": "refs/pr/1",
        "commits": ["Upload folder using huggingface_hub", "initial commit"],
        "snapshot": "new",
    }
    assert not repo.private
    assert "new.txt" not in repo.files(), "a pull request changes no branch"


def test_a_large_file_goes_up_in_parts_and_comes_back_by_ranges(hub, client, tmp_path):
    content = bytes(range(256)) * 300
    (tmp_path / "weights.safetensors").write_bytes(content)
    client.call(_upload, str(tmp_path), "me/model", "model")
    assert len(hub.asked("PUT /lfs/models/me/model/*/*")) == 4, "of 20,000 bytes at most"
    assert client.call(_ranges, "me/model/weights.safetensors") == (content[70_000:70_100], content[-5:])


def test_who_may_do_what(hub, client, data):
    client.call(_upload, str(data), "me/kept", "dataset")
    hub.repos["datasets/me/kept"].private = True
    of = {"repo_type": "dataset"}
    assert client.call(_refused, "dataset_info", "me/kept", token=False) == ("RepositoryNotFoundError", 401)
    assert client.call(_refused, "dataset_info", "me/none", token=hub.token) == ("RepositoryNotFoundError", 404)
    assert client.call(_refused, "dataset_info", "me/kept", token=hub.read_token) == ("", 200)
    assert client.call(_refused, "whoami", token="hf_wrong") == ("HfHubHTTPError", 401)
    assert client.call(_refused, "create_repo", "you/data", token=hub.token, **of) == ("HfHubHTTPError", 403)
    assert client.call(_refused, "create_repo", "me/kept", token=hub.token, **of) == ("HfHubHTTPError", 409)
    assert client.call(_refused, "create_tag", "me/kept", tag="a", token=hub.read_token, **of)[1] == 403


def test_a_commit_that_cannot_be_made_changes_nothing(hub, client):
    def commit(*operations: dict[str, Any], parent: str | None = None) -> tuple[str, int]:
        return client.call(_refused_commit, "lab/data", list(operations), parent, hub.token)

    client.call(_create, "lab/data")
    repo = hub.repos["datasets/lab/data"]
    before = repo.branches["main"]
    assert commit({"add": "README.md", "content": "---\n: [\n---\n"})[1] == 400
    assert commit({"delete": "none.txt"}, {"add": "a.txt", "content": "a"}) == ("RemoteEntryNotFoundError", 404)
    assert repo.branches["main"] == before
    assert commit({"add": "a.txt", "content": "a"}) == ("", 200)
    assert commit({"add": "b.txt", "content": "b"}, parent=before) == ("HfHubHTTPError", 412)
    assert sorted(repo.files()) == [".gitattributes", "a.txt"]
    assert [each.title for each in repo.log()] == ["Change", "initial commit"]


def _create(repo_id: str) -> None:
    from huggingface_hub import HfApi

    HfApi().create_repo(repo_id, repo_type="dataset")


def _refused_commit(repo_id: str, changes: list[dict[str, str]], parent: str | None, token: str) -> tuple[str, int]:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError

    operations = [
        CommitOperationAdd(each["add"], each["content"].encode())
        if "add" in each
        else CommitOperationDelete(each["delete"])
        for each in changes
    ]
    try:
        HfApi(token=token).create_commit(
            repo_id, operations, commit_message="Change", repo_type="dataset", parent_commit=parent
        )
    except (HfHubHTTPError, ValueError) as error:
        return type(error).__name__, getattr(getattr(error, "response", None), "status_code", 400)
    return "", 200


def test_planted_faults_come_as_often_as_asked(hub, client):
    hub.fail("GET */api/whoami-v2", 503, times=2, message="planted here")
    assert [client.call(_refused, "whoami", token=hub.token)[1] for _ in range(3)] == [503, 503, 200]
    hub.fail("GET */api/whoami-v2", times=9)
    hub.heal()
    assert client.call(_refused, "whoami", token=hub.token)[1] == 200
