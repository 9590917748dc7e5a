from __future__ import annotations

from dataclasses import dataclass, field

from vllm.config import StructuredOutputsConfig


@dataclass
class AsyncEngineArgs:
    model: str = "Qwen/Qwen3-0.6B"
    max_model_len: int | None = None
    tensor_parallel_size: int = 1
    gpu_memory_utilization: float = 0.92
    disable_log_stats: bool = False
    structured_outputs_config: StructuredOutputsConfig = field(default_factory=StructuredOutputsConfig)
