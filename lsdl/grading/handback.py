"""What goes back to the course's platform: the feedback of a class in one zip, and its marks in the form that Moodle and Canvas read.

- Moodle, "Upload multiple feedback files in a zip": names as in "Download all submissions", `Full Name_12345_assignsubmission_file_/`.
- Moodle, "Upload grading worksheet": Identifier ("Participant 12345"), Full name, Grade, Maximum Grade, Last modified (grade).
  The number is the one in the name of the hand-in. A worksheet from Moodle can be filled instead; all its columns stay.
- Canvas, "Upload Submissions": names as downloaded, `lastnamefirstname_12345_67890_homework.html`.
- Canvas, "Import gradebook": needs columns that only an export of the gradebook has, so that is filled: the columns that say who
  somebody is, and that of this homework alone.

Who handed in otherwise has STUDENT.html, and a row in a plain table. Points are those of `lsdl scores`, after the rules; a page that
says others is named.
"""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from lsdl.author.course import WeekPaths, load_course
from lsdl.files import write_whole
from lsdl.grading import GradingError
from lsdl.grading.collect import CANVAS, MOODLE, is_called_like
from lsdl.grading.csv_tables import csv_text
from lsdl.grading.feedback import Told
from lsdl.grading.journal import CollectedHandIns
from lsdl.grading.points import plain
from lsdl.grading.roster import folded
from lsdl.grading.scores import HomeworkMark

ID, NAME, GRADE, MOST, MODIFIED = "Identifier", "Full name", "Grade", "Maximum Grade", "Last modified (grade)"
CANVAS_PERSON = ("Student", "ID", "SIS User ID", "SIS Login ID", "Integration ID", "Root Account", "Section")
CANVAS_HOMEWORK = re.compile(r".+ \(\d+\)")
EPOCH = (1980, 1, 1, 0, 0, 0)  # the same bytes for the same pages


@dataclass
class Sheet:
    """A table for the platform, and what an instructor has to know of it."""

    text: str
    without_mark: list[str] = field(default_factory=list)  # in the platform's sheet only
    not_in_sheet: list[str] = field(default_factory=list)  # with a mark only


@dataclass
class Handback:
    """What `hand_back` wrote."""

    zip: Path
    pages: int
    table: Path
    sheet: Sheet
    open: list[str]
    old_pages: list[str]  # of whom a page says other points, or of lateness something else, than the table


def hand_back(week: Path, sheet: Path | None = None, column: str | None = None) -> Handback:
    """Write gradebook/handback/WEEK-feedback.zip and WEEK-marks.csv.

    Args:
        week: the week's folder; its feedback pages are made.
        sheet: what Moodle or Canvas gave, to be filled.
        column: Canvas's name of the homework, where it is not like the week's.

    Raises:
        GradingError: there are no pages or no marks, or the sheet is none.
    """
    paths = WeekPaths.at(week)
    pages = sorted(path for path in paths.gradebook.glob(f"feedback/*/{paths.name}/homework.html"))
    if not pages:
        raise GradingError(f"There are no feedback pages of {paths.name}: run `lsdl feedback {paths.name}` first.")
    collected = {student: entry.name for student, entry in CollectedHandIns(paths.hand_ins).of.items()}
    told, old, content = Told(paths), [], io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, page in sorted((name_in_zip(collected.get(p.parts[-3], ""), p.parts[-3]), p) for p in pages):
            data, student = page.read_bytes(), page.parts[-3]
            archive.writestr(zipfile.ZipInfo(name, EPOCH), data, zipfile.ZIP_DEFLATED)
            old += [] if told.is_current(data.decode(), student) else [student]
    handed_in = {student: mark for student, mark in told.marks.items() if mark.handed_in}
    entry = load_course(paths.root).weeks.get(paths.name)
    if sheet:
        made = fill_sheet(sheet, handed_in, collected, paths.name, entry.title if entry else "", column)
    else:
        made = new_sheet(handed_in, collected)
    to = paths.handback / f"{paths.name}-feedback.zip", paths.handback / f"{paths.name}-marks.csv"
    write_whole(to[0], content.getvalue(), private=True)
    write_whole(to[1], made.text, private=True)
    open_marks = sorted(name for name, mark in handed_in.items() if mark.is_open)
    return Handback(to[0], len(pages), to[1], made, open_marks, sorted(old))


def name_in_zip(collected: str, student: str) -> str:
    """Where a student's page lies in the zip.

    Args:
        collected: what the hand-in was called, "" if that is not known.
        student: the id in the gradebook.
    """
    for part in PurePosixPath(collected).parts:
        if moodle := MOODLE.fullmatch(part):
            start = f"{moodle['name']}_{moodle['number']}_assignsubmission_{moodle['kind']}_"
            return f"{start}homework.html" if part == PurePosixPath(collected).name else f"{start}/homework.html"
    last = PurePosixPath(collected).name
    return f"{PurePosixPath(last).stem}.html" if CANVAS.fullmatch(last) else f"{student}.html"


def new_sheet(marks: Mapping[str, HomeworkMark], collected: Mapping[str, str]) -> Sheet:
    """Moodle's worksheet where the hand-ins came from Moodle, else a plain table; open marks are left out."""
    final = {student: mark for student, mark in sorted(marks.items()) if not mark.is_open}
    numbers = {student: _number_of(collected.get(student, ""), MOODLE) for student in marks}
    if any(numbers.values()):
        lines = [[ID, NAME, GRADE, MOST, MODIFIED]]
        for student, mark in final.items():
            if numbers[student]:
                number = f"Participant {numbers[student]}"
                lines.append([number, student, plain(mark.points), plain(mark.most), "-"])
        return Sheet(csv_text(lines), not_in_sheet=[student for student in final if not numbers[student]])
    lines = [["student", "points", "most"]]
    return Sheet(csv_text(lines + [[name, plain(mark.points), plain(mark.most)] for name, mark in final.items()]))


def fill_sheet(
    path: Path,
    marks: Mapping[str, HomeworkMark],
    collected: Mapping[str, str],
    week: str,
    title: str,
    column: str | None = None,
) -> Sheet:
    """The platform's own table with the marks in it; marks that are open stay as they were there.

    Raises:
        GradingError: it is no such table, or no column of it is this homework's.
    """
    try:
        lines = list(csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    except (UnicodeDecodeError, csv.Error) as error:
        raise GradingError(f"{path} is not a CSV file in UTF-8: {error}.") from None
    head = lines[0] if lines else []
    if ID in head and GRADE in head:
        pattern, number, names, target = MOODLE, head.index(ID), [NAME, "Email address", "ID number", "Username"], GRADE
        kept = list(range(len(head)))
    elif {"Student", "ID"} <= set(head):
        pattern, number, names = CANVAS, head.index("ID"), list(CANVAS_PERSON)
        target = column or _column_of(path, head, week, title)
        if target not in head:
            raise GradingError(
                f"{path} has no column {target!r}: take one of {', '.join(filter(CANVAS_HOMEWORK.fullmatch, head))}."
            )
        kept = [index for index, name in enumerate(head) if name in CANVAS_PERSON or name == target]
    else:
        raise GradingError(
            f"{path} is neither a grading worksheet of Moodle nor a gradebook of Canvas: export one of them."
        )
    place, people = head.index(target), [head.index(name) for name in names if name in head]
    by_number = {_number_of(collected.get(student, "") or f"{student}_0_x", pattern): student for student in marks}
    by_name = {folded(student): student for student in marks}
    filled, found, without = [[head[index] for index in kept]], set(), []
    for line in lines[1:]:
        if len(line) != len(head):
            continue
        known = by_number.get(re.sub(r"\D", "", line[number]) or "-")
        known = known or next((by_name[key] for key in _keys(line, people) if key in by_name), None)
        if known is None and pattern is CANVAS and folded(line[head.index("Student")]) == "pointspossible":
            filled.append([line[index] for index in kept])
            continue
        if known is None or known in found:
            without.append(line[people[0]] if people else line[number])
        else:
            found.add(known)
            if not marks[known].is_open:
                line[place] = plain(marks[known].points)
        filled.append([line[index] for index in kept])
    left = [student for student, mark in sorted(marks.items()) if student not in found and not mark.is_open]
    return Sheet(csv_text(filled), without, left)


def _column_of(path: Path, head: list[str], week: str, title: str) -> str:
    homeworks = [name for name in head if CANVAS_HOMEWORK.fullmatch(name)]
    fitting = [name for name in homeworks if is_called_like(week, title, name)]
    if len(fitting) != 1:
        there = ", ".join(homeworks) or "no homework"
        raise GradingError(
            f"{path} has {len(fitting) or 'no'} column named like {week} (there is {there}): say which with --column."
        )
    return fitting[0]


def _keys(line: list[str], people: list[int]) -> list[str]:
    """What a row could be called in the gradebook; a login is also the part before its @."""
    texts = [line[index] for index in people if line[index]]
    return [folded(key) for text in texts for key in (text, text.partition("@")[0]) if folded(key)]


def _number_of(collected: str, pattern: re.Pattern[str]) -> str:
    """The platform's number of a person, from the name of the hand-in."""
    for part in PurePosixPath(collected).parts:
        if found := pattern.fullmatch(part):
            return found["number"] if pattern is MOODLE else found["user"]
    return ""
