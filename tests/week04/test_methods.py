"""Losses against lightly on the same inputs; the narrow ResNet against torchvision; task promises; resuming."""

import math
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "week04-contrastive" / "instructor"))
from evaluate import knn
from lightly.loss import NegativeCosineSimilarity, NTXentLoss
from methods import Learner, byol_loss, info_nce, nt_xent, spread, target_momentum, train
from model import NarrowResNet
from safetensors.torch import load_file
from task import (
    LABEL_STYLES,
    TEST_ARTISTS,
    choose_concepts,
    few_labels,
    out_of_distribution,
    unlabelled,
)
from torchvision.models import resnet18

from lsdl.data import STYLES, load_emoji


def pair(n=8, d=16):
    g = torch.Generator().manual_seed(0)
    return torch.randn(n, d, generator=g), torch.randn(n, d, generator=g)


def test_nt_xent_equals_lightly():
    z1, z2 = pair()
    torch.testing.assert_close(nt_xent(z1, z2, 0.2), NTXentLoss(temperature=0.2)(z1, z2))


def test_byol_equals_lightly():
    p1, p2 = pair()
    z1, z2 = pair()[::-1]
    cosine = NegativeCosineSimilarity()
    torch.testing.assert_close(byol_loss(p1, p2, z1, z2), 4 + 2 * (cosine(p1, z2) + cosine(p2, z1)))


def test_info_nce_by_hand():
    q, k = pair()
    queue = F.normalize(torch.randn(5, 16), dim=1)
    expected = 0.0
    for a, b in zip(F.normalize(q, dim=1), F.normalize(k, dim=1), strict=True):
        positive = math.exp(a @ b / 0.2)
        expected -= math.log(positive / (positive + sum(math.exp(a @ n / 0.2) for n in queue)))
    torch.testing.assert_close(info_nce(q, k, queue, 0.2), torch.tensor(expected / 8))


def test_width_64_is_torchvisions_resnet18():
    ours, theirs = NarrowResNet(64, 2), resnet18()
    a, b = ours.state_dict(), theirs.state_dict()
    assert list(a) == [k for k in b if not k.startswith("fc.")]
    assert all(a[k].shape == b[k].shape for k in a if k != "conv1.weight")
    assert ours(torch.zeros(2, 3, 32, 32)).shape == (2, 512)


def test_target_gets_no_gradient_and_moves():
    for method in ("byol", "moco"):
        torch.manual_seed(0)
        learner = Learner(method, 8, 2)
        x = torch.rand(8, 3, 32, 32)
        loss, _ = learner.loss(x, x.flip(3))
        loss.backward()
        assert all(p.grad is None for p in learner.target.parameters())
        before = [p.clone() for p in learner.target.parameters()]
        with torch.no_grad():
            for p in learner.online.parameters():
                p.add_(1.0)
        learner.after_step(0, 10)
        tau = target_momentum(learner.settings["momentum"], 0, 10) if method == "byol" else learner.settings["momentum"]
        for old, new in zip(before, learner.target.parameters(), strict=True):
            torch.testing.assert_close(new - old, torch.full_like(old, 1 - tau), atol=1e-5, rtol=0)


def test_target_momentum_runs_from_start_to_one():
    assert target_momentum(0.99, 0, 100) == 0.99 and math.isclose(target_momentum(0.99, 100, 100), 1.0)


def test_spread_of_noise_is_one_and_of_a_point_zero():
    assert abs(spread(torch.randn(4000, 128)) - 1) < 0.02 and spread(torch.ones(16, 128)) < 1e-6


def test_unlabelled_hides_what_it_must():
    data = load_emoji(32)
    seen = unlabelled(data)
    assert not seen.held_out.any()
    assert not set(seen.concept.tolist()) & (set(choose_concepts("test")) | set(choose_concepts("val")))
    assert not {STYLES[s] for s in seen.style.tolist()} & set(TEST_ARTISTS)
    assert not set(choose_concepts("test")) & set(choose_concepts("val"))


def test_few_labels_is_balanced():
    data = load_emoji(32)
    task = few_labels(data, "test", 0)
    assert (task.train[1].bincount() == 3).all() and len(task.train[0]) == 300
    assert all(sorted(y.tolist()) == list(range(100)) for _, y in task.tests.values())
    test = {x.numpy().tobytes() for x in task.tests["id"][0]}
    assert not test & {x.numpy().tobytes() for x in task.train[0]}
    assert len(LABEL_STYLES) == 4


def test_out_of_distribution_has_one_class_more_and_one_less():
    data = load_emoji(32)
    ours, (images, labels, names) = (
        few_labels(data, "test", 0).names,
        out_of_distribution(data),
    )
    assert len(set(ours) - set(names)) == len(set(names) - set(ours)) == 1 and list(names) != list(ours)
    task = few_labels(data, "test", 0).tests["emojione"]
    for k in (0, 50, 99):
        if names[k] in ours:
            assert torch.equal(images[labels == k][0], task[0][ours.index(names[k])])


def test_knn_finds_a_copy():
    x = torch.randn(20, 8)
    assert knn((x, torch.arange(20)), {"same": (x, torch.arange(20))}, 1)["same"].all()


def test_going_on_gives_the_same_weights(tmp_path):
    for method in ("moco", "byol"):
        train(method, 4, 0, tmp_path / f"{method}-whole", 8, 2)
        train(method, 4, 0, tmp_path / f"{method}-parts", 8, 2, stop=2)
        train(method, 4, 0, tmp_path / f"{method}-parts", 8, 2)
        a, b = (load_file(tmp_path / f"{method}-{k}" / "model.safetensors") for k in ("whole", "parts"))
        assert all(torch.equal(a[k], b[k]) for k in a)
