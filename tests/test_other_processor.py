"""Processors round differently (vector instructions, order of sums); references recorded on one have to hold on another."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# torch, oneDNN and MKL without any vector instructions of the last twenty years
PLAIN = {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_CBWR": "COMPATIBLE"}


def weeks_tests(*only: str) -> subprocess.CompletedProcess[str]:
    """Run tests of tests/test_weeks.py as such a processor would."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests/test_weeks.py"]
    return subprocess.run(
        [*command, "-k", " or ".join(only)], cwd=ROOT, env=os.environ | PLAIN, capture_output=True, text=True
    )


@pytest.mark.slow
def test_references_hold_on_another_processor() -> None:
    result = weeks_tests("references_match", "solutions_pass", "alternative_passes")
    assert result.returncode == 0, result.stdout[-5000:]


@pytest.mark.weekly
def test_hints_are_shown_on_another_processor() -> None:
    result = weeks_tests("every_mistake_fails")
    assert result.returncode == 0, result.stdout[-5000:]
