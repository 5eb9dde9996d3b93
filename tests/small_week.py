"""A tiny week that runs in seconds without torch; tests copy or break it.

`seminar` and `homework` keep every lint rule but the limits of a lesson, which `lesson` keeps.
"""

from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from lsdl.author.opening import PARAMETERS_CELL, Kind, badge, setup_cell

NAME = "week98-small"
SOLUTION = """def double(x):
    ### BEGIN SOLUTION
    y = 2 * x
    ### END SOLUTION
    return y"""
GRADED = """from lsdl.checks import check

check("double/value", double(*check.inputs("double/value")))
### BEGIN HIDDEN TESTS
check("double/secret", double(*check.inputs("double/secret")))
### END HIDDEN TESTS"""
CLAIM = """claims = Claims()
claims.add("A beats B", MARGINS, condition="tiny", unit="points")
claims.table()"""


def code(source: str, *tags: str, **nbgrader: Any) -> NotebookNode:
    """A code cell; keyword arguments make it an nbgrader cell."""
    metadata: dict[str, Any] = {"tags": list(tags)} if tags else {}
    if nbgrader:
        metadata["nbgrader"] = {"schema_version": 3, "grade": False, "solution": False, "locked": False} | nbgrader
    return new_code_cell(source, metadata=metadata)


def opening(kind: Kind, define: str) -> list[NotebookNode]:
    """The cells every notebook begins with."""
    return [
        new_markdown_cell(f"# A small {kind}\n\n{badge(NAME, kind)}"),
        code(setup_cell(NAME), "setup"),
        code(PARAMETERS_CELL, "parameters"),
        code(define, "define"),
    ]


def seminar(
    *cells: NotebookNode, define: str = "from lsdl.claims import Claims\n\nMARGINS = [2, 3, 4]"
) -> NotebookNode:
    """A seminar; without `cells` it makes one claim."""
    return notebook(*opening("seminar", define), *(cells or (code(CLAIM),)))


def homework(*cells: NotebookNode) -> NotebookNode:
    """A homework; without `cells` it has a solution and a graded cell of 2 points."""
    task = (
        code(SOLUTION, grade_id="double", solution=True),
        code(GRADED, grade_id="double_value", grade=True, locked=True, points=2),
    )
    return notebook(*opening("homework", "import math"), *(cells or task))


def shown(source: str, *tags: str) -> NotebookNode:
    """A code cell that has printed something."""
    cell = code(source, *tags)
    cell.outputs = [new_output("stream", name="stdout", text="1")]
    return cell


def text(source: str, *tags: str) -> NotebookNode:
    """A text cell."""
    return new_markdown_cell(source, metadata={"tags": list(tags)} if tags else {})


def lesson() -> NotebookNode:
    """A seminar that keeps the limits of a lesson: two core sections and one that is further."""
    _, *setup, define = opening("seminar", "import math\n\n\ndef double(x):\n    return 2 * x")
    return notebook(
        text(f"# A small lesson\n\n{badge(NAME, 'seminar')}\n\n![a map](map.svg)\n\n- one\n- two\n- three"),
        *setup,
        define,
        text("## 1. Doubling (5 minutes)\n\nTwice a number is $2x$."),
        shown("y = double(math.pi)\nprint(y)"),
        text("**Remember**\n\n- Twice is more.\n- Zero stays."),
        text("## 2. Trebling (further, 5 minutes)", "further"),
        shown("z = 3 * y\nprint(z)", "further"),
        text("## 3. What we saw (5 minutes)"),
        shown("print(y > 6)"),
        text("## References\n\n- " + "A long title. " * 100),
    )


def notebook(*cells: NotebookNode) -> NotebookNode:
    """A notebook of `cells` for the default Python kernel."""
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=list(cells), metadata={"kernelspec": kernel})


def write_week(root: Path, seminar_node: NotebookNode | None = None, homework_node: NotebookNode | None = None) -> Path:
    """Write the notebooks that are given, and helpers.py; return the week's folder."""
    week = root / NAME
    week.mkdir(parents=True, exist_ok=True)
    (week / "helpers.py").write_text("ANSWER = 42\n")
    for name, node in (("seminar", seminar_node), ("homework", homework_node)):
        if node is not None:
            nbformat.write(node, week / f"{name}.ipynb")
    return week
