"""Marks by the rules of course.toml. nbgrader's gradebook holds raw points; nothing here changes it.

- A cell in a week's `required_cells` (a baseline, a report) that is missing makes that homework 0. A person says so in formgrader: by 0 of
  its points, or by a comment that begins with "missing", which also works for a cell that has no points. As long as nobody
  graded it by hand it only shows as open, also where nbgrader gave an empty answer 0 by itself: the answer may stand in another cell.
- A homework handed in after the end of its due date (and nbgrader's extension for the student) shows how many days late it is, each day
  begun counts. Only if course.toml has a `[late]` it also loses `per_day` of its points for each. When it was handed in is known
  from nbgrader's timestamp.txt, or from a file given with --times, which goes before it and is kept;
  otherwise it counts as on time, and where that could have cost points `untimed` says so.
- Where a student's newest attempt could not be read, the marks are those of an earlier one, or none, and show as open. So does a
  text that changed since a person graded it, and a question that is not in the notebook: it may be missing in that version.
- What counts in the share of all points are the homeworks in the gradebook whose due date, with the student's extension, is over;
  one without a due date counts at once. `lsdl final` counts all. Bonus points can make up for others, up to all points together.
- The points of a week's competition count as course.toml says under `competition`: on top of the homework's, or instead of them beside the
  required cells. They are open until `lsdl leaderboard WEEK --final` wrote them, and 0 with a required cell that is missing.
- Extensions are those that `lsdl extension` wrote, and nbgrader's.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from lsdl.author.course import Course, CoursePaths, Late, Week, WeekPaths, load_course
from lsdl.grading import GradingError
from lsdl.grading.class_tables import Extensions, HandInTimes
from lsdl.grading.csv_tables import csv_text, read_csv
from lsdl.grading.grade import end_of_day
from lsdl.grading.journal import Journal, Unread, open_by_hand
from lsdl.grading.nbgrader_course import open_course
from lsdl.grading.roster import Roster, read_roster

MISSING = re.compile(r"\W*missing\b", re.IGNORECASE)  # the beginning of a comment on a required cell
UNREAD = "handed in, could not be read"
OLDER = "marks of an earlier attempt, the newest could not be read"
EXAM, HOMEWORK = "examination", "assignments"  # the names of the parts in course.toml


@dataclass
class HomeworkMark:
    """One homework of one student.

    Attributes:
        raw: points as the gradebook has them.
        points: after the rules.
        most: points of the homework without its bonus.
        cells: raw points by cell; None while a person has to grade it.
        days_late: 0 also where the time is not known.
        why: which rule changed the points, or what is open; empty if nothing did.
        is_open: a person has to grade something before the mark is final.
        bonus: points that can be had beyond `most`.
        counts: the homework is due, so that it is part of the share of all points.
        for_student: what its student should know: lateness, a required part that is missing, and the competition.
        competition: what the week's competition gave, if it has one.
        untimed: there is a rule about lateness, and nobody knows when it was handed in.
    """

    most: float
    raw: float = 0
    points: float = 0
    cells: dict[str, float | None] = field(default_factory=dict)
    handed_in: bool = False
    days_late: int = 0
    why: str = ""
    is_open: bool = False
    bonus: float = 0
    counts: bool = True
    for_student: tuple[str, ...] = ()
    competition: Earned | None = None
    untimed: bool = False


@dataclass(frozen=True)
class Earned:
    """Points of a competition and their reason; `is_open` while there is no final ranking."""

    points: float = 0
    why: str = "took no part"
    is_open: bool = False


@dataclass
class StudentMarks:
    """All homeworks of one student; `share` is that of the points together, in [0, 1]."""

    student: str
    homeworks: dict[str, HomeworkMark]

    @property
    def counting(self) -> list[HomeworkMark]:
        """The homeworks that are due."""
        return [mark for mark in self.homeworks.values() if mark.counts]

    @property
    def share(self) -> float:
        """Points after the rules over the points of all homeworks that count; a bonus does not lift it over 1."""
        most = sum(mark.most for mark in self.counting)
        return min(1.0, sum(mark.points for mark in self.counting) / most) if most else 0.0


@dataclass(frozen=True)
class FinalMark:
    """The end of a term for one student; shares are in [0, 1], `passed` is None while something is open."""

    student: str
    exam: float | None  # None: was not there
    assignments: float
    total: float
    passed: bool | None
    why: str
    grade: str = ""  # by course.toml's [grades]; empty without them, or while something is open
    stranger: str = ""  # what to say of who is in the examination's table only


def all_marks(root: Path, *, now: datetime | None = None) -> list[StudentMarks]:
    """The marks of everybody in the gradebook, by student.

    Args:
        root: the course's repository.
        now: in UTC without a zone: which homeworks are due (default: the clock's).

    Raises:
        GradingError: nothing was graded yet, or course.toml names what is not there.
    """
    course = load_course(root)
    if not CoursePaths(root).database.is_file():
        raise GradingError("There are no marks yet: run lsdl grade first.")
    known_times = HandInTimes(CoursePaths(root).times).of
    now, extended = now or datetime.now(UTC).replace(tzinfo=None), Extensions(CoursePaths(root).extensions)
    with open_course(root).gradebook as book:
        assignments = {item.name: item for item in book.assignments}
        students: dict[str, StudentMarks] = {student.id: StudentMarks(student.id, {}) for student in book.students}
        for name in assignments:  # who handed in nothing that could be read is in no gradebook
            for student in Unread(WeekPaths(root, name).unread).students:
                students.setdefault(student, StudentMarks(student, {}))
        for name, assignment in sorted(assignments.items()):
            cells = {cell.name for notebook in assignment.notebooks for cell in notebook.grade_cells}
            paths = WeekPaths(root, name)
            unread, journal = Unread(paths.unread).students, Journal(paths.journal)
            entry = course.weeks.get(name) or Week(title=name, points=assignment.max_score or 1)
            _check_required(name, entry, cells)
            earned, bonus = _competition(paths, entry, assignment)
            submissions = {item.student_id: item for item in book.assignment_submissions(name)}
            for student in students.values():
                mark = HomeworkMark(entry.points, bonus=bonus)
                mark.competition = earned.get(student.student, earned.get("")) if entry.competition else None
                submission = submissions.get(student.student)
                longer = extended.of(student.student, name, entry.due)
                if submission is not None:
                    longer = max(longer, submission.extension or timedelta())
                mark.counts = entry.due is None or now >= end_of_day(entry.due) + longer
                if submission is not None:
                    _fill(mark, submission)
                    time = known_times.get((student.student, name), submission.timestamp)
                    apply_rules(mark, _by_hand(submission), entry, course, time, longer)
                    marks = [grade for notebook in submission.notebooks for grade in notebook.grades]
                    again = list(open_by_hand(journal, student.student, marks).values())
                    mark.is_open = mark.is_open or bool(again)
                    mark.why = "; ".join(filter(None, [*again, mark.why]))
                if student.student in unread:
                    said = OLDER if submission is not None else UNREAD
                    mark.is_open = mark.handed_in = True
                    mark.why = "; ".join(filter(None, [f"{said}: {unread[student.student]}", mark.why]))
                student.homeworks[name] = mark
    return [students[name] for name in sorted(students)]


@dataclass(frozen=True)
class ByHand:
    """What a person gave to a cell: points (None: nothing yet) out of `most`, and a comment."""

    points: float | None
    most: float
    comment: str = ""

    @property
    def says_missing(self) -> bool:
        """Whether that means that the answer is missing."""
        return (self.points == 0 and self.most > 0) or MISSING.match(self.comment) is not None


def apply_rules(
    mark: HomeworkMark,
    by_hand: Mapping[str, ByHand],
    week: Week,
    course: Course,
    handed_in: datetime | None = None,
    extension: timedelta | None = None,
) -> None:
    """Set the points of a mark from its raw points.

    Args:
        mark: changed; its `raw` and `cells` are set.
        by_hand: what a person gave, by cell.
        handed_in: in UTC without a zone, or None if that is not known.
        extension: how much later than `week.due` this student may hand in.
    """
    mark.points, why = mark.raw, []
    told: list[str] = []
    waiting = [name for name, points in mark.cells.items() if points is None]
    if (competition := week.competition) and (earned := mark.competition):
        if competition.counts == "original":
            waiting = [name for name in waiting if name in week.required_cells]
            mark.points = earned.points + sum(mark.cells.get(name) or 0 for name in week.required_cells)
        else:
            mark.points += min(competition.most, earned.points)
        why += ["the competition is open: lsdl leaderboard --final"] if earned.is_open else []
        told += [] if earned.is_open else [f"The competition gave {earned.points:g} points ({earned.why})"]
    for name in week.required_cells:
        given = by_hand.get(name)
        if given is not None and given.says_missing:
            mark.points = 0
            why.append(f"{name} is missing: 0 points")
            told.append(f"{name} is missing, without it the whole homework has 0 points")
            if name in waiting:
                waiting.remove(name)
        elif (given is None or given.points is None) and name not in waiting:
            waiting.append(name)
            why.append(f'{name} looks empty: grade it by hand, 0 or the comment "missing" if it is missing')
    ungraded = [name for name in waiting if name in mark.cells and mark.cells[name] is None]
    if ungraded:
        why.insert(0, f"to grade by hand: {', '.join(ungraded)}")
    mark.untimed = week.due is not None and handed_in is None and course.late != Late()
    if week.due is not None and handed_in is not None:
        late = (handed_in - end_of_day(week.due) - (extension or timedelta())).total_seconds()
        if late > 60 * course.late.grace_minutes:
            mark.days_late = math.ceil(late / 86_400)
            over = course.late.last_day is not None and mark.days_late > course.late.last_day
            kept = 0.0 if over else max(0.0, 1 - course.late.per_day * mark.days_late)
            mark.points *= kept
            days = f"{mark.days_late} day{'s' if mark.days_late > 1 else ''} late"
            why.append(days + (f": {100 * kept:.0f} % count" if kept < 1 else ""))
            told.append(
                f"Handed in {days}, {f'so {100 * kept:.0f} % of your points count' if kept < 1 else 'which costs nothing'}"
            )
    mark.points = round(mark.points, 6)
    mark.is_open = bool(waiting) or (mark.competition is not None and mark.competition.is_open)
    mark.why, mark.for_student = "; ".join(why), tuple(told)


def untimed(students: list[StudentMarks]) -> list[str]:
    """What an instructor with a rule about lateness has to know of homeworks to which it was not applied."""
    counts = Counter(week for one in students for week, mark in one.homeworks.items() if mark.untimed and mark.counts)
    return [
        f"[late] was not applied to {number} hand-in{'s' if number > 1 else ''} of {week}, whose time is not known: "
        "give a table with --times FILE."
        for week, number in sorted(counts.items())
    ]


def marks_csv(students: list[StudentMarks]) -> str:
    """One line a student: the share of all homeworks; of each the points, raw points, days late, what a rule did, its competition, its cells."""
    weeks = sorted({week for student in students for week in student.homeworks})
    cells = {week: _cells_of(students, week) for week in weeks}
    competing = {week for student in students for week, mark in student.homeworks.items() if mark.competition}
    header = ["student", "assignments"]
    for week in weeks:
        header += [week, f"{week} most", f"{week} raw", f"{week} days late", f"{week} rule"]
        header += [f"{week} competition", f"{week} competition reason"] if week in competing else []
        header += [f"{week}/{name}" for name in cells[week]]
    lines: list[list[Any]] = [header]
    for student in students:
        line: list[Any] = [student.student, f"{student.share:.4f}" if student.counting else ""]
        for week in weeks:
            mark = student.homeworks[week]
            why = mark.why if mark.handed_in else "not handed in"
            line += [f"{mark.points:g}", f"{mark.most:g}", f"{mark.raw:g}", mark.days_late, why]
            if week in competing:
                earned = mark.competition or Earned()
                line += ["", "open"] if earned.is_open else [f"{earned.points:g}", earned.why]
            line += [_number(mark.cells.get(name)) for name in cells[week]]
        lines.append(line)
    return csv_text(lines)


def final_marks(root: Path, exam: Path, *, out_of: float | None = None, names: Path | None = None) -> list[FinalMark]:
    """The written examination and the homeworks together, by course.toml's weights and pass marks.

    Args:
        exam: a CSV file with the columns student and points; who is not in it has none. A student is the id in the report, or the
            name or login on the class list.
        out_of: the points of the examination (default: those in course.toml).
        names: a table of names in `exam` and ids on the class list, for those that it does not explain (roster.py).

    Raises:
        GradingError: the file is not such a table, has somebody twice or points out of range, nobody says what the
            examination is out of, or course.toml has other parts.
    """
    course = load_course(root)
    parts = {part.name: part for part in course.parts}
    if parts.keys() != {EXAM, HOMEWORK}:
        raise GradingError(f"lsdl final knows the parts {EXAM} and {HOMEWORK}; course.toml has {', '.join(parts)}.")
    out_of = out_of or parts[EXAM].points
    if out_of is None:
        raise GradingError(
            "How many points the examination has is not said: give --points N, or write points = N beside "
            f'name = "{EXAM}" in course.toml.'
        )
    roster = read_roster(root, names)
    points = _read_exam(exam, out_of, roster)
    everything = datetime.max  # at the end of a term all homeworks count
    by_student = {student.student: student for student in all_marks(root, now=everything)}
    needed = [name for name, week in course.weeks.items() if week.required]
    found = []
    for name in sorted(by_student.keys() | points.keys()):
        student = by_student.get(name, StudentMarks(name, {}))
        shares = {EXAM: points.get(name, 0.0) / out_of, HOMEWORK: student.share}
        total = sum(part.weight * shares[part.name] for part in course.parts)
        why = [
            f"{part.name} {100 * shares[part.name]:.1f} % of at least {100 * part.pass_mark:g} %"
            for part in course.parts
            if part.required and shares[part.name] < part.pass_mark - 1e-9 and (part.name != EXAM or name in points)
        ]
        why += ["no examination"] if name not in points else []
        stranger = "" if name in by_student else f"not in the gradebook{roster.alike(name, by_student)}"
        why += [stranger] if stranger else []
        for week in needed:
            if week not in student.homeworks or not student.homeworks[week].handed_in:
                why.append(f"{week} is required and was not handed in")
        failed = bool(why)
        waiting = [week for week, mark in student.homeworks.items() if mark.is_open]
        why += [f"open: {', '.join(waiting)}"] if waiting else []
        # What is open can still be worth points, never the examination: who fails there has failed.
        decided = name not in points or (parts[EXAM].required and shares[EXAM] < parts[EXAM].pass_mark - 1e-9)
        passed = None if waiting and not decided else not failed
        exam_share = shares[EXAM] if name in points else None
        grade = "" if passed is None else course.grade_of(total, passed=passed)
        found.append(FinalMark(name, exam_share, shares[HOMEWORK], total, passed, "; ".join(why), grade, stranger))
    return found


def final_csv(marks: list[FinalMark]) -> str:
    """One line a student; shares in per cent, that of the examination empty for who was not there."""
    graded = ["grade"] if any(mark.grade for mark in marks) else []
    lines: list[list[Any]] = [["student", "examination %", "assignments %", "total %", "passed", *graded, "why"]]
    for mark in marks:
        shares = ["" if share is None else f"{100 * share:.2f}" for share in (mark.exam, mark.assignments, mark.total)]
        passed = {True: "yes", False: "no", None: "open"}[mark.passed]
        lines.append([mark.student, *shares, passed, *([mark.grade] if graded else []), mark.why])
    return csv_text(lines)


def _check_required(name: str, entry: Week, cells: Collection[str]) -> None:
    for required in entry.required_cells:
        if required not in cells:
            raise GradingError(f"{name}/week.toml: {required} in required_cells is no graded cell of the homework.")


def _competition(paths: WeekPaths, entry: Week, assignment: Any) -> tuple[dict[str, Earned], float]:
    """What the competition of a week gave, by student ("": all others), and the points that can be had beyond the week's own.

    Raises:
        GradingError: the ranking is not what `lsdl leaderboard --final` wrote.
    """
    if entry.competition is None:
        return {}, entry.bonus
    file, most = paths.leaderboard(".json"), entry.competition.most
    found = {"": Earned(why="open", is_open=True)}
    if file.is_file():
        try:
            board = json.loads(file.read_text(encoding="utf-8"))
            found = {name: Earned(row["points"], row["why"]) for name, row in board["students"].items()} | {
                "": Earned()
            }
            most = board["most"]
        except (ValueError, KeyError, TypeError, AttributeError):
            raise GradingError(f"{file} is damaged: run lsdl leaderboard {paths.name} --final again.") from None
    if entry.competition.counts == "bonus":
        return found, entry.bonus + min(most, entry.competition.most)
    required = [
        cell.max_score
        for notebook in assignment.notebooks
        for cell in notebook.grade_cells
        if cell.name in entry.required_cells
    ]
    return found, max(0, most + sum(required) - entry.points)


def _fill(mark: HomeworkMark, submission: Any) -> None:
    mark.handed_in = True
    for notebook in submission.notebooks:
        for grade in notebook.grades:
            points = grade.auto_score if grade.manual_score is None else grade.manual_score
            mark.cells[grade.name] = None if points is None else points + (grade.extra_credit or 0)
    mark.raw = round(sum(points or 0 for points in mark.cells.values()), 6)


def _by_hand(submission: Any) -> dict[str, ByHand]:
    found = {}
    for notebook in submission.notebooks:
        comments = {comment.name: comment.manual_comment or "" for comment in notebook.comments}
        for grade in notebook.grades:
            found[grade.name] = ByHand(grade.manual_score, grade.max_score or 0, comments.get(grade.name, ""))
    return found


def _cells_of(students: list[StudentMarks], week: str) -> list[str]:
    return list(dict.fromkeys(name for student in students for name in student.homeworks[week].cells))


def _read_exam(path: Path, out_of: float, roster: Roster) -> dict[str, float]:
    points: dict[str, float] = {}
    for line in read_csv(path, {"student", "points"}):
        try:
            value = float(line["points"])
        except ValueError:
            raise GradingError(f"{path}: the points of {line['student']} are no number: {line['points']!r}.") from None
        if not 0 <= value <= out_of:
            raise GradingError(
                f"{path}: {line['student']} has {value:g} points, the examination has {out_of:g} (--points, or course.toml)."
            )
        student = roster.find(line["student"]) or line["student"]
        if student in points:
            also = "" if student == line["student"] else f", once as {line['student']}"
            raise GradingError(f"{path}: {student} is there twice{also}.")
        points[student] = value
    return points


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:g}"
