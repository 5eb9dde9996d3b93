"""What the homework's checks run on: tiny networks, and drivers that record what a function did."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from lsdl.features import NarrowResNet


def refusal(function: Callable, *inputs) -> str:
    """The kind of error that a call ends with, "no error" if there is none."""
    try:
        function(*inputs)
    except NotImplementedError:  # the stub
        raise
    except Exception as error:  # whatever kind it is
        return type(error).__name__
    return "no error"


def gradient(loss: Callable[..., Tensor], x: Tensor, *others) -> Tensor:
    """Gradient of `loss(x, *others)` with respect to x; zeros where none flows."""
    x = x.detach().clone().requires_grad_()
    (loss(x, *others) + 0 * x.sum()).backward()
    return x.grad


def band_weights(inpainting_loss: Callable, images: Tensor, hole: Tensor, overlap: int, weight: float) -> Tensor:
    """The weight of every element (B, C, H, W), over the mean weight of the hidden ones: read off from the gradient where every error is 1/2."""
    found = gradient(lambda x: inpainting_loss(x, images, hole, overlap, weight), images + 0.5)
    return found / found[hole.expand_as(found)].mean()


def tiny_trunk() -> NarrowResNet:
    """A trunk of one channel in the first stage, 3 x S x S -> 8 features."""
    return NarrowResNet(1)


def loaded(competition_model: Callable, pretrained: Mapping[str, Tensor], classes: int) -> dict:
    """The tensors of a model's trunk by name, the shape of its head, whether that is the pretext head, and what is trained."""
    torch.manual_seed(0)  # a trunk that was not loaded is at least the same one each time
    model = competition_model(dict(pretrained), classes, tiny_trunk)
    state = model.state_dict()
    return {
        "trunk": {name: value for name, value in state.items() if not name.startswith("fc.")},
        "fc": {name: list(value.shape) for name, value in state.items() if name.startswith("fc.")},
        "pretext head": torch.equal(model.fc.weight[: len(pretrained["head.weight"])], pretrained["head.weight"]),
        "not trained": [name for name, p in model.named_parameters() if not p.requires_grad],
    }


@torch.no_grad()
def features_of(competition_model: Callable, pretrained: Mapping[str, Tensor], classes: int, images: Tensor) -> Tensor:
    """What enters the head of a model in eval mode: features (n, 8) of pictures (n, 3, 8, 8)."""
    torch.manual_seed(0)
    model = competition_model(dict(pretrained), classes, tiny_trunk).eval()
    model.fc = nn.Identity()
    return model(images)


def tiny_classifier(state: Mapping[str, Tensor] | None = None) -> nn.Sequential:
    """3 x 8 x 8 -> 3 logits, with BatchNorm; in eval mode, like a model that was just loaded."""
    parts = [nn.Conv2d(3, 5, 3, 2, 1, bias=False), nn.BatchNorm2d(5), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()]
    model = nn.Sequential(*parts, nn.Linear(20, 3))
    if state is not None:
        model.load_state_dict(dict(state))
    return model.eval()


def trained(finetune: Callable, state: Mapping[str, Tensor], images: Tensor, labels: Tensor, settings: Mapping) -> dict:
    """Losses and whether they are floats, parameters and running statistics of a tiny classifier that SGD trained, and its mode at the end; settings: lr and those of `finetune`."""
    model, rest = tiny_classifier(state), dict(settings)
    losses = finetune(model, (images, labels), partial(torch.optim.SGD, lr=rest.pop("lr")), **rest)
    kept = {k: v.detach() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    floats = all(isinstance(loss, float) for loss in losses)
    return {"losses": losses, "floats": floats, "state": kept, "train mode": model.training}


def numbered(context_draws: Callable, count: int, size: int, tile: int, gap: int, jitter: int, seed: int) -> Tensor:
    """One number for each draw, which holds corner, place and both jitters; -1 where one of them is impossible. All numbers are equally likely."""
    draws = context_draws(count, size, tile, gap, jitter, torch.Generator().manual_seed(seed))
    pitch, number, wrong = tile + gap, torch.zeros(count, dtype=torch.int64), torch.zeros(count, dtype=torch.bool)
    lows, ranges = (pitch, 0, -jitter), (size - tile - 2 * pitch + 1, 8, 2 * jitter + 1)
    for values, low, many in zip(draws, lows, ranges, strict=True):
        for column in (values.reshape(count, -1) - low).unbind(1):
            number, wrong = number * many + column, wrong | (column < 0) | (column >= many)
    return torch.where(wrong, -1, number)


def smallest(context_draws: Callable, count: int, tile: int, gap: int) -> dict:
    """Draws without jitter for the smallest picture that has room for all eight neighbours, and for one that is a pixel smaller; whether a seed repeats its draws."""
    size, generator = 3 * tile + 2 * gap, torch.Generator().manual_seed(0)
    corners, places, jitters = context_draws(count, size, tile, gap, 0, generator)
    _, again, _ = context_draws(count, size, tile, gap, 0, torch.Generator().manual_seed(0))
    refused = refusal(partial(context_draws, count, size - 1, tile, gap, 0), generator)
    repeated = torch.equal(places, again)
    return {
        "corners": corners,
        "places": list(places.shape),
        "jitters": jitters,
        "too small": refused,
        "repeated": repeated,
    }
