"""To be appended to figures.py."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from torch import Tensor


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
