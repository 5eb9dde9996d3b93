"""Week 03: pictures, the training loop, its meter, and counted work; the networks are in nets.py."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lsdl.data import cifar10
from lsdl.data.emoji import load_emoji, normalise
from lsdl.features import mild_view, read_into

ASSETS = Path(__file__).parent / "assets"
Labelled = tuple[Tensor, Tensor]  # pictures (n, 3, S, S) uint8, classes (n,) int64
Objective = Callable[[nn.Module, Tensor, Tensor], Tensor]  # network, normalised pictures, classes -> loss


@lru_cache
def load_data(scale: str, name: str = "A", pictures: int = 0) -> Mapping[str, Labelled]:
    """Pictures by split: "train", "val" and "test" share no concept.

    Args:
        scale: at full scale CIFAR-10, the last 5,000 pictures of its training part for "val".
        name: "A": noto's pictures alone; "B": nine styles. At full scale they are the same.
        pictures: how many of "train" are kept, drawn with a fixed seed; 0: all.
    """
    if scale == "full":
        (x, y), test = cifar10.load_cifar10("train"), cifar10.load_cifar10("test")
        keep = max(1, len(x) // 10)
        splits = {"train": (x[:-keep], y[:-keep]), "val": (x[-keep:], y[-keep:]), "test": test}
    else:
        emoji = load_emoji(32).select(styles="noto" if name == "A" else None, labelled=True)
        # of the concepts for choices and tests only what no pretraining of other weeks saw
        parts = {
            part: emoji.select(part=part, held_out=None if part == "train" else True)
            for part in ("train", "val", "test")
        }
        splits = {part: (data.images, data.label) for part, data in parts.items()}
    if pictures:
        x, y = splits["train"]
        kept = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[:pictures]
        splits["train"] = x[kept], y[kept]
    return splits


# Training


def cross_entropy(net: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """The objective of all rows but DeiT's."""
    return F.cross_entropy(net(x), y)


def train(
    net: nn.Module,
    data: Labelled,
    pictures: int,
    *,
    lr: float,
    batch_size: int = 64,
    micro: int = 0,
    weight_decay: float = 0.05,
    seed: int = 0,
    augment: bool = True,
    objective: Objective = cross_entropy,
    device: torch.device | str = "cpu",
    every: int = 20,
    progress: Callable[[int, float], None] | None = None,
) -> dict:
    """Train in place: AdamW with decay on matrices only, warm-up over a tenth of the steps, cosine; the last step counts.

    Args:
        pictures: how many are seen, whatever the size of the data.
        micro: pictures per forward pass; their gradients are accumulated to a batch. 0: the whole batch at once.
        augment: one mild random view of each picture, or the picture as drawn.
        every: steps between two entries of the log.

    Returns:
        "step" and "loss" (mean since the last entry), lists; "steps", "pictures", "seconds" per step.
    """
    images, labels = data
    generator, steps = torch.Generator().manual_seed(seed), max(1, pictures // batch_size)
    net.to(device, memory_format=torch.channels_last).train()
    matrices, vectors = ([p for p in net.parameters() if (p.ndim > 1) == many] for many in (True, False))
    groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr)
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: schedule(step, steps))
    log: dict = {"step": [], "loss": []}
    order, found, started = torch.empty(0, dtype=torch.long), [], time.perf_counter()
    for step in range(steps):
        if len(order) < batch_size:  # a new epoch follows what is left of the old one
            more = [torch.randperm(len(images), generator=generator) for _ in range(1 + batch_size // len(images))]
            order = torch.cat([order, *more])
        index, order = order[:batch_size], order[batch_size:]
        x = sized(net, mild_view(images[index], generator) if augment else normalise(images[index]))
        x, y = x.to(device, memory_format=torch.channels_last), labels[index].to(device)
        optimizer.zero_grad()
        total = 0.0
        for part, target in zip(x.split(micro or batch_size), y.split(micro or batch_size), strict=True):
            with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
                loss = objective(net, part, target) * (len(part) / len(x))
            loss.backward()
            total += loss.item()
        optimizer.step()
        rate.step()
        found.append(total)
        if (step + 1) % every == 0 or step + 1 == steps:
            log["step"].append(step + 1)
            log["loss"].append(round(sum(found) / len(found), 4))
            found = []
            if progress is not None:
                progress(step + 1, log["loss"][-1])
    net.eval()
    return log | {"steps": steps, "pictures": steps * batch_size, "seconds": (time.perf_counter() - started) / steps}


def schedule(step: int, steps: int) -> float:
    """The share of the learning rate in a step: linear warm-up over a tenth, then half a cosine."""
    warmup = max(1, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


def sized(net: nn.Module, x: Tensor) -> Tensor:
    """The pictures (n, 3, S, S) in the size that a network of full scale wants; others take them as they are."""
    size = getattr(net, "picture_size", x.shape[-1])
    return x if x.shape[-1] == size else F.interpolate(x, (size, size), mode="bicubic", align_corners=False)


@torch.no_grad()
def logits(net: nn.Module, images: Tensor) -> Tensor:
    """(n, classes) float32 on the CPU, of pictures (n, 3, S, S) uint8; the network is left in eval mode."""
    net.eval()
    device = next(net.parameters()).device
    return torch.cat([net(sized(net, normalise(x.to(device)))).float().cpu() for x in images.split(250)])


def scores(net: nn.Module, splits: Mapping[str, Labelled], most: int = 1000) -> dict[str, float]:
    """Accuracy in percent by split, of "train" on at most its first `most` pictures, as drawn; "val loss"."""
    row = {}
    for name, (x, y) in splits.items():
        z = logits(net, x[:most] if name == "train" else x)
        row[name] = 100 * (z.argmax(1) == y[: len(z)]).float().mean().item()
        if name == "val":
            row["val loss"] = F.cross_entropy(z, y).item()
    return row


def committed(name: str, net: nn.Module) -> nn.Module:
    """The network with the weights of assets/NAME.safetensors, in eval mode."""
    read_into(net, ASSETS / f"{name}.safetensors")
    return net


# Counted work


def parameters(net: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(p.numel() for p in net.parameters())


def flops(run: Callable[..., object], *inputs: Tensor) -> int:
    """Floating-point operations of matrix products and convolutions in a forward pass: two per multiply-add."""
    # the CPU's fused attention is not counted, so it is taken apart
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        run(*inputs)
    return counter.get_total_flops()


@torch.no_grad()
def attention_maps(net: nn.Module, images: Tensor) -> Tensor:
    """What the class token of timm's ViT looks at in the last block: (n, heads, rows, columns) weights of pictures (n, 3, S, S) uint8."""
    attention, found = net.blocks[-1].attn, []
    hook = attention.attn_drop.register_forward_hook(lambda module, given, weights: found.append(weights))
    fused, attention.fused_attn = attention.fused_attn, False  # the fused form keeps no weights
    logits(net, images)
    attention.fused_attn = fused
    hook.remove()
    weights = torch.cat(found)[:, :, 0, net.num_prefix_tokens :]  # (n, heads, patches)
    return weights.unflatten(2, net.patch_embed.grid_size)
