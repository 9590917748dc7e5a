"""Alpaca's rule on a cluster: which texts are novel, each compared with all kept before it, exactly as on one machine.

The rule goes text by text, but nearly all of its work is looking for the nearest of the texts kept so far, and these
hardly change from one text to the next. So it goes in rounds of some thousand texts:

1. Each worker has the index of all texts kept before the round, and looks up its share of the round's texts in it.
2. Those that are novel so far are compared with one another here, in order: they are kept, or near one of this round.
3. Each worker adds the kept ones to its index and, where it must be told which text is the nearest, compares its share
   of the others with those that the round has kept before them. While it does so, the next round is on its way.

So any number of workers finds the same, to the digit. The index is in every worker, so memory there grows with the
texts that are kept, not with those that are looked at (an audit keeps 200,000 at most); and step 2 is one process's
work for every text that is kept. Pairs of texts are never gathered: a family of a million texts in which one word
differs is a million lookups, where a join on rare tokens would write down half a trillion pairs.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from gpt4_instruct.cluster.rows import cluster, in_blocks
from gpt4_instruct.errors import UsageError
from gpt4_instruct.quality.novelty import NoveltyIndex

__all__ = ["ROUND", "kept", "nearest"]

ROUND = 4_000  # texts
_AHEAD = 4  # rounds whose answers may still be on their way

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
    waiting: deque[tuple[int, list[Any]]] = deque()
    count = 0  # of the kept texts
    try:
        for reference in rounds:
            batch = ray.get(reference)
            found = _woven(ray.get([actor.look.remote(reference) for actor in actors]), len(batch))
            own = NoveltyIndex(threshold, language)
            added: list[int] = []
            for place, near in enumerate(found):
                if most is not None and count + len(added) >= most:
                    break
                if near is None and own.add_if_novel(batch[place]):
                    added.append(place)
            count += len(added)
            waiting.append((len(batch), [actor.keep.remote(reference, found, added, tell) for actor in actors]))
            while len(waiting) > _AHEAD:
                yield from _settled(*waiting.popleft())
        while waiting:
            yield from _settled(*waiting.popleft())
    finally:
        for actor in actors:
            ray.kill(actor)


def _settled(size: int, answers: list[Any]) -> list[Near]:
    import ray

    return _woven(ray.get(answers), size)


def _woven(shares: Sequence[Sequence[Near]], size: int) -> list[Near]:
    """The workers' answers in the order of the texts: the first had the first, the second the second, and so on."""
    return [shares[place % len(shares)][place // len(shares)] for place in range(size)]


class _Index:
    """A worker: it has all texts that were kept, and looks up every so many of a round's texts."""

    def __init__(self, threshold: float, language: str, share: int, workers: int) -> None:
        self._kept = NoveltyIndex(threshold, language)
        self._rule = (threshold, language)
        self._share, self._workers = share, workers

    def look(self, texts: Sequence[str]) -> list[Near]:
        """What is near to this worker's share among the texts kept before the round."""
        return [self._kept.nearest(text) for text in texts[self._share :: self._workers]]

    def keep(self, texts: Sequence[str], found: Sequence[Near], added: Sequence[int], tell: bool) -> list[Near]:
        """Adds the texts that the round keeps, and says what is near to its share when these are there, too."""
        before, own = len(self._kept), NoveltyIndex(*self._rule)
        places = set(added)
        answers: list[Near] = []
        for place, near in enumerate(found):
            if place in places:
                if place % self._workers == self._share:
                    answers.append(None)
                own.add(texts[place])
                self._kept.add(texts[place])
            elif place % self._workers == self._share:
                late = own.nearest(texts[place]) if tell or near is None else None
                nearer = late is not None and (near is None or late[1] > near[1])
                answers.append((before + late[0], late[1]) if nearer and late is not None else near)
        return answers
