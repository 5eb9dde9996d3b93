"""One scale of points for report, feedback, scores and tables: those of course.toml, and beside them the bonus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lsdl.author.course import CourseError, load_course


@dataclass(frozen=True)
class Scale:
    """The points of a homework as README's table has them: "10 + 2" are ten points and two of a bonus.

    >>> Scale(10, 2).told(8.5)
    '8.5 of 10 + 2'
    """

    most: float
    bonus: float = 0

    def __str__(self) -> str:
        return f"{self.most:g} + {self.bonus:g}" if self.bonus else f"{self.most:g}"

    def told(self, points: float) -> str:
        """Points on this scale."""
        return f"{plain(points)} of {self}"


def plain(points: float) -> str:
    """A number of points: at most two decimals, and none that says nothing.

    >>> plain(10.0), plain(2 / 3)
    ('10', '0.67')
    """
    return f"{round(points, 2):g}"


def scale_of(root: Path, week: str) -> Scale | None:
    """The scale of a week; None where course.toml does not say it."""
    try:
        entry = load_course(root).weeks.get(week)
    except CourseError:
        return None
    return Scale(entry.points, entry.bonus) if entry else None
