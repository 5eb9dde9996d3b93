"""The figures of the seminar: one colour, marker and line per method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lsdl.tables import NoTable, Tables, mean_and_se

STYLE = {
    "ResNet": dict(color="C0", marker="o", linestyle="-"),
    "BiT": dict(color="C0", marker="s", linestyle="--"),
    "ConvNeXt": dict(color="C5", marker="^", linestyle="-"),
    "Swin": dict(color="C1", marker="D", linestyle="-"),
    "NAT": dict(color="C2", marker="v", linestyle="-"),
    "ViT": dict(color="C3", marker="P", linestyle="-"),
    "Mixer": dict(color="C4", marker="X", linestyle="-"),
    "global": dict(color="C3", marker="P", linestyle="-"),
    "windows": dict(color="C1", marker="D", linestyle="-"),
    "neighbours": dict(color="C2", marker="v", linestyle="--"),
}


def draw_maps(images: Tensor, maps: Tensor, title: str) -> plt.Axes:
    """Pictures (n, 3, S, S) uint8 in a row, below each its map (n, h, w), scaled to its largest weight."""
    n, size = len(images), images.shape[-1]
    top = images.permute(2, 0, 3, 1).reshape(size, n * size, 3).float().cpu() / 255
    large = F.interpolate(maps[:, None].cpu(), (size, size))[:, 0]
    large = large / large.amax((1, 2), keepdim=True)
    bottom = torch.from_numpy(plt.get_cmap("viridis")(large.permute(1, 0, 2).reshape(size, n * size).numpy())[..., :3])
    ax = plt.subplots(figsize=(8, 2.1), layout="constrained")[1]
    ax.imshow(torch.cat([top, bottom.float()]).numpy())
    ax.set(xticks=[], yticks=[size / 2, 1.5 * size], title=title)
    ax.set_yticklabels(["picture", "weights"])
    ax.grid(False)
    return ax


def draw_seen(seen: Mapping[str, Sequence[Tensor]], places: Sequence[tuple[int, int]], title: str) -> plt.Axes:
    """Maps of what a query sees, a column per block, a row per query; the query itself is marked.

    Args:
        seen: for each block a map (side, side) bool per place.
    """
    side, gap = len(next(iter(seen.values()))[0]), 1
    canvas = np.full((len(places) * (side + gap) - gap, len(seen) * (side + gap) - gap), np.nan)
    ax = plt.subplots(figsize=(8, 3.6), layout="constrained")[1]
    for column, maps in enumerate(seen.values()):
        for row, (place, found) in enumerate(zip(places, maps, strict=True)):
            y, x = row * (side + gap), column * (side + gap)
            canvas[y : y + side, x : x + side] = found.numpy()
            ax.plot(x + place[1], y + place[0], color="C3", marker="o", markersize=5)
    ax.imshow(canvas, cmap="Blues", vmin=-0.15, vmax=1.3)
    ax.set_xticks([k * (side + gap) + side / 2 - 0.5 for k in range(len(seen))], list(seen))
    ax.set_yticks(
        [k * (side + gap) + side / 2 - 0.5 for k in range(len(places))], [f"query {place}" for place in places]
    )
    ax.set(title=title)
    ax.grid(False)
    return ax


def plot_cost(tokens: Sequence[int], cost: Mapping[str, Sequence[int]], slope: Mapping[str, float], title: str):
    """FLOPs against tokens, both axes logarithmic, with the fitted exponents."""
    ax = plt.subplots(figsize=(6, 3), layout="constrained")[1]
    for name, flops in cost.items():
        ax.plot(tokens, flops, label=f"{name}: exponent {slope[name]:.2f}", **STYLE[name])
    ax.set(xscale="log", yscale="log", xlabel="tokens", ylabel="FLOPs of attention's products", title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_losses(logs: Mapping[str, Mapping], title: str) -> plt.Axes:
    """Training loss over steps, a line per network."""
    ax = plt.subplots(figsize=(6, 2.8), layout="constrained")[1]
    for name, log in logs.items():
        ax.plot(log["step"], log["loss"], label=name, **STYLE[name])
    ax.axhline(np.log(18), color="0.5", linestyle=":", label="guessing")
    ax.set(xlabel="step, 64 pictures each", ylabel="training loss", title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_rates(t: Tables, title: str) -> plt.Axes:
    """Validation loss against the learning rate, a line per network."""
    ax = plt.subplots(figsize=(6, 3), layout="constrained")[1]
    for method in (name for name in STYLE if any(row["method"] == name for row in t["rates"])):
        pairs = sorted((row["lr"], row["val loss"]) for row in t.rows("rates", method=method))
        ax.plot(*zip(*pairs, strict=True), label=method, **STYLE[method])
    ax.set(xscale="log", xlabel="learning rate", ylabel="validation loss", title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_rows(t: Tables, colours: str, title: str) -> plt.Axes:
    """Test accuracy against FLOPs: each seed a dot, the name beside; the dashed line is what colours alone tell."""
    ax = plt.subplots(figsize=(7, 3.6), layout="constrained")[1]
    for method in (name for name in STYLE if any(row["method"] == name for row in t["rows"])):
        rows = t.rows("rows", method=method)
        look = STYLE[method] | {"linestyle": ""}
        ax.plot([row["MFLOPs"] for row in rows], [row["test"] for row in rows], label=method, **look)
    ax.axhline(t.values("rows", "test", method=colours).mean(), color="0.3", linestyle="--", label=colours)
    ax.set(xlabel="million FLOPs per picture", ylabel="test accuracy, %", title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_axis(t: Tables, title: str) -> plt.Figure:
    """Training (open) and test accuracy (filled) against training pictures, means with standard errors."""
    ax = plt.subplots(figsize=(6, 3), layout="constrained")[1]
    for method in ("ResNet", "ViT"):
        try:
            counts = sorted({row["pictures"] for row in t.rows("axis", method=method)})
        except NoTable:
            continue
        for split, look in (("test", {}), ("train", dict(markerfacecolor="none", alpha=0.6, linestyle=":"))):
            pairs = [mean_and_se(t.values("axis", split, method=method, pictures=n)) for n in counts]
            mean, error = np.array(pairs).T
            ax.errorbar(counts, mean, error, label=f"{method}, {split}", capsize=2, **(STYLE[method] | look))
    ax.set(xscale="log", xlabel="training pictures", ylabel="accuracy, %", title=title)
    ax.set_xticks(counts, counts)
    ax.xaxis.set_minor_formatter("")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_ladder(t: Tables, title: str) -> plt.Axes:
    """Test accuracy after each change from a ResNet to a ConvNeXt; means with standard errors."""
    ax = plt.subplots(figsize=(7, 3.4), layout="constrained")[1]
    changes = list(dict.fromkeys(row["change"] for row in t["ladder"]))
    mean, error = np.array([mean_and_se(t.values("ladder", "test", change=change)) for change in changes]).T
    ax.errorbar(mean, range(len(changes)), xerr=error, capsize=2, **STYLE["ConvNeXt"])
    ax.set_yticks(range(len(changes)), changes)
    ax.invert_yaxis()
    ax.set(xlabel="test accuracy, %", title=title)
    return ax
