"""Reads rows one at a time from the common file formats, each with the line it stands on; nothing is lost silently."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePath
from typing import IO, Any

from gpt4_instruct.records import well_formed

__all__ = ["FORMATS", "UnreadableRow", "checked", "read_content", "read_rows"]

FORMATS = (".json", ".jsonl", ".ndjson", ".csv", ".parquet")

_BLOCK_CHARACTERS = 1 << 16
_KEPT_CHARACTERS = 100_000  # of what cannot be read: a file that is cut may be one row of gigabytes
_EDGE_CHARACTERS = 64  # an error this near the window's edge may come from the edge: a literal or an escape cut in two
_BEGINNING_BYTES = 1 << 20
_GBK_CHARACTERS = 4  # fewer say nothing
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # an escaped half of a character
_SHALLOW = 100  # brackets
_END = object()
_FLAT = frozenset({str, int, float, bool, type(None)})
_OBJECT = re.compile(r'\s*\{[^\S\n]*\n\s*"[^"\n]*"\s*:')  # an object on several lines
_BETWEEN = re.compile(r"[\s,]*")


class UnreadableRow(ValueError):
    """What stands where a row should, and why it is none.

    Args:
        why: in one line.
        text: what stands there, as far as it is known. Its first 100,000 characters are kept, with those that no file
            can hold (broken UTF-8, halves of characters) replaced.
    """

    def __init__(self, why: str, text: str = "") -> None:
        super().__init__(why)
        self.text = well_formed(text[:_KEPT_CHARACTERS])


def read_rows(path: Path, *, lines: bool = True) -> Iterator[tuple[int, Any]]:
    """The rows of a JSON, JSON Lines, CSV or Parquet file, one at a time, each with where it stands.

    A row that cannot be read does not end the file: it comes as an `UnreadableRow` that says why, with its text.

    Args:
        path: a ``.json`` (an array, or lines), ``.jsonl``, ``.csv`` or ``.parquet`` file, or a ``.zip`` of one.
        lines: say on which line a row starts, rather than its number; without, JSON arrays are read twice as fast.

    Yields:
        the line it starts on (its number, for Parquet), from 1, and the row (mostly a dict) or an `UnreadableRow`.

    Raises:
        OSError: the file cannot be opened or read.
        ValueError: it is none of these formats, its text is not UTF-8 but UTF-16 or GBK, or two columns of a CSV file
            have one name.
    """
    with path.open("rb") as file:
        yield from read_content(path.name, file, lines=lines)


def read_content(name: str, content: IO[bytes], *, lines: bool = True) -> Iterator[tuple[int, Any]]:
    """What `read_rows` reads in a file, from an open one, wherever it is; it must be able to seek.

    Args:
        name: the file's, which says its format.
        content: its bytes.
        lines: as of `read_rows`.
    """
    with _unpacked(name, content) as (inner, file):
        suffix = PurePath(inner).suffix.lower()
        if suffix not in FORMATS:
            raise ValueError(f"{inner} is not .json, .jsonl, .csv or .parquet")
        if suffix == ".parquet":
            yield from _read_parquet(file)
            return
        _check_encoding(inner, file)
        number = 0
        if suffix == ".json" and not lines:
            for row in _read_windows(file):
                if row is _END:
                    return
                number += 1
                yield number, row
            file.seek(0)  # something in it takes a closer look
        read = {".csv": _read_csv, ".json": _read_array}.get(suffix, _read_lines)(inner, file)
        yield from read if lines else islice(enumerate((row for _, row in read), start=1), number, None)


@contextmanager
def _unpacked(name: str, file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """The name and content of a file, or of the one file of rows in a zip."""
    if PurePath(name).suffix.lower() != ".zip":
        yield name, file
        return
    try:
        with zipfile.ZipFile(file) as archive:
            # A Mac's archive holds a shadow of each file.
            inside = [each for each in archive.namelist() if not each.startswith("__MACOSX/")]
            found = [each for each in inside if PurePath(each).suffix.lower() in FORMATS]
            if len(found) != 1:
                raise ValueError(f"{name} holds {len(found)} files of rows, not one: unpack it and name a file")
            with archive.open(found[0]) as content:
                yield found[0], content
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ValueError(f"{name} is no whole zip archive: {error}") from error


def _check_encoding(name: str, file: IO[bytes]) -> None:
    """Finds a file in another encoding by its beginning, which would otherwise be thousands of broken rows."""
    beginning = file.read(_BEGINNING_BYTES)
    file.seek(0)
    if beginning[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise ValueError(f"{name} is UTF-16: save it as UTF-8")
    text = beginning.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    if broken < _GBK_CHARACTERS or len(_NOT_ASCII.findall(text)) > 2 * broken:
        return
    try:
        text = codecs.getincrementaldecoder("gb18030")().decode(beginning)
    except UnicodeDecodeError:
        return
    # Other bytes may be GBK by chance, but then it is of rare characters.
    foreign = len(_NOT_ASCII.findall(text))
    common = sum(len(each.encode("gb2312", "ignore")) == 2 for each in _NOT_ASCII.findall(text))
    if common >= _GBK_CHARACTERS and common > 0.8 * foreign:
        raise ValueError(f"{name} is in GBK: iconv -f gb18030 -t utf-8 {name} > utf8-{name} makes it UTF-8")


def checked(row: Any, text: str | None = None) -> Any:
    """The row, or an `UnreadableRow` when it holds what no file of ours could (halves of characters, endless nesting).

    Args:
        row: as it was decoded; bytes that are not UTF-8 are lone surrogates in it.
        text: the JSON that it was decoded from, which mostly shows at a glance that nothing is wrong.
    """
    if text is not None and _whole(text) and text.count("[") + text.count("{") < _SHALLOW:
        return row
    try:
        content = json.dumps(row, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return UnreadableRow("nested too deeply, or a number too long", text or "")
    return row if _whole(content, escaped=False) else UnreadableRow("not valid UTF-8", text or content)


def _whole(text: str, *, escaped: bool = True) -> bool:
    """Whether no character of a text, or of what it says by escapes, may be only half of one."""
    if escaped and _HALF.search(text):
        return False
    try:
        return text.isascii() or bool(text.encode("utf-8"))
    except UnicodeEncodeError:
        return False


def _text(file: IO[bytes], newline: str | None) -> io.TextIOWrapper:
    return io.TextIOWrapper(file, encoding="utf-8-sig", errors="surrogateescape", newline=newline)


def _read_lines(name: str, file: IO[bytes]) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(_text(file, "\n"), start=1):
        if line.isspace():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            end = "" if line.endswith("\n") else "; the file ends within this line: is it cut off?"
            yield number, UnreadableRow(f"not JSON: {error}{end}", line.rstrip("\n"))
        else:
            yield number, checked(row, line.rstrip("\n"))


def _read_windows(content: IO[bytes]) -> Iterator[Any]:
    """The elements of a JSON array, all that end in a window decoded at once, and `_END`; less if it stumbles.

    What begins a window and ends before something that stands between the first two elements is a part of the array if
    it can be decoded as one: within an element, brackets or quotes would be open.
    """
    file = _text(content, None)
    text = file.read(_BLOCK_CHARACTERS)
    try:
        begin = _BETWEEN.match(text, text.index("[") + 1).end()  # type: ignore[union-attr]
        end = json.JSONDecoder().raw_decode(text, begin)[1]
        between = text[end : _BETWEEN.match(text, end).end() + 1]  # type: ignore[union-attr]
        if text[:begin].strip() != "[" or not re.fullmatch(r"\s*,\s*\{", between):
            return
        text = text[begin:]
        while True:
            end = text.rfind(between)
            if end < 0:  # an element larger than the window, or the last ones
                more = file.read(max(_BLOCK_CHARACTERS, len(text)))
                end = text.rfind("]") if not more else 0
                if end < 0 or (not more and text[end:].strip() != "]"):
                    return
            if end:
                rows = json.loads(f"[{text[:end]}]")
                if not _whole(text[:end]) or not all(map(_shallow, rows)):
                    return
                yield from rows
                if text[end] == "]":
                    yield _END
                    return
                text = text[end + len(between) - 1 :]
            text += more if not end else file.read(_BLOCK_CHARACTERS)
    except (ValueError, IndexError, RecursionError):
        return
    finally:
        file.detach()  # else the file is closed with it


def _shallow(value: Any, levels: int = 8) -> bool:
    """Whether a value is nested in no more than so many levels."""
    if type(value) in _FLAT:
        return True
    values = value.values() if type(value) is dict else value
    return _FLAT.issuperset(map(type, values)) or (levels > 0 and all(_shallow(each, levels - 1) for each in values))


def _read_array(name: str, content: IO[bytes]) -> Iterator[tuple[int, Any]]:
    """A JSON array, decoded element by element from a sliding window, so that memory does not grow with the file."""
    file = _text(content, None)
    text = file.read(_BLOCK_CHARACTERS)
    if not text.lstrip().startswith("["):
        if _OBJECT.match(text):
            raise ValueError(f"{name} is one JSON object, not an array of rows or a row a line")
        content.seek(0)
        yield from _read_lines(name, content)  # many a .json file holds JSON Lines
        return
    decode = json.JSONDecoder().raw_decode
    whole = _whole(text)
    start = text.index("[") + 1
    line = 1 + text.count("\n", 0, start)
    rows, gap = 0, ""  # how many came, and what stands before the element
    while True:
        begin = _BETWEEN.match(text, start).end()  # type: ignore[union-attr]
        line += text.count("\n", start, begin)
        gap += text[start:begin]
        if begin == len(text):
            text, start = file.read(_BLOCK_CHARACTERS), 0
            whole = _whole(text)
            if not text:
                what = f"the array does not end: the file is cut off here, after {rows:,} whole rows"
                yield line, UnreadableRow(what)
                return
            continue
        if text[begin] == "]":
            if rest := (text[begin + 1 :] + file.read(_KEPT_CHARACTERS)).strip():
                yield line, UnreadableRow("something follows the end of the array; it is not read", rest)
            return
        try:
            row, end = decode(text, begin)
            half = end == len(text) and not isinstance(row, dict | list | str)  # a number may go on behind the edge
            broken = len(text)
        except (ValueError, RecursionError) as error:
            row, end = f"not JSON: {getattr(error, 'msg', 'nested too deeply, or a number too long')}", 0
            broken = getattr(error, "pos", begin)
            half = broken >= len(text) - _EDGE_CHARACTERS or str(error).startswith("Unterminated string")
        if half and (more := file.read(max(_BLOCK_CHARACTERS, len(text) - begin))):
            # Each time as much again, so that a large element is decoded a few times only.
            text, start = text[begin:] + more, 0
            whole = _whole(text)
            continue
        if half and not end and not text.rstrip().endswith("]"):
            what = f"the array does not end: the file is cut off within this row, after {rows:,} whole ones"
            yield line, UnreadableRow(what, text[begin:])
            return
        rows += 1
        if end:
            if not (whole and isinstance(row, dict) and _FLAT.issuperset(map(type, row.values()))):
                row = checked(row, text[begin:end])  # most rows are seen to need no look of their own
            yield line, row
            line += text.count("\n", begin, end)
            start, gap = end, ""
            continue
        # Go on at what looks like the next element's start: where elements stand on lines of their own, a brace as far
        # in as this one's, so as not to take a nested object for a row.
        indent = gap.rpartition("\n")[2] if "\n" in gap else None
        following = re.compile(r"[\n,]\s*(?=\{)" if indent is None else rf"\n{re.escape(indent)}(?:,\s*)?(?=\{{)")
        found = following.search(text, max(begin + 1, text.rfind("\n", begin, broken)))
        first, kept, size = line, text[begin : begin + _KEPT_CHARACTERS], len(text) - begin
        while found is None and (more := file.read(_BLOCK_CHARACTERS)):
            kept, size = (kept + more)[:_KEPT_CHARACTERS], size + len(more)
            cut = max(begin, len(text) - _EDGE_CHARACTERS)  # the next start may lie across the edge
            line += text.count("\n", begin, cut)
            text, begin, whole = text[cut:] + more, 0, False
            found = following.search(text)
        if found is None:
            yield first, UnreadableRow(row, kept.rstrip())
            return
        yield first, UnreadableRow(row, kept[: size - (len(text) - found.start())].rstrip().rstrip(","))
        line += text.count("\n", begin, found.end())
        start, gap = found.end(), found[0]


def _read_csv(name: str, content: IO[bytes]) -> Iterator[tuple[int, Any]]:
    csv.field_size_limit(1 << 30)  # the default refuses a whole file for one field of over 131,072 characters
    seen = io.StringIO()  # the lines of one row

    def lines() -> Iterator[str]:
        for line in _text(content, ""):
            if seen.tell() < _KEPT_CHARACTERS:
                seen.write(line)
            yield line

    def unreadable(why: object) -> UnreadableRow:
        return UnreadableRow(str(why), seen.getvalue().rstrip("\r\n"))

    reader = csv.reader(lines(), strict=True)
    names: list[str] | None = None
    while True:
        seen.seek(0)
        seen.truncate()
        number = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            after = "; a quote is opened and not closed, and nothing after this line can be read"
            yield number, unreadable(f"not CSV: {error}{after if 'unexpected end' in str(error) else ''}")
            continue
        if fields is None:
            return
        if not fields:  # a blank line
            continue
        if names is None:
            names = fields
            twice = next((each for each in names if names.count(each) > 1), None)
            if twice is not None:  # in a row, one of them would take the other's place
                raise ValueError(f"two columns of {name} are called {twice!r}: rename one of them in its first line")
        elif len(fields) != len(names):
            yield number, unreadable(f"{len(fields)} fields, not {len(names)} as the first line")
        else:
            row = checked(dict(zip(names, fields, strict=True)))
            yield number, unreadable(row) if isinstance(row, UnreadableRow) else row


def _read_parquet(file: IO[bytes]) -> Iterator[tuple[int, Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        for batch in pyarrow.parquet.ParquetFile(file).iter_batches(batch_size=1000):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except pyarrow.ArrowException as error:
        raise ValueError(f"not Parquet: {' '.join(str(error).split())}") from error
