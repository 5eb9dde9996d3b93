"""Claims: outcomes, the table, and what a rerun is held to."""

import math
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from lsdl.claims import MIME, NO_REASON, Claims, compare_claims, read_claims


def outcome(values: object, **options: object) -> str:
    return Claims().add("a", values, condition="c", **options).outcome  # type: ignore[arg-type]


def test_outcome_is_decided_by_the_t_interval() -> None:
    # mean 2, standard error 1 / sqrt(3), t(2) = 4.303: the interval ends at -0.48
    assert outcome([1, 2, 3]) == "undecided"
    assert outcome([2, 3, 4]) == "holds"  # from 0.52
    assert outcome([-2, -3, -4]) == "does not hold"
    # more values of the same spread decide
    assert outcome([1, 2, 3] * 2) == "holds"
    # two values: t(1) = 12.7
    assert outcome([1, 3]) == outcome([0, 2]) == "undecided"
    assert outcome([0.0, 0.0]) == "undecided"


def test_mean_and_standard_error_are_those_of_the_values() -> None:
    values = [0.3, -1.2, 4.0, 2.2]
    claim = Claims().add("a", values, condition="c")
    assert claim.mean == pytest.approx(np.mean(values))
    assert claim.se == pytest.approx(np.std(values, ddof=1) / math.sqrt(4))


def test_arrays_count_as_values_and_counted_work_needs_no_spread() -> None:
    assert outcome(np.array([2.0, 3.0, 4.0])) == "holds"
    assert outcome(5, exact=True) == "holds"
    assert outcome(np.float32(-5), exact=True) == "does not hold"


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0], {}, "at least two values"),
        ([], {}, "at least two values"),
        ([1.0, math.nan], {}, "finite"),
        ([1.0, 2.0], {"exact": True}, "one counted value"),
    ],
)
def test_unusable_values_are_refused(values: list[float], options: dict[str, bool], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        outcome(values, **options)


def test_the_main_claims_are_shown_and_all_are_stored(capsys: pytest.CaptureFixture[str]) -> None:
    claims = Claims()
    for name, values in (("a", [2, 3, 4]), ("b", [-2, -3, -4]), ("c", [5, 6, 7])):
        claims.add(name, values, condition="tiny", reason="few")
    with pytest.MonkeyPatch.context() as patch:
        found: list[dict[str, Any]] = []
        patch.setattr("IPython.display.display", lambda data, raw: found.append(data))
        claims.table(["c", "a"])
    main, rest = found[0]["text/html"].split("<details>")
    assert main.index(">c<") < main.index(">a<") and ">b<" not in main and ">b<" in rest
    assert [claim["name"] for claim in found[0][MIME]["claims"]] == ["a", "b", "c"]
    claims.lines("b")
    assert capsys.readouterr().out.startswith("does not hold: b [-3 ± 0.58 (n = 3); tiny]; few")
    with pytest.raises(ValueError, match="no claim called 'd'"):
        claims.table(["d"])


def test_a_cell_may_run_twice_but_two_claims_need_two_names() -> None:
    claims = Claims()
    claims.add("a", [1, 2], condition="c")
    claims.add("a", [1, 3], condition="c")
    with pytest.raises(ValueError, match="two claims called 'a'"):
        claims.add("a", [1, 2], condition="d")


def shown(claims: Claims) -> dict[str, Any]:
    with patch("IPython.display.display") as display:
        claims.table()
    (bundle,) = display.call_args.args
    assert display.call_args.kwargs == {"raw": True}
    return bundle


def test_table_shows_what_was_measured_and_escapes_it() -> None:
    claims = Claims()
    claims.add("A <b> beats B", [2, 3, 4], condition="tiny", paper="+7.9", unit="points", reason="not needed")
    claims.add("C beats D", [-2, -3, -4], condition="tiny")
    data = shown(claims)
    assert "A &lt;b&gt; beats B" in data["text/html"] and "<b> beats" not in data["text/html"]
    assert "+3 ± 0.58 points (n = 3)" in data["text/plain"] and "+7.9" in data["text/plain"]
    assert "not needed" not in data["text/plain"]
    assert NO_REASON in data["text/plain"]


def test_outcomes_are_read_back_from_a_notebook() -> None:
    claims = Claims()
    claims.add("a", [2, 3, 4], condition="c", paper="p", unit="points")
    cell = new_code_cell("claims.table()", outputs=[new_output("display_data", shown(claims))])
    stored = read_claims(new_notebook(cells=[new_code_cell("1"), cell]))
    assert stored["a"]["outcome"] == "holds" and stored["a"]["n"] == 3
    assert MIME in cell.outputs[0].data


def fields(values: list[float]) -> dict[str, dict[str, object]]:
    return {"a": vars(Claims().add("a", values, condition="c"))}


def test_a_rerun_is_held_to_the_committed_outcomes_not_to_the_numbers() -> None:
    committed = fields([2, 3, 4])
    assert compare_claims(committed, fields([3, 4, 5])) == []
    (flip,) = compare_claims(committed, fields([-2, -3, -4]))
    assert "+3 ± 0.58" in flip and "-3 ± 0.58" in flip and "does not hold" in flip
    (weaker,) = compare_claims(committed, fields([0, 2]))
    assert "undecided" in weaker
    assert "does not make it" in compare_claims(committed, {})[0]
    assert "--update" in compare_claims({}, committed)[0]
