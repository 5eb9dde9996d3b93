"""What one step knows the next reads: what somebody has to look at again is open in report and marks, and neither contradicts the other."""

from __future__ import annotations

import copy
import errno
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lsdl.author.course import WeekPaths
from lsdl.grading import GradingError, jail
from lsdl.grading import grade as module
from lsdl.grading.grade import Report, Row, grade
from lsdl.grading.hand_ins import plan, read_all
from lsdl.grading.html_report import html_page
from lsdl.grading.nbgrader_course import open_course
from lsdl.grading.release import release
from lsdl.grading.roster import Roster
from lsdl.grading.scores import HomeworkMark, all_marks, final_marks, marks_csv

UNSAFE = bool(jail.missing())


def cell(notebook: dict, name: str) -> dict:
    return next(c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == name)


def without(*names: str) -> Callable[[dict], None]:
    def change(notebook: dict) -> None:
        for name in names:
            notebook["cells"].remove(cell(notebook, name))

    return change


def edited(test: str) -> Callable[[dict], None]:
    return lambda notebook: cell(notebook, test).update(source="assert True")


def rows(report: Report) -> dict[str, Row]:
    return {row.student: row for row in report.rows}


def marks(week: Path) -> dict[str, HomeworkMark]:
    return {student.student: student.homeworks[week.name] for student in all_marks(week.parent)}


def give(root: Path, student: str, points: float) -> None:
    """What formgrader does when somebody enters points."""
    with open_course(root).gradebook as book:
        mark = book.find_grade("why", "homework", "week97-tiny", student)
        mark.manual_score, mark.needs_manual_grade = points, False
        book.db.commit()


def write(path: Path, notebook: dict | str) -> None:
    path.write_text(notebook if isinstance(notebook, str) else json.dumps(notebook))


@pytest.mark.slow
@pytest.mark.linux
def test_k9_a_text_that_changed_after_it_was_graded_is_open(week: Path, submit: Callable[..., Path]) -> None:
    folder = submit("ada")
    path = folder / "ada" / week.name / "homework.ipynb"
    first = json.loads(path.read_text())
    grade(week, folder, unsafe=UNSAFE)
    give(week.parent, "ada", 2)
    assert not marks(week)["ada"].is_open

    grade(week, folder, regrade=True, unsafe=UNSAFE)  # a mere regrade, for which nbgrader sets its flag, too
    assert not marks(week)["ada"].is_open

    second = copy.deepcopy(first)
    cell(second, "why")["source"] = "I do not know."
    write(path, second)
    for regrade in (False, False, True):
        (row,) = grade(week, folder, regrade=regrade, unsafe=UNSAFE).rows
        assert (
            row.note == "why changed since it was graded by hand."
            and row.needs_a_person
            and row.cells["why"].points == 2
        )
        mark = marks(week)["ada"]
        assert (mark.points, mark.is_open, mark.why) == (6, True, "why changed since it was graded by hand")

    give(week.parent, "ada", 0.5)  # somebody looked
    assert (marks(week)["ada"].points, marks(week)["ada"].is_open) == (4.5, False)
    (row,) = grade(week, folder, regrade=True, unsafe=UNSAFE).rows
    assert row.note == "" and not marks(week)["ada"].is_open


@pytest.mark.slow
@pytest.mark.linux
def test_k9_report_and_gradebook_never_disagree(week: Path, submit: Callable[..., Path]) -> None:
    """Archive A, a newer B, A again: what is reported is what the gradebook holds."""
    folder = submit("ada")
    path = folder / "ada" / week.name / "homework.ipynb"
    a = path.read_text()
    b = json.loads(a)
    cell(b, "square")["source"] = "def square(x):\n    return 0"
    for content, points in ((a, 4), (b, 3), (a, 4), (a, 4)):
        write(path, content)
        (row,) = grade(week, folder, unsafe=UNSAFE).rows
        assert (row.points, marks(week)["ada"].raw) == (points, points)
    assert row.resumed


@pytest.mark.slow
@pytest.mark.linux
def test_k9_who_could_not_be_read_is_in_the_marks_as_open(
    week: Path, submit: Callable[..., Path], tmp_path: Path
) -> None:
    """Also who has no other attempt; a question that the student never saw; an older version is counted, not accused."""
    for student in ("ada", "cid", "dan"):
        folder = submit(student, edited("square_value"))
    submit("eve", without("why"))
    write(folder / "bob.ipynb", '{"cells": [')
    table = rows(grade(week, folder, unsafe=UNSAFE))
    assert table["bob"].status == "failed"
    differs = "the test square_value differs from the release, it was edited or is of an older version (3 students have this one)"
    assert all(differs in table[student].note and table[student].points == 4 for student in ("ada", "cid", "dan"))
    assert (
        table["eve"].needs_a_person
        and "why is not in the notebook, deleted or not in that version" in table["eve"].note
    )

    found = marks(week)
    assert (found["bob"].handed_in, found["bob"].is_open, found["bob"].points) == (True, True, 0)
    assert (
        found["bob"].why
        == "handed in, could not be read: The file is not JSON: hand in the .ipynb file as Jupyter saved it."
    )
    assert found["eve"].is_open and found["eve"].why.startswith("why is not in the notebook")
    exam = tmp_path / "exam.csv"
    exam.write_text("student,points\nbob,60\n")
    final = {mark.student: mark for mark in final_marks(week.parent, exam, out_of=60)}
    assert final["bob"].passed is None and "not in the gradebook" not in final["bob"].why
    assert "bob" in marks_csv(all_marks(week.parent))

    give(week.parent, "eve", 0)
    assert not marks(week)["eve"].is_open
    shutil.copy(folder / "eve" / week.name / "homework.ipynb", folder / "bob.ipynb")
    grade(week, folder, students=["bob"], unsafe=UNSAFE)
    assert not marks(week)["bob"].why.startswith("handed in")


@pytest.fixture
def two_weeks(week: Path) -> Path:
    """A second week beside the tiny one, which has a cell of the same name and others of its own."""
    other = week.with_name("week96-other")
    shutil.copytree(week, other)
    text = (other / "homework.ipynb").read_text()
    for name in ("double", "square"):
        text = text.replace(name, f"{name}d")
    (other / "homework.ipynb").write_text(text)
    return other


@pytest.mark.linux
def test_k5_the_homework_of_another_week_is_refused_with_its_name(week: Path, two_weeks: Path, tmp_path: Path) -> None:
    path = tmp_path / "week96.zip"
    with zipfile.ZipFile(path, "w") as file:
        for name in ("Ada", "Bob"):
            file.writestr(
                f"{name}_1_assignsubmission_file_/homework.ipynb", (two_weeks / "homework.ipynb").read_bytes()
            )
        file.writestr("Cid_1_assignsubmission_file_/homework.ipynb", "{")
    with pytest.raises(
        GradingError,
        match=r"holds the homework of week96-other \(2 of 3\), not of week97-tiny: grade it with lsdl grade week96",
    ):
        grade(week, path, unsafe=UNSAFE)
    assert not (week.parent / "gradebook" / "gradebook.db").exists()
    assert not (week.parent / "gradebook" / "release").exists()

    with zipfile.ZipFile(path, "a") as file:  # one has not noticed that the week is over
        file.writestr("Dan_1_assignsubmission_file_/homework.ipynb", (week / "homework.ipynb").read_bytes())
    with pytest.raises(GradingError, match=r"week96-other \(2 of 4\), .* To grade only the 1 of week97-tiny, name them with --student."):  # fmt: skip
        plan(week, path)
    found, _ = read_all(WeekPaths.at(week), path, "", Roster(), None, some=True)
    assert {item.entry.student: bool(item.why) for item in found} == dict(Ada=True, Bob=True, Cid=True, Dan=False)


@pytest.mark.linux
def test_k5_one_homework_of_another_week_is_a_row(week: Path, two_weeks: Path, submit: Callable[..., Path]) -> None:
    folder = submit("ada")
    shutil.copy(two_weeks / "homework.ipynb", folder / "bob.ipynb")
    # A fresh copy beside the answers is no newer attempt.
    fresh = release(week, check=False) / "homework.ipynb"
    with zipfile.ZipFile(folder / "cid.zip", "w") as file:
        file.writestr(zipfile.ZipInfo("homework.ipynb", (2026, 1, 1, 0, 0, 0)), (week / "homework.ipynb").read_bytes())
        file.writestr(zipfile.ZipInfo("homework-1.ipynb", (2026, 1, 2, 0, 0, 0)), fresh.read_bytes())
    table = rows(grade(week, folder, unsafe=UNSAFE))
    assert (table["ada"].status, table["bob"].status) == ("ok", "failed")
    assert (
        table["cid"].points == 4
        and "nothing is written in it, so left out: cid.zip/homework-1.ipynb" in table["cid"].note
    )
    assert table["bob"].note == "This is the homework of week96-other, not of week97-tiny: ask for the right one."


@pytest.mark.linux
def test_k2_a_hand_in_whose_name_the_disk_refuses_is_a_row(
    week: Path, submit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    submit("ada")
    folder = submit("bob")
    record = module.GradebookWriter.record

    def refuse_ada(self: object, result: object) -> None:
        if result.student == "ada":
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        record(self, result)

    monkeypatch.setattr(module.GradebookWriter, "record", refuse_ada)
    table = rows(grade(week, folder, unsafe=UNSAFE))
    assert (table["ada"].status, table["bob"].points) == ("failed", 4) and "name too long" in table["ada"].note


HOSTILE = (
    *(
        "\u738b" * 80,
        "\u00e9" * 100,
        "\U0001d518" * 60,
        "a" * 240,
        "a*b {c}",
        "-rf",
        "$(reboot)",
        "a\nb",
        "a\x1b]0;title\x07b",
        "\u202egnp.exe",
    ),
    *(
        "'; DROP TABLE student; --",
        "<script>alert(1)</script>".replace("/", "_"),
        "%s%n{0}",
        "con",
        "~root",
        " . ",
        "\u0130\u0131\u00df",
        "\U0001f600",
    ),
)


@pytest.mark.slow
@pytest.mark.linux
def test_k2_three_hundred_hand_ins_with_hostile_names_end_in_a_report(
    week: Path, submit: Callable[..., Path], tmp_path: Path
) -> None:
    solved = (submit("ada") / "ada" / week.name / "homework.ipynb").read_bytes()
    folder = week.parent / "submissions"
    names = [f"{number} {name}"[:250] for number in range(17) for name in HOSTILE]
    for name in names:
        raw = name.encode()[:240].decode("utf-8", "ignore")
        (folder / f"{raw}.ipynb").write_text("{")
    (folder / (80 * "\u738b" + ".ipynb")).write_bytes(solved)
    with open(os.fsencode(folder) + b"/M\xfcller.ipynb", "wb") as file:
        file.write(b"{")
    report = grade(week, folder, unsafe=UNSAFE)
    assert len(report.rows) > 300
    good = [row for row in report.rows if row.status == "ok"]
    assert len(good) == 2 and all(row.points == 4 for row in good)
    report.write_json(tmp_path / "marks.json")
    html_page(report.of_the_week()).encode("utf-8")
    for row in report.rows:
        assert all(letter.isprintable() for letter in row.student + row.note), row.note
    assert len(all_marks(week.parent)) == len(report.rows)
