"""`lsdl selftest`: an instructor trusts what was seen on the own server."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from lsdl.grading import GradingError, jail
from lsdl.grading.grade import CellMark, Row
from lsdl.grading.selftest import HOSTILE, Case, selftest

REPOSITORY = Path(__file__).resolve().parents[2]


def row(points: float, status: str = "ok") -> Row:
    return Row(
        "x", status, 3, 0, points, cells={"value": CellMark(points, 3, "why"), "text": CellMark(None, 2, manual=True)}
    )


@pytest.mark.parametrize(
    ("lost", "found", "outputs", "said"),
    [
        (set(), row(3), "TRIED", ""),
        ({"value"}, row(0), "TRIED", ""),
        ({"value"}, row(3), "TRIED", "value has 3 points, not 0"),
        (set(), row(0), "TRIED", "value has 0 points, not 3: why"),
        (set(), row(3, "failed"), "TRIED", "its status is failed, not ok"),
        (set(), row(3), "TRIED BREACH: read /etc/shadow", "it got through: BREACH: read /etc/shadow"),
        (set(), row(3), "", "it did not come to its attack"),
        (set(), row(0, "timeout"), "TRIED", ""),  # a busy machine: it lost, which is no breach
        ({"value"}, row(3, "timeout"), "TRIED", "value has 3 points, not 0"),
        (set(), None, "", "it has no row"),
    ],
)
def test_what_does_not_hold_is_said(lost: set[str], found: Row | None, outputs: str, said: str) -> None:
    assert Case("x", HOSTILE, "", b"", lost=frozenset(lost)).fault(found, outputs).startswith(said or "")
    assert bool(Case("x", HOSTILE, "", b"", lost=frozenset(lost)).fault(found, outputs)) == bool(said)


def test_a_copy_without_the_set_says_so(tmp_path: Path) -> None:
    with pytest.raises(GradingError, match="run lsdl selftest in a whole clone"):
        selftest(tmp_path, Console(file=io.StringIO()))


@pytest.mark.slow
@pytest.mark.linux
@pytest.mark.xdist_group("attacks")
@pytest.mark.skipif(bool(jail.missing()), reason="; ".join(jail.missing()))
def test_a_part_of_the_set_holds_here() -> None:
    text = io.StringIO()
    only = {
        "solved",
        "untouched",
        "mistaken",
        "test-deleted",
        "test-doubled",
        "tests-edited",
        "not-json",
        "another-notebook",
    }
    found = selftest(
        REPOSITORY, Console(file=text, width=120), only=only | {"network", "replaced_check", "read_secrets"}
    )
    assert {case.name: fault for case, fault in found if fault} == {}
    assert len(found) == 11 and "11 of 11 held." in text.getvalue()
