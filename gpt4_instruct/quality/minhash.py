"""Finds texts that are nearly the same by MinHash, for any number of them.

The Jaccard similarity of two texts' word triples (in Chinese, character triples) is estimated by 128 permutations
(Broder, 1997: the standard error is at most 1/sqrt(4 * 128), 0.044). Unlike `novelty` it is no exact rule, and its
cost a text hardly grows with their number.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpt4_instruct.errors import MissingExtraError
from gpt4_instruct.languages import words

__all__ = ["SIMILAR", "Signer", "Similar", "grams"]

SIMILAR = 0.8
_PERMUTATIONS = 128
_GRAM = 3
_LONGEST = 20_000  # characters


def grams(tokens: list[str], size: int = _GRAM) -> set[bytes]:
    """The runs of so many tokens; one of all, where there are fewer.

    >>> sorted(grams(["a", "red", "fox"], 2))
    [b'a red', b'red fox']
    """
    return {" ".join(tokens[place : place + size]).encode() for place in range(max(1, len(tokens) - size + 1))}


class Signer:
    """Makes MinHash signatures: bytes, of which those of like sets are alike in like shares.

    Args:
        feature: what needs it, for the error.
        permutations: how many numbers a signature has.

    Raises:
        MissingExtraError: datasketch is not installed.
    """

    def __init__(self, feature: str, permutations: int = _PERMUTATIONS) -> None:
        try:
            from datasketch import MinHash
        except ImportError:
            raise MissingExtraError(feature, "datasketch", "audit") from None
        self._empty: Any = MinHash(num_perm=permutations)

    def sign(self, shingles: Iterable[bytes]) -> bytes:
        """The signature of a set."""
        hashed = self._empty.copy()
        hashed.update_batch(sorted(shingles))
        return bytes(hashed.hashvalues.tobytes())

    def minhash(self, signature: bytes) -> Any:
        """A signature as datasketch has it."""
        import numpy as np

        hashed = self._empty.copy()
        hashed.hashvalues = np.frombuffer(signature, dtype=hashed.hashvalues.dtype)
        return hashed


class Similar:
    """Texts so far, of which a new one may be nearly one.

    Args:
        feature: what needs it, for the error.
        fewest: words; shorter texts are alike by nature, and are not looked at.

    Raises:
        MissingExtraError: datasketch is not installed.
    """

    def __init__(self, feature: str, fewest: int) -> None:
        self._signer = Signer(feature)
        from datasketch import MinHashLSH

        self._fewest = fewest
        self._index: Any = MinHashLSH(threshold=SIMILAR, num_perm=_PERMUTATIONS)
        self._hashes: dict[int, Any] = {}

    @property
    def bands(self) -> tuple[int, int, int]:
        """How many bands a signature has, of how many numbers each, and of how many in all: see `find`."""
        return self._index.b, self._index.r, _PERMUTATIONS

    def signature(self, text: str, language: str) -> bytes | None:
        """What is compared of a text; none where that is too short."""
        tokens = words(text[:_LONGEST], language)
        return None if len(tokens) < self._fewest else self._signer.sign(grams(tokens))

    def find(self, signature: bytes, row: int) -> tuple[int, float] | None:
        """The row of an earlier text that this one is nearly, and the similarity; where there is none, keeps it.

        Compared are those that have a band in common.
        """
        hashed = self._signer.minhash(signature)
        near = [(hashed.jaccard(self._hashes[other]), -other) for other in self._index.query(hashed) if other != row]
        best = max(near, default=(0.0, 0))
        if best[0] >= SIMILAR:
            return -best[1], best[0]
        if row not in self._hashes:
            self._index.insert(row, hashed, check_duplication=False)
            self._hashes[row] = hashed
        return None
