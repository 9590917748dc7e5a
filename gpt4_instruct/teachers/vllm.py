"""Answers with a model that vLLM runs on this computer's GPU: ``vllm:./folder``, ``vllm:org/name``.

    ask ──▶ prompt tokens, as the local teacher's ──▶ vLLM's engine, which batches what is there ──▶ completion

The engine is a process of its own, which `close` ends: its memory is free again afterwards. Teachers of one model share
it. Each request draws by a seed from its own key, so that it gets the same answer in every run, up to the last bit of
the logits, which depend on what shares a batch; with ``VLLM_BATCH_INVARIANT=1`` they do not, where vLLM supports that.

On several computers or GPUs, ``vllm serve MODEL`` on each and ``openai:MODEL`` with all of their addresses is the way.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpt4_instruct.asking import find_writer
from gpt4_instruct.errors import RequestRefusedError, RunStoppedError, TeacherError, TransientError, UsageError
from gpt4_instruct.models import quiet
from gpt4_instruct.records import Request
from gpt4_instruct.teachers.base import Teacher, completion
from gpt4_instruct.teachers.decoding import parameters
from gpt4_instruct.teachers.prompting import fit

__all__ = ["VLLMTeacher"]

_FORMS = "vllm:./FOLDER or vllm:ORG/NAME"
_MISSING = (
    "the vllm teacher needs vllm, which is not installed: pip install 'vllm>=0.22', where there is a GPU, best in an "
    "environment of its own, as it brings its own torch; or run 'vllm serve MODEL' anywhere, set OPENAI_BASE_URL to "
    "http://HOST:8000/v1, and ask openai:MODEL"
)
# Unless the user says otherwise: what it says goes where errors go, and it starts its process afresh, since a copy of
# this one would be a copy with threads and an open ledger.
_ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}
_IN_FLIGHT = 256  # about what vLLM decodes at once unless told otherwise


class VLLMTeacher(Teacher):
    """A causal language model in vLLM's engine.

    The engine starts a process, so a script that uses it keeps its own work under ``if __name__ == "__main__":``.

    Args:
        argument: a folder, or a Hub id ``ORG/NAME``, ``ORG/NAME@REVISION``; ``"smollm2"`` works, too.
        options: fields of vLLM's ``AsyncEngineArgs``, such as ``tensor_parallel_size`` or ``gpu_memory_utilization``.
            None is part of a request's identity: those that change answers, as ``quantization`` does, want a ledger of
            their own.

    Raises:
        UsageError: vLLM is not installed, there is no such model, or it is a GGUF file or writes no text.
    """

    def __init__(self, argument: str, **options: Any) -> None:
        if find_spec("vllm") is None:
            raise UsageError(_MISSING)
        if not argument:
            raise UsageError(f"the vllm teacher needs a model: {_FORMS}")
        self._path, self._name, self.model = find_writer(argument, _FORMS)
        if self._path.suffix == ".gguf":
            raise UsageError(f"the vllm teacher reads no GGUF file: name {argument} as local:{argument}")
        self.spec = f"vllm:{argument}"
        if Path(argument).expanduser().exists():
            self.spec = f"vllm:{self._name}"  # no folder of yours stands in rows and cards
        self.endpoint = "vllm"
        self.concurrency = _IN_FLIGHT
        self._options = options
        self._used: _Shared | None = None

    async def ask(self, request: Request) -> str:
        """The model's answer. Reads ``temperature``, ``top_p`` and ``max_tokens`` (tokens) of the parameters.

        With ``choices`` the text is always one of them, whatever ``max_tokens`` says. With a ``schema`` the text is
        JSON that fits it, unless ``max_tokens`` cut it short.

        Raises:
            RequestRefusedError: ``too_long`` for the model's context, a ``bad_schema``, or what else vLLM refuses.
            TransientError: vLLM failed over this request.
            RunStoppedError: the model cannot be loaded, or the engine has died.
        """
        running = await self._running()
        try:
            tokens, limit = fit(running.tokenizer, request, running.context)
        except TeacherError:
            raise
        except Exception as error:  # Jinja's, or whatever a template raises
            raise RunStoppedError(f"the chat template of {self._name} cannot be used: {_line(error)}") from error
        try:
            output = await _generate(running.engine, request, tokens, limit)
        except Exception as error:
            raise _sorted(error, request) from error
        if output.finish_reason not in ("stop", "length"):
            raise TransientError(f"vLLM gave up a request ({output.finish_reason})")
        return completion(
            output.text if request.choices else output.text.strip(),
            model=self._name,
            finish_reason=output.finish_reason,
            prompt_tokens=len(tokens),
            completion_tokens=len(output.token_ids),
        )

    async def close(self) -> None:
        """Ends the engine, unless another teacher of the model uses it; a later `ask` starts it again."""
        used, self._used = self._used, None
        if used is not None:
            await used.leave()

    async def _running(self) -> _Running:
        loop = asyncio.get_running_loop()
        if self._used is None or self._used.loop is not loop:
            self._used = _join(loop, self.model, self._path, self._options)
        return await asyncio.shield(self._used.starting)


# --- the engine -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Running:
    """A running engine (vLLM's `AsyncLLM`), the model's tokenizer, and its context in tokens."""

    engine: Any
    tokenizer: Any
    context: int


@dataclass(eq=False, slots=True)
class _Shared:
    """An engine of one event loop, and how many teachers use it."""

    key: tuple[str, str]
    loop: asyncio.AbstractEventLoop
    starting: asyncio.Task[_Running]
    users: int = 0

    async def leave(self) -> None:
        self.users -= 1
        if self.users:
            return
        if _engines.get(self.key) is self:
            del _engines[self.key]
        if self.loop is asyncio.get_running_loop():
            await asyncio.wait([self.starting])
        await asyncio.to_thread(self.end)

    def end(self) -> None:
        """Ends the engine's process, if it has come up."""
        if self.starting.done() and not self.starting.cancelled() and self.starting.exception() is None:
            self.starting.result().engine.shutdown()


_engines: dict[tuple[str, str], _Shared] = {}


def _join(loop: asyncio.AbstractEventLoop, identity: str, path: Path, options: dict[str, Any]) -> _Shared:
    """The engine of a model on this event loop, which is started unless it is there; one user more."""
    key = (identity, repr(sorted(options.items())))
    found = _engines.get(key)
    if found is None or found.loop is not loop:
        starting = loop.create_task(asyncio.to_thread(_start, path, options, found))
        found = _engines[key] = _Shared(key, loop, starting)
    found.users += 1
    return found


def _start(path: Path, options: dict[str, Any], left: _Shared | None) -> _Running:
    """Loads a model, which takes from seconds to minutes; first ends the engine that a lost event loop has left."""
    if left is not None:
        left.end()
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        from transformers import AutoTokenizer
        from vllm import AsyncEngineArgs
        from vllm.config import StructuredOutputsConfig
        from vllm.v1.engine.async_llm import AsyncLLM

        with quiet():
            tokenizer = AutoTokenizer.from_pretrained(path)
        fields = {
            "model": str(path),
            "max_model_len": -1,  # the model's, or what fits into the memory
            "disable_log_stats": True,
            # Left free, small models get lost in white space.
            "structured_outputs_config": StructuredOutputsConfig(backend="guidance", disable_any_whitespace=True),
        }
        engine = AsyncLLM.from_engine_args(AsyncEngineArgs(**{**fields, **options}))
    except Exception as error:
        raise RunStoppedError(f"vLLM cannot run {path.name} (what it says stands above): {_line(error)}") from error
    return _Running(engine, tokenizer, engine.model_config.max_model_len)


async def _generate(engine: Any, request: Request, tokens: list[int], limit: int) -> Any:
    """The one output, vLLM's `CompletionOutput`, of a request."""
    from vllm import SamplingParams
    from vllm.inputs import tokens_input
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    given = parameters(request)
    shape = None
    if request.choices:
        shape = StructuredOutputsParams(choice=list(request.choices))
    elif request.schema is not None:
        shape = StructuredOutputsParams(json=dict(request.schema))
    sampling = SamplingParams(
        temperature=float(given["temperature"]),
        top_p=float(given["top_p"]),
        max_tokens=limit,
        seed=int(request.key[:15], 16),  # 60 bits; a seed the user gave is part of the key
        structured_outputs=shape,
        output_kind=RequestOutputKind.FINAL_ONLY,
    )
    async for output in engine.generate(tokens_input(tokens), sampling, request.key):
        last = output.outputs[0]
    return last


def _sorted(error: Exception, request: Request) -> TeacherError:
    """The error of ours that one of vLLM's stands for, by whose fault it is."""
    from vllm import exceptions
    from vllm.v1.engine.exceptions import EngineDeadError

    if isinstance(error, EngineDeadError):
        return RunStoppedError(f"vLLM's engine has died (what it says stands above): {_line(error)}")
    # A request's fault is a ValueError in older versions.
    if isinstance(error, (ValueError, getattr(exceptions, "VLLMClientError", ValueError))):
        return RequestRefusedError("bad_schema" if request.schema is not None else "request_refused", _line(error))
    return TransientError(f"vLLM failed over a request: {_line(error)}")


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
