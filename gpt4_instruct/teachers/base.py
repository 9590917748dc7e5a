"""What a teacher is: something that answers one `Request` with one raw response.

A teacher does not retry, limit or remember: the engine does, for all of them. It is written ``NAME`` or
``NAME:ARGUMENT``, such as ``openai:gpt-4``; the registry finds NAME and calls what it finds with ARGUMENT.

Every teacher speaks one shape, the OpenAI chat completion, as JSON text::

    {"model": "gpt-4-0613", "choices": [{"message": {"content": "Jupiter."}, "finish_reason": "stop"}],
     "usage": {"prompt_tokens": 61, "completion_tokens": 4}}
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gpt4_instruct.errors import TeacherError, TransientError, UsageError
from gpt4_instruct.prompts.tasks import read_choice
from gpt4_instruct.records import Answer, RateLimits, Request, well_formed
from gpt4_instruct.registry import find

_MOST_TOKENS = 1e12

__all__ = [
    "BatchStatus",
    "BatchTeacher",
    "Response",
    "Teacher",
    "completion",
    "connect",
    "read",
]


@dataclass(frozen=True, slots=True)
class Response:
    """A raw response with what came beside it.

    Attributes:
        text: the JSON text of a chat completion.
        limits: what the endpoint says about its limits.
    """

    text: str
    limits: RateLimits | None = None


class Teacher(ABC):
    """Answers requests. Subclass it and implement `ask`; everything else has a default.

    Attributes:
        spec: the teacher as the user writes it; stands in the rows' metadata.
        endpoint: where it answers, without credentials; part of a request's identity.
        model: which model exactly; part of a request's identity, so it changes when the weights do.
        concurrency: how many requests the engine keeps in flight unless told otherwise.
        written: what `connect` made it of, so that another computer can make the same; none where somebody else did.
    """

    spec: str
    endpoint: str
    model: str
    concurrency: int = 32
    written: str | None = None

    @abstractmethod
    async def ask(self, request: Request) -> str | Response:
        """The raw response to one request, as the JSON text of a chat completion (see `completion`).

        Called many times at once from one event loop.

        Raises:
            RequestRefusedError: this request cannot be answered; its row is rejected.
            TransientError: asking again may help; the engine does.
            RunStoppedError: no request can be answered; the run stops.
        """

    def for_batches(self) -> BatchTeacher | None:
        """Whoever can fetch what batches at this teacher's endpoint have answered; none where there are none."""
        return None

    async def close(self) -> None:
        """Lets go of connections and memory. Called on the event loop after the last request; `ask` may follow."""


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """How far a batch is.

    Attributes:
        state: ``"running"``, ``"ended"`` (there may be results for all of its requests, or for some), or ``"failed"``
            (it was not accepted as a whole).
        done: requests answered so far.
        total: its requests.
        detail: why it failed, in one line.
        full: it failed only because too much is waiting already: worth sending again later.
        files: where its results are, for `BatchTeacher.results`.
    """

    state: Literal["running", "ended", "failed"]
    done: int = 0
    total: int = 0
    detail: str = ""
    full: bool = False
    files: tuple[str, ...] = ()


class BatchTeacher(Teacher):
    """Answers requests by the file: hours later, for less money. The engine collects them and keeps track of batches.

    Its ``endpoint`` and ``model`` are those of the teacher that answers at once, so that both share a ledger. Every
    method but `line` raises `TransientError` or `RunStoppedError` as `ask` does.

    Attributes:
        most_requests: in one file.
        most_bytes: of one file.
    """

    most_requests: int
    most_bytes: int

    @abstractmethod
    def line(self, request: Request, key: str) -> str:
        """The line of the file that asks a request, without its end; `key` comes back with the result."""

    def amend(self, error: TeacherError, request: Request) -> bool:
        """Whether a refused request would be written differently from now on, so that it is worth asking again."""
        return False

    @abstractmethod
    async def upload(self, path: Path) -> str:
        """Sends a file of such lines; its id. Nothing is asked yet."""

    @abstractmethod
    async def submit(self, file: str, name: str) -> str:
        """Has an uploaded file answered; the batch's id. `name` is ours, for `find`."""

    @abstractmethod
    async def find(self, name: str) -> str | None:
        """The id of the batch that was submitted under this name, if one was: who was killed may not know."""

    @abstractmethod
    async def poll(self, batch: str) -> BatchStatus:
        """How far a batch is."""

    @abstractmethod
    def results(self, status: BatchStatus) -> AsyncIterator[tuple[str, str | Exception]]:
        """The key of each request with its raw response, or with the error that `ask` would raise; in any order."""

    @abstractmethod
    async def cancel(self, batch: str) -> None:
        """Stops a batch; what it has answered stays."""


def connect(teacher: str | Teacher) -> Teacher:
    """The teacher that a text such as ``"openai:gpt-4"`` names; a `Teacher` comes back as it is.

    Raises:
        UsageError: the teacher cannot be had as written (no key, no model named, no such file).
        UnknownNameError: no teacher has that name; says the nearest ones.
    """
    if isinstance(teacher, Teacher):
        return teacher
    name, _, argument = teacher.partition(":")
    found = find("teachers", name)(argument)
    if not isinstance(found, Teacher):
        raise UsageError(f"the teacher {name!r} is registered, but is a {type(found).__name__}, not a Teacher")
    found.written = teacher
    return found


def completion(
    text: str,
    *,
    model: str,
    finish_reason: str = "stop",
    prompt_tokens: int = 0,
    completion_tokens: int = 0,
) -> str:
    """A raw response in the shape that every teacher speaks.

    >>> completion("Hi!", model="mine")[:60]
    '{"model": "mine", "choices": [{"index": 0, "message": {"role'
    """
    return json.dumps(
        {
            "model": model,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": well_formed(text)},
                    "finish_reason": finish_reason,
                }
            ],
            "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens},
        },
        ensure_ascii=False,
    )


def read(teacher: Teacher, request: Request, key: str, raw: str) -> Answer:
    """The answer in a raw response.

    Args:
        teacher: who answered.
        request: what was asked.
        key: `request.key`, which the caller has at hand.
        raw: the JSON text of a chat completion.

    Raises:
        TransientError: the text is not a chat completion (half a body, an error page): worth asking again.
    """
    try:
        body = json.loads(raw)
        choice = body["choices"][0]
        message = choice["message"]
        usage = body.get("usage")
        usage = usage if isinstance(usage, dict) else {}
        refused = message.get("refusal")
        text = message.get("content") or refused or ""
        if not isinstance(text, str):  # a list of content parts
            text = "".join(part.get("text", "") for part in text)
        text = well_formed(text)
        return Answer(
            text=read_choice(text, request.choices) if request.choices else text,
            finish_reason="content_filter" if refused else str(choice.get("finish_reason") or ""),
            teacher=teacher.spec,
            model=str(body.get("model") or request.model),
            prompt_tokens=_count(usage.get("prompt_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
            request=key,
        )
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        start = " ".join(raw[:80].split())
        raise TransientError(f"the response is not a chat completion ({start!r})", billable=True) from error


def _count(value: object) -> int:
    """A number of tokens, or 0 for what is none: an answer that was paid for is not lost over how it was counted."""
    return int(value) if isinstance(value, int | float) and 0 <= value < _MOST_TOKENS else 0
