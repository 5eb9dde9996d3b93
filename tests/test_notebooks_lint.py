"""Every week in the repository keeps every lint rule."""

from pathlib import Path

import pytest

from lsdl.author.course import find_weeks
from lsdl.author.lint import lint_week

WEEKS = find_weeks(Path(__file__).parent.parent)


@pytest.mark.parametrize("week", WEEKS, ids=[week.name for week in WEEKS])
def test_week_keeps_every_rule(week: Path) -> None:
    assert [str(problem) for problem in lint_week(week)] == []
