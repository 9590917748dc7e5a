"""A folder shaped like a dataset repository on the Hub, one config a split::

    README.md                            the card; its `configs:` name the Parquet files. What people write in it stays
    english/train-00000-of-00001-1afd7e8607a111ef.parquet
    rejects/english.jsonl                every row left out, with its reason
    figures/english-lengths.png          what `stats` drew of it, if it was asked to
    figures/self_instruct.png            the rounds in which a Self-Instruct build was invented
    manifest.json                        written last: what it names is whole, anything else is a leftover

`load_dataset(folder, "english")` reads it, here and on the Hub. The end of a shard's name is the hash of the config's
content: `datasets` caches a local folder by the names in its card, so that without it, a second build into the same
folder, or into another one of that name, would load as the first one's rows.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import Timeout

import gpt4_instruct
from gpt4_instruct.errors import MissingExtraError, OutputError, OutputExistsError
from gpt4_instruct.figures.self_instruct import draw_self_instruct
from gpt4_instruct.publishing.card_parts import read_card, renew_card
from gpt4_instruct.publishing.card_statistics import main_numbers
from gpt4_instruct.publishing.cards import render_dataset_card
from gpt4_instruct.storage import lock, read_json, replacing, sha256, write_json

__all__ = [
    "CARD",
    "MANIFEST",
    "add_config",
    "building",
    "check_free",
    "enter",
    "read_manifest",
    "record_audit",
    "record_statistics",
]

MANIFEST = "manifest.json"
CARD = "README.md"
_FORMAT = 1


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a folder of ours.

    Returns:
        ``{"format": 1, "configs": {"english": {"rows": ..., "rejected": {reason: count}, "files": [...], ...}}}``

    Raises:
        OutputError: the folder has none, or it is from a newer version.
    """
    if not (folder / MANIFEST).is_file():
        what = "holds no finished build (no manifest.json)" if folder.is_dir() else "does not exist"
        raise OutputError(f"{folder} {what}: gpt4-instruct build SPLIT --out {folder} makes one")
    manifest: Any = read_json(folder / MANIFEST)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("configs"), dict):
        raise OutputError(f"{folder / MANIFEST} is not a manifest of this package")
    if manifest.get("format") != _FORMAT:
        raise OutputError(f"{folder} was written by a newer version: pip install --upgrade gpt4-instruct")
    return dict(manifest)


def check_free(folder: Path, config: str, *, overwrite: bool) -> None:
    """Makes sure that a config can be added to a folder without touching anybody's files.

    A config of no rows is none: it may be built again.

    Raises:
        OutputExistsError: the folder has this config already and `overwrite` is not set.
        OutputError: the folder is not of ours, is a file, or cannot be written, or its card cannot be read.
    """
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder} is a file: name a folder")
    if folder.is_dir() and any(not _is_scratch(each) for each in folder.iterdir()):
        if not (folder / MANIFEST).is_file():
            raise OutputError(f"{folder} is not empty and holds no manifest.json of ours: name another folder")
        if read_manifest(folder)["configs"].get(config, {}).get("rows") and not overwrite:
            raise OutputExistsError(f"{folder} already holds {config}: --overwrite replaces it, --out names another")
        read_card(folder / CARD)
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    if not os.access(existing, os.W_OK):
        raise OutputError(f"{existing} cannot be written: name another folder with --out")


@contextmanager
def building(folder: Path, config: str, *, overwrite: bool) -> Iterator[Path]:
    """A scratch folder in which one config is built; it is gone afterwards, however that ends.

    It is on the same disk as `folder`: inside it where it is there, beside it where it is not.

    Raises:
        OutputError: the same config is being built for the same folder by another process, or nothing can be written;
            and what `check_free` raises.
    """
    folder = folder.resolve()
    scratch = (
        folder / f".{config}.building" if folder.is_dir() else folder.with_name(f".{folder.name}.{config}.building")
    )
    own = lock(folder / config, blocking=False)
    try:
        own.acquire()
    except Timeout:
        message = f"another process is building {config} for {folder}: wait for it, or name another folder"
        raise OutputError(message) from None
    try:
        check_free(folder, config, overwrite=overwrite)  # another process may have built it since the caller looked
        try:
            shutil.rmtree(scratch, ignore_errors=True)  # of a build that was killed; its answers are in the ledger
            scratch.mkdir(parents=True)
        except OSError as error:
            raise OutputError(f"cannot write {scratch.parent}: {error.strerror}: name another --out") from error
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        own.release()


def _is_scratch(path: Path) -> bool:
    return path.name.startswith(".") and path.name.endswith(".building")


def add_config(folder: Path, config: str, prepared: Path) -> dict[str, Any]:
    """Moves a prepared split into a folder as one config, keeps the others, and renews the card and the manifest.

    A kill leaves nothing half-written that counts: a new folder appears as a whole, and in one that is there, the
    manifest does not name the config while its files change.

    Args:
        folder: made if it is not there.
        config: its name, the split's.
        prepared: what `Split.download_and_prepare` wrote in the scratch folder of `building`; its files are moved.

    Returns:
        the config's entry in the manifest.

    Raises:
        OutputError: something cannot be written.
    """
    folder = folder.resolve()
    facts = read_json(prepared / "facts.json")
    try:
        with lock(folder):  # two splits built at once into one folder take turns here
            target = folder if folder.is_dir() else prepared.with_name("folder")
            target.mkdir(exist_ok=True)
            manifest: dict[str, Any] = {"format": _FORMAT, "configs": {}}
            if (target / MANIFEST).is_file():
                manifest = read_manifest(target)
            entry = {
                **facts,
                "built": datetime.now(UTC).isoformat(timespec="seconds"),
                # `datasets` cannot load a split of no rows, so there is none; its rejects say why.
                "files": _shards(prepared, config) if facts["rows"] else [],
                **_columns(prepared),
            }
            shards = prepared.with_name("shards")
            shards.mkdir()
            for file, shard in zip(entry["files"], _parquet(prepared), strict=bool(facts["rows"])):
                os.replace(shard, shards / Path(file["path"]).name)
            before = manifest["configs"].pop(config, {})
            write_json(target / MANIFEST, manifest)
            (target / "rejects").mkdir(exist_ok=True)
            if (target / config).exists():
                os.replace(target / config, prepared.with_name("replaced"))
            if entry["files"]:
                os.replace(shards, target / config)
            os.replace(prepared / "rejects.jsonl", target / "rejects" / f"{config}.jsonl")
            if "self_instruct" in entry:
                entry["self_instruct"] = {**entry["self_instruct"], **_draw_rounds(entry, target)}
            enter(target, config, entry)
            for figure in before.get("statistics", {}).get("figures", ()):  # of the rows that were replaced
                (target / figure).unlink(missing_ok=True)
            if target != folder:
                os.replace(target, folder)
    except OSError as error:
        raise OutputError(f"cannot write {folder}: {error.strerror}. Answers are kept in the ledger") from error
    return entry


def enter(folder: Path, config: str, entry: Mapping[str, Any]) -> None:
    """Writes a config's entry into the manifest of a folder, in the place of one that is there, and renews the card.

    Raises:
        OutputError: the folder has no manifest, or its card cannot be read.
        OSError: something cannot be written.
    """
    manifest = read_manifest(folder)
    manifest["configs"] = dict(sorted({**manifest["configs"], config: entry}.items()))
    renew_card(folder / CARD, render_dataset_card(manifest))
    write_json(folder / MANIFEST, manifest)


def record_audit(folder: Path, config: str, summary: Mapping[str, Any]) -> None:
    """Writes an audit's counts into the manifest of a folder of ours, and its rates onto the card.

    Args:
        folder: what `build` wrote.
        config: which of its configs was audited.
        summary: ``{"rows": n, "rows_with_findings": n, "checks": {name: {"severity": s, "findings": n, "rows": n}},
            "package": version}``; another one that is there is replaced.

    Raises:
        OutputError: the folder has no such config, or cannot be written.
    """
    with _recording(folder, config) as entry:
        entry["audit"] = dict(summary)


def record_statistics(folder: Path, config: str, summary: Mapping[str, Any], figures: Iterable[Path] = ()) -> None:
    """Writes the main numbers of statistics into the manifest of a folder of ours, and them and pictures onto the card.

    Args:
        folder: what `build` wrote.
        config: whose rows were counted.
        summary: of one data set, as in `statistics.describe.describe`; another one that is there is replaced.
        figures: pictures to be copied into the folder's ``figures``, where the card shows them.

    Raises:
        OutputError: the folder has no such config, or cannot be written.
    """
    with _recording(folder, config) as entry:
        figures = list(figures)
        names = [f"figures/{config}-{figure.name}" for figure in figures]
        for name, figure in zip(names, figures, strict=True):
            with replacing(folder / name) as temporary:
                shutil.copyfile(figure, temporary)
        for name in entry.get("statistics", {}).get("figures", ()):
            if name not in names:
                (folder / name).unlink(missing_ok=True)
        entry["statistics"] = {**main_numbers(summary), "figures": names, "package": gpt4_instruct.__version__}


@contextmanager
def _recording(folder: Path, config: str) -> Iterator[dict[str, Any]]:
    """A config's entry in the manifest; when it was changed, the card and the manifest are written anew."""
    folder = folder.resolve()
    with lock(folder):
        manifest = read_manifest(folder)
        if config not in manifest["configs"]:
            raise OutputError(f"{folder} holds no {config}: it has {', '.join(manifest['configs']) or 'none'}")
        entry = manifest["configs"][config]
        yield entry
        enter(folder, config, entry)


def _draw_rounds(facts: dict[str, Any], folder: Path) -> dict[str, str]:
    """Draws a Self-Instruct build's rounds where matplotlib is installed; in any case an earlier figure of them goes.

    Returns:
        the figure's path in the folder, as ``figure``; nothing where there is none.
    """
    try:
        drawn = draw_self_instruct(facts, folder / "figures")
    except MissingExtraError:
        drawn = []
    if drawn:
        return {"figure": drawn[0].relative_to(folder).as_posix()}
    for ending in ("png", "svg"):
        (folder / "figures" / f"self_instruct.{ending}").unlink(missing_ok=True)
    return {}


def _columns(prepared: Path) -> dict[str, Any]:
    """The columns as the Hub writes them in a card, and how many bytes the rows take in memory."""
    from datasets import Features

    info = read_json(prepared / "dataset_info.json")
    return {"features": Features.from_dict(info["features"])._to_yaml_list(), "dataset_bytes": info["dataset_size"]}


def _parquet(prepared: Path) -> list[Path]:
    return sorted(prepared.glob("*.parquet"))


def _shards(prepared: Path, config: str) -> list[dict[str, Any]]:
    """The Parquet files under the names that they get."""
    found = _parquet(prepared)
    hashes = [sha256(shard) for shard in found]
    content = hashlib.sha256(" ".join(hashes).encode()).hexdigest()[:16]
    return [
        {
            "path": f"{config}/train-{number:05d}-of-{len(found):05d}-{content}.parquet",
            "bytes": shard.stat().st_size,
            "sha256": hashes[number],
        }
        for number, shard in enumerate(found)
    ]
