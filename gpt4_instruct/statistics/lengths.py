"""How long answers are, in words, characters and tokens: histograms as in PAPER.md, section 2, and quantiles.

A word of English is what stands between spaces, as in the paper. A word of Chinese is one Han character, or a run of
other letters or digits, as word processors count them (`languages.words`). Tokens are counted only by a tokenizer that
the caller names: none can be had without a download, and none counts as another does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

from gpt4_instruct.errors import MissingExtraError, UsageError
from gpt4_instruct.languages import words

__all__ = ["count_words", "length_summary", "token_counter"]

_LONGEST = 512  # the paper's generation limit, in tokens, and the end of its histogram, in words
_BINS = 100
_QUANTILES = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "p99": 0.99}

Tokenizer = Callable[[str], Sequence[Any]]


def count_words(text: str, language: str = "en") -> int:
    """The number of words in a text.

    >>> count_words("It's 7 o'clock."), count_words("现在是北京时间7点。", "zh")
    (3, 9)
    """
    return len(words(text, "zh")) if language == "zh" else len(text.split())


def token_counter(tokenizer: str | Tokenizer) -> Callable[[Sequence[str]], list[int]]:
    """A function from texts to their numbers of tokens, special tokens not counted.

    Args:
        tokenizer: a folder or a Hub id of a transformers tokenizer, or a function from a text to its tokens.

    Raises:
        MissingExtraError: a name is given, and transformers is not installed.
        UsageError: there is no tokenizer of that name.

    >>> token_counter(str.split)(["one two", ""])
    [2, 0]
    """
    if callable(tokenizer):
        return lambda texts: [len(tokenizer(text)) for text in texts]
    try:
        from transformers import AutoTokenizer
    except ImportError:
        raise MissingExtraError("counting tokens by a tokenizer's name", "transformers", "local") from None
    from huggingface_hub.errors import HfHubHTTPError

    try:
        loaded = AutoTokenizer.from_pretrained(tokenizer)
    except (HfHubHTTPError, OSError, ValueError) as error:
        line = (str(error).strip() or type(error).__name__).split("\n")[0]
        raise UsageError(f"there is no tokenizer {tokenizer}: {line}. Give a folder or a Hub id") from None

    def count(texts: Sequence[str]) -> list[int]:
        if not texts:
            return []
        return [len(ids) for ids in loaded(list(texts), add_special_tokens=False, verbose=False)["input_ids"]]

    return count


def length_summary(lengths: Counter[int]) -> dict[str, Any]:
    """Mean, quantiles and histogram of lengths.

    Args:
        lengths: how often each length occurs.

    Returns:
        ``count``, ``mean``, ``min``, ``p5``, ``p25``, ``median``, ``p75``, ``p95``, ``p99``, ``max``, ``above_512``
        (the share of longer ones), and ``histogram``: the counts in 100 bins of equal width over 0..512 (the last one
        holds 512) and in one more for all above. Each quantile is the least length that so many do not exceed.

    >>> summary = length_summary(Counter({10: 3, 600: 1}))
    >>> summary["count"], summary["mean"], summary["median"], summary["p95"], summary["above_512"]
    (4, 157.5, 10, 600, 0.25)
    >>> len(summary["histogram"]), summary["histogram"][1], summary["histogram"][-1]
    (101, 3, 1)
    """
    histogram = [0] * (_BINS + 1)
    for length, count in lengths.items():
        histogram[_BINS if length > _LONGEST else min(length * _BINS // _LONGEST, _BINS - 1)] += count
    total = lengths.total()
    if not total:
        return {"count": 0, "histogram": histogram}
    ordered = sorted(lengths)
    sums = list(accumulate(lengths[length] for length in ordered))
    return {
        "count": total,
        "mean": sum(length * count for length, count in lengths.items()) / total,
        "min": ordered[0],
        **{name: _quantile(ordered, sums, share) for name, share in _QUANTILES.items()},
        "max": ordered[-1],
        "above_512": histogram[_BINS] / total,
        "histogram": histogram,
    }


def _quantile(ordered: Sequence[int], sums: Sequence[int], share: float) -> int:
    return next(length for length, below in zip(ordered, sums, strict=True) if below >= share * sums[-1])
