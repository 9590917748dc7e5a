"""ROUGE-1, ROUGE-2 and ROUGE-L of many pairs of texts, digit for digit as rouge-score gives them, and much faster.

With n tokens in the prediction, m in the reference, and c in common, precision is c / n, recall c / m, and
F1 = 2PR / (P + R) (Lin, "ROUGE: A package for automatic evaluation of summaries", 2004). In common are, for ROUGE-1, as
many occurrences of a token as both texts have; for ROUGE-2 the same of pairs of neighbours, which are one fewer; for
ROUGE-L the longest common subsequence.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from itertools import count, pairwise
from typing import Any

__all__ = ["ROUGES", "score_tokens"]

ROUGES = ("rouge1", "rouge2", "rougeL")

_LAST_CHARACTER = 0x10FFFF


def score_tokens(
    predictions: Sequence[list[str]],
    references: Sequence[list[str]],
    rouges: Iterable[str] = ROUGES,
    *,
    workers: int = -1,
) -> dict[str, Any]:
    """Each pair's scores.

    Args:
        predictions: the tokens of each prediction.
        references: the tokens of each reference, in the same order.
        rouges: which of `ROUGES`.
        workers: threads for ROUGE-L; -1 for one a core.

    Returns:
        for each rouge a float64[pairs, 3]: precision, recall and F1, all 0 where there is nothing in common.

    >>> found = score_tokens([["the", "red", "fox"]], [["the", "fox", "is", "red"]])
    >>> {rouge: [round(float(each), 3) for each in scores[0]] for rouge, scores in found.items()}
    {'rouge1': [1.0, 0.75, 0.857], 'rouge2': [0.0, 0.0, 0.0], 'rougeL': [0.667, 0.5, 0.571]}
    """
    import numpy as np

    found = {}
    sizes = np.array([[len(one), len(other)] for one, other in zip(predictions, references, strict=True)], dtype=int)
    for rouge in rouges:
        if rouge == "rougeL":
            common = _longest_common(predictions, references, workers)
        elif rouge == "rouge1":
            common = [_in_common(one, other) for one, other in zip(predictions, references, strict=True)]
        else:
            pairs = zip(predictions, references, strict=True)
            common = [_in_common(pairwise(one), pairwise(other)) for one, other in pairs]
        found[rouge] = _scores(np.array(common, dtype=int), np.maximum(sizes - (rouge == "rouge2"), 0))
    return found


def _scores(common: Any, sizes: Any) -> Any:
    """float64[n, 3] of int[n] in common and int[n, 2] of each side: the operations of rouge-score, in their order."""
    import numpy as np

    precision, recall = (common / np.maximum(each, 1) for each in sizes.T)
    both = np.where(common, precision + recall, 1)
    return np.column_stack([precision, recall, 2 * precision * recall / both])


def _in_common(prediction: Iterable[Hashable], reference: Iterable[Hashable]) -> int:
    """How many occurrences both have."""
    counts = Counter(reference)
    if not counts:
        return 0
    times = Counter(prediction).get
    return sum([min(number, times(each, 0)) for each, number in counts.items()])


def _longest_common(predictions: Sequence[list[str]], references: Sequence[list[str]], workers: int) -> Any:
    """int64[n]: the length of each pair's longest common subsequence of tokens."""
    import numpy as np
    from rapidfuzz.distance import LCSseq
    from rapidfuzz.process import cpdist

    numbers: defaultdict[str, int] = defaultdict(count().__next__)
    packed = [[_packed([numbers[token] for token in tokens]) for tokens in side] for side in (predictions, references)]
    return cpdist(*packed, scorer=LCSseq.similarity, dtype=np.int64, workers=workers)


def _packed(sequence: list[int]) -> str | list[int]:
    """The numbers as characters of a string, which rapidfuzz reads three times faster, while there are characters."""
    return "".join(map(chr, sequence)) if max(sequence, default=0) <= _LAST_CHARACTER else sequence
