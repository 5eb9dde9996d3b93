"""Fixtures for the tests of any week (`weekNN-*/instructor/tests/`): what is heavy to import is imported in the fixture that needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

pytest_plugins = ["suite"]  # tests/suite.py

if TYPE_CHECKING:
    from collections.abc import Callable

    from lsdl.author.homework import Homework


@pytest.fixture(scope="module")
def week(request: pytest.FixtureRequest) -> Path:
    """The folder of the week that the test belongs to."""
    return next(folder for folder in request.path.parents if folder.name.startswith("week"))


@pytest.fixture(scope="module")
def homework(week: Path) -> Homework:
    """The week's homework."""
    from lsdl.author.homework import Homework

    return Homework(week)


@pytest.fixture(scope="module")
def solutions(homework: Homework) -> dict[str, Any]:
    """What the homework's cells define, with the solutions, by name."""
    return homework.namespace()


@pytest.fixture(scope="module")
def seminar(homework: Homework) -> SimpleNamespace:
    """What the seminar's cells tagged `define` make, and its `helpers`."""
    from lsdl.author.seminar import seminar_names

    with homework.at_home():
        return SimpleNamespace(**seminar_names(homework.week) | {"helpers": sys.modules["helpers"]})


@pytest.fixture(scope="module")
def helpers(homework: Homework) -> ModuleType:
    """The week's helpers.py."""
    with homework.at_home():
        import helpers

        return helpers


@pytest.fixture(scope="session")
def picture_file() -> Callable[..., bytes]:
    """What writes a competition's test.safetensors, `lsdl leaderboard --make`'s own: a week's entry has to read it."""
    from lsdl.grading.competition import picture_file

    return picture_file
