"""A new week is ONE folder and its lines in course.toml: in a copy of the repository, everything finds it without another edit."""

from __future__ import annotations

import difflib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lsdl.author.opening import KINDS, colab_link

REPOSITORY = Path(__file__).resolve().parents[1]
TEMPLATE = "week99-demo"
WEEK = "week14-toy"
ENTRY = f"""
[weeks.{WEEK}]
title = "A toy"
points = 10
"""
# The repository without its weeks, and without the large files of lsdl/data: the toy needs none.
COPIED = (
    "lsdl",
    "tests",
    "benchmarks",
    "conftest.py",
    "course.toml",
    "pyproject.toml",
    "requirements.txt",
    "README.md",
)
COPIED += ("gradebook/nbgrader_config.py", "gradebook/demo.key", "LICENSE", "LICENSE-NOTEBOOKS", "CITATION.cff")
LARGE = ("*.safetensors", "*.webp", "*.gz")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("new-week")]
Lsdl = Callable[..., str]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the repository with the new week."""
    root = tmp_path_factory.mktemp("new") / "course"
    for name in COPIED:
        source, target = REPOSITORY / name, root / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "fixtures", *LARGE))
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    template = REPOSITORY / "tests" / "fixtures" / "course" / TEMPLATE
    shutil.copytree(template, root / WEEK, ignore=shutil.ignore_patterns("__pycache__"))
    with (root / "course.toml").open("a", encoding="utf-8") as file:
        file.write(ENTRY)
    return root


@pytest.fixture
def lsdl(root: Path, monkeypatch: pytest.MonkeyPatch) -> Lsdl:
    """The command, run in the copy; returns what it printed."""
    from lsdl.cli import app

    monkeypatch.chdir(root)

    def run(*arguments: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == code, (arguments, done.output, done.exception)
        return done.output

    return run


def python(root: Path, *arguments: str) -> str:
    """Run the copy's Python files in it, with its own lsdl."""
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], cwd=root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_lint_writes_what_is_generated_and_then_finds_nothing(root: Path, lsdl: Lsdl) -> None:
    before = (root / "README.md").read_text(encoding="utf-8")
    rules = {line.rpartition(" [")[2] for line in lsdl("lint", code=1).splitlines() if line.endswith("]")}
    assert rules == {"title]", "setup]", "readme]"}  # the name of another week, and a row that lacks
    assert lsdl("lint", "--fix") == "0 problem(s)\n"
    after = (root / "README.md").read_text(encoding="utf-8")
    (row,) = [line for line in after.splitlines() if line.startswith("| 14 |")]
    assert f"[A toy]({WEEK}/README.md)" in row and row.endswith("| 10 |")
    assert all(f"[{kind}]({WEEK}/{kind}.ipynb)" in row and f"]({colab_link(WEEK, kind)})" in row for kind in KINDS)
    changed = [line for line in difflib.ndiff(before.splitlines(), after.splitlines()) if line[0] in "+-"]
    assert all(line[2:].startswith("| ") for line in changed), "only rows of the table: the copy lacks the other weeks"


def test_its_references_are_recorded(root: Path, lsdl: Lsdl) -> None:
    assert "hidden checks" in lsdl("refs", "14", "--key", "gradebook/demo.key")
    lsdl("refs", "14", "--check", "--key", "gradebook/demo.key")
    assert (root / "gradebook" / "references" / f"{WEEK}.safetensors").is_file()


def test_the_tests_of_all_weeks_its_own_and_full_scale_find_it(root: Path) -> None:
    files = ("tests/test_weeks.py", "tests/test_full_scale.py", f"{WEEK}/instructor/tests")
    done = python(root, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-rA", "-k", WEEK, *files)
    passed = [line for line in done.splitlines() if line.startswith("PASSED")]
    for wanted in ("test_every_mistake_fails", f"{WEEK}-seminar]", f"{WEEK}-homework]", "test_the_fixtures_are"):
        assert any(wanted in line for line in passed), (wanted, done)


def test_the_benchmarks_find_it(root: Path) -> None:
    assert f"{WEEK}\nstandardise / torch" in python(root, "benchmarks/weeks.py")


def test_it_is_published_without_the_instructors_part(root: Path, lsdl: Lsdl, tmp_path: Path) -> None:
    lsdl("lint", "--fix")
    lsdl("publish", str(tmp_path / "student"))
    files = {p.relative_to(tmp_path / "student" / WEEK).as_posix() for p in (tmp_path / "student" / WEEK).rglob("*.*")}
    assert files == {
        "README.md",
        "week.toml",  # the setup cell reads what it requires
        "helpers.py",
        "seminar.ipynb",
        "homework.ipynb",
        "assets/map.svg",
        "assets/references.safetensors",
    }
