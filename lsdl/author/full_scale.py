"""Full scale without its data: notebooks on tiny stand-ins, and single steps at the papers' sizes with their memory and time.

A week's instructor/full_scale.py has two functions, and two optional parts:

    stand_in(folder: Path) -> dict[str, str]                          writes tiny files in the original formats; the environment that leads there
    FEWER: dict[str, Any]                                             optional: settings that replace those of settings.toml
    shorten(helpers: ModuleType) -> None                              optional: cuts trainings short by replacing functions of helpers
    steps(device: torch.device, tiny: bool) -> Iterator[Measured]     times single steps; stand_in's environment is set, `import helpers` works

With an optional part, tests of what a training reached may fail. Everything runs in processes of their own, as a kernel does, but without Jupyter: a GPU machine that is borrowed for minutes has none.
"""

from __future__ import annotations

import argparse
import codeop
import gc
import importlib.util
import json
import linecache
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch

import lsdl.settings
from lsdl.cells import is_test, source_of, tags
from lsdl.tables import Tables

ROOT = Path(__file__).resolve().parents[2]


class FullScaleError(RuntimeError):
    """Something did not run at full scale; the last line of the message says what."""


@dataclass(frozen=True)
class Measured:
    """What one step costs.

    Attributes:
        what: the step, in words; `model` and `batch` say of what size.
        seconds: of one step, median of several; None if it failed.
        peak_bytes: the most that PyTorch had allocated on the GPU, weights, gradients and the optimiser's moments included; None on a CPU.
        steps: how many of them full scale takes; None where they are not counted.
        error: why it failed, one sentence.
    """

    what: str
    model: str
    batch: str
    seconds: float | None = None
    peak_bytes: int | None = None
    steps: int | None = None
    error: str = ""

    @property
    def hours(self) -> float | None:
        """What all steps take."""
        return self.seconds * self.steps / 3600 if self.seconds is not None and self.steps is not None else None


def measure(
    row: Measured, make: Callable[[], Callable[[], object]], device: torch.device, *, per_call: int = 1, repeat: int = 3
) -> Measured:
    """Time `make()()`; whatever it raises becomes the row's error, so that the rows after it are measured.

    Args:
        row: what is measured, still without seconds.
        make: builds the models and returns a call that does `per_call` steps; it may be called again and again.
        repeat: calls that are timed, after one that warms up (cuDNN chooses its kernels, AdamW makes its moments).
    """
    gc.collect()  # what the row before has left
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        call = make()
        times = [_seconds(call, device) / per_call for _ in range(repeat + 1)][1:]
    except Exception as error:  # out of memory, or a bug that only this machine shows
        return replace(row, error=one_sentence(error))
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else None
    return replace(row, seconds=statistics.median(times), peak_bytes=peak)


def one_sentence(error: BaseException) -> str:
    """The kind of an error and the first sentence of its message."""
    first = str(error).strip().split("\n")[0].split(". ")[0].rstrip(".")
    return f"{type(error).__name__}: {first}." if first else f"{type(error).__name__}."


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    begin = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()  # a GPU computes in the background
    return time.perf_counter() - begin


def run_notebook(notebook: Path, folder: Path, device: str, timeout: float | None = None, *, threads: int = 1) -> None:
    """Execute a copy of a week's notebook at SCALE="full" on the week's stand-ins; a homework gets its hidden references first.

    Args:
        folder: an empty folder for the copy and the stand-ins.
        device: the DEVICE of the notebook's parameters.
        timeout: seconds.
        threads: of PyTorch's operations on the CPU.

    Raises:
        FullScaleError: a cell failed, or the time is over.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    week = folder / notebook.parent.name
    shutil.copytree(notebook.parent, week, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    if notebook.stem == "homework":
        shutil.copytree(ROOT / "gradebook", folder / "gradebook", ignore=shutil.ignore_patterns("*.db", "references"))
        # references are made on the CPU
        _child(["references", week], deadline, OMP_NUM_THREADS=str(threads), CUDA_VISIBLE_DEVICES="")
    _child(["cells", week / notebook.name, "--device", device], deadline, OMP_NUM_THREADS=str(threads))


def _child(arguments: list[str | Path], deadline: float | None, **environment: str) -> None:
    """Wait for a process of this module, until `deadline` on the monotonic clock.

    Raises:
        FullScaleError: it failed, or the time is over.
    """
    process = start(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **environment)
    try:
        output, _ = process.communicate(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        output, _ = process.communicate()
        raise FullScaleError(f"{output[-2000:]}\nstopped, the time was over") from None
    if process.returncode:
        raise FullScaleError(output[-4000:].strip() or f"exit code {process.returncode}")


def start(arguments: list[str | Path], stdout: int, stderr: int | None = None, **environment: str) -> subprocess.Popen:
    """A process of this module with the given arguments, where lsdl need not be installed; it opens no window and no connection."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    env = {key: value for key, value in os.environ.items() if key not in ("LSDL_OUTBOX", "NBGRADER_EXECUTION")}
    env |= {"PYTHONPATH": path, "MPLBACKEND": "agg", "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"} | environment
    command = [sys.executable, "-m", __name__, *map(str, arguments)]
    return subprocess.Popen(command, env=env, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL, text=True)


# What the processes do


def main() -> None:
    """Entry point of the processes that this module starts."""
    parser = argparse.ArgumentParser(description="Used by benchmarks/gpu.py and by tests/test_full_scale.py.")
    parser.add_argument("what", choices=["references", "cells", "steps"])
    parser.add_argument("path", type=Path, help="a week's folder; of `cells` a notebook, whose folder is a copy")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--tiny", action="store_true")
    args = parser.parse_args()
    if args.what == "references":
        from lsdl.author.references import write_references  # needs nbformat and pydantic; all else here does not

        write_references(args.path, key=(ROOT / "gradebook" / "demo.key").read_bytes())
    elif args.what == "cells":
        run_cells(args.path, args.device)
    else:
        with tempfile.TemporaryDirectory() as folder:
            for row in week_steps(args.path, Path(folder), args.device, args.tiny):
                print(json.dumps(asdict(row)), flush=True)


def week_steps(week: Path, folder: Path, device: str, tiny: bool) -> Iterator[Measured]:
    """The rows of a week's `steps`, in a process of its own: folder, modules and environment become the week's."""
    module = _enter(week, folder)
    rows = module.steps(torch.device(device), tiny)
    while True:
        with redirect_stdout(sys.stderr):  # stdout is for the rows
            row = next(rows, None)
        if row is None:
            return
        yield row


def run_cells(notebook: Path, device: str) -> None:
    """Execute the code cells of a notebook in this process, as plain Python, with SCALE="full" behind the parameters.

    Cells tagged `further` come last, so that the core is seen to run without them.

    Raises:
        FullScaleError: the seminar's measure.py has a part that no cell uses.
    """
    module = _enter(notebook.parent, notebook.parent.parent)
    shortened = hasattr(module, "FEWER") or hasattr(module, "shorten")
    if hasattr(module, "FEWER"):
        load = lsdl.settings.load_settings
        lsdl.settings.load_settings = lambda *given, **more: load(*given, **more) | module.FEWER
    if hasattr(module, "shorten"):
        module.shorten(importlib.import_module("helpers"))
    kernel = sys.modules["__main__"] = ModuleType("__main__")  # where dataclasses and pickle look names up
    compiler = codeop.Compile()  # like a kernel, it keeps `from __future__` for the cells that follow
    cells = enumerate(json.loads(notebook.read_text(encoding="utf-8"))["cells"])
    for number, cell in sorted(cells, key=lambda numbered: "further" in tags(numbered[1])):
        if cell["cell_type"] != "code":
            continue
        source, label = source_of(cell) + "\n", f"{notebook.parent.name}/{notebook.name}, cell {number}"
        if "parameters" in tags(cell):
            source += f'SCALE, DEVICE = "full", {device!r}\n'
        linecache.cache[label] = (len(source), None, source.splitlines(keepends=True), label)  # for tracebacks
        # what a shortened training reaches is not judged here
        cut_short = shortened and is_test(cell) and "whole" in tags(cell)
        with suppress(*[AssertionError] if cut_short else []):
            exec(compiler(source, label, "exec"), kernel.__dict__)
    tables = vars(kernel).get("tables")
    if isinstance(tables, Tables) and tables.unused:
        raise FullScaleError(f"No cell uses {', '.join(sorted(tables.unused))} of measure.py.")


def stl10_files(folder: Path) -> dict[str, str]:
    """Write STL-10's binary files (two training pictures and one test picture per class) and CIFAR-10's test batch (two per class).

    Returns:
        The environment that makes `lsdl.data.few_labels` use them.
    """
    rng = np.random.default_rng(0)

    def write(name: str, values: np.ndarray) -> None:
        (folder / "stl10" / name).parent.mkdir(parents=True, exist_ok=True)
        values.astype(np.uint8).tofile(folder / "stl10" / name)

    for part, count in (("train", 20), ("test", 10), ("unlabeled", 12)):
        write(f"stl10_binary/{part}_X.bin", rng.integers(0, 256, (count, 3, 96, 96)))
        if part != "unlabeled":
            write(f"stl10_binary/{part}_y.bin", np.arange(count) % 10 + 1)  # STL-10 counts from 1
    records = np.concatenate([np.arange(20)[:, None] % 10, rng.integers(0, 256, (20, 3072))], 1)
    write("cifar-10-batches-bin/test_batch.bin", records)
    return {"STL10": str(folder / "stl10")}


def _enter(week: Path, folder: Path) -> ModuleType:
    """Make a week's folder the working one and set the environment of its stand-ins, written into `folder`; the module that wrote them."""
    week = week.resolve()
    os.chdir(week)
    sys.path.insert(0, str(week))
    spec = importlib.util.spec_from_file_location("week_full_scale", week / "instructor" / "full_scale.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    os.environ.update(module.stand_in(folder))
    return module


if __name__ == "__main__":
    main()
