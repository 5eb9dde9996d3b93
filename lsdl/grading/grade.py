"""Grade a folder of submissions: every student has a row before anything runs, a row without marks has a reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lsdl.course import course_root
from lsdl.grading import GradingError
from lsdl.grading.autograder import Autograder, Verdict
from lsdl.grading.intake import BadNotebook, Finding, Notebook, find_submissions, grade_id, mend, parse, read_bytes
from lsdl.grading.release import release

DEMO_KEY = "demo.key"


@dataclass(frozen=True)
class GradedCell:
    """A cell that carries points; `manual`: a person gives them."""

    name: str
    max_points: float
    manual: bool


@dataclass
class CellMark:
    """Points of one graded cell (None while a person has to grade it) and why points are missing."""

    points: float | None
    max_points: float
    message: str = ""


@dataclass
class Row:
    """One student. `points` and `max_points` are the automatic ones; `note` explains a status other than ok."""

    student: str
    status: str  # ok | repaired | failed | timeout | missing
    max_points: float
    manual_max_points: float
    points: float = 0
    note: str = ""
    findings: list[Finding] = field(default_factory=list)
    cells: dict[str, CellMark] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The row as the report's JSON has it."""
        cells = {
            name: {"points": mark.points, "max_points": mark.max_points, "message": mark.message}
            for name, mark in self.cells.items()
        }
        keys = ("student", "status", "points", "max_points", "manual_max_points", "note")
        return {key: getattr(self, key) for key in keys} | {"cells": cells}


@dataclass
class Report:
    """All rows of one run, in the order of the students' names, and what the instructor should know about the run."""

    week: str
    rows: list[Row]
    warnings: list[str]

    def write_json(self, path: Path) -> None:
        """Write {"week", "warnings", "submissions": [...]} to `path`."""
        data = {"week": self.week, "warnings": self.warnings, "submissions": [row.as_json() for row in self.rows]}
        path.write_text(json.dumps(data, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def grade(
    week: Path,
    submissions: Path | None = None,
    *,
    key: Path | None = None,
    progress: Callable[[Row, int, int], None] | None = None,
) -> Report:
    """Grade every submission of a week.

    Args:
        week: the week's folder.
        submissions: nbgrader's submitted/STUDENT/WEEK/homework.ipynb or a flat folder of STUDENT.ipynb
            (default: gradebook/submitted; then every student in the gradebook has a row, with or without a submission).
        key: the file with the key of the hidden checks (default: that of the references in gradebook/, else demo.key).
        progress: called after each student with the row, its number (from 1) and the number of rows.

    Returns:
        The report; a bad submission is a row in it.

    Raises:
        GradingError: the homework itself cannot be graded.
        FileNotFoundError: `submissions` is not a folder.
    """
    root = course_root(week)
    folder = submissions or root / "gradebook" / "submitted"
    entries = find_submissions(folder, week.name)
    warnings = prepare_hidden_references(week, key)
    released = release(week, check=False)
    skeleton = parse((released / "homework.ipynb").read_bytes())
    cells = graded_cells(skeleton)
    automatic = _total(cell.max_points for cell in cells if not cell.manual)
    manual = _total(cell.max_points for cell in cells if cell.manual)

    grader = Autograder(root, week.name)
    rows = {entry.student: Row(entry.student, "missing", automatic, manual) for entry in entries}
    if submissions is None:
        with grader.api.gradebook as gradebook:
            for student in gradebook.students:
                rows.setdefault(student.id, Row(student.id, "missing", automatic, manual))
    rows = dict(sorted(rows.items()))
    by_student = {entry.student: entry for entry in entries}

    for number, (student, row) in enumerate(rows.items(), 1):
        entry = by_student.get(student)
        if entry is None or entry.path is None:
            row.note = "Nothing was handed in."
            _give_nothing(row, cells)
        else:
            try:
                notebook, row.findings = mend(parse(read_bytes(entry, folder)), skeleton)
            except BadNotebook as error:
                row.status, row.note = "failed", str(error)
                _give_nothing(row, cells)
            else:
                _judge(row, cells, grader, notebook)
        if progress is not None:
            progress(row, number, len(rows))
    return Report(week.name, list(rows.values()), warnings)


def graded_cells(notebook: Notebook) -> list[GradedCell]:
    """The cells of a homework that carry points, in their order."""
    found = []
    for cell in notebook["cells"]:
        entry = cell["metadata"].get("nbgrader", {})
        if entry.get("grade"):
            manual = bool(entry.get("solution")) or cell["cell_type"] != "code"
            found.append(GradedCell(str(grade_id(cell)), float(entry["points"]), manual))
    return found


def prepare_hidden_references(week: Path, key: Path | None = None) -> list[str]:
    """Write the hidden checks' references into gradebook/ if absent, older than the sources, or if `key` is given.

    Returns:
        What the report has to warn of: the demo key is public.

    Raises:
        GradingError: the key file is gone.
    """
    gradebook = course_root(week) / "gradebook"
    written = gradebook / "references" / f"{week.name}.safetensors"
    note = _key_note(week)
    used = key or (Path(note.read_text(encoding="utf-8")) if note.is_file() else gradebook / DEMO_KEY)
    sources = [week / "homework.ipynb", week / "helpers.py", *(week / "instructor").glob("*.py")]
    newest = max(path.stat().st_mtime for path in sources if path.is_file())
    if key is not None or not written.is_file() or written.stat().st_mtime < newest:
        if not used.is_file():
            raise GradingError(f"The key file {used} does not exist: give the instructor's key with --key FILE.")
        from lsdl.references import write_references

        written.parent.mkdir(parents=True, exist_ok=True)
        write_references(week, key=used.read_bytes())
        remember_key(week, used)
    if used.name == DEMO_KEY:
        return ["The hidden checks use the public demo key: for a real class, make one and pass it with --key FILE."]
    return []


def remember_key(week: Path, key: Path) -> None:
    """Note which file the hidden references of a week were made with, so that a later run needs no --key.

    Only the file's path is written, into gradebook/, which git ignores.
    """
    note = _key_note(week)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(str(key.resolve()), encoding="utf-8")


def _key_note(week: Path) -> Path:
    return course_root(week) / "gradebook" / "references" / f"{week.name}.key-file"


def _total(points: Iterable[float]) -> float:
    return round(sum(points), 6)  # tenths of points add up to 9.999999999999998


def _give_nothing(row: Row, cells: list[GradedCell]) -> None:
    row.cells = {cell.name: CellMark(0, cell.max_points) for cell in cells}


def _judge(row: Row, cells: list[GradedCell], grader: Autograder, notebook: Notebook) -> None:
    verdict: Verdict = grader.grade(row.student, notebook)
    if verdict.failure is not None:
        row.status, row.note = "failed", verdict.failure
        _give_nothing(row, cells)
        return
    row.status = "timeout" if verdict.timed_out else "repaired" if row.findings else "ok"
    row.note = "; ".join(map(str, row.findings))
    if verdict.timed_out:
        row.note = "; ".join(filter(None, ["A cell reached the time limit", row.note]))
    for cell in cells:
        points = verdict.points.get(cell.name)
        message = "" if cell.manual else verdict.messages.get(cell.name, "")
        row.cells[cell.name] = CellMark(points, cell.max_points, message)
    row.points = _total(row.cells[cell.name].points or 0 for cell in cells if not cell.manual)
