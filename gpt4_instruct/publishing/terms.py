"""The terms that come with what is published, from its facts, and what must be there before anything goes public."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from gpt4_instruct.errors import UsageError
from gpt4_instruct.publishing.contents import metadata_of
from gpt4_instruct.publishing.origins import origin_of

__all__ = ["check_public", "notice"]

_SECTION = re.compile(r"^#+ .*\b(terms|licen[cs]e|licensing)\b", re.IGNORECASE | re.MULTILINE)
_OPENAI = "OpenAI's terms of use restrict using them to develop models that compete with OpenAI"


def check_public(kind: str, card: str) -> None:
    """Whether a card says what everybody must be told.

    Args:
        kind: ``"dataset"``, ``"model"`` or ``"space"``.
        card: as it would be published.

    Raises:
        UsageError: its metadata name no licence, or it has no section on terms; it lists what is missing.

    >>> check_public("dataset", "---\\nlicense: mit\\n---\\n## Limits and terms\\n")
    """
    missing = []
    if metadata_of(card).get("license") in (None, "", "unknown", []):
        missing.append('a licence (write "license: NAME" into the metadata at the top of README.md; it is kept)')
    if kind != "space" and not _SECTION.search(card):
        missing.append('a section on terms (a heading with the word "terms" or "licence")')
    if missing:
        raise UsageError(f"it cannot be public: the card lacks {' and '.join(missing)}")


def notice(kind: str, facts: dict[str, Any], card: str) -> list[str]:
    """The terms that whoever publishes this has to know, a line each: never more than the facts say.

    Args:
        kind: ``"dataset"``, ``"model"`` or ``"space"``.
        facts: the manifest, or ``training.json``.
        card: as it would be published.

    >>> config = {"source": "seeds", "teachers": [{"spec": "local:smollm2"}]}
    >>> for line in notice("dataset", {"configs": {"english": config}}, "---\\nlicense: apache-2.0\\n---\\n"):
    ...     print(line)
    licence on the card: apache-2.0
    english: instructions from seeds are under apache-2.0
    english: answers by local:smollm2 fall under that model's terms
    """
    licence = metadata_of(card).get("license") or "none"
    lines: Iterable[str] = ()
    if kind == "dataset":
        lines = _of_dataset(facts)
    elif kind == "model":
        lines = _of_model(facts)
    return [f"licence on the card: {licence}", *dict.fromkeys(lines)]


def _of_dataset(manifest: dict[str, Any]) -> Iterator[str]:
    for name, config in manifest["configs"].items():
        source = str(config.get("source", ""))
        if "released" in config:
            yield f"{name}: the released data, CC BY-NC 4.0: for research, not for commercial use"
            yield f"{name}: answers by OpenAI's models: {_OPENAI}"
            continue
        origin = origin_of(source)
        if origin.licence:
            yield f"{name}: instructions from {origin.shown} are under {origin.licence}"
        else:
            yield f"{name}: instructions from {origin.shown} fall under the terms of their source"
        for spec in dict.fromkeys(str(each["spec"]) for each in config.get("teachers", ())):
            if spec.startswith(("openai:", "openai-batch:")):
                yield f"{name}: answers by {spec}: {_OPENAI}"
            elif spec.startswith("replay"):
                yield f"{name}: answers from a record ({spec}) fall under the terms of whatever model wrote them"
            else:
                yield f"{name}: answers by {spec} fall under that model's terms"


def _of_model(facts: dict[str, Any]) -> Iterator[str]:
    base, origin = facts["base"], origin_of(facts["data"]["name"])
    yield f"base model {base['name']}: " + (
        f"licence {base['licence']}, which binds this model, too" if base.get("licence") else "licence not known"
    )
    yield f"data {origin.shown}: " + (f"licence {origin.licence}" if origin.licence else "licence not known")
    if origin.openai:
        yield f"data {origin.shown}: its {origin.openai}: {_OPENAI}"
    elif origin.openai is None:
        yield f"if answers in the data come from OpenAI's models: {_OPENAI}"
