"""Answers with a model on this computer, by transformers: ``local:smollm2``, ``local:./folder``, ``local:org/name``.

    ask ──▶ waiting ──▶ a batch of like length ──▶ chat template ──▶ generate ──▶ one completion each
                                                                      └ mask (choices, schema), temperature, top-p, draw

The same request gets the same answer, whichever others share its batch and however often a run is resumed: each row
draws with a generator of its own, seeded from the request's key. (Up to the last bit of the logits: a batch adds up
its numbers in another order than a row alone does, which in bfloat16 can now and then tip a close call.)
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from gpt4_instruct.errors import (
    MissingExtraError,
    RequestRefusedError,
    RunStoppedError,
    TeacherError,
    UsageError,
)
from gpt4_instruct.models import FORMS, find_model, quiet, smollm2_folder, smollm2_identity
from gpt4_instruct.records import Request
from gpt4_instruct.teachers.base import Teacher, completion
from gpt4_instruct.teachers.decoding import Draw
from gpt4_instruct.teachers.prompting import fit

__all__ = ["LocalTeacher"]

# Rows in a batch, and most tokens in it (padding and room for the answers included): what a laptop and a 24 GB card
# hold of a model of a size that suits them. A batch that does not fit after all is halved.
_ROWS = {"cpu": 16, "accelerator": 64}
_TOKENS = {"cpu": 16_384, "accelerator": 65_536}
_GATHER_S = 0.02  # requests of one moment share a batch; a batch takes seconds


class LocalTeacher(Teacher):
    """A causal language model that runs here, on the GPU if there is one.

    Args:
        argument: ``"smollm2"``, a folder or GGUF file, or a Hub id ``ORG/NAME``, ``ORG/NAME@REVISION``.

    Raises:
        MissingExtraError: torch, transformers or another library of the extra ``local`` is not installed.
        UsageError: there is no such model, or it is no causal language model's folder.
    """

    def __init__(self, argument: str) -> None:
        for library in ("torch", "transformers", "llguidance", "gguf"):
            if find_spec(library) is None:
                raise MissingExtraError("the local teacher", library, "local")
        if not argument:
            raise UsageError(f"the local teacher needs a model: {FORMS}")
        self.spec = f"local:{argument}"
        self.endpoint = "local"
        self.concurrency = 128
        self._path: Path | None
        if argument == "smollm2":
            # Where it is converted to is known only on first use, which is when that takes time.
            self._path, self._name, self.model = None, "SmolLM2-135M-Instruct", smollm2_identity()
        else:
            self._path, self._name, self.model = find_model(argument)
            if Path(argument).expanduser().exists():
                self.spec = f"local:{self._name}"  # no folder of yours stands in rows and cards
        self._loaded: _Model | None = None
        self._waiting: list[_Waiting] = []
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, request: Request) -> str:
        """The model's answer. Reads ``temperature``, ``top_p`` and ``max_tokens`` (tokens) of the parameters.

        With ``choices`` the text is always one of them, whatever ``max_tokens`` says. With a ``schema`` the text is
        JSON that fits it, unless ``max_tokens`` cut it short.

        Raises:
            RequestRefusedError: ``too_long`` for the model's context, or a ``bad_schema``.
            RunStoppedError: the model cannot be loaded or run.
        """
        loop = asyncio.get_running_loop()
        mine = _Waiting(request, loop.create_future())
        self._waiting.append(mine)
        if self._worker is None or self._worker.done() or self._worker.get_loop() is not loop:
            self._worker = loop.create_task(self._work(loop))
        return await mine.answer

    async def close(self) -> None:
        """Gives up what is being generated, if anything still is, and lets go of the model."""
        loop = asyncio.get_running_loop()
        for each in self._waiting:
            if each.answer.get_loop() is loop:
                each.answer.cancel()
        worker, self._worker = self._worker, None
        if worker is not None and worker.get_loop() is loop:
            await asyncio.wait([worker])
        self._loaded = None

    async def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        """Answers what waits, a batch at a time, until nothing does."""
        while True:
            await asyncio.sleep(_GATHER_S)
            # Without those whose asker was cancelled, or went away together with its event loop.
            wanted = [each for each in self._waiting if not each.answer.done()]
            self._waiting = [each for each in wanted if each.answer.get_loop() is loop]
            if not self._waiting:
                return
            try:
                outcomes = await asyncio.to_thread(self._step, list(self._waiting))
            except Exception as error:
                line = " ".join(f"{type(error).__name__}: {error}".split())
                for each in self._waiting:
                    if not each.answer.done():
                        stopped = RunStoppedError(f"local model failed: {line}")
                        stopped.__cause__ = error
                        each.answer.set_exception(stopped)
                continue
            for each, outcome in outcomes:
                if each.answer.done():
                    continue
                if isinstance(outcome, TeacherError):
                    each.answer.set_exception(outcome)
                else:
                    each.answer.set_result(outcome)

    def _step(self, waiting: list[_Waiting]) -> list[tuple[_Waiting, str | TeacherError]]:
        """Answers one batch of those that wait, in a thread; empty when the batch was too big for the memory."""
        import torch

        if self._loaded is None:
            self._loaded = _load(self.model, self._path or smollm2_folder())
        model, done = self._loaded, list[tuple[_Waiting, str | TeacherError]]()
        with model.lock:
            for each in waiting:
                try:
                    model.prepare(each)
                except RequestRefusedError as error:
                    done.append((each, error))
            ready = [each for each in waiting if each.prompt]
            if not ready:
                return done
            batch = model.choose(ready)
            try:
                return done + list(zip(batch, model.generate(batch, self._name), strict=True))
            except torch.OutOfMemoryError:
                if len(batch) == 1:
                    raise
                model.most_rows = len(batch) // 2
            torch.cuda.empty_cache()
            return done


@dataclass(eq=False, slots=True)
class _Waiting:
    """A request that waits. `prepare` sets its prompt (token ids), its most new tokens and the state of its grammar."""

    request: Request
    answer: asyncio.Future[str]
    prompt: list[int] = field(default_factory=list)
    limit: int = 0
    matcher: Any = None


# --- the model, loaded -----------------------------------------------------------------------------------------------


_loading = threading.Lock()


def _load(identity: str, path: Path) -> _Model:
    """The model, which two teachers of the same identity share; the two last used stay loaded."""
    with _loading:
        return _cached(identity, path)


@lru_cache(maxsize=2)
def _cached(identity: str, path: Path) -> _Model:
    return _Model(path)


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _dtype(device: str) -> Any:
    """bfloat16 where the hardware computes in it (about twice as fast on such a CPU), else float32."""
    import torch

    if device == "cpu":
        capabilities: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # {} with an older torch
        native = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    else:
        native = device == "cuda"
    return torch.bfloat16 if native else torch.float32


class _Model:
    """A loaded model and its tokenizer; `lock` is held while it is used."""

    def __init__(self, path: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

        self.lock = threading.Lock()
        self.device = _device()
        kind = "cpu" if self.device == "cpu" else "accelerator"
        self.most_rows, self.most_tokens = _ROWS[kind], _TOKENS[kind]
        folder, gguf = (path.parent, {"gguf_file": path.name}) if path.suffix == ".gguf" else (path, {})
        with quiet():
            self.tokenizer = AutoTokenizer.from_pretrained(folder, **gguf)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=_dtype(self.device), **gguf)
        self.model = model.to(self.device).eval()
        ends = model.generation_config.eos_token_id
        ends = set(ends if isinstance(ends, list) else [ends]) | {self.tokenizer.eos_token_id}
        self.ends: list[int] = sorted(ends - {None})
        self.pad: int = next((each for each in (self.tokenizer.pad_token_id, *self.ends) if each is not None), 0)
        # generate() takes what a request leaves open from here; a checkpoint's own temperature is not the request's.
        model.generation_config = GenerationConfig()
        text_config = model.config.get_text_config()
        self.context: int = getattr(text_config, "max_position_embeddings", None) or sys.maxsize
        self._guidance: Any = None

    def guidance(self) -> Any:
        """The tokenizer as llguidance wants it; made once, on the first request that needs it (about 1 s)."""
        if self._guidance is None:
            from llguidance.hf import from_tokenizer

            # The logits are often wider than the vocabulary, rounded up to a multiple of 64 or more.
            width = max(self.model.get_output_embeddings().weight.shape[0], len(self.tokenizer))
            self._guidance = from_tokenizer(self.tokenizer, n_vocab=width, eos_token=self.ends)
        return self._guidance

    def prepare(self, waiting: _Waiting) -> None:
        """Renders and tokenizes a request, once, and finds how long its answer may be.

        Raises:
            RequestRefusedError: it does not fit into the model's context, or its schema is none.
        """
        from llguidance import LLMatcher

        if waiting.prompt:
            return
        request = waiting.request
        grammar = None
        if request.choices:
            grammar = LLMatcher.grammar_from_regex("|".join(re.escape(each) for each in request.choices))
        elif request.schema is not None:
            # The spacing of json.dumps: left free, small models get lost in white space.
            spacing = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
            grammar = LLMatcher.grammar_from_json_schema(json.dumps(request.schema), overrides=spacing)
        if grammar is not None:
            waiting.matcher = LLMatcher(self.guidance(), grammar, log_level=0)
            if waiting.matcher.is_error():
                raise RequestRefusedError("bad_schema", " ".join(waiting.matcher.get_error().split()))
        tokens, waiting.limit = fit(self.tokenizer, request, self.context)
        waiting.prompt = tokens or [self.pad]

    def choose(self, waiting: Sequence[_Waiting]) -> list[_Waiting]:
        """The next batch: the one that has waited longest, with those most like it in length."""
        first = waiting[0]
        batch = [each for each in waiting if each.limit == first.limit]
        batch.sort(key=lambda each: (each is not first, abs(len(each.prompt) - len(first.prompt))))
        del batch[self.most_rows :]
        while len(batch) > 1:
            longest = max(len(each.prompt) for each in batch) + first.limit
            if len(batch) * longest <= self.most_tokens:
                break
            batch.pop()
        return batch

    def generate(self, batch: Sequence[_Waiting], name: str) -> list[str]:
        """A completion for each request of a batch; ends early once nobody waits for any of them."""
        import torch
        from transformers import GenerationConfig
        from transformers.generation import LogitsProcessorList, StoppingCriteriaList

        def abandoned(input_ids: Any, scores: Any) -> Any:
            over = all(each.answer.done() for each in batch)
            return torch.full((len(batch),), over, dtype=torch.bool, device=input_ids.device)

        width = max(len(each.prompt) for each in batch)
        padded = [[self.pad] * (width - len(each.prompt)) + each.prompt for each in batch]
        mask = [[0] * (width - len(each.prompt)) + [1] * len(each.prompt) for each in batch]
        output = self.model.generate(
            input_ids=torch.tensor(padded, device=self.device),
            attention_mask=torch.tensor(mask, device=self.device),
            generation_config=GenerationConfig(
                max_new_tokens=batch[0].limit, do_sample=False, eos_token_id=self.ends or None, pad_token_id=self.pad
            ),
            logits_processor=LogitsProcessorList([Draw([(each.request, each.matcher) for each in batch], self.device)]),
            stopping_criteria=StoppingCriteriaList([abandoned]),
        )
        completions = []
        for each, tokens in zip(batch, output[:, width:].tolist(), strict=True):
            end = next((place for place, token in enumerate(tokens) if token in self.ends), None)
            text = self.tokenizer.decode(tokens[:end], skip_special_tokens=True, clean_up_tokenization_spaces=False)
            completions.append(
                completion(
                    text if each.request.choices else text.strip(),
                    model=name,
                    finish_reason="length" if end is None else "stop",
                    prompt_tokens=len(each.prompt),
                    completion_tokens=len(tokens) if end is None else end + 1,
                )
            )
        return completions
