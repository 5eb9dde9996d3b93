"""Photographs of animals in folders: whose label is whose, what is cut off, which pictures a test has."""

import csv

import pytest
import torch
from PIL import Image

from lsdl.data import animals

COLOURS = {"cat": (200, 0, 0), "dog": (0, 200, 0)}  # whole pictures of one colour, so that a picture shows its class


@pytest.fixture
def root(tmp_path):
    """Ten labelled pictures, twice as wide as high; the names' order is not that of the file."""
    for part in ("labeled", "unlabeled"):
        (tmp_path / part).mkdir()
    rows = [(f"{9 - k}.jpg", ("cat", "dog")[k % 3 == 0]) for k in range(10)]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("id", "class"), *rows])
    for name, kind in rows:
        picture = Image.new("RGB", (32, 16), "white")
        picture.paste(COLOURS[kind], (8, 0, 24, 16))  # the square in the middle
        picture.save(tmp_path / "labeled" / name, quality=95)
        picture.resize((12, 40)).save(tmp_path / "unlabeled" / name)
    return tmp_path


def classes_of(images):
    """0 where a picture is red, 1 where it is green."""
    return images.float().mean((2, 3))[:, :2].argmax(1)


def test_labels_belong_to_their_pictures(root):
    task = animals.load_labelled("test", 16, root=root)
    assert task.names == ("cat", "dog")
    for images, labels in (task.train, task.tests["id"]):
        assert images.dtype == torch.uint8 and images.shape[1:] == (3, 16, 16)
        assert torch.equal(classes_of(images), labels)
    assert (task.train[0][:, 2] < 40).all()  # no white: the middle square is cut out


def test_parts_are_disjoint_and_seeds_only_shuffle_the_labelled(root):
    for k, file in enumerate(sorted((root / "labeled").glob("*.jpg"))):  # a brightness that tells the picture
        Image.new("L", (16, 16), 20 * k + 10).save(file)

    def levels(images):
        return (images.float().mean((1, 2, 3)) / 20).long().tolist()

    def parts(part, seed):
        task = animals.load_labelled(part, 16, seed, root)
        return levels(task.train[0]), levels(task.tests["id"][0])

    (train, test), (same, val), (other, test_again) = parts("test", 0), parts("val", 0), parts("test", 1)
    assert sorted(train + test + val) == list(range(10)) and len(test) == len(val) == 2
    assert train == same and test == test_again
    assert other != train and sorted(other) == sorted(train)


def test_unlabelled_pictures_come_in_the_order_of_their_names(root):
    images = animals.load_pictures("unlabeled", 8, root)
    assert images.shape == (10, 3, 8, 8)
    kinds = {row["id"]: row["class"] for row in csv.DictReader((root / "labels.csv").open())}
    assert [("cat", "dog")[k] for k in classes_of(images)] == [kinds[name] for name in sorted(kinds)]


def test_a_missing_folder_says_what_to_set(root, monkeypatch):
    monkeypatch.setenv("ANIMALS", str(root))
    with pytest.raises(FileNotFoundError, match="ANIMALS"):
        animals.load_pictures("test", 8)
    (root / "labeled" / "3.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="3.jpg"):
        animals.load_labelled("test", 8)
