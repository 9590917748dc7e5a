"""A text was decoded wrongly: U+FFFD stands where a character was, or UTF-8 was read as another encoding."""

from __future__ import annotations

import re

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import excerpt

__all__ = ["replacement_character"]

# UTF-8 of two or more characters, each byte read as a Windows-1252 character.
_AS_1252 = re.compile("(?:[\u00c2-\u00f4][\u0080-\u00bf\u0152-\u0192\u02c6-\u02dc\u2013-\u2122]{1,3}){2,}")
_ABOUT = re.compile(r"encod|decod|mojibake|garbled|utf-?8|apostrophe|乱码|编码|解码", re.IGNORECASE)
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
        found = None if text.isascii() else _BROKEN.search(text) or _misread(text)
        if found is not None and not _ABOUT.search(sample.instruction):
            around = text[max(0, found.start() - 15) : found.end() + 15]
            return f"the {name} was decoded wrongly at {excerpt(around)!r}"
    return None


def _misread(text: str) -> re.Match[str] | None:
    """Characters that are whole UTF-8 again once they are written as Windows-1252."""
    for found in _AS_1252.finditer(text):
        try:
            found[0].encode("cp1252").decode("utf-8")
        except UnicodeError:
            continue
        return found
    return None
