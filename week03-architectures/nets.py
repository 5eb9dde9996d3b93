"""Week 03: the networks around the blocks that the seminar writes out. About 0.2 million parameters each, for pictures of 32 pixels.

A block arrives as an argument, so that the seminar's own function is what is trained. ViT, Swin and DeiT are timm's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from timm.layers import LayerNorm2d
from timm.models.deit import VisionTransformerDistilled
from timm.models.swin_transformer import SwinTransformer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

SIZE, CLASSES = 32, 18
# at full scale the models of the papers, by timm's names
FULL = {
    "ResNet": "resnet50",
    "BiT": "resnetv2_50x1_bit",
    "ConvNeXt": "convnext_tiny",
    "Swin": "swin_tiny_patch4_window7_224",
    "ViT": "vit_small_patch16_224",
    "Mixer": "mixer_b16_224",
    "DeiT": "deit_tiny_distilled_patch16_224",
}
Norm = Callable[[int], nn.Module]


def full(name: str, classes: int) -> nn.Module:
    """A network of `FULL`, for pictures of 224 pixels, with a fresh head.

    Its weights come from the folder TIMM_WEIGHTS, as NAME.safetensors with timm's name; without one they are random.

    Raises:
        FileNotFoundError: the folder lacks the file.
    """
    more, folder = {}, os.environ.get("TIMM_WEIGHTS")
    if folder is not None:
        file = Path(folder) / f"{FULL[name]}.safetensors"
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: save the weights of timm's {FULL[name]} there.")
        more = dict(pretrained=True, pretrained_cfg_overlay=dict(file=str(file)))
    net = timm.create_model(FULL[name], num_classes=classes, **more)
    net.picture_size = 224
    if isinstance(net, VisionTransformerDistilled):
        net.set_distilled_training()
    return net


def vit(classes: int = CLASSES, **more) -> VisionTransformer:
    """64 patches of 4 x 4 pixels and a class token, width 64, four blocks of four heads."""
    sizes = dict(img_size=SIZE, patch_size=4, embed_dim=64, depth=4, num_heads=4)
    return VisionTransformer(**(sizes | more), num_classes=classes)


def deit(classes: int = CLASSES) -> VisionTransformerDistilled:
    """The same ViT with a second token and head; in training it gives both logits, in eval mode their mean."""
    net = VisionTransformerDistilled(
        img_size=SIZE, patch_size=4, embed_dim=64, depth=4, num_heads=4, num_classes=classes
    )
    net.set_distilled_training()
    return net


def swin(classes: int = CLASSES) -> SwinTransformer:
    """Patches of 2 x 2 pixels, so maps of 16, 8 and 4; two blocks on each; windows of 4 x 4, shifted by 2."""
    sizes = dict(img_size=SIZE, patch_size=2, window_size=4, embed_dim=20, depths=(2, 2, 2), num_heads=(2, 4, 8))
    return SwinTransformer(**sizes, num_classes=classes, drop_path_rate=0.0)


class Pooled(nn.Module):
    """Stages on maps (B, d, H, W), a norm, the mean over the map, a linear head."""

    def __init__(self, stages: nn.Module, norm: nn.Module, dim: int, classes: int) -> None:
        super().__init__()
        self.stages, self.norm, self.head = stages, norm, nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.stages(x)).mean((2, 3)))


def shortcut(dim_in: int, dim: int, stride: int, norm: Norm) -> nn.Module | None:
    """What makes a residual connection possible where the block changes the shape."""
    if stride == 1 and dim_in == dim:
        return None
    return nn.Sequential(nn.Conv2d(dim_in, dim, 1, stride, bias=False), norm(dim))


def resnet(classes: int = CLASSES, norm: Norm = nn.BatchNorm2d, width: int = 18) -> nn.Module:
    """He et al. 2016 for small pictures: maps of 16, 8 and 4, two basic blocks on each (torchvision's)."""
    parts, dim_in = [nn.Conv2d(3, width, 3, 2, 1, bias=False), norm(width), nn.ReLU(inplace=True)], width
    for k in range(3):
        dim, stride = width * 2**k, 1 if k == 0 else 2
        parts += [BasicBlock(dim_in, dim, stride, shortcut(dim_in, dim, stride, norm), norm_layer=norm)]
        parts += [BasicBlock(dim, dim, norm_layer=norm)]
        dim_in = dim
    net = Pooled(nn.Sequential(*parts), nn.Identity(), dim_in, classes)
    for m in net.modules():
        if isinstance(m, nn.Conv2d):
            nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
    return net


def group_norm(dim: int) -> nn.GroupNorm:
    """BiT's norm; six groups, since ours has 18 channels and not 64 or more."""
    return nn.GroupNorm(6, dim)


def bit(conv: type[nn.Conv2d], classes: int = CLASSES) -> nn.Module:
    """The ResNet with GroupNorm, and with `conv` in place of every convolution."""
    net = resnet(classes, group_norm)
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                new = conv(child.in_channels, child.out_channels, child.kernel_size, child.stride, child.padding)
                new.bias = None
                new.load_state_dict(child.state_dict())
                setattr(module, name, new)
    return net


def convnext(block: Callable[[int], nn.Module], classes: int = CLASSES, width: int = 24) -> nn.Module:
    """Patches of 2 x 2 pixels, two blocks on maps of 16, 8 and 4, a norm and a 2 x 2 convolution between (Liu et al. 2022)."""
    dims = [width * 2**k for k in range(3)]
    parts = [nn.Conv2d(3, width, 2, 2), LayerNorm2d(width)]
    for k, dim in enumerate(dims):
        if k:
            parts += [LayerNorm2d(dims[k - 1]), nn.Conv2d(dims[k - 1], dim, 2, 2)]
        parts += [block(dim), block(dim)]
    return Pooled(nn.Sequential(*parts), LayerNorm2d(dims[-1]), dims[-1], classes)


class Mixer(nn.Module):
    """64 patches of 4 x 4 pixels, four blocks, LayerNorm, the mean over tokens, a head (Tolstikhin et al. 2021)."""

    def __init__(self, block: Callable[[int, int], nn.Module], classes: int = CLASSES, dim: int = 76) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, 4)
        self.blocks = nn.Sequential(*(block((SIZE // 4) ** 2, dim) for _ in range(4)))
        self.norm, self.head = nn.LayerNorm(dim, eps=1e-6), nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(x).flatten(2).mT)).mean(1))


Attention = Callable[[Tensor, Tensor, Tensor, int, Tensor], Tensor]


class NATBlock(nn.Module):
    """Pre-norm block on (B, H, W, d): attention over kernel x kernel neighbours, an MLP of three times the width (Hassani et al. 2023).

    Args:
        attention: q, k, v (B, heads, H, W, head_dim), kernel, bias (heads, 2 kernel - 1, 2 kernel - 1) -> as q.
    """

    def __init__(self, attention: Attention, dim: int, heads: int, kernel: int) -> None:
        super().__init__()
        self.attention, self.heads, self.kernel = attention, heads, kernel
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.bias = nn.Parameter(0.02 * torch.randn(heads, 2 * kernel - 1, 2 * kernel - 1))
        self.mlp = nn.Sequential(nn.Linear(dim, 3 * dim), nn.GELU(), nn.Linear(3 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        B, H, W, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(B, H, W, 3, self.heads, -1).permute(3, 0, 4, 1, 2, 5)
        y = self.attention(q, k, v, self.kernel, self.bias)  # (B, heads, H, W, head_dim)
        x = x + self.proj(y.permute(0, 2, 3, 1, 4).reshape(B, H, W, d))
        return x + self.mlp(self.norm2(x))


class NAT(nn.Module):
    """Maps of 16, 8 and 4 by `overlapping` convolutions, two blocks on each, kernels 5, 5 and 3.

    Args:
        overlapping: (dim_in, dim) -> a module that halves the map (B, dim_in, H, W).
    """

    def __init__(self, overlapping: Callable[[int, int], nn.Module], attention: Attention, classes: int = CLASSES):
        super().__init__()
        dims, kernels, heads = (20, 40, 80), (5, 5, 3), (2, 4, 8)
        self.down = nn.ModuleList(overlapping(*pair) for pair in zip((3, 20, 40), dims, strict=True))
        self.blocks = nn.ModuleList(
            nn.Sequential(*(NATBlock(attention, *row) for _ in range(2)))
            for row in zip(dims, heads, kernels, strict=True)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(d) for d in dims)
        self.norm, self.head = nn.LayerNorm(dims[-1]), nn.Linear(dims[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        for down, norm, blocks in zip(self.down, self.norms, self.blocks, strict=True):
            x = blocks(norm(down(x).permute(0, 2, 3, 1))).permute(0, 3, 1, 2)  # (B, d, H, W)
        return self.head(self.norm(x.mean((2, 3))))


# From a ResNet to a ConvNeXt

RUNGS = (
    "basic blocks", "patchify stem", "depthwise, wider", "inverted bottleneck", "7 x 7 first",
    "GELU, one", "one norm", "LayerNorm", "own downsampling",
)  # fmt: skip
WIDTHS = (18, 18, 46, 23, 25, 25, 25, 25, 24)  # so that the FLOPs stay


class LadderBlock(nn.Module):
    """A residual block as the first `rung` changes leave it (Liu et al. 2022, section 2)."""

    def __init__(self, rung: int, dim_in: int, dim: int, stride: int) -> None:
        super().__init__()
        norm: Norm = LayerNorm2d if rung >= 7 else nn.BatchNorm2d
        wide = 4 * dim if rung >= 3 else dim
        first = (0 if rung >= 6 else 1, 0 if rung >= 5 else 1)  # norm and ReLU after the widening, ReLU after the 7 x 7
        if rung < 2:
            parts = [nn.Conv2d(dim_in, dim, 3, stride, 1, bias=False), norm(dim), nn.ReLU()]
            parts += [nn.Conv2d(dim, dim, 3, 1, 1, bias=False), norm(dim)]
        elif rung < 4:
            parts = [nn.Conv2d(dim_in, wide, 1, bias=False), norm(wide), nn.ReLU()]
            parts += [nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False), norm(wide), nn.ReLU()]
            parts += [nn.Conv2d(wide, dim, 1, bias=False), norm(dim)]
        else:
            parts = [nn.Conv2d(dim_in, dim_in, 7, stride, 3, groups=dim_in), norm(dim_in), *[nn.ReLU()] * first[1]]
            parts += [nn.Conv2d(dim_in, wide, 1), *[norm(wide) for _ in range(first[0])]]
            parts += [nn.GELU() if rung >= 5 else nn.ReLU(), nn.Conv2d(wide, dim, 1)]
            parts += [norm(dim) for _ in range(first[0])]
        self.f, self.down = nn.Sequential(*parts), shortcut(dim_in, dim, stride, norm)
        self.last = nn.Identity() if rung >= 5 else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.f(x) + (x if self.down is None else self.down(x)))


def ladder(rung: int, classes: int = CLASSES) -> nn.Module:
    """The network after the first `rung` changes of RUNGS."""
    norm: Norm = LayerNorm2d if rung >= 7 else nn.BatchNorm2d
    dim_in, width = WIDTHS[rung], WIDTHS[rung]
    stem = nn.Conv2d(3, width, 2, 2) if rung else nn.Conv2d(3, width, 3, 2, 1, bias=False)
    parts = [stem, norm(width), *([] if rung >= 5 else [nn.ReLU()])]
    for k in range(3):
        dim, stride = width * 2**k, 1 if k == 0 else 2
        if rung == len(RUNGS) - 1 and k:
            parts += [norm(dim_in), nn.Conv2d(dim_in, dim, 2, 2)]
            dim_in, stride = dim, 1
        parts += [LadderBlock(rung, dim_in, dim, stride), LadderBlock(rung, dim, dim, 1)]
        dim_in = dim
    return Pooled(nn.Sequential(*parts), norm(dim_in) if rung >= 6 else nn.Identity(), dim_in, classes)
