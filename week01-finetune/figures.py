"""The figures of the seminar and the homework: one colour, marker and line per method."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import binomtest
from torch import Tensor
from torch.utils.data import Dataset

from lsdl.tables import mean_and_se

STYLE = {
    "zero-shot": dict(color="0.35", marker="*", linestyle=":"),
    "LP": dict(color="C0", marker="o", linestyle="-"),
    "FT": dict(color="C3", marker="s", linestyle="--"),
    "LP-FT": dict(color="C2", marker="^", linestyle=(0, (1, 1))),
    "FT, zero-shot head": dict(color="C1", marker="D", linestyle="-."),
    "stronger FT": dict(color="C4", marker="v", linestyle=(0, (5, 1))),
    "WiSE-FT 0.5": dict(color="C5", marker="P", linestyle="-"),
    "straight line": dict(color="0.6", marker="", linestyle=":"),
    "its shuffled twin": dict(color="k", marker="x", linestyle="-"),
}


def show_pictures(sets: Mapping[str, Dataset], classes: Sequence[str], rows: Sequence[int]) -> None:
    """One column per test set: the pictures of these numbers with their classes."""
    axes = plt.subplots(len(rows), len(sets), figsize=(8, 1.2 * len(rows)), layout="constrained")[1]
    for (name, data), column in zip(sets.items(), axes.T, strict=True):
        column[0].set_title(name.replace("-", "\n", 1), fontsize=8)
        for ax, index in zip(column, rows, strict=True):
            image, label = data[index % len(data)]
            ax.imshow(image.permute(1, 2, 0))
            ax.set(xticks=[], yticks=[])
            ax.set_xlabel(classes[int(label)], fontsize=7)


def plot_styles(
    accuracy: Sequence[float], others: Iterable[Sequence[float]], names: Sequence[str], sizes: Sequence[int]
) -> plt.Axes:
    """Zero-shot accuracy in percent on every test set of so many pictures, with 95 % Wilson intervals; dashes for the others."""
    places, middle = np.arange(len(names)), np.array(accuracy)
    intervals = [
        binomtest(round(a * n / 100), n).proportion_ci(method="wilson") for a, n in zip(accuracy, sizes, strict=True)
    ]
    error = np.abs(np.array([[100 * i.low, 100 * i.high] for i in intervals]).T - middle)
    ax = plt.subplots(figsize=(8, 3), layout="constrained")[1]
    for row in others:
        ax.plot(places, row, "_", color="0.6", markersize=14)
    ax.errorbar(places, middle, error, capsize=3, markersize=9, **STYLE["zero-shot"] | {"linestyle": "none"})
    ax.set(xlabel="test set, number of pictures", ylabel="accuracy, %", ylim=(0, None))
    labels = [f"{name}\n{n}".replace("-", "\n", 1) for name, n in zip(names, sizes, strict=True)]
    ax.set_xticks(places, labels, fontsize=8)
    return ax


def plot_id_ood(points: Mapping[str, tuple[Sequence[float], Sequence[float]]], ax: plt.Axes | None = None) -> plt.Axes:
    """One marker per method at its ID and OOD accuracy in percent: means over seeds, with standard errors."""
    ax = ax or plt.subplots(figsize=(5.5, 4), layout="constrained")[1]
    for name, pair in points.items():
        (x, dx), (y, dy) = map(mean_and_se, pair)
        look = STYLE[name] | {"linestyle": "none"}
        ax.errorbar(x, y, dy, dx, label=name, markersize=9, capsize=3, zorder=3, **look)
    ax.set(xlabel="accuracy on the ID test, %", ylabel="mean accuracy on the OOD tests, %")
    ax.legend()
    return ax


def plot_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence]], ax: plt.Axes, *, floor: float | None = None, **labels
) -> None:
    """One line per method, in its `STYLE`: means over seeds with standard errors.

    Args:
        curves: by method x (n,) and y (n,) or (n, seeds).
        floor: values below it are printed at the lower edge, with an arrow down, so that they do not squeeze the others.
        labels: for `ax.set`.
    """
    printed: Counter[float] = Counter()  # values at the lower edge, by x
    for name, (x, y) in curves.items():
        mean, error = np.array([mean_and_se(np.atleast_1d(value)) for value in y]).T
        shown, look = mean >= (-np.inf if floor is None else floor), STYLE[name]
        place = np.where(shown, mean, np.nan)
        ax.errorbar(x, place, error, label=name, markersize=5, capsize=2, elinewidth=0.8, **look)
        for k in np.flatnonzero(~shown):
            text, above = f"{name} \N{DOWNWARDS ARROW} {mean[k]:.1f}", (0, 4 + 11 * printed[x[k]])
            style = dict(textcoords="offset points", ha="center", fontsize=8, color=look["color"])
            ax.annotate(text, (x[k], floor), above, **style)
            printed[x[k]] += 1
    ax.set(**labels)
    if floor is not None:
        ax.set_ylim(bottom=floor)


def plot_rates(curves: Mapping[str, tuple[Sequence[float], Sequence]], zero_shot: float, *, floor: float) -> None:
    """OOD accuracy in percent of every method over its learning rates, zero-shot as a line."""
    ax = plt.subplots(figsize=(6.5, 3.6), layout="constrained")[1]
    plot_curves(
        curves, ax, floor=floor, xscale="log", xlabel="learning rate", ylabel="mean accuracy on the OOD tests, %"
    )
    ax.set_title("No rate rescues FT from a random head (arrow: below the axis)")
    ax.axhline(zero_shot, color="0.35", linestyle=":", label="zero-shot")
    ax.legend(loc="lower left")


def plot_paths(panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence]]], titles: Sequence[str]) -> None:
    """Accuracy in percent along WiSE-FT's path, one panel per test set, beside the first method's straight line."""
    axes = plt.subplots(1, len(panels), figsize=(8, 3.2), layout="constrained")[1]
    for ax, curves, title in zip(axes, panels.values(), titles, strict=True):
        first, *_, last = (np.mean(values) for values in next(iter(curves.values()))[1])
        lines = {**curves, "straight line": ((0, 1), (first, last))}
        plot_curves(lines, ax, title=title, xlabel="alpha (0: zero-shot, 1: fine-tuned)", ylabel="accuracy, %")
    axes[-1].legend(loc="lower right")


def plot_barrier(alphas: Sequence[float], errors: Mapping[str, Sequence[float]]) -> None:
    """ID test error in percent along the paths from zero-shot to two ends."""
    ax = plt.subplots(figsize=(5.5, 3.2), layout="constrained")[1]
    plot_curves({name: (alphas, error) for name, error in errors.items()}, ax)
    ax.set(xlabel="alpha (0: zero-shot)", ylabel="ID test error, %")
    ax.set_title("Two paths to the same function: one has a barrier")
    ax.legend()


def plot_wise_ft(
    alphas: Sequence[float],
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    counts: Mapping[str, int] | None = None,
) -> plt.Figure:
    """Accuracy over alpha, one panel a data set: `curves[panel][method]` holds one accuracy in percent per alpha.

    Where `counts[panel]` gives the number of pictures, the titles name it and bars show one standard error of each accuracy.
    """
    figure, axes = plt.subplots(
        1, len(curves), figsize=(4 * len(curves), 3.2), layout="constrained", squeeze=False, sharey=True
    )
    for ax, (panel, lines) in zip(axes[0], curves.items(), strict=True):
        n = counts[panel] if counts else None
        for (name, values), style in zip(lines.items(), ("-o", "--s", ":^", "-.D"), strict=False):
            errors = [math.sqrt(value * (100 - value) / n) for value in values] if n else None
            ax.errorbar(alphas, values, errors, fmt=style, label=name, markersize=4, capsize=2, elinewidth=0.8)
        ax.set(xlabel="alpha (0: zero-shot, 1: fine-tuned)", title=f"{panel}, n = {n}" if n else panel)
        ax.grid(alpha=0.3)
    axes[0][0].set_ylabel("accuracy, %" + (" (bars: ± 1 standard error)" if counts else ""))
    axes[0][0].legend(frameon=False, fontsize=8)
    return figure


def draw_two_towers(images: Tensor, captions: Sequence[str]) -> plt.Figure:
    """CLIP as a picture: n images (n, 3, size, size) and their captions, two towers, the n x n matrix of similarities."""
    figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
    ax.set(xlim=(0, 13), ylim=(0, 5.2), aspect="equal")
    ax.axis("off")
    box = dict(boxstyle="round,pad=0.5", facecolor="#dbe9f6", edgecolor="0.3")
    arrow = dict(arrowstyle="->", color="0.3")
    n = len(images)
    for k, (image, caption) in enumerate(zip(images, captions, strict=True)):
        ax.imshow(image.permute(1, 2, 0), extent=(0.1 + 1.1 * k, 1.1 + 1.1 * k, 3.6, 4.6))
        ax.text(0.1, 1.9 - 0.6 * k, f"“{caption}”", fontsize=8, va="center")
    ax.text(5.3, 4.1, "image tower $f$", ha="center", va="center", bbox=box, fontsize=9)
    ax.text(5.3, 1.3, "text tower $g$", ha="center", va="center", bbox=box, fontsize=9)
    for y, letter in ((4.1, "u"), (1.3, "v")):
        ax.annotate("", (4.1, y), (3.5, y), arrowprops=arrow)
        ax.annotate("", (7.1, y), (6.5, y), arrowprops=arrow)
        names = ", ".join(f"{letter}_{k + 1}" for k in range(n))
        ax.text(7.9, y, f"${names}$\nunit length", ha="center", va="center", fontsize=9)
        ax.annotate("", (9.5, 2.7 + (y - 2.7) * 0.35), (8.8, y), arrowprops=arrow)
    for i in range(n):
        for j in range(n):
            colour = "#8fc1e3" if i == j else "white"
            x, y = 9.7 + j, 3.2 + (n - 1) / 2 - i - 1
            ax.add_patch(plt.Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="0.4"))
            ax.text(x + 0.5, y + 0.5, f"$u_{i + 1} \\cdot v_{j + 1}$", ha="center", va="center", fontsize=8)
    ax.set_title("training pulls the diagonal (the pairs) up and pushes the rest down", fontsize=9, loc="right")
    return figure
