"""Week 04's data promises, backbone, training loop and evaluation."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models import resnet18

from lsdl.data.emoji import STYLES, load_emoji


def test_the_unlabelled_part_hides_what_it_must(helpers: ModuleType) -> None:
    seen = helpers.unlabelled_part(load_emoji(32))
    hidden = set(helpers.choose_concepts("test")) | set(helpers.choose_concepts("val"))
    assert len(hidden) == 200 and len(seen) == len(helpers.load_unlabelled("smoke")) == helpers.UNLABELLED
    assert not seen.held_out.any() and not set(seen.concept.tolist()) & hidden
    assert not {STYLES[s] for s in seen.style.tolist()} & set(helpers.TEST_ARTISTS)


@pytest.mark.parametrize("part", ["test", "val"])
def test_few_labels_are_balanced_and_disjoint(helpers: ModuleType, part: str) -> None:
    task = helpers.load_task("smoke", part, seed=3)
    assert (task.train[1].bincount() == 3).all() and len(task.train[0]) == 300 and len(set(task.names)) == 100
    assert all(sorted(labels.tolist()) == list(range(100)) for _, labels in task.tests.values())
    assert list(task.tests) == ["id", *(helpers.TEST_ARTISTS if part == "test" else ())]
    train = {image.numpy().tobytes() for image in task.train[0]}
    assert not train & {image.numpy().tobytes() for images, _ in task.tests.values() for image in images}


def test_the_other_domain_has_an_order_of_its_own(helpers: ModuleType) -> None:
    task, (images, labels, names) = helpers.load_task("smoke"), helpers.load_other_domain("smoke")
    assert len(set(task.names) - set(names)) == len(set(names) - set(task.names)) == 1
    assert list(names) == sorted(names, key=str.casefold) != sorted(task.names, key=task.names.index)
    ours = task.tests["emojione"][0]
    for k, name in enumerate(names):
        if name in task.names:
            assert torch.equal(images[labels == k][0], ours[task.names.index(name)])


def test_full_scale_reads_the_original_files(helpers: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "stl10_binary").mkdir()
    (tmp_path / "cifar-10-batches-bin").mkdir()
    pictures = rng.integers(0, 256, (5, 3, 96, 96), dtype=np.uint8)
    for split in ("train", "test", "unlabeled"):
        pictures.transpose(0, 1, 3, 2).tofile(tmp_path / "stl10_binary" / f"{split}_X.bin")  # stored column by column
        np.arange(1, 6, dtype=np.uint8).tofile(tmp_path / "stl10_binary" / f"{split}_y.bin")
    small = rng.integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
    records = np.concatenate([np.arange(10, dtype=np.uint8)[:, None], small.reshape(10, -1)], 1)
    records.tofile(tmp_path / "cifar-10-batches-bin" / "test_batch.bin")

    assert np.array_equal(helpers.load_unlabelled("full", tmp_path).numpy(), pictures)
    task = helpers.load_task("full", root=tmp_path)
    assert task.train[1].tolist() == [0, 1, 2, 3, 4] and task.tests["cifar10"][0].shape == (9, 3, 96, 96)
    images, labels, names = helpers.load_other_domain("full", tmp_path)
    kept = [names[k] for k in labels.tolist() if names[k] != "frog"]
    assert [task.names[k] for k in task.tests["cifar10"][1].tolist()] == kept and "monkey" not in names
    shrunk = F.interpolate(images.float(), 32, mode="bicubic", antialias=True)
    assert (shrunk - torch.from_numpy(small).float()).abs().mean() < 25  # the same pictures, only larger
    assert len(helpers.load_task("full", "val", root=tmp_path).tests["id"][0]) == 1
    with pytest.raises(FileNotFoundError, match="STL10"):
        helpers.load_unlabelled("full", tmp_path / "nowhere")


def test_width_64_is_torchvisions_resnet18(helpers: ModuleType) -> None:
    ours, theirs = helpers.NarrowResNet(64), resnet18()
    a, b = ours.state_dict(), theirs.state_dict()
    assert list(a) == [k for k in b if not k.startswith("fc.")]
    assert all(a[k].shape == b[k].shape for k in a if k != "conv1.weight")
    assert ours(torch.zeros(2, 3, 32, 32)).shape == (2, helpers.feature_dim(ours)) == (2, 512)


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
            self.backbone = helpers.NarrowResNet(4)
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
    images, runs = helpers.load_unlabelled("smoke")[:64], []
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
    images, moves = helpers.load_unlabelled("smoke")[:32], []
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
    styles, generator = helpers.load_styles("smoke"), torch.Generator().manual_seed(0)
    assert styles is not None and len(styles) == helpers.UNLABELLED and helpers.load_styles("full") is None
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


def test_probes_find_a_copy(helpers: ModuleType) -> None:
    x, y = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)), torch.arange(20)
    assert helpers.nearest_neighbours((x, y), {"same": (x, y)})["same"].all()
    assert helpers.linear_probe((x, y), {"same": (x, y)}, 10.0)["same"].all()


def test_views_differ_and_keep_the_form(helpers: ModuleType) -> None:
    images, generator = helpers.load_unlabelled("smoke")[:4], torch.Generator().manual_seed(0)
    first, second = helpers.two_views(images, generator)
    assert first.shape == second.shape == images.shape and not torch.allclose(first, second)
    grey = helpers.view(torch.full((2, 3, 8, 8), 255, dtype=torch.uint8), generator, colour=False)
    assert torch.allclose(grey, grey[:1].expand_as(grey))


def test_the_clustered_error_is_the_paired_one_without_clusters_and_grows_with_copies(helpers: ModuleType) -> None:
    right_a, right_b = torch.arange(100) < 12, (torch.arange(100) >= 12) & (torch.arange(100) < 16)
    alone = helpers.clustered_error(right_a, right_b, torch.arange(100))
    assert alone == pytest.approx(math.sqrt(15.36))  # the homework's case by hand
    copies = helpers.clustered_error(right_a.repeat(4), right_b.repeat(4), torch.arange(100).repeat(4))
    assert copies == pytest.approx(alone)


def test_the_backbone_of_full_scale_is_resnet18(helpers: ModuleType) -> None:
    backbone = helpers.make_backbone("full")
    assert backbone(torch.zeros(2, 3, 96, 96)).shape == (2, helpers.feature_dim(backbone)) == (2, 512)
