"""What the OpenAI API says besides answers: its errors, by whose fault each is, and its limits, from the headers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from gpt4_instruct.errors import RequestRefusedError, RunStoppedError, TeacherError, TransientError
from gpt4_instruct.records import RateLimits

__all__ = ["read_limits", "sort_error", "sort_status"]

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
            limits=read_limits(headers),
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


# --- limits -----------------------------------------------------------------------------------------------------------

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def _seconds(duration: str) -> float:
    """Seconds in a duration as the headers have it; 0 when it is none.

    >>> _seconds("6m0s"), _seconds("120ms"), _seconds("soon")
    (360.0, 0.12, 0)
    """
    return sum(float(number) * _UNITS_S[unit] for number, unit in _DURATION.findall(duration))


def read_limits(headers: Any) -> RateLimits | None:
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
