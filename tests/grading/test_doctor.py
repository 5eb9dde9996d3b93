"""The doctor's lines, and the demo that `make run` shows."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from lsdl.grading.demo import demo
from lsdl.grading.doctor import examine_machine, examine_notebook
from lsdl.grading.release import release

MISTAKES = """
from types import SimpleNamespace

import math


TURN = math.pi


def offset():
    return TURN


def double_wrong(x):
    return 2 * x + offset() * 0 + (x < 0)


MISTAKES = [
    SimpleNamespace(replaces={"double": lambda x: 0}, fails=("double_value",)),
    SimpleNamespace(replaces={"double": double_wrong}, fails=("double_value",)),
]
"""


def test_this_machine_can_grade() -> None:
    found = examine_machine(Path(__file__).resolve().parents[2])
    assert not [diagnosis.line for diagnosis in found if diagnosis.level == "problem"]
    assert {"python", "torch", "nbgrader", "disk"} <= {diagnosis.line.partition(":")[0] for diagnosis in found}


def test_a_machine_without_the_course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "run lsdl inside the course's repository" in examine_machine()[-1].line


def test_notebooks(week: Path, tmp_path: Path) -> None:
    good = release(week, check=False) / "homework.ipynb"
    assert [d.level for d in examine_notebook(good)] == ["ok"]

    notebook = json.loads(good.read_text())
    del notebook["cells"][2]
    bad = tmp_path / "bad.ipynb"
    bad.write_text(json.dumps(notebook))
    assert [(d.level, d.line) for d in examine_notebook(bad)] == [
        (
            "problem",
            "the test double_value is missing; it was put back from the release (`lsdl grade` does this itself).",
        )
    ]
    bad.write_text("{")
    assert "not JSON" in examine_notebook(bad)[0].line
    assert "is it the seminar" in examine_notebook(week / "seminar.ipynb")[0].line


@pytest.mark.slow
def test_demo(week: Path, monkeypatch: pytest.MonkeyPatch, submit: Callable[..., Path]) -> None:
    (week / "instructor" / "mistakes.py").write_text(MISTAKES)
    monkeypatch.setattr("lsdl.grading.release.refuse_problems", lambda week: None)
    before = {path for path in week.parent.rglob("*")}
    text = io.StringIO()
    assert demo(week, Console(file=text, width=160), notebooks=False)
    shown = text.getvalue()
    for line in (
        "mistaken: ok, 1 of 4 points",
        "perfect: ok, 4 of 4 points",
        "untouched: ok, 0 of 4 points",
        "double of another number is wrong",
    ):
        assert line in shown
    assert {path for path in week.parent.rglob("*")} == before
