"""Whose file is whose: names in exports and on the class list, the look before grading, and a report that is the week's."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from lsdl.cli import app
from lsdl.grading import GradingError, jail
from lsdl.grading.forget import forget
from lsdl.grading.grade import grade
from lsdl.grading.hand_ins import plan
from lsdl.grading.nbgrader_course import open_course
from lsdl.grading.roster import Listed, Roster, read_roster
from lsdl.grading.terminal_report import plan_table

UNSAFE = bool(jail.missing())
CLASS = (
    Listed("alovelace", "Ada", "Lovelace", "ada@example.org"),
    Listed("bob", "Bob", "O'Neil", "boneil@example.org", "4711"),
    Listed("Éva Kiss"),
    Listed("c1", "Carl", "Gauss"),
    Listed("c2", "Carl", "Gauss"),
)


@pytest.mark.parametrize(
    ("name", "student"),
    [
        ("alovelace", "alovelace"),
        ("Ada Lovelace", "alovelace"),
        ("Lovelace, Ada", "alovelace"),
        ("lovelaceada_12", "alovelace"),  # Canvas
        ("ada", "alovelace"),  # the login of the address
        ("oneilbob_4711", "bob"),
        ("somebodyelse_4711", "bob"),  # Canvas's number decides
        ("anon_x1y2z", None),
        ("Eva Kiss", "Éva Kiss"),
        ("kisseva_9", None),  # a list of plain names has no first and last one
        ("Carl Gauss", None),  # two of them
        ("c2", "c2"),
        ("Grace Hopper", None),
    ],
)
def test_names_of_exports_and_of_the_class_list(name: str, student: str | None) -> None:
    assert Roster(CLASS).find(name) == student


def test_a_table_says_the_rest() -> None:
    roster = Roster(CLASS, {"Carl Gauss 101": "c1", "Carl Gauss 102": "c2", "hopper": "bob"})
    assert [roster.find("Carl Gauss", number) for number in ("101", "102", "103")] == ["c1", "c2", None]
    assert roster.find("hopper") == "bob"


@pytest.fixture
def listed(week: Path) -> Path:
    """The tiny course with a class list."""
    with open_course(week.parent).gradebook as book:
        for person in CLASS:
            rest = {"first_name": person.first_name, "last_name": person.last_name, "email": person.email}
            book.add_student(person.student, lms_user_id=person.lms_user_id or None, **rest)
    return week


def export(week: Path, path: Path, *names: str, content: str | None = None) -> Path:
    """What Moodle gives for these students, solved."""
    solved = (week / "homework.ipynb").read_text()
    with zipfile.ZipFile(path, "w") as file:
        for number, name in enumerate(names):
            file.writestr(f"{name}_10{number}_assignsubmission_file_/homework.ipynb", content or solved)
    return path


def test_the_look_before_grading(listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = export(listed, tmp_path / "week.zip", "Ada Lovelace", "Carl Gauss", "Carl Gauss", "Grace Hopper")
    found = plan(listed, path)
    assert list(found.files) == ["Carl Gauss 101", "Carl Gauss 102", "Grace Hopper", "alovelace"]
    assert found.files["alovelace"] == "week.zip/Ada Lovelace_100_assignsubmission_file_/homework.ipynb"
    assert (found.without_file, found.listed) == (["bob", "c1", "c2", "Éva Kiss"], 5)
    assert found.not_listed == ["Carl Gauss 101", "Carl Gauss 102", "Grace Hopper"]
    before = sorted(listed.parent.rglob("*"))
    text = io.StringIO()
    plan_table(found, Console(file=text, width=160))
    for line in (
        "On the class list without a file (4): bob, c1, c2, Éva Kiss",
        "With a file, but not on the class list (3): Carl Gauss 101",
        "Grace Hopper (not on the class list)",
        "--names FILE",
    ):
        assert line in text.getvalue()
    assert sorted(listed.parent.rglob("*")) == before

    names = tmp_path / "names.csv"
    names.write_text("name,student\nCarl Gauss 101,c1\nCarl Gauss 102,c2\nGrace Hopper,Éva Kiss\n")
    assert plan(listed, path, names=names).not_listed == []
    done = CliRunner().invoke(
        app, ["grade", str(listed), "--submissions", str(path), "--names", str(names), "--dry-run"]
    )
    assert done.exit_code == 0 and "without a file (1): bob" in done.output, done.output
    names.write_text("name,student\nGrace Hopper,hopper\n")
    with pytest.raises(GradingError, match="students who are not on the class list: hopper"):
        read_roster(listed.parent, names)
    names.write_text("who,student\nGrace Hopper,bob\n")
    with pytest.raises(GradingError, match="needs the columns name, student"):
        read_roster(listed.parent, names)


def test_two_of_one_name_are_not_one_student(listed: Path, tmp_path: Path) -> None:
    path = export(listed, tmp_path / "week.zip", "Ada Lovelace", "Ada Lovelace")
    found = plan(listed, path)
    assert list(found.files) == ["Ada Lovelace 100", "Ada Lovelace 101"]
    assert "the class list has one alovelace, so name them in a file for --names" in found.notes[""][0]


@pytest.mark.parametrize(
    "inside", ["Bob O'Neil_1_assignsubmission_file_/homework.ipynb", "bob/week97-tiny/homework.ipynb", "bob.ipynb"]
)
def test_an_archive_named_for_somebody_on_the_list_is_theirs(listed: Path, tmp_path: Path, inside: str) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with zipfile.ZipFile(folder / "Ada Lovelace.zip", "w") as file:
        file.writestr(inside, (listed / "homework.ipynb").read_text())
        file.writestr(f"other/{inside}", "{}")
    assert list(plan(listed, folder).files) == ["alovelace"]
    assert list(plan(listed, folder / "Ada Lovelace.zip").files) == ["alovelace"]


def test_without_a_class_list_that_is_said(week: Path, tmp_path: Path) -> None:
    found = plan(week, export(week, tmp_path / "week.zip", "Ada Lovelace"))
    text = io.StringIO()
    plan_table(found, Console(file=text, width=160))
    assert "There is no class list" in text.getvalue() and "not on the class list" not in text.getvalue()


@pytest.mark.slow
@pytest.mark.linux
def test_the_report_is_the_weeks_and_not_the_calls(listed: Path, tmp_path: Path) -> None:
    first = export(listed, tmp_path / "first.zip", "Ada Lovelace", "Bob O'Neil")
    with zipfile.ZipFile(first, "a") as file:
        file.writestr("Dan_7_assignsubmission_file_/homework.ipynb", "{")
    report = grade(listed, first, unsafe=UNSAFE, guests=True)
    everybody = {
        "Dan": "failed",
        "alovelace": "ok",
        "bob": "ok",
        "c1": "missing",
        "c2": "missing",
        "Éva Kiss": "missing",
    }
    assert {row.student: row.status for row in report.rows} == everybody

    second = export(listed, tmp_path / "second.zip", "Eva Kiss")
    report = grade(listed, second, unsafe=UNSAFE)
    everybody["Éva Kiss"] = "ok"
    assert {row.student: row.status for row in report.rows} == {"c1": "missing", "c2": "missing", "Éva Kiss": "ok"}
    assert {row.student: row.status for row in report.of_the_week().rows} == everybody

    report = grade(listed, first, students=["bob"], unsafe=UNSAFE)
    assert [row.student for row in report.rows] == ["bob"]
    whole = report.of_the_week()
    assert {row.student: (row.status, row.points) for row in whole.rows if row.status == "ok"} == {
        name: ("ok", 4) for name in ("alovelace", "bob", "Éva Kiss")
    }
    whole.write_json(tmp_path / "marks.json")
    assert len(json.loads((tmp_path / "marks.json").read_text())["submissions"]) == 4

    export(listed, first, "Ada Lovelace", "Bob O'Neil", "Dan Roe")  # the file had the wrong name
    report = grade(listed, first, unsafe=UNSAFE)
    refused = {row.student: row.note for row in report.of_the_week().rows}
    assert "Dan" not in refused and "is not on the class list, so nothing was graded" in refused["Dan Roe"]
    assert any("so not graded (1): Dan Roe. Say who they are with --names" in line for line in report.warnings)
    with pytest.raises(GradingError, match="Nobody is called Dan Roe"):  # nothing was stored
        forget(listed.parent, "Dan Roe")

    for _ in range(2):  # graded once, still not on the class list
        report = grade(listed, first, unsafe=UNSAFE, guests=True)
        assert {row.student: row.status for row in report.of_the_week().rows}["Dan Roe"] == "ok"
        assert any("but graded (1): Dan Roe." in line for line in report.warnings)
    assert plan(listed, first).not_listed == ["Dan Roe"]
    assert "Dan Roe" not in read_roster(listed.parent).students and read_roster(listed.parent).find("dan roe")
    with pytest.raises(
        GradingError, match="Dan Roe has 4 points and something to grade by hand in week97-tiny: .* --marks"
    ):
        forget(listed.parent, "Dan Roe")
    with pytest.raises(GradingError, match="c1 has a place on the class list: "):
        forget(listed.parent, "c1")
    assert forget(listed.parent, "Dan Roe", marks=True)[0].startswith("Dan Roe is forgotten. Deleted: 4 points and")
    left = [path for path in (listed.parent / "gradebook").rglob("*") if path.name == "Dan Roe" or (path.suffix in (".json", ".jsonl") and "Dan Roe" in path.read_text())]  # fmt: skip
    assert left == []
    with open_course(listed.parent).gradebook as book:
        assert "Dan Roe" not in {student.id for student in book.students}
    assert "Dan Roe" not in {row.student for row in grade(listed, second, unsafe=UNSAFE).of_the_week().rows}


@pytest.mark.linux
def test_who_is_missing_says_what_came_before(listed: Path, tmp_path: Path) -> None:
    first = export(listed, tmp_path / "first.zip", "Ada Lovelace", content="{")
    why = grade(listed, first, unsafe=UNSAFE).rows[0].note
    second = export(listed, tmp_path / "second.zip", "Bob O'Neil", content="{")
    row = grade(listed, second, unsafe=UNSAFE).rows[0]
    assert (row.student, row.status) == ("alovelace", "missing") and "not JSON" in why
    assert row.note == f"Nothing was handed in. What came before could not be read: {why}"


@pytest.mark.slow
@pytest.mark.linux
def test_the_class_list_counts_for_an_archive_too(listed: Path, submit: Callable[..., Path], tmp_path: Path) -> None:
    folder = submit("bob")
    shutil.make_archive(str(tmp_path / "class"), "zip", folder)
    rows = {row.student: row.status for row in grade(listed, tmp_path / "class.zip", unsafe=UNSAFE).rows}
    assert rows == {"alovelace": "missing", "bob": "ok", "c1": "missing", "c2": "missing", "Éva Kiss": "missing"}
