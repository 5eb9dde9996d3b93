"""A course of the fixture week that can be graded: with its release and its hidden references."""

import shutil
from pathlib import Path

from lsdl.author.references import prepare_hidden_references
from lsdl.cells import grade_id
from lsdl.grading.release import release
from lsdl.intake import Notebook, mend, parse

REPOSITORY = Path(__file__).resolve().parents[1]


def demo_course(root: Path) -> Path:
    """A course of the demonstration week in `root`, released, with its hidden references; returns the week."""
    shutil.copytree(REPOSITORY / "tests" / "fixtures" / "course", root)
    shutil.copy(REPOSITORY / "gradebook" / "nbgrader_config.py", root / "gradebook")
    week = root / "week99-demo"
    prepare_hidden_references(week)
    release(week, check=False)
    return week


def released(week: Path) -> Notebook:
    """The parsed student version."""
    return parse((week.parent / "gradebook" / "release" / week.name / "homework.ipynb").read_bytes())


def solved(week: Path, *before: str, **sources: str) -> Notebook:
    """The mended solved notebook, with other sources for some answer cells, and cells of the student's own `before` the first."""
    notebook = parse((week / "homework.ipynb").read_bytes())
    for cell in notebook["cells"]:
        cell["source"] = sources.get(str(grade_id(cell)), cell["source"])
    own = [
        {
            "cell_type": "code",
            "id": f"own-{i}",
            "metadata": {},
            "source": source,
            "outputs": [],
            "execution_count": None,
        }
        for i, source in enumerate(before)
    ]
    first = next(place for place, cell in enumerate(notebook["cells"]) if grade_id(cell))
    notebook["cells"][first:first] = own
    return mend(notebook, released(week))[0]
