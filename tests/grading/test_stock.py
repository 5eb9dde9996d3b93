"""Odd hand-ins, graded in one batch and by stock nbgrader itself: everybody has a row, and nobody has a point less."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from damaged import damaged
from demo_week import demo_course
from hypothesis import HealthCheck, Phase, given, settings
from nbgrader.dbutil import _temp_alembic_ini

from lsdl.grading.grade import grade
from lsdl.grading.nbgrader_course import open_course

WEEKLY = int(os.environ.get("LSDL_HAND_INS", "500"))


def hand_ins(count: int) -> list[str]:
    """As many different notebooks that hypothesis makes of the solved one, always the same."""
    found: dict[str, None] = {}

    @settings(
        max_examples=3 * count,
        phases=[Phase.generate],
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(notebook=damaged())
    def collect(notebook: dict) -> None:
        if len(found) < count:
            found[json.dumps(notebook)] = None

    collect()
    return list(found)


def test_a_new_gradebook_has_the_version_of_its_tables(week: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that nbgrader asks alembic for, without a process."""
    with _temp_alembic_ini("sqlite://") as settings:
        command = [sys.executable, "-m", "alembic.config", "-c", settings, "heads"]
        (said,) = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    monkeypatch.setattr("nbgrader.api.sp", None)
    with open_course(week.parent).gradebook as book:
        found = book.db.connection().exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    assert said == f"{found} (head)"


def stock_points(root: Path, week: str, student: str) -> dict[str, float]:
    """What nbgrader gives by itself for each cell of one hand-in; nothing where it refuses the notebook."""
    api = open_course(root)
    api.autograde(week, student, force=True, create=True)
    with api.gradebook as book:
        marks = book.find_submission_notebook("homework", week, student).grades
        return {mark.name: mark.auto_score for mark in marks if mark.auto_score}


@pytest.mark.slow
@pytest.mark.linux
@pytest.mark.parametrize("count", [2, pytest.param(WEEKLY, marks=pytest.mark.weekly)])
def test_odd_hand_ins_never_lose_a_point_that_stock_nbgrader_gives(count: int, tmp_path: Path) -> None:
    week = demo_course(tmp_path / "course")
    stock = tmp_path / "stock"
    shutil.copytree(week.parent, stock)
    texts = {f"student{number:03d}": text for number, text in enumerate(hand_ins(count))}
    assert len(texts) == count
    for student, text in texts.items():
        for root in (week.parent, stock):
            folder = root / "gradebook" / "submitted" / student / week.name
            folder.mkdir(parents=True)
            (folder / "homework.ipynb").write_text(text)

    rows = {row.student: row for row in grade(week, jobs=2).rows}
    assert rows.keys() == texts.keys()
    partly = [student for student, row in rows.items() if row.points < row.max_points]  # more than all nobody can give
    less = [
        f"{student} {cell}: {mark} of stock, {rows[student]}"
        for student in partly
        for cell, mark in stock_points(stock, week.name, student).items()
        if mark > (rows[student].cells[cell].points or 0)
    ]
    print(f"{count} hand-ins, {len(partly)} without all points, {len(less)} marks of stock nbgrader are higher")
    assert not less, "\n\n".join(less)
