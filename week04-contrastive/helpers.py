"""Week 04: data, backbone, views, the training loop and the evaluation of the seminar and the homework; no solutions."""

from __future__ import annotations

import math
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.ticker import NullFormatter
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from lsdl.data.augment import random_affine, random_colour, random_resized_crop
from lsdl.data.emoji import CLASSES, PARTS, STYLES, Emoji, load_emoji, normalise
from lsdl.torch_tools import gradients, pick_device  # noqa: F401 (the notebooks take them from here)

Labelled = tuple[Tensor, Tensor]  # pictures (n, 3, size, size) uint8 and classes (n,) int64

TEST_ARTISTS = ("emojione", "noto-v1")
LABEL_STYLES = ("noto", "twemoji", "openmoji", "fluent-flat")  # one set a maker: a sibling would give the answer away
CONCEPTS, CONCEPT_SEED = 100, 2024
UNLABELLED = 6830  # pictures; asserted, so that a change of the data is noticed
STL10 = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")
CIFAR10 = ("airplane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")  # "car": STL-10's word
ASSETS = Path(__file__).parent / "assets"


# Data


@dataclass(frozen=True)
class FewLabels:
    """A task with few labels.

    Attributes:
        names: class names, index = label.
        train: the labelled pictures.
        tests: test pictures by name, "id" (the makers of the labels) first; the labels are those of `names`.
    """

    names: tuple[str, ...]
    train: Labelled
    tests: Mapping[str, Labelled]


@lru_cache
def choose_concepts(part: str) -> tuple[int, ...]:
    """The 100 concepts of the few-label task for testing ("test") or for choices ("val"), as sorted concept indices.

    Candidates are alone in their family (no look-alike by name or, within a maker, by pixels) and have a picture in every style that the
    task needs: all nine for "test", the four label styles for "val". They are of the data's test part; "val" also takes from the
    val part, and what "test" left. In random order (fixed seed) a candidate joins unless its name shares a word with one already
    chosen ("key", "old key"), until there are 100. The rule was fixed before any result.
    """
    data = load_emoji(32)
    table, families = _cells(data), Counter(c.family for c in data.concepts)
    parts = torch.tensor([PARTS.index(p) for p in (("test",) if part == "test" else ("test", "val"))])
    pool = set(data.concept[torch.isin(data.part, parts)].tolist())
    pool -= set() if part == "test" else set(choose_concepts("test"))
    columns = [STYLES.index(s) for s in (STYLES if part == "test" else LABEL_STYLES)]
    complete = (table[:, columns] >= 0).all(1).tolist()
    candidates = [k for k in sorted(pool) if families[data.concepts[k].family] == 1 and complete[k]]
    random.Random(CONCEPT_SEED).shuffle(candidates)
    chosen: list[int] = []
    used: set[str] = set()
    for k in candidates:
        words = set(re.findall(r"\w+", data.concepts[k].name.casefold()))
        words -= {"a", "and", "in", "of", "on", "the", "to", "with"}
        if not words & used and len(chosen) < CONCEPTS:
            chosen.append(k)
            used |= words
    if len(chosen) < CONCEPTS:
        raise ValueError(f"Only {len(chosen)} concepts of part {part!r} meet the rule, {CONCEPTS} are needed.")
    return tuple(sorted(chosen))


def unlabelled_part(data: Emoji) -> Emoji:
    """What pretraining may see: neither a test or validation concept, nor a test artist, nor a held-out cell of the data card.

    Raises:
        ValueError: the data changed, so that checkpoints are void.
    """
    hidden = torch.tensor(choose_concepts("test") + choose_concepts("val"))
    artists = torch.tensor([STYLES.index(s) for s in TEST_ARTISTS])
    seen = data[~data.held_out & ~torch.isin(data.concept, hidden) & ~torch.isin(data.style, artists)]
    if len(seen) != UNLABELLED:
        raise ValueError(f"{len(seen)} unlabelled pictures, not {UNLABELLED}: the data changed, checkpoints are void.")
    return seen


def load_unlabelled(scale: str, root: str | Path | None = None) -> Tensor:
    """Pictures without labels for pretraining, (n, 3, size, size) uint8.

    Args:
        scale: "smoke": 6,830 emoji of 32 px (`unlabelled_part`); "full": STL-10's 100,000 pictures of 96 px.
        root: folder with `stl10_binary/`; default: the environment variable STL10.
    """
    if scale == "smoke":
        return unlabelled_part(load_emoji(32)).images
    return _stl10(root, "unlabeled_X.bin")


def load_styles(scale: str) -> Tensor | None:
    """Which set of drawings each unlabelled picture is from, (n,) int64, for batches of one style; None at full scale: STL-10 has one source."""
    return unlabelled_part(load_emoji(32)).style if scale == "smoke" else None


def load_task(scale: str, part: str = "test", seed: int = 0, root: str | Path | None = None) -> FewLabels:
    """The few-label task.

    Args:
        scale: "smoke": 100 concepts that pretraining never saw, each drawn by four makers. The seed decides which maker's picture is
            the in-distribution test (each maker 25 times); the other three are the labels. "full": STL-10's 5,000 labelled and 8,000 test pictures.
        part: "test", or "val": other concepts (full: a fifth of the labelled pictures as the test), to choose hyperparameters on. Only "test"
            has the pictures of the test artists (full: CIFAR-10's test pictures of the common classes).
        seed: of the choice of labels.
        root: folder with `stl10_binary/` and `cifar-10-batches-bin/`; default: the environment variable STL10.

    Raises:
        ValueError: unknown scale or part.
        FileNotFoundError: full scale's files are not there.
    """
    if scale not in ("smoke", "full") or part not in ("test", "val"):
        raise ValueError(f'scale is "smoke" or "full" and part "test" or "val", not {scale!r} and {part!r}.')
    generator = torch.Generator().manual_seed(seed)
    if scale == "full":
        images, labels = _stl10(root, "train_X.bin"), _stl10(root, "train_y.bin")
        if part == "val":
            order = torch.randperm(len(images), generator=generator)
            test, train = order[: len(order) // 5], order[len(order) // 5 :]
            return FewLabels(STL10, (images[train], labels[train]), {"id": (images[test], labels[test])})
        other, theirs, names = load_other_domain("full", root)
        common = torch.tensor([names[k] in STL10 for k in theirs.tolist()])
        ours = torch.tensor([STL10.index(names[k]) for k in theirs[common].tolist()])
        tests = {"id": (_stl10(root, "test_X.bin"), _stl10(root, "test_y.bin")), "cifar10": (other[common], ours)}
        return FewLabels(STL10, (images, labels), tests)
    data, concepts = load_emoji(32), torch.tensor(choose_concepts(part))
    table = _cells(data)[concepts]  # (100, styles)
    cells = table[:, [STYLES.index(s) for s in LABEL_STYLES]]
    label = torch.arange(CONCEPTS)[:, None].expand_as(cells)
    left_out = torch.randperm(CONCEPTS, generator=generator) % len(LABEL_STYLES)  # which maker tests the concept
    is_test = left_out[:, None] == torch.arange(len(LABEL_STYLES))
    tests = {"id": (data.images[cells[is_test]], label[is_test])}
    if part == "test":
        tests |= {a: (data.images[table[:, STYLES.index(a)]], torch.arange(CONCEPTS)) for a in TEST_ARTISTS}
    names = tuple(data.concepts[k].name for k in concepts)
    return FewLabels(names, (data.images[cells[~is_test]], label[~is_test]), tests)


def load_other_domain(scale: str, root: str | Path | None = None) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Another domain as a data set of its own: its own order of classes, one class more and one less than the task's.

    Args:
        scale: "smoke": emojione's drawings in alphabetical order of the names; "full": CIFAR-10's test pictures ("frog" instead of "monkey"),
            enlarged to 96 px.
        root: folder with `cifar-10-batches-bin/`; default: the environment variable STL10.

    Returns:
        pictures (n, 3, size, size) uint8, labels (n,) int64, class names in this set's own order.
    """
    if scale == "full":
        records = np.fromfile(_file(root, "cifar-10-batches-bin/test_batch.bin"), np.uint8).reshape(-1, 3073)
        pictures = torch.from_numpy(records[:, 1:].reshape(-1, 3, 32, 32))
        pictures = F.interpolate(pictures.float(), 96, mode="bicubic", antialias=True).clamp(0, 255).round().byte()
        return pictures, torch.from_numpy(records[:, 0].astype(np.int64)), CIFAR10
    data, rng, test = load_emoji(32), random.Random(CONCEPT_SEED), choose_concepts("test")
    column = _cells(data)[:, STYLES.index("emojione")]
    missing = rng.choice(test)
    extra = rng.choice([k for k in choose_concepts("val") if column[k] >= 0])
    chosen = sorted({*test, extra} - {missing}, key=lambda k: data.concepts[k].name.casefold())
    return data.images[column[chosen]], torch.arange(len(chosen)), tuple(data.concepts[k].name for k in chosen)


def load_kinds(per_class: int | None, seed: int) -> FewLabels:
    """Week 01's task, where self-supervision hardly helps: 18 kinds, labels from noto's training concepts, test on unseen cells.

    Args:
        per_class: labelled pictures a class (all if fewer exist); None for all 610.
        seed: of the choice of labels.
    """
    data = load_emoji(32)
    train = data.select(styles="noto", part="train", held_out=False, labelled=True)
    if per_class is not None:
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
        train = train[torch.cat([order[train.label[order] == k][:per_class] for k in range(len(CLASSES))])]
    tests = {}
    for style in STYLES:
        test = data.select(styles=style, part="test", held_out=True, labelled=True)
        tests["id" if style == "noto" else style] = (test.images, test.label)
    return FewLabels(CLASSES, (train.images, train.label), tests)


def moved(images: Tensor) -> Tensor:
    """The same pictures shifted, turned and scaled at random (fixed seed), uint8: breaks the alignment that raw pixels live on."""
    generator = torch.Generator().manual_seed(0)
    return (random_affine(images.float() / 255, flip=0.0, generator=generator) * 255).round().to(torch.uint8)


def with_moved(tests: Mapping[str, Labelled]) -> dict[str, Labelled]:
    """The tests, and then each of them with its pictures `moved`, as "NAME, moved"."""
    return {**tests, **{f"{name}, moved": (moved(x), y) for name, (x, y) in tests.items()}}


def _cells(data: Emoji) -> Tensor:
    """(concepts, styles) int64: the index of the picture, -1 where there is none."""
    table = torch.full((len(data.concepts), len(STYLES)), -1)
    table[data.concept, data.style] = torch.arange(len(data))
    return table


def _file(root: str | Path | None, name: str) -> Path:
    path = Path(root or os.environ.get("STL10", "data/stl10")) / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: unpack the archive there, or set STL10 to the folder that has it.")
    return path


def _stl10(root: str | Path | None, name: str) -> Tensor:
    """One of STL-10's binary files: pictures (n, 3, 96, 96) uint8, stored column by column, or labels (n,) from 0."""
    values = np.fromfile(_file(root, f"stl10_binary/{name}"), np.uint8)
    if name.endswith("_y.bin"):
        return torch.from_numpy(values.astype(np.int64) - 1)
    return torch.from_numpy(values.reshape(-1, 3, 96, 96)).transpose(2, 3).contiguous()


# Backbone and heads


class NarrowResNet(ResNet):
    """torchvision's ResNet-18 with `width` channels in the first stage instead of 64 and no classifier; same names and keys.

    For small pictures the stem is a 3x3 convolution without max-pooling (SimCLR, appendix B.9); its stride 2 makes a step four times cheaper.
    """

    def __init__(self, width: int = 16) -> None:
        self.width = width
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.conv1 = nn.Conv2d(3, width, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.Identity()
        self.fc = nn.Identity()
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")

    def _make_layer(self, block, planes: int, blocks: int, stride: int = 1, dilate: bool = False) -> nn.Sequential:
        if planes == 64:
            self.inplanes = self.width
        return super()._make_layer(block, planes * self.width // 64, blocks, stride, dilate)


def make_backbone(scale: str, width: int = 16) -> nn.Module:
    """A fresh backbone: normalised pictures (batch, 3, size, size) -> features (batch, `feature_dim`)."""
    if scale == "smoke":
        return NarrowResNet(width)
    backbone = ResNet(BasicBlock, [2, 2, 2, 2])
    backbone.fc = nn.Identity()
    return backbone


def feature_dim(backbone: nn.Module) -> int:
    """Length of the feature vector of a ResNet-18: the channels of its last BatchNorm."""
    return backbone.layer4[-1].bn2.num_features


def mlp(dim_in: int, hidden: int, dim_out: int, layers: int = 2, last_norm: bool = False) -> nn.Sequential:
    """Projection or prediction head: Linear, BatchNorm, ReLU; a last Linear; with `last_norm` SimSiam's BatchNorm without parameters."""
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [nn.Linear(dim_in, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(inplace=True)]
        dim_in = hidden
    parts.append(nn.Linear(dim_in, dim_out, bias=not last_norm))
    return nn.Sequential(*parts, *([nn.BatchNorm1d(dim_out, affine=False)] if last_norm else []))


def save_backbone(backbone: nn.Module, file: Path) -> None:
    """Write a backbone (or any module) as safetensors, numbers in half precision."""
    state = backbone.state_dict()
    save_file({k: (v.half() if v.is_floating_point() else v).contiguous().cpu() for k, v in state.items()}, file)


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
    _read_into(backbone, file)
    return backbone


def load_finetuned(method: str, classes: int = 100) -> Classifier:
    """The committed classifier assets/finetuned/METHOD.safetensors ("byol" or "moco"): the committed backbone, fine-tuned as in task 5 (seed 0), float32, in eval mode."""
    backbone = make_backbone("smoke")
    classifier = Classifier(backbone, nn.Linear(feature_dim(backbone), classes))
    _read_into(classifier, ASSETS / "finetuned" / f"{method}.safetensors")
    return classifier


def _read_into(module: nn.Module, file: Path) -> None:
    """Load what `save_backbone` wrote, as float32, and set eval mode."""
    module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(file).items()})
    module.eval()


# Views and training


def view(
    images: Tensor,
    generator: torch.Generator,
    *,
    area: tuple[float, float] = (0.35, 1.0),
    colour: bool = True,
    gentle: bool = False,
) -> Tensor:
    """One random view, normalised. Shift, scale, turn, crop: alignment is a shortcut; colour jitter and grey: so is colour.

    Args:
        images: (batch, 3, size, size) uint8 or float in [0, 1].
        generator: CPU generator of the random numbers.
        area: range of the crop's share of the area.
        colour: False leaves the colours as they are.
        gentle: True moves the pictures half as far.
    """
    images = images.float() / 255 if images.dtype == torch.uint8 else images
    move = (
        dict(degrees=10, scale=(0.85, 1.1), translate=0.08)
        if gentle
        else dict(degrees=20, scale=(0.7, 1.2), translate=0.15)
    )
    images = random_affine(images, **move, generator=generator)
    images = random_resized_crop(images, area=area, flip=0.0, generator=generator)
    if colour:
        images = random_colour(images, strength=0.4, grey=0.1, generator=generator)
    return normalise(images).contiguous(memory_format=torch.channels_last)


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
    """Train a learner without labels: AdamW, warm-up and cosine, bfloat16; every method gets the same.

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
        with torch.autocast(torch.device(device).type, torch.bfloat16):
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


# Evaluation


@torch.no_grad()
def embed(backbone: nn.Module, images: Tensor) -> Tensor:
    """Features (n, d) float32 on the CPU of pictures (n, 3, size, size) uint8; the backbone is left in eval mode."""
    backbone.eval()
    device = next(backbone.parameters()).device
    batches = (normalise(x.to(device)).contiguous(memory_format=torch.channels_last) for x in images.split(500))
    return torch.cat([backbone(x).float().cpu() for x in batches])


def linear_probe(train: Labelled, tests: Mapping[str, Labelled], c: float = 0.1) -> dict[str, Tensor]:
    """scikit-learn's logistic regression on standardised features.

    Args:
        train: features (n, d) and classes.
        tests: the same by name.
        c: inverse strength of the penalty.

    Returns:
        For each test which pictures are right, (n,) bool.
    """
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300))
    model.fit(train[0].numpy(), train[1].numpy())
    return {name: torch.from_numpy(model.predict(x.numpy())) == y for name, (x, y) in tests.items()}


def nearest_neighbours(train: Labelled, tests: Mapping[str, Labelled], k: int = 1) -> dict[str, Tensor]:
    """k nearest neighbours by cosine of centred features, votes weighted by exp(cosine / 0.1) (Wu et al. 2018, section 3.4); as `linear_probe`."""
    mean, classes = train[0].mean(0), int(train[1].max()) + 1
    base = F.normalize(train[0] - mean, dim=1)
    right = {}
    for name, (x, y) in tests.items():
        cosine, index = (F.normalize(x - mean, dim=1) @ base.T).topk(k, dim=1)
        votes = torch.zeros(len(x), classes).scatter_add_(1, train[1][index], (cosine / 0.1).exp())
        right[name] = votes.argmax(1) == y
    return right


def retrieval(scale: str) -> Callable[[nn.Module], float]:
    """A quick score of a backbone for training curves: the share of validation pictures whose nearest other picture, moved, is of their class."""
    task = load_task(scale, "val")
    images, labels = (torch.cat([a, b])[:2000] for a, b in zip(task.train, task.tests["id"], strict=True))
    queries = moved(images)

    def score(backbone: nn.Module) -> float:
        keys, asked = embed(backbone, images), embed(backbone, queries)
        mean = keys.mean(0)
        cosine = F.normalize(asked - mean, dim=1) @ F.normalize(keys - mean, dim=1).T
        nearest = cosine.fill_diagonal_(-1).argmax(1)  # not the picture itself
        return round(float((labels[nearest] == labels).float().mean()), 4)

    return score


def colours(images: Tensor) -> Tensor:
    """Histogram of 64 colours, (n, 64) square roots of shares: what colour alone can tell."""
    level = (images // 64).long()
    index = level[:, 0] * 16 + level[:, 1] * 4 + level[:, 2]
    return F.one_hot(index.flatten(1), 64).float().mean(1).sqrt()


def pixels(images: Tensor) -> Tensor:
    """Pixels at half the resolution minus the picture's mean, (n, 3 (size/2)^2): what aligned shapes alone can tell."""
    x = F.avg_pool2d(images.float() / 255, 2).flatten(1)
    return x - x.mean(1, keepdim=True)


# Plots


def draw_pictures(rows: Mapping[str, Tensor]) -> plt.Figure:
    """Pictures in labelled rows: name -> (n, 3, size, size), uint8 or float in [0, 1]."""
    columns = max(len(images) for images in rows.values())
    figure, axes = plt.subplots(
        len(rows), columns, figsize=(0.8 * columns + 1, 0.8 * len(rows)), layout="constrained", squeeze=False
    )
    for line, (name, images) in zip(axes, rows.items(), strict=True):
        for ax in line:
            ax.axis("off")
        for ax, image in zip(line, images, strict=False):
            ax.imshow(image.permute(1, 2, 0).cpu())
        line[0].text(-0.15, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=8)
    return figure


# method -> boxes of the trained side, boxes of the other side, is that side a moving average, does it get a gradient, what forbids one vector for all pictures
DIAGRAMS = {
    "SimCLR": (("f", "g"), ("f", "g"), False, True, "negatives of the batch"),
    "MoCo": (("f", "g"), ("f'", "g'"), True, False, "negatives of the queue"),
    "BYOL": (("f", "g", "predictor"), ("f'", "g'"), True, False, "predictor, stop-gradient,\nslow target"),
    "SimSiam": (("f", "g", "predictor"), ("f", "g"), False, False, "predictor, stop-gradient"),
    "SwAV": (("f", "g", "prototypes"), ("f", "g", "codes"), False, False, "codes that use all\nprototypes equally"),
}


def draw_methods() -> plt.Figure:
    """Five methods in the same boxes: two views of a picture, backbone f, head g; dashed: no gradient; the arrow across: a moving average of the weights."""
    figure, axes = plt.subplots(1, len(DIAGRAMS), figsize=(10, 3), layout="constrained")
    for ax, (method, (trained, other, average, gradient, why)) in zip(axes, DIAGRAMS.items(), strict=True):
        for x, boxes, live, colour in ((0.23, trained, True, "C0"), (0.77, other, gradient, "C2" if average else "C0")):
            ax.text(x, -0.1, "view 1" if x < 0.5 else "view 2", ha="center", va="center", fontsize=8)
            for k, name in enumerate(boxes):
                arrow = {"arrowstyle": "->", "linestyle": "-" if live else "--"}
                ax.annotate("", (x, k + 0.72), (x, k + 0.05 if k == 0 else k + 0.28), arrowprops=arrow)
                box = {"boxstyle": "round,pad=0.3", "facecolor": colour if name[0] in "fg" else "C1", "alpha": 0.35}
                ax.text(x, k + 0.95, name, ha="center", va="center", fontsize=8, bbox=box)
            top = len(boxes) + 0.2
            ax.plot([x, x, 0.5], [top, 3.6, 3.6], color="k", linewidth=0.8, linestyle="-" if live else "--")
        ax.text(0.5, 3.6, "loss", ha="center", va="center", fontsize=8, bbox={"facecolor": "w", "boxstyle": "round"})
        if average:
            ax.annotate("", (0.68, 0.95), (0.33, 0.95), arrowprops={"arrowstyle": "->", "color": "C2"})
            ax.text(0.5, 1.05, "EMA", ha="center", va="bottom", fontsize=7, color="C2")
        ax.set(xlim=(0, 1), ylim=(-1, 4), title=method)
        ax.text(0.5, -0.7, why, ha="center", va="center", fontsize=8, color="C3")
        ax.axis("off")
    return figure


def plot_logs(
    logs: Mapping[str, Mapping[str, Sequence[float]]], columns: Sequence[str] = ("loss", "spread", "probe")
) -> plt.Figure:
    """Training curves by name, one panel for each of "loss", "spread", "rank" and "probe" in `columns`; steps on a logarithmic axis, but for "probe"."""
    titles = {
        "loss": "loss",
        "spread": "spread of z (0: one point)",
        "rank": "effective rank of z",
        "probe": "nearest neighbour, %",
    }
    size = (3 * len(columns), 2.9)
    figure, axes = plt.subplots(1, len(columns), figsize=size, layout="constrained", squeeze=False)
    for ax, column in zip(axes[0], columns, strict=True):
        probe = column == "probe"  # the one with a value before the first step
        for k, (name, log) in enumerate(logs.items()):
            points = [
                (s, 100 * v if probe else v)
                for s, v in zip(log["probe_step" if probe else "step"], log[column], strict=True)
            ]
            if points:
                ax.plot(*zip(*points, strict=True), ("-", "--", "-.", ":")[k % 4], color=f"C{k}", label=name)
        ax.set(xlabel="step", ylabel=titles[column], xscale="linear" if probe else "log")
        ax.xaxis.set_minor_formatter(NullFormatter())
    if logs:
        figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=8)
    return figure


# Homework


class Classifier(nn.Module):
    """Backbone and linear head: normalised pictures (batch, 3, size, size) -> logits (batch, classes) float32; bfloat16 inside on a GPU."""

    def __init__(self, backbone: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
            return self.head(self.backbone(images)).float()


def mild_view(images: Tensor, generator: torch.Generator) -> Tensor:
    """The augmentation of training with labels: one mild random view, normalised; images uint8 or in [0, 1]."""
    images = images.float() / 255 if images.dtype == torch.uint8 else images
    images = random_affine(images, generator=generator)
    images = random_colour(images, strength=0.3, grey=0.1, generator=generator)
    return normalise(images).contiguous(memory_format=torch.channels_last)


def fit(
    step: Callable[[Tensor, Tensor, torch.optim.Optimizer], float],
    optimizer: torch.optim.Optimizer,
    data: Labelled,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
) -> list[float]:
    """Call `step(images, labels, optimizer)` on mild views of all batches; each group's rate warms up for 30 steps and falls as a cosine.

    Returns:
        What the step returned, once a batch.
    """
    images, labels = data
    device = optimizer.param_groups[0]["params"][0].device
    generator, per_epoch = torch.Generator().manual_seed(seed), math.ceil(len(images) / batch_size)
    rates, total, returned = [group["lr"] for group in optimizer.param_groups], epochs * per_epoch, []
    for _ in range(epochs):
        for index in torch.randperm(len(images), generator=generator).chunk(per_epoch):
            factor = min(1, (len(returned) + 1) / 30) * (1 + math.cos(math.pi * len(returned) / total)) / 2
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = factor * rate
            batch = mild_view(images[index], generator)
            batch = batch.to(device, memory_format=torch.channels_last)  # a quarter faster on a CPU, the same sums
            returned.append(step(batch, labels[index].to(device), optimizer))
    return returned


def tsne_pictures(scale: str, task: FewLabels, classes: int = 10, versions: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Test pictures for a map, of some classes: of each drawing several moved versions (full scale: other pictures).

    Returns:
        pictures (n, 3, size, size) uint8, classes (n,) and which drawing of its class a picture shows (n,), a number from 0; full scale: 0.
    """
    if scale == "full":
        images, labels = task.tests["id"]
        chosen = torch.cat([(labels == k).nonzero()[: 3 * versions, 0] for k in range(len(task.names))])
        return images[chosen], labels[chosen], torch.zeros_like(chosen)
    images, labels = (torch.cat([test[i][test[1] < classes] for test in task.tests.values()]) for i in (0, 1))
    drawings = torch.cat([torch.full(((y < classes).sum(),), k) for k, (_, y) in enumerate(task.tests.values())])
    images, labels, drawings = (x.repeat_interleave(versions, 0) for x in (images, labels, drawings))
    return moved(images), labels, drawings


def scatter_classes(ax: plt.Axes, points: Tensor | np.ndarray, labels: Tensor, drawings: Tensor) -> None:
    """Points (n, 2): a colour for each class (n,), a marker for each drawing (n,) of it."""
    colour = plt.get_cmap("tab10")(labels % 10)
    for k in drawings.unique().tolist():
        chosen = (drawings == k).numpy()
        x, y = np.asarray(points)[chosen].T
        ax.scatter(x, y, s=14, color=colour[chosen], marker="ox^sD"[k % 5], linewidths=0.8)
    ax.set(xticks=[], yticks=[])


def clustered_error(right_a: Tensor, right_b: Tensor, cluster: Tensor) -> float:
    """Standard error, in percentage points, of the difference of two accuracies on the same pictures when pictures of one cluster are alike.

    The deviations of the paired differences from their mean are summed within each cluster, and the clusters' sums vary independently (Liang and Zeger 1986);
    with a cluster of its own for each picture it is the error of the paired difference.

    Args:
        right_a, right_b: (n,) bool, which pictures either model gets right; or shares in [0, 1].
        cluster: (n,) int64.
    """
    difference = right_a.double() - right_b.double()
    index = cluster.unique(return_inverse=True)[1]
    sums = torch.zeros(len(index), dtype=torch.float64).index_add_(0, index, difference - difference.mean())
    return 100 * sums.norm().item() / len(difference)


class TinyNet(nn.Module):
    """A backbone of 350 parameters whose parts are named as a ResNet's: the checks run on it, so they take milliseconds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4)
        block = nn.Sequential()
        block.add_module("conv2", nn.Conv2d(4, 6, 3, padding=1, bias=False))
        block.add_module("bn2", nn.BatchNorm2d(6))
        self.layer4 = nn.Sequential(block)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(self.layer4(F.relu(self.bn1(self.conv1(images)))))
        return self.fc(self.avgpool(x).flatten(1))


def tiny_backbone(state: Mapping[str, Tensor]) -> TinyNet:
    """TinyNet with the given parameters and buffers, in eval mode like a checkpoint that was just loaded."""
    net = TinyNet()
    net.load_state_dict(dict(state))
    return net.eval()


def tiny_encoder(state: Mapping[str, Tensor] | None = None) -> nn.Sequential:
    """TinyNet and a projection head, 3 x 8 x 8 -> 5, in train mode."""
    encoder = nn.Sequential(TinyNet(), mlp(6, 7, 5))
    if state is not None:
        encoder.load_state_dict(dict(state))
    return encoder.train()


def tiny_predictor(state: Mapping[str, Tensor] | None = None) -> nn.Sequential:
    """A predictor 5 -> 5 in train mode."""
    predictor = mlp(5, 4, 5)
    if state is not None:
        predictor.load_state_dict(dict(state))
    return predictor.train()


class TinyResNet(TinyNet):
    """TinyNet with a classifier of 4 classes as `fc`."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 4)


def tiny_resnet(state: Mapping[str, Tensor]) -> TinyResNet:
    """TinyResNet with the given parameters and buffers, in train mode."""
    net = TinyResNet()
    net.load_state_dict(dict(state))
    return net.train()


def tiny_classifier(state: Mapping[str, Tensor], weight: Tensor, bias: Tensor) -> Classifier:
    """A classifier on TinyNet with the given numbers, in train mode."""
    head = nn.Linear(*weight.T.shape)
    head.load_state_dict({"weight": weight, "bias": bias})
    return Classifier(tiny_backbone(state), head).train()


def tiny_augment(images: Tensor, generator: torch.Generator) -> Tensor:
    """A random gain and offset for every picture: what the checks pass as an augmentation."""
    gain, offset = torch.rand(2, len(images), 1, 1, 1, generator=generator)
    return images * (0.5 + gain) + offset / 10


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """A copy of all parameters and buffers by name, but for the counts of batches."""
    return {k: v.detach().clone() for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked")}


def unchanged(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, bool]:
    """Which parameters and buffers are equal bit for bit to those in `state`."""
    return {name: name in state and torch.equal(value, state[name]) for name, value in module.state_dict().items()}


def sgd(
    modules: Sequence[nn.Module],
    loss: Callable[[int], Tensor],
    *,
    lr: float,
    steps: int,
    weight_decay: float = 0.0,
    after: Callable[[int], object] | None = None,
) -> list[float]:
    """Steps of plain SGD on `loss(k)`; `after(k)` follows step k. Returns the losses before each step."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    optimizer, losses = torch.optim.SGD(parameters, lr=lr, weight_decay=weight_decay), []
    for k in range(steps):
        value = loss(k)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
        if after is not None:
            after(k)
    return losses


def backward(loss: Tensor, *inputs: Tensor) -> list[Tensor | str]:
    """Gradients of a loss with respect to leaf tensors; "no gradient" where none flows."""
    loss.backward()
    return ["no gradient" if x.grad is None else x.grad for x in inputs]


def named_groups(groups: Sequence[Mapping], module: nn.Module) -> list[dict]:
    """Groups of an optimiser with sorted names in place of parameters, to compare them."""
    names = {id(p): name for name, p in module.named_parameters()}
    return [
        {"names": sorted(names.get(id(p), "?") for p in group["params"])}
        | {k: group[k] for k in ("lr", "weight_decay")}
        for group in groups
    ]
