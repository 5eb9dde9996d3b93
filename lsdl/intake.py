"""A notebook file that is handed in: read as data, said what is wrong with it, and mended where that is safe.

Mending means that the notebook's skeleton comes from the release: a cell that tests is the release's own, so a repair can
change neither an answer nor a test. Students damage notebooks by splitting a cell in two (both halves keep its name),
deleting a test, or editing with a tool that drops metadata; nbgrader then fails the whole notebook, or gives a silent 0.
recognise.py says which cell is which. What is put in never undoes what the student wrote: no empty answer after code that may
define the same names. The grader and the student's doctor both read notebooks with this module, so that they say the same.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from lsdl.cells import grade_id, is_locked, role
from lsdl.pictures import FORMATS, MAX_PIXELS, picture_problem
from lsdl.recognise import MAY_DEFINE_ANYTHING, alike, answer_names, defined_names, known_cells, words

MAX_BYTES = 20 * 2**20
MAX_CELLS = 5_000
CELL_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
SHOWN = f"a PNG or JPEG of at most {MAX_PIXELS:,} pixels"
FRESH_CELL = "copy that cell from a fresh homework.ipynb"
FOUND_ELSEWHERE = "its answer was found in another cell and counts"
START_AGAIN = "copy your answers into a fresh homework.ipynb, and do not edit it with a tool that drops metadata"

Notebook = dict[str, Any]
Cell = dict[str, Any]


class BadNotebook(ValueError):
    """The submission cannot be graded; the message is a sentence for the instructor, with the mend."""


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a notebook: what `mend` did about it, and what its author can do before handing it in.

    Attributes:
        absent: the answer that is not in the notebook, if it is one; a person has to say whether it stands elsewhere.
        variant: of a cell that differs from the release a hash of its text, by which equal ones are counted.
    """

    problem: str
    remedy: str
    advice: str
    absent: str = ""
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.problem}: {self.remedy}"


def parse(data: bytes) -> Notebook:
    """A notebook from its bytes: the newest format, every source one string, nothing else of a cell than grading needs.

    Outputs, foreign metadata and attachments of other types than FORMATS are dropped: only what the student wrote goes on.
    `metadata.not_shown` says which pictures no page will show. Line ends become those of Unix, as Windows tools write others
    into every cell.

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
    if not isinstance(cells, list) or notebook.get("nbformat") != 4:
        raise BadNotebook("The file is JSON but not a notebook: hand in the .ipynb file as Jupyter saved it.")
    if not cells:
        raise BadNotebook("The notebook has no cells: hand in the notebook that holds the answers.")
    if len(cells) > MAX_CELLS:
        raise BadNotebook(f"The notebook has over {MAX_CELLS} cells: ask for the one that holds the answers.")
    for number, cell in enumerate(cells, start=1):
        if _source(cell) is None:
            raise BadNotebook(
                f"Cell {number} of the notebook is not a cell, it has no type or no text: open the notebook in Jupyter, "
                "save it, and hand it in again."
            )
    minor = notebook.get("nbformat_minor")
    plain = {
        "nbformat": 4,
        "nbformat_minor": minor if type(minor) is int and 0 <= minor <= 5 else 5,
        "metadata": {},
        "cells": [_plain_cell(cell) for cell in cells],
    }
    if lost := [_not_shown(number, why) for number, cell in enumerate(cells, start=1) if (why := _lost_pictures(cell))]:
        plain["metadata"]["not_shown"] = lost
    about = notebook["metadata"] if isinstance(notebook.get("metadata"), dict) else {}
    kernel = _texts(about["kernelspec"]) if isinstance(about.get("kernelspec"), dict) else {}
    if {"name", "display_name"} <= kernel.keys():
        plain["metadata"]["kernelspec"] = kernel
    if plain["nbformat_minor"] < 5:
        from nbformat import from_dict
        from nbformat.v4 import upgrade

        old, ids = plain["nbformat_minor"], [cell.pop("id") for cell in plain["cells"]]
        plain = json.loads(json.dumps(upgrade(from_dict(plain), from_version=4, from_minor=old)))
        for cell, own in zip(plain["cells"], ids, strict=True):
            cell["id"] = own  # nbformat draws them at random; the same bytes must give the same notebook
    _make_ids_valid(plain["cells"])
    return plain


def _source(cell: Any) -> str | None:
    """The text of a cell with the line ends of Unix; None if this is no cell."""
    source = cell.get("source") if isinstance(cell, dict) and isinstance(cell.get("cell_type"), str) else None
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    return source.replace("\r\n", "\n").replace("\r", "\n") if isinstance(source, str) else None


def _plain_cell(cell: Cell) -> Cell:
    kind, source = cell["cell_type"], _encodable(_source(cell) or "")
    if kind not in (
        "code",
        "markdown",
        "raw",
    ):  # the headings of 2014, which format 4 lost, and what other tools invent
        kind, source = ("markdown", f"# {source}") if kind == "heading" else ("raw", source)
    metadata = cell.get("metadata") if isinstance(cell.get("metadata"), dict) else {}
    # Colab keeps the id in the metadata.
    kept: Cell = {"cell_type": kind, "id": cell.get("id") or metadata.get("id"), "metadata": {}, "source": source}
    if isinstance(metadata.get("nbgrader"), dict):
        entry = metadata["nbgrader"].items()
        plain = {key: value for key, value in entry if value is None or isinstance(value, str | int | float)}
        kept["metadata"]["nbgrader"] = {key: _encodable(v) if isinstance(v, str) else v for key, v in plain.items()}
    if isinstance(metadata.get("tags"), list):
        kept["metadata"]["tags"] = [_encodable(tag) for tag in metadata["tags"] if isinstance(tag, str)]
    if kind == "code":
        kept |= {"execution_count": None, "outputs": []}
    pictures = cell.get("attachments")
    if kind == "markdown" and isinstance(pictures, dict):
        shown = {
            name: _texts({kind: data for kind, data in bundle.items() if kind in FORMATS})
            for name, bundle in _bundles(cell)
        }
        kept["attachments"] = {_encodable(name): bundle for name, bundle in shown.items() if bundle}
    return kept


def _bundles(cell: Cell) -> list[tuple[str, dict[Any, Any]]]:
    pictures = cell.get("attachments")
    table = pictures.items() if isinstance(pictures, dict) else ()
    return [(str(name), bundle) for name, bundle in table if isinstance(bundle, dict)]


def _lost_pictures(cell: Cell) -> list[str]:
    """Why attachments of a cell are not shown; of one that has several types, those that feedback shows decide."""
    found = set()
    for _, bundle in _bundles(cell):
        kinds = [kind for kind in bundle if kind in FORMATS] or list(bundle)
        found |= {_picture_problem(str(kind), bundle[kind]) for kind in kinds} if kinds else {"it is empty"}
    return sorted(found - {""})


def _picture_problem(kind: str, data: Any) -> str:
    try:
        return picture_problem(kind, data if isinstance(data, str) else "")
    except ModuleNotFoundError:  # Pillow: the student's doctor needs only the standard library
        return ""


def _not_shown(number: int, why: list[str]) -> str:
    return f"a picture in cell {number} is not shown ({'; '.join(why[:3])})"


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
    return _Mending(notebook, release).result()


class _Mending:
    """One call of `mend`; the steps are in `result`."""

    def __init__(self, notebook: Notebook, release: Notebook) -> None:
        self.notebook = copy.deepcopy(notebook)
        self.notebook["metadata"] = copy.deepcopy(release["metadata"])  # the release says which kernel runs it
        self.not_shown = notebook["metadata"].get("not_shown", [])
        self.cells: list[Cell] = self.notebook["cells"]
        self.release: list[Cell] = release["cells"]
        self.skeleton = {name: cell for cell in self.release if (name := grade_id(cell))}
        self.names = {name: answer_names(cell) for name, cell in self.skeleton.items()}
        self.findings: list[Finding] = []
        self.passed_over: set[str] = set()

    def result(self) -> tuple[Notebook, list[Finding]]:
        self._pass_over_empty_answers()
        self._recognise()
        for name in self.skeleton:
            self._keep_one(name)
        for name in self.skeleton:
            if (cell := self._cell(name)) is not None:
                self._make_official(name, cell)
        self._insert_missing()
        self._put_tests_after_answers()
        for sentence in self.not_shown:
            self._found(sentence, f"ask for {SHOWN}", f"paste {SHOWN}")
        _make_ids_valid(self.cells)
        return self.notebook, self.findings

    def _found(self, problem: str, remedy: str, advice: str, **more: str) -> None:
        self.findings.append(Finding(problem, remedy, advice, **more))

    def _cell(self, name: str) -> Cell | None:
        return next((cell for cell in self.cells if grade_id(cell) == name), None)

    def _pass_over_empty_answers(self) -> None:
        """An answer that was left as it is released, while another cell defines the same, would undo that one."""
        own = [cell for cell in self.cells if cell["cell_type"] == "code" and grade_id(cell) not in self.skeleton]
        defined = [defined_names(cell["source"]) for cell in own]
        for cell in self.cells:
            name = grade_id(cell)
            if name not in self.skeleton or not self.names[name] or role(self.skeleton[name], "grade"):
                continue
            untouched = alike(cell["source"]) == alike(self.skeleton[name]["source"])
            if untouched and any(self.names[name] <= names for names in defined):
                cell["metadata"], cell["source"], cell["id"] = {}, "", None
                self.passed_over.add(name)

    def _recognise(self) -> None:
        """Give cells that lost nbgrader's metadata their name back, also to a new cell with the old one's answer."""
        known = known_cells(self.cells, self.release)
        kept_metadata = any(map(grade_id, self.cells))
        stripped: list[str] = []
        for here, cell in enumerate(self.cells):
            official = self.release[known[here]] if here in known else None
            name = grade_id(official) if official else None
            if name is None:
                # A name that the homework does not have would make nbgrader refuse the notebook.
                cell["metadata"].pop("nbgrader", None)
            elif grade_id(cell) != name:
                cell["metadata"]["nbgrader"] = copy.deepcopy(official["metadata"]["nbgrader"])
                if kept_metadata and cell["id"] != official["id"] and not is_locked(official):
                    what = f"{name} was left empty" if name in self.passed_over else f"the cell {name} is gone"
                    self._found(what, FOUND_ELSEWHERE, FRESH_CELL)
                else:
                    stripped.append(name)
        if stripped:
            more = f", {stripped[1]}" if len(stripped) == 2 else f" and {len(stripped) - 1} more cells"
            names = stripped[0] + (more if stripped[1:] else "")
            problem = f"{names} had lost {'their' if stripped[1:] else 'its'} metadata"
            remedy = f"{'they were' if stripped[1:] else 'it was'} recognised and marked again"
            self._found(problem, remedy, START_AGAIN)
        if not any(map(grade_id, self.cells)):
            raise BadNotebook("No cell of this homework is in the notebook: was another notebook handed in?")

    def _keep_one(self, name: str) -> None:
        """A split answer runs in order whichever half keeps the name; of a copied test the last sees most answers."""
        copies = [cell for cell in self.cells if grade_id(cell) == name]
        if len(copies) < 2:
            return
        official = self.skeleton[name]
        untouched = alike(official["source"])
        written = [cell for cell in copies if alike(cell["source"]) not in ("", untouched)] or copies
        keep = copies[-1] if is_locked(official) else written[0]
        for cell in copies:
            if cell is not keep:
                del cell["metadata"]["nbgrader"]
                # An empty copy after the answer would undo it.
                if is_locked(official) or alike(cell["source"]) == untouched:
                    cell["source"] = ""
        remedy = "one was kept as that cell, the code of answers stays"
        self._found(f"{name} is there {len(copies)} times", remedy, "delete the copies")

    def _make_official(self, name: str, cell: Cell) -> None:
        """Type, metadata and the text of a test are the release's."""
        official = self.skeleton[name]
        if cell["cell_type"] != official["cell_type"]:
            turn = f"turn it back into a {official['cell_type']} cell"
            self._found(f"{name} was turned into a {cell['cell_type']} cell", "it was turned back", turn)
            source = cell["source"]
            cell.clear()
            cell.update(copy.deepcopy(official), source=source)
        elif cell["metadata"]["nbgrader"] != official["metadata"]["nbgrader"]:
            # Checksums differ by nbgrader's version; only what decides grading is worth a remark.
            ours, theirs = official["metadata"]["nbgrader"], cell["metadata"]["nbgrader"]
            if any(ours.get(key) != theirs.get(key) for key in ("grade", "solution", "locked", "points")):
                self._differs(
                    f"what nbgrader knows of {name} (points or role)", START_AGAIN, repr(sorted(theirs.items()))
                )
            cell["metadata"]["nbgrader"] = copy.deepcopy(ours)
        if not is_locked(official) or cell["source"] == official["source"]:
            return
        # The solved notebook still has its hidden tests; nobody edited those.
        if alike(cell["source"]) != alike(official["source"]):
            self._differs(f"the test {name}", FRESH_CELL, alike(cell["source"]))
            # Whoever merged a test with an answer wrote that answer into it.
            rest = cell["source"].replace(official["source"].strip(), "")
            if defined_names(rest) & frozenset().union(*self.names.values()):
                own = {**copy.deepcopy(official), "id": None, "metadata": {}, "source": rest}
                self.cells.insert(self.cells.index(cell), own)
        cell["source"] = official["source"]

    def _differs(self, what: str, advice: str, text: str) -> None:
        variant = hashlib.sha256(f"{what}\n{text}".encode()).hexdigest()
        problem = f"{what} differs from the release, it was edited or is of an older version"
        self._found(problem, "it was taken from the release", advice, variant=variant)

    def _insert_missing(self) -> None:
        """Put back what is absent of the skeleton, right before what follows it in the release.

        Before the next rather than after the last, so that a test comes after all the code the student wrote for it; but
        an empty answer before all code that may define the same names.
        """
        after: Cell | None = None  # the next cell of the skeleton
        for name, official in reversed(self.skeleton.items()):
            if (present := self._cell(name)) is not None:
                after = present
                continue
            place = len(self.cells) if after is None else next(i for i, cell in enumerate(self.cells) if cell is after)
            if is_locked(official):
                self._found(f"the test {name} is missing", "it was put back from the release", FRESH_CELL)
            elif self._defined_elsewhere(name) and not role(official, "grade"):
                self._found(f"the cell {name} is gone", FOUND_ELSEWHERE, FRESH_CELL)
                continue
            else:
                place = min([place, *self._mentions(name)])
                remedy = "it was put back from the release"
                self._found(f"the answer {name} is missing", remedy, FRESH_CELL, absent=name)
            inserted = copy.deepcopy(official)
            if place == len(self.cells) or self.cells[place] is after:
                after = inserted
            self.cells.insert(place, inserted)

    def _defined_elsewhere(self, name: str) -> bool:
        codes = (cell["source"] for cell in self.cells if cell["cell_type"] == "code")
        return bool(self.names[name]) and any(self.names[name] & defined_names(source) for source in codes)

    def _mentions(self, name: str) -> list[int]:
        """Where the student's code may define what an answer defines."""
        if not self.names[name]:
            return []
        given = {alike(cell["source"]) for cell in self.release}
        return [
            here
            for here, cell in enumerate(self.cells)
            if cell["cell_type"] == "code"
            and alike(cell["source"]) not in given
            and (self.names[name] & words(cell["source"]) or MAY_DEFINE_ANYTHING.search(cell["source"]))
        ]

    def _put_tests_after_answers(self) -> None:
        """A test of what is defined only further down goes below it: the student moved the answer."""
        defined = {id(cell): defined_names(cell["source"]) for cell in self.cells if cell["cell_type"] == "code"}
        answered: frozenset[str] = frozenset()
        for name, official in self.skeleton.items():
            answered |= self.names[name]
            test = self._cell(name)
            if not is_locked(official) or test is None:
                continue
            lacking = answered & words(official["source"])
            place = next(i for i, cell in enumerate(self.cells) if cell is test)
            for cell in self.cells[:place]:
                lacking -= defined.get(id(cell), frozenset())
            last = place
            for here in range(place + 1, len(self.cells)):
                if found := lacking & defined.get(id(self.cells[here]), frozenset()):
                    lacking, last = lacking - found, here
            if last > place:
                self.cells.insert(last, self.cells.pop(place))
                self._found(
                    f"the test {name} stood above its answer", "it was put below it", "move the answer above its tests"
                )
