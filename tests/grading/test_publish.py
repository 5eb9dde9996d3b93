"""The student version of a homework and the student's tree."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lsdl.grading import GradingError
from lsdl.grading.publish import MANIFEST, publish
from lsdl.grading.release import release

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


def test_release_says_when_submissions_no_longer_fit(week: Path, submit: Callable[..., Path]) -> None:
    from lsdl.grading.grade import grade

    grade(week, submit("ada"))
    source = week / "homework.ipynb"
    source.write_text(source.read_text().replace("square_value", "square_other"))
    with pytest.raises(GradingError, match="gained or lost graded cells"):
        release(week, check=False)


def test_the_tree_holds_what_a_student_needs_and_no_more(repository: Path, tmp_path: Path) -> None:
    target = tmp_path / "student"
    written = publish(target, repository, check=False)
    files = bytes_of(target)
    assert written == sorted(files)
    week = "week97-tiny"
    expected = {"README.md", "LICENSE", "LICENSE-NOTEBOOKS", "CITATION.cff", "pyproject.toml", "requirements.txt"}
    expected |= {f"{week}/{name}" for name in ("seminar.ipynb", "homework.ipynb", "helpers.py", "assets/table.json")}
    assert expected <= set(files)
    parts = {part for name in files for part in Path(name).parts}
    assert not parts & {"instructor", "gradebook", "grading", "cli.py", "references.py", "course.toml", "tests"}
    for name, data in files.items():
        assert name.startswith("lsdl/") or not [secret for secret in SECRETS if secret.encode() in data], name
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


def test_every_published_module_imports_without_the_instructors_part(repository: Path, tmp_path: Path) -> None:
    target = tmp_path / "student"
    publish(target, repository, check=False)
    modules = [
        ".".join(path.relative_to(target).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((target / "lsdl").rglob("*.py"))
        if not path.name.startswith("build_")  # made to be run by a maintainer, with the dev packages
    ]
    blocked = ("nbgrader", "papermill", "typer", "pydantic", "psutil")
    code = f"import sys, importlib; sys.path.insert(0, '.'); sys.modules.update(dict.fromkeys({blocked!r}))\n"
    code += f"for name in {modules!r}:\n    importlib.import_module(name)\nimport lsdl\nprint(lsdl.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=target, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()).is_relative_to(target)


def test_a_foreign_folder_is_refused(repository: Path, tmp_path: Path) -> None:
    target = tmp_path / "mine"
    target.mkdir()
    (target / "thesis.tex").write_text("precious")
    with pytest.raises(GradingError, match="not empty and was not written by lsdl publish"):
        publish(target, repository, check=False)
    assert bytes_of(target) == {"thesis.tex": b"precious"}


def test_a_manifest_cannot_point_outside(repository: Path, tmp_path: Path) -> None:
    target = tmp_path / "student"
    publish(target, repository, check=False)
    (tmp_path / "keep").touch()
    with (target / MANIFEST).open("a") as file:
        file.write("../keep\n")
    publish(target, repository, check=False)
    assert (tmp_path / "keep").exists()
