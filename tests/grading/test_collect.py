"""Whose notebook lies where, in the forms that Moodle, Canvas, Teams and nbgrader give, and what must never be opened."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsdl.grading.collect import STUDENT_NAME, Submission, find_hand_ins, read_bytes, safe_id
from lsdl.intake import BadNotebook

WEEK = "week97-tiny"


def find_submissions(folder: Path, week: str, title: str = "") -> list[Submission]:
    """The entries, where it is not known what the week's homework looks like."""
    return find_hand_ins(folder, week, title).entries


def put(path: Path, text: str = "{}", time: float = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    if time:
        os.utime(path, (time, time))


def archive(members: dict[str, str | bytes]) -> bytes:
    """A zip archive; the first member is the oldest."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        for hour, (name, content) in enumerate(members.items()):
            file.writestr(zipfile.ZipInfo(name, (2026, 10, 1, hour, 0, 0)), content, zipfile.ZIP_DEFLATED)
    return data.getvalue()


def contents(folder: Path, title: str = "") -> dict[str, str | None]:
    """Student -> what counts, or why nothing does."""
    found = {}
    for entry in find_submissions(folder, WEEK, title):
        try:
            found[entry.student] = read_bytes(entry, folder).decode()
        except BadNotebook as error:
            found[entry.student] = str(error)
    return found


def entry(folder: Path, student: str) -> Submission:
    return next(item for item in find_submissions(folder, WEEK) if item.student == student)


def test_nbgrader_and_flat_folders(tmp_path: Path) -> None:
    put(tmp_path / "ada" / WEEK / "homework.ipynb", "ada")
    put(tmp_path / "ada" / WEEK / "seminar.ipynb", "not the homework")
    put(tmp_path / "ada" / WEEK / "timestamp.txt", "2026-10-01 12:00:00 UTC")
    (tmp_path / "bob").mkdir()
    put(tmp_path / "cid.ipynb", "cid")
    (tmp_path / "dan.zip").write_bytes(archive({"work/mine.ipynb": "dan", "work/data.csv": "1"}))
    put(tmp_path / "marks.csv")
    (tmp_path / ".git").mkdir()
    assert contents(tmp_path) == {"ada": "ada", "bob": "Nothing was handed in.", "cid": "cid", "dan": "dan"}
    assert entry(tmp_path, "ada").handed_in == datetime(2026, 10, 1, 12)
    assert entry(tmp_path, "cid").handed_in is None


def test_one_student_in_both_forms_the_newer_counts(tmp_path: Path) -> None:
    put(tmp_path / "ada" / WEEK / "homework.ipynb", "old", 1e9)
    put(tmp_path / "ada-1.ipynb", "another student")
    put(tmp_path / "ada.ipynb", "new", 2e9)
    # A file called homework goes before one that is not: the flat form cannot say which homework it is.
    assert contents(tmp_path)["ada"] == "old"
    assert entry(tmp_path, "ada").older == ("ada.ipynb",)


MOODLE = {
    "Ada Lovelace_101_assignsubmission_file_/homework.ipynb": "ada 1",
    "Ada Lovelace_101_assignsubmission_file_/homework-1.ipynb": "ada 2",
    "Ada Lovelace_101_assignsubmission_onlinetext_/onlinetext.html": "hello",
    "Bob O'Neil_102_assignsubmission_file_/sub/my notebook.ipynb": "bob",
    "Bob O'Neil_102_assignsubmission_file_/readme.txt": "text",
    "Éva Kiss_103_assignsubmission_file_homework.ipynb": "eva",
    "Zip Zoe_104_assignsubmission_file_/work.zip": archive(
        {"a/homework.ipynb": "zoe", "__MACOSX/a/._homework.ipynb": "x"}
    ),
}


def test_moodle_as_archive_as_folder_and_as_archive_in_a_folder(tmp_path: Path) -> None:
    expected = {"Ada Lovelace": "ada 2", "Bob O'Neil": "bob", "Zip Zoe": "zoe", "Éva Kiss": "eva"}
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "Course-week97.zip"
    path.write_bytes(archive(MOODLE))
    found = {item.student: read_bytes(item, path).decode() for item in find_submissions(path, WEEK)}
    assert found == expected
    assert contents(tmp_path / "in") == expected
    assert entry(tmp_path / "in", "Ada Lovelace").older == (
        "Course-week97.zip/Ada Lovelace_101_assignsubmission_file_/homework.ipynb",
    )
    with zipfile.ZipFile(path) as file:
        file.extractall(tmp_path / "out")
    (tmp_path / "out" / "Noa Non_105_assignsubmission_onlinetext_").mkdir()
    assert contents(tmp_path / "out") == expected | {"Noa Non": "Nothing was handed in."}


def test_two_students_of_one_name_in_moodle(tmp_path: Path) -> None:
    names = {f"Ada Lovelace_{n}_assignsubmission_file_/homework.ipynb": f"number {n}" for n in (101, 102)}
    (tmp_path / "week.zip").write_bytes(archive(names))
    assert contents(tmp_path) == {"Ada Lovelace 101": "number 101", "Ada Lovelace 102": "number 102"}


def test_canvas(tmp_path: Path) -> None:
    members = {
        "lovelaceada_12_900_homework-1.ipynb": "newer by its number",
        "lovelaceada_12_850_homework.ipynb": "older",
        "lovelaceada_12_999_seminar.ipynb": "not named homework",
        "neilbob_LATE_13_860_My_note_book_2.ipynb": "bob",
        "anon_x1y2z_870_homework.ipynb": "anonymous",
        "LATE_anon_q9_871_homework.ipynb": "late and anonymous",
        "kisseva_14_880_work.zip": archive({"homework.ipynb": "eva"}),
        "zoezip_15_881_report.pdf": "pdf",
    }
    (tmp_path / "submissions.zip").write_bytes(archive(members))
    assert contents(tmp_path) == {
        "anon_q9": "late and anonymous",
        "anon_x1y2z": "anonymous",
        "kisseva_14": "eva",
        "lovelaceada_12": "newer by its number",
        "neilbob_13": "bob",
        "zoezip_15": "Handed in was zoezip_15_881_report.pdf, no notebook: ask for the .ipynb file.",
    }
    assert entry(tmp_path, "neilbob_13").notes == ("Canvas marked it as late.",)
    assert len(entry(tmp_path, "lovelaceada_12").older) == 2
    with zipfile.ZipFile(tmp_path / "submissions.zip") as file:
        file.extractall(tmp_path / "out")
    assert contents(tmp_path / "out")["lovelaceada_12"] == "newer by its number"


@pytest.mark.parametrize("name", ["week97-tiny", "Week 97: doubling", "Homework (Doubling)"])
def test_teams(tmp_path: Path, name: str) -> None:
    library = tmp_path / "Student Work" / "Submitted files"
    put(library / "Ada Lovelace" / name / "Version 1" / "homework.ipynb", "one", 2e9)
    put(library / "Ada Lovelace" / name / "Version 10" / "homework.ipynb", "ten", 1e9)
    put(library / "Ada Lovelace" / name / "Version 9" / "homework.ipynb", "nine")
    put(library / "Ada Lovelace" / "Week 98" / "Version 1" / "homework.ipynb", "another week")
    put(library / "Bob Neil" / "Week 98" / "Version 1" / "homework.ipynb", "another week")
    for folder in (tmp_path, library.parent, library):
        found = {item.student: item for item in find_submissions(folder, WEEK, "Doubling")}
        assert read_bytes(found["Ada Lovelace"], folder) == b"ten"
        assert len(found["Ada Lovelace"].older) == 2
        assert found["Bob Neil"].path is None


def test_teams_where_no_assignment_fits(tmp_path: Path) -> None:
    for name in ("One", "Two"):
        put(tmp_path / "Ada Lovelace" / name / "Version 1" / "homework.ipynb")
    assert "No assignment is called like week97-tiny (there is One, Two)" in contents(tmp_path)["Ada Lovelace"]


def test_names_that_leave_the_archive_are_rows_with_a_reason(tmp_path: Path) -> None:
    members = {
        "Ada_1_assignsubmission_file_/homework.ipynb": "ada",
        "Ada_1_assignsubmission_file_/../../../evil.ipynb": "evil",
        "../../etc/cron.d/evil": "evil",
        "/root/.ssh/evil.ipynb": "evil",
        "C:\\Windows\\evil.ipynb": "evil",
        "Eve_2_assignsubmission_file_/../../eve.ipynb": "evil",
    }
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "week.zip").write_bytes(archive(members))
    before = sorted(tmp_path.rglob("*"))
    found = contents(folder)
    assert found["Ada"] == "ada"
    assert "points out of it" in entry(folder, "Ada").notes[0]
    assert "points out of it" in found["Eve"]
    assert len(found) == 5 and all(STUDENT_NAME.fullmatch(student) for student in found)
    assert sum("points out of it" in said for said in found.values()) == 4
    assert sorted(tmp_path.rglob("*")) == before


def test_bombs_links_and_locked_members(tmp_path: Path) -> None:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("Bomb_1_assignsubmission_file_/homework.ipynb", b" " * (30 * 2**20))
        link = zipfile.ZipInfo("Link_2_assignsubmission_file_/homework.ipynb")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        file.writestr(link, "/etc/passwd")
        device = zipfile.ZipInfo("Dev_3_assignsubmission_file_/homework.ipynb")
        device.external_attr = (stat.S_IFBLK | 0o777) << 16
        file.writestr(device, "")
        file.writestr("Large_4_assignsubmission_file_/homework.ipynb", os.urandom(21 * 2**20))
        nested = archive({"homework.ipynb": b" " * (30 * 2**20)})
        file.writestr("Nest_5_assignsubmission_file_/work.zip", nested)
        deep = archive({"abgabe.zip": archive({"homework.ipynb": "deep"})})
        file.writestr("Deep_6_assignsubmission_file_/work.zip", deep)
        file.writestr("Deeper_9_assignsubmission_file_/work.zip", archive({"one.zip": deep}))
        file.writestr("Burst_10_assignsubmission_file_/work.zip", archive({"one.zip": nested}))
        many = {f"{number:02}.zip": archive({"notes.txt": ""}) for number in range(20)}
        file.writestr("Many_11_assignsubmission_file_/work.zip", archive(many | {"20.zip": archive({"a.ipynb": "a"})}))
        file.writestr("Torn_7_assignsubmission_file_/work.zip", nested[:-40])
        file.writestr("Good_8_assignsubmission_file_/homework.ipynb", "good")
    (tmp_path / "week.zip").write_bytes(data.getvalue())
    found = contents(tmp_path)
    assert (found["Good"], found["Deep"]) == ("good", "deep")
    for student, said in {
        "Bomb": "like a zip bomb",
        "Link": "is a link",
        "Dev": "not an ordinary file",
        "Large": "larger than 20 MB",
        "Nest": "like a zip bomb",
        "Deeper": "The archive holds no notebook (abgabe.zip): ask for the .ipynb file.",
        "Burst": "like a zip bomb",
        "Many": "holds no notebook",
        "Torn": "damaged",
    }.items():
        assert said in found[student], student


def test_a_member_that_lies_about_its_size(tmp_path: Path) -> None:
    """The size in the tables says 10 bytes; what comes out is cut off, not followed."""
    data = bytearray(archive({"Liar_1_assignsubmission_file_/homework.ipynb": b"0123456789" * 300_000}))
    size = (3_000_000).to_bytes(4, "little")
    for place in [i for i in range(len(data)) if data[i : i + 4] == size]:
        data[place : place + 4] = (10).to_bytes(4, "little")
    (tmp_path / "week.zip").write_bytes(bytes(data))
    assert "damaged" in contents(tmp_path)["Liar"]


def test_damaged_archives_are_rows(tmp_path: Path) -> None:
    whole = archive({"homework.ipynb": "x" * 1000})
    (tmp_path / "ada.zip").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "bob.zip").write_bytes(b"")
    (tmp_path / "cid.zip").write_bytes(archive({"notes.txt": "no notebook"}))
    found = contents(tmp_path)
    assert "damaged" in found["ada"] and "damaged" in found["bob"] and "holds no notebook" in found["cid"]


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lsdl.grading.collect.MAX_ENTRIES", 5)
    (tmp_path / "ada.zip").write_bytes(archive({f"{n}.ipynb": "" for n in range(6)}))
    assert "over 5 members" in contents(tmp_path)["ada"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no named pipes")
def test_links_pipes_and_devices_are_not_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret.ipynb"
    secret.write_text("secret")
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "link.ipynb").symlink_to(secret)
    (folder / "far").symlink_to(tmp_path, target_is_directory=True)
    (folder / "mid").mkdir()
    (folder / "mid" / WEEK).symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(folder / "pipe.ipynb")
    (folder / "inner" / WEEK).mkdir(parents=True)
    os.mkfifo(folder / "inner" / WEEK / "homework.ipynb")
    expected = {"link": "link", "far": "link", "mid": "link", "pipe": "ordinary file", "inner": "ordinary file"}
    if os.geteuid() == 0:
        os.mknod(folder / "null.ipynb", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        expected["null"] = "ordinary file"
    found = contents(folder)
    assert found.keys() == expected.keys()
    assert all(said in found[student] for student, said in expected.items()), found


def test_a_link_that_appears_after_the_look(tmp_path: Path) -> None:
    put(tmp_path / "ada.ipynb", "ada")
    item = entry(tmp_path, "ada")
    (tmp_path / "ada.ipynb").unlink()
    (tmp_path / "ada.ipynb").symlink_to("/etc/hostname")
    with pytest.raises(BadNotebook, match="link"):
        read_bytes(item, tmp_path)


def test_a_large_file_is_not_swallowed(tmp_path: Path) -> None:
    with (tmp_path / "ada.ipynb").open("wb") as file:
        file.truncate(21 * 2**20)
    assert "larger than 20 MB" in contents(tmp_path)["ada"]


def test_names_with_path_characters_get_a_safe_id(tmp_path: Path) -> None:
    put(tmp_path / "a*b {c}.ipynb", "star")
    put(tmp_path / "-rf.ipynb", "dash")
    member = "..%2f..\\x_1_assignsubmission_file_/homework.ipynb"
    (tmp_path / "week.zip").write_bytes(archive({member: "moodle"}))
    found = contents(tmp_path)
    assert sorted(found.values()) == ["dash", "moodle", "star"]
    assert all(STUDENT_NAME.fullmatch(student) and "/" not in student and ".." not in student for student in found)
    assert any("which nbgrader cannot use" in note for item in find_submissions(tmp_path, WEEK) for note in item.notes)


@given(st.text(max_size=300))
def test_any_name_has_a_safe_id(name: str) -> None:
    student = safe_id(name)
    assert STUDENT_NAME.fullmatch(student) and len(student) <= 100
    assert Path("/a", student).parts == ("/", "a", student) and safe_id(student) == student


@given(st.binary(max_size=400), st.sampled_from([b"", b"PK\\x05\\x06", b"PK\\x03\\x04", b"PK\\x01\\x02"]))
def test_any_bytes_are_an_archive_or_a_row(tmp_path_factory: pytest.TempPathFactory, data: bytes, magic: bytes) -> None:
    folder = tmp_path_factory.mktemp("archive")
    (folder / "ada.zip").write_bytes(magic + data + magic)
    assert list(contents(folder)) == ["ada"]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("name,student\n")
    for name, what in (
        ("nowhere", "does not exist"),
        ("nowhere.zip", "does not exist"),
        ("names.csv", "is neither a folder nor a zip archive"),
    ):
        with pytest.raises(FileNotFoundError, match=f"{name} {what}: give the folder that holds STUDENT/{WEEK}"):
            find_submissions(tmp_path / name, WEEK)
