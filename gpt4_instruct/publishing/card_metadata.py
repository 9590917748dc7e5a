"""Merges the metadata of a rendered card with those of the card that is there: which are ours, which somebody's own.

A list (tags, languages, configs, results) is merged item by item: an item that an earlier rendering wrote, and this one
does not, goes; any other stays behind ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["merge_metadata", "told"]

_REPLACED = ("size_categories",)  # lists of which one value alone can be true
_THEIRS = ("pretty_name",)  # values that people name better
_UNKNOWN = (None, "", "unknown")  # values that give way to what people know


def merge_metadata(
    theirs: Mapping[Any, Any], ours: Mapping[Any, Any], wrote: Mapping[str, Any], rendered: Mapping[str, Any]
) -> dict[Any, Any]:
    """Our metadata in our order, then what is somebody's own.

    Args:
        theirs: those of the card that is there, in which people may have changed any.
        ours: those of the new card.
        wrote: what the program wrote into the card that is there, as `told` told it.
        rendered: the same of the new card; what else is in it is of people, too, and newer.

    >>> theirs = {"license": "mit", "tags": ["old", "mine"], "thumbnail": "x.png"}
    >>> ours = {"license": "unknown", "tags": ["new"]}
    >>> merge_metadata(theirs, ours, {"license": "unknown", "tags": ["old"]}, ours)
    {'license': 'mit', 'tags': ['new', 'mine'], 'thumbnail': 'x.png'}
    """
    merged: dict[Any, Any] = {}
    for key, value in ours.items():
        old = theirs.get(key)
        if isinstance(value, list) and key not in _REPLACED:
            merged[key] = _lists(key, old, value, wrote.get(key))
        else:
            gives_way = (key in _THEIRS and _is_of(value, rendered.get(key))) or (
                isinstance(value, str | None) and value in _UNKNOWN
            )
            merged[key] = old if gives_way and old is not None and not _is_of(old, wrote.get(key)) else value
    for key, old in theirs.items():
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


def told(metadata: Mapping[Any, Any]) -> dict[str, Any]:
    """Metadata, short: values, and of lists the names of their items.

    >>> told({"license": "mit", "configs": [{"config_name": "english", "data_files": "*.parquet"}]})
    {'license': 'mit', 'configs': ['english']}
    """
    short: dict[str, Any] = {}
    for key, value in metadata.items():
        if key == "model-index":
            short[key] = [name for each in _mappings(value) for name in _results(each)]
        elif isinstance(value, list):
            short[str(key)] = [_name(key, each) for each in value]
        else:
            short[str(key)] = value if isinstance(value, str | bool | int | None) else _plain(value)
    return short


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
