"""Week 04's losses beside lightly's: same input, same result, time of the library over ours (`python benchmarks/week04.py`).

A ratio over 1 means that the course's code is faster. Forward and backward, one thread; each time is the best of several runs.
"""

from __future__ import annotations

import json
import sys
import timeit
from collections.abc import Callable
from pathlib import Path

import torch
from lightly.loss import NegativeCosineSimilarity, NTXentLoss

ROOT = Path(__file__).resolve().parents[1]


def seconds(call: Callable[[], object], repeat: int = 5) -> float:
    """Best of `repeat` runs, each long enough to measure."""
    timer = timeit.Timer(call)
    number = max(1, timer.autorange()[0] // 5)
    return min(timer.repeat(repeat, number)) / number


def main() -> None:
    from lsdl.homework import Homework

    torch.set_num_threads(1)
    names = Homework(ROOT / "week04-contrastive").namespace()
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
    table = []
    for name, losses in pairs.items():
        ours, library = map(with_gradient, losses)
        torch.testing.assert_close(ours(), library(), rtol=1e-4, atol=1e-6)
        x, y = seconds(ours), seconds(library)
        table.append({"what": name, "ours_ms": 1e3 * x, "library_ms": 1e3 * y, "ratio": y / x})
        print(f"{name:42} ours {1e3 * x:8.2f} ms, library {1e3 * y:8.2f} ms, ratio {y / x:.2f}")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
