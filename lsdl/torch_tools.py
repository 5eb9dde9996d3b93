"""What the notebooks of all weeks ask of PyTorch: where a module runs, in which number format it trains, and what it holds."""

from __future__ import annotations

import platform

import torch
from torch import Tensor, nn


def pick_device(device: str = "auto") -> torch.device:
    """The device of the parameters cell: "auto" takes the GPU if there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def training_dtype(device: torch.device | str) -> torch.dtype:
    """The number format that a training may use: bfloat16 on a GPU or a processor that has it, else float32.

    Any other processor emulates bfloat16, eight times slower than float32.
    """
    kind = torch.device(device).type
    here = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if platform.machine().lower() in ("x86_64", "amd64"):  # mkldnn says yes to every AVX-512, and emulates
        here = here and getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)()
    return torch.bfloat16 if kind == "cuda" or (kind == "cpu" and here) else torch.float32


def training_autocast(device: torch.device | str) -> torch.autocast:
    """Forward passes inside of it compute in `training_dtype(device)`."""
    kind = torch.device(device).type
    return torch.autocast(kind, torch.bfloat16, enabled=training_dtype(device) == torch.bfloat16)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers, by name."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def gradients(module: nn.Module) -> dict[str, Tensor | str]:
    """A copy of all gradients, by parameter name; the text "no gradient" where there is none."""
    return {name: "no gradient" if p.grad is None else p.grad.clone() for name, p in module.named_parameters()}
