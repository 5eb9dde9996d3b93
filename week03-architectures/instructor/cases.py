"""The inputs of every check of week 03, and why each tolerance is what it is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from lsdl.checks import Case

FEW = "a formula over at most a few hundred float32 numbers"
DEEP = "two blocks in float32: rounding stays under 1e-5 of the values, while another eps, GELU or scale moves them by more than 1e-3"
GRADIENT = "a gradient through two blocks in float32: rounding stays under 1e-4 of its largest entries"
RESIZED = "bicubic weights of a few positions in float32"
EXACT = "numbers are moved or counted, not computed"
STARTS = "means of at most 25 small integers"
POWERS = "powers of two are exact in float32"
STEPS = "under twenty steps on eight numbers: rounding stays under 1e-4 of the values"
SUMS = "sums of at most seven float32 numbers, in any order"


def integer(low: int, high: int, g: Generator) -> int:
    """From low to high - 1."""
    return int(torch.randint(low, high, (), generator=g))


def normal(*shape: int, g: Generator) -> Tensor:
    return torch.randn(shape, generator=g)


# Task 1


def pictures(g: Generator, size: tuple[int, int], patch: tuple[int, int], grid: tuple[int, int], dim: int = 4) -> tuple:
    """Two pictures and an embedding whose positions were learned on `grid`."""
    weight, positions = normal(dim, 3, *patch, g=g) / 4, normal(1 + grid[0] * grid[1], dim, g=g)
    return normal(2, 3, *size, g=g), weight, normal(dim, g=g), normal(dim, g=g), positions, grid


# Task 2


def attention_weights(g: Generator, dim: int, prefix: str = "") -> dict[str, Tensor]:
    return {
        f"{prefix}qkv.weight": 1.5 * normal(3 * dim, dim, g=g) / dim**0.5,
        f"{prefix}qkv.bias": 0.5 * normal(3 * dim, g=g),
        f"{prefix}proj.weight": normal(dim, dim, g=g) / dim**0.5,
        f"{prefix}proj.bias": normal(dim, g=g),
    }


def padding(g: Generator, batch: int, tokens: int, first: bool = False) -> Tensor:
    """(batch, tokens) bool with a few invalid tokens in every row; `first`: the class token is valid."""
    valid = torch.ones(batch, tokens, dtype=torch.bool)
    for row in valid:
        row[torch.randperm(tokens - first, generator=g)[: integer(2, 4 - first, g)] + first] = False
    return valid


def tokens_and_weights(g: Generator, padded: bool = False) -> tuple:
    batch, tokens, dim, heads = 2, 6, 12, 3
    x, weights = normal(batch, tokens, dim, g=g), attention_weights(g, dim)
    return x, weights, heads, padding(g, batch, tokens) if padded else None


def vit_state(g: Generator, dim: int, classes: int) -> dict[str, Tensor]:
    """Two blocks whose norms do not start at 1 and 0, and whose MLPs get inputs up to 4, where the two GELUs differ."""
    state = {}
    for b in range(2):
        block = f"blocks.{b}."
        state |= attention_weights(g, dim, f"{block}attn.")
        shapes = {"norm1": (dim,), "norm2": (dim,), "mlp.fc1": (4 * dim, dim), "mlp.fc2": (dim, 4 * dim)}
        for name, shape in shapes.items():
            spread = 1.5 / dim**0.5 if name == "mlp.fc1" else 0.5 / dim**0.5
            state[f"{block}{name}.weight"] = spread * normal(*shape, g=g) + (1.0 if len(shape) == 1 else 0.0)
            state[f"{block}{name}.bias"] = 0.3 * normal(shape[0], g=g)
    state["norm.weight"], state["norm.bias"] = 1 + 0.3 * normal(dim, g=g), 0.3 * normal(dim, g=g)
    return state | {"head.weight": normal(classes, dim, g=g), "head.bias": normal(classes, g=g)}


def tokens_and_state(g: Generator, padded: bool = False, small: float = 0.003) -> tuple:
    """Tokens of which the class token and one more have a standard deviation of `small`: there the eps of a LayerNorm counts."""
    batch, tokens, dim, heads, classes = 2, 5, 8, 2, 4
    x = normal(batch, tokens, dim, g=g)
    x[:, 0] *= small
    x[0, 3] *= small
    valid = padding(g, batch, tokens, first=True) if padded else None
    return x, vit_state(g, dim, classes), heads, valid


# Task 3


def maps(g: Generator, size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]) -> tuple:
    return normal(2, *size, 3, g=g), window, shift


def windows(g: Generator, size: tuple[int, int], window: tuple[int, int], shift: tuple[int, int]) -> tuple:
    rows, columns = (-(-length // w) for length, w in zip(size, window, strict=True))
    return normal(2, rows * columns, window[0] * window[1], 3, g=g), size, window, shift


def uneven(g: Generator) -> tuple[tuple[int, int], ...]:
    """Size, window and shift, all rectangles: the map is larger than the window and no multiple of it.

    The columns' shift is neither their padding, else zeros at the top and left would look like no roll, nor what the last
    window holds, else no window would show padding beside tokens that did not wrap.
    """
    window = (3, integer(4, 6, g))
    rest = integer(1, window[1], g)
    shifts = [s for s in range(1, window[1]) if s not in (rest, window[1] - rest)]
    return (3 * integer(2, 4, g) + 1, 2 * window[1] + rest), window, (2, shifts[integer(0, len(shifts), g)])


def divisible(g: Generator) -> tuple[tuple[int, int], ...]:
    window = (integer(2, 4, g), 4)
    return (3 * window[0], 2 * window[1]), window, (1, integer(1, 4, g))


# Task 4


def neighbours(g: Generator, size: tuple[int, int], kernel: int, bias: bool = False) -> tuple:
    """Queries, keys and values of one picture; heads, channels and kernel differ, for one root is right."""
    heads, dim = 2, 6
    q, k, v = (1.5 * normal(1, heads, *size, dim, g=g) for _ in range(3))
    return q, k, v, kernel, normal(heads, 2 * kernel - 1, 2 * kernel - 1, g=g) if bias else None


# Task 5


def distilled(g: Generator, mode: str, tau: float | None = None) -> tuple:
    """Logits of 6 pictures and 4 classes; tau from 1.5 to 20 unless given."""
    z_cls, z_dist, z_teacher = normal(6, 4, g=g), normal(6, 4, g=g), 2 * normal(6, 4, g=g)
    y = torch.randint(4, (6,), generator=g)
    found = round(1.5 + 18.5 * torch.rand((), generator=g).item(), 1) if tau is None else tau
    return z_cls, z_dist, z_teacher, y, mode, found, round(0.15 + 0.2 * torch.rand((), generator=g).item(), 2)


# Task 6

INF, NAN = torch.inf, torch.nan


PLACES = (
    (0, 0, 2),
    (0, 2, 4),
    (1, 0, 4),
)  # optimiser, first number and the one behind the last: SGD's two parameters and AdamW's


def script(g: Generator, bad: dict[int, tuple[float, ...]], steps: int = 16) -> tuple[Tensor, Tensor]:
    """Weights (2, 4) and gradients (steps, 2, 4); `bad`: what the gradients of the three parameters hold in a step, 0 for nothing bad."""
    weights, gradients = normal(2, 4, g=g), normal(steps, 2, 4, g=g)
    gradients += 0.5 * gradients.sign()  # none is near 0, where rounding decides the sign of Adam's step
    for step, values in bad.items():
        for (k, low, high), value in zip(PLACES, values, strict=True):
            if value:
                gradients[step, k, integer(low, high, g)] = value
    return weights, gradients


def bad_steps(g: Generator) -> dict[int, tuple[float, ...]]:
    """After an odd number of good steps an overflow, a good step, two bad in a row, two good ones, two bad: the last in both optimisers."""
    start = 2 * integer(0, 2, g) + 1
    return {
        start: (INF, 0, 0),
        start + 2: (0, 0, NAN),
        start + 3: (0, NAN, 0),
        start + 6: (0, 0, INF),
        start + 7: (INF, 0, INF),
    }


def scaled(g: Generator, clip: float | None = None) -> tuple:
    """A script with an interval of two. With a clip the first step's gradients are below it, where clipping hides no wrong factor."""
    settings = {"init_scale": 2.0 ** integer(4, 12, g), "growth_interval": 2}
    weights, gradients = script(g, bad_steps(g))
    if clip is None:
        return weights, gradients, settings
    gradients[0] *= 0.05
    return weights, gradients, settings, clip


def falling(g: Generator) -> tuple:
    """A script whose scale falls below 1."""
    return *script(g, bad_steps(g)), {"init_scale": 2.0 ** integer(-1, 1, g), "growth_interval": 2}


def other_factors(g: Generator) -> tuple:
    """Factors that are not the defaults, and an interval of three."""
    settings = {"init_scale": 2.0 ** integer(6, 10, g), "growth_factor": 4.0, "backoff_factor": 0.125}
    return *script(g, bad_steps(g), 18), settings | {"growth_interval": 3}


def nearly_infinite(g: Generator) -> tuple:
    """A scale that reaches 2^127, the largest power of two in float32, and later falls; the interval is one."""
    weights, gradients = script(g, {})
    gradients *= 2.0**-100
    gradients[8, integer(0, 2, g), integer(0, 4, g)] = NAN
    return weights, gradients, {"init_scale": 2.0 ** integer(123, 126, g), "growth_interval": 1}


# Task 7


def buffers(g: Generator, workers: int, numbers: int) -> tuple:
    return ([normal(numbers, g=g) for _ in range(workers)],)


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


def padded_state(g: Generator) -> tuple:
    return tokens_and_state(g, padded=True)


def unlabelled_state(g: Generator) -> tuple:
    """For a gradient: the LayerNorm of a token of 0.003 would blow its rounding up."""
    return *tokens_and_state(g, padded=True, small=0.1), None


def labelled_state(g: Generator) -> tuple:
    return *unlabelled_state(g)[:-1], torch.randint(4, (2,), generator=g)


def square(g: Generator) -> tuple:
    return pictures(g, (6, 6), (2, 2), (3, 3))


def rectangle(g: Generator) -> tuple:
    columns = integer(3, 5, g)
    return pictures(g, (4, 3 * columns), (2, 3), (2, columns))


def another_grid(g: Generator) -> tuple:
    """Fewer rows and more columns than the positions have."""
    return pictures(g, (6, 14), (2, 2), (integer(4, 6, g), 3))


def uneven_buffers(g: Generator) -> tuple:
    return buffers(g, 6, integer(13, 17, g))


def even_buffers(g: Generator) -> tuple:
    workers = integer(3, 6, g)
    return buffers(g, workers, 3 * workers)


CASES = {
    "embed/value": value(square),
    "embed/hidden": value(square),
    "embed/wide": value(lambda g: pictures(g, (4, 9), (2, 3), (2, 3))),
    "embed/hidden_rectangle": value(rectangle),
    "embed/larger_grid": value(lambda g: pictures(g, (10, 12), (2, 2), (3, 4)), RESIZED),
    "embed/turned_grid": value(lambda g: pictures(g, (4, 10), (2, 2), (5, 2)), RESIZED),
    "embed/hidden_grid": value(another_grid, RESIZED),
    "attention/value": value(tokens_and_weights),
    "attention/hidden": value(tokens_and_weights),
    "attention/padded": value(lambda g: tokens_and_weights(g, padded=True)),
    "attention/hidden_padded": value(lambda g: tokens_and_weights(g, padded=True)),
    "vit/logits": value(tokens_and_state, DEEP),
    "vit/padded": value(padded_state, DEEP),
    "vit/hidden": value(padded_state, DEEP),
    "vit/gradient": value(labelled_state, GRADIENT),
    "vit/hidden_gradient": value(labelled_state, GRADIENT),
    "vit/class_row": value(padded_state, DEEP, atol=1e-6, draw_of="vit/padded"),
    "vit/hidden_class_row": value(padded_state, DEEP, atol=1e-6, draw_of="vit/hidden"),
    "vit/row_gradient": value(unlabelled_state, GRADIENT),
    "vit/hidden_row_gradient": value(unlabelled_state, GRADIENT),
    "to_windows/value": exact(lambda g: maps(g, (5, 10), (3, 4), (2, 1))),
    "to_windows/small": exact(lambda g: maps(g, (3, 7), (3, 4), (1, 1))),
    "to_windows/hidden": exact(lambda g: maps(g, *uneven(g))),
    "from_windows/value": exact(lambda g: windows(g, (5, 10), (3, 4), (2, 1))),
    "from_windows/small": exact(lambda g: windows(g, (3, 8), (3, 4), (1, 1))),
    "from_windows/hidden": exact(lambda g: windows(g, *uneven(g))),
    "window_mask/shifted": exact(lambda g: ((6, 6), (2, 3), (1, 2))),
    "window_mask/padded": exact(lambda g: ((5, 6), (3, 4), (1, 1))),
    "window_mask/small": exact(lambda g: ((3, 7), (3, 4), (2, 1))),
    "window_mask/hidden": exact(divisible),
    "window_mask/hidden_padded": exact(uneven),
    "relative_index/value": exact(lambda g: ((3, 4),)),
    "relative_index/high": exact(lambda g: ((4, 2),)),
    "relative_index/hidden": exact(lambda g: ((integer(2, 4, g), 2 * integer(3, 5, g)),)),
    "neighborhood/starts": value(lambda g: ((5, 4), 3), STARTS),
    "neighborhood/starts_of_five": value(lambda g: ((5, 8), 5), STARTS),
    "neighborhood/hidden_starts": value(lambda g: ((integer(6, 8, g), integer(8, 10, g)), 5), STARTS),
    "neighborhood/value": value(lambda g: neighbours(g, (4, 6), 3)),
    "neighborhood/hidden": value(lambda g: neighbours(g, (7, 5), integer(1, 3, g) * 2 + 1)),
    "neighborhood/bias": value(lambda g: neighbours(g, (4, 5), 3, bias=True)),
    "neighborhood/hidden_bias": value(lambda g: neighbours(g, (7, 6), 5, bias=True)),
    "neighborhood/kernel_1": value(lambda g: neighbours(g, (3, 4), 1)),
    "neighborhood/whole_map": value(lambda g: neighbours(g, (3, 3), 3, bias=True)),
    "neighborhood/even": exact(lambda g: neighbours(g, (4, 5), 2)),
    "neighborhood/too_large": exact(lambda g: neighbours(g, (5, 3), 5)),
    "neighborhood/hidden_whole_map": value(lambda g: neighbours(g, (5, 5), 5, bias=True)),
    "deit/hard": value(lambda g: distilled(g, "hard")),
    "deit/hidden_hard": value(lambda g: distilled(g, "hard")),
    "deit/soft": value(lambda g: distilled(g, "soft")),
    "deit/cold": value(lambda g: distilled(g, "soft", 0.5)),
    "deit/hidden_soft": value(lambda g: distilled(g, "soft")),
    "deit/gradient": value(lambda g: distilled(g, "soft", 2.5), atol=1e-6),
    "deit/hidden_gradient": value(lambda g: distilled(g, "soft", 1.5), atol=1e-6),
    "predict/value": value(lambda g: (2 * normal(5, 4, g=g), 2 * normal(5, 4, g=g))),
    "predict/hidden": value(lambda g: (2 * normal(4, 6, g=g), 2 * normal(4, 6, g=g))),
    "scaler/scales": value(falling, POWERS),
    "scaler/large": value(nearly_infinite, POWERS),
    "scaler/hidden_scales": value(other_factors, POWERS),
    "scaler/hidden_large": value(nearly_infinite, POWERS),
    "scaler/weights": value(scaled, STEPS),
    "scaler/hidden_weights": value(other_factors, STEPS),
    "scaler/clipping": value(lambda g: scaled(g, clip=1.0), STEPS),
    "scaler/unscaled": value(lambda g: (normal(4, g=g), normal(4, g=g))),
    "scaler/hidden_clipping": value(lambda g: scaled(g, clip=0.7), STEPS),
    "ring/sums": value(lambda g: buffers(g, 4, 8), SUMS),
    "ring/hidden_sums": value(even_buffers, SUMS),
    "ring/doubled": value(lambda g: (*buffers(g, 4, 8), 2.0), SUMS),
    "ring/log": exact(lambda g: buffers(g, 3, 6)),
    "ring/hidden_log": exact(even_buffers),
    "ring/twelve": value(lambda g: buffers(g, 5, 12), SUMS),
    "ring/twelve_log": exact(lambda g: buffers(g, 5, 12)),
    "ring/three": value(lambda g: buffers(g, 4, 3), SUMS),
    "ring/three_log": exact(lambda g: buffers(g, 4, 3)),
    "ring/hidden_uneven": value(uneven_buffers, SUMS),
    "ring/hidden_uneven_log": exact(uneven_buffers),
}
