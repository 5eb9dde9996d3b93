"""A grading report for a terminal: a line while it runs, then the table and the explanations."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from lsdl.grading.grade import Report, Row

STYLE = {"ok": "green", "repaired": "yellow", "failed": "red", "timeout": "red", "missing": "dim"}


def show_progress(console: Console) -> Callable[[Row, int, int], None]:
    """A `progress` for `grade` that prints one line per submission as soon as it is graded."""

    def progress(row: Row, number: int, total: int) -> None:
        line = f"[{number}/{total}] {row.student}: {row.status}, {row.points:g} of {row.max_points:g} points"
        console.print(line, markup=False, highlight=False)

    return progress


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
    for warning in report.warnings:
        console.print(Text(f"warning: {warning}", "yellow"))
