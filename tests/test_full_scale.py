"""SCALE="full" runs through: every notebook on tiny files in the original formats, tiny random models and a step or two, so that no
typo waits for a GPU. What stands in for a week's data and models is written by `stand_in` of its instructor/full_scale.py."""

from __future__ import annotations

import shutil
from pathlib import Path

import papermill
import pytest

from lsdl.author.course import find_weeks
from lsdl.author.homework import Homework
from lsdl.author.references import write_references

ROOT = Path(__file__).parents[1]
NOTEBOOKS = [
    pytest.param(week / f"{name}.ipynb", id=f"{week.name}-{name}")
    for week in find_weeks(ROOT)
    for name in ("seminar", "homework")
]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_runs_at_full_scale(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    week = tmp_path / notebook.parent.name
    shutil.copytree(notebook.parent, week, ignore=shutil.ignore_patterns("__pycache__"))
    if notebook.stem == "homework":
        shutil.copytree(ROOT / "gradebook", tmp_path / "gradebook", ignore=shutil.ignore_patterns("*.db", "references"))
        write_references(week, key=(ROOT / "gradebook" / "demo.key").read_bytes())
    for name, value in Homework(notebook.parent).instructor("full_scale").stand_in(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    papermill.execute_notebook(
        week / notebook.name,
        tmp_path / "out.ipynb",
        parameters={"SCALE": "full", "DEVICE": "cpu"},
        cwd=week,
        progress_bar=False,
        kernel_name="python3",
    )
