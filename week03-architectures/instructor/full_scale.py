"""What stands in for CIFAR-10 and timm's networks when this week runs at SCALE="full" without them, and what a step costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from lsdl.author.full_scale import Measured, measure
from lsdl.author.homework import Homework
from lsdl.settings import load_settings

WEEK = Path(__file__).resolve().parents[1]
PICTURES = 8  # that a step of a shortened training takes at most


FEWER = {"seeds": 2, "grid": [1e-3], "micro": 4, "subset": 20}


def shorten(helpers: ModuleType) -> None:
    """Small networks, and two steps of eight pictures: what they reach is judged at smoke."""
    import nets

    train = helpers.train
    helpers.train = lambda net, data, pictures, *, batch_size=PICTURES, **more: train(
        net, data, 2 * PICTURES, batch_size=PICTURES, **more
    )
    small = {"ResNet": nets.resnet, "Swin": nets.swin, "ViT": nets.vit, "DeiT": nets.deit}
    nets.full = lambda name, classes: small.get(name, nets.resnet)(
        classes
    )  # `steps` below has the networks of the papers


def stand_in(folder: Path) -> dict[str, str]:
    """Write CIFAR-10's binary files with ten pictures of random pixels each.

    Returns:
        The environment that makes the notebooks use them.
    """
    rng, root = np.random.default_rng(0), folder / "cifar10" / "cifar-10-batches-bin"
    root.mkdir(parents=True)
    for name in (*(f"data_batch_{k}" for k in range(1, 6)), "test_batch"):
        records = np.concatenate([np.arange(10)[:, None], rng.integers(0, 256, (10, 3072))], 1)
        records.astype(np.uint8).tofile(root / f"{name}.bin")
    return {"CIFAR10": str(folder / "cifar10")}


def steps(device: torch.device, tiny: bool) -> Iterator[Measured]:
    """The networks of the table in the week's `train`, views included, on pictures of random pixels; DeiT by the homework's loss."""
    import helpers
    import nets

    settings, loss = load_settings("full", WEEK / "settings.toml"), Homework(WEEK).namespace()["deit_loss"]
    batch = 2 if tiny else settings["batch_size"]
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (4 * batch, 3, 32, 32), dtype=torch.uint8, generator=generator)
    data = images, torch.arange(len(images)) % 10

    def distilled(net: torch.nn.Module, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        z_cls, z_dist = net(x)
        return loss(z_cls, z_dist, z_dist.detach(), y, "hard", settings["tau"], settings["lam"])

    def training(name: str) -> Callable[[], object]:
        small = {"ViT": nets.vit, "DeiT": nets.deit, "Swin": nets.swin}
        net = small.get(name, nets.resnet)(10) if tiny else nets.full(name, 10)
        objective = distilled if name == "DeiT" else helpers.cross_entropy
        return partial(
            helpers.train, net, data, 2 * batch, lr=1e-4, batch_size=batch, objective=objective, device=device
        )

    for name, model in nets.FULL.items():
        row = Measured(name, model, f"{batch} pictures, 224 px", steps=settings["pictures"] // settings["batch_size"])
        yield measure(row, partial(training, name), device, per_call=2, repeat=1 if tiny else 3)
