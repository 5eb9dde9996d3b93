"""Weights from outside: only those of the given network are taken, and every refusal is one sentence."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lsdl.weights import BadWeights, read_weights


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))


def test_weights_of_any_precision_are_copied_into_the_networks_format() -> None:
    trained = {k: v.half() if v.is_floating_point() else v for k, v in network().state_dict().items()}
    read, ours = read_weights(trained, like=(net := network())), net.state_dict()
    assert {k: v.dtype for k, v in read.items()} == {k: v.dtype for k, v in ours.items()}
    net.load_state_dict(read)
    read["0.bias"].add_(1)
    assert torch.equal(net.state_dict()["0.bias"], trained["0.bias"].float())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"0.bias": None}, "The weights lack 0.bias:"),
        ({"2.weight": torch.zeros(1)}, "The weights hold 2.weight, which"),
        ({"0.weight": torch.zeros(2, 4)}, r"0.weight has the shape \(2, 4\), the network has \(2, 3\) there"),
        ({"0.bias": torch.zeros(2, dtype=torch.int64)}, "0.bias holds integers, the network has floating-point"),
        ({"0.bias": torch.zeros(2, dtype=torch.complex64)}, "0.bias holds complex numbers"),
        ({"1.num_batches_tracked": torch.tensor(0.5)}, "1.num_batches_tracked holds floating-point"),
        ({"0.bias": torch.tensor([0.0, float("nan")])}, "0.bias holds a number that is not finite"),
        ({"0.bias": torch.tensor([0.0, 1e300], dtype=torch.float64)}, "0.bias holds a number that is not finite"),
        ({"0.weight": torch.zeros(1000)}, "The weights have 0.0 MB, at most 0.001 MB are allowed"),
    ],
)
def test_other_weights_are_refused_in_a_sentence(change: dict[str, Tensor | None], words: str) -> None:
    state = {k: v for k, v in {**network().state_dict(), **change}.items() if v is not None}
    with pytest.raises(BadWeights, match=f"^{words}[^\n]*\\.$"):
        read_weights(state, like=network(), max_bytes=1000)
