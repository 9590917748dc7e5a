"""Which source a text names: ``seeds``, a path, or ``hub:ID``."""

from __future__ import annotations

from pathlib import Path

from gpt4_instruct.errors import SourceError
from gpt4_instruct.sources.base import Source
from gpt4_instruct.sources.files import FileSource
from gpt4_instruct.sources.hub import HubSource
from gpt4_instruct.sources.seeds import Seeds

__all__ = ["open_source"]


def open_source(source: str | Path | Source) -> Source:
    """The source that a text names; a `Source` comes back as it is.

    Raises:
        SourceError: there is no such file, it is in no known format, or the Hub has no such dataset.
    """
    if isinstance(source, Source):
        return source
    text = str(source)
    if text == "seeds":
        return Seeds()
    if text.startswith("hub:"):
        return HubSource(text.removeprefix("hub:"))
    path = Path(text).expanduser()
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise SourceError(f"the source {text!r} {what}: give seeds, a .json/.jsonl/.csv/.parquet file, or hub:ID")
    return FileSource(path)
