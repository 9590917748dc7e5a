"""A stand-in for vLLM 0.33.0, which wants a GPU: the names, fields and signatures that the teacher uses, and no model.

An answer is made of the prompt's tokens and the seed, so that a test can tell whether both came through. What vLLM
checks of a request, and how it says so, is checked here the same way.
"""

from __future__ import annotations

from vllm.engine_args import AsyncEngineArgs
from vllm.sampling_params import SamplingParams

__all__ = ["AsyncEngineArgs", "SamplingParams"]
