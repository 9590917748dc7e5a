"""Which source a text names: ``seeds``, a path, a URL, ``hub:ID`` or ``released:NAME``."""

from __future__ import annotations

from pathlib import Path

from gpt4_instruct.errors import SourceError
from gpt4_instruct.sources.base import Source
from gpt4_instruct.sources.files import FileSource
from gpt4_instruct.sources.hub import HubSource
from gpt4_instruct.sources.many import ManyFiles
from gpt4_instruct.sources.released import ReleasedSource
from gpt4_instruct.sources.seeds import Seeds
from gpt4_instruct.sources.shards import is_pattern, is_url

__all__ = ["open_source"]


def open_source(source: str | Path | Source, split: str = "") -> Source:
    """The source that a text names; a `Source` comes back as it is.

    Args:
        source: ``"seeds"``, a file's path, a folder of Parquet files, a pattern or a URL, ``"hub:ID"``,
            ``"released:NAME"`` or, for the split's own file, ``"released"``.
        split: which split it is for.

    Raises:
        SourceError: there is no such file, it is in no known format, or the Hub has no such dataset.
        UnknownNameError: no such file was released.
    """
    if isinstance(source, Source):
        return source
    text = str(source)
    if text == "seeds":
        return Seeds()
    if text.startswith("hub:"):
        return HubSource(text.removeprefix("hub:"))
    if text == "released" or text.startswith("released:"):
        return ReleasedSource(text.removeprefix("released").removeprefix(":") or split)
    path = Path(text).expanduser()
    if path.is_file():
        return FileSource(path)
    if (path / "manifest.json").is_file():
        raise SourceError(f"the source {text!r} is a folder that build wrote: give hub:{text}:SPLIT")
    if text and (is_url(text) or path.is_dir() or is_pattern(text)):
        return ManyFiles(text if is_url(text) else str(path))
    known = "seeds, released:NAME, hub:ID, a folder of Parquet files, a URL, or a .json/.jsonl/.csv/.parquet/.zip file"
    raise SourceError(f"the source {text!r} does not exist: give {known}")
