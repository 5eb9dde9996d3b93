"""A narrow ResNet-18 in torchvision's form: same modules, names and state-dict keys, only fewer channels."""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet


class NarrowResNet(ResNet):
    """torchvision's ResNet-18 with `width` channels in the first stage instead of 64; returns features (batch, 8 * width).

    For 32-pixel pictures the stem is a 3x3 convolution without max-pooling (as for CIFAR-10 in SimCLR, appendix B.9);
    `stem_stride` 2 makes it four times cheaper.
    """

    def __init__(self, width: int = 24, stem_stride: int = 2) -> None:
        self.width = width
        super().__init__(BasicBlock, [2, 2, 2, 2])
        self.conv1 = nn.Conv2d(3, width, 3, stem_stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = nn.Identity()
        self.fc = nn.Identity()
        self.dim = 8 * width
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")

    def _make_layer(self, block, planes: int, blocks: int, stride: int = 1, dilate: bool = False) -> nn.Sequential:
        if planes == 64:
            self.inplanes = self.width
        return super()._make_layer(block, planes * self.width // 64, blocks, stride, dilate)


def mlp(dim_in: int, hidden: int, dim_out: int, layers: int = 2, last_norm: bool = False) -> nn.Sequential:
    """Projection or prediction head: Linear-BN-ReLU blocks, a last Linear, and SimSiam's last BN if asked for."""
    parts: list[nn.Module] = []
    for _ in range(layers - 1):
        parts += [
            nn.Linear(dim_in, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
        ]
        dim_in = hidden
    parts.append(nn.Linear(dim_in, dim_out, bias=not last_norm))
    if last_norm:
        parts.append(nn.BatchNorm1d(dim_out, affine=False))
    return nn.Sequential(*parts)
