"""The tokens by which ROUGE compares texts, in English and Chinese.

``english`` has the tokens of rouge-score's own tokenizer, runs of a-z and 0-9, and none of all other letters: two texts
that are the same in Chinese have no token in common. ``characters`` and ``words`` are for such texts.

Most of ROUGE's time would go into finding tokens one by one, so all texts are gone through together: joined, with a
mark after each, they are cut and numbered by Arrow. A text is then a string in which each token is the character of its
number, which is what rapidfuzz reads fastest.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from typing import Any

from gpt4_instruct.errors import MissingExtraError, UnknownNameError, UsageError
from gpt4_instruct.languages import chinese_share, words

__all__ = ["TOKENIZERS", "UNITS", "choose", "encode"]

TOKENIZERS = ("auto", "english", "characters", "words")
# What a reference's length is counted in.
UNITS = {"english": "whitespace words", "characters": "characters", "words": "words"}

_END = "\0"  # the mark after each text
_TOKEN_BYTES = b"abcdefghijklmnopqrstuvwxyz0123456789\0"
# Of each byte: a letter in lower case, a digit or the mark as it is, a space for all others.
_TO_TOKENS = bytes(byte if byte in _TOKEN_BYTES else ord(" ") for byte in bytes(range(256)).lower())
# The only letters beyond ASCII whose lower case is in it: what `str.lower` makes of them counts.
_LOWER_IS_ASCII = ("\u0130", "\u212a")
_CHARACTERS = 0x110000  # that there are
_SHORT = 3  # characters; rouge-score stems longer tokens only


def choose(reference: str, tokenizer: str) -> str:
    """The tokenizer for a reference and the predictions of it: `tokenizer`, or for ``"auto"`` the one that suits it.

    That is ``"english"`` but where the reference is mostly Chinese, or English tokens leave nothing of it, as of
    Japanese or Russian. It does not hang on the prediction, so that all models are compared in the same tokens.

    Raises:
        UnknownNameError: there is no tokenizer of that name.

    >>> choose("用Python写。", "auto"), choose("Écris!", "auto"), choose("Привет!", "auto"), choose("你好", "english")
    ('characters', 'english', 'characters', 'english')
    """
    if tokenizer not in TOKENIZERS:
        raise UnknownNameError("tokenizer", tokenizer, TOKENIZERS)
    if tokenizer != "auto":
        return tokenizer
    if reference.isascii():
        return "english"
    chinese = (chinese_share(reference) or 0) >= 0.5
    return "characters" if chinese or (not words(reference, "en") and words(reference, "zh")) else "english"


def encode(texts: Sequence[str], tokenizer: str, *, stemmer: bool = False) -> list[str]:
    """Each text with one character for each of its tokens: the same character for the same token, in all of `texts`.

    Args:
        texts: any. Numbers given to tokens hold for this call.
        tokenizer: ``"english"``; ``"characters"`` for single ones where a script has no spaces, and whole words
            elsewhere (`gpt4_instruct.languages.words`); ``"words"`` for jieba's words. All of them are lower-case, and
            punctuation is none.
        stemmer: cut English tokens of more than three characters to their stems by Porter's rules, as rouge-score does
            with ``use_stemmer=True``.

    Raises:
        UnknownNameError: there is no tokenizer of that name.
        MissingExtraError: jieba, or nltk for the stems, is not installed.
        UsageError: stems are asked for in Chinese, or there are more than a million different tokens.

    >>> one, other, last = encode(["Don't panic: pandas eat!", "DON eats pandas.", "熊猫"], "english")
    >>> len(one), one[0] == other[0], one[3] == other[2], one[4] == other[1], last
    (5, True, True, False, '')
    >>> [len(each) for each in encode(["熊猫喜欢Bamboo。"], "characters") + encode(["熊猫喜欢Bamboo。"], "words")]
    [5, 3]
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if stemmer and tokenizer in ("characters", "words"):
        raise UsageError(f"stems are English, but the tokenizer is {tokenizer!r}: leave the stemmer out")
    if not texts:
        return []
    stream = pa.array([_stream(texts, tokenizer)], pa.large_string())
    tokens = pc.ascii_split_whitespace(stream).values.dictionary_encode()
    numbers, end, different = tokens.indices.to_numpy(), tokens.dictionary.index(_END).as_py(), len(tokens.dictionary)
    if stemmer:
        stem = _porter()
        known: dict[str, int] = {}
        stems = [token if len(token) <= _SHORT else stem(token) for token in tokens.dictionary.to_pylist()]
        numbers = np.array([known.setdefault(each, len(known)) for each in stems])[numbers]
        end, different = known[_END], len(known)
    if different > _CHARACTERS:
        raise UsageError(f"there are {different} different tokens in a pair of texts, which are too many: shorten them")
    encoded: str = numbers.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    return encoded.split(chr(end))[:-1]


def _stream(texts: Sequence[str], tokenizer: str) -> bytes:
    """The tokens of all texts, parted by spaces, and the mark after those of each text."""
    if tokenizer == "english":
        joined = _joined(texts)
        for letter in () if joined.isascii() else _LOWER_IS_ASCII:
            joined = joined.replace(letter, letter.lower())
        return joined.encode("ascii", "replace").translate(_TO_TOKENS).strip()
    if tokenizer == "characters":
        return _joined([" ".join(words(text, "zh")) for text in texts]).encode().strip()
    if tokenizer == "words":
        cut = _jieba()
        # Of what jieba finds, words have a letter or a digit.
        found = [filter(_is_word, cut(unicodedata.normalize("NFKC", text).lower())) for text in texts]
        return _joined([" ".join(each) for each in found]).encode("utf-8", "replace").strip()
    raise UnknownNameError("tokenizer", tokenizer, [each for each in TOKENIZERS if each != "auto"])


def _joined(texts: Sequence[str]) -> str:
    joined = f" {_END} ".join([*texts, ""])
    if joined.count(_END) == len(texts):
        return joined
    return f" {_END} ".join([*(text.replace(_END, " ") for text in texts), ""])  # a text has the mark itself


def _is_word(token: str) -> bool:
    return any(map(str.isalnum, token))


@cache
def _porter() -> Callable[[str], str]:
    try:
        porter: Any = import_module("nltk.stem.porter")
    except ImportError:
        raise MissingExtraError("the stemmer", "nltk", "eval") from None
    return cache(porter.PorterStemmer().stem)  # 20 microseconds a stem


@cache
def _jieba() -> Callable[[str], list[str]]:
    try:
        import jieba
    except ImportError:
        raise MissingExtraError("the tokenizer of Chinese words", "jieba", "stats") from None
    jieba.setLogLevel("WARNING")  # it tells how long its dictionary took to load
    cut: Callable[[str], list[str]] = jieba.Tokenizer().lcut
    return cut
