"""A task with few labels, the pictures without labels for it, and its tests: emoji that no pretraining saw, or STL-10.

What pretraining may see hides the task's concepts and the test artists (`unlabelled_part`), so all methods of all weeks are measured on the same
unseen pictures.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from lsdl.data import cifar10, stl10
from lsdl.data.augment import random_affine
from lsdl.data.emoji import CLASSES, PARTS, STYLES, Emoji, load_emoji

Labelled = tuple[Tensor, Tensor]  # pictures (n, 3, size, size) uint8 and classes (n,) int64

TEST_ARTISTS = ("emojione", "noto-v1")
LABEL_STYLES = ("noto", "twemoji", "openmoji", "fluent-flat")  # one set a maker: a sibling would give the answer away
CONCEPTS, CONCEPT_SEED = 100, 2024
UNLABELLED = 6830  # pictures; asserted, so that a change of the data is noticed
STL10 = stl10.CLASSES
CIFAR10 = tuple("car" if name == "automobile" else name for name in cifar10.CLASSES)  # STL-10's word


@dataclass(frozen=True)
class FewLabels:
    """A task with few labels.

    Attributes:
        names: class names, index = label.
        train: the labelled pictures.
        tests: test pictures by name, "id" (the makers of the labels) first; the labels are those of `names`.
    """

    names: tuple[str, ...]
    train: Labelled
    tests: Mapping[str, Labelled]


@lru_cache
def choose_concepts(part: str) -> tuple[int, ...]:
    """The 100 concepts of the few-label task for testing ("test") or for choices ("val"), as sorted concept indices.

    Candidates are alone in their family (no look-alike by name or, within a maker, by pixels) and have a picture in every style that the
    task needs: all nine for "test", the four label styles for "val". They are of the data's test part; "val" also takes from the
    val part, and what "test" left. In random order (fixed seed) a candidate joins unless its name shares a word with one already
    chosen ("key", "old key"), until there are 100. The rule was fixed before any result.
    """
    data = load_emoji(32)
    table, families = _cells(data), Counter(c.family for c in data.concepts)
    parts = torch.tensor([PARTS.index(p) for p in (("test",) if part == "test" else ("test", "val"))])
    pool = set(data.concept[torch.isin(data.part, parts)].tolist())
    pool -= set() if part == "test" else set(choose_concepts("test"))
    columns = [STYLES.index(s) for s in (STYLES if part == "test" else LABEL_STYLES)]
    complete = (table[:, columns] >= 0).all(1).tolist()
    candidates = [k for k in sorted(pool) if families[data.concepts[k].family] == 1 and complete[k]]
    random.Random(CONCEPT_SEED).shuffle(candidates)
    chosen: list[int] = []
    used: set[str] = set()
    for k in candidates:
        words = set(re.findall(r"\w+", data.concepts[k].name.casefold()))
        words -= {"a", "and", "in", "of", "on", "the", "to", "with"}
        if not words & used and len(chosen) < CONCEPTS:
            chosen.append(k)
            used |= words
    if len(chosen) < CONCEPTS:
        raise ValueError(f"Only {len(chosen)} concepts of part {part!r} meet the rule, {CONCEPTS} are needed.")
    return tuple(sorted(chosen))


def unlabelled_part(data: Emoji) -> Emoji:
    """What pretraining may see: neither a test or validation concept, nor a test artist, nor a held-out cell of the data card.

    Raises:
        ValueError: the data changed, so that checkpoints are void.
    """
    hidden = torch.tensor(choose_concepts("test") + choose_concepts("val"))
    artists = torch.tensor([STYLES.index(s) for s in TEST_ARTISTS])
    seen = data[~data.held_out & ~torch.isin(data.concept, hidden) & ~torch.isin(data.style, artists)]
    if len(seen) != UNLABELLED:
        raise ValueError(f"{len(seen)} unlabelled pictures, not {UNLABELLED}: the data changed, checkpoints are void.")
    return seen


def load_unlabelled(scale: str, root: str | Path | None = None) -> Tensor:
    """Pictures without labels for pretraining, (n, 3, size, size) uint8.

    Args:
        scale: "smoke": 6,830 emoji of 32 px (`unlabelled_part`); "full": STL-10's 100,000 pictures of 96 px.
        root: folder with `stl10_binary/`; default: the environment variable STL10.
    """
    if scale == "smoke":
        return unlabelled_part(load_emoji(32)).images
    return stl10.load_stl10("unlabeled", root)[0]


def load_styles(scale: str) -> Tensor | None:
    """Which set of drawings each unlabelled picture is from, (n,) int64, for batches of one style; None at full scale: STL-10 has one source."""
    return unlabelled_part(load_emoji(32)).style if scale == "smoke" else None


def load_task(
    scale: str, part: str = "test", seed: int = 0, root: str | Path | None = None, *, size: int = 32
) -> FewLabels:
    """The few-label task.

    Args:
        scale: "smoke": 100 concepts that pretraining never saw, each drawn by four makers. The seed decides which maker's picture is
            the in-distribution test (each maker 25 times); the other three are the labels. "full": STL-10's 5,000 labelled and 8,000 test pictures.
        part: "test", or "val": other concepts (full: a fifth of the labelled pictures as the test), to choose hyperparameters on. Only "test"
            has the pictures of the test artists (full: CIFAR-10's test pictures of the common classes).
        seed: of the choice of labels.
        root: folder with `stl10_binary/` and `cifar-10-batches-bin/`; default: the environment variable STL10.
        size: side length of smoke's pictures, 32 or 64.

    Raises:
        ValueError: unknown scale or part.
        FileNotFoundError: full scale's files are not there.
    """
    if scale not in ("smoke", "full") or part not in ("test", "val"):
        raise ValueError(f'scale is "smoke" or "full" and part "test" or "val", not {scale!r} and {part!r}.')
    generator = torch.Generator().manual_seed(seed)
    if scale == "full":
        images, labels = stl10.load_stl10("train", root)
        if part == "val":
            order = torch.randperm(len(images), generator=generator)
            test, train = order[: len(order) // 5], order[len(order) // 5 :]
            return FewLabels(STL10, (images[train], labels[train]), {"id": (images[test], labels[test])})
        other, theirs, names = load_other_domain("full", root)
        common = torch.tensor([names[k] in STL10 for k in theirs.tolist()])
        ours = torch.tensor([STL10.index(names[k]) for k in theirs[common].tolist()])
        tests = {"id": stl10.load_stl10("test", root), "cifar10": (other[common], ours)}
        return FewLabels(STL10, (images, labels), tests)
    data, concepts = load_emoji(size), torch.tensor(choose_concepts(part))
    table = _cells(data)[concepts]  # (100, styles)
    cells = table[:, [STYLES.index(s) for s in LABEL_STYLES]]
    label = torch.arange(CONCEPTS)[:, None].expand_as(cells)
    left_out = torch.randperm(CONCEPTS, generator=generator) % len(LABEL_STYLES)  # which maker tests the concept
    is_test = left_out[:, None] == torch.arange(len(LABEL_STYLES))
    tests = {"id": (data.images[cells[is_test]], label[is_test])}
    if part == "test":
        tests |= {a: (data.images[table[:, STYLES.index(a)]], torch.arange(CONCEPTS)) for a in TEST_ARTISTS}
    names = tuple(data.concepts[k].name for k in concepts)
    return FewLabels(names, (data.images[cells[~is_test]], label[~is_test]), tests)


def load_other_domain(scale: str, root: str | Path | None = None) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Another domain as a data set of its own: its own order of classes, one class more and one less than the task's.

    Args:
        scale: "smoke": emojione's drawings in alphabetical order of the names; "full": CIFAR-10's test pictures ("frog" instead of "monkey"),
            enlarged to 96 px.
        root: folder with `cifar-10-batches-bin/`; default: the environment variable STL10.

    Returns:
        pictures (n, 3, size, size) uint8, labels (n,) int64, class names in this set's own order.
    """
    if scale == "full":
        pictures, labels = cifar10.load_cifar10("test", stl10.folder(root))
        pictures = F.interpolate(pictures.float(), stl10.SIZE, mode="bicubic", antialias=True)
        return pictures.clamp(0, 255).round().byte(), labels, CIFAR10
    data, rng, test = load_emoji(32), random.Random(CONCEPT_SEED), choose_concepts("test")
    column = _cells(data)[:, STYLES.index("emojione")]
    missing = rng.choice(test)
    extra = rng.choice([k for k in choose_concepts("val") if column[k] >= 0])
    chosen = sorted({*test, extra} - {missing}, key=lambda k: data.concepts[k].name.casefold())
    return data.images[column[chosen]], torch.arange(len(chosen)), tuple(data.concepts[k].name for k in chosen)


def load_kinds(per_class: int | None, seed: int) -> FewLabels:
    """A task where self-supervision hardly helps: 18 kinds of things, labels from noto's training concepts, test on unseen cells.

    Args:
        per_class: labelled pictures a class (all if fewer exist); None for all 610.
        seed: of the choice of labels.
    """
    data = load_emoji(32)
    train = data.select(styles="noto", part="train", held_out=False, labelled=True)
    if per_class is not None:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
        train = train[torch.cat([order[train.label[order] == k][:per_class] for k in range(len(CLASSES))])]
    tests = {}
    for style in STYLES:
        test = data.select(styles=style, part="test", held_out=True, labelled=True)
        tests["id" if style == "noto" else style] = (test.images, test.label)
    return FewLabels(CLASSES, (train.images, train.label), tests)


def moved(images: Tensor) -> Tensor:
    """The same pictures shifted, turned and scaled at random (fixed seed), uint8: breaks the alignment that raw pixels live on."""
    generator = torch.Generator().manual_seed(0)
    return (random_affine(images.float() / 255, flip=0.0, generator=generator) * 255).round().to(torch.uint8)


def with_moved(tests: Mapping[str, Labelled]) -> dict[str, Labelled]:
    """The tests, and then each of them with its pictures `moved`, as "NAME, moved"."""
    return {**tests, **{f"{name}, moved": (moved(x), y) for name, (x, y) in tests.items()}}


def moved_tests(task: FewLabels) -> dict[str, Labelled]:
    """The tests moved, without those that are not, by the names that notebooks show: "ID" is the one by the makers of the labels."""
    return {"ID" if name == "id" else name: (moved(x), y) for name, (x, y) in task.tests.items()}


def _cells(data: Emoji) -> Tensor:
    """(concepts, styles) int64: the index of the picture, -1 where there is none."""
    table = torch.full((len(data.concepts), len(STYLES)), -1)
    table[data.concept, data.style] = torch.arange(len(data))
    return table
