"""What answers do first: the root verb of each text's first sentence and its object, counted (PAPER.md, section 2).

["I wrote a letter.", "He wrote letters.", "Why?"] ──▶ ("write", "letter"), ("write", "letter"), None
                                                   ──▶ verb,noun,count
                                                       write,letter,2
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice

from gpt4_instruct.errors import MissingExtraError, UsageError
from gpt4_instruct.records import well_formed
from gpt4_instruct.statistics import chinese_pairs, english_pairs

__all__ = ["most_common", "verb_noun_pairs"]

Pair = tuple[str, str]

_CHUNK = 500
# No longer beginning is looked at, so that a megabyte of text costs no more than a page.
_BEGINNING_CHARACTERS = 4_000
_FINDERS: dict[str, Callable[[Sequence[str]], list[Pair | None]]] = {
    "en": english_pairs.pairs,
    "zh": chinese_pairs.pairs,
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
    if language not in _FINDERS:
        raise UsageError(f"there are no verb-noun pairs for the language {language!r}: write en or zh")
    if processes is not None and processes < 1:
        raise UsageError(f"{processes} processes cannot work: write 1 or more")
    return _pairs(texts, _FINDERS[language], processes)


def most_common(pairs: Counter[Pair]) -> list[tuple[str, str, int]]:
    """(verb, noun, count), by count from high to low, then in the order of the alphabet, so that it never changes.

    >>> most_common(Counter([("write", "poem"), ("eat", "bread"), ("write", "poem")]))
    [('write', 'poem', 2), ('eat', 'bread', 1)]
    """
    rows = [(verb, noun, count) for (verb, noun), count in pairs.items()]
    return sorted(rows, key=lambda row: (-row[2], row[:2]))


def _pairs(
    texts: Iterable[str], find: Callable[[Sequence[str]], list[Pair | None]], processes: int | None
) -> Iterator[Pair | None]:
    beginnings = (well_formed(text[:_BEGINNING_CHARACTERS]) for text in texts)
    chunks = iter(lambda: list(islice(beginnings, _CHUNK)), [])
    if processes is None:
        first = list(islice(chunks, 3))
        chunks = chain(first, chunks)
        processes = 1 if len(first) < 3 else -1
    if processes == 1:
        yield from chain.from_iterable(map(find, chunks))
        return
    try:
        from joblib import Parallel, delayed
    except ImportError:
        raise MissingExtraError("verb-noun statistics in several processes", "joblib", "stats") from None
    # joblib's workers, unlike the standard library's, do not run the caller's script again.
    workers = Parallel(n_jobs=processes, return_as="generator", batch_size=1)
    yield from chain.from_iterable(workers(delayed(find)(chunk) for chunk in chunks))
