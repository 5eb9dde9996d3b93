"""A student whom a wrong folder or name made: taken out of the gradebook. What was handed in is never touched."""

from __future__ import annotations

import shutil
from pathlib import Path

from lsdl.author.course import CoursePaths, WeekPaths, find_weeks
from lsdl.grading import GradingError
from lsdl.grading.collect import safe_id
from lsdl.grading.journal import forget_student, noted_students
from lsdl.grading.nbgrader_course import one_writer, open_course
from lsdl.grading.points import plain
from lsdl.grading.roster import drop_unlisted, read_roster


def forget(root: Path, student: str, *, marks: bool = False) -> list[str]:
    """Delete a student's entries in the gradebook and the journals, and what was made of the hand-ins.

    Args:
        root: the course's repository.
        student: the id in the report.
        marks: also where there are points, something to grade by hand, or a place on the class list.

    Returns:
        What was deleted and what is still there, in sentences.

    Raises:
        GradingError: nobody is called so; another command is grading; there is something of value, and `marks` is not set.
    """
    paths = CoursePaths(root)
    weeks = [WeekPaths.at(folder) for folder in find_weeks(root)]
    with one_writer(paths):
        noted = [week for week in weeks if student in noted_students(week)]
        listed = student in read_roster(root).students
        worth = _marks_of(paths, student)
        if worth is None and not noted:
            raise GradingError(f"Nobody is called {student}: give the name as the report has it.")
        value = [*(worth or []), *(["a place on the class list"] if listed else [])]
        if value and not marks:
            raise GradingError(f"{student} has {', '.join(value)}: to delete this, too, add --marks.")
        if worth is not None:
            with open_course(root).gradebook as book:
                book.remove_student(student)
        drop_unlisted(root, student)
        for week in weeks:
            forget_student(week, student)
        if student == safe_id(student):  # else no folder was ever made of it
            for folder in (paths.intake, paths.autograded, paths.gradebook / "feedback"):
                shutil.rmtree(folder / student, ignore_errors=True)
    lines = [f"{student} is forgotten. Deleted: {', '.join(value) or 'nothing that had points'}."]
    if (paths.submitted / student).exists():
        lines.append(f"{paths.submitted / student} stays: move it away, or the next lsdl grade finds it again.")
    return [*lines, "The next lsdl grade renews the report."]


def _marks_of(paths: CoursePaths, student: str) -> list[str] | None:
    """What somebody could miss, for each homework; None if the gradebook does not know the student."""
    from nbgrader.api import MissingEntry

    if not paths.database.is_file():
        return None
    with open_course(paths.root).gradebook as book:
        try:
            found = book.find_student(student).submissions
        except MissingEntry:
            return None
        told = [
            (one.assignment.name, one.score, "something to grade by hand" if one.needs_manual_grade else "")
            for one in found
        ]
    return [
        f"{' and '.join(filter(None, [f'{plain(score)} points' if score else '', open_]))} in {week}"
        for week, score, open_ in told
        if score or open_
    ]
