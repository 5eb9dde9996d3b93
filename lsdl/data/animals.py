"""Photographs of animals, few of them with a label, for full scale: JPEG files in folders.

ROOT/labels.csv          columns id, class: the file name and the animal's name
ROOT/labeled/*.jpg       the pictures that labels.csv names
ROOT/unlabeled/*.jpg     for pretraining
ROOT/test/*.jpg          of a competition, without labels
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.functional import pil_to_tensor

from lsdl.data.few_labels import FewLabels


def folder(root: str | Path | None = None) -> Path:
    """The folder that has labels.csv: `root`, or the environment variable ANIMALS, or data/animals."""
    return Path(root or os.environ.get("ANIMALS", "data/animals"))


def load_pictures(part: str, size: int, root: str | Path | None = None) -> Tensor:
    """The pictures of "unlabeled" or "test" in the order of their names, cut to squares of `size`: (n, 3, size, size) uint8.

    Raises:
        FileNotFoundError: there are none.
    """
    files = sorted((folder(root) / part).glob("*.jpg"))
    if not files:
        raise FileNotFoundError(
            f"{folder(root) / part} has no *.jpg: set the environment variable ANIMALS to the folder."
        )
    return _read(files, size)


def load_labelled(part: str, size: int, seed: int = 0, root: str | Path | None = None) -> FewLabels:
    """The labelled pictures as a task. One fifth is the test, another fifth the test for choices ("val"); the rest has the labels.

    Args:
        part: "test" or "val".
        seed: of the order of the labelled pictures.

    Raises:
        FileNotFoundError: labels.csv or a picture that it names is not there.
    """
    with (folder(root) / "labels.csv").open(encoding="utf-8", newline="") as file:
        class_of = {row["id"]: row["class"] for row in csv.DictReader(file)}
    names, ids = tuple(sorted(set(class_of.values()))), sorted(class_of)
    images, labels = (
        _read((folder(root) / "labeled" / i for i in ids), size),
        torch.tensor([names.index(class_of[i]) for i in ids]),
    )
    order, fifth = torch.randperm(len(ids), generator=torch.Generator().manual_seed(0)), math.ceil(len(ids) / 5)
    test, val, rest = order.split([fifth, fifth, len(ids) - 2 * fifth])
    train, asked = (
        rest[torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))],
        test if part == "test" else val,
    )
    return FewLabels(names, (images[train], labels[train]), {"id": (images[asked], labels[asked])})


def _read(files: Iterable[Path], size: int) -> Tensor:
    return torch.stack([pil_to_tensor(ImageOps.fit(Image.open(f).convert("RGB"), (size, size))) for f in files])
