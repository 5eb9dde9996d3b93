"""Tables over seeds and grids: read from a week's tables.json, or measured where they are first used by its measure.py.

A seminar shows one live run; whether it was chance is told by the same functions run over seeds beforehand. `measure.py` says
how, one generator per part, on the seminar's own functions:

    @part(minutes=9)
    def methods(s, seeds):
        for seed in seeds:
            yield {"method": "FT", "seed": seed, "OOD": s.accuracies(s.fine_tune(seed=seed), s.task)["OOD"]}

and the notebook asks:

    tables = Tables("assets/tables.json", measure, seminar=globals(), seeds=5, retrain=RETRAIN or SCALE == "full")
    tables.show("methods", ["ID", "OOD"], by="method")
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from tqdm import tqdm

from lsdl.claims import Claims

Row = dict[str, Any]
Generate = Callable[[Any, Sequence[int]], Iterator[Row]]


class NoTable(LookupError):
    """A part, row or column that is asked for is not there; the message is one sentence that says what is."""


def part(*, minutes: float) -> Callable[[Generate], Generate]:
    """Marks a generator of measure.py as a part of the tables that takes about so many minutes of one thread."""

    def mark(generate: Generate) -> Generate:
        generate.minutes = minutes  # type: ignore[attr-defined]
        return generate

    return mark


class Names:
    """A seminar's names as attributes, looked up when they are used, so that a part may need what a later cell defines."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self._names, self._lacking = names, set()

    def __getattr__(self, name: str) -> Any:
        try:
            return self._names[name]
        except KeyError:
            self._lacking.add(name)
            raise AttributeError(f"{name} is not defined yet: run the cells above this one first.") from None


class Tables:
    """The parts of a week's tables.

    Args:
        file: tables.json; it need not exist where everything is measured.
        measure: the week's measure.py, whose generators marked with `part` are the parts.
        seminar: the names that the parts use: `globals()` of the notebook.
        seeds: how many seeds a part is measured with, from 0 on.
        retrain: measure every part here instead of reading it.
    """

    def __init__(
        self,
        file: Path | str,
        measure: ModuleType,
        *,
        seminar: Mapping[str, Any],
        seeds: int,
        retrain: bool = False,
    ) -> None:
        self.file, self.retrain, self.seeds = Path(file), retrain, range(seeds)
        self.parts: dict[str, Generate] = {
            name: value for name, value in vars(measure).items() if hasattr(value, "minutes")
        }
        self._seminar = Names(seminar)
        self._rows: dict[str, list[Row]] = {}
        self._lacking: dict[str, set[str]] = {}  # names that were not defined when a part was measured

    def __getitem__(self, name: str) -> list[Row]:
        """The rows of a part: read, or with `retrain` measured when they are asked for the first time.

        A part without rows is measured again, and one that looked for a name that has been defined since.

        Raises:
            NoTable: there is no such part.
        """
        if not self._rows.get(name) or self._lacking.get(name, set()) & self._seminar._names.keys():
            self._rows[name] = self.measure(name) if self.retrain else self._read(name)
        return self._rows[name]

    @property
    def unused(self) -> set[str]:
        """The parts that nothing has asked for so far."""
        return self.parts.keys() - self._rows.keys()

    def measure(self, name: str) -> list[Row]:
        """Run the generator of a part, with a bar of its time.

        Raises:
            NoTable: measure.py has no such part.
        """
        if name not in self.parts:
            raise NoTable(f"measure.py has no part {name!r}; there is {_listed(self.parts)}.")
        minutes, begin, rows = self.parts[name].minutes, time.monotonic(), []
        self._seminar._lacking.clear()
        # on stdout: in a notebook stderr would look like a warning
        with tqdm(total=60 * minutes, leave=False, file=sys.stdout, bar_format=_BAR) as bar:
            bar.set_description(f"measuring {name}, about {minutes:g} minutes")
            for row in self.parts[name](self._seminar, self.seeds):
                rows.append(row)
                bar.n = min(time.monotonic() - begin, 60 * minutes)
                bar.set_postfix_str(f"{len(rows)} rows")
        self._lacking[name] = set(self._seminar._lacking)
        return rows

    def _read(self, name: str) -> list[Row]:
        tables = json.loads(self.file.read_text(encoding="utf-8")) if self.file.is_file() else {}
        if name not in tables:
            known = _listed(key for key in tables if key != "about")
            raise NoTable(f"{self.file.name} has no part {name!r}; there is {known}. RETRAIN = True measures it.")
        return tables[name]

    def rows(self, name: str, /, **where: Any) -> list[Row]:
        """The rows of a part in which every column of `where` has that value.

        Raises:
            NoTable: no row has.
        """
        found = [row for row in self[name] if all(column in row and row[column] == v for column, v in where.items())]
        if not found:
            given = ", ".join(f"{column} = {value!r}" for column, value in where.items())
            known = {column: _listed(row.get(column) for row in self[name]) for column in where}
            there = "; ".join(f"{column}: {values}" for column, values in known.items())
            raise NoTable(f"No row of {name!r} has {given}; there is {there}.")
        return found

    def values(self, name: str, column: str, /, **where: Any) -> np.ndarray:
        """One number per seed, in the order of the seeds: the column's mean over the seed's rows that match `where`.

        Returns:
            (seeds,) float64.

        Raises:
            NoTable: no row matches, or none has that column.
        """
        found = self.rows(name, **where)
        if any(column not in row for row in found):
            raise NoTable(f"{name!r} has no column {column!r}; there is {_listed(found[0])}.")
        return per_seed(found, column)

    def difference(
        self, part: str, column: str, more: Mapping[str, Any], less: Mapping[str, Any]
    ) -> Callable[[], np.ndarray]:
        """The margin of two settings, paired by seed: a function that gives one value per seed that both have."""

        def margin() -> np.ndarray:
            both = [{row["seed"] for row in self.rows(part, **where)} for where in (more, less)]
            a, b = (
                np.array([self.values(part, column, **where, seed=seed)[0] for seed in sorted(both[0] & both[1])])
                for where in (more, less)
            )
            return a - b

        return margin

    def best(self, name: str, column: str, of: str, /, *, lowest: bool = False, **where: Any) -> Any:
        """The setting in the column `of` whose mean of `column` over seeds is highest (`lowest`: lowest); the first of equals."""
        return best_setting(self.rows(name, **where), column, of, lowest=lowest)

    def show(
        self,
        name: str,
        columns: Sequence[str],
        /,
        *,
        by: str,
        chosen: Mapping[Any, Mapping[str, Any]] | None = None,
        live: Mapping[Any, Mapping[str, float]] | None = None,
        digits: int = 1,
        **where: Any,
    ) -> None:
        """Print a table: a line for each value of the column `by`, and of every column mean ± standard error over seeds.

        A line whose rows lack a column has an empty place there.

        Args:
            columns: what is shown.
            chosen: further conditions for single lines, such as {"FT": {"lr": 1e-3}}.
            live: numbers of this notebook's own run, by line and column; they stand beside.
            digits: after the point.
            where: conditions for all lines.
        """
        lines = list(dict.fromkeys(row[by] for row in self.rows(name, **where)))
        width = max(len(str(line)) for line in (*lines, by))
        heads = [
            f"{column}, {text}" if live else column
            for column in columns
            for text in ("seeds", "here")[: 1 + bool(live)]
        ]
        cells = []
        for line in lines:
            cells.append([])
            for column in columns:
                condition = {by: line} | dict(chosen or {}).get(line, {}) | where
                there = any(column in row for row in self.rows(name, **condition))
                cells[-1].append(mean_and_error(self.values(name, column, **condition), digits) if there else "")
                if live:
                    here = live.get(line, {}).get(column)
                    cells[-1].append("" if here is None else f"{here:.{digits}f}")
        widths = [max(len(head), *(len(row[k]) for row in cells)) for k, head in enumerate(heads)]
        print(" " * width, *(f"{head:>{w}}" for head, w in zip(heads, widths, strict=True)), sep="  ")
        for line, row in zip(lines, cells, strict=True):
            print(f"{line!s:{width}}", *(f"{cell:>{w}}" for cell, w in zip(row, widths, strict=True)), sep="  ")


def per_seed(rows: Sequence[Row], column: str) -> np.ndarray:
    """A column's mean over the rows of each seed, in the order of the seeds: (seeds,) float64."""
    seeds = sorted({row.get("seed", 0) for row in rows})
    return np.array([np.mean([row[column] for row in rows if row.get("seed", 0) == seed]) for seed in seeds])


def best_setting(rows: Sequence[Row], column: str, of: str, *, lowest: bool = False) -> Any:
    """The setting in the column `of` whose mean of `column` over seeds is highest (`lowest`: lowest); the first of equals."""
    settings = list(dict.fromkeys(row[of] for row in rows))
    means = [per_seed([row for row in rows if row[of] == setting], column).mean() for setting in settings]
    return settings[int(np.argmin(means) if lowest else np.argmax(means))]


_BAR = "{desc} {percentage:3.0f}%|{bar}| {elapsed}{postfix}"


def mean_and_error(values: Sequence[float] | np.ndarray, digits: int = 1) -> str:
    """ "63.7 ± 0.2": mean and standard error (standard deviation with n - 1, over root n); of one value only the value."""
    mean, error = mean_and_se(values)
    return f"{mean:.{digits}f} ± {error:.{digits}f}" if len(values) > 1 else f"{mean:.{digits}f}"


def mean_and_se(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean and standard error; 0 for a single value."""
    values = np.asarray(values, dtype=float)
    return values.mean(), values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0


def _listed(names: Iterable[Any]) -> str:
    known = list(dict.fromkeys(map(str, names)))
    return ", ".join(known[:8]) + (", ..." if len(known) > 8 else "") if known else "none"


def with_values(claims: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Arguments of `Claims.add` of those claims for which there are numbers, for a week's measure.py.

    Args:
        claims: arguments of `Claims.add`, with "values" of what is counted, or with "margin", a function that gives one value per seed. One
            whose rows are missing is left out, and one with a single seed that is not "exact".
    """
    for claim in claims:
        if "values" in claim:
            yield {"exact": True} | claim
            continue
        try:
            values = claim.pop("margin")()
        except NoTable:
            continue
        if len(values) > 1 or claim.get("exact"):
            yield claim | {"values": values}


def gathered(claims: Iterable[dict[str, Any]], reasons: Mapping[str, str], *, unit: str = "points") -> Claims:
    """The claims of a week's measure.py for which there are numbers.

    Args:
        claims: arguments of `Claims.add`, as `with_values` takes them.
        reasons: why a claim does not hold or is not decided, by its name.
        unit: of those that name none and have a spread; what is counted has none.
    """
    found = Claims()
    for claim in with_values(claims):
        given = {"unit": "" if claim.get("exact") else unit, "reason": reasons.get(claim["name"], "")}
        found.add(**given | claim)
    return found
