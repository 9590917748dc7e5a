"""Reads the parts of a row: texts, scores, lists of objects, conversations; or says why it cannot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

__all__ = [
    "ASSISTANTS",
    "USERS",
    "Exchange",
    "Unusable",
    "contents",
    "exchanges",
    "objects",
    "read_score",
    "read_text",
]

USERS = frozenset({"user", "human"})
ASSISTANTS = frozenset({"assistant", "gpt", "chatgpt", "model"})
# Of what was said before a message: more than models of the time read, and a long chat does not grow with its square.
_REMEMBERED_CHARACTERS = 8_000


class Exchange(NamedTuple):
    """A user's message in a conversation.

    Attributes:
        before: the last 8,000 characters of what was said earlier, as ``User: ...`` and ``Assistant: ...``.
        message: several in a row are one.
        answer: none where nobody answers.
    """

    before: str
    message: str
    answer: str | None


class Unusable(ValueError):
    """Why a row cannot be used: a reason to count by and a detail."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def read_text(row: Mapping[str, Any], name: str, *, required: bool = False) -> str:
    """A text as it is; an empty one where there is none, unless it is required.

    Raises:
        Unusable: it is required and not there, or it is no text.
    """
    if required and name not in row:
        raise Unusable("missing_field", f"no {name!r} among {', '.join(map(str, row))[:200] or 'no fields'}")
    value = row.get(name)
    if value is None and not required:
        return ""
    if not isinstance(value, str):
        raise Unusable("wrong_type", f"{name!r} is a {type(value).__name__}, not text")
    return value


def objects(row: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """A list of objects, of which there is at least one. Raises `Unusable` where it is none."""
    value = row[name]
    if not isinstance(value, list) or not all(isinstance(each, Mapping) for each in value):
        raise Unusable("wrong_type", f"{name!r} is not a list of objects")
    if not value:
        raise Unusable("missing_field", f"{name!r} is empty")
    return value


def read_score(value: Any) -> float | None:
    """A score as a number, where it is one or spells one; none for NaN and all else.

    >>> [read_score(value) for value in (9, 8.5, "9", " 7.5 ", "9/10", None, float("nan"), "inf", True, [9])]
    [9.0, 8.5, 9.0, 7.5, None, None, None, None, None, None]
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        score = float(value)
    except (ValueError, OverflowError):
        return None
    return score if math.isfinite(score) else None


def exchanges(row: Mapping[str, Any], name: str) -> list[Exchange]:
    r"""Each message of a user in a conversation, with its answer and what was said before.

    Raises:
        Unusable: it is no conversation, or no user says anything in it.

    >>> said = [("user", "Name a fish."), ("assistant", "Cod."), ("user", "Another one.")]
    >>> exchanges({"messages": [{"role": role, "content": content} for role, content in said]}, "messages")[1].before
    'User: Name a fish.\nAssistant: Cod.'
    """
    found: list[Exchange] = []
    asked: list[str] = []
    before = ""
    for role, content in _messages(objects(row, name), name):
        if role in USERS:
            asked.append(content)
        elif role in ASSISTANTS and asked:
            message = "\n\n".join(asked)
            found.append(Exchange(before, message, content))
            turn = f"User: {message}\nAssistant: {content}"
            before = (f"{before}\n\n{turn}" if before else turn)[-_REMEMBERED_CHARACTERS:]
            asked = []
    if asked:
        found.append(Exchange(before, "\n\n".join(asked), None))
    if not found:
        raise Unusable("missing_field", f"no message of a user in {name!r}")
    return found


def contents(messages: list[Any], name: str, roles: frozenset[str]) -> list[str]:
    """The texts of the messages of these roles. Raises `Unusable` where they are no messages."""
    return [content for role, content in _messages(objects({name: messages}, name), name) if role in roles]


def _messages(messages: list[Mapping[str, Any]], name: str) -> Iterator[tuple[str, str]]:
    """The role and text of each message; a content in parts is joined."""
    for each in messages:
        content = each.get("content", each.get("value"))
        if isinstance(content, list) and all(isinstance(part, Mapping) for part in content):
            content = "".join(read_text(part, "text", required=True) for part in content)
        if content is None:  # a call of a tool
            content = ""
        if not isinstance(content, str):
            raise Unusable("wrong_type", f"a message of {name!r} is a {type(content).__name__}, not text")
        yield str(each.get("role", each.get("from"))), content
