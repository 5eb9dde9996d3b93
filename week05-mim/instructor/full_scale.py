"""What stands in for STL-10 when this week runs at SCALE="full" without it, and what a step costs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from lsdl.author.full_scale import Measured, measure, stl10_files
from lsdl.author.homework import Homework
from lsdl.author.seminar import seminar_names
from lsdl.tables import Names

WEEK = Path(__file__).resolve().parents[1]
FEWER = {"width": 48, "depth": 1, "heads": 3, "decoder_depth": 1, "decoder_width": 24, "decoder_heads": 3, "codes": 16}
FEWER |= {"dino_codes": 32, "dino_hidden": 32, "dino_bottleneck": 16, "local_views": 2, "scratch_epochs": 1}
FEWER |= {"tune_epochs": 1, "short_tune_epochs": 1, "collapse_seeds": 2, "live_steps": 2, "live_batch": 4, "queue": 16}


def shorten(helpers: ModuleType) -> None:
    """Two steps of every training: what they reach is judged at smoke."""
    pretrain = helpers.pretrain

    def short(learner: torch.nn.Module, images: torch.Tensor, pictures: int, **more: Any) -> dict:
        size = min(more.pop("batch_size", 8), 8, len(images))
        return pretrain(learner, images, 2 * size, **more | {"batch_size": size, "every": 1})

    helpers.pretrain = short


def stand_in(folder: Path) -> dict[str, str]:
    """Tiny files of STL-10 and of CIFAR-10's test batch.

    Returns:
        The environment that makes the notebooks use them.
    """
    return stl10_files(folder)


def steps(device: torch.device, tiny: bool) -> Iterator[Measured]:
    """The methods in the week's `pretrain`, views included, on pictures of random pixels."""
    import helpers
    import measure as week

    homework = Homework(WEEK).namespace()
    seminar = seminar_names(WEEK, scale="full", device=str(device))
    settings, given = seminar["SETTINGS"], ("random_masking", "restore_tokens", "normalise_patches", "mae_loss")
    given += ("dino_loss", "update_centre", "hog_targets")
    s = Names(seminar | {name: homework[name] for name in given})
    if tiny:
        settings |= FEWER
    generator = torch.Generator().manual_seed(0)
    for method, run in week.METHODS.items():
        if run == "simclr":  # a line of reference, written in train.py
            continue
        size = 2 if tiny else settings["dino_batch_size" if run == "dino" else "batch_size"]
        images = torch.randint(256, (2 * size, 3, 96, 96), dtype=torch.uint8, generator=generator)

        def make(run: str = run, images: torch.Tensor = images, size: int = size) -> Any:
            learner = week.make(s, run, 0)
            return partial(helpers.pretrain, learner, images, 2 * size, batch_size=size, device=device)

        row = Measured(method, "ViT-S/16", f"{size} pictures, 96 px", steps=settings["pictures"] // size)
        yield measure(row, make, device, per_call=2, repeat=1 if tiny else 3)
