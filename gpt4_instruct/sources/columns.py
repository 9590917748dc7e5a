"""A released file's rows as a split's columns, as they were released: nothing is left out but what cannot be read.

A thousand rows are checked at a time, by making typed columns of them; only where that fails are they looked at one by
one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

from gpt4_instruct.prompts.tasks import render_alpaca
from gpt4_instruct.records import Reject
from gpt4_instruct.sources.files import FileSource
from gpt4_instruct.sources.shapes import samples

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["released_tables"]

_ROWS_A_BATCH = 1_000  # few enough to be forgotten before the garbage collector counts them
_BATCHES_A_TABLE = 20  # each table is a row group of the Parquet file


def released_tables(
    source: FileSource, schema: pa.Schema, model: str | None = None, limit: int | None = None
) -> Iterator[pa.Table | Reject]:
    """The rows of a released file as tables with a split's columns, and a reject for each that cannot be read.

    Texts are as they stand there. Of `metadata`, only what is known is filled: id, origin and model.

    Args:
        source: the file.
        schema: of the split: `records.features` gives it.
        model: who answered, where one model did.
        limit: most rows to read.
    """
    import pyarrow as pa

    names = [name for name in schema.names if name != "metadata"]
    raw = islice(source.raw(), limit)
    ready: list[pa.Table] = []
    while batch := list(islice(raw, _ROWS_A_BATCH)):
        lines = [line for line, _ in batch]
        rows: list[Any] = [row for _, row in batch]
        try:
            columns = _columns(rows, schema, names)
        except (LookupError, TypeError, ValueError, pa.ArrowException):  # some row is not what it should be
            read = [
                _row(row, f"{source.stem}-{line}", f"{source.name}:{line}", names)
                for row, line in zip(rows, lines, strict=True)
            ]
            yield from (each for each in read if isinstance(each, Reject))
            lines = [line for each, line in zip(read, lines, strict=True) if not isinstance(each, Reject)]
            columns = _columns([each for each in read if not isinstance(each, Reject)], schema, names)
        metadata = _metadata(source, lines, schema.field("metadata").type, model)
        ready.append(pa.Table.from_arrays([*columns, metadata], schema=schema))
        if len(ready) == _BATCHES_A_TABLE:
            yield pa.concat_tables(ready)
            ready = []
    if any(table.num_rows for table in ready):
        yield pa.concat_tables(ready)


def _columns(rows: Sequence[Mapping[str, Any]], schema: pa.Schema, names: Sequence[str]) -> list[pa.Array]:
    import pyarrow as pa

    columns = [pa.array([row[name] for row in rows], schema.field(name).type) for name in names]
    for name, column in zip(names, columns, strict=True):
        parts = [column]
        if pa.types.is_list(column.type):
            scored = column.flatten()
            parts += [scored, scored.field("response"), scored.field("source")]
        # A text without a value is not read as an empty one, but a label may be missing.
        if any(part.null_count for part in parts) and name != "label":
            raise ValueError(f"{name} has holes")
    return columns


def _row(row: Any, id: str, origin: str, names: Sequence[str]) -> dict[str, Any] | Reject:
    """One row by the shape it has, for the split's columns; or why it has none."""
    found = samples(row, id, origin)
    if isinstance(found, Reject):
        return found
    sample = found[0]
    if "output" in names and not isinstance(row.get("output"), str):
        return Reject(id, "source", "missing_field", "no text in 'output'", origin, sample.instruction, sample.input)
    fields = {
        "instruction": sample.instruction,
        "input": sample.input,
        "output": sample.output,
        "label": sample.label,
        "user_input": row.get("user_input") or render_alpaca(sample.instruction, sample.input),
        "responses_and_scores": [asdict(each) for each in sample.scored],
    }
    return {name: fields[name] for name in names}


def _metadata(source: FileSource, lines: Sequence[int], type: pa.StructType, model: str | None) -> pa.StructArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    numbers = pa.array(lines, pa.int64()).cast(pa.string())
    known = {
        "id": pc.binary_join_element_wise(source.stem, numbers, "-"),
        "origin": pc.binary_join_element_wise(source.name, numbers, ":"),
        "model": pa.array([model] * len(lines), pa.string()),
    }
    fields = [known[field.name] if field.name in known else pa.nulls(len(lines), field.type) for field in type]
    return pa.StructArray.from_arrays(fields, fields=list(type))
