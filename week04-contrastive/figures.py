"""The figures of the seminar and the homework: one colour, marker and line per method; and the pictures of a map of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from torch import Tensor

from lsdl.data.few_labels import FewLabels, moved
from lsdl.tables import Tables, mean_and_se


def draw_pictures(rows: Mapping[str, Tensor]) -> plt.Figure:
    """Pictures in labelled rows: name -> (n, 3, size, size), uint8 or float in [0, 1]."""
    columns = max(len(images) for images in rows.values())
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(0.8 * columns + 1, 0.8 * len(rows)), layout="constrained", squeeze=False
    )
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax in line:
            ax.axis("off")
        for ax, image in zip(line, images, strict=False):
            ax.imshow(image.permute(1, 2, 0).cpu())
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=8)
    return figure


STYLE = {
    "SimCLR": dict(color="C0", marker="o", linestyle="-"),
    "SimCLR, no colour": dict(color="C0", marker="o", linestyle=":"),
    "MoCo v1": dict(color="C1", marker="s", linestyle="--"),
    "MoCo v1, m = 0": dict(color="C1", marker="s", linestyle=":"),
    "MoCo v2": dict(color="k", marker="D", linestyle="--"),
    "BYOL": dict(color="C2", marker="^", linestyle="-."),
    "SimSiam": dict(color="C3", marker="v", linestyle="-"),
    "SimSiam, no stop-gradient": dict(color="C3", marker="x", linestyle="--"),
    "SimSiam, no predictor": dict(color="C3", marker="+", linestyle=":"),
    "DeepCluster": dict(color="C4", marker="P", linestyle="-"),
    "SwAV": dict(color="C5", marker="X", linestyle="-"),
    "SwAV, no Sinkhorn": dict(color="C5", marker="X", linestyle=":"),
    "random ResNet": dict(color="0.5", marker="*", linestyle=":"),
}
LOGGED = {
    "loss": "loss",
    "spread": "spread of z (0: one point)",
    "rank": "effective rank of z",
    "probe": "nearest neighbour, %",
}


def plot_curves(curves: Mapping[str, tuple[Sequence, Sequence]], ax: plt.Axes, **labels: object) -> None:
    """One line per method, in its `STYLE`: means over seeds with standard errors.

    Args:
        curves: by method x (n,), numbers or names of evenly spaced places, and y (n,) or (n, seeds).
        labels: for `ax.set`.
    """
    for name, (x, y) in curves.items():
        mean, error = np.array([mean_and_se(np.atleast_1d(values)) for values in y]).T
        look = STYLE.get(name.split(" (")[0], {})
        ax.errorbar(x, mean, error if error.any() else None, label=name, markersize=5, capsize=2, **look)
    ax.set(**labels)


def band(values: Sequence[float], ax: plt.Axes, name: str, **look: object) -> None:
    """A horizontal line at the mean of a rival, with its standard error as a band."""
    mean, error = mean_and_se(values)
    ax.axhline(mean, label=name, **look)
    ax.axhspan(mean - error, mean + error, color=look["color"], alpha=0.15, linewidth=0)


def plot_bound(
    truths: Sequence[float], curves: Mapping[int, np.ndarray], crosses: Mapping[float, float], K: int
) -> plt.Axes:
    """InfoNCE's estimates over the truth, their ceilings, and what a trained critic gets.

    Args:
        truths: mutual information in nats, (n,).
        curves: estimates (n, batches) by number of candidates.
        crosses: mean estimate of the trained critic by truth, with K candidates.
    """
    ax = plt.subplots(figsize=(7.5, 3.6), layout="constrained")[1]
    for (k, values), colour in zip(curves.items(), ("C5", "C1", "C0"), strict=True):
        ax.errorbar(truths, values.mean(1), values.std(1), fmt="-o", color=colour, markersize=4, label=f"K = {k}")
        ax.axhline(np.log(k), linestyle=":", color=colour)
        ax.text(0.3, np.log(k) + 0.1, f"log {k}", color=colour, fontsize=8)
    ax.plot(list(crosses), list(crosses.values()), "kx", label=f"trained critic, K = {K}")
    ax.plot(truths, truths, "k--", linewidth=1, label="truth")
    ax.set(xlabel="mutual information, nats", ylabel="estimate, nats", ylim=(0, 8.5))
    ax.set_title("InfoNCE follows the truth, and stops at log K")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_logs(logs: Mapping[str, Mapping], columns: Sequence[str], titles: Sequence[str]) -> np.ndarray:
    """Training curves by method, in its `STYLE` without markers; a panel for each of "loss", "spread", "rank" and "probe" in `columns`."""
    _, axes = plt.subplots(1, len(columns), figsize=(4 * len(columns), 3), layout="constrained", squeeze=False)
    for ax, column, title in zip(axes[0], columns, titles, strict=True):
        for name, log in logs.items():
            steps, factor = (log["probe_step"], 100) if column == "probe" else (log["step"], 1)
            ax.plot(steps, factor * np.array(log[column]), label=name, **STYLE[name] | {"marker": ""})
        ax.set(xlabel="step", ylabel=LOGGED[column], title=title, ylim=(0, None))
    axes[0][0].legend()
    return axes[0]


def plot_methods(t: Tables, columns: Mapping[str, str], rivals: Mapping[str, tuple[str, str]]) -> plt.Figure:
    """Bars of the accuracies in the part "methods", with standard errors over seeds.

    Args:
        columns: by what the legend says; a method without a column has no such bar.
        rivals: vertical lines: method, column and line style by what the legend says.
    """
    names = list(dict.fromkeys(row["method"] for row in t["methods"]))
    figure, ax = plt.subplots(figsize=(7.5, 4.6), layout="constrained")
    for k, (label, column) in enumerate(columns.items()):
        there = [name for name in names if column in t.rows("methods", method=name)[0]]
        pairs = [mean_and_se(t.values("methods", column, method=name)) for name in there]
        places = [names.index(name) + 0.8 / len(columns) * (k - (len(columns) - 1) / 2) for name in there]
        look = dict(color=("0.3", "0.6", "0.85")[k], hatch=("", "//", "..")[k], edgecolor="0.2", linewidth=0.5)
        ax.barh(places, [m for m, _ in pairs], 0.8 / len(columns), xerr=[e for _, e in pairs], label=label, **look)
    for label, (name, column, line) in rivals.items():
        if name in names and column in t.rows("methods", method=name)[0]:
            ax.axvline(t.values("methods", column, method=name).mean(), color="C3", linestyle=line, label=label)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=5)
    return figure


def tsne_pictures(scale: str, task: FewLabels, classes: int = 10, versions: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Test pictures for a map, of some classes: of each drawing several moved versions (full scale: other pictures).

    Returns:
        pictures (n, 3, size, size) uint8, classes (n,) and which drawing of its class a picture shows (n,), a number from 0; full scale: 0.
    """
    if scale == "full":
        images, labels = task.tests["id"]
        chosen = torch.cat([(labels == k).nonzero()[: 3 * versions, 0] for k in range(len(task.names))])
        return images[chosen], labels[chosen], torch.zeros_like(chosen)
    images, labels = (torch.cat([test[i][test[1] < classes] for test in task.tests.values()]) for i in (0, 1))
    drawings = torch.cat([torch.full(((y < classes).sum(),), k) for k, (_, y) in enumerate(task.tests.values())])
    images, labels, drawings = (x.repeat_interleave(versions, 0) for x in (images, labels, drawings))
    return moved(images), labels, drawings


def scatter_classes(ax: plt.Axes, points: Tensor | np.ndarray, labels: Tensor, drawings: Tensor) -> None:
    """Points (n, 2): a colour for each class (n,), a marker for each drawing (n,) of it."""
    colour = plt.get_cmap("tab10")(labels % 10)
    for k in drawings.unique().tolist():
        chosen = (drawings == k).numpy()
        x, y = np.asarray(points)[chosen].T
        ax.scatter(x, y, s=14, color=colour[chosen], marker="ox^sD"[k % 5], linewidths=0.8)
    ax.set(xticks=[], yticks=[])
