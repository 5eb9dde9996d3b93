"""How long a week's notebooks run: `lsdl run --update` stores it in the week's README.md, the root's table repeats it."""

import re
from collections.abc import Mapping
from pathlib import Path

from lsdl.author.markers import fill, filled

KIND, NAME = "run", "times"
LABELS = {"seminar": "seminar", "homework": "homework (solved)"}


def store_times(week: Path, seconds: Mapping[str, float]) -> None:
    """Write measured processor seconds into the marked line of the week's README.md, at its end if it has none yet.

    Args:
        week: the week's folder; one without README.md stays without (`lsdl lint` names it).
        seconds: by notebook ("seminar", "homework"); one that is not given keeps what was stored.
    """
    path = week / "README.md"
    if not path.is_file():
        return
    text = path.read_text(encoding="utf-8")
    if f"<!-- {KIND}:{NAME} -->" not in text:
        text += f"\n<!-- {KIND}:{NAME} -->\n<!-- /{KIND} -->\n"
    times = read_times(week) | {name: max(1, round(value)) for name, value in seconds.items()}
    listed = ", ".join(f"{label} {times[name]} s" for name, label in LABELS.items() if name in times)
    path.write_text(fill(text, KIND, {NAME: f"Measured on a CPU, in processor seconds: {listed}."}), encoding="utf-8")


def read_times(week: Path) -> dict[str, int]:
    """The stored seconds by notebook ("seminar", "homework"); {} if there are none."""
    path = week / "README.md"
    line = filled(path.read_text(encoding="utf-8"), KIND, NAME) if path.is_file() else ""
    found = {name: re.search(rf"{re.escape(label)} (\d+) s\b", line) for name, label in LABELS.items()}
    return {name: int(match[1]) for name, match in found.items() if match}
