"""Who may import whom (a new module belongs to a room by its folder): student <- author <- grading <- cli."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from lsdl.author.course import find_weeks
from lsdl.author.packages import imported_names
from lsdl.cells import without_magics

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = ("student", "author", "grading", "cli")  # each may import those before it
MODULES = sorted((REPOSITORY / "lsdl").rglob("*.py"))
WEEKS = find_weeks(REPOSITORY)


def room_of(module: str) -> str:
    first, second, *_ = (*module.split("."), "")
    return second if first == "lsdl" and second in ROOMS[1:] else "student"


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


def strings_with_imports(tree: ast.AST) -> Iterator[ast.AST]:
    """Code in strings, which a process of its own runs."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "lsdl" in node.value:
            for part in node.value.replace(";", "\n").splitlines():
                try:
                    yield ast.parse(part.strip())
                except SyntaxError:
                    continue


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_imports_only_the_rooms_before_it(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    own = ROOMS.index(room_of(name_of(path)))
    found = [module for part in (tree, *strings_with_imports(tree)) for module in imported_names(part)]
    assert [module for module in found if ROOMS.index(room_of(module)) > own] == []


def test_no_import_is_part_of_a_circle() -> None:
    names = {name_of(path) for path in MODULES}
    arrows: dict[str, set[str]] = {}
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        own = name_of(path)
        found = {module if module in names else module.rpartition(".")[0] for module in imported_names(tree)}
        arrows[own] = {module for module in found if module in names and not own.startswith(module)}
    while leaves := {name for name, targets in arrows.items() if not targets & arrows.keys()}:
        arrows = {name: targets for name, targets in arrows.items() if name not in leaves}
    assert arrows == {}


@pytest.mark.parametrize("week", WEEKS, ids=lambda week: week.name)
def test_a_week_imports_what_students_have_and_its_instructor_part_the_author_s_room(week: Path) -> None:
    sources = {path.relative_to(week): path.read_text(encoding="utf-8") for path in week.rglob("*.py")}
    for path in week.glob("*.ipynb"):
        cells = [cell.source for cell in nbformat.read(path, nbformat.NO_CONVERT).cells if cell.cell_type == "code"]
        sources[path.relative_to(week)] = "\n".join(map(without_magics, cells))
    wrong = []
    for path, source in sources.items():
        allowed = ("student", "author") if path.parts[0] == "instructor" else ("student",)
        tree = ast.parse(source)
        wrong += [f"{path}: {name}" for name in imported_names(tree) if room_of(name) not in allowed]
        others = {part.name for part in WEEKS} - {week.name}
        wrong += [f"{path}: {name}" for name in others if name in source]
    assert wrong == []
