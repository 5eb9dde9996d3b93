"""The tables of a seminar: one part is renewed at a time and the others stay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lsdl.author.seminar import about_run, clocks, write_log, write_parts, write_table
from lsdl.tables import Tables, part


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


def test_a_part_is_written_when_it_is_measured(tmp_path: Path) -> None:
    measure = ModuleType("measure")

    @part(minutes=1)
    def first(s: Any, seeds: Sequence[int]) -> Iterator[dict]:
        yield from ({"seed": seed} for seed in seeds)

    @part(minutes=1)
    def second(s: Any, seeds: Sequence[int]) -> Iterator[dict]:
        raise RuntimeError("stopped")
        yield {}

    measure.first, measure.second = first, second
    file = tmp_path / "tables.json"
    with pytest.raises(RuntimeError):
        write_parts(file, Tables(file, measure, seminar={}, seeds=2, retrain=True), None)
    tables = json.loads(file.read_text(encoding="utf-8"))
    assert tables["first"] == [{"seed": 0}, {"seed": 1}] and "second" not in tables and tables["about"]["first"]


def test_a_log_has_the_digest_of_its_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"
    file.write_bytes(b"weights")
    write_log(file, {"loss": 1.23456})
    log = json.loads((tmp_path / "net.json").read_text(encoding="utf-8"))
    assert log == {"loss": 1.2346, "sha256": {"net.safetensors": hashlib.sha256(b"weights").hexdigest()}}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.json", "net.safetensors"]
