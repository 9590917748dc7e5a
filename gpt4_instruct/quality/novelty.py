"""Whether a text says something new: the rule by which Alpaca kept instructions, at a small part of its cost.

A text is kept unless its token ROUGE-L F1 against some text kept before is over a threshold, which is 0.7 in
Self-Instruct (arXiv 2212.10560, section 2.2) and Alpaca. With a longest common subsequence of l tokens between texts of
n and m, P = l / m, R = l / n and F1 = 2PR / (P + R). It is computed here in the floats that rouge-score computes it in,
so that a pair exactly at the threshold falls on the same side, whichever way they round.

Nearly all pairs are told apart without a longest common subsequence, which is never longer than the tokens in common
are many. Put the tokens of every text into one order, the rarest first. Where two texts are similar enough, their first
tokens must already have some in common: as long as what comes after would not do alone, even beside a text that has
nothing else. So only these first tokens are in the index (prefix filter: Chaudhuri et al., "A primitive operator for
similarity joins in data cleaning", ICDE 2006). Of a text found there, the common ones among the first are counted; of
the text whose first tokens end earlier in the order, only the rest can be common, too. Each bound on l is put into the
same F1, which never falls as l grows. A token that occurs again in a text counts as another token, so that common
tokens are common occurrences.

The order may be any, while it is the same for all. The tokens are counted again whenever the kept texts have doubled.
"""

from __future__ import annotations

from array import array
from bisect import bisect
from collections import Counter
from collections.abc import Iterable
from typing import Any

from gpt4_instruct.errors import UsageError
from gpt4_instruct.languages import words

__all__ = ["NoveltyIndex", "f1", "kept"]

_UNSEEN = -1  # stands for every token that no kept text has
_FIRST_COUNT = 256  # kept texts at which tokens are counted for the first time
_LAST_CHARACTER = 0x10FFFF


def kept(texts: Iterable[str], threshold: float = 0.7, language: str = "en") -> list[int]:
    """Which texts are kept, each compared with all that were kept before it.

    Args:
        texts: in the order in which they are to be judged. A text without a token is always kept.
        threshold: a text is dropped when its ROUGE-L F1 against a kept one is greater; over 0, up to 1.
        language: ``"en"`` or ``"zh"``, by which `gpt4_instruct.languages.words` finds the tokens.

    Returns:
        the numbers of the kept texts, from 0, ascending.

    Raises:
        UsageError: the threshold is out of range, the language is unknown, or one of `texts` is not a string.

    >>> kept(["Write a story about a red fox.", "write a story about a RED dog", "Name three rivers."])
    [0, 2]
    """
    if isinstance(texts, str):
        raise UsageError("texts is one string, not several: put it into a list")
    index = NoveltyIndex(threshold, language)
    found = []
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise UsageError(f"texts[{number}] is a {type(text).__name__}, not a string: leave it out or convert it")
        if index.add_if_novel(text):
            found.append(number)
    return found


class NoveltyIndex:
    """The texts kept so far, by which a new one is novel or too similar. It grows text by text, in one thread.

    Args:
        threshold: texts are too similar when their ROUGE-L F1 is greater; over 0, up to 1.
        language: ``"en"`` or ``"zh"``, by which `gpt4_instruct.languages.words` finds the tokens.

    Raises:
        UsageError: the threshold is out of range, or the language is unknown.

    >>> index = NoveltyIndex()
    >>> index.add("Write a story about a red fox."), index.add("Name three rivers.")
    (0, 1)
    >>> index.nearest("Write a story about a big red fox.")
    (0, 0.9333333333333333)
    >>> index.add_if_novel("Name three tall trees."), index.add_if_novel("Name three rivers!"), len(index)
    (True, False, 3)
    """

    def __init__(self, threshold: float = 0.7, language: str = "en") -> None:
        words("", language)  # raises for an unknown language
        self.threshold = _checked(threshold)
        self.language = language
        # A feature is a token, at its first occurrence in a text, or (number of the token, 2) at its second, ...
        self._features: dict[str | tuple[int, int], int] = {}
        self._counts: list[int] = []  # of each feature: how many kept texts have it
        self._places: list[int] = []  # of each feature: its place in the order, the rarest first
        self._texts: list[str | list[int]] = []  # of each kept text: its tokens, as numbers of features, packed
        self._postings: dict[int, array[int]] = {}  # of a feature: the numbers of texts that have it among their first
        # Of each kept text three numbers: how many features it has, the place of the last of its first ones, and how
        # many features come after that.
        self._facts = array("q")
        self._prefixes: dict[int, int] = {}  # of a number of features: how many of them are the first
        self._count_again_at = _FIRST_COUNT

    def __len__(self) -> int:
        return len(self._texts)

    def nearest(self, text: str) -> tuple[int, float] | None:
        """The most similar of the kept texts that `text` is too similar to, the first of them if several are.

        Returns:
            that text's number, counted from 0 in the order of adding, and the F1; none when `text` is novel.

        Raises:
            UsageError: `text` is not a string.
        """
        return self._nearest(self._tokens(text))

    def similar(self, text: str) -> list[tuple[int, float]]:
        """All of the kept texts that `text` is too similar to, in the order of adding.

        Returns:
            of each, its number and the F1, as of `nearest`.

        Raises:
            UsageError: `text` is not a string.
        """
        sequence = [self._features.get(token, _UNSEEN) for token in self._tokens(text)]
        numbers = self._candidates(sequence)
        found = dict.fromkeys(self._equal(sequence, numbers), 1.0)
        if others := [number for number in numbers if number not in found]:
            found.update(zip(others, self._scores(sequence, others).tolist(), strict=True))
        return [(number, score) for number, score in sorted(found.items()) if score > self.threshold]

    def closest(self, text: str) -> float:
        """The highest F1 of `text` with any kept text, however low: all of them are looked at, which `nearest` avoids.

        Raises:
            UsageError: `text` is not a string.
        """
        import numpy as np
        from rapidfuzz.distance import LCSseq
        from rapidfuzz.process import cdist

        sequence = [self._features.get(token, _UNSEEN) for token in self._tokens(text)]
        if not sequence or not self._texts:
            return 0.0
        common = cdist([sequence], self._texts, scorer=LCSseq.similarity, dtype=np.int64)[0]
        lengths = np.frombuffer(self._facts, dtype=np.int64)[::3]
        some = common > 0
        return float(f1(common[some], len(sequence), lengths[some]).max(initial=0.0))

    def add(self, text: str) -> int:
        """Adds a text, novel or not (a seed, say); returns its number. Raises UsageError if it is not a string."""
        return self._add(self._tokens(text))

    def add_if_novel(self, text: str) -> bool:
        """Adds a text unless it is too similar to one before; says whether it did.

        To learn what it is too similar to, ask `nearest`, and `add` the text where that gives none.

        Raises:
            UsageError: `text` is not a string.
        """
        tokens = self._tokens(text)
        if self._nearest(tokens) is not None:
            return False
        self._add(tokens)
        return True

    def _tokens(self, text: str) -> list[str]:
        if not isinstance(text, str):
            raise UsageError(f"the text is a {type(text).__name__}, not a string: leave it out or convert it")
        return words(text, self.language)

    def _nearest(self, tokens: list[str]) -> tuple[int, float] | None:
        sequence = [self._features.get(token, _UNSEEN) for token in tokens]
        numbers = self._candidates(sequence)
        equal = self._equal(sequence, numbers)
        if equal:
            return (equal[0], 1.0) if self.threshold < 1 else None
        if not numbers:
            return None
        scores = self._scores(sequence, numbers)
        best = int(scores.argmax())
        return (numbers[best], float(scores[best])) if scores[best] > self.threshold else None

    def _equal(self, sequence: list[int], numbers: list[int]) -> list[int]:
        """Those of some kept texts that have the same tokens: if they are long, comparing them would take seconds."""
        packed = None if _UNSEEN in sequence else _packed(sequence)
        return [number for number in numbers if self._texts[number] == packed]

    def _scores(self, sequence: list[int], numbers: list[int]) -> Any:
        """The F1 with some kept texts."""
        import numpy as np
        from rapidfuzz.distance import LCSseq
        from rapidfuzz.process import cdist

        texts = [self._texts[number] for number in numbers]
        common = cdist([sequence], texts, scorer=LCSseq.similarity, dtype=np.int64)[0]
        return f1(common, len(sequence), np.array([len(text) for text in texts]))

    def _candidates(self, sequence: list[int]) -> list[int]:
        """The numbers of the kept texts that may be too similar, ascending."""
        import numpy as np

        length = len(sequence)
        known = sorted(self._features_of(sequence), key=self._places.__getitem__)
        unseen = length - len(known)  # no kept text has them, so they may come first
        first = known[: max(0, self._prefix(length) - unseen)]
        found = [np.frombuffer(self._postings[each], dtype=np.int64) for each in first if each in self._postings]
        if not found:
            return []
        numbers, common = np.unique(np.concatenate(found), return_counts=True)
        lengths, ends, rests = np.frombuffer(self._facts, dtype=np.int64).reshape(-1, 3)[numbers].T
        rest = np.where(ends < self._places[first[-1]], rests, len(known) - len(first))
        most = np.minimum(common + rest, np.minimum(length, lengths))
        found_numbers: list[int] = numbers[f1(most, length, lengths) > self.threshold].tolist()
        return found_numbers

    def _add(self, tokens: list[str]) -> int:
        sequence = [self._feature(token) for token in tokens]
        features = self._features_of(sequence, new=True)
        for feature in features:
            self._counts[feature] += 1
        self._texts.append(_packed(sequence))
        self._post(len(self._texts) - 1, features)
        if len(self._texts) == self._count_again_at:
            self._count_again()
        return len(self._texts) - 1

    def _post(self, number: int, features: list[int]) -> None:
        """Puts the first features of a text into the index."""
        first = sorted(features, key=self._places.__getitem__)[: self._prefix(len(features))]
        for feature in first:
            self._postings.setdefault(feature, array("q")).append(number)
        end = self._places[first[-1]] if first else 0
        self._facts.extend((len(features), end, len(features) - len(first)))

    def _count_again(self) -> None:
        """Orders the features by how many texts have them, and makes the index anew."""
        for place, feature in enumerate(sorted(range(len(self._counts)), key=self._counts.__getitem__)):
            self._places[feature] = place
        self._postings.clear()
        self._facts = array("q")
        for number, text in enumerate(self._texts):
            self._post(number, self._features_of([*map(ord, text)] if isinstance(text, str) else text))
        self._count_again_at *= 2

    def _prefix(self, length: int) -> int:
        """How many features are the first: a text that has only what comes after, and nothing else, is not similar."""
        if length not in self._prefixes:
            rests = range(1, length + 1)
            too_few = bisect(rests, False, key=lambda rest: bool(f1(rest, length, rest) > self.threshold))
            self._prefixes[length] = length - too_few
        return self._prefixes[length]

    def _feature(self, key: str | tuple[int, int]) -> int:
        feature = self._features.setdefault(key, len(self._features))
        if feature == len(self._places):
            self._places.append(-feature)  # until they are counted again, the new ones are taken for the rarest
            self._counts.append(0)
        return feature

    def _features_of(self, sequence: list[int], *, new: bool = False) -> list[int]:
        """A text's tokens and their further occurrences, as far as they are known; with `new`, all of them are made."""
        tokens = [token for token in sequence if token != _UNSEEN]
        if len(set(tokens)) == len(tokens):
            return tokens
        features = []
        times: Counter[int] = Counter()
        for token in tokens:
            times[token] += 1
            key = (token, times[token])
            if times[token] == 1:
                features.append(token)
            elif new:
                features.append(self._feature(key))
            elif key in self._features:
                features.append(self._features[key])
        return features


def _packed(sequence: list[int]) -> str | list[int]:
    """The numbers as characters of a string, while there are characters: rapidfuzz reads that three times faster.

    It takes a character for its number, so a string can be compared with a list.
    """
    return "".join(map(chr, sequence)) if max(sequence, default=0) <= _LAST_CHARACTER else sequence


def _checked(threshold: Any) -> float:
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
        raise UsageError(f"threshold is {threshold!r}: give a number over 0 and up to 1, such as 0.7")
    return float(threshold)


def f1(common: Any, n: int, m: Any) -> Any:
    """F1 of `common` > 0 tokens in order between texts of `n` and of `m`; of int, or of arrays of int64.

    Digit for digit what `rouge_score.scoring.fmeasure` gives: the same operations on the same floats. It is the same
    with n and m exchanged.
    """
    precision = common / m
    recall = common / n
    return 2 * precision * recall / (precision + recall)
