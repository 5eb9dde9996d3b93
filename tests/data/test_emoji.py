"""The embedded pictures: files, loader, and what the splits promise."""

from __future__ import annotations

import hashlib
import json
import time
from collections import defaultdict

import numpy as np
import pytest
import torch
from PIL import Image

from lsdl.data.emoji import CLASSES, FOLDER, MAKERS, PARTS, STYLES, Emoji, load_emoji

SAME = 0.05  # mean absolute difference at 32 px as a share of the two pictures' ink: under it they are one drawing


@pytest.fixture(scope="module")
def emoji() -> Emoji:
    return load_emoji(32)


@pytest.fixture(scope="module")
def document() -> dict:
    return json.loads((FOLDER / "emoji.json").read_text(encoding="utf-8"))


def test_files_are_those_of_the_index(document: dict) -> None:
    assert set(document["atlases"]) == {f"{style}.webp" for style in STYLES} == {p.name for p in FOLDER.glob("*.webp")}
    for name, digest in document["atlases"].items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, f"{name} was changed"
    assert sum(p.stat().st_size for p in FOLDER.iterdir()) <= 13 * 2**20


@pytest.mark.parametrize("size", [64, 32, 16])
def test_shapes_and_types(size: int) -> None:
    load_emoji.cache_clear()
    start = time.process_time()
    data = load_emoji(size)
    assert time.process_time() - start < 10  # 2 s on an idle machine
    n = len(data)
    assert data.images.shape == (n, 3, size, size) and data.images.dtype == torch.uint8
    for name in ("style", "concept", "label", "part"):
        value = getattr(data, name)
        assert value.shape == (n,) and value.dtype == torch.int64
    assert data.held_out.shape == (n,) and data.held_out.dtype == torch.bool
    assert load_emoji(size) is data
    assert set(data.style.tolist()) == set(range(len(STYLES)))
    assert set(data.part.tolist()) == set(range(len(PARTS)))
    assert set(data.label.tolist()) == set(range(-1, len(CLASSES)))


def test_a_cell_is_the_tile_of_its_atlas(emoji: Emoji, document: dict) -> None:
    """Counted from the atlas itself, with pillow's own area average; every 97th picture."""
    start = 0
    for s, style in enumerate(STYLES):
        cells = document["cells"][style]
        with Image.open(FOLDER / f"{style}.webp") as file:
            atlas = file.convert("RGB")
        columns = atlas.width // 64
        for k in range(0, len(cells), 97):
            x, y = 64 * (k % columns), 64 * (k // columns)
            tile = atlas.crop((x, y, x + 64, y + 64)).resize((32, 32), Image.Resampling.BOX)
            expected = torch.from_numpy(np.asarray(tile).copy()).permute(2, 0, 1).int()
            assert (emoji.images[start + k].int() - expected).abs().max() <= 1
            assert emoji.style[start + k] == s and emoji.concept[start + k] == cells[k]
        start += len(cells)
    assert start == len(emoji)


def test_sizes_agree(emoji: Emoji) -> None:
    big, small = load_emoji(64), load_emoji(16)
    averaged = torch.nn.functional.avg_pool2d(big.images[::50].float(), 4)
    assert (averaged - small.images[::50].float()).abs().max() <= 0.5
    for name in ("style", "concept", "label", "held_out", "part"):
        assert torch.equal(getattr(big, name), getattr(small, name))


def test_labels_and_makers(emoji: Emoji) -> None:
    assert torch.equal(emoji.label, torch.tensor([c.label for c in emoji.concepts])[emoji.concept])
    assert len({c.name for c in emoji.concepts}) == len(emoji.concepts)
    assert set(MAKERS) == set(STYLES) and len(set(MAKERS.values())) == 5
    pairs = emoji.style * len(emoji.concepts) + emoji.concept
    assert len(pairs.unique()) == len(emoji), "a cell is there twice"


def test_concepts_one_knows(emoji: Emoji) -> None:
    label = {c.name: c.label for c in emoji.concepts}
    known = {"dog": "animal", "grinning face": "face", "hammer": "tool", "hot beverage": "drink", "pizza": "dish"}
    known |= {"bicycle": "vehicle", "violin": "music", "church": "building", "thumbs up": "hand", "banana": "produce"}
    assert {name: CLASSES[label[name]] for name in known} == known


def test_no_family_is_split(emoji: Emoji) -> None:
    """Not over parts, and not over held-out makers: a sibling by the same maker must not give a drawing away."""
    parts, held_out = defaultdict(set), defaultdict(set)
    for style, concept, part, held in zip(emoji.style, emoji.concept, emoji.part, emoji.held_out, strict=True):
        family = emoji.concepts[concept].family
        parts[family].add(int(part))
        held_out[family, MAKERS[STYLES[style]]].add(bool(held))
    assert all(len(v) == 1 for v in parts.values())
    assert all(len(v) == 1 for v in held_out.values())


def test_what_is_held_out(emoji: Emoji) -> None:
    train = emoji.part == PARTS.index("train")
    assert not emoji.held_out[train].any()
    in_distribution = torch.tensor([MAKERS[s] == "noto" for s in STYLES])[emoji.style]
    assert emoji.held_out[in_distribution & ~train].all()
    makers = defaultdict(set)
    for style, concept in zip(emoji.style[emoji.held_out], emoji.concept[emoji.held_out], strict=True):
        makers[int(concept)].add(MAKERS[STYLES[style]])
    assert max(len(v) for v in makers.values()) == 3
    visible = set(emoji.concept[~emoji.held_out].tolist())
    assert visible == set(range(len(emoji.concepts))), "a concept is visible nowhere"
    for style in STYLES:
        assert len(emoji.select(styles=[style], part="test", held_out=True, labelled=True)) >= 100


def test_shares_and_strata(emoji: Emoji) -> None:
    part = torch.zeros(len(emoji.concepts), dtype=torch.int64)
    part[emoji.concept] = emoji.part
    share = torch.bincount(part, minlength=3) / len(part)
    assert abs(share[PARTS.index("test")] - 0.30) < 0.03 and abs(share[PARTS.index("val")] - 0.10) < 0.03
    labels = torch.tensor([c.label for c in emoji.concepts])
    for name in CLASSES:
        counts = torch.bincount(part[labels == CLASSES.index(name)], minlength=3)
        # large look-alike families stay in train, so a class can have little left for the others (README.md: sky, music)
        assert counts.min() >= 1 and counts[PARTS.index("test")] >= 5, f"{name} has too little in a part"


def test_no_visible_picture_is_a_held_out_one(emoji: Emoji) -> None:
    """Over all styles and concepts. Block means bound the difference from below, so the quick filter misses no pair."""
    ink = 1 - emoji.images.numpy().astype(np.float32) / 255
    n = len(ink)
    coarse = ink.reshape(n, 3, 4, 8, 4, 8).mean((3, 5)).reshape(n, -1)
    total = coarse.mean(1)
    held = emoji.held_out.numpy()
    visible = np.flatnonzero(~held)
    visible = visible[np.argsort(total[visible])]
    pairs = []
    for i in np.flatnonzero(held):
        # means differ by at most the difference itself, which is under SAME * their average
        ratio = (1 + SAME / 2) / (1 - SAME / 2)
        low, high = np.searchsorted(total[visible], (total[i] / ratio - 1e-6, total[i] * ratio + 1e-6))
        near = visible[low:high]
        near = near[np.abs(coarse[near] - coarse[i]).mean(1) <= SAME * (total[near] + total[i]) / 2 + 1e-6]
        difference = np.abs(ink[near] - ink[i]).mean((1, 2, 3)) / ((total[near] + total[i]) / 2)
        pairs += [(i, j) for j, d in zip(near, difference, strict=True) if d < SAME]

    def say(k: int) -> str:
        return f"{STYLES[emoji.style[k]]} {emoji.concepts[emoji.concept[k]].name!r}"

    assert not pairs, "held out, yet visible: " + "; ".join(f"{say(i)} = {say(j)}" for i, j in pairs[:10])


def test_select(emoji: Emoji) -> None:
    chosen = emoji.select(styles=["twemoji", "noto"], part="test", held_out=True, labelled=True)
    mask = torch.isin(emoji.style, torch.tensor([STYLES.index("noto"), STYLES.index("twemoji")]))
    mask &= (emoji.part == PARTS.index("test")) & emoji.held_out & (emoji.label >= 0)
    assert 0 < len(chosen) == mask.sum()
    for name in ("images", "style", "concept", "label", "held_out", "part"):
        assert torch.equal(getattr(chosen, name), getattr(emoji, name)[mask])
    assert chosen.concepts is emoji.concepts
    assert len(emoji.select()) == len(emoji)
    assert len(emoji.select(styles=[])) == 0
    assert len(emoji.select(held_out=True)) + len(emoji.select(held_out=False)) == len(emoji)
    assert sum(len(emoji.select(part=p)) for p in PARTS) == len(emoji)


def test_errors(emoji: Emoji) -> None:
    with pytest.raises(ValueError, match="size must be 64, 32 or 16, not 48"):
        load_emoji(48)
    with pytest.raises(ValueError, match="Unknown style"):
        emoji.select(styles=["apple"])
    with pytest.raises(ValueError, match="Unknown part 'dev'; the parts are train, val, test"):
        emoji.select(part="dev")
