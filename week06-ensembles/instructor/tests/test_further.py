"""Week 06's curves, simplexes, Langevin noise, KFAC-Laplace, Lookahead and Lookaround."""

from __future__ import annotations

import math
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

if TYPE_CHECKING:
    from lsdl.author.homework import Homework


@pytest.fixture(scope="module")
def further(homework: Homework) -> ModuleType:
    with homework.at_home():
        import further

        return further


def test_a_bezier_curve_starts_and_ends_at_its_ends(seminar: SimpleNamespace) -> None:
    points = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 2.0]])
    found = torch.stack([seminar.bezier(t) @ points for t in (0.0, 0.5, 1.0)])
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.0], [1.0, 1.0], [2.0, 0.0]]))


def test_points_of_a_simplex_are_uniform(seminar: SimpleNamespace) -> None:
    generator = torch.Generator().manual_seed(0)
    shares = torch.stack([seminar.inside(3, generator) for _ in range(4000)])
    torch.testing.assert_close(shares.sum(1), torch.ones(4000))
    torch.testing.assert_close(shares.mean(0), torch.full((3,), 1 / 3), atol=0.02, rtol=0)  # Dirichlet(1, 1, 1)
    torch.testing.assert_close(shares.var(0), torch.full((3,), 1 / 18), atol=0.005, rtol=0)


def test_the_volume_is_that_of_cayley_and_menger(further: ModuleType) -> None:
    points = torch.randn(4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    M = torch.ones(5, 5, dtype=torch.float64)
    M[0, 0], M[1:, 1:] = 0, torch.cdist(points, points).square()
    square = torch.linalg.det(M) / (2**3 * math.factorial(3) ** 2)  # (-1)^(n + 1) is 1 for n = 3
    assert further.log_volume(points).item() == pytest.approx(0.5 * math.log(square + 1e-4), rel=1e-9)
    right = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    assert further.log_volume(right).exp().item() == pytest.approx(6, rel=1e-4)


def test_only_the_last_point_is_trained_and_vectors_are_networks(seminar: SimpleNamespace) -> None:
    net = seminar.helpers.make_net("smoke", 18, 0)
    theta = seminar.flat(net, net.state_dict())
    for name, value in seminar.named(net, theta).items():
        assert torch.equal(value, net.state_dict()[name])
    points = torch.stack([theta, theta])
    rates = torch.full((2,), 0.05, dtype=torch.float64)
    last = seminar.train_last(net, points, lambda g: seminar.inside(2, g), rates, 0, reward=0.05)
    assert (last - theta).norm() > 0 and torch.equal(points[0], theta)
    assert torch.equal(seminar.flat(net, net.state_dict()), theta)


def test_gram_and_schmidt_keep_distances(seminar: SimpleNamespace) -> None:
    points = torch.randn(3, 50, generator=torch.Generator().manual_seed(0))
    places, axes = seminar.further.in_plane(points)
    torch.testing.assert_close(torch.cdist(places, places), torch.cdist(points, points), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(points[0] + places @ axes, points, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("exact", [True, False])
def test_heads_have_the_covariance_of_the_kronecker_precision(seminar: SimpleNamespace, exact: bool) -> None:
    generator, n, tau = torch.Generator().manual_seed(0), 50, 0.3
    a, g = (torch.randn(40, d, dtype=torch.float64, generator=generator) for d in (4, 3))
    A, G, W = a.T @ a / 40, g.T @ g / 40, torch.zeros(3, 4, dtype=torch.float64)
    eye = torch.eye(12, dtype=torch.float64)
    # a draw is linear in z: its matrix column by column
    maps = seminar.draw_heads(W, A, G, n, tau, eye.view(12, 3, 4), exact).flatten(1).T
    if exact:
        precision = n * torch.kron(G, A) + tau * eye
    else:
        one, other = (n**0.5 * M + tau**0.5 * torch.eye(len(M), dtype=torch.float64) for M in (G, A))
        precision = torch.kron(one, other)
    torch.testing.assert_close(maps @ maps.T, torch.linalg.inv(precision))


def test_the_factors_are_the_curvature_of_one_picture(seminar: SimpleNamespace) -> None:
    """For one picture G (x) A is the Hessian of its loss exactly."""
    net, image = seminar.helpers.make_net("smoke", 3, 0), seminar.task.train[0][:1]
    A, G, W = seminar.kron_factors(net, image)
    a = seminar.features_and_one(net, image)
    loss = lambda flat: nn.functional.cross_entropy(a @ flat.view_as(W).T, torch.tensor([1]))  # noqa: E731
    hessian = torch.func.hessian(loss)(W.flatten())
    torch.testing.assert_close(torch.kron(G, A), hessian, atol=1e-10, rtol=1e-6)


def test_the_exact_form_is_laplace_torchs(seminar: SimpleNamespace) -> None:
    laplace = pytest.importorskip("laplace")  # 11 packages: by hand
    from laplace.curvature import CurvlinopsGGN

    generator, tau = torch.Generator().manual_seed(0), 0.3
    x = torch.randn(60, 5, dtype=torch.float64, generator=generator)
    y = torch.randint(3, (60,), generator=generator)
    net = nn.Sequential(nn.Identity(), nn.Linear(5, 3, bias=False)).double()
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=60)
    found = laplace.Laplace(net, "classification", "last_layer", "kron", prior_precision=tau, backend=CurvlinopsGGN)
    found.fit(loader)
    p = net(x).softmax(1).detach()
    A, G = x.T @ x / 60, torch.diag(p.mean(0)) - p.T @ p / 60
    expected = 60 * torch.kron(G, A) + tau * torch.eye(15, dtype=torch.float64)
    torch.testing.assert_close(found.posterior_precision.to_matrix(), expected, atol=1e-10, rtol=1e-8)


def test_timms_first_sync_does_nothing(seminar: SimpleNamespace) -> None:
    weight, path = nn.Parameter(torch.zeros(1)), []
    optimizer = seminar.TimmLookahead(torch.optim.SGD([weight], lr=1.0), alpha=0.5, k=3)
    for _ in range(6):
        weight.grad = -torch.ones(1)
        optimizer.step()
        path.append(weight.item())
    assert path == [1, 2, 3, 4, 5, 4.5]  # the paper: 1, 2, 1.5, 2.5, 3.5, 3


def test_the_recipes_run_with_cheap_settings(week: Path, homework: Homework) -> None:
    import importlib.util

    from lsdl.author.seminar import seminar_names
    from lsdl.tables import Names

    spec = importlib.util.spec_from_file_location("week06_train", week / "instructor" / "train.py")
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    with homework.at_home():
        import further
        import runs

        names = seminar_names(week, train.CHEAP)
        solution = homework.namespace().get("lookaround_round")
        names |= {"lookaround_round": solution} if solution else {}
        runs.stored(None)
        for name, make in further.MAKE.items():
            if all(need in names for need in further.NEEDS.get(name, ())):
                run = make(Names(names), 0)
                assert run.log_p["val"].shape[1:] == (102, 18) and len(run.log["train error"]) == len(run.log_p["val"])
        runs.stored(None)
