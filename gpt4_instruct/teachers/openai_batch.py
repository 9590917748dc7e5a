"""The same models by OpenAI's Batch API: half the price, answers within 24 hours: ``openai-batch:gpt-4``.

Source of the formats and limits: OpenAI, "Batch API" guide and API reference. A line of a file that is sent, and one
of the files that come back::

    {"custom_id": KEY, "method": "POST", "url": "/v1/chat/completions", "body": {"model": "gpt-4", "messages": [...]}}
    {"custom_id": KEY, "response": {"status_code": 200, "body": {"choices": [...]}}, "error": null}
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from gpt4_instruct.errors import RequestRefusedError, RunStoppedError, TeacherError, TransientError, UsageError
from gpt4_instruct.records import Request
from gpt4_instruct.teachers.base import BatchStatus, BatchTeacher, Response
from gpt4_instruct.teachers.openai import OpenAITeacher
from gpt4_instruct.teachers.openai_errors import sort_error, sort_status

__all__ = ["OpenAIBatchTeacher"]

_URL: Literal["/v1/chat/completions"] = "/v1/chat/completions"
_METADATA = "gpt4_instruct_batch"
_RUNNING = frozenset({"validating", "in_progress", "finalizing", "cancelling"})
_MOST_LISTED = 1000  # batches looked through for one of ours; the newest come first


class OpenAIBatchTeacher(OpenAITeacher, BatchTeacher):
    """Answers through the Batch API of the official openai client. Shares its ledger with ``openai:MODEL``.

    Args:
        model: the model's name at the endpoint, such as ``"gpt-4"``.
        api_key: by default ``$OPENAI_API_KEY``.
        base_url: by default ``$OPENAI_BASE_URL``, else OpenAI's.

    Raises:
        UsageError: no model is named, there is no key for OpenAI's own endpoint, or there are several addresses.
    """

    most_requests = 50_000
    most_bytes = 200_000_000

    def __init__(self, model: str, *, api_key: str | None = None, base_url: str | None = None) -> None:
        super().__init__(model, api_key=api_key, base_url=base_url)
        if self._fleet is not None:
            raise UsageError("a batch lives at one endpoint: name one address in OPENAI_BASE_URL for openai-batch")
        self._client = self._clients[0]
        self.spec = f"openai-batch:{model}"

    async def ask(self, request: Request) -> Response:
        """Not one at a time: the engine collects requests for a batch."""
        raise RunStoppedError(f"{self.spec} answers by the batch only")

    def line(self, request: Request, key: str) -> str:
        """The request as a line of a batch's file."""
        return json.dumps({"custom_id": key, "method": "POST", "url": _URL, "body": self.body(request)})

    async def upload(self, path: Path) -> str:
        """Sends the file; its id."""
        with self._sorted():
            return str((await self._client.connect().files.create(file=path, purpose="batch")).id)

    async def submit(self, file: str, name: str) -> str:
        """Creates the batch, with our name for it in its metadata; its id."""
        with self._sorted():
            batch = await self._client.connect().batches.create(
                input_file_id=file, endpoint=_URL, completion_window="24h", metadata={_METADATA: name}
            )
            return str(batch.id)

    async def find(self, name: str) -> str | None:
        """The id of the batch with our name in its metadata."""
        looked = 0
        with self._sorted():
            async for batch in self._client.connect().batches.list(limit=100):
                if (batch.metadata or {}).get(_METADATA) == name:
                    return str(batch.id)
                looked += 1
                if looked == _MOST_LISTED:
                    break
        return None

    async def poll(self, batch: str) -> BatchStatus:
        """How far the batch is, and where its results are."""
        with self._sorted(known=True):
            found = await self._client.connect().batches.retrieve(batch)
        counts = found.request_counts
        done = counts.completed + counts.failed if counts else 0
        total = counts.total if counts else 0
        if found.status in _RUNNING:
            return BatchStatus("running", done, total)
        files = tuple(file for file in (found.output_file_id, found.error_file_id) if file)
        if found.status != "failed" or files:  # completed, expired or cancelled: there may be results
            return BatchStatus("ended", done, total, files=files)
        errors = (found.errors.data if found.errors else None) or []
        detail = "; ".join(f"{each.code}: {each.message}" for each in errors[:3]) or "it does not say why"
        full = any(each.code == "token_limit_exceeded" for each in errors)
        return BatchStatus("failed", done, total, detail=" ".join(self._client.scrub(detail).split())[:300], full=full)

    async def results(self, status: BatchStatus) -> AsyncIterator[tuple[str, str | Exception]]:
        """Every line of the output file and of the error file, as they come; lines that cannot be read are left out."""
        for file in status.files:
            async for line in self._download(file):
                found = self._read(self._client.redact_json(line))
                if found is not None:
                    yield found

    async def _download(self, file: str) -> AsyncIterator[str]:
        """The lines of a file. Not the client's own: they break at any separator of Unicode, inside an answer, too."""
        rest = b""
        try:
            with self._sorted(known=True):
                async with self._client.connect().files.with_streaming_response.content(file) as response:
                    async for block in response.iter_bytes():
                        *lines, rest = (rest + block).split(b"\n")
                        for line in lines:
                            yield line.decode("utf-8", "replace")
        except (TeacherError, GeneratorExit):
            raise
        except Exception as error:  # of the transport, below the client
            raise TransientError(f"{self.endpoint} broke off while sending {file}: {type(error).__name__}") from None
        if rest:
            yield rest.decode("utf-8", "replace")

    def _read(self, line: str) -> tuple[str, str | Exception] | None:
        try:
            found = json.loads(line)
            key = str(found["custom_id"])
            response, error = found.get("response") or {}, found.get("error") or {}
            status, body = response.get("status_code"), response.get("body")
        except (ValueError, KeyError, TypeError, AttributeError):
            return None  # its request has no result, then, and is asked again
        if status == 200:
            return key, json.dumps(body, ensure_ascii=False)
        if status is not None:
            return key, sort_status(int(status), body, self.endpoint, self._client.scrub)
        said = f"{error.get('code')}: {error.get('message')}"  # batch_expired, batch_cancelled, ...
        return key, TransientError(" ".join(self._client.scrub(said).split())[:300])

    async def cancel(self, batch: str) -> None:
        """Cancels the batch; that one has ended meanwhile is no error."""
        import openai

        with self._sorted(known=True), suppress(openai.BadRequestError, openai.ConflictError):
            await self._client.connect().batches.cancel(batch)

    @contextmanager
    def _sorted(self, *, known: bool = False) -> Iterator[None]:
        """Turns the openai client's exceptions into ours. A refusal is nobody's row here, but stops the run.

        Args:
            known: it is about something that the endpoint once had.
        """
        import openai

        try:
            yield
        except openai.NotFoundError as error:
            if not known:
                raise sort_error(error, self.endpoint, self._client.scrub) from None
            said = self._client.scrub(str(error.message))
            raise RunStoppedError(
                f"{self.endpoint} does not know the batch or its file ({said}): is this the key that it was made with? "
                f"'gpt4-instruct ledger cancel {self.spec} --forget' gives it up"
            ) from None
        except openai.OpenAIError as error:
            found = sort_error(error, self.endpoint, self._client.scrub)
            if isinstance(found, RequestRefusedError):
                raise RunStoppedError(f"{self.endpoint} refuses the batch: {found.detail}") from None
            raise found from None
