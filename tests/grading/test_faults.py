"""Broken notebooks, a grader that is killed at each of its steps, a full disk: a row with a reason, and no mark lost or doubled."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from lsdl.grading import GradingError, jail
from lsdl.grading import grade as module
from lsdl.grading.autograder import Job, Result
from lsdl.grading.grade import Report, grade

UNSAFE = bool(jail.missing())


def graded_cell(notebook: dict, name: str) -> dict:
    return next(c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == name)


def strip(notebook: dict) -> None:
    for cell in notebook["cells"]:
        cell["metadata"] = {}


def strip_without_ids(notebook: dict) -> None:
    strip(notebook)
    notebook["nbformat_minor"] = 4
    for cell in notebook["cells"]:
        del cell["id"]


def old_format(notebook: dict) -> None:
    notebook["nbformat_minor"] = 0
    for cell in notebook["cells"]:
        del cell["id"]


def megabyte(notebook: dict) -> None:
    notebook["cells"].insert(1, {"cell_type": "markdown", "id": "long", "metadata": {}, "source": "word " * 200_000})


def without(name: str) -> Callable[[dict], None]:
    return lambda notebook: notebook["cells"].remove(graded_cell(notebook, name))


def twice(name: str) -> Callable[[dict], None]:
    return lambda notebook: notebook["cells"].append(json.loads(json.dumps(graded_cell(notebook, name))))


def as_markdown(name: str) -> Callable[[dict], None]:
    return lambda notebook: graded_cell(notebook, name).update(cell_type="markdown")


def hashes(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Content, mode and time of every file that was handed in."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        state = path.stat()
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[path.relative_to(folder).as_posix()] = (content, state.st_mode, state.st_mtime_ns)
    return found


def as_json(report: Report) -> list[dict]:
    return [row.as_json() for row in report.rows]


@pytest.mark.slow
@pytest.mark.linux
def test_every_broken_notebook(week: Path, submit: Callable[..., Path]) -> None:
    """All in one class, graded twice: each is a row, the marks are the same, nothing handed in is changed."""
    repaired = {
        "deleted answer": without("square"),
        "deleted test": without("double_value"),
        "markdown answer": as_markdown("double"),
        "markdown test": as_markdown("double_value"),
        "stripped": strip,
        "twice": twice("double_value"),
    }
    fine = {"megabyte": megabyte, "old format": old_format, "solved": lambda notebook: None}
    for student, change in (repaired | fine).items():
        folder = submit(student, change)
    solved = (folder / "solved" / week.name / "homework.ipynb").read_text()
    broken = {
        "empty": b"",
        "half": solved[: len(solved) // 2].encode(),
        "list": b"[]",
        "no cells": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}',
        "not JSON": b"# A notebook",
        "not UTF-8": "é".join(solved).encode("latin-1"),
        "of 2014": b'{"nbformat": 3, "worksheets": [{"cells": []}], "metadata": {}}',
        "utf-16": solved.encode("utf-16"),
    }
    for student, data in broken.items():
        (folder / f"{student}.ipynb").write_bytes(data)
    (folder / "missing file" / week.name).mkdir(parents=True)
    before = hashes(folder)

    first = grade(week, folder, unsafe=UNSAFE)
    table = {row.student: row for row in first.rows}
    assert table.keys() == repaired.keys() | fine.keys() | broken.keys() | {"missing file"}
    for student in repaired:
        # Without the answer `square` its stub is put back: one point less.
        points = 3 if student == "deleted answer" else 4
        assert (table[student].status, table[student].points) == ("repaired", points), (student, table[student].note)
    for student in fine:
        assert (table[student].status, table[student].points) == ("ok", 4), (student, table[student].note)
    for student in broken:
        assert (table[student].status, table[student].points) == ("failed", 0) and table[student].note, student
        assert set(table[student].cells) == set(table["solved"].cells)
    assert table["missing file"].status == "missing"

    assert as_json(grade(week, folder, unsafe=UNSAFE, regrade=True)) == as_json(first)
    assert hashes(folder) == before


# Each point is a process of its own that is killed at its first passage; what it had finished must stay, and nothing be there
# twice. The packages are imported once. Unless told otherwise the results come from an earlier run: recording is what is tested.
CHILD = """
import json, os, pickle, shutil, signal, sys
from pathlib import Path

import nbgrader.apps.api
import sqlalchemy
import lsdl.grading.release as release
from lsdl.author import references
from lsdl.grading import grade as module
from lsdl.grading.journal import Journal

week, folder, results, unsafe, *points = sys.argv[1:]
week, folder, unsafe = Path(week), Path(folder), unsafe == "True"


class Recorded:
    def __init__(self, jobs, *, unsafe=False):
        pass

    def run(self, jobs):
        known = pickle.loads(Path(results).read_bytes())
        yield from (known[job.student] for job in jobs)


def die(*_, **__):
    import psutil

    print("pids", *(child.pid for child in psutil.Process().children(recursive=True)), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def after(function):
    def run(*arguments, **options):
        function(*arguments, **options)
        die()

    return run


def in_commit(number):
    # Dies right before the nth time that nbgrader writes into the database for one submission.
    from sqlalchemy.orm import Session

    record, commit, seen = module.GradebookWriter.record, Session.commit, [None]

    def counted(self):
        if seen[0] is not None:
            seen[0] += 1
            if seen[0] == number:
                die()
        commit(self)

    def run(self, result):
        seen[0] = 0
        record(self, result)
        seen[0] = None

    Session.commit, module.GradebookWriter.record = counted, run


def half_a_line(self, key, result):
    self.path.parent.mkdir(exist_ok=True)
    with self.path.open("ab") as file:
        file.write(b'\\n{"key": "' + key.encode() + b'", "stud')
    die()


def in_report(replace):
    return lambda new, old: die() if str(old).endswith(".rows.json") else replace(new, old)


def run(point):
    if point == "release":
        release.shutil.copytree = die
    elif point == "rows":
        module._GradingRun.results = die
    elif point == "result":
        module.GradebookWriter.record = die
    elif point.startswith("commit"):
        in_commit(int(point.removeprefix("commit")))
    elif point == "recorded":
        module.GradebookWriter.record = after(module.GradebookWriter.record)
    elif point == "half a line":
        Journal.add = half_a_line
    elif point == "journal":
        Journal.add = after(Journal.add)
    elif point == "file":
        os.replace = die
    elif point == "report":
        os.replace = in_report(os.replace)
    report = module.grade(week, folder, unsafe=unsafe)
    report.write_json(week.parent / "marks.json")
    print("resumed", *(row.student for row in report.rows if row.resumed), flush=True)


references.prepare_hidden_references = lambda week, key=None: []
no_wait = "PRAGMA synchronous = OFF"  # what dies here is a process, not the machine
sqlalchemy.event.listen(sqlalchemy.Engine, "connect", lambda connection, _: connection.execute(no_wait))
if results:
    module.Workers = Recorded
for point in points:
    pid = os.fork()
    if pid == 0:
        run(point)
        os._exit(0)
    print(point, os.waitpid(pid, 0)[1], flush=True)
"""
POINTS = (
    "release",
    "rows",
    "result",
    "commit2",
    "commit5",
    "recorded",
    "half a line",
    "journal",
    "commit7",
    "journal",
    "file",
    "report",
)


def scores(root: Path) -> dict[tuple[str, str], tuple[float | None, float | None, int]]:
    """All marks in the gradebook; fails if one is there twice or the file is damaged."""
    with sqlite3.connect(root / "gradebook" / "gradebook.db") as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("PRAGMA foreign_key_check").fetchall() == []
        rows = database.execute(
            "SELECT submitted_assignment.student_id, base_cell.name, auto_score, manual_score, needs_manual_grade "
            "FROM grade JOIN submitted_notebook ON grade.notebook_id = submitted_notebook.id "
            "JOIN submitted_assignment ON submitted_notebook.assignment_id = submitted_assignment.id "
            "JOIN base_cell ON grade.cell_id = base_cell.id"
        ).fetchall()
    found = {(student, cell): tuple(marks) for student, cell, *marks in rows}
    assert len(found) == len(rows)
    return found


@pytest.fixture
def a_class(week: Path, submit: Callable[..., Path]) -> Path:
    """Four who hand in, one of them wrong on hidden inputs, and a broken file."""

    def wrong(notebook: dict) -> None:
        graded_cell(notebook, "double")["source"] = "def double(x):\n    return abs(2 * x)"

    submit("ada")
    submit("bob", wrong)
    submit("cid", twice("square_value"))
    folder = submit("dan")
    (folder / "eve.ipynb").write_text("{")
    return folder


Expected = tuple[list[dict], dict[tuple[str, str], tuple[float | None, float | None, int]], dict[str, Result]]


def undisturbed(week: Path, folder: Path, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Expected:
    """The same class in a course of its own, graded in one go: rows, gradebook, results of the workers."""
    shutil.copytree(week.parent, scratch)
    results = {}
    run = module.Workers.run

    def keep(self: module.Workers, jobs: list[Job]) -> Iterator[Result]:
        for result in run(self, jobs):
            results[result.student] = result
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(module.Workers, "run", keep)
        report = grade(scratch / week.name, scratch / folder.name, unsafe=UNSAFE)
    return as_json(report), scores(scratch), results


def run_child(week: Path, folder: Path, results: Path | str, *points: str) -> str:
    command = [sys.executable, "-c", CHILD, str(week), str(folder), str(results), str(UNSAFE), *points]
    done = subprocess.run(command, capture_output=True, text=True, timeout=580, cwd=week.parent)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.linux
def test_killed_at_each_step_and_resumed(
    week: Path, a_class: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, expected_scores, results = undisturbed(week, a_class, tmp_path / "undisturbed", monkeypatch)
    handed_in = hashes(a_class)
    (tmp_path / "results").write_bytes(pickle.dumps(results))
    said = run_child(week, a_class, tmp_path / "results", *POINTS, "none").splitlines()
    ends = [line.rpartition(" ")[::2] for line in said if not line.startswith(("pids", "resumed"))]
    assert ends == [(point, str(int(signal.SIGKILL))) for point in POINTS] + [("none", "0")]
    assert "resumed ada bob cid dan" in said  # the last one had nothing left to run

    assert json.loads((week.parent / "marks.json").read_text())["submissions"] == expected
    assert scores(week.parent) == expected_scores
    assert hashes(a_class) == handed_in


@pytest.mark.slow
@pytest.mark.linux
def test_killed_while_students_code_runs(week: Path, submit: Callable[..., Path]) -> None:
    submit("ada")
    folder = submit("bob")
    said = run_child(week, folder, "", "result").splitlines()
    assert said[-1] == f"result {int(signal.SIGKILL)}"
    left = [int(pid) for pid in said[-2].split()[1:]]
    until = time.monotonic() + 20
    while (alive := [pid for pid in left if psutil.pid_exists(pid)]) and time.monotonic() < until:
        time.sleep(0.5)
    assert not alive, f"{len(alive)} of {len(left)} processes outlive the killed grader"
    assert [(row.student, row.points) for row in grade(week, folder, unsafe=UNSAFE).rows] == [("ada", 4), ("bob", 4)]
    assert len(scores(week.parent)) == 6


@pytest.fixture
def small_disk(week: Path) -> Iterator[Path]:
    """gradebook/ of the tiny course on a file system of 24 MB of its own."""
    place = week.parent / "gradebook"
    files = {path.name: path.read_bytes() for path in place.iterdir() if path.is_file()}
    command = ["mount", "-t", "tmpfs", "-o", "size=24m,mode=755", "tmpfs", str(place)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
        refused = done.stderr.strip() if done.returncode else ""
    except FileNotFoundError:
        refused = "there is no mount"
    if refused:
        pytest.skip(f"no file system of our own can be mounted here: {refused}")
    try:
        for name, data in files.items():
            (place / name).write_bytes(data)
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.mark.slow
@pytest.mark.linux
def test_a_full_disk_is_said_and_nothing_is_lost(
    week: Path, a_class: Path, tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, expected_scores, results = undisturbed(week, a_class, tmp_path / "undisturbed", monkeypatch)
    monkeypatch.setattr(module.Workers, "run", lambda self, jobs: (results[job.student] for job in jobs))
    said = []
    filler = small_disk / "filler"
    for free in (0, 24, 200, 330):  # kilobytes: not even the release; no database; some of the class
        filler.unlink(missing_ok=True)
        room = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_frsize
        with filler.open("wb") as file:
            file.write(b"x" * max(0, room - 1024 * free))
        try:
            grade(week, a_class, unsafe=UNSAFE)
        except GradingError as error:
            said.append(str(error))
    assert said and all("The disk is full: make room and run the same command again" in text for text in said), said
    filler.unlink()
    assert as_json(grade(week, a_class, unsafe=UNSAFE)) == expected
    assert scores(week.parent) == expected_scores
