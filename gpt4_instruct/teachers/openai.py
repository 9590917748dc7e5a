"""The teacher behind the OpenAI API, or any endpoint that speaks it (`OPENAI_BASE_URL`): ``openai:gpt-4``.

Every exception of the openai client becomes one of three errors, by whose fault it is: this request's, the moment's or
the run's. Structured output is used where the endpoint has it; one that refuses the field is asked without it, and the
reply is read tolerantly. The API key never leaves this file: it is cut out of every message and every response.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from gpt4_instruct.errors import (
    RequestRefusedError,
    RunStoppedError,
    TeacherError,
    TransientError,
    UsageError,
)
from gpt4_instruct.records import Request
from gpt4_instruct.teachers.base import Teacher

if TYPE_CHECKING:
    import openai

__all__ = ["OpenAITeacher", "sort_error"]

_OPENAI = "https://api.openai.com/v1"
_TIMEOUT_S = 180.0  # the longest answers of 512 tokens take about a minute
_CONNECT_TIMEOUT_S = 10.0
_REDACTED = "[redacted]"
_SECRET_CHARACTERS = 16

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
_ROW_STATUSES = frozenset({400, 413, 414, 422})
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
        self._structured = True
        self._client: openai.AsyncOpenAI | None = None

    async def ask(self, request: Request) -> str:
        """The body of the endpoint's response, as it came. Raises what `Teacher.ask` says."""
        client = self._connect()
        body = dict(request.parameters)
        if "seed" in body:
            body["seed"] += request.sample  # the same seed for each would draw the same answer again
        response_format = _response_format(request) if self._structured else None
        try:
            return await self._post(client, request, body, response_format)
        except RequestRefusedError as error:
            if response_format is None or "response_format" not in error.detail:
                raise
            # An older model or server without structured output: once known, never sent again.
            self._structured = False
            return await self._post(client, request, body, None)

    async def _post(
        self, client: openai.AsyncOpenAI, request: Request, body: dict[str, Any], response_format: Any
    ) -> str:
        import openai

        if response_format is not None:
            body = {**body, "response_format": response_format}
        try:
            response = await client.chat.completions.with_raw_response.create(
                model=request.model,
                messages=[{"role": message.role, "content": message.content} for message in request.messages],  # type: ignore[misc]
                **body,
            )
            return self._redact(response.text)
        except openai.OpenAIError as error:
            raise sort_error(error, self.endpoint, self._redact) from None
        except (TypeError, ValueError) as error:  # the client cannot even write the request
            message = self._redact(f"{type(error).__name__}: {error}")
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

    def _redact(self, text: str) -> str:
        # "ollama" or "EMPTY", as people give servers of their own, is no secret but may be a word of an answer.
        return text.replace(self._key, _REDACTED) if len(self._key) >= _SECRET_CHARACTERS else text

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
        return _sort_status(error, endpoint, redact)
    if isinstance(error, openai.APIConnectionError):
        cause = error.__cause__
        unreachable = type(cause).__name__ in {"ConnectError", "ConnectTimeout", "UnsupportedProtocol", "ProxyError"}
        what = "no connection to" if unreachable else _during(error)
        detail = redact(str(cause or error)).strip() or type(cause or error).__name__
        message = f"{what} {endpoint}: {' '.join(detail.split())[:200]}"
        return TransientError(message, unreachable=unreachable, billable=not unreachable)
    if isinstance(error, openai.APIError):
        return TransientError(f"{endpoint} sent a response that cannot be read: {redact(str(error))}", billable=True)
    # What is left is raised before anything is sent: a client that cannot be set up.
    return RunStoppedError(f"the openai client refuses to ask {endpoint}: {redact(str(error))}")


def _during(error: Exception) -> str:
    import openai

    return "no answer in time from" if isinstance(error, openai.APITimeoutError) else "connection lost to"


def _sort_status(error: openai.APIStatusError, endpoint: str, redact: Any) -> TeacherError:
    status = error.status_code
    body = error.body if isinstance(error.body, dict) else {}
    code = str(body.get("code") or body.get("type") or "")
    said = body.get("message") or body.get("detail") or error.response.text or error.message
    message = " ".join(redact(str(said)).split())[:300]
    about_format = "response_format" in f"{body.get('param')} {message}"  # the teacher can do without
    if code in _RUN_CODES and not about_format:
        return RunStoppedError(f"{endpoint} refuses the run ({status} {code}): {message}")
    if status in _ROW_STATUSES:
        # param names the offending field, which the message may not.
        field = f" [{body['param']}]" if body.get("param") else ""
        return RequestRefusedError(_row_reason(code, message), f"{status} {code}: {message}{field}".replace(" :", ":"))
    if status in _MOMENT_STATUSES or status >= 500:
        return TransientError(f"{endpoint} answered {status}: {message}", retry_after_s=_retry_after_s(error))
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


def _retry_after_s(error: openai.APIStatusError) -> float | None:
    """Seconds in ``retry-after-ms`` or ``Retry-After``; a date there is left to the engine's own pace."""
    headers = error.response.headers
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
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


def _without_credentials(url: str) -> str:
    """An address fit to be written down: no user, password, query or fragment.

    >>> _without_credentials("https://me:secret@host:8000/v1?key=secret")
    'https://host:8000/v1'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
