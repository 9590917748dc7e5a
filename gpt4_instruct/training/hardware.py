"""What a run ran on, and how fast that could be at most: the peak that a model's FLOP/s are held against."""

from __future__ import annotations

import platform
import time
from functools import cache
from typing import Any

__all__ = ["describe_hardware", "peak_flops"]

# Dense peaks in TFLOP/s, bfloat16 and float32 (TF32 is off unless asked for), from the makers' data sheets: NVIDIA H200
# and H100 SXM, H100 PCIe, A100, L40S, L4, A10, GeForce RTX 4090 and 3090. The longest name that fits counts.
_PEAKS = {
    "H200": (989.0, 67.0),
    "H100": (989.0, 67.0),
    "H100 PCIe": (756.0, 51.0),
    "A100": (312.0, 19.5),
    "L40S": (362.0, 91.6),
    "L4": (121.0, 30.3),
    "A10": (125.0, 31.2),
    "RTX 4090": (165.2, 82.6),
    "RTX 3090": (71.0, 35.6),
}


@cache
def peak_flops(device: str, precision: str) -> tuple[float, str] | None:
    """The FLOP/s that one device reaches at most, and where that number is from; none for a GPU that is not listed.

    A processor's is measured: the best of five float32 products of 1,024 x 1,024 matrices, with all of its threads
    (bfloat16 on those that compute in it). About 0.2 s.

    Args:
        device: ``"cpu"`` or ``"cuda"``.
        precision: ``"bf16"`` or ``"fp32"``.
    """
    import torch

    if device == "cuda":
        name = torch.cuda.get_device_name()
        found = max((each for each in _PEAKS if each in name), key=len, default=None)
        if found is None:
            return None
        return _PEAKS[found][precision == "fp32"] * 1e12, f"{found}'s data sheet, dense {precision}"
    if device != "cpu":
        return None
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    own = torch.Generator().manual_seed(0)  # what dropout draws must not depend on when this is asked
    one, other = (torch.randn(1024, 1024, generator=own).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        torch.mm(one, other)
        best = min(best, time.perf_counter() - started)
    return 2 * 1024**3 / best, f"measured: 1,024 x 1,024 matrices in {precision}"


def describe_hardware(device: str, processes: int) -> dict[str, Any]:
    """What a run ran on, as `training.json` has it."""
    import torch

    name = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return {"device": device, "name": name, "devices": processes, "threads": torch.get_num_threads()}
