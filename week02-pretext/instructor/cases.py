"""The inputs of every check of week 02, and why each tolerance is what it is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from checking import tiny_classifier, tiny_trunk
from torch import Generator, Tensor

from lsdl.checks import Case
from lsdl.data.augment import random_affine
from lsdl.data.few_labels import load_task

FEW = "a formula over at most a few hundred float32 numbers"
TINY = "a few hundred float32 numbers and nine SGD steps: rounding stays under 1e-4 of the values"
DEEP = "a few thousand float32 numbers in eighteen layers: rounding stays under 1e-4 of the values"
EXACT = "numbers are moved, not computed"
LAB = "the published constants have five or six digits, and differ from each other in the last one"
DRAWS = "every combination of corner, place and jitters is equally likely, and chi-square with 2591 degrees of freedom says by how much their counts may differ: quantiles at 5e-7 and 1 - 5e-7, rounded outwards"
FINETUNED = "linear probes on this trunk reach at most 25 %, labels shifted by one 28 %, and the worst of ten fine-tunings 34.7 %, less three points"


def integer(low: int, high: int, g: Generator) -> int:
    """From low to high - 1."""
    return int(torch.randint(low, high, (), generator=g))


def byte_pictures(g: Generator, *shape: int) -> tuple[Tensor]:
    return (torch.randint(256, shape, generator=g, dtype=torch.uint8),)


def float_pictures(g: Generator, *shape: int) -> tuple[Tensor]:
    return (torch.rand(shape, generator=g),)


def many_permutations(g: Generator) -> tuple[int, int]:
    return 7, integer(30, 65, g)


def tiles_to_cut(g: Generator) -> tuple:
    """Pictures larger than three cells; one cell flat in every channel, one nearly flat in one channel."""
    images, offsets = torch.rand(3, 2, 17, 16, generator=g), torch.randint(0, 3, (3, 9, 2), generator=g)
    images[0, :, 5:10, 10:15] = 0.3
    images[1, 1, :5, :5] = 0.5 + 0.01 * torch.rand(5, 5, generator=g)
    return images, offsets, 5, 3


def whole_cells(g: Generator) -> tuple:
    """Tiles as large as their cells: no offset, no gap; a third of the picture is more than a cell."""
    return torch.rand(2, 3, 15, 16, generator=g), torch.zeros(2, 9, 2, dtype=torch.int64), 4, 4


def puzzles(g: Generator, tiles: int) -> tuple:
    """Five pictures with their own permutation each, chosen from six."""
    permutations = torch.stack([torch.randperm(tiles, generator=g) for _ in range(6)])
    labels = torch.tensor([5, 2, 2, 0, 4])[torch.randperm(5, generator=g)]
    return torch.rand(5, tiles, 2, 3, 3, generator=g), permutations, labels


def colours(g: Generator) -> tuple[Tensor]:
    """Random colours, dark ones around both knees, greys, black and white."""
    x = torch.rand(4, 3, 4, 4, generator=g)
    x[1] *= 0.1
    x[2] = x[2, :1]
    x[3] = torch.tensor([0.0, 1.0]).repeat(8).view(4, 4)
    return (x,)


def some_colours(g: Generator, k: int) -> tuple:
    """Colours among the centres of a grid, and two far outside of it."""
    axis = 10.0 * torch.arange(-2, 3)
    centres = torch.cartesian_prod(axis, axis)[torch.randperm(25, generator=g)[:14]]
    ab = 50 * torch.rand(8, 2, generator=g) - 25
    ab[6:] = torch.tensor([[400.0, 31.0], [-290.0, -400.0]]) + 10 * torch.rand(2, 2, generator=g)
    return ab, centres, k, round(4 + 3 * torch.rand((), generator=g).item(), 2)


def few_centres(g: Generator) -> tuple:
    """More neighbours asked for than there are centres."""
    ab, centres, _, sigma = some_colours(g, 5)
    return ab, centres[:3], 5, 3 * sigma


def half_way(g: Generator) -> tuple:
    """Colours half-way between two centres, others farther away."""
    shift = torch.randint(-20, 20, (2,), generator=g).float()
    centres = torch.tensor([[30.0, 0.0], [0.0, 0.0], [10.0, 0.0], [0.0, 30.0]]) + shift
    return torch.tensor([[5.0, 0.0], [5.0, 4.0]]) + shift, centres, 2, 5.0


def coloured_pixels(g: Generator) -> tuple:
    """Seven pixels and five bins, one of them empty; one pixel's target lies mostly in it, one has two largest targets."""
    logits, targets = 2 * torch.randn(7, 5, generator=g), torch.rand(7, 5, generator=g) ** 3
    p = torch.tensor([0.62, 0.2, 0.0, 0.13, 0.05])[torch.cat([torch.randperm(2, generator=g), torch.arange(2, 5)])]
    targets[0] = torch.tensor([0.1, 0.1, 0.7, 0.1, 0.0])
    targets[1] = torch.tensor([0.4, 0.1, 0.0, 0.1, 0.4])
    return logits, targets / targets.sum(1, keepdim=True), p, round(0.2 + 0.2 * torch.rand((), generator=g).item(), 2)


def grey_pixels(g: Generator) -> tuple:
    """All targets lie in one bin, and that is the most common one."""
    return torch.randn(6, 4, generator=g), torch.eye(4)[[1] * 6], torch.tensor([0.1, 0.7, 0.2, 0.0]), 0.5


def one_bin(g: Generator) -> tuple:
    """All pixels of the data had one colour."""
    return torch.randn(6, 3, generator=g), torch.eye(3)[[0, 0, 1, 0, 2, 0]], torch.tensor([1.0, 0.0, 0.0]), 0.5


def predicted(g: Generator) -> tuple[Tensor, Tensor]:
    return 3 * torch.randn(6, 7, generator=g), 100 * torch.rand(7, 2, generator=g) - 50


def large_halves(g: Generator) -> tuple[Tensor, Tensor]:
    """Logits of half precision up to 1e4, two of each row next to each other among the half-precision numbers."""
    logits = 300 * torch.randn(5, 7, generator=g)
    logits[:, 2] = torch.tensor([3000.0, 3500.0, 2500.0, 10_000.0, 9_000.0])
    logits[:, 5] = logits[:, 2] + torch.tensor([2.0, 4.0, -2.0, 8.0, 0.0])
    return logits.half(), 100 * torch.rand(7, 2, generator=g) - 50


def holes(g: Generator) -> Tensor:
    """(3, 1, 12, 11): a hole at a corner and one inside; two that touch at a corner; one pixel, and a cross."""
    hole = torch.zeros(3, 1, 12, 11, dtype=torch.bool)
    i, j = integer(5, 8, g), integer(4, 7, g)
    hole[0, 0, : integer(2, 4, g), : integer(2, 4, g)] = True
    hole[0, 0, i : i + 3, j : j + 3] = True
    hole[1, 0, i - 3 : i, j - 3 : j] = True
    hole[1, 0, i : i + 2, j : j + 3] = True
    hole[2, 0, 1, integer(1, 9, g)] = True
    hole[2, 0, i, j - 1 : j + 2] = hole[2, 0, i - 1 : i + 2, j] = True
    return hole


def damaged(g: Generator, overlap: int) -> tuple:
    """Pictures, their holes, overlap and weight."""
    return torch.rand(3, 2, 12, 11, generator=g), holes(g), overlap, integer(5, 13, g)


def inpainted(g: Generator) -> tuple:
    """Predictions, pictures, holes: the last picture has none."""
    images, hole, overlap, weight = damaged(g, integer(1, 3, g))
    hole[2] = False
    return images + 0.3 * torch.randn(images.shape, generator=g), images, hole, overlap, float(weight)


def without_hole(g: Generator) -> tuple:
    images, hole, overlap, weight = damaged(g, 1)
    return images + 0.3, images, torch.zeros_like(hole), overlap, float(weight)


def tiles_and_places(g: Generator) -> tuple:
    """Every place once; the first three first tiles lie so near the border that something has to be clamped."""
    places = torch.randperm(8, generator=g)
    corners = torch.stack([torch.randint(6, 8, (8,), generator=g), torch.randint(6, 9, (8,), generator=g)], 1)
    corners[:3] = torch.tensor([[0, 0], [14, 3], [2, 16]])
    jitters = torch.randint(-2, 3, (8, 2, 2), generator=g)
    jitters[:3, 0] = torch.tensor([[-1, -2], [2, 1], [1, 2]])
    return torch.randint(256, (8, 2, 18, 20), generator=g).byte(), corners, places, jitters, 4, 2


def pretext_state(g: Generator) -> tuple:
    """The state dict of a pretext network with four classes, as a training leaves it, and a number of classes."""
    state = {}
    for name, value in tiny_trunk().state_dict().items():
        count = name.endswith("num_batches_tracked")
        matrix = value.ndim > 1
        numbers = 0.4 * torch.randn(value.shape, generator=g) if matrix else 0.5 + torch.rand(value.shape, generator=g)
        state[f"trunk.{name}"] = torch.tensor(250) if count else numbers
    head = {"head.weight": torch.randn(4, 8, generator=g), "head.bias": torch.randn(4, generator=g)}
    return state | head, integer(5, 9, g)


def pretext_state_and_pictures(g: Generator) -> tuple:
    return *pretext_state(g), torch.randn(3, 3, 8, 8, generator=g)


def labelled_pictures(g: Generator) -> tuple:
    """A tiny classifier, twelve pictures whose colour says their class, and three epochs of three SGD steps."""
    state = {}
    for name, value in tiny_classifier().state_dict().items():
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(3)
        elif name.endswith("running_var") or (value.ndim == 1 and name.endswith("weight")):
            state[name] = 0.7 + 0.6 * torch.rand(value.shape, generator=g)
        else:
            state[name] = 0.4 * torch.randn(value.shape, generator=g)
    labels = torch.arange(3).repeat(4)[torch.randperm(12, generator=g)]
    images = torch.randint(150, (12, 3, 8, 8), generator=g)
    images[torch.arange(12), labels] += 100
    settings = dict(epochs=3, batch_size=4, lr=3.0, seed=integer(0, 1000, g))
    return state, images.to(torch.uint8), labels, settings


def moved_pictures(g: Generator) -> tuple[Tensor, Tensor]:
    """190 of the 300 test pictures, shifted, turned and scaled; uint8, and their classes."""
    tests = load_task("smoke").tests.values()
    pictures, labels = (torch.cat([test[i] for test in tests]) for i in (0, 1))
    chosen = torch.randperm(len(labels), generator=g)[:190]
    pictures = random_affine(pictures[chosen].float() / 255, flip=0.0, generator=g)
    return (pictures * 255).round().to(torch.uint8), labels[chosen]


def predictions(at_least: float, reason: str) -> Case:
    return Case(
        lambda g: (moved_pictures(g)[0],),
        kind="predictions",
        labels=lambda g: moved_pictures(g)[1],
        at_least=at_least,
        reason=reason,
    )


def value(
    inputs: Callable[[Generator], tuple],
    reason: str = FEW,
    rtol: float = 1e-4,
    atol: float = 1e-5,
    draw_of: str | None = None,
) -> Case:
    return Case(inputs, reason=reason, rtol=rtol, atol=atol, draw_of=draw_of)


def exact(inputs: Callable[[Generator], tuple]) -> Case:
    return value(inputs, EXACT, 0.0, 0.0)


def drawn() -> Case:
    """20,000 draws of 2 x 2 corners, 8 places and 3^4 jitters, and the seed of their generator."""

    def draw(g: Generator) -> tuple:
        tile, gap = integer(4, 8, g), integer(1, 4, g)
        return 20_000, 3 * tile + 2 * gap + 1, tile, gap, 1, integer(0, 10**6, g)

    bound = dict(statistic=("chi_square", 2592, 2592), low=LOW, high=HIGH, false_alarm=1e-6)
    return Case(draw, kind="bound", reason=DRAWS, **bound)


LOW, HIGH = 2230.0, 3000.0

CASES = {
    "rotation_batch/value": exact(lambda g: byte_pictures(g, 3, 2, 4, 4)),
    "rotation_batch/odd": exact(lambda g: float_pictures(g, 2, 3, 5, 5)),
    "rotation_batch/refused": exact(lambda g: byte_pictures(g, 2, 3, 4, 6)),
    "rotation_batch/hidden": exact(lambda g: float_pictures(g, 3, 3, 6, 6)),
    "permutation_set/four": exact(lambda g: (4, 24)),
    "permutation_set/nine": exact(lambda g: (9, 10)),
    "permutation_set/refused": exact(lambda g: (3, 7)),
    "permutation_set/none": exact(lambda g: (3, 0)),
    "permutation_set/hidden": exact(many_permutations),
    "cut_tiles/value": value(tiles_to_cut),
    "cut_tiles/no_gap": value(whole_cells),
    "cut_tiles/hidden": value(tiles_to_cut),
    "shuffle_tiles/nine": exact(lambda g: puzzles(g, 9)),
    "shuffle_tiles/hidden": exact(lambda g: puzzles(g, 6)),
    "rgb_to_lab/value": value(colours, LAB, 0.0, 0.01),
    "rgb_to_lab/hidden": value(colours, LAB, 0.0, 0.01),
    "soft_targets/five": value(lambda g: some_colours(g, 5)),
    "soft_targets/one": value(lambda g: some_colours(g, 1)),
    "soft_targets/few_centres": value(few_centres),
    "soft_targets/ties": value(half_way),
    "soft_targets/hidden": value(lambda g: some_colours(g, integer(3, 7, g))),
    "rebalanced_loss/value": value(coloured_pixels),
    "rebalanced_loss/grey": value(grey_pixels),
    "rebalanced_loss/one_bin": value(one_bin),
    "rebalanced_loss/gradient": value(coloured_pixels, draw_of="rebalanced_loss/value"),
    "rebalanced_loss/hidden": value(coloured_pixels),
    "rebalanced_loss/hidden_gradient": value(coloured_pixels, draw_of="rebalanced_loss/hidden"),
    "annealed_mean/value": value(predicted, atol=1e-4),
    "annealed_mean/half": value(large_halves, atol=1e-4),
    "annealed_mean/hidden": value(predicted, atol=1e-4),
    "overlap_weights/one": value(lambda g: damaged(g, 1)),
    "overlap_weights/two": value(lambda g: damaged(g, 2)),
    "overlap_weights/hidden": value(lambda g: damaged(g, integer(1, 4, g))),
    "inpainting_loss/value": value(inpainted),
    "inpainting_loss/gradient": value(inpainted, atol=1e-6, draw_of="inpainting_loss/value"),
    "inpainting_loss/no_hole": value(without_hole),
    "inpainting_loss/hidden": value(inpainted),
    "inpainting_loss/hidden_gradient": value(inpainted, atol=1e-6, draw_of="inpainting_loss/hidden"),
    "context_pairs/value": exact(tiles_and_places),
    "context_pairs/hidden": exact(tiles_and_places),
    "competition_model/value": exact(pretext_state),
    "competition_model/features": value(pretext_state_and_pictures, DEEP, 1e-3, 1e-4),
    "competition_model/hidden": exact(pretext_state),
    "competition_model/hidden_features": value(pretext_state_and_pictures, DEEP, 1e-3, 1e-4),
    "finetune/value": value(labelled_pictures, TINY, 1e-3, 1e-4),
    "finetune/hidden": value(labelled_pictures, TINY, 1e-3, 1e-4),
    "finetuned/visible": predictions(0.31, FINETUNED),
    "finetuned/hidden": predictions(0.31, FINETUNED),
    "context_draws/smallest": exact(lambda g: (50, 5, 2)),
    "context_draws/drawn": drawn(),
    "context_draws/hidden": drawn(),
    "context_draws/hidden_smallest": exact(lambda g: (50, integer(3, 8, g), integer(1, 4, g))),
}
