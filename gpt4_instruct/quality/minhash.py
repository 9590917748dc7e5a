"""Finds texts that are nearly the same by MinHash, for any number of them.

The Jaccard similarity of two texts' word triples (in Chinese, character triples) is estimated by 128 permutations
(Broder, 1997: the standard error is at most 1/sqrt(4 * 128), 0.044). Unlike `novelty` it is no exact rule, and its
cost a text hardly grows with their number.
"""

from __future__ import annotations

from typing import Any

from gpt4_instruct.errors import MissingExtraError
from gpt4_instruct.languages import words

__all__ = ["Similar"]

_SIMILAR, _PERMUTATIONS = 0.8, 128
_GRAM = 3
_LONGEST = 20_000  # characters


class Similar:
    """Texts so far, of which a new one may be nearly one.

    Args:
        feature: what needs it, for the error.
        fewest: words; shorter texts are alike by nature, and are not looked at.

    Raises:
        MissingExtraError: datasketch is not installed.
    """

    def __init__(self, feature: str, fewest: int) -> None:
        try:
            from datasketch import MinHash, MinHashLSH
        except ImportError:
            raise MissingExtraError(feature, "datasketch", "audit") from None
        self._fewest = fewest
        self._minhash: Any = MinHash
        self._index: Any = MinHashLSH(threshold=_SIMILAR, num_perm=_PERMUTATIONS)
        self._hashes: dict[int, Any] = {}

    def find(self, text: str, language: str, row: int) -> tuple[int, float] | None:
        """The row of an earlier text that this one is nearly, and the similarity; where there is none, keeps it."""
        tokens = words(text[:_LONGEST], language)
        if len(tokens) < self._fewest:
            return None
        grams = {" ".join(tokens[place : place + _GRAM]).encode() for place in range(len(tokens) - _GRAM + 1)}
        hashed = self._minhash(num_perm=_PERMUTATIONS)
        hashed.update_batch(sorted(grams))
        near = [(hashed.jaccard(self._hashes[other]), -other) for other in self._index.query(hashed) if other != row]
        best = max(near, default=(0.0, 0))
        if best[0] >= _SIMILAR:
            return -best[1], best[0]
        if row not in self._hashes:
            self._index.insert(row, hashed, check_duplication=False)
            self._hashes[row] = hashed
        return None
