"""Opens rows of any shape, wherever they are, for whatever looks at finished rows: audits, statistics, views.

for row, raw, found in open_rows("alpaca_gpt4_data.json"):
    if isinstance(found, Reject): ...       # it could not be read; found.reason says why
    else: ...                               # a list of samples: most rows hold one, a row of instances several
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpt4_instruct.errors import OutputError, SourceError
from gpt4_instruct.formats import checked
from gpt4_instruct.languages import chinese_share
from gpt4_instruct.records import Language, Reject, Sample
from gpt4_instruct.sources.files import FileSource
from gpt4_instruct.sources.find import open_source
from gpt4_instruct.sources.hub import HubSource
from gpt4_instruct.sources.released import RELEASED
from gpt4_instruct.sources.shapes import samples
from gpt4_instruct.storage import read_json

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset

__all__ = ["Rows", "open_rows"]

_MANIFEST = "manifest.json"  # of a folder that a build wrote
_LOOKED_AT = 200  # rows that tell the language
_NEARLY_ALL = 0.95  # of them, one language: then it is that of the file, and a row that quotes the other is not
_CHINESE_SHARE = 0.5  # of an instruction's words: then it is Chinese, whatever names it quotes


class Rows:
    """Raw rows with what was read in them, lazily and as often as asked; `open_rows` makes it.

    Attributes:
        name: how the data is called: its file, ``hub:ID``, ``dataset`` or ``rows``; no folder of yours.
        language: of all samples; none where each row's instruction tells.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Iterable[tuple[int, Any]]],
        *,
        stem: str | None = None,
        language: Language | None = None,
        count: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.name = name
        self.language = language
        self._read = read
        self._stem = stem or Path(name).stem
        self._count = count
        self._told = language is not None

    def __iter__(self) -> Iterator[tuple[int, Any, list[Sample] | Reject]]:
        """Each row's number from 0, the row as it was read, and its samples or why it has none.

        A row that could not even be read as JSON, CSV, ... is none.

        Raises:
            SourceError: the data can no longer be read.
        """
        rows = iter(self._read())
        if not self._told:
            first = list(islice(rows, _LOOKED_AT))
            self.language, self._told = self._tell(first), True
            rows = chain(first, rows)
        for number, (line, raw) in enumerate(rows):
            found = samples(raw, f"{self._stem}-{line}", f"{self.name}:{line}", self.language or "en")
            if self.language is None and not isinstance(found, Reject):
                found = [replace(sample, language=_language(sample) or "en") for sample in found]
            yield number, None if isinstance(raw, ValueError) else raw, found

    def count(self) -> int | None:
        """How many rows there are, where that can be told without reading them."""
        return self._count()

    def _tell(self, first: Sequence[tuple[int, Any]]) -> Language | None:
        votes: Counter[Language] = Counter()
        for _, raw in first:
            found = samples(raw, "", "")
            language = None if isinstance(found, Reject) else _language(found[0])
            if language is not None:
                votes[language] += 1
        if not votes:
            return "en"
        language, most = votes.most_common(1)[0]
        return language if most >= _NEARLY_ALL * votes.total() else None


def _language(sample: Sample) -> Language | None:
    share = chinese_share(sample.instruction)
    return None if share is None else "zh" if share >= _CHINESE_SHARE else "en"


def open_rows(
    data: str | Path | Dataset | DatasetDict | IterableDataset | Sequence[Mapping[str, Any]],
    *,
    language: Language | None = None,
) -> Rows:
    """The rows of a file, a dataset or a list, in any shape of `shapes`.

    Args:
        data: the path of a json, jsonl, csv or parquet file or of a zip that holds one; ``"seeds"``;
            ``"released:NAME"``; ``"hub:ID"``, ``"hub:ID@REVISION"``, ``"hub:ID:CONFIG"``; a folder that `build` wrote,
            as ``"FOLDER:CONFIG"`` where it holds several; a `datasets.Dataset`, or the train split of a
            `datasets.DatasetDict`; a list of dicts.
        language: of the answers; by default that of the first 200 instructions, or of each where they are mixed.

    Raises:
        SourceError: there is no such data, or it is in no known format.

    >>> rows = open_rows([{"instruction": "说出最大的行星。", "output": "木星。"}, {"output": "?"}])
    >>> [found[0].language if isinstance(found, list) else found.reason for _, _, found in rows]
    ['zh', 'missing_field']
    """
    if isinstance(data, str | Path):
        return _named(data, language)
    library = sys.modules.get("datasets")  # whoever has a Dataset has imported it
    if library is not None and isinstance(data, library.DatasetDict | library.IterableDatasetDict):
        data = data["train"] if "train" in data else next(iter(data.values()))
    if library is not None and isinstance(data, library.Dataset | library.IterableDataset):
        info = data.info
        name = ":".join(filter(None, (info.dataset_name, info.config_name))) or "dataset"
        length = len(data) if isinstance(data, library.Dataset) else None
        return Rows(name, lambda: enumerate(data, start=1), language=language, count=lambda: length)
    if isinstance(data, Sequence):
        rows = data
        return Rows(
            "rows",
            lambda: ((number, checked(row)) for number, row in enumerate(rows, start=1)),
            language=language,
            count=lambda: len(rows),
        )
    raise SourceError(f"a {type(data).__name__} holds no rows: give a path, hub:ID, a Dataset or a list of dicts")


def _named(data: str | Path, language: Language | None) -> Rows:
    text = str(data)
    if text == "released":
        raise SourceError(f"which released file? Name one of {', '.join(f'released:{name}' for name in RELEASED)}")
    path = Path(text).expanduser()
    if path.is_file() or text == "seeds" or text.startswith(("hub:", "released:")):
        source = open_source(data)
        assert isinstance(source, FileSource | HubSource)
        if text.startswith("released:"):
            language = language or RELEASED[text.removeprefix("released:")].language
        count = source.count if isinstance(source, HubSource) else lambda: None  # a file would be read for it
        return Rows(source.name, source.raw, stem=source.stem, language=language, count=count)
    folder, _, config = text.rpartition(":")
    if path.is_dir() or (folder and Path(folder).expanduser().is_dir()):
        return _of_folder(path, "", language) if path.is_dir() else _of_folder(Path(folder), config, language)
    raise SourceError(f"the data {text!r} does not exist: give a file, a folder that build wrote, or hub:ID")


def _of_folder(folder: Path, config: str, language: Language | None) -> Rows:
    """A config of a folder of ours, by its manifest."""
    folder = folder.expanduser()
    if not (folder / _MANIFEST).is_file():
        raise SourceError(f"{folder} holds no {_MANIFEST} of a build: name a file in it, or hub:{folder}")
    try:
        configs: dict[str, Any] = read_json(folder / _MANIFEST)["configs"]
        if not config and len(configs) == 1:
            config = next(iter(configs))
        if config not in configs:
            what = f"holds no {config}" if config else "holds several splits"
            raise SourceError(f"{folder} {what}: name one of {', '.join(f'{folder}:{name}' for name in configs)}")
        entry = configs[config]
        files, rows = [folder / file["path"] for file in entry["files"]], int(entry["rows"])
        language = language or entry.get("language")
    except (OutputError, KeyError, TypeError, ValueError) as error:
        raise SourceError(f"{folder / _MANIFEST} is not a manifest of this package: {error}") from error

    def read() -> Iterator[tuple[int, Any]]:
        return enumerate((row for file in files for _, row in FileSource(file).raw()), start=1)

    return Rows(f"{folder.resolve().name}:{config}", read, stem=config, language=language, count=lambda: rows)
