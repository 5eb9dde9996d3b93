"""A course of one tiny week whose tests are plain asserts: nbgrader grades a submission in a few seconds, without torch."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook
from sqlalchemy import Engine, event

REPOSITORY = Path(__file__).resolve().parents[2]
WEEK = "week97-tiny"

COURSE = f"""
title = "Tiny course"
edition = "2026.1"
[[parts]]
name = "examination"
weight = 0.5
pass_mark = 0.45
[[parts]]
name = "assignments"
weight = 0.5
pass_mark = 0.45
[weeks.{WEEK}]
title = "Doubling"
points = 10
"""


@event.listens_for(Engine, "connect")
def _no_wait_for_the_disk(connection: sqlite3.Connection, _: object) -> None:
    """A test's gradebook need not outlive the machine: its commits, dozens a submission, return at once."""
    connection.execute("PRAGMA synchronous = OFF")


def _cell(source: str, name: str, **role: object) -> nbformat.NotebookNode:
    entry = {"schema_version": 3, "grade": False, "solution": False, "locked": False, "task": False}
    return new_code_cell(source, id=name, metadata={"nbgrader": entry | {"grade_id": name} | role})


def _solution(name: str, body: str) -> nbformat.NotebookNode:
    source = f"def {name}(x):\n    ### BEGIN SOLUTION\n    {body}\n    ### END SOLUTION\n"
    return _cell(source, name, solution=True)


def _homework() -> nbformat.NotebookNode:
    hidden = (
        "### BEGIN HIDDEN TESTS\nassert double(-7) == -14, 'double of another number is wrong'\n### END HIDDEN TESTS"
    )
    text = new_markdown_cell(
        "Why?\n=== BEGIN MARK SCHEME ===\n2 points for a reason\n=== END MARK SCHEME ===\n",
        id="why",
        metadata={
            "nbgrader": {"schema_version": 3, "grade": True, "solution": True, "locked": False, "task": False}
            | {"grade_id": "why", "points": 2}
        },
    )
    cells = [
        new_markdown_cell("## Task 1. Double a number", id="title"),
        _solution("double", "return 2 * x"),
        _cell(
            f"assert double(3) == 6, 'double(3) is not 6'\n{hidden}", "double_value", grade=True, locked=True, points=3
        ),
        _solution("square", "return x * x"),
        _cell("assert square(3) == 9, 'square(3) is not 9'", "square_value", grade=True, locked=True, points=1),
        text,
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Where students' code cannot run, what runs it is not tested."""
    if sys.platform != "linux" and item.get_closest_marker("linux"):
        pytest.skip("students' code runs on Linux only (jail.require)")


@pytest.fixture
def week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the tiny week, in a course of its own; 4 automatic points and 2 by hand."""
    root = tmp_path / "course"
    folder = root / WEEK
    (folder / "assets").mkdir(parents=True)
    (folder / "instructor").mkdir()
    (folder / "instructor" / "cases.py").write_text("SECRET = 1\n")
    (folder / "assets" / "table.json").write_text("{}\n")
    (folder / "helpers.py").write_text("ANSWER = 42\n")
    (folder / "README.md").write_text("# Doubling\n")
    (folder / "seminar.ipynb").write_text(nbformat.writes(new_notebook(cells=[new_markdown_cell("# Seminar", id="s")])))
    (folder / "homework.ipynb").write_text(nbformat.writes(_homework()))
    (root / "course.toml").write_text(COURSE)
    (root / "gradebook").mkdir()
    for name in ("nbgrader_config.py", "demo.key"):
        shutil.copy(REPOSITORY / "gradebook" / name, root / "gradebook")
    monkeypatch.chdir(root)
    # The tiny week has no checks, so it has no references to write.
    monkeypatch.setattr("lsdl.author.references.prepare_hidden_references", lambda week, key=None: [])
    return folder


Change = Callable[[dict], None]


@pytest.fixture
def submit(week: Path) -> Callable[..., Path]:
    """`submit("ada", change)` hands in the solved notebook after `change` edited its JSON; returns the folder."""
    folder = week.parent / "submissions"

    def hand_in(student: str, change: Change = lambda notebook: None) -> Path:
        notebook = json.loads((week / "homework.ipynb").read_text())
        change(notebook)
        target = folder / student / week.name
        target.mkdir(parents=True)
        (target / "homework.ipynb").write_text(json.dumps(notebook))
        return folder

    return hand_in
