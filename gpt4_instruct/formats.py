"""Reads rows one at a time from the common file formats, each with the line it stands on; nothing is lost silently."""

from __future__ import annotations

import codecs
import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["read_rows"]

_BLOCK_CHARACTERS = 1 << 16
_EDGE_CHARACTERS = 64  # an error this near the window's edge may come from the edge: a literal or an escape cut in two
_BETWEEN = re.compile(r"[\s,]*")


def read_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """The rows of a JSON, JSON Lines, CSV or Parquet file, one at a time, each with where it stands.

    A row that cannot be read does not end the file: it comes as a `ValueError` that says why.

    Args:
        path: the file; ``.json`` (an array, or lines), ``.jsonl``, ``.csv`` or ``.parquet``.

    Yields:
        the line it starts on (its number, for Parquet), from 1, and the row (mostly a dict) or a `ValueError`.

    Raises:
        OSError: the file cannot be opened or read.
        ValueError: it is none of these formats.
    """
    suffix = path.suffix.lower()
    if suffix != ".parquet":
        with path.open("rb") as file:
            if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise ValueError(f"{path.name} is UTF-16: save it as UTF-8")
    if suffix in {".jsonl", ".ndjson"}:
        yield from _read_lines(path)
    elif suffix == ".json":
        yield from _read_array(path)
    elif suffix == ".csv":
        yield from _read_csv(path)
    elif suffix == ".parquet":
        yield from _read_parquet(path)
    else:
        raise ValueError(f"{path.name} is not .json, .jsonl, .csv or .parquet")


def _checked(row: Any) -> Any:
    """The row, or a `ValueError` when it held bytes that are not UTF-8 (they were read as lone surrogates)."""
    try:
        json.dumps(row, ensure_ascii=False, default=str).encode("utf-8")
    except UnicodeEncodeError:
        return ValueError("not valid UTF-8")
    except (ValueError, RecursionError):
        return ValueError("nested too deeply, or a number too long")
    return row


def _read_lines(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.isspace():
                continue
            try:
                yield number, _checked(json.loads(line))
            except (ValueError, RecursionError) as error:
                yield number, ValueError(f"not JSON: {error}")


def _read_array(path: Path) -> Iterator[tuple[int, Any]]:
    """A JSON array, decoded element by element from a sliding window, so that memory does not grow with the file."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
        text = file.read(_BLOCK_CHARACTERS)
        if not text.lstrip().startswith("["):
            if text.lstrip().split("\n", 1)[0].strip() == "{":
                raise ValueError(f"{path.name} is one JSON object, not an array of rows or a row a line")
            yield from _read_lines(path)  # many a .json file holds JSON Lines
            return
        decode = json.JSONDecoder().raw_decode
        start = text.index("[") + 1
        line = 1 + text.count("\n", 0, start)
        gap = ""  # what stands before the element
        while True:
            begin = _BETWEEN.match(text, start).end()  # type: ignore[union-attr]
            line += text.count("\n", start, begin)
            gap += text[start:begin]
            if begin == len(text):
                text, start = file.read(_BLOCK_CHARACTERS), 0
                if not text:
                    yield line, ValueError("the array does not end: the file is cut off here")
                    return
                continue
            if text[begin] == "]":
                if (text[begin + 1 :] + file.read(_BLOCK_CHARACTERS)).strip():
                    yield line, ValueError("something follows the end of the array; it is not read")
                return
            try:
                row, end = decode(text, begin)
                half = end == len(text) and not isinstance(row, dict | list | str)  # a number may go on behind the edge
                broken = len(text)
            except (ValueError, RecursionError) as error:
                row, end = (
                    ValueError(f"not JSON: {getattr(error, 'msg', 'nested too deeply, or a number too long')}"),
                    0,
                )
                broken = getattr(error, "pos", begin)
                half = broken >= len(text) - _EDGE_CHARACTERS or str(error).startswith("Unterminated string")
            if half and (more := file.read(max(_BLOCK_CHARACTERS, len(text) - begin))):
                # Each time as much again, so that a large element is decoded a few times only.
                text, start = text[begin:] + more, 0
                continue
            yield line, _checked(row) if end else row
            found = None
            if not end:
                # Go on at what looks like the next element's start: where elements stand on lines of their own, a brace
                # as far in as this one's, so as not to take a nested object for a row.
                indent = gap.rpartition("\n")[2] if "\n" in gap else None
                following = re.compile(
                    r"[\n,]\s*(?=\{)" if indent is None else rf"\n{re.escape(indent)}(?:,\s*)?(?=\{{)"
                )
                found = following.search(text, max(begin + 1, text.rfind("\n", begin, broken)))
                while found is None and (more := file.read(_BLOCK_CHARACTERS)):
                    cut = max(begin, len(text) - _EDGE_CHARACTERS)  # the next start may lie across the edge
                    line += text.count("\n", begin, cut)
                    text, begin = text[cut:] + more, 0
                    found = following.search(text)
                if found is None:
                    return
                end = found.end()
            line += text.count("\n", begin, end)
            start, gap = end, "" if found is None else found[0]


def _read_csv(path: Path) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(1 << 30)  # the default refuses a whole file for one field of over 131,072 characters
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=True)
        names: list[str] | None = None
        while True:
            number = reader.line_num + 1
            try:
                fields = next(reader, None)
            except csv.Error as error:
                after = "; a quote is opened and not closed, and nothing after this line can be read"
                yield number, ValueError(f"not CSV: {error}{after if 'unexpected end' in str(error) else ''}")
                continue
            if fields is None:
                return
            if not fields:  # a blank line
                continue
            if names is None:
                names = fields
            elif len(fields) != len(names):
                yield number, ValueError(f"{len(fields)} fields, not {len(names)} as the first line")
            else:
                yield number, _checked(dict(zip(names, fields, strict=True)))


def _read_parquet(path: Path) -> Iterator[tuple[int, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except pyarrow.ArrowException as error:
        raise ValueError(f"not Parquet: {' '.join(str(error).split())}") from error
