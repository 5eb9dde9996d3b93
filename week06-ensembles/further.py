"""Week 06, further sections: the trainings of curves, simplexes, Lookahead and Lookaround, and the rows of their tables.

The recipes are in the manner of runs.py, which adds MAKE to its own; the parts are those of measure.py. `s` holds the names of the seminar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import helpers
import runs
import torch
from runs import Run, blank, fresh, get, kept, steps_of
from torch import Tensor, nn

SEEDS = 3  # of every run here
VERTICES, VERTEX, VERTEX_RATE, REWARD = 3, 0.2, 0.05, 0.05  # of a simplex; VERTEX: budget of each after the first, in nets
POINTS = 10  # of a simplex, as an ensemble
PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a curve, at which a run keeps its nets
SYNC, ALPHA, HEADS = 5, 0.5, helpers.RECIPES  # Lookahead's k and alpha; Lookaround's k, and a head for each recipe


def log_volume(points: Tensor) -> Tensor:
    """Half the logarithm of V^2 + 1e-4, where V is the volume of the simplex with these vertices (n + 1, d).

    V n! is the volume of the box of the edges from one vertex, the root of the edges' Gram determinant.
    """
    edges = points[1:] - points[0]
    square = torch.linalg.det(edges @ edges.T) / math.factorial(len(edges)) ** 2
    return (square + 1e-4).log() / 2


# Runs


def ends(s: Any, seed: int) -> list[helpers.State]:
    """Two nets of the pool; other seeds have other nets."""
    size = s.SETTINGS["pool"]
    return [get(s, "pool", (2 * seed + k) % size).states["final"] for k in (0, 1)]


def at_points(s: Any, net: nn.Module, thetas: Sequence[Tensor]) -> list[helpers.State]:
    """The states of networks at some weights (d,), with BatchNorm's statistics anew."""
    return [helpers.state_of(s.settle(net, theta)) for theta in thetas]


def bezier(s: Any, seed: int) -> Run:
    """A quadratic Bezier curve between two nets: its bend is trained with the budget of one net, from the middle (Garipov et al. 2018)."""
    net, settings = blank(s), s.SETTINGS
    points = torch.stack([s.flat(net, state) for state in ends(s, seed)]).to(s.device)  # (2, d)
    points = torch.cat([points, points.mean(0, keepdim=True)])  # the bend comes last
    rates = helpers.cosine(steps_of(s, settings["epochs"]), settings["rate"])
    points[-1] = s.train_last(net, points, lambda g: s.bezier(torch.rand((), generator=g)), rates, 6000 + seed)
    run = kept(s, net, at_points(s, net, [s.bezier(t).to(points) @ points for t in PLACES]), places=PLACES)
    bend = {name: value.cpu().clone() for name, value in s.named(net, points[-1]).items()}
    return Run(run.log_p, {"bend": bend}, run.log)


def simplex(s: Any, seed: int) -> Run:
    """A simplex of low loss: a net of the pool, and vertices that are trained one by one from the mean of those before (Benton et al. 2021).

    The members are networks at random points of it.
    """
    net = blank(s)
    points = s.flat(net, get(s, "pool", seed).states["final"]).to(s.device)[None]  # (1, d)
    rates = helpers.cosine(steps_of(s, VERTEX * s.SETTINGS["epochs"]), VERTEX_RATE)
    while len(points) < VERTICES:
        points = torch.cat([points, points.mean(0, keepdim=True)])
        draw = partial(s.inside, len(points))
        points[-1] = s.train_last(net, points, draw, rates, 6100 + 10 * seed + len(points), reward=REWARD)
    generator = torch.Generator().manual_seed(seed)
    chosen = [s.inside(VERTICES, generator).to(points) @ points for _ in range(POINTS)]
    run = kept(s, net, at_points(s, net, chosen))
    run.log |= {"distance": [(points[i] - points[i - 1]).norm().item() for i in range(VERTICES)]}
    run.log |= {"volume": log_volume(points).exp().item()}
    vertices = {str(k): {n: v.cpu().clone() for n, v in s.named(net, p).items()} for k, p in enumerate(points)}
    return Run(run.log_p, vertices, run.log)


def lookahead(s: Any, seed: int) -> Run:
    """A net with Lookahead around SGD: the budget, rates and pictures of the pool's net of this seed (Zhang et al. 2019)."""
    net, settings = fresh(s, seed), s.SETTINGS
    optimizer = s.TimmLookahead(helpers.sgd(net), alpha=ALPHA, k=SYNC)  # its first sync does nothing, see the seminar
    rates = helpers.cosine(steps_of(s, settings["epochs"]), settings["rate"])
    helpers.train(net, s.task.train, rates, seed=seed, optimizer=optimizer, size=settings["batch_size"])
    helpers.update(net, s.task.train, size=settings["batch_size"])
    return kept(s, net, [helpers.state_of(net)])


def lookaround(s: Any, seed: int) -> Run:
    """A net with Lookaround: a head for each recipe, a third of the epochs for each, by the homework's `lookaround_round` (Zhang et al. 2023).

    The heads share the pictures of a step and BatchNorm's statistics; the rate falls from round to round.
    """
    settings, net, size = s.SETTINGS, fresh(s, seed), s.SETTINGS["batch_size"]
    theta = s.flat(net, net.state_dict()).detach()
    momenta, done, decay = torch.zeros(len(HEADS), len(theta), device=theta.device), 0, 5e-4
    rounds = max(1, steps_of(s, settings["epochs"] / len(HEADS)) // SYNC)

    def gradient(head: int, step: int, theta: Tensor) -> Tensor:
        x, y = helpers.batch(s.task.train, done + step, seed, size, (HEADS[head],))
        net.load_state_dict(s.named(net, theta), strict=False)
        with torch.autocast("cuda", torch.bfloat16, enabled=theta.is_cuda):
            loss = nn.functional.cross_entropy(net.train()(x.to(theta.device)), y.to(theta.device))
        found = torch.autograd.grad(loss, list(net.parameters()))
        return torch.cat([g.flatten() for g in found]) + decay * theta

    for rate in helpers.cosine(rounds, settings["rate"]).tolist():
        theta, momenta = s.lookaround_round(theta, momenta, gradient, SYNC, rate, 0.9)
        done += SYNC
    return kept(s, net, at_points(s, net, [theta]))


MAKE: dict[str, Callable[..., Run]] = {
    "bezier": bezier,
    "simplex": simplex,
    "lookahead": lookahead,
    "lookaround": lookaround,
}
NEEDS = {"lookaround": ("lookaround_round",)}


def order(settings: dict[str, Any]) -> list[tuple[str, int]]:
    """The runs of this file, for the queue."""
    return [(name, seed) for seed in range(min(SEEDS, settings["seeds"])) for name in MAKE]
