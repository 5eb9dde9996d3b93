"""Week 04: heads, views, the training loop, the committed checkpoints and the few-label meter; no solutions."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lsdl.data.emoji import load_emoji
from lsdl.data.few_labels import Labelled, load_kinds, load_task, unlabelled_part, with_moved
from lsdl.features import Classifier, embed, feature_dim, make_backbone, read_into, view
from lsdl.probes import linear_probe, nearest_neighbours
from lsdl.torch_tools import training_autocast

ASSETS = Path(__file__).parent / "assets"
Source = nn.Module | Callable[[Tensor], Tensor]  # of features: a backbone, or a fixed function of pictures


# Heads and checkpoints


def mlp(dim_in: int, hidden: int, dim_out: int, layers: int = 2, last_norm: bool = False) -> nn.Sequential:
    """Projection or prediction head: Linear, BatchNorm, ReLU; a last Linear; with `last_norm` SimSiam's BatchNorm without parameters."""
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [nn.Linear(dim_in, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
        dim_in = hidden
    parts.append(nn.Linear(dim_in, dim_out, bias=not last_norm))
    return nn.Sequential(*parts, *([nn.BatchNorm1d(dim_out, affine=False)] if last_norm else []))


def load_backbone(name: str | Path, scale: str = "smoke") -> nn.Module:
    """The committed backbone assets/NAME.safetensors, or the one in a file, float32, in eval mode.

    Raises:
        FileNotFoundError: there is no checkpoint of that name.
    """
    file = name if isinstance(name, Path) else ASSETS / f"{name}.safetensors"
    if not file.is_file():
        known = ", ".join(sorted(p.stem for p in ASSETS.glob("*.safetensors") if p.stem != "references"))
        raise FileNotFoundError(f"There is no checkpoint {name!r} in assets; there are: {known}.")
    backbone = make_backbone(scale)
    read_into(backbone, file)
    return backbone


def load_finetuned(method: str, classes: int = 100) -> Classifier:
    """The committed classifier assets/finetuned/METHOD.safetensors ("byol" or "moco"): the committed backbone, fine-tuned as in task 5 (seed 0), float32, in eval mode."""
    backbone = make_backbone("smoke")
    classifier = Classifier(backbone, nn.Linear(feature_dim(backbone), classes))
    read_into(classifier, ASSETS / "finetuned" / f"{method}.safetensors")
    return classifier


# Views and training


def two_views(images: Tensor, generator: torch.Generator) -> list[Tensor]:
    """Two independent views of every picture."""
    return [view(images, generator), view(images, generator)]


gentle_view = partial(view, area=(0.6, 1.0), gentle=True)  # what methods without negatives need here

# With the common settings of `pretrain` methods without negatives hardly learn in minutes: their projections fall to one or two directions
# at once and win the others back slowly. Chosen on validation concepts.
WITHOUT_NEGATIVES = dict(batch_size=64, lr=5e-4, weight_decay=1e-3)
PREDICTOR_RATE = 30  # factor of the predictor's learning rate


class Learner(nn.Module):
    """What `pretrain` trains: a backbone, heads, and what else a method needs. A method overrides `loss` and the hooks that it uses.

    Attributes:
        backbone: what is evaluated and kept.
        z: projections (batch, d) float32 of the last first view, to watch collapse; set by `loss`.
        rates: factors of the learning rate by attribute, e.g. {"predictor": 30}; 1 for all others.
        recipe: arguments of `pretrain` that the method needs in place of the common ones; who calls `pretrain` passes them on.
        augment: makes one view of a batch.
    """

    backbone: nn.Module
    z: Tensor
    rates: Mapping[str, float] = {}
    recipe: Mapping[str, float] = {}
    augment: Callable[[Tensor, torch.Generator], Tensor] = staticmethod(view)

    def loss(self, views: Sequence[Tensor], index: Tensor) -> Tensor:
        """Loss of one batch; `index` (batch,) says which unlabelled pictures the views show."""
        raise NotImplementedError

    def before_epoch(self, images: Tensor, generator: torch.Generator) -> None:
        """Called before each epoch with all unlabelled pictures (uint8)."""

    def after_step(self, progress: float) -> None:
        """Called after each optimiser step; progress is the share of training done, in (0, 1]."""


def spread(z: Tensor) -> float:
    """Mean over channels of the standard deviation of z/|z|, times sqrt(d): 1 for a uniform direction, 0 when collapsed (SimSiam, section 4.1)."""
    return float(F.normalize(z.detach().float(), dim=1).std(0).mean() * z.shape[1] ** 0.5)


def effective_rank(z: Tensor) -> float:
    """exp of the entropy of the normalised eigenvalues of the covariance of z (n, d) (Roy and Vetterli 2007): 1 ... d."""
    values = torch.linalg.eigvalsh(torch.cov(z.detach().float().T)).clamp(min=1e-12)
    share = values / values.sum()
    return float(torch.exp(-(share * share.log()).sum()))


def epoch_batches(n: int, batch_size: int, generator: torch.Generator, groups: Tensor | None = None) -> list[Tensor]:
    """The batches of one epoch, (batch_size,) int64 each, in random order and without remainders; all n pictures if they are fewer than a batch.

    Args:
        n: number of pictures.
        groups: (n,) int64; every batch is of one group.

    Raises:
        ValueError: no group fills a batch.
    """
    order, batch_size = torch.randperm(n, generator=generator), min(batch_size, n)
    parts = [order] if groups is None else [order[groups[order] == g] for g in groups.unique()]
    batches = [batch for part in parts for batch in part.split(batch_size) if len(batch) == batch_size]
    if not batches:
        raise ValueError(f"No batch of {batch_size} among {n} pictures is of one group.")
    return [batches[k] for k in torch.randperm(len(batches), generator=generator)]


def pretrain(
    learner: Learner,
    images: Tensor,
    steps: int,
    *,
    batch_size: int = 256,
    lr: float = 4e-3,
    weight_decay: float = 0.05,
    warmup: int = 100,
    seed: int = 0,
    device: torch.device | str = "cpu",
    views: Callable[[Tensor, torch.Generator], list[Tensor]] | None = None,
    groups: Tensor | None = None,
    probe: Callable[[nn.Module], float] | None = None,
    every: int = 50,
    progress: Callable[[int, float], None] | None = None,
) -> dict[str, list[float]]:
    """Train a learner without labels: AdamW, warm-up and cosine, bfloat16 where the processor has it; every method gets the same.

    Args:
        learner: trained in place.
        images: (n, 3, size, size) uint8.
        steps: optimiser steps.
        views: pictures (batch, 3, size, size) uint8 -> views; None: two by `learner.augment`.
        groups: (n,) int64; every batch is of one group, e.g. of one style, so that no negative is told by its style. None: batches of anything.
        probe: measured on the backbone (eval mode) at the start and ten times during training.
        every: steps between two entries of the log.
        progress: called with the step and the loss at each entry.

    Returns:
        "step", "loss" (mean since the last entry), "spread", "rank" of z, lists of the same length; "probe_step", "probe"; "seconds" a step (one number).
    """
    generator = torch.Generator().manual_seed(seed)
    make_views = views or (lambda x, g: [learner.augment(x, g), learner.augment(x, g)])
    learner.to(device, memory_format=torch.channels_last).train()
    parameters: dict[tuple[bool, float], list[nn.Parameter]] = {}  # by being a matrix and by factor of the rate
    for name, p in learner.named_parameters():
        if p.requires_grad:
            parameters.setdefault((p.ndim > 1, learner.rates.get(name.split(".")[0], 1.0)), []).append(p)
    optimizer = torch.optim.AdamW(
        [
            {"params": params, "weight_decay": matrix * weight_decay, "factor": factor}
            for (matrix, factor), params in parameters.items()
        ],
        lr=lr,
        fused=True,  # the same sums, in a twentieth less time on a CPU
    )
    log: dict[str, list[float]] = {name: [] for name in ("step", "loss", "spread", "rank", "probe_step", "probe")}
    batches, losses, started = iter(()), [], time.perf_counter()

    def measure(step: int) -> None:
        if probe is not None:
            learner.backbone.eval()
            log["probe_step"].append(step)
            log["probe"].append(probe(learner.backbone))
            learner.backbone.train()

    measure(0)
    for step in range(steps):
        index = next(batches, None)
        if index is None:
            batches = iter(epoch_batches(len(images), batch_size, generator, groups))
            learner.before_epoch(images, generator)
            index = next(batches)
        batch = make_views(images[index].to(device), generator)
        rate = lr * min(1, (step + 1) / warmup) * (1 + math.cos(math.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = group["factor"] * rate
        with training_autocast(device):
            loss = learner.loss(batch, index.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        learner.after_step((step + 1) / steps)
        losses.append(loss.detach())
        if (step + 1) % every == 0 or step + 1 == steps:
            for name, value in (
                ("step", step + 1),
                ("loss", float(torch.stack(losses).mean())),
                ("spread", spread(learner.z)),
                ("rank", effective_rank(learner.z)),
            ):
                log[name].append(round(value, 4))
            losses = []
            if progress is not None:
                progress(step + 1, log["loss"][-1])
        if (step + 1) % max(1, steps // 10) == 0:
            measure(step + 1)
    log["seconds"] = round((time.perf_counter() - started) / max(1, steps), 4)
    return log


# The meter: frozen features, few labels


@lru_cache
def few_labels(scale: str, seed: int, kinds: bool = False) -> tuple[Labelled, dict[str, Labelled]]:
    """The labelled pictures and the tests by the names that notebook and tables use.

    Args:
        seed: of the choice of labels.
        kinds: week 01's task instead, 18 kinds with ten labels each by one maker.

    Returns:
        the labelled pictures; the tests: "ID" by the makers of the labels and each other artist by name, moved; "... aligned": as drawn.
    """
    task = load_kinds(10, seed) if kinds else load_task(scale, seed=seed)
    tests = {}
    for test, pair in with_moved(task.tests).items():
        name, _, is_moved = test.partition(", ")
        tests[("ID" if name == "id" else name) + ("" if is_moved else " aligned")] = pair
    return task.train, tests


def evaluate(source: Source, scale: str, seeds: Sequence[int], kinds: bool = False) -> list[dict[str, float]]:
    """Linear probe and k-NN of frozen features: for each choice of labels a row of accuracies in percent, some CPU seconds each.

    Args:
        source: a backbone, or a function of pictures (n, 3, size, size) uint8.
        seeds: of the choices of labels.

    Returns:
        rows such as {"probe ID": 43.0, "k-NN ID": ..., "probe OOD": ..., "probe ID aligned": ...}; "OOD" is the mean over the other artists.
    """
    rows = []
    for seed in seeds:
        labelled, tests = few_labels(scale, seed, kinds)
        train = features_of(source, labelled[0]), labelled[1]
        pairs = {name: (features_of(source, images), labels) for name, (images, labels) in tests.items()}
        row = {}
        for way, right in (("probe", linear_probe(train, pairs)), ("k-NN", nearest_neighbours(train, pairs))):
            row |= {f"{way} {test}": 100 * hits.float().mean().item() for test, hits in right.items()}
        rows.append(row if kinds else row | mean_over_artists(row))
    return rows


def features_of(source: Source, images: Tensor) -> Tensor:
    """Features (n, d) by a backbone or by a fixed function of the pictures."""
    return embed(source, images) if isinstance(source, nn.Module) else source(images)


def mean_over_artists(row: Mapping[str, float]) -> dict[str, float]:
    """The columns "... OOD" and "... OOD aligned": means over the tests by other artists."""
    found: dict[str, list[float]] = {}
    for column, value in row.items():
        way, name, *aligned = column.split(" ")
        if name != "ID":
            found.setdefault(" ".join([way, "OOD", *aligned]), []).append(value)
    return {column: sum(values) / len(values) for column, values in found.items()}


def mean_row(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each column."""
    return {column: sum(row[column] for row in rows) / len(rows) for column in rows[0]}


def same_thing(scale: str, shown: Tensor) -> float:
    """Share of the unlabelled pictures `shown` (n,), indices, that show the thing of another picture; nan at full scale, which has no names."""
    if scale == "full":
        return math.nan
    thing = unlabelled_part(load_emoji(32)).concept
    return float(torch.stack([(thing[shown] == c).float().mean() for c in thing[:: len(thing) // 500]]).mean())
