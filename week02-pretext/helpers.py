"""Week 02: pictures, the training loop with its counted budget, checkpoints, the few-label meter and the competition's tests; no solutions.

The pretext tasks are in pretext.py; `helpers.Rotation` and the others are theirs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from pretext import *  # noqa: F403
from pretext import Pretext, grey, make_trunk, stage_maps, standardise
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lsdl.data import animals
from lsdl.data.augment import random_affine
from lsdl.data.emoji import load_emoji, normalise
from lsdl.data.few_labels import CONCEPTS, Labelled, load_task, moved_tests, unlabelled_part
from lsdl.features import Classifier, NarrowResNet, embed, feature_dim, fit
from lsdl.probes import frozen_row, with_mean
from lsdl.torch_tools import training_autocast

ASSETS = Path(__file__).parent / "assets"
Source = Callable[[Tensor], Tensor]  # features (n, d) of pictures (n, 3, S, S) uint8


@lru_cache
def load_pictures(scale: str, size: int = 32) -> Tensor:
    """Pictures without labels for pretraining, (n, 3, size, size) uint8: 6,830 emoji of 32 or 64 px, or those of ANIMALS/unlabeled."""
    return unlabelled_part(load_emoji(size)).images if scale == "smoke" else animals.load_pictures("unlabeled", size)


# Training


def pretrain(
    task: Pretext,
    images: Tensor,
    pictures: float,
    *,
    batch_size: int = 256,
    lr: float = 4e-3,
    weight_decay: float = 0.05,
    warmup: int = 50,
    seed: int = 0,
    device: torch.device | str = "cpu",
    probe: Callable[[nn.Module], float] | None = None,
    every: int = 50,
    progress: Callable[[int, float], None] | None = None,
) -> dict:
    """Train a task without labels: AdamW, warm-up, cosine; the budget is the same for all tasks.

    Args:
        task: trained in place.
        images: (n, 3, size, size) uint8, of the task's size.
        pictures: budget in picture-equivalents; `task.cost` of them per picture.
        probe: measured on the trunk at the start and after each quarter.
        every: steps between two entries of the log.

    Returns:
        "step", "loss", "correct" (means since the last entry) and "probe_step", "probe", lists; "steps", "shown" (pictures), "pictures" (spent), "seconds" per step.
    """
    generator, kept = torch.Generator().manual_seed(seed), task.wanted(images)
    batch_size = min(batch_size, len(kept))
    steps = max(1, round(pictures / (task.cost * batch_size)))
    task.to(device, memory_format=torch.channels_last).train()
    matrices, vectors = ([p for p in task.parameters() if (p.ndim > 1) == many] for many in (True, False))
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    log: dict = {name: [] for name in ("step", "loss", "correct", "probe_step", "probe")}
    batches, found, started = iter(()), [], time.perf_counter()

    def measure(step: int) -> None:
        if probe is not None:
            log["probe_step"].append(step)
            log["probe"].append(probe(task.trunk))
            task.train()

    measure(0)
    for step in range(steps):
        index = next(batches, None)
        if index is None:  # a new epoch, without its remainder
            order = kept[torch.randperm(len(kept), generator=generator)]
            batches = iter(order.split(batch_size)[: len(kept) // batch_size])
            index = next(batches)
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1, (step + 1) / warmup) * (1 + math.cos(math.pi * step / steps)) / 2
        loss, correct = task.loss(images[index].to(device), index.to(device), generator)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(torch.stack([loss.detach(), correct]))
        if (step + 1) % every == 0 or step + 1 == steps:
            for name, value in zip(
                ("step", "loss", "correct"), (step + 1, *torch.stack(found).mean(0).tolist()), strict=True
            ):
                log[name].append(round(value, 4))
            found = []
            if progress is not None:
                progress(step + 1, log["loss"][-1])
        if (step + 1) * 4 // steps > step * 4 // steps:
            measure(step + 1)
    task.finish(images)
    spent = {"steps": steps, "shown": steps * batch_size, "pictures": round(steps * batch_size * task.cost)}
    return log | spent | {"seconds": round((time.perf_counter() - started) / steps, 4)}


# Checkpoints


def save_net(net: nn.Module, file: Path, *, small: bool = False) -> None:
    """Write a network as safetensors in half precision; `small`: matrices as int8 with a scale per output channel, half as many bytes again."""
    state, parameters = {}, dict(net.named_parameters())
    for name, value in net.state_dict().items():
        if ".trunk." in name:
            continue  # an ensemble's tasks share its own
        value = value.detach().cpu().contiguous()
        if small and name in parameters and value.ndim > 1:
            scale = value.flatten(1).abs().amax(1).clamp(min=1e-12) / 127
            state[f"{name}.scale"] = scale
            state[name] = (value / scale.view(-1, *[1] * (value.ndim - 1))).round().to(torch.int8).contiguous()
        else:
            state[name] = value.half() if value.is_floating_point() else value
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(state, file)


def load_state(name: str | Path) -> dict[str, Tensor]:
    """The weights and buffers of the committed network assets/NAME.safetensors, or of a file that `save_net` wrote, as float32.

    Raises:
        FileNotFoundError: there is no checkpoint of that name.
    """
    file = name if isinstance(name, Path) else ASSETS / f"{name}.safetensors"
    if not file.is_file():
        known = ", ".join(sorted(p.stem for p in ASSETS.glob("*.safetensors") if p.stem != "references"))
        raise FileNotFoundError(f"There is no checkpoint {name!r} in assets; there are: {known}.")
    state = load_file(file)
    scales = {key.removesuffix(".scale"): state.pop(key) for key in list(state) if key.endswith(".scale")}
    for key, scale in scales.items():
        state[key] = state[key] * scale.view(-1, *[1] * (state[key].ndim - 1))
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def load_task_net(name: str | Path, task: Pretext | None = None) -> Pretext:
    """A committed network (see `load_state`) in eval mode: read into `task`, heads and all; without a task its trunk alone."""
    state = load_state(name)
    if task is None:
        state = {key: value for key, value in state.items() if key.startswith("trunk.")}
        task = Pretext(make_trunk(len(state["trunk.bn1.weight"])))
    task.load_state_dict(state | {k: state[k[k.index("trunk.") :]] for k in task.state_dict() if ".trunk." in k})
    return task.eval()


# The meter: few labels, pictures that are moved


@lru_cache
def few_labels(scale: str, seed: int, part: str = "test", size: int = 32) -> tuple[Labelled, dict[str, Labelled]]:
    """The labelled pictures of a choice of labels, and the tests "ID" (the makers of the labels), "emojione", "noto-v1", all moved.

    Args:
        part: "val": other concepts, to choose on; they have only "ID".
        size: of the pictures: 32, or 64 for embeddings by tiles; at full scale any, and its only test is not moved.
    """
    if scale == "full":
        task = animals.load_labelled(part, size, seed)
        return task.train, {"ID": task.tests["id"]}
    task = load_task(scale, part, seed, size=size)
    return task.train, moved_tests(task)


def nine_tiles(images: Tensor, cell: int = 21, tile: int = 18) -> Tensor:
    """Pictures (n, 3, S, S) uint8 -> the middle of each cell, standardised: (n, 9, 3, tile, tile)."""
    start = (cell - tile) // 2
    x = (images.float() / 255)[..., start : 3 * cell, start : 3 * cell].unfold(2, tile, cell).unfold(3, tile, cell)
    return standardise(x.permute(0, 2, 3, 1, 4, 5).flatten(1, 2))


@torch.no_grad()
def embed_tiles(trunk: nn.Module, images: Tensor, cell: int = 21, tile: int = 18) -> Tensor:
    """The mean over a picture's nine tiles (n, d): how a trunk that learned from tiles is used (code of Kolesnikov et al. 2019)."""
    trunk.eval()
    device = next(trunk.parameters()).device
    tiles = (nine_tiles(x.to(device), cell, tile) for x in images.split(200))
    return torch.cat([trunk(x.flatten(0, 1)).view(len(x), 9, -1).mean(1).cpu() for x in tiles])


def embeddings(trunk: nn.Module, size: int = 32, patch_size: int = 64, **patch: int) -> dict[str, tuple[int, Source]]:
    """Three ways to use a trunk: name -> the size of the pictures that it wants, and the features."""
    return {
        "picture": (size, partial(embed, trunk)),
        "tiles": (patch_size, partial(embed_tiles, trunk, **patch)),
        "grey": (size, lambda images: embed(trunk, grey(images))),
    }


@torch.no_grad()
def stage_features(trunk: nn.Module, images: Tensor) -> list[Tensor]:
    """Features after each of the four stages, pooled alike to 2 x 2: (n, 4 C) each."""
    trunk.eval()
    device = next(trunk.parameters()).device
    parts = [
        [F.adaptive_avg_pool2d(x, 2).flatten(1).cpu() for x in stage_maps(trunk, normalise(part.to(device)))]
        for part in images.split(500)
    ]
    return [torch.cat(stage) for stage in zip(*parts, strict=True)]


def evaluate(
    source: Source, scale: str, seeds: Sequence[int], *, part: str = "test", size: int = 32
) -> list[dict[str, float]]:
    """Linear probe and nearest neighbour of fixed features, for each choice of labels a row of accuracies in percent.

    Args:
        source: features of pictures of `size`, e.g. `partial(embed, trunk)`.
        seeds: of the choices of labels.
        part: "val" to choose on.

    Returns:
        rows such as {"probe": 17.0, "probe ID": ..., "1-NN": ..., ...}; the column without a test is the mean of the moved tests, the main number.
    """
    return [frozen_row(source, *few_labels(scale, seed, part, size)) for seed in seeds]


def fine_tune(trunk: nn.Module, train: Labelled, classes: int, *, epochs: int = 80, lr: float = 1e-2,
              weight_decay: float = 0.05, batch_size: int = 100, seed: int = 0, **more) -> Classifier:  # fmt: skip
    """Trunk (changed in place) and a fresh head, all trained alike with labels (`more`: of `fit`), about 20 s; a fresh trunk: from scratch."""
    torch.manual_seed(seed)
    device = next(trunk.parameters()).device
    model = Classifier(trunk, nn.Linear(feature_dim(trunk), classes)).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr, weight_decay=weight_decay)

    def step(images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> float:
        model.train()
        with training_autocast(device):
            loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    fit(step, optimizer, train, epochs=epochs, batch_size=batch_size, seed=seed, **more)
    return model.eval()


def tuned(
    trunk: nn.Module, scale: str, seed: int, own: int = 0, *, part: str = "test", size: int = 32, **settings
) -> dict[str, float]:
    """A row of `evaluate` after fine-tuning on the choice of labels `seed`; `own`: seed of the head and the order."""
    train, tests = few_labels(scale, seed, part, size)
    model = fine_tune(trunk, train, int(train[1].max()) + 1, seed=own, **settings)
    hits = {name: (embed(model, images).argmax(1) == labels).float().mean() for name, (images, labels) in tests.items()}
    return with_mean("tuned", {name: 100 * value.item() for name, value in hits.items()})


# The competition


def competition_classes(scale: str) -> Sequence[str]:
    """Names of the classes, index = label."""
    return load_task("smoke").names if scale == "smoke" else animals.load_labelled("test", 8).names


def competition_model(scale: str = "smoke") -> nn.Module:
    """What is handed in, fresh: NarrowResNet(20) with `fc` of 100 classes, at full scale a ResNet-18 with 10; its state_dict says names and shapes."""
    model = NarrowResNet(20) if scale == "smoke" else make_trunk(scale="full")
    model.fc = nn.Linear(feature_dim(model), CONCEPTS if scale == "smoke" else 10)
    return model


def competition_tests(scale: str, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Pictures (n, 3, S, S) uint8, labels and drawings (n,) int64: four moved copies of each of the 300 test drawings; at full scale each picture once."""
    if scale == "full":
        images, labels = animals.load_labelled("test", 224).tests["id"]
        return images, labels, torch.arange(len(labels))
    tests, copies = load_task("smoke").tests.values(), 4
    images, labels = (torch.cat(parts).repeat_interleave(copies, 0) for parts in zip(*tests, strict=True))
    moved = random_affine(images.float() / 255, flip=0.0, generator=generator)
    return (moved * 255).round().to(torch.uint8), labels, torch.arange(len(labels)) // copies
