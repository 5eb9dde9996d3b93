"""The figures of the seminar and the homework: one colour, marker and line per method; and colour spaces to draw with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageCms
from torch import Tensor

from lsdl.data.emoji import IMAGE_MEAN, IMAGE_STD
from lsdl.tables import Tables, mean_and_se

STYLE = {
    "Rotation": dict(color="C0", marker="o", linestyle="-"),
    "Exemplar": dict(color="C1", marker="s", linestyle="--"),
    "Context": dict(color="C2", marker="^", linestyle="-."),
    "Jigsaw": dict(color="C3", marker="v", linestyle="-"),
    "Damaged jigsaw": dict(color="C3", marker="x", linestyle=":"),
    "Inpainting": dict(color="C4", marker="D", linestyle="--"),
    "Colorization": dict(color="C5", marker="P", linestyle="-"),
    "Ensemble": dict(color="k", marker="X", linestyle="-."),
    "random trunk": dict(color="0.5", marker="*", linestyle=":"),
    "SimCLR": dict(color="0.3", marker=".", linestyle=":"),
}


def draw_pictures(rows: Mapping[str, Tensor]) -> plt.Figure:
    """Pictures in labelled rows: name -> (n, 3, size, size), uint8 or float in [0, 1]."""
    columns = max(len(images) for images in rows.values())
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(0.7 * columns + 1.2, 0.75 * len(rows)), layout="constrained", squeeze=False
    )
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax in line:
            ax.axis("off")
        for ax, image in zip(line, images, strict=False):
            ax.imshow(image.permute(1, 2, 0).cpu().clamp(0, None if image.dtype == torch.uint8 else 1))
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=8)
    return figure


def draw_pieces(sets: Mapping[str, Tensor]) -> plt.Figure:
    """Tiles in square grids side by side, a thin gap between: title -> (4 or 9, 3, t, t), uint8 or float in [0, 1]."""
    figure = plt.figure(figsize=(1.9 * len(sets), 2.1), layout="constrained")
    for part, (title, tiles) in zip(figure.subfigures(1, len(sets), squeeze=False)[0], sets.items(), strict=True):
        side = round(len(tiles) ** 0.5)
        part.suptitle(title, fontsize=9)
        for ax, tile in zip(part.subplots(side, side).flat, tiles, strict=True):
            ax.imshow(tile.permute(1, 2, 0).cpu().clamp(0, None if tile.dtype == torch.uint8 else 1))
            ax.set(xticks=[], yticks=[])
    return figure


def plot_live(logs: Mapping[str, Mapping], task: str, guess: float, title: str) -> plt.Axes:
    """Pretext accuracy over the steps of two live runs of one task in its colour, and two more in grey; the dotted line is guessing.

    Args:
        logs: by name the logs of `helpers.pretrain`.
        guess: accuracy of guessing, in [0, 1].
    """
    ax = plt.subplots(figsize=(6, 2.8), layout="constrained")[1]
    for k, (name, log) in enumerate(logs.items()):
        look = dict(color=(STYLE[task]["color"], "0.5")[k // 2], linestyle=("-", "--")[k % 2], marker="os"[k % 2])
        ax.plot(log["step"], 100 * np.array(log["correct"]), label=name, markersize=5, **look)
    ax.axhline(100 * guess, color="0.5", linestyle=":", label="guessing")
    ax.set(xlabel="step, 64 pictures each", ylabel="pretext accuracy, %", ylim=(0, 100), title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_bars(values: Mapping[str, float], guess: float, title: str, xlabel: str, colour: str = "C2") -> plt.Axes:
    """Horizontal bars of accuracies in percent with their values; the dotted line is guessing."""
    ax = plt.subplots(figsize=(6, 0.4 * len(values) + 1.1), layout="constrained")[1]
    bars = ax.barh(range(len(values)), list(values.values()), color=colour)
    ax.bar_label(bars, fmt="%.0f", padding=3)
    ax.axvline(guess, color="0.3", linestyle=":", label="guessing")
    ax.set_yticks(range(len(values)), list(values))
    ax.invert_yaxis()
    ax.set(xlabel=xlabel, xlim=(0, 100), title=title)
    ax.legend(loc="lower right")
    return ax


def plot_tasks(t: Tables, columns: Mapping[str, str], rivals: Mapping[str, tuple[str, str]]) -> plt.Figure:
    """Bars of the accuracies in the part "tasks", with standard errors over seeds.

    Args:
        columns: by what the legend says; a method without a column has no such bar.
        rivals: vertical lines: method and column by what the legend says.
    """
    names = list(dict.fromkeys(row["method"] for row in t["tasks"]))
    figure, ax = plt.subplots(figsize=(7.5, 4.4), layout="constrained")
    for k, (label, column) in enumerate(columns.items()):
        there = [name for name in names if any(column in row for row in t.rows("tasks", method=name))]
        pairs = [mean_and_se(t.values("tasks", column, method=name)) for name in there]
        places = [names.index(name) + 0.8 / len(columns) * (k - (len(columns) - 1) / 2) for name in there]
        look = dict(color=("0.3", "0.75")[k], hatch=("", "//")[k], edgecolor="0.2", linewidth=0.5)
        ax.barh(places, [m for m, _ in pairs], 0.8 / len(columns), xerr=[e for _, e in pairs], label=label, **look)
    for (label, (name, column)), line in zip(rivals.items(), ("--", ":"), strict=True):
        ax.axvline(t.values("tasks", column, method=name).mean(), color="C3", linestyle=line, label=label)
    ax.set_yticks(range(len(names)), names)
    ax.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=4)
    return figure


# Colours: what a network predicts has to be drawn

LAB, SRGB = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")


def _converted(
    pixels: np.ndarray, mode: str, start: ImageCms.ImageCmsProfile, end: ImageCms.ImageCmsProfile
) -> np.ndarray:
    """Pixels (rows, columns, 3) uint8 in the other colour space."""
    other = "LAB" if mode == "RGB" else "RGB"
    return np.asarray(ImageCms.profileToProfile(Image.fromarray(pixels, mode), start, end, outputMode=other))


def to_lab(images: Tensor) -> Tensor:
    """sRGB (B, 3, H, W) in [0, 1] -> L in [0, 100], a and b, by Pillow: 8 bits per number, its white is D50."""
    rows = (images * 255).round().byte().permute(0, 2, 3, 1).flatten(0, 1).cpu().numpy()  # one tall picture
    lab = torch.from_numpy(_converted(rows, "RGB", SRGB, LAB).copy())
    L, ab = lab[..., :1].float() * (100 / 255), lab[..., 1:].view(torch.int8).float()
    return torch.cat([L, ab], -1).view(len(images), *images.shape[2:], 3).permute(0, 3, 1, 2).to(images.device)


def to_rgb(lab: Tensor) -> Tensor:
    """The inverse of `to_lab`; colours that a screen does not have are cut off."""
    L, ab = (lab[:, :1] * 2.55).round().clamp(0, 255).byte(), lab[:, 1:].round().clamp(-128, 127).to(torch.int8)
    rows = torch.cat([L, ab.view(torch.uint8)], 1).permute(0, 2, 3, 1).flatten(0, 1).cpu().numpy()
    rgb = torch.from_numpy(_converted(rows, "LAB", LAB, SRGB).copy()).float() / 255
    return rgb.view(len(lab), *lab.shape[2:], 3).permute(0, 3, 1, 2)


def unnormalised(images: Tensor) -> Tensor:
    """The inverse of `lsdl.data.emoji.normalise`: (B, 3, H, W) in [0, 1]."""
    std, mean = (torch.tensor(values, device=images.device).view(3, 1, 1) for values in (IMAGE_STD, IMAGE_MEAN))
    return (images * std + mean).clamp(0, 1)


def plot_stages(profiles: Mapping[str, Sequence[Sequence[float]]], title: str) -> plt.Axes:
    """Probe accuracy in percent after each of the four stages: name -> (4, seeds); standard errors over seeds."""
    ax = plt.subplots(figsize=(6, 3), layout="constrained")[1]
    for name, stages in profiles.items():
        mean, error = np.array([mean_and_se(values) for values in stages]).T
        ax.errorbar(range(1, 5), mean, error, label=name, markersize=5, capsize=2, **STYLE.get(name, {}))
    ax.set(xlabel="stage", ylabel="probe, %", xticks=range(1, 5), title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax
