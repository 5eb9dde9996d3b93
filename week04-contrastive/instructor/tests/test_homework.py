"""Week 04's solutions beside libraries on the same inputs, and its cases by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from lightly.models.utils import update_momentum
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

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


def test_the_given_head_is_the_pipelines(solutions: Namespace) -> None:
    labels = torch.arange(40) % 4
    x = draw(40, 5) * torch.tensor([0.1, 1.0, 30.0, 1.0, 5.0]) + labels[:, None]
    x[:, 3] = 0.5  # a constant channel
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=1 / (40 * 0.05), tol=1e-6, max_iter=2000))
    expected = pipeline.fit(x.numpy(), labels.numpy()).predict_log_proba(x.numpy())
    actual = solutions["fit_head"](x, labels, 4, 0.05)(x).log_softmax(1)
    torch.testing.assert_close(actual, torch.from_numpy(expected).float(), atol=2e-3, rtol=0)


def test_the_given_views_are_two_calls_on_pictures_in_0_to_1(solutions: Namespace) -> None:
    images, asked = (255 * torch.ones(2, 3, 4, 4)).byte(), []
    solutions["two_crops"](images, lambda x, generator: asked.append(x), torch.Generator())
    assert [x.max().item() for x in asked] == [1.0, 1.0]
    assert torch.equal(solutions["two_crops"](asked[0], lambda x, generator: x, torch.Generator())[1], asked[0])


def test_the_drop_is_to_the_mean_of_the_other_domains(solutions: Namespace) -> None:
    same, labels = torch.arange(2), {"id": torch.tensor([0, 1]), "a": torch.tensor([0]), "b": torch.tensor([1, 1])}
    logits = {"id": torch.eye(2), "a": torch.tensor([[0.0, 1]]), "b": torch.tensor([[0.0, 1], [1, 0]])}
    row = solutions["accuracy_table"]({"model": logits}, labels, dict.fromkeys(labels, same))["model"]
    assert row == {"id": 100, "a": 0, "b": 50, "drop": 75}


def test_the_cases_by_hand(solutions: Namespace) -> None:
    z1, z2 = torch.tensor([[2.0, 0], [0, 3]]), torch.tensor([[1.0, 0], [0, 1]])
    assert solutions["nt_xent"](z1, z2, 1.0).item() == pytest.approx(math.log((math.e + 2) / math.e))
    rows = ([[3.0, 4.0]], [[0.0, 1.0]], [[0.0, 9.0]], [[2.0, 0.0]])
    assert solutions["byol_loss"](*map(torch.tensor, rows)).item() == pytest.approx(0.8)
    x1, x2, same = torch.tensor([[1.0, 0]]), torch.tensor([[0.0, 2]]), torch.nn.Identity()
    loss, z = solutions["byol_views_loss"](same, same, same, [x1, x2])
    assert loss.item() == pytest.approx(4) and torch.equal(z, x1)
    target, online = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    target.weight.data.fill_(2.0), online.weight.data.fill_(6.0)
    solutions["update_target"](target, online, 0.75)
    assert target.weight.item() == 3
    assert [solutions["target_momentum"](0.9, k, 10) for k in (0, 5, 10)] == pytest.approx([0.9, 0.95, 1.0])
    assert solutions["std_of_z"](torch.tensor([[2.0, 0], [0, 5]])) == pytest.approx(0.5**0.5)
    points = torch.tensor([[0.0, 0], [1, 0], [2.5, 0], [10, 0]])
    assert solutions["neighbour_agreement"](points, torch.tensor([0, 0, 1, 1]), 1) == 0.75
    assert solutions["class_map"](["cat", "dog", "monkey"], ["Dog", "frog", "cat"]).tolist() == [1, -1, 0]
    logits = torch.eye(3)[[1, 0, 2]]
    assert solutions["mapped_accuracy"](logits, torch.arange(3), torch.tensor([1, -1, 0])) == 50
    right_a = torch.arange(200) < 12
    right_b = (torch.arange(200) >= 12) & (torch.arange(200) < 16)
    assert solutions["paired_difference"](right_a, right_b) == pytest.approx((4, 0.5 * math.sqrt(15.68)))
    queue = torch.zeros(4, 1)
    assert solutions["enqueue_keys"](queue, 3, torch.tensor([[1.0], [2], [3]])) == 2
    assert queue[:, 0].tolist() == [2, 3, 0, 1]
    q = torch.tensor([[2.0, 0]])
    loss = solutions["moco_v2_loss"](q, q, torch.tensor([[0.0, 1], [0, 0]]), 1.0)
    assert loss.item() == pytest.approx(math.log((math.e + 1) / math.e))
    views = [q, torch.tensor([[0.0, 3]])]
    loss, queries, keys = solutions["moco_views_loss"](same, same, torch.zeros(4, 2), views, 1.0)
    assert loss == 0 and torch.equal(queries, q) and keys.tolist() == [[0, 1]]
