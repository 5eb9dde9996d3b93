"""The `lsdl` command: thin wrappers, so that everything can also be called from Python.

Exit codes of every command: 0 all well, 1 something is wrong with what was looked at (a notebook failed, a rule is
broken, a reference drifted), 2 the command could not do its work (wrong arguments, missing file). A submission that earns
no points is no error.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

try:
    import typer
    from rich.console import Console
except ImportError as error:  # the dependencies of the notebooks alone are installed
    sys.exit(f"lsdl needs {error.name}: run pip install -r requirements.txt")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Run, check, publish and grade the course *Large Scale Deep Learning Models*. Exit codes: 0 well, "
    "1 something looked at is wrong, 2 the command could not do its work.",
)
console = Console()

Weeks = Annotated[
    list[str] | None, typer.Argument(help="1, week01 or week01-finetune. Default: all weeks.", metavar="WEEK")
]
OneWeek = Annotated[str, typer.Argument(help="1, week01 or week01-finetune.", metavar="WEEK")]
Key = Annotated[
    Path | None,
    typer.Option("--key", help="File with the instructor's key for the hidden checks.", exists=True, dir_okay=False),
]
Json = Annotated[Path | None, typer.Option("--json", help="Also write the result to this file.", metavar="FILE")]


class Scale(StrEnum):
    """The values of a notebook's `SCALE`."""

    SMOKE = "smoke"
    FULL = "full"


def _weeks(names: list[str] | None) -> list[Path]:
    from lsdl.course import find_week, find_weeks

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
    update: Annotated[bool, typer.Option("--update", help="Store the outputs in the committed seminars.")] = False,
    json: Json = None,
    report: Annotated[Path | None, typer.Option(help="Write report.html and report.json here.", metavar="DIR")] = None,
) -> None:
    """Rerun notebooks headlessly; exit code 1 if one fails, takes over twice its budget or a claim's outcome changes."""
    from lsdl.notebooks import any_failed, run_notebooks

    results = run_notebooks(
        _weeks(weeks),
        scale=scale.value,
        jobs=jobs,
        changed=changed,
        timeout=timeout,
        update=update,
        json_file=json,
        report=report,
        console=console,
    )
    raise typer.Exit(1 if any_failed(results) else 0)


@app.command(epilog="Example: lsdl lint week01 --fix")
def lint(
    weeks: Weeks = None,
    fix: Annotated[bool, typer.Option("--fix", help="Rewrite what can be generated, such as the setup cell.")] = False,
) -> None:
    """Check the rules that every notebook keeps; exit code 1 if one is broken."""
    from lsdl.lint import fix_week, lint_week

    problems = []
    for week in _weeks(weeks):
        if fix:
            fix_week(week)
        problems += lint_week(week)
    for problem in problems:
        console.print(str(problem), markup=False, highlight=False)
    console.print(f"{len(problems)} problem(s)")
    raise typer.Exit(1 if problems else 0)


@app.command(epilog="Example: lsdl refs 1 --key ~/lsdl.key   (--check only compares)")
def refs(
    weeks: Weeks = None,
    key: Key = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing, say what drifted and by how much.")] = False,
) -> None:
    """Record the references of the checks from the solutions; with --key also the hidden ones, into gradebook/."""
    from lsdl.grading.grade import remember_key
    from lsdl.references import check_references, write_references

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
            console.print(f"{week.name}: {line}", markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if drifted else 0)


@app.command(epilog="Example: lsdl publish ../lsdl-student")
def publish(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="An empty folder, or one published before.")],
) -> None:
    """Write the student's tree: seminars, student versions, helpers, assets, lsdl without its grading part."""
    from lsdl.grading.publish import publish as write_tree

    files = write_tree(folder)
    console.print(f"{len(files)} files in {folder}", highlight=False)


@app.command(epilog="Example: lsdl release 1   (writes gradebook/release/week01-finetune)")
def release(weeks: Weeks = None) -> None:
    """Make the student version of homeworks and enter their cells into nbgrader's gradebook."""
    from lsdl.grading.release import release as make

    for week in _weeks(weeks):
        console.print(f"{make(week)}", highlight=False)


@app.command(epilog="Example: lsdl grade 1 --submissions ~/Downloads/week01 --json marks.json")
def grade(
    week: OneWeek,
    submissions: Annotated[
        Path | None,
        typer.Option(help="STUDENT/WEEK/homework.ipynb or STUDENT.ipynb. Default: gradebook/submitted.", metavar="DIR"),
    ] = None,
    key: Key = None,
    json: Json = None,
) -> None:
    """Autograde every submission of a week and explain the points; a bad submission is a row with a reason."""
    from lsdl.course import find_week
    from lsdl.grading.grade import grade as grade_week
    from lsdl.grading.report import score_table, show_progress

    report = grade_week(find_week(week), submissions, key=key, progress=show_progress(console))
    score_table(report, console)
    if json:
        report.write_json(json)


@app.command(epilog="Example: lsdl doctor   or   lsdl doctor submission.ipynb")
def doctor(
    notebook: Annotated[Path | None, typer.Argument(help="A student's notebook. Default: this machine.")] = None,
) -> None:
    """Say what is wrong with this machine or with a notebook, and what mends it; exit code 1 if anything is."""
    from lsdl.grading.doctor import examine_machine, examine_notebook

    found = examine_notebook(notebook) if notebook else examine_machine()
    marks = {"ok": "[green]ok     [/]", "note": "[yellow]note   [/]", "problem": "[red]problem[/]"}
    for diagnosis in found:
        console.print(marks[diagnosis.level], end=" ")
        console.print(diagnosis.line, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(1 if any(diagnosis.level == "problem" for diagnosis in found) else 0)


@app.command(epilog="Example: lsdl demo   (what `make run` does)")
def demo(
    week: OneWeek = "1",
    notebooks: Annotated[bool, typer.Option(help="Also rerun the week's seminar and homework.")] = True,
) -> None:
    """Rerun a week, make its student release, grade three example submissions; writes nothing into the repository."""
    from lsdl.course import find_week
    from lsdl.grading.demo import demo as show

    raise typer.Exit(0 if show(find_week(week), console, notebooks=notebooks) else 1)


def main() -> None:
    """Entry point of the `lsdl` script: a mistake a user can make is a sentence on stderr and exit code 2."""
    try:
        app()
    except Exception as error:
        if not isinstance(error, _expected_errors()):
            raise
        print(error, file=sys.stderr)
        sys.exit(2)


def _expected_errors() -> tuple[type[Exception], ...]:
    """The errors whose message is a sentence for the user; of modules that are loaded, so that `--help` stays fast."""
    names = (("lsdl.course", "CourseError"), ("lsdl.grading", "GradingError"), ("lsdl.homework", "HomeworkError"))
    known = [getattr(sys.modules[module], name) for module, name in names if module in sys.modules]
    return (*known, FileNotFoundError)
