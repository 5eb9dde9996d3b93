"""pyproject.toml, requirements.txt, constraints.txt and the installed packages say the same."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CUDA = re.compile(r"nvidia-|cuda-|triton$")


def lines_of(name: str) -> list[str]:
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins() -> dict[str, str]:
    return {
        canonicalize_name(name): version for name, version in (line.split("==") for line in lines_of("constraints.txt"))
    }


def test_requirements_are_the_dependencies_and_all_extras() -> None:
    extras = [entry for group in PROJECT["optional-dependencies"].values() for entry in group]
    assert lines_of("requirements.txt") == sorted([*PROJECT["dependencies"], *extras])


def test_constraints_pin_every_package_that_is_needed_and_satisfy_the_ranges() -> None:
    pinned = pins()
    todo = [(requirement, "requirements.txt") for requirement in map(Requirement, lines_of("requirements.txt"))]
    seen: set[tuple[str, frozenset[str]]] = set()
    wrong = []
    while todo:
        requirement, asked_by = todo.pop()
        name = canonicalize_name(requirement.name)
        if CUDA.match(name) or (name, frozenset(requirement.extras)) in seen:
            continue
        seen.add((name, frozenset(requirement.extras)))
        if name not in pinned:
            wrong.append(f"{name}, needed by {asked_by}, has no pin")
            continue
        if not requirement.specifier.contains(pinned[name], prereleases=True):
            wrong.append(f"{name}=={pinned[name]} breaks {requirement} of {asked_by}")
        for text in metadata.requires(name) or []:
            needed = Requirement(text)
            if needed.marker is None or any(
                needed.marker.evaluate({"extra": extra}) for extra in ("", *requirement.extras)
            ):
                todo.append((needed, name))
    assert not wrong


def test_constraints_leave_cuda_out_and_are_sorted_pins() -> None:
    lines = lines_of("constraints.txt")
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[^ ;@]+", line) for line in lines)
    assert not [name for name in pins() if CUDA.match(name)]


def test_the_version_is_the_edition_and_the_citation() -> None:
    import lsdl

    course = tomllib.loads((REPOSITORY / "course.toml").read_text(encoding="utf-8"))
    assert course["edition"] == lsdl.__version__
    assert f'version: "{lsdl.__version__}"' in (REPOSITORY / "CITATION.cff").read_text(encoding="utf-8")


def test_importing_lsdl_is_light() -> None:
    code = "import sys, lsdl, lsdl.claims; print([m for m in ('torch', 'numpy', 'IPython', 'nbformat') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no executable bit")
def test_ci_script_is_executable() -> None:
    assert (REPOSITORY / ".ci" / "run").stat().st_mode & stat.S_IXUSR


@pytest.mark.skipif(os.name == "nt", reason="the Makefile needs a POSIX shell")
def test_make_without_a_target_explains_the_targets() -> None:
    done = subprocess.run(["make", "-s"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert all(f"make {target} " in done.stdout for target in ("run", "test", "lab", "help"))


@pytest.mark.parametrize("name", ["gradebook.db", "submitted/ada/week01-finetune/homework.ipynb", "references/w.key"])
def test_the_class_s_data_are_never_committed(name: str) -> None:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "check-ignore", "-q", f"gradebook/{name}"], cwd=REPOSITORY)
    assert done.returncode == 0


@pytest.mark.parametrize("name", ["nbgrader_config.py", "README.md", "demo.key"])
def test_the_course_s_part_of_the_gradebook_is_committed(name: str) -> None:
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    done = subprocess.run(["git", "check-ignore", "-q", f"gradebook/{name}"], cwd=REPOSITORY)
    assert done.returncode == 1
