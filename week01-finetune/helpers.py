"""Week 01: data, models and plots of the seminar and the homework; no solutions."""

from __future__ import annotations

import copy
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from tqdm import tqdm

from lsdl.data.augment import random_affine, random_colour
from lsdl.data.captions import CLASS_NAMES, PROMPT_TEMPLATES
from lsdl.data.clip import load_small_clip, load_vit_b16
from lsdl.data.domainnet import DOMAINS, DomainNet
from lsdl.data.emoji import IMAGE_MEAN, IMAGE_STD, STYLES, load_emoji
from lsdl.torch_tools import gradients, pick_device, snapshot  # noqa: F401 (the homework takes them from here)

TEMPLATES = PROMPT_TEMPLATES
VALIDATION_STYLE = "twemoji"  # choices about robustness (alpha, ...) are made here; it is never a test style
STYLE = {  # one colour, marker and line per method in all figures
    "zero-shot": dict(color="0.35", marker="*", linestyle=":"),
    "LP": dict(color="C0", marker="o", linestyle="-"),
    "FT": dict(color="C3", marker="s", linestyle="--"),
    "LP-FT": dict(color="C2", marker="^", linestyle=(0, (1, 1))),
    "FT, zero-shot head": dict(color="C1", marker="D", linestyle="-."),
    "stronger FT": dict(color="C4", marker="v", linestyle=(0, (5, 1))),
    "WiSE-FT 0.5": dict(color="C5", marker="P", linestyle="-"),
    "straight line": dict(color="0.6", marker="", linestyle=":"),
}


@dataclass(frozen=True)
class Task:
    """A classification task with domains. Every data set gives ((3, size, size) float in [0, 1], class index).

    Attributes:
        classes: the classes in the words that prompts use.
        id_domain: the domain of the training pictures.
        train: labelled training pictures of the in-distribution domain.
        val: validation pictures of the in-distribution domain.
        val_ood: pictures of the validation domain (choices about robustness are made on it).
        test: test pictures by domain, the in-distribution domain first.
    """

    classes: tuple[str, ...]
    id_domain: str
    train: Dataset
    val: Dataset
    val_ood: Dataset
    test: Mapping[str, Dataset]

    @property
    def ood_domains(self) -> tuple[str, ...]:
        return tuple(name for name in self.test if name != self.id_domain)


def load_task(scale: str, domainnet_root: str | Path | None = None) -> Task:
    """The task of this week.

    Args:
        scale: "smoke": 18 classes of emoji, trained on the style noto, tested on seven other styles, every test picture unseen in
            pretraining; "full": DomainNet, trained on the domain real (as Nam et al. 2024), tested on the other domains.
        domainnet_root: folder of DomainNet in its original layout; default: the environment variable DOMAINNET.

    Raises:
        ValueError: unknown scale.
        FileNotFoundError: DomainNet is not there.
    """
    if scale == "smoke":
        data = load_emoji(32)

        def pictures(style: str, part: str, held_out: bool = True) -> Dataset:
            chosen = data.select(styles=style, part=part, held_out=held_out, labelled=True)
            return TensorDataset(chosen.images.float() / 255, chosen.label)

        validation = torch.utils.data.ConcatDataset([pictures(VALIDATION_STYLE, p) for p in ("val", "test")])
        return Task(
            classes=tuple(CLASS_NAMES.values()),
            id_domain="noto",
            train=pictures("noto", "train", held_out=False),
            val=pictures("noto", "val"),
            val_ood=validation,
            test={style: pictures(style, "test") for style in STYLES if style != VALIDATION_STYLE},
        )
    if scale == "full":
        root = domainnet_root or os.environ.get("DOMAINNET", "data/domainnet")
        train = DomainNet(root, "real", "train", transform=to_unit_square)
        # every tenth training picture validates: DomainNet has no validation list
        chosen = torch.arange(len(train)) % 10 == 0
        others = [name for name in DOMAINS if name not in ("real", "painting")]
        return Task(
            classes=tuple(name.replace("_", " ") for name in train.classes),
            id_domain="real",
            train=torch.utils.data.Subset(train, torch.nonzero(~chosen)[:, 0].tolist()),
            val=torch.utils.data.Subset(train, torch.nonzero(chosen)[:, 0].tolist()),
            val_ood=DomainNet(root, "painting", "test", transform=to_unit_square),
            test={name: DomainNet(root, name, "test", transform=to_unit_square) for name in ("real", *others)},
        )
    raise ValueError(f"scale must be 'smoke' or 'full', not {scale!r}.")


def to_unit_square(picture) -> Tensor:
    """PIL image -> (3, 224, 224) float in [0, 1]: CLIP's evaluation transform without the normalisation (the tower does it)."""
    from torchvision.transforms import v2

    steps = [
        v2.Resize(224, v2.InterpolationMode.BICUBIC),
        v2.CenterCrop(224),
        v2.PILToTensor(),
        v2.ToDtype(torch.float32, True),
    ]
    return v2.Compose(steps)(picture.convert("RGB"))


class ImageTower(nn.Module):
    """CLIP's image tower with its input normalisation: (batch, 3, size, size) in [0, 1] -> (batch, dim) features, not unit norm."""

    def __init__(self, visual: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.visual = visual
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return self.visual((images - self.mean) / self.std)


@dataclass
class Clip:
    """A CLIP in eval mode: `tower` (images), `model` (open_clip; `model.encode_text`, `model.logit_scale`, a logarithm) and `tokenizer`."""

    model: nn.Module
    tower: ImageTower
    tokenizer: Callable[[Sequence[str]], Tensor]

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(n, context_length) int64 on any device -> (n, dim) features on the model's, not unit norm."""
        return self.model.encode_text(tokens.to(next(self.model.parameters()).device))


def load_clip(scale: str, device: torch.device | str = "cpu", name: str = "clip") -> Clip:
    """The small CLIP ("smoke"; `name` may be another small checkpoint) or open_clip's ViT-B/16 ("full")."""
    if scale == "smoke":
        model, tokenizer = load_small_clip(name)
        mean, std = IMAGE_MEAN, IMAGE_STD
    else:
        model, tokenizer = load_vit_b16()
        mean, std = model.visual.image_mean, model.visual.image_std
    model = model.to(device).eval()
    return Clip(model, ImageTower(model.visual, mean, std).to(device).eval(), tokenizer)


class Classifier(nn.Module):
    """Image tower and linear head on the unit sphere: logits = logit_scale * normalise(tower(x)) @ head.T (no bias).

    Args:
        tower: (batch, 3, size, size) -> (batch, dim).
        head: (classes, dim), rows of unit norm at the start.
        logit_scale: the pretrained model's exp(logit_scale), a constant: it is no parameter.
    """

    def __init__(self, tower: nn.Module, head: Tensor, logit_scale: float) -> None:
        super().__init__()
        self.tower = tower
        self.head = nn.Parameter(head.detach().clone())
        self.logit_scale = float(logit_scale)

    def forward(self, images: Tensor) -> Tensor:
        return self.logit_scale * F.normalize(self.tower(images), dim=1) @ self.head.T


def loader(data: Dataset, batch_size: int, *, shuffle: bool = False, seed: int = 0) -> DataLoader:
    """Batches of (images, labels); with `shuffle` in an order that the seed decides."""
    workers = 0 if isinstance(data, TensorDataset) or len(data) < 5000 else 8
    generator = torch.Generator().manual_seed(seed)
    return DataLoader(data, batch_size, shuffle=shuffle, generator=generator, num_workers=workers)


@torch.no_grad()
def outputs(network: nn.Module, data: Dataset, batch_size: int = 512) -> tuple[Tensor, Tensor]:
    """Outputs (n, ...) of a network on a data set, and the labels (n,); both on the CPU. The network is left in eval mode."""
    network.eval()
    device = next(network.parameters()).device
    pairs = [(network(images.to(device)).cpu(), labels) for images, labels in loader(data, batch_size)]
    return torch.cat([p[0] for p in pairs]), torch.cat([p[1] for p in pairs])


def accuracy(network: nn.Module, data: Dataset) -> float:
    """Share of right predictions, in percent."""
    logits, labels = outputs(network, data)
    return 100 * (logits.argmax(1) == labels).float().mean().item()


def accuracies(network: nn.Module, task: Task) -> dict[str, float]:
    """Accuracy in percent on every test domain, and their mean over the out-of-distribution ones under "OOD"."""
    table = {domain: accuracy(network, data) for domain, data in task.test.items()}
    return table | {"OOD": sum(table[d] for d in task.ood_domains) / len(task.ood_domains)}


def scores(network: nn.Module, task: Task) -> dict[str, float]:
    """Accuracy in percent on ID validation ("val") and on all that `accuracies` has."""
    return {"val": accuracy(network, task.val)} | accuracies(network, task)


def random_head(seed: int, classes: int, dim: int) -> Tensor:
    """(classes, dim): what nn.Linear starts from."""
    torch.manual_seed(seed)
    return nn.Linear(dim, classes, bias=False).weight


def record_features(tower: nn.Module, data: Dataset, **settings) -> list[tuple[Tensor, Tensor]]:
    """Features (batch, dim) and labels (batch,) of the very batches that `train` gives with these epochs, batch size and seed."""
    frozen = copy.deepcopy(tower).requires_grad_(False).eval()

    def step(images: Tensor, labels: Tensor, optimizer: torch.optim.Optimizer) -> tuple[Tensor, Tensor]:
        optimizer.step()  # changes nothing: there are no gradients
        return frozen(images), labels

    return train(step, frozen, data, lr=0.0, **settings)


def stages(visual: nn.Module) -> dict[str, nn.Module]:
    """The stages of an open_clip image tower, from the input to the output."""
    if hasattr(visual, "transformer"):
        blocks = visual.transformer.resblocks
        return {f"block {k + 1}": block for k, block in enumerate(blocks) if k % 3 == 2 or k + 1 == len(blocks)}
    return {name: getattr(visual, name) for name in ("avgpool", "layer1", "layer2", "layer3", "layer4", "attnpool")}


def hidden_units(visual: nn.Module) -> list[tuple[list[Tensor], Tensor]]:
    """For every block of an image tower: the tensors whose first axis is its hidden units, and the weight that reads them (axis 1)."""
    if hasattr(visual, "transformer"):
        return [([b.mlp.c_fc.weight, b.mlp.c_fc.bias], b.mlp.c_proj.weight) for b in visual.transformer.resblocks]
    blocks = [block for k in range(1, 5) for block in getattr(visual, f"layer{k}")]
    own = ("weight", "bias", "running_mean", "running_var")
    return [([b.conv1.weight, *(getattr(b.bn1, name) for name in own)], b.conv2.weight) for b in blocks]


@torch.no_grad()
def activations(tower: ImageTower, images: Tensor) -> dict[str, Tensor]:
    """Outputs of every stage, (batch, everything else)."""
    kept: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, out, name=name: kept.update({name: out.flatten(1)}))
        for name, module in stages(tower.visual).items()
    ]
    tower(images.to(next(tower.parameters()).device))
    for hook in hooks:
        hook.remove()
    return kept


def augment(images: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """The augmentation of every method of this week: mild geometry and colour; images in [0, 1]."""
    return random_colour(random_affine(images, generator=generator), strength=0.3, grey=0.1, generator=generator)


def plot_id_ood(points: Mapping[str, tuple[Sequence[float], Sequence[float]]], ax: plt.Axes | None = None) -> plt.Axes:
    """One marker per method at its ID and OOD accuracy in percent: means over seeds, with standard errors."""
    ax = ax or plt.subplots(figsize=(5.5, 4), layout="constrained")[1]
    for name, pair in points.items():
        (x, dx), (y, dy) = map(mean_and_error, pair)
        look = STYLE[name] | {"linestyle": "none"}
        ax.errorbar(x, y, dy, dx, label=name, markersize=9, capsize=3, zorder=3, **look)
    ax.set(xlabel="accuracy on the ID test, %", ylabel="mean accuracy on the OOD tests, %")
    ax.legend()
    return ax


def plot_curves(
    curves: Mapping[str, tuple[Sequence[float], Sequence]], ax: plt.Axes, *, floor: float | None = None, **labels
) -> None:
    """One line per method, in its `STYLE`: means over seeds with standard errors.

    Args:
        curves: by method x (n,) and y (n,) or (n, seeds).
        floor: values below it stand as arrows on the lower edge, so that they do not squeeze the others.
        labels: for `ax.set`.
    """
    for name, (x, y) in curves.items():
        mean, error = np.array([mean_and_error(np.atleast_1d(value)) for value in y]).T
        shown = mean >= (-np.inf if floor is None else floor)
        place = np.where(shown, mean, np.nan)
        ax.errorbar(x, place, error, label=name, markersize=5, capsize=2, elinewidth=0.8, **STYLE[name])
        for k in np.flatnonzero(~shown):
            ax.annotate(
                "", (x[k], floor), (x[k], floor + 3), arrowprops=dict(arrowstyle="->", color=STYLE[name]["color"])
            )
    ax.set(**labels)
    if floor is not None:
        ax.set_ylim(bottom=floor)


def mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard error; 0 for a single value."""
    values = np.asarray(values, dtype=float)
    return values.mean(), values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0


def plot_wise_ft(
    alphas: Sequence[float],
    curves: Mapping[str, Mapping[str, Sequence[float]]],
    counts: Mapping[str, int] | None = None,
) -> plt.Figure:
    """Accuracy over alpha, one panel a data set: `curves[panel][method]` holds one accuracy in percent per alpha.

    Where `counts[panel]` gives the number of pictures, the titles name it and bars show one standard error of each accuracy.
    """
    figure, axes = plt.subplots(
        1, len(curves), figsize=(4 * len(curves), 3.2), layout="constrained", squeeze=False, sharey=True
    )
    for ax, (panel, lines) in zip(axes[0], curves.items(), strict=True):
        n = counts[panel] if counts else None
        for (name, values), style in zip(lines.items(), ("-o", "--s", ":^", "-.D"), strict=False):
            errors = [math.sqrt(value * (100 - value) / n) for value in values] if n else None
            ax.errorbar(alphas, values, errors, fmt=style, label=name, markersize=4, capsize=2, elinewidth=0.8)
        ax.set(xlabel="alpha (0: zero-shot, 1: fine-tuned)", title=f"{panel}, n = {n}" if n else panel)
        ax.grid(alpha=0.3)
    axes[0][0].set_ylabel("accuracy, %" + (" (bars: ± 1 standard error)" if counts else ""))
    axes[0][0].legend(frameon=False, fontsize=8)
    return figure


@dataclass(frozen=True)
class TinyTokenizer:
    """The token numbers of TinyClip's vocabulary: as in CLIP, the end token is the largest, then the start token."""

    sot_token_id: int = 22
    eot_token_id: int = 23
    context_length: int = 10


class TinyClip(nn.Module):
    """A CLIP of 300 parameters with every part that matters for a training step: BatchNorm, projection, text tower, logit scale.

    The checks run on it, so that they take milliseconds and their references kilobytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Sequential()
        self.visual.add_module("conv", nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False))
        self.visual.add_module("bn", nn.BatchNorm2d(4))
        self.visual.add_module("act", nn.ReLU())
        self.visual.add_module("pool", nn.AdaptiveAvgPool2d(1))
        self.visual.add_module("flatten", nn.Flatten())
        self.visual.add_module("proj", nn.Linear(4, 6, bias=False))
        self.token_embedding = nn.Embedding(24, 6)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(n, 10) int64 -> (n, 6): a running mean of embeddings, read at the end token as CLIP does."""
        x = self.token_embedding(tokens).cumsum(1) / torch.arange(1, tokens.shape[1] + 1).view(1, -1, 1)
        return x[torch.arange(len(x)), tokens.argmax(1)]


def tiny_clip(state: Mapping[str, Tensor]) -> Clip:
    """TinyClip with the given parameters and buffers, in eval mode like a pretrained model that was just loaded."""
    model = TinyClip()
    model.load_state_dict(dict(state))
    model.eval()
    return Clip(model, ImageTower(model.visual, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)).eval(), TinyTokenizer())


def train(
    step: Callable[[Tensor, Tensor, torch.optim.Optimizer], object],
    classifier: nn.Module,
    data: Dataset,
    *,
    lr: float,
    epochs: int,
    batch_size: int,
    seed: int,
    progress: bool = False,
) -> list:
    """Run `step(images, labels, optimizer)` over augmented batches: AdamW without weight decay, cosine decay to 0.

    With `progress` a bar of steps stands on stdout (stderr would look like a warning) until the end.

    Returns:
        What the step returned, once per batch.
    """
    device = next(classifier.parameters()).device
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=lr, weight_decay=0.0)
    batches = loader(data, batch_size, shuffle=True, seed=seed)
    steps = epochs * len(batches)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator, returned = torch.Generator().manual_seed(seed), []
    hidden = not progress or "NBGRADER_EXECUTION" in os.environ  # nobody watches when nbgrader runs the notebook
    with tqdm(total=steps, unit="step", mininterval=1, leave=False, file=sys.stdout, disable=hidden) as bar:
        for _ in range(epochs):
            for images, labels in batches:
                images = augment(images, generator).to(device)
                returned.append(step(images, labels.to(device), optimizer))
                schedule.step()
                bar.update()
    return returned


def chi_square(tokens: Tensor, *, below: int, bins: int) -> float:
    """Pearson's chi-square statistic of integers in [0, below) against the uniform distribution, in `bins` equal bins."""
    index = (tokens.flatten().clamp(0, below - 1) * bins) // below
    edges = (torch.arange(bins + 1) * below + bins - 1) // bins  # first integer of every bin
    expected = (edges[1:] - edges[:-1]) / below * index.numel()
    return ((torch.bincount(index, minlength=bins) - expected) ** 2 / expected).sum().item()


def load_shipped(name: str) -> Classifier:
    """A classifier that the course trained on this week's smoke data: "ft" or "lipsum_ft" (in assets/), on the CPU."""
    clip = load_clip("smoke")
    state = {
        k: v.float() if v.is_floating_point() else v
        for k, v in load_file(Path("assets") / f"{name}.safetensors").items()
    }
    classifier = Classifier(clip.tower, state["head"], clip.model.logit_scale.exp().item())
    classifier.load_state_dict(state)
    return classifier.eval()


def draw_two_towers(images: Tensor, captions: Sequence[str]) -> plt.Figure:
    """CLIP as a picture: n images (n, 3, size, size) and their captions, two towers, the n x n matrix of similarities."""
    figure, ax = plt.subplots(figsize=(8, 3.2), layout="constrained")
    ax.set(xlim=(0, 13), ylim=(0, 5.2), aspect="equal")
    ax.axis("off")
    box = dict(boxstyle="round,pad=0.5", facecolor="#dbe9f6", edgecolor="0.3")
    arrow = dict(arrowstyle="->", color="0.3")
    n = len(images)
    for k, (image, caption) in enumerate(zip(images, captions, strict=True)):
        ax.imshow(image.permute(1, 2, 0), extent=(0.1 + 1.1 * k, 1.1 + 1.1 * k, 3.6, 4.6))
        ax.text(0.1, 1.9 - 0.6 * k, f"“{caption}”", fontsize=8, va="center")
    ax.text(5.3, 4.1, "image tower $f$", ha="center", va="center", bbox=box, fontsize=9)
    ax.text(5.3, 1.3, "text tower $g$", ha="center", va="center", bbox=box, fontsize=9)
    for y, letter in ((4.1, "u"), (1.3, "v")):
        ax.annotate("", (4.1, y), (3.5, y), arrowprops=arrow)
        ax.annotate("", (7.1, y), (6.5, y), arrowprops=arrow)
        names = ", ".join(f"{letter}_{k + 1}" for k in range(n))
        ax.text(7.9, y, f"${names}$\nunit length", ha="center", va="center", fontsize=9)
        ax.annotate("", (9.5, 2.7 + (y - 2.7) * 0.35), (8.8, y), arrowprops=arrow)
    for i in range(n):
        for j in range(n):
            colour = "#8fc1e3" if i == j else "white"
            x, y = 9.7 + j, 3.2 + (n - 1) / 2 - i - 1
            ax.add_patch(plt.Rectangle((x, y), 1, 1, facecolor=colour, edgecolor="0.4"))
            ax.text(x + 0.5, y + 0.5, f"$u_{i + 1} \\cdot v_{j + 1}$", ha="center", va="center", fontsize=8)
    ax.set_title("training pulls the diagonal (the pairs) up and pushes the rest down", fontsize=9, loc="right")
    return figure
