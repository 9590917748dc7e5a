from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, ClassVar

from transformers import AutoConfig, AutoTokenizer
from vllm import AsyncEngineArgs, SamplingParams
from vllm.exceptions import VLLMValidationError
from vllm.inputs import TokensInput
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    finish_reason: str | None = None


@dataclass
class RequestOutput:
    request_id: str
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool


class AsyncLLM:
    """Attributes of the class are for the tests: the engines that were started, and what goes wrong with a request."""

    started: ClassVar[list[AsyncLLM]] = []
    faults: ClassVar[list[str]] = []

    def __init__(self, arguments: AsyncEngineArgs) -> None:
        self.arguments = arguments
        config = AutoConfig.from_pretrained(arguments.model)
        context = config.max_position_embeddings
        given = arguments.max_model_len
        self.model_config = SimpleNamespace(max_model_len=context if given in (None, -1) else given)
        self.tokenizer = AutoTokenizer.from_pretrained(arguments.model)
        self.in_flight = self.most_in_flight = 0
        self.running = True
        self.aborted: list[str] = []
        self.asked: list[tuple[list[int], SamplingParams]] = []
        self.loop = None
        self.started.append(self)

    @classmethod
    def from_engine_args(
        cls,
        engine_args: AsyncEngineArgs,
        start_engine_loop: bool = True,
        usage_context: Any = None,
        stat_loggers: Any = None,
    ) -> AsyncLLM:
        return cls(engine_args)

    async def generate(
        self,
        prompt: TokensInput,
        sampling_params: SamplingParams,
        request_id: str,
        *,
        prompt_text: str | None = None,
        lora_request: Any = None,
        tokenization_kwargs: dict[str, Any] | None = None,
        priority: int = 0,
        data_parallel_rank: int | None = None,
    ) -> AsyncGenerator[RequestOutput, None]:
        loop = asyncio.get_running_loop()
        self.loop = self.loop or loop
        assert self.running and self.loop is loop, "an engine lives on the event loop of its first request"
        assert prompt["type"] == "token"
        tokens, wanted = prompt["prompt_token_ids"], sampling_params.structured_outputs
        if wanted is not None and isinstance(wanted.json, dict) and wanted.json.get("type") == "nonsense":
            raise VLLMValidationError("the schema is none")
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "dead":
            raise EngineDeadError("EngineCore encountered an issue.")
        if fault == "once":
            raise EngineGenerateError
        self.asked.append((tokens, sampling_params))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0.01 if fault != "long" else 60)
        except asyncio.CancelledError:
            self.aborted.append(request_id)
            raise
        finally:
            self.in_flight -= 1
        greedy = sampling_params.temperature < 1e-5
        draw = random.Random(0 if greedy else sampling_params.seed)
        if wanted is not None:
            text = draw.choice(wanted.choice) if wanted.choice else json.dumps({"made": draw.random()})
            made = self.tokenizer(text)["input_ids"]
        else:
            made = draw.choices(tokens, k=draw.randint(1, 40))
        cut = len(made) > sampling_params.max_tokens
        made = made[: sampling_params.max_tokens]
        reason = "abort" if fault == "abort" else "length" if cut else "stop"
        text = self.tokenizer.decode(made, skip_special_tokens=True)
        yield RequestOutput(request_id, tokens, [CompletionOutput(0, text, made, reason)], True)

    def shutdown(self, timeout: float | None = None) -> None:
        self.running = False
