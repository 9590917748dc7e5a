"""The main verb of a Chinese text's first sentence and its object noun, from jieba's part-of-speech tags.

There is no good dependency parser of Simplified Chinese on PyPI with its model: spaCy's are not there, and udchinese (a
UDPipe model, half of it Classical Chinese) found the wrong pair more often than the right one in answers of GPT-4, at
fifteen times the cost. So this reads the tagged words of the first sentence from left to right, clause by clause, with
a few rules of grammar; of 50 pairs found in sentences that the rules were not made on, 37 were right when read by hand:

- greetings (是的, 抱歉), topics, and clauses that open with 如果, 由于, 作为 and the like are not the main clause;
- 可以, 需要 and the like before another verb only help it; after 在, 通过, 为 ... a phrase is skipped;
- a verb before 的 and a noun describes that noun; a verb phrase before 可以, 有, 是 is the subject;
- 是 is no verb here, as "be" is none in the English rule; 把 and 将 put the object first, and 被 leaves none;
- the object is the last noun of the phrase behind the verb, or of its first part where 和 or 、 join several.

Names and pronouns are no nouns, as in the English rule. The tags are those of ICTCLAS (v verb, n noun, r pronoun, p
preposition, c conjunction, d adverb, m numeral, q measure word, f place, u particle, x other).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from typing import NamedTuple

import gpt4_instruct.statistics.chinese_words as words
from gpt4_instruct.errors import MissingExtraError

__all__ = ["pairs"]


class _Word(NamedTuple):
    text: str
    tag: str


_LIST_MARK = re.compile(r"\W*(?:[0-9一二三四五六七八九十]{1,3}[.、)）]\W*)?")
_SENTENCE = re.compile(r"[^。！？!?；;\n]+")
_LONGEST_CHARACTERS = 300  # ten times the median sentence of the released Chinese data
_CLAUSE_ENDS = frozenset("，,：:—-→=")
_BRACKETS = re.compile(r"（[^）]*）|\([^)]*\)")
_TITLE = re.compile(r"《[^》]*》")  # a name, whatever words it is made of: 它 stands in for it


def pairs(texts: Sequence[str]) -> list[tuple[str, str] | None]:
    """The (verb, noun) of each text's first sentence; none where there is no such pair.

    Raises:
        MissingExtraError: jieba is not installed.

    >>> pairs(["1. 我们可以通过锻炼来提高身体的免疫力。", "天空是蓝色的。", "请把垃圾放进袋子。", ""])
    [('提高', '免疫力'), None, ('放进', '垃圾'), None]
    """
    tag = _tagger()
    return [_pair(tag, text) for text in texts]


@cache
def _tagger() -> Callable[[str], Iterable[tuple[str, str]]]:
    try:
        import jieba
        import jieba.posseg
    except ImportError:
        raise MissingExtraError("Chinese verb-noun statistics", "jieba", "stats") from None
    jieba.setLogLevel("WARNING")  # it tells how long its dictionary took to load
    tokenizer = jieba.Tokenizer()
    for word in words.NOUNS_UNKNOWN_TO_JIEBA:
        tokenizer.add_word(word, tag="n")
    cut: Callable[[str], Iterable[tuple[str, str]]] = jieba.posseg.POSTokenizer(tokenizer).cut
    return cut


def _pair(tag: Callable[[str], Iterable[tuple[str, str]]], text: str) -> tuple[str, str] | None:
    sentence = _SENTENCE.search(text, _LIST_MARK.match(text).end())  # type: ignore[union-attr]
    if sentence is None:
        return None
    clauses = list(_clauses(tag(_TITLE.sub("它", _BRACKETS.sub("", sentence[0][:_LONGEST_CHARACTERS])))))
    for clause, following in zip(clauses, [*clauses[1:], None], strict=True):
        if following is not None and _is_subordinate(clause, following):
            continue
        decided, pair = _read(clause)
        if decided:
            return pair
    return None


def _is_subordinate(clause: Sequence[_Word], following: Sequence[_Word]) -> bool:
    opening = {word.text for word in clause[: 2 if clause[0].tag == "c" else 1]}  # 但|作为
    if opening & words.SUBORDINATE or clause[-1].text in ("时", "后", "之后", "时候"):
        return True
    # The next one has the subject which this one lacks.
    alone = _acts(clause[0]) and not any(
        word.text in words.AFTER_A_SUBJECT or word.text in words.COPULA for word in clause
    )
    return alone and (following[0].tag == "r" or following[0].text in ("可以", "需要", "应该", "能够", "能"))


def _clauses(tagged: Iterable[tuple[str, str]]) -> Iterator[list[_Word]]:
    """The words between commas and colons; spaces and quotation marks are dropped."""
    clause: list[_Word] = []
    for text, tag in tagged:
        if tag in ("ul", "uz") and clause and clause[-1].tag == "vn":
            clause[-1] = _Word(clause[-1].text, "v")  # 分析|了
        if text in _CLAUSE_ENDS:
            if clause:
                yield clause
            clause = []
        elif tag != "x" or text == "、" or text.isalnum():
            tag = "r" if text in words.PRONOUNS else tag
            clause.append(_Word(text, "eng" if tag == "x" and text != "、" else tag))
    if clause:
        yield clause


def _read(clause: Sequence[_Word]) -> tuple[bool, tuple[str, str] | None]:
    """Whether the clause has the main verb, and the pair, if that has an object."""
    subject = False
    at = 0
    while at < len(clause):
        text, tag = clause[at]
        after = clause[at + 1] if at + 1 < len(clause) else _Word("", "")
        if text in words.PUT and (moved := _moved(clause, at)):
            return True, moved
        if text == "被":
            return True, None
        if text in words.COPULA or (text in ("为", "指") and not any(_acts(word) for word in clause[at + 1 :])):
            return (False, None) if after.tag in words.OF else (True, None)
        if tag == "p" or text == "作为":
            at = _behind_phrase(clause, at)
        elif text in words.HELPING and (text not in words.NEEDS or _helps(clause, at)):
            # The word behind it acts, even where it is tagged as a noun: 可以/设计.
            if after.tag == "vn" and at + 2 < len(clause) and not clause[at + 2].tag.startswith("u"):
                return True, _with_object(clause, at + 1)
            at += 1
        elif _acts(clause[at]) and text not in words.POLITE:
            if after.tag in words.OF or (at and clause[at - 1].tag in words.OF):
                at += 1  # it describes a noun
            elif after.text in ("后", "前", "时"):
                at += 2
            elif after.text in words.AFTER_A_SUBJECT:  # it is a noun, whatever its tag: 死刑/无法...
                at, subject = at + 1, True
            elif end := _behind_subject(clause, at, subject):
                at, subject = end, True
            else:
                return True, _with_object(clause, at)
        else:
            subject = subject or tag in (*words.NOUNS, *words.NAMES, "r")
            at += 1
    described = subject and len(clause) > 1 and clause[-1].tag == "a" and clause[-2].tag in ("d", "zg")
    return described, None  # 这个网站非常棒: the adjective says it all


def _acts(word: _Word) -> bool:
    return word.tag in ("v", "vg", "vi", "vq") and word.text not in words.NO_VERBS


def _helps(clause: Sequence[_Word], at: int) -> bool:
    """Whether the word stands before a verb, adverbs between them aside, and so is not the verb itself."""
    aside = ("d", "ad", "r") if clause[at].text in ("请", "让") else ("d", "ad")
    behind = next((word for word in clause[at + 1 :] if word.tag not in aside), _Word("", ""))
    return _acts(behind) or behind.tag == "p"


def _moved(clause: Sequence[_Word], at: int) -> tuple[str, str] | None:
    """The pair of 把 N V or 将 N V."""
    end = _phrase_end(clause, at + 1)
    noun = _head(clause[at + 1 : end])
    if noun and end < len(clause) and _acts(clause[end]):
        return clause[end].text, noun
    return None


def _behind_phrase(clause: Sequence[_Word], at: int) -> int:
    """Where a phrase with a preposition ends: behind 时, before 可以, ..., else behind its noun."""
    for index in range(at + 1, len(clause)):
        if clause[index].text in words.AFTER_A_PHRASE:
            return index + (clause[index].text not in words.HELPING)
    end = _phrase_end(clause, at + 1)
    return max(end, at + 1)


def _behind_subject(clause: Sequence[_Word], at: int, begun: bool) -> int | None:
    """Where the subject ends that the verb belongs to, as in 使用脚本|可以... and 影响健康的因素|有...

    Where a subject has `begun` before it, the verb is mostly the main one: 我们使用的方法|有... is the exception.
    """
    of = next((index for index in range(at + 1, len(clause)) if clause[index].tag in words.OF), len(clause))
    if not begun:
        for index in range(at + 2, len(clause)):
            relative = index < of < len(clause) and clause[index - 1].tag in ("m", "q", "p", "r")  # 一个|可以...的程序
            if clause[index].text in words.AFTER_A_SUBJECT and not relative:
                return index
    noun = _phrase_end(clause, of + 1)
    if of + 1 < noun < len(clause):
        follows = clause[noun]
        if follows.text in words.AFTER_A_SUBJECT or (not begun and follows.tag in ("v", "d")):
            return noun
    return None


def _with_object(clause: Sequence[_Word], verb: int) -> tuple[str, str] | None:
    at = verb + 1
    while at < len(clause) and (clause[at].text in words.ASPECT or clause[at].tag in ("ul", "uz", "ug")):
        at += 1
    end = _phrase_end(clause, at)
    noun = _head(clause[at:end])
    if end < len(clause) and _acts(clause[end]) and clause[verb].text not in words.CAUSING:
        last = end == len(clause) - 1 or clause[end + 1].tag in ("c", "x")
        if last and end > at and clause[end - 1].tag in (*words.NOUNS, "a", "b", "d"):
            noun = clause[end].text  # it has no object: tagged as a verb, it is a noun here, as in 提高|运动表现
    if (
        clause[verb].text in words.TELLING
        and end < len(clause)
        and (_acts(clause[end]) or clause[end].text in words.HELPING)
    ):
        return None  # what is told is a sentence of its own
    return (clause[verb].text, noun) if noun else None


def _phrase_end(clause: Sequence[_Word], at: int) -> int:
    """Where a noun phrase ends that starts at `at`; verbs are in it where they describe its noun, as in 给定的数据."""
    named = False  # a noun since the last 的
    counted = at < len(clause) and clause[at].tag in ("m", "mq", "r")
    for index in range(at, len(clause)):
        text, tag = clause[index]
        of = next((later for later in range(index + 1, len(clause)) if clause[later].tag in words.OF), 0)
        if tag in words.OF:
            named = False
        elif tag in words.NOUNS or tag in words.NAMES:
            named = True
        elif _acts(clause[index]):
            compound = (
                counted and index + 2 == len(clause) and clause[index + 1].tag in words.NOUNS
            )  # 一个数据|验证规则
            if not compound and not (of and (not named or _nominal(clause[index + 1 : of]))):
                return index
        elif tag == "p":
            if named or not of:
                return index
        elif (
            text == "来"
            or text in words.PUT
            or (text in words.HELPING and text not in words.NEEDS)
            or tag not in words.DESCRIBING
        ):
            return index
    return len(clause)


def _nominal(between: Sequence[_Word]) -> bool:
    """Whether a verb is a noun here, from the words up to 的: 信息|获取|和传播的效率, 员工|认可|在职场中的重要性."""
    in_a_place = bool(between) and between[-1].tag == "f"
    return in_a_place or not any(word.tag in (*words.NOUNS, *words.NAMES, "r") for word in between)


def _head(phrase: Sequence[_Word]) -> str | None:
    """The noun that a phrase is about: the last one of the first part behind the last 的."""
    start = max((index + 1 for index, word in enumerate(phrase) if word.tag in words.OF), default=0)
    head: _Word | None = None
    for word in phrase[start:]:
        if word.tag in words.NOUNS or word.tag in words.NAMES:
            head = word
        elif head is not None and (word.tag in ("c", "x") or word.tag in ("f", "r", "m")):
            break
    return head.text if head is not None and head.tag in words.NOUNS else None
