"""What the files of a run are, told by what is in them: every command leaves its facts as JSON beside its product.

build        manifest.json                 a folder of data that `build` wrote
training     training.json                 a model that `train` tuned
answers      NAME.summary.json             a model's answers to questions
translation  NAME.summary.json             questions or answers, translated
rank         NAME.summary.json             the same, ranked by a reward model
judge        NAME.summary.json             answers judged beside a baseline's, or alone
groups       NAME.summary.json             the ranked answers judged, group by group
tally        tally.json                    people's votes
rouge        NAME.json                     ROUGE by the length of the reference
statistics   summary.json                  of `stats`
audit        summary.json                  of `audit`
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gpt4_instruct.errors import OutputError

__all__ = ["Facts", "find_facts", "kind_of"]

_DEEPEST = 4  # folders below the one that is named
_LARGEST = 64 * 2**20  # bytes: a training's log grows with its steps
_SMALL = 2**18  # bytes, of files that are called in another way


class Facts(NamedTuple):
    """One file of facts.

    Attributes:
        kind: as at the top of `run_facts`; empty for a file that is none of them, or cannot be read.
        file: its path.
        content: what is in it.
        error: why it cannot be read, or none.
    """

    kind: str
    file: Path
    content: dict[str, Any]
    error: str | None = None


def kind_of(content: Any) -> str:
    """What facts are of, by the keys that only they have; empty where they are of nothing that is known.

    >>> kind_of({"kind": "sft", "base": {}, "log": []}), kind_of({"format": 1, "configs": {}}), kind_of([1])
    ('training', 'build', '')
    """
    if not isinstance(content, dict):
        return ""
    return next((kind for kind, keys in _KEYS.items() if all(key in content for key in keys)), "")


_KEYS = {
    "build": ("format", "configs"),
    "training": ("kind", "base", "log"),
    "rank": ("reward_model", "best_of", "by_rank"),
    "groups": ("groups",),
    "judge": ("judged", "failures", "questions"),
    "tally": ("criteria", "raters"),
    "rouge": ("rougeL", "buckets"),
    "audit": ("data", "dropped_from"),
    "statistics": ("data",),
    "translation": ("translator", "sampling"),
    "answers": ("questions_from", "teacher", "sampling"),
}


def find_facts(paths: Sequence[str | Path]) -> list[Facts]:
    """All facts in files and folders, in the order of the paths, each file once.

    Args:
        paths: files, which are read whatever they are called, or folders, of which every ``*.json`` that may hold facts
            is looked at: a few folders deep, hidden folders and checkpoints left out.

    Returns:
        what is of a known kind, and what looks like facts and cannot be read, with the reason. The summaries of single
        groups are left out: their numbers are in the one of all groups.

    Raises:
        OutputError: a path is not there.
    """
    found: list[Facts] = []
    seen: set[Path] = set()
    for each in paths:
        path = Path(each).expanduser()
        if not path.exists():
            raise OutputError(f"{path} does not exist: name a folder or a file of a run")
        for file in [path] if path.is_file() else _files(path):
            if file.resolve() in seen:
                continue
            seen.add(file.resolve())
            facts = _read(file, named=path.is_file())
            if facts is not None:
                found.append(facts)
    grouped = {each.file.parent for each in found if each.kind == "groups"}
    return [each for each in found if not (each.file.parent in grouped and each.file.name.startswith("group-"))]


def _files(folder: Path) -> Iterator[Path]:
    for here, folders, names in os.walk(folder):
        depth = len(Path(here).relative_to(folder).parts)
        folders[:] = sorted(each for each in folders if not each.startswith(".") and each != "checkpoints")
        if depth >= _DEEPEST:
            folders.clear()
        yield from (Path(here) / name for name in sorted(names) if name.endswith(".json") and not name.startswith("."))


def _read(file: Path, *, named: bool) -> Facts | None:
    """The facts in a file; none where it is of something else, unless the file itself was named."""
    ours = named or file.name in _NAMES or file.name.endswith(".summary.json")
    try:
        if file.stat().st_size > (_LARGEST if ours else _SMALL):
            return Facts("", file, {}, "is too large for facts") if ours else None
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = f"cannot be read: {getattr(error, 'strerror', None) or error}"
        return Facts("", file, {}, why) if ours else None
    kind = kind_of(content)
    if kind and (ours or kind == "rouge"):  # whose file the user names; others' keys are common ones
        return Facts(kind, file, content)
    return Facts("", file, {}, "holds no facts of a run") if named else None


_NAMES = ("manifest.json", "training.json", "tally.json", "rouge.json", "summary.json")
