"""The row holds characters that nobody sees: control characters, zero-width ones, private ones."""

from __future__ import annotations

import re
import unicodedata

from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import excerpt

__all__ = ["control_characters"]

# C0 and C1 but tab, line feed and carriage return; soft hyphen; zero-width space, direction marks and overrides, word
# joiner, byte order mark; private use (Unicode 17, chapters 23 and 2). Joiners (U+200C, U+200D) belong to scripts and
# emoji, and are left.
_INVISIBLE = re.compile(
    "[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f-\\x9f\\xad\\u200b\\u200e\\u200f\\u202a-\\u202e\\u2028\\u2029\\u2060-\\u2064"
    "\\u2066-\\u2069\\ufeff\\ue000-\\uf8ff]"
)


@check("warning", Sample("Say hi.", "", "Hi\x07 there\u200b."))
def control_characters(sample: Sample) -> str | None:
    """Fails a row with control characters other than tab and line ends, invisible ones or private ones.

    >>> control_characters(Sample("Say hi.", "", "Hi\\x07 there."))
    "the output holds U+0007 after 'Hi' (1 such character)"
    """
    for name in ("instruction", "input", "output"):
        text = getattr(sample, name)
        if text.isascii() and text.isprintable():
            continue
        found = _INVISIBLE.search(text)
        if found is not None:
            called = unicodedata.name(found[0], "")
            called = f" {called}" if called else ""
            count = len(_INVISIBLE.findall(text))
            before = excerpt(text[max(0, found.start() - 20) : found.start()])
            such = f"{count} such character{'s' if count > 1 else ''}"
            return f"the {name} holds U+{ord(found[0]):04X}{called} after {before!r} ({such})"
    return None
