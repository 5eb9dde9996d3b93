"""How the suite runs: the longest tests first, only the weeks that changed if asked, and a table of what everything cost.

A pytest plugin that the root conftest.py loads. A test belongs to a week by its folder (`weekNN-*/instructor/tests`) or by the
week in its id; all others belong to the toolkit.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WEEK = re.compile(r"(?:^|\[)(week(?!9[7-9]-)\d\d-[a-z0-9-]+?)(?=[/\]]|-seminar\]|-homework\])")
# Files whose single tests run for minutes, the longest first; all others follow in their order.
LONGEST = ("test_whole", "test_full_scale", "test_weeks", "test_attacks", "test_other_processor", "instructor/tests")
WORKER_MINUTES_OF_A_WEEK, WORKER_MINUTES_OF_THE_TOOLKIT, MINUTES_OF_TEN_WEEKS = 9, 14, 45
PARTS = {
    "test_whole": "seminar and marks",
    "test_full_scale": "full scale",
    "test_weeks": "checks and mistakes",
    "test_other_processor": "other processor",
    "test_notebooks_lint": "lint",
    "instructor/tests": "its own tests",
}


def week_of(nodeid: str) -> str | None:
    """The week that a test belongs to; None: the toolkit. The demonstration weeks 97 to 99 are the toolkit's."""
    found = WEEK.search(nodeid)
    return found[1] if found else None


def part_of(nodeid: str) -> str:
    """The row of the table that a test's seconds are counted in."""
    named = next((part for stem, part in PARTS.items() if stem in nodeid.partition("::")[0]), None)
    if week_of(nodeid):
        return named or "other"
    return nodeid.partition("::")[0].removeprefix("tests/").removesuffix(".py")


def changed_weeks(root: Path = ROOT) -> set[str]:
    """Weeks with a file that differs from the branch `origin/main` (without one: from the last commit), or is new."""

    def git(*command: str) -> list[str]:
        done = subprocess.run(["git", *command], cwd=root, capture_output=True, text=True)
        return done.stdout.splitlines() if done.returncode == 0 else []

    base = (git("merge-base", "HEAD", "origin/main") or ["HEAD"])[0]
    names = git("diff", "--name-only", base) + git("ls-files", "--others", "--exclude-standard")
    return {Path(name).parts[0] for name in names if name.startswith("week")}


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--changed-weeks`: of the weeks' own tests only those of weeks that git says have changed."""
    parser.addoption("--changed-weeks", action="store_true", help="tests of weeks only where the week changed (git)")


def pytest_configure(config: pytest.Config) -> None:
    """Give all workers one folder for recorded references (see lsdl/author/references.py)."""
    os.environ.setdefault("LSDL_RECORD_CACHE", str(ROOT / ".cache" / "references"))
    if config.getoption("changed_weeks"):
        config.stash[CHANGED] = changed_weeks()


CHANGED = pytest.StashKey[set[str]]()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Not even import the tests of an unchanged week: they import the heaviest libraries."""
    changed = config.stash.get(CHANGED, None)
    if changed is None or not collection_path.is_relative_to(ROOT):
        return None
    first = collection_path.relative_to(ROOT).parts[:1]
    return True if first and first[0].startswith("week") and first[0] not in changed else None


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups here, too
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Longest first; a file of the toolkit or of a week's own tests stays on one worker, because it shares what it made."""
    changed = config.stash.get(CHANGED, None)
    if changed is not None:
        # lint takes a second a week, and what all weeks share may have changed
        kept = [item for item in items if (week_of(item.nodeid) or "") in {"", *changed} or "_lint" in item.path.stem]
        config.hook.pytest_deselected(items=[item for item in items if item not in kept])
        items[:] = kept
    for item in items:
        alone = "instructor/tests" in item.nodeid or week_of(item.nodeid) is None
        if alone and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(key=lambda item: next((i for i, stem in enumerate(LONGEST) if stem in item.nodeid), len(LONGEST)))


@pytest.fixture(autouse=True)
def nothing_of_a_week_stays() -> Iterator[None]:
    """Every week has a `helpers`: one that a test leaves behind, or its folder, is another week's in the next test of the process."""
    paths = list(sys.path)
    yield
    left = sys.modules.pop("helpers", None)
    assert not left, f"The test leaves {left} in sys.modules: import it in `with homework.at_home():`."
    weeks = [path for path in sys.path if path not in paths and Path(path, "helpers.py").is_file()]
    assert not weeks, f"The test leaves {weeks} in sys.path."


Seconds = dict[tuple[str, str], float]
SECONDS: Seconds = defaultdict(float)  # (week or "toolkit", part) -> seconds of its tests, set-up included


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Add up the phases of the tests; with xdist the workers' reports arrive here."""
    SECONDS[week_of(report.nodeid) or "toolkit", part_of(report.nodeid)] += report.duration


def table(seconds: Seconds, workers: int) -> Iterator[str]:
    """Lines: worker minutes per week and part, against what a week and the toolkit may cost."""
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for (group, part), value in seconds.items():
        groups[group][part] = value / 60
    for group in sorted(groups):
        limit = WORKER_MINUTES_OF_THE_TOOLKIT if group == "toolkit" else WORKER_MINUTES_OF_A_WEEK
        total = sum(groups[group].values())
        yield f"{group:24} {total:18.1f} worker minutes (at most {limit}{', OVER' if total > limit else ''})"
        ordered = sorted(groups[group].items(), key=lambda entry: -entry[1])
        yield from (f"    {part:32} {minutes:6.1f}" for part, minutes in ordered if minutes >= 0.1)
    # a week that is not there yet costs a line of the README's test
    weeks = [sum(parts.values()) for group, parts in groups.items() if group != "toolkit" and sum(parts.values()) > 0.5]
    if weeks and "toolkit" in groups:
        minutes = (sum(groups["toolkit"].values()) + 10 * sum(weeks) / len(weeks)) / workers
        yield f"ten weeks like these on {workers} workers: {minutes:.0f} minutes (at most {MINUTES_OF_TEN_WEEKS})"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The table, if a whole run was asked for."""
    if sum(SECONDS.values()) > 60:
        terminalreporter.section("what the suite cost")
        for line in table(SECONDS, config.getoption("numprocesses", None) or 1):
            terminalreporter.write_line(line)
