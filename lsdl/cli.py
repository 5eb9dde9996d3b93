"""The `lsdl` command: thin wrappers, so that everything can also be called from Python.

Exit codes of every command: 0 all well, 1 something is wrong with what was looked at (a notebook failed, a rule is
broken, a reference drifted), 2 the command could not do its work (wrong arguments, missing file). A submission that earns
no points is no error.
"""

from __future__ import annotations

import errno
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

try:
    import typer
    from rich.console import Console
except ImportError as error:  # the dependencies of the notebooks alone are installed
    sys.exit(f"lsdl needs {error.name}: run pip install -r requirements.txt")

if TYPE_CHECKING:
    from lsdl.grading.scores import StudentMarks

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Run, check, publish and grade the course *Large Scale Deep Learning Models*. Exit codes: 0 well, "
    "1 something looked at is wrong, 2 the command could not do its work.",
)
console = Console(markup=False, highlight=False)  # a name with [ ] is no markup

Weeks = Annotated[
    list[str] | None, typer.Argument(help="1, week1 or week01-finetune. Default: all weeks.", metavar="WEEK")
]
OneWeek = Annotated[str, typer.Argument(help="1, week1 or week01-finetune.", metavar="WEEK")]
Key = Annotated[
    Path | None,
    typer.Option("--key", help="File with the instructor's key for the hidden checks.", exists=True, dir_okay=False),
]
Names = Annotated[
    Path | None,
    typer.Option(
        help="CSV with name (as the file has it) and student (on the class list), where they do not match by themselves.",
        exists=True,
        dir_okay=False,
        metavar="FILE",
    ),
]
Guests = Annotated[
    bool, typer.Option("--guests", help="Also grade who is not on the class list; the report names them.")
]
Times = Annotated[
    Path | None,
    typer.Option(
        help="CSV with student, homework, handed_in: goes before what the gradebook knows. It is kept for all commands.",
        exists=True,
        dir_okay=False,
        metavar="FILE",
    ),
]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the result to this file.", metavar="FILE")]


class Scale(StrEnum):
    """The values of a notebook's `SCALE`."""

    SMOKE = "smoke"
    FULL = "full"


def _weeks(names: list[str] | None) -> list[Path]:
    from lsdl.author.course import find_week, find_weeks

    return [find_week(name) for name in names] if names else find_weeks()


@app.command(epilog="Example: lsdl run 1 --jobs 2")
def run(
    weeks: Weeks = None,
    scale: Annotated[Scale, typer.Option(help="How much data and training.")] = Scale.SMOKE,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Notebooks at a time.")] = 1,
    changed: Annotated[
        bool, typer.Option("--changed", help="Skip what has not changed since its last good run.")
    ] = False,
    timeout: Annotated[float | None, typer.Option(help="Seconds a notebook may take. Default: five budgets.")] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Store the outputs in the committed seminars, and the seconds.")
    ] = False,
    json: Json = None,
) -> None:
    """Rerun notebooks headlessly; exit code 1 if one fails, takes over twice its budget or a claim's outcome changes."""
    from lsdl.author.notebooks import any_failed, run_notebooks

    results = run_notebooks(
        _weeks(weeks),
        scale=scale.value,
        jobs=jobs,
        changed=changed,
        timeout=timeout,
        update=update,
        json_file=json,
        console=console,
    )
    raise typer.Exit(1 if any_failed(results) else 0)


@app.command(epilog="Example: lsdl lint week01 --fix   (--lesson week01 counts how long its notebooks are)")
def lint(
    weeks: Weeks = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Rewrite what is generated: opening cells, README's table, requirements.txt.")
    ] = False,
    lesson: Annotated[
        bool,
        typer.Option("--lesson", help="Only count: figures and limits of a lesson and a homework, for every week."),
    ] = False,
) -> None:
    """Check the rules that every week keeps; exit code 1 if one is broken."""
    if lesson:
        raise typer.Exit(_count(_weeks(weeks)))
    from lsdl.author.lint import fix_course, fix_week, lint_course, lint_week

    problems, folders = [], _weeks(weeks)
    for week in folders:
        if fix:
            fix_week(week)
        problems += lint_week(week)
    for root in sorted({week.parent for week in folders}):
        if fix:
            fix_course(root)
        problems += lint_course(root)
    for problem in problems:
        console.print(str(problem))
    console.print(f"{len(problems)} problem(s)")
    raise typer.Exit(1 if problems else 0)


def _count(weeks: list[Path]) -> int:
    """Show how long the notebooks are beside the limits, and what does not keep them; 1 if something does not."""
    from rich.table import Table

    from lsdl.author.lesson import lesson_figures, lesson_problems

    problems = []
    for week in weeks:
        for file, figures in lesson_figures(week).items():
            table = Table(file, "counted", "limit")
            for figure in figures:
                table.add_row(figure.name, figure.counted, figure.limit, style=None if figure.kept else "red")
            console.print(table)
        problems += lesson_problems(week)
    for problem in problems:
        console.print(str(problem), soft_wrap=True)
    console.print(f"{len(problems)} problem(s)")
    return 1 if problems else 0


@app.command(epilog="Example: lsdl refs 1 --key ~/lsdl.key   (--check only compares)")
def refs(
    weeks: Weeks = None,
    key: Key = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing, say what drifted and by how much.")] = False,
) -> None:
    """Record the references of the checks from the solutions; with --key also the hidden ones, into gradebook/."""
    from lsdl.author.references import check_references, remember_key, write_references

    secret = key.read_bytes() if key else None
    drifted = False
    for week in _weeks(weeks):
        if check:
            lines = check_references(week, key=secret)
            drifted = drifted or bool(lines)
        else:
            lines = [write_references(week, key=secret)]
            if key:
                remember_key(week, key)
        for line in lines:
            console.print(f"{week.name}: {line}", soft_wrap=True)
    raise typer.Exit(1 if drifted else 0)


@app.command(epilog="Example: lsdl publish ../lsdl-student --weeks 1-4")
def publish(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An empty folder, or one published before.")],
    weeks: Annotated[
        str | None,
        typer.Option(help="Only these, such as 1-4 or 1,3; others go from the tree. Default: all.", metavar="WEEKS"),
    ] = None,
) -> None:
    """Write the student's tree: seminars, student versions, helpers, assets, lsdl without its grading part.

    What you write around the generated part of its README.md stays.
    """
    from lsdl.author.course import find_some_weeks
    from lsdl.grading.publish import gone, published
    from lsdl.grading.publish import publish as write_tree

    before = published(folder)
    files = write_tree(folder, weeks=find_some_weeks(weeks) if weeks is not None else None)
    console.print(f"{len(files)} files in {folder}", soft_wrap=True)
    if left := gone(before, files):
        advice = (
            " Name in --weeks every week that students get." if any(name.startswith("week") for name in left) else ""
        )
        _say(f"Gone from the tree: {', '.join(left)}.{advice}")


@app.command(epilog="Example: lsdl release 1   (writes gradebook/release/week01-finetune)")
def release(weeks: Weeks = None) -> None:
    """Make the student version of homeworks and enter their cells into nbgrader's gradebook."""
    from lsdl.grading.release import release as make

    for week in _weeks(weeks):
        console.print(f"{make(week)}")


@app.command(
    epilog="Example: lsdl grade 1 --submissions ~/Downloads/week01.zip --jobs 2 --json marks.json. Exit codes: 0 every student "
    "has a row, also those whose notebook could not be graded (the row says why); 2 it could not be done: wrong arguments, "
    "no whole sandbox and no --unsafe, full disk; 130 Ctrl-C. Called again, it runs only what is not finished."
)
def grade(
    week: OneWeek,
    submissions: Annotated[
        Path | None,
        typer.Option(
            help="A folder or zip: STUDENT/WEEK/homework.ipynb, STUDENT.ipynb, or what Moodle, Canvas or Teams give. "
            "Default: gradebook/submitted.",
            metavar="DIR",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Submissions at a time on this machine.")] = 1,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="Run them on the workers of this dask scheduler, which see the same files.", metavar="ADDRESS"
        ),
    ] = None,
    student: Annotated[list[str] | None, typer.Option(help="Only this student; may be repeated.", metavar="ID")] = None,
    regrade: Annotated[bool, typer.Option("--regrade", help="Also run again what is finished.")] = False,
    unsafe: Annotated[
        bool, typer.Option("--unsafe", help="Run where the sandbox cannot be whole; every row then says so.")
    ] = False,
    encoding: Annotated[
        str | None,
        typer.Option(help="Code page of the names in an archive that Windows packed, such as cp866.", metavar="NAME"),
    ] = None,
    names: Names = None,
    guests: Guests = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say whose file is whose, and who has none; grade nothing.")
    ] = False,
    key: Key = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Take the public demo key if there is no other: to try out, not for a class.")
    ] = False,
    json: Json = None,
    html: Annotated[
        Path | None, typer.Option(help="Where the report goes. Default: gradebook/reports/WEEK.html.", metavar="FILE")
    ] = None,
) -> None:
    """Autograde every submission of a week and explain the points; a bad submission is a row with a reason."""
    from lsdl.author.course import WeekPaths, find_week
    from lsdl.files import write_whole
    from lsdl.grading.grade import describe_sandbox
    from lsdl.grading.grade import grade as grade_week
    from lsdl.grading.html_report import html_page
    from lsdl.grading.keys import choose_key
    from lsdl.grading.stop import Stopped
    from lsdl.grading.terminal_report import live_progress, score_table

    folder = find_week(week)
    if dry_run:
        from lsdl.grading.hand_ins import plan
        from lsdl.grading.terminal_report import plan_table

        plan_table(plan(folder, submissions, encoding=encoding, names=names), console)
        return
    _, line = choose_key(WeekPaths.at(folder), key, demo=demo)
    console.print(f"Key: {line}", soft_wrap=True)
    console.print(f"Sandbox: {describe_sandbox()}", soft_wrap=True)
    try:
        with live_progress(console, folder.name) as progress:
            report = grade_week(
                folder,
                submissions,
                key=key,
                jobs=jobs,
                scheduler=scheduler,
                students=student or (),
                regrade=regrade,
                unsafe=unsafe,
                encoding=encoding,
                names=names,
                guests=guests,
                progress=progress,
            )
    except Stopped as stopped:
        console.print(str(stopped), soft_wrap=True)
        raise typer.Exit(130) from None
    score_table(report, console)
    page = html or WeekPaths.at(folder).report
    write_whole(page, html_page(report.of_the_week()), private=True)
    if json:
        report.of_the_week().write_json(json)
    console.print(f"Report: {page}", soft_wrap=True)


@app.command(
    epilog="Example: lsdl forget LICENSE. Exit codes: 0 forgotten, 2 nobody is called so, or there are marks and no --marks."
)
def forget(
    student: Annotated[str, typer.Argument(help="The name as the report has it.", metavar="STUDENT")],
    marks: Annotated[
        bool, typer.Option("--marks", help="Also delete marks, and the place on the class list, if there are any.")
    ] = False,
) -> None:
    """Take a student out of the gradebook whom a wrong file or name made. What was handed in stays where it is."""
    from lsdl.author.course import course_root
    from lsdl.grading.forget import forget as forget_student

    for line in forget_student(course_root(), student, marks=marks):
        _say(line)


@app.command(epilog="Example: lsdl feedback 1. Exit codes: 0 all pages were written, 2 not all could be.")
def feedback(
    week: OneWeek,
    student: Annotated[list[str] | None, typer.Option(help="Only this student; may be repeated.", metavar="ID")] = None,
    times: Times = None,
) -> None:
    """Write a page for each graded student: points and hints, no hidden test, no script, no path of this machine."""
    from lsdl.author.course import find_week
    from lsdl.grading.feedback import make_feedback
    from lsdl.grading.terminal_report import page_progress

    _remember(times)
    folder = find_week(week)
    with page_progress(console, folder.name) as progress:
        make_feedback(folder, student or (), progress=progress)
    _say_untimed()


@app.command(
    epilog="Example: lsdl handback 1   or, for Canvas, lsdl handback 1 --sheet gradebook-export.csv. Exit codes: 0 everybody is in "
    "the table, 1 somebody is not (the lines say who and why), 2 it could not be done."
)
def handback(
    week: OneWeek,
    sheet: Annotated[
        Path | None,
        typer.Option(
            help="Moodle's grading worksheet or Canvas's exported gradebook, to be filled. Hand-ins from Moodle need none.",
            exists=True,
            dir_okay=False,
            metavar="FILE",
        ),
    ] = None,
    column: Annotated[
        str | None,
        typer.Option(help="The homework's column in Canvas's gradebook, if its name is another.", metavar="NAME"),
    ] = None,
    times: Times = None,
) -> None:
    """Write what the course's platform takes back: all feedback in one zip, and the points after the rules as its CSV.

    Both lie in gradebook/handback. In Moodle: Upload multiple feedback files in a zip, Upload grading worksheet. In Canvas: Upload Submissions, Import.
    """
    from lsdl.author.course import find_week
    from lsdl.grading.handback import hand_back

    _remember(times)
    made = hand_back(find_week(week), sheet, column)
    lines = [f"{made.pages} pages: {made.zip}", f"marks: {made.table}"]
    if made.open:
        lines.append(f"{len(made.open)} marks are open and left out, grade them by hand: {', '.join(made.open)}.")
    if made.sheet.without_mark:
        lines.append(f"In the sheet but without a mark: {', '.join(made.sheet.without_mark)}.")
    if made.sheet.not_in_sheet:
        lines.append(f"Not in the sheet: {', '.join(made.sheet.not_in_sheet)}.")
    if made.old_pages:
        lines.append(
            f"Pages that are older than the marks: {', '.join(made.old_pages)}. Run lsdl feedback {week}, then this again."
        )
    for line in lines:
        _say(line)
    _say_untimed()
    raise typer.Exit(1 if len(lines) > 2 else 0)


@app.command(
    epilog="Example: lsdl extension 1 --student ada --until 2027-10-05   (without arguments it lists all). Exit codes: 0 done, 2 not."
)
def extension(
    week: Annotated[str | None, typer.Argument(help="1, week1 or week01-finetune.", metavar="WEEK")] = None,
    student: Annotated[str | None, typer.Option(help="The student's id in the report.", metavar="ID")] = None,
    until: Annotated[str | None, typer.Option(help="The last day, such as 2027-10-05.", metavar="DAY")] = None,
    days: Annotated[int | None, typer.Option(min=1, help="Or so many days after the due date.", metavar="N")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the extension back.")] = False,
) -> None:
    """Let a student hand in later: `lsdl scores` counts lateness from that day. Kept in gradebook/extensions.csv."""
    from lsdl.author.course import CoursePaths, course_root, find_week
    from lsdl.grading import GradingError
    from lsdl.grading.class_tables import Extensions, change_extension

    if week is None and student is None:
        known = Extensions(CoursePaths(course_root()).extensions).until
        lines = [f"{name}, {homework}: until {day}" for (name, homework), day in sorted(known.items())]
        lines = lines or ["Nobody has an extension."]
    elif week is None or student is None or [until is not None, days is not None, remove].count(True) != 1:
        raise GradingError("An extension needs WEEK, --student ID, and one of --until DAY, --days N or --remove.")
    else:
        lines = [change_extension(find_week(week), student, until=until, days=days)]
    for line in lines:
        _say(line)


Csv = Annotated[Path | None, typer.Option("--csv", help="Write a CSV table here, not to the screen.", metavar="FILE")]


@app.command(
    epilog="Example: lsdl scores   or   lsdl scores --csv marks.csv. Exit codes: 0 every mark is final, 1 somebody has to "
    "grade something by hand, 2 there are no marks."
)
def scores(csv: Csv = None, times: Times = None) -> None:
    """All marks by the rules of course.toml: a table, best first; with --csv every cell, raw points and which rule did what.

    The share counts the homeworks that are due. The gradebook stays raw.
    """
    from lsdl.author.course import course_root
    from lsdl.grading import GradingError
    from lsdl.grading.scores import all_marks, marks_csv
    from lsdl.grading.terminal_report import marks_table

    _remember(times)
    marks = all_marks(course_root())
    if not any(mark.handed_in for student in marks for mark in student.homeworks.values()):
        raise GradingError("Nobody is graded yet: run lsdl grade WEEK first.")
    if csv is None:
        marks_table(marks, console)
    else:
        _write_table(marks_csv(marks), csv)
    _say_untimed(marks)
    raise typer.Exit(1 if any(mark.is_open for student in marks for mark in student.homeworks.values()) else 0)


@app.command(
    epilog="Example: lsdl leaderboard 2 --make ../competition --key ~/lsdl.key, and after the due date lsdl leaderboard 2 --submissions "
    "week02.zip --final --csv places.csv. Exit codes: 0 done, also where a hand-in has no points (its row says why); 2 it could not be done."
)
def leaderboard(
    week: OneWeek,
    make: Annotated[
        Path | None,
        typer.Option(
            help="Draw the competition from --key: write test.safetensors and sample_submission.csv here, for students.",
            metavar="DIR",
        ),
    ] = None,
    key: Key = None,
    demo: Annotated[bool, typer.Option("--demo", help="With --make, take the public demo key: to try out.")] = False,
    scale: Annotated[Scale, typer.Option(help="With --make: how large pictures and network are.")] = Scale.SMOKE,
    submissions: Annotated[
        Path | None,
        typer.Option(
            help="A folder or zip as for lsdl grade: predictions.csv and model.safetensors lie beside the notebook, or alone. "
            "Default: gradebook/submitted.",
            metavar="DIR",
        ),
    ] = None,
    final: Annotated[
        bool, typer.Option("--final", help="The private part, places and points, also for lsdl scores.")
    ] = False,
    no_models: Annotated[
        bool, typer.Option("--no-models", help="A quick look: read the predictions, do not reproduce them.")
    ] = False,
    without: Annotated[
        list[str] | None,
        typer.Option(help="Whose hand-in you found to break the rules; may be repeated.", metavar="ID"),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="Code page of the names in an archive that Windows packed.", metavar="NAME")
    ] = None,
    names: Names = None,
    guests: Guests = False,
    csv: Csv = None,
    html: Annotated[Path | None, typer.Option(help="Also write the table as a page.", metavar="FILE")] = None,
    json: Json = None,
) -> None:
    """The competition of a week: who predicts the classes of hidden pictures best, with an own model.

    Students hand in predictions.csv and model.safetensors beside the notebook.
    Your machine predicts with the model itself: what it does not reproduce in 99 % has no points.
    Before the due date only the public half of the drawings is shown.
    --final adds the private half, which nobody could tune on: it decides the places, and the error beside a difference says whether a place means anything.
    """
    from lsdl.author.course import WeekPaths, find_week
    from lsdl.files import write_whole
    from lsdl.grading import leaderboard as board_of
    from lsdl.grading.competition import make as make_competition
    from lsdl.grading.keys import choose_key
    from lsdl.grading.terminal_report import plain_table

    folder = find_week(week)

    if make is not None:
        path, line = choose_key(WeekPaths.at(folder), key, demo=demo)
        _say(f"Key: {line}")
        _say(make_competition(folder, make, path.read_bytes(), scale.value))
        return
    options = {"final": final, "models": not no_models, "without": without or (), "encoding": encoding}
    board = board_of.rank(folder, submissions, **options, names=names, guests=guests, say=_say)
    for path, text in ((csv, board_of.for_spreadsheets), (html, board_of.html_page), (json, board_of.json_text)):
        if path is not None:
            write_whole(path, text(board), private=True)
    if csv is None:
        plain_table(board_of.table(board), console)
    for line in (*board.notes, board_of.summary(board)):
        _say(line)


@app.command(
    epilog="Example: lsdl final --exam exam.csv --points 60 --csv final.csv. Exit codes: 0 everybody passed or failed, 1 somebody's "
    "mark is open (not of who failed the examination, which decides alone) or somebody in it is not in the gradebook, 2 a table "
    r"is wrong. Grades: see \[grades] in course.toml."
)
def final(
    exam: Annotated[
        Path, typer.Option(help="CSV with the columns student and points.", exists=True, dir_okay=False, metavar="FILE")
    ],
    points: Annotated[
        float | None, typer.Option(min=1, help="The points that the examination has. Default: those in course.toml.")
    ] = None,
    csv: Csv = None,
    times: Times = None,
    names: Names = None,
) -> None:
    """Combine the homeworks with the written examination, by course.toml's weights; each part has to be passed."""
    from lsdl.author.course import course_root
    from lsdl.grading.scores import final_csv, final_marks
    from lsdl.printable import printable

    _remember(times)
    marks = final_marks(course_root(), exam, out_of=points, names=names)
    _table(final_csv(marks), csv)
    _say_untimed()
    for mark in marks:
        if mark.stranger:
            line = f"{mark.student} is in {exam.name}, but {mark.stranger}: correct the name, or say with --names FILE who it is."
            print(printable(line), file=sys.stderr)
    raise typer.Exit(1 if any(mark.stranger or mark.passed is None for mark in marks) else 0)


def _remember(times: Path | None) -> None:
    """Keep the times of a table that was given in the gradebook."""
    from lsdl.author.course import course_root
    from lsdl.grading.class_tables import remember_times

    if times is not None:
        remember_times(course_root(), times)


def _say(line: str) -> None:
    """Print a line that may hold the names and texts of strangers."""
    from lsdl.printable import printable

    console.print(printable(line), soft_wrap=True)


def _say_untimed(marks: list[StudentMarks] | None = None) -> None:
    """Say, beside what is printed, to which homeworks the rule about lateness was not applied."""
    from lsdl.author.course import course_root
    from lsdl.grading.scores import all_marks, untimed

    for line in untimed(all_marks(course_root()) if marks is None else marks):
        print(line, file=sys.stderr)


def _table(text: str, path: Path | None) -> None:
    if path is None:
        print(text, end="")
    else:
        _write_table(text, path)


def _write_table(text: str, path: Path) -> None:
    """Marks are personal data: only this user may read the file."""
    from lsdl.files import write_whole

    write_whole(path, text, private=True)
    console.print(f"{len(text.splitlines()) - 1} students in {path}", soft_wrap=True)


@app.command(
    epilog="Example: lsdl doctor   or   lsdl doctor submission.ipynb   or   lsdl doctor predictions.csv. Exit codes: 0 well, 1 a problem "
    "was found, 2 no such file."
)
def doctor(
    notebook: Annotated[
        Path | None, typer.Argument(help="A student's notebook or predictions.csv. Default: this machine.")
    ] = None,
) -> None:
    """Say what is wrong with this machine or with a notebook, and what mends it; exit code 1 if anything is."""
    from lsdl.doctor import examine_predictions
    from lsdl.grading.examine import examine_machine, examine_notebook

    if notebook and notebook.suffix.lower() == ".csv":
        found = examine_predictions(notebook)
    else:
        found = examine_notebook(notebook) if notebook else examine_machine()
    colors = {"ok": "green", "note": "yellow", "problem": "red"}
    for diagnosis in found:
        console.print(f"{diagnosis.level:<7}", end=" ", style=colors[diagnosis.level])
        _say(diagnosis.line)
    raise typer.Exit(1 if any(diagnosis.level == "problem" for diagnosis in found) else 0)


@app.command(
    epilog="Example: lsdl selftest --jobs 2. Exit codes: 0 all held, 1 something did not, 2 it could not be done (no Linux, no whole "
    "sandbox and no --unsafe)."
)
def selftest(
    jobs: Annotated[int, typer.Option("--jobs", "-j", min=1, help="Hand-ins at a time.")] = 1,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="Run where the sandbox cannot be whole.")] = False,
) -> None:
    """Grade honest, odd and hostile hand-ins on this machine and say what held; the class's gradebook is not touched."""
    from lsdl.author.course import course_root
    from lsdl.grading.selftest import selftest as test_this_machine

    found = test_this_machine(course_root(), console, jobs=jobs, unsafe=unsafe)
    raise typer.Exit(1 if any(fault for _, fault in found) else 0)


@app.command(epilog="Example: lsdl demo   (what `make run` does)")
def demo(
    week: OneWeek = "1",
    notebooks: Annotated[bool, typer.Option(help="Also rerun the week's seminar and homework.")] = True,
) -> None:
    """Rerun a week, make its student release, grade three example submissions; writes nothing into the repository."""
    from lsdl.author.course import find_week
    from lsdl.grading.demo import demo as show

    raise typer.Exit(0 if show(find_week(week), console, notebooks=notebooks) else 1)


def main() -> None:
    """Entry point of the `lsdl` script: a mistake a user can make is a sentence on stderr and exit code 2."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # a name that this terminal cannot show ends no run
    try:
        try:
            app()
        finally:
            _flush_output()
    except Exception as error:
        if not (sentence := _sentence(error)):
            raise
        print(sentence, file=sys.stderr)
        sys.exit(2)


def _flush_output() -> None:
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes again at its end, and complains
        raise


def _sentence(error: Exception) -> str:
    """What to say of an error that a user can mend, in one sentence; "" of any other."""
    from lsdl.grading.refusals import refusal
    from lsdl.printable import printable

    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        places = " and ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        mend = {
            errno.EROFS: "it lies on a read-only disk: work on a copy of the course",
            errno.EACCES: "you have no permission: change it, or work on a copy of the course",
            errno.EPERM: "you have no permission: change it, or work on a copy of the course",
            errno.ENOSPC: "the disk is full: make room and run the same command again",
        }.get(error.errno, error.strerror[:1].lower() + error.strerror[1:])
        return printable(f"{places or 'A file'} cannot be used: {mend}.")
    if isinstance(error, UnicodeError):
        return printable(f"A text or a file name is not UTF-8: {error}.")
    return printable(str(error)) if isinstance(error, (*_expected_errors(), OSError)) else refusal(error)


def _expected_errors() -> tuple[type[Exception], ...]:
    """The errors whose message is a sentence for the user; of modules that are loaded, so that `--help` stays fast."""
    names = (
        ("lsdl.author.course", "CourseError"),
        ("lsdl.grading", "GradingError"),
        ("lsdl.grading.jail", "JailError"),
        ("lsdl.author.homework", "HomeworkError"),
    )
    return tuple(getattr(sys.modules[module], name) for module, name in names if module in sys.modules)
