"""STL-10's reader on tiny files in the original format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lsdl.data.stl10 import CLASSES, load_stl10

PICTURES = np.random.default_rng(0).integers(0, 256, (4, 3, 96, 96), dtype=np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "stl10_binary").mkdir()
    for part in ("train", "test", "unlabeled"):
        PICTURES.transpose(0, 1, 3, 2).tofile(tmp_path / "stl10_binary" / f"{part}_X.bin")  # column by column
    for part in ("train", "test"):
        np.array([10, 1, 3, 3], np.uint8).tofile(tmp_path / "stl10_binary" / f"{part}_y.bin")
    return tmp_path


@pytest.mark.parametrize("part", ["train", "test"])
def test_reads_pictures_and_classes(root: Path, part: str) -> None:
    pictures, labels = load_stl10(part, root)
    assert np.array_equal(pictures.numpy(), PICTURES)
    assert [CLASSES[k] for k in labels.tolist()] == ["truck", "airplane", "car", "car"]


def test_pictures_without_labels_have_the_class_minus_one(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STL10", str(root))
    pictures, labels = load_stl10("unlabeled")
    assert np.array_equal(pictures.numpy(), PICTURES) and labels.tolist() == [-1] * 4


def test_what_is_missing_or_broken_is_named(root: Path) -> None:
    with pytest.raises(ValueError, match="train, test, unlabeled, not 'val'"):
        load_stl10("val", root)
    with pytest.raises(FileNotFoundError, match=r"train_X.bin is missing: .* STL10"):
        load_stl10("train", root / "stl10_binary")
    (root / "stl10_binary" / "train_y.bin").write_bytes(bytes([0, 1, 2, 3]))  # the classes are counted from 1
    with pytest.raises(ValueError, match="train_y.bin has not one class from 1 to 10"):
        load_stl10("train", root)
    (root / "stl10_binary" / "test_X.bin").write_bytes(b"cut off")
    with pytest.raises(ValueError, match="test_X.bin has 7 bytes"):
        load_stl10("test", root)
