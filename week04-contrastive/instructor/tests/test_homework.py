"""Week 04's solutions beside libraries on the same inputs, and its cases by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from lightly.models.utils import update_momentum

from lsdl.author.homework import Namespace


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_nt_xent_equals_lightly(solutions: Namespace, temperature: float) -> None:
    z1, z2 = draw(8, 16), draw(8, 16, seed=1)
    torch.testing.assert_close(solutions["nt_xent"](z1, z2, temperature), NTXentLoss(temperature)(z1, z2))


def test_byol_loss_equals_lightly(solutions: Namespace) -> None:
    p1, p2, z1, z2 = (draw(8, 16, seed=k) for k in range(4))
    cosine = NegativeCosineSimilarity()
    torch.testing.assert_close(solutions["byol_loss"](p1, p2, z1, z2), 4 + 2 * (cosine(p1, z2) + cosine(p2, z1)))


def test_update_target_equals_lightly(solutions: Namespace) -> None:
    online, ours = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    theirs = copy.deepcopy(ours)
    solutions["update_target"](ours, online, 0.9)
    update_momentum(online, theirs, 0.9)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_moco_loss_equals_lightly_on_a_full_queue(solutions: Namespace) -> None:
    loss = NTXentLoss(temperature=0.2, memory_bank_size=(32, 16))
    bank = torch.nn.functional.normalize(draw(32, 16, seed=2), dim=1)
    loss.memory_bank.bank, loss.memory_bank.bank_ptr = bank.clone(), torch.zeros(1, dtype=torch.int64)
    q, k = draw(8, 16), draw(8, 16, seed=1)
    torch.testing.assert_close(solutions["moco_v2_loss"](q, k, bank, 0.2), loss(q, k))


def test_the_cases_by_hand(solutions: Namespace) -> None:
    z1, z2 = torch.tensor([[2.0, 0], [0, 3]]), torch.tensor([[1.0, 0], [0, 1]])
    assert solutions["nt_xent"](z1, z2, 1.0).item() == pytest.approx(math.log((math.e + 2) / math.e))
    rows = ([[3.0, 4.0]], [[0.0, 1.0]], [[0.0, 9.0]], [[2.0, 0.0]])
    assert solutions["byol_loss"](*map(torch.tensor, rows)).item() == pytest.approx(0.8)
    assert [solutions["target_momentum"](0.9, k, 10) for k in (0, 5, 10)] == pytest.approx([0.9, 0.95, 1.0])
    assert solutions["std_of_z"](torch.tensor([[2.0, 0], [0, 5]])) == pytest.approx(0.5**0.5)
    points = torch.tensor([[0.0, 0], [1, 0], [2.5, 0], [10, 0]])
    assert solutions["neighbour_agreement"](points, torch.tensor([0, 0, 1, 1]), 1) == 0.75
    assert solutions["class_map"](["cat", "dog", "monkey"], ["Dog", "frog", "cat"]).tolist() == [1, -1, 0]
    logits = torch.eye(3)[[1, 0, 2]]
    assert solutions["mapped_accuracy"](logits, torch.arange(3), torch.tensor([1, -1, 0])) == 50
    right_a = torch.arange(100) < 12
    right_b = (torch.arange(100) >= 12) & (torch.arange(100) < 16)
    assert solutions["paired_difference"](right_a, right_b) == pytest.approx((8, math.sqrt(15.36)))
    queue = torch.zeros(4, 1)
    assert solutions["enqueue_keys"](queue, 3, torch.tensor([[1.0], [2], [3]])) == 2
    assert queue[:, 0].tolist() == [2, 3, 0, 1]
    q = torch.tensor([[2.0, 0]])
    loss = solutions["moco_v2_loss"](q, q, torch.tensor([[0.0, 1], [0, 0]]), 1.0)
    assert loss.item() == pytest.approx(math.log((math.e + 1) / math.e))
