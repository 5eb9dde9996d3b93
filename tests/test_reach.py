"""A name that code can look up is found, however it gets there; one that it cannot is not."""

from __future__ import annotations

import pytest

from lsdl.author.reach import reachable

NAMESPACE: dict = {"__name__": "__main__"}
exec(
    """
import functools
def target(): return 1
def other(): return 2
def direct(): return target()
def nested():
    def inner(): return direct()
    return inner
class Thing:
    size = property(lambda self: target())
    def call(self): return target()
class Child(Thing): pass
child = Child()
bound = child.call
def by_closure(function):
    def inner(): return function()
    return inner
closed = by_closure(direct)
partly = functools.partial(direct)
cached = functools.lru_cache(direct)
table = {"a": [direct]}
def default(function=direct): return function()
def generator(): return [target() for _ in range(2)]
""",
    NAMESPACE,
)


@pytest.mark.parametrize(
    "source",
    [
        *(
            "target()",
            "direct()",
            "nested()()",
            "Thing().call()",
            "Child().size",
            "child.call()",
            "bound()",
            "closed()",
        ),
        *(
            "partly()",
            "cached()",
            "table['a'][0]()",
            "default()",
            "generator()",
            "x = lambda: target()",
            "f(key=direct)",
        ),
    ],
)
def test_what_can_be_looked_up_is_found(source: str) -> None:
    assert "target" in reachable(source, NAMESPACE)


@pytest.mark.parametrize("source", ["other()", "import math\nmath.pi", "x = 1", "other"])
def test_what_cannot_is_not(source: str) -> None:
    assert "target" not in reachable(source, NAMESPACE)
