"""The whole path with checks, hidden references and hints, on the demonstration week that the other tests share."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from lsdl.grading.demo import demo

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.linux
def test_demo_with_notebooks(tmp_path: Path) -> None:
    root = tmp_path / "course"
    shutil.copytree(REPOSITORY / "tests" / "fixtures" / "course", root)
    shutil.copy(REPOSITORY / "gradebook" / "nbgrader_config.py", root / "gradebook")
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    text = io.StringIO()
    well = demo(root / "week99-demo", Console(file=text, width=200))
    shown = text.getvalue()
    assert well, shown
    assert "The variance divides by n - 1" in shown  # the hint of the mistake that was put in
    assert "public demo key" in shown
    for line in ("perfect: ok, 7 of 7 automatic points", "untouched: ok, 0 of 7 automatic points", "mistaken: ok,"):
        assert line in shown, shown
    assert before == {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
