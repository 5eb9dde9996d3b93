"""Grade a class: every student has a row before anything runs, a row without marks has a reason, a killed run goes on."""

from __future__ import annotations

import errno
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from lsdl.author.course import WeekPaths
from lsdl.cells import grade_id, role, scored_cells, source_of
from lsdl.files import write_whole
from lsdl.grading import GradingError
from lsdl.grading.autograder import GradebookWriter, Job, Result, Workers, run_job
from lsdl.grading.collect import Submission
from lsdl.grading.hand_ins import HandIn, read_all, title_and_due
from lsdl.grading.jail import JailError, capabilities, missing
from lsdl.grading.journal import (
    Collected,
    CollectedHandIns,
    Journal,
    Regraded,
    Unread,
    digest_of_week,
    key_of,
    open_by_hand,
)
from lsdl.grading.nbgrader_course import make_private, one_writer
from lsdl.grading.points import Scale, scale_of
from lsdl.grading.refusals import explained, is_full_disk
from lsdl.grading.release import release
from lsdl.grading.roster import NOT_LISTED, Roster, about_strangers, add_unlisted, read_roster
from lsdl.grading.stop import Stop, Stopped
from lsdl.grading.verdict import Verdict
from lsdl.intake import BadNotebook, Finding, Notebook, mend, parse
from lsdl.printable import printable

CONNECT_SECONDS = 20
TASK_HEADING = re.compile(r"^#{2,4} +(.+?)(?: \([^()]*points?[^()]*\))?[ #]*$", re.MULTILINE)
OF_ONE_NAME = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ELOOP)


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
    again: list[str] = field(default_factory=list)  # what somebody has to look at though it has points

    @property
    def total(self) -> float:
        """Automatic points and those that people gave so far."""
        return _total([self.points, *(mark.points or 0 for mark in self.cells.values() if mark.manual)])

    @property
    def needs_a_person(self) -> bool:
        """Whether somebody has to look: nothing was graded, or not all, or points are to be given by hand."""
        waits = self.again or any(mark.points is None for mark in self.cells.values())
        return bool(waits) or self.status in ("failed", "timeout")

    def as_json(self) -> dict[str, Any]:
        """The row as the report's JSON has it."""
        cells = {
            name: {"points": mark.points, "max_points": mark.max_points, "message": mark.message}
            for name, mark in self.cells.items()
        }
        keys = ("student", "status", "points", "max_points", "manual_max_points", "total", "note")
        row = {key: getattr(self, key) for key in keys} | {"older": list(self.older), "cells": cells}
        row["repaired"] = [
            {"problem": finding.problem, "remedy": finding.remedy, "advice": finding.advice}
            for finding in self.findings
        ]
        return row | {"unsafe": True} if self.unsafe else row


@dataclass
class Report:
    """All rows of one run, in the order of the students' names, and what the instructor should know about the run.

    Attributes:
        whole: the newest row of everybody who was graded in this week, in this run or another: an archive may hold a part of
            the class, and one student may be graded alone.
    """

    week: str
    rows: list[Row]
    warnings: list[str]
    tasks: dict[str, list[str]] = field(
        default_factory=dict
    )  # name of the answer's cell -> automatic cells that test it
    sandbox: str = ""
    scale: Scale | None = None  # the points of the homework, its bonus beside them
    titles: dict[str, str] = field(default_factory=dict)  # name of the answer's cell -> heading of its task
    whole: list[Row] = field(default_factory=list)

    def of_the_week(self) -> Report:
        """The report with everybody's row."""
        return replace(self, rows=self.whole or self.rows)

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
    encoding: str | None = None,
    names: Path | None = None,
    guests: bool = False,
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
        encoding: that of the names in archives which do not say it (collect.py).
        names: a table of names in the export and ids on the class list, for those that it does not explain (roster.py).
        guests: also grade who is not on the class list, where there is one.
        progress: called after each student with the row, its number (from 1) and the number of rows.

    Returns:
        The report; a bad submission is a row in it.

    Raises:
        GradingError: the homework itself cannot be graded, nobody has such a name, another command is grading, or the disk
            is full.
        FileNotFoundError: `submissions` is neither a folder nor an archive.
        JailError: this machine cannot enforce the whole sandbox, and `unsafe` is not set.
        Stopped: Ctrl-C; it says how many students are finished.
    """
    from lsdl.author.references import prepare_hidden_references  # imports torch

    paths = WeekPaths.at(week)
    folder = submissions or paths.submitted
    title, due = title_and_due(paths)
    with explained():
        roster = read_roster(paths.root, names)
    hand_ins, notes = read_all(paths, folder, title, roster, encoding, some=bool(students))
    nothing = GradingError(
        f"{folder} has no homework of {paths.name}: give the folder that holds STUDENT/{paths.name}/homework.ipynb or "
        "STUDENT.ipynb, or an archive from Moodle or Canvas."
    )
    if not hand_ins and submissions is not None:
        raise nothing
    run = None
    try:
        with Stop() as stop, explained(), one_writer(paths):
            make_private(paths)
            warnings = [*prepare_hidden_references(week, key), *notes]
            with stop.held():  # nbgrader would take Ctrl-C for an error
                release(week, check=False)
                recorder = GradebookWriter(paths)
            run = _GradingRun(paths, recorder, due, regrade, unsafe)
            run.roster, run.guests = roster, guests
            run.folder = folder
            run.add_rows(hand_ins, everybody=submissions is None, only=students, progress=progress)
            if not run.rows:
                raise nothing
            warnings += run.goes_on
            with closing(run.results(jobs, scheduler)) as results:
                for result in results:
                    with stop.held():
                        run.finish(result, progress)
            whole = run.whole_week(str(folder.absolute()), complete=not students)
            run.add_manual_points([*run.rows.values(), *whole])
            run.end()
    except Stopped:
        finished = f"{run.done} of {len(run.rows)} students are finished" if run else "nothing was run yet"
        raise Stopped(f"Stopped: {finished}. The same command goes on.") from None
    if any(row.unsafe for row in run.rows.values()):
        warnings.append(
            "Students' code ran without the whole sandbox (--unsafe): trust no mark of a class you do not trust."
        )
    everybody = sorted((run.rows | {row.student: row for row in whole}).values(), key=lambda row: row.student)
    warnings += run.about_strangers(everybody)
    return Report(
        paths.name,
        list(run.rows.values()),
        warnings,
        tasks(run.skeleton),
        describe_sandbox(),
        scale_of(paths.root, paths.name),
        titles(run.skeleton),
        everybody,
    )


class _GradingRun:
    """The state of one call of `grade`."""

    def __init__(
        self, week: WeekPaths, recorder: GradebookWriter, due: date | None, regrade: bool, unsafe: bool
    ) -> None:
        self.week, self.recorder, self.regrade, self.unsafe = week, recorder, regrade, unsafe
        self.skeleton = parse((week.release / "homework.ipynb").read_bytes())
        self.cells = scored_cells(self.skeleton["cells"])
        self.manual = {cell.name for cell in self.cells if cell.manual}
        self.digest = digest_of_week(week)
        self.journal = Journal(week.journal)
        self.unread = Unread(week.unread)
        self.hand_ins = CollectedHandIns(week.hand_ins)
        self.collected: dict[str, Collected] = {}
        self.folder = week.submitted
        self.roster, self.guests = Roster(), False
        self.refused: set[str] = set()  # who is not on the class list
        self.regraded: Regraded | None = None
        self.rows: dict[str, Row] = {}
        self.jobs: list[Job] = []
        self.keys: dict[str, str] = {}
        self.handed_in: dict[str, datetime] = {}
        self.finished: dict[str, Result] = {}  # by an earlier run
        self.done = 0
        with recorder.api.gradebook as book:
            self.enrolled = {student.id for student in book.students}
            self.recorded = {submission.student_id for submission in book.assignment_submissions(week.name)}
            if due is not None:
                book.update_or_create_assignment(week.name, duedate=end_of_day(due))

    def add_rows(
        self,
        hand_ins: list[HandIn],
        *,
        everybody: bool,
        only: Collection[str],
        progress: Progress | None,
    ) -> None:
        """A row for every student; those that have something to run also get a job.

        Args:
            everybody: the source is the class's own folder, so that who is not in it handed in nothing; otherwise only who
                has no marks of this week yet, as there may be an archive for each part of a class.
        """
        automatic = _total(cell.max_points for cell in self.cells if not cell.manual)
        manual = _total(cell.max_points for cell in self.cells if cell.manual)
        by_student = {item.entry.student: item for item in hand_ins}
        names = sorted(by_student.keys() | (self.enrolled if everybody else self.enrolled - self.recorded))
        if only:
            unknown = set(only) - set(names)
            if unknown:
                known = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
                raise GradingError(f"Nobody is called {', '.join(sorted(unknown))}; there is {known or 'nobody'}.")
            names = [name for name in names if name in only]
        self.regraded = Regraded(self.week.regraded, names) if self.regrade else None
        self.rows = {name: Row(name, "missing", automatic, manual) for name in names}
        nothing = "Nothing was handed in."
        for name in names:
            self._prepare(self.rows[name], by_student.get(name, HandIn(Submission(name, None), why=nothing)))
        self._count_variants()
        waiting = {job.student for job in self.jobs}
        for name, row in self.rows.items():
            if name in self.finished:
                row.resumed = True
                self._fill(row, self.finished[name])
            if name not in waiting:
                self._say(row, progress)

    def _prepare(self, row: Row, item: HandIn) -> None:
        entry = item.entry
        row.older = entry.older
        notes = entry.remarks
        row.note = " ".join(notes)
        try:
            if entry.path is not None and not self.guests and self.roster.is_stranger(row.student):
                self.refused.add(row.student)
                raise BadNotebook(NOT_LISTED)
            if item.notebook is None or item.why:
                raise BadNotebook(item.why)
            notebook, row.findings = mend(item.notebook, self.skeleton)
        except BadNotebook as error:
            row.status = "missing" if entry.path is None else "failed"
            row.note = " ".join([str(error), *notes])
            if row.status == "missing" and row.student in self.unread.students:
                row.note += f" What came before could not be read: {self.unread.students[row.student]}"
            if row.student in self.recorded:
                row.note += " The gradebook still holds the marks of an earlier attempt"
                row.note += "." if row.status == "missing" else ": lsdl scores shows them as open, feedback says so."
            if row.status == "failed" and row.student not in self.refused:
                self.unread.set(row.student, str(error))
            row.cells = {cell.name: CellMark(0, cell.max_points, manual=cell.manual) for cell in self.cells}
            return
        self.keys[row.student] = key_of(self.digest, row.student, item.data)
        self.collected[row.student] = Collected(
            _collected_as(entry, self.folder), tuple((item.problem, item.remedy, item.advice) for item in row.findings)
        )
        if entry.handed_in is not None:
            self.handed_in[row.student] = entry.handed_in
        again = self.regraded is not None and self.keys[row.student] not in self.regraded.keys
        known = None if again else self.journal.find(self.keys[row.student])
        # A gradebook that was moved away, or a result of an unsafe run, is no reason to trust the journal.
        if known is not None and row.student in self.recorded and (self.unsafe or not known.unsafe):
            self.unread.set(row.student, None)
            self.hand_ins.set(row.student, self.collected[row.student])
            self.finished[row.student] = known
        else:
            self.jobs.append(Job(self.week.folder, row.student, notebook))

    def _count_variants(self) -> None:
        """Say how many have the same text that differs from the release: one edits, a version is what many have."""
        count = Counter(finding.variant for row in self.rows.values() for finding in row.findings if finding.variant)
        for row in self.rows.values():
            for place, finding in enumerate(row.findings):
                if finding.variant:
                    number = count[finding.variant]
                    said = "1 student has this one" if number == 1 else f"{number} students have this one"
                    row.findings[place] = replace(finding, problem=f"{finding.problem} ({said})")

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
            texts = {
                grade_id(cell): source_of(cell)
                for cell in result.executed.get("cells", [])
                if grade_id(cell) in self.manual
            }
            absent = {finding.absent for finding in row.findings} & self.manual
            if result.student not in self.enrolled:
                add_unlisted(self.week.root, result.student)
            self.journal.begin(result.student, texts, absent, self._settled_by_hand(result.student))
            self.recorder.record(result)
            if result.student in self.handed_in:
                with self.recorder.api.gradebook as book:
                    time = self.handed_in[result.student]
                    book.update_or_create_submission(self.week.name, result.student, timestamp=time)
        except Exception as error:
            # A full disk or a locked database concerns everybody; a name that the disk does not take, this submission.
            of_the_machine = isinstance(error, OSError) and error.errno not in OF_ONE_NAME
            if of_the_machine or "OperationalError" in type(error).__name__ or is_full_disk(error):
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

    def _settled_by_hand(self, student: str) -> list[str]:
        """The cells that a person graded as the gradebook holds them."""
        from nbgrader.api import MissingEntry

        if student not in self.recorded:
            return []
        with self.recorder.api.gradebook as book:
            try:
                marks = book.find_submission_notebook("homework", self.week.name, student).grades
            except MissingEntry:  # a kill came while nbgrader wrote
                return []
            return [mark.name for mark in marks if mark.manual_score is not None and not mark.needs_manual_grade]

    def _fill(self, row: Row, result: Result) -> None:
        verdict, row.unsafe = result.verdict, result.unsafe
        row.status = "timeout" if verdict.timed_out else "repaired" if row.findings else "ok"
        notes = [*(f"{finding}." for finding in row.findings), row.note]
        notes = [*verdict.notes, *notes] if verdict.timed_out else [*notes, *verdict.notes]
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

    def whole_week(self, source: str, *, complete: bool) -> list[Row]:
        """Keep the rows of this run, and give those of earlier runs whom this one did not look at.

        Args:
            source: the folder or archive.
            complete: the run looked at everybody in it; who was there before, was never recorded and is gone, was misnamed.
        """
        stored = json.loads(self.week.rows.read_text("utf-8")) if self.week.rows.is_file() else {}
        others = {}
        for name, entry in stored.items():
            seen = name in self.rows and self.rows[name].status != "missing"
            gone = complete and entry["source"] == source and name not in self.recorded
            if gone and name not in self.rows:
                self.unread.set(name, None)
            elif not seen and (name in self.recorded or entry["row"]["status"] == "failed"):
                others[name] = entry
        kept = self.rows.keys() - others.keys() - (self.refused - self.recorded)
        own = {name: {"source": source, "row": asdict(row)} for name, row in self.rows.items() if name in kept}
        write_whole(self.week.rows, json.dumps(others | own, indent=1))
        return [_row_from(entry["row"]) for entry in others.values()]

    def about_strangers(self, rows: Iterable[Row]) -> list[str]:
        """What to say of those who are not on the class list."""
        strangers = [row.student for row in rows if self.roster.is_stranger(row.student) and row.status != "missing"]
        graded = [name for name in strangers if name not in self.refused]
        lines = about_strangers([name for name in strangers if name in self.refused], graded)
        if graded:
            lines[-1] += " For a name that a wrong file made: lsdl forget NAME."
        return lines

    def add_manual_points(self, rows: Iterable[Row]) -> None:
        """What people gave in formgrader is in the gradebook only, and may have come after the automatic marks."""
        with self.recorder.api.gradebook as book:
            for row in rows:
                if row.student not in self.recorded or row.status == "missing":
                    continue
                marks = book.find_submission_notebook("homework", self.week.name, row.student).grades
                for mark in marks:
                    cell = row.cells.get(mark.name)
                    if cell is not None and cell.manual and mark.manual_score is not None:
                        cell.points = mark.manual_score
                if row.status != "failed":
                    row.again = list(open_by_hand(self.journal, row.student, marks).values())
                    row.note = " ".join(filter(None, [*(f"{why}." for why in row.again), row.note]))


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


def _collected_as(entry: Submission, folder: Path) -> str:
    """What a file was called where it was collected: in its archive, or below the folder."""
    if entry.members:
        return entry.members[0]
    return entry.path.relative_to(folder if folder.is_dir() else folder.parent).as_posix() if entry.path else ""


def _row_from(entry: dict[str, Any]) -> Row:
    """A row as `whole_week` stores it."""
    cells = {name: CellMark(**mark) for name, mark in entry["cells"].items()}
    findings = [Finding(**finding) for finding in entry["findings"]]
    return Row(**entry | {"cells": cells, "findings": findings, "older": tuple(entry["older"]), "resumed": True})


def _total(points: Iterable[float]) -> float:
    return round(sum(points), 6)  # tenths of points add up to 9.999999999999998
