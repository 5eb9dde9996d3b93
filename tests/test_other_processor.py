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
DRIFT = "import sys; from pathlib import Path; from lsdl.author.references import check_references; "
DRIFT += "print('\\n'.join(check_references(Path(sys.argv[1]))))"


def run_plain(*command: str) -> str:
    """What Python prints as on such a processor."""
    result = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=os.environ | PLAIN, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]
    return result.stdout


@pytest.mark.slow
@pytest.mark.parametrize("week", find_weeks(ROOT), ids=lambda week: week.name)
def test_references_hold_on_another_processor(week: Path) -> None:
    assert run_plain("-c", DRIFT, str(week)).strip() == ""


@pytest.mark.weekly
def test_mistakes_get_their_hints_on_another_processor() -> None:
    run_plain("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/test_weeks.py")
