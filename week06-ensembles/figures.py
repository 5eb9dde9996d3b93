"""The figures of the seminar: one colour, marker and line per method, from `helpers.STYLE`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from helpers import STYLE, TEMPERATURES
from torch import Tensor

from lsdl.tables import Tables, mean_and_se

STABLE = 2  # points: below it Frankle et al. call a training stable
PATHS = {  # colour, marker, line of what is no method
    "BatchNorm updated": ("C0", "o", "-"),
    "not updated": ("C3", "x", "--"),
    "to the young net": ("C2", "^", "-."),
    "own heads": ("C3", "v", "--"),
    "shared head": ("C1", "s", "-."),
    "probe head": ("C0", "o", "-"),
    "live": ("0.3", "*", ":"),
}


def look(name: str, **changes: object) -> dict[str, object]:
    """Colour, marker and line of a method or a path for `plot` and `errorbar`."""
    colour, marker, line = (STYLE | PATHS)[name]
    return {"color": colour, "marker": marker, "linestyle": line, "markersize": 4, **changes}


def beside(ax: plt.Axes) -> plt.Axes:
    """The legend to the right of a panel."""
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


# Paths


def plot_paths(paths: Mapping[str, Tensor], title: str) -> plt.Axes:
    """Training errors (points,) in percent on straight paths by name, and dotted the line from end to end above which a barrier counts."""
    ax = plt.subplots(figsize=(7, 2.8), layout="constrained")[1]
    for name, errors in paths.items():
        x = np.linspace(0, 1, len(errors))
        ax.plot(x, errors, label=name, **look(name))
        ax.plot([0, 1], [errors[0], errors[-1]], color=look(name)["color"], linestyle=":", linewidth=1)
    ax.set(xlabel=r"$\alpha$", ylabel="training error, %", title=title, ylim=(0, 100))
    return beside(ax)


def plot_parting(t: Tables, epochs: Sequence[int], title: str) -> plt.Axes:
    """Line barrier between two children over the epoch at which they parted, mean with standard error; grey: two nets from scratch."""
    ax = plt.subplots(figsize=(7, 2.8), layout="constrained")[1]
    scratch, se = mean_and_se(t.values("paths", "line", kind="two seeds", update=True))
    ax.axhspan(scratch - se, scratch + se, color="0.85")
    ax.text(len(epochs) - 1, 0.8 * scratch, "two starts", ha="right", va="top", fontsize=8)
    pairs = [mean_and_se(t.values("paths", "line", kind=f"part at {k}", update=True)) for k in epochs]
    mean, error = np.array(pairs).T
    ax.errorbar(range(len(epochs)), mean, error, capsize=2, color="C0", marker="o")
    ax.axhline(STABLE, color="C3", linestyle="--", linewidth=1)
    ax.text(0, STABLE, f"{STABLE} points: stable below", color="C3", fontsize=8, va="bottom")
    ax.set_xticks(range(len(epochs)), [str(k) for k in epochs])
    ax.set_yscale("symlog", linthresh=1)  # what is below a point counts as it is
    ax.set_yticks([0, 1, 2, 10, 100], ["0", "1", "2", "10", "100"])
    ax.set(xlabel="the children part at epoch", ylabel="barrier, points", title=title, ylim=(-0.1, 150))
    return ax


def plot_transfer(t: Tables, live: Tensor, title: str) -> plt.Axes:
    """Training error between two fine-tunings of one tower, by their heads: means with standard errors; dotted the pair of the lesson."""
    ax = plt.subplots(figsize=(7, 2.8), layout="constrained")[1]
    for kind in ("own heads", "shared head", "probe head"):
        alphas = sorted({row["alpha"] for row in t.rows("profiles", kind=kind)})
        pairs = [mean_and_se(t.values("profiles", "error", kind=kind, alpha=alpha)) for alpha in alphas]
        mean, error = np.array(pairs).T
        ax.errorbar(alphas, mean, error, label=kind, capsize=2, **look(kind))
    ax.plot(np.linspace(0, 1, len(live)), live, label="live, probe head", **look("live"))
    ax.set(xlabel=r"$\alpha$", ylabel="training error, %", title=title, ylim=(0, None))
    return beside(ax)


# Ensembles


def plot_temperatures(curves: Mapping[str, Tensor], title: str) -> plt.Axes:
    """NLL at each of `helpers.TEMPERATURES`, (60,) each, by the name of a method and what follows it; a ring at the lowest point."""
    ax = plt.subplots(figsize=(7, 2.8), layout="constrained")[1]
    for name, values in curves.items():
        style = look("deep ensemble" if name.startswith("ensemble") else "one net", marker="")
        ax.plot(TEMPERATURES, values, label=name, **style)
        best = values.argmin()
        ax.plot(TEMPERATURES[best], values[best], "o", color=style["color"], markerfacecolor="none")
    ax.axvline(1, color="0.7", linewidth=1)
    ax.set_xscale("log")
    ax.set_xticks([0.5, 1, 2, 4], ["0.5", "1", "2", "4"])
    ax.minorticks_off()
    low = min(float(values.min()) for values in curves.values())
    ax.set(xlabel="temperature T", ylabel="NLL, validation", title=title, xlim=(0.4, 6), ylim=(low - 0.1, low + 1.5))
    return beside(ax)


def plot_gains(t: Tables, sets: Mapping[str, str], title: str) -> plt.Axes:
    """What an ensemble of five gains over its mean member in NLL, raw and at the home temperature, means with standard errors.

    Args:
        sets: names of tests, and what the axis calls them.
    """
    ax = plt.subplots(figsize=(7.5, 2.8), layout="constrained")[1]
    for shift, (score, colour) in zip((-0.2, 0.2), (("raw", "0.35"), ("home", "C0")), strict=True):
        gains = [
            t.values("gains", f"{score} member", set=s) - t.values("gains", f"{score} ensemble", set=s) for s in sets
        ]
        mean, error = np.array([mean_and_se(gain) for gain in gains]).T
        ax.bar(np.arange(len(sets)) + shift, mean, 0.4, yerr=error, capsize=2, color=colour, label=f"{score} NLL")
    ax.set_xticks(range(len(sets)), list(sets.values()), fontsize=8)
    ax.grid(False, axis="x")
    ax.set(xlabel="test", ylabel="NLL, mean member - ensemble", title=title)
    return beside(ax)


def plot_diversity(t: Tables, epochs: Sequence[int], title: str) -> plt.Axes:
    """Disagreement of two networks against their distance, by where the two come from: means with standard errors; joined: children that part at some epoch."""

    def place(kind: str) -> tuple[float, float, float, float]:
        (x, dx), (y, dy) = (mean_and_se(t.values("diversity", c, kind=kind)) for c in ("distance", "disagreement"))
        return x, y, dy, dx

    ax = plt.subplots(figsize=(7, 3), layout="constrained")[1]
    kinds = {row["kind"] for row in t["diversity"]}
    parted = [place(f"part at {k}") for k in epochs]
    ax.errorbar(*zip(*parted, strict=True), label="children, by epoch of parting", capsize=2, color="0.5", marker=".")
    for k, (x, y, *_) in zip(epochs, parted, strict=True):
        ax.annotate(str(k), (x, y), xytext=(4, -9), textcoords="offset points", fontsize=8, color="0.3")
    styles = {
        "one run's epochs": "one net",
        "SWAG samples": "SWAG",
        "SSE snapshots": "SSE",
        "other seeds": "deep ensemble",
    }
    for kind, style in styles.items():
        if kind in kinds:
            changes = {"linestyle": "", "markersize": 7} | ({"marker": "p"} if style == "one net" else {})
            ax.errorbar(*place(kind), label=kind, capsize=2, **look(style, **changes))
    ax.set(xlabel="distance of the weights", ylabel="disagreement, %", title=title, xlim=(0, None), ylim=(0, None))
    return beside(ax)


def plot_strengths(t: Tables, title: str) -> plt.Figure:
    """NLL and ECE over the strength of a corruption, mean over four corruptions, with standard errors; hollow: at the home temperature."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    strengths = sorted({row["strength"] for row in t["strengths"]})
    for ax, scores, label in zip(axes, (("raw", "home"), ("ECE raw", "ECE home")), ("NLL", "ECE"), strict=True):
        for method, style in (("one net", "one net"), ("ensemble of 5", "deep ensemble")):
            for score, more in zip(scores, ({}, {"markerfacecolor": "white"}), strict=True):
                pairs = [mean_and_se(t.values("strengths", score, what=method, strength=k)) for k in strengths]
                mean, error = np.array(pairs).T
                changes = more | ({"marker": "o"} if method == "one net" else {})
                ax.errorbar(strengths, mean, error, label=f"{method}, {scores[0 if not more else 1].removeprefix('ECE ')}", capsize=2, **look(style, **changes))  # fmt: skip
        ax.set(xlabel="strength", ylabel=label, ylim=(0, None))
    figure.suptitle(title, fontsize=11)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


# Sections 4 to 6


def look_of(method: str, **changes: object) -> dict[str, object]:
    """`look` of the method whose name this one begins with, such as "FGE at B 1"."""
    return look(max((key for key in STYLE if method.startswith(key)), key=len), **changes)


def plot_rates(
    rates: Mapping[str, Tensor], ends: Mapping[str, Sequence[int]], per_epoch: int, title: str
) -> plt.Figure:
    """A panel for each schedule: the rate of each step over epochs, a mark where a snapshot is taken.

    Args:
        rates: by method (steps,).
        ends: by method, after how many steps snapshots are taken.
        per_epoch: steps.
    """
    figure, axes = plt.subplots(1, len(rates), figsize=(8, 2.6), layout="constrained", sharey=True, squeeze=False)
    for ax, (method, values) in zip(axes[0], rates.items(), strict=True):
        done = np.asarray(ends[method])
        ax.plot(np.arange(len(values)) / per_epoch, values, **look_of(method, marker=""))
        ax.plot(done / per_epoch, values[done - 1], clip_on=False, **look_of(method, linestyle=""))
        ax.set(xlabel="epoch", title=f"{method}: {len(done)} snapshots")
    axes[0, 0].set(ylabel="learning rate")
    figure.suptitle(title, fontsize=11)
    return figure


def plot_equivalents(t: Tables, methods: Sequence[str], title: str) -> plt.Figure:
    """Calibrated NLL of deep ensembles over their size, with the band of 80 % of the draws, and a method's as a line, its mark at the left.

    Where the line meets the curve stands the method's deep ensemble equivalent.
    """
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.4), layout="constrained")
    curve = {key: np.array([row[key] for row in t["sizes"]]) for key in t["sizes"][0]}
    sizes, there = curve["size"], {row["method"] for row in t["scores"]}  # SWAG needs the homework
    for ax, name, suffix in zip(axes, ("noto (ID)", "five other styles (OOD)"), ("", " OOD"), strict=True):
        one = look_of("deep ensemble", markersize=3)
        ax.plot(sizes, curve["calibrated" + suffix], label="deep ensembles", **one)
        if "low" + suffix in curve:
            ax.fill_between(sizes, curve["low" + suffix], curve["high" + suffix], color=one["color"], alpha=0.15, linewidth=0)  # fmt: skip
        for k, method in enumerate(filter(there.__contains__, methods)):
            mean, error = mean_and_se(t.values("scores", "calibrated" + suffix, method=method))
            ax.axhline(mean, color=look_of(method)["color"], linestyle=":", linewidth=1)
            ax.errorbar([0.62 * 1.1**k], [mean], [error], capsize=2, label=method, **look_of(method, linestyle=""))
        ax.set(xscale="log", xlabel="networks in the deep ensemble", title=name)
        ticks = [size for size in (1, 2, 3, 5, 10, 20) if size <= max(sizes)]
        ax.set_xticks(ticks, [str(size) for size in ticks])
        ax.minorticks_off()
    axes[0].set(ylabel="calibrated NLL")
    figure.suptitle(title, fontsize=11)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5)
    return figure


def plot_averaging(curves: Mapping[str, Sequence[float]], first: int, title: str) -> plt.Axes:
    """Calibrated NLL after each epoch from `first` on, of the network and of the mean so far."""
    ax = plt.subplots(figsize=(6, 2.8), layout="constrained")[1]
    for method, values in curves.items():
        label = {"one net": "the network", "SWA": "mean so far (SWA)"}.get(method, method)
        ax.plot(np.arange(1, len(values) + 1) + first, values, label=label, **look_of(method))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set(xlabel="epoch", ylabel="calibrated NLL", title=title)
    return beside(ax)


def plot_star(t: Tables, title: str) -> plt.Figure:
    """SSE and StarSSE in transfer over the ratio of their cycles' rate to the first network's: calibrated NLL, and by how much the error half way to the last network is over the mean of the ends."""
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    ratios = sorted({row["ratio"] for row in t["star"]})
    for ax, column, label in zip(axes, ("calibrated", "barrier"), ("calibrated NLL, four networks", "rise half way to the last, points"), strict=True):  # fmt: skip
        for method in ("SSE", "StarSSE"):
            mean, error = np.array([mean_and_se(t.values("star", column, method=method, ratio=r)) for r in ratios]).T
            ax.errorbar(ratios, mean, error, label=method, capsize=2, **look_of(method))
        ax.set(xscale="log", xlabel="rate of a cycle / rate of the first", ylabel=label)
        ax.set_xticks(ratios, [f"{ratio:g}" for ratio in ratios])
        ax.minorticks_off()
    figure.suptitle(title, fontsize=11)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure
