"""Every real week from rerun to marks: its notebooks execute at smoke within their budgets, the solved homework gets all automatic
points, the untouched release none, and one known mistake costs what it names, with its hint."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from lsdl.author.course import find_weeks
from lsdl.grading.demo import demo, load_mistakes

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("week", find_weeks(ROOT), ids=lambda week: week.name)
def test_week_from_rerun_to_marks(week: Path) -> None:
    text = io.StringIO()
    well = demo(week, Console(file=text, width=200))
    shown = text.getvalue()
    assert well, shown
    assert any(mistake.hint.split(":")[0] in shown for mistake in load_mistakes(week)), shown


def test_each_week_has_its_own_helpers() -> None:
    for week in find_weeks(ROOT):  # in one process, as the test above
        assert load_mistakes(week)
