"""Which packages the weeks need: what they import, what is declared for them, and the requirements.txt that follows."""

import ast
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import lsdl

HEADER = """\
# Everything this repository needs: the dependencies and all extras of pyproject.toml, written by `lsdl lint --fix`.
# Exact versions that work together: constraints.txt.
"""


def read_project(root: Path) -> dict[str, Any]:
    """The table `project` of pyproject.toml."""
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements_text(root: Path) -> str:
    """What requirements.txt has to hold."""
    project = read_project(root)
    extras = [entry for group in project["optional-dependencies"].values() for entry in group]
    return HEADER + "".join(f"{entry}\n" for entry in sorted({*project["dependencies"], *extras}))


def third_party(trees: Iterable[ast.AST]) -> set[str]:
    """Top-level names of the modules that are imported, at any depth, directly or by the modules of lsdl that are imported.

    Those of the standard library are left out.
    """
    todo, seen = {name for tree in trees for name in imported_names(tree)}, set[str]()
    while todo:
        name = todo.pop()
        seen.add(name)
        path = Path(lsdl.__file__).parent.joinpath(*name.split(".")[1:]).with_suffix(".py")
        if name.startswith("lsdl.") and path.is_file():
            todo |= imported_names(ast.parse(path.read_text(encoding="utf-8"))) - seen
    return {name.split(".")[0] for name in seen} - sys.stdlib_module_names - {"lsdl"}


def distributions(module: str) -> set[str]:
    """Canonical names of the installed packages that bring a top-level module; empty if there is none."""
    return {canonicalize_name(name) for name in _modules().get(module, ())}


def installed_with(requirements: Iterable[str]) -> set[str]:
    """Canonical names of the packages required, and of those that they themselves require, as far as they are installed here."""
    todo, seen = [Requirement(text) for text in requirements], set[tuple[str, frozenset[str]]]()
    while todo:
        requirement = todo.pop()
        key = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            needed = [Requirement(text) for text in metadata.requires(requirement.name) or ()]
        except metadata.PackageNotFoundError:  # of another platform
            continue
        extras = ("", *requirement.extras)
        todo += [n for n in needed if n.marker is None or any(n.marker.evaluate({"extra": e}) for e in extras)]
    return {name for name, _ in seen}


@cache
def _modules() -> dict[str, list[str]]:
    return dict(metadata.packages_distributions())


def imported_names(tree: ast.AST) -> set[str]:
    """Dotted names of what a tree imports; of `from a import b` both `a` and `a.b`, which may be a module."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names
