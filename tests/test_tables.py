"""Tables over seeds: read or measured where they are used, asked by value, shown with their spread; settings by scale."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from lsdl.settings import SettingsError, load_settings
from lsdl.tables import NoTable, Tables, gathered, mean_and_error, part, with_values

ROWS = [
    {"method": method, "lr": lr, "seed": seed, "val": val + seed, "OOD": 10 * lr + seed}
    for method, lr, val in (("LP", 1.0, 5.0), ("LP", 2.0, 7.0), ("FT", 1.0, 9.0), ("FT", 2.0, 8.0))
    for seed in (1, 0)
]
CALLS: list[tuple] = []


@part(minutes=0.01)
def methods(s, seeds):
    CALLS.append(tuple(seeds))
    for seed in seeds:
        yield {"method": "LP", "seed": seed, "OOD": s.accuracy(seed)}


@pytest.fixture
def measure() -> ModuleType:
    module = ModuleType("measure")
    module.methods, module.helper = methods, len
    return module


@pytest.fixture
def read(tmp_path: Path, measure: ModuleType) -> Tables:
    (tmp_path / "tables.json").write_text(json.dumps({"about": {}, "methods": ROWS}))
    return Tables(tmp_path / "tables.json", measure, seminar={}, seeds=2)


def test_values_are_one_number_per_seed_in_their_order(read: Tables) -> None:
    assert read.values("methods", "OOD", method="FT", lr=2.0).tolist() == [20.0, 21.0]
    assert read.values("methods", "val", method="LP").tolist() == [6.0, 7.0]  # the mean over rates


def test_the_best_setting_is_that_of_the_best_mean(read: Tables) -> None:
    assert read.best("methods", "val", "lr", method="LP") == 2.0
    assert read.best("methods", "val", "lr", method="FT") == 1.0
    assert read.best("methods", "val", "lr", lowest=True, method="FT") == 2.0


def test_a_difference_is_paired_by_the_seeds_that_both_have(read: Tables) -> None:
    rows = read["methods"]
    rows.append({"method": "LP", "lr": 3.0, "seed": 1, "OOD": 100.0})
    margin = read.difference("methods", "OOD", {"method": "LP", "lr": 3.0}, {"method": "FT", "lr": 1.0})
    assert margin().tolist() == [100.0 - 11.0]


def test_claims_without_numbers_are_left_out(read: Tables) -> None:
    claims = [
        {"name": "counted", "values": 3},
        {"name": "measured", "margin": lambda: read.values("methods", "OOD", method="FT")},
        {"name": "no such row", "margin": lambda: read.values("methods", "OOD", method="BYOL")},
        {"name": "one seed", "margin": lambda: np.array([1.0])},
        {"name": "counted from a table", "margin": lambda: np.array([1.0]), "exact": True},
    ]
    counted, measured, exact = with_values(claims)
    assert counted == {"exact": True, "name": "counted", "values": 3}
    assert measured["name"] == "measured" and len(measured["values"]) == 2 and "margin" not in measured
    assert exact == {"name": "counted from a table", "exact": True, "values": np.array([1.0])}


def test_a_column_may_be_called_name_or_column(read: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    read.file.write_text(json.dumps({"kinds": [{"name": "a", "column": 1, "loss": 2.0}]}))
    assert read.values("kinds", "loss", name="a", column=1).tolist() == [2.0]
    assert read.best("kinds", "loss", "name", column=1) == "a"
    read.show("kinds", ["loss"], by="name", column=1)
    assert capsys.readouterr().out.split() == ["loss", "a", "2.0"]


def test_show_prints_mean_and_error_with_the_live_run_beside(read: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    read.show(
        "methods", ["OOD"], by="method", chosen={"LP": {"lr": 2.0}, "FT": {"lr": 1.0}}, live={"FT": {"OOD": 11.25}}
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [
        ["OOD,", "seeds", "OOD,", "here"],
        ["LP", "20.5", "±", "0.5"],
        ["FT", "10.5", "±", "0.5", "11.2"],
    ]


def test_a_line_without_a_column_has_an_empty_place(tmp_path: Path, measure: ModuleType, capsys) -> None:
    rows = [{"method": "LP", "seed": 0, "OOD": 20.0}, {"method": "scratch", "seed": 0, "ID": 30.0}]
    (tmp_path / "tables.json").write_text(json.dumps({"methods": rows}))
    Tables(tmp_path / "tables.json", measure, seminar={}, seeds=1).show("methods", ["ID", "OOD"], by="method")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["ID", "OOD"], ["LP", "20.0"], ["scratch", "30.0"]]
    assert lines[1].endswith("20.0") and lines[2].index("30.0") < lines[1].index("20.0")


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda t: t["nothing"], "tables.json has no part 'nothing'; there is methods. RETRAIN = True measures it."),
        (
            lambda t: t.values("methods", "OOD", method="XX"),
            "No row of 'methods' has method = 'XX'; there is method: LP, FT.",
        ),
        (lambda t: t.values("methods", "ID"), "'methods' has no column 'ID'; there is method, lr, seed, val, OOD."),
        (lambda t: t.measure("nothing"), "measure.py has no part 'nothing'; there is methods."),
    ],
)
def test_what_is_not_there_is_said_in_one_sentence(read: Tables, ask, said: str) -> None:
    with pytest.raises(NoTable) as caught:
        ask(read)
    assert caught.value.args[0] == said


def test_a_part_is_measured_once_where_it_is_first_used(
    tmp_path: Path, measure: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    names: dict = {}
    tables = Tables(tmp_path / "absent.json", measure, seminar=names, seeds=3, retrain=True)
    CALLS.clear()
    with pytest.raises(AttributeError, match="accuracy is not defined yet: run the cells above"):
        tables["methods"]
    names["accuracy"] = lambda seed: 50.0 + seed  # a later cell of the notebook
    assert tables.values("methods", "OOD", method="LP").tolist() == [50.0, 51.0, 52.0]
    tables.show("methods", ["OOD"], by="method")
    assert CALLS == [(0, 1, 2)] * 2  # the first one failed
    printed = capsys.readouterr()
    assert "measuring methods, about 0.01 minutes" in printed.out and printed.err == ""


def test_mean_and_error_of_one_and_of_many() -> None:
    assert mean_and_error([63.66]) == "63.7"
    assert mean_and_error([1.0, 2.0, 3.0], 2) == "2.00 ± 0.58" == f"{2:.2f} ± {np.std([1, 2, 3], ddof=1) / 3**0.5:.2f}"


def test_full_settings_are_those_of_smoke_but_for_what_differs(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("[smoke]\nepochs = 8 # enough for a loss to fall\nlr = 1e-3\n[full]\nepochs = 90\nlr = 1\n")
    assert load_settings("smoke", file) == {"epochs": 8, "lr": 1e-3}
    assert load_settings("full", file) == {"epochs": 90, "lr": 1}


@pytest.mark.parametrize(
    ("text", "scale", "said"),
    [
        ("[smoke]\na = 1\n[full]\nb = 2\n", "full", "settings.toml: [full] has b, which [smoke] does not have."),
        ("[smoke]\na = 1\n[full]\na = 'x'\n", "smoke", "settings.toml: a is float in [smoke] and str in [full]."),
        ("[full]\na = 1\n", "full", "settings.toml has no table [smoke]."),
        ("[smoke\n", "smoke", "settings.toml is not valid TOML"),
        ("[smoke]\n", "large", 'SCALE is "smoke" or "full", not \'large\'.'),
        (None, "smoke", "settings.toml is not in"),
    ],
)
def test_a_mistake_in_the_settings_is_one_sentence(tmp_path: Path, text: str | None, scale: str, said: str) -> None:
    file = tmp_path / "settings.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(scale, file)
    assert said in str(caught.value)


def test_a_part_without_rows_is_measured_again_once_its_functions_are_there(tmp_path: Path) -> None:
    seminar, module = {}, ModuleType("measure")

    @part(minutes=0.01)
    def methods(s, seeds):
        yield from [{"seed": seed} for seed in seeds if hasattr(s, "method")]

    module.methods = methods
    tables = Tables(tmp_path / "tables.json", module, seminar=seminar, seeds=2, retrain=True)
    assert tables["methods"] == []
    seminar["method"] = None
    assert tables["methods"] == [{"seed": 0}, {"seed": 1}]


def test_a_part_is_measured_again_once_a_name_it_looked_for_is_there(tmp_path: Path) -> None:
    @part(minutes=1)
    def methods(s, seeds):
        calls.append(len(calls))
        yield {"method": "MAE", "seed": 0}
        if hasattr(s, "DINO"):
            yield {"method": "DINO", "seed": 0}
        hasattr(s, "of_the_homework")

    measure, names, calls = ModuleType("measure"), {}, []
    measure.methods = methods
    tables = Tables(tmp_path / "tables.json", measure, seminar=names, seeds=1, retrain=True)
    assert len(tables["methods"]) == len(tables["methods"]) == 1 and len(calls) == 1
    names["DINO"] = None
    assert len(tables["methods"]) == len(tables["methods"]) == 2 and len(calls) == 2


def test_gathered_takes_what_has_numbers_with_its_unit_and_reason() -> None:
    given = [
        {"name": "measured", "margin": lambda: np.array([1.0, 2.0]), "condition": "c"},
        {"name": "one seed", "margin": lambda: np.array([1.0]), "condition": "c"},
        {"name": "counted", "values": 3, "condition": "c"},
        {"name": "own unit", "values": 3, "condition": "c", "unit": "bytes"},
    ]
    found = gathered(given, {"counted": "why"}, unit="nats")
    assert list(found) == ["measured", "counted", "own unit"] and "one seed" not in found
    assert [(claim.unit, claim.reason) for claim in found._named(found)] == [("nats", ""), ("", "why"), ("bytes", "")]
