"""`lsdl selftest`: honest, odd and hostile hand-ins of the demonstration week, graded on this machine; what held and what did not.

The hostile ones are those of tests/submissions: its README.md says what their first lines mean. All of it happens in a
temporary course; the gradebook of the class is not touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from textwrap import shorten
from typing import TYPE_CHECKING, Any

from lsdl.cells import grade_id, scored_cells
from lsdl.grading import GradingError
from lsdl.grading.autograder import close_zygotes
from lsdl.grading.demo import first_unit_mistake, with_mistake
from lsdl.grading.grade import Row, grade
from lsdl.grading.points import plain
from lsdl.grading.release import release
from lsdl.intake import Notebook, parse
from lsdl.printable import printable

if TYPE_CHECKING:
    from rich.console import Console

CELL_SECONDS = 30
WIDTH = 90  # of what a case is, in the table
HONEST, ODD, HOSTILE = "honest", "odd", "hostile"


@dataclass(frozen=True)
class Case:
    """One hand-in and what should come of it.

    Attributes:
        what: a few words for the table.
        data: the file's bytes.
        status: that of its row.
        lost: the graded cells that must have no points; all others must have theirs.
    """

    name: str
    kind: str
    what: str
    data: bytes
    status: str = "ok"
    lost: frozenset[str] = frozenset()

    def fault(self, row: Row | None, outputs: str) -> str:
        """What did not hold, a sentence; empty if all did.

        Args:
            row: the hand-in's, None if it has none.
            outputs: everything that its notebook printed.
        """
        if row is None:
            return "it has no row"
        if self.kind == HOSTILE and "BREACH" in outputs:
            return f"it got through: {outputs[outputs.index('BREACH') :][:200]}"
        if self.kind == HOSTILE and "TRIED" not in outputs:
            return f"it did not come to its attack: try again when the machine is less busy. Its row: {row.note or row.status}"
        # On a busy machine an attack can reach the time limit. It then loses points, and must only not win any.
        stopped = self.kind == HOSTILE and row.status == "timeout"
        if row.status != self.status and not stopped:
            return f"its status is {row.status}, not {self.status}: {row.note}"
        for name, mark in row.cells.items():
            wanted = 0 if name in self.lost else mark.max_points
            if not mark.manual and mark.points != wanted and not (stopped and mark.points == 0):
                return f"{name} has {plain(mark.points or 0)} points, not {plain(wanted)}: {mark.message or 'no reason given'}"
        return ""


def selftest(
    root: Path, console: Console, *, jobs: int = 1, unsafe: bool = False, only: Collection[str] = ()
) -> list[tuple[Case, str]]:
    """Grade the set, print a table, and return each case with what did not hold ("" where all did).

    Args:
        root: the course's repository; its tests/ has the demonstration week and the hostile hand-ins.
        jobs: hand-ins at a time.
        unsafe: run where the sandbox cannot be whole; what it then lacks does not hold.
        only: the names of some cases (default: all).

    Raises:
        GradingError: the repository lacks the set.
        JailError: this machine cannot enforce the whole sandbox, and `unsafe` is not set.
    """
    fixtures, attacks = root / "tests" / "fixtures" / "course", root / "tests" / "submissions"
    if not fixtures.is_dir() or not attacks.is_dir():
        raise GradingError(
            f"{root}/tests lacks the set of hand-ins: run lsdl selftest in a whole clone of the repository."
        )
    with tempfile.TemporaryDirectory(prefix="lsdl-selftest-") as scratch, contextlib.ExitStack() as stack:
        base = Path(scratch)
        course, folder = base / "course", base / "submissions"
        shutil.copytree(fixtures, course)
        config = course / "gradebook" / "nbgrader_config.py"
        shutil.copy(root / "gradebook" / "nbgrader_config.py", config)
        config.write_text(
            config.read_text(encoding="utf-8") + f"\nc.Execute.timeout = {CELL_SECONDS}\n", encoding="utf-8"
        )
        week = next(course.glob("week*"))
        names = stack.enter_context(targets(base, week, folder))
        cases = [case for case in _cases(week, attacks, names) if not only or case.name in only]
        for case in cases:
            target = folder / case.name / week.name
            target.mkdir(parents=True)
            (target / "homework.ipynb").write_bytes(case.data)
        # Kernels that began before this have another scratch folder, and none of these should serve a class.
        close_zygotes()
        stack.callback(close_zygotes)
        console.print(
            f"{len(cases)} hand-ins; this takes minutes, a limit of {CELL_SECONDS} s is tried, too.", highlight=False
        )
        report = grade(week, folder, jobs=jobs, unsafe=unsafe, progress=_progress(console))
        rows = {row.student: row for row in report.rows}
        found = [(case, case.fault(rows.get(case.name), outputs_of(week, case.name))) for case in cases]
        connected = names["CONNECTED"]
    if connected:
        found = [
            (case, fault or "a process outside got its connection") if case.name == "network" else (case, fault)
            for case, fault in found
        ]
    _show(found, console, report.sandbox)
    return found


def _cases(week: Path, attacks: Path, names: dict[str, Any]) -> Iterator[Case]:
    solved = parse((week / "homework.ipynb").read_bytes())
    released = (release(week, check=False) / "homework.ipynb").read_bytes()
    graded = frozenset(cell.name for cell in scored_cells(parse(released)["cells"]) if not cell.manual)
    mistake = first_unit_mistake(week)
    yield Case("solved", HONEST, "all right", _dumped(solved))
    yield Case("untouched", HONEST, "the student version as it was", released, lost=graded)
    wrong = _dumped(with_mistake(solved, mistake))
    yield Case(
        "mistaken", HONEST, f"a known mistake in {', '.join(mistake.replaces)}", wrong, lost=frozenset(mistake.fails)
    )

    def without_a_test(notebook: Notebook) -> None:
        notebook["cells"] = [cell for cell in notebook["cells"] if grade_id(cell) != min(graded)]

    def twice(notebook: Notebook) -> None:
        cell = next(cell for cell in notebook["cells"] if grade_id(cell) == min(graded))
        notebook["cells"].append(cell | {"id": "a-copy"})

    def easy_tests(notebook: Notebook) -> None:
        for cell in notebook["cells"]:
            if grade_id(cell) in graded:
                cell["source"] = "pass"

    yield Case("test-deleted", ODD, "a test is gone", _changed(solved, without_a_test), "repaired")
    yield Case("test-doubled", ODD, "a test is there twice", _changed(solved, twice), "repaired")
    yield Case("tests-edited", ODD, "all tests are replaced by `pass`", _changed(solved, easy_tests), "repaired")
    yield Case("not-json", ODD, "half a file", _dumped(solved)[:500], "failed", graded)
    yield Case("another-notebook", ODD, "no cell of the homework", _dumped(_other()), "failed", graded)
    for path in sorted(attacks.glob("*.py")):
        text = path.read_text(encoding="utf-8")
        notebook = json.loads(json.dumps(solved))
        for cell in notebook["cells"]:
            if grade_id(cell) == header(text, "cell"):
                cell["source"] = Template(text).safe_substitute(names)
        lost = frozenset(header(text, "points").split())
        what = _about(text) or path.stem.replace("_", " ")
        yield Case(path.stem, HOSTILE, what, _dumped(notebook), header(text, "status") or "ok", lost)


@contextlib.contextmanager
def targets(base: Path, week: Path, folder: Path, other: str = "solved") -> Iterator[dict[str, Any]]:
    """What hostile hand-ins look for, by its name in their texts; CONNECTED lists who was reached.

    Args:
        base: a folder for what is nobody's.
        week: the week that is graded.
        folder: where the hand-ins lie.
        other: the student whose hand-in others look for.
    """
    secret = base / "secret"
    secret.write_text("a secret", encoding="utf-8")
    course, connected = week.parent, []
    tcp, by_path = socket.socket(socket.AF_INET), socket.socket(socket.AF_UNIX)
    abstract = f"lsdl-selftest-{secrets.token_hex(8)}"  # a thread that still waits keeps the last one
    by_name = socket.socket(socket.AF_UNIX)
    for one, address in ((tcp, ("127.0.0.1", 0)), (by_path, str(base / "socket")), (by_name, f"\0{abstract}")):
        one.bind(address)
        one.listen()
        threading.Thread(target=_accept, args=(one, connected), daemon=True).start()
    try:
        yield {
            "HIDDEN": course / "gradebook" / "references" / f"{week.name}.safetensors",
            "GRADEBOOK": course / "gradebook" / "gradebook.db",
            "OTHER": folder / other / week.name / "homework.ipynb",
            "SOLUTIONS": week / "homework.ipynb",
            "CASES": week / "instructor" / "cases.py",
            "COURSE": course,
            "SECRET": secret,
            "SUBMISSIONS": folder,
            "PORT": tcp.getsockname()[1],
            "SOCKET": base / "socket",
            "ABSTRACT": abstract,
            "GRADER": os.getpid(),
            "CONNECTED": connected,
        }
    finally:
        for one in (tcp, by_path, by_name):
            one.close()


def _accept(one: socket.socket, connected: list[str]) -> None:
    with contextlib.suppress(OSError):  # closed at the end
        connected.append(str(one.accept()[1]))


def _about(text: str) -> str:
    """The first sentence of the comment at the top of a hostile hand-in, without the lines that say where it goes."""
    lines = text.splitlines()
    top = lines[: next((n for n, line in enumerate(lines) if not line.startswith("#")), len(lines))]
    words = " ".join(line[1:].strip() for line in top if not re.match(r"# \w+:", line))
    return shorten(words.partition(". ")[0].rstrip(".:"), WIDTH, placeholder=" ...")


def header(text: str, key: str) -> str:
    """What the comment at the top of a hostile hand-in says of itself, such as its `cell`; "" if nothing."""
    found = re.search(rf"^# {key}:(.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _changed(notebook: Notebook, change: Callable[[Notebook], None]) -> bytes:
    copy: Notebook = json.loads(json.dumps(notebook))
    change(copy)
    return _dumped(copy)


def _dumped(notebook: Notebook) -> bytes:
    return json.dumps(notebook).encode()


def _other() -> Notebook:
    cell = {"cell_type": "markdown", "id": "notes", "metadata": {}, "source": "# My notes"}
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]}


def outputs_of(week: Path, student: str) -> str:
    """All outputs of a graded notebook as one text; "" if there is none."""
    path = week.parent / "gradebook" / "autograded" / student / week.name / "homework.ipynb"
    if not path.is_file():
        return ""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return json.dumps([cell.get("outputs", []) for cell in cells])


def _progress(console: Console) -> Callable[[Row, int, int], None]:
    def progress(row: Row, number: int, total: int) -> None:
        console.print(f"[{number}/{total}] {row.student}", markup=False, highlight=False)

    return progress


def _show(found: list[tuple[Case, str]], console: Console, sandbox: str) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("", "hand-in", "what it is", "held")
    for case, fault in found:
        held = Text("NO", "bold red") if fault else Text("yes", "green")
        table.add_row(case.kind, case.name, Text(case.what), held)
    console.print(table)
    for case, fault in found:
        if fault:
            console.print(Text(printable(f"{case.name} did not hold: {fault}.")))
    console.print(Text(f"Sandbox: {sandbox}"))
    held = sum(not fault for _, fault in found)
    end = "" if held == len(found) else " Do not grade a class on this machine before that is mended."
    console.print(f"{held} of {len(found)} held.{end}", highlight=False)
