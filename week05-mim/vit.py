"""Week 05: the vision transformer, the parts of MAE's decoder, DINO's head, and patches as rows of numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block, VisionTransformer
from torch import Tensor, nn

__all__ = ["Decoder", "ViT", "head", "make_vit", "sincos", "to_images", "to_patches"]


def sincos(rows: int, columns: int, width: int) -> Tensor:
    """Fixed positions (1 + rows columns, width), zeros for the class token (MAE, appendix A.1); the width is a multiple of four."""
    return torch.cat([torch.zeros(1, width), build_sincos2d_pos_embed([rows, columns], width)])


class ViT(VisionTransformer):
    """timm's vision transformer with fixed positions: normalised pictures (B, 3, S, S) -> features (B, width).

    Attributes:
        read: "mean" of the patch tokens or the "class" token.
        grid: rows and columns of patches, L = grid ** 2.
    """

    def __init__(self, size: int, patch: int, width: int, depth: int, heads: int, read: str = "mean") -> None:
        super().__init__(
            img_size=size,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            num_classes=0,
            dynamic_img_size=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )
        self.read, self.patch, self.grid = read, patch, size // patch
        self.pos_embed = nn.Parameter(sincos(self.grid, self.grid, width)[None], requires_grad=False)

    def embed_patches(self, images: Tensor) -> Tensor:
        """Tokens (B, L, width) of the patches, without positions."""
        return self.patch_embed(images).flatten(1, 2)

    def encode(self, x: Tensor) -> Tensor:
        """Tokens (B, K, width) that have their positions -> (B, 1 + K, width), the class token first."""
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(x), -1, -1)
        return self.norm(self.blocks(torch.cat([first, x], 1)))

    def forward(self, images: Tensor) -> Tensor:
        x = self.forward_features(images)  # (B, 1 + L, width); pictures of another size: resized positions
        return x[:, 0] if self.read == "class" else x[:, 1:].mean(1)


def make_vit(settings: Mapping[str, Any], read: str = "mean") -> ViT:
    """A fresh network with the sizes of settings.toml."""
    return ViT(*(settings[name] for name in ("size", "patch", "width", "depth", "heads")), read=read)


class Decoder(nn.Module):
    """The parts of MAE's decoder: `narrow` (width -> own width), `mask_token`, `positions`, `blocks` with a last norm, `draw` (own width -> 3 p^2)."""

    def __init__(self, encoder: ViT, width: int, depth: int, heads: int) -> None:
        super().__init__()
        self.narrow = nn.Linear(encoder.embed_dim, width)
        self.mask_token = nn.Parameter(0.02 * torch.randn(width))
        self.register_buffer("positions", sincos(encoder.grid, encoder.grid, width), persistent=False)
        norm = partial(nn.LayerNorm, eps=1e-6)
        blocks = [Block(width, heads, qkv_bias=True, norm_layer=norm) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks, norm(width))
        self.draw = nn.Linear(width, 3 * encoder.patch**2)


def head(width: int, hidden: int, bottleneck: int, codes: int) -> nn.Sequential:
    """DINO's head: three layers with GELU, unit length, and a last layer whose rows have unit length (Caron et al. 2021, appendix C)."""
    last = nn.utils.parametrizations.weight_norm(nn.Linear(bottleneck, codes, bias=False))
    last.parametrizations.weight.original0.data.fill_(1)
    last.parametrizations.weight.original0.requires_grad = False
    layers = nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, bottleneck)
    for layer in layers[::2]:
        nn.init.trunc_normal_(layer.weight, std=0.02)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers, UnitLength(), last)


class UnitLength(nn.Module):
    """x / |x| along the last dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


def to_patches(images: Tensor, patch: int) -> Tensor:
    """(B, 3, S, S) -> (B, L, 3 p^2), patches row by row; within a patch channel, row, column, as `F.unfold` reads."""
    return F.unfold(images, patch, stride=patch).transpose(1, 2)


def to_images(patches: Tensor, patch: int) -> Tensor:
    """The inverse of `to_patches`."""
    size = patch * math.isqrt(patches.shape[1])
    return F.fold(patches.transpose(1, 2), size, patch, stride=patch)
