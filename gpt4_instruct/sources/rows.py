"""Opens rows of any shape, wherever they are, for whatever looks at finished rows: audits, statistics, views.

for row, raw, found in open_rows("alpaca_gpt4_data.json"):
    if isinstance(found, Reject): ...       # it could not be read; found.reason says why
    else: ...                               # a list of samples: most rows hold one, a row of instances several
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

from gpt4_instruct.errors import SourceError
from gpt4_instruct.formats import UnreadableRow, checked
from gpt4_instruct.languages import chinese_share
from gpt4_instruct.records import Language, Reject, Sample
from gpt4_instruct.sources.built import BuiltSplit, find_built, splits_of
from gpt4_instruct.sources.files import FileSource
from gpt4_instruct.sources.find import open_source
from gpt4_instruct.sources.hub import HubSource
from gpt4_instruct.sources.released import RELEASED
from gpt4_instruct.sources.shapes import samples
from gpt4_instruct.sources.shards import Shard, find_shards, is_pattern, is_url, read_shards

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, IterableDataset

__all__ = ["RowReader", "Rows", "open_rows"]

_LOOKED_AT = 200  # rows that tell the file's language
_NEARLY_ALL = 0.95  # of them, one language: then an instruction in the other one is a quotation, or a slip
_CHINESE_SHARE = 0.5  # of a text's words: then it is Chinese, whatever names it quotes
_CHARACTERS = 2_000  # of a text that tell its language
_FEWEST_WORDS = 3  # in which an instruction is English beyond doubt: "Python?" may be asked in any language


@dataclass(frozen=True, slots=True)
class RowReader:
    """Makes samples of raw rows, one by one: all that it needs to know of the others is here.

    Attributes:
        name: how the data is called.
        stem: what rows without an id are called by.
        language: the data's; none where it is of both.
        fallback: of a sample whose own language is not told.
        given: whether that is every sample's.
    """

    name: str
    stem: str
    language: Language | None
    fallback: Language
    given: bool

    def read(self, line: int, raw: Any) -> list[Sample] | Reject:
        """The samples of a row, or why it has none."""
        found = samples(raw, f"{self.stem}-{line}", f"{self.name}:{line}", self.fallback)
        if self.given or isinstance(found, Reject):
            return found
        return [self._with_language(sample) for sample in found]

    def _with_language(self, sample: Sample) -> Sample:
        """The sample, whose language is the data's, with its own where that is told."""
        asked = _language(sample.instruction)
        answered = _language(sample.output or "\n".join(each.response[:_CHARACTERS] for each in sample.scored))
        if asked is None or asked == sample.language:
            return sample
        clear = asked == "zh" or len(sample.instruction.split(maxsplit=_FEWEST_WORDS)) >= _FEWEST_WORDS
        if asked == answered or (self.language is None and clear):
            return replace(sample, language=asked)
        return sample


class Rows:
    """Raw rows with what was read in them, lazily and as often as asked; `open_rows` makes it.

    Attributes:
        name: how the data is called: its file, ``hub:ID``, ``dataset`` or ``rows``; no folder of yours.
        language: the data's: as it was given, or that of nearly all of the first 200 instructions; none where they are
            of both languages, or not read yet.
        shards: the files that the rows are in, one after the other, where each can be read for itself.

    Unless it is given, a sample's own language may be another one:

    1. A sample whose instruction and answer are both in one language has that language. Chinese is a text of whose
       words at least half are Han characters, English is one of words without any.
    2. Any other has the language that is the data's, so that an English answer to a Chinese instruction among Chinese
       rows is expected to be Chinese, and a Chinese one to an English instruction among English rows English.
    3. Where the data is of both languages, it has that of its instruction, if that is Chinese, or English in three
       words or more; else the one that more of the first 200 instructions have.
    """

    def __init__(
        self,
        name: str,
        read: Callable[[], Iterable[tuple[int, Any]]],
        *,
        stem: str | None = None,
        language: Language | None = None,
        count: Callable[[], int | None] = lambda: None,
        shards: Sequence[Shard] = (),
    ) -> None:
        self.name = name
        self.shards = tuple(shards)
        self.language = language
        self._read = read
        self._stem = stem or Path(name).stem
        self._count = count
        self._given = language is not None
        self._fallback: Language | None = language  # told by the first rows

    def __iter__(self) -> Iterator[tuple[int, Any, list[Sample] | Reject]]:
        """Each row's number from 0, the row as it was read, and its samples or why it has none.

        A row that could not even be read as JSON, CSV, ... is the text that stands there, a `str`: its first 100,000
        characters, empty where nothing is known of it. All else that is no object (null, a number) is as it was read.

        Raises:
            SourceError: the data can no longer be read.
        """
        rows = iter(self._read())
        if self._fallback is None:
            first = list(islice(rows, _LOOKED_AT))
            self.language, self._fallback = _most(first)
            rows = chain(first, rows)
        reader = self.reader()
        for number, (line, raw) in enumerate(rows):
            yield number, raw.text if isinstance(raw, UnreadableRow) else raw, reader.read(line, raw)

    def raw(self) -> Iterator[tuple[int, Any]]:
        """Each row as it was read, with its place in the file, such as its line; one that cannot be read is an error.

        Raises:
            SourceError: the data can no longer be read.
        """
        return iter(self._read())

    def reader(self) -> RowReader:
        """What makes samples of these rows; the first ones are read for it, unless they were.

        Raises:
            SourceError: the data can no longer be read.
        """
        if self._fallback is None:
            self.language, self._fallback = _most(list(islice(self._read(), _LOOKED_AT)))
        return RowReader(self.name, self._stem, self.language, self._fallback, self._given)

    def count(self) -> int | None:
        """How many rows there are, where that can be told without reading them."""
        return self._count()


def _most(first: Sequence[tuple[int, Any]]) -> tuple[Language | None, Language]:
    """The language of nearly all of these rows, or none, and the one that more of them have."""
    votes: Counter[Language] = Counter({"en": 0, "zh": 0})
    for _, raw in first:
        found = samples(raw, "", "")
        share = None if isinstance(found, Reject) else chinese_share(found[0].instruction)
        if share is not None:
            votes["zh" if share >= _CHINESE_SHARE else "en"] += 1
    (language, most), _ = votes.most_common()
    return language if most >= _NEARLY_ALL * votes.total() else None, language


def _language(text: str) -> Language | None:
    """The language that all of a text is in, but for names in Chinese ones; none where that is not clear."""
    share = chinese_share(text[:_CHARACTERS])
    if share is None or 0 < share < _CHINESE_SHARE:
        return None
    return "zh" if share else "en"


def open_rows(
    data: str | Path | Dataset | DatasetDict | IterableDataset | Sequence[Mapping[str, Any]],
    *,
    language: Language | None = None,
) -> Rows:
    """The rows of a file, a dataset or a list, in any shape of `shapes`.

    Args:
        data: the path of a json, jsonl, csv or parquet file or of a zip that holds one; ``"seeds"``;
            ``"released:NAME"``; ``"hub:ID"``, ``"hub:ID@REVISION"``, ``"hub:ID:CONFIG"``; a folder that `build` wrote,
            here or at a URL, as ``"FOLDER:CONFIG"`` where it holds several; another folder of such files, a pattern of
            their names or a URL (``"data/*.parquet"``, ``"s3://..."``, ``"hf://..."``), as `sources.shards` says; a
            `datasets.Dataset`, or the train split of a `datasets.DatasetDict`; a list of dicts.
        language: of the answers; by default it is told from the rows, as `Rows` says.

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
        shards = [Shard(str(source.path))] if isinstance(source, FileSource) and path.suffix == ".parquet" else []
        return Rows(source.name, source.raw, stem=source.stem, language=language, count=count, shards=shards)
    found = find_built(text)
    if found is not None:
        return _of_folder(*found, language)
    if is_url(text) or is_pattern(text) or path.is_dir():
        return _of_shards(find_shards(text if is_url(text) else str(path)), text, language)
    folder = text.rpartition(":")[0]
    if folder and Path(folder).expanduser().is_dir():
        splits_of(folder)  # which says that it holds none
    raise SourceError(f"the data {text!r} does not exist: give a file, a folder that build wrote, or hub:ID")


def _of_shards(shards: Sequence[Shard], text: str, language: Language | None) -> Rows:
    name = shards[0].name if len(shards) == 1 else Path(text).name or text
    counted = all(each.is_parquet for each in shards)
    return Rows(
        name,
        lambda: read_shards(shards),
        language=language,
        count=lambda: sum(each.count() for each in shards) if counted else None,
        shards=shards,
    )


def _of_folder(folder: str, config: str, split: BuiltSplit, language: Language | None) -> Rows:
    """A split of a folder of ours."""
    place = folder.rstrip("/") if is_url(folder) else Path(folder).expanduser().resolve()
    return Rows(
        f"{PurePath(place).name}:{config}",
        lambda: read_shards(split.files),
        stem=config,
        language=language or split.language,
        count=lambda: split.rows,
        shards=split.files,
    )
