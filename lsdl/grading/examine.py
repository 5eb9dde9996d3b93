"""What is wrong with this machine, or with this notebook, one line each with what to do about it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

from lsdl.author.course import CourseError, CoursePaths, course_root, find_weeks, load_course, repository_of
from lsdl.doctor import Diagnosis, examine, skeleton
from lsdl.grading import GradingError
from lsdl.grading.collect import Submission, read_bytes
from lsdl.grading.jail import USE_LINUX, capabilities, missing
from lsdl.grading.nbgrader_course import BRACKETS
from lsdl.grading.release import release
from lsdl.intake import BadNotebook, parse
from lsdl.recognise import likeness

FREE_GB = 2


def examine_machine(root: Path | None = None) -> list[Diagnosis]:
    """Python, packages, disk, the programs nbgrader starts, threads, and the course's own files."""
    found = [_python()]
    try:
        root = root or course_root()
    except CourseError as error:
        return [*found, Diagnosis("problem", str(error))]
    if BRACKETS.search(str(root)):
        line = f"nbgrader finds no notebook below a folder with one of [ ] * ? in its name: rename {root}."
        found.append(Diagnosis("problem", line))
    if not os.access(root, os.W_OK):
        found.append(Diagnosis("problem", f"{root} cannot be written: work on a copy of the course."))
    found += _packages(root)
    free = shutil.disk_usage(root).free / 2**30
    if free < FREE_GB:
        found.append(
            Diagnosis("problem", f"{free:.1f} GB of disk are free, grading a class needs {FREE_GB}: make room.")
        )
    else:
        found.append(Diagnosis("ok", f"disk: {free:.0f} GB free"))
    found.append(_alembic())
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads is None and (os.cpu_count() or 1) < 8:
        line = "OMP_NUM_THREADS is not set: export OMP_NUM_THREADS=1 before two notebooks run side by side."
        found.append(Diagnosis("note", line))
    else:
        found.append(Diagnosis("ok", f"threads: OMP_NUM_THREADS={threads or 'unset'} on {os.cpu_count()} cores"))
    found += _sandbox() + _origin(root)
    if not CoursePaths(root).config.is_file():
        line = "gradebook/nbgrader_config.py is missing: restore it from the repository."
        found.append(Diagnosis("problem", line))
    return found


def examine_notebook(path: Path, root: Path | None = None) -> list[Diagnosis]:
    """What would keep a homework from being graded; the week is the one whose cells the notebook has.

    Args:
        path: a student's notebook, only read.
        root: the repository (default: `course_root()`).

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = path.absolute()
    if not path.exists() and not path.is_symlink():
        raise FileNotFoundError(f"{path} does not exist: give the path of a notebook.")
    try:
        data = read_bytes(Submission("student", path), path.parent)
        notebook = parse(data)
        sources = {week: parse((week / "homework.ipynb").read_bytes())["cells"] for week in find_weeks(root)}
    except BadNotebook as error:
        return [Diagnosis("problem", str(error))]
    week = max(sources, key=lambda week: likeness(notebook["cells"], sources[week]), default=None)
    if week is None:
        return [Diagnosis("problem", "There is no week in this course yet, so the notebook is compared with nothing.")]
    with tempfile.TemporaryDirectory() as scratch:
        try:
            made = release(week, check=False, to=Path(scratch), in_gradebook=False)
        except GradingError as error:
            return [Diagnosis("problem", str(error))]
        released = parse((made / "homework.ipynb").read_bytes())
        required_cells = load_course(root).required_cells_of(week.name)
        return examine(path.name, data, {week.name: skeleton(released, required_cells)})


def _sandbox() -> list[Diagnosis]:
    """What this machine can enforce on a student's code; a missing protection is a problem, as grading refuses to run."""
    found = []
    for name, value in capabilities().items():
        shown = value if isinstance(value, str) else "yes" if value else "not here"
        found.append(Diagnosis("ok" if value else "note", f"sandbox, {name}: {shown}"))
    mend = "Grade on another machine, or with --unsafe only a class that you trust."
    mend = mend if sys.platform == "linux" else USE_LINUX
    return found + [Diagnosis("problem", f"sandbox: {sentence} {mend}") for sentence in missing()]


def _origin(root: Path) -> list[Diagnosis]:
    """Whether badges and setup cells lead to the repository that this one is a clone of, where that is on GitHub."""
    try:
        command = ["git", "-C", str(root), "remote", "get-url", "origin"]
        address = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
        named = repository_of(root)
    except (OSError, subprocess.SubprocessError, CourseError):
        return []
    origin = re.search(r"github\.com[:/]([\w.-]+/[\w.-]+?)(?:\.git)?/?$", address)
    if origin is None or origin[1].lower() == named.lower():
        return []
    line = f"git's origin is {origin[1]}, badges and setup cells lead to {named}: set repository in course.toml, run lsdl lint --fix."
    return [Diagnosis("note", line)]


def _python() -> Diagnosis:
    version = ".".join(map(str, sys.version_info[:3]))
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Diagnosis("ok", f"python: {version}")
    return Diagnosis("problem", f"Python {version} is untested: make the environment with 3.11, 3.12 or 3.13.")


def _packages(root: Path) -> list[Diagnosis]:
    from packaging.requirements import Requirement

    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    found = []
    for text in [*project["dependencies"], *extras["jupyter"], *extras["instructor"]]:
        requirement = Requirement(text)
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            line = f"{requirement.name} is not installed: pip install -c constraints.txt -r requirements.txt"
            found.append(Diagnosis("problem", line))
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            line = f"{requirement.name} {version} does not satisfy {requirement.specifier}: pip install '{requirement}'"
            found.append(Diagnosis("problem", line))
        elif requirement.name in ("torch", "nbgrader"):
            found.append(Diagnosis("ok", f"{requirement.name}: {version}"))
    return found


def _alembic() -> Diagnosis:
    # lsdl reads what it needs of it in its own process; nbgrader's own commands start it by name.
    if shutil.which("alembic"):
        return Diagnosis("ok", "alembic: on PATH")
    if shutil.which("alembic", path=str(Path(sys.executable).parent)):
        return Diagnosis(
            "note", "alembic is not on PATH: activate the environment before you use nbgrader's own commands."
        )
    return Diagnosis("problem", "alembic is not installed, nbgrader needs it: pip install -r requirements.txt")
