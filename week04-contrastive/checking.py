"""What the homework's checks run on: networks so small that they take milliseconds, and drivers that record what a function did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from helpers import mlp
from torch import Tensor, nn

from lsdl.features import Classifier


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
