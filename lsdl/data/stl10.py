"""STL-10 in its original binary format, for full scale: 96 x 96 photographs, 5,000 with a label for training, 8,000 for tests, 100,000 without.

Coates, Ng and Lee, *An Analysis of Single-Layer Networks in Unsupervised Feature Learning*, AISTATS 2011. The archive `stl10_binary.tar.gz`
is on https://cs.stanford.edu/~acoates/stl10/. Unpacked, it looks so:

    ROOT/stl10_binary/train_X.bin        27,648 bytes a picture: three planes (red, green, blue), each column by column
    ROOT/stl10_binary/train_y.bin        one byte a picture: the class, counted from 1
    ROOT/stl10_binary/test_X.bin, test_y.bin, unlabeled_X.bin
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
PARTS = ("train", "test", "unlabeled")
SIZE = 96


def folder(root: str | Path | None = None) -> Path:
    """The folder that has `stl10_binary/`: `root`, or the environment variable STL10, or data/stl10."""
    return Path(root or os.environ.get("STL10", "data/stl10"))


def load_stl10(part: str, root: str | Path | None = None) -> tuple[Tensor, Tensor]:
    """Pictures (n, 3, 96, 96) uint8 and classes (n,) int64, indices into CLASSES; -1 for pictures without labels.

    Args:
        part: one of PARTS.
        root: see `folder`.

    Raises:
        ValueError: an unknown part, or a file that is not in the format.
        FileNotFoundError: the file is not there.
    """
    if part not in PARTS:
        raise ValueError(f"part is one of {', '.join(PARTS)}, not {part!r}.")
    values = _read(root, f"{part}_X.bin")
    if len(values) % (3 * SIZE**2):
        raise ValueError(f"{part}_X.bin has {len(values)} bytes, no multiple of {3 * SIZE**2}: unpack it again.")
    pictures = torch.from_numpy(values.reshape(-1, 3, SIZE, SIZE)).transpose(2, 3).contiguous()  # (n, 3, row, column)
    if part == "unlabeled":
        return pictures, torch.full((len(pictures),), -1)
    labels = torch.from_numpy(_read(root, f"{part}_y.bin").astype(np.int64) - 1)
    if len(labels) != len(pictures) or not ((labels >= 0) & (labels < len(CLASSES))).all():
        raise ValueError(f"{part}_y.bin has not one class from 1 to {len(CLASSES)} for each picture: unpack it again.")
    return pictures, labels


def _read(root: str | Path | None, name: str) -> np.ndarray:
    path = folder(root) / "stl10_binary" / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: unpack the archive there, or set STL10 to the folder that has it.")
    return np.fromfile(path, np.uint8)
