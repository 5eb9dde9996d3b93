"""Every seminar that has a measure.py: its core runs without the cells tagged `further`, and RETRAIN measures every part where it is used.

Both at once, with the cheap settings of the week's train.py: first all cells of the core, then the further ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lsdl.author.course import find_weeks
from lsdl.author.homework import Homework

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
lsdl.settings.load_settings = lambda *args, **options: load(*args, **options) | cheap
cells = [cell for cell in json.load(open("seminar.ipynb", encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
for cell in sorted(cells, key=lambda cell: "further" in tags(cell)):
    source = source_of(cell) + ("\\nRETRAIN = True" if "parameters" in tags(cell) else "")
    exec(compile(source, f"cell {cell['id']}", "exec"), globals())
    print(f"{time.process_time():.1f} CPU s after {cell['id']}", file=sys.stderr)
assert not set(tables.parts) - set(tables._rows), "parts that nothing uses"
"""


@pytest.mark.slow
@pytest.mark.parametrize("week", PARAMS)
def test_the_core_runs_alone_and_retrain_measures_every_part(week: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key not in ("LSDL_OUTBOX", "NBGRADER_EXECUTION")}
    env |= {"MPLBACKEND": "agg", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUN, json.dumps(Homework(week).instructor("train").CHEAP)]
    done = subprocess.run(command, cwd=week, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr[-3000:]
