"""What a push would change: the folder here laid against the repository there, file by file.

    here:   english (new rows)            there: chinese, english (old rows), README.md with notes of somebody's
    result: english's shards are replaced, chinese stays, the manifest and the card tell of both, the notes are kept

Nothing here sends anything.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt4_instruct.downloads import blob_id
from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.publishing.card_parts import merge_card
from gpt4_instruct.publishing.cards import render_dataset_card
from gpt4_instruct.publishing.contents import CARD, Contents
from gpt4_instruct.publishing.folder import MANIFEST, read_manifest
from gpt4_instruct.publishing.hub_requests import client_without_bars, patiently
from gpt4_instruct.storage import sha256

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

__all__ = ["Changes", "Remote", "find_changes", "read_remote"]

_PLACE = "PATH_OR_REPOSITORY"  # in our cards, for a folder that has no name yet
# Weights that a model does not have any more would be loaded beside, or instead of, those it has.
_WEIGHTS = re.compile(r"(adapter/)?(model|pytorch_model|adapter_model)([.-].*)?\.(safetensors|bin)(\.index\.json)?")


@dataclass(frozen=True, slots=True)
class Remote:
    """A branch of a repository, as it is now.

    Attributes:
        exists: whether the repository does.
        public: whether everybody can see it.
        head: the commit that the branch is at; none where there is no such branch yet.
        files: by path.
        tags: the commits that tags name.
        card: the text of its README.md.
        manifest: of a dataset of ours.
    """

    exists: bool
    public: bool = False
    head: str | None = None
    files: dict[str, RepoFile] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    card: str | None = None
    manifest: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Changes:
    """What a push sends, and what it does to the files there.

    Attributes:
        content: what is sent, by path.
        added, changed, deleted, unchanged: sizes in bytes by path: after the push, of deleted files before it.
        card: as it will be.
        facts: of all that will be there: a dataset's manifest, as it will be; else those of the folder.
    """

    content: dict[str, Path | bytes]
    added: dict[str, int]
    changed: dict[str, int]
    deleted: dict[str, int]
    unchanged: dict[str, int]
    card: str
    facts: dict[str, Any]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.deleted)


def read_remote(api: HfApi, repo_id: str, kind: str, revision: str) -> Remote:
    """Reads the state of a branch; its files are those of one commit.

    Args:
        api: logged in.
        repo_id: ``OWNER/NAME``.
        kind: ``"dataset"``, ``"model"`` or ``"space"``.
        revision: a branch, or ``refs/pr/N``.

    Raises:
        UsageError: `revision` is a tag, the repository's manifest is not of this package, or its card not UTF-8.
        HfHubHTTPError, ...: as the client does, after some tries.
    """
    from huggingface_hub.errors import RepositoryNotFoundError
    from huggingface_hub.hf_api import RepoFile

    try:
        info = patiently(lambda: api.repo_info(repo_id, repo_type=kind))
    except RepositoryNotFoundError:
        return Remote(exists=False)
    refs = patiently(lambda: api.list_repo_refs(repo_id, repo_type=kind, include_pull_requests=True))
    branches = {each.name: each.target_commit for each in refs.branches}
    branches |= {each.ref: each.target_commit for each in refs.pull_requests or ()}
    tags = {each.name: each.target_commit for each in refs.tags}
    if revision in tags and revision not in branches:
        raise UsageError(f"{revision} is a tag of {repo_id}, which stays where it is: name a branch with --revision")
    head = branches.get(revision)
    if head is None:
        return Remote(True, not info.private, tags=tags)
    listed = patiently(lambda: list(api.list_repo_tree(repo_id, recursive=True, revision=head, repo_type=kind)))
    files = {each.path: each for each in listed if isinstance(each, RepoFile)}
    card = manifest = None
    with tempfile.TemporaryDirectory() as cache, client_without_bars():

        def download(path: str) -> Path:
            return Path(
                patiently(lambda: api.hf_hub_download(repo_id, path, repo_type=kind, revision=head, cache_dir=cache))
            )

        if CARD in files:
            try:
                card = download(CARD).read_bytes().decode()
            except UnicodeDecodeError:
                raise UsageError(
                    f"the {CARD} of {repo_id} is not UTF-8, so what is in it cannot be kept: save it as UTF-8 there"
                ) from None
        if kind == "dataset" and MANIFEST in files:
            try:
                manifest = read_manifest(download(MANIFEST).parent)
            except OutputError:
                raise UsageError(
                    f"the {MANIFEST} of {repo_id} is another program's, or a newer version's: push to another "
                    "repository, or pip install --upgrade gpt4-instruct"
                ) from None
    return Remote(True, not info.private, head, files, tags, card, manifest)


def find_changes(contents: Contents, remote: Remote, repo_id: str) -> Changes:
    """Lays a folder against a repository.

    A dataset's configs replace those of the same name there, with their files; others stay. A model's weights replace
    all weights there. Any other file there stays. The card is rendered anew for the dataset as it will be, and keeps
    what people wrote on either side.

    Args:
        contents: of the folder.
        remote: the branch.
        repo_id: takes the place of ``PATH_OR_REPOSITORY`` in the card.

    Raises:
        UsageError: a manifest, here or there, has a config of which it tells too little for a card.
    """
    content: dict[str, Path | bytes] = {**contents.files}
    card, facts, gone = contents.card, contents.facts, set()
    if contents.kind == "dataset":
        facts = _merged(contents.facts, remote.manifest)
        content[MANIFEST] = (json.dumps(facts, ensure_ascii=False, indent=2) + "\n").encode()
        card = merge_card(card, _rendered(facts, repo_id))
        gone = _replaced(contents.facts, remote)
    elif contents.kind == "model":
        gone = {path for path in remote.files if _WEIGHTS.fullmatch(path)}
    card = card.replace(_PLACE, repo_id)
    if contents.kind != "space":
        card = merge_card(remote.card, card)
        gone |= {path for path in remote.files if path.startswith("figures/") and f"({path})" in (remote.card or "")}
        gone = {path for path in gone if f"({path})" not in card}
    content[CARD] = card.encode()
    sizes = {path: len(each) if isinstance(each, bytes) else each.stat().st_size for path, each in content.items()}
    same = {path for path, each in content.items() if _is_same(each, sizes[path], remote.files.get(path))}
    known = set(remote.files)
    return Changes(
        content={path: each for path, each in sorted(content.items()) if path not in same},
        added={path: size for path, size in sorted(sizes.items()) if path not in known},
        changed={path: size for path, size in sorted(sizes.items()) if path in known - same},
        deleted={path: remote.files[path].size for path in sorted((gone & known) - set(content))},
        unchanged={path: size for path, size in sorted(sizes.items()) if path in same},
        card=card,
        facts=facts,
    )


def _rendered(manifest: dict[str, Any], repo_id: str) -> str:
    from jinja2 import UndefinedError

    try:
        return render_dataset_card(manifest)
    except (AttributeError, KeyError, TypeError, ValueError, UndefinedError) as error:
        raise UsageError(
            f"a config in {MANIFEST}, of the folder or of {repo_id}, is not as gpt4-instruct writes it "
            f"({type(error).__name__}: {error}): build it again, or push to another repository"
        ) from error


def _merged(here: dict[str, Any], there: dict[str, Any] | None) -> dict[str, Any]:
    configs = {**(there or {}).get("configs", {}), **here["configs"]}
    return {**here, "configs": dict(sorted(configs.items()))}


def _replaced(here: dict[str, Any], remote: Remote) -> set[str]:
    """The files there of configs that are here, too."""
    there = (remote.manifest or {}).get("configs", {})
    shared = [there[name] for name in here["configs"] if name in there]
    return {str(file["path"]) for config in shared for file in config.get("files", ())}


def _is_same(content: Path | bytes, size: int, known: RepoFile | None) -> bool:
    """Whether the repository has this content: large files go by their SHA-256, others by their git blob id."""
    if known is None or known.size != size:
        return False
    if isinstance(content, bytes):
        if known.lfs is not None:
            return hashlib.sha256(content).hexdigest() == known.lfs.sha256
        return hashlib.sha1(b"blob %d\0" % size + content, usedforsecurity=False).hexdigest() == known.blob_id
    return sha256(content) == known.lfs.sha256 if known.lfs is not None else blob_id(content) == known.blob_id
