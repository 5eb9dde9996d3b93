"""RETRAIN at smoke scale: every part of every seminar's measure.py, with the cheap settings of the week's train.py.

That the cells use every part, and that the core runs without the cells tagged `further`, is seen where a seminar measures everything
anyway: at full scale (test_full_scale.py). Once a week the whole notebook runs with RETRAIN at smoke scale, too.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lsdl.settings
from lsdl.author.course import find_weeks
from lsdl.author.homework import Homework
from lsdl.author.seminar import seminar_names

ROOT = Path(__file__).parents[1]
WEEKS = [week for week in find_weeks(ROOT) if (week / "measure.py").is_file()]
PARAMS = [pytest.param(week, id=week.name, marks=pytest.mark.xdist_group(week.name)) for week in WEEKS]


# A process of its own, as a kernel is one; without Jupyter, for speed. A further cell comes after the whole core, so nothing of the core needs it.
RUN = """
import json, os, sys, time
import lsdl.settings
from lsdl.cells import source_of, tags

sys.path.insert(0, os.getcwd())
load, cheap = lsdl.settings.load_settings, json.loads(sys.argv[1])
notebook = {"__name__": "__main__"}  # its names are its own: a seminar may call something `cell`
lsdl.settings.load_settings = lambda *args, **options: load(*args, **options) | cheap
cells = [cell for cell in json.load(open("seminar.ipynb", encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
for cell in sorted(cells, key=lambda cell: "further" in tags(cell)):
    source = source_of(cell) + ("\\nRETRAIN = True" if "parameters" in tags(cell) else "")
    exec(compile(source, f"cell {cell['id']}", "exec"), notebook)
    print(f"{time.process_time():.1f} CPU s after {cell['id']}", file=sys.stderr)
assert not notebook["tables"].unused, "parts that nothing uses"
"""


@pytest.mark.slow
@pytest.mark.parametrize("week", PARAMS)
def test_retrain_measures_every_part(week: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    homework, load = Homework(week), lsdl.settings.load_settings
    cheap = homework.instructor("train").CHEAP | {"seeds": 1}  # several seeds: at full scale
    monkeypatch.setattr(lsdl.settings, "load_settings", lambda *given, **more: load(*given, **more) | cheap)
    with homework.at_home():
        tables = seminar_names(week, retrain=True)["tables"]
        assert tables.parts
        assert [part for part in tables.parts if not tables[part]] == []


@pytest.mark.weekly
@pytest.mark.parametrize("week", PARAMS)
def test_the_notebook_runs_with_retrain(week: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key not in ("LSDL_OUTBOX", "NBGRADER_EXECUTION")}
    env |= {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUN, json.dumps(Homework(week).instructor("train").CHEAP)]
    done = subprocess.run(command, cwd=week, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-3000:]
