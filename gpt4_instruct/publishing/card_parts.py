"""Lays a rendered card into one that is there, so that what people wrote in it stays.

    ---
    license: cc-by-nc-4.0          the program's keys are renewed; keys, tags, ... that people added are kept
    thumbnail: cover.png
    ---

    What people wrote.             kept, byte for byte

    <!-- gpt4-instruct: rendered from here; ... -->
    # Instruction data ...         renewed as a whole
    <!-- gpt4-instruct: up to here; ... {"license": "cc-by-nc-4.0", ...} -->

    More of what people wrote.     kept, byte for byte

The second marker remembers which metadata the program wrote, so that the next rendering can tell a tag that it dropped
from one that somebody added; and, where a card with texts of people's was laid into another one, as a push does, the
hashes of these texts: so the next push can tell on which side one was changed. Both are HTML comments: no page shows
them.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from gpt4_instruct.errors import OutputError
from gpt4_instruct.publishing.card_metadata import merge_metadata, told
from gpt4_instruct.storage import replace_text

__all__ = ["merge_card", "read_card", "renew_card"]

_BEGIN = "<!-- gpt4-instruct: rendered from here; write above this line or below the next such one -->"
_END = "<!-- gpt4-instruct: up to here; metadata that were rendered: {} -->"
_BEGINS = re.compile(r"^[ \t]*<!-- gpt4-instruct: rendered from here\b[^\n]*-->[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
_ENDS = re.compile(r"^[ \t]*<!-- gpt4-instruct: up to here\b([^\n]*)-->[ \t]*\r?(?:\n|\Z)", re.MULTILINE)


_GAPS = re.compile(r"\n[ \t]*\r?\n\s*")  # between paragraphs
_ALIKE = 70  # of 100, from which on a text is taken for another wording of one; other texts come to about 50


class _Card(NamedTuple):
    """A card in its parts.

    Attributes:
        metadata: the YAML, as data.
        before: what stands between the YAML and the rendered part.
        body: the rendered part; none where the card has none, and all of its text is in `before`.
        after: what stands behind the rendered part.
        wrote: the metadata that the program wrote, as `card_metadata.told` tells them; none where that is not said.
        laid: the hashes of the texts above and below that were laid into this card last; empty where none were.
    """

    metadata: dict[Any, Any]
    before: str
    body: str | None
    after: str
    wrote: dict[str, Any] | None
    laid: tuple[str, str] = ("", "")


def merge_card(old: str | None, new: str) -> str:
    r"""The rendered card, with the hand-written parts of the card that it takes the place of.

    The body of `new` replaces the part between the markers. Of the YAML, keys of `new` win; other keys, and further
    items of lists (tags, languages, configs, results), are kept unless an earlier rendering wrote them; a licence, a
    name, ... that `old` knows stays where `new` has none or "unknown". A card without markers was written by somebody
    else: all of its text is kept above the rendered part. So it is where a marker is missing or stands there twice, and
    a YAML block that is broken is kept as text.

    Args:
        old: the card that is there; none if there is none.
        new: the rendered card, with markers or without. If people wrote around its markers, that is kept, too: in
            place of what was laid into `old` from there earlier, if it is a newer wording of it and `old` was not
            changed since.

    Returns:
        the card to be written, with markers; with the line ends of `old`. Merging `new` once more changes nothing.

    >>> print(merge_card("---\nlicense: mit\n---\n# Mine\n", "---\npretty_name: Ours\n---\n\n# Ours\n"))
    ---
    pretty_name: Ours
    license: mit
    ---
    # Mine
    <BLANKLINE>
    <!-- gpt4-instruct: rendered from here; write above this line or below the next such one -->
    <BLANKLINE>
    # Ours
    <BLANKLINE>
    <!-- gpt4-instruct: up to here; metadata that were rendered: {"pretty_name": "Ours"} -->
    <BLANKLINE>
    """
    ours = _parse(new.replace("\r\n", "\n"))
    body, above, below = (ours.before, "", "") if ours.body is None else (ours.body, ours.before, ours.after)
    wrote = told(ours.metadata) if ours.wrote is None else ours.wrote
    theirs = _parse(old or "")
    newline = "\r\n" if (old or "").partition("\n")[0].endswith("\r") else "\n"
    before, after = theirs.before, theirs.after
    if theirs.body is None and before.replace("\r\n", "\n").strip("\n") == body.strip("\n"):
        before = ""  # it is the rendered card itself, from before it was marked
    body, above, below = (text.replace("\n", newline) for text in (body.strip("\n"), above, below))
    laid = tuple(_hash(ours) or earlier for ours, earlier in zip((above, below), theirs.laid, strict=True))
    before, after = _laid(before, above, theirs.laid[0], newline), _laid(after, below, theirs.laid[1], newline)
    if not before.strip():
        before = newline
    elif theirs.body is None or not before.endswith("\n"):
        before += newline * (2 - (before.endswith("\n") + before.endswith(newline * 2)))
    remembered = json.dumps(wrote, ensure_ascii=False, default=str).replace(">", "\\u003e")
    remembered += f"; texts around it: {' '.join(each or '-' for each in laid)}" if any(laid) else ""
    part = f"{_BEGIN}{newline * 2}{body}{newline * 2}{_END.replace('{}', remembered)}{newline}"
    return (
        _yaml_block(merge_metadata(theirs.metadata, ours.metadata, theirs.wrote or {}, wrote), newline)
        + before
        + part
        + after
    )


def renew_card(path: Path, new: str) -> None:
    """Writes a rendered card to a file, whole or not at all, and keeps what people wrote in the one that is there.

    Raises:
        OutputError: the one that is there cannot be read, or the new one not written.
    """
    replace_text(path, merge_card(read_card(path), new))


def read_card(path: Path) -> str | None:
    """The text of a card with its line ends as they are; none if there is no such file.

    Raises:
        OutputError: it cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        raise OutputError(f"{path} is not UTF-8, so it cannot be renewed: save it as UTF-8") from error
    except OSError as error:
        raise OutputError(f"cannot read {path}: {error.strerror or error}") from error


def _parse(text: str) -> _Card:
    metadata, text = _split_yaml(text.removeprefix("\ufeff"))
    begins, ends = list(_BEGINS.finditer(text)), list(_ENDS.finditer(text))
    if len(begins) == len(ends) == 1 and begins[0].end() <= ends[0].start():
        (begin,), (end,) = begins, ends
        wrote, laid = _remembered(end[1])
        return _Card(metadata, text[: begin.start()], text[begin.end() : end.start()], text[end.end() :], wrote, laid)
    for mark in sorted([*begins, *ends], key=lambda each: each.start(), reverse=True):
        text = text[: mark.start()] + text[mark.end() :]  # a marker that marks nothing
    return _Card(metadata, text, None, "", None)


def _split_yaml(text: str) -> tuple[dict[Any, Any], str]:
    """The YAML block at the top as data, and the text below it; all is text where it is no mapping."""
    import yaml  # type: ignore[import-untyped]
    from huggingface_hub.repocard import REGEX_YAML_BLOCK  # the Hub's own

    match = REGEX_YAML_BLOCK.search(text)
    if match is None:
        return {}, text
    try:
        node = yaml.compose(match[2], Loader=yaml.SafeLoader)
        metadata = yaml.safe_load(match[2])
    except (yaml.YAMLError, ArithmeticError, AttributeError, RecursionError, TypeError, ValueError):
        return {}, text
    if metadata is None:  # an empty block, unless there is a comment in it, which somebody wrote
        return {}, text if match[2].strip() else text[match.end() :]
    if not isinstance(metadata, dict) or len(metadata) != len(node.value):  # a key that is there twice
        return {}, text
    return metadata, text[match.end() :]


def _yaml_block(metadata: dict[Any, Any], newline: str) -> str:
    import yaml

    if not metadata:
        return ""
    text = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip().replace("\n", newline)
    return f"---{newline}{text}{newline}---{newline}"


def _laid(theirs: str, ours: str, laid: str, newline: str) -> str:
    """A hand-written part of the card that is there, and ours: the one that is newer, or both.

    Args:
        theirs: the part there.
        ours: of the new card.
        laid: the hash of what was laid into it last.
        newline: of the card.
    """
    from rapidfuzz import fuzz

    if not ours.strip() or ours.strip() == theirs.strip() or _hash(ours) == laid:
        return theirs  # only there was it changed since, if at all
    if not theirs.strip():
        return ours
    for start in (0, *(gap.end() for gap in _GAPS.finditer(theirs))):  # what was laid is the end of it
        if _hash(theirs[start:]) == laid and fuzz.partial_ratio(theirs[start:].strip(), ours.strip()) >= _ALIKE:
            return theirs[:start] + (ours.lstrip("\r\n") if start else ours)
    if ours.strip() in theirs:
        return theirs
    return theirs + newline * (not theirs.endswith("\n")) + newline + ours.lstrip("\r\n")


def _hash(text: str) -> str:
    """Of a text as it is read: without its line ends and what is empty around it; nothing of an empty one."""
    plain = "\n".join(text.split("\r\n")).strip()
    return hashlib.sha256(plain.encode("utf-8", "surrogatepass")).hexdigest()[:16] if plain else ""


def _remembered(text: str) -> tuple[dict[str, Any] | None, tuple[str, str]]:
    """What an end marker says: the metadata that were rendered, and the hashes of the texts that were laid there."""
    hashes = re.search(r"; texts around it: ([0-9a-f]{16}|-) ([0-9a-f]{16}|-) *$", text)
    laid = (hashes[1].strip("-"), hashes[2].strip("-")) if hashes else ("", "")
    try:
        found = json.loads(text[text.index("{") : hashes.start() if hashes else None])
    except (ValueError, RecursionError):
        return None, laid
    return found if isinstance(found, dict) else None, laid
