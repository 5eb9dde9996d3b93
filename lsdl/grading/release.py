"""The student version of a homework, made by nbgrader itself: solutions, hidden tests and outputs taken out."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lsdl.author.course import WeekPaths
from lsdl.grading import GradingError
from lsdl.grading.nbgrader_course import make_private, open_course, require_success


def release(week: Path, *, check: bool = True, to: Path | None = None, in_gradebook: bool = True) -> Path:
    """Make the student version of a week's homework, with its helpers, assets and README.

    The bytes depend on the sources only: a second call writes the same files.

    Args:
        week: the week's folder.
        check: refuse a source that `lsdl lint` rejects.
        to: where the folder of that name goes (default: gradebook/release).
        in_gradebook: also tell nbgrader's gradebook the cells and points, which grading needs.

    Returns:
        The folder that holds the student version.

    Raises:
        GradingError: the source breaks a rule, or nbgrader refuses it.
    """
    paths = WeekPaths.at(week)
    if check:
        refuse_problems(week)
    target = (to or paths.releases) / paths.name
    if in_gradebook:
        make_private(paths)
    with tempfile.TemporaryDirectory() as scratch:
        settings = {"CourseDirectory": {"release_directory": scratch}}
        if not in_gradebook:
            settings |= {"GenerateAssignment": {"no_database": True}, "SaveCells": {"enabled": False}}
        result = open_course(paths.root, settings).generate_assignment(paths.name, force=True, create=in_gradebook)
        if "Cannot add or remove cells" in result.get("log", ""):
            raise GradingError(
                f"{paths.name} gained or lost graded cells after submissions were graded: undo that, or move "
                "gradebook/gradebook.db away and grade the class again."
            )
        require_success(result, f"nbgrader could not make the student version of {paths.name}")
        # The old folder goes only once the new one is complete: a file deleted in the source must not stay.
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(Path(scratch) / paths.name, target)
    return target


def refuse_problems(week: Path) -> None:
    """Raise if `lsdl lint` finds a problem in the week.

    Raises:
        GradingError: the first problems, and the command that shows all.
    """
    from lsdl.author.lint import lint_week

    problems = lint_week(week)
    if problems:
        first = "; ".join(str(problem) for problem in problems[:3])
        raise GradingError(f"{week.name} has {len(problems)} lint problem(s), see `lsdl lint {week.name}`: {first}")
