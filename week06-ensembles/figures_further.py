"""The figures of the further sections; looks of methods are those of figures.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from lsdl.tables import Tables, mean_and_se

KINDS = {"line": ("C3", "x", "--"), "curve": ("C0", "o", "-")}  # colour, marker, line


def plot_curve(t: Tables, title: str) -> plt.Axes:
    """Training error on the straight line and on the curve between two nets: means with standard errors over pairs."""
    ax = plt.subplots(figsize=(7, 2.8), layout="constrained")[1]
    for kind, (colour, marker, line) in KINDS.items():
        places = sorted({row["t"] for row in t.rows("curves", kind=kind)})
        mean, error = np.array([mean_and_se(t.values("curves", "error", kind=kind, t=place)) for place in places]).T
        ax.errorbar(places, mean, error, label=kind, capsize=2, color=colour, marker=marker, linestyle=line)
    ax.set(xlabel="place $t$", ylabel="training error, %", title=title, ylim=(0, 100))
    ax.legend()
    return ax


def draw_planes(t: Tables, bezier: Callable[[float], Tensor], title: str) -> plt.Figure:
    """Maps of the training error on two planes, with the three points of each; on the second the curve.

    Args:
        bezier: shares (3,) of both ends and the bend.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    levels = [0, 2, 5, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    names = {"three seeds": ("seed", "seed", "seed"), "curve": ("end", "end", "bend")}
    for ax, (kind, labels) in zip(axes, names.items(), strict=True):
        row = t.rows("plane", kind=kind)[0]
        drawn = ax.contourf(row["x"], row["y"], row["error"], levels, cmap="viridis")
        points = torch.tensor(row["points"])
        if kind == "curve":
            path = torch.stack([bezier(place) @ points for place in torch.linspace(0, 1, 50).tolist()])
            ax.plot(*path.T.numpy(), color="w")
            ax.plot(*points[:2].T.numpy(), color="w", linestyle="--")
        for (x, y), label in zip(points.tolist(), labels, strict=True):
            ax.plot(x, y, "o", color="C3")
            ax.annotate(label, (x, y), (4, 4), textcoords="offset points", color="w", fontsize=9)
        ax.set(aspect="equal", title={"three seeds": "Three seeds", "curve": "Two ends, their bend"}[kind])
        ax.grid(False)
    axes[0].set(xlabel="distance of weights", ylabel="distance of weights")
    axes[1].set(xlabel="distance of weights")
    figure.colorbar(drawn, ax=axes, label="training error, %")
    figure.suptitle(title)
    return figure


def plot_tau(
    found: Mapping[tuple[str, float], tuple[float, float]], before: tuple[float, float], decay: float, title: str
) -> plt.Figure:
    """Raw and calibrated NLL over the prior's precision, for both forms of the posterior.

    Args:
        found: (form, tau) -> raw, calibrated.
        before: raw, calibrated of the network itself.
        decay: the precision that weight decay says.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained", sharey=True)
    for k, (ax, name) in enumerate(zip(axes, ("raw NLL", "calibrated NLL"), strict=True)):
        for form, line in {"exact": "-", "damped": "--"}.items():
            taus = [tau for key, tau in found if key == form]
            ax.plot(taus, [found[form, tau][k] for tau in taus], line, color="C6", marker="X", label=form)
        ax.axhline(before[k], color="0.4", linestyle="-.", label="the network")
        ax.axvline(decay, color="0.6", linestyle=":")
        ax.set(xscale="log", xlabel=r"$\tau$", title=name)
    axes[0].set(ylabel="NLL")
    axes[1].legend()
    figure.suptitle(title)
    return figure


def plot_valley(paths: Mapping[str, Tensor], title: str) -> plt.Figure:
    """Paths (steps + 1, 2) in a valley of curvature 0.05 and 1, a panel for each."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.6), layout="constrained", sharex=True, sharey=True)
    across = max(path[:, 1].abs().max().item() for path in paths.values()) * 1.1
    x, y = np.meshgrid(np.linspace(-4.5, 2, 60), np.linspace(-across, across, 60))
    for ax, (name, path), colour in zip(axes, paths.items(), ("C3", "C0"), strict=True):
        ax.contour(x, y, 0.025 * x**2 + 0.5 * y**2, 12, colors="0.8", linewidths=0.8)
        ax.plot(*path.T.numpy(), ".-", color=colour, linewidth=0.8)
        ax.plot(0, 0, "k+", markersize=10)
        ax.set(title=name, xlabel="along the valley")
        ax.grid(False)
    axes[0].set(ylabel="across")
    figure.suptitle(title)
    return figure
