"""Parts of the READMEs that are generated: marks, run times, the table of weeks."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsdl.author.course import CourseError, find_weeks, load_course
from lsdl.author.markers import fill, filled
from lsdl.author.readme import weeks_table
from lsdl.author.times import read_times, store_times

COURSE = """title = "t"
edition = "2026.1"
parts = [{name = "all", weight = 1, pass_mark = 0.5}]
[weeks.week03-later]
title = "Later"
points = 8
[weeks.week01-now]
title = "Now"
topic = "What is here"
points = 10
[lectures]
02 = "Only told"
"""


def test_what_stands_between_marks_is_replaced() -> None:
    text = "a\n<!-- card:x -->\nold\n<!-- /card -->\nb\n<!-- card:y -->\nkept\n<!-- /card -->\n"
    assert fill(text, "card", {"x": r"new \1"}) == text.replace("old", r"new \1")
    assert (filled(text, "card", "x"), filled(text, "card", "z"), filled(text, "run", "x")) == ("old", "", "")
    with pytest.raises(CourseError, match="card:z"):
        fill(text, "card", {"z": ""})
    with pytest.raises(CourseError, match="card:x"):
        fill(text + text, "card", {"x": ""})


def test_times_are_stored_where_the_marks_stand(tmp_path: Path) -> None:
    store_times(tmp_path, {"seminar": 80.2})
    assert read_times(tmp_path) == {} and not list(tmp_path.iterdir())
    readme = tmp_path / "README.md"
    readme.write_text("# A week\n")
    store_times(tmp_path, {"homework": 69.7})
    assert readme.read_text() == (
        "# A week\n\n<!-- run:times -->\nMeasured on a CPU, in processor seconds: homework (solved) 70 s.\n<!-- /run -->\n"
    )
    readme.write_text(readme.read_text() + "\nMore.\n")
    store_times(tmp_path, {"seminar": 0.2})
    assert "seconds: seminar 1 s, homework (solved) 70 s.\n" in readme.read_text()
    store_times(tmp_path, {"seminar": 1234.5})
    assert read_times(tmp_path) == {"seminar": 1234, "homework": 70} and readme.read_text().endswith("\nMore.\n")


def test_the_table_of_weeks(tmp_path: Path) -> None:
    (tmp_path / "course.toml").write_text(COURSE)
    week = tmp_path / "week01-now"
    week.mkdir()
    (week / "week.toml").write_text("bonus = 2")
    (week / "homework.ipynb").touch()
    (week / "README.md").write_text("# Now")
    store_times(week, {"seminar": 80})
    rows = weeks_table(load_course(tmp_path), find_weeks(tmp_path)).splitlines()[2:]
    assert rows[1:] == [
        "| 02 | Only told | lecture only, no folder | |",
        "| 03 | Later (`week03-later`) | not here yet | 8 |",
    ]
    assert rows[0].startswith(
        "| 01 | [What is here](week01-now/README.md) | [seminar](week01-now/seminar.ipynb) 80 s [!"
    )
    assert "<br>[homework](week01-now/homework.ipynb) [![Open the homework of week 01 in Colab][colab]](" in rows[0]
    assert rows[0].endswith("/blob/student/week01-now/homework.ipynb) | 10 + 2 |")
