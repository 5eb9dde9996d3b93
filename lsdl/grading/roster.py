"""Whose name in an export is who on the class list: Canvas adds a number, Moodle writes the full name, a list may have logins.

The class list is nbgrader's (`nbgrader db student import students.csv`: id, first_name, last_name, email, lms_user_id). Whom grading
itself added to the gradebook is not on it, until a list with a name, an address or a number for that id is imported.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from lsdl.author.course import CoursePaths
from lsdl.files import write_whole
from lsdl.grading import GradingError
from lsdl.grading.csv_tables import read_csv
from lsdl.grading.nbgrader_course import open_course
from lsdl.printable import printable

WHO_ARE_THEY = (
    "Say who they are with --names FILE, add them to the class list, or grade them as they are with --guests."
)
NOT_LISTED = (
    "This name is not on the class list, so nothing was graded: say who it is with --names FILE, add it to the class list, or "
    "grade it with --guests."
)
CANVAS_NAME = re.compile(r"(?P<name>.*)_(?P<user>\d+)")


@dataclass(frozen=True)
class Listed:
    """Somebody on the class list."""

    student: str
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    lms_user_id: str = ""


class Roster:
    """The class list, and a file for the names that it does not explain.

    Args:
        listed: who is on it.
        names: name in an export -> id on the class list.
        added: who is in the gradebook, but not on the list.

    Attributes:
        students: the ids on the class list.
    """

    def __init__(
        self, listed: Iterable[Listed] = (), names: Mapping[str, str] | None = None, added: Iterable[str] = ()
    ) -> None:
        self.students = {person.student for person in listed}
        self._added = {student: folded(student) for student in added}
        self._said = {unicodedata.normalize("NFC", name): student for name, student in (names or {}).items()}
        self._by_number: dict[str, set[str]] = {}
        self._by_name: dict[str, set[str]] = {}
        for person in listed:
            if person.lms_user_id:
                self._by_number.setdefault(person.lms_user_id, set()).add(person.student)
            full = (person.first_name + person.last_name, person.last_name + person.first_name)
            for name in (person.student, *full, person.email, person.email.partition("@")[0]):
                if key := folded(name):
                    self._by_name.setdefault(key, set()).add(person.student)

    def find(self, name: str, number: str = "") -> str | None:
        """The id of whom an export calls so; None if nobody, or more than one, can be meant.

        Args:
            name: Moodle's full name, Canvas's name and number, or the name of a file or folder.
            number: Moodle's, which the file of names may use where two share a name.
        """
        for said in (f"{name} {number}", name):
            if said in self._said:
                return self._said[said]
        if name in self.students:
            return name
        canvas = CANVAS_NAME.fullmatch(name)
        by_number = self._by_number.get(canvas["user"], set()) if canvas else set()
        if len(by_number) == 1:
            return next(iter(by_number))
        by_name = self._by_name.get(folded(canvas["name"] if canvas else name), set())
        if not by_name and name not in self._added:
            by_name = {student for student, key in self._added.items() if key == folded(name)}
        return next(iter(by_name)) if len(by_name) == 1 else name if name in self._added else None

    def is_stranger(self, student: str) -> bool:
        """Whether there is a class list, and this id is not on it."""
        return bool(self.students) and student not in self.students

    def alike(self, name: str, others: Iterable[str] = ()) -> str:
        """A hint at who may be meant by a name that `find` does not know: " (is it ada?)", or nothing.

        Args:
            others: ids that are not on the class list.
        """
        known = self._by_name | {folded(student): {student} for student in others}
        for text in (name, *name.split()):
            if near := get_close_matches(folded(text), known, 1):
                return f" (is it {' or '.join(sorted(known[near[0]]))}?)"
        return ""


def folded(name: str) -> str:
    """A name without what systems write differently: case, accents, blanks, order marks."""
    plain = unicodedata.normalize("NFKD", name).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def about_strangers(refused: Iterable[str], graded: Iterable[str]) -> list[str]:
    """What to say of those who are not on the class list, in at most two lines."""
    lines = []
    for what, names, advice in (("so not graded", refused, f" {WHO_ARE_THEY}"), ("but graded", graded, "")):
        if shown := [printable(name) for name in names]:
            lines.append(f"Not on the class list, {what} ({len(shown)}): {', '.join(shown)}.{advice}")
    return lines


def read_roster(root: Path, names: Path | None = None) -> Roster:
    """The class list in the gradebook of a course, empty if there is none yet.

    Args:
        root: the course's repository.
        names: a CSV file with the columns name (as the export has it) and student (an id on the class list).

    Raises:
        GradingError: the file is not such a table, or has an id that is not on the class list.
    """
    listed: list[Listed] = []
    added = _added(root)
    if CoursePaths(root).database.is_file():
        with open_course(root).gradebook as book:
            for person in book.students:
                rest = (person.first_name, person.last_name, person.email, person.lms_user_id)
                if any(rest) or person.id not in added:
                    listed.append(Listed(person.id, *(str(value or "") for value in rest)))
    roster = Roster(listed, _read_names(names) if names else {}, added - {person.student for person in listed})
    unknown = sorted(set(roster._said.values()) - roster.students)
    if unknown and roster.students:
        raise GradingError(f"{names} has students who are not on the class list: {', '.join(unknown[:5])}.")
    return roster


def add_unlisted(root: Path, student: str) -> None:
    """Note that a hand-in, not the class list, brings this student into the gradebook.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    if student not in (known := _added(root)):
        write_whole(CoursePaths(root).added, json.dumps(sorted(known | {student}), indent=1))


def drop_unlisted(root: Path, student: str) -> None:
    """The student left the gradebook.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    if student in (known := _added(root)):
        write_whole(CoursePaths(root).added, json.dumps(sorted(known - {student}), indent=1))


def _added(root: Path) -> set[str]:
    file = CoursePaths(root).added
    return set(json.loads(file.read_text("utf-8"))) if file.is_file() else set()


def _read_names(path: Path) -> dict[str, str]:
    lines = read_csv(path, {"name", "student"})
    found = {line["name"]: line["student"] for line in lines}
    if len(found) < len(lines):
        raise GradingError(f"{path} has a name twice: add Moodle's number to it, as in 'Ada Lovelace 101'.")
    return found
