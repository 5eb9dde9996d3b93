"""An instructor's term at the terminal: the key, the class, marks, extensions, what goes back to students."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from lsdl import cli
from lsdl.author.course import Course, WeekPaths
from lsdl.grading import GradingError, jail
from lsdl.grading.class_tables import Extensions
from lsdl.grading.feedback import Told, make_feedback
from lsdl.grading.grade import CellMark, Report, Row, grade, titles
from lsdl.grading.handback import fill_sheet, name_in_zip
from lsdl.grading.html_report import html_page
from lsdl.grading.keys import choose_key
from lsdl.grading.nbgrader_course import open_course
from lsdl.grading.points import Scale
from lsdl.grading.release import release
from lsdl.grading.scores import FinalMark, HomeworkMark, StudentMarks, all_marks, final_csv, final_marks
from lsdl.grading.stop import Stop, Stopped
from lsdl.grading.terminal_report import marks_table, page_progress, score_table
from lsdl.intake import Finding, parse

UNSAFE = ["--unsafe"] if jail.missing() else []
WEEK = "week97-tiny"
MINE = "0123456789abcdef" * 2


@pytest.fixture
def lsdl(
    week: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """`lsdl("scores")` runs the command in this process, in the tiny course; returns its exit code and what it said."""

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["lsdl", *arguments])
        monkeypatch.setattr(cli, "console", Console(width=200, markup=False, highlight=False))
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out + said.err

    return run


def set_due(week: Path, due: date | None) -> None:
    toml = week.parent / "course.toml"
    text = toml.read_text().partition("due = ")[0].rstrip() + "\n"
    toml.write_text(text + (f"due = {due}\n" if due else ""))


# the key


def test_the_key_is_chosen_and_said(week: Path, tmp_path: Path) -> None:
    paths = WeekPaths.at(week)
    mine, other = tmp_path / "mine.key", tmp_path / "other.key"
    mine.write_text(MINE)
    other.write_text(MINE[::-1])
    assert choose_key(paths, mine) == (mine, f"{mine} (for the first time)")
    paths.key_note.parent.mkdir(parents=True)
    paths.key_note.write_text(str(mine))
    assert choose_key(paths, None) == (mine, f"{mine} (as last time)")
    line = choose_key(paths, other)[1]
    assert f"last time it was {mine}" in line and "everybody is run again" in line
    mine.unlink()
    with pytest.raises(GradingError, match="does not exist: give the instructor's key"):
        choose_key(paths, None)


def test_the_public_key_is_for_trying_out(week: Path, tmp_path: Path) -> None:
    paths, copy = WeekPaths.at(week), tmp_path / "copy.key"
    copy.write_bytes(paths.demo_key.read_bytes() + b"\n")
    for given in (None, paths.demo_key, copy):
        with pytest.raises(GradingError, match="pass --demo"):
            choose_key(paths, given)
        assert "public, for trying out only" in choose_key(paths, given, demo=True)[1]


@pytest.mark.parametrize("text", ["", " \n", "secret", "x" * 31 + "\n"])
def test_a_short_key_is_refused(week: Path, tmp_path: Path, text: str) -> None:
    short = tmp_path / "short.key"
    short.write_text(text)
    with pytest.raises(GradingError, match="at least 32 are needed"):
        choose_key(WeekPaths.at(week), short)


def test_grade_says_the_key_before_it_does_anything(lsdl: Callable[..., tuple[int, str]], week: Path) -> None:
    code, said = lsdl("grade", "97")
    assert code == 2 and "No key was given" in said and "--demo" in said
    assert not (week.parent / "gradebook" / "release").exists()


# marks


def mark(points: float, **rest: object) -> HomeworkMark:
    return HomeworkMark(10, points, points, handed_in=True, **rest)


def test_a_homework_counts_from_its_due_date(week: Path) -> None:
    release(week, check=False)
    student = week.parent / "gradebook"
    with open_course(week.parent).gradebook as book:
        book.add_student("ada")
    today = date(2026, 10, 1)
    set_due(week, today)
    counts = {day: all_marks(week.parent, now=datetime(2026, 10, day, 12))[0].homeworks[WEEK].counts for day in (1, 3)}
    assert counts == {1: False, 3: True}
    assert not all_marks(week.parent, now=datetime(2026, 10, 1))[0].counting
    Extensions(student / "extensions.csv").set("ada", WEEK, date(2026, 10, 5))
    assert not all_marks(week.parent, now=datetime(2026, 10, 3))[0].counting
    set_due(week, None)
    assert all_marks(week.parent)[0].counting  # without a due date at once


def test_the_share_is_of_what_is_due() -> None:
    student = StudentMarks("ada", {"week01-a": mark(5), "week02-b": mark(0, counts=False)})
    assert student.share == 0.5
    assert StudentMarks("ada", {"week02-b": mark(3, counts=False)}).share == 0


def test_marks_on_a_terminal_are_a_table_best_first() -> None:
    text = io.StringIO()
    students = [
        StudentMarks("ada", {"week01-a": mark(5, bonus=2), "week02-b": mark(3, counts=False)}),
        StudentMarks("bob", {"week01-a": mark(8.25, is_open=True, why="to grade by hand: why", days_late=2), "week02-b": HomeworkMark(10, counts=False)}),
        StudentMarks("c\x1b[2Jd", {"week01-a": HomeworkMark(10), "week02-b": HomeworkMark(10, counts=False)}),
    ]  # fmt: skip
    marks_table(students, Console(file=text, width=80))
    shown = text.getvalue()
    assert shown.index("bob") < shown.index("ada") < shown.index("c\\x1b[2Jd")
    assert "8.25 +2d *" in shown and "82.5 %" in shown and "of 10 + 2" in shown and "not due yet: week02-b" in shown
    assert "week01-a, to grade by hand: why: bob." in shown and "\x1b" not in shown


def test_scores_with_nobody_graded_is_not_final(lsdl: Callable[..., tuple[int, str]], week: Path) -> None:
    release(week, check=False)
    code, said = lsdl("scores")
    assert code == 2 and said == "Nobody is graded yet: run lsdl grade WEEK first.\n"


def test_the_examination_alone_can_decide(week: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = [StudentMarks(name, {WEEK: mark(9, is_open=True)}) for name in ("ada", "bob", "cid")]
    monkeypatch.setattr("lsdl.grading.scores.all_marks", lambda *_, **__: waiting)
    exam = tmp_path / "exam.csv"
    exam.write_text("student,points\nada,90\nbob,10\n")
    final = {found.student: found for found in final_marks(week.parent, exam, out_of=100)}
    assert {name: found.passed for name, found in final.items()} == {"ada": None, "bob": False, "cid": False}
    assert final["cid"].why.startswith("no examination") and final["cid"].exam is None
    lines = list(csv.DictReader(io.StringIO(final_csv(list(final.values())))))
    assert [line["examination %"] for line in lines] == ["90.00", "10.00", ""]


def test_what_the_examination_is_out_of_is_never_guessed(
    week: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lsdl.grading.scores.all_marks", lambda *_, **__: [StudentMarks("ada", {WEEK: mark(9)})])
    exam, toml = tmp_path / "exam.csv", week.parent / "course.toml"
    exam.write_text("student,points\nada,30\n")
    with pytest.raises(GradingError, match='give --points N, or write points = N beside name = "examination"'):
        final_marks(week.parent, exam)
    toml.write_text(toml.read_text().replace('"examination"\n', '"examination"\npoints = 60\n'))
    assert final_marks(week.parent, exam)[0].exam == 0.5
    assert final_marks(week.parent, exam, out_of=40)[0].exam == 0.75


def test_names_in_the_examinations_table_are_those_of_the_class_list(
    lsdl: Callable[..., tuple[int, str]], week: Path, tmp_path: Path
) -> None:
    release(week, check=False)
    with open_course(week.parent).gradebook as book:
        book.add_student("bjorn", first_name="Bj\u00f6rn", last_name="\u00c5kesson")
        book.add_student("li wei")
    exam, table, names = tmp_path / "exam.csv", tmp_path / "final.csv", tmp_path / "names.csv"
    command = ("final", "--exam", str(exam), "--points", "60", "--csv", str(table))
    exam.write_text("student,points\nBj\u00f6rn \u00c5kesson,30\nLi-Wei,20\n", encoding="utf-8")
    code, said = lsdl(*command)
    assert code == 0 and "2 students" in said, said
    assert [line.split(",")[:2] for line in table.read_text().splitlines()[1:]] == [
        ["bjorn", "50.00"],
        ["li wei", "33.33"],
    ]

    exam.write_text("student,points\nBjoern Akesson,30\nZoe,20\n")
    code, said = lsdl(*command)
    assert code == 1 and "Bjoern Akesson is in exam.csv, but not in the gradebook (is it bjorn?): correct" in said
    assert "Zoe is in exam.csv, but not in the gradebook: correct the name, or say with --names FILE who it is." in said
    names.write_text("name,student\nBjoern Akesson,bjorn\nZoe,li wei\n")
    assert lsdl(*command, "--names", str(names))[0] == 0
    exam.write_text("student,points\nbjorn,30\nBJORN,20\n")
    code, said = lsdl(*command)
    assert code == 2 and "bjorn is there twice, once as BJORN." in said


def test_boundaries_of_grades() -> None:
    parts = [{"name": "examination", "weight": 1, "pass_mark": 0.45}]
    table = {"title": "t", "edition": "2026.1", "parts": parts, "weeks": {}}
    course = Course.model_validate(table | {"grades": {"4.0": 0.45, "1.0": 0.9, "5.0": 0}})
    told = [course.grade_of(share, passed=passed) for share, passed in ((0.95, True), (0.9, True), (0.6, True), (0.95, False))]  # fmt: skip
    assert told == ["1.0", "1.0", "4.0", "5.0"]
    assert Course.model_validate(table).grade_of(0.95, passed=True) == ""
    with pytest.raises(ValueError, match="a share between 0 and 1"):
        Course.model_validate(table | {"grades": {"1.0": 95}})
    shown = final_csv(
        [FinalMark("ada", 1, 1, 1, True, "", "1.0"), FinalMark("bob", None, 0, 0, False, "no examination", "5.0")]
    )
    assert shown.splitlines() == [
        "student,examination %,assignments %,total %,passed,grade,why",
        "ada,100.00,100.00,100.00,yes,1.0,",
        "bob,,0.00,0.00,no,5.0,no examination",
    ]


def enter(week: Path, *students: str) -> None:
    """The gradebook after these were graded: 4 automatic points and 2 by hand for each."""
    release(week, check=False)
    with open_course(week.parent).gradebook as book:
        for student in students:
            book.add_student(student)
            for notebook in book.update_or_create_submission(WEEK, student).notebooks:
                for given in notebook.grades:
                    given.auto_score = given.manual_score = given.max_score
                    given.needs_manual_grade = False
        book.db.commit()


def test_times_are_given_once_and_count_everywhere(
    lsdl: Callable[..., tuple[int, str]], week: Path, tmp_path: Path
) -> None:
    set_due(week, date(2026, 10, 1))
    with (week.parent / "course.toml").open("a") as file:
        file.write("[late]\nper_day = 0.25\n")
    enter(week, "ada", "bob")
    paths = WeekPaths.at(week)
    html = "<html><body>\n"
    for student in ("ada", "bob"):
        paths.feedback(student).parent.mkdir(parents=True)
        paths.feedback(student).write_text(Told(paths).on_page(html, student))
    table = paths.handback / f"{WEEK}-marks.csv"
    assert lsdl("handback", "97") == (0, lsdl("handback", "97")[1]) and "ada,6,10" in table.read_text()
    unknown = f"[late] was not applied to {{}} of {WEEK}, whose time is not known: give a table with --times FILE."
    for command in (("handback", "97"), ("scores",)):
        assert unknown.format("2 hand-ins") in lsdl(*command)[1]

    times, exam = tmp_path / "times.csv", tmp_path / "exam.csv"
    times.write_text(f"student,homework,handed_in\nADA,{WEEK},2026-10-02 12:00\n")
    exam.write_text("student,points\nada,60\n")
    assert "4.5 +1d" in lsdl("scores", "--times", str(times))[1]
    kept = week.parent / "gradebook" / "times.csv"
    assert sys.platform == "win32" or kept.stat().st_mode & 0o777 == 0o600
    times.write_text(f"student,homework,handed_in\nbob,{WEEK},2026-10-01 12:00Z\n")
    code, said = lsdl("handback", "97", "--times", str(times))
    assert (
        code == 1 and "Pages that are older than the marks: ada. Run lsdl feedback 97" in said and "[late]" not in said
    )
    assert table.read_text().splitlines()[1:] == ["ada,4.5,10", "bob,6,10"]
    assert "1 day late, so 75 %" in Told(paths).on_page(html, "ada")
    assert (
        "4.5 +1d" in lsdl("scores")[1] and "ada,60.00,45.00" in lsdl("final", "--exam", str(exam), "--points", "100")[1]
    )


def test_feedback_says_every_page_as_soon_as_it_is_written(week: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enter(week, "ada", "bob", "cid")
    paths, text = WeekPaths.at(week), io.StringIO()
    for student in ("ada", "bob", "cid"):
        for path in (paths.autograded / student / WEEK / "homework.ipynb", paths.feedback(student)):
            path.parent.mkdir(parents=True)
            path.write_text("<html><body>\n")
    said_before = []

    def write_page(work: object, root: Path, name: str, student: str) -> str:
        said_before.append(text.getvalue().splitlines()[-1:])
        return "it takes over 180 s" if student == "bob" else ""

    monkeypatch.setattr("lsdl.grading.feedback._in_time", write_page)
    refused = pytest.raises(GradingError, match="2 pages were written; nbgrader could not write those of bob")
    with page_progress(Console(file=text, width=80), WEEK) as progress, refused:
        make_feedback(week, progress=progress)
    assert said_before == [[], [f"[1/3] {paths.feedback('ada')}"], ["[2/3] bob (it takes over 180 s)"]]
    assert f"[3/3] {paths.feedback('cid')}\n" in text.getvalue()


# the report


def a_report() -> Report:
    found = Finding("the test double_value is missing", "it was put back from the release", "copy that cell")
    cells = {
        "double_value": CellMark(0, 3, "NameError: double"),
        "double_more": CellMark(0, 5, "NameError: double"),
        "why": CellMark(1.5, 2, manual=True),
    }
    row = Row(
        "ada",
        "repaired",
        8,
        2,
        0,
        note=f"A cell reached the time limit of 3 s: the cell more. {found}.",
        findings=[found],
        cells=cells,
    )
    scale = Scale(9, 1)
    return Report(
        WEEK, [row], [], {"double": ["double_value", "double_more"]}, "", scale, {"double": "Task 1. Double a number"}
    )


def test_one_scale_of_points_in_the_report() -> None:
    text = io.StringIO()
    score_table(a_report(), Console(file=text, width=120))
    page = html_page(a_report())
    for shown in (text.getvalue(), page):
        assert "points of 9 + 1" in shown and "0 of 8" in shown and "1.5 of 2" in shown
        assert "Points are of 9. Automatic and by hand together they can be 10: 1 are a bonus." in shown


def test_a_mistake_is_told_once_for_a_task_also_on_the_terminal() -> None:
    text = io.StringIO()
    score_table(a_report(), Console(file=text, width=120))
    assert "  Task 1. Double a number: double_value, double_more (0 of 8)\n    NameError: double" in text.getvalue()
    assert text.getvalue().count("NameError: double") == 1


def test_the_page_tells_causes_first_tasks_by_title_and_repairs_in_a_list() -> None:
    page = html_page(a_report())
    details = page[page.index("<h3>") :]
    order = ["ada", "A cell reached the time limit of 3 s: the cell more.", "Repaired before it ran:", "double_value is missing: it was put back", "Task 1. Double a number", "NameError: double"]  # fmt: skip
    places = [details.index(words) for words in order]
    assert places == sorted(places)
    assert details.count("NameError: double") == 1 and "double_value, double_more" in details and "0 of 8" in details
    assert page.index("the test double_value is missing") < page.index("<h3>")  # in the table, too
    assert "<b>Task 1. Double a number</b> (double), 8 points" in page


def test_json_has_the_repairs_and_the_scale(tmp_path: Path) -> None:
    a_report().write_json(tmp_path / "marks.json")
    data = json.loads((tmp_path / "marks.json").read_text())
    assert data["scale"] == {"most": 9, "bonus": 1} and data["submissions"][0]["total"] == 1.5
    assert data["submissions"][0]["repaired"] == [
        {
            "problem": "the test double_value is missing",
            "remedy": "it was put back from the release",
            "advice": "copy that cell",
        }
    ]
    if sys.platform != "win32":
        assert (tmp_path / "marks.json").stat().st_mode & 0o777 == 0o600


def test_titles_of_tasks(week: Path) -> None:
    found = titles(parse((week / "homework.ipynb").read_bytes()))
    assert found == dict.fromkeys(("double", "square", "why"), "Task 1. Double a number")


# what goes back to students


@pytest.fixture
def graded(week: Path, submit: Callable[..., Path], lsdl: Callable[..., tuple[int, str]]) -> Path:
    """Handed in as Moodle and Canvas name files: Ada late and with a doubled test, Bob on time with a hint in a fold."""
    set_due(week, date(2026, 10, 1))
    (week / "week.toml").write_text("bonus = 2\n")
    with (week.parent / "course.toml").open("a") as file:
        file.write("[late]\nper_day = 0.25\n")
    toml = week.parent / "course.toml"
    toml.write_text(toml.read_text().replace("points = 10", "points = 4"))
    (week / "assets" / "model.bin").write_bytes(b"0" * 1000)

    def doubled(notebook: dict) -> None:
        notebook["cells"].insert(3, json.loads(json.dumps(notebook["cells"][2])))

    def folded(notebook: dict) -> None:
        notebook["cells"][-1]["source"] = (
            "- [x](#why) (Score: 1.0 / 2.0) <details><summary>Hint</summary>\n\n$x$\n\n</details>"
        )

    submit("ada", doubled)
    folder = submit("bob", folded)
    export = week.parent / "export"
    export.mkdir()
    for source, name in (("ada", "Ada Lovelace_77_assignsubmission_file_"), ("bob", "Bob_78_assignsubmission_file_")):
        (export / name).mkdir()
        (export / name / "homework.ipynb").write_bytes((folder / source / week.name / "homework.ipynb").read_bytes())
    code, said = lsdl("grade", "97", "--demo", "--submissions", str(export), *UNSAFE)
    assert code == 0 and "for trying out only" in said.splitlines()[0] + said.splitlines()[1], said
    return week.parent


@pytest.mark.slow
@pytest.mark.linux
def test_what_students_read_and_what_goes_back(
    graded: Path, lsdl: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    gradebook = graded / "gradebook"
    with open_course(graded).gradebook as book:
        book.update_or_create_submission(WEEK, "Ada Lovelace", timestamp=datetime(2026, 10, 3, 12))
    code, said = lsdl("feedback", "97")
    assert code == 0, said
    pages = {page.parts[-3]: page.read_text(encoding="utf-8") for page in gradebook.glob("feedback/*/*/homework.html")}
    ada, bob = pages["Ada Lovelace"].partition("<body")[2], pages["Bob"].partition("<body")[2]
    for page, points in ((ada, "2 of 4 + 2 points"), (bob, "4 of 4 + 2 points")):
        assert f"<h4>{WEEK}: {points}</h4>" in page and f"<b>{points}.</b>" in page
        assert "Not graded yet, a person reads it: why." in page and page.count("not graded yet, at most 2") == 2
        assert page.count("3 of 3") == 2 and '<li><a href="#double_value">double_value</a> (3 of 3)</li>' in page
    assert "double_value is there 2 times" in ada and "Next time: delete the copies." in ada
    assert "Handed in 2 days late, so 50 % of your points count." in ada
    assert "repaired" not in bob and "late" not in bob.partition('id="toc"')[0]
    assert (
        bob.count("(Score: 1.0 / 2.0)") == 1 and "<details open>" in bob and "(Score:" not in ada
    )  # a student's own text stays, hints are unfolded
    copied = [path.name for folder in ("autograded", "feedback", "intake") for path in gradebook.glob(f"{folder}/*/*/**/*") if path.is_file()]  # fmt: skip
    assert set(copied) == {"homework.ipynb", "homework.html"}
    if sys.platform != "win32":
        private = [
            gradebook / "gradebook.db",
            *gradebook.glob("feedback/*/*/*"),
            gradebook / "reports" / f"{WEEK}.html",
        ]
        assert {path.stat().st_mode & 0o777 for path in private} == {0o600}
        assert {(gradebook / name).stat().st_mode & 0o777 for name in ("autograded", "feedback", "intake", "journal")} == {0o700}  # fmt: skip

    # One zip and one table for the class, under the names by which the course's platform knows people.
    code, said = lsdl("handback", "97")
    assert code == 1 and "2 marks are open and left out" in said, said
    with zipfile.ZipFile(gradebook / "handback" / f"{WEEK}-feedback.zip") as archive:
        assert archive.namelist() == [
            "Ada Lovelace_77_assignsubmission_file_/homework.html",
            "Bob_78_assignsubmission_file_/homework.html",
        ]
        assert archive.read(archive.namelist()[1]).decode() == pages["Bob"]
    for name in ("Ada Lovelace", "Bob"):
        with open_course(graded).gradebook as book:
            given = book.find_grade("why", "homework", WEEK, name)
            given.manual_score, given.needs_manual_grade = 1.5, False
            book.db.commit()
    code, said = lsdl("handback", "97")
    assert code == 1 and "Pages that are older than the marks: Ada Lovelace, Bob. Run lsdl feedback 97" in said
    assert (lsdl("feedback", "97")[0], lsdl("handback", "97")[0]) == (0, 0)
    table = list(csv.DictReader(io.StringIO((gradebook / "handback" / f"{WEEK}-marks.csv").read_text())))
    assert [(line["Identifier"], line["Grade"], line["Maximum Grade"]) for line in table] == [
        ("Participant 77", "2.75", "4"),
        ("Participant 78", "5.5", "4"),
    ]
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(
        "\ufeffIdentifier,Full name,Email address,Grade,Last modified (grade)\nParticipant 78,Bob,b@x.org,,-\nParticipant 5,Zoe,z@x.org,,-\n"
    )
    code, said = lsdl("handback", "97", "--sheet", str(sheet))
    assert code == 1 and "In the sheet but without a mark: Zoe." in said and "Not in the sheet: Ada Lovelace." in said
    lines = (gradebook / "handback" / f"{WEEK}-marks.csv").read_text().splitlines()
    assert lines[1:] == ["Participant 78,Bob,b@x.org,5.5,-", "Participant 5,Zoe,z@x.org,,-"]


CANVAS = """Student,ID,SIS Login ID,Section,Week 1 (901),Doubling (902),Final Score
    Points Possible,,,,10,4,(read only)
"Lovelace, Ada",12,ada@x.org,A,9,,90
"Noether, Emmy",13,emmy@x.org,A,8,,80
"""


def test_a_sheet_of_canvas_is_filled(tmp_path: Path) -> None:
    sheet = tmp_path / "canvas.csv"
    sheet.write_text(CANVAS)
    marks = {"lovelaceada_12": mark(3.5), "emmy": mark(1), "noone_99": mark(2), "open_98": mark(2, is_open=True)}
    hand_ins = {"lovelaceada_12": "lovelaceada_LATE_12_850_homework.ipynb"}
    filled = fill_sheet(sheet, marks, hand_ins, WEEK, "Doubling")
    lines = filled.text.splitlines()
    assert lines == [
        "Student,ID,SIS Login ID,Section,Doubling (902)",
        "    Points Possible,,,,4",
        '"Lovelace, Ada",12,ada@x.org,A,3.5',
        '"Noether, Emmy",13,emmy@x.org,A,1',
    ]
    assert filled.not_in_sheet == ["noone_99"]
    with pytest.raises(GradingError, match=r"no column .* week55.*Week 1 \(901\), Doubling \(902\).*--column"):
        fill_sheet(sheet, marks, hand_ins, "week55-none", "Nothing")
    assert "Week 1 (901)" in fill_sheet(sheet, marks, hand_ins, "week01-x", "").text
    assert "Week 1 (901)" in fill_sheet(sheet, marks, hand_ins, WEEK, "", column="Week 1 (901)").text
    sheet.write_text("a,b\n1,2\n")
    with pytest.raises(GradingError, match="is neither a grading worksheet of Moodle nor a gradebook of Canvas"):
        fill_sheet(sheet, marks, hand_ins, WEEK, "")


@pytest.mark.parametrize(
    ("collected", "student", "name"),
    [
        ("Ada L_77_assignsubmission_file_/my homework.ipynb", "Ada L", "Ada L_77_assignsubmission_file_/homework.html"),
        ("Ada L_77_assignsubmission_file_hw.ipynb", "Ada L", "Ada L_77_assignsubmission_file_homework.html"),
        ("lovelaceada_LATE_12_850_homework-1.ipynb", "lovelaceada_12", "lovelaceada_LATE_12_850_homework-1.html"),
        ("ada/week97-tiny/homework.ipynb", "ada", "ada.html"),
        ("", "ada", "ada.html"),
    ],
)
def test_names_in_the_zip(collected: str, student: str, name: str) -> None:
    assert name_in_zip(collected, student) == name


def test_extensions_are_given_listed_and_taken_back(lsdl: Callable[..., tuple[int, str]], week: Path) -> None:
    code, said = lsdl("extension", "97", "--student", "ada", "--until", "2026-10-05")
    assert code == 2 and "has no due date" in said
    set_due(week, date(2026, 10, 1))
    code, said = lsdl("extension", "97", "--student", "ada", "--until", "2026-10-05")
    assert (
        code == 0
        and "ada, week97-tiny: until 2026-10-05 instead of 2026-10-01" in said
        and "no class list yet: mind the spelling" in said
    )
    code, said = lsdl("extension", "97", "--student", "bob", "--days", "2")
    assert code == 0 and "until 2026-10-03" in said
    assert lsdl("extension")[1].splitlines() == [
        "ada, week97-tiny: until 2026-10-05",
        "bob, week97-tiny: until 2026-10-03",
    ]
    file = week.parent / "gradebook" / "extensions.csv"
    assert Extensions(file).of("ada", WEEK, date(2026, 10, 1)) == timedelta(days=4)
    assert Extensions(file).of("ada", WEEK, date(2026, 10, 9)) == timedelta()
    assert lsdl("extension", "97", "--student", "ada", "--remove")[0] == 0
    assert [name for name, _ in Extensions(file).until] == ["bob"]
    code, said = lsdl("extension", "97", "--student", "bob", "--until", "5.10.2026")
    assert code == 2 and "write it like 2026-10-05" in said
    code, said = lsdl("extension", "97", "--student", "bob")
    assert code == 2 and "--until DAY, --days N or --remove" in said
    code, said = lsdl("extension", "97", "--student", "ada", "--remove")
    assert code == 2 and "ada has no extension for week97-tiny" in said
    for day in ("2026-09-30", "2026-10-01"):
        code, said = lsdl("extension", "97", "--student", "bob", "--until", day)
        assert code == 2 and f"{day} is not after 2026-10-01, when week97-tiny is due" in said
    enter(week, "jmueller")
    WeekPaths.at(week).unread.write_text('{"ada": "The file is not JSON."}')
    before = file.read_bytes()
    for name, meant in (("adda", "adda (is it ada?)"), ("jmueler", "jmueler (is it jmueller?)"), ("zoe", "zoe.")):
        code, said = lsdl("extension", "97", "--student", name, "--days", "2")
        assert code == 2 and f"On no class list and in no report: {meant}" in said and "db student add ID" in said
    assert file.read_bytes() == before
    assert [lsdl("extension", "97", "--student", name, "--days", "2")[0] for name in ("ada", "JMueller")] == [0, 0]
    assert {name for name, _ in Extensions(file).until} == {"ada", "bob", "jmueller"}
    file.write_text("student,homework,until\nada,week97-tiny,soon\n")
    with pytest.raises(GradingError, match="'soon' is no day"):
        Extensions(file)


# Ctrl-C


def press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_waits_for_what_is_held_and_comes_once(capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    steps = []
    with Stop() as stop, pytest.raises(Stopped):
        with stop.held():
            press_ctrl_c()
            press_ctrl_c()
            steps.append("held")
        steps.append("never")
    assert steps == ["held"] and signal.getsignal(signal.SIGINT) is before
    assert capfd.readouterr().err.count("Stopping: notebooks that run are ended") == 1
    with Stop(), pytest.raises(Stopped):
        press_ctrl_c()
        time.sleep(1)


@pytest.mark.slow
@pytest.mark.linux
def test_ctrl_c_ends_a_run_in_seconds_and_the_same_command_goes_on(
    week: Path, submit: Callable[..., Path], request: pytest.FixtureRequest
) -> None:
    def slow(notebook: dict) -> None:
        notebook["cells"][1]["source"] = "import time\ntime.sleep(100)\ndef double(x):\n    return 2 * x"

    submit("ada")
    folder = submit("bob", slow)
    solved = (folder / "ada" / WEEK / "homework.ipynb").read_bytes()
    seen: list[tuple[str, str]] = []
    timers: list[threading.Timer] = []

    def run(**options: object) -> Report:
        seen.clear()
        return grade(week, folder, unsafe=bool(UNSAFE), progress=watch, **options)

    def watch(row: Row, number: int, total: int) -> None:
        seen.append((row.student, f"{row.status} {row.resumed}"))
        if len(seen) == 1:  # bob runs: Ctrl-C, and once more out of impatience
            for seconds in (1.5, 1.8):
                timers.append(threading.Timer(seconds, press_ctrl_c))
                timers[-1].start()

    # A second press that comes when the run has ended is nobody's: it would end the test's own process.
    request.addfinalizer(partial(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, signal.SIG_IGN)))
    for options in ({}, {"regrade": True}):
        begin = time.monotonic()
        with pytest.raises(Stopped, match="1 of 2 students are finished. The same command goes on."):
            run(**options)
        for timer in timers:
            timer.join()
        assert time.monotonic() - begin < 60 and seen == [("ada", "ok False")]
    (folder / "bob" / WEEK / "homework.ipynb").write_bytes(solved)
    done: list[tuple[str, bool]] = []
    report = grade(week, folder, unsafe=bool(UNSAFE), regrade=True, progress=lambda row, *_: done.append((row.student, row.resumed)))  # fmt: skip
    assert done == [("ada", True), ("bob", False)] and [row.status for row in report.rows] == ["ok", "ok"]
    assert any("A --regrade that was stopped goes on, 1 students had been run" in text for text in report.warnings)
    done.clear()
    grade(
        week,
        folder,
        unsafe=bool(UNSAFE),
        regrade=True,
        progress=lambda row, *_: done.append((row.student, row.resumed)),
    )
    assert sorted(done) == [("ada", False), ("bob", False)]  # the next one begins anew
