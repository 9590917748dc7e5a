"""What the package knows of scripts and words, English and Chinese."""

from __future__ import annotations

import re

__all__ = ["chinese_share"]

# Han ideographs with extension A and the compatibility block (Unicode 17, chapter 18). Kana and Hangul are written
# without spaces, too, so each of them counts as a word of another language.
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_OTHER_WORD = re.compile(
    r"[\u3040-\u30ff\uac00-\ud7af]|[^\W\d_\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+"
)


def chinese_share(text: str) -> float | None:
    """Han characters as a share of Han characters and other words; none for a text of neither (numbers, symbols).

    >>> chinese_share("深度学习 deep learning"), chinese_share("hello"), chinese_share("42")
    (0.6666666666666666, 0.0, None)
    """
    if text.isascii():  # most of English, and much faster
        return 0.0 if _OTHER_WORD.search(text) else None
    han = len(_HAN.findall(text))
    words = len(_OTHER_WORD.findall(text))
    return han / (han + words) if han + words else None
