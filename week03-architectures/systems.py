"""What the seminar's sections on numbers, memory and workers measure with, and their figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

STYLE = {  # of the ways to sum over workers
    "naive": dict(color="C3", marker="v", linestyle="-"),
    "tree": dict(color="C1", marker="s", linestyle="--"),
    "butterfly": dict(color="C0", marker="o", linestyle="-"),
    "ring": dict(color="C2", marker="x", linestyle=":", markersize=9),
    "doubling": dict(color="0.5", marker="D", linestyle="-."),
}


class Wires:
    """Carries tensors between workers of one process and counts the numbers; `log` has (source, target, numbers) of each message."""

    def __init__(self) -> None:
        self.log: list[tuple[int, int, int]] = []

    def send(self, source: int, target: int, numbers: Tensor) -> Tensor:
        """What the target receives: a copy."""
        self.log.append((source, target, numbers.numel()))
        return numbers.clone()

    @property
    def busiest(self) -> int:
        """The most numbers that one worker sends."""
        sent: Counter[int] = Counter()
        for source, _, count in self.log:
            sent[source] += count
        return max(sent.values())

    def __str__(self) -> str:
        return "  ".join(f"{source}->{target}: {count}" for source, target, count in self.log)


def counted(all_reduce: Callable[[Sequence[Tensor], Wires], object], workers: int, numbers: int) -> int:
    """The numbers that the busiest of so many workers sends for an all-reduce of `numbers` numbers."""
    wires = Wires()
    all_reduce([torch.zeros(numbers) for _ in range(workers)], wires)
    return wires.busiest


def ring_sends(workers: int, numbers: int) -> int:
    """The same of the ring, by formula: worker r sends all chunks but r + 1, and then all but r + 2."""
    chunks = [len(c) for c in torch.zeros(numbers).tensor_split(workers)]
    return max(2 * numbers - chunks[(r + 1) % workers] - chunks[(r + 2) % workers] for r in range(workers))


def flops(run: Callable[[], object]) -> int:
    """FLOPs of what `run` does, attention included: the counter does not see the CPU's fused kernel."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops()


@contextmanager
def saved_bytes(model: nn.Module, *inputs: Tensor) -> Iterator[Counter]:
    """Counts under "bytes" what autograd keeps for the backward pass: each storage once, without the model's weights and the inputs."""
    seen = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers(), *inputs)}
    kept, found = [], Counter(bytes=0)  # storages are kept alive, so that no address comes twice

    def pack(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in seen:
            seen.add(storage.data_ptr())
            kept.append(storage)
            found["bytes"] += storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        yield found


# Figures


def plot_bits(rows: Mapping[str, tuple[str, str, str]], title: str) -> plt.Axes:
    """The bits of one number in several formats: name -> sign, exponent and mantissa as texts of 0 and 1."""
    ax = plt.subplots(figsize=(8, 0.55 * len(rows) + 0.9), layout="constrained")[1]
    for y, parts in enumerate(rows.values()):
        x = 0
        for part, colour in zip(parts, ("0.75", "C1", "C5"), strict=True):
            for bit in part:
                ax.add_patch(Rectangle((x, y + 0.1), 1, 0.8, facecolor=colour, edgecolor="white"))
                ax.text(x + 0.5, y + 0.5, bit, ha="center", va="center", fontsize=8)
                x += 1
    for x, name, side in ((0.9, "sign", "right"), (1.1, "exponent", "left"), (9.1, "mantissa", "left")):
        ax.text(x, -0.15, name, ha=side, fontsize=9)
    ax.set(xlim=(0, 32), ylim=(len(rows), -0.6), xticks=[], title=title)
    ax.set_yticks(np.arange(len(rows)) + 0.5, list(rows))
    ax.grid(False)
    for side in ax.spines.values():
        side.set_visible(False)
    ax.tick_params(length=0)
    return ax


def plot_gradients(sets: Mapping[str, Tensor], title: str) -> plt.Axes:
    """Histograms of log2 |g|; in the legend how many are exactly 0."""
    ax = plt.subplots(figsize=(7, 3), layout="constrained")[1]
    bins = np.arange(-36, -4)
    looks = (dict(color="0.8", histtype="stepfilled"), dict(color="C3", histtype="step", linewidth=1.6))
    looks += (dict(color="C0", histtype="step", linewidth=1.6, linestyle="--"),)
    for (name, g), look in zip(sets.items(), looks, strict=False):
        exponents = g[g != 0].abs().log2().cpu().numpy()
        ax.hist(exponents.clip(bins[0], bins[-1]), bins=bins, label=f"{name}: {int((g == 0).sum()):,} zeros", **look)
    for exponent, name in ((-14, "smallest normal"), (-24, "smallest")):
        ax.axvline(exponent, color="0.3", linestyle=":")
        ax.text(exponent, 1.0, f"float16: {name} ", rotation=90, va="top", ha="right", fontsize=8,
                transform=ax.get_xaxis_transform())  # fmt: skip
    ax.set(xlabel="log2 of a gradient's size", ylabel="gradients", title=title)
    ax.legend(loc="upper left")
    return ax


def plot_scale(scales: Sequence[float], skipped: Sequence[bool], title: str) -> plt.Axes:
    """The scale before each step; a cross marks a step that was skipped."""
    ax = plt.subplots(figsize=(6, 2.6), layout="constrained")[1]
    steps, skipped = np.arange(1, len(scales) + 1), np.array(skipped)
    exponents = np.log2(scales)
    ax.step(steps, exponents, where="mid", color="0.6")
    ax.plot(steps[~skipped], exponents[~skipped], "o", color="C0", label="step taken")
    ax.plot(steps[skipped], exponents[skipped], "x", color="C3", label="step skipped", markersize=8)
    ax.set(xlabel="step", ylabel="log2 of the scale", title=title)
    ax.legend(loc="upper right")
    return ax


def plot_all_reduce(counts: Mapping[str, Mapping[int, float]], times: Mapping[str, Mapping[int, float]], N: str) -> plt.Figure:  # fmt: skip
    """Left what the busiest worker sends, in units of all N numbers, right the alpha-beta time in seconds: name -> by number of workers."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), layout="constrained")
    labels = ("busiest worker sends, times N", f"time for N = {N}, s")
    titles = ("Butterfly and ring send less than 2 N", "Time follows the bytes")
    for ax, sets, label, title in zip(axes, (counts, times), labels, titles, strict=True):
        for name, values in sets.items():
            ax.plot(list(values), list(values.values()), label=name, **dict(markersize=5) | STYLE[name])
        ax.set(xlabel="workers", ylabel=label, title=title, xscale="log", yscale="log")
        ax.set_xticks(list(next(iter(sets.values()))), [str(n) for n in next(iter(sets.values()))])
        ax.minorticks_off()
    axes[1].legend(loc="upper left")
    return figure


def plot_saved(rows: Mapping[str, Mapping[int, float]], title: str) -> plt.Axes:
    """Saved megabytes by the number of blocks: name -> depth -> MB."""
    ax = plt.subplots(figsize=(6, 2.8), layout="constrained")[1]
    for (name, values), look in zip(rows.items(), (("C3", "o", "-"), ("C0", "s", "--")), strict=True):
        colour, marker, line = look
        ax.plot(list(values), list(values.values()), label=name, color=colour, marker=marker, linestyle=line)
        for depth, value in values.items():
            ax.annotate(f"{value:.1f}", (depth, value), xytext=(0, 5), textcoords="offset points", ha="center")
    ax.set(xlabel="blocks", ylabel="saved for backward, MB", title=title, xticks=list(next(iter(rows.values()))))
    ax.set_ylim(0, 1.15 * max(max(values.values()) for values in rows.values()))
    ax.legend(loc="upper left")
    return ax


def plot_schedules(schedules: Mapping[str, Sequence[tuple[int, str, int, float, float]]], title: str) -> plt.Figure:
    """Who works when: name -> (stage, "F" or "B", micro-batch, begin, end); white is idle."""
    figure, axes = plt.subplots(len(schedules), 1, figsize=(8, 1.5 * len(schedules) + 0.5), layout="constrained",
                                sharex=True, squeeze=False)  # fmt: skip
    figure.suptitle(title)
    for ax, (name, jobs) in zip(axes[:, 0], schedules.items(), strict=True):
        for stage, kind, micro, begin, end in jobs:
            colour = {"F": "C5", "B": "C1"}[kind]
            ax.add_patch(Rectangle((begin, stage + 0.08), end - begin, 0.84, facecolor=colour, edgecolor="white"))
            ax.text((begin + end) / 2, stage + 0.5, f"{kind}{micro + 1}", ha="center", va="center", fontsize=8)
        stages = 1 + max(job[0] for job in jobs)
        ax.set(ylim=(stages, 0), xlim=(0, max(job[4] for job in jobs)), ylabel=name)
        ax.set_yticks(np.arange(stages) + 0.5, [f"stage {k + 1}" for k in range(stages)])
        ax.grid(False)
    axes[-1, 0].set_xlabel("time, forward passes of a micro-batch")
    return figure


def alpha_beta(times: Mapping[str, float]) -> tuple[float, float]:
    """Seconds per message and per number, from the smallest and the largest of measured times by how many numbers."""
    small, large = min(times, key=int), max(times, key=int)
    beta = (times[large] - times[small]) / (int(large) - int(small))
    return max(times[small] - beta * int(small), 0.0), beta
