"""The format of a homework's cells, read in one place: roles and tags, hidden regions, names of checks.

Standard library only, because a student's doctor reads notebooks with it, too. A cell is that of a parsed notebook: a
mapping, be it a plain dict or nbformat's NotebookNode.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Cell = Mapping[str, Any]

SOLUTION = ("### BEGIN SOLUTION", "### END SOLUTION")
HIDDEN = ("### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS")
# A whole region with its marker lines: what nbgrader takes out of a released cell.
HIDDEN_TESTS = re.compile(rf"^[^\n]*{HIDDEN[0]}.*?{HIDDEN[1]}.*?$\n?", re.DOTALL | re.MULTILINE)
CHECK_CALLS = ("check", "check.inputs")
TASK_HEADER = re.compile(r"##\s+(Task\b.*)")  # of a markdown cell: the task that begins there


@dataclass(frozen=True)
class ScoredCell:
    """A cell that carries points; `manual`: a person gives them."""

    name: str
    max_points: float
    manual: bool


def source_of(cell: Cell) -> str:
    """The text of a cell, which a file may hold as a list of lines."""
    source = cell["source"]
    return source if isinstance(source, str) else "".join(source)


def without_magics(source: str) -> str:
    """A code cell as plain Python: the lines for IPython (`%matplotlib inline`, `!ls`) are empty, so that all keep their number."""
    return "\n".join("" if line.startswith(("%", "!")) else line for line in source.splitlines())


def tags(cell: Cell) -> frozenset[str]:
    """The tags of a cell."""
    return frozenset(cell["metadata"].get("tags", ()))


def role(cell: Cell, name: str) -> bool:
    """Whether nbgrader's metadata give a cell a role: "grade", "solution" or "locked"."""
    entry = cell["metadata"].get("nbgrader")
    return isinstance(entry, Mapping) and bool(entry.get(name))


def grade_id(cell: Cell) -> str | None:
    """The name nbgrader knows a cell by, or None for an ordinary cell."""
    entry = cell["metadata"].get("nbgrader")
    name = entry.get("grade_id") if isinstance(entry, Mapping) else None
    return name if isinstance(name, str) else None


def called(cell: Cell) -> str:
    """What to call a cell in a sentence: nbgrader's name of it, else how it begins."""
    if name := grade_id(cell):
        return f"the cell {name}"
    first = next((line.strip() for line in source_of(cell).splitlines() if line.strip()), "")
    return f"the cell that begins with `{first[:60]}`"


def is_manual(cell: Cell) -> bool:
    """Whether a person gives the points of a graded cell: a text, or an answer that is graded itself."""
    return role(cell, "grade") and (role(cell, "solution") or cell["cell_type"] != "code")


def is_test(cell: Cell) -> bool:
    """Whether a program gives the points of a cell."""
    return role(cell, "grade") and not is_manual(cell)


def is_locked(cell: Cell) -> bool:
    """Whether a cell of the release is the teacher's: graded or locked, and not the place of an answer."""
    return (role(cell, "grade") or role(cell, "locked")) and not role(cell, "solution")


def scored_cells(cells: Iterable[Cell]) -> list[ScoredCell]:
    """The cells that carry points, in their order."""
    return [
        ScoredCell(str(grade_id(cell)), float(cell["metadata"]["nbgrader"]["points"]), is_manual(cell))
        for cell in cells
        if role(cell, "grade")
    ]


def visible_part(source: str) -> str:
    """The text of a cell without its hidden tests."""
    return HIDDEN_TESTS.sub("", source)


def hidden_part(source: str) -> str:
    """The hidden tests of a cell, without the lines that mark them."""
    regions = (match[0].splitlines()[1:-1] for match in HIDDEN_TESTS.finditer(source))
    return "\n".join(line for lines in regions for line in lines)


def named_in(source: str, *functions: str) -> tuple[str, ...]:
    """The texts given as first argument to calls of `functions` (default: `check` and `check.inputs`), in their order, each once.

    Raises:
        SyntaxError: the source is not Python.
    """
    functions = functions or CHECK_CALLS
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call) and node.args]
    calls.sort(key=lambda call: (call.lineno, call.col_offset))
    first = [call.args[0] for call in calls if ast.unparse(call.func) in functions]
    texts = [node.value for node in first if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return tuple(dict.fromkeys(texts))
