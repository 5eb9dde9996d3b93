"""Week 04's views and training loop."""

from __future__ import annotations

import math
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lsdl.data.few_labels import load_styles, load_unlabelled
from lsdl.features import NarrowResNet


def test_spread_and_rank_of_noise_and_of_a_point(helpers: ModuleType) -> None:
    noise = torch.randn(4000, 64, generator=torch.Generator().manual_seed(0))
    assert abs(helpers.spread(noise) - 1) < 0.02 and helpers.effective_rank(noise) > 60
    assert helpers.spread(torch.ones(16, 64)) < 1e-6
    line = noise[:, :1] * torch.ones(64)
    assert helpers.effective_rank(line) < 1.01


@pytest.fixture(scope="module")
def average(helpers: ModuleType) -> type:
    """A learner that predicts the mean colour: enough to see a loss fall."""

    class Average(helpers.Learner):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = NarrowResNet(4)
            self.head, self.calls = nn.Linear(32, 3), []

        def loss(self, views: list[torch.Tensor], index: torch.Tensor) -> torch.Tensor:
            self.z = self.head(self.backbone(views[0])).float()
            return F.mse_loss(self.z, views[0].mean((2, 3)))

        def before_epoch(self, images: torch.Tensor, generator: torch.Generator) -> None:
            self.calls.append(len(images))

        def after_step(self, progress: float) -> None:
            self.calls.append(progress)

    return Average


def test_pretrain_learns_repeats_and_calls_the_hooks(helpers: ModuleType, average: type) -> None:
    images, runs = load_unlabelled("smoke")[:64], []
    for _ in range(2):
        torch.manual_seed(0)
        learner = average()
        log = helpers.pretrain(learner, images, 20, batch_size=32, lr=1e-2, warmup=2, every=5, probe=lambda b: 0.5)
        runs.append(learner.state_dict())
    assert all(torch.equal(runs[0][k], runs[1][k]) for k in runs[0])
    assert log["loss"][-1] < log["loss"][0] and log["step"] == [5, 10, 15, 20] and log["probe_step"][-1] == 20
    assert learner.calls[:4] == [64, 1 / 20, 2 / 20, 64] and learner.calls[-1] == 1.0
    assert learner.training and all(map(math.isfinite, log["spread"] + log["rank"]))


def test_parts_have_their_own_rates(helpers: ModuleType, average: type) -> None:
    images, moves = load_unlabelled("smoke")[:32], []
    for rates in ({}, {"head": 0.0}, {"head": 3.0}):
        torch.manual_seed(0)
        learner = average()
        learner.rates = rates
        start = learner.head.bias.detach().clone()
        helpers.pretrain(learner, images, 1, batch_size=32, lr=1e-3, warmup=1)
        moves.append((learner.head.bias.detach() - start).abs().max().item())
    # AdamW's first step is the rate itself, and no weight decay pulls on a bias
    assert moves == pytest.approx([1e-3, 0.0, 3e-3], rel=1e-3, abs=1e-9)


def test_batches_are_of_one_style_and_never_repeat_a_picture(helpers: ModuleType) -> None:
    styles, generator = load_styles("smoke"), torch.Generator().manual_seed(0)
    assert styles is not None
    batches = helpers.epoch_batches(len(styles), 256, generator, styles)
    assert all(len(batch) == 256 and len(styles[batch].unique()) == 1 for batch in batches)
    seen = torch.cat(batches)
    assert len(seen.unique()) == len(seen) == 256 * sum(int(n) // 256 for n in styles.bincount())
    order = torch.cat([styles[batch][:1] for batch in batches])
    assert (order.diff() < 0).any()  # the styles are mixed over the epoch
    mixed = helpers.epoch_batches(len(styles), 256, generator)
    assert len(mixed) == 6830 // 256 and all(len(styles[batch].unique()) > 1 for batch in mixed)
    with pytest.raises(ValueError, match="No batch of 2000 among"):
        helpers.epoch_batches(len(styles), 2000, generator, styles)


def test_views_differ_and_keep_the_form(helpers: ModuleType) -> None:
    images, generator = load_unlabelled("smoke")[:4], torch.Generator().manual_seed(0)
    first, second = helpers.two_views(images, generator)
    assert first.shape == second.shape == images.shape and not torch.allclose(first, second)
