"""What answers do first: the root verb of each text's first sentence and its object, counted (PAPER.md, section 2).

``"I wrote a letter. ..."`` and ``"He has written three letters."`` both count for ``write, letter``; ``"Why?"`` for
none.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain, islice
from typing import Any

from gpt4_instruct.errors import MissingExtraError, UsageError
from gpt4_instruct.records import well_formed
from gpt4_instruct.statistics.chinese_pairs import pairs as chinese_pairs
from gpt4_instruct.statistics.english_pairs import pairs as english_pairs

__all__ = ["mixed_pairs", "most_common", "verb_noun_pairs"]

Pair = tuple[str, str]

_CHUNK = 500
# No longer beginning is looked at, so that a megabyte of text costs no more than a page.
_BEGINNING_CHARACTERS = 4_000
_FINDERS: dict[str, Callable[[Sequence[str]], list[Pair | None]]] = {
    "en": english_pairs,
    "zh": chinese_pairs,
}


def verb_noun_pairs(texts: Iterable[str], language: str = "en", processes: int | None = None) -> Iterator[Pair | None]:
    """The root verb of each text's first sentence and the noun that is its direct object, both as lemmas.

    Args:
        texts: they are read some thousands ahead, not all at once.
        language: ``"en"`` (by spaCy's parser, see `english_pairs`) or ``"zh"`` (by jieba's tags, see `chinese_pairs`).
        processes: how many work at once; by default one a core, and only this one for up to 1,000 texts, which are
            done before another has started.

    Yields:
        one for each text, in order: the pair, or none where the sentence has none.

    Raises:
        UsageError: another language, or no process at all.
        MissingExtraError: a library of the extra ``stats`` is not installed.

    >>> list(verb_noun_pairs(["I wrote three letters. I slept.", "Why?"]))
    [('write', 'letter'), None]
    >>> list(verb_noun_pairs(["他写了三篇文章。然后睡了。", "为什么？"], "zh"))
    [('写', '文章'), None]
    """
    return mixed_pairs(((text, language) for text in texts), processes)


def mixed_pairs(texts: Iterable[tuple[str, str]], processes: int | None = None) -> Iterator[Pair | None]:
    """What `verb_noun_pairs` gives, for texts that each bring their language.

    >>> list(mixed_pairs([("I wrote three letters.", "en"), ("他写了三篇文章。", "zh")]))
    [('write', 'letter'), ('写', '文章')]
    """
    if processes is not None and processes < 1:
        raise UsageError(f"{processes} processes cannot work: write 1 or more")
    beginnings = ((well_formed(text[:_BEGINNING_CHARACTERS]), language) for text, language in texts)
    chunks = iter(partial(_take, beginnings), [])
    if processes is None:
        first = list(islice(chunks, 3))
        chunks = chain(first, chunks)
        processes = 1 if len(first) < 3 else _cores()
    found = map(_find, chunks) if processes == 1 else _find_together(chunks, processes)
    return chain.from_iterable(found)


def most_common(pairs: Counter[Pair]) -> list[tuple[str, str, int]]:
    """(verb, noun, count), by count from high to low, then in the order of the alphabet, so that it never changes.

    >>> most_common(Counter([("write", "poem"), ("eat", "bread"), ("write", "poem")]))
    [('write', 'poem', 2), ('eat', 'bread', 1)]
    """
    rows = [(verb, noun, count) for (verb, noun), count in pairs.items()]
    return sorted(rows, key=lambda row: (-row[2], row[:2]))


def _take(texts: Iterator[tuple[str, str]]) -> list[tuple[str, str]]:
    return list(islice(texts, _CHUNK))


def _find(chunk: Sequence[tuple[str, str]]) -> list[Pair | None]:
    found: list[Pair | None] = [None] * len(chunk)
    for language in {language for _, language in chunk}:
        if language not in _FINDERS:
            raise UsageError(f"there are no verb-noun pairs for the language {language!r}: write en or zh")
        numbers = [number for number, text in enumerate(chunk) if text[1] == language]
        pairs = _FINDERS[language]([chunk[number][0] for number in numbers])
        for number, pair in zip(numbers, pairs, strict=True):
            found[number] = pair
    return found


def _cores() -> int:
    return int(_loky().cpu_count())


def _find_together(chunks: Iterable[list[tuple[str, str]]], processes: int) -> Iterator[list[Pair | None]]:
    # Its workers, unlike those of the standard library, do not run the caller's script once more; and one thread each,
    # since there are as many of them as cores.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    workers = _loky().get_reusable_executor(max_workers=processes, env=threads)
    waiting: deque[Any] = deque()
    try:
        for chunk in chunks:
            waiting.append(workers.submit(_find, chunk))
            if len(waiting) > 2 * processes:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _loky() -> Any:
    try:
        import loky
    except ImportError:
        raise MissingExtraError("verb-noun statistics in several processes", "loky", "stats") from None
    return loky
