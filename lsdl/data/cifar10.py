"""CIFAR-10 in its original binary format, for full scale: 32 x 32 photographs, 50,000 for training and 10,000 for tests.

Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009. Take the *binary version* on
https://www.cs.toronto.edu/~kriz/cifar.html, `cifar-10-binary.tar.gz`: the Python version is pickled, and a pickle can run code. Unpacked, it looks so:

    ROOT/cifar-10-batches-bin/data_batch_1.bin ... data_batch_5.bin    3,073 bytes a picture: the class, then three planes
    ROOT/cifar-10-batches-bin/test_batch.bin                           (red, green, blue), each row by row

There is no validation part: split the training part yourself, never look at the test part for a choice.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FILES = {"train": tuple(f"data_batch_{k}.bin" for k in range(1, 6)), "test": ("test_batch.bin",)}
SIZE = 32
RECORD = 1 + 3 * SIZE**2  # bytes


def folder(root: str | Path | None = None) -> Path:
    """The folder that has `cifar-10-batches-bin/`: `root`, or the environment variable CIFAR10, or data/cifar10."""
    return Path(root or os.environ.get("CIFAR10", "data/cifar10"))


def load_cifar10(part: str, root: str | Path | None = None) -> tuple[Tensor, Tensor]:
    """Pictures (n, 3, 32, 32) uint8 and classes (n,) int64, indices into CLASSES, in the files' order.

    Args:
        part: "train" or "test".
        root: see `folder`.

    Raises:
        ValueError: an unknown part, or a file that is not in the format.
        FileNotFoundError: a file is not there.
    """
    if part not in FILES:
        raise ValueError(f"part is one of {', '.join(FILES)}, not {part!r}.")
    records = np.concatenate([_records(folder(root) / "cifar-10-batches-bin" / name) for name in FILES[part]])
    pictures = torch.from_numpy(records[:, 1:].reshape(-1, 3, SIZE, SIZE))
    return pictures, torch.from_numpy(records[:, 0].astype(np.int64))


def _records(path: Path) -> np.ndarray:
    """The records (n, 3073) uint8 of one file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: unpack cifar-10-binary.tar.gz in {path.parents[1]}.")
    values = np.fromfile(path, np.uint8)
    if len(values) % RECORD or (values[::RECORD] >= len(CLASSES)).any():
        raise ValueError(f"{path} is not in CIFAR-10's binary format, {RECORD} bytes a picture: unpack it again.")
    return values.reshape(-1, RECORD)
