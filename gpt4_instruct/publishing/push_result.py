"""What a push did, or would do."""

from __future__ import annotations

from dataclasses import dataclass

from gpt4_instruct.publishing.contents import Contents, metadata_of

__all__ = ["PushResult", "loads_with"]


@dataclass(frozen=True, slots=True)
class PushResult:
    """What a push did, or would do.

    Attributes:
        repo_id: ``OWNER/NAME``.
        kind: ``"dataset"``, ``"model"`` or ``"space"``.
        url: of the repository.
        commit: that holds the folder's content: the new one, or the one that held it already; none of a dry run.
        pull_request: its URL.
        tag: that names the commit.
        added: sizes in bytes of the new files, by their names.
        changed: likewise, of those that are another content now.
        deleted: what those had that a new file took the place of.
        unchanged: likewise, of those that were not sent.
        bytes_sent: of the files added and changed; a storage that knows parts of them takes less.
        public: whether everybody can see the repository.
        loads_with: a line of Python that loads it.
        left_out: what else is in the folder, and stays there.
        dry_run: nothing was sent.
    """

    repo_id: str
    kind: str
    url: str
    commit: str | None
    pull_request: str | None
    tag: str | None
    added: dict[str, int]
    changed: dict[str, int]
    deleted: dict[str, int]
    unchanged: dict[str, int]
    bytes_sent: int
    public: bool
    loads_with: str
    left_out: tuple[str, ...]
    dry_run: bool


def loads_with(contents: Contents, repo_id: str, revision: str | None) -> str:
    """A line of Python that loads what was published.

    Args:
        contents: what.
        repo_id: where.
        revision: a branch, tag or pull request; none for ``main``.
    """
    at = f', revision="{revision}"' if revision else ""
    if contents.kind == "dataset":
        named = metadata_of(contents.card).get("configs") or [{}]
        first = next((each for each in named if each.get("default")), named[0]).get("config_name")
        config = f', "{first}"' if first else ""
        return f'datasets.load_dataset("{repo_id}"{config}, split="train"{at})'
    if contents.kind == "space":
        return f'huggingface_hub.snapshot_download("{repo_id}", repo_type="space"{at})'
    adapters = not any(name.startswith(("model", "pytorch_model")) for name in contents.files)
    if contents.facts["kind"] == "sft":
        auto = "peft.AutoPeftModelForCausalLM" if adapters else "transformers.AutoModelForCausalLM"
    else:
        auto = f"{'peft.AutoPeft' if adapters else 'transformers.Auto'}ModelForSequenceClassification"
    return f'{auto}.from_pretrained("{repo_id}"{at})'
