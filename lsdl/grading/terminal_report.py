"""A grading report for a terminal: a line while it runs, then the table and the explanations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import fmean

from rich.console import Console
from rich.padding import Padding
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from lsdl.grading.grade import Report, Row
from lsdl.grading.hand_ins import Plan

STYLE = {"ok": "green", "repaired": "yellow", "failed": "red", "timeout": "red", "missing": "dim"}


def show_progress(console: Console) -> Callable[[Row, int, int], None]:
    """A `progress` for `grade` that prints one line per submission as soon as it is graded."""

    def progress(row: Row, number: int, total: int) -> None:
        line = f"[{number}/{total}] {row.student}: {row.status}, {row.points:g} of {row.max_points:g} points"
        line += ", from an earlier run" if row.resumed else ""
        console.print(line, markup=False, highlight=False)

    return progress


@contextmanager
def live_progress(console: Console, week: str) -> Iterator[Callable[[Row, int, int], None]]:
    """Like `show_progress`, with a bar and the time left below the lines where `console` is a terminal."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    say = show_progress(console)
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(week, total=None)

        def progress(row: Row, number: int, total: int) -> None:
            say(row, number, total)
            bar.update(task, completed=number, total=total)

        yield progress


def plan_table(plan: Plan, console: Console) -> None:
    """Print whose file is whose, and who of the class list and of the export is not in the other."""
    table = Table(title="what would be graded")
    table.add_column("student", overflow="fold")
    table.add_column("file", overflow="fold")
    for student, file in plan.files.items():
        mark = "" if student not in plan.not_listed else " (not on the class list)"
        table.add_row(Text(student + mark), Text("\n".join([file, *plan.notes.get(student, [])])))
    console.print(table)
    for note in plan.notes.get("", []):
        console.print(Text(note, "yellow"))
    if not plan.listed:
        console.print("There is no class list: cd gradebook && nbgrader db student import students.csv", soft_wrap=True)
    for what, names in (
        ("On the class list without a file", plan.without_file),
        ("With a file, but not on the class list", plan.not_listed),
    ):
        if names:
            console.print(Text(f"{what} ({len(names)}): {', '.join(names)}"), soft_wrap=True)
    if plan.not_listed:
        line = "Say who they are in a table with the columns name (as above) and student (as on the list): --names FILE"
        console.print(line, soft_wrap=True)


def summary(report: Report) -> str:
    """One line: how many submissions have which status, how many a person has to look at, and the mean."""
    counts = Counter(row.status for row in report.rows)
    words = [f"{counts[status]} {status}" for status in STYLE if counts[status]]
    waiting = sum(row.needs_a_person for row in report.rows)
    handed_in = [row for row in report.rows if row.status != "missing"]
    mean = f"; mean {fmean(row.points for row in handed_in):.2f} of {handed_in[0].max_points:g}" if handed_in else ""
    return f"{len(report.rows)} students: {', '.join(words) or 'none'}; {waiting} need a person{mean}."


def score_table(report: Report, console: Console) -> None:
    """Print the table of points, then for every submission why points are missing, then the run's warnings."""
    table = Table(title=f"{report.week}, automatic points")
    table.add_column("student")
    table.add_column("status")
    table.add_column("points", justify="right")
    table.add_column("of", justify="right")
    table.add_column("by hand", justify="right")
    for row in report.rows:
        status = Text(row.status, STYLE[row.status])
        table.add_row(Text(row.student), status, f"{row.points:g}", f"{row.max_points:g}", f"{row.manual_max_points:g}")
    console.print(table)
    for row in report.rows:
        lost = {name: mark for name, mark in row.cells.items() if mark.message}
        if not lost and not row.note:
            continue
        console.print(Text(row.student, "bold"))
        if row.note:
            console.print(Padding(Text(row.note), (0, 0, 0, 2)))
        for name, mark in lost.items():
            console.print(Text(f"  {name} ({mark.points or 0:g} of {mark.max_points:g})"))
            console.print(Padding(Text(mark.message), (0, 0, 0, 4)))
    console.print(Text(summary(report), "bold"))
    for warning in report.warnings:
        console.print(Text(f"warning: {warning}", "yellow"))
