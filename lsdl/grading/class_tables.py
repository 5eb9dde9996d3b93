"""What the instructor says of a class in tables: who may hand in later, and when something was handed in.

Both are kept in gradebook/, so that every command that counts lateness reads the same: `lsdl scores`, `final`, `feedback` and `handback`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from pathlib import Path

from lsdl.author.course import CoursePaths, WeekPaths, load_course
from lsdl.files import write_whole
from lsdl.grading import GradingError
from lsdl.grading.csv_tables import csv_text, read_csv
from lsdl.grading.grade import end_of_day
from lsdl.grading.journal import Unread
from lsdl.grading.nbgrader_course import open_course
from lsdl.grading.roster import read_roster
from lsdl.grading.times import EXAMPLE, utc


class Extensions:
    """Who may hand in later: a table with the columns student, homework, until (a day, such as 2026-10-05).

    Args:
        path: the file, gradebook/extensions.csv; made with the first one.

    Raises:
        GradingError: it is no such table.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.until: dict[tuple[str, str], date] = {}
        for line in read_csv(path, {"student", "homework", "until"}) if path.is_file() else []:
            try:
                self.until[line["student"], line["homework"]] = date.fromisoformat(line["until"])
            except ValueError:
                raise GradingError(f"{path}: {line['until']!r} is no day; write it like 2026-10-05.") from None

    def of(self, student: str, week: str, due: date | None) -> timedelta:
        """How much longer than `due` a student has; nothing where the day is before it."""
        until = self.until.get((student, week))
        return max(timedelta(), end_of_day(until) - end_of_day(due)) if until and due else timedelta()

    def set(self, student: str, week: str, until: date | None) -> None:
        """Give a student an extension, or with None take it back.

        Raises:
            OSError: the file cannot be written.
        """
        self.until.pop((student, week), None)
        if until is not None:
            self.until[student, week] = until
        lines = [[*who, day.isoformat()] for who, day in sorted(self.until.items())]
        write_whole(self.path, csv_text([["student", "homework", "until"], *lines]), private=True)


def change_extension(week: Path, student: str, *, until: str | None = None, days: int | None = None) -> str:
    """Give a student of a week an extension, or with neither day nor number take it back.

    Args:
        week: the week's folder.
        student: the id in the report, or the name or login on the class list.
        until: the last day, as 2026-10-05.
        days: so many days after the due date.

    Returns:
        A line that says what holds now.

    Raises:
        GradingError: the homework has no due date, `until` is no day after it, nobody is known by that name, or there is nothing to take back.
    """
    paths = WeekPaths.at(week)
    entry = load_course(paths.root).weeks.get(paths.name)
    known = Extensions(paths.extensions)
    if until is None and days is None:
        if (student, paths.name) not in known.until:
            student = known_as(paths.root, [student])[student]
        if (student, paths.name) not in known.until:
            raise GradingError(f"{student} has no extension for {paths.name}: lsdl extension lists all.")
        known.set(student, paths.name, None)
        return f"{student}, {paths.name}: no extension"
    if entry is None or entry.due is None:
        raise GradingError(f"{paths.name} has no due date in course.toml, so nothing can be extended.")
    try:
        day = date.fromisoformat(until) if until is not None else entry.due + timedelta(days=days or 0)
    except ValueError:
        raise GradingError(f"{until!r} is no day; write it like 2026-10-05.") from None
    if day <= entry.due:
        raise GradingError(f"{day} is not after {entry.due}, when {paths.name} is due: give a later day, or --remove.")
    student = known_as(paths.root, [student])[student]
    known.set(student, paths.name, day)
    unsure = "" if read_roster(paths.root).students else " (there is no class list yet: mind the spelling)"
    return f"{student}, {paths.name}: until {day} instead of {entry.due}{unsure}"


class HandInTimes:
    """When something was handed in, as the instructor said it: in UTC without a zone, by student and homework.

    Args:
        path: a table with the columns student, homework, handed_in (such as 2026-10-02 09:30, local time unless it says
            otherwise with Z, +02:00 or Europe/Berlin): gradebook/times.csv, or one that was given.

    Raises:
        GradingError: it is no such table, a time is not clear, or something is there twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.of: dict[tuple[str, str], datetime] = {}
        for line in read_csv(path, {"student", "homework", "handed_in"}) if path.is_file() else []:
            text, key = line["handed_in"], (line["student"], line["homework"])
            time = utc(text)
            if time is None:
                zones = "with Z, +02:00 or Europe/Berlin after it if it is not the time of this machine"
                raise GradingError(f"{path}: {text!r} is not clear; write it like {EXAMPLE}, {zones}.")
            if key in self.of:
                raise GradingError(f"{path}: {key[0]} is there twice for {key[1]}.")
            self.of[key] = time

    def add(self, times: dict[tuple[str, str], datetime]) -> None:
        """Keep times; those that were there of others stay.

        Raises:
            OSError: the file cannot be written.
        """
        self.of |= times
        lines = [[*key, f"{time.isoformat(sep=' ')}Z"] for key, time in sorted(self.of.items())]
        write_whole(self.path, csv_text([["student", "homework", "handed_in"], *lines]), private=True)


def remember_times(root: Path, given: Path) -> None:
    """Take the times of a table into the gradebook, for every command that counts lateness.

    Raises:
        GradingError: it is no such table, or names a homework or a student that is not there.
    """
    times = HandInTimes(given).of
    with open_course(root).gradebook as book:
        unknown = {week for _, week in times} - {item.name for item in book.assignments}
    if unknown:
        raise GradingError(f"{given} names homeworks that are not in the gradebook: {', '.join(sorted(unknown))}.")
    ids = known_as(root, {student for student, _ in times})
    HandInTimes(CoursePaths(root).times).add({(ids[student], week): time for (student, week), time in times.items()})


def known_as(root: Path, names: Iterable[str]) -> dict[str, str]:
    """The id of everybody whom the instructor names; as it is while there is neither a class list nor a report.

    Raises:
        GradingError: somebody is on no list and in no report; it says who is called alike.
    """
    paths, roster, known = CoursePaths(root), read_roster(root), set()
    if paths.database.is_file():
        with open_course(root).gradebook as book:
            known = {student.id for student in book.students}
            for assignment in book.assignments:  # who handed in nothing that could be read is in no gradebook
                known |= Unread(WeekPaths(root, assignment.name).unread).students.keys()
    found = {name: roster.find(name) or name for name in names}
    strangers = sorted(name for name, student in found.items() if known and student not in known)
    if strangers:
        shown = ", ".join(name + roster.alike(name, known) for name in strangers[:5])
        raise GradingError(
            f"On no class list and in no report: {shown}. Write the id as the report has it, or add a student with "
            "cd gradebook && nbgrader db student add ID."
        )
    return found
