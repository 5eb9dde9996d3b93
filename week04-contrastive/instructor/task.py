"""Week 04's tasks on the embedded pictures: what is unlabelled, what has few labels, what is out of distribution.

Concepts: 100 *test* and 100 *validation* concepts that no pretraining of this week sees in any style.
Test artists: emojione (its maker is unseen altogether) and noto-v1 (an older set by noto's maker), unseen in pretraining and in the labels.
Held-out cells of the data card (week 01's promise) are not seen either, so the 18 classes can be tested as in week 01.

Few-label task: 100 concepts, each drawn by four makers (noto, twemoji, openmoji, fluent-flat). A seed decides which maker's
picture is the in-distribution test (each maker 25 times); the other three are the labelled pictures.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from lsdl.data import PARTS, STYLES, Concept, Emoji, load_emoji

TEST_ARTISTS = ("emojione", "noto-v1")
LABEL_STYLES = (
    "noto",
    "twemoji",
    "openmoji",
    "fluent-flat",
)  # one set a maker: siblings would give the answer away
N_CONCEPTS = 100
UNLABELLED = 6830  # pictures; asserted, so that a change of the data is noticed
CONCEPT_SEED = 2024


@dataclass(frozen=True)
class FewLabels:
    """Pictures uint8 (n, 3, 32, 32) and classes int64 (n,): the index of the concept in `names`."""

    names: tuple[str, ...]
    train: tuple[Tensor, Tensor]
    tests: dict[str, tuple[Tensor, Tensor]]


def table_of_cells(data: Emoji) -> Tensor:
    """(concepts, styles) int64: the index of the picture, -1 where there is none."""
    table = torch.full((len(data.concepts), len(STYLES)), -1)
    table[data.concept, data.style] = torch.arange(len(data))
    return table


def words(name: str) -> set[str]:
    return set(re.findall(r"\w+", name.casefold())) - {
        "a",
        "and",
        "in",
        "of",
        "on",
        "the",
        "to",
        "with",
    }


@lru_cache
def choose_concepts(part: str) -> tuple[int, ...]:
    """The 100 concepts of the task for testing (part "test") or for choosing hyperparameters (part "val"), as sorted concept indices.

    The rule, fixed before any result. Candidates are alone in their family (no look-alike by name or, within a maker, by pixels) and have a
    picture in every style that the task needs: all nine for "test", the four label styles for "val". They come from the data's test part;
    "val" takes from the val part too, and what "test" left. In random order (fixed seed) a candidate joins unless its
    name shares a word with one already chosen ("key", "old key"; one face, one button, one person), until there are 100.
    """
    data = load_emoji(32)
    table, families = table_of_cells(data), Counter(c.family for c in data.concepts)
    taken = set() if part == "test" else set(choose_concepts("test"))
    parts = torch.tensor([PARTS.index(p) for p in (("test",) if part == "test" else ("test", "val"))])
    pool = set(data.concept[torch.isin(data.part, parts)].tolist()) - taken
    columns = [STYLES.index(s) for s in (STYLES if part == "test" else LABEL_STYLES)]
    candidates = [
        k for k in sorted(pool) if families[data.concepts[k].family] == 1 and bool((table[k, columns] >= 0).all())
    ]
    random.Random(CONCEPT_SEED).shuffle(candidates)
    chosen: list[int] = []
    used: set[str] = set()
    for k in candidates:
        if not words(data.concepts[k].name) & used:
            chosen.append(k)
            used |= words(data.concepts[k].name)
        if len(chosen) == N_CONCEPTS:
            return tuple(sorted(chosen))
    raise ValueError(f"Only {len(chosen)} concepts of part {part!r} meet the rule, {N_CONCEPTS} are needed.")


def unlabelled(data: Emoji) -> Emoji:
    """The pictures that pretraining may see: neither a test or validation concept, nor a test artist, nor a held-out cell."""
    hidden = torch.tensor(choose_concepts("test") + choose_concepts("val"))
    artists = torch.tensor([STYLES.index(s) for s in TEST_ARTISTS])
    seen = data[~data.held_out & ~torch.isin(data.concept, hidden) & ~torch.isin(data.style, artists)]
    if len(seen) != UNLABELLED:
        raise ValueError(
            f"{len(seen)} unlabelled pictures, not {UNLABELLED}: the data changed, so checkpoints are void."
        )
    return seen


def few_labels(data: Emoji, part: str, seed: int) -> FewLabels:
    """The few-label task of a part: 300 labelled pictures, 100 in-distribution test pictures, and those of the test artists.

    Classes are in the order of the data (concept index). The test artists' pictures exist for part "test" only: nothing is chosen on them.
    """
    concepts = torch.tensor(choose_concepts(part))
    table = table_of_cells(data)[concepts]  # (100, styles)
    columns = torch.tensor([STYLES.index(s) for s in LABEL_STYLES])
    generator = torch.Generator().manual_seed(seed)
    left_out = torch.randperm(N_CONCEPTS, generator=generator) % len(columns)  # which maker tests the concept
    is_test = left_out[:, None] == torch.arange(len(columns))
    cells, label = (
        table[:, columns],
        torch.arange(N_CONCEPTS)[:, None].expand(-1, len(columns)),
    )
    tests = {"id": (data.images[cells[is_test]], label[is_test])}
    if part == "test":
        for artist in TEST_ARTISTS:
            tests[artist] = (
                data.images[table[:, STYLES.index(artist)]],
                torch.arange(N_CONCEPTS),
            )
    names = tuple(data.concepts[k].name for k in concepts)
    return FewLabels(names, (data.images[cells[~is_test]], label[~is_test]), tests)


def classes_18(data: Emoji, per_class: int | None, seed: int) -> FewLabels:
    """Week 01's task: 18 classes from noto's training concepts, tested on held-out cells of test concepts.

    Args:
        per_class: labelled pictures a class (all if fewer exist); None for all 610.
    """
    from lsdl.data import CLASSES

    train = data.select(styles="noto", part="train", labelled=True)
    if per_class is not None:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
        keep = [order[train.label[order] == k][:per_class] for k in range(len(CLASSES))]
        train = train[torch.cat(keep)]
    tests = {}
    for style in STYLES:
        test = data.select(styles=style, part="test", held_out=True, labelled=True)
        tests["id" if style == "noto" else style] = (test.images, test.label)
    return FewLabels(CLASSES, (train.images, train.label), tests)


def out_of_distribution(data: Emoji, artist: str = "emojione") -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """The other domain as its own data set, as CIFAR-10 is to STL-10 (no "monkey" there, no "frog" here).

    Its classes are in alphabetical order; one of the 100 concepts is missing, and one that is not among them is there instead.

    Returns:
        pictures (100, 3, 32, 32) uint8, labels (100,) int64, class names in this set's own order.
    """
    test = choose_concepts("test")
    table = table_of_cells(data)
    column = STYLES.index(artist)
    rng = random.Random(CONCEPT_SEED)
    missing = rng.choice(test)
    others = [k for k in choose_concepts("val") if table[k, column] >= 0]
    chosen = [k for k in test if k != missing] + [rng.choice(others)]
    chosen.sort(key=lambda k: data.concepts[k].name.casefold())
    pictures = data.images[table[torch.tensor(chosen), column]]
    return (
        pictures,
        torch.arange(len(chosen)),
        tuple(data.concepts[k].name for k in chosen),
    )


def near_copies(data: Emoji, threshold: float = 0.05) -> list[tuple[str, str, float]]:
    """Test pictures nearly identical to an unlabelled picture: L1 difference under `threshold` of the test picture's ink, at 16 px."""
    small = lambda x: torch.nn.functional.avg_pool2d(255 - x.float(), 2).flatten(1)  # noqa: E731
    concepts = torch.tensor(choose_concepts("test"))
    test = data[torch.isin(data.concept, concepts)]
    seen = unlabelled(data)
    a, b = small(test.images), small(seen.images)
    ink = a.sum(1).clamp(min=1)
    value, index = (torch.cdist(a, b, p=1) / ink[:, None]).min(1)

    def name(p: Emoji, k: int) -> str:
        concept: Concept = p.concepts[int(p.concept[k])]
        return f"{STYLES[int(p.style[k])]}/{concept.name}"

    hits = torch.nonzero(value < threshold)[:, 0].tolist()
    return [(name(test, k), name(seen, int(index[k])), round(float(value[k]), 3)) for k in hits]


if __name__ == "__main__":
    everything = load_emoji(32)
    for p in ("test", "val"):
        print(p, [everything.concepts[k].name for k in choose_concepts(p)])
    seen = unlabelled(everything)
    print(
        "unlabelled",
        len(seen),
        "concepts",
        len(seen.concept.unique()),
        {STYLES[s]: int((seen.style == s).sum()) for s in seen.style.unique()},
    )
    print(
        "near copies under 5 %",
        near_copies(everything),
        "under 15 %",
        near_copies(everything, 0.15),
    )
    _, _, names = out_of_distribution(everything)
    ours = few_labels(everything, "test", 0).names
    print("missing", set(ours) - set(names), "new", set(names) - set(ours))
