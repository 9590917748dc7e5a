"""Where the data of a run is from, by its name alone, and which terms come with it: never more than the name says.

released:english      the paper's released file: CC BY-NC 4.0, written by GPT-4
hub:ORG/NAME          the Hub's; its terms are on its card, which is not read here
my_rows.jsonl         nobody knows
"""

from __future__ import annotations

import re
from typing import NamedTuple

from gpt4_instruct.sources.released import RELEASED, Released

__all__ = ["HUB_ID", "Origin", "joint_licence", "origin_of"]

HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_PERMISSIVE = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause")

# Copies of the release on the Hub. Whatever licence they name, the rows are the release's.
_COPIES = {
    "vicgalle/alpaca-gpt4": "english",
    "llm-wizard/alpaca-gpt4-data": "english",
    "llm-wizard/alpaca-gpt4-data-zh": "chinese",
    "shibing624/alpaca-zh": "chinese",
    "tatsu-lab/alpaca": "alpaca",
}


class Origin(NamedTuple):
    """What a data set's name says about where it is from.

    Attributes:
        kind: ``"released"``, ``"copy"`` (of a released file, on the Hub), ``"named"`` (as a released file is),
            ``"seeds"``, ``"hub"`` or ``"other"``.
        shown: the name, without a folder of anybody's.
        hub: its id on the Hub.
        released: the file of the release.
        licence: as the Hub names it; none where it is not known.
        openai: what of it OpenAI's models wrote; empty where nothing, none where that is not known.
    """

    kind: str
    shown: str
    hub: str | None = None
    released: Released | None = None
    licence: str | None = None
    openai: str | None = None


def origin_of(name: str) -> Origin:
    """Tells where data is from by its name, as `open_rows` calls it; never more than the name says."""
    if name == "seeds":
        return Origin("seeds", name, licence="apache-2.0", openai="")
    if name.startswith("released:") and name.removeprefix("released:") in RELEASED:
        return _of_release("released", name, name.removeprefix("released:"))
    if name.startswith("hub:"):
        id = name.removeprefix("hub:").partition(":")[0].partition("@")[0]
        if not HUB_ID.fullmatch(id):  # a folder shaped like one of the Hub's
            return Origin("other", id.replace("\\", "/").rstrip("/").rpartition("/")[2] or "a folder")
        if id.lower() in _COPIES:
            return _of_release("copy", name, _COPIES[id.lower()], hub=id)
        return Origin("hub", name, hub=id)
    for stem, file in RELEASED.items():
        if file.file_name == name and name.endswith(".json"):
            return _of_release("named", name, stem)
    return Origin("other", name.replace("\\", "/").rpartition("/")[2])


def _of_release(kind: str, shown: str, stem: str, hub: str | None = None) -> Origin:
    file = RELEASED[stem]
    writers = {
        "comparison": "scores, and some of its answers, were written by OpenAI's models",
        "alpaca": "answers were written by OpenAI's text-davinci-003",
        "unnatural-core": "rows were written by OpenAI's models",
        "vicuna80": "",
        "user252": "",
    }
    return Origin(kind, shown, hub, file, file.licence, writers.get(stem, "answers were written by OpenAI's GPT-4"))


def joint_licence(base: str | None, data: str | None) -> str:
    """The licence that the metadata can name for a model of this base, tuned on this data.

    >>> joint_licence("apache-2.0", "cc-by-nc-4.0"), joint_licence("other", "cc-by-nc-4.0")
    ('cc-by-nc-4.0', 'other')
    >>> joint_licence("apache-2.0", None)
    'unknown'
    """
    if base is None or data is None:
        return "unknown"
    if data in (base, *_PERMISSIVE):
        return base
    return data if base in _PERMISSIVE else "other"
