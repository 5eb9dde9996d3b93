"""Week 06: the networks. Each takes pictures in [0, 1] and gives logits; `features` stops before the last layer, which is `fc`."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from lsdl.data.emoji import IMAGE_MEAN, IMAGE_STD

CIFAR_MEAN, CIFAR_STD = (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class SmallResNet(nn.Module):
    """Three basic blocks of 16, 32 and 64 channels behind a 3x3 stem of stride 2: 78,562 parameters for 18 classes.

    Args:
        classes: outputs of the linear head.
        width: channels of the first block.
    """

    def __init__(self, classes: int, width: int = 16) -> None:
        super().__init__()
        _remember(self, IMAGE_MEAN, IMAGE_STD)
        self.conv1 = nn.Conv2d(3, width, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = BasicBlock(width, width)
        self.layer2 = BasicBlock(width, 2 * width, 2, _project(width, 2 * width))
        self.layer3 = BasicBlock(2 * width, 4 * width, 2, _project(2 * width, 4 * width))
        self.fc = nn.Linear(4 * width, classes)

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] -> (B, 4 width)."""
        x = self.bn1(self.conv1((images - self.mean) / self.std)).relu()
        return self.layer3(self.layer2(self.layer1(x))).mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.features(images))


class LargeResNet(nn.Module):
    """ResNet-18 with a 3x3 stem and no max-pooling for CIFAR, or with `tower` torchvision's ResNet-50 on pictures enlarged to 224 pixels."""

    def __init__(self, classes: int, tower: bool = False) -> None:
        super().__init__()
        _remember(self, *((IMAGENET_MEAN, IMAGENET_STD) if tower else (CIFAR_MEAN, CIFAR_STD)))
        self.side = 224 if tower else None
        self.body = ResNet(Bottleneck, [3, 4, 6, 3]) if tower else ResNet(BasicBlock, [2, 2, 2, 2])
        self.fc = nn.Linear(self.body.fc.in_features, classes)
        self.body.fc = nn.Identity()
        if not tower:
            self.body.conv1, self.body.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()

    def features(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) in [0, 1] -> (B, d)."""
        x = images if self.side is None else F.interpolate(images, self.side, mode="bilinear")
        return self.body((x - self.mean) / self.std)

    def forward(self, images: Tensor) -> Tensor:
        return self.fc(self.features(images))


def make_net(scale: str, classes: int, seed: int, *, tower: bool = False) -> nn.Module:
    """A fresh network whose weights the seed decides; `tower`: of the kind that is pretrained."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SmallResNet(classes) if scale == "smoke" else LargeResNet(classes, tower)


def imagenet_tower(classes: int) -> nn.Module:
    """Full scale's pretrained tower: torchvision's file of ResNet-50, named by the environment variable PRETRAINED, under a fresh head.

    Raises:
        FileNotFoundError: it is not there.
    """
    file = Path(os.environ.get("PRETRAINED", "data/resnet50.pth"))
    if not file.is_file():
        raise FileNotFoundError(f"{file} is not there: set PRETRAINED to torchvision's file of ResNet-50.")
    net = LargeResNet(classes, tower=True)
    state = torch.load(file, map_location="cpu", weights_only=True)
    net.body.load_state_dict({name: value for name, value in state.items() if not name.startswith("fc.")})
    return net


def _project(into: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, 1, 2, bias=False), nn.BatchNorm2d(out))


def _remember(net: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """The colours' mean and spread as buffers that are in no state dict: nobody averages them."""
    for name, value in (("mean", mean), ("std", std)):
        net.register_buffer(name, torch.tensor(value).view(1, 3, 1, 1), persistent=False)
