"""What stands in for STL-10 and CIFAR-10 when this week runs at SCALE="full" without them, and what a step costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import torch

from lsdl import features
from lsdl.author.full_scale import Measured, measure, stl10_files
from lsdl.author.homework import Homework
from lsdl.author.seminar import seminar_names

WEEK = Path(__file__).resolve().parents[1]
PICTURES = 100_000  # STL-10's without labels


class SmallResNet(features.NarrowResNet):
    """In place of the ResNet-18, which `steps` has: narrow, and of a picture it sees every third pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x[..., ::3, ::3])


FEWER = {"temperatures": [0.2, 1.0], "batch_sizes": [64, 512], "queues": [0, 65536], "momenta": [0.9, 0.999]}


def shorten(helpers: ModuleType) -> None:
    """A small ResNet, two epochs or two steps of every training, instead of minutes each: what they reach is judged at smoke."""
    fit, pretrain, make = features.fit, helpers.pretrain, features.make_backbone
    helpers.make_backbone = features.make_backbone = lambda scale, width=16: (
        SmallResNet(width) if scale == "full" else make(scale, width)
    )
    features.fit = lambda *given, epochs, **more: fit(*given, epochs=min(epochs, 2), **more)
    helpers.pretrain = lambda learner, images, steps, **more: pretrain(
        learner, images, min(steps, 2), **more | {"every": 1}
    )


def stand_in(folder: Path) -> dict[str, str]:
    """Tiny files of STL-10 and of CIFAR-10's test batch.

    Returns:
        The environment that makes the notebooks use them.
    """
    return stl10_files(folder)


def steps(device: torch.device, tiny: bool) -> Iterator[Measured]:
    """The learners of homework and seminar in the week's `pretrain`, views included, on pictures of random pixels."""
    import helpers

    homework, seminar = Homework(WEEK).namespace(), seminar_names(WEEK, scale="full", device=str(device))
    full, settings, epochs = homework["SCALES"]["full"], seminar["SETTINGS"], seminar["SETTINGS"]["epochs"]
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (8 if tiny else 4096, 3, 96, 96), dtype=torch.uint8, generator=generator)
    learners: dict[str, tuple[Callable[[], helpers.Learner], int, int]] = {
        f"{name}, homework": (partial(homework["LEARNERS"][key], full, "full"), full["batch_size"], full["steps"][key])
        for key, name in (("simclr", "SimCLR"), ("byol", "BYOL"), ("moco", "MoCo v2"))
    }
    names = {"SimCLR": "SimCLR", "MoCoOnDevices": "MoCo v1"} | {x: x for x in ("SimSiam", "SwAV", "DeepCluster")}
    for key, name in names.items():
        learners[f"{name}, seminar"] = seminar[key], settings["batch_size"], epochs * PICTURES // settings["batch_size"]
    for what, (make, size, total) in learners.items():
        size = min(size, len(images))
        row = Measured(what, "ResNet-18", f"{size} pictures, 96 px", steps=total)
        calls = len(images) // size
        call = partial(pretraining, make, images, calls, size, device)
        yield measure(row, call, device, per_call=calls, repeat=1 if tiny else 3)

    learner = seminar["DeepCluster"]().to(device)
    share = len(images) / PICTURES
    row = Measured(
        "DeepCluster, its clustering", "ResNet-18", f"{len(images)} pictures, 96 px", steps=round(epochs / share)
    )

    def cluster() -> None:
        learner.epoch = 0  # as in the first epoch
        learner.before_epoch(images, generator)

    yield measure(row, lambda: cluster, device, repeat=1)


def pretraining(
    make: Callable[[], torch.nn.Module], images: torch.Tensor, steps: int, size: int, device: torch.device
) -> Callable[[], object]:
    """A call that takes some steps of `pretrain` with a new learner; DeepCluster's clustering, once per epoch, is left out."""
    import helpers

    learner = make()
    if hasattr(learner, "recluster"):
        learner.before_epoch(images, torch.Generator().manual_seed(0))
        learner.recluster = 10**9
    return partial(helpers.pretrain, learner, images, steps, batch_size=size, device=device)
