"""A competition's predictions.csv: read and checked alike at home (`lsdl doctor predictions.csv`) and by the instructor.

The file has the columns `id` and `class`, a line for each picture, commas between, UTF-8; the order of the lines is free.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Collection, Iterable
from pathlib import Path

from lsdl.printable import printable_name

NAME, SAMPLE = "predictions.csv", "sample_submission.csv"
MAX_BYTES = 5 << 20
COLUMNS = ["id", "class"]


class BadPredictions(ValueError):
    """The file cannot be scored; the message is one sentence that says what to do."""


def read_predictions(data: bytes, ids: Collection[str], classes: Collection[str]) -> dict[str, str]:
    """The predicted class of every picture, by id; every one of `ids` has to be there once, and no other.

    A byte order mark and line ends of Windows are taken.

    Raises:
        BadPredictions: the file is not such a table.
    """
    if len(data) > MAX_BYTES:
        raise BadPredictions(f"The file has over {MAX_BYTES >> 20} MB: write one line per picture and nothing else.")
    lines = _lines(data)
    if not lines:
        raise BadPredictions("The file is empty: its first line has to be id,class.")
    header = lines.pop(0)
    if header != COLUMNS:
        why = "its first line has to be id,class"
        if len(header) == 1 and ";" in header[0]:
            why = "it has semicolons between the columns, save it with commas"
        elif header[:1] == [""]:
            why = "it has a column of row numbers, write it with index=False"
        raise BadPredictions(f"The columns are {_some(header)}: {why}.")
    for number, line in enumerate(lines, 2):
        if len(line) != len(COLUMNS):
            raise BadPredictions(f"Entry {number} has {len(line)} values instead of 2: {_some(line)}.")
    counts, predicted = Counter(name for name, _ in lines), {name for _, name in lines}
    for what, wrong, mend in (
        ("Repeated ids", [name for name in counts if counts[name] > 1], "keep one line per picture"),
        ("Unknown ids", sorted(counts.keys() - set(ids)), "predict the pictures of test.safetensors"),
        ("Missing ids", [name for name in ids if name not in counts], "every picture of the test needs a line"),
        ("Unknown classes", sorted(predicted - set(classes)), f"take the names, no numbers, of {SAMPLE}"),
    ):
        if wrong:
            raise BadPredictions(f"{what} ({len(wrong)}): {_some(wrong)}; {mend}.")
    return dict(lines)


def examine(file: Path) -> tuple[list[str], list[str]]:
    """What would keep a predictions.csv from being scored, and what else to think of, in sentences.

    Raises:
        OSError: the file cannot be read.
    """
    with file.open("rb") as opened:
        data = opened.read(MAX_BYTES + 1)
    sample = file.with_name(SAMPLE)
    if not sample.is_file():
        return [f"{SAMPLE} is not beside {file.name}: put it there, it says which ids and classes there are."], []
    try:
        ids, classes = zip(*_lines(sample.read_bytes())[1:], strict=True)
    except ValueError:
        return [f"{SAMPLE} is damaged: fetch it again."], []
    try:
        read_predictions(data, ids, set(classes))
    except BadPredictions as error:
        return [str(error)], []
    model = "Hand in model.safetensors, too: predictions without their model have no points."
    return [], [] if file.with_name("model.safetensors").is_file() else [model]


def _lines(data: bytes) -> list[list[str]]:
    """The values of all lines but empty ones."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise BadPredictions("The file is UTF-16: save it as CSV in UTF-8.")
    if b"\0" in data:
        raise BadPredictions("The file has zero bytes, so it is no text: save it as CSV in UTF-8.")
    try:
        return [line for line in csv.reader(io.StringIO(data.decode("utf-8-sig"), newline=""), strict=True) if line]
    except UnicodeDecodeError:
        raise BadPredictions("The file is not UTF-8 text: save it as CSV in UTF-8.") from None
    except csv.Error as error:
        raise BadPredictions(f"The file is not CSV ({error}): write id,class and one line per picture.") from None


def _some(names: Iterable[str]) -> str:
    """At most three of some strangers' names, each short and on one line."""
    shown = [repr(printable_name(name[:40])) for name in names]
    return ", ".join(shown[:3]) + (" ..." if len(shown) > 3 else "")
