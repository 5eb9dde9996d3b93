"""Week 06: CIFAR-100 and CIFAR-100-C from their files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def cifar100(folder: Path, train: bool) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Pictures, labels and class names from CIFAR-100's python pickles.

    Raises:
        FileNotFoundError: they are not there.
    """
    from torchvision.datasets import CIFAR100

    file = folder / "cifar-100-python"
    if not file.is_dir():
        raise FileNotFoundError(f"{file} is not there: set CIFAR to the folder of CIFAR-100's python version.")
    try:
        data = CIFAR100(str(folder), train=train, download=False)
        images, labels, names = data.data, data.targets, data.classes
    except RuntimeError:  # torchvision asks for the original's checksums, which a stand-in does not have
        with open(file / ("train" if train else "test"), "rb") as stream:
            found = pickle.load(stream, encoding="latin1")
        with open(file / "meta", "rb") as stream:
            names = pickle.load(stream, encoding="latin1")["fine_label_names"]
        images = np.vstack(found["data"]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        labels = found["fine_labels"]
    return torch.from_numpy(images.copy()).permute(0, 3, 1, 2).contiguous(), torch.tensor(labels), tuple(names)


def corrupted(folder: Path, name: str, strength: int) -> tuple[Tensor, Tensor]:
    """Pictures and labels of CIFAR-100-C: 10,000 pictures for each strength from 1 to 5, one after the other."""
    images, labels = (np.load(folder / "CIFAR-100-C" / f"{file}.npy", mmap_mode="r") for file in (name, "labels"))
    n = len(labels) // 5
    part = slice((strength - 1) * n, strength * n)
    return torch.from_numpy(images[part].copy()).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(
        labels[part].copy()
    ).long()
