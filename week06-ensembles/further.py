"""Week 06, further sections: the trainings of curves, simplexes, Lookahead and Lookaround, and the rows of their tables.

The recipes are in the manner of runs.py, whose MAKE takes those of this file; measure.py hands the parts on. `s` holds the names of the seminar.
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

from lsdl.tables import Row, part

VERTICES, VERTEX = 3, 0.2  # of a simplex; the budget of each vertex after the first, in nets
VERTEX_RATE, REWARD = 0.05, 0.05  # of a vertex's training; lambda, the weight of the volume's logarithm
POINTS = 10  # of a simplex, as an ensemble
PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of a curve, at which a run keeps its nets
DRAWS, TAUS = 30, tuple(10 ** (k / 2) for k in range(-4, 5))  # of KFAC-Laplace: heads; prior precisions that are tried
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


def bent(s: Any, seed: int) -> Run:
    """A quadratic Bezier curve between two nets: its bend is trained with the budget of one net, from the middle (Garipov et al. 2018)."""
    net, settings = blank(s), s.SETTINGS
    points = torch.stack([s.flat(net, state) for state in ends(s, seed)]).to(s.device)  # (2, d)
    points = torch.cat([points, points.mean(0, keepdim=True)])  # the bend comes last
    rates = helpers.cosine(steps_of(s, settings["epochs"]), settings["rate"])
    points[-1] = s.train_last(net, points, lambda g: s.bezier(torch.rand((), generator=g)), rates, 6000 + seed)
    run = kept(s, net, at_points(s, net, [s.bezier(t).to(points) @ points for t in PLACES]), places=PLACES)
    bend = {name: value.cpu().clone() for name, value in s.named(net, points[-1]).items()}
    return Run(run.log_p, {"bend": bend}, run.log)


def grown(s: Any, seed: int) -> Run:
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
    "bezier": bent,
    "simplex": grown,
    "lookahead": lookahead,
    "lookaround": lookaround,
}
# names of the further cells, and one of the homework
NEEDS = {
    "bezier": ("train_last", "settle"),
    "simplex": ("train_last", "settle"),
    "lookahead": ("TimmLookahead",),
    "lookaround": ("settle", "lookaround_round"),
}


def order(settings: dict[str, Any]) -> list[tuple[str, int]]:
    """The runs of this file, for the queue."""
    return [(name, seed) for seed in range(min(settings["few_seeds"], settings["seeds"])) for name in MAKE]


# Parts


@part(minutes=2)
def curves(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Error in percent on the training pictures and on the test at home, on the straight line and on the curve between two nets."""
    net, test = blank(s), s.task.tests[s.task.home]
    for seed in runs.there(s, "bezier", seeds):
        points = torch.stack([s.flat(net, state) for state in ends(s, seed)]).to(s.device)
        bends = {"line": points.mean(0), "curve": s.flat(net, get(s, "bezier", seed).states["bend"]).to(s.device)}
        for kind, bend in bends.items():
            for t in torch.linspace(0, 1, s.SETTINGS["grid"]).tolist():
                s.settle(net, s.bezier(t).to(bend) @ torch.cat([points, bend[None]]))
                errors = {"error": helpers.error(net, s.task.train), "test error": helpers.error(net, test)}
                yield {"seed": seed, "kind": kind, "t": round(t, 4)} | errors


@part(minutes=6)
def plane(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Training error in percent on planes through three points: nets of three seeds; two nets and the bend between them.

    A row is a plane: "x" and "y" of a square grid, "error" [y][x], and "points", the three points' places.
    """
    net, side = blank(s), 2 * s.SETTINGS["grid"] - 1
    for seed in runs.there(s, "bezier", seeds)[:1]:
        two = ends(s, seed)
        third = get(s, "pool", (2 * seed + 2) % s.SETTINGS["pool"]).states["final"]
        for kind, last in {"three seeds": third, "curve": get(s, "bezier", seed).states["bend"]}.items():
            points = torch.stack([s.flat(net, state) for state in (*two, last)]).to(s.device)
            places, axes = in_plane(points)
            middle, reach = (places.amax(0) + places.amin(0)) / 2, 0.7 * (places.amax(0) - places.amin(0)).max().item()
            x, y = (torch.linspace(m - reach, m + reach, side) for m in middle.tolist())
            errors = [
                [_error_at(s, net, points[0] + a * axes[0] + b * axes[1]) for a in x.tolist()] for b in y.tolist()
            ]
            found = {"x": x.tolist(), "y": y.tolist(), "points": places.tolist()}
            yield {"seed": seed, "kind": kind, "error": errors} | {
                key: torch.tensor(value).round(decimals=2).tolist() for key, value in found.items()
            }


def in_plane(points: Tensor) -> tuple[Tensor, Tensor]:
    """Places (3, 2) of three points (3, d) in their plane, and its axes (2, d) by Gram and Schmidt; the origin is the first point."""
    u, v = points[1:] - points[0]
    u = u / u.norm()
    v = v - (v @ u) * u
    axes = torch.stack([u, v / v.norm()])
    return ((points - points[0]) @ axes.T).cpu(), axes


def _error_at(s: Any, net: nn.Module, theta: Tensor) -> float:
    return round(helpers.error(s.settle(net, theta), s.task.train), 1)


@part(minutes=1)
def simplex(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Networks at random points of a simplex as an ensemble, beside the net that is its first vertex; as in `scores`."""
    for seed in runs.there(s, "simplex", seeds):
        yield one_net(s, "one net", "pool", seed)
        run = get(s, "simplex", seed)
        errors = torch.tensor(run.log["train error"])
        row = judged(s, "simplex", seed, 1 + VERTEX * (VERTICES - 1), VERTICES, POINTS, ensemble(s, run))
        row |= {"train error": errors.mean().item(), "worst train error": errors.max().item()}
        yield row | {"distance": sum(run.log["distance"]) / VERTICES, "volume": run.log["volume"]}


@part(minutes=2)
def samples(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Ensembles drawn from an approximate posterior: cSGLD at both temperatures; KFAC-Laplace of the last layer in both forms; as in `scores`."""
    if not hasattr(s, "kron_factors"):  # the further cells were not run
        return
    for seed in runs.there(s, "pool", seeds):
        yield one_net(s, "one net", "pool", seed)
        for form in ("exact", "damped"):
            log_p, tau = kfac(s, get(s, "pool", seed).states["final"], seed, form == "exact")
            yield judged(s, f"KFAC-Laplace, {form}", seed, 1, 1, DRAWS, log_p) | {"tau": tau}
    for heat in ("one", "cold"):
        for seed in runs.there(s, f"csgld-{heat}", seeds):
            run = get(s, f"csgld-{heat}", seed)
            count = len(run.log_p["val"])
            yield judged(s, f"cSGLD, {heat}", seed, 1, count, count, ensemble(s, run))


@part(minutes=1)
def optimisers(s: Any, seeds: Sequence[int]) -> Iterator[Row]:
    """Lookahead and Lookaround beside the pool's nets, which had SGD: equal gradient steps; as in `scores`."""
    for method, name in {"SGD": "pool", "Lookahead": "lookahead", "Lookaround": "lookaround"}.items():
        for seed in runs.there(s, name, seeds):
            yield one_net(s, method, name, seed)


def judged(s: Any, method: str, seed: int, budget: float, nets: int, passes: int, log_p: dict[str, Tensor]) -> Row:
    """A row as in `scores`."""
    import measure  # which imports this file

    return measure.scored(s, method, seed, budget, nets, passes, log_p)


def one_net(s: Any, method: str, name: str, seed: int) -> Row:
    """The row of a run's one net, with its training error."""
    run = get(s, name, seed)
    row = judged(s, method, seed, 1, 1, 1, {key: log_p[0] for key, log_p in run.log_p.items()})
    return row | {"train error": run.log["train error"][0]}


def ensemble(s: Any, run: Run) -> dict[str, Tensor]:
    """All members of a run as one ensemble."""
    import measure  # which imports this file

    return measure.mixed(s, run.log_p)


def kfac(s: Any, state: helpers.State, seed: int, exact: bool) -> tuple[dict[str, Tensor], float]:
    """The ensemble of last layers drawn by KFAC-Laplace, at the prior precision of lowest NLL on validation pictures, and that precision."""
    net, n = blank(s), len(s.task.train[0])
    net.load_state_dict(state)
    A, G, W = s.kron_factors(net, s.task.train[0])
    z = torch.randn(DRAWS, *W.shape, generator=torch.Generator().manual_seed(seed), dtype=W.dtype)

    def predict(images: Tensor, tau: float) -> Tensor:
        return s.ensemble(s.drawn_log_probs(s.features_and_one(net, images), s.draw_heads(W, A, G, n, tau, z, exact)))

    images, labels = s.task.val
    tau = min(TAUS, key=lambda tau: helpers.nll(predict(images, tau), labels).item())
    sets = {"val": s.task.val, **s.task.tests}
    return {key: predict(images, tau).float() for key, (images, _) in sets.items()}, tau
