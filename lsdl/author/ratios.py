"""What the benchmarks of the weeks share: ours and a library's on the same input, checked to agree, timed, and the ratio printed."""

from __future__ import annotations

import json
import sys
import timeit
from collections.abc import Callable, Mapping
from pathlib import Path

import torch


def seconds(call: Callable[[], object], repeat: int = 5) -> float:
    """Best of `repeat` runs, each long enough to measure."""
    timer = timeit.Timer(call)
    number = max(1, timer.autorange()[0] // 5)
    return min(timer.repeat(repeat, number)) / number


def compare(pairs: Mapping[str, tuple[Callable, Callable]], why: Mapping[str, str], *, atol: float) -> None:
    """Print a row for each pair (ours, library's); a file named on the command line gets them as JSON.

    Args:
        pairs: what is compared -> calls without arguments that return equal tensors.
        why: what is compared -> why ours is slower, printed where it is.
        atol: of the comparison; its relative tolerance is 1e-4.

    Raises:
        AssertionError: the two results differ.
    """
    table = []
    for name, (ours, library) in pairs.items():
        torch.testing.assert_close(ours(), library(), rtol=1e-4, atol=atol)
        a, b = seconds(ours), seconds(library)
        reason = f" ({why[name]})" if b < a and name in why else ""
        table.append({"what": name, "ours_ms": 1e3 * a, "library_ms": 1e3 * b, "ratio": b / a})
        print(f"{name:62} ours {1e3 * a:8.3f} ms, library {1e3 * b:8.3f} ms, ratio {b / a:.2f}{reason}")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(table, indent=1) + "\n")
