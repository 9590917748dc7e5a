"""Publishes a folder on the Hub: data and card in one commit, private unless told otherwise.

    folder ─▶ its files, checked ─▶ no secret in them ─▶ laid against the repository ─▶ files sent ─▶ one commit ─▶ tag

Whatever ends a push, the repository is as it was or as it is to be. Large files are sent before the commit, and nobody
sees them until it names them; a second push does not send again what has arrived. Of what has changed, a storage takes:

- **Xet**, the Hub's: chunks that it does not have. The Parquet files of `build` have row groups of 1,000 rows, in pages
  that end where the content says so (content-defined chunking, by `datasets`). Rows added at the end leave the bytes of
  the row groups before them as they were: 100 rows more on 8,000 made 6 % of the file new. Rows added in the
  middle shift the row groups behind them, which are then mostly sent again.
- **LFS** without Xet: whole files, by their SHA-256. Shards that have not changed keep it.
"""

from __future__ import annotations

import re
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gpt4_instruct import __version__
from gpt4_instruct.errors import HubError, InterruptedRunError, TermsError, UsageError
from gpt4_instruct.progress import wanted
from gpt4_instruct.publishing.changes import Changes, Remote, find_changes, read_remote
from gpt4_instruct.publishing.contents import CARD, Contents, read_contents
from gpt4_instruct.publishing.hub_requests import client_without_bars, hub_errors, interruptible, patiently, status_of
from gpt4_instruct.publishing.push_result import PushResult, loads_with
from gpt4_instruct.publishing.secret_scan import check_no_secrets
from gpt4_instruct.publishing.terms import check_public, notice

if TYPE_CHECKING:
    from huggingface_hub import HfApi

__all__ = ["PushResult", "push"]

_MAIN = "main"
_ROUNDS = 6  # of reading the repository anew, where others commit at the same time
_NO_BRANCH = re.compile(r"refs/|[0-9a-f]{40}$")  # pull requests, and commits: neither is made by its name
_MOVED = {409, 412}  # the branch is not where it was


def push(
    folder: str | Path,
    repo_id: str,
    *,
    public: bool = False,
    accept_terms: bool = False,
    create_pr: bool = False,
    revision: str | None = None,
    tag: str | None = None,
    message: str | None = None,
    dry_run: bool = False,
) -> PushResult:
    """Publishes a folder that `build`, `train_sft`, `train_reward` or a Space's maker wrote, in one commit.

    Of a dataset, the configs in the folder replace those of the same names in the repository, and the others stay; so
    do the parts of the card that people wrote, of a dataset's or a model's. A Space's files, its card among them,
    replace those of the same names. The token is that of the Hub's own login (``hf auth login``, HF_TOKEN).
    The same call goes on where one was cut off. Where others commit meanwhile, theirs and ours are laid together.

    Args:
        folder: a dataset's, a model's (or ``adapter`` in it, for the adapters alone) or a Space's.
        repo_id: ``OWNER/NAME``, or ``NAME`` for one of yours; made if it is not there, and private then.
        public: everybody may see all of the repository: the last step, after the commit to ``main``. What is public
            never becomes private here.
        accept_terms: you have read the terms that come with it; needed where something is or becomes public.
        create_pr: a pull request, to a repository that is there, instead of a commit on the branch.
        revision: a branch, made of ``main`` if it is not there; by default ``main``.
        tag: names the commit, such as ``"v1.0"``.
        message: of the commit; by default it says what was added or changed.
        dry_run: tells what would change, and sends nothing.

    Raises:
        UsageError: the folder is none of ours; a file holds a secret; the tag names another commit; what is to be
            public names no licence or terms.
        TermsError: something would be public, and `accept_terms` was not given; it has the terms.
        OutputError: the folder is not whole.
        HubError: the Hub cannot be reached, does not know the token, or refused.
        InterruptedRunError: Ctrl-C; the same call goes on.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils._validators import validate_repo_id

    if create_pr and revision not in (None, _MAIN):
        raise UsageError("a pull request is against main: leave --revision out, or --create-pr")
    if create_pr and tag:
        raise UsageError("a pull request has no tag: tag the commit when it is merged")
    if public and (create_pr or revision not in (None, _MAIN)):
        raise UsageError("--public shows main to everybody, too: push it there, without --create-pr and --revision")
    try:
        validate_repo_id(repo_id)
    except HFValidationError:
        raise UsageError(
            f"{repo_id!r} is no name for a repository: OWNER/NAME, or NAME, of at most 96 letters from a to z, digits, "
            "and - _ . between them"
        ) from None
    contents = read_contents(folder)
    # Before anything goes over the network; what comes from the repository's own card and manifest is there already.
    check_no_secrets({**contents.files, CARD: contents.card.encode(), "the message": (message or "").encode()})
    api = HfApi(library_name="gpt4-instruct", library_version=__version__)
    work = _Push(api, contents, repo_id, revision or _MAIN, public, accept_terms, create_pr, tag, message, dry_run)
    try:
        with hub_errors(repo_id), nullcontext() if wanted() else client_without_bars():
            who = patiently(api.whoami)
            if "/" not in repo_id:
                work.repo_id = f"{who['name']}/{repo_id}"
            return work.run()
    except KeyboardInterrupt:
        raise InterruptedRunError(f"{work.told}; the same command goes on") from None
    except HubError as error:
        if not work.published:
            raise
        raise HubError(f"{work.told}, but {error}") from error.__cause__


@dataclass(slots=True)
class _Push:
    """One push: what was asked for, and how far it has come."""

    api: HfApi
    contents: Contents
    repo_id: str
    revision: str
    public: bool
    accept_terms: bool
    create_pr: bool
    tag: str | None
    message: str | None
    dry_run: bool
    told: str = "nothing is published"  # to whoever interrupts it
    published: bool = False

    def run(self) -> PushResult:
        """Reads, compares and commits, and does so anew where the branch moves under it."""
        tried: Changes | None = None
        made = 0  # the repository, then the branch
        for _ in range(_ROUNDS):
            remote = read_remote(self.api, self.repo_id, self.contents.kind, self.revision)
            changes = find_changes(self.contents, remote, self.repo_id)
            self._check(remote, changes)
            if self.dry_run:
                return self._result(remote, changes)
            if remote.head is None:
                if made == 2:
                    raise HubError(f"{self.repo_id} is there, but this token cannot see it: check the token's rights")
                self._make(remote)
                made += 1
                continue
            if not changes:  # or what was tried has come through, and only the answer was lost
                return self._finish(remote, tried or changes, remote.head, None)
            try:
                commit, pull_request = self._commit(remote, changes)
            except Exception as error:
                if status_of(error) not in _MOVED:
                    raise
                tried, self.told = changes, "nothing is published"
                continue
            return self._finish(remote, changes, commit, pull_request)
        raise HubError(f"others commit to {self.repo_id} all the time: the same command tries again")

    def _check(self, remote: Remote, changes: Changes) -> None:
        """What must be right before anything is sent."""
        if self.create_pr and remote.head is None:
            raise UsageError(f"there is no {self.repo_id} to open a pull request for: leave --create-pr out")
        tagged = remote.tags.get(self.tag or "")
        if tagged and (changes or tagged != remote.head):
            raise UsageError(f"the tag {self.tag} of {self.repo_id} is on commit {tagged[:8]}: choose another one")
        if not (self.public or remote.public):
            return
        check_public(self.contents.kind, changes.card)
        if not (self.accept_terms or self.dry_run):
            would = "is" if remote.public else "would be"
            message = f"{self.repo_id} {would} public: --accept-terms says that you have read its terms and may do so"
            terms = notice(self.contents.kind, changes.facts, changes.card)
            if remote.exists and not remote.public:
                terms.append("all else in the repository is seen, too: its other files, branches and earlier commits")
            raise TermsError(message, terms)

    def _make(self, remote: Remote) -> None:
        """Makes the repository, private, or the branch."""
        kind = self.contents.kind
        if not remote.exists:
            sdk = str(self.contents.facts["sdk"]) if kind == "space" else None
            patiently(
                lambda: self.api.create_repo(self.repo_id, repo_type=kind, private=True, space_sdk=sdk, exist_ok=True)
            )
        elif self.revision == _MAIN or _NO_BRANCH.match(self.revision):
            raise UsageError(f"{self.repo_id} has no {self.revision}: name another branch with --revision")
        else:
            patiently(lambda: self.api.create_branch(self.repo_id, branch=self.revision, repo_type=kind, exist_ok=True))

    def _commit(self, remote: Remote, changes: Changes) -> tuple[str, str | None]:
        """Sends the files, then the commit that names them; it is refused where the branch has moved meanwhile."""
        from huggingface_hub import CommitOperationAdd, CommitOperationDelete

        kind = self.contents.kind
        additions = [CommitOperationAdd(path, content) for path, content in changes.content.items()]
        deletions = [CommitOperationDelete(path) for path in changes.deleted]
        interruptible(
            lambda: self.api.preupload_lfs_files(
                self.repo_id,
                additions,
                repo_type=kind,
                revision=self.revision,
                create_pr=self.create_pr,
                free_memory=False,
            )
        )
        self.told = "the commit may have come through or not"
        made = patiently(
            lambda: self.api.create_commit(
                self.repo_id,
                [*additions, *deletions],
                commit_message=self.message or _summary(self.contents, remote, changes),
                commit_description=f"Made with gpt4-instruct {__version__}.",
                repo_type=kind,
                revision=self.revision,
                create_pr=self.create_pr,
                parent_commit=remote.head,
            ),
            once=self.create_pr,
        )
        return made.oid, made.pr_url

    def _finish(self, remote: Remote, changes: Changes, commit: str, pull_request: str | None) -> PushResult:
        """Tags the commit, and makes the repository public."""
        self.told, self.published = f"commit {commit[:8]} is published", True
        tag, kind = self.tag, self.contents.kind
        if tag and tag not in remote.tags:
            try:
                patiently(lambda: self.api.create_tag(self.repo_id, tag=tag, revision=commit, repo_type=kind))
            except Exception as error:  # the answer to a first try may have been lost
                if status_of(error) != 409 or self._tagged(tag) != commit:
                    raise
        if self.public and not remote.public:
            patiently(lambda: self.api.update_repo_settings(self.repo_id, private=False, repo_type=kind))
        return self._result(remote, changes, commit, pull_request)

    def _tagged(self, tag: str) -> str | None:
        refs = patiently(lambda: self.api.list_repo_refs(self.repo_id, repo_type=self.contents.kind))
        return next((each.target_commit for each in refs.tags if each.name == tag), None)

    def _result(
        self, remote: Remote, changes: Changes, commit: str | None = None, pull_request: str | None = None
    ) -> PushResult:
        prefix = "" if self.contents.kind == "model" else f"{self.contents.kind}s/"
        revision = self.tag or (self.revision if self.revision != _MAIN else None)
        if pull_request:
            revision = f"refs/pr/{pull_request.rstrip('/').rpartition('/')[2]}"
        return PushResult(
            repo_id=self.repo_id,
            kind=self.contents.kind,
            url=f"{self.api.endpoint}/{prefix}{self.repo_id}",
            commit=commit,
            pull_request=pull_request,
            tag=self.tag if commit else None,
            added=changes.added,
            changed=changes.changed,
            deleted=changes.deleted,
            unchanged=changes.unchanged,
            bytes_sent=sum(changes.added.values()) + sum(changes.changed.values()),
            public=remote.public or self.public,
            loads_with=loads_with(self.contents, self.repo_id, revision),
            left_out=self.contents.left_out,
            dry_run=self.dry_run,
        )


def _summary(contents: Contents, remote: Remote, changes: Changes) -> str:
    """The first line of a commit."""
    if contents.kind != "dataset":
        return f"{'Update' if CARD in remote.files else 'Add'} the {contents.kind}"
    known = (remote.manifest or {}).get("configs", {})
    new = [name for name in contents.facts["configs"] if name not in known]
    renewed = [
        name
        for name, config in contents.facts["configs"].items()
        if name in known and any(each["path"] in changes.content for each in config["files"])
    ]
    told = [f"{verb} {', '.join(names)}" for verb, names in (("Add", new), ("Update", renewed)) if names]
    return "; ".join(told) or "Update the card"
