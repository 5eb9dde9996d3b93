"""Marks by the rules of course.toml: required parts, lateness, examination; the gradebook keeps raw marks."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from lsdl.author.course import Course, CourseError, Late, Week, load_course
from lsdl.grading import GradingError, jail
from lsdl.grading.class_tables import remember_times
from lsdl.grading.feedback import make_feedback
from lsdl.grading.grade import end_of_day, grade
from lsdl.grading.html_report import html_page
from lsdl.grading.nbgrader_course import open_course
from lsdl.grading.scores import ByHand, HomeworkMark, all_marks, apply_rules, final_csv, final_marks, marks_csv

UNSAFE = bool(jail.missing())
PARTS = [
    {"name": "examination", "weight": 0.5, "pass_mark": 0.45},
    {"name": "assignments", "weight": 0.5, "pass_mark": 0.45},
]
COURSE = Course.model_validate(
    {
        "title": "t",
        "edition": "2026.1",
        "parts": PARTS,
        "late": {"per_day": 0.1, "grace_minutes": 60, "last_day": 3},
        "weeks": {"week97-tiny": {"title": "t", "points": 10, "due": "2026-10-01", "required_cells": ["report"]}},
    }
)
WEEK = COURSE.weeks["week97-tiny"]
DUE = end_of_day(WEEK.due)


def marked(report: float | None, **rest: object) -> HomeworkMark:
    given = ByHand(rest.pop("by_hand", report), rest.pop("most", 2), rest.pop("comment", ""))
    mark = HomeworkMark(10, raw=8, cells={"value": 8.0, "report": report}, handed_in=True)
    apply_rules(mark, {"report": given}, WEEK, rest.pop("course", COURSE), **rest)
    return mark


def test_a_missing_report_costs_all_once_a_person_said_so() -> None:
    assert (marked(0.0).points, marked(0.0).is_open) == (0, False)
    assert "report is missing" in marked(0.0).why
    assert (marked(1.0).points, marked(1.0).why) == (8, "")
    assert (marked(None).points, marked(None).is_open) == (8, True)  # not graded yet
    empty = marked(0.0, by_hand=None)  # nbgrader's own 0 for an untouched cell
    assert (empty.points, empty.is_open) == (8, True) and "looks empty" in empty.why


def test_a_required_part_without_points_is_missing_where_a_comment_says_so() -> None:
    """0 of 0 points says nothing; the word in formgrader's comment does, before or after somebody entered the 0."""
    assert (marked(0.0, most=0).points, marked(0.0, most=0).why) == (8, "")
    assert (marked(None, most=0).points, marked(None, most=0).is_open) == (8, True)
    for given in (0.0, None):
        for comment in ("missing", "Missing: there is no figure", "**MISSING**"):
            mark = marked(given, most=0, comment=comment)
            assert (mark.points, mark.is_open, mark.why) == (0, False, "report is missing: 0 points"), comment
    for comment in ("", "the units are missing", "missingness is discussed well"):
        assert marked(0.0, most=0, comment=comment).points == 8
    assert marked(1.0, comment="missing").points == 0


def test_without_a_rule_lateness_is_only_reported() -> None:
    course = COURSE.model_copy(update={"late": Late()})
    mark = marked(1.0, handed_in=DUE + timedelta(days=40), course=course)
    assert (mark.points, mark.days_late, mark.why) == (8, 40, "40 days late")
    committed = load_course(Path(__file__).resolve().parents[2])
    assert committed.late == Late()


@pytest.mark.parametrize(
    ("late", "points", "days"),
    [
        (timedelta(seconds=-1), 8, 0),
        (timedelta(minutes=60), 8, 0),
        (timedelta(minutes=61), 7.2, 1),
        (timedelta(days=1), 7.2, 1),
        (timedelta(days=1, seconds=1), 6.4, 2),
        (timedelta(days=3), 5.6, 3),
        (timedelta(days=3, seconds=1), 0, 4),
    ],
)
def test_lateness(late: timedelta, points: float, days: int) -> None:
    mark = marked(1.0, handed_in=DUE + late)
    assert (mark.points, mark.days_late, mark.raw) == (points, days, 8)
    assert marked(1.0, handed_in=DUE + late, extension=timedelta(days=9)).points == 8


def test_an_unknown_time_is_on_time_and_no_due_date_is_never_late() -> None:
    assert marked(1.0, handed_in=None).points == 8
    mark = HomeworkMark(10, raw=8, cells={})
    apply_rules(mark, {}, Week(title="t", points=10), COURSE, datetime(2100, 1, 1))
    assert mark.points == 8


def test_mistakes_in_course_toml_are_sentences(tmp_path: Path) -> None:
    parts = "".join(f'[[parts]]\nname = "{part["name"]}"\nweight = 0.5\npass_mark = 0.45\n' for part in PARTS)
    (tmp_path / "course.toml").write_text(f'title = "t"\nedition = "2026.1"\n[late]\nper_day = 2\n{parts}[weeks]\n')
    with pytest.raises(CourseError, match="late.per_day"):
        load_course(tmp_path)


@pytest.fixture
def graded(week: Path, submit: Callable[..., Path]) -> Path:
    """Three students: ada all right, bob the visible test only and an empty text, cid late."""
    toml = week.parent / "course.toml"
    text = toml.read_text().replace("points = 10", "points = 6\ndue = 2026-10-01")
    (week / "week.toml").write_text('required_cells = ["why"]\n')
    toml.write_text(text + "[late]\nper_day = 0.25\n")

    def only_visible(notebook: dict) -> None:
        notebook["cells"][1]["source"] = "def double(x):\n    return abs(2 * x)"

    submit("ada")
    submit("bob", only_visible)
    folder = submit("cid")
    (folder / "cid" / week.name / "timestamp.txt").write_text("2026-10-03 12:00:00 UTC")
    report = grade(week, folder, unsafe=UNSAFE)
    assert [row.points for row in report.rows] == [4, 1, 4]
    return week.parent


def give(root: Path, student: str, points: float) -> None:
    """What formgrader does when a person enters points."""
    with open_course(root).gradebook as book:
        mark = book.find_grade("why", "homework", "week97-tiny", student)
        mark.manual_score, mark.needs_manual_grade = points, False
        book.db.commit()


@pytest.mark.slow
@pytest.mark.linux
def test_marks_and_final_marks_of_a_class(graded: Path, tmp_path: Path) -> None:
    marks = {student.student: student.homeworks["week97-tiny"] for student in all_marks(graded)}
    assert {name: (mark.raw, mark.is_open) for name, mark in marks.items()} == {
        "ada": (4, True),
        "bob": (1, True),
        "cid": (4, True),
    }
    exam = tmp_path / "exam.csv"
    exam.write_text("student,points\nada,30\nbob,60\ncid,26\ndan,50\n")
    assert {mark.student: mark.passed for mark in final_marks(graded, exam, out_of=60)}["ada"] is None

    give(graded, "ada", 2)
    give(graded, "bob", 0)
    give(graded, "cid", 2)
    marks = {student.student: student.homeworks["week97-tiny"] for student in all_marks(graded)}
    assert {name: mark.points for name, mark in marks.items()} == {"ada": 6, "bob": 0, "cid": 3}
    assert marks["cid"].days_late == 2 and marks["cid"].raw == 6
    assert not any(mark.is_open for mark in marks.values())
    with open_course(graded).gradebook as book:  # raw marks only
        assert {s.student_id: s.score for s in book.assignment_submissions("week97-tiny")} == {
            "ada": 6,
            "bob": 1,
            "cid": 6,
        }

    table = list(csv.DictReader(io.StringIO(marks_csv(all_marks(graded)))))
    assert [line["student"] for line in table] == ["ada", "bob", "cid"]
    assert table[1] | {"week97-tiny": "0", "week97-tiny raw": "1", "week97-tiny/double_value": "0"} == table[1]
    assert table[1]["week97-tiny rule"] == "why is missing: 0 points"
    assert table[2]["week97-tiny rule"] == "2 days late: 50 % count"

    final = {mark.student: mark for mark in final_marks(graded, exam, out_of=60)}
    assert {name: mark.passed for name, mark in final.items()} == {
        "ada": True,
        "bob": False,
        "cid": False,
        "dan": False,
    }
    assert final["ada"].total == pytest.approx(0.75)
    assert "assignments 0.0 %" in final["bob"].why and "examination 43.3 %" in final["cid"].why
    assert "not in the gradebook" in final["dan"].why
    assert final_csv([final["ada"]]).splitlines()[1] == "ada,50.00,100.00,75.00,yes,"

    with open_course(graded).gradebook as book:  # what formgrader does with a comment
        book.find_comment("why", "homework", "week97-tiny", "ada").manual_comment = "Missing: only a heading"
        book.db.commit()
    ada = all_marks(graded)[0].homeworks["week97-tiny"]
    assert (ada.points, ada.raw, ada.why) == (0, 6, "why is missing: 0 points")

    times = tmp_path / "times.csv"
    times.write_text("student,homework,handed_in\ncid,week97-tiny,2026-10-01 12:00\n")
    remember_times(graded, times)
    assert {s.student: s.homeworks["week97-tiny"].points for s in all_marks(graded)}["cid"] == 6


@pytest.mark.slow
@pytest.mark.linux
def test_an_unreadable_newer_attempt_is_said_everywhere(graded: Path) -> None:
    """The gradebook keeps the older marks: row, report, scores and feedback say that they are older, until one can be read."""
    week = graded / "week97-tiny"
    path = graded / "submissions" / "ada" / week.name / "homework.ipynb"
    good = path.read_bytes()
    path.write_text("{")
    for name in ("ada", "bob", "cid"):
        give(graded, name, 2)
    report = grade(week, graded / "submissions", unsafe=UNSAFE)
    row = report.rows[0]
    assert (row.status, row.points, row.needs_a_person) == ("failed", 0, True)
    words = "not JSON: hand in the .ipynb file as Jupyter saved it. The gradebook still holds the marks of an earlier attempt"
    assert words in row.note and words in html_page(report)
    ada, bob = (student.homeworks[week.name] for student in all_marks(graded)[:2])
    assert (ada.raw, ada.is_open, bob.is_open) == (6, True, False)
    assert ada.why.startswith("marks of an earlier attempt, the newest could not be read: The file is not JSON")
    assert "marks of an earlier attempt" in marks_csv(all_marks(graded))
    pages = {page.parts[-3]: page.read_text(encoding="utf-8") for page in make_feedback(week)}
    assert {name for name, page in pages.items() if "about an earlier attempt" in page} == {"ada"}

    path.write_bytes(good)
    assert grade(week, graded / "submissions", unsafe=UNSAFE).rows[0].points == 4
    assert not any(student.homeworks[week.name].is_open for student in all_marks(graded))
    assert "earlier attempt" not in make_feedback(week, ["ada"])[0].read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name,points\nada,3\n", "needs the columns points, student"),
        ("student,points\nada,many\n", "are no number"),
        ("student,points\nada,70\n", "has 70 points"),
        ("student,points\nada,nan\n", "has nan points"),
        ("student,points\nada,7\nada,8\n", "is there twice"),
        ("student,points\nada\n", "needs the columns"),
    ],
)
def test_a_wrong_table_of_the_examination(week: Path, tmp_path: Path, text: str, said: str) -> None:
    exam = tmp_path / "exam.csv"
    exam.write_text(text)
    with pytest.raises(GradingError, match=said):
        final_marks(week.parent, exam, out_of=60)


def test_nothing_was_graded_yet(week: Path) -> None:
    with pytest.raises(GradingError, match="no marks yet"):
        all_marks(week.parent)
    assert not (week.parent / "gradebook" / "gradebook.db").exists()


def test_a_required_cell_needs_points(week: Path, submit: Callable[..., Path]) -> None:
    (week / "week.toml").write_text('required_cells = ["nowhere"]\n')
    from lsdl.grading.release import release

    release(week, check=False)
    with pytest.raises(GradingError, match="week97-tiny/week.toml: nowhere in required_cells is no graded cell"):
        all_marks(week.parent)
