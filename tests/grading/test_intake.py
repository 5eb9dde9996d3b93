"""What is wrong with a notebook, and mending it without touching an answer."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsdl.cells import grade_id
from lsdl.intake import BadNotebook, Notebook, mend, parse

ANSWER, TEST = {"solution": True, "grade": False, "locked": False}, {"solution": False, "grade": True, "locked": True}


def cell(name: str, source: str, role: dict[str, bool], kind: str = "code") -> dict:
    entry = {"grade_id": name, "points": 1, "schema_version": 3, **role}
    return {"cell_type": kind, "id": name, "source": source, "metadata": {"nbgrader": entry}}


def release() -> Notebook:
    cells = [
        cell("a", "stub a", ANSWER),
        cell("a_1", "test a 1", TEST),
        cell("a_2", "test a 2", TEST),
        cell("b", "stub b", ANSWER),
        cell("b_1", "test b 1", TEST),
    ]
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}


def answered() -> Notebook:
    notebook = release()
    notebook["cells"][0]["source"] = "answer a"
    notebook["cells"][3]["source"] = "answer b"
    return notebook


def sources(notebook: Notebook) -> list[str]:
    return [c["source"] for c in notebook["cells"] if c["source"]]


def names(notebook: Notebook) -> list[str | None]:
    return [grade_id(c) for c in notebook["cells"] if c["source"]]


def drop(index: int) -> Callable[[Notebook], object]:
    return lambda notebook: notebook["cells"].pop(index)


def repeat(index: int) -> Callable[[Notebook], object]:
    return lambda notebook: notebook["cells"].insert(index + 1, copy.deepcopy(notebook["cells"][index]))


def strip_all(notebook: Notebook) -> None:
    for c in notebook["cells"]:
        c["metadata"] = {}


def retype(notebook: Notebook) -> None:
    notebook["cells"][0]["cell_type"] = "markdown"


def rename(notebook: Notebook) -> None:
    notebook["cells"][1]["metadata"]["nbgrader"]["grade_id"] = "mine"


def cheapen(notebook: Notebook) -> None:
    notebook["cells"][1]["metadata"]["nbgrader"]["points"] = 100


def edit_test(notebook: Notebook) -> None:
    notebook["cells"][1]["source"] = "pass"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (drop(2), "the test a_2 is missing"),
        (drop(4), "the test b_1 is missing"),
        (repeat(1), "a_1 is there 2 times"),
        (strip_all, "a and 4 more cells had lost their metadata"),
        (retype, "a was turned into a markdown cell"),
        (rename, "a_1 had lost its metadata"),
        (
            cheapen,
            "what nbgrader knows of a_1 (points or role) differs from the release, it was edited or is of an older version",
        ),
        (edit_test, "the test a_1 differs from the release, it was edited or is of an older version"),
    ],
)
def test_damage_is_named_and_undone(damage: Callable[[Notebook], object], said: str) -> None:
    notebook = answered()
    damage(notebook)
    before = copy.deepcopy(notebook)
    mended, findings = mend(notebook, release())
    assert said in [finding.problem for finding in findings]
    assert sources(mended) == sources(answered())
    assert names(mended) == names(answered())
    for c, official in zip((c for c in mended["cells"] if c["source"]), release()["cells"], strict=True):
        assert c["metadata"]["nbgrader"] == official["metadata"]["nbgrader"]
        assert c["cell_type"] == official["cell_type"]
    assert notebook == before


def test_a_split_answer_keeps_all_its_code_before_the_tests() -> None:
    notebook = answered()
    repeat(0)(notebook)
    notebook["cells"][1]["source"] = "second half"
    drop(2)(notebook)
    mended, findings = mend(notebook, release())
    assert sources(mended) == ["answer a", "second half", "test a 1", "test a 2", "answer b", "test b 1"]
    assert names(mended) == ["a", None, "a_1", "a_2", "b", "b_1"]
    assert len(findings) == 2


def test_a_good_notebook_needs_nothing() -> None:
    mended, findings = mend(answered(), release())
    assert (mended, findings) == (answered(), [])


def test_the_solved_notebook_was_not_edited() -> None:
    notebook = answered()
    notebook["cells"][1]["source"] += "\n### BEGIN HIDDEN TESTS\nsecret\n### END HIDDEN TESTS"
    mended, findings = mend(notebook, release())
    assert (mended, findings) == (answered(), [])


def test_another_notebook_is_refused() -> None:
    other = {"nbformat": 4, "metadata": {}, "cells": [{"cell_type": "code", "source": "1", "metadata": {}, "id": "x"}]}
    with pytest.raises(BadNotebook, match="was another notebook handed in"):
        mend(other, release())


@given(st.lists(st.sampled_from(range(5)), max_size=8), st.lists(st.booleans(), min_size=8, max_size=8))
def test_any_copies_and_gaps_give_the_skeleton_once_and_in_place(picked: list[int], stripped: list[bool]) -> None:
    notebook = answered()
    notebook["cells"] = [copy.deepcopy(notebook["cells"][index]) for index in picked]
    for c, strip in zip(notebook["cells"], stripped, strict=False):
        if strip:
            c["metadata"] = {}
    try:
        mended, _ = mend(notebook, release())
    except BadNotebook:
        assert not picked
        return
    found = [name for name in (grade_id(c) for c in mended["cells"]) if name]
    assert sorted(found) == ["a", "a_1", "a_2", "b", "b_1"]
    by_name = {grade_id(c): c["source"] for c in mended["cells"]}
    assert {name: by_name[name] for name in ("a_1", "a_2", "b_1")} == {
        "a_1": "test a 1",
        "a_2": "test a 2",
        "b_1": "test b 1",
    }


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a notebook"),
        (b'{"nbformat": 4, "cells": [{"cell_type": "code", "source": 3}]}', "Cell 1 of the notebook is not a cell"),
        (b'{"nbformat": 4, "cells": []}', "no cells"),
        (b'{"nbformat": 3, "worksheets": [{}]}', "the format of 2014"),
    ],
)
def test_files_that_are_no_notebook(data: bytes, said: str) -> None:
    with pytest.raises(BadNotebook, match=said):
        parse(data)


@given(
    st.recursive(
        st.none() | st.booleans() | st.text() | st.integers(),
        lambda s: (
            st.lists(s)
            | st.dictionaries(st.sampled_from(["cells", "nbformat", "source", "metadata", "cell_type", "id"]), s)
        ),
    )
)
def test_any_json_is_read_or_refused(value: object) -> None:
    try:
        parse(json.dumps(value).encode())
    except BadNotebook as error:
        assert str(error).endswith((".", "?"))


def test_only_what_the_student_wrote_goes_on() -> None:
    notebook = {
        "nbformat": 4,
        "nbformat_minor": 5,
        "metadata": {"kernelspec": {"name": "ir", "display_name": "R", "x": 3}, "widgets": {"x": 1}},
        "cells": [
            {
                "cell_type": "code",
                "id": "one",
                "source": ["a = 1\n", "b = '\ud83d'"],
                "metadata": {"tags": ["x", 1], "nbgrader": {"grade_id": "n", "deep": [[]]}, "papermill": {}},
                "outputs": [{"output_type": "display_data", "data": {"text/html": "<script>1</script>"}}],
                "execution_count": 7,
            },
            {
                "cell_type": "markdown",
                "id": "one",
                "source": "text",
                "attachments": {"p": {"image/png": "aGk=", "text/html": "<b>"}},
            },
        ],
    }
    parsed = parse(json.dumps(notebook).encode())
    code, text = parsed["cells"]
    assert parsed["metadata"] == {
        "kernelspec": {"name": "ir", "display_name": "R"},
        "not_shown": ["a picture in cell 2 is not shown (it is no PNG file)"],
    }
    assert code == {
        "cell_type": "code",
        "id": "one",
        "source": "a = 1\nb = '?'",
        "metadata": {"tags": ["x"], "nbgrader": {"grade_id": "n"}},
        "outputs": [],
        "execution_count": None,
    }
    assert text["attachments"] == {"p": {"image/png": "aGk="}} and text["id"] == "cell-1"
    nbformat.validate(nbformat.from_dict(parsed))


def test_an_old_notebook_is_brought_to_the_newest_format() -> None:
    old = {"nbformat": 4, "nbformat_minor": 0, "metadata": {}, "cells": answered()["cells"]}
    for c in old["cells"]:
        del c["id"]
    parsed = parse(json.dumps(old).encode())
    assert parsed["nbformat_minor"] == 5 and parse(json.dumps(old).encode()) == parsed
    nbformat.validate(nbformat.from_dict(parsed))
    mended, findings = mend(parsed, release())
    assert sources(mended) == sources(answered()) and not findings


def test_more_cells_than_a_person_writes() -> None:
    cells = [{"cell_type": "raw", "source": "", "metadata": {}}] * 6000
    with pytest.raises(BadNotebook, match="over 5000 cells"):
        parse(json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}).encode())
