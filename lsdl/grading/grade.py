"""Grade a class: every student has a row before anything runs, a row without marks has a reason, a killed run goes on."""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from lsdl.author.course import CourseError, WeekPaths, load_course
from lsdl.cells import grade_id, role, scored_cells
from lsdl.files import write_whole
from lsdl.grading import GradingError
from lsdl.grading.autograder import GradebookWriter, Job, Result, Workers, run_job
from lsdl.grading.collect import Submission, find_submissions, read_bytes
from lsdl.grading.jail import JailError, capabilities, missing
from lsdl.grading.journal import HandIn, HandIns, Journal, Regraded, Unread, digest_of_week, key_of
from lsdl.grading.nbgrader_course import make_private
from lsdl.grading.points import Scale, scale_of
from lsdl.grading.release import release
from lsdl.grading.stop import Stop, Stopped
from lsdl.grading.verdict import Verdict
from lsdl.intake import BadNotebook, Finding, Notebook, mend, parse
from lsdl.printable import printable

CONNECT_SECONDS = 20
TASK_HEADING = re.compile(r"^#{2,4} +(.+?)(?: \([^()]*points?[^()]*\))?[ #]*$", re.MULTILINE)
FULL_DISK = ("disk is full", "no space left", "disk i/o error", "quota exceeded")


@dataclass
class CellMark:
    """Points of one graded cell (None while a person has to grade it) and why points are missing."""

    points: float | None
    max_points: float
    message: str = ""
    manual: bool = False


@dataclass
class Row:
    """One student. `points` and `max_points` are the automatic ones; `note` explains a status other than ok.

    Attributes:
        older: attempts that did not count, by name.
        unsafe: the student's code ran without the whole sandbox.
        resumed: the result is that of an earlier run.
    """

    student: str
    status: str  # ok | repaired | failed | timeout | missing
    max_points: float
    manual_max_points: float
    points: float = 0
    note: str = ""
    findings: list[Finding] = field(default_factory=list)
    cells: dict[str, CellMark] = field(default_factory=dict)
    older: tuple[str, ...] = ()
    unsafe: bool = False
    resumed: bool = False

    @property
    def total(self) -> float:
        """Automatic points and those that people gave so far."""
        return _total([self.points, *(mark.points or 0 for mark in self.cells.values() if mark.manual)])

    @property
    def needs_a_person(self) -> bool:
        """Whether somebody has to look: nothing was graded, or not all, or points are to be given by hand."""
        return self.status in ("failed", "timeout") or any(mark.points is None for mark in self.cells.values())

    def as_json(self) -> dict[str, Any]:
        """The row as the report's JSON has it."""
        cells = {
            name: {"points": mark.points, "max_points": mark.max_points, "message": mark.message}
            for name, mark in self.cells.items()
        }
        keys = ("student", "status", "points", "max_points", "manual_max_points", "total", "note")
        row = {key: getattr(self, key) for key in keys} | {"older": list(self.older), "cells": cells}
        row["repaired"] = [asdict(finding) for finding in self.findings]
        return row | {"unsafe": True} if self.unsafe else row


@dataclass
class Report:
    """All rows of one run, in the order of the students' names, and what the instructor should know about the run."""

    week: str
    rows: list[Row]
    warnings: list[str]
    tasks: dict[str, list[str]] = field(
        default_factory=dict
    )  # name of the answer's cell -> automatic cells that test it
    sandbox: str = ""
    scale: Scale | None = None  # the points of the homework, its bonus beside them
    titles: dict[str, str] = field(default_factory=dict)  # name of the answer's cell -> heading of its task

    def write_json(self, path: Path) -> None:
        """Write {"week", "scale", "warnings", "submissions": [...]} to `path`, for this user only."""
        scale = asdict(self.scale) if self.scale else None
        data = {"week": self.week, "scale": scale, "warnings": self.warnings}
        data["submissions"] = [row.as_json() for row in self.rows]
        write_whole(path, json.dumps(data, indent=2, ensure_ascii=False) + "\n", private=True)


Progress = Callable[[Row, int, int], None]


def grade(
    week: Path,
    submissions: Path | None = None,
    *,
    key: Path | None = None,
    jobs: int = 1,
    scheduler: str | None = None,
    students: Collection[str] = (),
    regrade: bool = False,
    unsafe: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Grade the submissions of a week. Killed at any point and called again, it runs only what was not finished.

    Args:
        week: the week's folder.
        submissions: a folder or an archive in a form that collect.py names (default: gradebook/submitted; then every
            student in the gradebook has a row, with or without a submission).
        key: the file with the key of the hidden checks (default: that of the references in gradebook/, else demo.key).
        jobs: how many submissions run at once on this machine.
        scheduler: the address of a dask scheduler whose workers run them instead; they see the same files.
        students: only these, by the id in the report.
        regrade: also run again what is finished.
        unsafe: run without the whole sandbox where this machine cannot enforce it.
        progress: called after each student with the row, its number (from 1) and the number of rows.

    Returns:
        The report; a bad submission is a row in it.

    Raises:
        GradingError: the homework itself cannot be graded, nobody has such a name, or the disk is full.
        FileNotFoundError: `submissions` is neither a folder nor an archive.
        JailError: this machine cannot enforce the whole sandbox, and `unsafe` is not set.
        Stopped: Ctrl-C; it says how many students are finished.
    """
    from lsdl.author.references import prepare_hidden_references  # imports torch

    paths = WeekPaths.at(week)
    folder = submissions or paths.submitted
    title, due = _title_and_due(paths)
    entries = find_submissions(folder, paths.name, title)
    run = None
    try:
        with Stop() as stop, explained():
            make_private(paths)
            warnings = prepare_hidden_references(week, key)
            with stop.held():  # nbgrader would take Ctrl-C for an error
                release(week, check=False)
                recorder = GradebookWriter(paths)
            run = _GradingRun(paths, recorder, due, regrade, unsafe)
            run.add_rows(entries, folder, everybody=submissions is None, only=students, progress=progress)
            if not run.rows:
                raise GradingError(
                    f"{folder} has no homework of {paths.name}: give the folder that holds STUDENT/{paths.name}/homework.ipynb or "
                    "STUDENT.ipynb, or an archive from Moodle or Canvas."
                )
            warnings += run.goes_on
            with closing(run.results(jobs, scheduler)) as results:
                for result in results:
                    with stop.held():
                        run.finish(result, progress)
            run.add_manual_points()
            run.end()
    except Stopped:
        finished = f"{run.done} of {len(run.rows)} students are finished" if run else "nothing was run yet"
        raise Stopped(f"Stopped: {finished}. The same command goes on.") from None
    if any(row.unsafe for row in run.rows.values()):
        warnings.append(
            "Students' code ran without the whole sandbox (--unsafe): trust no mark of a class you do not trust."
        )
    return Report(
        paths.name,
        list(run.rows.values()),
        warnings,
        tasks(run.skeleton),
        describe_sandbox(),
        scale_of(paths.root, paths.name),
        titles(run.skeleton),
    )


class _GradingRun:
    """The state of one call of `grade`."""

    def __init__(
        self, week: WeekPaths, recorder: GradebookWriter, due: date | None, regrade: bool, unsafe: bool
    ) -> None:
        self.week, self.recorder, self.regrade, self.unsafe = week, recorder, regrade, unsafe
        self.skeleton = parse((week.release / "homework.ipynb").read_bytes())
        self.cells = scored_cells(self.skeleton["cells"])
        self.digest = digest_of_week(week)
        self.journal = Journal(week.journal)
        self.unread = Unread(week.unread)
        self.hand_ins = HandIns(week.hand_ins)
        self.collected: dict[str, HandIn] = {}
        self.regraded: Regraded | None = None
        self.rows: dict[str, Row] = {}
        self.jobs: list[Job] = []
        self.keys: dict[str, str] = {}
        self.handed_in: dict[str, datetime] = {}
        self.done = 0
        with recorder.api.gradebook as book:
            self.enrolled = {student.id for student in book.students}
            self.recorded = {submission.student_id for submission in book.assignment_submissions(week.name)}
            if due is not None:
                book.update_or_create_assignment(week.name, duedate=end_of_day(due))

    def add_rows(
        self,
        entries: list[Submission],
        folder: Path,
        *,
        everybody: bool,
        only: Collection[str],
        progress: Progress | None,
    ) -> None:
        """A row for every student; those that have something to run also get a job."""
        automatic = _total(cell.max_points for cell in self.cells if not cell.manual)
        manual = _total(cell.max_points for cell in self.cells if cell.manual)
        by_student = {entry.student: entry for entry in entries}
        names = sorted(by_student.keys() | (self.enrolled if everybody else set()))
        if only:
            unknown = set(only) - set(names)
            if unknown:
                known = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
                raise GradingError(f"Nobody is called {', '.join(sorted(unknown))}; there is {known or 'nobody'}.")
            names = [name for name in names if name in only]
        self.regraded = Regraded(self.week.regraded, names) if self.regrade else None
        self.rows = {name: Row(name, "missing", automatic, manual) for name in names}
        for name in names:
            self._prepare(self.rows[name], by_student.get(name, Submission(name, None)), folder, progress)

    def _prepare(self, row: Row, entry: Submission, folder: Path, progress: Progress | None) -> None:
        row.older = entry.older
        notes = [*entry.notes, *(f"An older attempt does not count: {name}." for name in entry.older)]
        row.note = " ".join(notes)
        try:
            if entry.path is None and not entry.problem:
                raise BadNotebook("Nothing was handed in.")
            data = read_bytes(entry, folder if folder.is_dir() else folder.parent)
            notebook, row.findings = mend(parse(data), self.skeleton)
        except BadNotebook as error:
            row.status = "missing" if entry.path is None else "failed"
            row.note = " ".join([str(error), *notes])
            if row.student in self.recorded:
                row.note += " The gradebook still holds the marks of an earlier attempt"
                row.note += "." if row.status == "missing" else ": lsdl scores shows them as open, feedback says so."
                if row.status == "failed":
                    self.unread.set(row.student, str(error))
            row.cells = {cell.name: CellMark(0, cell.max_points, manual=cell.manual) for cell in self.cells}
            self._say(row, progress)
            return
        self.keys[row.student] = key_of(self.digest, row.student, data)
        self.collected[row.student] = HandIn(
            _collected_as(entry, folder), tuple((item.problem, item.remedy, item.advice) for item in row.findings)
        )
        if entry.handed_in is not None:
            self.handed_in[row.student] = entry.handed_in
        again = self.regraded is not None and self.keys[row.student] not in self.regraded.keys
        known = None if again else self.journal.find(self.keys[row.student])
        # A gradebook that was moved away, or a result of an unsafe run, is no reason to trust the journal.
        if known is not None and row.student in self.recorded and (self.unsafe or not known.unsafe):
            row.resumed = True
            self.unread.set(row.student, None)
            self.hand_ins.set(row.student, self.collected[row.student])
            self._fill(row, known)
            self._say(row, progress)
        else:
            self.jobs.append(Job(self.week.folder, row.student, notebook))

    @property
    def goes_on(self) -> list[str]:
        """What to say where a --regrade that was stopped goes on."""
        if self.regraded is None or not self.regraded.keys:
            return []
        kept = sum(row.resumed for row in self.rows.values())
        return [
            f"A --regrade that was stopped goes on, {kept} students had been run; to begin anew delete {self.regraded.path}."
        ]

    def end(self) -> None:
        """Everybody was run."""
        if self.regraded is not None:
            self.regraded.end()

    def results(self, jobs: int, scheduler: str | None) -> Iterator[Result]:
        """The results of what is left to run, in the order in which they finish."""
        if not self.jobs:
            return
        if scheduler is not None:
            yield from run_on_cluster(scheduler, self.jobs, unsafe=self.unsafe)
            return
        yield from Workers(jobs, unsafe=self.unsafe).run(self.jobs)

    def finish(self, result: Result, progress: Progress | None) -> None:
        """First the gradebook, then the journal: what is in the journal is in the gradebook, whenever a kill comes."""
        row = self.rows[result.student]
        try:
            self.recorder.record(result)
            if result.student in self.handed_in:
                with self.recorder.api.gradebook as book:
                    time = self.handed_in[result.student]
                    book.update_or_create_submission(self.week.name, result.student, timestamp=time)
        except Exception as error:
            # A full disk or a locked database concerns everybody, anything else this submission.
            if isinstance(error, OSError) or "OperationalError" in type(error).__name__ or is_full_disk(error):
                raise
            why = f"The gradebook refused it: {type(error).__name__}: {error}"
            self._fill(row, replace(result, verdict=Verdict(failure=why)))
        else:
            self.recorded.add(result.student)
            self.unread.set(result.student, None)
            self.hand_ins.set(result.student, self.collected[result.student])
            self.journal.add(self.keys[result.student], result)
            if self.regraded is not None:
                self.regraded.add(self.keys[result.student])
            self._fill(row, result)
        self._say(row, progress)

    def _fill(self, row: Row, result: Result) -> None:
        verdict, row.unsafe = result.verdict, result.unsafe
        row.status = "timeout" if verdict.timed_out else "repaired" if row.findings else "ok"
        notes = [f"{finding}." for finding in row.findings] + [row.note]
        if verdict.timed_out:
            notes.insert(0, "A cell reached the time limit.")
        if verdict.failure is not None:
            row.status = "failed"
            notes.insert(0, verdict.failure)
        row.note = " ".join(filter(None, notes))
        for cell in self.cells:
            points = verdict.points.get(cell.name, 0 if verdict.failure is not None else None)
            message = "" if cell.manual else verdict.messages.get(cell.name, "")
            row.cells[cell.name] = CellMark(points, cell.max_points, message, cell.manual)
        row.points = _total(row.cells[cell.name].points or 0 for cell in self.cells if not cell.manual)

    def _say(self, row: Row, progress: Progress | None) -> None:
        # Notes and messages hold names and texts of strangers, and go to terminals, pages and tables.
        row.note, row.older = printable(row.note), tuple(map(printable, row.older))
        for mark in row.cells.values():
            mark.message = printable(mark.message)
        self.done += 1
        if progress is not None:
            progress(row, self.done, len(self.rows))

    def add_manual_points(self) -> None:
        """What people gave in formgrader is in the gradebook only, and may have come after the automatic marks."""
        with self.recorder.api.gradebook as book:
            for row in self.rows.values():
                if row.student not in self.recorded or row.status == "missing":
                    continue
                for mark in book.find_submission_notebook("homework", self.week.name, row.student).grades:
                    cell = row.cells.get(mark.name)
                    if cell is not None and cell.manual and mark.manual_score is not None:
                        cell.points = mark.manual_score


def run_on_cluster(address: str, jobs: list[Job], *, unsafe: bool = False) -> Iterator[Result]:
    """Run submissions on the workers of a dask scheduler, which see the same files as this machine.

    Raises:
        GradingError: dask.distributed is not installed, or no scheduler answers.
        JailError: a worker's machine cannot enforce the whole sandbox, and `unsafe` is not set.
    """
    try:
        from distributed import Client, as_completed
    except ImportError:
        raise GradingError("--scheduler needs dask.distributed: run pip install distributed.") from None
    try:
        client = Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise GradingError(f"No dask scheduler answers at {address}: {error}") from None
    with client:
        futures = {client.submit(run_job, job, unsafe=unsafe, pure=False): job for job in jobs}
        for future in as_completed(futures):
            job = futures.pop(future)
            try:
                yield future.result()
            except JailError:
                raise
            except Exception as error:  # the worker died under it several times, or lost its files
                why = f"The cluster could not run it: {type(error).__name__}: {error}"
                yield Result(job.student, job.notebook, Verdict(failure=why), unsafe)


def tasks(notebook: Notebook) -> dict[str, list[str]]:
    """The automatic cells by the answer that they test: by nbgrader's rule a test comes after its answer."""
    found: dict[str, list[str]] = {}
    task = "all"
    automatic = {cell.name for cell in scored_cells(notebook["cells"]) if not cell.manual}
    for cell in notebook["cells"]:
        name = grade_id(cell)
        if name in automatic:
            found.setdefault(task, []).append(name)
        elif name and role(cell, "solution"):
            task = name
    return found


def titles(notebook: Notebook) -> dict[str, str]:
    """The heading above each answer, by the name of the answer's cell; only where there is one."""
    found: dict[str, str] = {}
    heading = ""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown" and (title := TASK_HEADING.search(cell["source"])):
            heading = title[1]
        name = grade_id(cell)
        if name and role(cell, "solution") and heading:
            found[name] = heading
    return found


def describe_sandbox() -> str:
    """What this machine enforces on a student's code, in one line."""
    enforced = [
        f"{name} ({value})" if isinstance(value, str) else name for name, value in capabilities().items() if value
    ]
    lacking = missing()
    return f"{', '.join(enforced) or 'nothing is enforced'}{'; missing: ' + ' '.join(lacking) if lacking else ''}"


def end_of_day(due: date) -> datetime:
    """When a day ends where this machine stands, in UTC without a zone, as nbgrader stores times."""
    return datetime.combine(due + timedelta(days=1), time()).astimezone(UTC).replace(tzinfo=None)


@contextmanager
def explained() -> Iterator[None]:
    """Turns errors that concern the whole run into one sentence.

    Raises:
        GradingError: the disk is full, or the gradebook is locked.
    """
    try:
        yield
    except Exception as error:
        if is_full_disk(error):
            raise GradingError(
                "The disk is full: make room and run the same command again. What is finished was kept."
            ) from error
        if "database is locked" in str(error):
            raise GradingError(
                "Another program is writing the gradebook: end it (formgrader, another lsdl) and run the same command again."
            ) from error
        raise


def is_full_disk(error: BaseException) -> bool:
    """Whether an error, or one that it came from, says that there is no room; nbgrader passes some on as text only."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if any(said in str(cause).lower() for said in FULL_DISK):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def _collected_as(entry: Submission, folder: Path) -> str:
    """What a file was called where it was collected: in its archive, or below the folder."""
    if entry.members:
        return entry.members[0]
    return entry.path.relative_to(folder if folder.is_dir() else folder.parent).as_posix() if entry.path else ""


def _title_and_due(week: WeekPaths) -> tuple[str, date | None]:
    try:
        entry = load_course(week.root).weeks.get(week.name)
    except CourseError:
        return "", None
    return (entry.title, entry.due) if entry else ("", None)


def _total(points: Iterable[float]) -> float:
    return round(sum(points), 6)  # tenths of points add up to 9.999999999999998
