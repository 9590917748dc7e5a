"""The teacher behind the OpenAI API, or any endpoint that speaks it (`OPENAI_BASE_URL`): ``openai:gpt-4``.

Every exception of the openai client becomes one of three errors, by whose fault it is: this request's, the moment's or
the run's. Structured output is used where the endpoint has it; one that refuses the field is asked without it, and the
reply is read tolerantly. The API key never leaves this file: it is cut out of every message and every response.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from gpt4_instruct.errors import (
    RequestRefusedError,
    RunStoppedError,
    TeacherError,
    TransientError,
    UsageError,
)
from gpt4_instruct.records import RateLimits, Request
from gpt4_instruct.registry import find
from gpt4_instruct.teachers.base import BatchTeacher, Response, Teacher

if TYPE_CHECKING:
    import openai

__all__ = ["OpenAITeacher", "sort_error", "sort_status"]

_OPENAI = "https://api.openai.com/v1"
_TIMEOUT_S = 180.0  # the longest answers of 512 tokens take about a minute
_CONNECT_TIMEOUT_S = 10.0
_REDACTED = "[redacted]"
_SECRET_CHARACTERS = 16
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
# Keys of others that an error page may quote: OpenAI's and its imitators', the Hub's, and whatever follows "Bearer".
_SECRET_SHAPE = re.compile(r"\b(?:sk|hf|gsk|xai)[-_][A-Za-z0-9_\-]{8,}|(?<=Bearer )[^\s\"',}]+")
# A field that a model refuses may go where it says nothing that the model does not do anyway, or where greedy decoding
# is wanted of a model that only has its own way.
_DISPENSABLE = {"temperature": (0, 1), "top_p": (1,)}
_NEW_LIMIT_MODELS = re.compile(r"^(o\d|gpt-[5-9])")

# Error codes of the API that mean "no request of this run can succeed", whatever the status they come with.
_RUN_CODES = frozenset(
    {
        "account_deactivated",
        "billing_hard_limit_reached",
        "billing_not_active",
        "insufficient_quota",
        "invalid_api_key",
        "invalid_organization",
        "model_not_found",
        "unknown_parameter",
        "unsupported_parameter",
        "unsupported_value",
    }
)
# Exceptions of aiohttp that come before anything is sent. Those of httpx2 that they are turned into do not tell: its
# ConnectTimeout stands for a connection that is reset while the answer is awaited, too.
_UNREACHABLE = frozenset(
    {
        "ClientConnectorCertificateError",
        "ClientConnectorDNSError",
        "ClientConnectorError",
        "ClientConnectorSSLError",
        "ClientProxyConnectionError",
        "ConnectionTimeoutError",
        "UnsupportedProtocol",
    }
)
_ROW_STATUSES = frozenset({400, 413, 414, 422})
_GATEWAY_STATUSES = frozenset({408, 502, 504, 520, 521, 522, 523, 524})
_MOMENT_STATUSES = frozenset({408, 409, 425, 429})


class OpenAITeacher(Teacher):
    """Answers through the official openai client.

    Args:
        model: the model's name at the endpoint, such as ``"gpt-4"``.
        api_key: by default ``$OPENAI_API_KEY``; an endpoint other than OpenAI's may do without.
        base_url: by default ``$OPENAI_BASE_URL``, else OpenAI's.

    Raises:
        UsageError: no model is named, or there is no key for OpenAI's own endpoint.
    """

    def __init__(self, model: str, *, api_key: str | None = None, base_url: str | None = None) -> None:
        if not model:
            raise UsageError("the openai teacher needs a model's name: write openai:MODEL, such as openai:gpt-4")
        self._base_url = (base_url or os.environ.get("OPENAI_BASE_URL") or _OPENAI).rstrip("/")
        key = (api_key or os.environ.get("OPENAI_API_KEY") or "").strip()
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise UsageError("OPENAI_API_KEY holds a character that no key has (a quote, a space, ...): copy it again")
        if not key and self._base_url == _OPENAI:
            raise UsageError(
                "no API key for openai: set OPENAI_API_KEY, or OPENAI_BASE_URL for an endpoint that needs none"
            )
        if not self._base_url.startswith(("http://", "https://")):
            # Not shown: it may be a key that was pasted into the wrong variable.
            raise UsageError("OPENAI_BASE_URL is not an http address: it begins with http:// or https://")
        if urlsplit(self._base_url).username is not None:
            raise UsageError("OPENAI_BASE_URL holds a user or password: put what the endpoint wants in OPENAI_API_KEY")
        self._key = key
        self.spec = f"openai:{model}"
        self.model = model
        self.endpoint = _without_credentials(self._base_url)
        in_address = [value for _, value in parse_qsl(urlsplit(self._base_url).query)]
        secrets = {key, *in_address, *_secrets_around()}
        # The longest first: one may be a part of another.
        self._secrets = sorted((each for each in secrets if len(each) >= _SECRET_CHARACTERS), key=len, reverse=True)
        # What this model does not take, once it is known: "response_format", "temperature", ...
        self._unsupported: set[str] = set()
        if self._base_url == _OPENAI and _NEW_LIMIT_MODELS.match(model):
            self._unsupported.add("max_tokens")
        self._client: openai.AsyncOpenAI | None = None

    async def ask(self, request: Request) -> Response:
        """The body of the endpoint's response, as it came. Raises what `Teacher.ask` says."""
        while True:
            try:
                return await self._post(self.body(request))
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

    async def _post(self, body: dict[str, Any]) -> Response:
        import httpx2
        import openai

        client = self._connect()
        try:
            # Not `client.chat.completions.create`, which takes as long again to look through the types of what is sent.
            response = await client.post("/chat/completions", body=body, cast_to=httpx2.Response)
            return Response(self.redact_json(response.text), _limits(response.headers))
        except openai.OpenAIError as error:
            raise sort_error(error, self.endpoint, self._scrub) from None
        except (TypeError, ValueError) as error:  # the client cannot even write the request
            message = self._scrub(f"{type(error).__name__}: {error}")
            raise RunStoppedError(f"the openai client cannot ask {self.endpoint}: {message}") from None

    def _connect(self) -> openai.AsyncOpenAI:
        if self._client is None:
            import openai

            self._client = openai.AsyncOpenAI(
                api_key=self._key or "none",
                base_url=self._base_url,
                max_retries=0,  # the engine retries, so that the ledger sees every attempt
                timeout=openai.Timeout(_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S),
                http_client=openai.DefaultAioHttpClient(),
            )
        return self._client

    def for_batches(self) -> BatchTeacher:
        """The same model by the Batch API."""
        found: BatchTeacher = find("teachers", "openai-batch")(self.model, api_key=self._key, base_url=self._base_url)
        return found

    def _redact(self, text: str) -> str:
        # "ollama" or "EMPTY", as people give servers of their own, is no secret but may be a word of an answer.
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, _REDACTED)
        return text

    def redact_json(self, text: str) -> str:
        """A response without secrets, also where it writes them with escapes, as JSON may write any character."""
        if "\\" in text:
            try:
                plain = json.loads(text)
            except ValueError:
                return self._redact(text)
            if any(secret in each for each in _strings(plain) for secret in self._secrets):
                text = json.dumps(plain, ensure_ascii=False)
        return self._redact(text)

    def _scrub(self, text: str) -> str:
        """For errors, which nobody needs whole: what looks like a key goes, too."""
        return _SECRET_SHAPE.sub(_REDACTED, self._redact(text))

    async def close(self) -> None:
        """Closes the connections; a later `ask` opens new ones, on whatever event loop it is called from."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()


def sort_error(error: Exception, endpoint: str, redact: Any = str) -> TeacherError:
    """The error of ours that an exception of the openai client stands for.

    Args:
        error: any `openai.OpenAIError`.
        endpoint: where the request went, for the message.
        redact: applied to every text that comes from outside.

    Returns:
        a `RequestRefusedError`, `TransientError` or `RunStoppedError`, by whose fault it is.
    """
    import openai

    if isinstance(error, openai.APIStatusError):
        text = error.response.text or error.message
        return sort_status(error.status_code, error.body, endpoint, redact, text=text, headers=error.response.headers)
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        unreachable = any(type(each).__name__ in _UNREACHABLE for each in _causes(error))
        what = "no connection to" if unreachable else _during(error)
        detail = redact(str(cause or error)).strip() or type(cause or error).__name__
        message = f"{what} {endpoint}: {' '.join(detail.split())[:200]}"
        return TransientError(message, unreachable=unreachable, billable=not unreachable)
    if isinstance(error, openai.APIError):
        return TransientError(f"{endpoint} sent a response that cannot be read: {redact(str(error))}", billable=True)
    # What is left is raised before anything is sent: a client that cannot be set up.
    return RunStoppedError(f"the openai client refuses to ask {endpoint}: {redact(str(error))}")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and what it was raised from."""
    while True:
        yield error
        if error.__cause__ is None:
            return
        error = error.__cause__


def _during(error: Exception) -> str:
    late = any(isinstance(each, TimeoutError) for each in _causes(error))
    return "no answer in time from" if late else "connection lost to"


def sort_status(
    status: int, body: Any, endpoint: str, redact: Callable[[str], str], *, text: str = "", headers: Any = None
) -> TeacherError:
    """The error of ours that a status which is not 200 stands for, with the body that came with it.

    Args:
        status: of the response, or of a line of a batch's results.
        body: the API's error object, perhaps inside ``{"error": ...}``, or anything else.
        endpoint: where the request went, for the message.
        redact: applied to every text that comes from outside.
        text: what to say where the body is no error object.
        headers: of the response, if there are any.
    """
    if isinstance(body, dict) and isinstance(body.get("error"), dict):
        body = body["error"]
    body = body if isinstance(body, dict) else {}
    headers = headers or {}
    code = redact(str(body.get("code") or body.get("type") or ""))
    said = body.get("message") or body.get("detail") or text
    message = " ".join(redact(str(said)).split())[:300]
    about_format = "response_format" in f"{body.get('param')} {message}"  # the teacher can do without
    if code in _RUN_CODES and not about_format:
        return RunStoppedError(f"{endpoint} refuses the run ({status} {code}): {message}")
    if status in _ROW_STATUSES:
        # param names the offending field, which the message may not.
        field = f" [{redact(str(body['param']))}]" if body.get("param") else ""
        return RequestRefusedError(_row_reason(code, message), f"{status} {code}: {message}{field}".replace(" :", ":"))
    if status in _MOMENT_STATUSES or status >= 500:
        return TransientError(
            f"{endpoint} answered {status}: {message}",
            retry_after_s=_retry_after_s(headers),
            # A gateway in between that did not wait for the answer, which may have been given all the same.
            billable=status in _GATEWAY_STATUSES or (status >= 500 and not body),
            overloaded=status == 429,
            limits=_limits(headers),
        )
    return RunStoppedError(f"{endpoint} refuses the run ({status}): {message}. {_advice(status)}")


def _row_reason(code: str, message: str) -> str:
    if code == "context_length_exceeded" or "maximum context length" in message:
        return "too_long"
    if "content" in code and ("policy" in code or "filter" in code):
        return "refusal"
    return "request_refused"


def _advice(status: int) -> str:
    if status == 401:
        return "Check OPENAI_API_KEY"
    if status == 403:
        return "Check what this key may use"
    if status == 404:
        return "Check the model's name and OPENAI_BASE_URL"
    return "Check OPENAI_BASE_URL"


def _retry_after_s(headers: Any) -> float | None:
    """Seconds in ``retry-after-ms`` or ``Retry-After``; a date there is left to the engine's own pace."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    return None


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, names of fields among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from _strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)


def _secrets_around() -> list[str]:
    """Whatever the environment holds under a name such as HF_TOKEN: no answer and no error may carry it on."""
    return [value.strip() for name, value in os.environ.items() if _SECRET_NAME.search(name)]


def _refused_field(said: str, body: dict[str, Any], request: Request) -> str | None:
    """The field of a request that its model does not take and that it can be asked without, if a refusal says so."""
    if "response_format" in said and (request.schema or request.choices):
        return "response_format"
    if "max_completion_tokens" in said and "max_tokens" in request.parameters:  # "Use 'max_completion_tokens' instead."
        return "max_tokens"
    if "unsupported" not in said.lower():
        return None
    for name, values in _DISPENSABLE.items():
        if request.parameters.get(name) in values and name in said:
            return name
    return None


_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def _seconds(duration: str) -> float:
    """Seconds in a duration as the headers have it; 0 when it is none.

    >>> _seconds("6m0s"), _seconds("120ms"), _seconds("soon")
    (360.0, 0.12, 0)
    """
    return sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION.findall(duration))


def _limits(headers: Any) -> RateLimits | None:
    """What the ``x-ratelimit-*`` headers of a response say.

    Source: OpenAI, "Rate limits", section "Rate limits in headers". Where a day's requests are limited, as they are for
    some accounts and at some other endpoints, nothing but the time until all of them are back tells so.
    """

    def number(name: str) -> int | None:
        try:
            return int(float(headers[f"x-ratelimit-{name}"]))
        except (KeyError, ValueError, OverflowError):
            return None

    if "x-ratelimit-limit-requests" not in headers and "x-ratelimit-limit-tokens" not in headers:
        return None
    requests, left = number("limit-requests"), number("remaining-requests")
    period_s = 60.0
    if requests and left is not None and left < requests:
        full_s = _seconds(headers.get("x-ratelimit-reset-requests", "")) * requests / (requests - left)
        period_s = 86_400.0 if full_s > 3_600.0 else 60.0
    return RateLimits(requests, left, period_s, number("limit-tokens"), number("remaining-tokens"))


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


def _without_credentials(url: str) -> str:
    """An address fit to be written down: no user, password, query or fragment.

    >>> _without_credentials("https://me:secret@host:8000/v1?key=secret")
    'https://host:8000/v1'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
