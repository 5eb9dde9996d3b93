"""Every real week from run to marks: the seminar executes at smoke within its budget and keeps its claims, the solved homework
gets all automatic points within its budget, and of a student who did one task with a known mistake and nothing else that
mistake costs what it names, with its hint, while all that was left empty earns nothing.

The plain kernel that runs the seminar runs the homework with `lsdl run`; stock nbgrader is held to the same marks by
grading/test_autograder.py; the untouched release is held to nothing, cell by cell, by test_weeks.py.
"""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from lsdl.author.course import find_weeks, load_course
from lsdl.author.homework import Homework
from lsdl.author.notebooks import any_failed, run_notebooks
from lsdl.author.references import write_references
from lsdl.grading import jail
from lsdl.grading.autograder import Job, Result, run_job
from lsdl.grading.demo import copy_course, first_unit_mistake, half_done, load_mistakes
from lsdl.grading.release import release
from lsdl.intake import Notebook, mend, parse

ROOT = Path(__file__).parents[1]
WEEKS = find_weeks(ROOT)
UNSAFE = bool(jail.missing())


@pytest.mark.slow
@pytest.mark.parametrize("week", WEEKS, ids=lambda week: week.name)
def test_the_seminar_runs_within_its_budget_and_keeps_its_claims(week: Path, tmp_path: Path) -> None:
    text = io.StringIO()
    copy = copy_course(week, tmp_path / "course")
    results = run_notebooks([copy], kinds=("seminar",), jobs=1, console=Console(file=text, width=200))
    assert not any_failed(results), text.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("week", WEEKS, ids=lambda week: week.name)
def test_the_homework_earns_what_it_deserves(week: Path, tmp_path: Path) -> None:
    copy = copy_course(week, tmp_path / "course")
    write_references(copy, key=(ROOT / "gradebook" / "demo.key").read_bytes())
    skeleton = parse((release(copy, check=False) / "homework.ipynb").read_bytes())
    mistake = first_unit_mistake(copy)

    def graded(student: str, notebook: Notebook) -> Result:
        result = run_job(Job(copy, student, mend(notebook, skeleton)[0]), unsafe=UNSAFE)
        assert result.verdict.failure is None, result.verdict
        return result

    solved = graded("solved", parse((copy / "homework.ipynb").read_bytes()))
    half = graded("half-done", half_done(copy, skeleton, mistake))

    tasks = Homework(copy).tasks
    automatic = {cell.grade_id: cell.points for task in tasks for cell in task.graded if not cell.manual}
    assert {name: solved.verdict.points[name] for name in automatic} == automatic, solved.verdict.messages
    budget = load_course(ROOT).budget_of(week.name).homework_seconds
    assert solved.cpu_seconds <= 2 * budget, f"{solved.cpu_seconds:.0f} CPU s are over twice the budget of {budget:g} s"
    printed = [
        out for cell in solved.executed["cells"] for out in cell.get("outputs", ()) if out.get("name") == "stderr"
    ]
    assert printed == [], json.dumps(printed)[:2000]

    (done,) = (task for task in tasks if set(mistake.replaces) <= set(task.names))
    for task in tasks:
        for cell in task.graded:
            points, why = half.verdict.points[cell.grade_id], half.verdict.messages.get(cell.grade_id, "")
            if cell.manual or (task is done and cell.whole):
                continue  # a person gives them; a training with a mistake may pass
            wrong = task is not done or cell.grade_id in mistake.fails
            assert points == (0 if wrong else cell.points), f"{cell.grade_id}: {points} of {cell.points}: {why}"
    hinted = [name for name in mistake.fails if mistake.hint in half.verdict.messages.get(name, "")]
    assert hinted, half.verdict.messages


def test_each_week_has_its_own_helpers() -> None:
    for week in WEEKS:  # in one process, as the tests above
        assert load_mistakes(week)
