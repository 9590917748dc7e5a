"""Finds a split, a teacher, a check or a metric by its name.

Ours are files: `gpt4_instruct/<room>/<name>.py` registers the first name of its `__all__`. Yours are entry points of
any installed package, and are found the same way::

    [project.entry-points."gpt4_instruct.teachers"]
    mine = "my_package.my_module:MyTeacher"
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from gpt4_instruct.errors import UnknownNameError, UsageError

__all__ = ["ROOMS", "find", "names"]

# Room -> what one of its things is called, and which of its files are not one of them.
ROOMS: dict[str, tuple[str, frozenset[str]]] = {
    "splits": (
        "split",
        frozenset(
            {
                *("base", "build", "config", "estimate", "run", "stages"),
                *("costs", "rounds", "self_instruct_estimate", "self_instruct_recipes", "self_instruct_seeds"),
                *("self_instruct_stages", "steering"),
            }
        ),
    ),
    "teachers": ("teacher", frozenset({"base", "decoding", "fleet", "openai_client", "openai_errors", "prompting"})),
    "quality": ("check", frozenset({"arithmetic", "audit", "base", "cleaning", "minhash", "novelty", "texts"})),
    "engines": ("engine", frozenset()),
    "metrics": ("metric", frozenset({"base", "intervals", "rouge", "tokens"})),
}


def _files(room: str) -> list[str]:
    helpers = ROOMS[room][1]
    package = import_module(f"gpt4_instruct.{room}")
    found = [module.name for module in pkgutil.iter_modules(package.__path__) if module.name not in helpers]
    return [name.replace("_", "-") if room == "teachers" else name for name in found]


def _outside(room: str) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"gpt4_instruct.{room}")}


def names(room: str) -> list[str]:
    """Every name in a room, sorted, ours and those of installed packages; nothing is imported.

    >>> names("splits")[:2]
    ['chinese', 'comparison']
    """
    return sorted({*_files(room), *_outside(room)})


@cache  # every check of every row comes through here
def find(room: str, name: str) -> Any:
    """The object registered as `name` in `room`; one of ours wins over one of the same name outside.

    Raises:
        UnknownNameError: there is none; says the nearest names.
        UsageError: an installed package registers it, but it cannot be imported.
    """
    kind = ROOMS[room][0]
    if name in _files(room):
        module = import_module(f"gpt4_instruct.{room}.{name.replace('-', '_')}")
        return getattr(module, module.__all__[0])
    outside = _outside(room)
    if name not in outside:
        raise UnknownNameError(kind, name, names(room))
    try:
        return outside[name].load()
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the {kind} {name!r} is registered as {outside[name].value} but cannot be loaded: {error}")
