"""Grading a class: rows, reasons, the journal, the gradebook, a cluster."""

from __future__ import annotations

import errno
import importlib.util
import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from rich.console import Console

from lsdl.grading import GradingError, jail
from lsdl.grading import grade as module
from lsdl.grading.autograder import Result, Verdict
from lsdl.grading.grade import CellMark, Report, Row
from lsdl.grading.html_report import distribution, html_page
from lsdl.grading.journal import Journal
from lsdl.grading.nbgrader_course import open_course
from lsdl.grading.refusals import explained
from lsdl.grading.release import release
from lsdl.grading.terminal_report import score_table

UNSAFE = bool(jail.missing())  # where the sandbox cannot be whole, the rest can still be tested


def grade(week: Path, submissions: Path | None = None, **options: object) -> Report:
    return module.grade(week, submissions, **({"unsafe": UNSAFE} | options))


def cell(notebook: dict, name: str) -> dict:
    return next(c for c in notebook["cells"] if c["metadata"].get("nbgrader", {}).get("grade_id") == name)


def set_source(name: str, source: str) -> Callable[[dict], None]:
    return lambda notebook: cell(notebook, name).update(source=source)


def rows(report: Report) -> dict[str, Row]:
    return {row.student: row for row in report.rows}


@pytest.mark.slow
@pytest.mark.linux
def test_a_class(week: Path, submit: Callable[..., Path], tmp_path: Path) -> None:
    submit("ada")
    submit("bob", set_source("double", "def double(x):\n    return abs(2 * x)"))  # right on the visible test only
    submit("eve", lambda nb: nb["cells"].insert(3, json.loads(json.dumps(cell(nb, "double_value")))))
    submit("gus", set_source("square", "import os\nos._exit(1)"))
    picture = "from PIL import Image\ndisplay(Image.new('1', (30_000, 1_000)))\n"  # 4 kB, and 120 MB in a browser
    folder = submit("max", set_source("square", f"{picture}def square(x):\n    raise KeyError('x')"))
    (folder / "nil" / week.name).mkdir(parents=True)
    (folder / "odd" / week.name).mkdir(parents=True)
    (folder / "odd" / week.name / "homework.ipynb").write_bytes(b"\xff\xfe not a notebook")
    os.symlink(week / "homework.ipynb", folder / "zed.ipynb")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    seen: list[str] = []
    report = grade(week, folder, progress=lambda row, number, total: seen.append(f"{row.student} {number}/{total}"))
    table = rows(report)

    assert sorted(line.split()[0] for line in seen) == sorted(table)
    assert [line.split()[1] for line in seen] == [f"{number}/8" for number in range(1, 9)]
    statuses = {student: (row.status, row.points) for student, row in table.items()}
    assert statuses == {
        "ada": ("ok", 4),
        "bob": ("ok", 1),
        "eve": ("repaired", 4),
        "gus": ("failed", 3),  # what was judged before the kernel ended counts
        "max": ("ok", 3),
        "nil": ("missing", 0),
        "odd": ("failed", 0),
        "zed": ("failed", 0),
    }
    assert all((row.max_points, row.manual_max_points) == (4, 2) for row in table.values())
    assert table["ada"].cells["why"].points is None
    assert table["bob"].cells["double_value"].message == "double of another number is wrong"
    assert table["bob"].cells["square_value"].message == ""
    assert table["max"].cells["square_value"].message == "KeyError: 'x'"
    huge = "it has 30,000 x 1,000 pixels, more than 25,000,000"
    assert table["max"].note == f"A picture that the cell square makes is not shown: {huge}."
    kept = week.parent / "gradebook" / "autograded" / "max" / week.name / "homework.ipynb"
    assert f"[picture not shown: {huge}]" in kept.read_text()
    assert "double_value is there 2 times" in table["eve"].note
    assert "kernel" in table["gus"].note
    assert "UTF-8" in table["odd"].note
    assert "link" in table["zed"].note
    assert before == {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert [row.as_json() for row in grade(week, folder).rows] == [row.as_json() for row in report.rows]
    report.write_json(tmp_path / "marks.json")
    entry = json.loads((tmp_path / "marks.json").read_text())["submissions"][1]
    assert entry["student"] == "bob" and entry["points"] == 1
    assert entry["cells"]["double_value"] == {
        "points": 0,
        "max_points": 3,
        "message": "double of another number is wrong",
    }


@pytest.mark.linux
def test_untouched_release_earns_nothing(week: Path) -> None:
    folder = week.parent / "flat"
    folder.mkdir()
    (folder / "una.ipynb").write_bytes((release(week, check=False) / "homework.ipynb").read_bytes())
    row = grade(week, folder).rows[0]
    assert (row.status, row.points) == ("ok", 0)
    assert row.cells["double_value"].message == "The answer was left empty (NotImplementedError)."
    assert row.cells["why"].points == 0  # nothing was written: nothing to grade by hand


@pytest.mark.linux
def test_a_cell_that_never_ends_costs_that_cell(week: Path, submit: Callable[..., Path]) -> None:
    config = week.parent / "gradebook" / "nbgrader_config.py"
    config.write_text(config.read_text() + "\nc.Execute.timeout = 3\n")
    folder = submit("ivy", set_source("square", "def square(x):\n    while True:\n        pass"))
    row = grade(week, folder).rows[0]
    assert (row.status, row.points) == ("timeout", 3)
    assert row.note == "A cell reached the time limit of 3 s: the cell square_value."
    assert row.cells["square_value"].message == "The cell ran longer than 3 s."


@pytest.mark.linux
def test_nbgrader_goes_on_from_here(week: Path, submit: Callable[..., Path], capfd: pytest.CaptureFixture[str]) -> None:
    """Its own feedback, its list of assignments: what formgrader and `nbgrader export` work with."""
    from lsdl.grading.nbgrader_course import open_course

    grade(week, submit("bob", set_source("double", "def double(x):\n    return abs(2 * x)")))
    assert capfd.readouterr() == ("", "")  # neither nbgrader nor the kernels talk into the report
    api = open_course(week.parent)
    assert api.get_source_assignments() == {week.name}
    assert api.generate_feedback(week.name, "bob")["success"]
    page = (week.parent / "gradebook" / "feedback" / "bob" / week.name / "homework.html").read_text(encoding="utf-8")
    assert "double of another number is wrong" in page and "HIDDEN TESTS" not in page
    with api.gradebook as gradebook:
        assert gradebook.find_submission(week.name, "bob").score == 1


@pytest.mark.linux
def test_enrolled_students_without_a_submission_have_a_row(week: Path, submit: Callable[..., Path]) -> None:
    grade(week, submit("ada"))
    (week.parent / "gradebook" / "submitted").mkdir()
    assert [(row.student, row.status) for row in grade(week).rows] == [("ada", "missing")]


def test_two_at_once_are_refused_and_a_dead_one_stops_nobody(week: Path, submit: Callable[..., Path]) -> None:
    from lsdl.author.course import WeekPaths
    from lsdl.grading.nbgrader_course import one_writer

    folder, paths = submit("ada"), WeekPaths.at(week)
    holds = "import sys; from pathlib import Path; from lsdl.author.course import WeekPaths as W; from lsdl.grading.nbgrader_course import one_writer as o\n"
    holds += "with o(W.at(Path(sys.argv[1]))): print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", holds, str(week)], stdin=-1, stdout=-1) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(
            GradingError, match="Another lsdl grade works in this gradebook: run the same command again"
        ):
            grade(week, folder)
        assert not paths.database.exists()
        other.kill()
    with one_writer(paths):
        pass


def test_a_folder_that_is_not_there(week: Path) -> None:
    with pytest.raises(FileNotFoundError, match="does not exist: give the folder"):
        grade(week, week.parent / "nowhere")


def test_a_folder_without_a_homework(week: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(GradingError, match="has no homework of week97-tiny: give"):
        grade(week, tmp_path / "empty")


@pytest.mark.slow
@pytest.mark.linux
def test_only_what_is_not_finished_runs_again(
    week: Path, submit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[str] = []
    run = module.Workers.run
    monkeypatch.setattr(
        module.Workers, "run", lambda self, jobs: run(self, [ran.append(job.student) or job for job in jobs])
    )

    def grades(**options: object) -> tuple[list[str], dict[str, dict]]:
        ran.clear()
        report = grade(week, folder, **options)
        return list(ran), {row.student: row.as_json() for row in report.rows}

    submit("ada")
    folder = submit("bob", set_source("double", "def double(x):\n    return 0"))
    assert grades(students=["bob"])[0] == ["bob"]
    assert grades()[0] == ["ada"]
    names, first = grades()
    assert names == [] and {row.resumed for row in grade(week, folder).rows} == {True}
    submit("cid", set_source("square", "def square(x):\n    return 0"))
    (folder / "bob" / week.name / "homework.ipynb").write_bytes(
        (folder / "ada" / week.name / "homework.ipynb").read_bytes()
    )
    names, second = grades()
    assert names == ["bob", "cid"]  # a new attempt and a new student
    assert second["ada"] == first["ada"] and second["bob"]["points"] == 4
    assert grades(regrade=True) == (["ada", "bob", "cid"], second)
    assert grades(students=["ada"], regrade=True)[0] == ["ada"]

    (week / "helpers.py").write_text("ANSWER = 43\n")
    assert grades()[0] == ["ada", "bob", "cid"]  # what the kernel sees has changed
    (week.parent / "gradebook" / "gradebook.db").rename(tmp_path / "old.db")
    assert grades()[0] == ["ada", "bob", "cid"]  # the journal alone is no mark
    with pytest.raises(GradingError, match="Nobody is called eve; there is ada, bob, cid"):
        grade(week, folder, students=["eve"])


def test_a_half_written_journal_loses_one_line_only(tmp_path: Path) -> None:
    path = tmp_path / "journal" / "week.jsonl"
    results = [Result(name, {}, Verdict({"a": 1.5, "b": None}, {"a": "why"}), False, 1.0) for name in ("ada", "bob")]
    Journal(path).add("1", results[0])
    path.write_bytes(path.read_bytes() + b'\n{"key": "2", "stud')
    Journal(path).add("3", results[1])
    again = Journal(path)
    assert (again.find("1"), again.find("2"), again.find("3")) == (results[0], None, results[1])


@pytest.mark.linux
def test_attempts_names_and_times_are_said(week: Path, submit: Callable[..., Path]) -> None:
    solved = (submit("ada") / "ada" / week.name / "homework.ipynb").read_bytes()
    folder = week.parent / "lms"
    folder.mkdir()
    with zipfile.ZipFile(folder / "submissions.zip", "w") as file:
        file.writestr("lovelaceada_LATE_12_850_homework.ipynb", "{")
        file.writestr("lovelaceada_LATE_12_900_homework-1.ipynb", solved)
    (folder / "a*b").mkdir()
    (folder / "a*b" / week.name).mkdir()
    (folder / "a*b" / week.name / "homework.ipynb").write_bytes(solved)
    (folder / "a*b" / week.name / "timestamp.txt").write_text("2026-10-01 10:00:00 UTC")
    star, ada = grade(week, folder).rows
    assert (ada.student, ada.status, ada.points) == ("lovelaceada_12", "ok", 4)
    assert ada.older == ("submissions.zip/lovelaceada_LATE_12_850_homework.ipynb",)
    assert "late" in ada.note and "An older attempt does not count: submissions.zip/lovelaceada" in ada.note
    assert star.student.startswith("a_b-") and star.points == 4 and "'a*b'" in star.note
    with open_course(week.parent).gradebook as book:
        times = {item.student_id: item.timestamp for item in book.assignment_submissions(week.name)}
    assert times == {"lovelaceada_12": None, star.student: datetime(2026, 10, 1, 10)}


@pytest.mark.linux
def test_manual_points_are_in_the_report(week: Path, submit: Callable[..., Path]) -> None:
    folder = submit("ada")
    assert grade(week, folder).rows[0].cells["why"].points is None
    with open_course(week.parent).gradebook as book:
        mark = book.find_grade("why", "homework", week.name, "ada")
        mark.manual_score, mark.needs_manual_grade = 1.5, False
        book.db.commit()
    for regrade in (False, True):
        row = grade(week, folder, regrade=regrade).rows[0]
        assert (row.cells["why"].points, row.points) == (1.5, 4)
    (folder / "ada" / week.name / "homework.ipynb").write_text("{")  # a newer attempt, broken
    row = grade(week, folder).rows[0]
    assert row.status == "failed" and "not JSON" in row.note and "still holds the marks of an earlier" in row.note


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            "The disk is full: make room and run the same command again",
        ),
        (RuntimeError("(sqlite3.OperationalError) database or disk is full"), "The disk is full"),
        (RuntimeError("(sqlite3.OperationalError) database is locked"), "Another program is writing the gradebook"),
        (RuntimeError("(sqlite3.OperationalError) attempt to write a readonly database"), "cannot be written"),
    ],
)
def test_trouble_of_the_machine_is_one_sentence(error: Exception, said: str) -> None:
    with pytest.raises(GradingError, match=said), explained():
        raise error


@pytest.mark.linux
def test_trouble_of_the_machine_ends_the_run(
    week: Path, submit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class OperationalError(RuntimeError):
        pass

    def record(self: object, result: object) -> None:
        raise OperationalError("(sqlite3.OperationalError) database is locked")

    # not run: a grader that breaks off ends the warm process, and the next test would start it again
    monkeypatch.setattr(
        module.Workers, "run", lambda self, jobs: (Result(job.student, job.notebook, Verdict()) for job in jobs)
    )
    monkeypatch.setattr(module.GradebookWriter, "record", record)
    with pytest.raises(GradingError, match="Another program is writing the gradebook"):
        grade(week, submit("ada"))


@pytest.mark.linux
def test_what_the_gradebook_refuses_is_a_row(
    week: Path, submit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    submit("ada")
    folder = submit("bob")
    record = module.GradebookWriter.record

    def refuse_ada(self: module.GradebookWriter, result: Result) -> None:
        if result.student == "ada":
            raise ValueError("no such cell")
        record(self, result)

    monkeypatch.setattr(module.GradebookWriter, "record", refuse_ada)
    table = rows(grade(week, folder))
    assert table["ada"].status == "failed" and "The gradebook refused it: ValueError: no such cell" in table["ada"].note
    assert table["bob"].points == 4


@pytest.mark.slow
@pytest.mark.linux
@pytest.mark.parametrize("processes", [False, pytest.param(True, marks=pytest.mark.weekly)])
def test_a_cluster_gives_the_same_marks(week: Path, submit: Callable[..., Path], processes: bool) -> None:
    """Two workers of dask.distributed, reached over TCP; once a week each is a process, which imports torch and all else."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed")
    submit("ada")
    submit("bob", set_source("double", "def double(x):\n    return abs(2 * x)"))
    folder = submit("gus", set_source("square", "import os\nos._exit(1)"))
    options = {"n_workers": 2, "threads_per_worker": 1, "protocol": "tcp", "dashboard_address": ":0"}
    with distributed.LocalCluster(processes=processes, **options) as cluster:
        there = grade(week, folder, scheduler=cluster.scheduler_address)
    here = grade(week, folder, regrade=True)
    assert [row.as_json() for row in there.rows] == [row.as_json() for row in here.rows]
    assert rows(there)["bob"].points == 1


@pytest.mark.linux
def test_no_scheduler_and_no_dask(week: Path, submit: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = submit("ada")
    if importlib.util.find_spec("distributed"):
        monkeypatch.setattr(module, "CONNECT_SECONDS", 0.5)
        with pytest.raises(GradingError, match="No dask scheduler answers at tcp://127.0.0.1:9"):
            grade(week, folder, scheduler="tcp://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(GradingError, match="--scheduler needs dask.distributed: run pip install distributed"):
        grade(week, folder, scheduler="tcp://127.0.0.1:9")


def test_the_page_and_the_terminal(week: Path) -> None:
    """No grading: what a report looks like, and that nothing of it is markup."""
    evil = "<script>alert(1)</script>"
    cells = {"a": CellMark(1, 1), "b": CellMark(0.5, 1, f"[bold]{evil}"), "why": CellMark(None, 2, manual=True)}
    row = Row(evil, "repaired", 2, 2, 1.5, note=evil, cells=cells, unsafe=True)
    lost = Row(
        "bob", "failed", 2, 2, note="The file is not JSON.", cells={n: CellMark(0, 1) for n in ("a", "b", "why")}
    )
    fine = Row(
        "cid", "ok", 2, 2, 2, cells={"a": CellMark(1, 1), "b": CellMark(1, 1), "why": CellMark(2, 2, manual=True)}
    )
    report = Report("week97-tiny", [row, lost, fine], ["the demo key is public"], {evil: ["a", "b"]}, "landlock")
    page = html_page(report)
    assert "<script" not in page and page.count("&lt;script&gt;") >= 4
    assert "These need a person (2)" in page and "To grade by hand: why." in page and "(unsafe)" in page
    assert page.index("The file is not JSON.") < page.index("<h2>Points by task") < page.index("<h2>All students")
    assert "1 students 0 per cent" in page and "1 students to 75 per cent" in page and "1 students 100 per cent" in page
    text = io.StringIO()
    score_table(report, Console(file=text, width=120))
    assert f"[bold]{evil}" in text.getvalue() and "2 need a person" in text.getvalue()
    assert report.rows[0].as_json()["unsafe"] is True and "unsafe" not in report.rows[2].as_json()


@pytest.mark.parametrize(
    ("values", "counts"),
    [([0, 0.1, 1, 1.01, 2], [1, 1, 1, 1, 0, 1]), ([], [0] * 6), ([0.5, 1, 1.5, 1.9999], [0, 1, 1, 1, 1, 0])],
)
def test_distribution(values: list[float], counts: list[int]) -> None:
    assert distribution(values, 2) == counts
