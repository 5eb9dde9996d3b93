"""Emoji artwork by independent artists: a miniature DomainNet in which style = domain (see lsdl/data/README.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

FOLDER = Path(__file__).parent / "emoji"
SIZE = 64
IMAGE_MEAN = (0.82, 0.80, 0.76)  # of the pictures that pretraining may see, at 32 px
IMAGE_STD = (0.29, 0.29, 0.33)
ATLAS_COLUMNS = 32
MAKERS = {  # style -> who drew it: styles by one maker may be one drawing in several colours
    "noto": "noto",
    "noto-v1": "noto",
    "twemoji": "twemoji",
    "emojione": "emojione",
    "openmoji": "openmoji",
    "fluent-flat": "fluent",
    "fluent-3d": "fluent",
    "openmoji-black": "openmoji",
    "fluent-high-contrast": "fluent",
}
STYLES = tuple(MAKERS)
CLASSES = (
    "sign",
    "animal",
    "face",
    "person",
    "dish",
    "tool",
    "paper",
    "vehicle",
    "clothing",
    "hand",
    "sky",
    "produce",
    "device",
    "building",
    "sport",
    "music",
    "plant",
    "drink",
)
PARTS = ("train", "val", "test")


@dataclass(frozen=True)
class Concept:
    """One emoji, whoever drew it. `label` indexes CLASSES, -1 for none; look-alike concepts share a `family`."""

    name: str
    tags: tuple[str, ...]
    group: str
    subgroup: str
    family: str
    label: int


@dataclass(frozen=True)
class Emoji:
    """Pictures with their labels; the first dimension of every tensor is the picture.

    Attributes:
        images: (n, 3, size, size) uint8, white ground.
        style: (n,) int64, index into STYLES.
        concept: (n,) int64, index into `concepts`.
        label: (n,) int64, index into CLASSES; -1 where the concept has no class.
        held_out: (n,) bool, True where the cell (style, concept) is held out of every pretraining.
        part: (n,) int64, index into PARTS: the part of the picture's concept.
        concepts: all concepts, also after `select`.
    """

    images: Tensor
    style: Tensor
    concept: Tensor
    label: Tensor
    held_out: Tensor
    part: Tensor
    concepts: tuple[Concept, ...]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Tensor) -> Emoji:
        """The pictures of a boolean mask or an index tensor."""
        names = ("images", "style", "concept", "label", "held_out", "part")
        return replace(self, **{name: getattr(self, name)[index] for name in names})

    def select(
        self,
        *,
        styles: Sequence[str] | str | None = None,
        part: str | None = None,
        held_out: bool | None = None,
        labelled: bool = False,
    ) -> Emoji:
        """The pictures that meet every given condition, in the original order.

        Args:
            styles: names out of STYLES.
            part: "train", "val" or "test": the part of the picture's concept.
            held_out: whether the cell (style, concept) is held out of pretraining.
            labelled: leave out pictures whose concept has no class.

        Raises:
            ValueError: a name that is not in STYLES or PARTS.
        """
        keep = torch.ones(len(self), dtype=torch.bool)
        if styles is not None:
            chosen = (styles,) if isinstance(styles, str) else tuple(styles)
            if unknown := set(chosen) - set(STYLES):
                raise ValueError(f"Unknown style {sorted(unknown)}; the styles are {', '.join(STYLES)}.")
            keep &= torch.isin(self.style, torch.tensor([STYLES.index(s) for s in chosen]))
        if part is not None:
            if part not in PARTS:
                raise ValueError(f"Unknown part {part!r}; the parts are {', '.join(PARTS)}.")
            keep &= self.part == PARTS.index(part)
        if held_out is not None:
            keep &= self.held_out == held_out
        if labelled:
            keep &= self.label >= 0
        return self[keep]


@lru_cache(maxsize=3)
def load_emoji(size: int = 32) -> Emoji:
    """Load all pictures.

    Args:
        size: side length in pixels: 64 (as stored), 32 or 16 (area averages).

    Raises:
        ValueError: another size.
    """
    if size not in (64, 32, 16):
        raise ValueError(f"size must be 64, 32 or 16, not {size}.")
    document = json.loads((FOLDER / "emoji.json").read_text(encoding="utf-8"))
    fields = ("name", "group", "subgroup", "family", "label")
    concepts = tuple(Concept(tags=tuple(c["tags"]), **{name: c[name] for name in fields}) for c in document["concepts"])
    images, style, concept = [], [], []
    for k, name in enumerate(STYLES):
        cells = document["cells"][name]
        with Image.open(FOLDER / f"{name}.webp") as file:
            atlas = np.asarray(file.convert("RGB"))
        tiles = atlas.reshape(atlas.shape[0] // SIZE, SIZE, ATLAS_COLUMNS, SIZE, 3).transpose(0, 2, 4, 1, 3)
        tiles = torch.from_numpy(tiles.reshape(-1, 3, SIZE, SIZE)[: len(cells)].copy())
        if size != SIZE:
            tiles = F.avg_pool2d(tiles.float(), SIZE // size).round().to(torch.uint8)
        images.append(tiles)
        style += [k] * len(cells)
        concept += cells
    hidden = [set(c["held_out_makers"]) for c in document["concepts"]]
    held_out = torch.tensor([MAKERS[STYLES[s]] in hidden[c] for s, c in zip(style, concept, strict=True)])
    index = torch.tensor(concept)
    return Emoji(
        images=torch.cat(images),
        style=torch.tensor(style),
        concept=index,
        label=torch.tensor([c.label for c in concepts])[index],
        held_out=held_out,
        part=torch.tensor([PARTS.index(c["part"]) for c in document["concepts"]])[index],
        concepts=concepts,
    )


def normalise(images: Tensor) -> Tensor:
    """Standardise pictures for the small models' image tower.

    Args:
        images: (batch, 3, 32, 32), uint8 in [0, 255] or float in [0, 1].

    Returns:
        (batch, 3, 32, 32) float32, per channel (x - IMAGE_MEAN) / IMAGE_STD.
    """
    if images.dtype == torch.uint8:
        images = images.float() / 255
    mean = torch.tensor(IMAGE_MEAN, device=images.device).view(1, 3, 1, 1)
    std = torch.tensor(IMAGE_STD, device=images.device).view(1, 3, 1, 1)
    return (images - mean) / std
