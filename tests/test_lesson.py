"""The limits of a lesson and of a homework: notebooks that keep them, and for each limit one that does not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import small_week
from nbformat import NotebookNode
from nbformat.v4 import new_output
from small_week import code, shown, text
from typer.testing import CliRunner

from lsdl.author import lesson
from lsdl.author.lesson import (
    HOMEWORK_RULES,
    SEMINAR_RULES,
    blocks,
    code_lines,
    lesson_figures,
    lesson_problems,
    lint_lesson,
    sentences,
    words,
)
from lsdl.claims import MIME
from lsdl.cli import app

REPOSITORY = Path(__file__).resolve().parents[1]
Change = Callable[[NotebookNode], object]

# indices of the cells of small_week.lesson()
OPENING, DEFINE, FIRST, RUN, REMEMBER, FURTHER_TEXT, FURTHER_RUN, LAST, LAST_RUN, END = 0, 3, 4, 5, 6, 7, 8, 9, 10, 11


def lines(count: int) -> str:
    return "\n".join(f"x{k} = {k}  # line" for k in range(count)) + "\n\n# a comment\n"


def prose(count: int) -> str:
    """So many words, in sentences of ten."""
    return " ".join("Word" if k % 10 == 0 else "word." if k % 10 == 9 else "word" for k in range(count))


def put(index: int, *cells: NotebookNode) -> Change:
    """Insert cells before the one with that index."""

    def change(node: NotebookNode) -> None:
        node.cells[index:index] = cells

    return change


def add(index: int, source: str) -> Change:
    def change(node: NotebookNode) -> None:
        node.cells[index].source += source

    return change


def replace(index: int, old: str, new: str) -> Change:
    def change(node: NotebookNode) -> None:
        assert old in node.cells[index].source
        node.cells[index].source = node.cells[index].source.replace(old, new)

    return change


def tag(index: int, *tags: str) -> Change:
    return lambda node: node.cells[index].metadata.update(tags=list(tags))


def claims(shown_count: int, folded: int = 0) -> Change:
    """An output with a table of claims, of which some are in `<details>`."""
    names = [f"A < B in case {chr(97 + k)}" for k in range(shown_count + folded)]
    rows = [f"<tr><td>{name.replace('<', '&lt;')}</td></tr>" for name in names]
    page = "<table>" + "".join(rows[:shown_count]) + "</table><details>" + "".join(rows[shown_count:]) + "</details>"
    data = {MIME: {"claims": [{"name": name} for name in names]}, "text/html": page}
    return lambda node: node.cells[LAST_RUN].outputs.append(new_output("display_data", data=data))


def blocks_of_code(sections: int, cells: int, count: int) -> Change:
    """Sections of cells with so many lines and an output, each after a text."""
    made = []
    for _ in range(sections):
        made.append(text("## More"))
        made += [cell for _ in range(cells) for cell in (text("Look."), shown(lines(count)))]
    return put(LAST, *made)


def blocks_of_text(sections: int, cells: int, count: int) -> Change:
    return put(
        LAST, *(text(("## More\n" if k == 0 else "") + prose(count)) for _ in range(sections) for k in range(cells))
    )


CLASS = "class Model:\n    " + lines(70).replace("\n", "\n    ") + "\n"
USED = "\nprint(Model)"

SEMINAR_KEEPS: list[Change] = [
    lambda node: None,
    put(END, text("Look."), code(lines(30)), text("And here."), code(lines(15))),
    lambda node: (put(END, text("A class."), code(CLASS))(node), add(LAST_RUN, USED)(node)),
    put(FURTHER_TEXT + 1, *(code(lines(50), "further") for _ in range(4))),  # further may be silent
    put(FURTHER_TEXT + 1, text(prose(400), "further")),
    add(FIRST, "\n\n" + prose(121)),
    add(FIRST, "\n\n" + "word " * 34 + "ends. `code` follows."),
    add(FIRST, "\n\n|a|b|\n|---|---|\n" + "|" + " word" * 34 + ".|" + " word" * 34 + "|"),
    claims(10, folded=3),
    lambda node: (claims(10)(node), claims(1)(node)),
    add(DEFINE, "\n\n\ndef twice(x):\n    return double(double(x))\n\n\ny = [twice(k) for k in range(3)]"),
    add(DEFINE, '\n\n\ndef small(x):\n    return x\n\n\ny = small(1) if SCALE == "smoke" else double(1)'),
    add(RUN, "\ndef inner(z):\n    return z\n\n\nprint(inner(1))"),  # z is local here, not the further z
    replace(REMEMBER, "**Remember**", "Twice is a sum.\n\n**Remember.**"),
    add(RUN, "\nplt.subplots(1, 2, figsize=(8, 3))\nplt.subplots(len(y), figsize=(len(y) * 3, 20))"),
    add(OPENING, "\n\n" + prose(144)),
    replace(LAST, "## 3. What", "## What"),
]
SEMINAR_BREAKS: list[tuple[str, str, Change]] = [
    ("silence", "3 code cell(s) and 3 lines", put(END, text("Look."), code("1"), code("2"), text("Look."), code("3"))),
    ("silence", "2 code cell(s) and 46 lines", put(END, text("Look."), code(lines(40)), text("Look."), code(lines(6)))),
    ("silence", "81 lines", lambda node: (put(END, text("Look."), code(CLASS), text("Look."), code(lines(10)))(node), add(LAST_RUN, USED)(node))),
    ("introduced", "67% of the code cells", put(RUN + 1, shown("1"))),
    ("text-cells", "131 words", add(LAST, "\n\n" + prose(125))),
    ("sentences", "36 words", add(FIRST, "\n\n" + "word " * 35 + "ends.")),
    ("sentences", "36 words", add(FIRST, "\n\n" + "word " * 17 + "(Kim et al. 2021) " + "and $x$ of `code` " * 2 + "word " * 8 + "ends.")),
    ("sections", "501 words", blocks_of_text(1, 5, 100)),
    ("sections", "111 lines", blocks_of_code(1, 3, 37)),
    ("core", "2,3", blocks_of_text(23, 1, 99)),
    ("core", "lines of code", blocks_of_code(13, 1, 37)),
    ("core", "minutes to read", lambda node: (blocks_of_text(80, 1, 99)(node), blocks_of_code(8, 1, 37)(node))),
    ("claims-shown", "11 claims", claims(11)),
    ("never-run", "`triple` is never run", add(DEFINE, "\n\n\ndef triple(x):\n    return 3 * x")),
    ("never-run", "`Model` is never run", add(DEFINE, "\n\n\nclass Model:\n    pass")),
    ("never-run", "`inner` is", add(DEFINE, "\n\n\ndef inner():\n    return outer()\n\n\ndef outer():\n    return inner()")),
    ("never-run", "`triple` is", add(RUN, "\ndef triple(x):\n    return x\n\n\nif RETRAIN or SCALE == 'full':\n    triple(1)")),
    ("never-run", "`triple` is", add(RUN, "\ndef triple(x):\n    return x\n\n\ny = triple(1) if RETRAIN and y else 2")),
    ("further", "tag the cell", tag(FURTHER_RUN)),
    ("further", "does not end with (further", tag(LAST_RUN, "further")),
    ("further", "write the title like", replace(LAST, "What we saw", "*Further*: what we saw")),
    ("core-names", "only further cells define: z", add(LAST_RUN, "\nprint(z)")),
    ("core-names", "only further cells define: z", add(LAST_RUN, "\nprint([(lambda: z + k)() for k in range(3)])")),
    ("opening", "151 words", add(OPENING, "\n\n" + prose(145))),
    ("opening", "0 pictures", replace(OPENING, "![a map](map.svg)", "")),
    ("opening", "2 pictures", replace(OPENING, "![a map](map.svg)", '![a map](map.svg) <img src="a.svg" alt="b">')),
    ("opening", "2 bullets", replace(OPENING, "- one\n", "")),
    ("remember", "without **Remember**", replace(REMEMBER, "**Remember**", "Remember")),
    ("remember", "1 bullets", replace(REMEMBER, "- Twice is more.\n", "")),
    ("remember", "without **Remember**", put(REMEMBER + 1, text("Look."), shown("1"))),
    ("drawings", "8.5 inches", add(RUN, "\nplt.figure(figsize=(8.5, 3))")),
    ("drawings", "3 panels", add(RUN, "\nplt.subplots(1, 3)")),
    ("drawings", "3 panels", add(FURTHER_RUN, "\nfigure.subplots(ncols=3)")),
    ("drawings", "4 panels", add(RUN, "\nplt.subplots(2, ncols=2)")),
]  # fmt: skip


def seminar_problems(folder: Path, change: Change) -> list[tuple[str, str]]:
    node = small_week.lesson()
    change(node)
    week = small_week.write_week(folder, node)
    return [(problem.rule, problem.message) for problem in lesson_problems(week)]


@pytest.mark.parametrize("change", SEMINAR_KEEPS)
def test_a_seminar_keeps_the_limits(tmp_path: Path, change: Change) -> None:
    assert seminar_problems(tmp_path, change) == []


@pytest.mark.parametrize(("rule", "said", "change"), SEMINAR_BREAKS, ids=[f"{k}-{b[0]}" for k, b in enumerate(SEMINAR_BREAKS)])  # fmt: skip
def test_a_seminar_breaks_a_limit(tmp_path: Path, rule: str, said: str, change: Change) -> None:
    found = seminar_problems(tmp_path, change)
    assert {name for name, _ in found} == {rule}
    assert any(said in message for _, message in found), found


def test_helpers_that_are_too_long(tmp_path: Path) -> None:
    week = small_week.write_week(tmp_path, small_week.lesson())
    (week / "helpers.py").write_text("x = 1\n" * 300)
    assert lesson_problems(week) == []
    (week / "helpers.py").write_text("x = 1\n" * 301)
    assert [str(problem) for problem in lesson_problems(week)] == [
        f"{small_week.NAME}/seminar.ipynb: helpers.py has 301 lines, at most 300. [helpers]"
    ]


FIGURE = """### BEGIN SOLUTION
axes = plt.subplots(1, 2)
for ax, (name, model) in zip(axes, models.items()):
    points = embed(model, pictures)
    ax.scatter(*points.T, s=4)
    ax.set_title(f"{name}: {len(points)}")
### END SOLUTION"""
COPY = """for axis, (kind, net) in zip(grid, tuned.items()):
    where = embed(net.backbone, drawings)
    axis.scatter(*where.T, s=4)
    axis.set_title(f"{kind}, tuned: {len(where)}")"""


def task(
    title: str = "Task 1. Double (2 points)", minutes: str = "*Easy, 5 minutes.*", statement: str = ""
) -> NotebookNode:
    return text(f"## {title}\n\n{minutes}\n\n{statement}")


def stub(functions: int = 1) -> NotebookNode:
    one = "def {}(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION\n\n\n"
    return code("".join(one.format(f"f{k}") for k in range(functions)), grade_id="f", solution=True)


def graded(count: int) -> NotebookNode:
    source = "### BEGIN HIDDEN TESTS\n" + lines(9) + "### END HIDDEN TESTS\n"
    return code(lines(count) + source, grade_id="g", grade=True, locked=True, points=1)


def figure(source: str = FIGURE) -> NotebookNode:
    return code(source, grade_id="figure", grade=True, solution=True, points=1)


ANSWER = small_week.text(prose(200))
ANSWER.metadata.nbgrader = {"schema_version": 3, "grade": True, "solution": True, "locked": False, "grade_id": "words", "points": 1}  # fmt: skip

HOMEWORK_KEEPS: list[tuple[NotebookNode, ...]] = [
    (task(), stub(), graded(12)),
    (task(minutes="*Open, 200 minutes with the report.*"), stub(12)),
    (task(statement=prose(112)), stub()),
    (task(statement=f"<details><summary>Hint</summary>\n\n{prose(200)}\n\n</details>"), stub()),
    (text(prose(200)), task(), stub()),
    (task(), stub(), text(prose(200)), code("1"), text("The next."), stub()),
    (task(), ANSWER, text("The next."), stub()),
    (task(), stub(), task("Task 2. Bonus (1 point)", "*Hard, 300 minutes.*"), stub(20)),
    (task(), figure(), code("axes = plt.subplots(1, 2)\nfor ax in axes:\n    ax.plot(x)")),
    (task(), figure(), code("ax.scatter(*points.T, s=4)")),
    (task(), figure("print(1)\nprint(2)\n" + FIGURE), code("print(1)\nprint(2)")),
]
HOMEWORK_BREAKS: list[tuple[str, str, tuple[NotebookNode, ...]]] = [
    ("nominal", "201 nominal minutes", (task(minutes="*Easy, 101 minutes.*"), task("Task 2", "*Hard, 100 minutes.*"))),
    ("nominal", "does not say the minutes", (task(minutes="*Easy.*"), stub())),
    ("functions", "13 required functions", (task(), stub(12), task("Task 2"), stub(1))),
    ("statements", "121 words stand before this stub", (task(statement=prose(113)), stub())),
    ("statements", "words stand before", (task(), text(prose(70)), text(prose(70)), figure())),
    ("graded-lines", "13 visible lines", (task(), stub(), graded(13))),
    ("given", "'figure' (cell 5): 3 of its 4", (task(), figure(), code(COPY))),
    ("given", "3 of its 4", (task(), code("def draw(grid, tuned):\n    " + COPY.replace("\n", "\n    ")), figure())),
    ("given", "4 of its 4", (task(), figure(), code(FIGURE.replace("### ", "# ")))),
    ("given", "4 of its 4", (task(), figure("print(1)\n" + FIGURE), code(FIGURE.replace("### ", "# ")))),
]


@pytest.mark.parametrize("cells", HOMEWORK_KEEPS)
def test_a_homework_keeps_the_limits(tmp_path: Path, cells: tuple[NotebookNode, ...]) -> None:
    week = small_week.write_week(tmp_path, homework_node=small_week.homework(*cells))
    assert lesson_problems(week) == []


@pytest.mark.parametrize(("rule", "said", "cells"), HOMEWORK_BREAKS, ids=[f"{k}-{b[0]}" for k, b in enumerate(HOMEWORK_BREAKS)])  # fmt: skip
def test_a_homework_breaks_a_limit(tmp_path: Path, rule: str, said: str, cells: tuple[NotebookNode, ...]) -> None:
    week = small_week.write_week(tmp_path, homework_node=small_week.homework(*cells))
    (problem,) = lesson_problems(week)
    assert problem.rule == rule and said in problem.message, problem


def test_every_limit_has_a_notebook_that_breaks_it() -> None:
    assert {rule for rule, *_ in SEMINAR_BREAKS} | {"helpers"} == set(SEMINAR_RULES)
    assert {rule for rule, *_ in HOMEWORK_BREAKS} == set(HOMEWORK_RULES)


@pytest.mark.parametrize(
    ("markdown", "count"),
    [
        ("Two words", 2),
        ("Twice $2 x$ of `a long code`, [a link](https://example.org/a-b) and **bold** words.", 8),
        ("$$ a + b = c . $$ Then", 2),
        ("| a | b |\n|---|---|\n| one | two |\n", 4),
        ("![not read](a.svg) <b>one</b> - <!-- none of this -->", 1),
        ("```\ncode here\n```\ntext", 1),
        ("<details><summary>Why</summary>\n\nSo.\n\n</details>", 2),
    ],
)
def test_words(markdown: str, count: int) -> None:
    assert sum(map(words, blocks(markdown))) == count


def test_sentences_end_where_a_reader_stops() -> None:
    assert len(sentences('Kim et al. 2021 say so (Fig. 3). It is. "Why?" Because: no.')) == 4
    (block,) = blocks("The loss is $$ x . $$ So small. `f` is larger.")
    assert len(sentences(block)) == 3


def test_lines_of_code() -> None:
    assert code_lines("# why\n\nx = 1  # why\n    # why\ny = 2\n") == 2


def test_the_week_s_switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = small_week.lesson()
    add(DEFINE, "\n\n\ndef triple(x):\n    return 3 * x")(node)
    week = small_week.write_week(tmp_path, node)
    (problem,) = lint_lesson(week)
    assert problem.file == f"{small_week.NAME}/week.toml" and "write `lesson = true`" in problem.message
    (week / "week.toml").write_text("lesson = true\n")
    assert [problem.rule for problem in lint_lesson(week)] == ["never-run"]
    monkeypatch.setattr(lesson, "STANDING", (week.name,))
    assert [problem.rule for problem in lint_lesson(week)] == ["never-run"]
    (week / "week.toml").write_text("lesson = false\n")
    assert lint_lesson(week) == [] and len(lesson_problems(week)) == 1


def test_what_cannot_be_read_is_left_to_other_rules(tmp_path: Path) -> None:
    week = small_week.write_week(tmp_path, small_week.notebook(code("def f(:")))
    (week / "homework.ipynb").write_text("[]")
    (week / "week.toml").write_text("lesson = 7")
    assert list(lesson_figures(week)) == [f"{week.name}/seminar.ipynb"] and lint_lesson(week) == []


def test_the_command_shows_figures_limits_and_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "course.toml").touch()
    node = small_week.lesson()
    week = small_week.write_week(tmp_path, node, small_week.homework(task(), stub()))
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["lint", "--lesson"])
    assert done.exit_code == 0 and done.output.count("│ words before a stub") == 1, done.output
    put(END, text("Look."), code(lines(46)))(node)
    nbformat.write(node, week / "seminar.ipynb")
    done = CliRunner().invoke(app, ["lint", "98", "--lesson"])
    assert done.exit_code == 1, done.output
    assert "seminar.ipynb, cell 12: 1 code cell(s) and 46 lines without output, up to cell 12" in done.output
    assert "│ longest silent run, lines     │ 46 " in done.output


def test_counting_needs_neither_torch_nor_nbgrader() -> None:
    script = "import sys, lsdl.author.lesson; print([m for m in ('torch', 'nbgrader') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
