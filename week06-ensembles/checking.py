"""What the homework's checks run on: tiny networks and optimisers, and drivers that record what a function did."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def each(function: Callable, inputs: Sequence[Sequence]) -> list:
    """function(*one) of each of several inputs."""
    return [function(*one) for one in inputs]


# Task 1


def kept_apart(combine: Callable, states: Sequence[Mapping[str, Tensor]], *more) -> dict:
    """What combine(states, *more) returns, and the states after every number of the result was made larger by 1."""
    result = combine(states, *more)
    found = {name: tensor.clone() for name, tensor in result.items()}
    for tensor in result.values():
        tensor += 1  # in place: it is seen in every state that shares its memory
    return {"result": found, "states_afterwards": states}


# Task 4


class NormNet(nn.Module):
    """Pictures (B, 2, H, W) -> outputs (B, 3), through a BatchNorm of maps inside a body, dropout, and a BatchNorm of vectors."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.body = nn.Sequential()
        self.body.add_module("conv", nn.Conv2d(2, 4, 3, padding=1, bias=False))
        self.body.add_module("norm_maps", nn.BatchNorm2d(4))
        self.drop, self.hidden, self.norm_vectors = nn.Dropout(0.5), nn.Linear(4, 8), nn.BatchNorm1d(8)
        self.last = nn.Linear(8, 3)
        self.load_state_dict(dict(state))

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.body(x)).amax((2, 3))
        return self.last(F.relu(self.norm_vectors(self.hidden(self.drop(x)))))


def statistics_after(recalibrate: Callable, state: Mapping[str, Tensor], batches: Sequence[Tensor]) -> dict:
    """The buffers of a `NormNet` in evaluation mode after a call, by name."""
    model = NormNet(state).eval()
    torch.manual_seed(0)  # dropout asks for random numbers where it should not work
    recalibrate(model, list(batches))
    return dict(model.named_buffers())


def everything_after(
    recalibrate: Callable,
    state: Mapping[str, Tensor],
    batches: Sequence[Tensor],
    training: Mapping[str, bool],
    momenta: Mapping[str, float],
) -> dict:
    """Buffers, modes, momenta and parameters of a `NormNet` after a call, what it returned, and whether its passes built a graph.

    One parameter is frozen before the call.

    Args:
        training: name of a module ("" is the whole) -> is it in training mode?
        momenta: name of a BatchNorm layer -> its momentum.
    """
    model = NormNet(state)
    for name, mode in training.items():
        model.get_submodule(name).training = mode
    for name, momentum in momenta.items():
        model.get_submodule(name).momentum = momentum
    model.last.bias.requires_grad = False
    graphs: list[bool] = []
    handle = model.last.register_forward_hook(lambda module, given, out: graphs.append(out.requires_grad))
    torch.manual_seed(0)
    returned = recalibrate(model, (batch for batch in batches))
    handle.remove()
    same = all(p.requires_grad != (name == "last.bias") for name, p in model.named_parameters())
    return {
        "buffers": dict(model.named_buffers()),
        "modes": {name or "the whole": "train" if m.training else "eval" for name, m in model.named_modules()},
        "momenta": {name: str(model.get_submodule(name).momentum) for name in momenta},
        "parameters": [p.detach() for p in model.parameters()],
        "forward passes": "with a graph" if any(graphs) else "without a graph",
        "requires_grad": "as before" if same else "changed",
        "returned": "None" if returned is None else "something else",
    }


# Task 5


def collected(swag_collect: Callable, path: Tensor, columns: int, names: Sequence[str]) -> dict[str, dict]:
    """Some entries of the state after each row of path (steps, d); as in a training, the weights lie in one piece of memory."""
    weights, state, found = path[0].clone(), None, {}
    for t, row in enumerate(path):
        weights.copy_(row)
        state = swag_collect(state, weights, columns)
        found[f"after_vector_{t}"] = {name: state[name] for name in names if name in state}
    weights.zero_()
    return found


# Task 6


def soup_of(greedy_soup: Callable, states: Sequence[Mapping[str, Tensor]], table: Tensor) -> dict:
    """What a greedy soup chose and made, what it cost, and whether it left the nets alone.

    Args:
        states: entry "mix" of net i is 1 at i and 0 elsewhere, so the mean of some nets says which they are.
        table: (2^K,) accuracy of each set of nets; bit i stands for net i.
    """
    calls, before = [], copy.deepcopy(list(states))

    def evaluate(state: Mapping[str, Tensor]) -> float:
        calls.append(1)
        return table[sum(2**i for i, share in enumerate(state["mix"].tolist()) if share > 0)].item()

    indices, soup = greedy_soup(list(states), evaluate)
    found = {"indices": list(map(int, indices)), "state": {name: x.clone() for name, x in soup.items()}}
    for x in soup.values():
        x.zero_()  # a soup that shares memory with a net spoils it
    same = all(torch.equal(x, kept[name]) for net, kept in zip(states, before, strict=True) for name, x in net.items())
    most = 2 * len(states) - 1
    calls_text = f"at most {most} calls" if len(calls) <= most else f"{len(calls)} calls"
    return found | {"nets": "unchanged" if same else "changed", "evaluate": calls_text}


# Task 7

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "sgd": lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9, weight_decay=0.05),
    "adam": lambda groups: torch.optim.Adam(groups, lr=0.1),
}


def wrapped(Lookahead: Callable, inner: str, start: Sequence[Tensor], k: int, alpha: float) -> tuple[list, Any]:
    """Parameters, and a Lookahead over two groups of them, the second with a rate of its own."""
    params = [nn.Parameter(x.clone()) for x in start]
    groups = [{"params": params[:-1]}, {"params": params[-1:], "lr": 0.3}]
    return params, Lookahead(OPTIMIZERS[inner](groups), k, alpha)


def walk(optimizer: Any, params: list[nn.Parameter], gradients: Sequence[Sequence[Tensor | None]]) -> list[Tensor]:
    """All parameters as one vector after each step; None: a parameter gets no gradient in this step."""
    path = []
    for step in gradients:
        optimizer.zero_grad()
        for p, gradient in zip(params, step, strict=True):
            p.grad = None if gradient is None else gradient.clone()
        optimizer.step()
        path.append(torch.cat([p.detach().flatten() for p in params]))
    return path


def path_of(Lookahead: Callable, inner: str, start: Sequence[Tensor], gradients: list, k: int, alpha: float) -> dict:
    """The path (steps, d) of given gradients, and where the parameters lie; the first group's rate is halved after the first half."""
    params, optimizer = wrapped(Lookahead, inner, start, k, alpha)
    places = [p.data_ptr() for p in params]
    half = len(gradients) // 2
    path = walk(optimizer, params, gradients[:half])
    optimizer.param_groups[0]["lr"] *= 0.5
    path = torch.stack(path + walk(optimizer, params, gradients[half:]))
    kept = places == [p.data_ptr() for p in params]
    return {"path": path, "memory_of_parameters": "the same" if kept else "another"}


def closure_path(
    Lookahead: Callable, start: Sequence[Tensor], targets: Sequence[Tensor], steps: int
) -> dict[str, Tensor]:
    """What step(closure) returned, (steps,), and the path (steps, d) towards the targets."""
    params, optimizer = wrapped(Lookahead, "sgd", start, 2, 0.5)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = sum((p - target).square().sum() for p, target in zip(params, targets, strict=True))
        loss.backward()
        return loss

    losses, path = [], []
    for _ in range(steps):
        loss = optimizer.step(closure)
        losses.append(torch.as_tensor(torch.nan if loss is None else loss).detach())
        path.append(torch.cat([p.detach().flatten() for p in params]))
    return {"returned_losses": torch.stack(losses), "path": torch.stack(path)}


def resumed_path(
    Lookahead: Callable,
    inner: str,
    start: Sequence[Tensor],
    gradients: list,
    k: int,
    alpha: float,
    stop: int,
) -> Tensor:
    """The path (steps, d) of a training that is saved after `stop` steps and goes on in a new process."""
    params, optimizer = wrapped(Lookahead, inner, start, k, alpha)
    path = walk(optimizer, params, gradients[:stop])
    saved = copy.deepcopy(optimizer.state_dict())
    params, optimizer = wrapped(Lookahead, inner, [p.detach() for p in params], k, alpha)
    optimizer.load_state_dict(saved)
    return torch.stack(path + walk(optimizer, params, gradients[stop:]))


# Task 8


def equivalents(deep_ensemble_equivalent: Callable, curve: Tensor, values: Sequence[float]) -> list[float]:
    """One number per value of NLL."""
    return [deep_ensemble_equivalent(curve, nll) for nll in values]


# Bonus


def rounds_of(
    lookaround_round: Callable,
    weights: Tensor,
    momenta: Tensor,
    curvature: Tensor,
    targets: Tensor,
    rate: float,
    momentum: float,
) -> dict[str, Tensor | str]:
    """Weights and momenta after each round, and whether the given ones were left alone; head h pulls towards targets (rounds, k, heads, d) with curvature (heads, d)."""
    found, same = {}, True
    for r, target in enumerate(targets):
        gradient = lambda head, step, w, target=target: curvature[head] * (w - target[step, head])  # noqa: E731
        given, before = (weights, momenta), (weights.clone(), momenta.clone())
        weights, momenta = lookaround_round(weights, momenta, gradient, len(target), rate, momentum)
        same = same and all(map(torch.equal, given, before))
        found |= {f"weights_{r}": weights.clone(), f"momenta_{r}": momenta.clone()}
    return found | {"inputs": "unchanged" if same else "changed"}
