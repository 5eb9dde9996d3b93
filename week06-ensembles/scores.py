"""Week 06: what the tables say of a predictor, from its log probabilities log_p (n, C); helpers.py hands all of it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TEMPERATURES = torch.logspace(-1, 1, 60)  # their NLL is a curve whose lowest point is good to 4 % in T


def nll(log_p: Tensor, labels: Tensor) -> Tensor:
    """Mean negative log-likelihood of labels (n,) under log_p (n, C)."""
    return F.nll_loss(log_p, labels)


def losses_at(log_p: Tensor, labels: Tensor) -> Tensor:
    """(60, n) negative log-likelihood of each label at each of TEMPERATURES."""
    return torch.stack([F.nll_loss((log_p / t).log_softmax(1), labels, reduction="none") for t in TEMPERATURES])


def curve(log_p: Tensor, labels: Tensor) -> Tensor:
    """(60,) NLL at each of TEMPERATURES; log_p (n, C)."""
    return losses_at(log_p, labels).mean(1)


def cooled(log_p: Tensor, fitted: Tensor, labels: Tensor) -> Tensor:
    """log_p (n, C) at the temperature of lowest NLL on others: `fitted` (m, C) with `labels` (m,)."""
    return (log_p / TEMPERATURES[curve(fitted, labels).argmin()]).log_softmax(1)


def calibrated_nll(log_p: Tensor, labels: Tensor, halvings: int = 5) -> float:
    """The set halved at random, the temperature fitted on one half, NLL on the other, both ways; mean of all (Ashukha et al. 2020)."""
    losses, found = losses_at(log_p, labels), []
    for k in range(halvings):
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(k))
        for a, b in (order.chunk(2), order.chunk(2)[::-1]):
            best = losses[:, a].mean(1).argmin()
            found.append(losses[best, b].mean().item())
    return float(np.mean(found))


def brier(log_p: Tensor, labels: Tensor) -> float:
    """Squared distance of the probabilities from the label's corner, mean over pictures: 0 to 2."""
    return (log_p.exp() - F.one_hot(labels, log_p.shape[1])).square().sum(1).mean().item()


def ece(log_p: Tensor, labels: Tensor) -> float:
    """Expected calibration error by torchmetrics: 15 equal bins, closed below."""
    from torchmetrics.functional.classification import multiclass_calibration_error  # ten seconds to import

    return multiclass_calibration_error(log_p.exp(), labels, log_p.shape[1], n_bins=15).item()


def numbers(log_p: Tensor, labels: Tensor, fitted: Tensor, known: Tensor) -> dict[str, float]:
    """Accuracy in percent, the three NLLs, ECE and Brier on one test; `fitted` (m, C) and `known` (m,) are the home validation's."""
    home = cooled(log_p, fitted, known)
    found = {"accuracy": 100 * (log_p.argmax(1) == labels).float().mean().item()}
    found |= {"raw": nll(log_p, labels).item(), "home": nll(home, labels).item()}
    found["calibrated"] = calibrated_nll(log_p, labels)
    for name, score in (("ECE", ece), ("Brier", brier)):
        found |= {f"{name} raw": score(log_p, labels), f"{name} home": score(home, labels)}
    return found


def judged(
    log_p: Mapping[str, Tensor], labels: Mapping[str, Tensor], home: str, ood: Sequence[str]
) -> dict[str, float]:
    """`numbers` on the home test and, with the suffix " OOD", their means over the other tests.

    Args:
        log_p, labels: (n, C) and (n,) by set: "val" and the tests.
    """
    found = {name: numbers(log_p[name], labels[name], log_p["val"], labels["val"]) for name in (home, *ood)}
    return found[home] | {f"{key} OOD": float(np.mean([found[name][key] for name in ood])) for key in found[home]}
