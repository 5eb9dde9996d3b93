"""What is wrong with a homework before it is handed in: `lsdl doctor homework.ipynb`, one line each with the mend.

A competition's `predictions.csv` is examined, too. This is the whole `lsdl` command of the student's tree; `python -m lsdl.doctor homework.ipynb` is the same. The notebook
is compared with homeworks.json beside this file, which `lsdl publish` writes from the released homeworks, and it is read
with intake.py as the grader reads it. Only the standard library is needed.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lsdl.at_home import differences
from lsdl.cells import grade_id, is_locked
from lsdl.intake import MAX_BYTES, BadNotebook, Notebook, mend, parse
from lsdl.predictions import examine as problems_of
from lsdl.recognise import likeness

HOMEWORKS = Path(__file__).with_name("homeworks.json")
# what nbgrader leaves in a released answer
EMPTY = {"code": "raise NotImplementedError()", "markdown": "YOUR ANSWER HERE"}


@dataclass(frozen=True)
class Diagnosis:
    """One line of the doctor: `level` is "ok", "note" (works, could be better) or "problem"."""

    level: str
    line: str


def skeleton(released: Notebook, required_cells: Sequence[str] = ()) -> Notebook:
    """What the doctor has to know of a parsed student version: all its cells, and which of them must not be missing."""
    cells = [{key: cell[key] for key in ("cell_type", "id", "metadata", "source")} for cell in released["cells"]]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {"required_cells": list(required_cells)}, "cells": cells}


def examine(name: str, data: bytes, homeworks: Mapping[str, Notebook]) -> list[Diagnosis]:
    """What would keep a notebook from being graded as it is.

    Args:
        name: what the lines call the notebook.
        data: its bytes.
        homeworks: the `skeleton` of each released homework, by week; the one counts that the notebook resembles most.
    """
    try:
        notebook = parse(data)
        cells = notebook["cells"]
        week = max(homeworks, key=lambda week: likeness(cells, homeworks[week]["cells"]), default=None)
        if week is None or likeness(cells, homeworks[week]["cells"]) == 0:
            line = (
                "No cell of the notebook is one of a homework of this course: is it the seminar, or another notebook?"
            )
            return [Diagnosis("problem", line)]
        mended, findings = mend(notebook, homeworks[week])
    except BadNotebook as error:
        return [Diagnosis("problem", str(error))]
    found = []
    old = json.loads(data.decode("utf-8-sig")).get("nbformat_minor")
    if old in range(5):
        line = f"The notebook has the old format 4.{old}: open it in a newer Jupyter and save it."
        found.append(Diagnosis("note", f"{line} The grader also does this by itself."))
    found += [Diagnosis("problem", f"{finding.problem}: {finding.advice}.") for finding in findings]
    found += _syntax_errors(mended)
    empty, required = _empty_answers(mended), homeworks[week]["metadata"].get("required_cells", [])
    for cell in required:
        if cell in empty:
            found.append(Diagnosis("problem", f"{cell} is still empty: without it the whole homework counts 0."))
    if others := [cell for cell in empty if cell not in required]:
        found.append(Diagnosis("note", f"Still empty, and without points like that: {', '.join(others)}."))
    given = homeworks[week]["cells"]
    found += [Diagnosis("note", line) for line in differences(mended["cells"], given)]
    if not any(diagnosis.level == "problem" for diagnosis in found):
        found.append(Diagnosis("ok", f"{name}: every cell of the homework of {week} is there"))
    return found


def examine_predictions(path: Path) -> list[Diagnosis]:
    """What would keep a competition's predictions.csv from being scored.

    Raises:
        OSError: the file cannot be read.
    """
    problems, notes = problems_of(path)
    found = [Diagnosis("problem", line) for line in problems] + [Diagnosis("note", line) for line in notes]
    return found if problems else [*found, Diagnosis("ok", f"{path.name}: every picture has a class")]


def _syntax_errors(notebook: Notebook) -> list[Diagnosis]:
    """A line for each code cell that Python cannot read, so that nothing of it runs."""
    found = []
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] == "code" and not is_locked(cell) and (why := syntax_error(cell["source"])):
            which = grade_id(cell) or f"cell {number}"
            found.append(Diagnosis("problem", f"{which} has a syntax error, so nothing of it runs: {why}."))
    return found


def syntax_error(source: str) -> str | None:
    """What Python cannot read in a cell and where; None if it can, or if the line is one of IPython's own."""
    if source.lstrip().startswith("%%"):
        return None
    lines = source.splitlines()
    plain = "\n".join(re.sub(r"^(\s*)[%!].*$", r"\1pass", line) for line in lines)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
            compile(plain, "cell", "exec", flags=flags, dont_inherit=True)
    except SyntaxError as error:
        at = (error.lineno or 1) - 1
        line = lines[at].strip() if 0 <= at < len(lines) else ""
        if re.search(r"^\?|\?$|=\s*[!%]", line):  # IPython's help and its shell
            return None
        return f"{error.msg} in its line {at + 1}" + (f", {line[:60]!r}" if line else "")
    except (ValueError, RecursionError, MemoryError):
        return "it cannot be read"
    return None


def _empty_answers(notebook: Notebook) -> list[str]:
    """The names of the answers in which what nbgrader put there still stands."""
    return [
        grade_id(cell)
        for cell in notebook["cells"]
        if grade_id(cell) and not is_locked(cell) and EMPTY.get(cell["cell_type"], "\0") in cell["source"]
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command. Returns 0 if all is well, 1 if a problem was found, 2 if there is no such file."""
    parser = argparse.ArgumentParser(prog="lsdl", description="The course's command for students.")
    commands = parser.add_subparsers(dest="command", required=True)
    about = "Say what is wrong with a homework before you hand it in; nothing is changed."
    doctor = commands.add_parser("doctor", help=about, description=about, epilog="Example: lsdl doctor homework.ipynb")
    doctor.add_argument("notebook", type=Path, help="the notebook, or the predictions.csv of a competition")
    path = parser.parse_args(arguments).notebook
    if path.suffix.lower() == ".csv":
        return _say_predictions(path)
    try:
        homeworks = json.loads(HOMEWORKS.read_text(encoding="utf-8"))
    except FileNotFoundError:
        print(f"{HOMEWORKS} is missing: only the student's tree has it; instructors run lsdl doctor.", file=sys.stderr)
        return 2
    try:
        size = path.stat().st_size
        data = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        print(f"{path} cannot be read ({error.strerror}): give the path of a notebook.", file=sys.stderr)
        return 2
    if size > MAX_BYTES:
        line = f"The notebook has {size / 2**20:.0f} MB, at most {MAX_BYTES >> 20} are taken: clear its outputs and save it."
        found = [Diagnosis("problem", line)]
    else:
        found = examine(path.name, data, homeworks)
    return _say(found)


def _say_predictions(path: Path) -> int:
    try:
        return _say(examine_predictions(path))
    except OSError as error:
        print(f"{path} cannot be read ({error.strerror}): give the path of a predictions.csv.", file=sys.stderr)
        return 2


def _say(found: Sequence[Diagnosis]) -> int:
    for diagnosis in found:
        print(f"{diagnosis.level:<7} {diagnosis.line}")
    return int(any(diagnosis.level == "problem" for diagnosis in found))


def command() -> None:
    """Entry point of the student's `lsdl` script."""
    sys.exit(main())


if __name__ == "__main__":
    sys.exit(main(["doctor", *sys.argv[1:]]))
