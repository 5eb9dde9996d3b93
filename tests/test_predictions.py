"""A predictions.csv: every fault has its own sentence, and what programs write differently is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsdl.doctor import main
from lsdl.predictions import MAX_BYTES, SAMPLE, BadPredictions, read_predictions

IDS, CLASSES = ["p1", "p2", "p3", "p4"], {"cat", "dog, wet", "1st"}
TRUTH = {"p1": "cat", "p2": "dog, wet", "p3": "1st", "p4": "cat"}
GOOD = 'id,class\np1,cat\np2,"dog, wet"\np3,1st\np4,cat\n'


@pytest.mark.parametrize(
    "data",
    [
        GOOD.encode(),
        GOOD.rstrip("\n").encode(),
        GOOD.encode("utf-8-sig"),
        GOOD.replace("\n", "\r\n").encode(),
        GOOD.replace("\n", "\n\n").encode(),
        ("id,class\n" + "\n".join(reversed(GOOD.splitlines()[1:]))).encode(),
    ],
)
def test_what_programs_write_differently_is_taken(data: bytes) -> None:
    assert read_predictions(data, IDS, CLASSES) == TRUTH


FAULTS: list[tuple[bytes, str]] = [
    (b"", "empty: its first line has to be id,class"),
    (GOOD.encode("utf-16"), "UTF-16: save it as CSV in UTF-8"),
    (GOOD.replace("cat", "caf\u00e9").encode("latin-1"), "not UTF-8 text"),
    (GOOD.replace("cat", "c\0t", 1).encode(), "zero bytes"),
    (GOOD.replace(",", ";").encode(), "semicolons between the columns, save it with commas"),
    (GOOD.replace("id,class", "id,label").encode(), "columns are 'id', 'label': its first line has to be id,class"),
    (GOOD.partition("\n")[2].encode(), "columns are 'p1', 'cat'"),
    (b",id,class\n0,p1,cat\n", "column of row numbers, write it with index=False"),
    (GOOD.replace('"dog, wet"', "dog, wet").encode(), "Entry 3 has 3 values instead of 2: 'p2', 'dog', ' wet'"),
    (GOOD.replace('"dog, wet"', '"dog, wet').encode(), "not CSV"),
    ((GOOD + "p4,cat\n").encode(), "Repeated ids (1): 'p4'; keep one line"),
    ((GOOD + "p5,cat\n").encode(), "Unknown ids (1): 'p5'; predict the pictures of"),
    (GOOD.replace("p4,cat\n", "").encode(), "Missing ids (1): 'p4'; every"),
    (GOOD.replace("1st", "first").encode(), "Unknown classes (1): 'first'; take the names, no numbers, of"),
    (GOOD.replace("1st", "2").encode(), "Unknown classes (1): '2'"),
    (GOOD.replace("p4", "\x1b[2J").encode(), r"Unknown ids (1): '\\x1b[2J';"),
    (GOOD.encode() + b" " * MAX_BYTES, "over 5 MB"),
]


@pytest.mark.parametrize(("data", "said"), FAULTS, ids=[said[:20] for _, said in FAULTS])
def test_every_fault_has_its_sentence(data: bytes, said: str) -> None:
    with pytest.raises(BadPredictions) as error:
        read_predictions(data, IDS, CLASSES)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_the_doctor_at_home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "predictions.csv"

    def doctor() -> tuple[int, str]:
        return main(["doctor", str(file)]), "".join(capsys.readouterr())

    assert doctor()[0] == 2
    file.write_text(GOOD)
    code, said = doctor()
    assert code == 1 and f"{SAMPLE} is not beside" in said
    (tmp_path / SAMPLE).write_text(GOOD)
    code, said = doctor()
    assert code == 0 and "note    Hand in model.safetensors, too" in said and "every picture has a class" in said
    (tmp_path / "model.safetensors").touch()
    assert doctor() == (0, "ok      predictions.csv: every picture has a class\n")
    file.write_text(GOOD.replace("p1,cat\n", ""))
    assert doctor() == (1, "problem Missing ids (1): 'p1'; every picture of the test needs a line.\n")
    file.write_bytes(b" " * (MAX_BYTES + 10))
    assert doctor()[0] == 1
    file.write_text(GOOD)
    for damaged in (b"\xff", b"", b"id,class\np1\n"):
        (tmp_path / SAMPLE).write_bytes(damaged)
        assert doctor() == (1, f"problem {SAMPLE} is damaged: fetch it again.\n")
