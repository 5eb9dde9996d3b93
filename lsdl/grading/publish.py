"""The student's tree: everything a student needs to work offline, and nothing that gives an answer away."""

from __future__ import annotations

import json
import shutil
import tempfile
import tomllib
from collections.abc import Sequence
from pathlib import Path

from lsdl.author.course import Course, course_root, find_weeks, load_course
from lsdl.author.markers import fill, filled
from lsdl.doctor import HOMEWORKS, skeleton
from lsdl.grading import GradingError
from lsdl.grading.release import refuse_problems, release
from lsdl.intake import parse

MANIFEST = ".lsdl-manifest"
# The author's and the instructor's rooms of lsdl. Anything else goes along, so that a new module cannot be forgotten.
NOT_PUBLISHED = ("author", "grading", "cli.py")
STUDENT_EXTRAS = ("weeks", "jupyter")
_NOISE = ("__pycache__", "*.pyc", ".ipynb_checkpoints", ".DS_Store")


def publish(
    target: Path, root: Path | None = None, *, weeks: Sequence[Path] | None = None, check: bool = True
) -> list[str]:
    """Write the student's tree to `target`; what an earlier call wrote there is replaced.

    What somebody added to its README.md around the part between `<!-- publish:course -->` and `<!-- /publish -->` stays.

    Args:
        target: an empty or absent folder, or one that `publish` wrote (a `.git` in it is left alone).
        root: the repository (default: `course_root()`).
        weeks: the folders of the weeks that students get, and no others (default: all).
        check: refuse a week that `lsdl lint` rejects.

    Returns:
        The paths written, relative to `target`, sorted.

    Raises:
        GradingError: `target` holds somebody else's files, there is no week, or a week breaks a rule.
    """
    root = root or course_root()
    weeks = find_weeks(root) if weeks is None else list(weeks)
    if not weeks:
        raise GradingError(f"There is no week in {root} to publish.")
    foreign = target.exists() and any(path.name != ".git" for path in target.iterdir())
    if foreign and not (target / MANIFEST).is_file():
        raise GradingError(f"{target} is not empty and was not written by lsdl publish: choose another folder.")
    if check:
        for week in weeks:
            refuse_problems(week)

    with tempfile.TemporaryDirectory() as scratch:
        tree = Path(scratch) / "tree"
        shutil.copytree(root / "lsdl", tree / "lsdl", ignore=shutil.ignore_patterns(*_NOISE))
        for name in NOT_PUBLISHED:
            path = tree / "lsdl" / name
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        homeworks, course = {}, load_course(root)
        for week in weeks:
            # Read-only checks of the gradebook are not wanted here: a tree can be published before a term begins.
            release(week, check=False, to=tree, in_gradebook=False)
            if (week / "seminar.ipynb").is_file():
                shutil.copy(week / "seminar.ipynb", tree / week.name)
            # From the released notebook: nothing can be in it that students do not have anyway.
            released = parse((tree / week.name / "homework.ipynb").read_bytes())
            homeworks[week.name] = skeleton(released, course.required_cells_of(week.name))
        for path in (*root.glob("LICENSE*"), root / "CITATION.cff"):
            if path.is_file():
                shutil.copy(path, tree)
        _write(tree / "lsdl" / HOMEWORKS.name, json.dumps(homeworks, indent=1, sort_keys=True) + "\n")
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        _write(tree / "pyproject.toml", _pyproject(project))
        _write(tree / "requirements.txt", _requirements(project))
        _write(tree / "README.md", _with_own_lines(target, _readme(course, [week.name for week in weeks])))
        _write(tree / ".gitignore", ".venv/\n__pycache__/\n.ipynb_checkpoints/\n*.egg-info/\n")
        files = sorted(path.relative_to(tree).as_posix() for path in tree.rglob("*") if path.is_file())
        _write(tree / MANIFEST, "".join(f"{name}\n" for name in [*files, MANIFEST]))
        _replace(target, tree)
    return sorted([*files, MANIFEST])


def published(target: Path) -> list[str]:
    """The files that an earlier call wrote, by its own list; none if there was none."""
    file = target / MANIFEST
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def gone(before: Sequence[str], after: Sequence[str]) -> list[str]:
    """What is no longer published, a folder of which nothing is left by its own name.

    >>> gone(["week01/a.md", "week01/b.py", "lsdl/c.py", "lsdl/d.py"], ["lsdl/c.py"])
    ['lsdl/d.py', 'week01']
    """
    left = {name.partition("/")[0] for name in after}
    tops = {name: name.partition("/")[0] for name in set(before) - set(after)}
    return sorted({name if top in left else top for name, top in tops.items()})


def _replace(target: Path, tree: Path) -> None:
    """Remove what an earlier call wrote, then copy: a file that is no longer published must not stay."""
    for name in published(target):
        path = target / name
        if ".." not in Path(name).parts and not Path(name).is_absolute():
            path.unlink(missing_ok=True)
            folder = path.parent
            while folder != target and folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
                folder = folder.parent
    shutil.copytree(tree, target, dirs_exist_ok=True)


def _with_own_lines(target: Path, text: str) -> str:
    """The generated README between marks, in what somebody wrote around them in the tree that is there."""
    readme = target / "README.md"
    old = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    if not filled(old, "publish", "course"):
        old = "<!-- publish:course -->\n<!-- /publish -->\n"
    return fill(old, "publish", {"course": text.rstrip("\n")})


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def _pyproject(project: dict) -> str:
    """The student's pyproject.toml: name, dependencies and data, none of the instructor's tools."""
    dependencies = "".join(f'    "{entry}",\n' for entry in project["dependencies"])
    weeks, jupyter = (
        ", ".join(f'"{entry}"' for entry in project["optional-dependencies"][name]) for name in STUDENT_EXTRAS
    )
    return f"""[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{project["name"]}"
description = "{project["description"]}"
license = "{project["license"]}"
requires-python = "{project["requires-python"]}"
dynamic = ["version"]
dependencies = [
{dependencies}]

[project.optional-dependencies]
weeks = [{weeks}]
jupyter = [{jupyter}]

[project.scripts]
lsdl = "lsdl.doctor:command"

[tool.setuptools.packages.find]
include = ["lsdl*"]

[tool.setuptools.package-data]
"lsdl" = ["{HOMEWORKS.name}", "*.mplstyle"]
"lsdl.data" = ["**/*"]

[tool.setuptools.dynamic]
version = {{ attr = "lsdl.__version__" }}
"""


def _requirements(project: dict) -> str:
    extras = [entry for name in STUDENT_EXTRAS for entry in project["optional-dependencies"][name]]
    entries = [*project["dependencies"], *extras]
    return "".join(f"{entry}\n" for entry in sorted(entries, key=str.lower))


def _readme(course: Course, weeks: list[str]) -> str:
    lines = []
    for name in weeks:
        entry = course.weeks.get(name)
        title = entry.title if entry else name
        points = f"{entry.points:g}" if entry else ""
        due = str(entry.due or "") if entry else ""
        links = f"[seminar]({name}/seminar.ipynb), [homework]({name}/homework.ipynb)"
        lines.append(f"| [{title}]({name}/README.md) | {links} | {points} | {due} |")
    rows = "\n".join(lines)
    parts = ", ".join(f"{part.name} {part.weight:.0%} (pass mark {part.pass_mark:.0%})" for part in course.parts)
    return f"""# {course.title}

Edition {course.edition}. Every week is a folder with a worked seminar and a homework that tells you at once what is
right and why something is wrong. All of it runs offline on a CPU, with Python 3.11 to 3.13:

```
python3 -m venv .venv
.venv/bin/python -m pip install -r requirements.txt -e .
.venv/bin/jupyter lab
```

| week | notebooks | points | due |
|---|---|---|---|
{rows}

Assessment: {parts}.

Write each answer where it says `YOUR CODE HERE` and delete the line that raises. Do not copy, split or delete the cells
with tests. Before you hand in `homework.ipynb`, choose *Restart Kernel and Run All Cells*, save it, and ask whether it is
whole:

```
.venv/bin/lsdl doctor {weeks[0]}/homework.ipynb      # elsewhere: python -m lsdl.doctor homework.ipynb
```

It names graded cells that are missing, doubled, turned into another type or without their metadata, and what to do. In
Colab, after the setup cell, run `!lsdl doctor "/content/drive/MyDrive/Colab Notebooks/homework.ipynb"` (mount your Drive
first, and save). The grader also runs checks that you do not see, on other inputs.

Code: MIT licence. Text and figures: CC BY 4.0. Data: see lsdl/data/LICENSES.md.
"""
