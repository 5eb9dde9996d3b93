"""A small ResNet, the random views and the loop that train it, and the features that it gives; the weights on disk."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from lsdl.data.augment import random_affine, random_colour, random_resized_crop
from lsdl.data.emoji import normalise
from lsdl.data.few_labels import Labelled

# Networks


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


class Classifier(nn.Module):
    """Backbone and linear head: normalised pictures (batch, 3, size, size) -> logits (batch, classes) float32; bfloat16 inside on a GPU."""

    def __init__(self, backbone: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=images.is_cuda):
            return self.head(self.backbone(images)).float()


def save_backbone(backbone: nn.Module, file: Path) -> None:
    """Write a backbone (or any module) as safetensors, numbers in half precision."""
    state = backbone.state_dict()
    save_file({k: (v.half() if v.is_floating_point() else v).contiguous().cpu() for k, v in state.items()}, file)


def read_into(module: nn.Module, file: Path) -> None:
    """Load what `save_backbone` wrote, as float32, and set eval mode."""
    module.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in load_file(file).items()})
    module.eval()


@torch.no_grad()
def embed(backbone: nn.Module, images: Tensor) -> Tensor:
    """Features (n, d) float32 on the CPU of pictures (n, 3, size, size) uint8; the backbone is left in eval mode."""
    backbone.eval()
    device = next(backbone.parameters()).device
    batches = (normalise(x.to(device)).contiguous(memory_format=torch.channels_last) for x in images.split(500))
    return torch.cat([backbone(x).float().cpu() for x in batches])


# Views, and training with labels


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
    augment: Callable[[Tensor, torch.Generator], Tensor] = mild_view,
) -> list[float]:
    """Call `step(images, labels, optimizer)` on views of all batches, mild ones by default; each group's rate warms up for 30 steps and falls as a cosine.

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
            batch = augment(images[index], generator)
            batch = batch.to(device, memory_format=torch.channels_last)  # a quarter faster on a CPU, the same sums
            returned.append(step(batch, labels[index].to(device), optimizer))
    return returned
