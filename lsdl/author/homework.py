"""Reads a homework notebook: its tasks, its graded cells, and the functions it defines.

Nothing of a solution is written twice: references, mutation tests and drift checks all execute the notebook's own cells.
Cells tagged `define` and solution cells are cheap by contract, so they run in this process; what needs a training in the
notebook is tagged `whole` and left to a run of the whole notebook. Since labels can be looked up and trained models be had, such a
cell repeats a hidden check of the function behind its model.
"""

import ast
import codeop
import copy
import importlib.util
import linecache
import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
from nbformat import NotebookNode

import lsdl.checks
from lsdl.author.course import CourseError
from lsdl.cells import TASK_HEADER, is_manual, named_in, role, tags, visible_part
from lsdl.checks import Alternative, Case, Mistake

Namespace = dict[str, Any]


class HomeworkError(CourseError):
    """A mistake of a homework's author; the message is one sentence that says what to do."""


@dataclass(frozen=True)
class GradedCell:
    """One graded cell.

    Attributes:
        visible_source: its source without the hidden tests.
        manual: a person grades it.
        whole: it needs what a run of the whole notebook has made (tag `whole`).
        visible_checks, hidden_checks: names it uses in `check(...)` or `check.inputs(...)`, outside and only inside hidden tests.
    """

    grade_id: str
    points: float
    source: str
    visible_source: str
    manual: bool
    whole: bool
    visible_checks: tuple[str, ...] = ()
    hidden_checks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Task:
    """What stands under one header `## Task ...`.

    Attributes:
        names: functions, classes and variables that its solution cells define.
        hints: number of its `<details>`.
    """

    title: str
    graded: tuple[GradedCell, ...]
    names: tuple[str, ...]
    hints: int

    @property
    def points(self) -> float:
        """Points that are given automatically."""
        return sum(cell.points for cell in self.graded if not cell.manual)


class Homework:
    """The homework of a week.

    Args:
        week: the week's folder.

    Raises:
        HomeworkError: there is no homework.ipynb, or it has graded cells outside a task, or one check's name in two roles.
    """

    def __init__(self, week: Path) -> None:
        self.week = Path(week).resolve()
        try:
            self.notebook = nbformat.read(self.week / "homework.ipynb", nbformat.NO_CONVERT)
        except FileNotFoundError:
            raise HomeworkError(f"{self.week} has no homework.ipynb: name a week's folder.") from None
        self.tasks = self._read_tasks()
        self._modules: dict[str, ModuleType] = {}

    @property
    def name(self) -> str:
        """The week's name: that of its folder."""
        return self.week.name

    @property
    def graded(self) -> list[GradedCell]:
        """All graded cells, in their order."""
        return [cell for task in self.tasks for cell in task.graded]

    @property
    def unit_cells(self) -> list[GradedCell]:
        """The graded cells that `run_cell` can run: neither manual nor `whole`."""
        return [cell for cell in self.graded if not (cell.manual or cell.whole)]

    @property
    def hidden_names(self) -> set[str]:
        """Names that only hidden tests use."""
        shown = {name for cell in self.graded for name in cell.visible_checks}
        return {name for cell in self.graded for name in cell.hidden_checks} - shown

    @cached_property
    def cases(self) -> dict[str, Case]:
        """`CASES` of instructor/cases.py.

        Raises:
            HomeworkError: the file or the name is missing.
        """
        return dict(self._named("cases", "CASES"))

    @cached_property
    def mistakes(self) -> list[Mistake]:
        """`MISTAKES` of instructor/mistakes.py."""
        return list(self._named("mistakes", "MISTAKES"))

    @cached_property
    def alternatives(self) -> list[Alternative]:
        """`ALTERNATIVES` of instructor/mistakes.py."""
        return list(self._named("mistakes", "ALTERNATIVES"))

    def namespace(self, *, stubs: bool = False) -> Namespace:
        """Execute the parameters, `define` and solution cells and return their names.

        Args:
            stubs: execute the student's stubs in place of the solutions.
        """
        notebook = _without_solutions(self.notebook) if stubs else self.notebook
        namespace: Namespace = {"__name__": "__main__"}
        compiler = codeop.Compile()  # like a kernel, it keeps `from __future__` for the cells that follow
        with self.at_home():
            for number, cell in enumerate(notebook.cells):
                # a cell that is solution and grade at once is graded by a person: a figure or a table, no definition
                defines = role(cell, "solution") and not role(cell, "grade")
                if cell.cell_type == "code" and (defines or {"parameters", "define"} & tags(cell)):
                    _execute(cell.source, f"{self.name}/homework.ipynb, cell {number}", namespace, compiler)
        return namespace

    @contextmanager
    def replaced(self, namespace: Namespace, replaces: Mapping[str, Any]) -> Iterator[None]:
        """Put other functions into a namespace for a while.

        Raises:
            HomeworkError: the homework does not define one of the names.
        """
        unknown = [name for name in replaces if name not in namespace]
        if unknown:
            raise HomeworkError(f"{self.name} does not define {', '.join(unknown)}: correct instructor/mistakes.py.")
        before = {name: namespace[name] for name in replaces}
        namespace.update(replaces)
        try:
            yield
        finally:
            namespace.update(before)

    def run_cell(
        self, cell: GradedCell, namespace: Namespace, check: Any = lsdl.checks.check, *, hidden: bool = True
    ) -> Exception | None:
        """Run one graded cell and return the exception it ended with, None if it ran through.

        Args:
            namespace: what `namespace()` returned; what the cell adds to it is taken out again.
            check: takes the place of `lsdl.checks.check` (default: itself, with the references of the files).
            hidden: run the hidden tests, too.
        """
        before, original = dict(namespace), lsdl.checks.check
        lsdl.checks.check = check
        try:
            with self.at_home():
                source = cell.source if hidden else cell.visible_source
                _execute(source, f"{self.name}/{cell.grade_id}", namespace, codeop.Compile())
        except Exception as error:  # whatever a wrong solution raises
            return error
        finally:
            lsdl.checks.check = original
            namespace.clear()
            namespace.update(before)
        return None

    @contextmanager
    def at_home(self) -> Iterator[None]:
        """The surroundings of the notebook's kernel: the week's folder, and its own `helpers` among those of all weeks."""
        names = [path.stem for path in self.week.glob("*.py")]
        outside = {name: sys.modules.pop(name) for name in names if name in sys.modules}
        sys.modules.update(self._modules)
        folder = os.getcwd()
        os.chdir(self.week)
        sys.path.insert(0, str(self.week))
        try:
            yield
        finally:
            sys.path.remove(str(self.week))
            os.chdir(folder)
            self._modules |= {name: sys.modules.pop(name) for name in names if name in sys.modules}
            sys.modules.update(outside)

    def instructor(self, stem: str) -> ModuleType:
        """A module of instructor/, which is executed once.

        Raises:
            HomeworkError: the file is missing.
        """
        path = self.week / "instructor" / f"{stem}.py"
        label = f"_{self.name}_{stem}".replace("-", "_")
        if label not in self._modules:
            if not path.is_file():
                raise HomeworkError(f"{path} is missing.")
            spec = importlib.util.spec_from_file_location(label, path)
            module = importlib.util.module_from_spec(spec)
            sys.modules[label] = module  # dataclasses look their module up
            with self.at_home():
                spec.loader.exec_module(module)
            self._modules[label] = module
        return self._modules[label]

    def _named(self, stem: str, name: str) -> Any:
        """A name that a module of instructor/ has to define."""
        path = self.week / "instructor" / f"{stem}.py"
        if not path.is_file():
            raise HomeworkError(f"{path} is missing: it has to define {name}.")
        try:
            return getattr(self.instructor(stem), name)
        except AttributeError:
            raise HomeworkError(f"{path} does not define {name}.") from None

    def _read_tasks(self) -> list[Task]:
        parts: list[tuple[str, list[NotebookNode]]] = []
        for cell in self.notebook.cells:
            header = TASK_HEADER.match(cell.source.lstrip()) if cell.cell_type == "markdown" else None
            if header:
                parts.append((header[1].strip(), []))
            elif cell.cell_type == "markdown" and re.match(r"#{1,2}\s", cell.source.lstrip()):
                parts.append(("", []))  # another section ends the task
            if parts:
                parts[-1][1].append(cell)
            if role(cell, "grade") and not (parts and parts[-1][0]):
                name = cell.metadata.nbgrader.grade_id
                raise HomeworkError(f"{self.name}: the graded cell {name!r} stands under no header '## Task ...'.")
        return [_task(title, cells) for title, cells in parts if title]


def _task(title: str, cells: list[NotebookNode]) -> Task:
    solutions = [cell for cell in cells if cell.cell_type == "code" and role(cell, "solution")]
    return Task(
        title,
        tuple(_graded(cell) for cell in cells if role(cell, "grade")),
        tuple(name for cell in solutions for name in defined_names(cell.source)),
        sum(cell.source.count("<details") for cell in cells if cell.cell_type == "markdown"),
    )


def _graded(cell: NotebookNode) -> GradedCell:
    meta = cell.metadata.nbgrader
    manual, visible = is_manual(cell), visible_part(cell.source)
    shown, all_names = ((), ()) if manual else (named_in(visible), named_in(cell.source))
    return GradedCell(
        grade_id=meta.grade_id,
        points=meta.points,
        source=cell.source,
        visible_source=visible,
        manual=manual,
        whole="whole" in tags(cell),
        visible_checks=shown,
        hidden_checks=tuple(name for name in all_names if name not in shown),
    )


def defined_names(source: str) -> list[str]:
    """Functions, classes and variables that the top level of a cell defines; [] if it is not plain Python."""
    try:
        body = ast.parse(source).body
    except SyntaxError:
        return []
    names = []
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef):
            names.append(statement.name)
        elif isinstance(statement, ast.Assign):
            names += [target.id for target in statement.targets if isinstance(target, ast.Name)]
    return names


def _without_solutions(notebook: NotebookNode) -> NotebookNode:
    """What nbgrader releases, as far as solutions go."""
    from nbgrader.preprocessors import ClearSolutions  # takes seconds to import

    return ClearSolutions().preprocess(copy.deepcopy(notebook), {})[0]


def _execute(source: str, label: str, namespace: Namespace, compiler: codeop.Compile) -> None:
    # Line magics set up the display of a notebook; there is none here.
    source = "\n".join("" if line.startswith("%") else line for line in source.splitlines()) + "\n"
    linecache.cache[label] = (len(source), None, source.splitlines(keepends=True), label)  # for tracebacks
    exec(compiler(source, label, "exec"), namespace)
