"""What stands in for the photographs of animals when this week runs at SCALE="full" without them, and what a step costs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image

from lsdl.author.full_scale import Measured, measure
from lsdl.author.homework import Homework
from lsdl.features import NarrowResNet

WEEK = Path(__file__).resolve().parents[1]
ANIMALS = ("cat", "cow", "dog", "elephant", "horse", "lion", "sheep", "spider", "squirrel", "zebra")
PICTURES = 3  # that a step of a shortened training takes at most
FEWER = {"live_steps": 1, "live_batch": PICTURES}  # a decoder draws 224 x 224 pixels: a second per live step on a CPU


def shorten(helpers: ModuleType) -> None:
    """Narrow trunks, two steps of at most three pictures and one epoch, instead of hours: what they reach is judged at smoke."""
    import pretext

    fit, pretrain = helpers.fit, helpers.pretrain

    def two_steps(task, images, pictures, *, batch_size=PICTURES, **more) -> dict:
        size = min(batch_size, PICTURES)
        return pretrain(task, images, 2 * size * task.cost, batch_size=size, **more)

    def narrow(width: int = 16, scale: str = "smoke") -> NarrowResNet:
        trunk = NarrowResNet(width)  # `steps` below has the ResNet-18
        if scale == "full":
            trunk.maxpool = torch.nn.MaxPool2d(3, 2, 1)  # as there: the last map has a 32nd of the picture's side
        return trunk

    helpers.pretrain, helpers.make_trunk, pretext.make_trunk = two_steps, narrow, narrow
    helpers.fit = lambda *given, epochs, **more: fit(*given, epochs=1, **more)


def stand_in(folder: Path) -> dict[str, str]:
    """Write five labelled photographs per animal, twelve without a label and ten of the competition, of random pixels.

    Returns:
        The environment that makes the notebooks use them.
    """
    rng, root = np.random.default_rng(0), folder / "animals"

    def write(part: str, count: int) -> list[str]:
        (root / part).mkdir(parents=True, exist_ok=True)
        names = [f"{part[:2]}{k:03d}.jpg" for k in range(count)]
        for name in names:
            Image.fromarray(rng.integers(0, 256, (60, 48, 3), dtype=np.uint8)).save(root / part / name)
        return names

    labelled = write("labeled", 5 * len(ANIMALS))
    with (root / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "class"), *zip(labelled, 5 * ANIMALS, strict=True)])
    write("unlabeled", 12), write("test", 10)
    return {"ANIMALS": str(root)}


def steps(device: torch.device, tiny: bool) -> Iterator[Measured]:
    """The pretext tasks of the homework in the week's `pretrain`, views included, on pictures of random pixels."""
    import helpers
    import pretext

    from lsdl.settings import load_settings

    names, s = Homework(WEEK).namespace(), load_settings("full", WEEK / "settings.toml")
    size, batch = s["size"], 2 if tiny else s["many_batch_size"]
    generator = torch.Generator().manual_seed(0)
    pictures = {
        side: torch.randint(256, (2 * batch, 3, side, side), dtype=torch.uint8, generator=generator)
        for side in (size, s["patch_size"])
    }
    centres = 10.0 * torch.cartesian_prod(torch.arange(-8, 9), torch.arange(-8, 9))
    p = torch.full((len(centres),), 1 / len(centres))
    patch = dict(tile=s["tile"], whole=size, size=s["patch_size"])
    whole = dict(size=size)
    tasks: dict[str, Callable[[torch.nn.Module], pretext.Pretext]] = {
        "rotation": lambda trunk: pretext.Rotation(names["rotation_batch"], trunk=trunk, **whole),
        "jigsaw": lambda trunk: pretext.Jigsaw(
            names["permutation_set"](9, s["permutations"]), names["cut_tiles"], names["shuffle_tiles"],
            cell=s["cell"], trunk=trunk, **patch,
        ),
        "context": lambda trunk: pretext.Context(
            names["context_draws"], names["context_pairs"], gap=s["gap"], jitter=s["jitter"], trunk=trunk, **patch
        ),
        "colorization": lambda trunk: pretext.Colorization(
            names["rgb_to_lab"], names["soft_targets"], names["rebalanced_loss"], centres, p,
            doublings=s["doublings"], trunk=trunk, **whole,
        ),
        "inpainting": lambda trunk: pretext.Inpainting(
            names["inpainting_loss"], doublings=s["whole_doublings"], trunk=trunk, **whole
        ),
    }  # fmt: skip

    def pretraining(make: Callable, calls: int) -> Callable[[], object]:
        task = make(pretext.make_trunk(scale="full"))
        budget = calls * batch * task.cost
        return partial(helpers.pretrain, task, pictures[task.size], budget, batch_size=batch, device=device)

    for name, make in tasks.items():
        cost = make(pretext.make_trunk(scale="full")).cost
        row = Measured(name, "ResNet-18", f"{batch} pictures, {size} px", steps=round(s["pictures"] / (cost * batch)))
        yield measure(row, partial(pretraining, make, 2), device, per_call=2, repeat=1 if tiny else 3)
