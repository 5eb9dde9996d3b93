"""Week 08: text and tokenizer, sizes of models, a clock and plots; no solutions."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from tokenizers import Tokenizer
from torch import Tensor

from lsdl.torch_tools import pick_device  # noqa: F401 (the notebooks take it from here)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a Llama-type model; the names are those of the homework, Hugging Face's are in `load_sizes`."""

    dim: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    max_positions: int


MODELS = {
    "SmolLM2-135M": Sizes(576, 1536, 30, 9, 3, 64, 49_152, 8_192),
    "Llama-3.2-1B": Sizes(2048, 8192, 16, 32, 8, 64, 128_256, 131_072),
}


def load_sizes(default: str) -> Sizes:
    """Sizes of the model that the environment variable TEXT_MODEL names, else of `default`.

    Args:
        default: a key of `MODELS`. TEXT_MODEL may also be a folder with a config.json in Hugging Face's format.

    Raises:
        FileNotFoundError: it is neither.
    """
    name = os.environ.get("TEXT_MODEL", default)
    if name in MODELS:
        return MODELS[name]
    path = Path(name) / "config.json"
    if not path.is_file():
        raise FileNotFoundError(
            f"TEXT_MODEL: {name!r} is neither one of {', '.join(MODELS)} nor a folder with a config.json."
        )
    config = json.loads(path.read_text(encoding="utf-8"))
    heads = config["num_attention_heads"]
    return Sizes(
        dim=config["hidden_size"],
        hidden=config["intermediate_size"],
        layers=config["num_hidden_layers"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        vocabulary=config["vocab_size"],
        max_positions=config["max_position_embeddings"],
    )


@torch.no_grad()
def seconds(function: Callable[[], Any], repeat: int = 3) -> float:
    """Wall time of `function()` in seconds: best of `repeat` calls after one that warms up."""
    times = []
    for _ in range(repeat + 1):
        _wait()
        begin = time.perf_counter()
        function()
        _wait()
        times.append(time.perf_counter() - begin)
    return min(times[1:])


def _wait() -> None:
    """A GPU computes in the background: wait for it before reading the clock."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


# Plots


def draw_blocks() -> Figure:
    """A block of the transformer of 2017 beside one of Llama: what was exchanged."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained")
    old = ["+ sinusoids, once", "attention", "add, then LayerNorm", "MLP: relu, width 4 d", "add, then LayerNorm"]
    new = ["RMSNorm", "attention: RoPE, fewer KV heads", "add", "RMSNorm", "MLP: SwiGLU, width 8/3 d", "add"]
    for ax, title, parts in ((axes[0], "2017: post-norm", old), (axes[1], "Llama: pre-norm", new)):
        for k, text in enumerate(parts):
            colour = "C0" if text.startswith(("attention", "MLP")) else "C2" if "Norm" in text else "0.8"
            box = FancyBboxPatch((0.1, k), 0.75, 0.6, boxstyle="round,pad=0.02", facecolor=colour, alpha=0.35)
            ax.add_patch(box)
            ax.text(0.475, k + 0.3, text, ha="center", va="center", fontsize=9)
            ax.annotate("", (0.475, k), (0.475, k - 0.4), arrowprops={"arrowstyle": "->"})
        first, last = ((1, 2), (3, 4)) if title.startswith("2017") else ((0, 2), (3, 5))
        for start_at, end_at in (first, last):  # the residual's way around
            path = [(0.475, start_at - 0.2), (0.97, start_at - 0.2), (0.97, end_at + 0.3)]
            ax.plot([x for x, _ in path], [y for _, y in path], color="0.4")
            ax.annotate("", (0.87, end_at + 0.3), (0.98, end_at + 0.3), arrowprops={"arrowstyle": "->", "color": "0.4"})
        ax.set(title=title, xlim=(0, 1.05), ylim=(-0.5, 6))
        ax.axis("off")
    return figure


def draw_sharing(heads: int, kv_heads: Sequence[int]) -> Figure:
    """Which query head reads which KV head, one picture for each number of KV heads."""
    figure, axes = plt.subplots(1, len(kv_heads), figsize=(9, 1.8), layout="constrained")
    for ax, groups in zip(np.atleast_1d(axes), kv_heads, strict=True):
        for h in range(heads):
            g = h // (heads // groups)
            at = (g + 0.5) * heads / groups - 0.5
            ax.plot([h, at], [1, 0], color=f"C{g}", linewidth=1)
            ax.text(h, 1.12, f"q{h}", ha="center", fontsize=8)
            if h % (heads // groups) == 0:
                ax.text(at, -0.32, f"k{g}, v{g}", ha="center", fontsize=8)
        name = "multi-head" if groups == heads else "multi-query" if groups == 1 else "grouped-query"
        count = f"{groups} KV head{'s' if groups > 1 else ''}"
        ax.set(title=f"{name}: {count}", xlim=(-0.8, heads - 0.2), ylim=(-0.4, 1.4))
        ax.axis("off")
    return figure


def plot_by_position(rows: Sequence[Mapping[str, Any]], length: int) -> Figure:
    """Loss by position, and beyond the training length the difference to the model's own window; band: range over seeds.

    Args:
        rows: "name", "full" (means over equal parts of the positions up to 4 * length), and of single positions beyond
            `length`, evenly spaced, "same" (everything is read) and "window" (only the last `length` tokens are).
        length: the training length in tokens.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    for k, name in enumerate(dict.fromkeys(row["name"] for row in rows)):
        found = {key: np.array([row[key] for row in rows if row["name"] == name]) for key in ("full", "same", "window")}
        places = found["same"].shape[1]
        # pairs of neighbours: the difference at single positions is noisy
        excess = (found["same"] - found["window"])[:, : places // 2 * 2].reshape(len(found["same"]), -1, 2).mean(2)
        for ax, values, first in ((axes[0], found["full"], 0), (axes[1], excess, length)):
            at = first + (np.arange(values.shape[1]) + 0.5) * (4 * length - first) / values.shape[1]
            ax.plot(at, values.mean(0), "-" if k < 3 else "--", color=f"C{k}", label=name)
            ax.fill_between(at, values.min(0), values.max(0), color=f"C{k}", alpha=0.15, linewidth=0)
    axes[0].axvline(length, color="k", linewidth=0.8)
    axes[0].set(xlabel="position, tokens (line: training length)", ylabel="loss, nats a token")
    axes[1].axhline(0, color="k", linewidth=0.8)
    axes[1].set(xlabel="position, tokens", ylabel="nats a token", title="everything read minus its own window")
    axes[1].legend(fontsize=8)
    return figure


def plot_curves(ax: Axes, rows: Sequence[Mapping[str, Any]], steps: int) -> None:
    """Training curves of a comparison, mean over seeds; rows hold "name" and "curve" (means over equal parts of the steps)."""
    for style, name in zip(("-", "--", ":", "-."), dict.fromkeys(row["name"] for row in rows), strict=False):
        curve = np.mean([row["curve"] for row in rows if row["name"] == name], 0)
        ax.plot((np.arange(len(curve)) + 0.5) * steps / len(curve), curve, style, label=name)
    ax.set(xlabel="step", ylabel="training loss, nats a token")
    if rows:
        ax.legend(fontsize=8)
    else:
        ax.text(0.5, 0.5, "not measured yet", ha="center", transform=ax.transAxes)


# Data

ASSETS = Path(__file__).resolve().parent / "assets"


def load_text(part: str) -> str:
    """Jane Austen's "Pride and Prejudice" and "Emma", one line a paragraph; whole chapters are "train", "val" or "test".

    Raises:
        FileNotFoundError: there is no such part.
    """
    file = resources.files("lsdl.data") / "text" / f"{part}.txt.gz"
    return gzip.decompress(file.read_bytes()).decode("utf-8")


def load_tokenizer() -> Tokenizer:
    """Byte-level BPE with 1,024 entries, learnt on the train part; `<|bos|>` is one of them and does not occur in the text."""
    return Tokenizer.from_file(str(ASSETS / "llama" / "tokenizer.json"))


def load_tokens(part: str) -> Tensor:
    """The tokens of `load_text(part)`, (n,) int64 on the CPU; a second for the train part."""
    return torch.tensor(load_tokenizer().encode(load_text(part)).ids)
