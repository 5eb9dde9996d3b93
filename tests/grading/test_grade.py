"""Grading by stock nbgrader: what a class hands in, and what goes wrong with it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lsdl.grading.grade import Report, Row, grade
from lsdl.grading.release import release


def cell(notebook: dict, name: str) -> dict:
    return next(c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == name)


def set_source(name: str, source: str) -> Callable[[dict], None]:
    return lambda notebook: cell(notebook, name).update(source=source)


def rows(report: Report) -> dict[str, Row]:
    return {row.student: row for row in report.rows}


@pytest.mark.slow
def test_a_class(week: Path, submit: Callable[..., Path], tmp_path: Path) -> None:
    submit("ada")
    submit("bob", set_source("double", "def double(x):\n    return abs(2 * x)"))  # right on the visible test only
    submit("eve", lambda nb: nb["cells"].insert(3, json.loads(json.dumps(cell(nb, "double_value")))))
    submit("gus", set_source("square", "import os\nos._exit(1)"))
    folder = submit("max", set_source("square", "def square(x):\n    raise KeyError('x')"))
    (folder / "nil" / week.name).mkdir(parents=True)
    (folder / "odd" / week.name).mkdir(parents=True)
    (folder / "odd" / week.name / "homework.ipynb").write_bytes(b"\xff\xfe not a notebook")
    os.symlink(week / "homework.ipynb", folder / "zed.ipynb")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    seen: list[str] = []
    report = grade(week, folder, progress=lambda row, number, total: seen.append(f"{row.student} {number}/{total}"))
    table = rows(report)

    assert seen[0] == "ada 1/8" and seen[-1] == "zed 8/8"
    statuses = {student: (row.status, row.points) for student, row in table.items()}
    assert statuses == {
        "ada": ("ok", 4),
        "bob": ("ok", 1),
        "eve": ("repaired", 4),
        "gus": ("failed", 0),
        "max": ("ok", 3),
        "nil": ("missing", 0),
        "odd": ("failed", 0),
        "zed": ("failed", 0),
    }
    assert all((row.max_points, row.manual_max_points) == (4, 2) for row in table.values())
    assert table["ada"].cells["why"].points is None
    assert table["bob"].cells["double_value"].message == "double of another number is wrong"
    assert table["bob"].cells["square_value"].message == ""
    assert table["max"].cells["square_value"].message == "KeyError: 'x'"
    assert "double_value is there 2 times" in table["eve"].note
    assert "kernel" in table["gus"].note
    assert "UTF-8" in table["odd"].note
    assert "link" in table["zed"].note
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    report.write_json(tmp_path / "marks.json")
    entry = json.loads((tmp_path / "marks.json").read_text())["submissions"][1]
    assert entry["student"] == "bob" and entry["points"] == 1
    assert entry["cells"]["double_value"] == {
        "points": 0,
        "max_points": 3,
        "message": "double of another number is wrong",
    }


def test_grading_twice_gives_the_same(week: Path, submit: Callable[..., Path]) -> None:
    folder = submit("bob", set_source("double", "def double(x):\n    return x"))
    first = grade(week, folder).rows[0].as_json()
    assert grade(week, folder).rows[0].as_json() == first


def test_untouched_release_earns_nothing(week: Path) -> None:
    folder = week.parent / "flat"
    folder.mkdir()
    (folder / "una.ipynb").write_bytes((release(week, check=False) / "homework.ipynb").read_bytes())
    row = grade(week, folder).rows[0]
    assert (row.status, row.points) == ("ok", 0)
    assert row.cells["double_value"].message == "The answer was left empty (NotImplementedError)."
    assert row.cells["why"].points == 0  # nothing was written: nothing to grade by hand


def test_a_cell_that_never_ends_costs_that_cell(week: Path, submit: Callable[..., Path]) -> None:
    config = week.parent / "gradebook" / "nbgrader_config.py"
    config.write_text(config.read_text() + "\nc.Execute.timeout = 3\n")
    folder = submit("ivy", set_source("square", "def square(x):\n    while True:\n        pass"))
    row = grade(week, folder).rows[0]
    assert (row.status, row.points) == ("timeout", 3)
    assert row.cells["square_value"].message == "The cell ran longer than 3 s."


def test_nbgrader_goes_on_from_here(week: Path, submit: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    """Its own feedback, its list of assignments: what formgrader and `nbgrader export` work with."""
    from lsdl.grading.nbgrader_course import open_course

    grade(week, submit("bob", set_source("double", "def double(x):\n    return abs(2 * x)")))
    assert capfd.readouterr() == ("", "")  # neither nbgrader nor the kernels talk into the report
    api = open_course(week.parent)
    assert api.get_source_assignments() == {week.name}
    assert api.generate_feedback(week.name, "bob")["success"]
    page = (week.parent / "gradebook" / "feedback" / "bob" / week.name / "homework.html").read_text(encoding="utf-8")
    assert "double of another number is wrong" in page and "HIDDEN TESTS" not in page
    with api.gradebook as gradebook:
        assert gradebook.find_submission(week.name, "bob").score == 1


def test_enrolled_students_without_a_submission_have_a_row(week: Path, submit: Callable[..., Path]) -> None:
    grade(week, submit("ada"))
    (week.parent / "gradebook" / "submitted").mkdir()
    assert [(row.student, row.status) for row in grade(week).rows] == [("ada", "missing")]


def test_a_folder_that_is_not_there(week: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a folder: give the folder"):
        grade(week, week.parent / "nowhere")
