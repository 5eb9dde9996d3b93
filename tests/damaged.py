"""The solved homework of the fixture week as students and their tools hand it in: cells dropped, moved, merged, split, renamed."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

from hypothesis import strategies as st

from lsdl.cells import grade_id, is_test
from lsdl.intake import Notebook

WEEK = Path(__file__).resolve().parent / "fixtures" / "course" / "week99-demo"
ANSWERS = ("standardise", "dropout", "classify")
Damage = Callable[[Notebook], object]


def solved() -> Notebook:
    """The solved notebook as a student would hand it in: without hidden tests and marks of solutions."""
    notebook = json.loads((WEEK / "homework.ipynb").read_bytes())
    for cell in notebook["cells"]:
        text, keep = [], True
        for line in "".join(cell["source"]).splitlines():
            keep = keep and "BEGIN HIDDEN" not in line
            if keep and "SOLUTION" not in line:
                text.append(line)
            keep = keep or "END HIDDEN" in line
        cell["source"] = "\n".join(text)
    return notebook


def place(notebook: Notebook, name: str) -> int:
    return next(i for i, cell in enumerate(notebook["cells"]) if grade_id(cell) == name)


def code(source: str) -> dict:
    return {"cell_type": "code", "id": "own", "metadata": {}, "source": source, "outputs": [], "execution_count": None}


def strip(notebook: Notebook) -> None:
    for cell in notebook["cells"]:
        cell["metadata"] = {}


def without_ids(notebook: Notebook) -> None:
    notebook["nbformat_minor"] = 4
    for cell in notebook["cells"]:
        del cell["id"]


def as_colab(notebook: Notebook) -> None:
    """Format 4.0, the id in the metadata, nothing else there."""
    notebook["nbformat_minor"] = 0
    for cell in notebook["cells"]:
        cell["metadata"] = {"id": cell.pop("id")}


def renumber(notebook: Notebook) -> None:
    """Ids of the homework, but of other cells."""
    for number, cell in enumerate(notebook["cells"], start=4):
        cell["id"] = f"demo-{number:02d}"


def crlf(notebook: Notebook) -> None:
    for cell in notebook["cells"]:
        cell["source"] = cell["source"].replace("\n", "\r\n")


def merged_with_the_next(name: str) -> Damage:
    """As Jupyter merges: the upper cell's metadata, both texts."""

    def change(notebook: Notebook) -> None:
        here = place(notebook, name)
        below = notebook["cells"].pop(here + 1)
        notebook["cells"][here]["source"] += "\n\n" + below["source"]

    return change


@st.composite
def harmlessly_damaged(draw: st.DrawFn) -> Notebook:
    """Given cells dropped but their code kept elsewhere, answers split and merged, metadata, ids, line ends lost: all points stay."""
    notebook = solved()
    for name in draw(st.lists(st.sampled_from(ANSWERS), unique=True)):
        how = draw(st.sampled_from(["rewritten", "merged up", "merged down", "split", "twice"]))
        here = place(notebook, name)
        cell = notebook["cells"][here]
        if how == "rewritten":
            first = max(
                (
                    place(notebook, other)
                    for other in ANSWERS
                    if other < name and any(grade_id(c) == other for c in notebook["cells"])
                ),
                default=4,
            )
            notebook["cells"].pop(here)
            notebook["cells"].insert(draw(st.integers(min(4, first), here)), code(cell["source"]))
        elif how == "merged up" and notebook["cells"][here - 2]["cell_type"] == "code":
            notebook["cells"][here - 2]["source"] += "\n\n" + notebook["cells"].pop(here)["source"]
        elif how == "merged down":
            merged_with_the_next(name)(notebook)
        elif how == "split":
            parts = cell["source"].split("\n\n\n")
            notebook["cells"][here : here + 1] = [
                {**copy.deepcopy(cell), "id": f"{name}{n}", "source": s} for n, s in enumerate(parts)
            ]
        elif how == "twice":
            notebook["cells"].insert(here, copy.deepcopy(cell))
    for number in draw(st.lists(st.integers(0, len(notebook["cells"]) - 1), max_size=3)):
        cell = notebook["cells"][number]
        if is_test(cell) and not any(f"def {name}" in cell["source"] for name in ANSWERS):
            notebook["cells"].remove(cell)
            break
    for cell in notebook["cells"]:
        if draw(st.sampled_from([False, False, True])):
            cell["metadata"] = {}
    for change in draw(st.lists(st.sampled_from([strip, as_colab, renumber, crlf]), max_size=2, unique=True)):
        if change is not as_colab or all("id" in cell for cell in notebook["cells"]):
            change(notebook)
    return notebook


@st.composite
def damaged(draw: st.DrawFn) -> Notebook:
    """Those, and some of which cells are gone or stand elsewhere as well, so that points may be lost."""
    notebook = draw(harmlessly_damaged())
    cells = notebook["cells"]
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        cells.pop(draw(st.integers(4, len(cells) - 1)))
    for _ in range(draw(st.sampled_from([0, 0, 1, 3]))):
        moved = cells.pop(draw(st.integers(4, len(cells) - 1)))
        cells.insert(draw(st.integers(4, len(cells))), moved)
    if draw(st.sampled_from([False] * 9 + [True])):
        cells[4:] = draw(st.permutations(cells[4:]))
    return notebook
