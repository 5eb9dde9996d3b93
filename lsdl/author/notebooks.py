"""Runs the course's notebooks headlessly.

Every notebook runs under papermill in a process of its own with one OpenMP thread (the threads of parallel runs would
spin against each other). What a run leaves lies in `runs/<week>/`: the executed or partial notebook, papermill's log
and, after success, the fingerprint that `--changed` compares.
"""

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import nbformat
import psutil
from nbconvert.filters import strip_ansi
from nbformat import NotebookNode
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

import lsdl
from lsdl.author.course import Budget, load_course
from lsdl.author.times import store_times
from lsdl.claims import compare_claims, read_claims
from lsdl.files import digest_of, write_whole

TIMEOUT_BUDGETS = 5  # a notebook is stopped after this many budgets
MAX_SEMINAR_BYTES = 2_000_000
COLOURS = 256  # of a stored figure: one byte a pixel; curves and text look the same
POLL_S = 0.25
# As papermill's command line does it, but each stream becomes one text, without what a progress bar overwrote.
PAPERMILL = """import sys
import papermill

source, target, folder, scale = sys.argv[1:]
papermill.execute_notebook(source, target, {"SCALE": scale}, cwd=folder, kernel_name="python3", language="python",
                           progress_bar=True, coalesce_streams=True)
"""

Scale = Literal["smoke", "full"]
Status = Literal["ok", "failed", "timeout", "skipped"]


@dataclass
class Run:
    """How one notebook's run ended.

    `seconds` is wall time, `cpu_seconds` what its processes computed (a busy machine does not change it, and the budget is
    held by it), `peak_mb` the largest resident memory of its process tree in MiB, `budget_s` is None at full scale; `source`
    and `traceback` are those of the failing cell.
    """

    notebook: str
    status: Status
    seconds: float
    cpu_seconds: float
    peak_mb: float
    scale: Scale
    budget_s: float | None = None
    message: str = ""
    source: str = ""
    traceback: str = ""


def run_notebooks(
    weeks: Sequence[Path],
    *,
    kinds: Sequence[str] = ("seminar", "homework"),
    scale: Scale = "smoke",
    jobs: int = 2,
    changed: bool = False,
    timeout: float | None = None,
    update: bool = False,
    json_file: Path | None = None,
    runs: Path | None = None,
    console: Console | None = None,
) -> list[Run]:
    """Execute the seminar and homework of each week and print what happened, failures first.

    A notebook fails if a cell raises, if it computes over twice its budget (smoke scale), if the outcome of a committed
    claim changes, or if `update` cannot store it. A caller should exit with 1 if `any_failed` of the result.

    Args:
        weeks: week folders; notebooks that a folder lacks are left out.
        kinds: which of its notebooks.
        scale: injected as `SCALE` after the cell tagged `parameters`.
        jobs: notebooks run at the same time, at most one per CPU.
        changed: skip what has not changed since its last good run (sources, assets, lsdl, installed versions, scale).
        timeout: seconds a notebook may take; default five budgets at smoke scale, unlimited at full scale.
        update: write each executed seminar over the committed one, if it ran and printed nothing to stderr; at smoke scale
            also store the processor seconds of each good run in the week's README.md.
        json_file: where to write the list of {notebook, status, seconds, cpu_seconds, peak_mb, scale}.
        runs: folder for partial notebooks and logs; default `runs` beside the first week.
        console: where to print; default the terminal.

    Returns:
        One `Run` for each notebook, in the order of `weeks`, seminar first.

    Raises:
        ValueError: a folder has no notebook.
    """
    console = console or Console()
    notebooks = []
    for week in map(Path.resolve, map(Path, weeks)):
        found = [week / f"{kind}.ipynb" for kind in kinds if (week / f"{kind}.ipynb").exists()]
        if not found:
            raise ValueError(f"{week} has no {'.ipynb and no '.join(kinds)}.ipynb: name a week's folder.")
        notebooks += found
    if not notebooks:
        return []
    runs = (runs or notebooks[0].parent.parent / "runs").resolve()
    workers = max(1, min(jobs, os.cpu_count() or 1, len(notebooks)))
    stop = threading.Event()
    progress = Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
    )

    def one(notebook: Path) -> Run:
        label = f"{notebook.parent.name}/{notebook.name}"
        task = progress.add_task(label, total=None)
        runner = _Runner(notebook, runs / notebook.parent.name, scale, timeout, update, stop)
        result = runner.unchanged() if changed else None
        result = result or runner.run(lambda done, total: progress.update(task, completed=done, total=total))
        progress.remove_task(task)
        seconds = f" {result.cpu_seconds:.0f} CPU s in {result.seconds:.1f} s, {result.peak_mb:.0f} MB"
        seconds = "" if result.status == "skipped" else seconds
        progress.console.print(Text(f"{result.status:>8} {label}{seconds}", _STYLE[result.status]))
        return result

    with progress, ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(one, notebook) for notebook in notebooks]
        try:
            results = [future.result() for future in futures]
        except BaseException:  # Ctrl-C: end the kernels before the pool waits for its threads
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    _print(results, runs, console)
    if update and scale == "smoke":
        for notebook, result in zip(notebooks, results, strict=True):
            if result.status == "ok":
                store_times(notebook.parent, {notebook.stem: result.cpu_seconds})
    if json_file:
        fields = ("notebook", "status", "seconds", "cpu_seconds", "peak_mb", "scale")
        rows = [{field: getattr(result, field) for field in fields} for result in results]
        json_file.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return results


def any_failed(results: Sequence[Run]) -> bool:
    """Whether a caller should exit with 1."""
    return any(result.status in ("failed", "timeout") for result in results)


@dataclass(frozen=True)
class Cost:
    """Wall seconds, processor seconds and peak memory in MiB of a run."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    peak_mb: float = 0.0


class _Runner:
    """One notebook's run; `folder` is `runs/<week>`."""

    def __init__(
        self, notebook: Path, folder: Path, scale: Scale, timeout: float | None, update: bool, stop: threading.Event
    ) -> None:
        self.notebook, self.folder, self.scale, self.update, self.stop = notebook, folder, scale, update, stop
        self.week = notebook.parent
        self.executed = folder / notebook.name
        self.log = folder / f"{notebook.stem}.log"
        self.mark = folder / f"{notebook.stem}.fingerprint"
        self.budget = _budget(notebook) if scale == "smoke" else None
        self.timeout = timeout if timeout is not None else self.budget and TIMEOUT_BUDGETS * self.budget

    def unchanged(self) -> Run | None:
        if not self.mark.exists() or self.mark.read_text() != run_digest(self.notebook, self.scale):
            return None
        return self._result("skipped", Cost())

    def run(self, advance: Callable[[int, int], None]) -> Run:
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in (self.executed, self.mark):
            old.unlink(missing_ok=True)
        started = run_digest(self.notebook, self.scale)  # taken before, so that an edit during the run counts
        if self.notebook.stem == "homework":
            trouble = _hidden_references(self.week)
            if trouble:
                return self._result("failed", Cost(), trouble)
        code, cost = self._execute(advance)
        if code is None:
            source, _ = _failing_cell(self.executed)
            message = f"stopped after {cost.seconds:.0f} s: the limit is {self.timeout} s (--timeout changes it)."
            return self._result("timeout", cost, message, source)
        if code:
            source, traceback = _failing_cell(self.executed)
            message = f"the cell below failed; the partial notebook is {_short(self.executed)}."
            if not traceback and (died_in := _cell_that_ended_its_kernel(self.executed, self.log)):
                source = died_in
                message = (
                    f"the kernel died in the cell below, most likely for lack of memory (its processes held {cost.peak_mb} MB), "
                    f"by a crash in a library, or by os._exit; the partial notebook is {_short(self.executed)}."
                )
            elif not traceback:
                message = "papermill failed:\n" + self.log.read_text(encoding="utf-8", errors="replace")[-3000:]
            return self._result("failed", cost, message, source, traceback)
        problems = self._problems()
        if self.budget and cost.cpu_seconds > 2 * self.budget:
            problems.append(f"{cost.cpu_seconds:.0f} CPU s is over twice the budget of {self.budget:.0f} s.")
        if not problems:
            self.mark.write_text(started)
        return self._result("failed" if problems else "ok", cost, "\n".join(problems))

    def _result(self, status: Status, cost: Cost, *details: str) -> Run:
        label = f"{self.week.name}/{self.notebook.name}"
        seconds, cpu_seconds = round(cost.seconds, 1), round(cost.cpu_seconds, 1)
        return Run(label, status, seconds, cpu_seconds, cost.peak_mb, self.scale, self.budget, *details)

    def _execute(self, advance: Callable[[int, int], None]) -> tuple[int | None, Cost]:
        """Run papermill; exit status (None: stopped for time) and what it cost."""
        command = [sys.executable, "-c", PAPERMILL, str(self.notebook), str(self.executed), str(self.week), self.scale]
        env = {key: value for key, value in os.environ.items() if key not in ("LSDL_OUTBOX", "NBGRADER_EXECUTION")}
        env |= {"OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8", "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
        # Whatever the environment says, figures are kept and the kernel is this Python.
        env |= {"MPLBACKEND": "module://matplotlib_inline.backend_inline"}
        env["JUPYTER_PATH"] = os.pathsep.join(filter(None, (str(self._kernels()), env.get("JUPYTER_PATH"))))
        peak = 0
        spent = (
            0.0  # of all processes: papermill waits for its kernel, so that the last look misses at most one interval
        )
        begin = time.monotonic()
        with self.log.open("wb") as log:
            child = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            try:
                while child.poll() is None:
                    peak, spent = max(peak, _tree_bytes(child.pid)), max(spent, _tree_seconds(child.pid))
                    advance(*_cells_done(self.log))
                    if self.stop.is_set() or (self.timeout and time.monotonic() - begin > self.timeout):
                        return None, Cost(time.monotonic() - begin, spent, round(peak / 2**20))
                    time.sleep(POLL_S)
            finally:
                _kill_tree(child)
        return child.returncode, Cost(time.monotonic() - begin, spent, round(peak / 2**20))

    def _kernels(self) -> Path:
        """A folder for JUPYTER_PATH in which the kernel `python3` is this Python."""
        folder = self.folder / "jupyter"
        command = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec = {"argv": command, "display_name": "Python 3", "language": "python"}
        write_whole(folder / "kernels" / "python3" / "kernel.json", json.dumps(spec))
        return folder

    def _problems(self) -> list[str]:
        """What is wrong with a notebook whose cells all ran; stores it first if asked to."""
        if self.notebook.stem != "seminar":
            return []
        executed = nbformat.read(self.executed, 4)
        committed = nbformat.read(self.notebook, 4)
        if self.update:
            return store_outputs(self.notebook, committed, executed)
        before = read_claims(committed)
        return compare_claims(before, read_claims(executed)) if before and self.scale == "smoke" else []


def store_outputs(path: Path, committed: NotebookNode, executed: NotebookNode) -> list[str]:
    """Write `committed` with the outputs of `executed` to `path`; return what forbids it (then nothing is written).

    Cells are matched by id, so papermill's own cells and metadata stay outside; execution counts start at 1. Figures are
    stored with 256 colours.
    """
    results = {cell.id: cell for cell in executed.cells if cell.cell_type == "code"}
    problems = []
    count = 0
    for cell in committed.cells:
        if cell.cell_type != "code":
            continue
        done = results[cell.id]
        printed = "".join(out.text for out in done.outputs if out.output_type == "stream" and out.name == "stderr")
        if printed:
            problems.append(f"not stored: the cell {_first_line(cell)!r} printed to stderr: {printed.strip()[:500]}")
        if pictures(cell) > pictures(done) == 0:
            problems.append(
                f"not stored: the cell {_first_line(cell)!r} has a picture and this run made none; if it draws nothing any "
                "more, clear its outputs first."
            )
        cell.outputs, cell.execution_count = done.outputs, None
        if done.execution_count is not None:
            count += 1
            cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = cell.execution_count
            if "image/png" in output.get("data", {}):
                picture = smaller_png(base64.b64decode(output.data["image/png"]))
                output.data["image/png"] = base64.b64encode(picture).decode()
    text = nbformat.writes(committed)
    size = len(text.encode())
    if size > MAX_SEMINAR_BYTES:
        problems.append(f"not stored: with its outputs it has {size / 1e6:.1f} MB, at most 2 MB are allowed.")
    if not problems:
        path.write_text(text + "\n", encoding="utf-8")
    return problems


def pictures(cell: NotebookNode) -> int:
    """How many outputs of a cell are pictures."""
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def smaller_png(data: bytes) -> bytes:
    """A PNG picture with at most 256 colours; as it came where that is no smaller, or where it is transparent."""
    picture = Image.open(io.BytesIO(data))
    if picture.mode == "P" or picture.convert("RGBA").getextrema()[3] != (255, 255):
        return data
    # Of Pillow's methods the one that leaves thin lines their colour; k-means then gives large areas theirs.
    few = picture.convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    file = io.BytesIO()
    few.save(file, "PNG", optimize=True)
    return min(file.getvalue(), data, key=len)


def run_digest(notebook: Path, scale: str) -> str:
    """SHA-256 over all that a run depends on: cell sources, the week's modules, settings and assets, cases, lsdl, installed versions, scale."""
    week = notebook.parent
    cells = nbformat.read(notebook, 4).cells
    parts: list[Any] = [scale, sys.version, [[c.cell_type, c.source, c.metadata.get("tags")] for c in cells]]
    parts.append(sorted({f"{dist.name}=={dist.version}" for dist in metadata.distributions()}))
    parts.append(_tree_hash(Path(lsdl.__file__).parent))
    own = sorted(path.name for pattern in ("*.py", "*.toml") for path in week.glob(pattern))
    for name in (*own, "assets", "instructor"):
        parts.append(_tree_hash(week / name))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _budget(notebook: Path) -> float:
    """Seconds that `course.toml` beside the week allows, or the default where there is none."""
    root = notebook.parent.parent
    budget = load_course(root).budget_of(notebook.parent.name) if (root / "course.toml").exists() else Budget()
    return budget.seminar_seconds if notebook.stem == "seminar" else budget.homework_seconds


def _hidden_references(week: Path) -> str:
    """Have the hidden references written that a homework's hidden tests read; return what went wrong, or ""."""
    if not (week / "instructor" / "cases.py").exists() or not (week.parent / "course.toml").exists():
        return ""
    code = "import sys; from pathlib import Path; from lsdl.author.references import prepare_hidden_references as prepare; "
    command = [sys.executable, "-c", code + "prepare(Path(sys.argv[1]))", str(week)]  # apart: it runs the solutions
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    if not done.returncode:
        return ""
    return f"the hidden references could not be written (see `lsdl refs {week.name}`):\n{done.stderr[-3000:]}"


def _tree_hash(path: Path) -> str:
    """SHA-256 over names and bytes of a file or folder, without `lsdl.grading` (no notebook's)."""
    files = [path] if path.is_file() else path.rglob("*")
    return digest_of((file for file in files if "grading" not in file.relative_to(path.parent).parts), path.parent)


def _cells_done(log: Path) -> tuple[int, int]:
    """Cells done and all cells, as papermill's progress bar at the end of its log says."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        found = re.findall(rb"(\d+)/(\d+) \[", file.read())
    return (int(found[-1][0]), int(found[-1][1])) if found else (0, 1)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(pid)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _tree_bytes(pid: int) -> int:
    total = 0
    for process in _tree(pid):
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it ended meanwhile
            continue
    return total


def _tree_seconds(pid: int) -> float:
    """Processor time of a process, of those that run below it, and of those that ended and were waited for."""
    total = 0.0
    for process in _tree(pid):
        try:
            times = process.cpu_times()
        except psutil.Error:  # it ended meanwhile, and its parent has its time now
            continue
        total += times.user + times.system + getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
    return total


def _kill_tree(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        for process in _tree(child.pid):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
    child.wait()


def _failing_cell(executed: Path) -> tuple[str, str]:
    """Source and traceback of the cell that failed or was running; empty where papermill left none."""
    try:
        cells = nbformat.read(executed, 4).cells
    except (OSError, ValueError):  # killed before or while papermill wrote
        return "", ""
    for cell in cells:
        papermill = cell.metadata.get("papermill", {})
        if papermill.get("exception"):
            errors = [output for output in cell.outputs if output.output_type == "error"]
            return cell.source, strip_ansi("\n".join(errors[-1].traceback)) if errors else ""
    return next((c.source for c in cells if c.metadata.get("papermill", {}).get("status") == "running"), ""), ""


def _cell_that_ended_its_kernel(executed: Path, log: Path) -> str:
    """Source of the last cell that papermill began, if its kernel died; else empty."""
    if b"DeadKernelError" not in log.read_bytes():
        return ""
    try:
        cells = nbformat.read(executed, 4).cells
    except (OSError, ValueError):  # it died before the first cell
        return ""
    begun = [cell.source for cell in cells if cell.metadata.get("papermill", {}).get("start_time")]
    return begun[-1] if begun else ""


def _first_line(cell: NotebookNode) -> str:
    return cell.source.strip().split("\n")[0]


def _short(path: Path) -> str:
    """`path` as seen from the working folder, where that is shorter."""
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


_STYLE = {"ok": "green", "failed": "bold red", "timeout": "bold red", "skipped": "dim"}


def _print(results: Sequence[Run], runs: Path, console: Console) -> None:
    for result in results:
        if not result.message:
            continue
        console.rule(Text(f"{result.notebook}: {result.status}", _STYLE[result.status]))
        if result.source:
            console.print(Syntax(result.source, "python", line_numbers=True))
        if result.traceback:
            console.print(Text(result.traceback))
        console.print(Text(result.message, "bold"), soft_wrap=True)
    table = Table("notebook", "status", "CPU s", "budget", "wall s", "peak MB", title=f"scale {results[0].scale}")
    for column in table.columns[2:]:
        column.justify = "right"
    for result in results:
        budget = f"{result.budget_s:.0f}" if result.budget_s else "-"
        style = _STYLE[result.status]
        late = result.budget_s is not None and result.cpu_seconds > result.budget_s
        computed = Text(f"{result.cpu_seconds:.0f}" + (" (over)" if late else ""), "yellow" if late else "")
        numbers = (computed, budget, f"{result.seconds:.0f}", f"{result.peak_mb:.0f}")
        table.add_row(result.notebook, Text(result.status, style), *numbers)
    console.print(table)
    if any_failed(results):
        console.print(Text(f"Executed and partial notebooks with their logs are in {_short(runs)}."), soft_wrap=True)
