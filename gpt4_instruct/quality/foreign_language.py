"""An English answer is in French, German or another language that its script does not give away.

`wrong_language` tells English from Chinese by counting characters; this check asks lingua (the extra ``audit``), whose
models are packaged with it. Only an audit runs it, so that a build gives the same rows whatever is installed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from gpt4_instruct.errors import MissingExtraError
from gpt4_instruct.languages import chinese_share
from gpt4_instruct.quality.base import Sample, check
from gpt4_instruct.quality.texts import CODE, code_task, excerpt, names_a_language

__all__ = ["foreign_language"]

# The languages that answers come in; each more makes it slower and likelier to see one in a list of names.
_LANGUAGES = (
    *("ENGLISH", "RUSSIAN", "UKRAINIAN", "ARABIC", "HINDI", "GREEK", "HEBREW", "JAPANESE", "KOREAN", "THAI"),
    *("FRENCH", "GERMAN", "SPANISH", "ITALIAN", "PORTUGUESE", "DUTCH", "TURKISH", "VIETNAMESE", "INDONESIAN"),
    *("POLISH", "SWEDISH", "DANISH", "ROMANIAN", "LATIN"),
)
_READ = 300  # characters: enough to be sure, and lingua's time grows with them
_FEWEST_WORDS = 8  # shorter texts are names and terms
_FEWEST_LETTERS = 12  # of other scripts, some of which have no spaces
_LEAST_CONFIDENCE = 0.01  # that it is in the expected language after all


@cache
def _detector() -> Any:
    try:
        from lingua import Language, LanguageDetectorBuilder
    except ImportError:
        raise MissingExtraError("the check foreign_language", "lingua", "audit") from None
    languages = [getattr(Language, name) for name in _LANGUAGES]
    return LanguageDetectorBuilder.from_languages(*languages).build(), Language.ENGLISH


@check("error", Sample("Name the capital of France.", "", "La capitale de la France est Paris, une ville très connue."))
def foreign_language(sample: Sample) -> str | None:
    """Fails an answer of some length that should be in English and, with near certainty, is not.

    Tasks that name a language or ask for a translation or code are exempt, and so are answers out of the task's words.

    Raises:
        MissingExtraError: lingua is not installed.

    >>> foreign_language(Sample("Say where you live.", "", "Ich wohne in einem kleinen Haus am Rande der Stadt."))
    "expected English; reads as German: 'Ich wohne in einem kleinen Haus am Rande der Stadt.'"
    >>> foreign_language(Sample("Say it in German.", "", "Ich wohne in einem kleinen Haus am Rande der Stadt.")) is None
    True
    """
    if sample.language != "en":
        return None
    text = " ".join(CODE.sub(" ", sample.output).split())[:_READ]
    words = text.split()
    a_sentence = len(words) >= _FEWEST_WORDS and (
        text.endswith((".", "!", "?", "…")) or len(words) >= 2 * _FEWEST_WORDS
    )
    if not a_sentence or chinese_share(text) or _plainly_english(words):
        return None
    if sum(word[:1].isupper() for word in words) * 5 > 2 * len(words):  # a list of names
        return None
    detector, english = _detector()
    found = detector.detect_language_of(text)
    if found is None or found == english or detector.compute_language_confidence(text, english) > _LEAST_CONFIDENCE:
        return None
    if names_a_language(f"{sample.instruction} {sample.input}") or code_task(sample.instruction):
        return None
    if sample.output.strip() in f"{sample.instruction} {sample.input}":
        return None
    return f"expected English; reads as {found.name.title()}: {excerpt(text)!r}"


_ENGLISH_WORDS = frozenset(
    ("the", "of", "and", "to", "is", "that", "it", "for", "with", "as", "are", "this", "be", "on", "by", "an", "you")
)


def _plainly_english(words: list[str]) -> bool:
    """Whether common English words make up a seventh of the text: so most rows need not be looked at for long."""
    return sum(word.lower() in _ENGLISH_WORDS for word in words) * 7 >= len(words)
