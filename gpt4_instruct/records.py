"""The records that travel through a build, and the columns of each split.

    source ──Instruction──▶ stage ──Request──▶ engine ──Answer──▶ stage ──Row──▶ dataset
                  └──────────────── Reject(reason) ──────────────────┘

A row of the English split, as `load_dataset` gives it back::

    {"instruction": "Name the largest planet.", "input": "", "output": "Jupiter.",
     "metadata": {"id": "seed-004", "origin": "seeds:4", "teacher": "local:smollm2", "model": "SmolLM2-135M-Instruct",
                  "finish_reason": "stop", "prompt_tokens": 61, "completion_tokens": 4, "request": "9f2c..."}}
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from datasets import Features

__all__ = [
    "Answer",
    "Instruction",
    "Message",
    "RateLimits",
    "Reject",
    "Request",
    "Row",
    "Sample",
    "Sampling",
    "Scored",
    "content_key",
    "features",
    "provenance",
    "well_formed",
]

Language = Literal["en", "zh"]

_CANONICAL = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Instruction:
    """One task for a teacher, as a source gives it.

    Attributes:
        id: unique within its source.
        instruction: what to do; never empty.
        input: what to do it with; may be empty.
        label: the source's own reference answer, if it has one (the Unnatural split keeps it).
        chinese: the source's own Chinese (instruction, input), if it has one.
        origin: where it was read, as ``file:line``.
        kind: what kind of task it is, where the source says so, such as ``"classification"``.
    """

    id: str
    instruction: str
    input: str = ""
    label: str | None = None
    chinese: tuple[str, str] | None = None
    origin: str = ""
    kind: str = ""


class Message(NamedTuple):
    """One chat message: ``role`` is ``"system"``, ``"user"`` or ``"assistant"``."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Sampling:
    """How a teacher draws its answer. The defaults are those of the paper's generation call (section 3.1).

    Attributes:
        temperature: 0 is greedy.
        top_p: nucleus mass, in (0, 1].
        max_tokens: most tokens in an answer.
        seed: sent with the request when given; a local model always draws reproducibly.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    max_tokens: int = 512
    seed: int | None = None

    def parameters(self) -> dict[str, Any]:
        """The OpenAI request fields, without those that are not set.

        >>> Sampling(max_tokens=8).parameters()
        {'temperature': 1.0, 'top_p': 1.0, 'max_tokens': 8}
        """
        fields = {"temperature": self.temperature, "top_p": self.top_p, "max_tokens": self.max_tokens}
        return fields if self.seed is None else {**fields, "seed": self.seed}


@dataclass(frozen=True, slots=True)
class Request:
    """One question to one model. It is content: two equal requests are the same question, and are paid once.

    Attributes:
        endpoint: where the model answers: a base URL without credentials, ``"local"`` or ``"replay"``.
        model: which model, exactly enough that another model never has the same name.
        messages: the conversation.
        parameters: sampling fields, in the OpenAI API's names.
        sample: 0 for the first answer to this question, 1 for another one, and so on.
        choices: the only texts allowed as an answer, or none.
        schema: the JSON schema of the answer, or none.
    """

    endpoint: str
    model: str
    messages: tuple[Message, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    sample: int = 0
    choices: tuple[str, ...] = ()
    schema: Mapping[str, Any] | None = None

    def to_json(self) -> str:
        """Canonical JSON: sorted keys, no spaces, so that equal requests have equal text."""
        content = {
            "endpoint": self.endpoint,
            "model": self.model,
            "messages": self.messages,
            "parameters": self.parameters,
            "sample": self.sample,
            "choices": self.choices,
            "schema": self.schema,
        }
        return _CANONICAL.encode(content)

    @classmethod
    def from_json(cls, content: str) -> Request:
        """The request with this canonical JSON.

        >>> one = Request("local", "m", (Message("user", "Hi"),), {"top_p": 1.0})
        >>> Request.from_json(one.to_json()) == one
        True
        """
        fields = json.loads(content)
        fields["messages"] = tuple(Message(*message) for message in fields["messages"])
        fields["choices"] = tuple(fields["choices"])
        return cls(**fields)

    @property
    def key(self) -> str:
        """SHA-256 of the canonical JSON, as 64 hex digits: the ledger's key.

        >>> one = Request("local", "m", (Message("user", "Hi"),), {"top_p": 1.0, "temperature": 0.0})
        >>> two = Request("local", "m", (Message("user", "Hi"),), {"temperature": 0.0, "top_p": 1.0})
        >>> one.key == two.key, len(one.key)
        (True, 64)
        """
        return content_key(self.to_json())


def content_key(content: str) -> str:
    """The key of the request with this canonical JSON: its SHA-256, as 64 hex digits."""
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a teacher said to a request, read from the raw response in the ledger.

    Attributes:
        text: the answer's text; empty when the teacher gave none.
        finish_reason: ``"stop"``, ``"length"`` (cut off), ``"content_filter"``, ... as the endpoint says it.
        teacher: the teacher as the user wrote it, such as ``"openai:gpt-4"``.
        model: the model's name as the response states it.
        prompt_tokens: as the endpoint counted, 0 where it does not.
        completion_tokens: likewise.
        request: the key of the request that was answered.
        cut_output: where this answer was asked for with more room because a first one was cut off, that first text.
    """

    text: str
    finish_reason: str
    teacher: str
    model: str
    prompt_tokens: int
    completion_tokens: int
    request: str
    cut_output: str | None = None


@dataclass(frozen=True, slots=True)
class RateLimits:
    """What an endpoint says about its limits in the headers of a response; none where it says nothing.

    Attributes:
        requests: requests per period.
        requests_left: of those, how many are left.
        requests_period_s: the period: a minute, or a day.
        tokens: tokens per minute.
        tokens_left: of those, how many are left.
    """

    requests: int | None = None
    requests_left: int | None = None
    requests_period_s: float = 60.0
    tokens: int | None = None
    tokens_left: int | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """One model's answer and the score another one gave it: 1 (worst) to 10 (best), none where a file has no score."""

    response: str
    source: str
    score: float | None


@dataclass(frozen=True, slots=True)
class Sample:
    """A finished row, whatever its shape was: a task and what was answered. Checks and statistics look at these.

    Texts are as they stand in the row, not stripped.

    Attributes:
        instruction: the task.
        input: what the task is about; may be empty.
        output: the answer; empty where `scored` holds several.
        finish_reason: how the answer ended, where that is known, else empty.
        language: the language the answer should be in.
        label: a reference answer beside the output, if the row has one.
        scored: the answers of a comparison, in the row's order.
        id: the row's own id, or one made of its file and line.
        origin: where it was read, as ``file:line``.
    """

    instruction: str
    input: str
    output: str
    finish_reason: str = ""
    language: Language = "en"
    label: str | None = None
    scored: tuple[Scored, ...] = ()
    id: str = ""
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row under construction: each stage returns it with one thing more.

    Attributes:
        instruction: the task, in the language it is answered in.
        translation: the answer that translated the task, where one was asked for.
        answers: the teachers' answers so far.
        scores: the scorer's answer for each of ``answers``.
        scored: the outcome of the scores.
    """

    instruction: Instruction
    translation: Answer | None = None
    answers: tuple[Answer, ...] = ()
    scores: tuple[Answer, ...] = ()
    scored: tuple[Scored, ...] = ()


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is not in the dataset, and why. Written to ``rejects/<split>.jsonl``.

    Attributes:
        id: the instruction's id, where it has one.
        stage: where it was rejected: ``"source"`` or a stage's name.
        reason: a snake_case word to count by.
        detail: what exactly, in one line.
        origin: where the row was read, as ``file:line``.
        instruction: what was asked, as far as it is known.
        input: likewise.
        output: what was answered, if anything was.
    """

    id: str
    stage: str
    reason: str
    detail: str = ""
    origin: str = ""
    instruction: str = ""
    input: str = ""
    output: str = ""


def well_formed(text: str) -> str:
    r"""The text with halves of surrogate pairs replaced, which JSON can hold and no file or database can.

    >>> well_formed("half an emoji \ud83d, a whole one \ud83d\ude00")
    'half an emoji \ufffd, a whole one \U0001f600'
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def provenance(answer: Answer) -> dict[str, Any]:
    """Where an answer came from, as the columns of a ``metadata`` struct (all of `Answer` but its text)."""
    return {
        "teacher": answer.teacher,
        "model": answer.model,
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": answer.completion_tokens,
        "request": answer.request,
        "cut_output": answer.cut_output,
    }


def features(split: str) -> Features:
    """The columns of a split.

    Args:
        split: ``"english"``, ``"chinese"``, ``"comparison"``, ``"unnatural"`` or ``"self_instruct"``.

    Returns:
        the `datasets.Features`; the data columns have the released files' names and order, ``metadata`` is ours.
    """
    from datasets import Features, List, Value

    text, count = Value("string"), Value("int64")
    origin = {"id": text, "origin": text}
    answered = {
        "teacher": text,
        "model": text,
        "finish_reason": text,
        "prompt_tokens": count,
        "completion_tokens": count,
        "request": text,
        "cut_output": text,
    }
    triple = {"instruction": text, "input": text, "output": text}
    scored = {"response": text, "source": text, "score": Value("float64")}
    invented = {
        "language": text,
        "pair": text,
        "kind": text,
        "topic": text,
        "round": count,
        "label": text,
        "instruction_request": text,
        "input_request": text,
        "translation_request": text,
        "translator": text,
    }
    columns: dict[str, dict[str, Any]] = {
        "english": {**triple, "metadata": {**origin, **answered}},
        "chinese": {**triple, "metadata": {**origin, **answered, "translator": text, "translation_request": text}},
        "comparison": {
            "user_input": text,
            "responses_and_scores": List(scored),
            "metadata": {**origin, "answers": List(answered), "scores": List(answered)},
        },
        "unnatural": {**triple, "label": text, "metadata": {**origin, **answered}},
        "self_instruct": {**triple, "metadata": {**origin, **answered, **invented}},
    }
    return Features(columns[split])
