"""The tokens by which ROUGE compares texts, in English and Chinese, and how long a reference is.

``english`` has the tokens of rouge-score's own tokenizer, runs of a-z and 0-9, and none of all other letters: two texts
that are the same in Chinese have no token in common. ``characters`` and ``words`` are for such texts.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import cache
from importlib import import_module

from gpt4_instruct.errors import MissingExtraError, UnknownNameError, UsageError
from gpt4_instruct.languages import chinese_share, words

__all__ = ["TOKENIZERS", "UNITS", "choose", "find_tokenizer", "length"]

TOKENIZERS = ("auto", "english", "characters", "words")
# What a reference's length is counted in.
UNITS = {"english": "whitespace words", "characters": "characters", "words": "words"}

_WORD = re.compile(r"[^\W_]")
_SHORT = 3  # rouge-score stems longer tokens only


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


def find_tokenizer(name: str, *, stemmer: bool = False) -> Callable[[str], list[str]]:
    """The function that finds a text's tokens: lower-case, without punctuation.

    Args:
        name: ``"english"``; ``"characters"`` for single ones where a script has no spaces, and whole words elsewhere;
            ``"words"`` for jieba's words.
        stemmer: cut English tokens of more than three characters to their stems by Porter's rules, as rouge-score does
            with ``use_stemmer=True``.

    Raises:
        UnknownNameError: there is no tokenizer of that name.
        MissingExtraError: jieba, or nltk for the stems, is not installed.
        UsageError: there are no stems in Chinese.

    >>> find_tokenizer("english")("Don't panic, 熊猫!"), find_tokenizer("english", stemmer=True)("Pandas eating")
    (['don', 't', 'panic'], ['panda', 'eat'])
    >>> find_tokenizer("characters")("熊猫吃Bamboo。"), find_tokenizer("words")("熊猫喜欢吃竹子。")
    (['熊', '猫', '吃', 'bamboo'], ['熊猫', '喜欢', '吃', '竹子'])
    """
    if stemmer and name in ("characters", "words"):
        raise UsageError(f"stems are English, but the tokenizer is {name!r}: leave the stemmer out")
    if name == "english":
        return _stems if stemmer else lambda text: words(text, "en")
    if name == "characters":
        return lambda text: words(text, "zh")
    if name == "words":
        cut = _jieba()
        return lambda text: [word for word in cut(unicodedata.normalize("NFKC", text).lower()) if _WORD.search(word)]
    raise UnknownNameError("tokenizer", name, [each for each in TOKENIZERS if each != "auto"])


def length(text: str, tokens: list[str], tokenizer: str) -> int:
    """How long a text is, in the unit of `UNITS`; in English, how many parts spaces make of it, as in the paper.

    >>> length("Don't panic!", ["don", "t", "panic"], "english"), length("你好！", ["你", "好"], "characters")
    (2, 2)
    """
    return len(text.split()) if tokenizer == "english" else len(tokens)


def _stems(text: str) -> list[str]:
    stem = _porter()
    return [token if len(token) <= _SHORT else stem(token) for token in words(text, "en")]


@cache
def _porter() -> Callable[[str], str]:
    try:
        porter = import_module("nltk.stem.porter")
    except ImportError:
        raise MissingExtraError("the stemmer", "nltk", "eval") from None
    return cache(porter.PorterStemmer().stem)  # a text's words are few, and a stem takes 20 microseconds


@cache
def _jieba() -> Callable[[str], list[str]]:
    try:
        import jieba
    except ImportError:
        raise MissingExtraError("the tokenizer of Chinese words", "jieba", "stats") from None
    jieba.setLogLevel("WARNING")  # it tells how long its dictionary took to load
    cut: Callable[[str], list[str]] = jieba.Tokenizer().lcut
    return cut
