"""Processors round differently (vector instructions, order of sums); references recorded on one have to hold on another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lsdl.author.course import find_weeks

ROOT = Path(__file__).parents[1]
# torch, oneDNN and MKL as on a processor without vector instructions
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}
DECIDES = """import io, sys
from contextlib import redirect_stdout
from pathlib import Path
from lsdl.author.homework import Homework
from lsdl.author.reach import reachable
from lsdl.author.references import check_references

homework = Homework(Path(sys.argv[1]))
print(*check_references(homework.week, fingerprints=False), sep="\\n", end="")
names = homework.namespace()
reach = {cell: reachable(cell.visible_source, names) for cell in homework.unit_cells}
for alternative in homework.alternatives:
    with homework.replaced(names, alternative.replaces):
        for cell in homework.unit_cells:
            if reach[cell] & alternative.replaces.keys():
                with redirect_stdout(io.StringIO()):  # a check says that an answer is right
                    error = homework.run_cell(cell, names, hidden=False)
                if error is not None:
                    print(*alternative.replaces, cell.grade_id, repr(error))
"""


def run_plain(*command: str) -> str:
    """What Python prints as on such a processor."""
    result = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=os.environ | PLAIN, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("week", find_weeks(ROOT), ids=lambda week: week.name)
def test_what_decides_points_holds_on_another_processor(week: Path) -> None:
    """The solutions and the alternatives pass the visible checks; hints of mistakes follow once a week."""
    assert run_plain("-c", DECIDES, str(week)).strip() == ""


@pytest.mark.weekly
def test_mistakes_get_their_hints_on_another_processor() -> None:
    run_plain("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/test_weeks.py")
