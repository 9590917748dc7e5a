"""A text was decoded wrongly: U+FFFD stands where a character was, or UTF-8 was read as another encoding."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import excerpt

__all__ = ["replacement_character"]

# U+FFFD; UTF-8 quotation marks, accents and dashes read as Windows-1252; U+FFFD twice, written and read as GBK.
_BROKEN = re.compile("\ufffd|â€[™œ\u009d“”˜¦]|Ã[©¨¡±¼¶¤­³º§]|Â[°£ ]|锟斤拷|烫烫烫")


@check("error", Sample("Name a café.", "", "Caf\ufffd Central"))
def replacement_character(sample: Sample) -> str | None:
    """Fails a row with a character that was lost in decoding.

    >>> replacement_character(Sample("Say it.", "", "Itâ€™s fine."))
    "the output was decoded wrongly at 'Itâ€™s fine.'"
    """
    for name in ("instruction", "input", "output"):
        text = getattr(sample, name)
        found = None if text.isascii() else _BROKEN.search(text)
        if found is not None:
            around = text[max(0, found.start() - 15) : found.end() + 15]
            return f"the {name} was decoded wrongly at {excerpt(around)!r}"
    return None
