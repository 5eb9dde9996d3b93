"""DomainNet's loader on tiny files in the original layout."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms.functional import to_tensor

from lsdl.data.domainnet import DOMAINS, DomainNet

CLASSES = ("aircraft_carrier", "The_Eiffel_Tower", "zigzag")  # upper case and order as in the original: labels say it


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for d, domain in enumerate(DOMAINS):
        for split, count in (("train", 2), ("test", 1)):
            lines = []
            for label, name in enumerate(CLASSES):
                for k in range(count):
                    path = f"{domain}/{name}/{domain}_{label + 1:03}_{k + 1 + 10 * (split == 'test'):06}.jpg"
                    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                    Image.new("RGB", (8 + d, 6), (100 * label, 40 * d, 0)).save(tmp_path / path)
                    lines.append(f"{path} {label}")
            (tmp_path / f"{domain}_{split}.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("domain", DOMAINS)
def test_reads_the_original_layout(root: Path, domain: str) -> None:
    train, test = DomainNet(root, domain, "train"), DomainNet(str(root), domain, "test")
    assert (len(train), len(test)) == (6, 3)
    assert train.classes == test.classes == CLASSES
    assert train.labels == [0, 0, 1, 1, 2, 2]
    image, label = train[5]
    assert (image.mode, image.size, label) == ("RGB", (8 + DOMAINS.index(domain), 6), 2)
    assert abs(image.getpixel((3, 3))[0] - 200) < 10, "the picture of another class came"
    assert not set(train.paths) & set(test.paths)


def test_works_in_a_data_loader(root: Path) -> None:
    images, labels = next(iter(DataLoader(DomainNet(root, "real", "train", to_tensor), batch_size=4)))
    assert images.shape == (4, 3, 6, 12) and images.dtype == torch.float32
    assert labels.tolist() == [0, 0, 1, 1]


def test_grey_and_palette_pictures_become_rgb(root: Path) -> None:
    data = DomainNet(root, "quickdraw", "test")
    Image.new("L", (5, 5), 7).save(root / data.paths[0])
    assert data[0][0].getpixel((0, 0)) == (7, 7, 7)


def test_a_subset_keeps_the_numbers_of_the_labels(root: Path) -> None:
    (root / "real_test.txt").write_text("real/zigzag/real_003_000011.jpg 2\n\n")
    data = DomainNet(root, "real", "test")
    assert data.classes == ("", "", "zigzag") and data[0][1] == 2


def test_unknown_names(root: Path) -> None:
    with pytest.raises(ValueError, match="domain is one of clipart, .* not 'photo'"):
        DomainNet(root, "photo", "train")
    with pytest.raises(ValueError, match="split is one of train, test, not 'val'"):
        DomainNet(root, "real", "val")


def test_missing_files_say_what_to_do(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"put clipart_train\.txt of DomainNet into"):
        DomainNet(root / "nowhere", "clipart", "train")
    data = DomainNet(root, "clipart", "train")
    (root / data.paths[1]).unlink()
    with pytest.raises(FileNotFoundError, match=r"is in clipart_train\.txt but not on disk: unpack clipart\.zip"):
        data[1]
    (root / data.paths[2]).write_bytes(b"<html>404</html>")
    with pytest.raises(ValueError, match="is not a readable picture"):
        data[2]
    (root / "sketch").rename(root / "elsewhere")
    with pytest.raises(FileNotFoundError, match=r"unpack sketch\.zip"):
        DomainNet(root, "sketch", "train")


@pytest.mark.parametrize(
    "line",
    [
        "clipart/zigzag/a.jpg",
        "clipart/zigzag/a.jpg x",
        "real/zigzag/a.jpg 2",
        "../clipart/zigzag/a.jpg 2",
        "clipart/../a.jpg 2",
        "a.jpg 2",
        "clipart/zigzag/a.jpg -1",
    ],
)
def test_a_damaged_list_names_the_line(root: Path, line: str) -> None:
    with (root / "clipart_train.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(ValueError, match=r"clipart_train\.txt, line 7"):
        DomainNet(root, "clipart", "train")


def test_one_label_with_two_names(root: Path) -> None:
    (root / "real_train.txt").write_text("real/zigzag/a.jpg 2\nreal/yoga/b.jpg 2\n")
    with pytest.raises(ValueError, match="line 2: label 2 is both zigzag and yoga"):
        DomainNet(root, "real", "train")


def test_an_empty_list(root: Path) -> None:
    (root / "real_train.txt").write_text("\n")
    with pytest.raises(ValueError, match="lists no pictures"):
        DomainNet(root, "real", "train")
