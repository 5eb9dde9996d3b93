"""What the notebooks of all weeks ask of a PyTorch module: where it runs, and what it holds."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def pick_device(device: str = "auto") -> torch.device:
    """The device of the parameters cell: "auto" takes the GPU if there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers, by name."""
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def gradients(module: nn.Module) -> dict[str, Tensor | str]:
    """A copy of all gradients, by parameter name; the text "no gradient" where there is none."""
    return {name: "no gradient" if p.grad is None else p.grad.clone() for name, p in module.named_parameters()}
