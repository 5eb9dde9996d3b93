"""The doctor's lines."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lsdl.at_home import differences
from lsdl.doctor import syntax_error
from lsdl.grading import jail
from lsdl.grading.examine import _origin, examine_machine, examine_notebook
from lsdl.grading.release import release


def test_this_machine_can_grade() -> None:
    found = examine_machine(Path(__file__).resolve().parents[2])
    problems = [diagnosis.line for diagnosis in found if diagnosis.level == "problem"]
    # What the sandbox lacks is this kernel's affair, and is said; nothing else may be wrong.
    assert [line for line in problems if not line.startswith("sandbox: ")] == []
    assert len([line for line in problems if line.startswith("sandbox: ")]) == len(jail.missing())
    for name in jail.capabilities():
        assert [diagnosis for diagnosis in found if diagnosis.line.startswith(f"sandbox, {name}: ")]
    assert {"python", "torch", "nbgrader", "disk"} <= {diagnosis.line.partition(":")[0] for diagnosis in found}


def test_a_machine_without_the_course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "run lsdl inside the course's repository" in examine_machine()[-1].line


def test_notebooks(week: Path, tmp_path: Path) -> None:
    good = release(week, check=False) / "homework.ipynb"
    assert [(d.level, d.line) for d in examine_notebook(good)] == [
        ("note", "Still empty, and without points like that: double, square, why."),
        ("ok", "homework.ipynb: every cell of the homework of week97-tiny is there"),
    ]

    notebook = json.loads(good.read_text())
    del notebook["cells"][2]
    bad = tmp_path / "bad.ipynb"
    bad.write_text(json.dumps(notebook))
    assert [(d.level, d.line) for d in examine_notebook(bad)] == [
        (
            "problem",
            "the test double_value is missing: copy that cell from a fresh homework.ipynb.",
        ),
        ("note", "Still empty, and without points like that: double, square, why."),
    ]
    bad.write_text("{")
    assert "not JSON" in examine_notebook(bad)[0].line
    assert "is it the seminar" in examine_notebook(week / "seminar.ipynb")[0].line


def test_a_required_answer_that_is_still_empty_is_a_problem(week: Path) -> None:
    (week / "week.toml").write_text('required_cells = ["why"]\n')
    lines = [(d.level, d.line) for d in examine_notebook(release(week, check=False) / "homework.ipynb")]
    assert lines == [
        ("problem", "why is still empty: without it the whole homework counts 0."),
        ("note", "Still empty, and without points like that: double, square."),
    ]


def duplicate(notebook: dict) -> None:
    notebook["cells"].append(json.loads(json.dumps(notebook["cells"][2])))


def retype(notebook: dict) -> None:
    notebook["cells"][1]["cell_type"] = "raw"


def strip(notebook: dict) -> None:
    for cell in notebook["cells"]:
        cell["metadata"] = {}


def age(notebook: dict) -> None:
    notebook["nbformat_minor"] = 0
    for cell in notebook["cells"]:
        del cell["id"]


@pytest.mark.parametrize(
    ("damage", "level", "said"),
    [
        (duplicate, "problem", "double_value is there 2 times: delete the copies"),
        (retype, "problem", "double was turned into a raw cell: turn it back into a code cell"),
        (strip, "problem", "double and 4 more cells had lost their metadata: copy your answers into a fresh"),
        (age, "note", "The notebook has the old format 4.0: open it in a newer Jupyter"),
    ],
)
def test_each_damage_is_one_line_with_its_mend(
    week: Path, tmp_path: Path, damage: Callable[[dict], None], level: str, said: str
) -> None:
    notebook = json.loads((release(week, check=False) / "homework.ipynb").read_text())
    damage(notebook)
    path = tmp_path / "homework.ipynb"
    path.write_text(json.dumps(notebook))
    found = [(d.level, d.line) for d in examine_notebook(path)]
    assert any(kind == level and line.startswith(said) for kind, line in found), found
    assert all("\n" not in line and line.endswith((".", "there")) for _, line in found)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("!pip install -q einops\n", "starts another program"),
        ("%pip install einops\n", "starts another program"),
        ("%%bash\nls", "starts another program"),
        ("files = !ls\n", "starts another program"),
        ("import os\nos.system('ls')", "starts another program"),
        ("loader = DataLoader(data, num_workers=2)", "asks for several processes"),
        ("distances = pairwise_distances(x, n_jobs=-1)", "asks for several processes"),
        ("with Pool(4) as pool:\n    pool.map(f, x)", "asks for several processes"),
        ("model = torch.compile(model)", "is not compiled"),
        ("data = CIFAR10('data', download=True)", "needs a network"),
        ("torch.save(x, '/tmp/x.pt')", "names a place that only your machine has"),
        ("from google.colab import drive", "names a place that only your machine has"),
        ("%cd ..", "changes the folder"),
        ("import os; os.chdir('data')", "changes the folder"),
        ("loader = DataLoader(data, num_workers=0)\nneighbours = KNN(n_jobs=1)  # !\n# os.system('ls')\nx != 3", None),
    ],
)
def test_what_the_grader_does_otherwise(source: str, said: str | None) -> None:
    cell = {"cell_type": "code", "source": source, "metadata": {"nbgrader": {"grade_id": "double"}}}
    lines = list(differences([cell], []))
    assert len(lines) == (said is not None) and (said is None or said in lines[0]), lines
    assert all(line.startswith("In the cell double, `") for line in lines)
    assert list(differences([cell], [cell])) == []  # the course's own code is no student's affair


def test_what_the_grader_does_otherwise_is_a_note(week: Path, tmp_path: Path) -> None:
    notebook = json.loads((release(week, check=False) / "homework.ipynb").read_text())
    notebook["cells"][1]["source"] = "!pip install -q einops"
    path = tmp_path / "homework.ipynb"
    path.write_text(json.dumps(notebook))
    line = "In the cell double, `!pip install -q einops` starts another program, which the grader leaves out: nothing may depend on it."
    assert [(d.level, d.line) for d in examine_notebook(path)][1] == ("note", line)


def test_no_such_notebook(week: Path) -> None:
    with pytest.raises(FileNotFoundError, match="give the path of a notebook"):
        examine_notebook(week / "nothing.ipynb")


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("def double(x:\n    return 2 * x", "in its line 1, 'def double(x:'"),
        ("x = 1\n  y = 2", "unexpected indent in its line 2, 'y = 2'"),
        ("x = '\\d'\nawait f()\n%time x\nif x:\n    !ls", None),
        ("%%bash\nls |", None),
        ("files = !ls\nprint(files)", None),
        ("double?", None),
        ("# is it 2?\nx = (", "in its line 2, 'x = ('"),
    ],
)
def test_a_syntax_error_is_named(source: str, said: str | None) -> None:
    told = syntax_error(source)
    assert told is None if said is None else said in (told or "")


def test_the_doctor_names_a_syntax_error(week: Path, tmp_path: Path) -> None:
    notebook = json.loads((week / "homework.ipynb").read_text())
    notebook["cells"][1]["source"] = "def double(x):\n    return (2 * x"
    bad = tmp_path / "bad.ipynb"
    bad.write_text(json.dumps(notebook))
    lines = [(d.level, d.line) for d in examine_notebook(bad)]
    assert lines[0][0] == "problem" and lines[0][1].startswith(
        "double has a syntax error, so nothing of it runs: '(' was"
    )


def test_the_doctor_says_if_badges_lead_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "course.toml").write_text('repository = "prof/deep"\n')
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    remote = ["git", "-C", str(tmp_path), "remote"]
    for command, address, said in (
        (
            "add",
            "git@github.com:other/fork.git",
            "git's origin is other/fork, badges and setup cells lead to prof/deep",
        ),
        ("set-url", "https://github.com/Prof/deep/", None),
        ("set-url", "/srv/course.git", None),
    ):
        subprocess.run([*remote, command, "origin", address], check=True)
        found = _origin(tmp_path)
        assert [d.line.startswith(said or "") for d in found] == ([True] if said else []), address
