"""What the homework's checks run on: a CLIP so small that they take milliseconds, and statistics of random texts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from helpers import Clip, ImageTower
from torch import Tensor, nn


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


def chi_square(tokens: Tensor, *, below: int, bins: int) -> float:
    """Pearson's chi-square statistic of integers in [0, below) against the uniform distribution, in `bins` equal bins."""
    index = (tokens.flatten().clamp(0, below - 1) * bins) // below
    edges = (torch.arange(bins + 1) * below + bins - 1) // bins  # first integer of every bin
    expected = (edges[1:] - edges[:-1]) / below * index.numel()
    return ((torch.bincount(index, minlength=bins) - expected) ** 2 / expected).sum().item()


def text_statistics(
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
    start = tokenizer.sot_token_id
    quarter = (4 * texts.flatten() // start).clamp(0, 3)  # which quarter of the ids
    return {
        "differ": {
            "texts of a call differ": not torch.equal(texts[0], texts[1]),
            "calls differ": not torch.equal(texts, again),
        },
        "quarters": torch.bincount(quarter, minlength=4) / quarter.numel(),
        "ids": tiny_texts.unique(),
        "every_id": chi_square(tiny_texts, below=TinyTokenizer.sot_token_id, bins=TinyTokenizer.sot_token_id),
        "uniform": chi_square(texts, below=start, bins=64),
        "fresh": (texts == again).float().mean(),
        "rows": (texts[1:] == texts[:-1]).float().mean(),
    }
