"""Batched image augmentations: one call transforms a whole batch on any device, each picture with its own random numbers.

A per-picture pipeline of pillow transforms costs more than a training step of the small models here; these cost a few
milliseconds a batch. Random numbers come from an explicit generator, so a run can be repeated.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma, as torchvision's rgb_to_grayscale


def _uniform(
    shape: tuple[int, ...], low: float, high: float, generator: torch.Generator | None, like: Tensor
) -> Tensor:
    return torch.empty(shape, dtype=like.dtype).uniform_(low, high, generator=generator).to(like.device)


def random_affine(
    images: Tensor,
    *,
    degrees: float = 15.0,
    scale: tuple[float, float] = (0.8, 1.1),
    translate: float = 0.1,
    flip: float = 0.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Rotate, scale, shift and mirror every picture on its own.

    Args:
        images: (batch, 3, height, width) float, the background white (1.0): what comes in from outside is white.
        degrees: largest rotation to either side.
        scale: range of the zoom factor; under 1 the picture shrinks, over 1 it is cropped.
        translate: largest shift to either side, as a share of the side length.
        flip: probability of mirroring left and right.
        generator: CPU generator of the random numbers; None for the global one.

    Returns:
        (batch, 3, height, width) float, same range.
    """
    n = len(images)
    angle = _uniform((n,), -degrees, degrees, generator, images) * (math.pi / 180)
    inverse_scale = 1 / _uniform((n,), *scale, generator, images)
    mirror = 1 - 2 * (_uniform((n,), 0, 1, generator, images) < flip).to(images.dtype)
    shift = 2 * _uniform((n, 2), -translate, translate, generator, images)
    cos, sin = torch.cos(angle) * inverse_scale, torch.sin(angle) * inverse_scale
    rows = [torch.stack([cos * mirror, -sin, shift[:, 0]], 1), torch.stack([sin * mirror, cos, shift[:, 1]], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    # grid_sample pads with 0, so sample the inverted picture: white ground becomes 0
    return 1 - F.grid_sample(1 - images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def random_resized_crop(
    images: Tensor,
    *,
    area: tuple[float, float] = (0.3, 1.0),
    flip: float = 0.5,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Crop a random part of every picture and resize it to the full size (torchvision's RandomResizedCrop, batched).

    Args:
        images: (batch, 3, height, width) float.
        area: range of the crop's share of the area; the aspect ratio is log-uniform in [3/4, 4/3].
        flip: probability of mirroring left and right.
        generator: CPU generator of the random numbers; None for the global one.

    Returns:
        (batch, 3, height, width) float, same range.
    """
    n = len(images)
    share = _uniform((n,), *area, generator, images)
    ratio = torch.exp(_uniform((n,), math.log(3 / 4), math.log(4 / 3), generator, images))
    width = (share * ratio).sqrt().clamp(max=1)
    height = (share / ratio).sqrt().clamp(max=1)
    centre_x = _uniform((n,), -1, 1, generator, images) * (1 - width)
    centre_y = _uniform((n,), -1, 1, generator, images) * (1 - height)
    mirror = 1 - 2 * (_uniform((n,), 0, 1, generator, images) < flip).to(images.dtype)
    zero = torch.zeros_like(width)
    theta = torch.stack([torch.stack([width * mirror, zero, centre_x], 1), torch.stack([zero, height, centre_y], 1)], 1)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def random_colour(
    images: Tensor,
    *,
    strength: float = 0.3,
    grey: float = 0.1,
    swap: float = 0.0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Change brightness, contrast, saturation and colour balance of every picture on its own.

    Args:
        images: (batch, 3, height, width) float in [0, 1].
        strength: factors are uniform in [1 - strength, 1 + strength].
        grey: probability of turning a picture grey (as in SimCLR).
        swap: probability of permuting the colour channels at random: a strong hue change that needs no HSV conversion.
        generator: CPU generator of the random numbers; None for the global one.

    Returns:
        (batch, 3, height, width) float in [0, 1].
    """
    n = len(images)
    factors = _uniform((4, n, 1, 1, 1), 1 - strength, 1 + strength, generator, images)
    balance = _uniform((n, 3, 1, 1), 1 - strength / 2, 1 + strength / 2, generator, images)
    if swap:
        order = torch.argsort(_uniform((n, 3), 0, 1, generator, images), dim=1)[:, :, None, None].expand_as(images)
        chosen = _uniform((n, 1, 1, 1), 0, 1, generator, images) < swap
        images = torch.where(chosen, images.gather(1, order), images)
    luma = images.new_tensor(GREY).view(1, 3, 1, 1)
    luminance = (images * luma).sum(1, keepdim=True)
    is_grey = (_uniform((n, 1, 1, 1), 0, 1, generator, images) < grey).to(images.dtype)
    saturation = factors[0] * (1 - is_grey)
    images = luminance + saturation * (images - luminance)
    mean = images.mean((1, 2, 3), keepdim=True)
    images = (mean + factors[1] * (images - mean)) * factors[2] * (1 - is_grey + is_grey / balance) * balance
    return images.clamp(0, 1)
