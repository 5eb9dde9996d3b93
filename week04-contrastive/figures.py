"""Plots of the seminar and the homework, and the pictures of a map of features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import NullFormatter
from torch import Tensor

from lsdl.data.few_labels import FewLabels, moved


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


# method -> boxes of the trained side, boxes of the other side, is that side a moving average, does it get a gradient, what forbids one vector for all pictures
DIAGRAMS = {
    "SimCLR": (("f", "g"), ("f", "g"), False, True, "negatives of the batch"),
    "MoCo": (("f", "g"), ("f'", "g'"), True, False, "negatives of the queue"),
    "BYOL": (("f", "g", "predictor"), ("f'", "g'"), True, False, "predictor, stop-gradient,\nslow target"),
    "SimSiam": (("f", "g", "predictor"), ("f", "g"), False, False, "predictor, stop-gradient"),
    "SwAV": (("f", "g", "prototypes"), ("f", "g", "codes"), False, False, "codes that use all\nprototypes equally"),
}


def draw_methods() -> plt.Figure:
    """Five methods in the same boxes: two views of a picture, backbone f, head g; dashed: no gradient; the arrow across: a moving average of the weights."""
    figure, axes = plt.subplots(1, len(DIAGRAMS), figsize=(10, 3), layout="constrained")
    for ax, (method, (trained, other, average, gradient, why)) in zip(axes, DIAGRAMS.items(), strict=True):
        for x, boxes, live, colour in ((0.23, trained, True, "C0"), (0.77, other, gradient, "C2" if average else "C0")):
            ax.text(x, -0.1, "view 1" if x < 0.5 else "view 2", ha="center", va="center", fontsize=8)
            for k, name in enumerate(boxes):
                arrow = {"arrowstyle": "->", "linestyle": "-" if live else "--"}
                ax.annotate("", (x, k + 0.72), (x, k + 0.05 if k == 0 else k + 0.28), arrowprops=arrow)
                box = {"boxstyle": "round,pad=0.3", "facecolor": colour if name[0] in "fg" else "C1", "alpha": 0.35}
                ax.text(x, k + 0.95, name, ha="center", va="center", fontsize=8, bbox=box)
            top = len(boxes) + 0.2
            ax.plot([x, x, 0.5], [top, 3.6, 3.6], color="k", linewidth=0.8, linestyle="-" if live else "--")
        ax.text(0.5, 3.6, "loss", ha="center", va="center", fontsize=8, bbox={"facecolor": "w", "boxstyle": "round"})
        if average:
            ax.annotate("", (0.68, 0.95), (0.33, 0.95), arrowprops={"arrowstyle": "->", "color": "C2"})
            ax.text(0.5, 1.05, "EMA", ha="center", va="bottom", fontsize=7, color="C2")
        ax.set(xlim=(0, 1), ylim=(-1, 4), title=method)
        ax.text(0.5, -0.7, why, ha="center", va="center", fontsize=8, color="C3")
        ax.axis("off")
    return figure


def plot_logs(
    logs: Mapping[str, Mapping[str, Sequence[float]]], columns: Sequence[str] = ("loss", "spread", "probe")
) -> plt.Figure:
    """Training curves by name, one panel for each of "loss", "spread", "rank" and "probe" in `columns`; steps on a logarithmic axis, but for "probe"."""
    titles = {
        "loss": "loss",
        "spread": "spread of z (0: one point)",
        "rank": "effective rank of z",
        "probe": "nearest neighbour, %",
    }
    size = (3 * len(columns), 2.9)
    figure, axes = plt.subplots(1, len(columns), figsize=size, layout="constrained", squeeze=False)
    for ax, column in zip(axes[0], columns, strict=True):
        probe = column == "probe"  # the one with a value before the first step
        for k, (name, log) in enumerate(logs.items()):
            points = [
                (s, 100 * v if probe else v)
                for s, v in zip(log["probe_step" if probe else "step"], log[column], strict=True)
            ]
            if points:
                ax.plot(*zip(*points, strict=True), ("-", "--", "-.", ":")[k % 4], color=f"C{k}", label=name)
        ax.set(xlabel="step", ylabel=titles[column], xscale="linear" if probe else "log")
        ax.xaxis.set_minor_formatter(NullFormatter())
    if logs:
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
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
