"""Week 04's losses beside lightly's: same input, same result, time of the library over ours (`make bench`).

A ratio over 1 means that the course's code is faster. Forward and backward, one thread; each time is the best of several runs.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss

from lsdl.author.ratios import compare

WEEK = Path(__file__).resolve().parents[1]


def main() -> None:
    from lsdl.author.homework import Homework

    torch.set_num_threads(1)
    names = Homework(WEEK).namespace()
    a, b, c, d = (torch.randn(256, 128, requires_grad=True) for _ in range(4))
    nt_xent, cosine = NTXentLoss(0.2), NegativeCosineSimilarity()

    def with_gradient(loss: Callable[[], torch.Tensor]) -> Callable[[], torch.Tensor]:
        def call() -> torch.Tensor:
            return torch.autograd.grad(loss(), a)[0]

        return call

    pairs: dict[str, tuple[Callable, Callable]] = {
        "NT-Xent / lightly.NTXentLoss": (lambda: names["nt_xent"](a, b, 0.2), lambda: nt_xent(a, b)),
        "BYOL / lightly.NegativeCosineSimilarity": (
            lambda: names["byol_loss"](a, b, c, d),
            lambda: 4 + 2 * (cosine(a, d.detach()) + cosine(b, c.detach())),
        ),
    }
    compare({name: tuple(map(with_gradient, losses)) for name, losses in pairs.items()}, {}, atol=1e-6)


if __name__ == "__main__":
    main()
