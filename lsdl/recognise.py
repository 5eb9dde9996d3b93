"""Which cell of a handed-in notebook is which cell of the homework, also where a tool dropped the names that nbgrader gave.

No single field decides: Colab keeps a cell's id in its metadata, VS Code and jupytext drop nbgrader's metadata, others the
ids, and students write an answer anew in another cell. A cell is known by, in this order: nbgrader's name, the text of a
cell that is the teacher's, its id, the functions that it defines, its place between cells that are known already. The code of
students is only searched for words here, never parsed: a parser can be made to take minutes or all memory.
"""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Sequence
from typing import Any

from lsdl.cells import grade_id, is_locked, visible_part

Cell = dict[str, Any]

DEFINITION = re.compile(r"\s*(?:async\s+)?(?:def|class)\s+(\w+)")
IMPORT = re.compile(r"\s*(?:from\s+\S+\s+)?import\s+(.*)")
LEFT_SIDE = re.compile(r"[\w\s,*()]+(?::[^=]*)?")  # of an assignment, with its annotation
MAY_DEFINE_ANYTHING = re.compile(r"\bimport\s*\*|^\s*%(?:run|load)\b|\bexec\(", re.MULTILINE)
WORD = re.compile(r"[^\W\d]\w*")
LONG_LINE = 2_000  # nobody defines a function in it


def alike(source: str) -> str:
    """The text of a cell but for what tools change by themselves: hidden tests, ends of lines, blanks at them."""
    return "\n".join(line.rstrip() for line in visible_part(source).splitlines()).strip()


def words(source: str) -> frozenset[str]:
    """All names that stand in a text."""
    return frozenset(WORD.findall(source))


def defined_names(source: str) -> frozenset[str]:
    """The names that code defines, assigns or imports, as far as single lines say so; rather one too many."""
    found: set[str] = set()
    for line in source.splitlines():
        if len(line) > LONG_LINE:
            continue
        if match := DEFINITION.match(line):
            found.add(match[1])
        elif match := IMPORT.match(line):
            found |= words(match[1])
        else:
            left, equals, right = line.partition("=")
            is_call = "(" in left.partition(":")[0] and not left.lstrip().startswith("(")
            if equals and not right.startswith("=") and not is_call and LEFT_SIDE.fullmatch(left):
                found |= words(left.partition(":")[0])
    return frozenset(found)


def answer_names(official: Cell) -> frozenset[str]:
    """What an answer of the release has to define; of a test, a text, or an answer without a function nothing."""
    is_answer = official["cell_type"] == "code" and grade_id(official) is not None and not is_locked(official)
    outermost = (
        line for line in official["source"].splitlines() if line[:1].strip()
    )  # not what a long signature lists
    return defined_names("\n".join(outermost)) if is_answer else frozenset()


def known_cells(cells: Sequence[Cell], release: Sequence[Cell], *, by_place: bool = True) -> dict[int, int]:
    """Place in `cells` -> place in `release` of every cell that can be recognised.

    Only copies that still have nbgrader's name share a cell of the release.

    Args:
        cells: a parsed notebook's.
        release: those of the homework.
        by_place: also by their place between others, which proves nothing by itself: it is used only where another sign
            shows that this is the homework.
    """
    by_name = {name: place for place, cell in enumerate(release) if (name := grade_id(cell))}
    known = {here: by_name[name] for here, cell in enumerate(cells) if (name := grade_id(cell)) in by_name}
    _by_text(cells, release, known)
    _by_id(cells, release, known)
    _by_definitions(cells, release, known)
    if by_place and any(grade_id(release[place]) for place in known.values()):
        _by_place(cells, release, known)
    return known


def likeness(cells: Sequence[Cell], release: Sequence[Cell]) -> int:
    """How many graded or answered cells of a homework are recognised in a notebook, but for guesses by place."""
    found = set(known_cells(cells, release, by_place=False).values())
    return sum(grade_id(release[place]) is not None for place in found)


def _open(release: Sequence[Cell], known: dict[int, int]) -> list[int]:
    taken = set(known.values())
    return [place for place in range(len(release)) if place not in taken]


def _by_text(cells: Sequence[Cell], release: Sequence[Cell], known: dict[int, int]) -> None:
    places: dict[str, list[int]] = {}
    for place in reversed(_open(release, known)):
        # Untouched answers all look the same.
        if grade_id(release[place]) is None or is_locked(release[place]) or answer_names(release[place]):
            places.setdefault(alike(release[place]["source"]), []).append(place)
    places.pop("", None)
    for here, cell in enumerate(cells):
        if here not in known and (left := places.get(alike(cell["source"]))):
            known[here] = left.pop()


def _by_id(cells: Sequence[Cell], release: Sequence[Cell], known: dict[int, int]) -> None:
    by_id = {cell["id"]: place for place, cell in enumerate(release) if cell.get("id")}
    # A tool that numbers the cells anew gives the id of one to another, which cells known otherwise betray.
    if any(by_id.get(cells[here].get("id"), place) != place for here, place in known.items()):
        return
    left = set(_open(release, known))
    for here, cell in enumerate(cells):
        place = by_id.get(cell.get("id"))
        if here not in known and place in left:
            known[here] = place
            left.remove(place)


def _by_definitions(cells: Sequence[Cell], release: Sequence[Cell], known: dict[int, int]) -> None:
    wanted = [(place, names) for place in _open(release, known) if (names := answer_names(release[place]))]
    if not wanted:
        return
    defined = {
        here: defined_names(cell["source"])
        for here, cell in enumerate(cells)
        if here not in known and cell["cell_type"] == "code"
    }
    for place, names in wanted:
        # The one that defines most of them, of these the last, which is what a later cell sees.
        best = max(defined, key=lambda here: (len(names & defined[here]), here), default=None)
        if best is not None and names & defined[best]:
            known[best] = place
            del defined[best]


def _by_place(cells: Sequence[Cell], release: Sequence[Cell], known: dict[int, int]) -> None:
    """What stands where an answer stood; of several pieces the longest."""
    answers = [place for place in _open(release, known) if grade_id(release[place]) and not is_locked(release[place])]
    for number, place in enumerate(answers):
        official = release[place]
        start, end = _gap(place, known, len(cells))
        names = answer_names(official)
        found = [
            here
            for here in range(start, end)
            if here not in known and cells[here]["cell_type"] == official["cell_type"] and cells[here]["source"].strip()
        ]
        if names:
            found = [here for here in found if names & words(cells[here]["source"])]
        # Of two answers that are missing side by side the second one wants a piece, too.
        rivals = [other for other in answers[number + 1 :] if _gap(other, known, len(cells)) == (start, end)]
        found = found[: max(1, len(found) - len(rivals))]
        if found:
            known[max(found, key=lambda here: len(cells[here]["source"]))] = place


def _gap(place: int, known: dict[int, int], end: int) -> tuple[int, int]:
    """Between which places of a notebook a cell of the release is missing."""
    here = {there: here for here, there in known.items()}
    order = sorted(here)
    split = bisect(order, place)
    return (here[order[split - 1]] + 1 if split else 0), (here[order[split]] if split < len(order) else end)
