"""The small ResNet, its views and features, the loop with labels, and the weights on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from lsdl.data.emoji import normalise
from lsdl.data.few_labels import load_unlabelled
from lsdl.features import (
    Classifier,
    NarrowResNet,
    embed,
    feature_dim,
    fit,
    make_backbone,
    mild_view,
    read_into,
    save_backbone,
    view,
)


def test_width_64_is_torchvisions_resnet18() -> None:
    ours, theirs = NarrowResNet(64), resnet18()
    a, b = ours.state_dict(), theirs.state_dict()
    assert list(a) == [k for k in b if not k.startswith("fc.")]
    assert all(a[k].shape == b[k].shape for k in a if k != "conv1.weight")
    assert ours(torch.zeros(2, 3, 32, 32)).shape == (2, feature_dim(ours)) == (2, 512)


def test_the_backbone_of_full_scale_is_resnet18() -> None:
    backbone = make_backbone("full")
    assert backbone(torch.zeros(2, 3, 96, 96)).shape == (2, feature_dim(backbone)) == (2, 512)
    assert isinstance(make_backbone("smoke", 4), NarrowResNet) and feature_dim(make_backbone("smoke", 4)) == 32


def test_weights_return_from_the_disk_in_half_precision(tmp_path: Path) -> None:
    backbone, other = NarrowResNet(4), NarrowResNet(4)
    save_backbone(backbone, tmp_path / "a.safetensors")
    read_into(other, tmp_path / "a.safetensors")
    assert not other.training
    for name, value in backbone.state_dict().items():
        read = other.state_dict()[name]
        assert read.dtype == value.dtype and torch.equal(read, value.half().to(value.dtype))


def test_features_are_those_of_the_normalised_pictures() -> None:
    backbone, images = NarrowResNet(4), load_unlabelled("smoke")[:501]
    features = embed(backbone, images)
    assert features.shape == (501, 32) and not backbone.training and not features.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(features[-2:], backbone(normalise(images[-2:])), atol=1e-4, rtol=1e-4)


def test_views_are_random_and_keep_the_form() -> None:
    images, generator = load_unlabelled("smoke")[:4], torch.Generator().manual_seed(0)
    for make in (view, mild_view):
        first, second = make(images, generator), make(images, generator)
        assert first.shape == second.shape == images.shape and not torch.allclose(first, second)
    grey = view(torch.full((2, 3, 8, 8), 255, dtype=torch.uint8), generator, colour=False)
    assert torch.allclose(grey, grey[:1].expand_as(grey))


def test_fit_gives_every_picture_once_per_epoch_and_each_group_its_rate() -> None:
    images, labels = load_unlabelled("smoke")[:10], torch.arange(10)
    classifier = Classifier(NarrowResNet(4), nn.Linear(32, 10))
    groups = [{"params": classifier.backbone.parameters(), "lr": 1.0}, {"params": classifier.head.parameters()}]
    optimizer, seen, rates = torch.optim.SGD(groups, lr=3.0), [], []

    def step(x: torch.Tensor, y: torch.Tensor, optimizer: torch.optim.Optimizer) -> float:
        assert classifier(x).shape == (len(x), 10)
        seen.append(y)
        rates.append([group["lr"] for group in optimizer.param_groups])
        return float(len(y))

    returned = fit(step, optimizer, (images, labels), epochs=20, batch_size=4, seed=0)
    assert returned == [len(y) for y in seen] and len(seen) == 60
    assert all(torch.cat(seen[k : k + 3]).sort()[0].tolist() == list(range(10)) for k in range(0, 60, 3))
    assert rates[0] == pytest.approx([1 / 30, 3 / 30]) and rates[30] == pytest.approx([0.5, 1.5])
    assert rates[-1][0] < 0.01 and max(rate for rate, _ in rates) < 1
