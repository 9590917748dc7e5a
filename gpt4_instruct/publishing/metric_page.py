"""The page on which a metric can be tried: a table to type into, options, and what comes of them.

What is a column of the table and what an option is read from the metric's signature: ``predictions`` and
``references`` are columns, and so are arguments that have a value for each row or none (``gaps=None``); all others are
options, shown with their defaults as JSON.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from typing import Any, Literal

from gpt4_instruct.errors import Gpt4InstructError, MissingExtraError, UsageError
from gpt4_instruct.metrics.base import Definition
from gpt4_instruct.registry import find

__all__ = ["EXAMPLES", "compute_table", "page_of"]

# Predictions and references to begin with: scores by a judge, enough of them for an interval; and answers.
EXAMPLES: dict[Literal["texts", "numbers"], tuple[list[Any], list[Any]]] = {
    "numbers": ([8, 7, 9, 6, 8, 9, 7, 8, 5, 9, 8, 7], [9, 9, 8, 7, 8, 9, 8, 9, 7, 9, 8, 9]),
    "texts": (["Paris", "It is a big red dog.", "我爱熊猫。"], ["paris.", "A big red dog", "我很爱熊猫。"]),
}


def page_of(name: str) -> Any:
    """The page of a metric, as a Gradio application that can be launched.

    Args:
        name: of the metric, such as ``"relative_score"``.

    Raises:
        UnknownNameError: there is none of that name.
        MissingExtraError: gradio is not installed.
    """
    definition: Definition = find("metrics", name)
    try:
        import gradio as gr
    except ImportError:
        raise MissingExtraError("the page of a metric", "gradio", "human") from None
    columns, options = _parts(definition.compute)
    rows = [[*pair, *("" for _ in columns[2:])] for pair in zip(*EXAMPLES[definition.inputs], strict=True)]
    title = name.replace("_", " ").capitalize()
    summary = (inspect.getdoc(definition.compute) or "").split("\n\n", 1)[0]

    def compute(table: Sequence[Sequence[Any]], options: str) -> dict[str, Any]:
        try:
            return compute_table(name, table, options)
        except Gpt4InstructError as error:
            raise gr.Error(str(error), print_exception=False) from None

    with gr.Blocks(title=title, analytics_enabled=False) as page:
        gr.Markdown(f"# {title}\n\n{summary} An empty cell is a value that is missing.")
        # A column of the type "number" would show an empty cell as 0, and compute with it.
        table = gr.Dataframe(rows, headers=columns, datatype="str", type="array", wrap=True, interactive=True)
        given = gr.Textbox(json.dumps(options), label="Options (JSON)", elem_id="options")
        button = gr.Button("Compute", variant="primary", elem_id="compute")
        found = gr.JSON(label="What it gives", elem_id="found")
        button.click(compute, [table, given], found, api_name="compute")
        gr.Markdown(f"Citation: {definition.citation}")
    return page


def compute_table(name: str, rows: Sequence[Sequence[Any]], options: str) -> dict[str, Any]:
    """What a metric gives of a table as it was typed.

    Args:
        name: of the metric.
        rows: a list of cells each, in the order of the metric's columns; empty ones are missing values, empty rows are
            none, and an optional column without a value is left out.
        options: JSON, an object.

    Raises:
        UsageError: the options are no object of JSON, or not the metric's; or the metric's own error.

    >>> rows = [["8", "9"], [7, 9.0], ["", None]]
    >>> round(compute_table("relative_score", rows, '{"resamples": 10}')["relative_score"], 1)
    83.3
    """
    definition: Definition = find("metrics", name)
    columns, known = _parts(definition.compute)
    try:
        given = json.loads(options or "{}")
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the options are not JSON: {error}") from None
    if not isinstance(given, dict) or not given.keys() <= known.keys():
        raise UsageError(f"the options are to be an object of JSON with these names: {', '.join(known)}")
    texts = [definition.inputs == "texts" and place < 2 for place in range(len(columns))]
    cells = [[_cell(*each) for each in zip(row, columns, texts, strict=False)] for row in rows]
    kept = [row for row in cells if any(each is not None for each in row)]
    by_name = {column: [row[place] for row in kept] for place, column in enumerate(columns)}
    for column in columns[2:]:
        if all(each is None for each in by_name[column]):
            del by_name[column]
    return definition.compute(**by_name, **given)


def _parts(compute: Callable[..., Any]) -> tuple[list[str], dict[str, Any]]:
    """The names of a metric's columns, and its options with their defaults."""
    parameters = list(inspect.signature(compute).parameters.values())[2:]
    columns = [each.name for each in parameters if each.default is None]
    options = {each.name: each.default for each in parameters if each.default is not None}
    return ["predictions", "references", *columns], options


def _cell(value: Any, column: str, text: bool) -> Any:
    """A cell as the metric takes it: a text, a number, or None where it is empty.

    >>> _cell(" 7.5", "gaps", False), _cell("7", "predictions", True), _cell(" ", "gaps", False)
    (7.5, '7', None)
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    if text:
        return str(value)
    try:
        return float(value)
    except (TypeError, ValueError):
        raise UsageError(
            f"{column} has {value!r}, which is no number: leave the cell empty where there is none"
        ) from None
