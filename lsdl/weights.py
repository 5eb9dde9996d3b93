"""Weights that somebody else trained, checked against the network that they are meant for before anything computes with them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

MAX_BYTES = 8_000_000


class BadWeights(ValueError):
    """These are no weights of that network; the message is one sentence that says what is wrong."""


def read_weights(state: Mapping[str, Tensor], like: nn.Module, max_bytes: int = MAX_BYTES) -> dict[str, Tensor]:
    """The weights as `like.load_state_dict` takes them: copies on the CPU in the number formats that `like` has.

    Args:
        state: name -> tensor, from whoever trained the network; floating-point numbers of any precision.
        like: a network that we built; its own numbers do not count.
        max_bytes: of all tensors together.

    Raises:
        BadWeights: other names or shapes than those of `like`, integers for floating-point numbers or the reverse, a number that is
            not finite in the network's format, or too many bytes.
    """
    wanted = like.state_dict()
    if missing := sorted(wanted.keys() - state.keys()):
        raise BadWeights(f"The weights lack {_names(missing)}: save the state_dict of the whole network.")
    if more := sorted(map(str, state.keys() - wanted.keys())):
        raise BadWeights(f"The weights hold {_names(more)}, which the network does not have.")
    if (size := sum(value.numel() * value.element_size() for value in state.values())) > max_bytes:
        raise BadWeights(f"The weights have {size / 1e6:.1f} MB, at most {max_bytes / 1e6:g} MB are allowed.")
    return {name: _read(name, state[name], value) for name, value in wanted.items()}


def _read(name: str, came: Tensor, wanted: Tensor) -> Tensor:
    if came.shape != wanted.shape:
        raise BadWeights(f"{name} has the shape {tuple(came.shape)}, the network has {tuple(wanted.shape)} there.")
    if _kind(came) != _kind(wanted):
        raise BadWeights(f"{name} holds {_kind(came)}, the network has {_kind(wanted)} there.")
    value = came.detach().to("cpu", wanted.dtype, copy=True)
    if not torch.isfinite(value).all():
        raise BadWeights(f"{name} holds a number that is not finite (NaN or infinity): the training diverged.")
    return value


def _kind(tensor: Tensor) -> str:
    if tensor.is_complex():
        return "complex numbers"
    return "floating-point numbers" if tensor.is_floating_point() else "integers"


def _names(names: list[str]) -> str:
    """At most three of them."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
