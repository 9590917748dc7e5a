"""What the package knows of scripts and words, English and Chinese."""

from __future__ import annotations

import re
import unicodedata

from gpt4_instruct.errors import UnknownNameError

__all__ = ["chinese_share", "words"]

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


# What rouge-score's tokenizer leaves of a text, without stemming: rouge_score/tokenize.py, version 0.1.2.
_ENGLISH_WORD = re.compile(r"[a-z0-9]+")
# Scripts written without spaces, as character classes of Unicode 17: Han with its iteration mark, zero and numerals of
# merchants, and planes 2 and 3, which are set aside for it; Bopomofo; kana; Hangul, whose spaces part phrases.
_CHARACTER_WORDS = (
    r"\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    r"\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u3105-\u312f\u31a0-\u31bf\u31f0-\u31ff\U0001aff0-\U0001b16f"
    r"\u1100-\u11ff\ua960-\ua97f\uac00-\ud7ff"
)
_CHINESE_WORD = re.compile(rf"[{_CHARACTER_WORDS}]|[^\W_{_CHARACTER_WORDS}]+")


def words(text: str, language: str) -> list[str]:
    """The tokens of a text, by which texts are compared: lower-case, without punctuation and symbols.

    Args:
        text: any text.
        language: ``"en"`` for those of rouge-score's own tokenizer (without stemming), which are runs of a-z and 0-9;
            it drops all other letters. ``"zh"`` for single characters where a script has no spaces (Han, kana, Hangul)
            and whole runs of other letters and digits; full-width and half-width forms are the same as the usual ones.

    Returns:
        the tokens in the order of the text; none of them is empty.

    Raises:
        UnknownNameError: the language is neither.

    >>> words("Don't panic: it's 7 o'clock.", "en")
    ['don', 't', 'panic', 'it', 's', '7', 'o', 'clock']
    >>> words("用Python 3写一个ＨＴＭＬ网页。", "zh")
    ['用', 'python', '3', '写', '一', '个', 'html', '网', '页']
    """
    if language == "en":
        return _ENGLISH_WORD.findall(text.lower())
    if language == "zh":
        return _CHINESE_WORD.findall(unicodedata.normalize("NFKC", text).lower())
    raise UnknownNameError("language", language, ["en", "zh"])
