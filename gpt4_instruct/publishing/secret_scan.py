"""Finds keys and tokens in what is about to be published: those that this process knows, and what looks like one.

Known are the Hub's token and the environment's values under names such as OPENAI_API_KEY and HF_TOKEN, also as JSON
writes them. What looks like a key of OpenAI's, the Hub's, GitHub's or Amazon's is one if it has a digit and a letter
besides its beginning, and not one character over and over: placeholders pass. What is in parts, in two columns or in
other letters (base64), is not found.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import OutputError, UsageError

__all__ = ["check_no_secrets", "known_secrets", "without_secrets"]

_NAME = re.compile(r"_(API_KEY|ACCESS_KEY|TOKEN|SECRET)$|^(API_KEY|TOKEN)$", re.IGNORECASE)
_NO_TEXT = re.compile("[\\ud800-\\udfff]")  # bytes in the environment that are not UTF-8, and in no text of a file
_CHARACTERS = 8  # shorter values, such as "EMPTY", are words
# Prefixes as their makers document them; the lengths are the shortest that they give out.
_SHAPES = {
    "a token of the Hub": r"\bhf_[A-Za-z0-9]{30,}",
    "a key of OpenAI or its like": r"\bsk-[A-Za-z0-9_-]{20,}",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{22,})",
    "a key of Amazon": r"\bAKIA[0-9A-Z]{16}\b",
}
_SHAPE = "|".join(_SHAPES.values())
_WEIGHTS = (".safetensors", ".bin", ".png", ".parquet")  # numbers, pictures; Parquet is read by its columns


def known_secrets() -> dict[str, str]:
    """The secrets that this process knows, by where they are from."""
    from huggingface_hub import get_token

    found = {name: value.strip() for name, value in os.environ.items() if _NAME.search(name)}
    token = get_token()
    if token and token not in found.values():
        found["the Hub's login"] = token
    return {name: value for name, value in found.items() if len(value) >= _CHARACTERS and not _NO_TEXT.search(value)}


def without_secrets(text: str) -> str:
    """A text from outside, such as an error's, without what this process knows or what looks like a key.

    >>> without_secrets("Invalid token hf_abcdefghijklmnopqrstuvwxyz01234567")
    'Invalid token [redacted]'
    """
    for secret in sorted(known_secrets().values(), key=len, reverse=True):
        text = text.replace(secret, "[redacted]")
    return re.sub(_SHAPE, "[redacted]", text)


def check_no_secrets(files: Mapping[str, Path | bytes]) -> None:
    """Looks through everything that is to be sent.

    Args:
        files: paths or contents by their names, which are read, too; of Parquet files the columns are read, weights
            and pictures are not.

    Raises:
        UsageError: one holds a secret; it names the file and the line or the row and column, and never the secret.
        OutputError: a file cannot be read.
    """
    secrets = known_secrets()
    forms = {form: name for name, value in secrets.items() for form in (value, json.dumps(value)[1:-1])}
    pattern = "|".join([*(re.escape(each) for each in sorted(forms, key=len, reverse=True)), _SHAPE])
    for name in files:
        for match in re.finditer(pattern, name):
            if what := _what(match[0], forms):
                raise UsageError(f"the name {without_secrets(name)} holds {what}: nothing was sent; rename it")
    for name, content in files.items():
        try:
            for where, matched in _matches(name, content, pattern):
                if what := _what(matched, forms):
                    raise UsageError(f"{name}, {where}, holds {what}: nothing was sent; take it out, and revoke it")
        except OSError as error:
            raise OutputError(f"cannot read {name}: {error.strerror or error}") from error


def _what(matched: str, forms: Mapping[str, str]) -> str | None:
    return f"the value of {forms[matched]}" if matched in forms else _looks_like(matched)


def _looks_like(text: str) -> str | None:
    """What a text of a known shape is; none for placeholders.

    >>> _looks_like("sk-proj-0123456789abcdefghij"), _looks_like("sk-xxxxxxxxxxxxxxxxxxxxxxxx")
    ('what looks like a key of OpenAI or its like', None)
    """
    for what, shape in _SHAPES.items():
        if re.fullmatch(shape, text):
            rest = re.split(r"[-_]", text, maxsplit=1)[-1]
            is_random = re.search(r"\d", rest) and re.search(r"[A-Za-z]", rest) and len(set(rest)) > 5
            return f"what looks like {what}" if is_random else None
    return None


def _matches(name: str, content: Path | bytes, pattern: str) -> Iterator[tuple[str, str]]:
    """Where a file has the pattern, and what stands there."""
    if name.endswith(".parquet") and isinstance(content, Path):
        yield from _in_parquet(content, pattern)
    elif name.endswith(_WEIGHTS):
        return
    elif isinstance(content, bytes):
        yield from _in_bytes(content, pattern)
    elif content.stat().st_size:
        with content.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            yield from _in_bytes(mapped, pattern)


def _in_bytes(content: bytes | mmap.mmap, pattern: str) -> Iterator[tuple[str, str]]:
    for match in re.finditer(pattern.encode(), content):
        line = content[: match.start()].count(b"\n") + 1
        yield f"line {line:,}", match[0].decode(errors="replace")


def _in_parquet(path: Path, pattern: str) -> Iterator[tuple[str, str]]:
    """Every text in a Parquet file, however deep in lists and structs."""
    import pyarrow.compute
    import pyarrow.parquet

    row = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=1_000):
                for column, texts in zip(batch.schema.names, batch.columns, strict=True):
                    if any(pyarrow.compute.any(leaf).as_py() for leaf in _found(texts, pattern)):
                        yield from _in_rows(texts, column, row, pattern)
                row += batch.num_rows
    except pyarrow.ArrowException as error:
        raise OutputError(f"cannot read {path}: {' '.join(str(error).split())}") from error


def _found(array: Any, pattern: str) -> Iterator[Any]:
    """Of every array of texts in an array, which of them have the pattern."""
    from pyarrow import compute, types

    if types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if types.is_string(array.type) or types.is_large_string(array.type) or types.is_string_view(array.type):
        yield compute.match_substring_regex(array, pattern)
    elif types.is_struct(array.type):
        for each in array.flatten():
            yield from _found(each, pattern)
    elif types.is_list(array.type) or types.is_large_list(array.type) or types.is_map(array.type):
        yield from _found(array.flatten() if not types.is_map(array.type) else array.items, pattern)


def _in_rows(array: Any, column: str, first: int, pattern: str) -> Iterator[tuple[str, str]]:
    """The same, row by row, of a batch that has it somewhere."""
    for number, value in enumerate(array, start=first + 1):
        for match in re.finditer(pattern, json.dumps(value.as_py(), ensure_ascii=False, default=str)):
            yield f"row {number:,}, column {column}", match[0]
