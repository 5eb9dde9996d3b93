"""Every seminar that has a measure.py: its core runs alone, and RETRAIN measures all parts with the cheap settings of its train.py."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lsdl.author.course import find_weeks

ROOT = Path(__file__).parents[1]
WEEKS = [week for week in find_weeks(ROOT) if (week / "measure.py").is_file()]
PARAMS = [pytest.param(week, id=week.name, marks=pytest.mark.xdist_group(week.name)) for week in WEEKS]
# A process of its own, as a kernel is one; without Jupyter, for speed.
RUN = """
import json, os, sys
import lsdl.settings
from lsdl.cells import source_of, tags

drop, settings, parameters = json.loads(sys.argv[1])
sys.path.insert(0, os.getcwd())
load = lsdl.settings.load_settings
lsdl.settings.load_settings = lambda *args, **options: load(*args, **options) | settings
for cell in json.load(open("seminar.ipynb", encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code" and not set(drop) & set(tags(cell)):
        source = source_of(cell) + (f"\\n{parameters}" if "parameters" in tags(cell) else "")
        exec(compile(source, f"cell {cell['id']}", "exec"), globals())
if parameters:
    lacking = [name for name in tables.parts if name not in tables._rows]
    assert not lacking, f"not measured: {lacking}"
"""


def run(week: Path, drop: list[str], settings: dict, parameters: str = "") -> None:
    env = {key: value for key, value in os.environ.items() if key not in ("LSDL_OUTBOX", "NBGRADER_EXECUTION")}
    env |= {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUN, json.dumps([drop, settings, parameters])]
    done = subprocess.run(command, cwd=week, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-3000:]


def cheap_settings(week: Path) -> dict:
    spec = importlib.util.spec_from_file_location("week_train", week / "instructor" / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CHEAP


@pytest.mark.slow
@pytest.mark.parametrize("week", PARAMS)
def test_the_core_runs_without_the_further_cells(week: Path) -> None:
    run(week, ["further"], cheap_settings_that_the_tables_know(week))


@pytest.mark.slow
@pytest.mark.parametrize("week", PARAMS)
def test_retrain_measures_every_part_at_its_point_of_use(week: Path) -> None:
    run(week, [], cheap_settings(week), "RETRAIN = True")


def cheap_settings_that_the_tables_know(week: Path) -> dict:
    """Fewer epochs only: rates, seeds and alphas are those of the committed tables."""
    return {"epochs": cheap_settings(week)["epochs"]}
