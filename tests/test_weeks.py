"""What holds for the homework of every week: references match, every known mistake is caught with its hint, every
alternative passes, stubs earn nothing, and no seminar gives a task away. A new week is covered when its folder exists.
"""

from __future__ import annotations

import ast
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from cheater import answer

from lsdl.author.course import WeekPaths, find_weeks
from lsdl.author.homework import GradedCell, Homework, Namespace, defined_names
from lsdl.author.reach import reachable
from lsdl.author.references import check_references, recorded
from lsdl.cells import without_magics
from lsdl.checks import Entry, ReferenceStore
from lsdl.compare import Packed
from lsdl.grading.judge import References, judge, read_tests

ROOT = Path(__file__).parents[1]
WEEKS = [*find_weeks(ROOT), *find_weeks(ROOT / "tests" / "fixtures" / "course")]
PARAMS = [pytest.param(week, id=week.name, marks=pytest.mark.xdist_group(week.name)) for week in WEEKS]
DEMO_KEY = ROOT / "gradebook" / "demo.key"
SEMINAR_SHARE = 0.25
CHEATERS_SHARE = 0.05
MISTAKES_NEEDED = 2


@pytest.fixture(scope="module", params=PARAMS)
def homework(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Homework]:
    """A week's homework; its checks use the committed visible references and hidden ones of the demo key."""
    homework = Homework(request.param)
    hidden = tmp_path_factory.mktemp(homework.name) / "hidden.safetensors"
    visible = ReferenceStore(WeekPaths.at(homework.week).visible_references)
    entries = recorded(homework, DEMO_KEY.read_bytes(), {name: visible.entry(name) for name in visible.names})
    ReferenceStore.write(hidden, {name: entries[name] for name in homework.hidden_names})
    with pytest.MonkeyPatch.context() as patch:
        for name in ("LSDL_OUTBOX", "LSDL_WEEK", "LSDL_WEEK_DIR"):
            patch.delenv(name, raising=False)
        patch.setenv("LSDL_HIDDEN_REFERENCES", str(hidden))
        yield homework


@pytest.fixture(scope="module")
def files(homework: Homework) -> tuple[Path, Path]:
    """Of the visible and the hidden references."""
    return WeekPaths.at(homework.week).visible_references, Path(os.environ["LSDL_HIDDEN_REFERENCES"])


@pytest.fixture(scope="module")
def entries(files: tuple[Path, Path]) -> dict[str, Entry]:
    """The visible and the hidden references."""
    return {name: store.entry(name) for store in map(ReferenceStore, files) for name in store.names}


def test_a_hand_in_without_a_solution_earns_next_to_nothing(
    homework: Homework, files: tuple[Path, Path], entries: dict[str, Entry]
) -> None:
    """Answers from public references, labels that are looked up, and bounds, through the judge."""
    visible = {name: entry for name, entry in entries.items() if name not in homework.hidden_names}

    def copied(name: str) -> Packed:
        known = entries[name].accepted if name in visible else ()
        return known[0] if known else answer(entries[name], visible)

    points = {cell.grade_id: cell.points for cell in homework.graded}
    earned, references = {}, References(*files)
    for name, test in read_tests(homework.notebook).items():
        answers = {check: [copied(check)] for check in test.checks}
        if test.checks and judge(test, answers, references, raised=False) is None:
            earned[name] = points[name]
    automatic = sum(task.points for task in homework.tasks)
    assert sum(earned.values()) <= CHEATERS_SHARE * automatic, earned


def test_no_answer_is_truth_values_alone(entries: dict[str, Entry]) -> None:
    """A True says neither what was computed nor which mistake it was."""
    values = {name: list(leaves(entry.accepted[0].structure)) for name, entry in entries.items() if entry.accepted}
    assert [name for name, found in values.items() if all(isinstance(value, bool) for value in found)] == []


def leaves(node: list) -> Iterator[object]:
    """The numbers, texts and tensors (as their number) of a packed value."""
    kind, content = node
    if kind in ("list", "tuple"):
        for item in content:
            yield from leaves(item)
    elif kind == "dict":
        for _, item in content:
            yield from leaves(item)
    else:
        yield content if kind == "plain" else f"{kind} {content}"


@pytest.fixture(scope="module")
def namespace(homework: Homework) -> Namespace:
    return homework.namespace()


@pytest.fixture(scope="module")
def solved(homework: Homework, namespace: Namespace) -> dict[str, Exception | None]:
    """What every unit cell ended with under the solutions."""
    return {cell.grade_id: homework.run_cell(cell, namespace) for cell in homework.unit_cells}


@pytest.fixture(scope="module")
def reach(homework: Homework, namespace: Namespace) -> dict[str, set[str]]:
    """The names that every unit cell can look up."""
    return {cell.grade_id: reachable(cell.source, namespace) for cell in homework.unit_cells}


@pytest.fixture(scope="module")
def outcomes(
    homework: Homework, namespace: Namespace, solved: dict[str, Exception | None], reach: dict[str, set[str]]
) -> list[dict[str, Exception | None]]:
    """For each mistake, in their order, what every unit cell ended with; a cell out of its reach as under the solutions."""
    results = []
    for mistake in homework.mistakes:
        cells = [cell for cell in homework.unit_cells if reach[cell.grade_id] & mistake.replaces.keys()]
        with homework.replaced(namespace, mistake.replaces):
            results.append(solved | {cell.grade_id: homework.run_cell(cell, namespace) for cell in cells})
    return results


def judged_by_value(homework: Homework, cell: GradedCell) -> list[str]:
    """The cell's checks of the kind "value"."""
    names = (*cell.visible_checks, *cell.hidden_checks)
    return [name for name in names if homework.cases[name].kind == "value"]


def failing_check(cell: GradedCell, error: Exception | None) -> str | None:
    """The name of the check that failed, None if it was something else."""
    named = (name for name in (*cell.visible_checks, *cell.hidden_checks) if str(error).startswith(f"{name}: "))
    return next(named, None) if type(error) is AssertionError else None


def test_the_references_match_the_solutions(homework: Homework) -> None:
    assert check_references(homework.week) == []


def test_the_solutions_pass(homework: Homework, solved: dict[str, Exception | None]) -> None:
    assert homework.unit_cells
    assert {name: error for name, error in solved.items() if error is not None} == {}


@pytest.mark.weekly
def test_cells_out_of_a_mistakes_reach_pass(
    homework: Homework, namespace: Namespace, outcomes: list[dict[str, Exception | None]]
) -> None:
    """The full product: what every mistake does to every cell is what the cells in its reach say."""
    for mistake, known in zip(homework.mistakes, outcomes, strict=True):
        with homework.replaced(namespace, mistake.replaces):
            errors = {cell.grade_id: homework.run_cell(cell, namespace) for cell in homework.unit_cells}
        assert {name: repr(error) for name, error in errors.items()} == {name: repr(e) for name, e in known.items()}


@pytest.mark.slow
def test_every_mistake_fails_the_cells_it_names_with_its_hint_and_no_other(
    homework: Homework, outcomes: list[dict[str, Exception | None]]
) -> None:
    problems = []
    cells = {cell.grade_id: cell for cell in homework.unit_cells}
    for mistake, errors in zip(homework.mistakes, outcomes, strict=True):
        problems += [f"{mistake.hint!r} names {name!r}, no such unit cell" for name in set(mistake.fails) - set(cells)]
        if not any(type(errors.get(name)) is AssertionError for name in mistake.fails):
            problems.append(f"{mistake.hint!r}: every cell dies before its check can show the hint")
        for name, error in errors.items():
            where = f"{mistake.hint!r}, cell {name!r}"
            if (error is not None) != (name in mistake.fails):
                problems.append(f"{where}: {'passes' if error is None else f'fails: {error!r}'}")
                continue
            by_value = failing_check(cells[name], error) in judged_by_value(homework, cells[name])
            if by_value and mistake.hint not in str(error):
                problems.append(f"{where}: the hint is not shown: {error}")
    assert problems == []


@pytest.mark.slow
def test_every_cell_judged_by_value_has_two_mistakes_with_hints(
    homework: Homework, outcomes: list[dict[str, Exception | None]]
) -> None:
    shown: Counter[str] = Counter()
    for mistake, errors in zip(homework.mistakes, outcomes, strict=True):
        shown.update(name for name, error in errors.items() if mistake.hint in str(error))
    few = {
        cell.grade_id: shown[cell.grade_id]
        for cell in homework.unit_cells
        if judged_by_value(homework, cell) and shown[cell.grade_id] < MISTAKES_NEEDED
    }
    assert few == {}


def test_every_alternative_passes(homework: Homework, namespace: Namespace, reach: dict[str, set[str]]) -> None:
    problems = []
    for alternative in homework.alternatives:
        with homework.replaced(namespace, alternative.replaces):
            for cell in (cell for cell in homework.unit_cells if reach[cell.grade_id] & alternative.replaces.keys()):
                error = homework.run_cell(cell, namespace)
                if error is not None:
                    problems.append(f"{', '.join(alternative.replaces)} in {cell.grade_id!r}: {error!r}")
    assert problems == []


def test_every_automatic_task_has_an_alternative(homework: Homework) -> None:
    replaced = {name for alternative in homework.alternatives for name in alternative.replaces}
    assert [task.title for task in homework.tasks if task.points and not replaced & set(task.names)] == []


def test_every_task_has_hints(homework: Homework) -> None:
    assert [task.title for task in homework.tasks if not task.hints] == []


def test_stubs_raise_not_implemented_and_earn_nothing(homework: Homework) -> None:
    stubs = homework.namespace(stubs=True)
    errors = {cell.grade_id: homework.run_cell(cell, stubs) for cell in homework.unit_cells}
    assert {name: error for name, error in errors.items() if not isinstance(error, NotImplementedError)} == {}


def test_the_seminar_gives_no_task_away(homework: Homework) -> None:
    taught = taught_functions(homework)
    stubs = homework.namespace(stubs=True)
    given_away = {}
    for task in homework.tasks:
        same = {name: taught[name] for name in task.names if name in taught}
        if same:
            with homework.replaced(stubs, same):
                cells = [cell for cell in task.graded if cell in homework.unit_cells]
                earned = sum(cell.points for cell in cells if homework.run_cell(cell, stubs) is None)
            if earned > SEMINAR_SHARE * task.points:
                given_away[task.title] = f"{', '.join(same)} earn {earned:g} of {task.points:g} points"
    assert given_away == {}


def taught_functions(homework: Homework) -> Namespace:
    """Functions and classes of the week's seminar and helpers, by name; nothing is trained.

    All its definitions and imports are executed, wherever they stand; other statements only in cells tagged `define`.
    """
    namespace: Namespace = {"__name__": "__main__"}
    names: set[str] = set()
    seminar = homework.week / "seminar.ipynb"
    assert seminar.is_file(), f"{homework.name} has no seminar.ipynb"
    with homework.at_home():
        for cell in nbformat.read(seminar, nbformat.NO_CONVERT).cells:
            tags = set(cell.metadata.get("tags", []))
            if cell.cell_type != "code" or "setup" in tags:
                continue
            for statement in ast.parse(without_magics(cell.source)).body:
                defines = isinstance(statement, ast.FunctionDef | ast.ClassDef)
                if defines or isinstance(statement, ast.Import | ast.ImportFrom) or tags & {"define", "parameters"}:
                    part = ast.Module([statement], [])
                    names.update(defined_names(ast.unparse(part)) if defines else ())
                    try:
                        exec(compile(part, "seminar", "exec"), namespace)
                    except NameError:  # it needs what an experiment made: then it cannot be pasted at home either
                        assert not tags & {"define", "parameters"}
        helpers: Namespace = {}
        exec("import helpers", helpers)
        names.update(name for name in vars(helpers["helpers"]) if not name.startswith("_"))
        return vars(helpers["helpers"]) | {name: namespace[name] for name in names if name in namespace}
