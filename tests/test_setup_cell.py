"""The setup cell: a lone notebook fetches the course and runs; setup() installs what is absent and nothing else."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
import small_week
from small_week import code

from lsdl import __version__, setup_week
from lsdl.author.course import repository_of
from lsdl.author.opening import setup_cell
from lsdl.grading.publish import publish

CLONE = repository_of(Path(__file__)).partition("/")[2]  # what the setup cell calls the course
ROOT = Path(__file__).parent.parent
COURSE = """title = "t"
edition = "2026.1"
parts = [{name = "all", weight = 1, pass_mark = 0.5}]
[weeks.week98-small]
title = "Small"
points = 2
"""


@pytest.fixture(autouse=True)
def own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """`setup` puts the week's folder into sys.path: not for the tests that come after."""
    monkeypatch.setattr(sys, "path", [*sys.path])


@pytest.fixture
def student_repository(tmp_path: Path) -> Path:
    """A git repository of a small course, published as the real one is, with the tag that the setup cell fetches."""
    course = tmp_path / "course"
    seminar = small_week.seminar(code("from helpers import ANSWER\n\nprint('answer', ANSWER)"))
    small_week.write_week(course, seminar, small_week.homework())
    (course / "course.toml").write_text(COURSE)
    for name in ("pyproject.toml", "LICENSE", "gradebook/nbgrader_config.py"):
        (course / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, course / name)
    shutil.copytree(ROOT / "lsdl", course / "lsdl", ignore=shutil.ignore_patterns("data", "__pycache__"))
    tree = tmp_path / "student"
    publish(tree, course, check=False)
    author = ["-c", "user.name=test", "-c", "user.email=test@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*author, "commit", "-qm", "x"], ["tag", f"student-{__version__}"]):
        subprocess.run(["git", *command], cwd=tree, check=True)
    return tree


def bare_python(folder: Path) -> Path:
    """A Python that has every package of this one except lsdl: .pth files of a linked folder are not read."""
    venv.create(folder, with_pip=False, symlinks=os.name != "nt")
    paths = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", vars=paths))
    (site / "linked.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Path(sysconfig.get_path("scripts", "venv", vars=paths)) / Path(sys.executable).name


@pytest.mark.slow
def test_a_lone_notebook_fetches_the_course_and_leaves_torch_alone(student_repository: Path, tmp_path: Path) -> None:
    python = bare_python(tmp_path / "venv")
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(student_repository / small_week.NAME / "seminar.ipynb", alone)
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    # setuptools is here already; without this pip would download one to build lsdl with
    env |= {"LSDL_SOURCE": student_repository.as_uri(), "PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_INDEX": "1"}
    absent = subprocess.run([python, "-c", "import lsdl"], env=env, cwd=alone, capture_output=True)
    assert absent.returncode, "the test needs a Python without lsdl"
    command = [python, "-m", "papermill", "seminar.ipynb", "out.ipynb", "-k", "python3", "--no-progress-bar"]
    done = subprocess.run(command, env=env, cwd=alone, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cells = nbformat.read(alone / "out.ipynb", 4).cells
    printed = [output for cell in cells for output in cell.get("outputs", [])]
    assert [output.name for output in printed] == ["stdout", "stdout"]
    assert f"lsdl {__version__}" in printed[0].text and printed[1].text == "answer 42\n"
    site = next((tmp_path / "venv").rglob("site-packages"))
    installed = {path.name for path in site.iterdir()}
    assert installed == {"linked.pth", "lsdl", f"lsdl-{__version__}.dist-info"}


def test_the_setup_cell_does_nothing_but_set_up_in_a_course_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    week = small_week.write_week(tmp_path)
    monkeypatch.chdir(week)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("nothing needs to be fetched or installed"))
    exec(setup_cell(small_week.NAME), {})
    line = capsys.readouterr().out
    assert line.count("\n") == 1 and line.startswith("python 3.") and f"lsdl {__version__}" in line
    assert Path.cwd() == week


def fake_packages(monkeypatch: pytest.MonkeyPatch, requirements: list[str], installed: dict[str, str]) -> None:
    def version(name: str) -> str:
        if name not in installed:
            raise setup_week.metadata.PackageNotFoundError(name)
        return installed[name]

    monkeypatch.setattr(setup_week.metadata, "requires", lambda _: requirements)
    monkeypatch.setattr(setup_week.metadata, "version", version)


def test_only_absent_requirements_are_installed_and_torch_is_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_week.write_week(tmp_path))
    requirements = ["torch>=2.4", "torchvision", "numpy", "tqdm>=9", "safetensors>=0.4", 'colorama; os_name == "vms"']
    requirements.append('ruff>=0.6; extra == "dev"')
    installed = {"torch": "2.4.0+cu121", "torchvision": "0.19.0", "numpy": "2.0.0", "tqdm": "4.0", "lsdl": "1"}
    fake_packages(monkeypatch, requirements, installed)
    calls = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        pins = Path(command[command.index("-c") + 1]).read_text()
        assert pins.split() == ["torch==2.4.0+cu121", "torchvision==0.19.0", "numpy==2.0.0"]
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(setup_week.subprocess, "run", run)
    setup_week.setup(small_week.NAME)
    (command,) = calls
    assert command[-1] == "safetensors>=0.4"


def test_a_week_s_own_requirements_are_installed_where_absent_and_no_other_week_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    week = small_week.write_week(tmp_path)
    (week / "week.toml").write_text('requires = ["timm>=1.0.17", "scikit-learn>=1.4"]\n')
    other = tmp_path / "week97-other"
    other.mkdir()
    (other / "week.toml").write_text('requires = ["transformers>=5"]\n')
    # the extra `weeks` of lsdl's own metadata lists the packages of all weeks: none of them is asked for
    requirements = ["torch", "tqdm", 'timm>=1.0.17; extra == "weeks"', 'transformers>=5; extra == "weeks"']
    fake_packages(monkeypatch, requirements, {"torch": "2.4.0", "tqdm": "4.66", "scikit-learn": "1.0"})
    installed: list[list[str]] = []
    monkeypatch.setattr(setup_week, "_install", installed.append)
    monkeypatch.chdir(week)
    setup_week.setup(small_week.NAME)
    assert installed == [["timm>=1.0.17"]]
    (week / "week.toml").unlink()
    setup_week.setup(small_week.NAME)
    assert len(installed) == 1


def test_absent_torch_is_the_readers_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small_week.write_week(tmp_path))
    fake_packages(monkeypatch, ["torch>=2.4", "torchvision", "numpy"], {"numpy": "2.0.0"})
    with pytest.raises(RuntimeError, match=r"torch and torchvision must be installed by you.*pytorch\.org"):
        setup_week.setup(small_week.NAME)


def test_a_wrong_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match=r"helpers\.py of week01-x is not in"):
        setup_week.setup("week01-x")


def test_another_week_s_folder_is_named_and_a_renamed_one_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    week = small_week.write_week(tmp_path)
    (week / "week.toml").touch()
    monkeypatch.chdir(week.rename(tmp_path / "my homework"))
    setup_week.setup(small_week.NAME)
    monkeypatch.chdir(Path.cwd().rename(tmp_path / "week01-other"))
    with pytest.raises(RuntimeError, match=r"helpers\.py of week98-small is not in .*week01-other"):
        setup_week.setup(small_week.NAME)
    monkeypatch.chdir(tmp_path)
    Path("helpers.py").touch()  # of some other project
    with pytest.raises(RuntimeError, match="open the notebook from its own week's folder"):
        setup_week.setup(small_week.NAME)


def test_a_clone_that_lacks_the_week_is_kept_and_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    old = tmp_path / CLONE
    (old / ".git").mkdir(parents=True)
    (old / "answers.ipynb").write_text("mine")

    def fetch(command: list[str], **_: object) -> None:
        small_week.write_week(Path(command[-1]))

    monkeypatch.setattr(subprocess, "run", fetch)
    exec(setup_cell(small_week.NAME), {})
    assert Path.cwd() == old / small_week.NAME
    (kept,) = tmp_path.glob(f"{CLONE}-*/answers.ipynb")
    assert kept.read_text() == "mine"


@pytest.mark.parametrize("error", [FileNotFoundError("git"), subprocess.CalledProcessError(128, "git")])
def test_without_git_or_network_a_sentence(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def fetch(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(subprocess, "run", fetch)
    with pytest.raises(RuntimeError, match="git could not fetch the course from .*: it needs git and a network"):
        exec(setup_cell(small_week.NAME), {})
