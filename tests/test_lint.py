"""Every lint rule: a week that keeps them all, and for each rule a week that breaks it."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import small_week
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell, new_output
from small_week import code

from lsdl.author import lesson
from lsdl.author.course import repository_of
from lsdl.author.lint import (
    COURSE_FILES,
    INSTRUCTOR_FILES,
    RULES,
    WEEK_RULES,
    fix_course,
    fix_week,
    lint_course,
    lint_week,
)
from lsdl.author.opening import badge
from lsdl.author.times import store_times
from lsdl.claims import MIME

REPOSITORY = Path(__file__).resolve().parents[1]
CLONE = repository_of(Path(__file__)).partition("/")[2]  # what the setup cell calls the course
COURSE = """title = "t"
edition = "2026.1"
parts = [{name = "all", weight = 1, pass_mark = 0.5}]
[weeks.week98-small]
title = "Small"
points = POINTS
"""
PROJECT = """[project]
dependencies = ["torch>=2.4", "ipython>=8.20", "matplotlib>=3.8", "safetensors>=0.4.3", "scipy>=1.11"]
[project.optional-dependencies]
weeks = ["scikit-learn>=1.4"]
dev = ["pytest>=8.2"]
"""


@pytest.fixture
def week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(lesson, "STANDING", (small_week.NAME,))  # the limits of a lesson: test_lesson.py
    (tmp_path / "course.toml").write_text(COURSE.replace("POINTS", "2"))
    seminar = small_week.seminar()
    for number, cell in enumerate(seminar.cells[1:], start=1):
        cell.execution_count = number
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    week = small_week.write_week(tmp_path, seminar, small_week.homework())
    (week / "README.md").write_text("# Small\n")
    store_times(week, {"seminar": 1, "homework": 1})
    (week / "instructor").mkdir()
    for name in INSTRUCTOR_FILES:
        (week / "instructor" / name).touch()
    return week


def edit(week: Path, kind: str, change: Callable[[NotebookNode], object]) -> None:
    path = week / f"{kind}.ipynb"
    node = nbformat.read(path, nbformat.NO_CONVERT)
    change(node)
    path.write_text(json.dumps(node), encoding="utf-8")  # nbformat.write would refuse some of the broken ones


def rules(week: Path) -> set[str]:
    return {problem.rule for problem in lint_week(week)}


def test_a_good_week_has_no_problems(week: Path) -> None:
    assert [str(problem) for problem in lint_week(week)] == []


def source(index: int, old: str, new: str) -> Callable[[NotebookNode], object]:
    def change(node: NotebookNode) -> None:
        assert old in node.cells[index].source
        node.cells[index].source = node.cells[index].source.replace(old, new)

    return change


def output(kind: str, **fields: object) -> Callable[[NotebookNode], object]:
    return lambda node: node.cells[4].outputs.append(new_output(kind, **fields))


def meta(index: int, **fields: object) -> Callable[[NotebookNode], object]:
    return lambda node: node.cells[index].metadata.nbgrader.update(fields)


def swap(first: int, second: int) -> Callable[[NotebookNode], object]:
    def change(node: NotebookNode) -> None:
        cells = node.cells
        cells[first], cells[second] = cells[second], cells[first]

    return change


def append(*cells: NotebookNode) -> Callable[[NotebookNode], object]:
    return lambda node: node.cells.extend(cells)


def failed_claim() -> Callable[[NotebookNode], object]:
    claim = {"name": "a", "outcome": "does not hold", "reason": " "}
    return output("display_data", data={MIME: {"claims": [claim]}})


def more_points(node: NotebookNode) -> None:
    node.cells[5].metadata.nbgrader.points = 3


def unmarked(node: NotebookNode) -> None:
    node.cells[4].source = "def double(x):\n    return 2 * x"


LONG = "\n".join(f"x{i} = {i}" for i in range(61))
HIDDEN_CHECK = 'check("double/secret", double(*check.inputs("double/secret")))\n'
BREAKS = [
    ("title", "seminar", source(0, "# A", "A")),
    ("title", "seminar", source(0, CLONE, "other")),
    ("title", "seminar", source(0, "blob/main", "blob/student")),
    ("title", "homework", source(0, "blob/student", "blob/main")),
    ("title", "homework", source(0, "homework.ipynb", "seminar.ipynb")),
    ("setup", "seminar", source(1, CLONE, "lsdl")),
    ("setup", "homework", lambda node: node.cells.pop(1)),
    ("setup", "homework", append(code("1", "setup"))),
    ("parameters", "homework", swap(2, 3)),
    ("parameters", "seminar", source(2, "SEED = 0", "SEED = 1")),
    ("define", "homework", lambda node: node.cells[3].metadata.update(tags=[])),
    ("ids", "seminar", lambda node: node.cells[2].update(id=node.cells[1].id)),
    ("ids", "seminar", lambda node: (node.update(nbformat_minor=4), [cell.pop("id") for cell in node.cells])),
    ("sizes", "seminar", append(code(LONG))),
    ("sizes", "homework", append(*(code("\n".join(["x = 1"] * 16)) for _ in range(6)))),
    ("syntax", "seminar", append(code("def f(:"))),
    ("alt-text", "seminar", append(new_markdown_cell("text ![](figure.png)"))),
    ("alt-text", "seminar", append(new_markdown_cell("<img src='a.png'>"))),
    ("alt-text", "homework", append(new_markdown_cell('text <img src="a.png" alt=""> text'))),
    ("papermill", "seminar", lambda node: node.metadata.update(papermill={})),
    ("papermill", "seminar", append(code("SCALE = 'full'", "injected-parameters"))),
    ("outputs", "seminar", output("stream", name="stderr", text="UserWarning: old")),
    ("outputs", "seminar", output("error", ename="ValueError", evalue="", traceback=[])),
    ("outputs", "seminar", lambda node: [cell.update(execution_count=None) for cell in node.cells[1:]]),
    ("size", "seminar", output("stream", name="stdout", text="x" * 2_000_000)),
    ("claims", "seminar", failed_claim()),
    ("not-graded", "seminar", append(code("1", grade_id="a", solution=True))),
    ("no-outputs", "homework", output("stream", name="stdout", text="2")),
    ("no-outputs", "homework", lambda node: node.cells[4].update(execution_count=1)),
    ("metadata", "homework", meta(5, schema_version=2)),
    ("metadata", "homework", meta(5, schema_version=4)),
    ("metadata", "homework", meta(5, points="many")),
    ("metadata", "homework", lambda node: node.cells[5].metadata.nbgrader.pop("points")),
    ("metadata", "homework", lambda node: node.cells[5].metadata.nbgrader.pop("grade_id")),
    ("metadata", "homework", meta(5, grade_id="double")),
    ("metadata", "homework", meta(5, grade_id="cell-0a1b2c3d")),
    ("metadata", "homework", meta(5, grade_id="Double")),
    ("metadata", "homework", meta(5, locked=False)),
    ("metadata", "homework", meta(4, locked=True)),
    ("metadata", "homework", lambda node: [cell.metadata.pop("nbgrader", None) for cell in node.cells]),
    ("points", "homework", more_points),
    ("graded-cells", "homework", source(5, "from lsdl.checks import check\n", "")),
    ("graded-cells", "homework", source(5, "import check\n", "import check\nimport torch\n")),
    ("graded-cells", "homework", lambda node: node.cells[5].update(source=node.cells[5].source + "\ndouble(1)")),
    ("graded-cells", "homework", lambda node: node.cells[5].update(source=node.cells[5].source + "\nx = print(1)")),
    ("graded-cells", "homework", lambda node: node.cells[5].update(source="from lsdl.checks import check\nassert 1")),
    ("graded-cells", "homework", lambda node: node.cells[5].update(source="%time check('double/value', 1)")),
    ("stubs", "homework", unmarked),
    ("stubs", "homework", source(4, "    ### END SOLUTION\n    return y", "    ### END SOLUTION\n   return y")),
    ("stubs", "homework", lambda node: node.cells[4].update(source="### BEGIN SOLUTION\ny = 1\n### END SOLUTION")),
    ("stubs", "homework", source(4, "    ### END SOLUTION\n", "")),
    ("markers", "homework", source(4, "### END SOLUTION", "### End Solution")),
    ("markers", "homework", source(5, "### END HIDDEN TESTS", "# END HIDDEN TESTS")),
    ("markers", "homework", source(5, "### END HIDDEN TESTS", "")),
    ("markers", "homework", source(5, "### BEGIN HIDDEN TESTS", "")),
    ("markers", "homework", source(5, "### BEGIN HIDDEN TESTS", "### BEGIN HIDDEN TESTS\n### BEGIN HIDDEN TESTS")),
    ("markers", "homework", append(code("### BEGIN HIDDEN TESTS\n1\n### END HIDDEN TESTS"))),
    ("markers", "homework", append(code("### BEGIN SOLUTION\n1\n### END SOLUTION"))),
    ("hidden-checks", "homework", source(5, HIDDEN_CHECK, "")),
    ("hidden-checks", "homework", lambda node: node.cells[5].metadata.update(tags=["whole"])),
    ("hidden-names", "homework", append(new_markdown_cell("The check double/secret is hidden."))),
    ("hidden-names", "homework", source(5, 'check("double/value", ', 'check("double/secret", ')),
    ("hidden-names", "homework", source(5, 'check("double/secret", ', 'check(f"double/{1}", ')),
]


@pytest.mark.parametrize(("rule", "kind", "change"), BREAKS, ids=[f"{i}-{b[0]}" for i, b in enumerate(BREAKS)])
def test_each_rule_is_broken_by_a_week_that_breaks_it(week: Path, rule: str, kind: str, change: Callable) -> None:
    edit(week, kind, change)
    assert rule in rules(week)
    assert all(problem.file.endswith(f"{kind}.ipynb") for problem in lint_week(week))


def writes(name: str, text: str) -> Callable[[Path], object]:
    return lambda week: (week / name).write_text(text)


# the rule, the file that is named, what is said of it, what breaks it
WEEK_BREAKS = [
    ("instructor", "instructor/cases.py", "missing", lambda week: (week / "instructor" / "cases.py").unlink()),
    (
        "instructor",
        "instructor/full_scale.py",
        "missing",
        lambda week: (week / "instructor" / "full_scale.py").unlink(),
    ),
    ("times", "README.md", "missing", lambda week: (week / "README.md").unlink()),
    ("times", "README.md", "`lsdl run week98-small --update` stores it", writes("README.md", "# Small\n")),
    (
        "requires",
        "week.toml",
        "'scikit-learn>=1' does not stand so",
        writes("week.toml", 'requires = ["scikit-learn>=1"]'),
    ),
    ("requires", "week.toml", "requires: Input should be", writes("week.toml", "requires = 1")),
    ("imports", "helpers.py", "`sklearn` is of scikit-learn", writes("helpers.py", "import sklearn.datasets")),
    (
        "imports",
        "measure.py",
        "`sklearn` is of scikit-learn",
        writes("measure.py", "def f():\n    from sklearn import svm"),
    ),
    ("imports", "helpers.py", "`open_clip` is of open-clip-torch", writes("helpers.py", "from lsdl.data import clip")),
    ("imports", "helpers.py", "a package that is not installed here", writes("helpers.py", "import absent_module")),
    ("imports", "seminar.ipynb", "`rich`", lambda week: edit(week, "seminar", append(code("%time 1\nimport rich")))),
]


@pytest.mark.parametrize(("rule", "file", "said", "change"), WEEK_BREAKS, ids=[f"{b[0]}-{b[1]}" for b in WEEK_BREAKS])
def test_each_rule_of_a_week_s_files_is_broken(week: Path, rule: str, file: str, said: str, change: Callable) -> None:
    change(week)
    (problem,) = [problem for problem in lint_week(week) if problem.rule != "points"]
    assert (problem.rule, problem.file) == (rule, f"{week.name}/{file}") and said in problem.message


def test_what_a_week_requires_and_what_that_requires_itself_may_be_imported(week: Path) -> None:
    (week / "week.toml").write_text('requires = ["scikit-learn>=1.4"]')
    (week / "measure.py").write_text("import scipy, sklearn, numpy, PIL, torch.nn, helpers")
    assert rules(week) == set()


def test_every_rule_has_a_week_that_breaks_it() -> None:
    assert {rule for rule, _, _ in BREAKS} == set(RULES)
    assert {rule for rule, *_ in WEEK_BREAKS} == set(WEEK_RULES)


def test_generated_files_of_the_repository_are_compared_and_written(week: Path) -> None:
    root = week.parent
    assert lint_course(root) == []  # there is none yet
    (root / "requirements.txt").touch()
    (root / "README.md").touch()
    said = {problem.rule: problem.message for problem in lint_course(root)}
    assert set(said) == set(COURSE_FILES) - {"citation"} and "lint:weeks" in said["readme"]  # CITATION.cff is absent
    (root / "README.md").write_text("# Course\n\n<!-- lint:weeks -->\n<!-- /lint -->\n")
    assert all("run `lsdl lint --fix`" in problem.message for problem in lint_course(root))
    assert fix_course(root) == [root / "README.md", root / "requirements.txt"]
    assert lint_course(root) == [] and fix_course(root) == []
    lines = (root / "requirements.txt").read_text().splitlines()
    wanted = "ipython>=8.20 matplotlib>=3.8 pytest>=8.2 safetensors>=0.4.3 scikit-learn>=1.4 scipy>=1.11 torch>=2.4"
    assert [line for line in lines if line[0] != "#"] == wanted.split()


def test_a_missing_or_damaged_notebook_is_a_problem(week: Path) -> None:
    (week / "seminar.ipynb").unlink()
    (week / "homework.ipynb").write_text("{")
    assert rules(week) == {"exists", "format"}


def test_a_week_that_the_course_does_not_list_is_a_problem(week: Path) -> None:
    shutil.move(week, week.parent / "week97-other")
    assert "points" in rules(week.parent / "week97-other")


def test_longer_names_that_contain_a_hidden_one_are_no_leak(week: Path) -> None:
    edit(week, "homework", append(new_markdown_cell("See double/secret_visible and my/double/secret.")))
    assert rules(week) == set()


def test_fix_regenerates_the_opening_and_clears_a_homework(week: Path) -> None:
    before = (week / "seminar.ipynb").read_text()
    assert fix_week(week) == []
    edit(week, "homework", source(1, CLONE, "lsdl"))
    edit(week, "homework", source(0, "blob/student", "blob/main"))
    edit(week, "homework", source(2, "SEED = 0", "SEED = 1"))
    edit(week, "homework", output("stream", name="stdout", text="2"))
    assert rules(week) == {"title", "setup", "parameters", "no-outputs"}
    assert fix_week(week) == [week / "homework.ipynb"]
    assert rules(week) == set()
    assert (week / "seminar.ipynb").read_text() == before


def test_fix_puts_an_absent_badge_below_the_title(week: Path) -> None:
    for before in ("# A small seminar", "# A small seminar\n\nText."):
        edit(week, "seminar", lambda node, text=before: node.cells[0].update(source=text))
        fix_week(week)
        title, _, rest = before.partition("\n\n")
        wanted = [title, badge(week.name, "seminar"), rest]
        assert nbformat.read(week / "seminar.ipynb", 4).cells[0].source.strip().split("\n\n") == [
            w for w in wanted if w
        ]
        assert rules(week) == set()


def test_the_name_of_the_repository_stands_in_one_place(tmp_path: Path) -> None:
    """Who adopts the course changes course.toml; `lsdl lint --fix` writes the rest."""
    root = tmp_path / "course"
    week = small_week.write_week(root, small_week.seminar(), small_week.homework())
    (root / "course.toml").write_text(
        'title = "t"\nedition = "2026.1"\nrepository = "prof/deep"\n'
        '[[parts]]\nname = "a"\nweight = 1\npass_mark = 0\n'
        f'[weeks.{small_week.NAME}]\ntitle = "t"\npoints = 2\n'
    )
    (root / "README.md").write_text("<!-- lint:weeks -->\n<!-- /lint -->\n")
    (root / "CITATION.cff").write_text("title: t\nrepository-code: https://github.com/old/name\n")
    assert {problem.rule for problem in lint_week(week)} >= {"title", "setup"}
    assert {problem.rule for problem in lint_course(root)} == {"readme", "citation"}
    fix_week(week)
    fix_course(root)
    assert lint_course(root) == [] and not {problem.rule for problem in lint_week(week)} & {"title", "setup"}
    for file in (*week.glob("*.ipynb"), root / "README.md", root / "CITATION.cff"):
        text = file.read_text()
        assert "github.com/prof/deep" in text or "github/prof/deep" in text, file
        assert repository_of(Path(__file__)) not in text, file
    assert "deep-{time.time()" in (week / "homework.ipynb").read_text()


def test_the_course_names_its_repository_nowhere_else() -> None:
    """But in what `lsdl lint --fix` writes, and in a fixture."""
    name = repository_of(REPOSITORY)
    listed = subprocess.run(["git", "grep", "-lI", name], cwd=REPOSITORY, capture_output=True, text=True).stdout.split()
    by_hand = [file for file in listed if not file.endswith(".ipynb") and not file.startswith("tests/fixtures/")]
    assert set(by_hand) <= {"course.toml", "README.md", "CITATION.cff"}
