"""Week 06's functions beside libraries: same input, same result, time of the library over ours (`make bench`).

A ratio over 1 means that the course's code is faster. One thread; each time is the best of several runs.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, CyclicLR
from torch.optim.swa_utils import update_bn
from torchmetrics.functional.classification import multiclass_calibration_error

from lsdl.author.ratios import compare

WEEK = Path(__file__).resolve().parents[1]


def main() -> None:
    from lsdl.author.homework import Homework

    torch.set_num_threads(1)
    names, g = Homework(WEEK).namespace(), torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(5, 2000, 18, generator=g)
    log_p = logits[0].log_softmax(1)
    labels = (log_p / 2).softmax(1).multinomial(1, generator=g)[:, 0]
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.BatchNorm2d(16))
    batches, twin = [torch.randn(64, 3, 16, 16, generator=g) for _ in range(4)], copy.deepcopy(net)

    def rates_of(
        optimizer: torch.optim.Optimizer, schedule: torch.optim.lr_scheduler.LRScheduler, steps: int
    ) -> Tensor:
        rates = []
        for _ in range(steps):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        return torch.tensor(rates, dtype=torch.float64)

    def restarts() -> Tensor:
        optimizer = torch.optim.SGD([torch.zeros(1)], 0.1)
        return rates_of(optimizer, CosineAnnealingWarmRestarts(optimizer, 108), 540)

    def triangles() -> Tensor:
        optimizer = torch.optim.SGD([torch.zeros(1)], 5e-4)
        schedule = CyclicLR(optimizer, 5e-4, 0.05, step_size_up=18, cycle_momentum=False)
        return rates_of(optimizer, schedule, 18 + 360)[18:]

    def their_temperature() -> Tensor:
        found = minimize_scalar(lambda t: cross_entropy(log_p / t, labels).item(), bounds=(0.05, 20), method="bounded")
        return torch.tensor(found.x)

    def ours_updated() -> Tensor:
        names["recalibrate"](net, batches)
        return net[1].running_var

    def theirs_updated() -> Tensor:
        update_bn(batches, twin)
        return twin[1].running_var

    pairs = {
        "ece / torchmetrics": (
            lambda: torch.tensor(names["ece"](log_p, labels)),
            lambda: multiclass_calibration_error(log_p.exp(), labels, 18, n_bins=15),
        ),
        "temperature / scipy's bounded search": (
            lambda: torch.tensor(names["temperature"](log_p, labels), dtype=torch.float32),
            lambda: their_temperature().float(),
        ),
        "ensemble_log_probs / torch's log of a mean": (
            lambda: names["ensemble_log_probs"](logits),
            lambda: logits.softmax(-1).mean(0).log(),
        ),
        "cyclic_cosine / torch's CosineAnnealingWarmRestarts": (
            lambda: names["cyclic_cosine"](540, 5, 0.1)[0],
            restarts,
        ),
        "triangular / torch's CyclicLR": (lambda: names["triangular"](360, 36, 0.05, 5e-4)[0], triangles),
        "recalibrate / torch's update_bn": (ours_updated, theirs_updated),
    }
    why = {
        "ensemble_log_probs / torch's log of a mean": "a log of a sum of exponentials, which holds where probabilities are 0",
        "temperature / scipy's bounded search": "60 halvings in double precision; scipy stops at five digits",
    }
    compare(pairs, why, atol=1e-3)


if __name__ == "__main__":
    main()
