"""How much memory a computation holds at its peak: on a GPU by the allocator's counters, on a CPU by PyTorch's profiler."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile


def peak_bytes(function: Callable[[], Any]) -> int:
    """Most bytes that `function()` holds at one time beyond what it is given: memory inside of operations counts too."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # a GPU computes in the background
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # else the profiler reports its start on stderr
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watch:
        function()
    steps = [event.nbytes() for event in watch.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(0, *np.cumsum(steps).tolist())
