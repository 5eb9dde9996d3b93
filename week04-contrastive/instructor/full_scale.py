"""What stands in for STL-10 and CIFAR-10 when a test runs this week at SCALE="full"."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def stand_in(folder: Path) -> dict[str, str]:
    """Write STL-10's binary files (two training pictures and one test picture per class) and CIFAR-10's test batch (two per class).

    Returns:
        The environment that makes the notebooks use them.
    """
    rng = np.random.default_rng(0)

    def write(name: str, values: np.ndarray) -> None:
        (folder / "stl10" / name).parent.mkdir(parents=True, exist_ok=True)
        values.astype(np.uint8).tofile(folder / "stl10" / name)

    for part, count in (("train", 20), ("test", 10), ("unlabeled", 12)):
        write(f"stl10_binary/{part}_X.bin", rng.integers(0, 256, (count, 3, 96, 96)))
        if part != "unlabeled":
            write(f"stl10_binary/{part}_y.bin", np.arange(count) % 10 + 1)  # STL-10 counts from 1
    records = np.concatenate([np.arange(20)[:, None] % 10, rng.integers(0, 256, (20, 3072))], 1)
    write("cifar-10-batches-bin/test_batch.bin", records)
    return {"STL10": str(folder / "stl10"), "SEEDS": "1"}
