"""The figures of the seminar: one colour, marker and line per method."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.collections import LineCollection
from scipy import ndimage
from skimage.feature import _hoghistogram, hog
from torch import Tensor
from vit import to_images, to_patches

from lsdl.data.emoji import IMAGE_MEAN, IMAGE_STD
from lsdl.tables import Tables, mean_and_se

STYLE = {
    "MAE": dict(color="C0", marker="o", linestyle="-"),
    "MAE at DINO's cost": dict(color="C0", marker="D", linestyle=":"),
    "BEiT": dict(color="C1", marker="s", linestyle="--"),
    "MaskFeat": dict(color="C2", marker="^", linestyle="-."),
    "pixel regression": dict(color="C5", marker="v", linestyle=":"),
    "DINO": dict(color="C3", marker="P", linestyle="-"),
    "SimCLR": dict(color="C4", marker="X", linestyle="--"),
    "random ViT": dict(color="0.5", marker="*", linestyle=":"),
}
RIVALS = {  # what learned nothing, by how it is judged
    "tuned": dict(color="0.3", linestyle="--"),
    "1-NN": dict(color="C3", linestyle=":"),
}
MODES = {  # of DINO
    "whole": dict(color="C3", marker="P", linestyle="-"),
    "no centre": dict(color="C6", marker="x", linestyle="--"),
    "no sharpening": dict(color="C7", marker="d", linestyle=":"),
}


# Pictures


def unnormalised(images: Tensor) -> Tensor:
    """The inverse of `lsdl.data.emoji.normalise`: (B, 3, H, W) in [0, 1]."""
    std, mean = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (IMAGE_STD, IMAGE_MEAN))
    return (images * std + mean).clamp(0, 1)


def hidden_in_grey(images: Tensor, mask: Tensor) -> Tensor:
    """Pictures (B, 3, S, S) in [0, 1] with hidden patches in grey; mask (L,) or (B, L), 1 = hidden."""
    side = round(mask.shape[-1] ** 0.5)
    large = F.interpolate(mask.float().view(-1, 1, side, side), images.shape[-2:])
    return torch.where(large > 0, 0.65, images)


def filled(drawn: Tensor, images: Tensor, mask: Tensor) -> Tensor:
    """Pictures (B, 3, S, S) in [0, 1] with their hidden patches as MAE draws them; mean and deviation of each are the true ones.

    Args:
        drawn: (B, L, 3 p^2).
        mask: (L,), 1 = hidden.
    """
    patch = math.isqrt(drawn.shape[2] // 3)
    true = to_patches(images, patch)
    variance, mean = torch.var_mean(true, -1, keepdim=True)
    patches = torch.where(mask[:, None] > 0, drawn * (variance + 1e-6).sqrt() + mean, true)
    return to_images(patches, patch).clamp(0, 1)


def draw_codes(book: Tensor, patch: int, title: str) -> plt.Axes:
    """The patches of a codebook (K, 3 p^2) in [0, 1], in rows of 32."""
    pictures = to_images(book[:, None], patch)  # (K, 3, p, p)
    gap, rows = 2, math.ceil(len(book) / 32)
    canvas = torch.ones(3, rows * (patch + gap), 32 * (patch + gap))
    for k, picture in enumerate(pictures):
        y, x = k // 32 * (patch + gap), k % 32 * (patch + gap)
        canvas[:, y : y + patch, x : x + patch] = picture
    ax = plt.subplots(figsize=(8, 0.25 * rows + 0.4), layout="constrained")[1]
    ax.imshow(canvas.permute(1, 2, 0).clamp(0, 1))
    ax.set(title=title)
    ax.axis("off")
    return ax


def draw_rows(rows: Mapping[str, Tensor], title: str = "") -> plt.Axes:
    """Pictures in labelled rows: name -> (n, 3, size, size), uint8 or float in [0, 1]; rows may differ in n."""
    gap, size = 3, max(images.shape[-1] for images in rows.values())
    columns = max(len(images) for images in rows.values())
    canvas = torch.ones(3, len(rows) * (size + gap), columns * (size + gap))
    for row, images in enumerate(rows.values()):
        images = images.float().cpu() / (255 if images.dtype == torch.uint8 else 1)
        for column, image in enumerate(F.interpolate(images, (size, size))):
            y, x = row * (size + gap), column * (size + gap)
            canvas[:, y : y + size, x : x + size] = image.clamp(0, 1)
    shape = min(8, 0.7 * columns + 1.3), 0.7 * len(rows) + (0.35 if title else 0.05)
    ax = plt.subplots(figsize=shape, layout="constrained")[1]
    ax.imshow(canvas.permute(1, 2, 0))
    ax.set(xticks=[], title=title)
    ax.set_yticks([row * (size + gap) + size / 2 for row in range(len(rows))], list(rows), fontsize=8)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.grid(False)
    return ax


def coloured(maps: Tensor, size: int) -> Tensor:
    """Maps (n, h, w), each over its largest number, as pictures (n, 3, size, size)."""
    large = F.interpolate(maps[:, None].cpu(), (size, size))[:, 0]
    return (
        torch.from_numpy(plt.get_cmap("viridis")(large / large.amax((1, 2), keepdim=True)))[..., :3]
        .permute(0, 3, 1, 2)
        .float()
    )


# Histograms of oriented gradients


def library_hog(image: Tensor, cell: int) -> np.ndarray:
    """scikit-image's, of each channel of a picture (3, S, S) in [0, 1]: (3, rows, columns, 9)."""
    found = [hog(c.numpy(), 9, (cell, cell), (1, 1), "L2", feature_vector=False)[:, :, 0, 0] for c in image]
    return np.stack(found)


def paper_hog(image: Tensor, cell: int) -> np.ndarray:
    """MaskFeat's: Sobel, reflected border, angle atan2(gx, gy); as `library_hog`. scikit-image takes the votes."""
    rows, columns = (size // cell for size in image.shape[1:])
    found = np.zeros((3, rows, columns, 9))
    for channel, cells in zip(image.double().numpy(), found, strict=True):
        gy, gx = (ndimage.sobel(channel, axis, mode="mirror") for axis in (0, 1))
        # its arguments are gx and gy: exchanged, the angle is that of the paper
        _hoghistogram.hog_histograms(gy, gx, cell, cell, *channel.shape[::-1], columns, rows, 9, cells)
    return found / np.sqrt((found**2).sum(-1, keepdims=True) + 1e-10)


def draw_hogs(image: Tensor, hogs: Mapping[str, np.ndarray], title: str, exchanged: str = "") -> plt.Axes:
    """A picture (3, S, S) and beside it histograms, in each cell nine strokes *along* the edges, as strong as the vote.

    Args:
        hogs: by name (3, rows, columns, 9), drawn in the mean over channels.
        exchanged: the name of the one whose bins count atan2(gx, gy) instead of (gy, gx).
    """
    size, gap, ax = image.shape[-1], 3, plt.subplots(figsize=(8, 2.5), layout="constrained")[1]
    ax.imshow(image.permute(1, 2, 0), extent=(0, size, size, 0))
    for place, (name, cells) in enumerate(hogs.items(), 1):
        cells, left = cells.mean(0), place * (size + gap)
        step = size / len(cells)
        angle = np.deg2rad(20 * np.arange(9) + 10)
        # an edge is perpendicular to its gradient, which is (cos, sin), or exchanged (sin, cos); y points down
        dx, dy = (np.cos(angle), -np.sin(angle)) if name == exchanged else (-np.sin(angle), np.cos(angle))
        y, x, k = np.indices(cells.shape)
        middle = np.stack([left + (x + 0.5) * step, (y + 0.5) * step], -1)
        reach = 0.48 * step * np.stack([dx[k], dy[k]], -1)
        ends = np.stack([middle - reach, middle + reach], -2).reshape(-1, 2, 2)
        strength = cells.clip(0, 1).ravel()
        ax.add_collection(LineCollection(ends, colors=[(0, 0, 0, a) for a in strength], linewidths=1.2))
        ax.add_patch(plt.Rectangle((left, 0), size, size, fill=False, color="0.7", linewidth=0.8))
    names = ["picture", *hogs]
    ax.set_xticks([k * (size + gap) + size / 2 for k in range(len(names))], names)
    ax.set(xlim=(-0.5, len(names) * (size + gap)), ylim=(size + 0.5, -0.5), yticks=[], title=title, aspect="equal")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.grid(False)
    return ax


# Numbers


def draw_tables(tables: Mapping[str, Tensor], rows: str, columns: str, title: str) -> plt.Axes:
    """Tables (r, c) of numbers in [-1, 1] side by side, each number in its coloured cell."""
    values = torch.cat([F.pad(table, (0, 1), value=torch.nan) for table in tables.values()], 1)[:, :-1]
    r, step = len(values), values.shape[1] // len(tables) + 1
    ax = plt.subplots(figsize=(8, 0.42 * r + 1.1), layout="constrained")[1]
    ax.imshow(values, vmin=0, vmax=1, cmap="viridis", aspect="auto")
    for (y, x), value in zip(torch.cartesian_prod(*map(torch.arange, values.shape)).tolist(), values.flatten().tolist(), strict=True):  # fmt: skip
        if value == value:
            ax.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=8, color="k" if value > 0.5 else "w")
    for k, name in enumerate(tables):
        ax.text(k * step + step / 2 - 1, -0.65, name, ha="center", va="bottom", fontsize=9)
    places = [x for x in range(values.shape[1]) if x % step < step - 1]
    ax.set_xticks(places, [f"{x % step}" for x in places])
    ax.set_yticks(range(r))
    ax.set(xlabel=columns, ylabel=rows)
    ax.set_title(title, pad=24)
    ax.grid(False)
    ax.spines[:].set_visible(False)
    return ax


def plot_loss(log: Mapping, method: str, trivial: str, title: str) -> plt.Axes:
    """A live run's loss over its steps, and dashed in grey the loss of the trivial answer."""
    ax = plt.subplots(figsize=(6, 2.6), layout="constrained")[1]
    ax.plot(log["step"], log["loss"], label=method, markersize=4, **STYLE[method])
    ax.plot(log["step"], log["trivial"], label=trivial, color="0.5", linestyle="--")
    ax.set(xlabel="step", ylabel="loss", title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_collapse(logs: Mapping[str, Mapping], title: str) -> plt.Figure:
    """Entropy of DINO's teacher, 1 where all codes are alike, and KL divergence over the steps of live runs."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    for ax, name, label in zip(axes, ("entropy", "KL"), ("H(p) / log K", "KL(p, q), nats"), strict=True):
        for mode, log in logs.items():
            ax.plot(log["step"], log[name], label=mode, markersize=4, **MODES[mode])
        ax.set(xlabel="step", ylabel=label)
    axes[0].set(ylim=(-0.03, 1.03))
    axes[1].set(ylim=(-0.03, None))
    figure.suptitle(title, fontsize=11)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def plot_ratios(t: Tables, scratch: str, title: str) -> plt.Axes:
    """Accuracy after MAE against the share of hidden patches, means with standard errors; the broken line is training from scratch."""
    ax = plt.subplots(figsize=(6, 2.8), layout="constrained")[1]
    ratios = sorted({row["ratio"] for row in t["ratios"]})
    for way, look in (("tuned", {}), ("probe", dict(linestyle="--", markerfacecolor="none"))):
        mean, error = np.array([mean_and_se(t.values("ratios", way, ratio=ratio)) for ratio in ratios]).T
        ax.errorbar(
            [100 * ratio for ratio in ratios], mean, error, label=f"MAE, {way}", capsize=2, **(STYLE["MAE"] | look)
        )
    ax.axhline(t.values("methods", "tuned", method=scratch).mean(), label=f"{scratch}, tuned", **RIVALS["tuned"])
    ax.set(xlabel="hidden patches, %", ylabel="accuracy, %", title=title, xticks=[100 * ratio for ratio in ratios])
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_methods(
    t: Tables, ways: Sequence[str], lines: Mapping[str, tuple[str, str]], title: str, *methods: str
) -> plt.Axes:
    """Bars of accuracies in the part "methods" with standard errors over seeds, a bar per way of judging.

    Args:
        lines: vertical lines by what the legend says: method and way.
        methods: which of them; none: all.
    """
    names = [name for name in dict.fromkeys(row["method"] for row in t["methods"]) if not methods or name in methods]
    ax = plt.subplots(figsize=(7.5, 0.34 * len(names) * max(1, len(ways) / 2) + 1.5), layout="constrained")[1]
    looks = [dict(color="0.3"), dict(color="0.65"), dict(color="0.92", hatch="//")]
    for k, (way, look) in enumerate(zip(ways, looks, strict=False)):
        there = [name for name in names if any(way in row for row in t.rows("methods", method=name))]
        pairs = [mean_and_se(t.values("methods", way, method=name)) for name in there]
        places = [names.index(name) + 0.8 / len(ways) * (k - (len(ways) - 1) / 2) for name in there]
        errors = [error for _, error in pairs]
        ax.barh(places, [mean for mean, _ in pairs], 0.8 / len(ways), xerr=errors, label=way, edgecolor="0.2", linewidth=0.5, **look)  # fmt: skip
    for label, (name, way) in lines.items():
        ax.axvline(t.values("methods", way, method=name).mean(), label=label, **RIVALS[way])
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    ax.set(xlabel="accuracy, mean of three moved tests, %", title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax
