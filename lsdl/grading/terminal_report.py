"""Reports for a terminal: of a grading run a line while it runs, then the table and the explanations; and the table of marks."""

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
from lsdl.grading.points import Scale, plain
from lsdl.grading.scores import HomeworkMark, StudentMarks
from lsdl.printable import printable

NAMED = 8  # students in one line
STYLE = {"ok": "green", "repaired": "yellow", "failed": "red", "timeout": "red", "missing": "dim"}


def show_progress(console: Console) -> Callable[[Row, int, int], None]:
    """A `progress` for `grade` that prints one line per submission as soon as it is graded."""

    def progress(row: Row, number: int, total: int) -> None:
        automatic = f"{plain(row.points)} of {plain(row.max_points)} automatic points"
        line = f"[{number}/{total}] {row.student}: {row.status}, {automatic}"
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
    mean = fmean(row.points for row in handed_in) if handed_in else 0
    mean = f"; mean {mean:.2f} of {plain(handed_in[0].max_points)} automatic points" if handed_in else ""
    return f"{len(report.rows)} students: {', '.join(words) or 'none'}; {waiting} need a person{mean}."


def by_hand(row: Row) -> str:
    """What a row has of the points that people give: "1.5 of 2", or "open" while one of them is not given."""
    marks = [mark for mark in row.cells.values() if mark.manual]
    if row.status == "missing" or not marks:
        return ""
    if any(mark.points is None for mark in marks):
        return f"open, of {plain(row.manual_max_points)}"
    return f"{plain(sum(mark.points or 0 for mark in marks))} of {plain(row.manual_max_points)}"


def bonus_explained(scale: Scale) -> str:
    """Why automatic points and those by hand can add up to more than a homework has."""
    both = plain(scale.most + scale.bonus)
    return f"Points are of {plain(scale.most)}. Automatic and by hand together they can be {both}: {plain(scale.bonus)} are a bonus."


def score_table(report: Report, console: Console) -> None:
    """Print the table of points, then for every submission why points are missing, then the run's warnings."""
    table = Table(title=report.week)
    table.add_column("student")
    table.add_column("status")
    table.add_column("automatic", justify="right")
    table.add_column("by hand", justify="right")
    table.add_column(f"points of {report.scale}" if report.scale else "points", justify="right")
    for row in report.rows:
        status = Text(row.status, STYLE[row.status])
        automatic = f"{plain(row.points)} of {plain(row.max_points)}"
        table.add_row(Text(row.student), status, automatic, by_hand(row), plain(row.total))
    console.print(table)
    if report.scale and report.scale.bonus:
        console.print(Text(bonus_explained(report.scale), "dim"))
    for row in report.rows:
        lost = {name: mark for name, mark in row.cells.items() if mark.message}
        if not lost and not row.note:
            continue
        console.print(Text(row.student, "bold"))
        if row.note:
            console.print(Padding(Text(row.note), (0, 0, 0, 2)))
        for name, mark in lost.items():
            console.print(Text(f"  {name} ({plain(mark.points or 0)} of {plain(mark.max_points)})"))
            console.print(Padding(Text(mark.message), (0, 0, 0, 4)))
    console.print(Text(summary(report), "bold"))
    for warning in report.warnings:
        console.print(Text(f"warning: {warning}", "yellow"))


def plain_table(lines: list[list[str]], console: Console) -> None:
    """Print a table whose first line is its header, and which may have strangers' names."""
    table = Table()
    for name in lines[0]:
        table.add_column(name, overflow="fold")
    for line in lines[1:]:
        table.add_row(*(Text(printable(cell)) for cell in line))
    console.print(table)


def marks_table(students: list[StudentMarks], console: Console) -> None:
    """Print the marks, the best share first, and below what is open and which rules changed points."""
    weeks = sorted({week for student in students for week in student.homeworks})
    scales = {week: next(s.homeworks[week] for s in students if week in s.homeworks) for week in weeks}
    table = Table()
    table.add_column("student")
    table.add_column("share", justify="right")
    for week in weeks:
        table.add_column(
            f"{week.partition('-')[0]}\nof {Scale(scales[week].most, scales[week].bonus)}", justify="right"
        )
    for student in sorted(students, key=lambda student: (-student.share, student.student)):
        share = f"{100 * student.share:.1f} %" if student.counting else ""
        cells = (_cell_of(student.homeworks[week]) for week in weeks)
        table.add_row(Text(printable(student.student)), share, *cells)
    console.print(table)
    waits = [week for week in weeks if not scales[week].counts]
    marks = [mark for student in students for mark in student.homeworks.values()]
    legend = ["share: of the points of all homeworks that are due"]
    legend += ["*: a person has to grade something"] if any(mark.is_open for mark in marks) else []
    legend += ["+2d: two days late"] if any(mark.days_late for mark in marks) else []
    legend += ["-: not handed in"] if any(not mark.handed_in for mark in marks) else []
    legend += [f"not due yet: {', '.join(waits)}"] if waits else []
    console.print(Text("; ".join(legend) + ".", "dim"))
    told: dict[tuple[str, str], list[str]] = {}
    for student in students:
        for week, mark in student.homeworks.items():
            if mark.why:
                told.setdefault((week, mark.why), []).append(student.student)
    for (week, why), names in sorted(told.items()):
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        console.print(Text(printable(f"{week}, {why}: {', '.join(names[:NAMED])}{more}.")))


def _cell_of(mark: HomeworkMark) -> Text:
    if not mark.handed_in:
        return Text("-", "dim")
    late = f" +{mark.days_late}d" if mark.days_late else ""
    return Text(f"{plain(mark.points)}{late}{' *' if mark.is_open else ''}", "yellow" if mark.is_open else "")
