"""Week 05: pictures, masks and codes, views, the training loop, checkpoints and the few-label meter; no solutions.

The networks are in vit.py; `helpers.ViT` and the others are theirs.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from sklearn.cluster import KMeans
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from vit import *  # noqa: F403
from vit import ViT, to_patches

from lsdl.data.augment import random_affine, random_colour, random_resized_crop
from lsdl.data.emoji import load_emoji, normalise
from lsdl.data.few_labels import Labelled, load_task, load_unlabelled, moved_tests, unlabelled_part
from lsdl.features import Classifier, embed, fit, read_into
from lsdl.probes import frozen_row, with_mean

ASSETS = Path(__file__).parent / "assets"
Source = Callable[[Tensor], Tensor]  # features (n, d) of pictures (n, 3, S, S) uint8

load_pictures = lru_cache(load_unlabelled)


@lru_cache
def load_names(scale: str) -> Tensor:
    """Which thing each picture of `load_pictures` shows, (n,) int64, for methods that learn from labels; full scale has none: zeros."""
    pictures = load_pictures(scale)
    if scale == "full":
        return torch.zeros(len(pictures), dtype=torch.int64)
    return unlabelled_part(load_emoji(32)).concept.unique(return_inverse=True)[1]


# Targets and masks


@lru_cache
def load_masks(grid: int) -> Tensor:
    """A thousand block masks of BEiT's algorithm, (1000, grid ** 2) bool, True = hidden."""
    return load_file(ASSETS / "masks.safetensors")[f"{grid}x{grid}"].bool()


def draw_masks(n: int, grid: int, generator: torch.Generator) -> Tensor:
    """n of `load_masks`, (n, L) bool."""
    masks = load_masks(grid)
    return masks[torch.randint(len(masks), (n,), generator=generator)]


@lru_cache
def codebook(scale: str, patch: int, codes: int, pictures: int = 3000) -> Tensor:
    """The means (codes, 3 p^2) of k-means on the raw patches of some pictures, in [0, 1]: four CPU seconds at smoke."""
    some = load_pictures(scale)[:: max(1, len(load_pictures(scale)) // pictures)].float() / 255
    patches = to_patches(view(some, torch.Generator().manual_seed(0), normalised=False), patch).flatten(0, 1)
    found = KMeans(min(codes, len(patches)), n_init=1, max_iter=20, random_state=0).fit(patches.numpy())
    return torch.from_numpy(found.cluster_centers_).float()


# Views and training


def view(
    images: Tensor,
    generator: torch.Generator,
    *,
    area: tuple[float, float] = (0.35, 1.0),
    colour: bool = False,
    size: int | None = None,
    normalised: bool = True,
) -> Tensor:
    """One random view: shifted, turned, scaled, mirrored, cropped.

    Args:
        images: (B, 3, S, S) uint8 or float in [0, 1].
        area: range of the crop's share of the area.
        colour: True: colours jitter, a tenth of the pictures is grey.
        size: of the result; None: S. It divides S.
    """
    images = images.float() / 255 if images.dtype == torch.uint8 else images
    images = random_affine(images, degrees=10, scale=(0.9, 1.2), translate=0.1, generator=generator)
    images = random_resized_crop(images, area=area, flip=0.0, generator=generator)
    if colour:
        images = random_colour(images, strength=0.4, grey=0.1, generator=generator)
    if size is not None and size != images.shape[-1]:
        images = F.avg_pool2d(images, images.shape[-1] // size)
    return normalise(images) if normalised else images


class Learner(nn.Module):
    """What `pretrain` trains: an encoder and what else a method needs.

    Attributes:
        encoder: what learns.
        watch: numbers of the last step by name, for the log.
        decay: multiplies the weight decay, from the first step to the last.
    """

    encoder: ViT
    decay: tuple[float, float] = (1.0, 1.0)

    def __init__(self, encoder: ViT) -> None:
        super().__init__()
        self.encoder, self.watch = encoder, {}

    @property
    def kept(self) -> ViT:
        """The network that is judged."""
        return self.encoder

    def loss(self, images: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
        """Loss of a batch; images (B, 3, S, S) uint8, index (B,) which they are."""
        raise NotImplementedError

    def before_step(self, progress: float) -> None:
        """Called between backward and the optimiser's step; progress is the share of training done."""

    def after_step(self, progress: float) -> None:
        """Called after each step of the optimiser."""


def pretrain(
    learner: Learner,
    images: Tensor,
    pictures: int,
    *,
    batch_size: int = 128,
    lr: float = 2e-3,
    weight_decay: float = 0.05,
    warmup: float = 0.05,
    seed: int = 0,
    device: torch.device | str = "cpu",
    probe: Callable[[nn.Module], float] | None = None,
    every: int = 100,
    progress: Callable[[int, float], None] | None = None,
) -> dict[str, Any]:
    """Train a learner without labels: AdamW, warm-up, cosine, gradients of length 3 at most; float32 on a CPU.

    Args:
        learner: trained in place.
        images: (n, 3, S, S) uint8.
        pictures: how many are shown, each view of a picture for free.
        warmup: share of the steps.
        probe: measured on the judged network at the start and after each quarter.
        every: steps between two entries of the log.

    Returns:
        "step", "loss" and the learner's `watch` (means since the last entry), "probe_step", "probe": lists; "steps", "shown", "seconds" per step.
    """
    generator, batch_size = torch.Generator().manual_seed(seed), min(batch_size, len(images))
    steps = max(1, round(pictures / batch_size))
    learner.to(device).train()
    trained = [p for p in learner.parameters() if p.requires_grad]
    matrices, vectors = ([p for p in trained if (p.ndim > 1) == many] for many in (True, False))
    optimizer = torch.optim.AdamW([{"params": matrices}, {"params": vectors, "weight_decay": 0.0}], lr, (0.9, 0.95))
    log: dict[str, Any] = {"step": [], "probe_step": [], "probe": []}
    batches, found, started = iter(()), [], time.perf_counter()

    def measure(step: int) -> None:
        if probe is not None:
            log["probe_step"].append(step)
            log["probe"].append(probe(learner.kept))
            learner.train()

    measure(0)
    for step in range(steps):
        index = next(batches, None)
        if index is None:  # a new epoch, without its remainder
            order = torch.randperm(len(images), generator=generator)
            batches = iter(order.split(batch_size)[: len(images) // batch_size])
            index = next(batches)
        done = step / steps
        rate = lr * min(1, (step + 1) / (warmup * steps)) * (1 + math.cos(math.pi * done)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate
        first, last = learner.decay
        optimizer.param_groups[0]["weight_decay"] = weight_decay * (
            last + (first - last) * (1 + math.cos(math.pi * done)) / 2
        )
        with torch.autocast("cuda", torch.bfloat16, enabled=torch.device(device).type == "cuda"):
            loss = learner.loss(images[index].to(device), index.to(device), generator)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(trained, 3.0)
        learner.before_step(done)
        optimizer.step()
        learner.after_step((step + 1) / steps)
        found.append({name: value.item() for name, value in {"loss": loss.detach(), **learner.watch}.items()})
        if (step + 1) % every == 0 or step + 1 == steps:
            log["step"].append(step + 1)
            for name in found[0]:
                log.setdefault(name, []).append(round(sum(entry[name] for entry in found) / len(found), 4))
            found = []
            if progress is not None:
                progress(step + 1, log["loss"][-1])
        if (step + 1) * 4 // steps > step * 4 // steps:
            measure(step + 1)
    learner.eval()
    spent = {"steps": steps, "shown": steps * batch_size}
    return log | spent | {"seconds": round((time.perf_counter() - started) / steps, 4)}


def flops(learner: Learner, images: Tensor) -> int:
    """Multiplications and additions of a step's forward and backward pass per picture, counted; images uint8."""
    index, generator = torch.arange(len(images)), torch.Generator().manual_seed(0)
    # the fused attention of a CPU is not counted
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        learner.loss(images, index, generator).backward()
    learner.zero_grad()
    return counter.get_total_flops() // len(images)


def load_learner(name: str | Path, learner: Learner) -> Learner:
    """Read assets/NAME.safetensors, or a file, into a learner, in eval mode.

    Raises:
        FileNotFoundError: there is no checkpoint of that name.
    """
    file = name if isinstance(name, Path) else ASSETS / f"{name}.safetensors"
    if not file.is_file():
        known = ", ".join(sorted(p.stem for p in ASSETS.glob("*.json") if p.stem not in ("tables", "masks")))
        raise FileNotFoundError(f"There is no checkpoint {name!r} in assets; there are: {known}.")
    read_into(learner, file)
    return learner


# The meter: few labels, pictures that are moved


@lru_cache
def few_labels(scale: str, seed: int, part: str = "test") -> tuple[Labelled, dict[str, Labelled]]:
    """The labelled pictures of a choice of labels, and the tests "ID" (the makers of the labels), "emojione", "noto-v1", all moved.

    Args:
        part: "val": other concepts, to choose on; they have only "ID".
    """
    task = load_task(scale, part, seed)
    return task.train, moved_tests(task)


def evaluate(source: Source, scale: str, seeds: Sequence[int], *, part: str = "test") -> list[dict[str, float]]:
    """Linear probe and nearest neighbour of fixed features, for each choice of labels a row of accuracies in percent; columns: `frozen_row`."""
    return [frozen_row(source, *few_labels(scale, seed, part)) for seed in seeds]


def reading(encoder: ViT, read: str, images: Tensor) -> Tensor:
    """Features (n, width) of pictures uint8: "mean" of the patch tokens, or the "class" token."""
    encoder.read = read
    return embed(encoder, images)


def fine_tune(encoder: ViT, train: Labelled, classes: int, *, epochs: int = 100, lr: float = 3e-3, layer_decay: float = 0.75,
              weight_decay: float = 0.05, batch_size: int = 50, seed: int = 0, **more: Any) -> Classifier:  # fmt: skip
    """Encoder (changed in place) and a fresh head, trained with labels, the rate `layer_decay` times smaller per layer towards the pixels; a fresh encoder: from scratch with layer_decay 1."""
    torch.manual_seed(seed)
    device = next(encoder.parameters()).device
    encoder.requires_grad_(True).pos_embed.requires_grad_(False)  # a teacher had no gradient; positions stay
    model = Classifier(encoder, nn.Linear(encoder.embed_dim, classes)).to(device)
    groups = param_groups_layer_decay(encoder, weight_decay, layer_decay=layer_decay)
    groups = [group | {"lr": lr * group["lr_scale"]} for group in groups]
    groups.append({"params": list(model.head.parameters()), "weight_decay": weight_decay, "lr": lr})
    optimizer = torch.optim.AdamW(groups, lr)

    def step(images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> float:
        model.train()
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    fit(step, optimizer, train, epochs=epochs, batch_size=batch_size, seed=seed, **more)
    return model.eval()


def tuned(
    encoder: ViT, scale: str, seed: int, own: int = 0, *, part: str = "test", **settings: Any
) -> dict[str, float]:
    """A row of `evaluate` after fine-tuning on the choice of labels `seed`; `own`: seed of the head and the order."""
    train, tests = few_labels(scale, seed, part)
    model = fine_tune(encoder, train, int(train[1].max()) + 1, seed=own, **settings)
    hits = {name: (embed(model, images).argmax(1) == labels).float().mean() for name, (images, labels) in tests.items()}
    return with_mean("tuned", {name: 100 * value.item() for name, value in hits.items()})
