"""Submissions to points: run and judged in the sandbox by any number of workers, entered by one recorder.

A worker is a warm process (zygote.py) that forks a jailed kernel for each submission (kernel.py, jail.py), executes
the notebook (execute.py) and decides every graded cell itself (judge.py). The recorder hands the executed notebook to
nbgrader's own converter, without executing it again.
"""

from __future__ import annotations

import atexit
import copy
import json
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from lsdl.author.course import WeekPaths
from lsdl.grading import GradingError, jail
from lsdl.grading.nbgrader_course import only_the_notebook, open_course, read_config, reason
from lsdl.grading.verdict import Verdict
from lsdl.grading.zygote import Zygote, libraries
from lsdl.intake import Notebook

TOTAL_CELLS = 6  # a whole notebook may run as long as this many cells at their limit
DEFAULT_CELL_SECONDS = 30.0  # nbgrader's own


@dataclass(frozen=True)
class Job:
    """One submission, all that a worker needs.

    Attributes:
        week: the week's folder in the course's repository.
        notebook: the mended notebook, what `intake.mend` returned.
    """

    week: Path
    student: str
    notebook: Notebook


@dataclass
class Result:
    """What a worker gives back.

    Attributes:
        executed: the notebook with outputs; after each graded cell the judge's verdict as nbgrader reads it.
        unsafe: the sandbox was not whole.
        seconds: wall time from the job's start to its verdict.
        cpu_seconds: processor time of the notebook's kernel; 0 if it did not end by itself.
    """

    student: str
    executed: Notebook
    verdict: Verdict
    unsafe: bool = False
    seconds: float = 0.0
    cpu_seconds: float = 0.0


# By the week's name and the libraries that it imports: courses with equal weeks (the tests have many) share a process.
_zygotes: dict[tuple[str, tuple[str, ...], bool], Zygote] = {}
_zygotes_lock = threading.Lock()


def run_job(job: Job, *, unsafe: bool = False, stopping: threading.Event | None = None) -> Result:
    """Run and judge one submission. The first call for a week starts a warm process, which later calls share.

    Never raises because of what a student wrote, and touches only its own scratch folder.

    Args:
        stopping: set once nobody waits for the result any more: no process is started again.

    Raises:
        JailError: this is not Linux, or a machine that cannot enforce the whole sandbox, and `unsafe` is not set.
        GradingError: the process that runs notebooks does not start, or the homework is not what it should be.
    """
    jail.require(unsafe=unsafe)
    start = time.monotonic()
    for _ in range(2):  # the warm process itself may have been killed, by the machine or its user
        zygote = _zygote(job.week, unsafe, stopping)
        answer = zygote.run(_request(job)) if zygote else None
        if answer is not None or zygote is None or zygote.alive:
            break
    partly = bool(jail.missing())
    if answer is None:
        verdict = Verdict(failure="The process that ran the notebook died: grade this submission again, alone.")
        return Result(job.student, job.notebook, verdict, partly, time.monotonic() - start)
    seconds = time.monotonic() - start
    return Result(job.student, answer["executed"], Verdict(**answer["verdict"]), partly, seconds, answer["cpu_seconds"])


def _zygote(week: Path, unsafe: bool, stopping: threading.Event | None = None) -> Zygote | None:
    sources = (week / "homework.ipynb", *sorted(week.glob("*.py")))
    modified = tuple(path.stat().st_mtime_ns for path in sources)
    with _zygotes_lock:  # also for what a week imports: Python 3.11's ast.parse fails where two threads are in it
        if stopping is not None and stopping.is_set():
            return None
        key = (week.name, _libraries(week, modified), unsafe)
        known = _zygotes.get(key)
        if known is None or not known.alive:
            if known is not None:
                known.close()
            _zygotes[key] = known = Zygote(week, partly=unsafe, stopping=stopping)
        return known


@lru_cache(maxsize=16)
def _libraries(week: Path, _modified: tuple[int, ...]) -> tuple[str, ...]:
    """What a week imports; read once, not for every submission."""
    return tuple(libraries(week))


@atexit.register
def close_zygotes() -> None:
    """End all warm processes; the next submission starts one again."""
    with _zygotes_lock:
        while _zygotes:
            _zygotes.popitem()[1].close()


def _request(job: Job) -> dict[str, Any]:
    """What `execute.Request` is made of."""
    paths = WeekPaths.at(job.week)
    seconds = _cell_seconds(paths.root, paths.config.stat().st_mtime_ns)
    return {
        "week": str(paths.folder),
        "hidden": str(paths.hidden_references),
        "notebook": job.notebook,
        "cell_seconds": seconds,
        "total_seconds": TOTAL_CELLS * seconds,
    }


@lru_cache(maxsize=4)
def _cell_seconds(root: Path, _modified: int) -> float:
    """The time limit of a cell in nbgrader_config.py: one limit for both ways of grading."""
    return float(read_config(root).Execute.get("timeout", DEFAULT_CELL_SECONDS))


class Workers:
    """Runs submissions on this machine, `jobs` at once, in copies of one warm process that lives as long as this one.

    Raises:
        JailError: this is not Linux, or a machine that cannot enforce the whole sandbox, and `unsafe` is not set.
    """

    def __init__(self, jobs: int, *, unsafe: bool = False) -> None:
        jail.require(unsafe=unsafe)
        self.jobs, self.unsafe = max(jobs, 1), unsafe

    def run(self, jobs: Iterable[Job]) -> Iterator[Result]:
        """Results in the order in which they finish; a worker that died is a Result with `verdict.failure`.

        Raises:
            GradingError: the process that runs notebooks does not start.
        """
        # Each thread waits for one process that does the work.
        stopping = threading.Event()
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="submission") as pool:
            try:
                futures = [pool.submit(run_job, job, unsafe=self.unsafe, stopping=stopping) for job in jobs]
                for future in as_completed(futures):
                    yield future.result()
            except BaseException:  # Ctrl-C, or nobody asks for more: what runs is ended, not waited for
                stopping.set()
                pool.shutdown(wait=False, cancel_futures=True)
                close_zygotes()
                raise


class GradebookWriter:
    """The one writer of nbgrader's gradebook.

    Args:
        week: where the week is; its release must be in the gradebook.

    Attributes:
        api: nbgrader's API, for whoever reads the gradebook.
    """

    def __init__(self, week: WeekPaths) -> None:
        from nbgrader.converters import Autograde
        from nbgrader.preprocessors import ClearOutput, Execute

        self.week = week
        given = read_config(week.root).Autograde
        steps = {
            name: [step for step in given.get(name, getattr(Autograde, name).default()) if step not in without]
            for name, without in (("sanitize_preprocessors", [ClearOutput]), ("autograde_preprocessors", [Execute]))
        }
        # What is graded lies beside what was handed in: nothing under submitted/ is ever written.
        places = only_the_notebook(week)["CourseDirectory"] | {"submitted_directory": str(week.intake)}
        self.api = open_course(week.root, {"CourseDirectory": places, "Autograde": steps})

    def record(self, result: Result) -> None:
        """Enter the executed notebook and its scores; a second call with the same result changes nothing.

        A call that was cut off at any point is made good by the next; marks that people gave stay.

        Raises:
            GradingError: nbgrader refused the notebook.
            OSError: it could not be written.
        """
        from lsdl.grading.judge import fail_all  # imports torch

        notebook = copy.deepcopy(result.executed)
        if not result.verdict.points:  # without a verdict nbgrader would give all points
            fail_all(notebook, result.verdict.failure or "The notebook was not run.")
        folder = self.week.intake / result.student / self.week.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "homework.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # nbgrader's own, about its database sessions and repeated cell ids
            done = self.api.autograde(self.week.name, result.student, force=True, create=True)
        if not done["success"]:
            raise GradingError(f"nbgrader did not take the notebook of {result.student}: {reason(done)}")
