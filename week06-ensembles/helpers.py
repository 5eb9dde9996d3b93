"""Week 06: the task, augmentation, the training loop, BatchNorm's update and the files; no solutions.

The networks are in nets.py, what is computed from predictions in scores.py, full scale's files in cifar.py; their names are here, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from cifar import cifar100, corrupted
from nets import *  # noqa: F403
from safetensors.torch import load_file, save_file
from scores import *  # noqa: F403
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from lsdl.data.augment import random_affine, random_colour
from lsdl.data.captions import CLASS_NAMES
from lsdl.data.emoji import load_emoji

ASSETS = Path(__file__).parent / "assets"
Labelled = tuple[Tensor, Tensor]  # pictures (n, 3, S, S) uint8 and classes (n,) int64
State = dict[str, Tensor]  # what `state_dict` gives

OOD = ("noto-v1", "emojione", "openmoji", "fluent-flat", "fluent-3d")
FAR = ("openmoji-black", "fluent-high-contrast")  # without colour: shown, nothing is claimed on them
CORRUPTIONS = ("gaussian_noise", "defocus_blur", "contrast", "fog", "jpeg_compression")  # what is OOD at full scale

# colour, marker, line of each method, the same in all figures
STYLE = {
    "deep ensemble": ("C0", "o", "-"),
    "SSE": ("C1", "s", "-"),
    "FGE": ("C2", "^", "-"),
    "SWA": ("C3", "D", "-"),
    "SWAG": ("C4", "v", "-"),
    "cSGLD": ("C5", "P", "--"),
    "KFAC-Laplace": ("C6", "X", "--"),
    "StarSSE": ("#882255", "*", "-"),
    "soup": ("#999933", "h", "-"),
    "one net": ("0.4", ".", ":"),
}


# The task


@dataclass(frozen=True)
class Task:
    """A classification task with shifted tests.

    Attributes:
        classes: names, index = label.
        train, val: labelled pictures at home.
        tests: test pictures by name, home first.
        ood: the names of `tests` over which "OOD" is the mean.
    """

    classes: tuple[str, ...]
    train: Labelled
    val: Labelled
    tests: Mapping[str, Labelled]
    ood: tuple[str, ...]

    @property
    def home(self) -> str:
        return next(iter(self.tests))

    @property
    def labels(self) -> dict[str, Tensor]:
        """Of "val" and every test."""
        return {name: labels for name, (_, labels) in {"val": self.val, **self.tests}.items()}


@lru_cache
def load_task(scale: str, root: str | None = None) -> Task:
    """The task of this week.

    Args:
        scale: "smoke": 18 classes of emoji, trained on noto, tested on noto and seven other styles, every test picture's thing unseen in training;
            "full": CIFAR-100, tested on its test part and on five corruptions of CIFAR-100-C at strength 3.
        root: folder with `cifar-100-python/` and `CIFAR-100-C/`; default: the environment variable CIFAR.

    Raises:
        FileNotFoundError: full scale's files are not there.
    """
    if scale == "smoke":
        data = load_emoji(32)

        def pictures(style: str, part: str, held_out: bool = True) -> Labelled:
            chosen = data.select(styles=style, part=part, held_out=held_out, labelled=True)
            return chosen.images, chosen.label

        tests = {style: pictures(style, "test") for style in ("noto", *OOD, *FAR)}
        return Task(
            tuple(CLASS_NAMES.values()), pictures("noto", "train", held_out=False), pictures("noto", "val"), tests, OOD
        )
    folder = Path(root or os.environ.get("CIFAR", "data"))
    images, labels, names = cifar100(folder, train=True)
    val = torch.arange(len(images)) % 10 == 0  # CIFAR has no validation part
    tests = {"CIFAR-100": cifar100(folder, train=False)[:2]}
    tests |= {name: corrupted(folder, name, 3) for name in CORRUPTIONS}
    return Task(names, (images[~val], labels[~val]), (images[val], labels[val]), tests, CORRUPTIONS)


# Augmentation and training

RECIPES = ("mild", "colour", "wide")


def augment(images: Tensor, generator: torch.Generator, recipes: Sequence[str] = RECIPES) -> Tensor:
    """The batch by one of the recipes, drawn for the whole batch; always mirrored at random.

    Args:
        images: (B, 3, S, S) uint8.

    Returns:
        (B, 3, S, S) float in [0, 1].
    """
    images = images.float() / 255
    recipe = recipes[int(torch.randint(len(recipes), (), generator=generator))]
    if recipe == "colour":
        mirrored = torch.rand(len(images), 1, 1, 1, generator=generator).to(images.device) < 0.5
        images = torch.where(mirrored, images.flip(3), images)
        return random_colour(images, strength=0.3, grey=0.1, generator=generator)
    move = {"mild": dict(degrees=5, scale=(0.9, 1.1), translate=0.06), "wide": dict(degrees=15, scale=(0.8, 1.1))}
    return random_affine(images, **move[recipe], generator=generator)


def batch(data: Labelled, step: int, seed: int, size: int, recipes: Sequence[str] = RECIPES) -> Labelled:
    """The batch of a step: seed and step decide everything, so a training may go on at any step, or with other pictures.

    Every epoch has its own order and drops the last short batch. Pictures are augmented, in [0, 1].
    """
    images, labels = data
    per_epoch = steps_per_epoch(data, size)
    epoch, k = divmod(step, per_epoch)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(10**7 * seed + 5 * 10**6 + epoch))
    index = order[k * size : (k + 1) * size]
    generator = torch.Generator().manual_seed(10**7 * seed + step)
    return augment(images[index], generator, recipes).contiguous(memory_format=torch.channels_last), labels[index]


def steps_per_epoch(data: Labelled, size: int) -> int:
    return max(1, len(data[0]) // size)


def sgd(net: nn.Module, momentum: float = 0.9, weight_decay: float = 5e-4) -> torch.optim.SGD:
    """The optimiser of this week: weight decay on all parameters; `train` sets the rate."""
    return torch.optim.SGD(net.parameters(), 0.1, momentum=momentum, weight_decay=weight_decay)


def cosine(steps: int, rate: float) -> Tensor:
    """(steps,) rates that fall from `rate` to 0 as half a cosine."""
    return rate / 2 * (1 + torch.cos(torch.pi * torch.arange(steps, dtype=torch.float64) / steps))


def train(
    net: nn.Module,
    data: Labelled,
    rates: Tensor,
    *,
    seed: int,
    optimizer: torch.optim.Optimizer | None = None,
    momentum: State | None = None,
    start: int = 0,
    size: int = 64,
    recipes: Sequence[str] = RECIPES,
    on_step: Callable[[int, nn.Module, torch.optim.Optimizer], object] | None = None,
) -> list[float]:
    """Train a network in place, on its device, from the weights that it has; it is left in eval mode.

    Args:
        data: pictures uint8 and classes.
        rates: (steps,) the learning rate of each step.
        seed: of the order and the augmentation.
        optimizer: default: `sgd(net)`.
        momentum: buffers of the optimiser by parameter name, from `momentum_of`; without them it starts at rest.
        start: the number of the first step, so that what goes on sees the batches that it would have seen.
        on_step: called after each step with the number of steps done, `start` included; it leaves net in train mode.

    Returns:
        The mean loss of each epoch.
    """
    optimizer = sgd(net) if optimizer is None else optimizer
    for name, p in net.named_parameters():
        if momentum is not None:
            optimizer.state[p]["momentum_buffer"] = momentum[name].to(p.device).clone()
    device, losses = next(net.parameters()).device, []
    net.to(memory_format=torch.channels_last).train()  # a third faster on a CPU, the same sums
    for step, rate in enumerate(rates.tolist(), start):
        images, labels = batch(data, step, seed, size, recipes)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda"):
            loss = F.cross_entropy(net(images.to(device)), labels.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if on_step is not None:
            on_step(step + 1, net, optimizer)
    net.eval()
    return [float(np.mean(part)) for part in np.array_split(losses, max(1, len(rates) // steps_per_epoch(data, size)))]


def state_of(net: nn.Module) -> State:
    """A copy of all weights and buffers, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in net.state_dict().items()}


def momentum_of(net: nn.Module, optimizer: torch.optim.Optimizer) -> State:
    """A copy of the momentum buffers by parameter name; zeros before the first step."""
    buffers = {name: optimizer.state[p].get("momentum_buffer") for name, p in net.named_parameters()}
    shapes = dict(net.named_parameters())
    return {
        name: (torch.zeros_like(shapes[name]) if b is None else b).detach().cpu().clone() for name, b in buffers.items()
    }


def update(net: nn.Module, data: Labelled, *, seed: int = 0, size: int = 64, augmented: bool = True) -> nn.Module:
    """BatchNorm's statistics anew from one pass over the training batches, each of which counts alike; augmented as in training, or clean."""
    steps, device = range(steps_per_epoch(data, size)), next(net.parameters()).device
    if augmented:
        batches = (batch(data, step, 10**4 + seed, size)[0] for step in steps)
    else:
        batches = (images.float() / 255 for images in data[0].split(size)[: len(steps)])
    update_bn((images.to(device) for images in batches), net)
    return net.eval()


def fit_head(net: nn.Module, data: Labelled) -> nn.Module:
    """Set `net.fc` to a linear probe: logistic regression on the features of the clean training pictures."""
    with torch.no_grad():
        x = torch.cat([net.eval().features(part) for part in _parts(net, data[0])]).cpu()
    found = LogisticRegression(max_iter=2000).fit(x.numpy(), data[1].numpy())
    with torch.no_grad():
        net.fc.weight.copy_(torch.from_numpy(found.coef_))
        net.fc.bias.copy_(torch.from_numpy(found.intercept_))
    return net


# Predictions


def _parts(net: nn.Module, images: Tensor) -> list[Tensor]:
    device = next(net.parameters()).device
    return [(part.to(device).float() / 255).contiguous(memory_format=torch.channels_last) for part in images.split(500)]


@torch.no_grad()
def log_probs(net: nn.Module, images: Tensor) -> Tensor:
    """Log probabilities (n, C) of pictures uint8, on the CPU; the network is left in eval mode."""
    net.eval()
    return torch.cat([net(part).float().log_softmax(1).cpu() for part in _parts(net, images)])


def error(net: nn.Module, data: Labelled) -> float:
    """Share of wrong predictions in percent."""
    return 100 * (log_probs(net, data[0]).argmax(1) != data[1]).float().mean().item()


def all_log_probs(net: nn.Module, task: Task) -> dict[str, Tensor]:
    """`log_probs` on "val" and on every test."""
    return {name: log_probs(net, images) for name, (images, _) in {"val": task.val, **task.tests}.items()}


# Files


def load_states(file: str | Path) -> dict[str, State]:
    """States from assets/FILE.safetensors, or a file: tensors are named STATE/NAME; half precision becomes float32."""
    file = file if isinstance(file, Path) else ASSETS / f"{file}.safetensors"
    found: dict[str, State] = {}
    for key, value in load_file(file).items():
        name, _, key = key.rpartition("/")
        found.setdefault(name, {})[key] = value.float() if value.is_floating_point() else value
    return found


def save_states(states: Mapping[str, State], file: Path, dtype: torch.dtype | None = None) -> None:
    """Write what `load_states` reads; floating-point numbers as `dtype`, None: as they are."""
    flat = {f"{name}/{key}": value for name, state in states.items() for key, value in state.items()}
    save_file(
        {k: v.to(dtype if dtype and v.is_floating_point() else v.dtype).contiguous() for k, v in flat.items()}, file
    )


def load_pool() -> dict[str, Labelled]:
    """log p (K, n, C) float32 of K nets from scratch and labels (n,), on "val", "test" and three other styles, from assets/pool.safetensors."""
    found = load_states("pool")
    return {name: (log_p, found["labels"][name].long()) for name, log_p in found["log_p"].items()}
