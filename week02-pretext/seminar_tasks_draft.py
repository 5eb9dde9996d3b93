"""The pretext tasks that the seminar writes out, until they stand there: Exemplar, damaged jigsaw, ensemble, colours by regression."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import helpers
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsdl.data.emoji import normalise
from lsdl.features import view


class Exemplar(helpers.Pretext):
    """Every picture is a class of its own: tell which of N pictures a strong view shows (Dosovitskiy et al. 2014).

    Args:
        classes: N pictures, chosen by `seed`.
    """

    def __init__(self, classes: int = 2000, pictures: int = 6830, seed: int = 0, **kwargs) -> None:
        super().__init__(**kwargs)
        order = torch.randperm(pictures, generator=torch.Generator().manual_seed(seed))
        self.register_buffer("chosen", order[:classes].sort().values)  # (N,): the picture of each class
        self.head = nn.Linear(self.dim, classes)  # one weight vector per picture

    def wanted(self, images: Tensor) -> Tensor:
        return self.chosen.cpu()

    def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        labels = torch.searchsorted(self.chosen, index)
        logits = self.head(helpers.half(self.trunk, view(images, generator)))  # (B, N)
        return F.cross_entropy(logits, labels), helpers.accuracy(logits, labels)


class DamagedJigsaw(helpers.Jigsaw):
    """A jigsaw with a piece missing, the others without colour: solve it, draw the piece, colour the others (Kim et al. 2018).

    A tile's colours are those of its cell at 3 x 3 points. Each loss counts over its own value at the first step.
    """

    def __init__(self, permutations: Tensor, cut: Callable, shuffle: Callable, **kwargs) -> None:
        super().__init__(permutations, cut, shuffle, **kwargs)
        self.draw = helpers.mlp(9 * self.dim, 27)  # from all tiles: the missing one
        self.colour = nn.Linear(self.dim, 27)  # from each tile: its own
        self.register_buffer("first", torch.full((3,), math.nan))

    def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        tiles, colours, missing, labels = self.damaged_puzzle(images, generator)
        h = self.features(tiles)  # (B, 9, d)
        logits, drawn, coloured = self.head(h.flatten(1)), self.draw(h.flatten(1)), self.colour(h)
        rows = torch.arange(len(h))
        there = torch.ones(len(h), 9, dtype=torch.bool)
        there[rows, missing] = False
        losses = torch.stack(
            [
                F.cross_entropy(logits, labels),
                F.mse_loss(drawn, colours[rows, missing]),
                F.mse_loss(coloured[there], colours[there]),
            ]
        )
        self.first = torch.where(self.first.isnan(), losses.detach(), self.first)
        return (losses / self.first).mean(), helpers.accuracy(logits, labels)

    def damaged_puzzle(self, images: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Grey tiles in their slots (B, 9, 3, tile, tile), one of them 0; colours (B, 9, 27) in [0, 1]; missing slot, label (B,)."""
        x = helpers.augment(images, generator)
        x = helpers.zoom_in(x, generator) if self.zoom else x
        offsets = torch.randint(self.cell - self.tile + 1, (len(x), 9, 2), generator=generator)
        labels = torch.randint(len(self.permutations), (len(x),), generator=generator)
        missing = torch.randint(9, (len(x),), generator=generator)
        side = 3 * self.cell
        points = F.avg_pool2d(x[..., :side, :side], self.cell // 3)  # (B, 3, 9, 9): 3 x 3 points per cell
        colours = points.unfold(2, 3, 3).unfold(3, 3, 3).permute(0, 2, 3, 1, 4, 5).reshape(len(x), 9, 27)
        tiles = self.cut(helpers.grey(x), offsets, self.cell, self.tile)
        tiles, colours = (self.shuffle(t, self.permutations, labels) for t in (tiles, colours))
        tiles[torch.arange(len(x)), missing] = 0
        return tiles, colours, missing, labels


class Ensemble(helpers.Pretext):
    """Several tasks on one trunk, each with a pass and BatchNorm statistics of its own (Doersch and Zisserman 2017).

    Args:
        tasks: with a common trunk; every one gets an equal share of the budget.
        harmonise: every task sees lightness three times, as colorization must.
    """

    def __init__(self, tasks: Sequence[helpers.Pretext], harmonise: bool = True) -> None:
        super().__init__(tasks[0].trunk, size=max(task.size for task in tasks))
        self.tasks, self.harmonise = nn.ModuleList(tasks), harmonise
        for task in tasks:  # the trunk belongs to the ensemble, so that it is saved and counted once
            del task.trunk
            object.__setattr__(task, "trunk", self.trunk)
        self.cost = float(len(tasks))
        self.register_buffer("first", torch.full((len(tasks),), math.nan))

    def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        losses = []
        for task in self.tasks:
            n = math.ceil(len(images) / task.cost)  # rotation takes a quarter of the pictures, four times each
            x, i = images[:n], index[:n]
            x = F.adaptive_avg_pool2d(x.float(), task.size).round().byte() if x.shape[-1] != task.size else x
            if isinstance(task, helpers.Colorization):
                kept = task.wanted(x)
                x, i = x[kept], i[kept]
            elif self.harmonise:
                x = helpers.grey(x)
            losses.append(task.loss(x, i, generator)[0])
        losses = torch.stack(losses)
        self.first = torch.where(self.first.isnan(), losses.detach(), self.first)  # each counts over its value at first
        return (losses / self.first).mean(), losses.new_tensor(math.nan)

    @torch.no_grad()
    def finish(self, images: Tensor) -> None:
        """BatchNorm's statistics of whole pictures in place of a mixture over the tasks' views."""
        norms = [m for m in self.trunk.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over batches
        self.trunk.train()
        for x in images[: 10 * 256].split(256):
            x = F.adaptive_avg_pool2d(x.float(), 32).round().byte()
            self.trunk(normalise(helpers.grey(x) if self.harmonise else x))


class Regression(helpers.Colorization):
    """Colorization by regression: mean squared error of (a, b) in place of a distribution; the decoder's first two channels are a and b over 100."""

    def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        lab = self.to_lab(helpers.augment(images, generator, colour=False))
        predicted = self(lab[:, :1])[:, :2]
        ab = F.adaptive_avg_pool2d(lab[:, 1:], predicted.shape[-2:])
        return F.mse_loss(predicted, ab / 100), predicted.new_tensor(math.nan)
