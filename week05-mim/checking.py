"""What the homework's checks run on: a tiny network for DINO's step, and drivers that record what a function did."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def refusal(function: Callable, *inputs) -> str:
    """The kind of error that a call ends with, "no error" if there is none."""
    try:
        function(*inputs)
    except NotImplementedError:  # the stub
        raise
    except Exception as error:  # whatever kind it is
        return type(error).__name__
    return "no error"


def gradients_of(loss: Callable, leaves: int, *inputs) -> list[Tensor]:
    """The loss and its gradients with respect to the first inputs, `leaves` of them, which are changed; zeros where none flows.

    Args:
        loss: it may return more than the loss, which comes first.
    """
    tensors = [x.requires_grad_() for x in inputs[:leaves]]
    found = loss(*inputs)
    found = found[0] if isinstance(found, tuple) else found
    (found + 0 * sum(x.sum() for x in tensors)).backward()
    return [found.detach(), *(x.grad for x in tensors)]


def centres(update_centre: Callable, centre: Tensor, outputs: Tensor, momentum: float) -> list[Tensor]:
    """The centre (K,) after each update; outputs (updates, 2, B, K)."""
    found = []
    for pair in outputs:
        centre = update_centre(centre, list(pair), momentum)
        found.append(centre)
    return found


def masks_of(block_mask: Callable, size: Sequence[int], seeds: Sequence[int]) -> Tensor:
    """One mask per seed, (seeds, rows, columns) bool; size: rows, columns, count and least."""
    return torch.stack([block_mask(*size, random.Random(seed)) for seed in seeds])


class Tiny(nn.Module):
    """Views (B, 1, S, S) of any size -> outputs (B, 3), with a buffer and a last layer."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.body, self.last = nn.Linear(4, 5), nn.Linear(5, 3, bias=False)
        self.register_buffer("scale", torch.ones(1))
        self.load_state_dict(dict(state))

    def forward(self, view: Tensor) -> Tensor:
        return self.last(torch.tanh(self.body(F.adaptive_avg_pool2d(view, 2).flatten(1)) * self.scale))


def squares(student: Sequence[Tensor], teacher: Sequence[Tensor], centre: Tensor) -> Tensor:
    """A loss for the step alone: mean squared distance of all student outputs from all teacher outputs less the centre."""
    return torch.stack([(s - (t - centre)).square().mean() for s in student for t in teacher]).mean()


def halfway(centre: Tensor, teacher: Sequence[Tensor]) -> Tensor:
    """A rule for the centre, for the step alone: half of the way to the mean output."""
    return (centre + torch.cat(list(teacher)).mean(0)) / 2


def stepped(
    dino_step: Callable,
    states: Sequence[Mapping[str, Tensor]],
    batches: Sequence[Sequence[Tensor]],
    centre: Tensor,
    momenta: Sequence[float],
) -> dict:
    """Three steps of SGD with momentum and weight decay, in the first of which the last layer is frozen.

    Args:
        states: of the student and the teacher, two `Tiny`.
        batches: per step the views, of different sizes.
        momenta: per step, of the teacher.

    Returns:
        Losses, centres, and per step the parameters of both networks; then the teacher's gradients and buffer.
    """
    student, teacher = (Tiny(state) for state in states)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.3, momentum=0.9, weight_decay=0.1)
    found: dict = {"losses": [], "centres": [], "student": [], "teacher": []}
    for k, (views, m) in enumerate(zip(batches, momenta, strict=True)):
        loss, centre = dino_step(student, teacher, optimizer, list(views), centre, m, squares, halfway, k == 0)
        found["losses"].append(loss)
        found["centres"].append(centre)
        for name, network in (("student", student), ("teacher", teacher)):
            found[name].append([p.detach().clone() for p in network.parameters()])
    return found | {"gradients": [p.grad for p in teacher.parameters()], "buffer": teacher.scale}
