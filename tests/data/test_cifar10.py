"""CIFAR-10's reader on tiny files in the original binary format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from lsdl.data.cifar10 import CLASSES, load_cifar10

RED = np.zeros((3, 32, 32), np.uint8)
RED[0], RED[0, 0, 1] = 200, 7  # row 0, column 1


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two pictures per file, of the classes k and k + 1 in the file of number k."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for k in range(6):
        name = f"data_batch_{k}.bin" if k else "test_batch.bin"
        (folder / name).write_bytes(b"".join(bytes([label]) + (RED + label).tobytes() for label in (k, k + 1)))
    return tmp_path


def test_reads_the_five_files_in_order_and_the_test(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures, labels = load_cifar10("train", root)
    assert labels.tolist() == [1, 2, 2, 3, 3, 4, 4, 5, 5, 6] and (labels.dtype, pictures.dtype) == (
        torch.int64,
        torch.uint8,
    )
    for picture, label in zip(pictures, labels, strict=True):
        assert np.array_equal(picture.numpy(), RED + label.item())
    assert CLASSES[1] == "automobile" and len(CLASSES) == 10
    monkeypatch.setenv("CIFAR10", str(root))
    pictures, labels = load_cifar10("test")
    assert pictures.shape == (2, 3, 32, 32) and pictures[0, :, 0, 1].tolist() == [7, 0, 0] and labels.tolist() == [0, 1]


def test_what_is_missing_or_broken_is_named(root: Path) -> None:
    with pytest.raises(ValueError, match="train, test, not 'val'"):
        load_cifar10("val", root)
    with pytest.raises(
        FileNotFoundError, match=r"test_batch.bin is missing: unpack cifar-10-binary.tar.gz in .*nowhere"
    ):
        load_cifar10("test", root / "nowhere")
    file = root / "cifar-10-batches-bin" / "data_batch_3.bin"
    for content in (file.read_bytes()[:-1], bytes([10]) + file.read_bytes()[1:]):  # cut off; an eleventh class
        file.write_bytes(content)
        with pytest.raises(ValueError, match="data_batch_3.bin is not in CIFAR-10's binary format"):
            load_cifar10("train", root)
