"""Full scale on this machine (`make gpu`): what a step costs at the papers' sizes, and every notebook at SCALE="full" on stand-ins.

    python benchmarks/gpu.py                              # all weeks on the GPU; writes docs/full-scale.md
    python benchmarks/gpu.py 1 8 --only steps --out FILE  # the steps of two weeks
    python benchmarks/gpu.py --device cpu --tiny          # does the script run? tiny sizes, nothing is written without --out

Needs torch and what the weeks need (their week.toml), for the homeworks nbformat and pydantic too; no Jupyter, no network, no installed
lsdl. What fails is a row of the table and the script goes on; it ends with 1 then.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # lsdl need not be installed

import torch  # noqa: E402

from lsdl.author.full_scale import FullScaleError, Measured, one_sentence, run_notebook, start  # noqa: E402

PAGE = """# Full scale, measured

Made by `make gpu` (benchmarks/gpu.py) on {machine}, {day}; it took {minutes:.1f} minutes.

One step at the papers' sizes, on random data: nothing is read or decoded here. The weeks' own code and settings are used.
*Peak* is the most that PyTorch had allocated on the GPU, weights, gradients and the optimiser's moments included (1 GB = 10^9 bytes; the
CUDA context and gaps between blocks come on top). *Hours* are steps at full scale times seconds, for one seed where nothing else is said.
"""
STAND_INS = """
## The notebooks

Every notebook at `SCALE = "full"` on tiny files in the original formats and tiny models, on the same machine: that the code runs there.

| notebook | outcome | seconds |
|---|---|---|
"""


@dataclass(frozen=True)
class Outcome:
    """How a notebook ended; `error` is one sentence, empty if it ran through."""

    notebook: str
    seconds: float
    error: str


class Clock:
    """Time since the start, and how much a process may still take.

    Args:
        minutes: for everything; None: no limit.
        limit: seconds for one process; None: no limit.
    """

    def __init__(self, minutes: float | None, limit: float | None) -> None:
        self.begin, self.minutes, self.limit = time.monotonic(), minutes, limit

    def say(self, text: str) -> None:
        """Print a line behind the seconds since the start."""
        print(f"{self.elapsed:7.1f} s  {text}", flush=True)

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.begin

    @property
    def left(self) -> float | None:
        """Seconds that a process which starts now may take; None: any number."""
        whole = None if self.minutes is None else max(1.0, 60 * self.minutes - self.elapsed)
        return min((value for value in (whole, self.limit) if value is not None), default=None)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, run, print and write; the exit code."""
    weeks = sorted(path.parents[1] for path in ROOT.glob("week[0-9][0-9]-*/instructor/full_scale.py"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weeks", nargs="*", type=int, help="numbers of weeks (default: all)")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="tiny sizes, in seconds, on a CPU, too")
    parser.add_argument("--only", choices=["steps", "notebooks"])
    parser.add_argument("--out", type=Path, help="the page (default: docs/full-scale.md, with --tiny none)")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) // 4), help="notebooks at a time")
    parser.add_argument("--minutes", type=float, help="stop what still runs then")
    parser.add_argument("--limit", type=float, help="seconds for the steps of a week, and for a notebook")
    args = parser.parse_args(arguments)
    weeks = [week for week in weeks if not args.weeks or int(week.name[4:6]) in args.weeks]
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU here: try --device cpu --tiny.")
    out = args.out or (None if args.tiny else ROOT / "docs" / "full-scale.md")
    clock, rows, outcomes = Clock(args.minutes, args.limit), {}, []
    clock.say(about(args.device))
    for week in weeks if args.only != "notebooks" else ():
        rows[week.name] = []
        for row in measured(week, args.device, args.tiny, clock):
            rows[week.name].append(row)
            clock.say(f"{week.name}: {row.what}: {row.error or cost(row)}")
        write(out, args.device, clock, rows, outcomes)  # what a time limit from outside leaves
    steps_took = clock.elapsed
    if args.only != "steps":
        notebooks = [week / f"{name}.ipynb" for week in weeks for name in ("homework", "seminar")]
        with ThreadPoolExecutor(args.jobs) as pool:
            threads = max(1, (os.cpu_count() or 1) // args.jobs)
            for outcome in pool.map(lambda path: executed(path, args.device, threads, clock), notebooks):
                outcomes.append(outcome)
                write(out, args.device, clock, rows, outcomes)
    errors = [row.error for found in rows.values() for row in found] + [x.error for x in outcomes]
    failed = sum(map(bool, errors))
    clock.say(
        f"steps {steps_took:.0f} s, notebooks {clock.elapsed - steps_took:.0f} s; {failed} of {len(errors)} failed"
    )
    return 1 if failed else 0


def measured(week: Path, device: str, tiny: bool, clock: Clock) -> Iterator[Measured]:
    """The rows of a week's `steps`, as they come; a process that ends badly is a last row."""
    with tempfile.TemporaryFile("w+") as log:
        process = start(
            ["steps", week, "--device", device, *(["--tiny"] if tiny else [])],
            stdout=subprocess.PIPE,
            stderr=log.fileno(),
        )
        stop = threading.Timer(clock.left, process.kill) if clock.left is not None else None
        if stop:
            stop.start()
        for line in process.stdout:
            yield Measured(**json.loads(line))
        code, over = process.wait(), stop is not None and not stop.is_alive()
        if stop:
            stop.cancel()
        if code:
            log.seek(0)
            text = log.read()
            print(text[-4000:], flush=True)
            reason = "stopped, the time was over" if over else (text.split("\n")[-2:] or [""])[0] or f"exit code {code}"
            yield Measured("the steps that follow", "", "", error=reason)


def executed(notebook: Path, device: str, threads: int, clock: Clock) -> Outcome:
    """Run one notebook at full scale on stand-ins."""
    name, begin, error = f"{notebook.parent.name}/{notebook.name}", time.monotonic(), ""
    try:
        with tempfile.TemporaryDirectory() as folder:
            run_notebook(notebook, Path(folder), device, clock.left, threads=threads)
    except Exception as failure:  # be it the disk: the notebooks after it run
        print(failure, flush=True)
        error = str(failure).splitlines()[-1] if isinstance(failure, FullScaleError) else one_sentence(failure)
    seconds = time.monotonic() - begin
    clock.say(f"{name}: {error or 'ran through'}, {seconds:.0f} s")
    return Outcome(name, seconds, error)


def about(device: str) -> str:
    """The machine in words: card or processor, and versions."""
    if device.startswith("cuda"):
        card = torch.cuda.get_device_properties(device)
        name = f"{card.name} ({card.total_memory / 1e9:.0f} GB)"
    else:
        name = f"a CPU ({platform.machine()})"
    return f"{name}, {os.cpu_count()} CPU cores, torch {torch.__version__}, Python {platform.python_version()}"


def cost(row: Measured) -> str:
    """Seconds, gigabytes and hours of a row, for the terminal."""
    parts = [f"{row.seconds:.3g} s"]
    parts += [] if row.peak_bytes is None else [f"{row.peak_bytes / 1e9:.2f} GB"]
    return ", ".join(parts + ([] if row.hours is None else [f"{row.steps} steps: {row.hours:.2g} hours"]))


def write(
    out: Path | None, device: str, clock: Clock, rows: Mapping[str, Sequence[Measured]], outcomes: Sequence[Outcome]
) -> None:
    """Write the page, if it has a place."""
    if out:
        day = f"{date.today():%d %B %Y}".lstrip("0")
        head = PAGE.format(machine=about(device), day=day, minutes=clock.elapsed / 60)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(head + tables(rows, outcomes), encoding="utf-8")


def tables(rows: Mapping[str, Sequence[Measured]], outcomes: Sequence[Outcome]) -> str:
    """One table of steps per week, and one of the notebooks."""
    lines = []
    for week, found in rows.items():
        lines += [
            f"\n## {week}\n",
            "| what | model | batch | peak, GB | s per step | steps | hours |",
            "|---|---|---|---|---|---|---|",
        ]
        for row in found:
            if row.error:
                lines.append(f"| {row.what} | {row.model} | {row.batch} | failed: {cell(row.error)} | | | |")
                continue
            peak = "" if row.peak_bytes is None else f"{row.peak_bytes / 1e9:.1f}"
            hours = "" if row.hours is None else f"{row.hours:.2g}" if row.hours < 10 else f"{row.hours:.0f}"
            steps = "" if row.steps is None else f"{row.steps:,}"
            lines.append(f"| {row.what} | {row.model} | {row.batch} | {peak} | {row.seconds:.3g} | {steps} | {hours} |")
    text = "\n".join(lines) + "\n" if lines else ""
    if outcomes:
        text += STAND_INS
        text += "".join(f"| {x.notebook} | {cell(x.error) or 'ran through'} | {x.seconds:.0f} |\n" for x in outcomes)
    return text


def cell(text: str) -> str:
    """A text that fits into a table's cell."""
    return text.replace("|", "\\|")[:300]


if __name__ == "__main__":
    sys.exit(main())
