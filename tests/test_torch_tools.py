"""Copies of what a module holds: a later step does not change them."""

from __future__ import annotations

import torch
from torch import nn

from lsdl.torch_tools import gradients, pick_device, snapshot


def test_snapshot_and_gradients_are_copies() -> None:
    module = nn.Linear(2, 1)
    assert gradients(module) == {"weight": "no gradient", "bias": "no gradient"}
    module(torch.ones(1, 2)).sum().backward()
    held, slopes = snapshot(module), gradients(module)
    weight = module.weight.detach().clone()
    with torch.no_grad():
        module.weight.add_(1.0)
        module.weight.grad.zero_()
    assert torch.equal(held["weight"], weight) and slopes["weight"].tolist() == [[1.0, 1.0]]


def test_auto_is_the_gpu_if_there_is_one() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device().type == ("cuda" if torch.cuda.is_available() else "cpu")
