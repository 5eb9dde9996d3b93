"""The figures of the seminar: one colour, marker and line per method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from lsdl.tables import mean_and_se

STYLE: dict[str, dict[str, Any]] = {
    "plain formula": dict(color="C3", marker="s", linestyle="--"),
    "by tiles": dict(color="C0", marker="o", linestyle="-"),
    "without cache": dict(color="C3", marker="s", linestyle="--"),
    "with cache": dict(color="C0", marker="o", linestyle="-"),
    "none": dict(color="C7", marker="x", linestyle=":"),
    "sinusoidal": dict(color="C1", marker="D", linestyle="-."),
    "learned": dict(color="C3", marker="s", linestyle="--"),
    "shaw": dict(color="C2", marker="^", linestyle=(0, (1, 1))),
    "rope": dict(color="C0", marker="o", linestyle="-"),
    "alibi": dict(color="C4", marker="v", linestyle=(0, (5, 1))),
    "relu": dict(color="C3", marker="s", linestyle="--"),
    "gelu": dict(color="C1", marker="D", linestyle="-."),
    "silu": dict(color="C0", marker="o", linestyle="-"),
    "reglu": dict(color="C3", marker="s", linestyle="--"),
    "geglu": dict(color="C1", marker="D", linestyle="-."),
    "swiglu": dict(color="C0", marker="o", linestyle="-"),
    "pre-norm": dict(color="C0", marker="o", linestyle="-"),
    "post-norm": dict(color="C3", marker="s", linestyle="--"),
    "experts": dict(color="C3", marker="s", linestyle="--"),
    "balanced": dict(color="C0", marker="o", linestyle="-"),
}


def plot_lines(curves: Mapping[str, tuple[Sequence[float], Sequence]], ax: plt.Axes, **labels: Any) -> None:
    """One line per method, in its `STYLE`: means over seeds with standard errors.

    Args:
        curves: by method x (n,) and y (n,) or (n, seeds).
        labels: for `ax.set`.
    """
    for name, (x, y) in curves.items():
        mean, error = np.array([mean_and_se(np.atleast_1d(value)) for value in y]).T
        spread = error if error.any() else None
        ax.errorbar(x, mean, spread, label=name, markersize=5, capsize=2, elinewidth=0.8, **STYLE[name])
    ax.set(**labels)
    if ax.get_xscale() == "log" and len(x) < 6:  # few places: name each, and nothing between
        ax.set_xticks(x, [f"{value:,}" for value in x])
        ax.minorticks_off()


def plot_variants(losses: Mapping[str, Sequence[float]], ax: plt.Axes, **labels: Any) -> None:
    """Every training of a comparison as a dot; mean and standard error beside.

    Args:
        losses: by variant one value per seed.
        labels: for `ax.set`.
    """
    for place, values in enumerate(losses.values()):
        mean, error = mean_and_se(values)
        ax.plot([place] * len(values), values, "o", color="0.7")
        ax.errorbar(place + 0.15, mean, error, fmt="D", color="C0", capsize=3, markersize=5)
    ax.set(xlim=(-0.5, len(losses) - 0.3), **labels)
    ax.set_xticks(range(len(losses)), list(losses))
    ax.plot([], [], "o", color="0.7", label="one seed")
    ax.errorbar([], [], [], fmt="D", color="C0", label="mean, standard error")
    ax.legend()


def plot_online(scores: Sequence[float], states: np.ndarray, average: float) -> plt.Figure:
    """A row of scores with the running maximum, and the running output; states (n, 3) are m, ell, acc after each score.

    Args:
        average: the softmax average of the whole row.
    """
    m, ell, acc = states.T
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    axes[0].plot(scores, ".", color="0.6", label="score s")
    axes[0].step(range(len(m)), m, where="post", color="C3", label="m, maximum so far")
    axes[0].plot(m + np.log(ell), "--", color="C0", label="m + ln ell")
    axes[0].set(xlabel="keys seen", ylabel="score", title="The maximum rises a few times only")
    axes[1].plot(acc / ell, color="C0", label="acc / ell, keys so far")
    axes[1].axhline(average, linestyle=":", color="k", label="softmax of the whole row")
    axes[1].set(xlabel="keys seen", ylabel="output", title="At the last key the output is exact")
    axes[0].legend(frameon=True, loc="lower right")
    axes[1].legend()
    return figure


def plot_by_position(rows: Sequence[Mapping[str, Any]], length: int) -> plt.Figure:
    """Loss by position, and beyond the training length the difference to the model's own window; band: standard error over seeds.

    Args:
        rows: "name", "full" (means over equal parts of the positions up to 4 * length), and of single positions beyond
            `length`, evenly spaced, "same" (everything is read) and "window" (only the last `length` tokens are).
        length: the training length in tokens.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for name in dict.fromkeys(row["name"] for row in rows):
        found = {key: np.array([row[key] for row in rows if row["name"] == name]) for key in ("full", "same", "window")}
        excess = found["same"] - found["window"]  # (seeds, places): noisy at single places, so means of four
        size = min(4, excess.shape[1])
        excess = excess[:, : excess.shape[1] // size * size].reshape(len(excess), -1, size).mean(2)
        for ax, values, first in ((axes[0], found["full"], 0), (axes[1], excess, length)):
            at = first + (np.arange(values.shape[1]) + 0.5) * (4 * length - first) / values.shape[1]
            mean, error = np.array([mean_and_se(column) for column in values.T]).T
            ax.plot(at, mean, markersize=4, label=name, **STYLE[name])
            ax.fill_between(at, mean - error, mean + error, color=STYLE[name]["color"], alpha=0.15, linewidth=0)
    axes[0].axvline(length, color="k", linewidth=0.8)
    axes[0].set(
        xlabel="position (line: training length T)",
        ylabel="loss, nats per token",
        title="Shaw and ALiBi stay low beyond T",
    )
    axes[1].axhline(0, color="k", linewidth=0.8)
    axes[1].set(xlabel="position", ylabel="same minus window, nats per token", title="Above 0, more text hurts")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6)
    return figure


def plot_distance(theta: np.ndarray, slopes: Sequence[float], reach: int = 256) -> plt.Figure:
    """What a distance does to a score: RoPE's pairs, q = k, and ALiBi's heads.

    Args:
        theta: (pairs,) angles per place.
        slopes: of the heads that are shown.
    """
    distance = np.arange(reach)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    for pair, line in zip((0, len(theta) // 4, len(theta) - 1), (":", "--", "-."), strict=True):
        axes[0].plot(distance, np.cos(distance * theta[pair]), line, color="C5", linewidth=1, label=f"pair {pair}")
    mean = np.cos(distance[:, None] * theta).mean(1)
    axes[0].plot(distance, mean, color=STYLE["rope"]["color"], linewidth=2, label=f"mean of {len(theta)}")
    for slope, line in zip(slopes, ("-", "--", "-.", ":"), strict=True):
        factor = np.exp(-slope * distance)
        axes[1].plot(distance, factor, line, color=STYLE["alibi"]["color"], label=f"slope 1/{1 / slope:g}")
    axes[0].set(xlabel="distance p - s", ylabel="q · k per pair, q = k", title="RoPE: nearness wins on average")
    axes[1].set(xlabel="distance p - s", ylabel="factor on the weight", title="ALiBi: far is faint")
    for ax in axes:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
    return figure


def plot_use(shares: Mapping[str, Sequence[Sequence[float]]], ax: plt.Axes, **labels: Any) -> None:
    """Share of choices by expert, the most used one first, mean of the layers; shares by model (layers, E)."""
    for k, (name, layers) in enumerate(shares.items()):
        mean = np.mean([sorted(layer, reverse=True) for layer in layers], 0)
        at = np.arange(len(mean)) + 0.4 * k - 0.2
        ax.bar(at, mean, 0.4, color=STYLE[name]["color"], label=name)
    ax.axhline(1 / len(mean), color="k", linewidth=1, label="even share")
    ax.set(xlabel="expert, the most used one first", ylabel="share of choices", **labels)
    ax.legend()
