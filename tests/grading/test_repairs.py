"""A repair never undoes what a student wrote, and never accuses: on the fixture week, with its real checks.

The oracle is cheap: the cells are executed here, in their order, each until it raises, with the visible checks. Where all code
is present and in order that must give all points, whatever a tool did to the metadata.
"""

from __future__ import annotations

import base64
import copy
import json
import os
import shutil
import struct
import sys
import zlib
from functools import cache
from pathlib import Path

import pytest
from damaged import (
    ANSWERS,
    WEEK,
    Damage,
    as_colab,
    code,
    crlf,
    harmlessly_damaged,
    merged_with_the_next,
    place,
    renumber,
    solved,
    strip,
    without_ids,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lsdl.cells import grade_id, is_test
from lsdl.doctor import examine, skeleton
from lsdl.grading.release import release as make_release
from lsdl.intake import Finding, Notebook, mend, parse
from lsdl.recognise import answer_names

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Notebook:
    """The parsed student version of the fixture week."""
    root = tmp_path_factory.mktemp("released") / "course"
    shutil.copytree(WEEK.parent, root)
    shutil.copy(REPOSITORY / "gradebook" / "nbgrader_config.py", root / "gradebook")
    made = make_release(root / WEEK.name, check=False, to=root / "made", in_gradebook=False)
    return parse((made / "homework.ipynb").read_bytes())


@cache
def _points(sources: tuple[tuple[str, float], ...]) -> float:
    before, total = Path.cwd(), 0.0
    namespace: dict[str, object] = {}
    os.chdir(WEEK)
    try:
        for source, points in sources:
            try:
                exec(source, namespace)
                total += points
            except Exception:
                continue
    finally:
        os.chdir(before)
        sys.modules.pop("helpers", None)  # that of this week: other tests of this process have their own
    return total


def points(notebook: Notebook) -> float:
    """What the cells earn when they are executed in their order; the setup cell is left out."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(WEEK)
        return _points(
            tuple(
                (cell["source"], cell["metadata"]["nbgrader"]["points"] if is_test(cell) else 0.0)
                for cell in notebook["cells"]
                if cell["cell_type"] == "code"
                and "setup" not in cell["metadata"].get("tags", ())
                and not cell["source"].startswith("import importlib")
            )
        )


def graded(notebook: Notebook, released: Notebook) -> tuple[float, list[Finding], Notebook]:
    mended, findings = mend(parse(json.dumps(notebook).encode()), released)
    names = [name for cell in mended["cells"] if (name := grade_id(cell))]
    assert len(names) == len(set(names))
    assert {name for cell in released["cells"] if is_test(cell) and (name := grade_id(cell))} <= set(names)
    assert "dropout_words" in names
    return points(mended), findings, mended


def said(findings: list[Finding]) -> str:
    return " ".join(f"{finding}." for finding in findings)


def rewritten(name: str, where: int = 1) -> Damage:
    """The answer's cell deleted, its code in one of the student's own."""

    def change(notebook: Notebook) -> None:
        here = place(notebook, name)
        source = notebook["cells"].pop(here)["source"]
        notebook["cells"].insert(max(4, here + where - 1), code(source))

    return change


def split(notebook: Notebook) -> None:
    """As Jupyter splits: both halves have the metadata, the lower one has a new id."""
    here = place(notebook, "classify")
    cell = notebook["cells"][here]
    upper, lower = cell["source"].split("\n\n\n")
    notebook["cells"][here : here + 1] = [
        {**cell, "source": upper},
        {**copy.deepcopy(cell), "id": "x", "source": lower},
    ]


def all_of(*changes: Damage) -> Damage:
    def change(notebook: Notebook) -> None:
        for one in changes:
            one(notebook)

    return change


@pytest.mark.parametrize(
    "damage",
    [
        *(rewritten(name) for name in ANSWERS),
        *(all_of(rewritten(name), strip) for name in ANSWERS),
        *(all_of(rewritten(name, -1), without_ids) for name in ANSWERS),
        all_of(rewritten("standardise", 4), strip),
        strip,
        as_colab,
        all_of(strip, without_ids),
        all_of(strip, renumber),
        all_of(strip, crlf),
        split,
        all_of(split, strip),
        all_of(split, strip, without_ids),
        merged_with_the_next("standardise"),
        all_of(merged_with_the_next("standardise"), strip, without_ids),
        merged_with_the_next("standardise_value"),
    ],
)
def test_k1_an_answer_counts_wherever_it_stands(damage: Damage, released: Notebook) -> None:
    notebook = solved()
    assert points(notebook) == 7
    damage(notebook)
    earned, findings, mended = graded(notebook, released)
    assert earned == 7 and findings, said(findings)
    assert "expected input" in mended["cells"][place(mended, "dropout_words")]["source"]
    assert sum("raise NotImplementedError" in cell["source"] for cell in mended["cells"]) == 0


def test_k1_a_new_cell_instead_of_the_given_one_is_said(released: Notebook) -> None:
    notebook = solved()
    rewritten("standardise")(notebook)
    earned, findings, _ = graded(notebook, released)
    assert (earned, said(findings)) == (
        7,
        "the cell standardise is gone: its answer was found in another cell and counts.",
    )


def test_k1_the_sentence_about_a_cell_that_is_gone(released: Notebook) -> None:
    notebook = solved()
    here = place(notebook, "standardise")
    notebook["cells"][here]["source"] += "\n\n\n" + notebook["cells"].pop(place(notebook, "dropout"))["source"]
    earned, findings, _ = graded(notebook, released)
    assert (earned, said(findings)) == (
        7,
        "the cell dropout is gone: its answer was found in another cell and counts.",
    )
    lines = [d.line for d in examine("homework.ipynb", json.dumps(notebook).encode(), {WEEK.name: skeleton(released)})]
    assert lines == ["the cell dropout is gone: copy that cell from a fresh homework.ipynb."]


@pytest.mark.parametrize(
    "code_of_their_own",
    [
        "exec('def {name}(*a):\\n    return mine(*a)')",
        "globals().update({name}=mine)",
        "from helpers import *\n{name} = mine",
    ],
)
def test_k1_what_may_define_an_answer_is_never_undone(code_of_their_own: str, released: Notebook) -> None:
    notebook = solved()
    here = place(notebook, "standardise")
    mine = notebook["cells"][here]["source"].replace("standardise", "mine")
    notebook["cells"][here] = code(mine + "\n\n" + code_of_their_own.format(name="standardise"))
    assert graded(notebook, released)[0] == 7


def test_k1_an_untouched_copy_behind_the_answer_is_no_answer(released: Notebook) -> None:
    notebook = solved()
    here = place(notebook, "dropout")
    stub = copy.deepcopy(released["cells"][place(released, "dropout")])
    notebook["cells"].insert(here + 1, stub)
    notebook["cells"].insert(here, copy.deepcopy(stub))
    earned, findings, _ = graded(notebook, released)
    assert (earned, said(findings)) == (
        7,
        "dropout is there 3 times: one was kept as that cell, the code of answers stays.",
    )


def test_k1_what_a_signature_lists_is_not_what_an_answer_defines() -> None:
    source = "def flash(\n    q: Tensor,\n    tile: int = 64,\n) -> Tensor:\n    raise NotImplementedError()"
    role = {"grade_id": "flash", "solution": True, "grade": False, "locked": False}
    assert answer_names({"cell_type": "code", "source": source, "metadata": {"nbgrader": role}}) == {"flash"}


@pytest.mark.parametrize("where", [-1, 0, 1, 3])
def test_k1_an_empty_given_cell_does_not_undo_the_students_own(where: int, released: Notebook) -> None:
    """Above it, below it, or below the tests; stock nbgrader gives the points in one of these cases."""
    notebook = solved()
    here = place(notebook, "standardise")
    own = code(notebook["cells"][here]["source"])
    notebook["cells"][here] = copy.deepcopy(released["cells"][place(released, "standardise")])
    notebook["cells"].insert(here + where, own)
    earned, findings, _ = graded(notebook, released)
    assert earned == 7 and "standardise was left empty: its answer was found in another cell and counts." in said(
        findings
    )


def test_k1_an_answer_that_is_nowhere_is_put_back_empty(released: Notebook) -> None:
    notebook = solved()
    notebook["cells"].pop(place(notebook, "standardise"))
    earned, findings, mended = graded(notebook, released)
    assert (earned, said(findings)) == (3, "the answer standardise is missing: it was put back from the release.")
    assert [finding.absent for finding in findings] == ["standardise"]
    assert place(mended, "standardise") < place(mended, "standardise_value")


def test_k1_an_answer_merged_into_a_test_is_kept(released: Notebook) -> None:
    notebook = solved()
    source = notebook["cells"].pop(place(notebook, "dropout"))["source"]
    notebook["cells"][place(notebook, "standardise_constant")]["source"] += "\n\n\n" + source
    assert graded(notebook, released)[0] == 7


def test_k1_two_texts_side_by_side_are_told_apart(released: Notebook) -> None:
    """An answer that is a text has nothing but its place; notes around it are not the answer."""
    notebook = solved()
    strip(notebook)
    without_ids(notebook)
    for source in ("A note.", "Another."):
        note = {"cell_type": "markdown", "metadata": {}, "source": source}
        notebook["cells"].append(note)
    _, _, mended = graded(notebook, released)
    assert "expected input" in mended["cells"][place(mended, "dropout_words")]["source"]


@pytest.mark.parametrize(
    "change", [crlf, lambda notebook: [c.update(source=c["source"].replace("\n", " \n")) for c in notebook["cells"]]]
)
def test_k13_line_ends_are_no_difference(change: Damage, released: Notebook) -> None:
    notebook = solved()
    change(notebook)
    earned, findings, _ = graded(notebook, released)
    assert (earned, findings) == (7, [])
    lines = examine("homework.ipynb", json.dumps(notebook).encode(), {WEEK.name: skeleton(released)})
    assert [d.level for d in lines] == ["ok"]


def test_k13_an_older_version_is_no_accusation(released: Notebook) -> None:
    notebook = solved()
    test = notebook["cells"][place(notebook, "dropout_rate")]
    test["source"] = test["source"].replace("0.25", "0.5")
    earned, findings, _ = graded(notebook, released)
    sentence = "the test dropout_rate differs from the release, it was edited or is of an older version: it was taken from the release."
    assert (earned, said(findings)) == (7, sentence)
    assert findings[0].variant


def test_k3_a_picture_that_is_not_shown_is_named(released: Notebook) -> None:
    """Of a type that no page shows, no picture at all, or one that would fill the memory of whoever looks at it."""
    notebook = solved()
    chunks = (b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0), b"IDAT")
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    huge = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(framed)).decode()
    pictures = {"a.webp": {"image/webp": "aGk="}, "b.png": {"image/png": "aGk="}, "c.png": {"image/png": huge}}
    notebook["cells"][-1]["attachments"] = pictures
    earned, findings, mended = graded(notebook, released)
    assert (earned, said(findings)) == (
        7,
        "a picture in cell 19 is not shown (it has over 25,000,000 pixels; it is no PNG file; it is of the type webp): "
        "ask for a PNG or JPEG of at most 25,000,000 pixels.",
    )
    assert mended["cells"][-1]["attachments"].keys() == {"b.png", "c.png"}  # feedback names them


def test_k7_a_cell_of_another_kind_does_not_cost_the_notebook(released: Notebook) -> None:
    notebook = solved()
    notebook["cells"].insert(5, {"cell_type": "heading", "level": 1, "metadata": {}, "source": "Mine"})
    notebook["cells"].insert(5, {"cell_type": "sql", "metadata": {}, "source": ["SELECT 1"]})
    assert graded(notebook, released)[:2] == (7, [])


@settings(max_examples=300, deadline=None)
@given(notebook=harmlessly_damaged())
def test_k1_no_damage_costs_points_while_the_code_is_there(notebook: Notebook, released: Notebook) -> None:
    stock = points(parse(json.dumps(notebook).encode()))
    earned, findings, _ = graded(notebook, released)
    assert earned == 7 >= stock, said(findings)


@settings(max_examples=200, deadline=None)
@given(order=st.permutations(range(18)), kept=st.sets(st.integers(0, 17)), stripped=st.booleans())
def test_k1_in_any_order_and_with_any_gaps_never_less_than_stock(
    order: list[int], kept: set[int], stripped: bool, released: Notebook
) -> None:
    notebook = solved()
    notebook["cells"] = [notebook["cells"][i] for i in order if i in kept or i > 4]
    stock = points(parse(json.dumps(notebook).encode()))
    if stripped:
        strip(notebook)
    assert graded(notebook, released)[0] >= stock
