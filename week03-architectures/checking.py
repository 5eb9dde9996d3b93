"""What the homework is given, and what its checks run on: a network of workers in a ring, tiny scripts of training, and drivers that record what a function did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def part_of(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}


def depth_of(state: Mapping[str, Tensor]) -> int:
    """The number of blocks of a ViT's state dict."""
    return len({name.split(".")[1] for name in state if name.startswith("blocks.")})


def linear(x: Tensor, state: Mapping[str, Tensor], name: str) -> Tensor:
    """x W^T + b with the weight and the bias of that name in a state dict."""
    return F.linear(x, state[f"{name}.weight"], state[f"{name}.bias"])


def norm(x: Tensor, state: Mapping[str, Tensor], name: str, eps: float) -> Tensor:
    """LayerNorm over the last axis with the weight and the bias of that name."""
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"], eps)


def cut(x: Tensor, window: tuple[int, int]) -> Tensor:
    """Maps (B, H, W, C), sides multiples of the window's -> windows (B, n, T, C); windows and tokens row by row."""
    x = x.unflatten(2, (-1, window[1])).unflatten(1, (-1, window[0]))  # (B, rows, w_h, columns, w_w, C)
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def fresh_vit(
    dim: int, depth: int, classes: int, *, patch: tuple[int, int], positions: int, generator: torch.Generator
) -> dict[str, Tensor]:
    """Parameters of a new ViT under timm's names, but cls_token (dim,) and pos_embed (positions, dim); they all require gradients."""
    shapes: dict[str, tuple[int, ...]] = {"patch_embed.proj.weight": (dim, 3, *patch), "head.weight": (classes, dim)}
    for b in range(depth):
        shapes |= {
            f"blocks.{b}.{name}.weight": shape
            for name, shape in {
                "norm1": (dim,),
                "attn.qkv": (3 * dim, dim),
                "attn.proj": (dim, dim),
                "norm2": (dim,),
                "mlp.fc1": (4 * dim, dim),
                "mlp.fc2": (dim, 4 * dim),
            }.items()
        }
    shapes["norm.weight"] = (dim,)
    state = {"cls_token": torch.zeros(dim), "pos_embed": 0.02 * torch.randn(positions, dim, generator=generator)}
    for name, shape in shapes.items():
        fan_in = torch.Size(shape[1:]).numel()
        state[name] = torch.ones(shape) if len(shape) == 1 else torch.randn(shape, generator=generator) / fan_in**0.5
        state[name.replace("weight", "bias")] = torch.zeros(shape[0])
    return {name: value.requires_grad_() for name, value in state.items()}


def refusal(function: Callable, *inputs) -> str:
    """The kind of error that a call ends with, "no error" if there is none."""
    try:
        function(*inputs)
    except NotImplementedError:  # the stub
        raise
    except Exception as error:  # whatever kind it is
        return type(error).__name__
    return "no error"


def gradients_of(loss: Callable[..., Tensor], *inputs: Tensor | float | str) -> list[Tensor]:
    """Gradients of `loss(*inputs)` with respect to the floating-point tensors among its inputs; zeros where none flows."""
    leaves = [x.requires_grad_() if isinstance(x, Tensor) and x.is_floating_point() else x for x in inputs]
    tensors = [x for x in leaves if isinstance(x, Tensor) and x.requires_grad]
    (loss(*leaves) + 0 * sum(x.sum() for x in tensors)).backward()
    return [x.grad for x in tensors]


def vit_gradients(
    vit: Callable, tokens: Tensor, state: Mapping[str, Tensor], heads: int, valid: Tensor, labels: Tensor | None
) -> dict[str, Tensor]:
    """Gradients of the cross-entropy (without labels: of the class row's squares) with respect to tokens and two weights."""
    names = ("blocks.0.attn.qkv.weight", "norm.weight")
    leaves = {"tokens": tokens} | {name: state[name] for name in names}
    for leaf in leaves.values():
        leaf.requires_grad_()
    logits, row = vit(tokens, state, heads, valid)
    loss = row.square().sum() if labels is None else F.cross_entropy(logits, labels)
    (loss + 0 * sum(leaf.sum() for leaf in leaves.values())).backward()
    return {name: leaf.grad for name, leaf in leaves.items()}


def window_starts(neighborhood_attention: Callable, size: Sequence[int], kernel: int) -> Tensor:
    """Row and column (H, W, 2) at which the window of each query starts: read off from values that are coordinates, and equal weights."""
    coordinates = torch.stack(torch.meshgrid(*map(torch.arange, size), indexing="ij"), -1).float()[None, None]
    zeros = torch.zeros_like(coordinates)
    return neighborhood_attention(zeros, zeros, coordinates, kernel, None)[0, 0] - (kernel - 1) / 2


class RingNetwork:
    """A ring of n workers that carries one message per worker and step.

    Attributes:
        gain: what arrives is this times what was sent.
        log: for every step, how many numbers each worker sent.
    """

    def __init__(self, n: int, gain: float = 1.0) -> None:
        self.n, self.gain, self.log = n, gain, []

    def send(self, messages: Sequence[Tensor]) -> list[Tensor]:
        """One step. messages[r] goes from worker r to worker r + 1, the last one's to worker 0.

        Returns:
            What each worker received, as copies.

        Raises:
            ValueError: there is not one message per worker.
        """
        if len(messages) != self.n:
            raise ValueError(f"{self.n} workers send one message each, {len(messages)} came.")
        self.log.append([message.numel() for message in messages])
        return [self.gain * messages[r - 1] for r in range(self.n)]


def reduced(ring_all_reduce: Callable, buffers: Sequence[Tensor], gain: float = 1.0) -> dict[str, list[Tensor]]:
    """The workers' results, and their buffers after the call; with another gain than 1 no sum, but it shows what went over the network."""
    buffers = [buffer.clone() for buffer in buffers]
    return {"results": ring_all_reduce(buffers, RingNetwork(len(buffers), gain)), "buffers": buffers}


def sent(ring_all_reduce: Callable, buffers: Sequence[Tensor]) -> dict[str, list]:
    """How many numbers each worker sent in each step, and in all steps."""
    network = RingNetwork(len(buffers))
    ring_all_reduce([buffer.clone() for buffer in buffers], network)
    return {"steps": network.log, "workers": [sum(sizes) for sizes in zip(*network.log, strict=True)]}


def run_script(
    LossScaler: Callable, weights: Tensor, gradients: Tensor, settings: Mapping[str, float], clip: float | None = None
) -> dict:
    """Train by a script: in each step it is given what the gradients are.

    Args:
        weights: (2, n), those of SGD with momentum and of AdamW, whose decays are not 0. SGD has two groups with one half each.
        gradients: (steps, 2, n), of the unscaled loss; they may hold inf and nan.
        settings: of the loss scaler.
        clip: SGD's gradients are unscaled, then clipped to this norm.

    Returns:
        The scale after each step, the weights after the last, and what the optimisers keep.
    """
    scaler = LossScaler(**settings)
    halves = [nn.Parameter(half.clone()) for half in weights[0].chunk(2)]
    second = nn.Parameter(weights[1].clone())
    unused = nn.Parameter(torch.ones(1))  # it never has a gradient
    groups = [{"params": [unused, halves[0]]}, {"params": [halves[1]]}]
    sgd = torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.1)
    adamw = torch.optim.AdamW([second], lr=0.1, weight_decay=0.1)
    scales = []
    for one, two in gradients:
        sgd.zero_grad()
        adamw.zero_grad()
        scaler.scale((torch.cat(halves) * one).sum() + (second * two).sum()).backward()
        if clip is not None:
            scaler.unscale_(sgd)
            nn.utils.clip_grad_norm_(halves, clip)
        scaler.step(sgd)
        scaler.step(adamw)
        scaler.update()
        scales.append(scaler.get_scale())
    kept = adamw.state[second]
    return {
        "scales": scales,
        "weights": [p.detach() for p in (*halves, second)],
        "momentum": [
            *(sgd.state[half].get("momentum_buffer") for half in halves),
            kept.get("exp_avg"),
            kept.get("exp_avg_sq"),
        ],
        "steps": float(kept.get("step", 0)),
    }


def scales_of(LossScaler: Callable, weights: Tensor, gradients: Tensor, settings: Mapping[str, float]) -> list[float]:
    """The scale after each step of a script."""
    return run_script(LossScaler, weights, gradients, settings)["scales"]


def unscaled(LossScaler: Callable, weight: Tensor, gradient: Tensor) -> dict:
    """Gradients after `unscale_`, and what a second call in the same step ends with."""
    scaler, parameter = LossScaler(init_scale=8.0), nn.Parameter(weight.clone())
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    scaler.scale((parameter * gradient).sum()).backward()
    scaler.unscale_(optimizer)
    return {"gradient": parameter.grad.clone(), "again": refusal(scaler.unscale_, optimizer)}
