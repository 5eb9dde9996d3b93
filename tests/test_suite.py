"""The suite's own bookkeeping: which week a test belongs to, and the table of what everything cost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from suite import changed_weeks, part_of, table, week_of


@pytest.mark.parametrize(
    ("nodeid", "week", "part"),
    [
        ("tests/test_whole.py::test_homework[week01-finetune]", "week01-finetune", "seminar and marks"),
        ("tests/test_full_scale.py::test_runs[week04-contrastive-seminar]", "week04-contrastive", "full scale"),
        ("tests/test_weeks.py::test_hints[week99-demo]", None, "test_weeks"),
        ("week08-text/instructor/tests/test_data.py::test_text[train]", "week08-text", "its own tests"),
        ("tests/test_notebooks_lint.py::test_rules[week13-graphs]", "week13-graphs", "lint"),
        ("tests/grading/test_jail.py::test_a[week]", None, "grading/test_jail"),
    ],
)
def test_a_test_belongs_to_its_week_and_part(nodeid: str, week: str | None, part: str) -> None:
    assert (week_of(nodeid), part_of(nodeid)) == (week, part)


def test_the_table_says_what_is_over_and_what_ten_weeks_would_take() -> None:
    seconds = {
        ("toolkit", "a"): 600.0,
        ("week01-x", "lint"): 60.0,
        ("week01-x", "full scale"): 540.0,
        ("week02-y", "lint"): 240.0,
    }
    text = "\n".join(table(seconds, 2))
    assert "week01-x" in text and "10.0 worker minutes (at most 9, OVER)" in text
    assert "ten weeks like these on 2 workers: 40 minutes (at most 45)" in text  # (10 + 10 x 7) / 2


def test_changed_weeks_are_those_with_edited_or_new_files(tmp_path: Path) -> None:
    def git(*command: str) -> None:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True, capture_output=True)

    for name in ("week01-a", "week02-b", "week03-c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "helpers.py").write_text("A = 1\n")
    git("init", "-q"), git("add", "-A"), git("commit", "-qm", "all")
    assert changed_weeks(tmp_path) == set()
    (tmp_path / "week01-a" / "helpers.py").write_text("A = 2\n")
    (tmp_path / "week03-c" / "new.py").touch()
    assert changed_weeks(tmp_path) == {"week01-a", "week03-c"}


TESTS = Path(__file__).parent
GROUPED = """
import pytest
SEEN = set()
@pytest.mark.parametrize("number", range(4))
def test_here(number): SEEN.add(number); assert SEEN == set(range(number + 1))
"""


def test_a_file_of_the_toolkit_stays_on_one_worker_in_its_order(tmp_path: Path) -> None:
    """Else module fixtures are made twice. pytest-xdist writes groups into node ids, once: a pytest that reads them elsewhere, or a
    plugin that groups later, spreads the file, and nothing says so."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["suite"]\n')
    (tmp_path / "test_grouped.py").write_text(GROUPED)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        "2",
        "--dist",
        "loadgroup",
        "-p",
        "no:cacheprovider",
        "test_grouped.py",
    ]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | {"PYTEST_ADDOPTS": "", "PYTHONPATH": str(TESTS)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
