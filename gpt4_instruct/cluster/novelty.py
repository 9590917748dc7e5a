"""Alpaca's rule on a cluster: which texts are novel, each compared with all kept before it, exactly as on one machine.

The rule goes text by text, but nearly all of its work is looking for the nearest of the texts kept so far, and these
hardly change from one text to the next. So it goes in rounds of some thousand texts, each worker having an index of all
texts that were kept, and of each round its share of the texts to look for:

1. The workers look for what is near among the texts kept before the round. Those near to nothing may be kept.
2. The workers look for what is near among those earlier ones of the round that may be kept.
3. Here it is decided, in order, which of them are kept, and all workers add these.

So any number of workers finds the same, to the digit. To look is far more work than to add, which each of them does for
all; a kept text takes some 400 bytes of each worker's memory, so ten million of them are 4 GB. (An audit keeps 200,000
at most.) For more, and where the rule itself is not what is wanted, there is `cluster.minhash`. But pairs of texts are
gathered within a round only: a family of a million texts in which one word differs is a million lookups here, where a
join on rare tokens would write down half a trillion pairs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from gpt4_instruct.cluster.rows import cluster, in_blocks
from gpt4_instruct.errors import UsageError
from gpt4_instruct.quality.novelty import NoveltyIndex

__all__ = ["ROUND", "kept", "nearest"]

ROUND = 2_000  # texts
_TRIES = 4  # of a share of a round whose worker is lost
_PLACE_S = 30.0  # that workers have to find a place

Near = tuple[int, float] | None

_T = TypeVar("_T")


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

    crew = _Crew(threshold, language, workers)
    count = 0  # of the kept texts
    try:
        for reference in rounds:
            found = crew.ask("before", reference)
            novel = [place for place, near in enumerate(found) if near is None]
            asked = range(len(found)) if tell else novel
            within = crew.ask("within", reference, novel, asked)
            numbers: dict[int, int] = {}  # of those of `novel` that are kept: which kept text they are
            for place, nears in zip(asked, within, strict=True):
                late = ((numbers[one], score) for one, score in nears if one in numbers)
                found[place] = max(
                    (near for near in (found[place], *late) if near is not None),
                    key=lambda near: (near[1], -near[0]),  # of equally similar ones, the one that was kept first
                    default=None,
                )
                if found[place] is None and (most is None or count + len(numbers) < most):
                    numbers[bisect_left(novel, place)] = count + len(numbers)
            texts = ray.get(reference)
            crew.add([texts[novel[one]] for one in numbers])
            count += len(numbers)
            yield from found
    finally:
        crew.end()


class _Crew:
    """The workers. One that is lost is replaced by another that is given all that was kept before."""

    def __init__(self, threshold: float, language: str, workers: int) -> None:
        import ray

        self._how = threshold, language
        self._kept: list[Any] = []  # references to what each round kept
        actors = {(actor := self._hire(num_cpus=1)).there.remote(): actor for _ in range(workers)}
        # Where others have CPUs of the cluster, perhaps for ever, those that have a place do the work.
        there, waiting = ray.wait(list(actors), num_returns=workers, timeout=_PLACE_S)
        if not there:
            there, waiting = ray.wait(waiting)
        for each in waiting:
            ray.kill(actors.pop(each))
        self._actors = list(actors.values())

    def _hire(self, num_cpus: int) -> Any:
        import ray

        actor: Any = ray.remote(_Index).options(num_cpus=num_cpus).remote(*self._how)
        for kept in self._kept:
            actor.add.remote(kept)
        return actor

    def ask(self, what: str, *values: Any) -> list[Any]:
        """What the workers say of a round, each of its share, in the order of the texts."""
        import ray

        workers = len(self._actors)
        asked = [getattr(actor, what).remote(share, workers, *values) for share, actor in enumerate(self._actors)]
        shares = []
        for share, answer in enumerate(asked):
            for rest in reversed(range(_TRIES)):
                try:
                    shares.append(ray.get(answer))
                    break
                except ray.exceptions.RayActorError:
                    if not rest:
                        raise
                    # With a machine, its CPUs are lost, too: another worker would wait for one in vain.
                    self._actors[share] = self._hire(num_cpus=0)
                    answer = getattr(self._actors[share], what).remote(share, workers, *values)
        return _in_turn(shares)

    def add(self, texts: list[str]) -> None:
        """Has all of them keep some texts."""
        import ray

        if texts:
            self._kept.append(ray.put(texts))
            for actor in self._actors:
                actor.add.remote(self._kept[-1])

    def end(self) -> None:
        """Ends them."""
        import ray

        for actor in self._actors:
            ray.kill(actor)


def _in_turn(shares: Sequence[Sequence[_T]]) -> list[_T]:
    """What each worker found of every so many texts, in the order of the texts.

    >>> _in_turn(["ace", "bd"])
    ['a', 'b', 'c', 'd', 'e']
    """
    return [shares[place % len(shares)][place // len(shares)] for place in range(sum(map(len, shares)))]


class _Index:
    """A worker: it has all texts that were kept, and looks at every so many of a round."""

    def __init__(self, threshold: float, language: str) -> None:
        self._index = NoveltyIndex(threshold, language)

    def there(self) -> None:
        """Says that it has a place."""

    def before(self, share: int, workers: int, texts: Sequence[str]) -> list[Near]:
        """What is near to each text of a worker's share among those kept before."""
        return [self._index.nearest(text) for text in texts[share::workers]]

    def within(
        self, share: int, workers: int, texts: Sequence[str], novel: Sequence[int], asked: Sequence[int]
    ) -> list[list[tuple[int, float]]]:
        """All that is near to each asked text of a worker's share among the earlier novel ones of the round.

        Args:
            share: the worker's number, from 0.
            workers: how many there are.
            texts: of the round.
            novel: the places of those that are near to none that was kept before.
            asked: the places of those that are asked for.

        Returns:
            of each, places in `novel` and F1s.
        """
        index = NoveltyIndex(self._index.threshold, self._index.language)
        found = []
        for place in asked[share::workers]:
            while len(index) < len(novel) and novel[len(index)] < place:
                index.add(texts[novel[len(index)]])
            found.append(index.similar(texts[place]))
        return found

    def add(self, texts: Sequence[str]) -> None:
        """Adds what a round keeps."""
        for text in texts:
            self._index.add(text)
