"""Folders that are Spaces on the Hub: a metric, as evaluate loads it and a page shows it; and what all Spaces have.

relative_score/
  README.md            what the Hub reads (title, sdk, ...), then the card: inputs, outputs, an example, limits
  relative_score.py    what ``evaluate.load("relative_score")`` and ``evaluate.load("me/relative_score")`` run
  app.py               the page, see `metric_page`
  requirements.txt     this package, in this version

The card is made of the metric's own docstring, and its example is computed when the folder is written. evaluate looks
for ``NAME.py`` in ``.../NAME``, on a disk as on the Hub: so the folder, and the Space, have the name of the metric.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

from gpt4_instruct import __version__
from gpt4_instruct.errors import OutputError, OutputExistsError, UsageError
from gpt4_instruct.metrics.base import Definition
from gpt4_instruct.publishing.metric_page import EXAMPLES
from gpt4_instruct.publishing.rendering import render
from gpt4_instruct.registry import find
from gpt4_instruct.storage import replace_text

__all__ = ["DocText", "GRADIO", "space_metadata", "write_files", "write_metric_space"]

GRADIO = "6.31.0"  # the version that the pages are tested with; the Hub installs it
_PYTHON = "3.11"  # the Hub's own default is 3.10, which this package does not run on
_PLACE = "PATH_OR_REPOSITORY"


def write_metric_space(
    name: str, out: str | Path, *, requirements: str | Sequence[str] | None = None, overwrite: bool = False
) -> Path:
    """Writes a metric as the folder of a Space: for `evaluate.load`, and a page to try it on.

    Args:
        name: such as ``"relative_score"``; `gpt4_instruct.registry.names` has all of ``"metrics"``.
        out: the folder; its name must be that of the metric, since evaluate looks for ``NAME.py`` in ``NAME``.
        requirements: what pip installs in the Space, a requirement each, the one with this package first; by default
            this version of it. A version that no index has needs an address:
            ``"gpt4-instruct[eval] @ git+https://..."``.
        overwrite: write anew what is there.

    Returns:
        the folder.

    Raises:
        UnknownNameError: there is no metric of that name.
        UsageError: the folder has another name, a requirement is not one line, or the metric is of another package,
            which must be required, too.
        OutputError: the folder cannot be written, or holds something already.
    """
    definition: Definition = find("metrics", name)
    folder = Path(out).expanduser()
    if folder.absolute().name != name:
        raise UsageError(f"evaluate finds {name}.py only in a folder of that name: --out {folder / name}")
    requirements = [requirements] if isinstance(requirements, str) else list(requirements or ())
    if any(len(each.splitlines()) != 1 for each in requirements):
        raise UsageError(f"a requirement is one line, as pip reads it, not {requirements!r}: name each by itself")
    if not requirements and not _ours(definition):
        raise UsageError(f"{name} is of another package: name that and gpt4-instruct[eval] with --requirement")
    requirements = requirements or [f"gpt4-instruct[eval]=={__version__}"]
    module = (
        f'"""The metric {name}: ``evaluate.load`` makes an object of the class below."""\n\n'
        f"from gpt4_instruct.metrics import load  # From: {requirements[0]}\n\n"
        f'Metric = type(load("{name}"))\n'
    )
    app = (
        f'"""The page on which the metric {name} can be tried."""\n\n'
        "from gpt4_instruct.publishing.metric_page import page_of\n\n"
        f'demo = page_of("{name}")\n\n'  # the name by which Spaces find the page
        'if __name__ == "__main__":\n    demo.launch()\n'
    )
    files = {
        f"{name}.py": module,
        "app.py": app,
        "requirements.txt": "".join(f"{each}\n" for each in requirements),
        "README.md": _metric_card(name, definition, requirements),
    }
    write_files(folder, files, overwrite=overwrite)
    return folder


def write_files(folder: Path, files: Mapping[str, str], *, overwrite: bool) -> None:
    """Writes texts into a folder, the README last: what has it is whole.

    Raises:
        OutputExistsError: there is something in the folder, and `overwrite` is not asked for.
        OutputError: it cannot be written.
    """
    if folder.is_file():
        raise OutputError(f"{folder} is a file: name a folder with --out")
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise OutputExistsError(f"{folder} is not empty: --overwrite writes the Space anew, --out names another folder")
    for name in sorted(files, key="README.md".__eq__):
        replace_text(folder / name, files[name])


def space_metadata(title: str, description: str, *, emoji: str, tags: Sequence[str], licence: str | None = None) -> str:
    """The YAML at the top of a Space's README: what the Hub runs, in which version, and how the Space is shown."""
    from huggingface_hub import SpaceCardData

    metadata = SpaceCardData(
        title=title,
        emoji=emoji,
        colorFrom="blue",
        colorTo="indigo",
        sdk="gradio",
        sdk_version=GRADIO,
        python_version=_PYTHON,
        app_file="app.py",
        pinned=False,
        license=licence,
        tags=list(tags),
        description=description,
    )
    return metadata.to_yaml(line_break="\n")


def _ours(definition: Definition) -> bool:
    return definition.compute.__module__.startswith("gpt4_instruct.")


# --- the card of a metric -------------------------------------------------------------------------------------------


def _metric_card(name: str, definition: Definition, requirements: Sequence[str]) -> str:
    text = DocText.of(definition.compute)
    predictions, references = EXAMPLES[definition.inputs]
    found = definition.compute(predictions=predictions, references=references)
    key, value = next(iter(found.items()))
    number = isinstance(value, float)
    title = name.replace("_", " ").capitalize()
    first = text.summary.split("\n\n", 1)[0]
    return render(
        "metric_space.md",
        metadata=space_metadata(
            title,
            first,
            emoji="📏",
            tags=["evaluate", "metric", "gpt4-instruct"],
            licence="apache-2.0" if _ours(definition) else None,
        ),
        name=name,
        title=title,
        text=text,
        place=_PLACE,
        requirements=requirements,
        inputs=definition.inputs,
        predictions=predictions,
        references=references,
        shown=f'round(found["{key}"], 3)' if number else f'found["{key}"]',
        value=repr(round(value, 3) if number else value),
        found=json.dumps(found, ensure_ascii=False, indent=2),
        citation=definition.citation,
    )


@dataclass(frozen=True, slots=True)
class DocText:
    """A docstring of the house, taken apart; each text in lines as they were, without their indent.

    Attributes:
        summary: what stands above the sections.
        arguments: what each argument is, by its name.
        returns: what the function gives.
        raises: when it raises what.
    """

    summary: str
    arguments: dict[str, str]
    returns: str
    raises: dict[str, str]

    @classmethod
    def of(cls, function: Any) -> DocText:
        """Reads the docstring of a function; a section that it does not have is empty.

        >>> from gpt4_instruct.metrics.relative_score import relative_score
        >>> text = DocText.of(relative_score)
        >>> list(text.arguments)[2:], text.arguments["level"], list(text.raises)
        (['resamples', 'level', 'seed'], 'of the interval, over 0 and under 1.', ['UsageError'])
        """
        text = (inspect.getdoc(function) or "").split("\n>>> ", 1)[0]
        summary, *rest = re.split(r"^(Args|Returns|Raises):\n", text, flags=re.MULTILINE)
        sections = dict(zip(rest[::2], map(dedent, rest[1::2]), strict=True))
        entries = [_entries(sections.get(name, "")) for name in ("Args", "Raises")]
        return cls(summary.strip(), entries[0], sections.get("Returns", "").strip(), entries[1])


def _entries(section: str) -> dict[str, str]:
    """The entries ``name: text`` of a section, whose further lines are indented.

    >>> _entries("a: one\\n    more.\\nb, c: two")
    {'a': 'one more.', 'b, c': 'two'}
    """
    found = re.findall(r"^(\S[^:]*): (.*(?:\n +.*)*)", section, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}
