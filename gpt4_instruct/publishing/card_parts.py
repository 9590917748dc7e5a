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
from one that somebody added. Both are HTML comments: no page shows them.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from gpt4_instruct.errors import OutputError
from gpt4_instruct.storage import replace_text

__all__ = ["merge_card", "read_card", "renew_card"]

_BEGIN = "<!-- gpt4-instruct: rendered from here; write above this line or below the next such one -->"
_END = "<!-- gpt4-instruct: up to here; metadata that were rendered: {} -->"
_BEGINS = re.compile(r"^[ \t]*<!-- gpt4-instruct: rendered from here\b[^\n]*-->[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
_ENDS = re.compile(r"^[ \t]*<!-- gpt4-instruct: up to here\b([^\n]*)-->[ \t]*\r?(?:\n|\Z)", re.MULTILINE)
_REPLACED = ("size_categories",)  # lists of which one value alone can be true
_THEIRS = ("pretty_name",)  # values that people name better
_UNKNOWN = (None, "", "unknown")  # values that give way to what people know


class _Card(NamedTuple):
    """A card in its parts.

    Attributes:
        metadata: the YAML, as data.
        before: what stands between the YAML and the rendered part.
        body: the rendered part; none where the card has none, and all of its text is in `before`.
        after: what stands behind the rendered part.
        wrote: the metadata that the program wrote, as `_told` tells them; none where the card does not say.
    """

    metadata: dict[Any, Any]
    before: str
    body: str | None
    after: str
    wrote: dict[str, Any] | None


def merge_card(old: str | None, new: str) -> str:
    r"""The rendered card, with the hand-written parts of the card that it takes the place of.

    The body of `new` replaces the part between the markers. Of the YAML, keys of `new` win; other keys, and further
    items of lists (tags, languages, configs, results), are kept unless an earlier rendering wrote them; a licence, a
    name, ... that `old` knows stays where `new` has none or "unknown". A card without markers was written by somebody
    else: all of its text is kept above the rendered part. So it is where a marker is missing or stands there twice, and
    a YAML block that is broken is kept as text.

    Args:
        old: the card that is there; none if there is none.
        new: the rendered card, with markers or without. If people wrote around its markers, that is kept, too.

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
    wrote = _told(ours.metadata) if ours.wrote is None else ours.wrote
    theirs = _parse(old or "")
    newline = "\r\n" if (old or "").partition("\n")[0].endswith("\r") else "\n"
    before, after = theirs.before, theirs.after
    if theirs.body is None and before.replace("\r\n", "\n").strip("\n") == body.strip("\n"):
        before = ""  # it is the rendered card itself, from before it was marked
    body, above, below = (text.replace("\n", newline) for text in (body.strip("\n"), above, below))
    before, after = _joined(before, above, newline), _joined(after, below, newline)
    if not before.strip():
        before = newline
    elif theirs.body is None or not before.endswith("\n"):
        before += newline * (2 - (before.endswith("\n") + before.endswith(newline * 2)))
    remembered = json.dumps(wrote, ensure_ascii=False, default=str).replace(">", "\\u003e")
    part = f"{_BEGIN}{newline * 2}{body}{newline * 2}{_END.replace('{}', remembered)}{newline}"
    return _yaml_block(_merged(theirs, ours.metadata), newline) + before + part + after


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
        wrote = _remembered(end[1])
        return _Card(metadata, text[: begin.start()], text[begin.end() : end.start()], text[end.end() :], wrote)
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
    if metadata is None:
        return {}, text[match.end() :]
    if not isinstance(metadata, dict) or len(metadata) != len(node.value):  # a key that is there twice
        return {}, text
    return metadata, text[match.end() :]


def _yaml_block(metadata: dict[Any, Any], newline: str) -> str:
    import yaml

    if not metadata:
        return ""
    text = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True).strip().replace("\n", newline)
    return f"---{newline}{text}{newline}---{newline}"


def _joined(text: str, other: str, newline: str) -> str:
    """A hand-written part, and another one behind it unless it is in it already."""
    if not other.strip() or other.strip() in text:
        return text
    if not text.strip():
        return other
    return text + newline * (not text.endswith("\n")) + newline + other.lstrip("\r\n")


# --- metadata -------------------------------------------------------------------------------------------------------


def _merged(theirs: _Card, ours: dict[Any, Any]) -> dict[Any, Any]:
    """Our metadata in our order, then what is somebody's own."""
    wrote = theirs.wrote or {}
    merged: dict[Any, Any] = {}
    for key, value in ours.items():
        old = theirs.metadata.get(key)
        if isinstance(value, list) and key not in _REPLACED:
            merged[key] = _lists(key, old, value, wrote.get(key))
        else:
            gives_way = key in _THEIRS or (isinstance(value, str | None) and value in _UNKNOWN)
            merged[key] = old if gives_way and old is not None and not _is_of(old, wrote.get(key)) else value
    for key, old in theirs.metadata.items():
        if key in ours or (key in wrote and _is_of(old, wrote[key])):
            continue
        if key in wrote and isinstance(wrote[key], list) and isinstance(old, list):
            old = _lists(key, old, [], wrote[key])
            if not old:
                continue
        merged[key] = old
    defaults = [each for each in _mappings(merged.get("configs")) if each.get("default")]
    for each in defaults[:-1]:  # the Hub takes one; somebody's own is the last
        merged["configs"] = [
            {name: value for name, value in config.items() if name != "default"} if config is each else config
            for config in merged["configs"]
        ]
    return merged


def _lists(key: str, old: Any, new: list[Any], wrote: Any) -> list[Any]:
    """The new items, then the old ones that are neither among them nor written by an earlier rendering."""
    items = old if isinstance(old, list) else [] if old is None else [old]
    if key == "model-index":
        return _indexes(items, new, wrote)
    known = {*(_name(key, each) for each in new), *_items(wrote)}
    return [*new, *(each for each in items if _name(key, each) not in known)]


def _indexes(old: list[Any], new: list[Any], wrote: Any) -> list[Any]:
    """Like `_lists`, of the results of models: what others measured stands behind what the program did."""
    known = {*(name for each in new for name in _results(each)), *_items(wrote)}
    kept = [result for each in _mappings(old) for name, result in _results(each).items() if name not in known]
    if not kept:
        return new
    first: dict[str, Any] = {**new[0]} if new else {"name": next(each.get("name") for each in _mappings(old))}
    return [{**first, "results": [*first.get("results", []), *kept]}, *new[1:]]


def _results(index: Any) -> dict[str, Any]:
    """The results of an entry of a model-index by what they are of, whatever their values."""
    found = {}
    for each in _mappings(index.get("results") if isinstance(index, dict) else None):
        named = [each.get("task"), each.get("dataset")]
        metrics = _mappings(each.get("metrics"))
        named += [{key: value for key, value in metric.items() if key != "value"} for metric in metrics]
        found[_plain(named)] = each
    return found


def _told(metadata: dict[Any, Any]) -> dict[str, Any]:
    """Metadata, short: values, and of lists the names of their items."""
    told: dict[str, Any] = {}
    for key, value in metadata.items():
        if key == "model-index":
            told[key] = [name for each in _mappings(value) for name in _results(each)]
        elif isinstance(value, list):
            told[str(key)] = [_name(key, each) for each in value]
        else:
            told[str(key)] = value if isinstance(value, str | bool | int | None) else _plain(value)
    return told


def _is_of(value: Any, wrote: Any) -> bool:
    """Whether a value is the one that was written."""
    if isinstance(value, list):
        return False
    return value is not None and wrote in (value, _plain(value))


def _name(key: Any, item: Any) -> str:
    if key in ("configs", "dataset_info") and isinstance(item, dict):
        return str(item.get("config_name", "default"))
    return item if isinstance(item, str) else _plain(item)


def _plain(value: Any) -> str:
    """A value as text that is the same for equal ones; YAML may hold what JSON cannot, and circles."""
    return repr(value)


def _items(wrote: Any) -> list[str]:
    """The items of a list that was written, as the marker tells them; people may have changed that, too."""
    return [each for each in wrote if isinstance(each, str)] if isinstance(wrote, list) else []


def _mappings(value: Any) -> list[dict[Any, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _remembered(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text[text.index("{") :])
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
