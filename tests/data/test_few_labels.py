"""The few-label task: what pretraining may see and what the task holds are apart; full scale reads the original files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lsdl.data.emoji import CLASSES, STYLES, load_emoji
from lsdl.data.few_labels import (
    TEST_ARTISTS,
    UNLABELLED,
    choose_concepts,
    load_kinds,
    load_other_domain,
    load_styles,
    load_task,
    load_unlabelled,
    unlabelled_part,
    with_moved,
)


def test_the_unlabelled_part_hides_what_it_must() -> None:
    seen = unlabelled_part(load_emoji(32))
    hidden = set(choose_concepts("test")) | set(choose_concepts("val"))
    assert len(hidden) == 200 and len(seen) == len(load_unlabelled("smoke")) == UNLABELLED
    assert not seen.held_out.any() and not set(seen.concept.tolist()) & hidden
    assert not {STYLES[s] for s in seen.style.tolist()} & set(TEST_ARTISTS)
    styles = load_styles("smoke")
    assert styles is not None and torch.equal(styles, seen.style) and load_styles("full") is None


def test_data_that_changed_are_refused() -> None:
    seen = unlabelled_part(load_emoji(32))
    with pytest.raises(ValueError, match="6829 unlabelled pictures, not 6830"):
        unlabelled_part(seen[torch.arange(1, len(seen))])


@pytest.mark.parametrize("part", ["test", "val"])
def test_few_labels_are_balanced_and_disjoint(part: str) -> None:
    task = load_task("smoke", part, seed=3)
    assert (task.train[1].bincount() == 3).all() and len(task.train[0]) == 300 and len(set(task.names)) == 100
    assert all(sorted(labels.tolist()) == list(range(100)) for _, labels in task.tests.values())
    assert list(task.tests) == ["id", *(TEST_ARTISTS if part == "test" else ())]
    train = {image.numpy().tobytes() for image in task.train[0]}
    assert not train & {image.numpy().tobytes() for images, _ in task.tests.values() for image in images}


@pytest.mark.parametrize(("scale", "part"), [("tiny", "test"), ("smoke", "train")])
def test_an_unknown_scale_or_part_is_refused(scale: str, part: str) -> None:
    with pytest.raises(ValueError, match='"smoke" or "full"'):
        load_task(scale, part)


def test_moved_tests_stand_beside_the_others_and_repeat() -> None:
    tests = load_task("smoke").tests
    both, again = with_moved(tests), with_moved(tests)
    assert list(both) == [*tests, *(f"{name}, moved" for name in tests)]
    for name, (images, labels) in tests.items():
        assert both[name][0] is images and torch.equal(both[f"{name}, moved"][1], labels)
        assert not torch.equal(both[f"{name}, moved"][0], images)
        assert torch.equal(both[f"{name}, moved"][0], again[f"{name}, moved"][0])


def test_the_kinds_have_as_many_labels_as_asked() -> None:
    task = load_kinds(10, seed=0)
    assert task.names == CLASSES and (task.train[1].bincount(minlength=18) == 10).all()
    assert list(task.tests) == ["id", *STYLES[1:]] and len(load_kinds(None, seed=0).train[0]) == 610


def test_the_other_domain_has_an_order_of_its_own() -> None:
    task, (images, labels, names) = load_task("smoke"), load_other_domain("smoke")
    assert len(set(task.names) - set(names)) == len(set(names) - set(task.names)) == 1
    assert list(names) == sorted(names, key=str.casefold) != sorted(task.names, key=task.names.index)
    ours = task.tests["emojione"][0]
    for k, name in enumerate(names):
        if name in task.names:
            assert torch.equal(images[labels == k][0], ours[task.names.index(name)])


def test_full_scale_reads_the_original_files(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "stl10_binary").mkdir()
    (tmp_path / "cifar-10-batches-bin").mkdir()
    pictures = rng.integers(0, 256, (5, 3, 96, 96), dtype=np.uint8)
    for split in ("train", "test", "unlabeled"):
        pictures.transpose(0, 1, 3, 2).tofile(tmp_path / "stl10_binary" / f"{split}_X.bin")  # stored column by column
        np.arange(1, 6, dtype=np.uint8).tofile(tmp_path / "stl10_binary" / f"{split}_y.bin")
    small = rng.integers(0, 256, (10, 3, 32, 32), dtype=np.uint8)
    records = np.concatenate([np.arange(10, dtype=np.uint8)[:, None], small.reshape(10, -1)], 1)
    records.tofile(tmp_path / "cifar-10-batches-bin" / "test_batch.bin")

    assert np.array_equal(load_unlabelled("full", tmp_path).numpy(), pictures)
    task = load_task("full", root=tmp_path)
    assert task.train[1].tolist() == [0, 1, 2, 3, 4] and task.tests["cifar10"][0].shape == (9, 3, 96, 96)
    images, labels, names = load_other_domain("full", tmp_path)
    kept = [names[k] for k in labels.tolist() if names[k] != "frog"]
    assert [task.names[k] for k in task.tests["cifar10"][1].tolist()] == kept and "monkey" not in names
    shrunk = F.interpolate(images.float(), 32, mode="bicubic", antialias=True)
    assert (shrunk - torch.from_numpy(small).float()).abs().mean() < 25  # the same pictures, only larger
    assert len(load_task("full", "val", root=tmp_path).tests["id"][0]) == 1
    with pytest.raises(FileNotFoundError, match="STL10"):
        load_unlabelled("full", tmp_path / "nowhere")
