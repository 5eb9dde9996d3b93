"""Week 06's solutions beside torch, torchmetrics, scikit-learn, scipy and plain loops on the same inputs, and its cases by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, logsumexp
from sklearn.metrics import brier_score_loss, log_loss
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, CyclicLR, LRScheduler
from torch.optim.swa_utils import AveragedModel
from torchmetrics.functional.classification import multiclass_calibration_error

from lsdl.author.homework import Homework, Namespace

SHARE = 0.25


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def near(found: torch.Tensor | list | float, expected: list | float, atol: float = 6e-4) -> None:
    both = (torch.as_tensor(x, dtype=torch.float64).flatten() for x in (found, expected))
    torch.testing.assert_close(*both, atol=atol, rtol=0)


# Task 1


def test_equal_weights_are_swa_utils_average(solutions: Namespace) -> None:
    nets = [nn.Sequential(nn.Conv2d(1, 3, 2), nn.BatchNorm2d(3)) for _ in range(4)]
    for k, net in enumerate(nets):
        for parameter in net.parameters():
            parameter.data = draw(*parameter.shape, seed=k)
        net(draw(2, 1, 4, 4, seed=9 + k))
    averaged = AveragedModel(nets[0], use_buffers=True)
    for net in nets:
        averaged.update_parameters(net)
    mine = solutions["combine"]([net.state_dict() for net in nets], [0.25] * 4)
    for name, theirs in averaged.module.state_dict().items():
        torch.testing.assert_close(mine[name], theirs)


def test_barriers_are_those_of_plain_loops(solutions: Namespace) -> None:
    alphas = torch.tensor([0.5, 1.0, 0.1, 0.0, 0.8])
    errors = 50 * draw(3, 5).abs()
    line, mean = solutions["barriers"](alphas, errors)
    for k, row in enumerate(errors.tolist()):
        start, end = row[3], row[1]
        rises = [e - (1 - a) * start - a * end for a, e in zip(alphas.tolist(), row, strict=True)]
        near(line[k], max(rises))
        near(mean[k], max(row) - (start + end) / 2)
    assert (line >= 0).all() and (mean >= 0).all()
    equal = torch.cat([errors, errors[:, 3:4]], 1)[:, [3, 0, 2, 4, 5]]  # the two ends are alike
    near(*(x.tolist() for x in solutions["barriers"](torch.tensor([0, 0.3, 0.5, 0.6, 1]), equal)))


# Task 2


def test_ensembles_are_scipys_and_no_worse_than_their_mean_member(solutions: Namespace) -> None:
    """Jensen: NLL and Brier score of the mean probability are at most the means of NLL and Brier score."""
    logits = 3 * draw(4, 30, 5)
    found = solutions["ensemble_log_probs"](logits)
    theirs = logsumexp(log_softmax(logits.double().numpy(), -1), axis=0) - math.log(4)
    near(found, theirs.tolist(), 1e-5)
    labels = torch.arange(30) % 5
    for score in (log_loss, brier_score_loss):
        whole, *members = (
            score(labels, x.double().softmax(-1).numpy(), labels=list(range(5))) for x in (found, *logits)
        )
        assert whole <= sum(members) / 4
    near(F.nll_loss(found, labels), log_loss(labels, found.double().softmax(-1).numpy(), labels=list(range(5))), 1e-5)


@pytest.mark.parametrize("bins", [3, 10, 15])
def test_ece_is_torchmetrics_off_the_edges(solutions: Namespace, bins: int) -> None:
    for seed in range(5):
        logs, labels = (2 * draw(80, 4, seed=seed)).log_softmax(1), torch.arange(80) % 4
        theirs = multiclass_calibration_error(logs.exp(), labels, 4, n_bins=bins)
        near(solutions["ece"](logs, labels, bins), theirs.item(), 1e-6)


def test_ece_and_torchmetrics_differ_on_an_edge(solutions: Namespace) -> None:
    """Theirs are [lo, hi): a confidence of 0.5 shares its bin with that of 0.6 above."""
    p = torch.tensor([[0.5, 0.25, 0.25], [0.6, 0.2, 0.2], [0.4, 0.3, 0.3]])
    labels = torch.tensor([0, 1, 1])  # gaps 0.5, -0.6, -0.4
    near(solutions["ece"](p.log(), labels, 2), (abs(0.5 - 0.4) + 0.6) / 3)
    near(multiclass_calibration_error(p, labels, 3, n_bins=2).item(), (abs(0.5 - 0.6) + 0.4) / 3)


@pytest.mark.parametrize("spread, true", [(3.0, 2.5), (1.0, 0.4), (2.0, 1.0)])
def test_temperature_is_scipys(solutions: Namespace, spread: float, true: float) -> None:
    x = spread * draw(300, 6)
    labels = torch.multinomial((x / true).softmax(1), 1, generator=torch.Generator().manual_seed(0))[:, 0]
    logs = x.log_softmax(1).double()
    theirs = minimize_scalar(
        lambda t: F.cross_entropy(logs / t, labels).item(), bounds=(0.05, 20), method="bounded", options={"xatol": 1e-7}
    ).x
    found = solutions["temperature"](logs.float(), labels)
    assert found == pytest.approx(theirs, rel=1e-4) and found == pytest.approx(true, rel=0.3)


def test_temperature_is_found_again_after_scaling(solutions: Namespace) -> None:
    logs, labels = (2 * draw(50, 3)).log_softmax(1), torch.arange(50) % 3
    logs[torch.arange(50), labels] += 1.5
    t = solutions["temperature"](logs, labels)
    assert solutions["temperature"](3 * logs, labels) == pytest.approx(3 * t, rel=1e-4)
    assert solutions["temperature"]((logs / t).log_softmax(1), labels) == pytest.approx(1, rel=1e-4)


# Task 3 and triangular cycles


def rates_of(make: Callable[[torch.optim.Optimizer], LRScheduler], rate: float, steps: int) -> list[float]:
    """The rates of a scheduler of torch, step by step."""
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=rate)
    scheduler, rates = make(optimizer), []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("steps, cycles", [(540, 5), (100, 3), (7, 4), (6, 1)])
def test_cyclic_cosine_is_torchs(solutions: Namespace, steps: int, cycles: int) -> None:
    c = math.ceil(steps / cycles)
    rates, snapshots = solutions["cyclic_cosine"](steps, cycles, 0.1)
    near(rates, rates_of(lambda optimizer: CosineAnnealingWarmRestarts(optimizer, c), 0.1, steps), 1e-15)
    assert snapshots == [t for t in range(steps) if t == steps - 1 or rates[t + 1] > rates[t]]  # before it rises


@pytest.mark.parametrize("steps, cycle", [(180, 36), (50, 8), (3, 8)])
def test_triangular_is_torchs_half_a_cycle_later(solutions: Namespace, steps: int, cycle: int) -> None:
    half = cycle // 2
    theirs = rates_of(lambda optimizer: CyclicLR(optimizer, 5e-4, 0.05, half, cycle_momentum=False), 5e-4, half + steps)
    rates, snapshots = solutions["triangular"](steps, cycle, 0.05, 5e-4)
    near(rates, theirs[half:], 1e-15)
    assert snapshots == [t for t in range(steps) if t % cycle == half - 1]
    assert all(rates[t + 1] == rates.min() for t in snapshots if t + 1 < steps)  # the lowest rate comes next


# The checks


def test_libraries_pasted_into_the_stubs_earn_at_most_a_quarter_of_a_task(homework: Homework) -> None:
    """Week 01's functions for two ends, and what libraries call by the same names."""

    def two_ends(states: list, weights: list) -> dict:
        start, end = states[:2]
        return {
            name: weights[0] * x + weights[1] * end[name] if x.is_floating_point() else end[name].clone()
            for name, x in start.items()
        }

    def height(alphas: torch.Tensor, errors: torch.Tensor) -> float:
        return float((errors - (1 - alphas) * errors[:, :1] - alphas * errors[:, -1:]).max())

    def torchmetrics_ece(logs: torch.Tensor, labels: torch.Tensor, bins: int = 15) -> float:
        return multiclass_calibration_error(logs.exp(), labels, logs.shape[1], n_bins=bins).item()

    pasted: dict[str, Callable] = {
        "combine": two_ends,
        "barriers": height,
        "ensemble_log_probs": lambda logits: logits.softmax(-1).mean(0).log(),
        "ece": torchmetrics_ece,
        "cyclic_cosine": lambda steps, cycles, rate: rates_of(
            lambda optimizer: CosineAnnealingWarmRestarts(optimizer, steps // cycles), rate, steps
        ),
    }
    stubs = homework.namespace(stubs=True)
    with homework.replaced(stubs, pasted):
        for task in homework.tasks:
            cells = [cell for cell in task.graded if cell in homework.unit_cells]
            earned = sum(cell.points for cell in cells if homework.run_cell(cell, stubs, hidden=False) is None)
            assert earned <= SHARE * task.points, task.title


def unclamped(points: torch.Tensor) -> torch.Tensor:
    """By Cayley and Menger, without a thought of rounding."""
    n = len(points) - 1
    matrix = torch.ones(n + 2, n + 2, dtype=torch.float64)
    matrix[0, 0], matrix[1:, 1:] = 0, (points[:, None] - points).double().square().sum(-1)
    return ((-1) ** (n + 1) * torch.linalg.det(matrix) / 2**n).sqrt() / math.factorial(n)


ALMOST: dict[str, tuple[str, Callable[[Callable], Callable]]] = {
    "integers as floats": (
        "combine_value",
        lambda own: lambda *given: {name: x.float() for name, x in own(*given).items()},
    ),
    "half as float32": ("combine_half", lambda own: lambda *given: {n: x.float() for n, x in own(*given).items()}),
    "bfloat16 of the first": (
        "combine_half",
        lambda own: (
            lambda states, weights: (
                own(states, weights) | {name: x for name, x in states[0].items() if x.dtype == torch.bfloat16}
            )
        ),
    ),
    "a root of rounding": ("simplex_volume_value", lambda own: unclamped),
    "barriers of one pair": ("barriers_value", lambda own: lambda a, e: own(a, e[:1])),
    "T left of its bound": ("temperature_bounds", lambda own: lambda *given: max(own(*given), 0.06)),
    "float32 rates": ("cyclic_cosine_value", lambda own: lambda *given: (own(*given)[0].float(), own(*given)[1])),
    "no snapshots": ("cyclic_cosine_value", lambda own: lambda *given: own(*given)[0]),
    "float32 triangle": ("triangular_value", lambda own: lambda *given: (own(*given)[0].float(), own(*given)[1])),
}


@pytest.mark.parametrize("kind", ALMOST)
def test_visible_checks_ask_for_what_the_text_asks(homework: Homework, solutions: Namespace, kind: str) -> None:
    grade_id, wrong = ALMOST[kind]
    cell = next(cell for cell in homework.unit_cells if cell.grade_id == grade_id)
    name = grade_id.rsplit("_", 1)[0]
    with homework.replaced(solutions, {name: wrong(solutions[name])}):
        assert isinstance(homework.run_cell(cell, solutions, hidden=False), AssertionError)


# Cases by hand


def test_task_1_by_hand(solutions: Namespace) -> None:
    ends = [{"w": torch.tensor([w]), "mean": torch.tensor([w]), "n": torch.tensor(n)} for w, n in ((2.0, 7), (6.0, 11))]
    mixed = solutions["combine"](ends, [0.25, 0.75])
    near(torch.cat([mixed["w"], mixed["mean"], mixed["n"][None]]), [5, 5, 7])
    errors = torch.tensor([[10.0, 60, 30]])
    near(solutions["barriers"](torch.tensor([0, 0.5, 1]), errors), [[40.0], [40.0]])
    near(solutions["barriers"](torch.tensor([0, 0.25, 1]), errors), [[45.0], [40.0]])


def test_task_2_by_hand(solutions: Namespace) -> None:
    logits = torch.tensor([[[0.9, 0.1]], [[0.5, 0.5]]]).log() + 3
    near(solutions["ensemble_log_probs"](logits), [-0.357, -1.204])
    logs = torch.tensor([[0.6, 0.3, 0.1], [0.8, 0.1, 0.1], [0.5, 0.3, 0.2]]).log()
    near(solutions["ece"](logs, torch.tensor([0, 1, 0]), 2), 0.3)
    same = torch.tensor([[0.8, 0.2]] * 3).log()
    near(solutions["temperature"](same, torch.tensor([0, 1, 0])), 2.0)
    near(solutions["temperature"](same, torch.tensor([0, 0, 0])), 0.05)
    near(solutions["temperature"](same, torch.tensor([1, 1, 1])), 20)


def test_schedules_by_hand(solutions: Namespace) -> None:
    rates, snapshots = solutions["cyclic_cosine"](10, 3, 1.0)
    near(rates, [1, 0.854, 0.5, 0.146] * 2 + [1, 0.854])
    assert snapshots == [3, 7, 9] and solutions["cyclic_cosine"](5, 4, 1.0)[1] == [1, 3, 4]
    rates, snapshots = solutions["triangular"](8, 4, 1.0, 0.2)
    near(rates, [1, 0.6, 0.2, 0.6] * 2)
    assert snapshots == [1, 5] and solutions["triangular"](9, 4, 1.0, 0.2)[1] == [1, 5]
