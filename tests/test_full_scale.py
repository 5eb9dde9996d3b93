"""SCALE="full" runs through: every notebook on tiny files in the original formats, tiny random models and a step or two, so that no
typo waits for a GPU. What stands in for a week's data and models is written by `stand_in` of its instructor/full_scale.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsdl.author.course import find_weeks
from lsdl.author.full_scale import run_notebook

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
