"""Whose a file is and which one counts, for the odd exports that people give: nothing vanishes, nobody gets another's mark."""

from __future__ import annotations

import io
import json
import os
import struct
import unicodedata
import zipfile
import zlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lsdl.grading import GradingError
from lsdl.grading.collect import HandIns, Submission, find_hand_ins, read_bytes, safe_id
from lsdl.intake import BadNotebook

WEEK = "week99-demo"


def notebook(text: str = "ours") -> str:
    cell = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": text}
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]})


OURS, FOREIGN = notebook("ours"), notebook("another week")


def archive(members: dict[str, str | bytes], hours: int = 1) -> bytes:
    """A zip archive; the first member is the oldest."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for number, (name, content) in enumerate(members.items()):
            file.writestr(zipfile.ZipInfo(name, (2026, 10, 1, hours * number, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return data.getvalue()


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def is_ours(data: bytes) -> bool:
    try:
        return "ours" in json.loads(data)["cells"][0]["source"]
    except ValueError:
        raise BadNotebook("not JSON") from None


def look(source: Path, **options: str) -> HandIns:
    return find_hand_ins(source, WEEK, is_this_homework=is_ours, **options)


def rows(source: Path, **options: str) -> dict[str, Submission]:
    return {entry.student: entry for entry in look(source, **options).entries}


def text_of(entry: Submission, source: Path) -> str:
    """The text that counts, or why nothing does."""
    try:
        data = read_bytes(entry, source if source.is_dir() else source.parent)
        return json.loads(data)["cells"][0]["source"]
    except BadNotebook as error:
        return str(error)


def texts(source: Path, **options: str) -> dict[str, str]:
    return {student: text_of(entry, source) for student, entry in rows(source, **options).items()}


# K2: whose a file is


@pytest.mark.parametrize(
    "inside",
    [
        f"bob/{WEEK}/homework.ipynb",
        "bob.ipynb",
        "bob/homework.ipynb",
        "Bob_1_assignsubmission_file_/homework.ipynb",
        "bob_1_2_homework.ipynb",
        f"lsdl-cub/{WEEK}/homework.ipynb",
        "Submitted files/bob/week99/Version 9/homework.ipynb",
        "homework.ipynb",
    ],
)
def test_k2_what_is_named_for_a_student_is_that_students(tmp_path: Path, inside: str) -> None:
    put(tmp_path / "zip" / "bob.ipynb", notebook("ours, bob"))
    put(tmp_path / "zip" / "ada.zip", archive({inside: notebook("ours, ada")}))
    assert texts(tmp_path / "zip") == {"ada": "ours, ada", "bob": "ours, bob"}
    put(tmp_path / "folders" / "bob" / WEEK / "homework.ipynb", notebook("ours, bob"))
    put(tmp_path / "folders" / "ada" / inside, notebook("ours, ada"))
    assert texts(tmp_path / "folders") == {"ada": "ours, ada", "bob": "ours, bob"}


def test_k2_the_zipped_course_folder(tmp_path: Path) -> None:
    members = {
        "lsdl-cub/README.md": "",
        f"lsdl-cub/{WEEK}/homework.ipynb": OURS,
        f"lsdl-cub/{WEEK}/seminar.ipynb": FOREIGN,
        "lsdl-cub/week01-finetune/homework.ipynb": FOREIGN,
    }
    for names in (["ada", "bob"], ["ada"]):
        folder = tmp_path / "-".join(names)
        for name in names:
            put(folder / f"{name}.zip", archive(members))
        assert texts(folder) == dict.fromkeys(names, "ours")
        assert rows(folder)["ada"].older == ()
        assert "so left out: ada.zip/lsdl-cub/" in rows(folder)["ada"].notes[0]
    assert texts(tmp_path / "ada" / "ada.zip") == {"ada": "ours"}


def test_k5_in_the_zipped_course_an_untouched_copy_elsewhere_is_no_newer_attempt(tmp_path: Path) -> None:
    for folder in ("", "lsdl-cub/"):
        members = {
            f"{folder}{WEEK}/homework.ipynb": notebook("ours, solved"),
            f"{folder}{WEEK}/seminar.ipynb": OURS,
            f"{folder}week01-finetune/homework.ipynb": OURS,
            f"{folder}backup/homework.ipynb": OURS,
        }
        put(tmp_path / "in" / "ada.zip", archive(members))
        assert texts(tmp_path / "in")["ada"] == "ours, solved"
        for name, content in members.items():
            put(tmp_path / "in" / "bob" / name, content)
        assert texts(tmp_path / "in")["bob"] == "ours, solved"


def test_k2_a_class_archive_is_a_class(tmp_path: Path) -> None:
    flat = {"ada.ipynb": OURS, "bob.ipynb": OURS, "cid.zip": archive({"x.ipynb": OURS})}
    forms = {
        "flat": flat,
        "in a folder": {f"week99/{name}": content for name, content in flat.items()},
        "nbgrader": {f"{name}/{WEEK}/homework.ipynb": OURS for name in ("ada", "bob", "cid")},
        "folders": {f"{name}/work.ipynb": OURS for name in ("ada", "bob", "cid")},
        "moodle": {f"{name}_1_assignsubmission_file_/work.ipynb": OURS for name in ("ada", "bob", "cid")},
        "moodle in a folder": {f"x/{name}_1_assignsubmission_file_/work.ipynb": OURS for name in ("ada", "bob", "cid")},
    }
    for form, members in forms.items():
        path = put(tmp_path / f"{form}.zip", archive(members))
        assert texts(path) == dict.fromkeys(("ada", "bob", "cid"), "ours"), form
        put(tmp_path / form / "class.zip", path.read_bytes())
        assert texts(tmp_path / form) == dict.fromkeys(("ada", "bob", "cid"), "ours"), form
        with zipfile.ZipFile(path) as file:
            file.extractall(tmp_path / "unpacked" / form)
        assert texts(tmp_path / "unpacked" / form) == dict.fromkeys(("ada", "bob", "cid"), "ours"), form


def test_k2_a_class_archive_among_students_is_told_apart(tmp_path: Path) -> None:
    put(tmp_path / "ada.ipynb", OURS)
    names = {f"{name}_1_assignsubmission_file_/homework.ipynb": OURS for name in ("ada", "bob")}
    put(tmp_path / "section B.zip", archive(names))
    found = texts(tmp_path)
    assert found["ada"] == "ours"
    why = "It holds what several students handed in (ada, bob): grade it by itself, with --submissions section B.zip."
    assert found["section B"] == why


def test_k2_names_are_compared_in_one_form(tmp_path: Path) -> None:
    composed = unicodedata.normalize("NFC", "Zoë Müller")
    decomposed = unicodedata.normalize("NFD", composed)
    put(tmp_path / f"{decomposed}.ipynb", notebook("ours, newer"))
    put(tmp_path / f"{composed}.ipynb", notebook("ours, older"))
    os.utime(tmp_path / f"{composed}.ipynb", (1e9, 1e9))
    assert texts(tmp_path) == {composed: "ours, newer"}
    assert rows(tmp_path)[composed].older == (f"{composed}.ipynb",)


MOODLE_NAMES = ("Иванова Анна", "Петров Пётр")


@pytest.mark.parametrize(("encoding", "names"), [("cp866", MOODLE_NAMES), ("gbk", ("王小明", "李雷"))])
def test_k2_names_that_nobody_can_decode_are_no_students(tmp_path: Path, encoding: str, names: tuple[str, ...]) -> None:
    path = put(tmp_path / "week.zip", raw_zip(names, encoding))
    with pytest.raises(GradingError, match=r"The names in week.zip are not UTF-8.*give --encoding .*cp866"):
        look(path)
    assert texts(path, encoding=encoding) == dict.fromkeys(map(safe_id, names), "ours")
    extra = put(tmp_path / "extra.zip", raw_zip(names, encoding, extra=True))
    assert texts(extra) == dict.fromkeys(names, "ours")
    put(tmp_path / "utf.zip", raw_zip(names, "utf-8"))
    assert texts(tmp_path / "utf.zip") == dict.fromkeys(names, "ours")


def raw_zip(names: tuple[str, ...], encoding: str, *, extra: bool = False) -> bytes:
    """A zip in Moodle's form that does not say the encoding of its names."""
    data = io.BytesIO()
    marks = {}
    with zipfile.ZipFile(data, "w") as file:
        for number, name in enumerate(names):
            full = f"{name}_{number}_assignsubmission_file_/homework.ipynb"
            raw = full.encode(encoding)
            stand_in = "QXZJ"[number] * len(raw)
            info = zipfile.ZipInfo(stand_in)
            if extra:
                said = struct.pack("<BL", 1, zlib.crc32(raw)) + full.encode()
                info.extra = struct.pack("<HH", 0x7075, len(said)) + said
            file.writestr(info, OURS)
            marks[stand_in.encode()] = raw
    content = data.getvalue()
    for stand_in, raw in marks.items():
        content = content.replace(stand_in, raw)
    return content


def test_k2_one_name_that_cannot_be_decoded_does_not_stop_the_others(tmp_path: Path) -> None:
    path = put(tmp_path / "week.zip", raw_zip(("Ada", "Пётр"), "cp866"))
    found = look(path)
    assert [entry.student for entry in found.entries] == ["Ada"]
    assert "for 1 of 2 files, which were not graded: give --encoding" in found.notes[0]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.lists(
        st.text(st.characters(exclude_characters="/\\\0", exclude_categories=()), min_size=1, max_size=60), max_size=6
    )
)
def test_k2_names_of_any_length_and_alphabet_are_rows(
    names: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("names")
    written = set()
    for name in names:
        try:
            put(folder / f"{name}.ipynb", OURS)
            written.add(unicodedata.normalize("NFC", name))
        except (OSError, UnicodeEncodeError):
            continue
    for student, entry in rows(folder).items():
        (folder / student).mkdir()
        json.dumps([student, entry.shown, *entry.notes]).encode("utf-8")
        assert len(student.encode()) <= 255


def test_k2_long_names_are_ids_that_a_file_system_takes(tmp_path: Path) -> None:
    for name in ("王" * 100, "é" * 100, "𝔘" * 90, "a" * 300):
        (tmp_path / safe_id(name)).mkdir()
        assert safe_id(safe_id(name)) == safe_id(name)


# K5 and K4: which notebook counts


def test_k5_of_several_notebooks_this_weeks_counts(tmp_path: Path) -> None:
    members = {
        "Ada_1_assignsubmission_file_/all.zip": archive({"week99/hw.ipynb": OURS, "week01/homework.ipynb": FOREIGN}),
        "Bob_2_assignsubmission_file_/b.zip": archive({"homework.ipynb": OURS, "my_homework_notes.ipynb": FOREIGN}),
        "Cid_3_assignsubmission_file_/homework.ipynb": OURS,
        "Cid_3_assignsubmission_file_/homework-1.ipynb": notebook("ours, again"),
        "Cid_3_assignsubmission_file_/homework-2.ipynb": FOREIGN,
        "Dan_4_assignsubmission_file_/final.ipynb": notebook("ours, newer"),
        "Dan_4_assignsubmission_file_/a.zip": archive({"homework.ipynb": FOREIGN}),
        "Eve_5_assignsubmission_file_/homework.ipynb": FOREIGN,
    }
    path = put(tmp_path / "week.zip", archive(members))
    expected = {"Ada": "ours", "Bob": "ours", "Cid": "ours, again", "Dan": "ours, newer", "Eve": "another week"}
    assert texts(path) == expected
    found = rows(path)
    assert "left out: week.zip/Bob_2_assignsubmission_file_/b.zip/my_homework_notes.ipynb." in found["Bob"].notes[0]
    assert found["Cid"].older == ("week.zip/Cid_3_assignsubmission_file_/homework.ipynb",)
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path / "out")
    assert texts(tmp_path / "out") == expected


@pytest.mark.parametrize("checkpoint", [".ipynb_checkpoints/homework-checkpoint.ipynb", "homework-checkpoint.ipynb"])
def test_k4_checkpoints_never_count(tmp_path: Path, checkpoint: str) -> None:
    members = {"homework.ipynb": OURS, checkpoint: notebook("ours, but a checkpoint")}
    put(tmp_path / "cara.zip", archive(members))
    put(tmp_path / "dora.zip", archive({checkpoint: OURS}))
    for name, content in members.items():
        put(tmp_path / "emil" / name, content)
    found = texts(tmp_path)
    assert (found["cara"], found["emil"]) == ("ours", "ours")
    assert "homework-checkpoint.ipynb" in found["dora"]


def test_k4_an_output_that_ran_away_is_read(tmp_path: Path) -> None:
    long = json.loads(OURS) | {"metadata": {"noise": "loss nan\n" * 400_000}}
    path = put(tmp_path / "week.zip", archive({"Ada_1_assignsubmission_file_/homework.ipynb": json.dumps(long)}))
    assert path.stat().st_size < 50_000
    assert texts(path) == {"Ada": "ours"}


def test_k4_whatever_is_refused_says_what_to_ask_for(tmp_path: Path) -> None:
    members = {
        "Bomb_1_assignsubmission_file_/homework.ipynb": b" " * (30 * 2**20),
        "Torn_2_assignsubmission_file_/work.zip": archive({"homework.ipynb": OURS})[:-30],
        "None_3_assignsubmission_file_/work.zip": archive({"notes.txt": "x", "data.csv": "x"}),
        "Out_4_assignsubmission_file_/../../x.ipynb": OURS,
    }
    found = texts(put(tmp_path / "week.zip", archive(members)))
    assert all(": ask for" in said for said in found.values()), found
    assert "The archive holds no notebook (notes.txt, data.csv)" in found["None"]


# K3: nothing vanishes

OTHER = {
    "homework.ipynb.txt": "ours",
    "homework.ipynb.json": "ours",
    "homework.json": "ours",
    "homework.py": "Handed in was homework.py, no notebook: ask for the .ipynb file.",
    "homework.pdf": "Handed in was homework.pdf, no notebook: ask for the .ipynb file.",
    "homework.rar": "Handed in was homework.rar, no notebook: ask for the .ipynb file.",
    "work.tar.gz": "Handed in was work.tar.gz, no notebook: ask for the .ipynb file.",
    "link": "Handed in was link, no notebook: ask for the .ipynb file.",
}


def test_k3_other_files_are_rows_in_moodles_forms(tmp_path: Path) -> None:
    students = [f"Student {letter}" for letter in "ABCDEFGH"]
    members = {
        f"{student}_{number}_assignsubmission_file_/{name}": OURS if said == "ours" else "x"
        for number, (student, (name, said)) in enumerate(zip(students, OTHER.items(), strict=True))
    }
    members |= {"Max_99_assignsubmission_onlinetext_/onlinetext.html": "https://colab.research.google.com/drive/x"}
    path = put(tmp_path / "week.zip", archive(members))
    expected = dict(zip(students, OTHER.values(), strict=True))
    expected["Max"] = (
        "Handed in was a text, perhaps with a link (onlinetext.html), no notebook: ask for the .ipynb file."
    )
    assert texts(path) == expected
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path / "out")
    assert texts(tmp_path / "out") == expected


def test_k3_other_files_are_rows_in_the_other_forms(tmp_path: Path) -> None:
    for number, (name, said) in enumerate(OTHER.items()):
        content = OURS if said == "ours" else "x"
        put(tmp_path / "canvas" / f"student{number}_1{number}_9{number}_{name}", content)
        put(tmp_path / "teams" / "Submitted files" / f"s{number}" / WEEK / "Version 1" / name, content)
        put(tmp_path / "folders" / f"s{number}" / name, content)
    for form in ("canvas", "teams", "folders"):
        found = texts(tmp_path / form)
        assert len(found) == len(OTHER)
        assert sum(text == "ours" for text in found.values()) == 3, found
        assert sum("no notebook: ask for the .ipynb file." in text for text in found.values()) == 5, found


def test_k3_beside_a_notebook_other_files_are_notes(tmp_path: Path) -> None:
    folder = "Ada_1_assignsubmission_file_"
    members = {f"{folder}/homework.ipynb": OURS} | {
        f"{folder}/{name}": "x" for name in ("a.pdf", "b.txt", "c.py", "d.png")
    }
    (ada,) = rows(put(tmp_path / "week.zip", archive(members))).values()
    assert (
        len(ada.notes) == 1
        and ada.notes[0].startswith(f"Not read: week.zip/{folder}/a.pdf,")
        and ada.notes[0].endswith("and 1 more.")
    )


def test_k3_in_a_mixed_folder_everything_is_a_row_or_a_note(tmp_path: Path) -> None:
    put(tmp_path / "ada.ipynb", OURS)
    put(tmp_path / "bob.py", "x")
    put(tmp_path / "cid.ipynb.txt", OURS)
    put(tmp_path / "dan.pdf", "x")
    put(tmp_path / "marks.csv", "x")
    (tmp_path / "eve").mkdir()
    found = look(tmp_path)
    assert texts(tmp_path) == {
        "ada": "ours",
        "bob": "Handed in was bob.py, no notebook: ask for the .ipynb file.",
        "cid": "ours",
        "dan": "Handed in was dan.pdf, no notebook: ask for the .ipynb file.",
        "eve": "Nothing was handed in.",
    }
    assert found.notes == ["marks.csv is no hand-in and was not read."]


def test_k3_other_weeks_of_a_student_are_no_attempts(tmp_path: Path) -> None:
    """gradebook/submitted holds all weeks."""
    for student in ("ada", "bob"):
        put(tmp_path / student / "week01-finetune" / "homework.ipynb", FOREIGN)
    put(tmp_path / "ada" / WEEK / "homework.ipynb", OURS)
    assert texts(tmp_path) == {"ada": "ours", "bob": "Nothing was handed in."}
    assert rows(tmp_path)["ada"].notes == ()


def test_k3_an_empty_folder_is_a_row_also_in_an_archive(tmp_path: Path) -> None:
    members = {f"{name}_1_assignsubmission_file_/homework.ipynb": OURS for name in ("Ada", "Bob")}
    path = put(tmp_path / "week.zip", archive(members | {"Cid_1_assignsubmission_file_/": ""}))
    assert texts(path) == {"Ada": "ours", "Bob": "ours", "Cid": "Nothing was handed in."}


def test_a_damaged_class_archive_is_an_error_and_no_student(tmp_path: Path) -> None:
    with pytest.raises(GradingError, match=r"week.zip: The archive is damaged: ask for it again"):
        look(put(tmp_path / "week.zip", b"PK\x03\x04"))
