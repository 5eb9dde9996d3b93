"""The inputs of every check of week 06, and why each tolerance is what it is."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from lsdl.checks import Case

FEW = "a formula over at most a few hundred float32 numbers"
HALF = "one rounding to half precision, whose last digit may fall either way, is 0.001; a sum in half precision is off by 0.007"
BINS = "means of a few hundred float32 numbers; none lies within rounding of an edge but those that are on it"
SEARCH = "the text asks for a relative 0.001; twice that for searches in float32"
RATES = "a formula in float64"
SUMS = "sums over a few batches or steps of float32 numbers"
STEPS = "up to twelve steps of an optimizer on seven float32 numbers"
DETERMINANT = "a determinant of a small matrix in float64; a flat simplex is 0 up to the root of rounding"


def integer(low: int, high: int, g: Generator) -> int:
    """From low to high - 1."""
    return int(torch.randint(low, high, (), generator=g))


def normal(*shape: int, g: Generator) -> Tensor:
    return torch.randn(shape, generator=g)


# Task 1


def state(g: Generator, batches: int) -> dict[str, Tensor]:
    """Of a tiny network: convolution, BatchNorm that has seen so many batches, linear layer."""
    return {
        "conv.weight": normal(4, 2, 3, 3, g=g),
        "norm.weight": normal(4, g=g),
        "norm.running_mean": 5 * normal(4, g=g),
        "norm.running_var": 10 * torch.rand(4, generator=g),
        "norm.num_batches_tracked": torch.tensor(batches),
        "linear.weight": normal(3, 4, g=g),
        "linear.bias": normal(3, g=g),
    }


def shares(g: Generator, count: int) -> list[float]:
    """Positive, different, of sum 1."""
    found = 0.5 + torch.rand(count, generator=g, dtype=torch.float64) + torch.arange(count)
    return (found / found.sum()).tolist()


def states(g: Generator, count: int) -> tuple:
    """The first has seen fewer batches than any other, so no mean of counts is its own."""
    return [state(g, integer(1, 9, g) + 100 * k) for k in range(count)], shares(g, count)


def half_states(g: Generator) -> tuple:
    """One large share of numbers near 2,000, and many small ones, each lost when it is added in half precision.

    The mean of what is in bfloat16 is a whole number below 256, which bfloat16 holds.
    """
    count = integer(30, 36, g)
    first = {"weight": 1500 + 500 * torch.rand(5, 6, generator=g), "bias": 1500 + 500 * torch.rand(6, generator=g)}
    others = [{name: 20 + 30 * torch.rand(x.shape, generator=g) for name, x in first.items()} for _ in range(count)]
    halves = [{name: x.half() for name, x in one.items()} for one in (first, *others)]
    for low, high, some in ((40, 60, halves[:1]), (1, 9, halves[1:])):
        scale = 4 * torch.randint(low, high, (5,), generator=g)
        for one in some:
            one["scale"] = scale.bfloat16()
    return halves, [0.75] + [0.25 / count] * count


def errors(g: Generator, pairs: int, count: int, *, shuffled: bool = False) -> tuple:
    """Alphas of any spacing and errors of pairs: the first's curve lies below its line, the second's is highest at its end."""
    between = (0.02 + 0.96 * torch.rand(count - 2, generator=g)).sort().values
    alphas = torch.cat([torch.zeros(1), between, torch.ones(1)])
    found = 100 * torch.rand(pairs, count, generator=g)
    found[0, 1:-1] = found[0, [0, -1]].min() * between
    found[1] = (
        found[1, 0] / 10 + (40 + found[1, 1] / 2) * alphas.sqrt()
    )  # far above the line, but not where it is highest
    order = torch.arange(count)
    while shuffled and (order[0] == 0 or order[-1] == count - 1):  # until neither end is where it was
        order = torch.randperm(count, generator=g)
    return alphas[order], found[:, order]


def below_lines(g: Generator, pairs: int) -> tuple:
    """Three alphas, the ends last, and errors between that lie below all lines."""
    inside, ends = 0.2 + 0.6 * torch.rand(1, generator=g), 20 + 80 * torch.rand(pairs, 2, generator=g)
    middle = ends.min(1).values * (0.3 + 0.5 * torch.rand(pairs, generator=g))
    return torch.cat([inside, torch.tensor([1.0, 0.0])]), torch.cat([middle[:, None], ends], 1)


# Task 2


def logits(g: Generator, nets: int, pictures: int, classes: int, spread: float = 2.0) -> tuple:
    return (spread * normal(nets, pictures, classes, g=g),)


def far(g: Generator, x: Tensor) -> tuple:
    """For the last picture, class 0 has a probability that is 0 in float64, too."""
    x[:, -1] = normal(*x[:, -1].shape, g=g)
    x[:, -1, -1] = 900 + 200 * torch.rand(len(x), generator=g)
    return (x,)


def excluded(g: Generator, nets: int, spread: float) -> tuple:
    """Some networks exclude class 0, all of them class 1 of the first picture."""
    (x,) = logits(g, nets, 3, 4, spread)
    x[: nets - 1, :, 0] = -torch.inf
    x[:, 0, 1] = -torch.inf
    return (x,)


def log_probs(g: Generator, pictures: int, classes: int, spread: float, hotter: float = 1.0) -> tuple:
    """log p and labels that are drawn from the probabilities at another temperature."""
    x = spread * normal(pictures, classes, g=g)
    labels = torch.multinomial((x / hotter).softmax(1), 1, generator=g)[:, 0]
    return x.log_softmax(1), labels


def on_edges(g: Generator, bins: int) -> tuple:
    """Confidences of exactly 0.25, 0.5 and 1, among ordinary ones, whose gaps have other signs in the bin where they belong.

    float32 rounds the logarithms of 1/4 and 1/2 downwards, so in float64 these are just below the edge: in the same bin.
    """
    moved = (0.02 * torch.rand(6, generator=g)).tolist()
    torn, even, sure = integer(4, 7, g), integer(5, 8, g), integer(3, 5, g)
    rows = [(0.25, torn, False), (0.5, even, True), (1.0, sure, True), (1.0, 1, False)]
    rows += [(0.3 + moved[0], 2, False), (0.45 + moved[1], 2, False)]
    rows += [(0.55 + moved[2], 2, True), (0.93 + moved[3], 2, True)]
    rows += [(0.604 + moved[4], 2, False), (0.69 + moved[5], 3, True)]  # these cancel, but not in fifteen bins
    confidence = torch.tensor([c for c, count, _ in rows for _ in range(count)])
    wrong = torch.tensor([not right for _, count, right in rows for _ in range(count)])
    p = torch.cat([confidence[:, None], ((1 - confidence) / 4)[:, None].expand(-1, 4)], 1)  # class 0 is the likeliest
    labels = torch.where(wrong, torch.randint(1, 5, wrong.shape, generator=g), 0)
    classes, order = torch.randperm(5, generator=g), torch.randperm(len(p), generator=g)
    return p[:, classes.argsort()][order].log(), classes[labels[order]], bins


def all_right(g: Generator) -> tuple:
    x, _ = log_probs(g, 40, 4, 3.0)
    return x, x.argmax(1)


def worse_than_chance(g: Generator) -> tuple:
    x, _ = log_probs(g, 40, 4, 3.0)
    return x, x.argmin(1)


def bounds_and_between(g: Generator) -> tuple:
    """Sets of both bounds and of two temperatures below 1, in any order: no bound alone is the answer."""
    sets = [all_right(g), worse_than_chance(g), *(log_probs(g, 120, 4, 1.0, 0.4) for _ in range(2))]
    return ([sets[k] for k in torch.randperm(len(sets), generator=g).tolist()],)


# Task 3


def cycles(g: Generator) -> tuple:
    """A number of steps that no cycle divides."""
    count = integer(3, 6, g)
    return count * integer(5, 9, g) + integer(1, count, g), count, 0.1 + float(torch.rand((), generator=g))


# Task 4


def norm_state(g: Generator) -> dict[str, Tensor]:
    """A `NormNet` whose statistics are of other weights."""
    shapes = {"body.conv.weight": (4, 2, 3, 3), "hidden.weight": (8, 4), "hidden.bias": (8,), "last.weight": (3, 8), "last.bias": (3,)}  # fmt: skip
    state = {name: normal(*shape, g=g) for name, shape in shapes.items()}
    for name, size in (("body.norm_maps", 4), ("norm_vectors", 8)):
        scales = {"weight": 0.5 + torch.rand(size, generator=g), "bias": normal(size, g=g)}
        statistics = {"running_mean": normal(size, g=g), "running_var": 0.5 + torch.rand(size, generator=g)}
        tracked = {"num_batches_tracked": torch.tensor(integer(3, 9, g))}
        state |= {f"{name}.{key}": x for key, x in (scales | statistics | tracked).items()}
    return state


def norm_batches(g: Generator, sizes: tuple[int, ...], height: int = 4, width: int = 5) -> list[Tensor]:
    """Batches of unequal sizes, means and spreads."""
    return [normal(n, 2, height, width, g=g) * (1 + k) / 2 + normal(2, 1, 1, g=g) for k, n in enumerate(sizes)]


def frozen_layer(g: Generator, sizes: tuple[int, ...] = (3, 6)) -> tuple:
    """A network that trains, with a frozen layer and momenta of its own."""
    training = {"body.norm_maps": False, "hidden": False}
    return norm_state(g), norm_batches(g, sizes), training, {"body.norm_maps": 0.1, "norm_vectors": 0.3}


def training_layer(g: Generator) -> tuple:
    """A network in evaluation mode, with one layer that trains."""
    modes = {name: False for name in ("", "body", "body.conv", "body.norm_maps", "drop", "hidden", "last")}
    return norm_state(g), norm_batches(g, (4, 2, 3)), modes, {"body.norm_maps": 0.2, "norm_vectors": 0.1}


# Task 5


def path(g: Generator, steps: int, columns: int, size: int = 6) -> tuple:
    """A walk with a drift, so that old and new weights differ."""
    return (0.5 * normal(steps, size, g=g) + 0.7 * torch.arange(steps)[:, None] + normal(size, g=g)).float(), columns


def moments(g: Generator, columns: int, scale: float | None = None, constant: bool = False) -> tuple:
    """A state of SWAG with so many columns, and normal numbers; constant: two weights never moved, but for rounding."""
    size, n = 6, columns + 3
    mean = normal(size, g=g)
    square = mean**2 + 0.1 + torch.rand(size, generator=g)
    if constant:
        square[:2] = mean[:2] ** 2 - 1e-6 * (1 + mean[:2] ** 2)  # ten times what rounding makes, so below 0 everywhere
    state = {"n": n, "mean": mean, "square": square, "deviations": normal(size, columns, g=g)}
    drawn = state, normal(size, g=g), normal(columns, g=g)
    return drawn if scale is None else (*drawn, scale)


# Task 6


def nets(g: Generator, count: int, half: bool = False) -> list[dict[str, Tensor]]:
    """States whose entry "mix" is one-hot; half: the sum of two weights overflows in half precision."""
    dtype = torch.float16 if half else torch.float32
    made = []
    for i in range(count):
        weight = (40000 + 3000 * normal(2, 3, g=g)) if half else normal(2, 3, g=g)
        steps = torch.tensor(100 + 7 * i + integer(0, 7, g))
        made.append({"mix": torch.eye(count)[i].to(dtype), "layer.weight": weight.to(dtype), "steps": steps})
    return made


def soup(g: Generator, singles: tuple[float, ...], sets: dict[str, float], *, half: bool = False, tied: str = "") -> tuple:  # fmt: skip
    """Nets in random order, but for a, which comes after b and c, and the accuracy of each set of them.

    Args:
        singles: accuracies of the nets a, b, c, ..., best first.
        sets: accuracies of some sets, such as "ab"; all others are lower than any of these.
        tied: nets of equal accuracy, which keep their order.
    """
    count = len(singles)
    place = torch.randperm(count, generator=g).tolist()
    while place[0] < max(place[1:3]):
        place = torch.randperm(count, generator=g).tolist()
    letters = "abcdef"[:count]
    if tied:
        at = sorted(place[letters.index(x)] for x in tied)
        for x, index in zip(tied, at, strict=True):
            place[letters.index(x)] = index
    table = 0.3 + 0.2 * torch.rand(2**count, generator=g, dtype=torch.float64)
    for letter, accuracy in [*zip(letters, singles, strict=True), *sets.items()]:
        table[sum(2 ** place[letters.index(x)] for x in letter)] = accuracy
    return nets(g, count, half), table


def four(g: Generator) -> tuple:
    """b joins, c falls but stays above the best net, d joins."""
    return soup(g, (0.80, 0.75, 0.72, 0.70), {"ab": 0.85, "abc": 0.83, "abd": 0.86, "abcd": 0.84, "cd": 0.73})


def five(g: Generator) -> tuple:
    """b falls below a, c and e join."""
    sets = {"ab": 0.79, "ac": 0.82, "acd": 0.81, "ace": 0.83, "abcde": 0.80, "de": 0.7, "cde": 0.74}
    return soup(g, (0.80, 0.78, 0.77, 0.71, 0.66), sets)


def ties(g: Generator) -> tuple:
    """b and c are equal; b joins with the accuracy of a alone, and so does d."""
    sets = {"ab": 0.80, "ac": 0.80, "abc": 0.78, "abd": 0.80, "abde": 0.79, "acd": 0.76}
    return soup(g, (0.80, 0.75, 0.75, 0.70, 0.60), sets, tied="bc")


# Task 7


def seven(g: Generator) -> list[Tensor]:
    """Three parameters of seven numbers."""
    return [normal(2, 2, g=g), normal(2, g=g), normal(1, g=g)]


def pushes(g: Generator, inner: str, steps: int, k: int, alpha: float, missing: tuple = ()) -> tuple:
    """Start, gradients, k and alpha; missing: (step, parameter) pairs without a gradient."""
    start = seven(g)
    gradients: list = [[normal(*x.shape, g=g) for x in start] for _ in range(steps)]
    for step, parameter in missing:
        gradients[step][parameter] = None
    return inner, start, gradients, k, alpha


def without_gradient(g: Generator, k: int) -> tuple:
    """Parameter 1 gets no gradient in the first sync's step, parameter 0 none in the second's."""
    return pushes(g, "sgd", 3 * k, k, 0.5, ((k - 1, 1), (2 * k - 1, 0)))


def closures(g: Generator, steps: int) -> tuple:
    return seven(g), seven(g), steps


# Task 8


def falling(g: Generator, size: int) -> tuple:
    """A falling curve, and values between its first and last."""
    drops = 0.05 + torch.rand(size - 1, generator=g, dtype=torch.float64)
    curve = 1.5 + torch.cat([torch.zeros(1, dtype=torch.float64), drops.flip(0).cumsum(0)]).flip(0) / size
    inside = curve[-1] + (curve[0] - curve[-1]) * torch.rand(4, generator=g, dtype=torch.float64)
    return curve.float(), inside.tolist()


def wavy(g: Generator) -> tuple:
    """A curve that rises in between, and values that it reaches more than once, two of them its own."""
    curve = torch.tensor([2.0, 1.7, 1.85, 1.6, 1.75, 1.5]) + 0.02 * torch.rand(6, generator=g)
    values = torch.tensor([1.8, 1.72, 1.68, 1.62, 1.55]) + 0.01 * torch.rand(5, generator=g)
    return curve, values.double().tolist() + [curve[1].item(), curve[3].item()]


def ends(g: Generator) -> tuple:
    """Worse than one net, as good as one, as good as two, and better than all."""
    curve = falling(g, integer(4, 7, g))[0]
    first, second, last = curve[0].item(), curve[1].item(), curve[-1].item()
    return curve, [first + 0.3, first, second, last, last - 0.1, last - 1.0]


# Bonus


def vertices(g: Generator, count: int, size: int) -> tuple:
    return (2 * normal(count, size, g=g),)


def flat(g: Generator, count: int, size: int) -> tuple:
    """Some simplexes whose last vertex lies between the others: so many that on any processor rounding makes a squared volume negative."""
    drawn = []
    for _ in range(40):
        points = normal(count, size, g=g).double()
        shares = torch.rand(count - 1, generator=g, dtype=torch.float64)
        points[-1] = (shares / shares.sum()) @ points[:-1]
        drawn.append((points,))
    return (drawn,)


def rounds(g: Generator, count: int, k: int, heads: int, momentum: float) -> tuple:
    """Weights and momenta at first, curvature and targets of each head, rate and momentum."""
    size = 5
    curvature = 0.5 + torch.rand(heads, size, generator=g)
    return normal(size, g=g), normal(heads, size, g=g), curvature, normal(count, k, heads, size, g=g), 0.2, momentum


def triangles(g: Generator) -> tuple:
    cycle = 2 * integer(3, 6, g)
    steps = 3 * cycle + integer(1, cycle, g)
    return steps, cycle, 0.05 + float(torch.rand((), generator=g)), 0.01 * float(torch.rand((), generator=g))


def value(inputs: Callable[[Generator], tuple], reason: str = FEW, rtol: float = 1e-4, atol: float = 1e-5) -> Case:
    return Case(inputs, reason=reason, rtol=rtol, atol=atol)


def typed(inputs: Callable[[Generator], tuple], reason: str = FEW, rtol: float = 1e-5, atol: float = 1e-6) -> Case:
    """Also of exactly these types."""
    return Case(inputs, reason=reason, rtol=rtol, atol=atol, dtype="exact")


def half(inputs: Callable[[Generator], tuple]) -> Case:
    return typed(inputs, HALF, rtol=2e-3)


def searched(inputs: Callable[[Generator], tuple]) -> Case:
    return value(inputs, SEARCH, rtol=2e-3, atol=0.0)


def rates(inputs: Callable[[Generator], tuple]) -> Case:
    return typed(inputs, RATES, rtol=1e-9, atol=1e-12)


CASES = {
    "combine/value": typed(lambda g: states(g, 3)),
    "combine/one": typed(lambda g: ([state(g, 7)], [1.0])),
    "combine/hidden": typed(lambda g: states(g, integer(2, 5, g))),
    "combine/half": half(half_states),
    "combine/hidden_half": half(half_states),
    "barriers/value": value(lambda g: errors(g, 3, 5)),
    "barriers/any_order": value(lambda g: errors(g, 4, 6, shuffled=True)),
    "barriers/ends": value(lambda g: below_lines(g, 3)),
    "barriers/hidden": value(lambda g: errors(g, integer(2, 6, g), integer(5, 9, g), shuffled=True)),
    "ensemble_log_probs/value": value(lambda g: logits(g, 3, 4, 5)),
    "ensemble_log_probs/far": value(lambda g: far(g, *logits(g, 3, 3, 4, 150.0))),
    "ensemble_log_probs/excluded": value(lambda g: excluded(g, 3, 2.0)),
    "ensemble_log_probs/hidden": value(lambda g: logits(g, integer(2, 6, g), 3, 6)),
    "ensemble_log_probs/hidden_far": value(lambda g: far(g, *excluded(g, 4, 200.0))),
    "ece/value": value(lambda g: (*log_probs(g, 60, 4, 2.0, 2.0), 5), BINS),
    "ece/few": value(lambda g: log_probs(g, 9, 3, 2.0, 2.0), BINS),
    "ece/hidden": value(lambda g: (*log_probs(g, integer(50, 80, g), 5, 2.0, 2.0), integer(9, 13, g)), BINS),
    "ece/edges": value(lambda g: on_edges(g, 4), BINS),
    "ece/hidden_edges": value(lambda g: on_edges(g, 8), BINS),
    "temperature/value": searched(lambda g: log_probs(g, 120, 5, 3.0, 2.0)),
    "temperature/sharper": searched(lambda g: log_probs(g, 120, 4, 1.0, 0.5)),
    "temperature/hidden": searched(lambda g: log_probs(g, 150, 4, 4.0, 2.5)),
    "temperature/all_right": searched(all_right),
    "temperature/worse_than_chance": searched(worse_than_chance),
    "temperature/hidden_bounds": searched(bounds_and_between),
    "cyclic_cosine/even": rates(lambda g: (15, 3, 0.1)),
    "cyclic_cosine/cut": rates(lambda g: (13, 3, 0.5)),
    "cyclic_cosine/fewer": rates(lambda g: (5, 4, 1.0)),
    "cyclic_cosine/hidden": rates(cycles),
    "recalibrate/value": value(lambda g: (norm_state(g), norm_batches(g, (4, 2, 7))), SUMS),
    "recalibrate/hidden": value(lambda g: (norm_state(g), norm_batches(g, (5, 9, 3, integer(2, 6, g)), 5, 3)), SUMS),
    "recalibrate/frozen_layer": value(frozen_layer, SUMS),
    "recalibrate/training_layer": value(training_layer, SUMS),
    "recalibrate/hidden_modes": value(lambda g: frozen_layer(g, (5, 2, 4)), SUMS),
    "swag_collect/moments": value(lambda g: path(g, 5, 3), SUMS),
    "swag_collect/hidden_moments": value(lambda g: path(g, integer(6, 9, g), 4), SUMS),
    "swag_collect/few": value(lambda g: path(g, 3, 4), SUMS),
    "swag_collect/many": value(lambda g: path(g, 6, 3), SUMS),
    "swag_collect/hidden_few": value(lambda g: path(g, integer(2, 4, g), 5), SUMS),
    "swag_collect/hidden_many": value(lambda g: path(g, integer(6, 9, g), 4), SUMS),
    "swag_sample/value": value(lambda g: moments(g, 4)),
    "swag_sample/scaled": value(lambda g: moments(g, 3, 0.3)),
    "swag_sample/hidden": value(lambda g: moments(g, integer(4, 7, g), 0.8)),
    "swag_sample/constant_weights": value(lambda g: moments(g, 4, constant=True)),
    "swag_sample/one_column": value(lambda g: moments(g, 1)),
    "swag_sample/hidden_constant": value(lambda g: moments(g, 4, 0.7, constant=True)),
    "swag_sample/hidden_column": value(lambda g: moments(g, 1, 0.4)),
    "greedy_soup/four": value(four),
    "greedy_soup/five": value(five),
    "greedy_soup/hidden": value(lambda g: (four, five)[integer(0, 2, g)](g)),
    "greedy_soup/ties": value(ties),
    "greedy_soup/one": value(lambda g: soup(g, (0.8, 0.7, 0.6), {"ab": 0.7, "ac": 0.79})),
    "greedy_soup/half": value(lambda g: soup(g, (0.8, 0.7, 0.6), {"ab": 0.81, "abc": 0.83}, half=True)),
    "greedy_soup/hidden_ties": value(ties),
    "greedy_soup/hidden_one": value(lambda g: soup(g, (0.8, 0.7), {"ab": 0.75})),
    "greedy_soup/hidden_half": value(lambda g: soup(g, (0.8, 0.7, 0.6), {"ab": 0.7, "ac": 0.85}, half=True)),
    "lookahead/momentum": value(lambda g: pushes(g, "sgd", 10, 3, 0.5), STEPS),
    "lookahead/adam": value(lambda g: pushes(g, "adam", 9, 4, 0.3), STEPS),
    "lookahead/without_gradient": value(lambda g: without_gradient(g, 2), STEPS),
    "lookahead/closure": value(lambda g: closures(g, 5), STEPS),
    "lookahead/hidden": value(lambda g: pushes(g, "sgd", 12, integer(2, 5, g), 0.7), STEPS),
    "lookahead/hidden_gradient": value(lambda g: without_gradient(g, 3), STEPS),
    "lookahead/hidden_closure": value(lambda g: closures(g, 6), STEPS),
    "lookahead/resumed": value(lambda g: (*pushes(g, "sgd", 11, 4, 0.5), 6), STEPS),
    "lookahead/resumed_adam": value(lambda g: (*pushes(g, "adam", 9, 3, 0.4), 5), STEPS),
    "lookahead/hidden_resumed": value(lambda g: (*pushes(g, "sgd", 12, 5, 0.6), integer(6, 9, g)), STEPS),
    "dee/falling": value(lambda g: falling(g, 6)),
    "dee/wavy": value(wavy),
    "dee/hidden_falling": value(lambda g: falling(g, integer(5, 9, g))),
    "dee/hidden_wavy": value(wavy),
    "dee/ends": value(ends),
    "dee/single": value(lambda g: (torch.tensor([1.6]) + torch.rand(1, generator=g), [1.0, 3.0])),
    "dee/hidden_ends": value(ends),
    "simplex_volume/triangle": value(lambda g: vertices(g, 3, 5), DETERMINANT),
    "simplex_volume/four": value(lambda g: vertices(g, 4, 3), DETERMINANT),
    "simplex_volume/flat": value(lambda g: flat(g, 4, 6), DETERMINANT),
    "simplex_volume/hidden": value(lambda g: vertices(g, integer(4, 6, g), 7), DETERMINANT),
    "simplex_volume/hidden_flat": value(lambda g: flat(g, 4, 5), DETERMINANT),
    "lookaround/round": value(lambda g: rounds(g, 1, 3, 3, 0.9), SUMS),
    "lookaround/rounds": value(lambda g: rounds(g, 3, 2, 2, 0.8), SUMS),
    "lookaround/hidden": value(lambda g: rounds(g, 2, 4, integer(2, 5, g), 0.7), SUMS),
    "triangular/even": rates(lambda g: (12, 6, 0.05, 5e-4)),
    "triangular/cut": rates(lambda g: (21, 8, 0.1, 0.02)),
    "triangular/hidden": rates(triangles),
}
