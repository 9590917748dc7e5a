"""What a folder is, and which of its files are published: nothing that was not made to be.

manifest.json                    a dataset: the manifest, the shards and rejects that it names, the card
training.json beside a model     a model: its weights, tokenizer, configuration, facts and card
adapter_config.json below one    its adapters alone, with the tokenizer and a card of their own
README.md with ``sdk:``          a Space: every file

Files that the card links to (figures) go with it. Checkpoints, scratch folders, locks, hidden files and caches stay.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from filelock import Timeout

from gpt4_instruct.errors import OutputError, UsageError
from gpt4_instruct.publishing.card_parts import merge_card, read_card
from gpt4_instruct.publishing.folder import MANIFEST, read_manifest
from gpt4_instruct.publishing.model_cards import render_model_card
from gpt4_instruct.storage import lock, read_json, sha256
from gpt4_instruct.training.runs import FACTS, facts_of

__all__ = ["CARD", "Contents", "metadata_of", "read_contents"]

CARD = "README.md"
_TOKENIZER = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
    "*.model",
    "*.jinja",
)
_ADAPTER = ("adapter_config.json", "adapter_model*.safetensors*")
_MODEL = (
    FACTS,
    "evaluation.json",
    "config.json",
    "generation_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin*",
    *_ADAPTER,
    *(f"adapter/{each}" for each in _ADAPTER),
    *_TOKENIZER,
    "additional_chat_templates/*.jinja",
    "LICENSE*",
    "NOTICE*",
)
_WEIGHTS = (".safetensors", ".bin")
_NEVER = {"__pycache__", "checkpoints", "flagged", "votes"}  # folders of a Space that its own runs leave
# What a card shows: [text](path), ![text](<a path>), <img src="path">; not what has a scheme, as https: and data: do.
_LINK = re.compile(r"\]\(\s*(?:<([^>\n]+)>|([^)\s]+))|\bsrc=[\"']([^\"']+)")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Contents:
    """What of a folder is published.

    Attributes:
        kind: ``"dataset"``, ``"model"`` or ``"space"``.
        folder: where it is.
        files: the files by their paths in the repository; without the card.
        card: the text of README.md.
        facts: the manifest, ``training.json``, or the metadata of a Space's card.
        left_out: what else is in the folder, and stays here.
    """

    kind: str
    folder: Path
    files: dict[str, Path]
    card: str
    facts: dict[str, Any]
    left_out: tuple[str, ...]


def read_contents(folder: str | Path) -> Contents:
    """Tells what a folder is, and checks that it is whole.

    Raises:
        UsageError: there is no such folder, or it is none of ours.
        OutputError: a build or run in it is not finished, a file is missing, or one is not what the manifest says.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: name one that build, train or space wrote")
    folder = folder.resolve()
    if (folder / MANIFEST).is_file() or any(folder.glob(".*.building")):
        return _dataset(folder)
    if any((folder / name).is_file() for name in (FACTS, "config.json", "adapter_config.json")):
        return _model(folder)
    card = read_card(folder / CARD)
    if card is not None and metadata_of(card).get("sdk"):
        return _space(folder, card)
    raise UsageError(
        f"{folder} is nothing that can be published: it holds no {MANIFEST} (a dataset), no {FACTS} (a model) and no "
        f"{CARD} that names an sdk (a Space)"
    )


def metadata_of(card: str) -> dict[str, Any]:
    """The YAML at the top of a card; empty where there is none, or it is broken.

    >>> metadata_of("---\\nsdk: gradio\\n---\\n# A Space\\n")
    {'sdk': 'gradio'}
    >>> metadata_of("# No metadata\\n"), metadata_of("---\\n: [\\n---\\n")
    ({}, {})
    """
    import yaml  # type: ignore[import-untyped]
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    match = REGEX_YAML_BLOCK.search(card)
    try:
        metadata = yaml.safe_load(match[2]) if match else None
    except yaml.YAMLError:
        return {}
    return metadata if isinstance(metadata, dict) else {}


# --- a dataset ------------------------------------------------------------------------------------------------------


def _dataset(folder: Path) -> Contents:
    for scratch in folder.glob(".*.building"):  # one of a killed build is locked by nobody
        config = scratch.name.removeprefix(".").removesuffix(".building")
        try:
            with lock(folder / config, blocking=False):
                pass
        except Timeout:
            raise OutputError(f"{config} is being built in {folder}: wait until it is there") from None
    with lock(folder):  # of another config that is being added: card and manifest are of one moment
        manifest, card = read_manifest(folder), read_card(folder / CARD)
    if card is None:
        raise OutputError(f"{folder / CARD} is missing: build the split again with --overwrite")
    if not manifest["configs"]:
        raise OutputError(f"{folder} holds no finished build: gpt4-instruct build SPLIT --out {folder} makes one")
    files = {MANIFEST: folder / MANIFEST}
    for name, config in manifest["configs"].items():
        try:
            named = {str(each["path"]): (int(each["bytes"]), str(each["sha256"])) for each in config["files"]}
        except (KeyError, TypeError, ValueError):
            raise OutputError(f"{folder / MANIFEST} does not say which files {name} has: build it again") from None
        for path, (size, digest) in named.items():
            files[path] = _checked(folder, path, size, digest)
        if (folder / "rejects" / f"{name}.jsonl").is_file():
            files[f"rejects/{name}.jsonl"] = folder / "rejects" / f"{name}.jsonl"
    files |= _linked(folder, card) | {each.name: each for each in folder.glob("LICENSE*") if each.is_file()}
    return Contents("dataset", folder, files, card, manifest, _others(folder, files))


def _checked(folder: Path, path: str, size: int, digest: str) -> Path:
    """A file that a manifest names, if it is what the manifest says."""
    file = folder / path
    if not _is_inside(folder, path):
        raise OutputError(f"{folder / MANIFEST} names {path}, which is not in the folder")
    if not file.is_file():
        raise OutputError(f"{file} is missing, which {MANIFEST} names: build the split again with --overwrite")
    if file.stat().st_size != size or sha256(file) != digest:
        raise OutputError(f"{file} is not what {MANIFEST} says, so it was changed: build the split again")
    return file


# --- a model --------------------------------------------------------------------------------------------------------


def _model(folder: Path) -> Contents:
    adapters = (folder / "adapter_config.json").is_file() and not (folder / FACTS).is_file()
    run = folder.parent if adapters else folder
    facts = facts_of(run)
    if facts is None:
        raise UsageError(f"{run} holds no finished run of this package ({FACTS}): gpt4-instruct train makes one")
    if adapters:
        files = _matching(folder, _ADAPTER) | _matching(run, (FACTS, "training.png", *_TOKENIZER))
        figure = "training.png" if "training.png" in files else None
        card: str | None = merge_card(None, render_model_card(facts, figure=figure, whole=False))
    else:
        files = _matching(folder, _MODEL)
        card = read_card(folder / CARD)
    if card is None:
        raise OutputError(f"{folder / CARD} is missing: the same gpt4-instruct train command writes it")
    if not any(name.endswith(_WEIGHTS) for name in files):
        raise OutputError(f"{folder} holds no weights: train the model again with --overwrite")
    for name in [each for each in files if each.endswith(".index.json")]:
        for shard in sorted(set(read_json(files[name]).get("weight_map", {}).values())):
            if shard not in files:
                raise OutputError(f"{folder / shard} is missing, which {name} names: train the model again")
    files |= _linked(run, card)
    return Contents("model", folder, files, card, facts, _others(folder, files))


def _matching(folder: Path, patterns: tuple[str, ...]) -> dict[str, Path]:
    found = {each for pattern in patterns for each in folder.glob(pattern) if each.is_file()}
    return {each.relative_to(folder).as_posix(): each for each in sorted(found) if not each.name.startswith(".")}


# --- a Space --------------------------------------------------------------------------------------------------------


def _space(folder: Path, card: str) -> Contents:
    found = {each.relative_to(folder).as_posix(): each for each in sorted(folder.rglob("*")) if each.is_file()}
    files = {path: file for path, file in found.items() if path != CARD and _is_inside(folder, path)}
    files = {path: file for path, file in files.items() if not _NEVER.intersection(PurePosixPath(path).parts)}
    return Contents("space", folder, files, card, metadata_of(card), _others(folder, files))


# --- any of them ----------------------------------------------------------------------------------------------------


def _is_inside(folder: Path, path: str) -> bool:
    """Whether a relative path stays in the folder, also through links, and no part of it is hidden."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or "\0" in path or any(part.startswith(".") for part in parts):
        return False
    return (folder / path).resolve().is_relative_to(folder.resolve())


def _linked(folder: Path, card: str) -> dict[str, Path]:
    """The files of the folder that its card shows or links to."""
    links = {"".join(groups) for groups in _LINK.findall(card)}
    paths = {unquote(link.partition("#")[0]).removeprefix("./") for link in links if not _SCHEME.match(link)}
    files = {path: folder / path for path in sorted(paths - {CARD}) if _is_inside(folder, path)}
    # Path.is_file raises where a name is too long for one.
    return {path: file for path, file in files.items() if os.path.isfile(file)}  # noqa: PTH113


def _others(folder: Path, files: dict[str, Path]) -> tuple[str, ...]:
    """What of a folder stays, by the names at its top; a folder that goes in part is not named."""
    going = {PurePosixPath(path).parts[0] for path in files} | {CARD}
    return tuple(sorted(f"{each.name}{'/' * each.is_dir()}" for each in folder.iterdir() if each.name not in going))
