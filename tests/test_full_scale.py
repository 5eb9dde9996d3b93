"""SCALE="full" runs through: every notebook on tiny files in the original formats, tiny random models and a step or two, so that no
typo waits for a GPU. What stands in for a week's data and models is written by `stand_in` of its instructor/full_scale.py. A seminar's
core runs before all cells tagged `further`, so it is seen to need none of them, and every part of its measure.py is used."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from small_week import code, notebook

from lsdl.author.course import find_weeks
from lsdl.author.full_scale import FullScaleError, run_notebook

ROOT = Path(__file__).parents[1]
NOTEBOOKS = [
    pytest.param(week / f"{name}.ipynb", id=f"{week.name}-{name}")
    for week in find_weeks(ROOT)
    for name in ("seminar", "homework")
]


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS)
def test_runs_at_full_scale(notebook: Path, tmp_path: Path) -> None:
    run_notebook(notebook, tmp_path, "cpu")


MEASURE = """from lsdl.tables import part


@part(minutes=1)
def told(s, seeds):
    yield {"seed": 0}


@part(minutes=1)
def forgotten(s, seeds):
    yield {"seed": 0}
"""
TABLES = """import measure
from lsdl.tables import Tables

tables = Tables("tables.json", measure, seminar=globals(), seeds=1, retrain=SCALE == "full")"""


def test_the_core_runs_before_what_is_further_and_uses_all_parts_with_it(tmp_path: Path) -> None:
    week = tmp_path / "week98-small"
    (week / "instructor").mkdir(parents=True)
    (week / "measure.py").write_text(MEASURE)
    (week / "instructor" / "full_scale.py").write_text("def stand_in(folder):\n    return {}\n")
    cells = code('SCALE = "smoke"', "parameters"), code(TABLES, "define"), code("late = tables['told']", "further")
    nbformat.write(notebook(*cells, code("assert 'late' not in globals()")), week / "seminar.ipynb")
    with pytest.raises(FullScaleError, match=r"No cell uses forgotten of measure\.py\.$"):
        run_notebook(week / "seminar.ipynb", tmp_path / "run", "cpu")
