"""What makes a class be graded again, and what does not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import lsdl
from lsdl.author.course import WeekPaths
from lsdl.grading.journal import digest_of_week

PACKAGE = Path(lsdl.__file__).parent
FACTS = 'bonus = 2\nrequired_cells = ["report"]\n'


@pytest.fixture
def paths(week: Path, monkeypatch: pytest.MonkeyPatch) -> WeekPaths:
    """The tiny week with every kind of file that a week has, beside a copy of lsdl's code as the one that grades."""
    folder = week.parent
    shutil.copytree(
        PACKAGE,
        folder / "lsdl",
        ignore=lambda _, names: [name for name in names if Path(name).suffix not in ("", ".py")],
    )
    monkeypatch.setattr(lsdl, "__file__", str(folder / "lsdl" / "__init__.py"))
    (week / "week.toml").write_text(FACTS)
    found = WeekPaths.at(week)
    for path in (
        found.release / "homework.ipynb",
        found.hidden_references,
        week / "measure.py",
        week / "settings.toml",
        week / "assets" / "net" / "w.bin",
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1")
    for name in ("mistakes.py", "train.py", "tests/test_seminar.py", "benchmark.py"):
        (week / "instructor" / name).parent.mkdir(exist_ok=True)
        (week / "instructor" / name).write_text("1")
    return found


def mend(path: Path) -> None:
    """Add a line to a file."""
    assert path.is_file(), path
    path.write_text(path.read_text(encoding="utf-8") + "\n# mended\n", encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    [
        *(
            f"week97-tiny/{name}"
            for name in ("homework.ipynb", "helpers.py", "measure.py", "settings.toml", "assets/net/w.bin")
        ),
        *(f"week97-tiny/instructor/{name}" for name in ("cases.py", "mistakes.py")),
        *(f"lsdl/{name}.py" for name in ("checks", "compare", "cells", "intake", "data/emoji")),
        *(f"lsdl/grading/{name}.py" for name in ("judge", "execute", "kernel", "jail")),
        *(f"lsdl/author/{name}.py" for name in ("references", "homework")),
        *(f"gradebook/{name}" for name in ("nbgrader_config.py", "references/week97-tiny.safetensors")),
        "gradebook/release/week97-tiny/homework.ipynb",
    ],
)
def test_what_decides_a_mark_grades_again(paths: WeekPaths, name: str) -> None:
    before = digest_of_week(paths)
    assert digest_of_week(paths) == before
    mend(paths.root / name)
    assert digest_of_week(paths) != before


@pytest.mark.parametrize(
    "name",
    [
        *(f"week97-tiny/{name}" for name in ("README.md", "seminar.ipynb")),
        *(f"week97-tiny/instructor/{name}" for name in ("train.py", "benchmark.py", "tests/test_seminar.py")),
        *(
            f"lsdl/{name}.py"
            for name in ("cli", "author/lint", "author/notebooks", "author/course", "author/data/train")
        ),
        "course.toml",
    ],
)
def test_what_decides_no_mark_does_not(paths: WeekPaths, name: str) -> None:
    before = digest_of_week(paths)
    mend(paths.root / name)
    assert digest_of_week(paths) == before


def test_a_new_file_decides_where_a_kernel_reads_it(paths: WeekPaths) -> None:
    before = digest_of_week(paths)
    (paths.folder / "assets" / "__pycache__").mkdir()
    (paths.folder / "assets" / "__pycache__" / "x.pyc").write_text("")
    (paths.folder / "notes.md").write_text("")
    assert digest_of_week(paths) == before
    (paths.folder / "assets" / "more.json").write_text("")
    assert digest_of_week(paths) != before


def test_of_week_toml_all_but_the_budget(paths: WeekPaths) -> None:
    before = digest_of_week(paths)
    facts = paths.folder / "week.toml"
    facts.write_text(f"# a sentence\n{FACTS}[budget]\nseminar_seconds = 90\n")
    assert digest_of_week(paths) == before
    facts.write_text(FACTS.replace("report", "baseline"))
    assert digest_of_week(paths) != before
    facts.write_text("bonus = [")  # the grading itself does not read it
    assert digest_of_week(paths) != before
