"""`make run`: one week from rerun to marks, in a temporary course, so that the repository and its gradebook stay as they are."""

from __future__ import annotations

import ast
import inspect
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsdl.author.course import course_root
from lsdl.author.homework import Homework, HomeworkError, defined_names
from lsdl.cells import grade_id
from lsdl.grading import GradingError
from lsdl.grading.grade import grade
from lsdl.grading.release import release
from lsdl.grading.terminal_report import score_table, show_progress
from lsdl.intake import Notebook, parse

if TYPE_CHECKING:
    from rich.console import Console

    from lsdl.checks import Mistake


def demo(week: Path, console: Console, *, notebooks: bool = True) -> bool:
    """Rerun a week's notebooks, make its student release, grade three submissions, and say what to look at next.

    Returns:
        Whether all of it went as it should: the notebooks ran, the solved notebook has all automatic points, the
        untouched release none, and the one with a known mistake something between.
    """
    with tempfile.TemporaryDirectory(prefix="lsdl-demo-") as scratch:
        copy = copy_course(week, Path(scratch) / "course")
        well = True
        if notebooks:
            from lsdl.author.notebooks import any_failed, run_notebooks

            console.rule(f"1. Rerun {week.name}")
            well = not any_failed(run_notebooks([copy], jobs=1, console=console))
        console.rule("2. The student version")
        released = release(copy)
        names = sorted(path.relative_to(released).as_posix() for path in released.rglob("*") if path.is_file())
        shown = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
        console.print(f"{len(names)} files, without solutions and hidden tests: {shown}", highlight=False)
        console.rule("3. Three submissions")
        folder = Path(scratch) / "submissions"
        told = make_submissions(copy, released / "homework.ipynb", folder)
        for student, what in told.items():
            console.print(f"{student}: {what}", highlight=False, markup=False)
        report = grade(copy, folder, key=copy.parent / "gradebook" / "demo.key", progress=show_progress(console))
        score_table(report, console)
    points = {row.student: (row.points, row.max_points) for row in report.rows}
    well = well and points["perfect"][0] == points["perfect"][1] > 0 == points["untouched"][0]
    well = well and 0 < points["mistaken"][0] < points["mistaken"][1]
    console.rule("Look at next")
    console.print(NEXT.format(week=week.name), markup=False, highlight=False)
    return well


NEXT = """  make lab              opens JupyterLab: {week}/seminar.ipynb, {week}/homework.ipynb
  {week}/instructor/    how the inputs of the checks are drawn, and the known mistakes with their hints
  gradebook/README.md   a term in commands
  lsdl --help           run, lint, refs, publish, release, grade, doctor"""


def copy_course(week: Path, root: Path) -> Path:
    """A course of this one week with the committed part of gradebook/; returns the copy of the week."""
    source = course_root(week)
    shutil.copytree(week, root / week.name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    shutil.copy(source / "course.toml", root)
    (root / "gradebook").mkdir()
    for name in ("nbgrader_config.py", "demo.key"):
        shutil.copy(source / "gradebook" / name, root / "gradebook")
    return root / week.name


def make_submissions(week: Path, released: Path, folder: Path) -> dict[str, str]:
    """Write three submissions of a week in nbgrader's form.

    Args:
        week: the week's folder, with the solved homework and instructor/mistakes.py.
        released: the student version of the homework.
        folder: where STUDENT/WEEK/homework.ipynb go.

    Returns:
        What each student handed in: "perfect" (the solved notebook), "mistaken" (the same with one known mistake), and
        "untouched" (the release).
    """
    solved = parse((week / "homework.ipynb").read_bytes())
    mistake = first_unit_mistake(week)
    handed_in = {
        "mistaken": with_mistake(solved, mistake),
        "perfect": solved,
        "untouched": parse(released.read_bytes()),
    }
    for student, notebook in handed_in.items():
        target = folder / student / week.name
        target.mkdir(parents=True)
        (target / "homework.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    names = ", ".join(mistake.replaces)
    return {
        "mistaken": f"the solved notebook with a known mistake in {names} ({', '.join(mistake.fails)} should fail)",
        "perfect": "the solved notebook",
        "untouched": "the release as it is",
    }


def half_done(week: Path, released: Notebook, mistake: Mistake) -> Notebook:
    """The release with the answers of one task filled in, and the mistake among them: as many hand in."""
    homework = Homework(week)
    task = next(task for task in homework.tasks if set(mistake.replaces) <= set(task.names))
    solved = parse((week / "homework.ipynb").read_bytes())
    answers = {
        grade_id(cell): cell["source"]
        for cell in solved["cells"]
        if set(defined_names(cell["source"])) & set(task.names)
    }
    notebook: Notebook = json.loads(json.dumps(released))
    for cell in notebook["cells"]:
        cell["source"] = answers.get(grade_id(cell) or "", cell["source"])
    return with_mistake(notebook, mistake)


def with_mistake(solved: Notebook, mistake: Mistake) -> Notebook:
    """The solved notebook in which the functions of a mistake stand in place of the solutions of the same names.

    Raises:
        GradingError: no solution cell defines one of the names.
    """
    notebook: Notebook = json.loads(json.dumps(solved))
    for name, function in mistake.replaces.items():
        cell = next((cell for cell in notebook["cells"] if _defines(cell, name)), None)
        if cell is None:
            raise GradingError(f"No solution cell defines {name}, which a mistake in instructor/mistakes.py replaces.")
        cell["source"] += f"\n\n\n{_source_of(function)}\n\n{name} = {function.__name__}\n"
    return notebook


def _defines(cell: dict[str, Any], name: str) -> bool:
    if cell["cell_type"] != "code" or not cell["metadata"].get("nbgrader", {}).get("solution") or not grade_id(cell):
        return False
    tree = ast.parse(cell["source"])
    return any(isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name for node in tree.body)


def _source_of(function: Callable[..., Any]) -> str:
    """The function's text after the imports, constants and helpers of its module that it uses."""
    module = ast.parse(Path(inspect.getfile(function)).read_text(encoding="utf-8"))
    binds = [(_bound_names(node), node) for node in module.body]
    used, todo = [], {function.__name__}
    while todo:
        name = todo.pop()
        for names, node in binds:
            if name in names and node not in used:
                used.append(node)
                todo |= {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return "\n\n".join(ast.unparse(node) for _, node in binds if node in used)


def _bound_names(node: ast.stmt) -> set[str]:
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Assign | ast.AnnAssign):
        return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}
    return set()


def first_unit_mistake(week: Path) -> Mistake:
    """The first mistake that costs points and replaces plain functions, so that its text can be pasted into a notebook."""
    points = {cell.grade_id: cell.points for cell in Homework(week).graded}
    for mistake in load_mistakes(week):
        if all(map(_stands_alone, mistake.replaces.values())) and any(points.get(name) for name in mistake.fails):
            return mistake
    raise GradingError(
        f"{week.name}/instructor/mistakes.py has no mistake that costs points and replaces plain functions."
    )


def _stands_alone(value: Any) -> bool:
    """Whether it is a function at the top of its file: the text of one made inside another needs what is around it."""
    return inspect.isfunction(value) and value.__qualname__ == value.__name__ and value.__name__ != "<lambda>"


def load_mistakes(week: Path) -> list[Mistake]:
    """`MISTAKES` of a week's instructor/mistakes.py.

    Raises:
        GradingError: the file or the list is missing.
    """
    try:
        mistakes = Homework(week).mistakes
    except HomeworkError as error:
        raise GradingError(f"The demo needs a known mistake of this week. {error}") from None
    if not mistakes:
        raise GradingError(f"{week.name} has no MISTAKES: the demo needs a known mistake of this week.")
    return mistakes
