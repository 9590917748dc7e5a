"""A dataset of any shape as the columns that today's trainers read.

    messages            {"messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}]}
    prompt_completion   {"prompt": the rendered Alpaca prompt, "completion": the output}
    preference          {"prompt": the rendered Alpaca prompt, "chosen": ..., "rejected": ...}

The names are those of TRL's dataset types (huggingface.co/docs/trl/dataset_formats). Nothing else is kept: where a row
came from stays in the dataset that it was read from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from typing import TYPE_CHECKING, Any, Literal

from gpt4_instruct.errors import SourceError, UnknownNameError, UsageError
from gpt4_instruct.progress import quiet_datasets
from gpt4_instruct.prompts.tasks import render_alpaca
from gpt4_instruct.records import Reject, Sample, Scored
from gpt4_instruct.sources.shapes import samples

if TYPE_CHECKING:
    from datasets import Dataset, Features

__all__ = ["VIEWS", "Pairs", "as_view"]

Pairs = Literal["all", "best_worst"]
# Answers without a score, of which the first is the better one.
_ORDERED = (("completion_a", "completion_b"), ("chosen", "rejected"))


def as_view(dataset: Dataset, view: str, *, pairs: Pairs = "all") -> Dataset:
    """A dataset's rows as messages, as prompt and completion, or as pairs of a better and a worse answer.

    Args:
        dataset: of any shape in `sources.shapes`: what `load` gives, a split of ours from the Hub, or another's.
        view: ``"messages"``, ``"prompt_completion"`` or ``"preference"``.
        pairs: of a row with scored answers: ``"all"``, each pair of which one has the higher score, or
            ``"best_worst"``, the best with the worst. Ties, and answers without a score, make no pair.

    Returns:
        a dataset with the view's columns only. Texts are as they are; a row without an output has an empty one.

    Raises:
        UnknownNameError: there is no such view.
        UsageError: the rows have scored answers where the view wants one output, or the other way round.
        SourceError: a row cannot be read.

    >>> from datasets import Dataset
    >>> as_view(Dataset.from_list([{"instruction": "Add.", "input": "1 2", "output": "3"}]), "messages")[0]["messages"]
    [{'role': 'user', 'content': 'Add.\\n\\n1 2'}, {'role': 'assistant', 'content': '3'}]
    """
    if view not in VIEWS:
        raise UnknownNameError("view", view, list(VIEWS))
    if pairs not in ("all", "best_worst"):
        raise UsageError(f"pairs is {pairs!r}, but must be all or best_worst")
    columns, make = VIEWS[view]

    def read(batch: Mapping[str, list[Any]], indices: list[int]) -> dict[str, list[Any]]:
        made: dict[str, list[Any]] = {name: [] for name in columns}
        for place, index in enumerate(indices):
            found = samples({name: values[place] for name, values in batch.items()}, "", f"row {index}")
            if isinstance(found, Reject):
                raise SourceError(f"row {index} of the dataset cannot be read: {found.detail} ({found.reason})")
            for sample in found:
                if bool(sample.scored) != (view == "preference"):
                    other = "preference" if sample.scored else "messages or prompt_completion"
                    what = "several answers" if sample.scored else "one answer"
                    raise UsageError(f"row {index} has {what}: it can be viewed as {other}, not as {view}")
                for row in make(sample, pairs):
                    for name in columns:
                        made[name].append(row[name])
        return made

    features = _features(columns)
    if not len(dataset):  # `map` would leave it as it is
        return dataset.from_dict({name: [] for name in columns}, features=features)
    names = dataset.column_names
    with quiet_datasets():
        found: Dataset = dataset.map(
            read, batched=True, with_indices=True, remove_columns=names, features=features, desc=f"as {view}"
        )
    return found


def _features(columns: tuple[str, ...]) -> Features:
    from datasets import Features, List, Value

    message = {"role": Value("string"), "content": Value("string")}
    return Features({name: List(message) if name == "messages" else Value("string") for name in columns})


def _messages(sample: Sample, pairs: Pairs) -> Iterator[dict[str, Any]]:
    task = f"{sample.instruction}\n\n{sample.input}" if sample.input else sample.instruction
    said = (("user", task), ("assistant", sample.output))
    yield {"messages": [{"role": role, "content": content} for role, content in said]}


def _prompt_completion(sample: Sample, pairs: Pairs) -> Iterator[dict[str, Any]]:
    yield {"prompt": render_alpaca(sample.instruction, sample.input), "completion": sample.output}


def _preference(sample: Sample, pairs: Pairs) -> Iterator[dict[str, Any]]:
    prompt = render_alpaca(sample.instruction, sample.input)
    for better, worse in _ranked(sample.scored, pairs):
        yield {"prompt": prompt, "chosen": better.response, "rejected": worse.response}


def _ranked(scored: tuple[Scored, ...], pairs: Pairs) -> list[tuple[Scored, Scored]]:
    """The pairs of a better and a worse answer, in the row's order."""
    if tuple(each.source for each in scored) in _ORDERED and all(each.score is None for each in scored):
        return [(scored[0], scored[1])]
    graded = [(each.score, each) for each in scored if each.score is not None]
    if pairs == "all":
        return [(one, other) for (high, one), (low, other) in permutations(graded, 2) if high > low]
    if not graded:
        return []
    best, worst = max(graded, key=lambda pair: pair[0]), min(graded, key=lambda pair: pair[0])
    return [(best[1], worst[1])] if best[0] > worst[0] else []


# Name -> its columns, and what makes its rows of a sample.
VIEWS: dict[str, tuple[tuple[str, ...], Callable[[Sample, Pairs], Iterator[dict[str, Any]]]]] = {
    "messages": (("messages",), _messages),
    "prompt_completion": (("prompt", "completion"), _prompt_completion),
    "preference": (("prompt", "chosen", "rejected"), _preference),
}
