"""In which number format recovery computes: float32, or bfloat16 where the machine has it."""

from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16", "auto"]


def native_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies matrices in bfloat16 by itself, so that it is faster.

    Other processors only imitate it, slower than float32.
    """
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return False


def computing_in(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Convolutions and matrix products in this format; "auto" is bfloat16 where it is native.

    Weights, optimiser, losses and BatchNorm statistics stay in float32.
    """
    reduced = precision == "bfloat16" or (precision == "auto" and native_bfloat16(device))
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=reduced)
