"""The tables of a seminar: one part is renewed at a time and the others stay."""

from __future__ import annotations

import json
from pathlib import Path

from lsdl.author.seminar import about_run, clocks, write_table


def test_a_part_is_renewed_and_the_others_stay(tmp_path: Path) -> None:
    file, started = tmp_path / "assets" / "tables.json", clocks()
    write_table(file, "depth", [{"seed": 0, "loss": 1.23456, "lr": 5e-05}], about_run(started))
    write_table(file, "norm", [{"seed": 0, "loss": float("nan")}], about_run(started, note="short"))
    write_table(file, "depth", [{"seed": 0, "loss": 2.0}, {"seed": 1, "loss": 3.0}], about_run(started))
    tables = json.loads(file.read_text(encoding="utf-8"))
    assert [row["loss"] for row in tables["depth"]] == [2.0, 3.0] and "norm" in tables
    assert tables["about"]["norm"]["note"] == "short" and tables["about"]["depth"]["versions"]["torch"]


def test_numbers_are_rounded_but_small_ones_stay(tmp_path: Path) -> None:
    write_table(tmp_path / "tables.json", "depth", [{"loss": 1.23456, "lr": 5e-05, "name": "pre"}], {})
    rows = json.loads((tmp_path / "tables.json").read_text(encoding="utf-8"))["depth"]
    assert rows == [{"loss": 1.2346, "lr": 5e-05, "name": "pre"}]
