"""The teacher behind the OpenAI API, or any endpoint that speaks it (`OPENAI_BASE_URL`): ``openai:gpt-4``.

Every exception of the openai client becomes one of three errors, by whose fault it is: this request's, the moment's or
the run's. Structured output is used where the endpoint has it; one that refuses the field is asked without it, and the
reply is read tolerantly.

Several addresses in `OPENAI_BASE_URL`, with commas between them, are a fleet: servers that hold the same model, as
several ``vllm serve MODEL`` are. How it is balanced stands in `fleet`.
"""

from __future__ import annotations

import os
import re
from typing import Any

from gpt4_instruct.errors import RequestRefusedError, RunStoppedError, TeacherError, UsageError
from gpt4_instruct.records import Request
from gpt4_instruct.registry import find
from gpt4_instruct.teachers.base import BatchTeacher, Response, Teacher
from gpt4_instruct.teachers.fleet import FLEET, Fleet
from gpt4_instruct.teachers.openai_client import Client

__all__ = ["OpenAITeacher"]

_OPENAI = "https://api.openai.com/v1"
_SEPARATOR = re.compile(r"\s*,\s*(?=https?://)|\s*,\s*$")  # an address may have commas of its own
# A field that a model refuses may go where it says nothing that the model does not do anyway, or where greedy decoding
# is wanted of a model that only has its own way; and, whatever it says (none below), where our own reading stops where
# the model should have, or where it is a nudge.
_DISPENSABLE = {"temperature": (0, 1), "top_p": (1,), "stop": None, "presence_penalty": None}
_UNSUPPORTED = re.compile(r"unsupported|not support")
_NEW_LIMIT_MODELS = re.compile(r"^(o\d|gpt-[5-9])")


class OpenAITeacher(Teacher):
    """Answers through the official openai client.

    A fleet's requests are those to ``http://fleet``, wherever its servers are: servers may come, go and move, and what
    was answered is not asked again. The models' name is all that tells one fleet from another. A fleet that starts with
    one server is written with a comma behind it: ``http://HOST:8000/v1,``.

    Args:
        model: the model's name at the endpoint, such as ``"gpt-4"``.
        api_key: by default ``$OPENAI_API_KEY``; an endpoint other than OpenAI's may do without.
        base_url: by default ``$OPENAI_BASE_URL``, else OpenAI's. Several, with commas between them, are a fleet.

    Raises:
        UsageError: no model is named, an address is none, or there is no key for OpenAI's own endpoint.
    """

    def __init__(self, model: str, *, api_key: str | None = None, base_url: str | None = None) -> None:
        if not model:
            raise UsageError("the openai teacher needs a model's name: write openai:MODEL, such as openai:gpt-4")
        written = base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI
        addresses = [each.rstrip("/") for each in _SEPARATOR.split(written)]
        key = (api_key or os.environ.get("OPENAI_API_KEY") or "").strip()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise UsageError("OPENAI_API_KEY holds a character that no key has (a quote, a space, ...): copy it again")
        if not key and _OPENAI in addresses:
            raise UsageError(
                "no API key for openai: set OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint that needs none"
            )
        self._key = key
        self._written = written
        self._clients = [Client(each, key) for each in dict.fromkeys(filter(None, addresses))] or [Client("", key)]
        self._fleet = Fleet(self._clients) if len(addresses) > 1 else None
        self.spec = f"openai:{model}"
        self.model = model
        self.endpoint = self._clients[0].endpoint if self._fleet is None else FLEET
        self.concurrency *= len(self._clients)
        # What this model does not take, once it is known: "response_format", "temperature", ...
        self._unsupported: set[str] = set()
        if _OPENAI in addresses and _NEW_LIMIT_MODELS.match(model):
            self._unsupported.add("max_tokens")

    async def ask(self, request: Request) -> Response:
        """The body of the endpoint's response, as it came. Raises what `Teacher.ask` says."""
        if self._fleet is None:
            return await self._ask(self._clients[0], request)
        return await self._fleet.ask(lambda client: self._ask(client, request))

    async def _ask(self, client: Client, request: Request) -> Response:
        while True:
            try:
                return await client.post(self.body(request))
            except (RequestRefusedError, RunStoppedError) as error:
                if not self.amend(error, request):
                    raise

    def amend(self, error: TeacherError, request: Request) -> bool:
        """Whether a refusal was about a field that the model can be asked without; it is not sent again from then on.

        The older models and servers lack structured output, the newer ones refuse max_tokens and temperature.
        """
        field = _refused_field(str(error), self.body(request), request)
        if field is not None:
            self._unsupported.add(field)
        return field is not None

    def body(self, request: Request) -> dict[str, Any]:
        """What is sent: the chat completion's fields, as far as this model takes them."""
        fields = dict(request.parameters)
        if "seed" in fields:
            fields["seed"] += request.sample  # the same seed for each would draw the same answer again
        response_format = _response_format(request)
        if response_format is not None:
            fields["response_format"] = response_format
        if "max_tokens" in self._unsupported and "max_tokens" in fields:
            fields["max_completion_tokens"] = fields["max_tokens"]
        fields = {name: value for name, value in fields.items() if name not in self._unsupported}
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        return {"model": request.model, "messages": messages, **fields}

    def for_batches(self) -> BatchTeacher | None:
        """The same model by the Batch API; a fleet has none, as a batch lives at one endpoint."""
        if self._fleet is not None:
            return None
        found: BatchTeacher = find("teachers", "openai-batch")(self.model, api_key=self._key, base_url=self._written)
        return found

    async def close(self) -> None:
        """Closes the connections; a later `ask` opens new ones, on whatever event loop it is called from."""
        for client in self._clients:
            await client.close()


def _refused_field(said: str, body: dict[str, Any], request: Request) -> str | None:
    """The field of a request that its model does not take and that it can be asked without, if a refusal says so."""
    if "response_format" in said and (request.schema or request.choices):
        return "response_format"
    if "max_completion_tokens" in said and "max_tokens" in request.parameters:  # "Use 'max_completion_tokens' instead."
        return "max_tokens"
    plain = said.lower().replace("_", "")  # some endpoints say presencePenalty
    if not _UNSUPPORTED.search(plain):
        return None
    for name, values in _DISPENSABLE.items():
        given = name in request.parameters and (values is None or request.parameters[name] in values)
        if given and re.search(rf"\b{name.replace('_', '')}\b", plain):
            return name
    return None


def _response_format(request: Request) -> dict[str, Any] | None:
    if request.schema is not None:
        schema = dict(request.schema)
    elif request.choices:
        schema = {
            "type": "object",
            "properties": {"answer": {"type": "string", "enum": list(request.choices)}},
            "required": ["answer"],
            "additionalProperties": False,
        }
    else:
        return None
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
