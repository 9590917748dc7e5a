"""The way to one server that speaks the OpenAI API, by the official client.

The API key never leaves this file: it is cut out of every message and every response.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit, urlunsplit

from gpt4_instruct.errors import RunStoppedError, UsageError
from gpt4_instruct.teachers.base import Response
from gpt4_instruct.teachers.openai_errors import read_limits, sort_error

if TYPE_CHECKING:
    import openai

__all__ = ["Client"]

_TIMEOUT_S = 180.0  # the longest answers of 512 tokens take about a minute
_CONNECT_TIMEOUT_S = 10.0
_REDACTED = "[redacted]"
_SECRET_CHARACTERS = 16
_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|CREDENTIAL", re.IGNORECASE)
# Keys of others that an error page may quote: OpenAI's and its imitators', the Hub's, and whatever follows "Bearer".
_SECRET_SHAPE = re.compile(r"\b(?:sk|hf|gsk|xai)[-_][A-Za-z0-9_\-]{8,}|(?<=Bearer )[^\s\"',}]+")


class Client:
    """Sends requests to one server. No retries: the engine retries, so that the ledger sees every attempt.

    Args:
        base_url: the server's address, as ``OPENAI_BASE_URL`` has it.
        key: the API key, or nothing.

    Attributes:
        endpoint: the address without credentials.

    Raises:
        UsageError: the address is none, or holds credentials.
    """

    def __init__(self, base_url: str, key: str) -> None:
        if not base_url.startswith(("http://", "https://")):
            # Not shown: it may be a key that was pasted into the wrong variable.
            raise UsageError("OPENAI_BASE_URL is not an http address: it begins with http:// or https://")
        if urlsplit(base_url).username is not None:
            raise UsageError("OPENAI_BASE_URL holds a user or password: put what the endpoint wants in OPENAI_API_KEY")
        self.endpoint = _without_credentials(base_url)
        self._base_url = base_url
        self._key = key
        in_address = [value for _, value in parse_qsl(urlsplit(base_url).query)]
        secrets = {key, *in_address, *_secrets_around()}
        # The longest first: one may be a part of another.
        self._secrets = sorted((each for each in secrets if len(each) >= _SECRET_CHARACTERS), key=len, reverse=True)
        self._connected: openai.AsyncOpenAI | None = None

    async def post(self, body: dict[str, Any]) -> Response:
        """The body of the response to a chat completion's fields, as it came. Raises what `Teacher.ask` says."""
        import httpx2
        import openai

        try:
            # Not `client.chat.completions.create`, which takes as long again to look through the types of what is sent.
            response = await self.connect().post("/chat/completions", body=body, cast_to=httpx2.Response)
            return Response(self.redact_json(response.text), read_limits(response.headers))
        except openai.OpenAIError as error:
            raise sort_error(error, self.endpoint, self.scrub) from None
        except (TypeError, ValueError) as error:  # the client cannot even write the request
            message = self.scrub(f"{type(error).__name__}: {error}")
            raise RunStoppedError(f"the openai client cannot ask {self.endpoint}: {message}") from None

    def connect(self) -> openai.AsyncOpenAI:
        """The openai client, made on first use."""
        if self._connected is None:
            import openai

            self._connected = openai.AsyncOpenAI(
                api_key=self._key or "none",
                base_url=self._base_url,
                max_retries=0,
                timeout=openai.Timeout(_TIMEOUT_S, connect=_CONNECT_TIMEOUT_S),
                http_client=openai.DefaultAioHttpClient(),
            )
        return self._connected

    async def close(self) -> None:
        """Closes the connections; a later `post` opens new ones, on whatever event loop it is called from."""
        connected, self._connected = self._connected, None
        if connected is not None:
            await connected.close()

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

    def scrub(self, text: str) -> str:
        """For errors, which nobody needs whole: what looks like a key goes, too."""
        return _SECRET_SHAPE.sub(_REDACTED, self._redact(text))

    def _redact(self, text: str) -> str:
        # "ollama" or "EMPTY", as people give servers of their own, is no secret but may be a word of an answer.
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, _REDACTED)
        return text


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


def _without_credentials(url: str) -> str:
    """An address fit to be written down: no user, password, query or fragment.

    >>> _without_credentials("https://me:secret@host:8000/v1?key=secret")
    'https://host:8000/v1'
    """
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
