"""What stands in for CIFAR-100, CIFAR-100-C and ImageNet's ResNet-50 when this week runs at SCALE="full" without them, and what a step costs."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from torchvision.models.resnet import Bottleneck, ResNet

from lsdl.author.full_scale import Measured, measure
from lsdl.author.seminar import seminar_names

WEEK = Path(__file__).resolve().parents[1]
# two epochs of two steps
FEWER: dict[str, Any] = {"epochs": 2, "batch_size": 90, "pool": 6, "seeds": 2, "split_epochs": [0, 1], "grid": 3}
FEWER |= {"cycles": 2, "long": 3, "average_from": 1, "fge_cycle": 1, "fge_epochs": 2, "swag_samples": 2}
FEWER |= {"swag_columns": 2, "sgld_cycles": 2, "sgld_noisy": 1, "tune_epochs": 1, "tuned": 4, "members": 3}
FEWER |= {"soup_rates": [0.02], "soup_epochs": [1], "live_epochs": 1, "live_average": 1}
SETS = ("gaussian_noise", "defocus_blur", "contrast", "fog", "jpeg_compression")


def tiny(block: type[nn.Module], layers: list[int]) -> ResNet:
    """A ResNet that ends after the first block."""
    net = ResNet(block, [1, 1, 1, 1])
    net.layer2 = net.layer3 = net.layer4 = nn.Identity()
    net.fc = nn.Linear(64 * block.expansion, 1000)
    return net


def shorten(helpers: ModuleType) -> None:
    """Networks of one block, and no enlarged pictures: what they reach is judged at smoke."""
    make = helpers.make_net
    sys.modules["nets"].ResNet = tiny

    def small(scale: str, classes: int, seed: int, **more: Any) -> nn.Module:
        net = make(scale, classes, seed, **more)
        net.side = None
        return net

    helpers.make_net = small


def stand_in(folder: Path) -> dict[str, str]:
    """Tiny files: CIFAR-100 in its pickles (two training pictures per class, 20 for testing), CIFAR-100-C's arrays, torchvision's weights.

    Returns:
        The environment that makes the notebooks use them.
    """
    rng = np.random.default_rng(0)
    python, shifted = folder / "cifar-100-python", folder / "CIFAR-100-C"
    python.mkdir(parents=True)
    shifted.mkdir()
    # neighbours share a class, so that each class keeps one when every tenth picture goes to validation
    for name, labels in (("train", np.arange(200) // 2), ("test", 5 * np.arange(20))):
        found = {"data": rng.integers(0, 256, (len(labels), 3072), dtype=np.uint8), "fine_labels": labels.tolist()}
        (python / name).write_bytes(pickle.dumps(found))
    (python / "meta").write_bytes(pickle.dumps({"fine_label_names": [f"class {k}" for k in range(100)]}))
    for name in SETS:
        np.save(shifted / f"{name}.npy", rng.integers(0, 256, (100, 32, 32, 3), dtype=np.uint8))
    np.save(shifted / "labels.npy", np.tile(5 * np.arange(20), 5))
    torch.manual_seed(0)
    torch.save(tiny(Bottleneck, []).state_dict(), folder / "resnet50.pth")
    return {"CIFAR": str(folder), "PRETRAINED": str(folder / "resnet50.pth")}


def steps(device: torch.device, tiny: bool) -> Iterator[Measured]:
    """Training steps of both networks in the week's `train`, augmentation included, and SWAG's pass for new statistics, on random pixels."""
    import helpers

    settings = seminar_names(WEEK, scale="full", device=str(device))["SETTINGS"]
    generator = torch.Generator().manual_seed(0)
    for tower, what, model, px in (
        (False, "net from scratch", "ResNet-18", 32),
        (True, "fine-tuning", "ResNet-50", 224),
    ):
        size = 2 if tiny else settings["batch_size"]
        images = torch.randint(256, (2 * size, 3, 32, 32), dtype=torch.uint8, generator=generator)
        labels = torch.randint(100, (2 * size,), generator=generator)

        def make(tower: bool = tower, data: helpers.Labelled = (images, labels), size: int = size) -> Any:
            net = helpers.make_net("full", 100, 0, tower=tower).to(device)
            return partial(helpers.train, net, data, helpers.cosine(2, 0.05), seed=0, size=size)

        epochs = settings["tune_epochs" if tower else "epochs"]
        row = Measured(what, model, f"{size} pictures, {px} px", steps=epochs * (45_000 // size))
        yield measure(row, make, device, per_call=2, repeat=1 if tiny else 3)
        if tower:
            continue

        def renew(data: helpers.Labelled = (images, labels), size: int = size) -> Any:
            return partial(helpers.update, helpers.make_net("full", 100, 0).to(device), data, size=size)

        row = replace(row, what="statistics of a SWAG sample", steps=settings["swag_samples"] * (45_000 // size))
        yield measure(row, renew, device, per_call=2, repeat=1 if tiny else 3)
