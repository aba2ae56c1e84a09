"""What the trainings of generators share: their first weights, and the precision of their products."""

from __future__ import annotations

import torch
from torch import nn

PRECISIONS = ("auto", "bfloat16", "float32")


def initialise(network: nn.Module, rng: torch.Generator) -> None:
    """Glorot-uniform weights, zero biases; ``rng`` is on the CPU: the same start on every device."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=rng)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()


def resolve_precision(precision: str, device: torch.device) -> str:
    """``auto`` -> bfloat16 on GPUs and on CPUs with instructions for it, else float32."""
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    return "bfloat16" if supported() else "float32"
