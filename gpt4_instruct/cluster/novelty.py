"""Alpaca's rule on a cluster: which texts are novel, each compared with all kept before it, exactly as on one machine.

The rule goes text by text, but nearly all of its work is looking for the nearest of the texts kept so far, and these
hardly change from one text to the next. So it goes in rounds of some thousand texts:

1. Each worker has the index of its share of the texts that were kept, and looks for what is near to each text there.
2. Those that are novel so far are compared with one another here, in order: they are kept, or near one of this round.
3. Each worker adds its share of the kept ones.

So any number of workers finds the same, to the digit. A worker's memory, and its work for a text, grow with its share
of the texts that are kept, not with those that are looked at (an audit keeps 200,000 at most). Step 2 is one process's
work, a third of a millisecond for every text that is kept, and bounds what more workers can gain. Pairs of texts are
never gathered: a family of a million texts in which one word differs is a million lookups, where a join on rare tokens
would write down half a trillion pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gpt4_instruct.cluster.rows import cluster, in_blocks
from gpt4_instruct.errors import UsageError
from gpt4_instruct.quality.novelty import NoveltyIndex

__all__ = ["ROUND", "kept", "nearest"]

ROUND = 4_000  # texts

Near = tuple[int, float] | None


def kept(
    texts: Iterable[str],
    threshold: float = 0.7,
    language: str = "en",
    *,
    address: str = "",
) -> list[int]:
    """Which texts are kept: what `quality.novelty.kept` gives, found by the workers of a Ray cluster.

    Args:
        texts: in the order in which they are to be judged; they are read in rounds, never all at once.
        threshold: a text is dropped when its ROUGE-L F1 against a kept one is greater; over 0, up to 1.
        language: ``"en"`` or ``"zh"``.
        address: of the cluster, as of `cluster.connect.join`.

    Returns:
        the numbers of the kept texts, from 0, ascending.

    Raises:
        UsageError: the threshold is out of range, the language is unknown, one of `texts` is not a string, or the
            cluster is not reached.
        MissingExtraError: Ray is not installed.
        RunStoppedError: a worker failed.
    """
    if isinstance(texts, str):
        raise UsageError("texts is one string, not several: put it into a list")
    NoveltyIndex(threshold, language)  # raises for what cannot work
    with cluster(address) as workers:
        import ray

        rounds = map(ray.put, in_blocks(_checked(texts), ROUND))
        near = nearest(rounds, threshold, language, workers=workers, tell=False)
        return [number for number, found in enumerate(near) if found is None]


def _checked(texts: Iterable[str]) -> Iterator[str]:
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise UsageError(f"texts[{number}] is a {type(text).__name__}, not a string: leave it out or convert it")
        yield text


def nearest(
    rounds: Iterable[Any],
    threshold: float = 0.7,
    language: str = "en",
    *,
    workers: int,
    most: int | None = None,
    tell: bool = True,
) -> Iterator[Near]:
    """For each text, which of those kept before it is too similar, the most similar one; a text with none is kept.

    Args:
        rounds: references to lists of texts, in order, of some thousand each.
        threshold: as of `kept`.
        language: likewise.
        workers: how many look, in a process that is in a cluster.
        most: how many are kept; by default all that are novel.
        tell: whether it must be the nearest one; else it is one that is too similar.

    Yields:
        the number of that one among the kept texts, from 0, and their F1; the first of several; none where the text is
        novel.
    """
    import ray

    index: Any = ray.remote(_Index).options(num_cpus=1)
    actors = [index.remote(threshold, language, share, workers) for share in range(workers)]
    count = 0  # of the kept texts
    try:
        for reference in rounds:
            batch = ray.get(reference)
            looked = ray.get([actor.look.remote(reference) for actor in actors])
            found = [_best(each) for each in zip(*looked, strict=True)]
            own = NoveltyIndex(threshold, language)
            added: list[int] = []
            for place, near in enumerate(found):
                if len(own) and (tell or near is None):
                    late = own.nearest(batch[place])
                    near = found[place] = _best((near, late and (count + late[0], late[1])))
                if near is None and (most is None or count + len(own) < most):
                    own.add(batch[place])
                    added.append(place)
            for actor in actors:
                actor.keep.remote(reference, added, count)
            count += len(added)
            yield from found
    finally:
        for actor in actors:
            ray.kill(actor)


def _best(found: Sequence[Near]) -> Near:
    """The most similar of several; of equally similar ones, the one that was kept first."""
    return max((near for near in found if near is not None), key=lambda near: (near[1], -near[0]), default=None)


class _Index:
    """A worker: it has every so many of the texts that were kept."""

    def __init__(self, threshold: float, language: str, share: int, workers: int) -> None:
        self._index = NoveltyIndex(threshold, language)
        self._share, self._workers = share, workers

    def look(self, texts: Sequence[str]) -> list[Near]:
        """What is near to each text among those that are kept here."""
        found = [self._index.nearest(text) for text in texts]
        return [near and (near[0] * self._workers + self._share, near[1]) for near in found]

    def keep(self, texts: Sequence[str], added: Sequence[int], count: int) -> None:
        """Keeps this worker's share of the texts that a round added to so many before."""
        for number, place in enumerate(added, start=count):
            if number % self._workers == self._share:
                self._index.add(texts[place])
