"""What students handed in: find it, read its bytes, say what is wrong with it, and mend what can be mended safely.

A submission is data from a stranger: only the bytes of one notebook are read, no link is followed, nothing is written.
Mending means that the notebook's skeleton comes from the release: a cell that tests is the release's own, so a repair
can change neither an answer nor a test. Students damage notebooks by splitting a cell in two (both halves keep
its name), deleting a test, or editing with a tool that drops metadata; nbgrader then fails the whole notebook, or gives
a silent 0.
"""

from __future__ import annotations

import copy
import json
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_BYTES = 20 * 2**20
# nbgrader reads a student's name as part of a glob and of a format string.
STUDENT_NAME = re.compile(r"\w[\w .,@+'-]*")
HIDDEN_TESTS = re.compile(r"^[^\n]*### BEGIN HIDDEN TESTS.*?### END HIDDEN TESTS.*?$\n?", re.DOTALL | re.MULTILINE)

Notebook = dict[str, Any]
Cell = dict[str, Any]


@dataclass(frozen=True)
class Submission:
    """One student's entry: `path` is None where nothing was handed in."""

    student: str
    path: Path | None


class BadNotebook(ValueError):
    """The submission cannot be graded; the message is a sentence for the instructor, with the mend."""


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a notebook, and what mends it. `repaired` says whether `mend` already did."""

    problem: str
    remedy: str
    repaired: bool

    def __str__(self) -> str:
        return f"{self.problem}: {self.remedy}"


def find_submissions(folder: Path, week: str) -> list[Submission]:
    """The submissions of one week in a folder, sorted by student; who handed in nothing has `path=None`.

    Two forms are understood: nbgrader's `folder/STUDENT/WEEK/homework.ipynb` and the flat `folder/STUDENT.ipynb`.

    Raises:
        FileNotFoundError: `folder` is not a folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: give the folder that holds STUDENT/{week}/homework.ipynb.")
    found: dict[str, Submission] = {}
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.suffix == ".ipynb":
            found.setdefault(entry.stem, Submission(entry.stem, entry))
        elif entry.is_symlink() or entry.is_dir():
            path = entry / week / "homework.ipynb"
            present = entry.is_symlink() or path.parent.is_symlink() or path.is_symlink() or path.exists()
            found[entry.name] = Submission(entry.name, path if present else None)
    return [found[student] for student in sorted(found)]


def read_bytes(submission: Submission, folder: Path) -> bytes:
    """The bytes of the notebook a student handed in.

    Raises:
        BadNotebook: nothing there, a link, not an ordinary file, too large, or a name nbgrader cannot use.
    """
    if not STUDENT_NAME.fullmatch(submission.student):
        raise BadNotebook(f"The name {submission.student!r} has characters nbgrader cannot use: rename the submission.")
    if submission.path is None:
        raise BadNotebook("Nothing was handed in.")
    parts = submission.path.relative_to(folder).parts
    if any(folder.joinpath(*parts[: n + 1]).is_symlink() for n in range(len(parts))):
        raise BadNotebook("The submission is a link, which is never followed: ask for the file itself.")
    # O_NONBLOCK: opening a named pipe must not wait for a writer.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        descriptor = os.open(submission.path, flags)
    except OSError as error:
        raise BadNotebook(f"The notebook cannot be read ({error.strerror}): ask for it again.") from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise BadNotebook("homework.ipynb is not an ordinary file: ask for the notebook itself.")
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise BadNotebook(f"The notebook is larger than {MAX_BYTES >> 20} MB: clear its outputs and hand it in again.")
    return data


def parse(data: bytes) -> Notebook:
    """A notebook from its bytes, with every cell's source as one string.

    Raises:
        BadNotebook: not UTF-8, not JSON, not a notebook, or of a format before 4.
    """
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise BadNotebook("The file is not UTF-8 text: hand in the .ipynb file as Jupyter saved it.") from None
    except (json.JSONDecodeError, RecursionError):
        raise BadNotebook("The file is not JSON: hand in the .ipynb file as Jupyter saved it.") from None
    if isinstance(notebook, dict) and isinstance(notebook.get("worksheets"), list):
        raise BadNotebook("The notebook has the format of 2014: open it in Jupyter, save it, and hand it in again.")
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if notebook_is_wrong(notebook, cells):
        raise BadNotebook("The file is JSON but not a notebook: hand in the .ipynb file as Jupyter saved it.")
    if not cells:
        raise BadNotebook("The notebook has no cells: hand in the notebook that holds the answers.")
    for cell in cells:
        if isinstance(cell["source"], list):
            cell["source"] = "".join(cell["source"])
        if not isinstance(cell.get("metadata"), dict):
            cell["metadata"] = {}
    return notebook


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


def grade_id(cell: Cell) -> str | None:
    """The name nbgrader knows a cell by, or None for an ordinary cell."""
    entry = cell["metadata"].get("nbgrader")
    name = entry.get("grade_id") if isinstance(entry, dict) else None
    return name if isinstance(name, str) else None


def is_locked(cell: Cell) -> bool:
    """Whether a cell of the release is the teacher's: graded or locked, and not the place of an answer."""
    entry = cell["metadata"]["nbgrader"]
    return bool(entry.get("grade") or entry.get("locked")) and not entry.get("solution")


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
    cells: list[Cell] = notebook["cells"]
    known = {grade_id(cell): cell for cell in release["cells"] if grade_id(cell)}
    findings: list[Finding] = []

    def found(problem: str, remedy: str) -> None:
        findings.append(Finding(problem, remedy, repaired=True))

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
            found(f"{name} is there {len(places)} times", "one was kept as that cell, the code of answers stays")
            places = [keep]
        if places:
            cell = cells[places[0]]
            if cell["cell_type"] != official["cell_type"]:
                found(f"{name} was turned into a {cell['cell_type']} cell", "it was turned back")
                cells[places[0]] = {**copy.deepcopy(official), "source": cell["source"]}
            elif cell["metadata"]["nbgrader"] != official["metadata"]["nbgrader"]:
                # Checksums differ by nbgrader's version; only what decides grading is worth a remark.
                ours, theirs = official["metadata"]["nbgrader"], cell["metadata"]["nbgrader"]
                if any(ours.get(key) != theirs.get(key) for key in ("grade", "solution", "locked", "points")):
                    found(f"the metadata of {name} was changed", "it was taken from the release")
                cell["metadata"]["nbgrader"] = copy.deepcopy(ours)
            if is_locked(official) and cells[places[0]]["source"] != official["source"]:
                # The solved notebook still has its hidden tests; nobody edited those.
                if HIDDEN_TESTS.sub("", cells[places[0]]["source"]).strip() != official["source"].strip():
                    found(f"the test {name} was edited", "it was taken from the release")
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
            found(f"{name} had lost its metadata", "it was recognised and marked again")


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
        found(f"the {kind} {name} is missing", "it was put back from the release")
