"""The inputs of every check of week 05, and why each tolerance is what it is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from lsdl.checks import Case

FEW = "a formula over at most a few hundred float32 numbers"
EXACT = "numbers are moved or counted, not computed"
FLAT = "the mean of a nearly flat patch is right to 1e-7, which the division by 1e-3 makes 1e-4"
STEPS = "three steps on 38 numbers in float32"
SCALED = "logits of 75,000 in float32"
HISTOGRAM = "levels are multiples of 1/256, so no angle is near the border of a bin but 0; lengths and norms in float32"
HALF = "the inputs are in half precision, the sums in float32"


def integer(low: int, high: int, g: Generator) -> int:
    """From low to high - 1."""
    return int(torch.randint(low, high, (), generator=g))


def normal(*shape: int, g: Generator) -> Tensor:
    return torch.randn(shape, generator=g)


def levels(*shape: int, g: Generator) -> Tensor:
    """Pixels in 256ths: differences are exact."""
    return torch.randint(0, 257, shape, generator=g) / 256


# Task 1


def scaled_patches(g: Generator) -> tuple:
    """Patches of three channels whose means and spreads differ."""
    return (normal(2, 4, 12, g=g) * (0.2 + normal(2, 4, 1, g=g).abs()) + normal(12, g=g),)


def flat_patches(g: Generator) -> tuple:
    """Patches of 2 x 2 pixels: flat ones, one grey level in one pixel, a flat colour, and two ordinary ones."""
    patches = levels(2, 5, 12, g=g)
    patches[:, 0], patches[:, 1], patches[:, 2] = 1.0, 0.75, 0.75
    patches[:, 1, integer(0, 12, g)] -= 1 / 256
    patches[:, 3] = torch.tensor([1.0, 0.5, 0.25]).repeat(4)
    return (patches,)


def any_patches(g: Generator) -> tuple:
    return (torch.cat([scaled_patches(g)[0], flat_patches(g)[0]], 1),)


# Task 2


def noisy(g: Generator, count: int, ratio: float, steps: int | None = None) -> tuple:
    """Tokens of three pictures, noise and ratio; steps: the noise has so many values, else all differ."""
    x = normal(3, count, 4, g=g)
    if steps is None:
        return x, torch.stack([torch.randperm(count, generator=g) for _ in range(3)]) / count, ratio
    return x, torch.randint(steps, (3, count), generator=g) / steps, ratio


def shuffled(g: Generator, count: int, kept: int) -> tuple:
    """Class token and kept tokens, the places of all, mask token and positions."""
    restore = torch.stack([torch.randperm(count, generator=g) for _ in range(3)])
    return normal(3, 1 + kept, 4, g=g), restore, normal(4, g=g), normal(1 + count, 4, g=g)


# Task 3


def masked(g: Generator, hidden: tuple[int, ...], count: int = 6, dim: int = 4) -> tuple:
    """Predictions, targets, and a mask that hides so many patches of each picture."""
    mask = torch.zeros(len(hidden), count)
    for row, many in zip(mask, hidden, strict=True):
        row[torch.randperm(count, generator=g)[:many]] = 1
    return normal(len(hidden), count, dim, g=g), normal(len(hidden), count, dim, g=g), mask


def ragged(g: Generator) -> tuple:
    return masked(g, (1, integer(2, 4, g), 5, 0))


# Task 4


def outputs(g: Generator, local: int, *temperatures: float, half: bool = False) -> tuple:
    """The student's and the teacher's outputs, centre, temperatures; half: numbers up to 3,000 in half precision."""
    batch, codes = 4, 6
    spread, dtype = (700.0, torch.float16) if half else (0.3, torch.float32)
    made = [(spread * normal(batch, codes, g=g)).clamp(-3000, 3000).to(dtype) for _ in range(4 + local)]
    return made[: 2 + local], made[2 + local :], 0.3 * spread * normal(codes, g=g), *temperatures


def teacher_outputs(g: Generator, momentum: float) -> tuple:
    return normal(5, g=g), 2 + 3 * normal(3, 2, 4, 5, g=g), momentum


def tiny_state(g: Generator) -> dict[str, Tensor]:
    shapes = {"body.weight": (5, 4), "body.bias": (5,), "last.weight": (3, 5)}
    return {name: normal(*shape, g=g) for name, shape in shapes.items()} | {"scale": 1 + torch.rand(1, generator=g)}


def steps(g: Generator, local: int, momenta: tuple[float, ...]) -> tuple:
    """Two networks that differ, three batches of views, a centre, and the teacher's momenta."""
    sizes = [8, 8] + [4] * local
    batches = [[2 * normal(6, 1, s, s, g=g) for s in sizes] for _ in momenta]
    return [tiny_state(g), tiny_state(g)], batches, normal(3, g=g), momenta


# Task 5


def seeded(g: Generator, size: tuple[int, ...], count: int = 10) -> tuple:
    return size, torch.randint(0, 10**6, (count,), generator=g).tolist()


def wide(g: Generator) -> tuple:
    return seeded(g, (integer(5, 7, g), integer(9, 12, g), integer(20, 26, g), 3))


def tight(g: Generator) -> tuple:
    """A grid on which few blocks are small enough: in one mask of three ten tries fail."""
    return seeded(g, (3, integer(10, 12, g), 22, 8))


def few(g: Generator) -> tuple:
    """Fewer than `least` are asked for."""
    return seeded(g, (4, 6, integer(3, 6, g), 7))


# Task 6


def histograms(g: Generator, batch: int, channels: int, rows: int, columns: int, patch: int, cell: int) -> tuple:
    return levels(batch, channels, rows, columns, g=g), patch, cell


def flat_cells(g: Generator) -> tuple:
    """White pictures with a drawing in a corner, and ramps that fall to the left, to the right, up and down."""
    images = torch.ones(3, 3, 16, 16)
    images[0, :, 1:7, 2:6] = levels(3, 6, 4, g=g)
    falling = (16 - torch.arange(16)) * integer(8, 16, g) / 256
    images[1] = falling.expand(3, 16, 16)
    images[2, 0], images[2, 1], images[2, 2] = falling[:, None], falling.flip(0), falling.flip(0)[:, None]
    return images, 8, 4


def faint(g: Generator) -> tuple:
    """White pictures in which a few pixels are a little darker: there 1e-10 counts, and so does the number of pixels."""
    images = torch.ones(2, 2, 8, 16)
    dark = torch.randint(0, 5, images.shape, generator=g) * (torch.rand(images.shape, generator=g) < 0.15)
    return images - dark / 2**14, 8, 4


# Task 7


def classes(g: Generator, sizes: tuple[int, ...], temperature: float, spread: float = 1.0) -> tuple:
    """Vectors of many lengths, of classes with so many members, in random order."""
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    labels = labels[torch.randperm(len(labels), generator=g)]
    centres = normal(len(sizes), 6, g=g)
    return spread * (normal(len(labels), 6, g=g) + centres[labels]), labels, temperature


def half_classes(g: Generator) -> tuple:
    z, labels, temperature = classes(g, (1, 2, 4, 1), 0.1, 300.0)
    return z.half(), labels, temperature


# Bonus


def cells(g: Generator) -> tuple:
    """Backbone cells of two views whose lengths differ."""
    query, key = normal(3, 5, 4, g=g), normal(3, 7, 4, g=g)
    return query, key * (4 * torch.rand(3, 7, 1, generator=g)).exp()


def equal_cells(g: Generator) -> tuple:
    """Cells along the axes: many cosines are equal, exactly."""
    axes = torch.eye(3)
    query, key = (axes[torch.randint(3, (2, n), generator=g)] for n in (4, 8))
    return query, key * 2.0 ** torch.randint(-2, 3, (2, 8, 1), generator=g)


def projected(g: Generator, temperature: float) -> tuple:
    match = torch.randint(7, (3, 5), generator=g)
    queue = torch.nn.functional.normalize(normal(9, 4, g=g), dim=1)
    return 2 * normal(3, 5, 4, g=g), 3 * normal(3, 7, 4, g=g) + 1, match, queue, temperature


def value(inputs: Callable[[Generator], tuple], reason: str = FEW, rtol: float = 1e-4, atol: float = 1e-5) -> Case:
    return Case(inputs, reason=reason, rtol=rtol, atol=atol)


def exact(inputs: Callable[[Generator], tuple]) -> Case:
    return value(inputs, EXACT, 0.0, 0.0)


CASES = {
    "patchify/value": exact(lambda g: (normal(2, 3, 4, 6, g=g), 2)),
    "patchify/high": exact(lambda g: (normal(1, 2, 9, 3, g=g), 3)),
    "patchify/refused": exact(lambda g: (normal(1, 1, 4, 5, g=g), 2)),
    "patchify/hidden": exact(lambda g: (normal(2, 3, 9, 3 * integer(4, 6, g), g=g), 3)),
    "unpatchify/value": exact(lambda g: (normal(2, 6, 12, g=g), 2, 2, 3)),
    "unpatchify/refused": exact(lambda g: (normal(2, 6, 12, g=g), 2, 2, 2)),
    "unpatchify/hidden": exact(lambda g: (normal(2, 8, 27, g=g), 3, 4, 2)),
    "normalise_patches/value": value(scaled_patches),
    "normalise_patches/flat": value(flat_patches, FLAT, atol=2e-4),
    "normalise_patches/hidden": value(any_patches, FLAT, atol=2e-4),
    "random_masking/value": exact(lambda g: noisy(g, 8, 0.75)),
    "random_masking/ties": exact(lambda g: noisy(g, 9, 0.5, 3)),
    "random_masking/nothing_hidden": exact(lambda g: noisy(g, 6, 0.0)),
    "random_masking/hidden": exact(lambda g: noisy(g, integer(9, 12, g), 0.25)),
    "random_masking/hidden_ties": exact(lambda g: noisy(g, 10, 0.75, 4)),
    "restore_tokens/value": value(lambda g: shuffled(g, 6, 2)),
    "restore_tokens/all_kept": value(lambda g: shuffled(g, 5, 5)),
    "restore_tokens/hidden": value(lambda g: shuffled(g, integer(8, 11, g), 4)),
    "mae_loss/value": value(lambda g: masked(g, (1, 4, 2))),
    "mae_loss/one": value(lambda g: masked(g, (0, 1, 0))),
    "mae_loss/all": value(lambda g: masked(g, (6, 6))),
    "mae_loss/none": value(lambda g: masked(g, (0, 0))),
    "mae_loss/hidden": value(ragged),
    "mae_loss/hidden_none": value(lambda g: masked(g, (0, 0, 0))),
    "mae_loss/gradient": value(lambda g: masked(g, (1, 4, 2)), atol=1e-6),
    "mae_loss/gradient_of_none": value(lambda g: masked(g, (0, 0))),
    "mae_loss/hidden_gradient": value(ragged, atol=1e-6),
    "dino_loss/two_views": value(lambda g: outputs(g, 0)),
    "dino_loss/five_views": value(lambda g: outputs(g, 3)),
    "dino_loss/half": value(lambda g: outputs(g, 1, half=True), SCALED),
    "dino_loss/hidden": value(lambda g: outputs(g, 2, 0.2, 0.07)),
    "dino_loss/hidden_half": value(lambda g: outputs(g, 2, half=True), SCALED),
    "update_centre/value": value(lambda g: teacher_outputs(g, 0.9)),
    "update_centre/hidden": value(lambda g: teacher_outputs(g, 0.8)),
    "dino_step/value": value(lambda g: steps(g, 2, (0.9, 0.6, 0.8)), STEPS),
    "dino_step/hidden": value(lambda g: steps(g, integer(1, 4, g), (0.8, 0.7, 0.9)), STEPS),
    "block_mask/beit": exact(lambda g: ((14, 14, 75, 16), list(range(10)))),
    "block_mask/eight": exact(lambda g: ((8, 8, 30, 4), list(range(10)))),
    "block_mask/wide": exact(lambda g: ((5, 9, 20, 3), list(range(10)))),
    "block_mask/hidden": exact(lambda g: seeded(g, (14, integer(11, 14, g), 75, 16))),
    "block_mask/hidden_wide": exact(wide),
    "block_mask/one_row": exact(lambda g: ((1, 9, 4, 2), list(range(3)))),
    "block_mask/tight": exact(lambda g: ((3, 10, 22, 8), list(range(10)))),
    "block_mask/few": exact(lambda g: ((4, 6, 3, 7), list(range(10)))),
    "block_mask/nothing": exact(lambda g: ((4, 4, 0, 2), [0])),
    "block_mask/hidden_tight": exact(tight),
    "block_mask/hidden_few": exact(few),
    "hog_cell/value": value(lambda g: histograms(g, 1, 1, 4, 4, 4, 4), HISTOGRAM),
    "hog_cell/many": value(lambda g: histograms(g, 3, 1, 6, 6, 6, 6), HISTOGRAM),
    "hog_cell/hidden": value(lambda g: histograms(g, 4, 1, 5, 5, 5, 5), HISTOGRAM),
    "hog_targets/value": value(lambda g: histograms(g, 2, 3, 8, 16, 8, 4), HISTOGRAM),
    "hog_targets/flat": value(flat_cells, HISTOGRAM),
    "hog_targets/faint": value(faint, HISTOGRAM),
    "hog_targets/hidden": value(lambda g: histograms(g, 2, 3, 18, 12, 6, 2), HISTOGRAM),
    "hog_targets/hidden_flat": value(flat_cells, HISTOGRAM),
    "supcon/classes": value(lambda g: classes(g, (3, 1, 5, 2, 4), 0.3)),
    "supcon/pairs": value(lambda g: classes(g, (2, 2, 2, 2), 0.2)),
    "supcon/hidden": value(lambda g: classes(g, (4, 2, 1, 3, 5), 0.15)),
    "supcon/alone": value(lambda g: classes(g, (1, 1, 1, 1), 0.2)),
    "supcon/gradient": value(lambda g: classes(g, (2, 1, 3, 1), 0.5)),
    "supcon/half": value(half_classes, HALF),
    "supcon/hidden_half": value(half_classes, HALF),
    "supcon/hidden_alone": value(lambda g: classes(g, (1,) * integer(3, 6, g), 0.3)),
    "dense_match/value": exact(cells),
    "dense_match/ties": exact(equal_cells),
    "dense_match/hidden": exact(cells),
    "dense_match/hidden_ties": exact(equal_cells),
    "dense_loss/value": value(lambda g: projected(g, 0.2)),
    "dense_loss/gradient": value(lambda g: projected(g, 0.5)),
    "dense_loss/hidden": value(lambda g: projected(g, 0.3)),
    "dense_loss/hidden_gradient": value(lambda g: projected(g, 0.4)),
}
