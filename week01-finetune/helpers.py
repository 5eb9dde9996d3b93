"""Week 01: data, models and training of the seminar and the homework; no solutions."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

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
