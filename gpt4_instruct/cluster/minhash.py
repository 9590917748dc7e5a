"""Deduplication at scale: MinHash signatures, bands as keys, pairs that are verified, and their connected components.

    texts ──▶ signatures (map_batches) ──▶ a row for each band, keyed by it (shuffle) ──▶ pairs in the buckets, verified
          ──▶ components ──▶ the first text of each is kept

Two texts come into one bucket where the numbers of a band are equal, which they are with the chance J^rows for a
Jaccard similarity of J: a pair is found with 1 - (1 - J^rows)^bands (Leskovec, Rajaraman, Ullman, "Mining of Massive
Datasets", section 3.4). A pair is looked at in the first band that it shares only. Texts that are equal in what is
compared are one text in this, so that copies make no pairs.

`duplicates` is for ROUGE-L F1. A longest common subsequence is part of the tokens in common, so an F1 over f has a
Jaccard similarity of the tokens over f / (2 - f): for 0.8 that is 0.667, where shingles of several words would have
lost most of it. So its shingles are single words, each further occurrence a word of its own, in 25 bands of 5: a pair
at 0.667 is found with 97 %, one at 0.75 with 99.9 %, and one at 0.3, of which there are many, looked at with 6 %. Each
candidate's F1 is computed, so what is found is right.

What costs is buckets of many: the comparisons grow with the square of the largest family of texts that are nearly, but
not quite, the same. What comes back to the caller is a row for each pair, which is what the components are made of
there, by union-find: 24 bytes a pair, some hundred million of them on one machine; the texts stay where they are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from gpt4_instruct.cluster.rows import by_key, cluster, in_blocks
from gpt4_instruct.errors import UsageError
from gpt4_instruct.languages import words
from gpt4_instruct.quality.minhash import Signer
from gpt4_instruct.quality.novelty import f1

__all__ = ["TEXTS", "Bands", "Duplicates", "components", "duplicates", "equal_share", "pairs", "signatures_table"]

_LEAST = 0.75
TEXTS = 4_000  # of a table of signatures, which becomes one of as many bands for each of them
_AT_ONCE = 1_000  # texts of a bucket that are compared with all of it at once

Pair = tuple[int, int, float]
# From the payloads of some texts and of others to their similarities: an array with a row for each of the first.
Score = Callable[[list[bytes], list[bytes]], Any]


@dataclass(frozen=True, slots=True)
class Bands:
    """How signatures are cut.

    Attributes:
        count: how many bands there are.
        rows: of how many numbers each is.
        permutations: how many numbers a signature has.
    """

    count: int
    rows: int
    permutations: int


_OF_WORDS = Bands(25, 5, 125)


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What `duplicates` found.

    Attributes:
        first: of each text that is one too many, the first text of its component; both are numbers from 0.
        pairs: those that were found: two numbers, the smaller one first, and the F1.
        texts: how many there were.
    """

    first: dict[int, int]
    pairs: list[Pair]
    texts: int

    def kept(self) -> list[int]:
        """The numbers of the texts that remain, ascending."""
        return [number for number in range(self.texts) if number not in self.first]


def duplicates(
    texts: Iterable[str],
    threshold: float = 0.8,
    language: str = "en",
    *,
    address: str = "",
) -> Duplicates:
    """Which texts are nearly an earlier one, found by the workers of a Ray cluster.

    Unlike `novelty.kept` it is no greedy rule: what is similar to something similar is in one component with it, and of
    each component the first text is kept, in whatever order they are looked at.

    Args:
        texts: they are read in blocks, never all at once.
        threshold: a pair has a greater ROUGE-L F1; from 0.75, below which too few pairs would be found, up to 1.
        language: ``"en"`` or ``"zh"``.
        address: of the cluster, as of `cluster.connect.join`.

    Raises:
        UsageError: the threshold is out of range, the language is unknown, or the cluster is not reached.
        MissingExtraError: Ray or datasketch is not installed.
        RunStoppedError: a worker failed.
    """
    if not _LEAST <= threshold <= 1:
        raise UsageError(
            f"threshold is {threshold!r}: give a number from {_LEAST} to 1, or use novelty, which is exact"
        )
    words("", language)  # raises for an unknown language
    _signer()
    with cluster(address) as workers:
        import ray

        sign = ray.remote(_signed).options(num_cpus=1)
        tables: list[Any] = []
        count = 0
        for block in in_blocks(texts, TEXTS):
            tables.append(sign.remote(count, block, language))
            count += len(block)
            ray.wait(tables, num_returns=max(1, len(tables) - 2 * workers))  # no more wait their turn
        found = list(pairs(tables, count, _OF_WORDS, _rouge_l, threshold, workers=workers))
    return Duplicates(components(found), found, count)


def _signer() -> Signer:
    return Signer("deduplication on a cluster", _OF_WORDS.permutations)


def _signed(first: int, texts: list[str], language: str) -> Any:
    """The signatures of a block; a text without a token is like no other."""
    signer = _signer()
    numbers, signatures, payloads = [], [], []
    for number, text in enumerate(texts, start=first):
        tokens = words(text, language)
        if tokens:
            times: Counter[str] = Counter()
            occurrences = []
            for token in tokens:
                times[token] += 1
                occurrences.append(f"{token} {times[token]}".encode())
            numbers.append(number)
            signatures.append(signer.sign(occurrences))
            payloads.append(" ".join(tokens).encode())
    return signatures_table(numbers, signatures, payloads)


def signatures_table(numbers: Sequence[int], signatures: Sequence[bytes], payloads: Sequence[bytes] = ()) -> Any:
    """An Arrow table of texts, as `pairs` takes it.

    Args:
        numbers: of the texts, none twice.
        signatures: theirs.
        payloads: what they are compared by; by default the signatures.
    """
    import pyarrow

    signed = pyarrow.array(signatures, pyarrow.binary())
    compared = pyarrow.array(payloads, pyarrow.binary()) if payloads else signed
    return pyarrow.table({"number": pyarrow.array(numbers, pyarrow.int64()), "signature": signed, "payload": compared})


def pairs(
    tables: Sequence[Any],
    count: int,
    bands: Bands,
    score: Score,
    threshold: float,
    *,
    workers: int,
    at_least: bool = False,
) -> Iterator[Pair]:
    """The pairs of texts that share a band and are similar, each once.

    Of texts with one payload only the first is paired with others; the further ones are paired with it, at 1.0.

    Args:
        tables: references to tables of `signatures_table`.
        count: how many texts there are, or more.
        bands: how their signatures are cut.
        score: how similar payloads are.
        threshold: pairs are more similar.
        workers: how many there are, in a process that is in a cluster.
        at_least: whether pairs may also be just as similar.

    Yields:
        the numbers of two texts, the smaller one first, and how similar they are; in no order.
    """
    rows = by_key(
        tables,
        count * bands.count,
        lambda table: _in_buckets(table, score, threshold, at_least),
        workers,
        lambda table: _by_band(table, bands),
    )
    for row in rows:
        yield row["first"], row["second"], row["score"]


def _by_band(table: Any, bands: Bands) -> Any:
    """A row for each band of each text: its key, which band it is, and the keys of all."""
    import hashlib

    import numpy as np
    import pyarrow

    signatures = table.column("signature").to_pylist()
    keys = np.empty((len(signatures), bands.count), dtype=np.int64)
    for place, signature in enumerate(signatures):
        width = len(signature) // bands.permutations * bands.rows
        for band in range(bands.count):
            part = signature[band * width : (band + 1) * width]
            key = hashlib.blake2b(part, digest_size=8, salt=band.to_bytes(2, "big")).digest()
            keys[place, band] = int.from_bytes(key, "big", signed=True)
    repeated = np.repeat(np.arange(len(signatures)), bands.count)
    return pyarrow.table(
        {
            "key": keys.ravel(),
            "band": np.tile(np.arange(bands.count, dtype=np.int32), len(signatures)),
            "number": table.column("number").take(repeated),
            "keys": pyarrow.array([row.tobytes() for row in keys], pyarrow.binary()).take(repeated),
            "payload": table.column("payload").take(repeated),
        }
    )


def _in_buckets(table: Any, score: Score, threshold: float, at_least: bool) -> Any:
    """The pairs in each bucket."""
    import numpy as np
    import pyarrow

    table = table.sort_by([("key", "ascending"), ("number", "ascending")])
    keys = table.column("key").to_numpy()
    edges = np.flatnonzero(np.diff(keys, prepend=keys[:1] - 1, append=keys[-1:] + 1))
    found: list[tuple[Any, Any, Any]] = []
    for start, stop in pairwise(edges):
        if stop - start > 1:
            found += _in_bucket(table.slice(start, stop - start), score, threshold, at_least)
    columns = zip(*found, strict=True) if found else ((), (), ())
    first, second, scores = (np.concatenate(each) if each else np.array([]) for each in columns)
    return pyarrow.table(
        {"first": first.astype(np.int64), "second": second.astype(np.int64), "score": scores.astype(np.float64)}
    )


def _in_bucket(bucket: Any, score: Score, threshold: float, at_least: bool) -> Iterator[tuple[Any, Any, Any]]:
    import numpy as np

    band = bucket.column("band")[0].as_py()
    numbers, payloads = bucket.column("number").to_numpy(), bucket.column("payload").to_pylist()
    distinct: dict[bytes, int] = {}
    copies = [
        (distinct[each], place) for place, each in enumerate(payloads) if distinct.setdefault(each, place) != place
    ]
    if copies and band == 0 and (threshold < 1 or at_least):
        first, second = np.array(copies).T
        yield numbers[first], numbers[second], np.ones(len(copies))
    places = np.fromiter(distinct.values(), dtype=np.int64)
    if len(places) < 2:
        return
    texts = list(distinct)
    numbers = numbers[places]
    keys = np.array([np.frombuffer(bucket.column("keys")[int(place)].as_py(), dtype=np.int64) for place in places])
    for start in range(0, len(places), _AT_ONCE):
        scores = score(texts[start : start + _AT_ONCE], texts[start:])
        similar = np.triu(scores >= threshold if at_least else scores > threshold, k=1)
        first, second = np.nonzero(similar)
        value = scores[first, second]
        first, second = first + start, second + start
        # A pair that shares an earlier band, too, was found there.
        here = ~(keys[first, :band] == keys[second, :band]).any(axis=1)
        yield numbers[first[here]], numbers[second[here]], value[here]


def equal_share(signatures: list[bytes], others: list[bytes], numbers: int) -> Any:
    """The Jaccard similarity as signatures estimate it: the share of their numbers that are equal.

    Args:
        signatures: of some texts.
        others: of other ones.
        numbers: how many each has.
    """
    import numpy as np

    def read(each: list[bytes]) -> Any:
        width = len(each[0]) // numbers
        return np.frombuffer(b"".join(each), dtype=f"V{width}" if width > 8 else f"u{width}").reshape(
            len(each), numbers
        )

    one, two = read(signatures), read(others)
    return np.array([(two == row).sum(axis=1) for row in one]) / float(numbers)


def _rouge_l(texts: list[bytes], others: list[bytes]) -> Any:
    """ROUGE-L F1 of texts of tokens with spaces between."""
    import numpy as np
    from rapidfuzz.distance import LCSseq
    from rapidfuzz.process import cdist

    numbers: dict[bytes, int] = {}
    one, two = (
        [[numbers.setdefault(token, len(numbers)) for token in text.split(b" ")] for text in each]
        for each in (texts, others)
    )
    common = cdist(one, two, scorer=LCSseq.similarity, dtype=np.int64)
    n: Any = np.array([*map(len, one)])[:, None]
    m: Any = np.array([*map(len, two)])[None, :]
    return np.where(common > 0, f1(np.maximum(common, 1), n, m), 0.0)


def components(found: Iterable[Pair]) -> dict[int, int]:
    """Of each text that is connected with an earlier one by pairs, the first one of its component.

    >>> components([(1, 4, 0.9), (4, 7, 0.9), (2, 3, 0.9)])
    {3: 2, 4: 1, 7: 1}
    """
    parent: dict[int, int] = {}

    def root(text: int) -> int:
        while (above := parent.get(text, text)) != text:
            parent[text] = text = parent.get(above, above)
        return text

    for first, second, _ in found:
        one, two = sorted((root(first), root(second)))
        if one != two:
            parent[two] = one
    return {text: root(text) for text in sorted(parent)}
