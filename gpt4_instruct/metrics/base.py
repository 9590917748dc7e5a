"""A metric is a function of predictions and references; `load` makes a metric of the evaluate library of it.

A file of this room holds the function and, as the first name of its `__all__`, its `Definition`. Metrics of other
packages are entry points of the group ``gpt4_instruct.metrics`` that name a `Definition`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from gpt4_instruct.errors import MissingExtraError, UsageError
from gpt4_instruct.registry import find

__all__ = ["Definition", "as_numbers", "check_pairs", "load"]


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric.

    Attributes:
        compute: takes ``predictions`` and ``references``, of the same length, and options by their names; gives what it
            found as plain data. Its docstring is the metric's.
        inputs: what predictions and references are.
        citation: where its formula is from.
    """

    compute: Callable[..., dict[str, Any]]
    inputs: Literal["texts", "numbers"]
    citation: str


def load(name: str) -> Any:
    """A metric as an `evaluate.Metric`, from the package: it needs no network, and keeps what it is given in memory.

    Its ``compute`` takes the options of the function it is of; batch by batch, there are ``add_batch`` and ``add``.

    Args:
        name: such as ``"rouge_by_length"``; `gpt4_instruct.registry.names` has all of ``"metrics"``.

    Raises:
        UnknownNameError: there is none of that name.
        MissingExtraError: evaluate is not installed. The functions beside the metrics do without it.

    >>> metric = load("relative_score")
    >>> found = metric.compute(predictions=[8, 7], references=[9, 9])
    >>> round(found["relative_score"], 1), metric.name
    (83.3, 'relative_score')
    """
    definition: Definition = find("metrics", name)
    try:
        evaluate = import_module("evaluate")
    except ImportError:
        raise MissingExtraError(f"the metric {name} of evaluate", "evaluate", "eval") from None
    from datasets import Features, Value

    # As a large string, a first text that is none is let through; a number is not.
    column = Value("large_string" if definition.inputs == "texts" else "float64")
    text = inspect.getdoc(definition.compute) or ""
    info = evaluate.MetricInfo(
        description=text.split("\n", 1)[0],
        citation=definition.citation,
        features=Features({"predictions": column, "references": column}),
        inputs_description=text,
    )
    metric = type(
        name.title().replace("_", ""),  # from which evaluate makes the name again
        (evaluate.Metric,),
        {"_info": lambda self: info, "_compute": staticmethod(definition.compute), "__doc__": text},
    )
    return metric(keep_in_memory=True)


def check_pairs(predictions: Sequence[Any], references: Sequence[Any]) -> int:
    """How many predictions there are; raises UsageError where there are not as many references, or none at all."""
    for name, values in (("predictions", predictions), ("references", references)):
        if isinstance(values, str):
            raise UsageError(f"{name} is one string, not several: put it into a list")
    if len(predictions) != len(references):
        raise UsageError(
            f"{len(predictions)} predictions and {len(references)} references: give one of each, in the same order"
        )
    if not len(predictions):
        raise UsageError("there is nothing to compare: predictions and references are empty")
    return len(predictions)


def as_numbers(values: Sequence[float | None], name: str) -> Any:
    """float64[n], nan for None; raises UsageError for infinity, and for what is neither a number nor missing."""
    import numpy as np

    try:
        column = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise UsageError(f"{name} are not all numbers: give None where there is no number") from None
    if column.ndim != 1:
        raise UsageError(f"{name} must be a list of numbers, one a question")
    if np.isinf(column).any():
        raise UsageError(f"{name}[{int(np.flatnonzero(np.isinf(column))[0])}] is infinite: give a number, or None")
    return column
