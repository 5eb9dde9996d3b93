"""CSV tables of an instructor: read with a sentence about what is wrong, and written."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

from lsdl.grading import GradingError


def read_csv(path: Path, columns: set[str]) -> list[dict[str, str]]:
    """The lines of a table, with its values by column and without blanks around them; other columns may be there.

    Raises:
        GradingError: it is no CSV file in UTF-8, or a line lacks one of the columns.
        OSError: it cannot be read.
    """
    try:
        reader = csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig")), strict=True)
        lines = [
            {key: (value or "").strip() for key, value in line.items() if isinstance(value, str)} for line in reader
        ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise GradingError(f"{path} is not a CSV file in UTF-8: {error}.") from None
    if len(reader.fieldnames or ()) == 1 and ";" in reader.fieldnames[0]:
        raise GradingError(f"{path} has semicolons between its columns: save it with commas.")
    if not columns <= set(reader.fieldnames or ()) or any(not columns <= line.keys() for line in lines):
        raise GradingError(f"{path} needs the columns {', '.join(sorted(columns))}.")
    return lines


def csv_text(lines: list[list[Any]]) -> str:
    """A table as CSV, with Unix line ends."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(lines)
    return text.getvalue()
