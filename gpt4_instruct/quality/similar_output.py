"""Nearly the same answer stands at an earlier row, by MinHash.

The Jaccard similarity of two answers' word triples (in Chinese, character triples) is estimated by 128 permutations
(Broder, 1997: the standard error is at most 1/sqrt(4 * 128), 0.044). Unlike `near_duplicate` it is no exact rule, and
its cost a row hardly grows with their number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gpt4_instruct.errors import MissingExtraError
from gpt4_instruct.languages import words
from gpt4_instruct.quality.base import Sample, check

__all__ = ["SimilarOutput"]

_SIMILAR, _PERMUTATIONS = 0.8, 128
_GRAM = 3
_FEWEST = 8  # words; shorter answers are alike by nature
_LONGEST = 20_000  # characters


@check(
    "info",
    Sample("Praise the sea.", "", "The sea is wide and blue and it never sleeps, not even at night."),
    Sample("Praise water.", "", "The sea is wide and blue and it never sleeps, not even at night!"),
    optional=True,
)
class SimilarOutput:
    """Fails a row whose answer shares about 80 % of its word triples with an earlier row's.

    Raises:
        MissingExtraError: datasketch is not installed.
    """

    def __init__(self) -> None:
        try:
            from datasketch import MinHash, MinHashLSH
        except ImportError:
            raise MissingExtraError("the check similar_output", "datasketch", "audit") from None
        self._minhash: Any = MinHash
        self._index: Any = MinHashLSH(threshold=_SIMILAR, num_perm=_PERMUTATIONS)
        self._hashes: dict[int, Any] = {}
        self._rows: list[int] = []

    def __call__(self, sample: Sample, row: int) -> str | None:
        tokens = words(sample.output[:_LONGEST], sample.language)
        if len(tokens) < _FEWEST:
            return None
        grams = {" ".join(tokens[place : place + _GRAM]).encode() for place in range(len(tokens) - _GRAM + 1)}
        hashed = self._minhash(num_perm=_PERMUTATIONS)
        hashed.update_batch(sorted(grams))
        near = [(hashed.jaccard(self._hashes[number]), -number) for number in self._index.query(hashed)]
        best = max(near, default=(0.0, 0))
        if best[0] >= _SIMILAR:
            return f"nearly the answer of row {self._rows[-best[1]]} (Jaccard about {best[0]:.2f})"
        number = len(self._rows)
        self._index.insert(number, hashed, check_duplication=False)
        self._hashes[number] = hashed
        self._rows.append(row)
        return None

    def finish(self) -> Iterator[tuple[int | None, str]]:
        """Nothing more."""
        return iter(())
