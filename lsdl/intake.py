"""A notebook file that is handed in: read as data, said what is wrong with it, and mended where that is safe.

Mending means that the notebook's skeleton comes from the release: a cell that tests is the release's own, so a repair can
change neither an answer nor a test. Students damage notebooks by splitting a cell in two (both halves keep its name),
deleting a test, or editing with a tool that drops metadata; nbgrader then fails the whole notebook, or gives a silent 0.
The grader and the student's doctor both read notebooks with this module, so that they say the same.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from typing import Any

from lsdl.cells import grade_id, is_locked, visible_part

MAX_BYTES = 20 * 2**20
MAX_CELLS = 5_000
CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
PICTURES = ("image/png", "image/jpeg", "image/gif")
FRESH_CELL = "copy that cell from a fresh homework.ipynb"
START_AGAIN = "copy your answers into a fresh homework.ipynb, and do not edit it with a tool that drops metadata"

Notebook = dict[str, Any]
Cell = dict[str, Any]


class BadNotebook(ValueError):
    """The submission cannot be graded; the message is a sentence for the instructor, with the mend."""


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a notebook: what `mend` did about it, and what its author can do before handing it in."""

    problem: str
    remedy: str
    advice: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.remedy}"


def parse(data: bytes) -> Notebook:
    """A notebook from its bytes: the newest format, every source one string, nothing else of a cell than grading needs.

    Outputs, attachments that are no pictures and foreign metadata are dropped: only what the student wrote goes on.

    Raises:
        BadNotebook: not UTF-8, not JSON, not a notebook, or of a format before 4.
    """
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise BadNotebook("The file is not UTF-8 text: hand in the .ipynb file as Jupyter saved it.") from None
    except (ValueError, RecursionError):
        raise BadNotebook("The file is not JSON: hand in the .ipynb file as Jupyter saved it.") from None
    if isinstance(notebook, dict) and isinstance(notebook.get("worksheets"), list):
        raise BadNotebook("The notebook has the format of 2014: open it in Jupyter, save it, and hand it in again.")
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if notebook_is_wrong(notebook, cells):
        raise BadNotebook("The file is JSON but not a notebook: hand in the .ipynb file as Jupyter saved it.")
    if not cells:
        raise BadNotebook("The notebook has no cells: hand in the notebook that holds the answers.")
    if len(cells) > MAX_CELLS:
        raise BadNotebook(f"The notebook has over {MAX_CELLS} cells: ask for the one that holds the answers.")
    minor = notebook.get("nbformat_minor")
    plain = {
        "nbformat": 4,
        "nbformat_minor": minor if type(minor) is int and 0 <= minor <= 5 else 5,
        "metadata": {},
        "cells": [_plain_cell(cell) for cell in cells],
    }
    about = notebook["metadata"] if isinstance(notebook.get("metadata"), dict) else {}
    kernel = _texts(about["kernelspec"]) if isinstance(about.get("kernelspec"), dict) else {}
    if {"name", "display_name"} <= kernel.keys():
        plain["metadata"]["kernelspec"] = kernel
    if plain["nbformat_minor"] < 5:
        from nbformat import from_dict
        from nbformat.v4 import upgrade

        old = plain["nbformat_minor"]
        plain = json.loads(json.dumps(upgrade(from_dict(plain), from_version=4, from_minor=old)))
        for index, cell in enumerate(plain["cells"]):
            cell["id"] = f"cell-{index}"  # nbformat draws them at random; the same bytes must give the same notebook
    _make_ids_valid(plain["cells"])
    return plain


def _plain_cell(cell: Cell) -> Cell:
    source = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
    metadata = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
    kept: Cell = {"cell_type": cell["cell_type"], "id": cell.get("id"), "metadata": {}, "source": _encodable(source)}
    if isinstance(metadata.get("nbgrader"), dict):
        entry = metadata["nbgrader"].items()
        plain = {key: value for key, value in entry if value is None or isinstance(value, str | int | float)}
        kept["metadata"]["nbgrader"] = {key: _encodable(v) if isinstance(v, str) else v for key, v in plain.items()}
    if isinstance(metadata.get("tags"), list):
        kept["metadata"]["tags"] = [_encodable(tag) for tag in metadata["tags"] if isinstance(tag, str)]
    if cell["cell_type"] == "code":
        kept |= {"execution_count": None, "outputs": []}
    pictures = cell.get("attachments")
    if cell["cell_type"] == "markdown" and isinstance(pictures, dict):
        kept["attachments"] = {
            _encodable(str(name)): _texts({kind: data for kind, data in bundle.items() if kind in PICTURES})
            for name, bundle in pictures.items()
            if isinstance(bundle, dict)
        }
    return kept


def _texts(table: dict[Any, Any]) -> dict[str, str]:
    return {str(key): _encodable(value) for key, value in table.items() if isinstance(value, str)}


def _encodable(text: str) -> str:
    """JSON can hold halves of characters, which no file can."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _make_ids_valid(cells: list[Cell]) -> None:
    seen: set[str] = set()
    for index, cell in enumerate(cells):
        name = cell.get("id")
        if not isinstance(name, str) or not CELL_ID.fullmatch(name) or name in seen:
            name = f"cell-{index}"
            while name in seen:
                name += "-"
            cell["id"] = name
        seen.add(name)


def notebook_is_wrong(notebook: Any, cells: Any) -> bool:
    """Whether parsed JSON lacks what every notebook of format 4 has: a list of cells with type and source."""

    def is_cell(cell: Any) -> bool:
        source = cell.get("source") if isinstance(cell, dict) else None
        text = isinstance(source, str) or (isinstance(source, list) and all(isinstance(line, str) for line in source))
        return text and cell.get("cell_type") in ("code", "markdown", "raw")

    return (
        not isinstance(notebook, dict)
        or notebook.get("nbformat") != 4
        or not isinstance(cells, list)
        or not all(map(is_cell, cells))
    )


def mend(notebook: Notebook, release: Notebook) -> tuple[Notebook, list[Finding]]:
    """The notebook with the release's skeleton and the student's answers, and what was found on the way.

    Args:
        notebook: a parsed submission; not changed.
        release: the parsed student version of the same homework.

    Returns:
        A new notebook and the findings; no findings means that nothing had to be mended.

    Raises:
        BadNotebook: no cell can be recognised, so there is no answer to grade.
    """
    notebook = copy.deepcopy(notebook)
    notebook["metadata"] = copy.deepcopy(release["metadata"])  # the release says which kernel runs it
    cells: list[Cell] = notebook["cells"]
    known = {grade_id(cell): cell for cell in release["cells"] if grade_id(cell)}
    findings: list[Finding] = []

    def found(problem: str, remedy: str, advice: str) -> None:
        findings.append(Finding(problem, remedy, advice))

    _restore_names(cells, known, found)
    if not any(grade_id(cell) in known for cell in cells):
        raise BadNotebook("No cell of this homework is in the notebook: was another notebook handed in?")

    names = [grade_id(cell) for cell in cells]
    for name, official in known.items():
        places = [index for index, other in enumerate(names) if other == name]
        if len(places) > 1:
            # A split answer runs in order whichever half keeps the name; of a copied test the last sees most answers.
            keep = places[-1] if is_locked(official) else places[0]
            for index in places:
                if index != keep:
                    names[index] = None
                    del cells[index]["metadata"]["nbgrader"]
                    if is_locked(official):
                        cells[index]["source"] = ""
            found(
                f"{name} is there {len(places)} times",
                "one was kept as that cell, the code of answers stays",
                "delete the copies",
            )
            places = [keep]
        if places:
            cell = cells[places[0]]
            if cell["cell_type"] != official["cell_type"]:
                turn = f"turn it back into a {official['cell_type']} cell"
                found(f"{name} was turned into a {cell['cell_type']} cell", "it was turned back", turn)
                cells[places[0]] = {**copy.deepcopy(official), "source": cell["source"]}
            elif cell["metadata"]["nbgrader"] != official["metadata"]["nbgrader"]:
                # Checksums differ by nbgrader's version; only what decides grading is worth a remark.
                ours, theirs = official["metadata"]["nbgrader"], cell["metadata"]["nbgrader"]
                if any(ours.get(key) != theirs.get(key) for key in ("grade", "solution", "locked", "points")):
                    found(f"the metadata of {name} was changed", "it was taken from the release", START_AGAIN)
                cell["metadata"]["nbgrader"] = copy.deepcopy(ours)
            if is_locked(official) and cells[places[0]]["source"] != official["source"]:
                # The solved notebook still has its hidden tests; nobody edited those.
                if visible_part(cells[places[0]]["source"]).strip() != official["source"].strip():
                    found(f"the test {name} was edited", "it was taken from the release", FRESH_CELL)
                cells[places[0]]["source"] = official["source"]

    _insert_missing(cells, list(known.values()), found)
    return notebook, findings


def _restore_names(cells: list[Cell], known: dict[str | None, Cell], found: Any) -> None:
    """Give cells that lost nbgrader's metadata their name back, by their notebook id or a test's exact text."""
    present = {grade_id(cell) for cell in cells}
    by_id = {official["id"]: name for name, official in known.items() if official.get("id")}
    by_text = {official["source"]: name for name, official in known.items() if is_locked(official)}
    for cell in cells:
        if grade_id(cell) in known:
            continue
        # A name that the homework does not have would make nbgrader refuse the notebook.
        cell["metadata"].pop("nbgrader", None)
        name = by_id.get(cell.get("id")) or by_text.get(cell["source"])
        if name is not None and name not in present:
            cell["metadata"]["nbgrader"] = copy.deepcopy(known[name]["metadata"]["nbgrader"])
            present.add(name)
            found(f"{name} had lost its metadata", "it was recognised and marked again", START_AGAIN)


def _insert_missing(cells: list[Cell], skeleton: list[Cell], found: Any) -> None:
    """Put back every cell of the skeleton that is absent, right before the one that follows it in the release.

    Before the next rather than after the last, so that a test comes after all the code the student wrote for it.
    """
    position = len(cells)
    for official in reversed(skeleton):
        name = grade_id(official)
        places = [index for index, cell in enumerate(cells) if grade_id(cell) == name]
        if places:
            position = places[0]
            continue
        cells.insert(position, copy.deepcopy(official))
        kind = "test" if is_locked(official) else "answer"
        found(f"the {kind} {name} is missing", "it was put back from the release", FRESH_CELL)
