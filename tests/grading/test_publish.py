"""The student version of a homework and the student's tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path

import pytest

from lsdl.author.course import CourseError, find_some_weeks
from lsdl.doctor import HOMEWORKS
from lsdl.grading import GradingError
from lsdl.grading.publish import MANIFEST, publish
from lsdl.grading.release import release
from lsdl.intake import MAX_BYTES

REPOSITORY = Path(__file__).resolve().parents[2]
SECRETS = ("return 2 * x", "BEGIN SOLUTION", "BEGIN HIDDEN", "another number", "MARK SCHEME", "for a reason")


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def repository(week: Path) -> Path:
    """The tiny course with the toolkit, the licences and pyproject.toml of this repository."""
    root = week.parent
    ignore = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.webp", "*.npz", "*.flac")
    shutil.copytree(REPOSITORY / "lsdl", root / "lsdl", ignore=ignore)
    for name in ("LICENSE", "LICENSE-NOTEBOOKS", "CITATION.cff", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, root)
    return root


@pytest.fixture(scope="module")
def first_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test that asks for `tree` leaves it for the others."""
    return tmp_path_factory.mktemp("published") / "student"


@pytest.fixture
def tree(repository: Path, first_tree: Path, tmp_path: Path) -> Path:
    """A student's tree of its own, published once for all tests of this file."""
    if not first_tree.exists():
        publish(first_tree, repository, check=False)
    return shutil.copytree(first_tree, tmp_path / "student")


def test_release_hides_the_answers_and_repeats_its_bytes(week: Path) -> None:
    made = release(week, check=False)
    assert made == week.parent / "gradebook" / "release" / week.name
    files = bytes_of(made)
    assert set(files) == {"homework.ipynb", "helpers.py", "README.md", "assets/table.json"}
    text = files["homework.ipynb"].decode()
    assert "YOUR CODE HERE" in text and "double(3) is not 6" in text
    assert not [secret for secret in SECRETS if secret in text]
    (made / "left_over.txt").touch()
    assert bytes_of(release(week, check=False)) == files
    assert bytes_of(release(week, check=False, to=week.parent / "other", in_gradebook=False)) == files


def test_release_refuses_what_lint_rejects(week: Path) -> None:
    with pytest.raises(GradingError, match=r"has \d+ lint problem\(s\), see `lsdl lint week97-tiny`"):
        release(week)
    assert not (week.parent / "gradebook" / "release").exists()


@pytest.mark.linux
def test_release_says_when_submissions_no_longer_fit(week: Path, submit: Callable[..., Path]) -> None:
    from lsdl.grading.grade import grade

    grade(week, submit("ada"))
    source = week / "homework.ipynb"
    source.write_text(source.read_text().replace("square_value", "square_other"))
    with pytest.raises(GradingError, match="gained or lost graded cells"):
        release(week, check=False)


def test_the_tree_holds_what_a_student_needs_and_no_more(repository: Path, tmp_path: Path) -> None:
    target = tmp_path / "student"
    (repository / "week97-tiny" / "runs" / "seed1").mkdir(parents=True)
    (repository / "week97-tiny" / "runs" / "seed1" / "log.json").write_text("{}")
    written = publish(target, repository, check=False)
    files = bytes_of(target)
    assert written == sorted(files)
    week = "week97-tiny"
    expected = {"README.md", "LICENSE", "LICENSE-NOTEBOOKS", "CITATION.cff", "pyproject.toml", "requirements.txt"}
    expected |= {f"{week}/{name}" for name in ("seminar.ipynb", "homework.ipynb", "helpers.py", "assets/table.json")}
    assert expected <= set(files)
    parts = {part for name in files for part in Path(name).parts}
    assert not parts & {"instructor", "runs", "gradebook", "grading", "cli.py", "references.py", "course.toml", "tests"}
    assert {"lsdl/doctor.py", "lsdl/intake.py", "lsdl/homeworks.json"} <= set(files)
    for name, data in files.items():
        assert name.endswith(".py") or not [secret for secret in SECRETS if secret.encode() in data], name
    assert f"[homework]({week}/homework.ipynb)" in files["README.md"].decode()
    assert "nbgrader" not in files["requirements.txt"].decode()

    # A file that is no longer published goes, a student's own git history stays.
    (repository / week / "assets" / "table.json").unlink()
    (target / ".git").mkdir()
    (target / ".git" / "HEAD").write_text("ref")
    publish(target, repository, check=False)
    again = bytes_of(target)
    assert f"{week}/assets/table.json" not in again and not (target / week / "assets").exists()
    assert {name: data for name, data in files.items() if name in again and name != MANIFEST} == {
        name: data for name, data in again.items() if name not in (MANIFEST, ".git/HEAD")
    }


def test_pip_installs_whatever_the_toolkit_holds(tree: Path) -> None:
    """In Colab lsdl is installed from the tree: a file that package-data forgets is missing there only."""
    for root in (REPOSITORY, tree):
        project = tomllib.loads((root / "pyproject.toml").read_text())
        patterns = project["tool"]["setuptools"]["package-data"]["lsdl"]
        others = [path.name for path in (root / "lsdl").iterdir() if path.is_file() and path.suffix != ".py"]
        assert "figures.mplstyle" in others
        assert [name for name in others if not any(fnmatch(name, pattern) for pattern in patterns)] == []


def test_every_published_module_imports_without_the_instructors_part(tree: Path) -> None:
    modules = [
        ".".join(path.relative_to(tree).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((tree / "lsdl").rglob("*.py"))
    ]
    assert {name.split(".")[1] for name in modules if "." in name}.isdisjoint({"author", "grading", "cli"})
    blocked = ("nbgrader", "papermill", "typer", "pydantic", "psutil")
    code = f"import sys, importlib; sys.path.insert(0, '.'); sys.modules.update(dict.fromkeys({blocked!r}))\n"
    code += f"for name in {modules!r}:\n    importlib.import_module(name)\nimport lsdl\nprint(lsdl.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(tree)


def delete_test(notebook: dict) -> None:
    del notebook["cells"][2]


def double_test(notebook: dict) -> None:
    notebook["cells"].append(notebook["cells"][2] | {"id": "a-copy"})


def strip_metadata(notebook: dict) -> None:
    for cell in notebook["cells"]:
        cell["metadata"] = {}


def strip_metadata_and_ids(notebook: dict) -> None:
    notebook["cells"] = [cell | {"metadata": {}, "id": f"new-{i}"} for i, cell in enumerate(notebook["cells"])]


def change_type(notebook: dict) -> None:
    notebook["cells"][1] = {key: notebook["cells"][1][key] for key in ("id", "metadata", "source")}
    notebook["cells"][1]["cell_type"] = "markdown"


def make_old(notebook: dict) -> None:
    notebook["nbformat_minor"] = 0
    for cell in notebook["cells"]:
        del cell["id"]


def replace_cells(notebook: dict) -> None:
    notebook["cells"] = [{"cell_type": "markdown", "id": "x", "metadata": {}, "source": "# My notes"}]


DAMAGES: list[tuple[Callable[[dict], None], int, str]] = [
    (lambda notebook: None, 0, "ok      homework.ipynb: every cell of the homework of week97-tiny is there"),
    (delete_test, 1, "problem the test double_value is missing: copy that cell from a fresh homework.ipynb."),
    (double_test, 1, "problem double_value is there 2 times: delete the copies."),
    (
        strip_metadata,
        1,
        "problem double and 4 more cells had lost their metadata: copy your answers into a fresh homework.ipynb",
    ),
    (
        strip_metadata_and_ids,
        1,
        "problem double and 4 more cells had lost their metadata: copy your answers into a fresh",
    ),
    (change_type, 1, "problem double was turned into a markdown cell: turn it back into a code cell."),
    (make_old, 0, "note    The notebook has the old format 4.0: open it in a newer Jupyter and save it."),
    (replace_cells, 1, "problem No cell of the notebook is one of a homework of this course"),
]


def test_the_students_doctor(tree: Path, tmp_path: Path) -> None:
    """In a fresh folder, with the published tree and without anything that only an instructor installs."""
    target, folder = tree, tmp_path / "fresh"
    folder.mkdir()
    blocked = ("nbgrader", "papermill", "typer", "rich", "pydantic", "psutil", "torch", "IPython")
    blocker = f"import sys; sys.modules.update(dict.fromkeys({blocked!r}))\n"
    script = tomllib.loads((target / "pyproject.toml").read_text())["project"]["scripts"]["lsdl"]
    module, _, function = script.partition(":")

    def run(code: str, *arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-c", blocker + code, *arguments]
        env = os.environ | {"PYTHONPATH": str(target), "PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, encoding="utf-8")
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, done.stdout + done.stderr

    def doctor() -> tuple[int, str]:
        return run(f"from {module} import {function}; {function}()", "doctor", "homework.ipynb")

    path = folder / "homework.ipynb"
    for damage, code, said in DAMAGES:
        notebook = json.loads((target / "week97-tiny" / "homework.ipynb").read_text())
        damage(notebook)
        path.write_text(json.dumps(notebook))
        before = path.read_bytes()
        returned, shown = doctor()
        assert returned == code and any(line.startswith(said) for line in shown.splitlines()), (damage, shown)
        assert path.read_bytes() == before and [*folder.iterdir()] == [path]
    path.write_text('{"cells": [')
    assert doctor() == (1, "problem The file is not JSON: hand in the .ipynb file as Jupyter saved it.\n")
    path.write_bytes(b" " * (MAX_BYTES + 1))
    assert doctor()[0] == 1 and "clear its outputs" in doctor()[1]
    (folder / "sample_submission.csv").write_text("id,class\np1,cat\np2,dog\n")
    (folder / "predictions.csv").write_text("id,class\np1,cat\n")
    returned, shown = run(f"from {module} import {function}; {function}()", "doctor", "predictions.csv")
    assert returned == 1 and shown.startswith("problem Missing ids (1): 'p2';")
    path.unlink()
    assert doctor()[0] == 2 and "homework.ipynb cannot be read" in doctor()[1]
    as_module = f"import runpy; sys.argv = ['', {str(target / 'week97-tiny' / 'homework.ipynb')!r}]\n"
    assert run(as_module + "runpy.run_module('lsdl.doctor', run_name='__main__')")[0] == 0
    assert run(f"from {module} import {function}; {function}()", "grade", "1")[0] == 2
    assert "lsdl doctor week97-tiny/homework.ipynb" in (target / "README.md").read_text()


def test_a_foreign_folder_is_refused(repository: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    (target / "thesis.tex").write_text("precious")
    with pytest.raises(GradingError, match="not empty and was not written by lsdl publish"):
        publish(target, repository, check=False)
    assert bytes_of(target) == {"thesis.tex": b"precious"}


def test_a_manifest_cannot_point_outside(repository: Path, tree: Path, tmp_path: Path) -> None:
    (tmp_path / "keep").touch()
    with (tree / MANIFEST).open("a") as file:
        file.write("../keep\n")
    publish(tree, repository, check=False)
    assert (tmp_path / "keep").exists()


def test_some_weeks_are_published_and_own_lines_stay(repository: Path, tmp_path: Path) -> None:
    target = tmp_path / "student"
    for name in ("week02-second", "week04-fourth"):
        shutil.copytree(repository / "week97-tiny", repository / name)
        with (repository / "course.toml").open("a") as file:
            file.write(f'[weeks.{name}]\ntitle = "{name}"\npoints = 10\n')

    def published(text: str) -> set[str]:
        publish(target, repository, weeks=find_some_weeks(text, repository), check=False)
        assert {path.name for path in target.glob("week*")} == set(
            json.loads((target / "lsdl" / HOMEWORKS.name).read_text())
        )
        return {path.name for path in target.glob("week*")}

    assert published("1-3") == {"week02-second"}
    readme = target / "README.md"
    readme.write_text("# Room 12, Mondays\n\n" + readme.read_text().replace("| week |", "| wook |") + "\nAsk Eve.\n")
    assert published("2,97") == {"week02-second", "week97-tiny"}
    text = readme.read_text()
    assert text.startswith("# Room 12, Mondays\n\n<!-- publish:course -->\n# Tiny course") and text.endswith(
        "\nAsk Eve.\n"
    )
    assert "| wook |" not in text and "week97-tiny/homework.ipynb" in text and "week04" not in text
    assert published("week04, 97") == {"week04-fourth", "week97-tiny"}
    for wrong, said in (
        ("5-9", "No week has a number from 5 to 9"),
        ("3", "'3' names no week"),
        (",", "No week was named"),
    ):
        with pytest.raises(CourseError, match=said):
            find_some_weeks(wrong, repository)
