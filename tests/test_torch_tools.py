"""Copies of what a module holds, which a later step does not change; where it runs and in which number format it trains."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lsdl.torch_tools import gradients, pick_device, snapshot, training_autocast, training_dtype


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


@pytest.mark.parametrize(
    ("machine", "mkldnn", "native", "dtype"),
    [
        ("x86_64", True, True, torch.bfloat16),
        ("x86_64", True, False, torch.float32),  # AVX-512 without the instructions: mkldnn emulates
        ("AMD64", False, False, torch.float32),
        ("aarch64", True, False, torch.bfloat16),
    ],
)
def test_a_processor_trains_in_bfloat16_only_if_it_has_it(
    monkeypatch: pytest.MonkeyPatch, machine: str, mkldnn: bool, native: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: mkldnn)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: native, raising=False)
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    assert training_dtype("cpu") == training_dtype(torch.device("cpu")) == dtype
    assert training_dtype("cuda:0") == torch.bfloat16 and training_dtype("mps") == torch.float32
    with training_autocast("cpu"):
        assert nn.Linear(2, 1)(torch.ones(1, 2)).dtype == dtype
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert training_dtype("cpu") == torch.float32
