"""Week 02: pretext tasks as modules around given functions: pictures without labels -> loss and pretext accuracy; no solutions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lsdl.data.augment import GREY, random_affine, random_colour, random_resized_crop
from lsdl.data.emoji import normalise
from lsdl.features import feature_dim, make_backbone
from lsdl.torch_tools import training_autocast

# Pictures


def augment(images: Tensor, generator: torch.Generator, *, colour: bool = True) -> Tensor:
    """The view that all tasks share: (B, 3, S, S) uint8 -> float in [0, 1], turned, scaled, shifted, mirrored, its colours changed at random."""
    x = random_affine(images.float() / 255, degrees=10, scale=(0.8, 1.1), translate=0.1, generator=generator)
    return random_colour(x, strength=0.4, grey=0.1, generator=generator) if colour else x


def zoom_in(images: Tensor, generator: torch.Generator) -> Tensor:
    """A random 25 to 45 % of each picture's area, enlarged: most of the white margin is gone, and with it what tells a tile's place."""
    return random_resized_crop(images, area=(0.25, 0.45), flip=0.0, generator=generator)


def grey(images: Tensor) -> Tensor:
    """Pictures (B, 3, S, S), uint8 or float, with their lightness in all three channels."""
    x = (
        (images.float() * torch.tensor(GREY, device=images.device)[:, None, None])
        .sum(1, keepdim=True)
        .expand_as(images)
    )
    return x.round().to(torch.uint8) if images.dtype == torch.uint8 else x


def standardise(tiles: Tensor) -> Tensor:
    """Tiles (..., C, h, w) float: per tile and channel minus the mean, over the standard deviation, at least 0.02."""
    std, mean = torch.std_mean(tiles, dim=(-2, -1), correction=0, keepdim=True)
    return (tiles - mean) / std.clamp(min=0.02)


# Tasks


def make_trunk(width: int = 16, scale: str = "smoke") -> nn.Module:
    """A fresh trunk: normalised pictures (B, 3, S, S) -> features (B, 8 width); full scale: torchvision's ResNet-18 without its classifier."""
    return make_backbone(scale, width)


def relative_cost(trunk: nn.Module, side: int, whole: int = 32) -> float:
    """Multiply-adds of the trunk on a picture of `side` pixels, over those on one of `whole`: 0.557 for 18 px at smoke. Counted, padding included."""
    counts = []
    for s in (side, whole):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            trunk.eval()(torch.zeros(1, 3, s, s, device=next(trunk.parameters()).device))
        counts.append(counter.get_total_flops())
    trunk.train()
    return counts[0] / counts[1]


def half(module: nn.Module, x: Tensor) -> Tensor:
    """module(x) in the number format of training (bfloat16 where it is fast), the result in float32."""
    with training_autocast(x.device):
        return module(x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x).float()


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    """Share of right predictions, a scalar."""
    return (logits.detach().argmax(1) == labels).float().mean()


class Pretext(nn.Module):
    """What `pretrain` trains: a trunk, heads, and a loss on pictures without labels.

    Attributes:
        trunk: what is evaluated and kept.
        size: side length of the pictures that the task wants.
        cost: picture-equivalents per picture, multiply-adds of the trunk over those for one whole picture.
    """

    cost: float = 1.0

    def __init__(self, trunk: nn.Module | None = None, size: int = 32) -> None:
        super().__init__()
        self.trunk, self.size = trunk or make_trunk(), size
        self.dim = feature_dim(self.trunk)

    def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Loss of pictures (B, 3, S, S) uint8, whose places in the data are index (B,), and their pretext accuracy, nan where there is none."""
        raise NotImplementedError

    def wanted(self, images: Tensor) -> Tensor:
        """Indices (m,) of the pictures that the task trains on; all of them unless a task says otherwise."""
        return torch.arange(len(images))

    def finish(self, images: Tensor) -> None:
        """Called once after the last step."""


def mlp(dim_in: int, dim_out: int, hidden: int = 256) -> nn.Sequential:
    """The head of tasks that compare tiles."""
    return nn.Sequential(nn.Linear(dim_in, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, dim_out))


class Rotation(Pretext):
    """Tell by which multiple of 90 degrees a picture was turned.

    Args:
        make_batch: (B, C, S, S) -> turned copies (cost * B, C, S, S) and their labels.
    """

    def __init__(self, make_batch: Callable[[Tensor], tuple[Tensor, Tensor]], cost: float = 4.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.make_batch, self.cost, self.head = make_batch, cost, nn.Linear(self.dim, 4)

    def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        turned, labels = self.make_batch(normalise(augment(images, generator)))
        logits = self.head(half(self.trunk, turned))
        return F.cross_entropy(logits, labels), accuracy(logits, labels)


class Context(Pretext):
    """Tell at which of eight places around the first tile the second lies.

    Args:
        draws: (count, size, tile, gap, jitter, generator) -> corners, places, jitters.
        pairs: (images, corners, places, jitters, tile, gap) -> first, second (B, C, tile, tile).
        zoom: zoom in before tiles are cut.
        blind: the control: the network sees only the second tile.
    """

    def __init__(self, draws: Callable, pairs: Callable, tile: int = 18, gap: int = 4, jitter: int = 2, zoom: bool = True,
                 blind: bool = False, *, whole: int = 32, size: int = 64, **kwargs) -> None:  # fmt: skip
        super().__init__(size=size, **kwargs)
        self.draws, self.pairs, self.cut = draws, pairs, dict(tile=tile, gap=gap)
        self.jitter, self.zoom, self.blind = jitter, zoom, blind
        self.cost, self.head = 2 * relative_cost(self.trunk, tile, whole), mlp(2 * self.dim, 8)

    def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = augment(images, generator)
        x = zoom_in(x, generator) if self.zoom else x
        corners, places, jitters = self.draws(len(x), x.shape[-1], **self.cut, jitter=self.jitter, generator=generator)
        tiles = torch.cat(self.pairs(x, corners, places, jitters, **self.cut))
        first, second = half(self.trunk, standardise(tiles)).chunk(2)
        logits, places = self.head(torch.cat([first * (not self.blind), second], 1)), places.to(x.device)
        return F.cross_entropy(logits, places), accuracy(logits, places)


class Jigsaw(Pretext):
    """Tell which of P permutations shuffled the nine tiles of a picture.

    Args:
        permutations: (P, 9) int64.
        cut: (images, offsets (B, 9, 2), cell, tile) -> standardised tiles (B, 9, C, tile, tile).
        shuffle: (tiles, permutations, labels (B,)) -> tiles in their slots.
        zoom: zoom in before tiles are cut.
    """

    def __init__(self, permutations: Tensor, cut: Callable, shuffle: Callable, cell: int = 21, tile: int = 18, zoom: bool = True,
                 *, whole: int = 32, size: int = 64, **kwargs) -> None:  # fmt: skip
        super().__init__(size=size, **kwargs)
        self.register_buffer("permutations", permutations)
        self.cut, self.shuffle, self.cell, self.tile, self.zoom = cut, shuffle, cell, tile, zoom
        self.cost = 9 * relative_cost(self.trunk, tile, whole)
        self.head = mlp(9 * self.dim, len(permutations))

    def puzzle(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, S, S) uint8 -> shuffled tiles (B, 9, 3, tile, tile), labels (B,)."""
        x = augment(images, generator)
        x = zoom_in(x, generator) if self.zoom else x
        offsets = torch.randint(self.cell - self.tile + 1, (len(x), 9, 2), generator=generator)
        labels = torch.randint(len(self.permutations), (len(x),), generator=generator).to(x.device)
        return self.shuffle(self.cut(x, offsets.to(x.device), self.cell, self.tile), self.permutations, labels), labels

    def features(self, tiles: Tensor) -> Tensor:
        """Tiles (B, 9, 3, tile, tile) -> features (B, 9, d): the same trunk for every tile, which knows no neighbour."""
        return half(self.trunk, tiles.flatten(0, 1)).view(len(tiles), 9, -1)

    def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        tiles, labels = self.puzzle(images, generator)
        logits = self.head(self.features(tiles).flatten(1))
        return F.cross_entropy(logits, labels), accuracy(logits, labels)


def stage_maps(trunk: nn.Module, x: Tensor) -> list[Tensor]:
    """The maps after the four stages of a ResNet; at 32 px and width 16: 16 x 16 x 16, 32 x 8 x 8, 64 x 4 x 4, 128 x 2 x 2."""
    x, maps = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(x)))), []
    for stage in (trunk.layer1, trunk.layer2, trunk.layer3, trunk.layer4):
        x = stage(x)
        maps.append(x)
    return maps


class Decoder(nn.Module):
    """Pictures -> (B, out, s, s) from nothing but the trunk's last map, whose side it doubles `doublings` times."""

    def __init__(self, dim: int, out: int, doublings: int) -> None:
        super().__init__()
        parts: list[nn.Module] = []
        for _ in range(doublings):
            less = max(dim // 2, 16)
            parts += [nn.Upsample(scale_factor=2), nn.Conv2d(dim, less, 3, padding=1, bias=False)]
            parts += [nn.BatchNorm2d(less), nn.ReLU()]
            dim = less
        self.layers = nn.Sequential(*parts, nn.Conv2d(dim, out, 1))

    def forward(self, trunk: nn.Module, x: Tensor) -> Tensor:
        with training_autocast(x.device):
            return self.layers(stage_maps(trunk, x.contiguous(memory_format=torch.channels_last))[-1]).float()


class Colorization(Pretext):
    """Predict the colour, one of Q bins of (a, b), of each pixel from lightness alone, at a fraction of the resolution.

    Colours stay as they are, since they are the target; pictures without colour are left out.

    Args:
        to_lab: sRGB (B, 3, H, W) in [0, 1] -> L*a*b*.
        soft_targets: (ab (N, 2), centres (Q, 2)) -> (N, Q).
        loss: (logits (N, Q), targets (N, Q), p (Q,)) -> scalar.
        centres, p: (Q, 2) and (Q,), by `colour_bins`.
    """

    def __init__(self, to_lab: Callable, soft_targets: Callable, loss: Callable, centres: Tensor, p: Tensor, *,
                 doublings: int = 3, **kwargs) -> None:  # fmt: skip
        super().__init__(**kwargs)
        self.to_lab, self.soft_targets, self.pixel_loss = to_lab, soft_targets, loss
        self.register_buffer("centres", centres)
        self.register_buffer("p", p)
        self.decoder = Decoder(self.dim, len(centres), doublings)

    def wanted(self, images: Tensor) -> Tensor:
        # every other row and column is enough to see colour
        shown = (x[..., ::2, ::2].float() / 255 for x in images.split(500))
        return torch.cat([is_coloured(self.to_lab(x)) for x in shown]).nonzero()[:, 0]

    def forward(self, lightness: Tensor) -> Tensor:
        """Lightness (B, 1, S, S) in [0, 100] -> logits (B, Q, s, s)."""
        return self.decoder(self.trunk, normalise(lightness.expand(-1, 3, -1, -1) / 100))

    def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        lab = self.to_lab(augment(images, generator, colour=False))
        logits = self(lab[:, :1])
        ab = F.adaptive_avg_pool2d(lab[:, 1:], logits.shape[-2:]).permute(0, 2, 3, 1).flatten(0, 2)  # (N, 2)
        logits, targets = logits.permute(0, 2, 3, 1).flatten(0, 2), self.soft_targets(ab, self.centres)  # (N, Q) each
        coloured = ab.abs().amax(1) > 5
        return self.pixel_loss(logits, targets, self.p), accuracy(logits[coloured], targets[coloured].argmax(1))


def is_coloured(lab: Tensor) -> Tensor:
    """(B, 3, H, W) -> (B,) bool: some |a| or |b| is over 5 (Zhang et al. 2016, code)."""
    return lab[:, 1:].abs().amax((1, 2, 3)) > 5


def colour_bins(
    images: Tensor, to_lab: Callable[[Tensor], Tensor], side: float = 10, rarest: float = 1e-4
) -> tuple[Tensor, Tensor]:
    """Centres (Q, 2) of the squares of the (a, b) plane with a share of the pixels of at least `rarest`, and their shares p (Q,), sum 1."""
    codes = (images.long() * torch.tensor([65536, 256, 1])[:, None, None]).sum(1)  # one number per colour
    colours, pixels = codes.unique(return_counts=True)
    rgb = torch.stack([colours // 65536, colours // 256 % 256, colours % 256])[None, :, :, None] / 255  # (1, 3, n, 1)
    ab = to_lab(rgb)[0, 1:, :, 0].T
    bins, which = (ab / side).round().long().unique(dim=0, return_inverse=True)
    count = torch.zeros(len(bins), dtype=torch.long).index_add_(0, which, pixels)
    kept = count >= rarest * count.sum()
    return bins[kept] * float(side), count[kept] / count[kept].sum()


class Inpainting(Pretext):
    """Draw what lies in a hole filled with the mean colour.

    Args:
        loss: (prediction, images (B, 3, S, S), hole (B, 1, S, S) bool) -> scalar.
        holes: (count, size, generator) -> hole.
    """

    def __init__(self, loss: Callable, holes: Callable | None = None, *, doublings: int = 4, **kwargs) -> None:
        super().__init__(**kwargs)
        self.pixel_loss, self.holes = loss, holes or square_holes
        self.decoder = Decoder(self.dim, 3, doublings)

    def forward(self, x: Tensor, hole: Tensor) -> Tensor:
        """Normalised pictures (B, 3, S, S) -> predicted pictures; `normalise` makes the mean colour 0."""
        return self.decoder(self.trunk, x.masked_fill(hole, 0.0))

    def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        x = normalise(augment(images, generator))
        hole = self.holes(len(x), x.shape[-1], generator).to(x.device)
        return self.pixel_loss(self(x, hole), x, hole), x.new_tensor(math.nan)


def square_holes(count: int, size: int, generator: torch.Generator) -> Tensor:
    """One square of half the side somewhere in each picture: (count, 1, size, size) bool."""
    start, place = torch.randint(size - size // 2 + 1, (2, count, 1), generator=generator), torch.arange(size)
    rows, columns = ((place >= s) & (place < s + size // 2) for s in start)  # (count, size) each
    return (rows[:, :, None] & columns[:, None, :])[:, None]
