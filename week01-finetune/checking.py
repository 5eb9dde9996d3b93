"""What the homework's checks run on: a CLIP so small that they take milliseconds, and statistics of random texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from helpers import Classifier, Clip, ImageTower
from torch import Tensor, nn

from lsdl.torch_tools import snapshot


@dataclass(frozen=True)
class TinyTokenizer:
    """The token numbers of TinyClip's vocabulary: as in CLIP, the end token is the largest, then the start token."""

    sot_token_id: int = 22
    eot_token_id: int = 23
    context_length: int = 10


class TinyClip(nn.Module):
    """A CLIP of 300 parameters with every part that matters for a training step: BatchNorm, projection, text tower, logit scale.

    The checks run on it, so that they take milliseconds and their references kilobytes.
    """

    def __init__(self) -> None:
        super().__init__()
        self.visual = nn.Sequential()
        self.visual.add_module("conv", nn.Conv2d(3, 4, 3, stride=2, padding=1, bias=False))
        self.visual.add_module("bn", nn.BatchNorm2d(4))
        self.visual.add_module("act", nn.ReLU())
        self.visual.add_module("pool", nn.AdaptiveAvgPool2d(1))
        self.visual.add_module("flatten", nn.Flatten())
        self.visual.add_module("proj", nn.Linear(4, 6, bias=False))
        self.token_embedding = nn.Embedding(24, 6)
        self.logit_scale = nn.Parameter(torch.tensor(2.0))

    def encode_text(self, tokens: Tensor) -> Tensor:
        """(n, 10) int64 -> (n, 6): a running mean of embeddings, read at the end token as CLIP does."""
        x = self.token_embedding(tokens).cumsum(1) / torch.arange(1, tokens.shape[1] + 1).view(1, -1, 1)
        return x[torch.arange(len(x)), tokens.argmax(1)]


def tiny_clip(state: Mapping[str, Tensor]) -> Clip:
    """TinyClip with the given parameters and buffers, in eval mode like a pretrained model that was just loaded."""
    model = TinyClip()
    model.load_state_dict(dict(state))
    model.eval()
    return Clip(model, ImageTower(model.visual, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)).eval(), TinyTokenizer())


def finetune_steps(
    finetune_step: Callable[..., float], state: Mapping[str, Tensor], head: Tensor, images: Tensor, labels: Tensor
) -> dict[str, object]:
    """Losses, and parameters and buffers after two SGD steps; the tower comes in train mode. images (2, batch, 3, 8, 8), labels (2, batch)."""
    classifier = Classifier(tiny_clip(state).tower.train(), head, 7.5)
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.05)
    losses = [finetune_step(classifier, images[k], labels[k], optimizer) for k in range(2)]
    return {"losses": losses, "state": snapshot(classifier)}


def lipsum_steps(
    lipsum_step: Callable[..., tuple[float, float]],
    state: Mapping[str, Tensor],
    head: Tensor,
    images: Tensor,
    labels: Tensor,
    texts: Tensor,
    *,
    weight: float,
) -> dict[str, object]:
    """Both terms, and parameters and buffers after two SGD steps, of the classifier and of the CLIP that it came from; texts (2, M, 10)."""
    tiny, twin = tiny_clip(state), tiny_clip(state)
    classifier = Classifier(twin.tower.train(), head, tiny.model.logit_scale.exp().item())
    optimizer = torch.optim.SGD(classifier.parameters(), lr=0.05)
    terms = [lipsum_step(classifier, tiny, images[k], labels[k], texts[k], optimizer, weight) for k in range(2)]
    return {"terms": terms, "state": snapshot(classifier), "clip": snapshot(tiny.model)}


def text_draws(
    random_texts: Callable[..., Tensor], tokenizer: Any, count: int, length: int, seed: int
) -> dict[str, object]:
    """What the homework asks of random texts as draws: by check, from two calls with `tokenizer` and one with TinyTokenizer.

    Args:
        random_texts: of the homework, (count, length, tokenizer, generator) -> (count, context_length) int64.
        tokenizer: its ids below `sot_token_id` are the ones that are drawn.
    """
    generator = torch.Generator().manual_seed(seed)
    texts = random_texts(count, length, tokenizer, generator)[:, 1 : length + 1]
    again = random_texts(count, length, tokenizer, generator)[:, 1 : length + 1]
    tiny_texts = random_texts(2000, 8, TinyTokenizer(), generator)[:, 1:9]  # ids 0 to 21, start 22, end 23
    quarter = (4 * texts.flatten() // tokenizer.sot_token_id).clamp(0, 3)  # which quarter of the ids
    repeated = int((texts == again).all(1).sum())
    return {
        "differ": {"different texts of a call": len(texts.unique(dim=0)), "texts that the next call repeats": repeated},
        "quarters": torch.bincount(quarter, minlength=4) / quarter.numel(),
        "ids": tiny_texts.unique(),
        "every_id": tiny_texts,
        "uniform": texts,
        "fresh": [texts, again],
        "rows": [texts[1:], texts[:-1]],
    }


def mix_at_ends(
    interpolate_weights: Callable[..., dict[str, Tensor]],
    start: dict[str, Tensor],
    end: dict[str, Tensor],
    alphas: Sequence[float],
) -> dict[str, object]:
    """The mixed dicts, and both inputs after the mixed ones were changed in place: they may share no memory."""
    mixed = [interpolate_weights(start, end, alpha) for alpha in alphas]
    values = [{name: value.clone() for name, value in one.items()} for one in mixed]
    for one in mixed:
        for value in one.values():
            value.add_(1)
    return {"mixed": values, "zero_shot": start, "fine_tuned": end}
