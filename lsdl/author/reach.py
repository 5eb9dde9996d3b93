"""Which names of a notebook a cell can look up while it runs: a mistake in a function can change no cell out of its reach."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from typing import Any


def reachable(source: str, namespace: Mapping[str, Any]) -> set[str]:
    """Names of `namespace` that code can look up, itself or through what it calls.

    Every name that stands in the code or in a function, class or object that it reaches counts, attributes too: rather too
    many than one too few. What the code finds by other ways, such as `globals()["name"]`, is not seen.

    Args:
        source: plain Python.
        namespace: the globals that it will run with.
    """
    found: set[str] = set()
    seen: set[int] = set()
    todo: list[Any] = [compile(source, "cell", "exec")]
    while todo:
        part = todo.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        if isinstance(part, types.CodeType):
            named = {*part.co_names, *part.co_freevars} & namespace.keys()
            todo += [namespace[name] for name in named - found]
            found |= named
        todo += _inside(part, namespace)
    return found


def _inside(part: Any, namespace: Mapping[str, Any]) -> Iterator[Any]:
    """What a piece of code or an object leads to, as far as it can look up the namespace's names."""
    if isinstance(part, types.CodeType):
        yield from (constant for constant in part.co_consts if isinstance(constant, types.CodeType))
    elif isinstance(part, types.FunctionType):
        if part.__globals__ is namespace:
            yield part.__code__
        yield from (cell.cell_contents for cell in part.__closure__ or () if cell != types.CellType())
        yield from (*(part.__defaults__ or ()), *(part.__kwdefaults__ or {}).values())
        yield getattr(part, "__wrapped__", None)
    elif isinstance(part, types.MethodType):
        yield from (part.__func__, part.__self__)
    elif isinstance(part, functools.partial):
        yield from (part.func, *part.args, *part.keywords.values())
    elif isinstance(part, property):
        yield from (part.fget, part.fset, part.fdel)
    elif isinstance(part, staticmethod | classmethod):
        yield part.__func__
    elif isinstance(part, type):
        if part.__module__ == namespace.get("__name__"):
            yield from (*vars(part).values(), *part.__bases__)
    elif isinstance(part, list | tuple | set | frozenset):
        yield from part
    elif isinstance(part, dict):
        yield from part.values()
    elif not isinstance(part, types.ModuleType):
        yield type(part)
        yield from vars(part).values() if hasattr(part, "__dict__") else ()
