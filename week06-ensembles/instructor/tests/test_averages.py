"""Week 06's solutions beside torch, timm and plain formulas on the same inputs, and its cases by hand."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
import timm.optim
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, update_bn

from lsdl.author.homework import Homework, Namespace

LIBRARIES_SHARE = 0.25


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def checking(homework: Homework) -> ModuleType:
    with homework.at_home():
        import checking

        return checking


# Task 4


def norm_net(seed: int) -> nn.Sequential:
    """Convolution and linear layer, each with a BatchNorm."""
    torch.manual_seed(seed)
    body = [nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten()]
    return nn.Sequential(*body, nn.Linear(5, 6), nn.BatchNorm1d(6, momentum=0.2), nn.Linear(6, 2))


@pytest.mark.parametrize("training", [True, False])
def test_recalibrated_statistics_are_update_bns(solutions: Namespace, training: bool) -> None:
    ours, theirs = norm_net(0).train(training), norm_net(0).train(training)
    batches = [draw(n, 3, 6, 6, seed=n) for n in (4, 2, 9)]
    assert solutions["recalibrate"](ours, batches) is None
    update_bn(batches, theirs)
    for (name, a), (_, b) in zip(ours.state_dict().items(), theirs.state_dict().items(), strict=True):
        assert torch.equal(a, b), name
    assert [(m.training, getattr(m, "momentum", 0)) for m in ours.modules()] == [
        (m.training, getattr(m, "momentum", 0)) for m in theirs.modules()
    ]


def test_a_recalibrated_net_sees_its_batches_as_in_training(solutions: Namespace) -> None:
    """One batch, seen once: the statistics are its own, but for the unbiased variance."""
    net, batch = norm_net(1), draw(50, 3, 6, 6)
    solutions["recalibrate"](net, [batch])
    assert (net.eval()(batch) - net.train()(batch)).abs().max() < 0.02 * net(batch).abs().max()


def test_recalibrating_without_dropout_is_what_differs_from_update_bn(solutions: Namespace) -> None:
    nets = [nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(3)).eval() for _ in range(2)]
    batches = [draw(20, 3), draw(20, 3, seed=1)]
    solutions["recalibrate"](nets[0], batches)
    update_bn(batches, nets[1])
    plain = sum(x.var(0) for x in batches) / 2
    torch.testing.assert_close(nets[0][1].running_var, plain)
    assert (nets[1][1].running_var > 1.2 * plain).any()


# Task 5


def collected(solutions: Namespace, path: torch.Tensor, columns: int) -> dict:
    state = None
    for weights in path:
        state = solutions["swag_collect"](state, weights, columns)
    return state


def test_swags_moments_are_those_of_the_whole_path(solutions: Namespace) -> None:
    path = draw(9, 6)
    state = collected(solutions, path, 4)
    assert state["n"] == 9 and state["deviations"].shape == (6, 4)
    torch.testing.assert_close(state["mean"], path.mean(0))
    torch.testing.assert_close(state["square"], path.square().mean(0))
    for column, t in zip(state["deviations"].T, range(5, 9), strict=True):
        torch.testing.assert_close(column, path[t] - path[: t + 1].mean(0))


def test_swags_mean_is_swas(solutions: Namespace) -> None:
    net, path = nn.Linear(2, 2), draw(5, 6)
    averaged, state = AveragedModel(net), None
    for weights in path:
        nn.utils.vector_to_parameters(weights, net.parameters())
        averaged.update_parameters(net)
        state = solutions["swag_collect"](state, nn.utils.parameters_to_vector(net.parameters()).detach(), 3)
    torch.testing.assert_close(state["mean"], nn.utils.parameters_to_vector(averaged.module.parameters()).detach())


def test_the_covariance_of_20000_swag_samples_is_the_papers(solutions: Namespace) -> None:
    """Within 6 standard errors: (diag + D D^T / (K - 1)) / 2 at the scale 1/2."""
    state, draws = collected(solutions, draw(12, 6), 5), 20000
    generator = torch.Generator().manual_seed(1)
    z1, z2 = torch.randn(draws, 6, generator=generator), torch.randn(draws, 5, generator=generator)
    samples = torch.stack([solutions["swag_sample"](state, a, b) for a, b in zip(z1, z2, strict=True)]).double()
    D = state["deviations"].double()
    expected = (torch.diag((state["square"] - state["mean"] ** 2).double()) + D @ D.T / 4) / 2
    error = ((expected.diag()[:, None] * expected.diag() + expected**2) / draws).sqrt()
    assert ((samples.T.cov() - expected).abs() < 6 * error).all()
    assert ((samples.mean(0) - state["mean"]).abs() < 6 * (expected.diag() / draws).sqrt()).all()


# Task 6


@pytest.mark.parametrize("seed", range(5))
def test_the_greedy_soup_is_algorithm_1_written_with_sets(solutions: Namespace, seed: int) -> None:
    states = [{"w": draw(3, seed=10 * seed + i)} for i in range(6)]

    def accuracy(state: dict) -> float:
        return round(1 / (1 + state["w"].square().sum().item()), 1)

    def of(nets: list[int]) -> dict:
        return {"w": torch.stack([states[i]["w"] for i in nets]).mean(0)}

    indices, soup = solutions["greedy_soup"](states, accuracy)
    order = sorted(range(6), key=lambda i: (-accuracy(states[i]), i))
    joined = order[:1]
    for i in order[1:]:
        joined = [*joined, i] if accuracy(of([*joined, i])) >= accuracy(of(joined)) else joined
    assert indices == joined
    torch.testing.assert_close(soup["w"], of(joined)["w"])


# Task 7


@pytest.mark.parametrize("inner", ["sgd", "adam"])
def test_lookahead_is_timms_from_the_second_sync_on(solutions: Namespace, checking: ModuleType, inner: str) -> None:
    """timm's slow weights come into being at the first sync, which so does nothing: an object that begins there is the same."""
    k, alpha, start = 3, 0.5, [draw(2, 2), draw(3, seed=1)]
    gradients = [[draw(*x.shape, seed=10 * t + i) for i, x in enumerate(start)] for t in range(12)]

    def walker(wrap: Callable) -> tuple[list, list]:
        params = [nn.Parameter(x.clone()) for x in start]
        optimizer = checking.OPTIMIZERS[inner]([{"params": params}])
        return params, [optimizer, wrap(optimizer)]

    theirs, (_, timms) = walker(lambda o: timm.optim.Lookahead(o, alpha=alpha, k=k))
    ours, (plain, _) = walker(lambda o: None)
    first = [checking.walk(o, p, gradients[:k]) for o, p in ((timms, theirs), (plain, ours))]
    assert all(map(torch.equal, *first))
    lookahead = solutions["Lookahead"](plain, k, alpha)
    for a, b in zip(
        checking.walk(timms, theirs, gradients[k:]), checking.walk(lookahead, ours, gradients[k:]), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_timms_path_of_unit_steps_is_another(solutions: Namespace) -> None:
    def path(wrap: Callable) -> list[float]:
        p = nn.Parameter(torch.zeros(1))
        optimizer, found = wrap(torch.optim.SGD([p], lr=1.0)), []
        for _ in range(6):
            p.grad = -torch.ones(1)
            optimizer.step()
            found.append(p.item())
        return found

    assert path(lambda o: solutions["Lookahead"](o, 3, 0.5)) == [1, 2, 1.5, 2.5, 3.5, 3]
    assert path(lambda o: timm.optim.Lookahead(o, alpha=0.5, k=3)) == [1, 2, 3, 4, 5, 4.5]


def test_a_state_survives_torch_save(solutions: Namespace, tmp_path) -> None:
    p = nn.Parameter(draw(3))
    optimizer = solutions["Lookahead"](torch.optim.Adam([p]), 4)
    p.grad = torch.ones(3)
    optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    solutions["Lookahead"](torch.optim.Adam([nn.Parameter(draw(3))]), 4).load_state_dict(
        torch.load(tmp_path / "state.pt", weights_only=True)
    )


def test_slow_weights_in_the_parameters_memory_get_a_hint_that_says_so(
    homework: Homework, solutions: Namespace
) -> None:
    cell = next(cell for cell in homework.unit_cells if cell.grade_id == "lookahead_path")

    class Shared(solutions["Lookahead"]):
        def __init__(self, *given) -> None:
            super().__init__(*given)
            self.slow = [p.detach() for group in self.param_groups for p in group["params"]]

    with homework.replaced(solutions, {"Lookahead": Shared}):
        assert "clone them" in str(homework.run_cell(cell, solutions, hidden=False))


# Task 8


def test_on_a_falling_curve_dee_is_numpys_interpolation(solutions: Namespace) -> None:
    curve = draw(8).abs().cumsum(0).flip(0)
    sizes = np.arange(1.0, 9.0)
    for nll in np.linspace(curve[-1].item(), curve[0].item(), 30):
        expected = np.interp(nll, curve.flip(0).double().numpy(), sizes[::-1])
        assert solutions["deep_ensemble_equivalent"](curve, nll) == pytest.approx(expected)
    for size in sizes:
        assert solutions["deep_ensemble_equivalent"](curve, curve[int(size) - 1].item()) == size


def test_on_any_curve_dee_is_the_first_point_of_a_fine_grid(solutions: Namespace) -> None:
    grid = np.linspace(1, 7, 60001)
    for seed in range(20):
        curve = draw(7, seed=seed).double()
        values = np.interp(grid, np.arange(1.0, 8.0), curve.numpy())
        for nll in (-0.5, 0.0, 0.5):
            reached = np.flatnonzero(values <= nll)
            expected = grid[reached[0]] if len(reached) else 7.0
            assert solutions["deep_ensemble_equivalent"](curve, nll) == pytest.approx(expected, abs=2e-4)


# Bonus


@pytest.mark.parametrize("n, d", [(1, 4), (2, 2), (3, 7), (5, 5)])
def test_cayley_menger_is_gram(solutions: Namespace, n: int, d: int) -> None:
    points = draw(n + 1, d, seed=n).double()
    edges = points[1:] - points[0]
    gram = torch.linalg.det(edges @ edges.T).sqrt() / math.factorial(n)
    torch.testing.assert_close(solutions["simplex_volume"](points), gram)
    if n == d:
        torch.testing.assert_close(gram, torch.linalg.det(edges).abs() / math.factorial(n))


def test_one_head_of_lookaround_is_sgd(solutions: Namespace) -> None:
    p = nn.Parameter(draw(4))
    sgd, weights, momenta = torch.optim.SGD([p], lr=0.1, momentum=0.9), draw(4), torch.zeros(1, 4)
    gradient = lambda head, step, w: w.sin() + step  # noqa: E731
    for _ in range(3):
        weights, momenta = solutions["lookaround_round"](weights, momenta, gradient, 5, 0.1)
        for step in range(5):
            p.grad = gradient(0, step, p.detach())
            sgd.step()
        torch.testing.assert_close(weights, p.detach())
        torch.testing.assert_close(momenta[0], sgd.state[p]["momentum_buffer"])


# All


def test_libraries_pasted_into_the_stubs_of_tasks_4_to_8_earn_at_most_a_quarter(homework: Homework) -> None:
    pasted: dict[str, Callable] = {
        "recalibrate": lambda model, batches: update_bn(batches, model),
        "Lookahead": lambda optimizer, k, alpha: timm.optim.Lookahead(optimizer, alpha, k),
        "deep_ensemble_equivalent": lambda curve, nll: float(np.interp(nll, curve, np.arange(1.0, len(curve) + 1))),
    }
    stubs = homework.namespace(stubs=True)
    with homework.replaced(stubs, pasted):
        for task in (task for task in homework.tasks if pasted.keys() & set(task.names)):
            cells = [cell for cell in task.graded if cell in homework.unit_cells]
            earned = sum(cell.points for cell in cells if homework.run_cell(cell, stubs, hidden=False) is None)
            assert earned <= LIBRARIES_SHARE * task.points, task.title


def test_the_cases_by_hand_of_tasks_4_to_8(solutions: Namespace) -> None:
    norm = nn.BatchNorm1d(1)
    solutions["recalibrate"](norm, [torch.tensor([[1.0], [3]]), torch.tensor([[4.0], [6], [8]])])
    assert (norm.running_mean.item(), norm.running_var.item()) == (4, 3)
    state = None
    for theta in (1.0, 3.0):
        state = solutions["swag_collect"](state, torch.tensor([theta]), 2)
    assert (state["mean"].item(), state["square"].item(), state["deviations"].tolist()) == (2, 5, [[0, 1]])
    sample = solutions["swag_sample"](state, torch.tensor([2.0]), torch.tensor([7.0, 2.0]))
    assert sample.item() == pytest.approx(4.83, abs=0.005)
    values = {(0,): 0.7, (1,): 0.8, (2,): 0.7, (0, 1): 0.8, (0, 1, 2): 0.79}
    evaluate = lambda state: values[tuple(torch.nonzero(state["mix"]).flatten().tolist())]  # noqa: E731
    indices, soup = solutions["greedy_soup"]([{"mix": row} for row in torch.eye(3)], evaluate)
    assert indices == [1, 0] and soup["mix"].tolist() == [0.5, 0.5, 0]
    worth = [solutions["deep_ensemble_equivalent"](torch.tensor([2.0, 1.6, 1.5]), nll) for nll in (1.8, 1.2, 2.3)]
    assert worth == pytest.approx([1.5, 3, 1])


def test_the_cases_by_hand_of_the_bonus(solutions: Namespace) -> None:
    triangle = torch.tensor([[0.0, 0], [3, 0], [0, 4]])
    assert all(solutions["simplex_volume"](triangle[list(p)]).item() == pytest.approx(6) for p in itertools.permutations(range(3)))  # fmt: skip
    assert solutions["simplex_volume"](torch.tensor([[0.0], [1], [2]])).item() == pytest.approx(0, abs=1e-6)
    gradient = lambda head, step, w: torch.tensor([-1.0 - 2 * head])  # noqa: E731
    weights, momenta = solutions["lookaround_round"](torch.zeros(1), torch.zeros(2, 1), gradient, 1, 1.0)
    assert (weights.item(), momenta.flatten().tolist()) == (2, [-1, -3])
